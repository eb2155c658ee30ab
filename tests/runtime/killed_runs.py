"""Runs that are killed at random instants, and what their outputs must look like afterwards.

python -m tests.runtime.killed_runs --kills 1000        a campaign of any length
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import wave
from array import array
from itertools import combinations, product
from pathlib import Path

from edgegru_export.saving import save_artifact
from edgegru_runtime import load
from tests.builders import in_blocks, random_config, random_integers

RATE = 50  # samples a second
SCALE = 0.001  # of the integers in a sound
COMMAND = [sys.executable, "-m", "edgegru_runtime", "run"]


class Run:
    """A log of records, and processes that work on it until one of them reaches its end.

    ``block``: samples that a step of the model takes.
    """

    def __init__(self, folder: Path, records: int, seed: int, block: int = 1) -> None:
        self.folder, self.random, self.block = folder, random.Random(seed), block
        config = in_blocks(random_config(3 * block, (8,), rate=RATE), block)
        save_artifact(random_integers(config, 0), folder / "model.safetensors")
        self.numbers = [[round(self.random.gauss(0, 1000)) for _ in range(3)] for _ in range(records)]
        self.samples = [[SCALE * number for number in numbers] for numbers in self.numbers]
        self.kills = 0

    def options(self, state_every: int) -> list[str]:
        """The same for every process: results and state in files."""
        return [
            str(self.folder / "model.safetensors"),
            *("--state-file", str(self.folder / "state"), "--state-every", str(state_every)),
            *("--sink", f"jsonl:{self.folder / 'results.jsonl'}", "--counters"),
        ]

    def from_file(self, state_every: int, kills: int, *, sound: bool = False) -> dict[str, int]:
        """Kill ``kills`` processes that read the log, let the last one end, and return its counters."""
        log = self.folder / ("log.wav" if sound else "log.jsonl")
        if sound:
            with wave.open(str(log), "wb") as file:
                file.setparams((3, 2, RATE, 0, "NONE", ""))
                file.writeframes(array("h", [number for numbers in self.numbers for number in numbers]))
        else:
            log.write_text("".join(json.dumps({"t": t / RATE, "x": x}) + "\n" for t, x in enumerate(self.samples)))
        command = [*COMMAND, *self.options(state_every), str(log), *(("--scale", str(SCALE)) if sound else ())]
        for _ in range(kills):
            self._killed(command, None)
        return self._ended(command, None)

    def from_pipe(self, state_every: int, kills: int) -> dict[str, int]:
        """The same with a pipe of CSV that outlives a process: half a line would be a number that is too short."""
        reading, writing = os.pipe()
        feeding = threading.Thread(target=self._feed, args=(writing,))
        feeding.start()
        command = [*COMMAND, *self.options(state_every), "--columns", "t,c0,c1,c2"]
        for _ in range(kills):
            self._killed(command, reading)
        counters = self._ended(command, reading)
        feeding.join()
        os.close(reading)
        return counters

    def results(self) -> list[dict[str, object]]:
        """All lines, those of every process."""
        return [json.loads(line) for line in (self.folder / "results.jsonl").read_text().splitlines()]

    def checked(self) -> dict[int, dict[str, object]]:
        """The results by their step number, of those written again the last; each is what its samples give.

        A result has the time of its last sample. Which of the others is missing where one was lost, its numbers tell;
        where several could be, those behind it do.
        """
        steps = {int(result["i"]): result for result in self.results()}  # type: ignore[call-overload]  # an integer
        assert sorted(steps) == list(range(len(steps)))
        stream, before = load(self.folder / "model.safetensors").stream(), -1
        states = {stream.state}  # that the stream can have
        for i in range(len(steps)):
            last, following = self.sample_of(steps[i]), set()
            for state, others in product(states, combinations(range(before + 1, last), self.block - 1)):
                stream.state = state
                found = stream.step([number for at in (*others, last) for number in self.samples[at]])
                if [float(f"{p:.9g}") for p in found] == steps[i]["probs"]:  # type: ignore[str-format]  # one output
                    following.add(stream.state)
            assert following, f"no samples from {before + 1} to {last} give step {i}"
            states, before = following, last
        return steps

    def sample_of(self, result: dict[str, object]) -> int:
        """Which sample is the last one of a step."""
        return round(float(result["t"]) * RATE)  # type: ignore[arg-type]  # a number

    def _feed(self, writing: int) -> None:
        with open(writing, "w") as pipe:
            for t, x in enumerate(self.samples):
                pipe.write(",".join(map(repr, (t / RATE, *x))) + "\n")
                pipe.flush()

    def _killed(self, command: list[str], standard_input: int | None) -> None:
        """A process that is killed some time after its first results."""
        before = self._written()
        with subprocess.Popen(
            command, stdin=standard_input or subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while process.poll() is None and self._written() == before:
                time.sleep(0.001)
            time.sleep(self.random.uniform(0, 0.02))
            if process.poll() is None:
                self.kills += 1
            process.send_signal(signal.SIGKILL)

    def _ended(self, command: list[str], standard_input: int | None) -> dict[str, int]:
        process = subprocess.run(
            command, stdin=standard_input or subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        assert process.returncode == 0, process.stderr
        counters: dict[str, int] = json.loads(process.stderr.splitlines()[-1])
        return counters

    def _written(self) -> int:
        try:
            return (self.folder / "results.jsonl").stat().st_size
        except FileNotFoundError:
            return 0


def check_file(
    folder: Path, state_every: int, kills: int, seed: int, records: int = 20_000, block: int = 1, *, sound: bool = False
) -> Run:
    """Nothing of a file is lost: every step is there, at most ``state_every`` of them again for each kill."""
    run = Run(folder, records, seed, block)
    counters = run.from_file(state_every, kills, sound=sound)
    steps, results = run.checked(), run.results()
    assert [run.sample_of(steps[i]) for i in range(len(steps))] == list(range(block - 1, records, block))
    assert all(result == steps[result["i"]] for result in results), "a step that was written again differs"  # type: ignore[index]  # an integer
    assert len(results) - len(steps) <= state_every * run.kills
    assert counters["read"] == counters["processed"] == records
    assert counters["steps"] == len(steps) == records // block
    assert counters["lost"] == counters["cut_off"] == 0
    return run


def check_pipe(folder: Path, kills: int, seed: int, records: int = 4000, block: int = 1) -> Run:
    """Of a pipe at most the record in flight is lost, once for each kill, and counted."""
    run = Run(folder, records, seed, block)
    counters = run.from_pipe(1, kills)
    steps = run.checked()
    lost = counters["lost"] + counters["refused"]
    assert 0 <= lost <= run.kills
    assert counters["processed"] == records - lost
    assert counters["steps"] == len(steps) == counters["processed"] // block
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    killed = 0
    for number in range(0, arguments.kills, 40):
        for block in (1, 7):
            for check in ("file", "files", "sound", "pipe"):
                with tempfile.TemporaryDirectory() as folder:
                    seed = arguments.seed + number
                    if check == "pipe":
                        run = check_pipe(Path(folder), 5, seed, block=block)
                    else:
                        every = 1 if check == "file" else 50
                        run = check_file(Path(folder), every, 5, seed, block=block, sound=check == "sound")
                    killed += run.kills
    print(f"{killed} processes were killed, and nothing is missing that should be there")


if __name__ == "__main__":
    main()
