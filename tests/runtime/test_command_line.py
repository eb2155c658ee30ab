"""``python -m edgegru_runtime``: run, info and bench as a user meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from edgegru_export.saving import save_artifact
from edgegru_runtime import load
from edgegru_runtime.command_line import main
from edgegru_runtime.session import unpacked
from edgegru_runtime.session_file import SessionFile
from tests.builders import TOKENS, changed, from_arrays, mixed_artifact, random_artifact, random_integer_artifact
from tests.runtime.exported_files import write_export

ARTIFACT = random_artifact(0, 3, (5, 4))
LINES = [f"{0.1 * i},{-0.2 * i},{i}\n" for i in range(12)]
COMMAND = [sys.executable, "-m", "edgegru_runtime"]

Feed = Callable[[str], None]


@pytest.fixture
def model(tmp_path: Path) -> str:
    save_artifact(ARTIFACT, tmp_path / "model.safetensors")
    return str(tmp_path / "model.safetensors")


@pytest.fixture
def feed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    """Give text to standard input."""
    path = tmp_path_factory.mktemp("feed") / "input"
    with ExitStack() as stack:

        def set_input(text: str) -> None:
            path.write_text(text)
            monkeypatch.setattr("sys.stdin", stack.enter_context(path.open()))

        yield set_input


def results(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def expected_probabilities(model: str, lines: list[str]) -> list[list[float]]:
    stream = load(model).stream()
    return [stream.step([float(field) for field in line.split(",")]) for line in lines]


def test_run_answers_every_line(model: str, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    feed("".join(LINES))
    assert main(["run", model]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    found = results(captured.out)
    assert [line["i"] for line in found] == list(range(12))
    np.testing.assert_array_equal(
        np.float32([line["probs"] for line in found]), np.float32(expected_probabilities(model, LINES))
    )
    assert all(line["p"] == max(line["probs"]) for line in found)


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_run_on_exported_files(form: str, feed: Feed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write_export(ARTIFACT, form, tmp_path))
    engine = {"onnx": "onnxruntime", "tflite": "litert"}[form]
    feed("".join(LINES))
    assert main(["run", path, "-", "--engine", engine]) == 0
    found = [line["probs"] for line in results(capsys.readouterr().out)]
    np.testing.assert_array_equal(np.float32(found), np.float32(expected_probabilities(path, LINES)))


def test_run_reads_files_and_writes_one_whole(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text("c0,c1,c2\n" + "".join(LINES))
    assert main(["run", model, str(source), "-o", str(output)]) == 0
    assert capsys.readouterr().out == ""
    assert [line["i"] for line in results(output.read_text())] == list(range(12))

    before = output.read_bytes()
    assert main(["run", model, str(source), "-o", str(output)]) == 1
    assert capsys.readouterr().err == f"error: {output}: exists, expected a new name or --force\n"
    source.write_text("1,2,3\n1,2\n")
    assert main(["run", model, str(source), "-o", str(output), "--force"]) == 1
    assert output.read_bytes() == before
    source.write_text("1,2,3\n")
    assert main(["run", model, str(source), "-o", str(output), "--force"]) == 0
    assert len(output.read_text().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "model.safetensors", "out.jsonl"]


def test_state_goes_on_in_the_next_process(
    model: str, feed: Feed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = str(tmp_path / "state")
    for start, end in ((0, 5), (5, 5), (5, 12)):
        feed("".join(LINES[start:end]))
        assert main(["run", model, "--state-file", state]) == 0
    found = results(capsys.readouterr().out)
    assert [line["i"] for line in found] == list(range(12))
    np.testing.assert_array_equal(
        np.float32([line["probs"] for line in found]), np.float32(expected_probabilities(model, LINES))
    )


def test_a_bad_line_ends_the_run_and_keeps_the_state(
    model: str, feed: Feed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, source = tmp_path / "state", tmp_path / "in.csv"
    source.write_text("".join(LINES[:5]) + "1,nan,3\n" + "".join(LINES[5:]))
    assert main(["run", model, str(source), "--state-file", str(state)]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 5
    assert captured.err == f"error: {source}, line 6: channel c1 is nan, expected a finite number\n"
    assert saved_steps(model, tmp_path) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "MODEL", "no.csv"], "no.csv: cannot be read: No such file or directory"),
        (["run", "MODEL", "/"], "/: is a folder, expected a file"),
        (["run", "MODEL", "--state-file", "no/state"], "no/state: cannot be written: No such file or directory"),
        (["run", "MODEL", "--state-file", "/"], "/: is not a regular file"),
        (["run", "MODEL", "-o", "no/out"], "no/out: cannot be written: No such file or directory"),
        (["run", "MODEL", "-o", "/dev/null", "--force"], "/dev/null: is not a regular file"),
        (["run", "MODEL", "-o", "out", "--state-file", "./out"], "out: is to hold the results and the state"),
        (["run", "MODEL", "--engine", "litert"], "engine litert cannot run this model, expected kernel or reference"),
        (["run", "no.safetensors"], "no.safetensors: cannot be read: No such file"),
        (["info", "no.onnx"], "no.onnx: cannot be read: No such file"),
        (["info", "/"], "/: is not a regular file"),
        (["bench", "MODEL", "no.tflite"], "no.tflite: cannot be read: No such file"),
    ],
)
def test_failures_are_one_sentence(
    model: str, feed: Feed, arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(LINES[0])
    before = sorted(tmp_path.iterdir())
    assert main([model if argument == "MODEL" else argument for argument in arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {message}")
    assert len(captured.err.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run"],
        ["run", "m", "--engine", "tpu"],
        ["run", "m", "--force", "input", "another"],
        ["run", "m", "--format", "xml"],
        ["bench", "m", "--steps", "0"],
    ],
)
def test_wrong_command_lines_are_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments, prog="edgegru") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: edgegru")


def test_too_little_memory_is_one_sentence(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_nothing(path: str) -> None:
        raise MemoryError

    monkeypatch.setattr("edgegru_runtime.model.read_source", read_nothing)
    assert main(["info", model]) == 1
    assert capsys.readouterr() == ("", "error: there is not enough memory\n")


def test_options_may_stand_anywhere(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = tmp_path / "samples.csv"
    samples.write_text(LINES[0])
    answers = []
    for arguments in (
        ["run", "--format", "csv", model, str(samples)],
        ["run", model, "--format", "csv", str(samples)],
        ["run", model, str(samples), "--format", "csv"],
    ):
        assert main(arguments) == 0
        answers.append(capsys.readouterr().out)
    assert len(set(answers)) == 1
    assert main(["bench", model, "--steps", "3", model]) == 0
    assert capsys.readouterr().out.count(model) == 2


@pytest.mark.parametrize("command", [[], ["run"], ["service"], ["info"], ["bench"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"], prog="edgegru") == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"usage: {' '.join(['edgegru', *command])}")
    assert captured.err == ""


def test_info(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", model]) == 0
    text = capsys.readouterr().out
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    # 3·5·(3 + 5) + 2·15 = 150; 3·4·(5 + 4) + 2·12 = 132; 4·4 + 4 = 20
    assert lines["gru0"].split() == ["gru0", "gru", "standardise", "3", "5", "reset", "after", "150", "120"]
    assert lines["gru1"].split()[-2:] == ["132", "108"]
    assert lines["dense"].split()[-2:] == ["20", "16"]
    assert lines["parameters"].split()[1] == "302"
    assert lines["per"].split()[2] == "244"
    assert lines["weights"].split()[1] == "1,232"  # 302 and mean and std of 3 channels, 4 bytes each
    assert lines["state"].split()[1] == "36"
    assert ARTIFACT.config.identity in text
    assert "c0, c1, c2" in text
    assert "class 0, class 1, class 2, class 3" in text


def test_a_model_of_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_artifact(mixed_artifact(1, **TOKENS), tmp_path / "model")
    (tmp_path / "tokens.csv").write_text("c0\n3\n5\n11\n")
    assert main(["info", str(tmp_path / "model")]) == 0
    assert "\noutput      next_token from output\n" in capsys.readouterr().out
    for emit, lines in (("all", 3), ("events", 0)):
        assert main(["run", str(tmp_path / "model"), "--source", str(tmp_path / "tokens.csv"), "--emit", emit]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert len(found) == lines and all(line.keys() == {"i", "token", "log_p"} for line in found)


def test_info_shows_what_is_not_usual(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_artifact(random_artifact(reset="before", gates="hard_sigmoid_6", candidate="relu"), tmp_path / "model")
    assert main(["info", str(tmp_path / "model")]) == 0
    assert "hard_sigmoid_6, relu, reset before" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["artifact", "onnx", "tflite variables"])
@pytest.mark.parametrize("integer", [False, True])
def test_info_as_json(form: str, integer: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = random_integer_artifact(0, 3, (5, 4)) if integer else ARTIFACT
    path = tmp_path / "model.safetensors"
    if form == "artifact":
        save_artifact(artifact, path)
    else:
        path = write_export(artifact, form, tmp_path)
    assert main(["info", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["scheme"]) == (form.split(" ", 1)[0], artifact.config.scheme)
    assert found["identity"] == artifact.config.identity
    assert found["file_bytes"] == path.stat().st_size
    assert (found["parameters"], found["multiply_adds"]) == (302, 244)
    assert found["state_bytes"] == (18 if integer and "tflite" in form else 36)
    if form == "artifact":
        assert found["weight_bytes"] == sum(len(tensor.data) for tensor in artifact.tensors.values())
    else:
        assert found["weight_bytes"] is None
        assert found["export"]["state"] == ("variables" if "variables" in form else "io")


def test_info_shows_where_a_model_comes_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = changed(ARTIFACT.config, provenance={"seed": 7, "accuracy": 0.5})
    save_artifact(from_arrays(config, {n: ARTIFACT.array(n) for n in ARTIFACT.tensors}), tmp_path / "m.safetensors")
    assert main(["info", str(tmp_path / "m.safetensors")]) == 0
    text = capsys.readouterr().out
    assert "provenance  accuracy: 0.5\n            seed: 7\n" in text


def test_bench(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported = str(write_export(ARTIFACT, "onnx", tmp_path))
    assert main(["bench", model, exported, "--steps", "50", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    measured = [(m["file"], m["engine"], m["steps"]) for m in found]
    assert measured == [(model, "kernel", 50), (exported, "onnxruntime", 50)]
    for m in found:
        assert 0 < m["median_us"] <= m["p99_us"]
        assert 0 < m["steps_per_second"] < 1e8
        assert m["load_ms"] > 0
        assert 5e6 < m["memory_bytes"] < 1e9
    assert found[0]["memory_bytes"] < found[1]["memory_bytes"]  # each in a process of its own

    assert main(["bench", model, "--steps", "10"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert " ".join(header.split()) == "file engine scheme median µs p99 µs steps/s load ms memory MB"
    assert line.split()[:3] == [model, "kernel", "float32"]


def test_bench_says_what_the_measuring_process_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_export(ARTIFACT, "onnx", tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"Softmax", b"Softmux"))
    assert main(["bench", str(path), "--steps", "10"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {path}: ONNX Runtime refuses it")
    assert len(captured.err.splitlines()) == 1


@pytest.fixture
def running(model: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``run`` with a live pipe at both ends and a state file."""
    command = [*COMMAND, "run", model, "--state-file", str(tmp_path / "state")]
    pipe = subprocess.PIPE
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the caller's shell may ignore it
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        yield process
        process.kill()


