"""A day's worth of samples at 100 Hz, at full speed, in constant memory, with gaps and bad values in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgegru_export.saving import save_artifact
from edgegru_runtime.counters import FATES
from tests.builders import random_integer_artifact

pytestmark = pytest.mark.skipif("PYTEST_XDIST_WORKER" in os.environ, reason="a process alone (make test-system)")

HOUR = 100 * 3600
OPTIONS = ["--on-nan", "hold", "--max-gap", "1", "--smoothing", "mean:5", "--emit", "changes", "--counters"]


def resident(process: subprocess.Popen[bytes]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def hour(number: int) -> bytes:
    """Records at 100 Hz; every thousandth has a missing value, and behind each quarter of an hour five seconds lack."""
    lines = []
    for index in range(HOUR):
        if index % (HOUR // 4) >= HOUR // 4 - 500:
            continue
        value = "" if index % 1000 == 7 else f"{index % 97 / 50 - 1:.2f}"
        lines.append(f"{10 * (number * HOUR + index)},{value},{index % 89 / 40 - 1:.2f},{index % 7 / 5:.1f}\n")
    return "".join(lines).encode()


def test_memory_is_constant_over_a_day(tmp_path: Path) -> None:
    save_artifact(random_integer_artifact(0, 3, (8,)), tmp_path / "model.safetensors")
    command = [sys.executable, "-m", "edgegru_runtime", "run", tmp_path / "model.safetensors"]
    files = ["--state-file", tmp_path / "state", "--state-every", "10s", "--sink", f"jsonl:{tmp_path / 'results'}"]
    with subprocess.Popen(
        [*command, *OPTIONS, "--columns", "t,c0,c1,c2", "--time-unit", "ms", *files],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        after_an_hour, records = 0, 0
        for number in range(24):
            lines = hour(number)
            process.stdin.write(lines)
            process.stdin.flush()
            records += lines.count(b"\n")
            if number == 0:
                after_an_hour = resident(process)
        at_the_end = resident(process)
        process.stdin.close()
        said = process.stderr.read().decode()
    assert process.returncode == 0, said
    assert at_the_end - after_an_hour < 2**20
    counters = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert counters["read"] == records == sum(counters[fate] for fate in FATES)
    assert counters["gaps"] == counters["resets"] == 24 * 4 - 1
    assert counters["held"] > 24 * 300
