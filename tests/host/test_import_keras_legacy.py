"""HDF5 files as Keras 2.1, 2.2, 2.3, tf.keras 2 and Keras on other backends wrote them."""

from __future__ import annotations

import json
import zipfile

import h5py
import numpy as np
import pytest

import edgegru
from edgegru.imports import keras_layers
from edgegru.imports.keras_config import read_model
from edgegru.imports.keras_version import Version
from edgegru.imports.layers import Layers
from edgegru_runtime import read_artifact
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.reference import Reference
from tests.host.keras_on_disk import keras, old_config, predicted, randomised, save_as_keras_2, write_layers

L = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # within Keras

VERSIONS = ("2.1.0", "2.1.6", "2.2.0", "2.2.4", "2.3.1", "2.2.4-tf", "2.4.0", "2.15.0")


def sequential(*layers, shape=(None, 3)):
    return randomised(keras.Sequential([keras.Input(shape), *layers]))


def imported(path, tmp_path, **options):
    """The artifact, and the report of its import."""
    output = tmp_path / "imported.safetensors"
    report = edgegru.import_model(path, output, force=True, **options)
    return read_artifact(output), report


def assert_same(artifact, model, steps=12):
    xs = np.random.default_rng(1).normal(size=(steps, artifact.config.input.size)).astype(np.float32)
    engine = Reference(artifact)
    state = engine.new_state()
    ours = [np.array(column) for column in zip(*(engine.step(state, x) for x in xs), strict=True)]
    for mine, theirs in zip(ours, predicted(model, xs), strict=True):
        np.testing.assert_allclose(mine if theirs.ndim == 2 else mine[-1], theirs, atol=1e-5)


def set_in(layers, name, value):
    """Set a field in every layer of a configuration that has it."""
    for layer in layers if isinstance(layers, list) else layers["layers"]:
        if name in layer["config"]:
            layer["config"][name] = value


@pytest.mark.parametrize("texts", ["bytes", "str"])
@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_of_a_sequential_model(tmp_path, version, texts):
    model = sequential(
        L.GRU(5, return_sequences=True, reset_after=False),
        L.Dropout(0.2),
        L.TimeDistributed(L.Dense(4, activation="tanh")),
        L.GRU(3, reset_after=False),
        L.Dense(2, activation="softmax"),
    )
    path = tmp_path / "model.hdf5"
    save_as_keras_2(model, path, version, texts=texts)
    artifact, report = imported(path, tmp_path)
    assert report.format == f"Keras {version}, HDF5"
    assert report.checked_against == f"the equations of Keras {version} in NumPy"
    assert_same(artifact, model)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_of_a_functional_model_with_a_model_inside(tmp_path, version):
    inner = keras.Sequential(
        [
            keras.Input((None, 3)),
            L.GRU(4, return_sequences=True),
            L.BatchNormalization(),
            L.TimeDistributed(L.Dense(4, activation="relu")),
            L.BatchNormalization(center=False),
        ],
        name="inner",
    )
    x = keras.Input((None, 3))
    h = inner(x)
    g, last = L.GRU(4, return_sequences=True, return_state=True)(h)
    model = randomised(keras.Model(x, [L.Dense(2)(L.Concatenate()([L.Add()([g, h]), g])), L.Dense(3)(last)]))
    path = tmp_path / "model.h5"
    save_as_keras_2(model, path, version)
    assert_same(imported(path, tmp_path)[0], model)
    inner.trainable = False  # all weights of a frozen model come in another order
    save_as_keras_2(model, path, version)
    assert_same(imported(path, tmp_path)[0], model)


@pytest.mark.parametrize("after", [True, False])
def test_the_bias_tells_the_formulation_where_the_configuration_does_not(tmp_path, monkeypatch, after):
    model = sequential(L.GRU(4, reset_after=after), L.Dense(2))
    path = tmp_path / "model.h5"
    save_as_keras_2(model, path, "2.1.0", change=lambda config: config["config"][0]["config"].pop("reset_after", None))
    assert_same(imported(path, tmp_path)[0], model)
    gru = Layers.gru
    monkeypatch.setattr(
        keras_layers.Layers,
        "gru",
        lambda self, value, weights, reset, **form: gru(
            self, value, weights, reset="before" if reset == "after" else "after", **form
        ),
    )
    with pytest.raises(ImportModelError, match="differs from the equations of Keras 2.1.0"):
        imported(path, tmp_path)


