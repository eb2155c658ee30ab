"""Reader of the WISDM activity data v1.1 (Kwapisz, Weiss and Moore 2010, SensorKDD), file ``WISDM_ar_v1.1_raw.txt``.

Records ``user,activity,timestamp,x,y,z;`` of a phone's accelerometer at 20 Hz in a front trouser pocket: m/s² with
gravity, timestamps in ns. The file has defects, and each has its rule: records may share a line, and lines be empty;
a comma may stand before the semicolon; an absent value is a missing value; records whose timestamp is 0 are dropped and
counted. Anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgegru.data.config import DataConfig
from edgegru.data.samples import Samples, SampleSet
from edgegru.data.table import parse_number, read_text
from edgegru_runtime.errors import DataError

FILE = "WISDM_ar_v1.1_raw.txt"
CHANNELS = ("x", "y", "z")
MAX_GAP = 1_000_000_000  # ns: 20 samples; a longer silence, or time going back, ends a recording
_WHOLE_NUMBER = re.compile("[0-9]{1,18}")


class _Record(NamedTuple):
    line: int
    user: str
    activity: str
    t: int
    x: tuple[float, ...]


def read(path: Path, config: DataConfig) -> SampleSet:
    """The recordings of the file, or of the folder it is in: runs of records of one user without a break in time.

    Their activity may change: each sample has its own label. Raises DataError with file and line.
    """
    file = path / FILE if path.is_dir() else path
    channels = config.channels or CHANNELS
    unknown = next((name for name in channels if name not in CHANNELS), None)
    if unknown is not None:
        raise DataError(f"{path}: no channel {unknown!r}, the channels are {', '.join(CHANNELS)}")
    columns = [CHANNELS.index(name) for name in channels]
    records = list(_records(file))
    timed = [record for record in records if record.t]
    if not timed:
        raise DataError(f"{file} has no records like 33,Jogging,49105962326000,-0.69,12.68,0.50;")
    samples: list[Samples] = []
    numbers: dict[str, int] = {}  # of each user's last recording
    for run in _runs(timed):
        user = run[0].user
        numbers[user] = numbers.get(user, 0) + 1
        samples.append(
            Samples(
                name=f"{user}/{numbers[user]:03d}",
                group=user,
                path=file,
                lines=[record.line for record in run],
                t=np.array([record.t - run[0].t for record in run]) / 1e9,
                x=np.array([record.x for record in run])[:, columns],
                y=tuple(record.activity for record in run),
                time_unit="s",
            )
        )
    dropped = {"samples without timestamp": len(records) - len(timed)}
    return SampleSet(tuple(samples), channels, units=("m/s^2",) * len(channels), counts=dropped)


def _records(path: Path) -> Iterator[_Record]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        for text in line.split(";"):
            if text.strip():
                yield _record(path, number, text)


def _record(path: Path, number: int, text: str) -> _Record:
    cells = [cell.strip() for cell in text.split(",")]
    if len(cells) == 7 and not cells[6]:
        del cells[6]
    if len(cells) != 6:
        raise DataError(f"{path}, line {number}: {len(cells)} cells, expected user,activity,timestamp,x,y,z;")
    user, activity, timestamp, *values = cells
    if not _WHOLE_NUMBER.fullmatch(user) or not activity:
        raise DataError(f"{path}, line {number}: expected the number of a user and an activity, found {text[:40]!r}")
    if not _WHOLE_NUMBER.fullmatch(timestamp):
        raise DataError(f"{path}, line {number}: {timestamp[:40]!r} is no timestamp, expected whole nanoseconds")
    x = []
    for value in values:
        parsed = parse_number(value)
        if parsed is None:
            raise DataError(f"{path}, line {number}: {value[:40]!r} is no finite number")
        x.append(parsed)
    return _Record(number, user, activity, int(timestamp), tuple(x))


def _runs(records: list[_Record]) -> Iterator[list[_Record]]:
    """Records cut where the user changes, time goes back, or more than MAX_GAP passes."""
    start = 0
    for index in range(1, len(records)):
        before, after = records[index - 1], records[index]
        if after.user != before.user or not 0 <= after.t - before.t <= MAX_GAP:
            yield records[start:index]
            start = index
    yield records[start:]
