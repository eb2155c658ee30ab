"""Keras 3 models, saved by Keras itself, become artifacts that compute what Keras computes."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

import edgegru
from edgegru.imports import keras_layers, keras_runtime
from edgegru.imports.keras_file import read
from edgegru.imports.layers import Layers
from edgegru.imports.source import Options
from edgegru_runtime import read_artifact
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.reference import Reference
from tests.host.keras_on_disk import keras, predicted, randomised

L = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # within Keras


def sequential(*layers, shape=(None, 3)):
    return randomised(keras.Sequential([keras.Input(shape), *layers]))


def functional(build, shape=(None, 3)):
    x = keras.Input(shape)
    return randomised(keras.Model(x, build(x)))


def nested():
    inner = keras.Sequential(
        [
            keras.Input((None, 3)),
            L.GRU(4, return_sequences=True, dropout=0.1),
            L.BatchNormalization(),
            L.TimeDistributed(L.Dense(4, activation="relu")),
        ],
        name="inner",
    )
    return functional(lambda x: L.Dense(2)(inner(x)))


def residual(x):
    h = L.Dense(4)(x)
    g = L.GRU(4, return_sequences=True)(h)
    return L.Dense(2)(L.Concatenate()([L.Add()([h, g]), L.Multiply()([h, g]), h * g + h]))


def states(x):
    h, last = L.GRU(4, return_sequences=True, return_state=True)(x)
    return [L.Dense(2, activation="softmax")(h), L.Dense(3)(last)]


def shared(x):
    dense = L.Dense(3, activation="tanh")
    return L.GRU(2)(dense(dense(x)))


def frozen():
    model = nested()
    model.get_layer("inner").trainable = False
    return model


MODELS = {
    "tutorial": lambda: sequential(L.GRU(50, activation="tanh"), L.Dense(1), shape=(None, 1)),
    "fixed length": lambda: sequential(L.GRU(5), L.Dense(1), shape=(12, 3)),
    "reset before": lambda: sequential(L.GRU(5, reset_after=False, return_sequences=True), L.Dense(2)),
    "no bias": lambda: sequential(L.GRU(5, use_bias=False), L.Dense(2, use_bias=False)),
    "no bias, reset before": lambda: sequential(L.GRU(5, use_bias=False, reset_after=False)),
    "relu": lambda: sequential(L.GRU(5, activation="relu"), L.Dense(2)),
    "sigmoid candidate": lambda: sequential(L.GRU(5, activation="sigmoid"), L.Dense(2)),
    "stacked": lambda: sequential(
        L.GRU(5, return_sequences=True), L.Dropout(0.5), L.GRU(4, return_sequences=True), L.GRU(3)
    ),
    "classes": lambda: sequential(L.GRU(5), L.Dense(4, activation="softmax")),
    "softmax layer": lambda: sequential(L.GRU(5), L.Dense(4), L.Softmax()),
    "labels": lambda: sequential(L.GRU(5, return_sequences=True), L.Dense(4, activation="sigmoid")),
    "convolutions": lambda: sequential(
        L.Conv1D(6, 3, padding="causal", activation="relu"),
        L.Conv1D(4, 2, padding="causal", dilation_rate=3, groups=2, use_bias=False),
        L.Conv1D(4, 1),
        L.GRU(3),
        shape=(None, 2),
    ),
    "embedding": lambda: sequential(L.Embedding(11, 4), L.GRU(3, return_sequences=True), L.Dense(11), shape=(None,)),
    "tokens": lambda: sequential(
        L.Embedding(11, 4), L.GRU(3, return_sequences=True), L.Dense(11, activation="log_softmax"), shape=(None,)
    ),
    "numbers in a row": lambda: sequential(L.Reshape((-1, 1)), L.GRU(3), shape=(7,)),
    "batch normalisation": lambda: sequential(
        L.BatchNormalization(), L.GRU(4, return_sequences=True), L.BatchNormalization(scale=False), L.Activation("relu")
    ),
    "frozen batch normalisation": lambda: sequential(L.BatchNormalization(trainable=False), L.GRU(4)),
    "wrapped cell": lambda: sequential(L.RNN(L.GRUCell(4, reset_after=False), return_sequences=True), L.Dense(2)),
    "distributed": lambda: sequential(
        L.TimeDistributed(L.Dense(4)),
        L.TimeDistributed(L.ReLU()),
        L.TimeDistributed(L.BatchNormalization()),
        L.TimeDistributed(L.Flatten()),
        L.GRU(3),
    ),
    "distributed model": lambda: sequential(
        L.TimeDistributed(keras.Sequential([keras.Input((3,)), L.Dense(4, activation="tanh"), L.Dense(2)])), L.GRU(3)
    ),
    "stateful": lambda: randomised(
        keras.Sequential([keras.Input(batch_shape=(1, 1, 3)), L.GRU(4, stateful=True, unroll=True), L.Dense(1)])
    ),
    "rescaling": lambda: sequential(L.Rescaling(0.1, offset=-0.5), L.GRU(4), L.Flatten(), L.Dense(1)),
    "given normalisation": lambda: sequential(L.Normalization(mean=[1.0, 2, 3], variance=[4.0, 5, 6]), L.GRU(4)),
    "adapted normalisation": lambda: sequential(L.Normalization(), L.GRU(4)),
    "hard gates": lambda: sequential(
        L.GRU(4, recurrent_activation="hard_sigmoid", return_sequences=True), L.Dense(2, activation="hard_sigmoid")
    ),
    "layer normalisation": lambda: sequential(
        L.LayerNormalization(),
        L.GRU(4, return_sequences=True),
        L.LayerNormalization(center=False, epsilon=1e-5),
        L.Dense(2),
    ),
    "nested": nested,
    "frozen": frozen,
    "residual": lambda: functional(residual),
    "states": lambda: functional(states),
    "shared": lambda: functional(shared),
    "half precision": lambda: sequential(L.GRU(4, dtype="mixed_float16"), L.Dense(2, dtype="float16")),
}


def imported(path, tmp_path, **options):
    """The artifact, and the report of its import."""
    output = tmp_path / "imported.safetensors"
    report = edgegru.import_model(path, output, force=True, **options)
    return read_artifact(output), report


def computed(artifact, xs):
    """Every output at every step: a list of (T, size)."""
    engine = Reference(artifact)
    state = engine.new_state()
    return [np.array(column) for column in zip(*(engine.step(state, x) for x in xs), strict=True)]


def assert_same(artifact, model, xs):
    outputs = predicted(model, xs)
    for ours, theirs, output in zip(computed(artifact, xs), outputs, artifact.config.outputs, strict=True):
        recording = output.target.startswith("recording")
        assert recording == (theirs.ndim == 1)
        np.testing.assert_allclose(ours[-1] if recording else ours, theirs, atol=1e-5)


def samples(model, steps=12, seed=1):
    shape = model.input_shape[1:]
    generator = np.random.default_rng(seed)
    if any(isinstance(layer, L.Embedding) for layer in model.layers):
        return generator.integers(0, 11, (steps, 1)).astype(np.float32)
    return generator.normal(size=(steps, shape[1] if len(shape) == 2 else 1)).astype(np.float32)


@pytest.mark.parametrize("name", MODELS)
def test_a_keras_file_computes_what_keras_computes(tmp_path, name):
    model = MODELS[name]()
    path = tmp_path / "model.keras"
    model.save(path)
    artifact, report = imported(path, tmp_path)
    assert report.checked_against == f"Keras {keras.__version__} on torch"
    assert report.format == f"Keras {keras.__version__}, .keras"
    length = model.input_shape[1] or 12
    if name == "stateful":  # takes one step at a time, and keeps its state
        xs = samples(model)
        ours = computed(artifact, xs)[0]
        theirs = [predicted(model, x[None])[0] for x in xs]
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        return
    xs = samples(model, length)
    if name == "half precision":
        np.testing.assert_allclose(computed(artifact, xs)[0][-1], predicted(model, xs)[0], atol=5e-3)
    elif len(model.input_shape) == 2:
        np.testing.assert_allclose(
            computed(artifact, xs)[0][slice(None) if name in ("embedding", "tokens") else -1],
            np.asarray(model.predict_on_batch(xs[None, :, 0]))[0],
            atol=1e-5,
        )
    else:
        assert_same(artifact, model, xs)


@pytest.mark.parametrize("name", ["tutorial", "nested", "frozen", "residual", "states"])
def test_other_files_of_the_same_model_give_the_same_artifact(tmp_path, name):
    model = MODELS[name]()
    model.save(tmp_path / "model.keras")
    model.compile("adam", "mse")
    model.save(tmp_path / "model.h5")
    model.save_weights(tmp_path / "model.weights.h5")
    (tmp_path / "model.json").write_text(model.to_json())
    expected, _ = imported(tmp_path / "model.keras", tmp_path)
    for file, weights in (
        ("model.h5", None),
        ("model.json", "model.weights.h5"),
        ("model.json", "model.h5"),
        ("model.json", "model.keras"),
    ):
        options = {} if weights is None else {"weights": tmp_path / weights}
        artifact, report = imported(tmp_path / file, tmp_path, **options)
        assert artifact.config.identity == expected.config.identity
        assert report.checked_against.startswith("Keras 3")


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("stateful", "half precision")])
def test_the_equations_compute_what_keras_computes(tmp_path, monkeypatch, name):
    """They are what an import is checked against where Keras is missing or older."""
    model = MODELS[name]()
    path = tmp_path / "model.keras"
    model.save(path)
    of_keras = read(path, Options()).source
    monkeypatch.setattr(keras_runtime, "find_spec", lambda name: None)
    equations = read(path, Options()).source
    assert equations.name == f"the equations of Keras {keras.__version__} in NumPy"
    xs = samples(model)
    for ours, theirs in zip(equations.run(xs), of_keras.run(xs), strict=True):
        assert ours.dtype == theirs.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    exact = equations.run(xs.astype(np.float64))
    for ours, single, theirs in zip(exact, equations.run(xs), of_keras.run(xs.astype(np.float64)), strict=True):
        assert ours.dtype == theirs.dtype == np.float64
        assert 0 < np.abs(ours - single).max() < 1e-5  # float64 is no float32 in disguise
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


MISTAKES = {
    "reset at the other place": lambda gru: {**gru, "reset": "before" if gru["reset"] == "after" else "after"},
    "gates exchanged": lambda gru: {
        **gru,
        "weights": replace(gru["weights"], weight_ih=np.roll(gru["weights"].weight_ih, 4, 0)),
    },
    "biases exchanged": lambda gru: {
        **gru,
        "weights": replace(gru["weights"], bias_ih=gru["weights"].bias_hh, bias_hh=gru["weights"].bias_ih),
    },
    "another candidate": lambda gru: {**gru, "candidate_activation": "relu"},
}


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("with_keras", [True, False])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_formulation_is_found(tmp_path, monkeypatch, mistake, with_keras, after):
    if mistake == "biases exchanged" and not after:
        return  # both are added outside of r then
    path = tmp_path / "model.keras"
    sequential(L.GRU(4, reset_after=after), L.Dense(2)).save(path)
    imported(path, tmp_path)
    gru = Layers.gru

    def mistaken(layers, value, weights, **form):
        changed = MISTAKES[mistake]({"weights": weights, **form})
        return gru(layers, value, changed.pop("weights"), **changed)

    monkeypatch.setattr(keras_layers.Layers, "gru", mistaken)
    if not with_keras:
        monkeypatch.setattr(keras_runtime, "find_spec", lambda name: None)
    source = "Keras 3" if with_keras else "the equations of Keras"
    with pytest.raises(ImportModelError, match=f"differs from {source}"):
        imported(path, tmp_path)


def test_custom_regularizers_and_compilation_are_no_obstacle(tmp_path):
    """A file's own names of Python objects are left out of what Keras is given."""
    path = tmp_path / "model.keras"
    model = sequential(L.GRU(4, kernel_regularizer="l2"), L.Dense(2))
    model.compile("adam", "mse")
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    custom = {"module": "my_package", "class_name": "Mine", "config": {}, "registered_name": "my_package>Mine"}
    for key in ("kernel_regularizer", "recurrent_constraint", "bias_initializer"):
        config["config"]["layers"][1]["config"][key] = custom
    config["compile_config"] = {"optimizer": custom}
    files["config.json"] = json.dumps(config)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    artifact, report = imported(path, tmp_path)
    assert report.checked_against.startswith("Keras 3")
    assert_same(artifact, model, samples(model))


def test_outputs_are_named_after_their_layers(tmp_path):
    model = functional(
        lambda x: [L.Dense(1, name="speed")(L.GRU(2, return_sequences=True)(x)), L.GRU(3, name="state")(x)]
    )
    model.save(tmp_path / "model.keras")
    artifact, _ = imported(tmp_path / "model.keras", tmp_path)
    assert [output.labels for output in artifact.config.outputs] == [("speed",), ("state0", "state1", "state2")]
    assert [output.target for output in artifact.config.outputs] == ["step_value", "recording_value"]


def test_keras_is_not_needed(tmp_path):
    """In a process where neither Keras nor torch can be imported."""
    path = tmp_path / "model.h5"
    sequential(L.GRU(4), L.Dense(1)).save(path)
    code = f"""
import sys
sys.modules["torch"] = sys.modules["keras"] = sys.modules["tensorflow"] = None
import edgegru
print(edgegru.import_model({str(path)!r}, {str(tmp_path / "out.safetensors")!r}).checked_against)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"the equations of Keras {keras.__version__} in NumPy\n"