def answer(process: subprocess.Popen[bytes], line: str) -> dict[str, object]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line.encode())
    return json.loads(process.stdout.readline())


def saved_steps(model: str, tmp_path: Path) -> int:
    stream = load(model).stream()
    file = SessionFile(str(tmp_path / "state"), load(model).config.identity)
    file.close()
    assert file.content is not None
    stream.state = unpacked(file.content, len(stream.state)).lanes[0][1]
    return stream.steps


def test_each_line_is_answered_before_the_next_arrives(running: subprocess.Popen[bytes]) -> None:
    for index, line in enumerate(LINES):
        assert answer(running, line)["i"] == index


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_stream_and_save_the_state(
    number: signal.Signals, running: subprocess.Popen[bytes], model: str, tmp_path: Path
) -> None:
    for line in LINES[:4]:
        answer(running, line)
    running.send_signal(number)
    assert running.wait(10) == 0
    assert running.stderr is not None
    assert running.stderr.read().decode() == f"stopped by {number.name}\n"
    assert saved_steps(model, tmp_path) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "state"]


def test_a_second_signal_does_not_wait_for_the_reader(
    running: subprocess.Popen[bytes], model: str, tmp_path: Path
) -> None:
    answer(running, LINES[0])
    assert running.stdin is not None
    os.set_blocking(running.stdin.fileno(), False)
    accepted = time.monotonic()
    while time.monotonic() < accepted + 1:  # no byte for a second: the process waits for its reader, who is us
        if running.stdin.write(b"1,2,3\n"):
            accepted = time.monotonic()
        else:
            time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(0.3)
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 0
    assert saved_steps(model, tmp_path) > 100


