"""Whole runs as processes: what they keep, what signals do to them, and what they say."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from edgegru_export.saving import save_artifact
from edgegru_runtime.counters import FATES
from edgegru_runtime.model_config import DecisionConfig, OutputConfig, ResidualConfig
from tests.builders import changed, random_config, random_floats, random_integer_artifact
from tests.runtime.killed_runs import check_file, check_pipe
from tests.runtime.processes import COMMAND, DEADLINE, running, said_until, until


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With two models of the same size in it, and a log of 200 records."""
    monkeypatch.chdir(tmp_path)
    save_artifact(random_integer_artifact(0, 3, (8,)), "model.safetensors")
    save_artifact(random_integer_artifact(1, 3, (8,)), "other.safetensors")
    Path("log.csv").write_text("t,c0,c1,c2\n" + "".join(LINES))
    return tmp_path


def _lines() -> list[str]:
    chosen = random.Random(0)
    return [
        f"{t / 50},{chosen.gauss(0, 1):.4f},{chosen.gauss(0, 1):.4f},{chosen.gauss(0, 1):.4f}\n" for t in range(200)
    ]


LINES = _lines()


def run(*arguments: str, input: str = "", expected: int = 0) -> tuple[list[dict[str, Any]], list[str]]:
    """The results and the sentences of a run."""
    process = _ended(*arguments, input=input, expected=expected)
    said = [line for line in process.stderr.splitlines() if not line.startswith("{")]
    return [json.loads(line) for line in process.stdout.splitlines()], said


def counted(*arguments: str, input: str = "", expected: int = 0) -> dict[str, int]:
    """The counters of a run."""
    process = _ended("--counters", *arguments, input=input, expected=expected)
    counters: dict[str, int] = json.loads(next(line for line in process.stderr.splitlines() if line.startswith("{")))
    assert counters["read"] == sum(counters[fate] for fate in FATES)
    return counters


def _ended(*arguments: str, input: str, expected: int) -> subprocess.CompletedProcess[str]:
    process = subprocess.run([*COMMAND, *arguments], input=input, capture_output=True, text=True, check=False)
    assert process.returncode == expected, process.stderr
    return process


def answer(process: subprocess.Popen[str], line: str) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(line)
    process.stdin.flush()
    result: dict[str, Any] = json.loads(process.stdout.readline())
    return result


def test_a_file_is_read_on_from_where_it_was_left() -> None:
    whole, _ = run("log.csv")
    Path("growing.csv").write_text("t,c0,c1,c2\n" + "".join(LINES[:70]))
    first, _ = run("growing.csv", "--state-file", "state")
    with open("growing.csv", "a") as log:
        log.writelines(LINES[70:])
    second, said = run("growing.csv", "--state-file", "state")
    assert first + second == whole
    assert said == ["growing.csv: continues behind line 71"]
    third, _ = run("growing.csv", "--state-file", "state")
    assert third == []


def test_another_file_is_read_from_its_beginning() -> None:
    first, _ = run("log.csv", "--state-file", "state")
    Path("next.csv").write_text("c0,c1,c2\n1,2,3\n")
    second, said = run("next.csv", "--state-file", "state")
    assert [result["i"] for result in second] == [len(first)]
    assert said == ["next.csv: is not the input that was read before; it is read from its beginning"]


def test_counters_and_decisions_are_kept_with_the_state() -> None:
    options = ("--smoothing", "mean:5", "--threshold", "0.3", "--emit", "events", "--on-nan", "hold", "--max-gap", "1")
    whole, _ = run("log.csv", *options)
    found = []
    for start in range(0, 200, 40):
        results, _ = run(*options, "--state-file", "state", input="t,c0,c1,c2\n" + "".join(LINES[start : start + 40]))
        found += results
    assert len(whole) > 1
    assert found == whole
    assert counted(*options, "--state-file", "state")["processed"] == 200


@pytest.mark.parametrize("content", [b"", b"EGRUSESS torn", b"\0" * 5000, b"{}"])
def test_a_state_file_that_cannot_be_used_is_set_aside(content: bytes) -> None:
    Path("state").write_bytes(content)
    results, said = run("--state-file", "state", input="1,2,3\n")
    assert [result["i"] for result in results] == [0]
    assert len(said) == 1
    assert said[0].startswith("state: ")
    assert said[0].endswith("; it is now state.aside-1, and the state begins anew")
    assert Path("state.aside-1").read_bytes() == content
    results, said = run("--state-file", "state", input="1,2,3\n")
    assert [result["i"] for result in results] == [1]
    assert said == []


