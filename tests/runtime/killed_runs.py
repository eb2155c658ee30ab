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
from pathlib import Path

from edgegru_export.saving import save_artifact
from edgegru_runtime import load
from tests.builders import random_integer_artifact

COMMAND = [sys.executable, "-m", "edgegru_runtime", "run"]


class Run:
    """A log of records, and processes that work on it until one of them reaches its end."""

    def __init__(self, folder: Path, records: int, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        save_artifact(random_integer_artifact(0, 3, (8,)), folder / "model.safetensors")
        self.samples = [[self.random.gauss(0, 1) for _ in range(3)] for _ in range(records)]
        self.lines = [json.dumps({"t": t, "x": x}) + "\n" for t, x in enumerate(self.samples)]
        self.kills = 0

    def options(self, state_every: int) -> list[str]:
        """The same for every process: results and state in files."""
        return [
            str(self.folder / "model.safetensors"),
            *("--state-file", str(self.folder / "state"), "--state-every", str(state_every)),
            *("--sink", f"jsonl:{self.folder / 'results.jsonl'}", "--counters"),
        ]

    def from_file(self, state_every: int, kills: int) -> dict[str, int]:
        """Kill ``kills`` processes that read the log, let the last one end, and return its counters."""
        log = self.folder / "log.jsonl"
        log.write_text("".join(self.lines))
        command = [*COMMAND, *self.options(state_every), str(log)]
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

    def expected(self, times: list[int]) -> list[list[float]]:
        """The probabilities of the records with these times, one after another."""
        stream = load(self.folder / "model.safetensors").stream()
        return [[float(f"{p:.9g}") for p in stream.step(self.samples[t])] for t in times]  # type: ignore[union-attr]

    def _feed(self, writing: int) -> None:
        with open(writing, "w") as pipe:
            for t, x in enumerate(self.samples):
                pipe.write(",".join(map(repr, (t, *x))) + "\n")
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


def check_file(folder: Path, state_every: int, kills: int, seed: int, records: int = 20_000) -> Run:
    """Nothing of a file is lost: every step is there, at most ``state_every`` of them again for each kill."""
    run = Run(folder, records, seed)
    counters = run.from_file(state_every, kills)
    results = run.results()
    steps = {result["i"]: result for result in results}  # of those written again the last
    assert sorted(steps) == list(range(records))
    assert [steps[i]["t"] for i in range(records)] == list(range(records))
    assert [steps[i]["probs"] for i in range(records)] == run.expected(list(range(records)))
    assert all(result == steps[result["i"]] for result in results), "a step that was written again differs"
    assert len(results) - records <= state_every * run.kills
    assert counters["read"] == counters["processed"] == counters["steps"] == records
    assert counters["lost"] == 0
    return run


def check_pipe(folder: Path, kills: int, seed: int, records: int = 4000) -> Run:
    """Of a pipe at most the record in flight is lost, once for each kill, and counted."""
    run = Run(folder, records, seed)
    counters = run.from_pipe(1, kills)
    steps = {result["i"]: result for result in run.results()}
    times = [int(steps[i]["t"]) for i in range(len(steps))]  # type: ignore[call-overload]  # all are integers
    assert times == sorted(set(times))
    assert [steps[i]["probs"] for i in range(len(steps))] == run.expected(times)
    lost = records - len(steps)
    assert 0 <= lost <= run.kills
    assert counters["steps"] == len(steps)
    assert counters["lost"] + counters["refused"] == lost
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    killed = 0
    for number in range(0, arguments.kills, 30):
        for check in ("file", "files", "pipe"):
            with tempfile.TemporaryDirectory() as folder:
                seed = arguments.seed + number
                if check == "pipe":
                    run = check_pipe(Path(folder), 10, seed)
                else:
                    run = check_file(Path(folder), 1 if check == "file" else 50, 10, seed)
                killed += run.kills
    print(f"{killed} processes were killed, and nothing is missing that should be there")


if __name__ == "__main__":
    main()
