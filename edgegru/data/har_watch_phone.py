"""Reader of the smartphone and smartwatch recordings by Matey-Sanz et al. (2023), doi 10.1016/j.dib.2023.109809.

Layout: ``sXX/sXX_YY_sw.csv`` (watch) and ``…_sp.csv`` (phone): subject XX, execution YY; six columns of acceleration
and angular velocity, a timestamp in ms and an activity label for each sample, about 103 samples a second.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from edgegru.data.config import DataConfig
from edgegru.data.folders import files_below
from edgegru.data.samples import Samples, SampleSet
from edgegru.data.table import read_table
from edgegru_runtime.errors import DataError

UNITS = {"x_acc": "m/s^2", "y_acc": "m/s^2", "z_acc": "m/s^2", "x_gyro": "rad/s", "y_gyro": "rad/s", "z_gyro": "rad/s"}
ENDINGS = {"watch": "sw", "phone": "sp"}
_FILE = re.compile(r"(s\d+)_\d+_(sw|sp)\.csv")


def recording_files(path: Path, device: str) -> list[Path]:
    """The recordings of a device under a folder, in order of name."""
    names = ((file, _FILE.fullmatch(file.name)) for file in files_below(path))
    found = (file for file, name in names if name is not None and name.group(2) == ENDINGS[device])
    return sorted(found, key=lambda file: (file.name, file))


def read(path: Path, config: DataConfig) -> SampleSet:
    """All recordings of ``config.device`` in a folder of this layout (or one file of it). Raises DataError."""
    files = [path] if path.is_file() else recording_files(path, config.device)
    if not files:
        raise DataError(f"{path} has no files named like s01/s01_01_{ENDINGS[config.device]}.csv")
    channels = config.channels or tuple(UNITS)
    unknown = next((name for name in channels if name not in UNITS), None)
    if unknown is not None:
        raise DataError(f"{path}: no channel {unknown!r}, the channels are {', '.join(UNITS)}")
    return SampleSet(
        samples=tuple(_read_file(file, channels) for file in files),
        channels=channels,
        units=tuple(UNITS[name] for name in channels),
    )


def _read_file(path: Path, channels: tuple[str, ...]) -> Samples:
    name = _FILE.fullmatch(path.name)
    if name is None:
        raise DataError(f"{path.name} is not named like s01_01_sw.csv")
    table = read_table(path)
    unknown = next((column for column in table.columns if column not in (*UNITS, "timestamp", "label")), None)
    if unknown is not None:
        raise DataError(f"{path}, line 1: unknown column {unknown!r}")
    t, unit = table.timestamps("timestamp")
    if unit is not None:
        raise DataError(f"{path}, line {table.lines[0]}: a date, expected a timestamp in ms")
    return Samples(
        name=path.stem,
        group=name.group(1),
        path=path,
        lines=table.lines,
        t=t,
        x=np.stack([table.numbers(channel) for channel in channels], axis=1),
        y=table.column("label"),
        time_unit="ms",
    )
