"""The examples: the demo runs and its table is true; every configuration is one that can be trained."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

import edgegru
from edgegru.configuration import config_to_toml, load_config
from edgegru_runtime import load

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


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


@pytest.mark.parametrize(("example", "limit"), [("japanese_vowels", 48), ("har_watch_phone", 60), ("cortex_m", 24)])
def test_a_configuration_of_an_example(example, limit):
    config = load_config(EXAMPLES / example / "config.toml")
    assert config.model.hidden_size <= limit
    assert config.training.patience == 0  # a fixed number of epochs: nothing is chosen on the test part
