"""Whole runs of a model of sound, whose step takes a block of samples: raw numbers and WAV, in files and in pipes."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import wave
from array import array
from pathlib import Path
from typing import Any

import pytest

from edgegru_export.saving import save_artifact
from edgegru_runtime import load
from edgegru_runtime.conditioning import Conditions
from edgegru_runtime.counters import FATES
from edgegru_runtime.model_config import InputConfig
from edgegru_runtime.pipeline import Handling
from edgegru_runtime.running import Keeping, _looked_at, _Options
from edgegru_runtime.sources.opening import SourceOptions
from edgegru_runtime.stream import matrix
from edgegru_runtime.watching import Watching
from tests.builders import in_blocks, random_config, random_integers
from tests.runtime.killed_runs import check_file, check_pipe
from tests.runtime.processes import COMMAND, DEADLINE, running

RATE, BLOCK = 8000, 40
STEPS, LEFT = 25, 13  # blocks in SOUND, and samples behind them
SOUND = array("h", [random.Random(0).randint(-20, 20) for _ in range(BLOCK * STEPS + LEFT)])
RAW = SOUND.tobytes()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a model of sound in it, and a sound."""
    monkeypatch.chdir(tmp_path)
    config = in_blocks(random_config(BLOCK, (8,), rate=RATE), BLOCK)
    save_artifact(random_integers(config, 0), "model.safetensors")
    write_sound("sound.wav")
    return tmp_path


def write_sound(path: str, samples: bytes = RAW, channels: int = 1, rate: int = RATE) -> None:
    with wave.open(path, "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(samples)


def expected() -> list[list[float]]:
    """What ``Stream.run`` gives, as it is printed."""
    rows = matrix(array("f", SOUND[: BLOCK * STEPS]), BLOCK)
    run: list[list[float]] = load("model.safetensors").stream().run(rows).tolist()
    return [[float(f"{p:.9g}") for p in outputs] for outputs in run]


def run(*arguments: str, input: bytes = b"", expected: int = 0) -> tuple[list[dict[str, Any]], list[str]]:
    """The results of a run, and what it said."""
    finished = subprocess.run([*COMMAND, *arguments], input=input, capture_output=True, check=False)
    assert finished.returncode == expected, finished.stderr
    return [json.loads(line) for line in finished.stdout.splitlines()], finished.stderr.decode().splitlines()


def counted(said: list[str]) -> dict[str, int]:
    counters: dict[str, int] = json.loads(next(line for line in said if line.startswith("{")))
    assert counters["read"] == sum(counters[fate] for fate in FATES)
    return counters


@pytest.mark.parametrize(
    "options",
    [(), ("--rate", str(RATE)), ("--on-nan", "hold"), ("--record", "log.jsonl"), ("--max-gap", "1"), ("--stamp",)],
)
def test_raw_sound(options: tuple[str, ...]) -> None:
    results, said = run("-", "--format", "s16le", *options, input=RAW)
    assert [result["probs"] for result in results] == expected()
    assert [result["i"] for result in results] == list(range(STEPS))
    assert {"t" in result for result in results} == {"--stamp" in options}
    counters = counted(said)
    assert len(said) == 1, "what is left at the end is told"
    assert (counters["processed"], counters["steps"], counters["cut_off"]) == (len(SOUND), STEPS, LEFT)


@pytest.mark.parametrize("options", [(), ("--record", "log.jsonl"), ("--resample",), ("--replay-speed", "100")])
def test_a_wav_file(options: tuple[str, ...]) -> None:
    results, said = run("sound.wav", *options)
    assert [result["probs"] for result in results] == expected()
    assert [result["t"] for result in results] == [(BLOCK * (i + 1) - 1) / RATE for i in range(STEPS)]
    assert counted(said)["cut_off"] == LEFT


def test_a_wav_on_a_pipe_is_that_in_a_file() -> None:
    data = bytearray(Path("sound.wav").read_bytes())
    data[40:44] = b"\0\0\0\x80"  # as arecord writes it, which does not know how long it will be
    assert run("-", "--format", "wav", input=bytes(data)) == run("sound.wav")


def test_a_record_of_a_sound_is_a_log_of_its_samples() -> None:
    results, _ = run("sound.wav", "--record", "log.jsonl")
    assert len(Path("log.jsonl").read_text().splitlines()) == len(SOUND)
    assert run("log.jsonl")[0] == results


def test_results_come_as_the_sound_comes() -> None:
    """In pieces that end anywhere; the pipe stays open."""
    for format, data in (("s16le", RAW), ("wav", Path("sound.wav").read_bytes())):
        probabilities, found = expected(), []
        with running("-", "--format", format) as process:
            assert process.stdin is not None and process.stdout is not None
            pipe: Any = process.stdin.buffer
            for start in range(0, len(data), 333):
                piece = data[start : start + 333]
                pipe.write(piece)
                pipe.flush()
                header = 44 if format == "wav" else 0
                while len(found) < (start + len(piece) - header) // (2 * BLOCK):
                    found.append(json.loads(process.stdout.readline())["probs"])
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=DEADLINE)
        assert found == probabilities
        assert counted(said.splitlines())["cut_off"] == LEFT


