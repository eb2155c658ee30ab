"""The ``edgegru`` command: one public function behind each name, results and messages where they belong."""

import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys

import click
import pytest

import edgegru
from edgegru.command_line import INTERRUPTED, cli, main
from edgegru.configuration import load_config
from edgegru_export.saving import save_artifact
from edgegru_runtime import Model, read_artifact
from tests.builders import random_artifact
from tests.host.recordings_on_disk import write_labelled_folder

OWN = ("train", "compare", "evaluate", "tune", "quantize", "export", "verify", "import")
HANDED_OVER = ("run", "translate", "info", "bench")
UNSET = click.Option(["--unset"]).default  # what click calls a default that nobody gave
ONLY_ON_THE_COMMAND_LINE = {"as_json", "print_config"}  # how to print, not what to do


@pytest.fixture
def folder(tmp_path):
    """A float model, its int8 form, and recordings that it labels itself."""
    artifact = random_artifact(1, rate=None)
    save_artifact(artifact, tmp_path / "float.safetensors")
    write_labelled_folder(tmp_path / "data", Model(artifact))
    edgegru.quantize(tmp_path / "float.safetensors", tmp_path / "data", tmp_path / "int8.safetensors")
    return tmp_path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def run_process(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "edgegru", *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


def test_commands_come_in_the_order_of_the_pipeline(capsys):
    assert run("--help") == 0
    listed = capsys.readouterr().out.split("Commands:")[1]
    assert [line.split()[0] for line in listed.strip().splitlines()] == [*OWN[:-1], "translator", *HANDED_OVER, OWN[-1]]


def test_no_help_imports_torch_or_numpy():
    script = (
        "import sys\nfrom edgegru.command_line import main\n"
        f"assert all(main([*name, '--help']) == 0 for name in ([], *([n] for n in {[*OWN, *HANDED_OVER]})))\n"
        "print(sorted({'torch', 'numpy', 'matplotlib', 'onnx', 'onnxruntime'} & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stderr == "[]\n"


def test_only_training_imports_torch(folder):
    model, data = str(folder / "float.safetensors"), str(folder / "data")
    commands = [
        ["evaluate", model, "--data", data],
        ["quantize", model, "--calibration", data, "--data", data, "-o", str(folder / "new.safetensors")],
        ["export", model, "--format", "onnx", "-o", str(folder / "m.onnx")],
        ["export", model, "--format", "tflite", "-o", str(folder / "m.tflite")],
        ["verify", str(folder / "m.onnx"), "--against", model],
        ["info", model],
    ]
    script = (
        "import sys\nfrom edgegru.command_line import main\n"
        f"assert [main(command) for command in {commands}] == [0] * {len(commands)}\n"
        "assert not {'torch', 'matplotlib'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)


def test_importing_the_package_imports_nothing_heavy():
    script = "import sys, edgegru; print(sorted({'torch', 'numpy', 'click', 'edgegru_export'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_every_public_name_is_there_and_no_other():
    for name in edgegru.__all__:
        assert getattr(edgegru, name) is not None
    assert set(edgegru.__all__) <= set(dir(edgegru))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = edgegru.no_such_name


@pytest.mark.parametrize("name", OWN)
def test_a_command_is_one_public_function_with_the_same_parameters(name):
    signature = inspect.signature(getattr(edgegru, "import_model" if name == "import" else name)).parameters
    context = click.Context(cli.commands[name])
    options = {option.name: option for option in cli.commands[name].params}
    assert set(options) - ONLY_ON_THE_COMMAND_LINE == set(signature)
    for parameter in signature.values():
        option = options[parameter.name]
        if parameter.default is inspect.Parameter.empty:
            # train --print-config needs no output, quantize --scheme dynamic-w8 no calibration
            assert option.required or parameter.name in ("output", "calibration")
        else:
            default = option.get_default(context)
            assert (None if default is UNSET else default) == parameter.default


@pytest.mark.parametrize("name", HANDED_OVER)
def test_a_command_of_the_device_too(name, capsys):
    signature = inspect.signature(getattr(edgegru, "import_model" if name == "import" else name)).parameters
    assert run(name, "--help") == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: edgegru {name} ")
    options = {option.replace("-", "_") for option in re.findall(r"--([a-z-]+)", text)} - {"help", "json"}
    arguments = {argument.lower() for argument in re.findall(r"^  ([A-Z]+) ", text, re.MULTILINE)}
    assert options | arguments == set(signature)


def test_the_functions_of_the_device_do_what_the_commands_do(folder, capsys):
    model, samples = folder / "float.safetensors", folder / "samples.csv"
    samples.write_text("c0,c1,c2\n1,2,3\n4,5,6\n")
    edgegru.run(model, samples, engine="kernel")
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 2
    assert run("run", model, samples, "--engine", "kernel") == 0
    assert capsys.readouterr().out == printed
    edgegru.run(model, samples, state_file=folder / "state", output=folder / "out")
    assert (folder / "out").read_text() == printed
    assert run("info", model, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(edgegru.info(model)))
    (measurement,) = edgegru.bench(model, steps=10)
    assert (measurement.steps, measurement.engine) == (10, "kernel")
    assert run("bench", model, folder / "int8.safetensors", "--steps", "10", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == 2


def test_evaluate_prints_a_table(folder, capsys):
    assert run("evaluate", folder / "float.safetensors", "--data", folder / "data") == 0
    captured = capsys.readouterr()
    assert "float32 on kernel: 3 recordings" in captured.out
    assert "accuracy  1\n" in captured.out
    assert "class 3" in captured.out
    assert captured.err == ""


def test_evaluate_draws_and_says_the_same_in_json(folder, capsys):
    picture = folder / "confusion.png"
    assert run("evaluate", folder / "int8.safetensors", "--data", folder / "data", "--plot", picture, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    expected = edgegru.evaluate(folder / "int8.safetensors", folder / "data").to_dict()
    assert printed == json.loads(json.dumps(expected))
    assert picture.stat().st_size > 1000


def test_quantize_prints_tensors_sizes_and_metrics(folder, capsys):
    arguments = ("quantize", folder / "float.safetensors", "--calibration", folder / "data", "-o", folder / "new")
    assert run(*arguments, "--data", folder / "data") == 0
    text = capsys.readouterr().out
    for part in ("gru0.weight_hh", "int8", "15×5", "standardise", "file ", "accuracy"):
        assert part in text
    assert read_artifact(folder / "new").config.scheme == "static-w8a8"
    assert run(*arguments, "--force", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["scheme"] == "static-w8a8"
    assert report["metrics_before"] is None


def test_quantize_keeps_single_nodes_and_writes_a_page(folder, capsys, monkeypatch):
    pages = []
    monkeypatch.setattr("edgegru.report_page.write_report", lambda path, *_: pages.append(path))
    arguments = ("quantize", folder / "float.safetensors", "--calibration", folder / "data", "-o", folder / "new")
    keep = ("--keep", "standardise=static-w8a16", "--keep", "gru0=static-w8a8", "--report", folder / "page.html")
    assert run(*arguments, *keep, "--json") == 0
    assert json.loads(capsys.readouterr().out)["keep"] == {"standardise": "static-w8a16"}
    assert read_artifact(folder / "new").config.quantization.keep == {"standardise": "static-w8a16"}
    assert pages == [folder / "page.html"]


@pytest.mark.parametrize("scheme", ["static-w8a8", "static-w8a16", "dynamic-w8"])
def test_only_dynamic_weights_need_no_calibration(folder, capsys, scheme):
    arguments = ("quantize", folder / "float.safetensors", "--scheme", scheme, "-o", folder / "new")
    if scheme == "dynamic-w8":
        assert run(*arguments) == 0
        assert read_artifact(folder / "new").config.scheme == scheme
    else:
        assert run(*arguments) == 1
        assert capsys.readouterr().err.startswith(f"error: {scheme} has no calibration data, expected recordings")
        assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("gru0",), "'gru0' was given, expected NODE=SCHEME"),
        (("=static-w8a16",), "'=static-w8a16' was given, expected NODE=SCHEME"),
        (("gru0=",), "'gru0=' was given, expected NODE=SCHEME"),
        (("gru0=static-w8a16", "gru0=static-w8a8"), "node gru0 was given static-w8a16 and static-w8a8, expected one"),
    ],
)
def test_a_malformed_keep_is_wrong_usage(capsys, given, sentence):
    options = [part for value in given for part in ("--keep", value)]
    assert run("quantize", "m", "--calibration", "d", "-o", "o", *options) == 2
    assert f"Error: Invalid value for '--keep': {sentence}" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["float", "int8"])
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_export_then_verify(folder, capfd, model, format):
    artifact, file = folder / f"{model}.safetensors", folder / f"{model}.{format}"
    assert run("export", artifact, "--format", format, "-o", file) == 0
    assert "computes what its model computes" in capfd.readouterr().out
    assert run("verify", file, "--against", artifact, "--json") == 0
    report = json.loads(capfd.readouterr().out)
    assert report["passed"] is True
    assert report["steps"] == 500


def test_an_int8_state_comes_with_a_warning(folder, capfd):
    arguments = ("export", folder / "int8.safetensors", "--format", "tflite", "-o", folder / "small.tflite")
    assert run(*arguments, "--allow-int8-state", "--json") == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["passed"] is True
    assert "warning: the state has 8 bits" in captured.err
    assert run(*arguments, "--force") == 0
    assert "warning" not in capfd.readouterr().err


def test_verify_says_when_a_file_is_of_another_model(folder, capsys):
    file = folder / "float.onnx"
    assert run("export", folder / "float.safetensors", "--format", "onnx", "-o", file) == 0
    capsys.readouterr()
    assert run("verify", file, "--against", folder / "int8.safetensors") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "another model" in captured.err


def test_print_config_shows_every_default_and_reads_back(tmp_path, capsys):
    config = tmp_path / "config.toml"
    config.write_text("[model]\nhidden_size = 7\n")
    assert run("train", "--config", config, "--print-config") == 0
    text = capsys.readouterr().out
    assert "learning_rate = " in text
    (tmp_path / "full.toml").write_text(text)
    assert load_config(tmp_path / "full.toml") == load_config(config)


def test_train_prints_where_the_model_is(folder, capsys):
    config = folder / "config.toml"
    config.write_text("[data]\nvalidation_fraction = 0.0\n[model]\nhidden_size = 3\n[training]\nepochs = 1\n")
    trained = folder / "trained"
    assert run("train", "--config", config, "--data", folder / "data", "--seed", 3, "-o", trained) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{trained / 'model.safetensors'}\n"
    assert read_artifact(trained / "model.safetensors").config.provenance["seed"] == 3


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("torch", ("train", "--config", "c.toml", "--data", "d", "-o", "out")),
        ("matplotlib", ("evaluate", "m", "--data", "d", "--plot", "p.png")),
        ("matplotlib", ("quantize", "m", "--calibration", "d", "-o", "o", "--report", "r.html")),
    ],
)
def test_a_missing_extra_is_named(monkeypatch, capsys, module, arguments):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find_spec(name))
    assert run(*arguments) == 1
    assert (
        capsys.readouterr()
        .err.strip()
        .endswith(f'needs {module}, which is not installed: pip install "edgegru[train]"')
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("train",),
        ("train", "--config", "c.toml"),
        ("evaluate", "m"),
        ("evaluate", "m", "--data", "d", "--part", "nowhere"),
        ("quantize", "m", "--calibration", "d"),
        ("quantize", "m", "--calibration", "d", "-o", "o", "--margin", "0.5"),
        ("export", "m", "--format", "flac", "-o", "o"),
        ("verify", "f", "--against", "m", "--steps", "10"),
        ("evaluate", "m", "--data", "d", "--no-such-option"),
    ],
)
def test_wrong_usage_is_2_and_says_how(capsys, arguments):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage: edgegru" in captured.err


def test_a_reader_that_leaves_is_no_error_message():
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "edgegru", "--help"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert result.stderr == ""
    assert result.returncode == 1


def test_a_full_disk_is_one_sentence():
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "edgegru", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (result.returncode, result.stderr) == (1, "error: No space left on device\n")


def test_ctrl_c_is_one_sentence(monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(edgegru, "verify", interrupted)
    assert run("verify", "f", "--against", "m") == INTERRUPTED
    captured = capsys.readouterr()
    assert (captured.out, captured.err.strip()) == ("", "error: interrupted")


def test_the_module_is_the_command():
    result = run_process("--version")
    assert (result.returncode, result.stdout) == (0, f"edgegru, version {edgegru.__version__}\n")
