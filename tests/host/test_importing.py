"""``edgegru import`` before and after its readers: which format a file has, what is refused, what is written."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgegru
from edgegru.command_line import main
from edgegru.imports import formats
from edgegru.imports.formats import recognise
from edgegru_runtime import load, read_artifact
from edgegru_runtime.errors import ImportModelError


def lasagne_file(path: Path, seed: int = 0) -> Path:
    """A GRULayer of 3 inputs and 4 units, and a DenseLayer of 2."""
    rng = np.random.default_rng(seed)
    shapes = [(3, 4), (4, 4), (4,)] * 3 + [(1, 4), (4, 2), (2,)]
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    arrays[9][:] = 0  # hid_init
    np.savez(path, *arrays)
    return path


def zip_of(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return path


@pytest.mark.parametrize(
    ("names", "format"),
    [
        (["config.json", "metadata.json", "model.weights.h5"], formats.KERAS_ZIP),
        (["model/data.pkl", "model/version", "model/data/0"], formats.TORCH_ZIP),
        (["archive/archive_format", "archive/models/model.json"], formats.TORCH_ZIP),
        (["arr_0.npy", "arr_1.npy"], formats.NPZ),
    ],
)
def test_a_zip_is_told_by_what_is_in_it(tmp_path: Path, names: list[str], format: str) -> None:
    assert recognise(zip_of(tmp_path / "model.bin", *names)) == format


@pytest.mark.parametrize(
    ("head", "format"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(100), formats.KERAS_HDF5),
        (b"\x08\x07\x12\x07pytorch", formats.ONNX),
        (b'{"class_name": "Sequential", "config": []}', formats.KERAS_JSON),
        (b"\x02\0\0\0\0\0\0\0{}", formats.SAFETENSORS),
    ],
)
def test_other_files_are_told_by_their_first_bytes(tmp_path: Path, head: bytes, format: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(head)
    assert recognise(path) == format


def test_a_saved_model_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    assert recognise(tmp_path) == formats.SAVED_MODEL


REFUSED = {
    "empty": (b"", "is empty, expected a model file"),
    "pickle": (pickle.dumps({"a": 1}), "is a pickle, which can run any code when it is read and is never opened"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(30), "is a TFLite file, which `edgegru info` describes"),
    "text": (b"weights of my model\n", "is of no known format, expected Keras"),
    "json": (b'{"layers": []}', "is JSON but no Keras architecture"),
    "broken json": (b'{"class_name"', "is JSON but no Keras architecture"),
    "deep json": (b'{"a":' * 100_000, "is JSON but no Keras architecture"),
    "zip": (b"PK\x03\x04 and no more", "is a damaged zip file"),
    "other zip": (zip, "is a zip file without a model in it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_model_is_refused_in_a_sentence(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content, sentence = REFUSED[name]
    path, output = tmp_path / "model.h5", tmp_path / "model.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        zip_of(path, "readme.txt")
    with pytest.raises(ImportModelError) as caught:
        edgegru.import_model(path, output)
    assert str(caught.value).startswith(f"{path}: {sentence}")
    assert main(["import", str(path), "-o", str(output)]) == 1
    assert capsys.readouterr().err == f"error: {caught.value}\n"
    assert not output.exists()


def test_what_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    for path, sentence in (
        (tmp_path / "none.h5", "does not exist"),
        (tmp_path, "is a folder without a saved_model.pb"),
        (Path("/dev/null"), "is not a regular file"),
    ):
        with pytest.raises(ImportModelError, match=f"{path}: {sentence}"):
            recognise(path)


@given(st.binary(max_size=64), st.integers(0, 600))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, head: bytes, rest: int) -> None:
    path = tmp_path_factory.mktemp("bytes") / "model"
    path.write_bytes(head + bytes(rest))
    with pytest.raises(ImportModelError) as caught:
        edgegru.import_model(path, path.with_suffix(".out"))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_an_option_of_another_format_is_refused(tmp_path: Path) -> None:
    path = lasagne_file(tmp_path / "w.npz")
    for option, value, takers in (("node", "GRU_1", "an ONNX file"), ("weights", path, "a Keras JSON file")):
        with pytest.raises(ImportModelError, match=rf"w\.npz: is an \.npz file, but --{option} is for {takers}"):
            edgegru.import_model(path, tmp_path / "m.safetensors", layout="lasagne", **{option: value})


def test_the_command_writes_a_model_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = lasagne_file(tmp_path / "w.npz"), tmp_path / "m.safetensors"
    arguments = [
        "import",
        str(path),
        "-o",
        str(output),
        "--layout",
        "lasagne",
        "--rate",
        "50",
        "--channels",
        "ax,ay,az",
    ]
    assert main([*arguments, "--units", "g,g,g", "--labels", "still,moving", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    artifact = read_artifact(output)
    assert report["identity"] == artifact.config.identity
    assert 0 <= report["largest_error"] <= report["allowed_error"]
    assert (report["file"], report["output"]) == (str(path), str(output))
    assert artifact.config.input.channels == ("ax", "ay", "az")
    assert (artifact.config.input.units, artifact.config.input.rate) == (("g",) * 3, 50.0)
    assert artifact.config.outputs[0].labels == ("still", "moving")
    assert len(load(output).stream().step([0.1, 0.2, 0.3])) == 2
    assert str(tmp_path) not in json.dumps(artifact.config.provenance)

    assert main([*arguments]) == 1
    assert capsys.readouterr().err == f"error: {output}: exists, expected a new name (or --force)\n"
    assert main([*arguments, "--force"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"{output}: imported from {path} ({report['format']})"
    assert [line.split()[0] for line in printed[1:]] == ["layers", "checked", "error"]


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for output in outputs:
        edgegru.import_model(lasagne_file(tmp_path / "w.npz"), output, layout="lasagne")
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_a_name_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    path, output = lasagne_file(tmp_path / "w.npz"), tmp_path / "m.safetensors"
    with pytest.raises(ImportModelError, match=r"w\.npz: 1 channels were named, but the model reads 3"):
        edgegru.import_model(path, output, layout="lasagne", channels=["a"])
    with pytest.raises(ImportModelError, match="no folder"):
        edgegru.import_model(path, tmp_path / "none" / "m.safetensors", layout="lasagne")
    assert sorted(tmp_path.iterdir()) == [path]


def test_an_imported_model_is_quantized_and_exported(tmp_path: Path) -> None:
    imported, recording = tmp_path / "m.safetensors", tmp_path / "recording.csv"
    edgegru.import_model(lasagne_file(tmp_path / "w.npz"), imported, layout="lasagne")
    rows = np.random.default_rng(0).normal(size=(300, 3))
    recording.write_text("x0,x1,x2\n" + "\n".join(",".join(f"{x:.4f}" for x in row) for row in rows) + "\n")
    integer = tmp_path / "int8.safetensors"
    edgegru.quantize(imported, recording, integer)
    assert edgegru.export(integer, tmp_path / "m.onnx", format="onnx").passed
