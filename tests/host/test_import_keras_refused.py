"""Keras files that are refused, each in one sentence that names the layer, and hostile ones."""

from __future__ import annotations

import json
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgegru
from edgegru.command_line import main
from edgegru.imports import saved_model
from edgegru.imports.keras_config import flatten, parse, read_model
from edgegru.imports.keras_steps import check_kinds, read_steps
from edgegru.imports.keras_version import Version
from edgegru.imports.keras_weights import read_weights
from edgegru.imports.source import Options
from edgegru_runtime.errors import ImportModelError
from tests.host.keras_on_disk import keras, randomised, save_as_keras_2

L = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # within Keras


def sequential(*layers, shape=(None, 3)):
    return keras.Sequential([keras.Input(shape), *layers])


def functional(build, shape=(None, 3)):
    x = keras.Input(shape)
    return keras.Model(x, build(x))


def two_inputs():
    x, y = keras.Input((None, 3), name="x"), keras.Input((None, 3), name="y")
    return keras.Model([x, y], L.GRU(2)(L.Add()([x, y])))


def twice(x):
    gru = L.GRU(3, return_sequences=True)
    return gru(gru(x))


def with_initial_state(x):
    h, state = L.GRU(4, return_sequences=True, return_state=True)(x)
    return L.GRU(4)(h, initial_state=state)


REFUSED = {
    "bidirectional": (
        lambda: sequential(L.Bidirectional(L.GRU(4), name="both")),
        'layer "both" (Bidirectional) reads the sequence backwards as well',
    ),
    "lstm": (
        lambda: sequential(L.LSTM(4, name="memory")),
        'layer "memory" (LSTM) is another recurrent layer than a GRU',
    ),
    "simple": (lambda: sequential(L.SimpleRNN(4)), "(SimpleRNN) is another recurrent layer"),
    "lstm cell": (lambda: sequential(L.RNN(L.LSTMCell(4))), "(LSTMCell) is another recurrent cell than a GRU's"),
    "masking": (lambda: sequential(L.Masking(name="gaps"), L.GRU(4)), 'layer "gaps" (Masking) skips steps'),
    "masked embedding": (
        lambda: sequential(L.Embedding(5, 2, mask_zero=True), L.GRU(4), shape=(None,)),
        "(Embedding) has mask_zero=true, which skips steps",
    ),
    "backwards": (lambda: sequential(L.GRU(4, go_backwards=True)), "(GRU) has go_backwards=true, expected false"),
    "two inputs": (two_inputs, "has 2 inputs (x, y), expected 1"),
    "shared": (lambda: functional(twice), "(GRU) is called 2 times, expected once"),
    "initial state": (lambda: functional(with_initial_state), "(GRU) is called with initial_state="),
    "convolution": (lambda: sequential(L.Conv1D(4, 3), L.GRU(4)), "(Conv1D) has padding 'valid' and 3 taps"),
    "strides": (
        lambda: sequential(L.Conv1D(4, 3, strides=2, padding="causal"), L.GRU(4)),
        "(Conv1D) has strides or channels_last, expected strides 1",
    ),
    "pooling": (
        lambda: sequential(L.GRU(4, return_sequences=True), L.GlobalAveragePooling1D()),
        "(GlobalAveragePooling1D) is not among the layers that can be imported",
    ),
    "attention": (
        lambda: functional(lambda x: L.Attention()([L.GRU(3, return_sequences=True)(x), x])),
        "(Attention) looks at all steps at once",
    ),
    "flatten": (
        lambda: sequential(L.GRU(4, return_sequences=True), L.Flatten(), L.Dense(1), shape=(7, 3)),
        "(Flatten) changes the shape of a sequence",
    ),
    "time normalisation": (
        lambda: sequential(L.BatchNormalization(axis=1), L.GRU(4), shape=(7, 3)),
        "(BatchNormalization) works along axis 1 of 3, expected the last one",
    ),
    "time concatenation": (
        lambda: functional(lambda x: L.GRU(2)(L.Concatenate(axis=1)([x, x])), shape=(7, 3)),
        "(Concatenate) works along axis 1 of 3",
    ),
    "relu6": (
        lambda: sequential(L.GRU(4), L.ReLU(max_value=6)),
        "(ReLU) has {'max_value': 6",
    ),
    "leaky": (lambda: sequential(L.GRU(4), L.LeakyReLU()), "(LeakyReLU) is an activation that artifacts do not have"),
    "swish": (lambda: sequential(L.GRU(4, activation="swish")), "(GRU) has activation 'silu', expected linear, relu"),
    "softmax candidate": (
        lambda: sequential(L.GRU(4, activation="softmax")),
        "(GRU) has activation softmax, expected tanh",
    ),
    "gate": (
        lambda: sequential(L.GRU(4, recurrent_activation="tanh")),
        "(GRU) has recurrent_activation tanh, expected sigmoid",
    ),
    "softmax inside": (
        lambda: sequential(L.GRU(4, return_sequences=True), L.Softmax(), L.GRU(2)),
        "a softmax stands inside the model",
    ),
    "images": (lambda: sequential(L.Conv2D(2, 3), shape=(8, 8, 3)), "(Conv2D) is not among the layers"),
    "no gru": (lambda: sequential(L.Dense(3)), "the model has no GRU"),
    "functions of ops": (
        lambda: functional(lambda x: L.GRU(2)(keras.ops.tanh(x))),
        "(Tanh) calls a function of keras.ops, expected layers",
    ),
    "a constant": (
        lambda: functional(lambda x: L.GRU(2)(x + 1.0)),
        "(Add) is called with 1.0, expected values of other layers",
    ),
    "mixed": (
        lambda: functional(lambda x: L.Add()([L.GRU(3, return_sequences=True)(x), L.GRU(3)(x)]), shape=(3, 3)),
        "(Add) reads a sequence and a single vector",
    ),
}