def test_sound_from_a_peer() -> None:
    with running("unix-listen:here", "--format", "s16le") as process, socket.socket(socket.AF_UNIX) as client:
        while client.connect_ex("here"):
            assert process.poll() is None
        for start in range(0, len(RAW), 333):
            client.sendall(RAW[start : start + 333])
        assert process.stdout is not None
        found = [json.loads(process.stdout.readline())["probs"] for _ in range(STEPS)]
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=DEADLINE)
    assert found == expected()
    assert counted(said.splitlines())["cut_off"] == LEFT


def test_samples_that_wait_are_kept_with_the_state() -> None:
    found: list[Any] = []
    for start, end in ((0, 100), (100, 1234), (1234, len(RAW))):
        options = ("--format", "s16le", "--state-file", "state", "--counters")
        results, said = run("-", *options, input=RAW[start:end])
        found += results
        assert counted(said)["cut_off"] == 0
    assert [result["probs"] for result in found] == expected()
    assert [result["i"] for result in found] == list(range(STEPS))


@pytest.mark.parametrize("every", ["7", "1", "1000"])
def test_a_file_that_grows_is_read_on_within_a_block(every: str) -> None:
    found: list[Any] = []
    for end in (150, 152, 1000, len(RAW)):
        Path("sound.raw").write_bytes(RAW[:end])
        found += run("sound.raw", "--format", "s16le", "--state-file", "state", "--state-every", every)[0]
    assert [result["probs"] for result in found] == expected()


def test_text_is_collected_as_well() -> None:
    results, said = run("--reset-every", "0.05s", input="".join(f"{number}\n" for number in SOUND).encode())
    assert [result["i"] for result in results] == [i % 10 for i in range(STEPS)], "10 steps last 0.05 s"
    assert results[0]["probs"] == expected()[0]
    assert counted(said)["resets"] == 2


