"""A log on a disk that fills up, byte by byte: every line that is there is whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgegru_export.saving import save_artifact
from edgegru_runtime.model_config import DecisionConfig
from edgegru_runtime.sinks.csv_lines import CsvLines
from edgegru_runtime.sinks.jsonl import JsonLines
from tests.builders import random_integer_artifact
from tests.runtime.sink_results import labelled, result

ROOT = Path(__file__).parent.parent.parent
DISK = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]  # a disk of our own, which needs no root
MOUNT = 'mount -t tmpfs -o size=16k tmpfs "$1"'
WRITER = """
import sys
from edgegru_runtime.errors import EdgegruError
from edgegru_runtime.model_config import DecisionConfig
from edgegru_runtime.sinks.opening import open_sink
from tests.runtime.sink_results import labelled, result

sink = open_sink(sys.argv[1], labelled(), DecisionConfig(), "all", print, print)
for index in range(1000):
    try:
        sink.write(result(index=index))
    except EdgegruError as error:
        print(index, error, file=sys.stderr)
        break
"""


@pytest.mark.parametrize(("form", "formatter"), [("jsonl", JsonLines), ("csv", CsvLines)])
def test_a_disk_that_fills_up(form: str, formatter: type[JsonLines | CsvLines], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run([*DISK, MOUNT, "sh", disk], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are not allowed here")
    script = f'{MOUNT} && "$2" -c "$3" {form}:"$1"/log && cat "$1"/log'
    finished = subprocess.run(
        [*DISK, script, "sh", disk, sys.executable, WRITER], capture_output=True, check=True, cwd=ROOT
    )
    count, _, message = finished.stderr.decode().partition(" ")
    assert message == f"{disk}/log cannot be written: No space left on device\n"
    lines = formatter(labelled(), DecisionConfig(), "all")
    expected = lines.header + "".join(lines.lines(result(index=index)) for index in range(int(count)))
    assert int(count) > 50 and finished.stdout.decode() == expected
    assert 16384 - len(lines.lines(result(index=1000))) < len(finished.stdout) <= 16384


def test_a_run_whose_disk_fills_up_goes_on_elsewhere(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run([*DISK, MOUNT, "sh", disk], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are not allowed here")
    save_artifact(random_integer_artifact(0, 3, (8,)), tmp_path / "model.safetensors")
    (tmp_path / "log.csv").write_text("".join(f"{i / 500},0.5,-0.5\n" for i in range(1000)))
    run = [sys.executable, "-m", "edgegru_runtime", "run", "model.safetensors", "log.csv"]
    run += ["--state-file", "state", "--counters"]
    script = f'{MOUNT} && shift && "$@"; status=$?; cat disk/log; exit $status'
    finished = subprocess.run(
        [*DISK, script, "sh", disk, *run, "--sink", "jsonl:disk/log"], capture_output=True, check=False, cwd=tmp_path
    )
    assert finished.returncode == 1
    counters, error = finished.stderr.decode().splitlines()[-2:]
    assert error == "error: disk/log cannot be written: No space left on device"
    written = [json.loads(line)["i"] for line in finished.stdout.splitlines()]
    assert written == list(range(len(written)))
    assert json.loads(counters)["results_dropped"] == 1
    assert json.loads(counters)["steps"] == len(written) + 1
    later = subprocess.run(run, capture_output=True, check=True, cwd=tmp_path)
    assert [json.loads(line)["i"] for line in later.stdout.splitlines()] == list(range(len(written) + 1, 1000))
    assert json.loads(later.stderr.splitlines()[-1])["processed"] == 1000