@pytest.mark.parametrize("kind", [".keras", ".h5"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_streamed_exactly_is_refused_by_name(tmp_path, capfd, name, kind):
    build, message = REFUSED[name]
    path = tmp_path / f"model{kind}"
    randomised(build()).save(path)
    capfd.readouterr()
    if name == "functions of ops" and kind == ".h5":
        message = "(Tanh) is not among the layers"  # HDF5 does not say where a class is from
    assert main(["import", str(path), "-o", str(tmp_path / "out.safetensors")]) == 1
    error = capfd.readouterr().err
    assert message in error
    assert error.startswith(f"error: {path}: ")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out.safetensors").exists()


def test_a_lambda_is_never_run(tmp_path):
    path = tmp_path / "model.h5"
    model = sequential(L.Lambda(run_me, name="trap"), L.GRU(2))
    model.save(path)
    model.save(tmp_path / "model.keras")
    for file in (path, tmp_path / "model.keras"):
        with pytest.raises(
            ImportModelError, match=r'layer "trap" \(Lambda\) has Python code in the file, which is never run'
        ):
            edgegru.import_model(file, tmp_path / "out.safetensors")


def run_me(v):
    return v * 2


def small(path):
    randomised(sequential(L.GRU(2), L.Dense(1))).save(path)
    return path


def rewritten(path, change):
    """A .keras file with another configuration."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    change(config)
    files["config.json"] = json.dumps(config)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"module": "os", "class_name": "system"}, 'layer "gru" is of class os.system, expected a class of Keras'),
        ({"registered_name": "my>GRU"}, 'layer "gru" is of the custom class my>GRU, expected a class of Keras'),
        ({"class_name": "MyGRU", "module": None}, 'layer "gru" (MyGRU) is not among the layers that can be imported'),
    ],
)
def test_custom_classes_are_refused(tmp_path, fields, message):
    def change(config):
        layer = config["config"]["layers"][1]
        layer.update(fields)
        layer["config"]["name"] = "gru"

    path = rewritten(small(tmp_path / "model.keras"), change)
    with pytest.raises(ImportModelError) as caught:
        edgegru.import_model(path, tmp_path / "out.safetensors")
    assert message in str(caught.value)


def test_keras_1_is_refused(tmp_path):
    path = tmp_path / "model.h5"
    save_as_keras_2(randomised(sequential(L.GRU(2))), path, "1.2.2")
    with pytest.raises(ImportModelError, match=r"was written by Keras 1.2.2, expected Keras 2.1 or later"):
        edgegru.import_model(path, tmp_path / "out.safetensors")


def test_hard_sigmoid_without_a_version_is_refused():
    gru = {
        "class_name": "GRU",
        "config": {"name": "g", "units": 1, "recurrent_activation": "hard_sigmoid", "use_bias": False},
    }
    model = read_model({"class_name": "Sequential", "config": {"layers": [gru], "build_input_shape": [None, None, 1]}})
    model.layers[0].weights = {"kernel": np.ones((1, 3)), "recurrent_kernel": np.ones((1, 3))}
    with pytest.raises(ImportModelError, match="the file does not say which Keras wrote it"):
        read_steps(flatten(model), Version.read(None, model))


def test_weights_alone_and_an_architecture_alone_say_what_is_missing(tmp_path):
    model = randomised(sequential(L.GRU(2)))
    model.save_weights(tmp_path / "model.weights.h5")
    (tmp_path / "model.json").write_text(model.to_json())
    for file, message in (
        ("model.weights.h5", "has weights alone, expected a file of model.save"),
        ("model.json", "is an architecture without weights, expected their .h5 file with --weights"),
    ):
        with pytest.raises(ImportModelError, match=message):
            edgegru.import_model(tmp_path / file, tmp_path / "out.safetensors")


def test_weights_of_another_model_are_refused(tmp_path):
    randomised(sequential(L.GRU(3))).save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "model.json").write_text(sequential(L.GRU(2)).to_json())
    with pytest.raises(ImportModelError, match=r"\(GRU\) has kernel of shape \(3, 9\), expected \(3, 6\)"):
        edgegru.import_model(tmp_path / "model.json", tmp_path / "out", weights=tmp_path / "other.weights.h5")
    randomised(sequential(L.GRU(2), L.Dense(1))).save(tmp_path / "more.h5")
    with pytest.raises(ImportModelError, match="the file has weights for 2 layers"):
        edgegru.import_model(tmp_path / "model.json", tmp_path / "out", weights=tmp_path / "more.h5")


def refused(path, tmp_path):
    with pytest.raises(ImportModelError) as caught:
        edgegru.import_model(path, tmp_path / "out.safetensors")
    return str(caught.value)


def test_links_out_of_the_file_are_refused(tmp_path):
    path = tmp_path / "model.h5"
    model = randomised(sequential(L.GRU(2, name="gru")))
    for link in (h5py.SoftLink("/elsewhere"), h5py.ExternalLink("/etc/passwd", "/")):
        save_as_keras_2(model, path, "2.2.4")
        with h5py.File(path, "r+") as file:
            group = file["model_weights/gru/gru"]
            del group["kernel:0"]
            group["kernel:0"] = link
        assert "is a link, expected the data itself" in refused(path, tmp_path)
    save_as_keras_2(model, path, "2.2.4")
    with h5py.File(path, "r+") as file:
        group = file["model_weights/gru/gru"]
        del group["kernel:0"]
        group.create_dataset("kernel:0", (3, 6), "f4", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])
    assert "is no array of its own" in refused(path, tmp_path)


def test_a_huge_array_is_not_read(tmp_path):
    path = tmp_path / "model.h5"
    save_as_keras_2(randomised(sequential(L.GRU(2, name="gru"))), path, "2.2.4")
    with h5py.File(path, "r+") as file:
        group = file["model_weights/gru/gru"]
        del group["kernel:0"]
        group.create_dataset("kernel:0", (2**20, 2**20), "f4", chunks=(1024, 1024), compression="gzip")
    assert "has more than 268,435,456 weights" in refused(path, tmp_path)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = small(tmp_path / "model.keras")
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", b"[" * (2**26 + 1))
        archive.writestr("model.weights.h5", weights)
    assert "config.json in the .keras file has more than 67,108,864 bytes" in refused(path, tmp_path)


CONFIGS = {
    "deep": b'{"class_name": "Sequential", "config": ' + b'{"layers": [' * 5000,
    "line": {"class_name": "Sequential", "config": {"layers": [{"class_name": "GRU", "config": {"name": "a\nb"}}]}},
    "nested": None,
    "cyclic": {
        "class_name": "Functional",
        "config": {
            "layers": [
                {
                    "class_name": "InputLayer",
                    "name": "x",
                    "config": {"batch_shape": [None, None, 1]},
                    "inbound_nodes": [],
                },
                {"class_name": "GRU", "name": "a", "config": {"units": 1}, "inbound_nodes": [[["b", 0, 0, {}]]]},
                {"class_name": "GRU", "name": "b", "config": {"units": 1}, "inbound_nodes": [[["a", 0, 0, {}]]]},
            ],
            "input_layers": [["x", 0, 0]],
            "output_layers": [["a", 0, 0]],
        },
    },
    "empty": {"class_name": "Sequential", "config": {"layers": []}},
    "no shape": {"class_name": "Sequential", "config": {"layers": [{"class_name": "Dropout", "config": {}}]}},
}


def test_broken_configurations(tmp_path):
    model = {"class_name": "Sequential", "config": {"layers": []}}
    for _ in range(30):
        model = {"class_name": "Sequential", "config": {"layers": [model]}}
    for name, message in (
        ("deep", "configuration is no JSON"),
        ("nested", "nested deeper than 16 levels"),
        ("cyclic", "cannot be computed: its calls are cyclic or read what is not there, among a, b"),
        ("empty", "has 0 layers"),
        ("line", "a name in the file is 'a\\nb', expected at most 500 printable characters"),
        ("no shape", "does not say the shape of its input"),
    ):
        config = CONFIGS[name] or model
        path = tmp_path / "model.h5"
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = np.bytes_(config if isinstance(config, bytes) else json.dumps(config).encode())
        assert message in refused(path, tmp_path)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    model = randomised(
        sequential(L.GRU(2, return_sequences=True), L.BatchNormalization(), L.Conv1D(2, 2, padding="causal"))
    )
    model.save(folder / "model.keras")
    save_as_keras_2(model, folder / "model.h5", "2.2.4")
    return folder


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    where=st.floats(0, 1),
    kind=st.sampled_from(["model.keras", "model.h5"]),
    cut=st.booleans(),
    byte=st.integers(1, 255),
)
def test_damage_anywhere_is_one_error_or_none(originals, tmp_path, monkeypatch, where, kind, cut, byte):
    monkeypatch.setattr("edgegru.imports.keras_runtime.find_spec", lambda name: None)
    content = bytearray((originals / kind).read_bytes())
    place = min(int(where * len(content)), len(content) - 1)
    if cut:
        content = content[:place]
    else:
        content[place] ^= byte
    path = tmp_path / kind
    path.write_bytes(content)
    assert_one_line_or_none(lambda: edgegru.import_model(path, tmp_path / "out.safetensors", force=True))


def assert_one_line_or_none(reading):
    """Whatever a reader says, it is an ImportModelError of one line."""
    message = ""
    try:
        reading()
    except ImportModelError as error:
        message = str(error)
    assert len(message.splitlines()) < 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**12) | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_configuration_with_anything_in_any_place_is_one_error_or_none(originals, data):
    with h5py.File(originals / "model.h5") as file:
        config = parse(file.attrs["model_config"])
        holder, key = data.draw(st.sampled_from(list(_places(config))))
        holder[key] = data.draw(JSON)
        assert_one_line_or_none(lambda: understood(config, file))


def understood(config, file):
    model = read_model(config)
    check_kinds(model)
    program = flatten(model)
    read_weights(model, file)
    read_steps(program, Version.read("2.2.4", model))


def _places(value):
    for key, child in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(child, dict | list):
            yield from _places(child)


def test_a_saved_model_needs_tensorflow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", None)
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(ImportModelError, match=r'install "edgegru\[tensorflow\]", or save the model as .keras'):
        saved_model.read(tmp_path, Options())
