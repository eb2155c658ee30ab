"""Broken and hostile inputs to every command: a sentence and exit 1 or 2, no traceback, nothing half-written."""

import shutil

import pytest

import edgegru
from edgegru.command_line import main
from edgegru_export.saving import save_artifact
from edgegru_runtime import Model
from tests.builders import random_artifact
from tests.host.recordings_on_disk import write_labelled_folder

CONFIG = "[data]\nvalidation_fraction = 0.0\n[model]\nhidden_size = 3\n[training]\nepochs = 1\n"


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Good inputs of every kind, made once."""
    folder = tmp_path_factory.mktemp("originals")
    artifact = random_artifact(1, rate=None)
    save_artifact(artifact, folder / "float.safetensors")
    write_labelled_folder(folder / "data", Model(artifact))
    edgegru.quantize(folder / "float.safetensors", folder / "data", folder / "int8.safetensors")
    for name in ("float", "int8"):
        for format in ("onnx", "tflite"):
            edgegru.export(folder / f"{name}.safetensors", folder / f"{name}.{format}", format=format)
    (folder / "config.toml").write_text(CONFIG)
    (folder / "samples.csv").write_text("c0,c1,c2\n1,2,3\n")
    return folder


@pytest.fixture
def folder(originals, tmp_path):
    copy = tmp_path / "work"
    shutil.copytree(originals, copy)
    return copy


def contents(folder):
    """Every path under a folder, with the bytes of files."""
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def must_fail(folder, capfd, *arguments):
    """The command fails in one sentence and leaves the folder as it was; returns the sentence."""
    before = contents(folder)
    capfd.readouterr()
    status = main([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    assert status in (1, 2)
    assert out == ""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if not line.startswith("INFO:")]  # LiteRT's own greeting
    assert lines[-1].lower().startswith(("error: ", "edgegru ")), err
    assert len(lines) == 1 or status == 2, err
    assert contents(folder) == before
    return lines[-1]


def commands(folder, model, *, exported=False):
    """Every command line that reads ``model``; all other inputs are good."""
    data, out = folder / "data", folder / "out"
    lines = [
        ("evaluate", model, "--data", data),
        ("run", model, folder / "samples.csv"),
        ("info", model),
        ("bench", model, "--steps", "1"),
        ("verify", model, "--against", folder / "float.safetensors"),
    ]
    if not exported:
        lines += [
            ("quantize", model, "--calibration", data, "-o", out),
            ("export", model, "--format", "onnx", "-o", out.with_suffix(".onnx")),
            ("export", model, "--format", "tflite", "-o", out.with_suffix(".tflite")),
            ("verify", folder / "float.onnx", "--against", model),
        ]
    return lines


def broken(path, how, folder):
    """``path`` made hostile."""
    data = path.read_bytes()
    path.unlink()
    if how == "directory":
        path.mkdir()
    elif how != "missing":
        path.write_bytes(
            {
                "empty": b"",
                "garbage": bytes(range(256)) * 40,
                "truncated": data[: len(data) // 2],
                "one byte short": data[:-1],
                "text": b"hello\n" * 100,
                "another kind": (folder / "config.toml").read_bytes(),
            }[how]
        )
    return path


HOW = ("missing", "directory", "empty", "garbage", "truncated", "one byte short", "text", "another kind")


def test_more_steps_than_memory_holds(folder, capfd):
    command = ("verify", folder / "float.onnx", "--against", folder / "float.safetensors", "--steps", 10**14)
    assert must_fail(folder, capfd, *command) == "error: there is not enough memory"


@pytest.mark.parametrize("how", HOW)
def test_a_broken_artifact(folder, capfd, how):
    model = shutil.copy(folder / "int8.safetensors", folder / "model.safetensors")
    for command in commands(folder, broken(model, how, folder)):
        must_fail(folder, capfd, *command)


@pytest.mark.parametrize("how", [how for how in HOW if how != "one byte short"])  # a tail that nothing reads
@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
@pytest.mark.parametrize("name", ["float", "int8"])
def test_a_broken_exported_file(folder, capfd, name, suffix, how):
    model = shutil.copy(folder / f"{name}.{suffix}", folder / f"model.{suffix}")
    for command in commands(folder, broken(model, how, folder), exported=True):
        if (command[0], suffix, how) != ("info", "tflite", "truncated"):  # it reads the metadata, which stands in front
            must_fail(folder, capfd, *command)


@pytest.mark.parametrize(
    ("kind", "name"), [("int8.safetensors", "m.onnx"), ("int8.onnx", "m.tflite"), ("float.tflite", "m.safetensors")]
)
def test_a_model_under_a_name_of_another_kind(folder, capfd, kind, name):
    model = shutil.copy(folder / kind, folder / name)
    for command in commands(folder, model, exported=True):
        must_fail(folder, capfd, *command)


@pytest.mark.parametrize("how", ["missing", "empty folder", "empty", "garbage", "text", "no samples", "not a number"])
@pytest.mark.parametrize("command", ["train", "evaluate", "calibration", "metric"])
def test_broken_recordings(folder, capfd, command, how):
    data = folder / "recordings"
    if how == "empty folder":
        data.mkdir()
    elif how != "missing":
        data = folder / "recordings.csv"
        data.write_bytes(
            {
                "empty": b"",
                "garbage": bytes(range(256)) * 40,
                "text": b"hello\n" * 100,
                "no samples": b"c0,c1,c2,label\n",
                "not a number": b"c0,c1,c2,label\n1,2,3,class 0\n1,two,3,class 0\n",
            }[how]
        )
    model, out = folder / "float.safetensors", folder / "out"
    sentence = must_fail(
        folder,
        capfd,
        *{
            "train": ("train", "--config", folder / "config.toml", "--data", data, "-o", out),
            "evaluate": ("evaluate", model, "--data", data, "--plot", folder / "out.png"),
            "calibration": ("quantize", model, "--calibration", data, "-o", out),
            "metric": ("quantize", model, "--calibration", folder / "data", "--data", data, "-o", out),
        }[command],
    )
    if how == "not a number":
        assert "two" in sentence
        assert "line 3" in sentence


def test_recordings_of_other_channels(folder, capfd):
    (folder / "data" / "r0.csv").write_text("a,b,label\n1,2,class 0\n")
    model = folder / "float.safetensors"
    must_fail(folder, capfd, "evaluate", model, "--data", folder / "data")
    must_fail(folder, capfd, "quantize", model, "--calibration", folder / "data", "-o", folder / "out")


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"",
        b"\xff\xfe\x00",
        b"[model\n",
        b"[model]\nhidden = 3\n",
        b"[model]\nhidden_size = 0\n",
        b"[model]\nhidden_size = 1e3\n",
        b"a = " + b"[" * 5000,
    ],
)
def test_a_broken_configuration(folder, capfd, text):
    config = folder / "hostile.toml"
    if text is not None:
        config.write_bytes(text)
    must_fail(folder, capfd, "train", "--config", config, "-o", folder / "out")
    must_fail(folder, capfd, "train", "--config", folder, "-o", folder / "out")


@pytest.mark.parametrize("place", ["missing/out", "config.toml/out", "data"])
@pytest.mark.parametrize("command", ["quantize", "export onnx", "export tflite", "run", "evaluate"])
def test_an_output_that_cannot_be_written(folder, capfd, command, place):
    model, out = folder / "float.safetensors", folder / place
    must_fail(
        folder,
        capfd,
        *{
            "quantize": ("quantize", model, "--calibration", folder / "data", "-o", out, "--force"),
            "export onnx": ("export", model, "--format", "onnx", "-o", out, "--force"),
            "export tflite": ("export", model, "--format", "tflite", "-o", out, "--force"),
            "run": ("run", model, folder / "samples.csv", "-o", out, "--force"),
            "evaluate": ("evaluate", model, "--data", folder / "data", "--plot", out),
        }[command],
    )


@pytest.mark.parametrize("place", ["config.toml", "config.toml/out"])
def test_a_training_folder_that_cannot_be_made(folder, capfd, place):
    arguments = ("train", "--config", folder / "config.toml", "--data", folder / "data", "-o", folder / place)
    must_fail(folder, capfd, *arguments)


@pytest.mark.parametrize("command", ["quantize", "export", "run"])
def test_an_existing_output_stays_without_force(folder, capfd, command):
    model, out = folder / "float.safetensors", folder / "config.toml"
    sentence = must_fail(
        folder,
        capfd,
        *{
            "quantize": ("quantize", model, "--calibration", folder / "data", "-o", out),
            "export": ("export", model, "--format", "onnx", "-o", folder / "float.onnx"),
            "run": ("run", model, folder / "samples.csv", "-o", out),
        }[command],
    )
    assert "force" in sentence


def test_an_integer_model_is_not_quantized_again(folder, capfd):
    arguments = ("quantize", folder / "int8.safetensors", "--calibration", folder / "data", "-o", folder / "out")
    assert "static-w8a8" in must_fail(folder, capfd, *arguments)


@pytest.mark.parametrize(
    "options",
    [
        ("--format", "onnx", "--state", "variables"),
        ("--format", "tflite", "--sequence"),
        ("--format", "onnx", "--allow-int8-state"),
    ],
)
def test_options_that_a_format_does_not_have(folder, capfd, options):
    must_fail(folder, capfd, "export", folder / "int8.safetensors", *options, "-o", folder / "out.onnx")


@pytest.mark.parametrize("line", ["1,2\n", "1,nan,3\n", "1,two,3\n", "1,2,3,4\n", "\x00\n", '{"c0": 1}\n', "[1, 2\n"])
def test_a_broken_line_in_a_stream(folder, capfd, line):
    samples = folder / "samples.csv"
    samples.write_text(line)
    assert "samples.csv" in must_fail(folder, capfd, "run", folder / "float.safetensors", samples)


def test_there_is_nothing_to_resume(folder, capfd):
    arguments = ("train", "--config", folder / "config.toml", "--data", folder / "data", "-o", folder / "out")
    status = main([str(argument) for argument in (*arguments, "--resume")])
    assert status == 1
    assert "nothing to resume" in capfd.readouterr().err
