"""What the process counts, as Prometheus reads it: text format 0.0.4, over HTTP or in a file of the textfile collector.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from edgegru_runtime.errors import EdgegruError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STEP_BOUNDS = tuple(float(f"{digit}e{power}") for power in range(-7, 0) for digit in (1, 2, 5))  # seconds

_DESCRIPTIONS = {  # of counters; one that has none here is called by its name
    "read": "Records read: the sum of what became of them.",
    "processed": "Records that were taken as they are.",
    "held": "Records in which missing values were replaced by the last ones.",
    "zeroed": "Records in which missing values were replaced by zero.",
    "skipped": "Records left out because a value was missing.",
    "dropped_late": "Records left out because their time lay behind.",
    "dropped_duplicate": "Records left out because their time had been there.",
    "dropped_untimed": "Records left out because they had no time.",
    "dropped_overflow": "Records lost because a queue was full.",
    "refused": "Lines, messages and frames that were no record.",
    "unfinished": "Records that were read and not processed when the run stopped.",
    "lost": "Records whose steps a crash has undone.",
    "steps": "Steps of all streams.",
    "resets": "Times a stream was set back to its beginning.",
    "gaps": "Gaps in the times of records.",
    "filled": "Samples filled in for those that are missing.",
    "long_gaps": "Gaps that were too long to be filled.",
    "clock_steps": "Times the clock of the input jumped.",
    "rate_mismatches": "Times the input had another rate than the model.",
    "clipped": "Input values outside of the calibrated range.",
    "cut_off": "Samples that were too few for a step before a reset or the end.",
    "controls": "Messages that steered the run.",
    "events": "Times a label was switched on or off.",
    "results_dropped": "Results lost because an output did not take them.",
    "malformed": "Characters put in place of bytes that were no UTF-8.",
}


class StepTimes:
    """How long steps took: a histogram with fixed bounds."""

    __slots__ = ("_counts", "seconds")

    def __init__(self) -> None:
        self._counts = [0] * (len(STEP_BOUNDS) + 1)  # the last one: longer than all bounds
        self.seconds = 0.0  # all of them together

    def add(self, seconds: float) -> None:
        """Count a step that took ``seconds``."""
        self._counts[bisect_left(STEP_BOUNDS, seconds)] += 1
        self.seconds += seconds

    def copy(self) -> StepTimes:
        """As it is now."""
        copied = StepTimes()
        copied._counts[:] = self._counts
        copied.seconds = self.seconds
        return copied

    @property
    def counts(self) -> tuple[int, ...]:
        """Steps up to each of ``STEP_BOUNDS`` and above the bound before, then those longer than all."""
        return tuple(self._counts)

    def quantile(self, p: float) -> float | None:
        """An estimate of the time that the share ``p`` of steps does not exceed; None where there are no steps.

        Linear within a bucket, as Prometheus estimates it, and at most the largest bound.
        """
        wanted, seen, low = p * sum(self._counts), 0, 0.0
        for bound, count in zip(STEP_BOUNDS, self._counts, strict=False):
            if count and seen + count >= wanted:
                return low + (bound - low) * (wanted - seen) / count
            seen, low = seen + count, bound
        return STEP_BOUNDS[-1] if self._counts[-1] else None


class Snapshot(NamedTuple):
    """What the process has counted, and how it is, at one moment."""

    started: float  # time.monotonic() of the start
    last_sample: float | None  # time.monotonic() of the last sample, None before the first
    streams: int
    counters: Mapping[str, int]  # "steps", "gaps", …: since the start
    step_times: StepTimes  # a copy
    sensors: Mapping[str, Mapping[str, int]] = {}  # the same by the names of sensors, where there are several
    switched_on: Mapping[str, int] = {}  # how often, by label
    info: Mapping[str, str] = {}  # "model", "engine", "version", …
    resident: int | None = None  # bytes, as measurement.resident_memory() tells them

    def input_age(self, now: float) -> float:
        """Seconds without a sample, at ``now`` (``time.monotonic()``)."""
        return max(0.0, now - (self.started if self.last_sample is None else self.last_sample))


def metrics_text(snapshot: Snapshot, now: float, labels: Mapping[str, str] = {}) -> str:
    """``snapshot`` in the text format; ``now``: ``time.monotonic()``; ``labels``: what every sample is to carry."""
    return "".join(_family(*family, labels) for family in _families(snapshot, now))


_Samples = Iterable[tuple[str, Mapping[str, str], float]]  # suffix of the name, labels, value


def _families(snapshot: Snapshot, now: float) -> Iterator[tuple[str, str, str, _Samples]]:
    """Name, type, description and samples of each metric.

    No ``process_…``, though that is what others call memory: the textfile collector is a process too, and says them.
    """
    if snapshot.info:
        yield "edgegru_info", "gauge", "What runs here.", [("", snapshot.info, 1)]
    for name, count in snapshot.counters.items():
        yield f"edgegru_{name}_total", "counter", _description(name), [("", {}, count)]
    names = dict.fromkeys(name for counters in snapshot.sensors.values() for name in counters)
    for name in names:
        by_sensor = [("", {"sensor": key}, found[name]) for key, found in snapshot.sensors.items() if name in found]
        yield f"edgegru_sensor_{name}_total", "counter", f"{_description(name)[:-1]}, by sensor.", by_sensor
    if snapshot.switched_on:
        switched = [("", {"label": label}, count) for label, count in snapshot.switched_on.items()]
        yield "edgegru_switched_on_total", "counter", "Times a label was switched on.", switched
    yield "edgegru_step_seconds", "histogram", "Time of a step.", _buckets(snapshot.step_times)
    gauges = (
        ("input_age_seconds", "Time without a sample.", snapshot.input_age(now)),
        ("streams", "Streams that are kept.", snapshot.streams),
        ("uptime_seconds", "Time since the start.", max(0.0, now - snapshot.started)),
        ("resident_memory_bytes", "Memory that is in RAM.", snapshot.resident),
    )
    for name, description, value in gauges:
        if value is not None:
            yield f"edgegru_{name}", "gauge", description, [("", {}, value)]


def _buckets(times: StepTimes) -> _Samples:
    total = 0
    for bound, count in zip((*STEP_BOUNDS, None), times.counts, strict=True):
        total += count
        yield "_bucket", {"le": "+Inf" if bound is None else _number(bound)}, total
    yield "_sum", {}, times.seconds
    yield "_count", {}, total


def _description(name: str) -> str:
    return _DESCRIPTIONS.get(name, f"{name.replace('_', ' ').capitalize()}.")


def _family(name: str, kind: str, description: str, samples: _Samples, labels: Mapping[str, str]) -> str:
    lines = [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]
    for suffix, own, value in samples:
        pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in {**labels, **own}.items())
        lines.append(f"{name}{suffix}{f'{{{pairs}}}' if pairs else ''} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    readable = text.encode("utf-8", "replace").decode()  # names from outside may hold halves of characters
    return readable.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))


class MetricsFile:
    """A file for the textfile collector of Prometheus' node_exporter, whole at any moment.

    Each of its samples carries the label ``service``, the file's name without ".prom": the collector refuses two files
    that say the same.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._labels = {"service": os.path.basename(path).removesuffix(".prom")}

    def write(self, snapshot: Snapshot, now: float) -> None:
        """Replace the file. Raises EdgegruError where that is impossible.

        It is not synchronised to the disk: after a power cut these numbers say nothing, and a card wears.
        """
        if os.path.lexists(self.path) and not os.path.isfile(self.path):
            raise EdgegruError(f"{self.path}: is not a regular file, expected a file or a new name")
        temporary = f"{self.path}.{os.getpid()}.tmp"  # the collector reads *.prom
        try:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            with open(temporary, "x", encoding="utf-8") as file:
                file.write(metrics_text(snapshot, now, self._labels))
                os.fchmod(file.fileno(), 0o644)  # the collector is another user
            os.replace(temporary, self.path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary)
            raise EdgegruError(f"{self.path}: cannot be written: {error.strerror}") from None
