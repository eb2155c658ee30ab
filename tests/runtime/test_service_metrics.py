"""What Prometheus reads, and how step times become a histogram."""

from __future__ import annotations

import os
import stat
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime import EdgegruError
from edgegru_runtime.counters import NAMES
from edgegru_runtime.measurement import resident_memory
from edgegru_runtime.service.metrics import (
    STEP_BOUNDS,
    MetricsFile,
    Snapshot,
    StepTimes,
    metrics_text,
)
from tests.runtime.exposition import read_metrics

NOBODY = frozenset[tuple[str, str]]()
# Half characters can come from names on a command line.
names = st.text(st.characters(exclude_categories=()), max_size=12)


def snapshot(**changes: object) -> Snapshot:
    times = StepTimes()
    for seconds in (1e-6, 2e-6, 3e-3):
        times.add(seconds)
    return Snapshot(100.0, 130.5, 2, {"steps": 7, "gaps": 0}, times)._replace(**changes)  # type: ignore[arg-type]


def test_everything_has_a_metric() -> None:
    found = read_metrics(
        metrics_text(
            snapshot(
                sensors={"a": {"steps": 3, "gaps": 0}, "b": {"steps": 4}},
                switched_on={"walk": 5},
                info={"model": "gait.onnx", "engine": "onnxruntime"},
                resident=12_345_678,
            ),
            131.0,
        )
    )
    assert found["edgegru_info", frozenset({("model", "gait.onnx"), ("engine", "onnxruntime")})] == 1
    assert found["edgegru_steps_total", NOBODY] == 7
    assert found["edgegru_gaps_total", NOBODY] == 0
    assert found["edgegru_sensor_steps_total", frozenset({("sensor", "a")})] == 3
    assert found["edgegru_sensor_steps_total", frozenset({("sensor", "b")})] == 4
    assert found["edgegru_sensor_gaps_total", frozenset({("sensor", "a")})] == 0
    assert found["edgegru_switched_on_total", frozenset({("label", "walk")})] == 5
    assert found["edgegru_step_seconds_count", NOBODY] == 3
    assert found["edgegru_step_seconds_sum", NOBODY] == pytest.approx(0.003003)
    assert found["edgegru_step_seconds_bucket", frozenset({("le", "1e-06")})] == 1
    assert found["edgegru_step_seconds_bucket", frozenset({("le", "0.002")})] == 2
    assert found["edgegru_input_age_seconds", NOBODY] == 0.5
    assert found["edgegru_streams", NOBODY] == 2
    assert found["edgegru_uptime_seconds", NOBODY] == 31
    assert found["edgegru_resident_memory_bytes", NOBODY] == 12_345_678
    assert not any(name.startswith("process_") for name, _ in found)


def test_before_the_first_sample() -> None:
    found = read_metrics(metrics_text(snapshot(last_sample=None, step_times=StepTimes()), 131.0))
    assert found["edgegru_input_age_seconds", NOBODY] == 31
    assert found["edgegru_step_seconds_count", NOBODY] == 0
    assert ("edgegru_resident_memory_bytes", NOBODY) not in found


def test_the_counters_of_a_run_are_described() -> None:
    text = metrics_text(snapshot(counters=dict.fromkeys(NAMES, 1)), 131.0)
    descriptions = [line.split(" ", 3)[3] for line in text.splitlines() if line.startswith("# HELP")]
    bare = {f"{name.replace('_', ' ').capitalize()}." for name in NAMES}
    assert bare.isdisjoint(descriptions)
    assert len(set(descriptions)) == len(descriptions)


@given(st.dictionaries(names, st.integers(0, 2**70), max_size=4), names)
def test_any_name_can_be_a_label(counts: dict[str, int], service: str) -> None:
    text = metrics_text(snapshot(switched_on=counts, info={"model": service}), 131.0, {"service": service})
    counts = {readable(label): count for label, count in counts.items()}
    if len(counts) < text.count("edgegru_switched_on_total{"):
        return  # two names that differ only in half characters
    found = read_metrics(text)
    everywhere = ("service", readable(service))
    assert all(everywhere in labels for _, labels in found)
    for label, count in counts.items():
        assert found["edgegru_switched_on_total", frozenset({everywhere, ("label", label)})] == float(count)


def readable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_lies_in_its_bucket(seconds: list[float], p: float) -> None:
    times = StepTimes()
    for value in seconds:
        times.add(value)
    estimate = times.quantile(p)
    assert estimate is not None
    rank = max(1, -int(-p * len(seconds) // 1))  # of those up to the quantile, at least the first
    exact = sorted(seconds)[min(rank, len(seconds)) - 1]
    index = sum(bound < exact for bound in STEP_BOUNDS)
    edges = (0.0, *STEP_BOUNDS, STEP_BOUNDS[-1])
    assert min(edges[index], STEP_BOUNDS[-1]) <= estimate * (1 + 1e-12)
    assert estimate <= edges[index + 1] * (1 + 1e-12)


def test_steps_are_counted_in_their_buckets() -> None:
    times = StepTimes()
    assert times.quantile(0.5) is None
    for bound in STEP_BOUNDS:
        times.add(bound)  # a bound belongs to its bucket
    times.add(99.0)
    assert times.counts == (1,) * (len(STEP_BOUNDS) + 1)
    assert times.seconds == pytest.approx(99 + sum(STEP_BOUNDS))
    assert times.quantile(1.0) == STEP_BOUNDS[-1]
    assert list(STEP_BOUNDS) == sorted(set(STEP_BOUNDS))


def test_a_copy_stays_what_it_was() -> None:
    times = StepTimes()
    times.add(1e-3)
    copied = times.copy()
    times.add(1.0)
    assert sum(copied.counts) == 1 and copied.seconds == 1e-3
    assert list(accumulate(times.counts))[-1] == 2


def test_memory_is_that_of_this_process() -> None:
    resident = resident_memory()
    assert resident is not None and 5e6 < resident < 1e11


def test_the_file_is_whole_readable_and_says_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pump.prom"
    file = MetricsFile(str(path))
    before = os.umask(0o077)
    try:
        file.write(snapshot(), 131.0)
        file.write(snapshot(counters={"steps": 8}), 132.0)
    finally:
        os.umask(before)
    found = read_metrics(path.read_text())
    assert found["edgegru_steps_total", frozenset({("service", "pump")})] == 8
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["pump.prom"]


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "a.prom"
    with pytest.raises(EdgegruError, match=f"^{missing}: cannot be written: No such file or directory$"):
        MetricsFile(str(missing)).write(snapshot(), 131.0)
    with pytest.raises(EdgegruError, match="is not a regular file, expected a file or a new name$"):
        MetricsFile(str(tmp_path)).write(snapshot(), 131.0)
    (tmp_path / f"old.prom.{os.getpid()}.tmp").write_text("left by a process that was killed")
    MetricsFile(str(tmp_path / "old.prom")).write(snapshot(), 131.0)
    assert os.listdir(tmp_path) == ["old.prom"]
