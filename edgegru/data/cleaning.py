"""The rules every recording passes, whatever file it comes from: order of time, missing values, range."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgegru.data.config import DataConfig
from edgegru.data.recordings import Recording, Target
from edgegru.data.samples import Samples
from edgegru_runtime.errors import DataError

EPOCH_MS = 1e11  # a UNIX time this large is in ms: in seconds it would be the year 5138
EPOCH_S = 1e9  # … and above this in seconds, since 2001: a device that counts ms has been on for 11 days by then
EPOCH_US = 1e14  # from here on a UNIX time is in finer units, which nobody asked for


def ticks_per_second(samples: Sequence[Samples], unit: str, rate: float) -> float:
    """1 for timestamps in seconds, 1000 for milliseconds; for ``unit`` "auto" by the rule of docs/data.md.

    UNIX times tell by their size. Others by the median step of the median recording: where they are resampled to
    ``rate``, that is near the recordings' own rate in the right unit; else a step below 1 is taken for seconds. Raises
    DataError for UNIX times in finer units, and where ``rate`` is about as far from both.
    """
    if unit != "auto":
        return 1.0 if unit == "s" else 1000.0
    timed = [sample.t for sample in samples if sample.t is not None and sample.time_unit == "auto"]
    largest = max((float(np.abs(t).max()) for t in timed), default=0.0)
    if largest >= EPOCH_US:
        raise DataError(f"{samples[0].path}: timestamps like {largest:.6g}, expected seconds or milliseconds")
    if largest >= EPOCH_S:
        return 1000.0 if largest >= EPOCH_MS else 1.0
    steps = [np.diff(t) for t in timed]
    medians = [float(np.median(step[step > 0])) for step in steps if (step > 0).any()]
    if not medians:
        return 1.0
    step = float(np.median(medians))
    if not rate:
        return 1000.0 if step >= 1 else 1.0
    from_seconds, from_ms = (abs(math.log10(ticks / step / rate)) for ticks in (1.0, 1000.0))
    if abs(from_seconds - from_ms) < 1:
        raise DataError(
            f"{samples[0].path}: timestamps step by {step:.6g}, which is {1 / step:.4g} Hz in seconds and "
            f"{1000 / step:.4g} Hz in milliseconds, and rate {rate:g} Hz fits both: expected data.timestamp_unit"
        )
    return 1.0 if from_seconds < from_ms else 1000.0


def clean(
    samples: Samples, ticks: float, config: DataConfig, channels: Sequence[str], counts: Counter[str]
) -> Recording:
    """Apply the rules to one recording, adding to ``counts`` what they did.

    ``ticks``: how many units of ``samples.t`` make a second. Raises DataError with file and line.
    """
    x, t, y = samples.x, samples.t, samples.y
    rows = np.arange(len(x))
    if t is not None:
        steps = np.diff(t)
        backwards = np.flatnonzero(steps < 0)
        if backwards.size:
            row = int(backwards[0]) + 1
            raise DataError(f"{samples.where(row)}: timestamp {t[row]:.16g} comes after {t[row - 1]:.16g}")
        rows = np.flatnonzero(np.concatenate(([True], steps > 0)))  # of equal timestamps the first
        counts["equal timestamps"] += len(x) - len(rows)
        t = (t[rows] - t[0]) / ticks
    x = _fill(samples, rows, config.missing, channels, counts)
    with np.errstate(over="ignore"):
        narrow = x.astype(np.float32)
    beyond = np.argwhere(~np.isfinite(narrow))
    if beyond.size:
        row, channel = beyond[0]
        raise DataError(
            f"{samples.where(int(rows[row]))}: {x[row, channel]:.6g} in channel {channels[channel]!r} "
            "is beyond the range of float32"
        )
    return Recording(samples.name, t, narrow, _select(y, rows, counts), samples.group, samples.part)


def _fill(
    samples: Samples, rows: NDArray[np.intp], rule: str, channels: Sequence[str], counts: Counter[str]
) -> NDArray[np.float64]:
    """The kept rows with every missing value replaced by the last one before it, or the first one of its channel."""
    x = samples.x[rows]
    missing = np.isnan(x)
    if not missing.any():
        return x
    row, channel = np.argwhere(missing)[0]
    if rule == "error":
        raise DataError(f"{samples.where(int(rows[row]))}: no value in channel {channels[channel]!r}")
    empty = np.flatnonzero(missing.all(axis=0))
    if empty.size:
        raise DataError(f"{samples.where(0)}: channel {channels[empty[0]]!r} has no value in the whole recording")
    counts["missing values"] += int(missing.sum())
    source = np.where(missing, -1, np.arange(len(x))[:, None])
    source = np.maximum.accumulate(source, axis=0)
    source = np.where(source < 0, np.argmin(missing, axis=0), source)  # before the first value: the first value
    return np.take_along_axis(x, source, axis=0)


def _select(y: Target, rows: NDArray[np.intp], counts: Counter[str]) -> Target:
    if isinstance(y, tuple):
        kept = tuple(y[row] for row in rows)
        counts["samples without label"] += kept.count("")
        return kept
    if isinstance(y, np.ndarray):
        values = y[rows] if y.ndim == 2 else y
        counts["missing target values"] += int(np.isnan(values).sum())
        return values
    return y
