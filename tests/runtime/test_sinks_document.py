"""docs/sinks.md: its Python and its commands run, its numbers are those in the code, its example is what is written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgegru_export.saving import save_artifact
from edgegru_runtime.model_config import DecisionConfig
from edgegru_runtime.result import Event
from edgegru_runtime.sinks import event_hook
from edgegru_runtime.sinks.influx import InfluxLines
from edgegru_runtime.sinks.jsonl import JsonLines
from tests.builders import random_artifact
from tests.runtime.sink_results import labelled, result

DOCUMENT = (Path(__file__).parents[2] / "docs" / "sinks.md").read_text()


@pytest.fixture(autouse=True)
def _model_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_artifact(random_artifact(0, 3, (5,)), tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)


def test_python_in_the_document_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    exec(block, {})
    assert len(Path("log.csv").read_text().splitlines()) == 4


def test_the_commands_in_the_document_run() -> None:
    commands = re.findall(r"^\$ (.*)$", DOCUMENT, re.MULTILINE)
    printed = []
    for command in commands:
        command = command.replace("python", sys.executable)
        finished = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
        printed.append(finished.stdout.splitlines())
    plain, rows, events, points, _ = printed
    assert [json.loads(line)["i"] for line in plain] == [0]
    assert rows[0].startswith("stream,i,t,label,p,") and rows[1].startswith(",0,0.02,class ") and len(rows) == 2
    assert json.loads(Path("log.jsonl").read_text())["t"] == 0.02
    assert [json.loads(line)["event"] for line in events] == ["on"]
    assert points[0].startswith("gait,label=class\\ ") and len(points) == 1
    assert Path("event.json").read_text() == events[0] + "\n"


def test_the_examples_are_what_is_written() -> None:
    config, decision = labelled(("sit", "walk")), DecisionConfig()
    event = Event(True, "walk", 0.75)
    found = result(key="pump-1", t=0.14, outputs=([0.25, 0.75],), events=(event,), on=(("walk",),))
    assert f"```json\n{JsonLines(config, decision, 'all').lines(found)}```" in DOCUMENT
    point = InfluxLines(config, decision, "all").lines(found._replace(t=1700000000.14, events=()))
    assert f"```text\n{point}```" in DOCUMENT


def test_the_numbers_are_those_in_the_code() -> None:
    limits = (event_hook.MAX_RUNNING, event_hook.MAX_WAITING, event_hook.CLOSING_SECONDS)
    assert limits == (8, 1000, 5.0)
    for text in ("Up to 8 run", "1000 more wait", "has 5 seconds"):
        assert text in DOCUMENT
