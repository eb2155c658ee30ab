"""The examples: the demo runs and its table is true; every configuration is one that can be trained."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgegru
from edgegru.configuration import config_to_toml, load_config
from edgegru_runtime import load

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def write_watch_recordings(folder, subjects):
    """A second of standing up and a second of walking, for each subject, as the watch writes them."""
    rng = np.random.default_rng(5)
    for subject in subjects:
        lines = ["x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label"]
        for index in range(206):
            label = ("STANDING_UP", "WALKING")[index // 103]
            values = rng.normal(index // 103, 1, 6)
            lines.append(",".join([*(f"{value:.4f}" for value in values), f"{1.6e12 + index * 9.7:.0f}", label]))
        (folder / subject).mkdir(parents=True)
        (folder / subject / f"{subject}_01_sw.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES / "japanese_vowels"))
    import demo

    yield demo
    for name in ("demo", "pytorch_model"):
        sys.modules.pop(name)


def test_the_demo_with_a_short_training(demo, monkeypatch, tmp_path, capfd):
    config = load_config(EXAMPLES / "japanese_vowels" / "config.toml")
    short = tmp_path / "short.toml"
    short.write_text(config_to_toml(replace(config, training=replace(config.training, epochs=3))))
    monkeypatch.setattr(demo, "CONFIG", short)
    output = tmp_path / "output"
    demo.main(["-o", str(output)])
    lines = capfd.readouterr().out.splitlines()
    rows = [line.split() for line in lines[1:8]]
    assert [tuple(row[:2]) for row in rows] == [
        ("PyTorch", "float32"),
        *((engine, "float32") for engine in ("kernel", "onnxruntime", "litert")),
        *((engine, "int8") for engine in ("kernel", "onnxruntime", "litert")),
    ]
    accuracy, difference = [float(row[2]) for row in rows], [float(row[3]) for row in rows[1:]]
    assert accuracy[0] == accuracy[1] == accuracy[2] == accuracy[3]
    assert max(difference[:3]) < 1e-5
    assert all(1e-4 < value < 0.2 for value in difference[3:])
    assert difference[3] == difference[4]  # onnxruntime gives the kernel's own integers
    data = demo.japanese_vowels()
    files = ("model.safetensors", "float32.onnx", "float32.tflite", "int8.safetensors", "int8.onnx", "int8.tflite")
    for file, row in zip(files, rows[1:], strict=True):
        assert int(row[4]) == (output / file).stat().st_size
    assert edgegru.evaluate(output / "model.safetensors", data).metrics["accuracy"] == pytest.approx(
        accuracy[1], abs=1e-4
    )
    assert (output / "probabilities.png").read_bytes().startswith(b"\x89PNG")
    assert load(output / "int8.onnx").config.outputs[0].labels == tuple("123456789")


def test_the_watch_example_from_a_folder_to_files_that_are_scored(monkeypatch, tmp_path, capfd):
    monkeypatch.syspath_prepend(str(EXAMPLES / "har_watch_phone"))
    import run

    config = load_config(EXAMPLES / "har_watch_phone" / "config.toml")
    short = tmp_path / "short.toml"
    short.write_text(config_to_toml(replace(config, training=replace(config.training, epochs=2))))
    monkeypatch.setattr(run, "CONFIG", short)
    data = write_watch_recordings(tmp_path / "data", ("s01", "s02"))
    test = write_watch_recordings(tmp_path / "test", ("s03",))
    run.main(["--data", str(data), "--test", str(test), "-o", str(tmp_path / "out")])
    sys.modules.pop("run")
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(re.search(r" \d+ bytes  accuracy [01]\.\d{4}  macro-F1 [01]\.\d{4}$", line) for line in lines)
    assert len({line.split("accuracy")[1] for line in lines[:3]}) == 1  # the float files say the same
    config = load(tmp_path / "out" / "int8.tflite").config
    assert (config.input.rate, config.outputs[0].labels) == (50.0, ("STANDING_UP", "WALKING"))


@pytest.mark.parametrize(("example", "limit"), [("japanese_vowels", 48), ("har_watch_phone", 32)])
def test_a_configuration_of_an_example(example, limit):
    config = load_config(EXAMPLES / example / "config.toml")
    assert config.model.hidden_size <= limit
    assert config.training.patience == 0  # a fixed number of epochs: nothing is chosen on the test part