@pytest.mark.parametrize(("version", "after"), [("2.1.0", False), ("2.3.1", False), ("2.4.0", True), ("2.15.0", True)])
def test_without_bias_the_version_tells_the_formulation(tmp_path, version, after):
    model = sequential(L.GRU(4, use_bias=False, reset_after=after), L.Dense(2))
    path = tmp_path / "model.h5"
    save_as_keras_2(model, path, version, change=lambda config: _forget_reset(config["config"]))
    assert_same(imported(path, tmp_path)[0], model)


def _forget_reset(layers):
    for layer in layers if isinstance(layers, list) else layers["layers"]:
        layer["config"].pop("reset_after", None)


def test_a_cudnn_gru_and_its_weights_in_the_layout_of_cudnn(tmp_path):
    """Keras's own conversion, the other way round: kernels of each gate lie in memory as their transpose."""
    model = sequential(L.GRU(5, return_sequences=True), L.Dense(2))
    path = tmp_path / "model.h5"

    def change(config):
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "GRU":
                layer["class_name"] = "CuDNNGRU"
                for name in (
                    "activation",
                    "recurrent_activation",
                    "use_bias",
                    "reset_after",
                    "dropout",
                    "implementation",
                ):
                    layer["config"].pop(name, None)

    save_as_keras_2(model, path, "2.2.4", change=change)
    assert_same(imported(path, tmp_path)[0], model)  # weights that a GRU saved
    with h5py.File(path, "r+") as file:
        group = file["model_weights"][model.layers[0].name]
        names = [name.decode() for name in group.attrs["weight_names"]]
        kernel, recurrent, bias = (group[name][()] for name in names)
        changed = (
            np.hstack([_to_cudnn(part) for part in np.hsplit(kernel, 3)]),
            np.hstack([part.T for part in np.hsplit(recurrent, 3)]),
            bias.reshape(-1),
        )
        for name, array in zip(names, changed, strict=True):
            del group[name]
            group[name] = array
    artifact, _ = imported(path, tmp_path)
    assert_same(artifact, model)


def _to_cudnn(kernel):
    """``transpose_input(from_cudnn=False)`` of Keras 2.2.4."""
    return kernel.T.reshape(kernel.shape, order="C")


@pytest.mark.parametrize(("version", "slope"), [("2.1.6", 5), ("2.3.1", 5), ("2.15.0", 5), ("3.0.5", 6)])
def test_hard_sigmoid_has_the_slope_of_its_version(tmp_path, version, slope):
    def hard(v):
        return keras.ops.clip(v / slope + 0.5, 0, 1)

    model = sequential(L.GRU(4, recurrent_activation=hard, reset_after=False), L.Dense(2, activation=hard))
    path = tmp_path / "model.h5"

    def change(config):
        layers = config["config"]
        set_in(layers, "recurrent_activation", "hard_sigmoid")
        layers = layers if isinstance(layers, list) else layers["layers"]
        layers[-1]["config"]["activation"] = "hard_sigmoid"

    save_as_keras_2(model, path, version, change=change)
    assert_same(imported(path, tmp_path)[0], model)


def test_gates_of_old_files_are_hard_where_nothing_is_said(tmp_path):
    def hard(v):
        return keras.ops.clip(v / 5 + 0.5, 0, 1)

    model = sequential(L.GRU(4, recurrent_activation=hard, reset_after=False))
    path = tmp_path / "model.h5"
    save_as_keras_2(
        model, path, "2.1.6", change=lambda config: config["config"][0]["config"].pop("recurrent_activation")
    )
    assert_same(imported(path, tmp_path)[0], model)


def test_without_a_version_the_style_of_the_configuration_tells(tmp_path):
    old = {
        "class_name": "Sequential",
        "config": [{"class_name": "GRU", "config": {"batch_input_shape": [None, None, 3]}}],
    }
    new = {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": "InputLayer", "config": {"batch_shape": [None, None, 3]}}]},
    }
    neither = {"class_name": "Sequential", "config": {"layers": []}}
    assert [Version.read(None, read_model(config)).number for config in (old, new, neither)] == [(2, 0), (3, 0), None]


