"""The example of anomalies: what it scores is what the device does, and its page tells what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from types import ModuleType

import pytest

from edgegru_runtime import load
from edgegru_runtime.decisions import Decisions

ROOT = Path(__file__).resolve().parents[2]
ANOMALIES = ROOT / "examples" / "anomalies"
MODULES = ("run", "machines", "nab_scoring", "windowed_gaussian")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ANOMALIES))
    import run

    yield run
    for name in MODULES:
        sys.modules.pop(name)


def test_alarms_on_the_device_are_those_that_are_scored(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "config.toml"
    short.write_text((ANOMALIES / "config.toml").read_text().replace("epochs = 60", "epochs = 2"))
    monkeypatch.setattr(run, "CONFIG", short)
    run.main(["-o", str(tmp_path / "out"), "--results", str(tmp_path / "results.json")])
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    (gru,) = results["GRU, int8"]
    assert f"| GRU, int8 | by the labels | {gru['labels']['standard']:.1f} |" in printed
    for way in (gru, *results["last value"], *results["windowed Gaussian"]):
        assert all(way["labels"][name] >= max(0, way["probation"][name]) for name in run.PROFILES)

    for file in run.read_files(tmp_path / "out" / "machines"):
        path = tmp_path / "out" / "seed0" / file.name / "int8.safetensors"
        model = load(path)
        assert model.config.decision.threshold == gru["probation"]["threshold"]
        stream, decisions = model.stream(), Decisions(model.config, model.config.decision)
        on = []
        for index, sample in enumerate(file.x.tolist()):
            decisions.step(index, sample, None, (stream.step(sample),))
            on.append(bool(decisions.on[0]))
        found = run.relative_scores(model.config, file.x, run.forecasts(path, file.x))
        assert on == [bool(each) for each in found >= gru["probation"]["threshold"]]
        assert any(on) and not all(on)

        command = [sys.executable, str(ANOMALIES / "detect.py"), str(path)]
        by_name = subprocess.run([*command, str(file.path)], capture_output=True, text=True, check=True).stdout
        piped = subprocess.run(command, input=file.path.read_text(), capture_output=True, text=True, check=True).stdout
        assert by_name == piped
        rows = [line.split(",") for line in file.path.read_text().splitlines()[1:]]
        begun = [" ".join(rows[i]) for i in range(len(on)) if on[i] and not (i and on[i - 1])]
        assert [line.partition(" alarm: ")[0] for line in by_name.splitlines() if "alarm" in line] == begun


def test_the_page_tells_the_numbers_that_were_measured(run: ModuleType) -> None:
    page = (ANOMALIES / "README.md").read_text(encoding="utf-8")
    results = json.loads((ROOT / "benchmarks" / "results" / "anomalies.json").read_text(encoding="utf-8"))
    files, costs = results.pop("files"), results.pop("costs")
    assert f"{run.table(results)}\n\n{run.costs_text(files, costs)}\n" in page
    assert len(results["GRU, int8"]) >= 3 and f"{files} files" in page
    scores = [each["labels"]["standard"] for each in results["GRU, int8"]]
    assert f"{mean(scores):.1f} ± {stdev(scores):.1f}" in page