def test_the_state_of_another_model_is_set_aside() -> None:
    run("--state-file", "state", input="1,2,3\n")
    before = Path("state").read_bytes()
    os.replace("other.safetensors", "model.safetensors")
    results, said = run("--state-file", "state", input="1,2,3\n")
    assert [result["i"] for result in results] == [0]
    assert "is of another model; it is now state.aside-1" in said[0]
    assert Path("state.aside-1").read_bytes() == before


def test_a_bad_line_ends_a_run_with_its_state_saved() -> None:
    _, said = run("--state-file", "state", input="1,2,3\n4,5,6\n1,x,3\n7,8,9\n", expected=1)
    assert said[-1] == "error: standard input, line 3: channel c1 is 'x', expected a number"
    results, _ = run("--state-file", "state", input="7,8,9\n")
    assert [result["i"] for result in results] == [2]
    counters = counted("--state-file", "state")
    assert (counters["processed"], counters["refused"], counters["unfinished"]) == (3, 1, 1)


def test_bad_lines_can_be_skipped_and_counted() -> None:
    counters = counted("--on-bad-record", "skip", input="1,2,3\nnonsense\n\x00\n1,2\n4,5,6\n")
    assert (counters["processed"], counters["refused"]) == (2, 3)


def test_a_replay_gives_the_bytes_of_the_live_run() -> None:
    options = ("--max-gap", "0.5", "--on-gap", "hold", "--on-nan", "hold", "--emit", "all", "--stamp")
    lines = ["0.1,0.2,0.3\n", "nan,1,2\n", "1,,2\n", "0.3,inf,-1\n", "!reset\n", "4,5,6\n"]
    with running(*options, "--record", "recorded.jsonl", "--state-every", "1", "--state-file", "state") as process:
        assert process.stdin is not None
        for line in lines:
            process.stdin.write(line)
            process.stdin.flush()
            time.sleep(0.01)
        live, _ = process.communicate(timeout=DEADLINE)
    assert live
    for speed in ((), ("--replay-speed", "1"), ("--replay-speed", "50")):
        replayed = subprocess.run(
            [*COMMAND, "recorded.jsonl", *options, *speed],
            capture_output=True,
            text=True,
            check=True,
        )
        assert replayed.stdout == live