@pytest.mark.parametrize("texts", ["bytes", "str"])
@pytest.mark.parametrize(
    "names",
    [
        lambda layer, weight: f"{layer}/{weight}:0",  # Keras 2 on TensorFlow 1
        lambda layer, weight: f"{layer}_1/{weight}:0",  # of a model made twice in one session
        lambda layer, weight: f"{layer}/{weight}_1:0",
        lambda layer, weight: f"{layer}/gru_cell/{weight}:0",  # TensorFlow 2.0 to 2.2
        lambda layer, weight: f"{layer}/gru_cell_12/{weight}:0",
        lambda layer, weight: f"model/{layer}/{weight}",  # Keras 3
        lambda layer, weight: f"{layer}/{weight}",  # Theano
    ],
)
def test_names_of_weights(tmp_path, names, texts):
    model = sequential(L.GRU(4, return_sequences=True), L.BatchNormalization(), L.Dense(2))
    path = tmp_path / "model.h5"
    save_as_keras_2(model, path, "2.3.1", names=names, texts=texts)
    assert_same(imported(path, tmp_path)[0], model)


def test_names_of_many_layers_come_in_chunks(tmp_path):
    model = sequential(L.GRU(4, return_sequences=True), *[L.Activation("tanh") for _ in range(30)], L.Dense(2))
    path = tmp_path / "model.h5"
    save_as_keras_2(model, path, "2.3.1", largest_attribute=200)
    with h5py.File(path) as file:
        assert "layer_names2" in file["model_weights"].attrs
    assert_same(imported(path, tmp_path)[0], model)


def test_an_architecture_and_weights_whose_layers_have_other_names(tmp_path):
    """Keras loads weights in the order of layers."""
    model, other = (sequential(L.GRU(4), L.Dense(2)) for _ in range(2))
    config = {**old_config(model, "2.3.1"), "keras_version": "2.3.1", "backend": "tensorflow"}
    (tmp_path / "model.json").write_text(json.dumps(config))
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.3.1"
        write_layers(file, other, lambda layer, weight: f"{layer}/{weight}:0", "bytes")
    artifact, report = imported(tmp_path / "model.json", tmp_path, weights=tmp_path / "weights.h5")
    assert report.format == "Keras 2.3.1, architecture and weights"
    assert_same(artifact, other)


@pytest.mark.parametrize("separator", ["/", "\\"])
@pytest.mark.parametrize("folder", ["layers", "_layer_checkpoint_dependencies"])
def test_keras_files_of_version_2(tmp_path, folder, separator):
    """Keras 2.12 to 2.15; the first ones count a layer with weights twice, and those on Windows wrote backslashes."""
    model = sequential(
        L.GRU(4, return_sequences=True), L.GRU(3, return_sequences=True), L.Dense(3), L.ReLU(), L.Dense(2)
    )
    step = 2 if folder.startswith("_") else 1
    weights = tmp_path / "model.weights.h5"
    with h5py.File(weights, "w") as file:
        counts: dict[str, int] = {}
        for layer in model.layers:
            kind = {"GRU": "gru", "Dense": "dense", "ReLU": "re_lu"}[type(layer).__name__]
            number = counts.get(kind, 0)
            counts[kind] = number + (step if layer.weights else 1)
            inside = [folder, kind + (f"_{number}" if number else ""), *(["cell"] if kind == "gru" else [])]
            group = file.create_group(separator.join(inside) + "/vars")
            for index, weight in enumerate(layer.weights):
                group[str(index)] = keras.ops.convert_to_numpy(weight)
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.12.0", "date_saved": ""}))
        archive.writestr("config.json", json.dumps(old_config(model, "2.12.0")))
        archive.write(weights, "model.weights.h5")
    assert_same(imported(tmp_path / "model.keras", tmp_path)[0], model)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_weights_of_other_precision_are_converted(tmp_path, dtype):
    model = sequential(L.GRU(4), L.Dense(2))
    for weight in model.weights:
        weight.assign(keras.ops.convert_to_numpy(weight).astype(np.float16).astype(np.float32))
    path = tmp_path / "model.h5"
    save_as_keras_2(model, path, "2.4.0", change=lambda config: set_in(config["config"], "dtype", "float16"))
    with h5py.File(path, "r+") as file:
        arrays = {}
        file["model_weights"].visititems(
            lambda name, item: arrays.update({name: item[()]}) if hasattr(item, "shape") else None
        )
        for name, array in arrays.items():
            del file["model_weights"][name]
            file["model_weights"][name] = array.astype(dtype)
    assert_same(imported(path, tmp_path)[0], model)