def test_output_appears_when_a_signal_ends_the_stream(model: str, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    command = [*COMMAND, "run", model, "--state-file", str(tmp_path / "state"), "-o", str(output)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        process.stdin.write("".join(LINES).encode())
        deadline = time.monotonic() + 20
        while not (tmp_path / "state").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    steps = [line["i"] for line in results(output.read_text())]
    assert steps == list(range(saved_steps(model, tmp_path)))


def test_a_reader_that_goes_ends_the_stream_quietly(
    running: subprocess.Popen[bytes], model: str, tmp_path: Path
) -> None:
    answer(running, LINES[0])
    assert running.stdout is not None
    assert running.stdin is not None
    running.stdout.close()
    running.stdin.write(LINES[1].encode())
    assert running.wait(10) == 0
    assert running.stderr is not None
    assert running.stderr.read() == b""
    assert saved_steps(model, tmp_path) == 2


def test_a_full_disk_is_one_sentence(model: str) -> None:
    with open("/dev/full", "wb") as full:
        command = [*COMMAND, "run", model]
        finished = subprocess.run(command, input=LINES[0].encode(), stdout=full, stderr=subprocess.PIPE, check=False)
    assert finished.returncode == 1
    assert finished.stderr.decode() == "error: standard output cannot be written: No space left on device\n"


def test_saturated_values_are_told(model: str, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    feed("1e30,0,0\n0,0,1e300\n")
    assert main(["run", model]) == 0
    assert json.loads(capsys.readouterr().err)["clipped"] == 2


def test_text_that_the_terminal_cannot_show(tmp_path: Path) -> None:
    config = changed(ARTIFACT.config, input=type(ARTIFACT.config.input)(3, ("größe", "b", "c"), ("µT", "", ""), None))
    save_artifact(from_arrays(config, {n: ARTIFACT.array(n) for n in ARTIFACT.tensors}), tmp_path / "m.safetensors")
    command = [*COMMAND, "info", str(tmp_path / "m.safetensors")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert r"gr\xf6\xdfe [\xb5T], b, c" in finished.stdout
