"""docs/service.md names the metrics, paths and limits that there are."""

from __future__ import annotations

import re
from pathlib import Path

from edgegru_runtime.service import server
from edgegru_runtime.service.board import INTERVAL, MOST_PER_SECOND
from edgegru_runtime.service.metrics import Snapshot, StepTimes, metrics_text
from edgegru_runtime.watching import METRICS_EVERY, Watching

DOCUMENT = (Path(__file__).parents[2] / "docs" / "service.md").read_text()


def test_the_table_of_metrics_is_complete() -> None:
    info = dict.fromkeys(("model", "identity", "scheme", "engine"), "")
    counted = {"NAME": 1}
    text = metrics_text(Snapshot(0, 0, 1, counted, StepTimes(), {"a": counted}, {"walk": 1}, info, 1), 1)
    made = set(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    documented = re.findall(r"^\| `(\w+)(?:\{([\w,]+)\})?` \| (\w+) \|", DOCUMENT, re.MULTILINE)
    assert {(name, kind) for name, _, kind in documented} == made
    for name, labels, _ in documented:
        for label in filter(None, labels.split(",")):
            assert re.search(rf'^{name}\{{(?:.*,)?{label}="', text, re.MULTILINE), (name, label)


def test_paths_are_those_of_the_server() -> None:
    paths = re.findall(r"^\| `(/\w*)` \|", DOCUMENT, re.MULTILINE)
    assert sorted(paths) == sorted(set(re.findall(r'path == "(.*?)"', Path(server.__file__).read_text())))


def test_numbers_in_words() -> None:
    assert (INTERVAL, MOST_PER_SECOND, server.MOST_VIEWERS, METRICS_EVERY) == (0.1, 100, 8, 10)
    for shown in ("ten times a second", "a hundred times", "eight viewers", "every ten seconds"):
        assert shown in " ".join(DOCUMENT.split())
    assert f"without one ({Watching.stale_after:g})" in DOCUMENT