def test_a_gap_in_text_gives_up_a_block() -> None:
    lines = [f"{at / RATE + (at >= 50)},{number}\n" for at, number in enumerate(SOUND[:100])]
    results, said = run("--max-gap", "0.5", input=("t,c0\n" + "".join(lines)).encode())
    counters = counted(said)
    assert [result["i"] for result in results] == [0, 0]
    assert (counters["gaps"], counters["cut_off"], counters["processed"]) == (1, 10 + 10, 100)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("stereo.wav",), "stereo.wav: the sound has 2 channels, expected 1 as in the model"),
        (("fast.wav",), "fast.wav: the sound has 16000 samples per second, expected 8000 as the model"),
        (("torn.wav",), "torn.wav: the input ends after 20 bytes, within the header of a WAV"),
        (("-", "--format", "wav"), "standard input: the input ends after 0 bytes, within the header of a WAV"),
        (("sound.wav", "--streams", "2"), "streams is given and the format is wav, expected s16le or f32le"),
        (("odd.wav",), f"odd.wav, sample {len(SOUND)}: the input ends 1 bytes into a frame, expected 2"),
    ],
)
def test_what_does_not_fit_is_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    write_sound("stereo.wav", RAW[:4000], channels=2)
    write_sound("fast.wav", rate=16000)
    Path("torn.wav").write_bytes(Path("sound.wav").read_bytes()[:20])
    Path("odd.wav").write_bytes(Path("sound.wav").read_bytes()[:-1])
    _, said = run(*arguments, expected=1)
    assert said == [f"error: {sentence}"]


def test_killed_runs_lose_nothing(tmp_path: Path) -> None:
    for number, sound in enumerate((True, False)):
        (tmp_path / str(number)).mkdir()
        assert check_file(tmp_path / str(number), 50, 3, seed=number, records=8000, block=5, sound=sound).kills > 0
    (tmp_path / "pipe").mkdir()
    assert check_pipe(tmp_path / "pipe", 3, seed=3, records=1500, block=5).kills > 0


def test_a_killed_run_on_a_pipe_counts_what_is_lost() -> None:
    with running("-", "--format", "s16le", "--state-file", "state") as process:
        assert process.stdin is not None and process.stdout is not None
        pipe: Any = process.stdin.buffer
        pipe.write(RAW[:200])
        pipe.flush()
        process.stdout.readline()
        process.kill()
    results, said = run("-", "--format", "s16le", "--state-file", "state", input=b"")
    assert results == []
    assert said[0] == "100 records were taken in after the last save and are lost"


@pytest.mark.parametrize(
    ("changes", "at_once"),
    [
        ({}, BLOCK),
        ({"source": SourceOptions(format="s16le")}, BLOCK),
        ({"source": SourceOptions(format="f32le"), "handling": Handling(Conditions(rate=8000.0))}, BLOCK),
        ({"handling": Handling(Conditions(rate=8000.0, time_unit="ms"))}, BLOCK),
        ({"handling": Handling(Conditions(), reset_every=3)}, BLOCK),
        ({"keeping": Keeping("state", 500)}, BLOCK),
        ({"handling": Handling(Conditions(rate=16000.0))}, 1),
        ({"handling": Handling(Conditions(resample=True))}, 1),
        ({"handling": Handling(Conditions(max_gap=1.0))}, 1),
        ({"handling": Handling(Conditions(on_nan="hold"))}, 1),
        ({"keeping": Keeping("state", 1)}, 1),
        ({"record": "log.jsonl"}, 1),
        ({"source": SourceOptions(stamp=True)}, 1),
        ({"input": "log.csv"}, 1),
        ({"input": "log.csv", "handling": Handling(Conditions(rate=8000.0))}, 1),
    ],
)
def test_sound_is_taken_a_block_at_a_time_where_nobody_looks_at_samples(changes: dict[str, Any], at_once: int) -> None:
    usual: dict[str, Any] = {
        "model": "model.safetensors", "input": "sound.wav", "engine": None, "source": SourceOptions(),
        "handling": Handling(Conditions()), "decision": {}, "keeping": Keeping(), "sinks": (), "on_event": None,
        "output": None, "force": False, "record": None, "watching": Watching(), "counters": False,
    }  # fmt: skip
    options = _Options(**{**usual, **changes})
    conditions, found = _looked_at(options, InputConfig(1, ("sound",), ("",), 8000.0, BLOCK))
    assert found == at_once
    assert conditions.trivial or found == 1
    same = options.handling.conditions, 1
    assert _looked_at(options, InputConfig(1, ("sound",), ("",), 8000.0)) == same
