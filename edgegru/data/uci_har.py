"""Reader of the UCI data set of activities recorded with a smartphone (Anguita et al. 2013, ESANN).

Layout of the folder ``UCI HAR Dataset``: ``train/Inertial Signals/body_acc_x_train.txt`` and eight more, a window of
128 samples a line; ``train/y_train.txt`` and ``train/subject_train.txt``, a number a line; the same under ``test/``;
``activity_labels.txt``, a number and a name a line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegru.data.config import DataConfig
from edgegru.data.samples import Samples, SampleSet
from edgegru.data.table import read_text
from edgegru_runtime.errors import DataError

UNITS = {
    f"{signal}_{axis}": unit
    for signal, unit in (("body_acc", "g"), ("body_gyro", "rad/s"), ("total_acc", "g"))
    for axis in "xyz"
}
PARTS = ("train", "test")
SIGNALS = "Inertial Signals"
LABELS = "activity_labels.txt"
WINDOW = 128  # samples of a line; half of them are in the line before or behind as well
RATE = 50.0  # Hz


def read(path: Path, config: DataConfig) -> SampleSet:
    """Every window of a folder of this layout is a recording with one label, its group the subject. Raises DataError.

    The publisher made the training and the test part of different subjects.
    """
    channels = config.channels or tuple(UNITS)
    unknown = next((name for name in channels if name not in UNITS), None)
    if unknown is not None:
        raise DataError(f"{path}: no channel {unknown!r}, the channels are {', '.join(UNITS)}")
    activities = _activities(path / LABELS)
    return SampleSet(
        samples=tuple(window for part in PARTS for window in _windows(path / part, part, channels, activities)),
        channels=channels,
        units=tuple(UNITS[name] for name in channels),
        labels=tuple(activities.values()),
        rate=RATE,
    )


def _activities(path: Path) -> dict[str, str]:
    """The names of the activities by their numbers, in the order of the file."""
    activities: dict[str, str] = {}
    for number, line in enumerate(_lines(path), start=1):
        cells = line.split()
        if len(cells) != 2 or cells[0] in activities or cells[1] in activities.values():
            raise DataError(f"{path}, line {number}: expected another number and name like 1 WALKING, found {line!r}")
        activities[cells[0]] = cells[1]
    return activities


def _windows(folder: Path, part: str, channels: Sequence[str], activities: dict[str, str]) -> list[Samples]:
    labels, subjects = folder / f"y_{part}.txt", folder / f"subject_{part}.txt"
    numbers, groups = _lines(labels), _lines(subjects)
    unknown = next((index for index, number in enumerate(numbers) if number not in activities), None)
    if unknown is not None:
        raise DataError(f"{labels}, line {unknown + 1}: {numbers[unknown][:40]!r} is not in {LABELS}")
    wrong = next((index for index, group in enumerate(groups) if not re.fullmatch("[0-9]+", group)), None)
    if wrong is not None:
        raise DataError(f"{subjects}, line {wrong + 1}: expected the number of a subject, found {groups[wrong][:40]!r}")
    files = [folder / SIGNALS / f"{channel}_{part}.txt" for channel in channels]
    signals = [_signal(file) for file in files]
    for file, rows in zip((subjects, *files), (groups, *signals), strict=True):
        if len(rows) != len(numbers):
            raise DataError(f"{file} has {len(rows)} lines, {labels.name} has {len(numbers)}")
    x = np.stack(signals, axis=2)  # (windows, WINDOW, channels)
    t = np.arange(WINDOW) / RATE
    return [
        Samples(
            name=f"{part}/{index + 1:04d}",
            group=group,
            path=files[0],
            lines=index + 1,
            t=t,
            x=x[index],
            y=activities[number],
            part=part,
            time_unit="s",
        )
        for index, (number, group) in enumerate(zip(numbers, groups, strict=True))
    ]


def _signal(path: Path) -> NDArray[np.float64]:
    """A line a window: (windows, WINDOW)."""
    lines = _lines(path)
    signal = np.empty((len(lines), WINDOW))
    for index, line in enumerate(lines):
        cells = line.split()
        if len(cells) != WINDOW:
            raise DataError(f"{path}, line {index + 1}: {len(cells)} numbers, expected a window of {WINDOW}")
        try:
            signal[index] = cells
        except ValueError:
            signal[index] = np.nan
        if not np.isfinite(signal[index]).all():
            raise DataError(f"{path}, line {index + 1}: expected {WINDOW} finite numbers")
    return signal


def _lines(path: Path) -> list[str]:
    """The lines of a file, stripped. DataError where it has none."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    if not lines:
        raise DataError(f"{path} is empty")
    return lines