def test_a_stop_drains_and_saves() -> None:
    for number, name in ((signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")):
        with running("--state-file", name) as process:
            for i in range(3):
                assert answer(process, "1,2,3\n")["i"] == i
            process.send_signal(number)
            _, said = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0
        assert said.splitlines()[0] == f"stopped by {name}"
        assert run("--state-file", name, input="1,2,3\n")[0][0]["i"] == 3


def test_a_signal_reloads_the_model() -> None:
    with running("--state-file", "state") as process:
        answer(process, "1,2,3\n")
        good = Path("model.safetensors").read_bytes()
        Path("model.safetensors").write_bytes(good[:-5])
        process.send_signal(signal.SIGHUP)
        assert "the model is not reloaded: model.safetensors" in said_until(process, "reloaded")
        assert answer(process, "1,2,3\n")["i"] == 1
        Path("new").write_bytes(good)
        os.replace("new", "model.safetensors")
        process.send_signal(signal.SIGHUP)
        assert said_until(process, "reloaded") == "the model is reloaded\n"
        assert answer(process, "1,2,3\n")["i"] == 2
        os.replace("other.safetensors", "model.safetensors")
        process.send_signal(signal.SIGHUP)
        assert "another one, its state begins anew" in said_until(process, "is reloaded")
        assert answer(process, "1,2,3\n")["i"] == 0
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE)
    assert Path("state.aside-1").exists()
    assert run("--state-file", "state", input="1,2,3\n")[0][0]["i"] == 1


def test_a_signal_dumps_the_counters() -> None:
    with running() as process:
        answer(process, "1,2,3\n")
        process.send_signal(signal.SIGUSR1)
        assert json.loads(said_until(process, "{"))["steps"] == 1
        assert answer(process, "1,2,3\n")["i"] == 1


def test_the_state_is_saved_while_the_run_goes_on() -> None:
    with running("--state-file", "state", "--state-every", "0.05s") as process:
        answer(process, "1,2,3\n")
        before = Path("state").read_bytes()
        until(lambda: Path("state").read_bytes() != before)
        process.kill()
    results, _ = run("--state-file", "state", input="1,2,3\n")
    assert results[0]["i"] == 1


def test_what_a_pipe_loses_is_reported() -> None:
    with running("--state-file", "state") as process:
        for _ in range(3):
            answer(process, "1,2,3\n")
        process.kill()
    results, said = run("--state-file", "state")
    assert results == []
    assert said == ["3 records were taken in after the last save and are lost"]
    counters = counted("--state-file", "state", input="1,2,3\n")
    assert (counters["read"], counters["lost"], counters["processed"]) == (4, 3, 1)


def test_killed_runs_lose_nothing(tmp_path: Path) -> None:
    for number, state_every in enumerate((1, 50)):
        (tmp_path / str(number)).mkdir()
        assert check_file(tmp_path / str(number), state_every, 4, seed=number, records=8000).kills > 0
    (tmp_path / "pipe").mkdir()
    assert check_pipe(tmp_path / "pipe", 4, seed=3, records=1500).kills > 0


def test_two_runs_do_not_share_a_state() -> None:
    with running("--state-file", "state") as process:
        answer(process, "1,2,3\n")
        _, said = run("--state-file", "state", input="1,2,3\n", expected=1)
        assert "is in use by another process" in said[-1]
        assert answer(process, "1,2,3\n")["i"] == 1


def test_many_sensors_have_a_state_each() -> None:
    lines = [f"{'abc'[place % 3]},{line.split(',', 1)[1]}" for place, line in enumerate(LINES)]
    whole, _ = run("--streams-by", "sensor", input="sensor,c0,c1,c2\n" + "".join(lines))
    found = []
    for start in range(0, 200, 50):
        text = "sensor,c0,c1,c2\n" + "".join(lines[start : start + 50])
        found += run("--streams-by", "sensor", "--state-file", "state", input=text)[0]
    assert found == whole
    assert {result["stream"] for result in whole} == set("abc")
    assert max(result["i"] for result in whole) == 66


def test_an_anomaly_is_told() -> None:
    config = random_config(3, output_size=3, head="identity")
    forecast = OutputConfig("output", "forecast", ("c0+1", "c1+1", "c2+1"), horizon=1)
    decision = DecisionConfig(residual=ResidualConfig("output", (1.0, 1.0, 1.0)))
    made = changed(config, outputs=(forecast,), decision=decision)
    artifact = random_floats(made, 0)
    save_artifact(artifact, "model.safetensors")
    lines = ["0,0,0\n"] * 5 + ["90,-90,90\n"] + ["0,0,0\n"] * 5
    events, _ = run("--threshold", "30", "--emit", "events", input="".join(lines))
    assert [(event["i"], event["event"], event["label"]) for event in events] == [
        (5, "on", "anomaly"),
        (6, "off", "anomaly"),
    ]
    assert events[0]["p"] > 30 > events[1]["p"]
    assert run("--emit", "all", input="".join(lines))[0][5]["score"] == pytest.approx(events[0]["p"], abs=1e-4)


def test_a_supervisor_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind("notify")
        supervisor.settimeout(DEADLINE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        with running() as process:
            assert supervisor.recv(100) == b"READY=1"
            answer(process, "1,2,3\n")
            assert {supervisor.recv(100), supervisor.recv(100)} == {b"WATCHDOG=1", b"STATUS=1 steps, 0 events"}
            supervisor.settimeout(0.5)
            with pytest.raises(TimeoutError):  # a dead sensor is not fed for
                supervisor.recv(100)
            supervisor.settimeout(DEADLINE)
            answer(process, "1,2,3\n")
            assert supervisor.recv(100) == b"WATCHDOG=1"
            process.send_signal(signal.SIGTERM)
            assert supervisor.recv(100) == b"STOPPING=1"


def test_an_idle_run_does_nothing() -> None:
    with running("--metrics-file", "metrics.prom", "--serve", "127.0.0.1:0") as process:
        answer(process, "1,2,3\n")

        def used() -> int:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        time.sleep(1.2)  # what comes with a record is over
        before, began = used(), time.monotonic()
        time.sleep(2.0)
        share = (used() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - began)
        assert share < 0.01


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("log.csv", "--source", "log.csv"), "INPUT is log.csv and --source log.csv, expected one of them"),
        (("--state-every", "1"), "--state-every was given without --state-file, expected a file for the state"),
        (("--max-gap", "1", "--reset-on-gap", "1"), "--reset-on-gap and --max-gap were given, expected one of them"),
        (("--on-gap", "hold"), "on_gap is 'hold' without max_gap, expected the seconds that make a gap"),
        (("no.csv",), "no.csv: cannot be read: No such file or directory"),
        (("--format", "f32le", "--channels", "4"), "the input has 4 channels, expected 3 as in the model"),
        (("log.csv", "-o", "log.csv"), "log.csv: exists, expected a new name or --force"),
        (("--sink", "xml"), "expected"),
        (("--serve", "nowhere"), "expected PORT, HOST:PORT or [IPV6]:PORT"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    results, said = run(*arguments, input="1,2,3\n", expected=1)
    assert results == []
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert sentence in said[0]
