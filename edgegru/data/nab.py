"""Reader of the Numenta Anomaly Benchmark (Lavin and Ahmad 2015, arXiv:1510.03336; https://github.com/numenta/NAB).

Layout: ``data/{category}/{file}.csv`` with the columns timestamp and value, and ``labels/combined_windows.json``: for
each file, by its path below ``data``, the first and last timestamp of every window around an anomaly.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.data.config import DataConfig
from edgegru.data.csv_files import csv_files
from edgegru.data.samples import Samples, SampleSet
from edgegru.data.table import Table, parse_date, read_table, read_text
from edgegru_runtime.errors import DataError

CHANNEL = "value"
LABELS = ("normal", "anomaly")
WINDOWS = Path("labels", "combined_windows.json")


def probation_length(rows: int) -> int:
    """How many of a file's rows show what is normal, and are not scored: the first 15 %, of 5000 rows at the most."""
    return min(rows * 15 // 100, 750)


def read(path: Path, config: DataConfig) -> SampleSet:
    """All files in a folder of this layout, or the one that ``path`` names. Raises DataError.

    A file is two recordings: its probation, of the training part, and the whole of it, of the test part. A row is a
    sample, whatever its timestamp: the benchmark counts rows, and its clocks repeat themselves and go back.
    """
    unknown = next((name for name in config.channels if name != CHANNEL), None)
    if unknown is not None:
        raise DataError(f"{path}: no channel {unknown!r}, the only one is {CHANNEL}")
    root = path if path.is_dir() else path.absolute().parent.parent.parent
    files = csv_files(root / "data") if path.is_dir() else [path.absolute()]
    if not files:
        raise DataError(f"{path} has no files like data/realKnownCause/nyc_taxi.csv")
    windows = _read_windows(root / WINDOWS)
    samples = []
    for file in files:
        name = file.relative_to(root / "data").as_posix() if file.is_relative_to(root / "data") else file.name
        if name not in windows:
            raise DataError(f"{root / WINDOWS} has no file {name!r}, expected the windows of every file in data/")
        samples += _recordings(file, name.removesuffix(".csv"), windows[name])
    return SampleSet(tuple(samples), (CHANNEL,), labels=LABELS)


def _recordings(path: Path, name: str, windows: list[tuple[datetime, datetime]]) -> list[Samples]:
    """The probation of a file, and the whole of it."""
    table = read_table(path)
    x = table.numbers(CHANNEL)[:, np.newaxis]
    inside = _inside(table, windows)
    y = tuple(LABELS[label] for label in inside.astype(int).tolist())
    probation = probation_length(len(x))
    if probation == 0:
        raise DataError(f"{path} has {len(x)} rows, expected 7 or more, of which 15 % are the probation")
    parts = ((f"{name}/probation", "train", probation), (name, "test", len(x)))
    return [
        Samples(
            name=part_name, group=part_name, path=path, lines=table.lines[:end], t=None, x=x[:end], y=y[:end], part=part
        )
        for part_name, part, end in parts
    ]


def _inside(table: Table, windows: list[tuple[datetime, datetime]]) -> NDArray[np.bool_]:
    """Which rows are in a window, (rows,); of equal timestamps the first row is meant."""
    row_of: dict[datetime, int] = {}
    for row, text in enumerate(table.column("timestamp")):
        date = parse_date(text)
        if date is None:
            expected = "expected a timestamp like 2014-07-01 00:30:00"
            raise DataError(f"{table.path}, line {table.lines[row]}: {text[:40]!r}, {expected}")
        row_of.setdefault(date, row)
    inside = np.zeros(len(table.lines), np.bool_)
    for first, last in windows:
        missing = next((date for date in (first, last) if date not in row_of), None)
        if missing is not None:
            raise DataError(f"{table.path} has no row at {missing}, where {WINDOWS} begins or ends a window")
        inside[row_of[first] : row_of[last] + 1] = True
    return inside


def _read_windows(path: Path) -> dict[str, list[tuple[datetime, datetime]]]:
    """The windows of each file by its path below ``data``. DataError where the file does not say them."""
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise DataError(f"{path} holds no object, expected a list of windows for each file")
    odd = next((name for name, value in document.items() if not isinstance(value, list)), None)
    if odd is not None:
        raise DataError(f"{path}, {odd}: {str(document[odd])[:40]}, expected a list of windows")
    return {name: [_window(path, name, window) for window in value] for name, value in document.items()}


def _window(path: Path, name: str, value: Any) -> tuple[datetime, datetime]:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(text, str) for text in value):
        first, last = map(parse_date, value)
        if first is not None and last is not None:
            return first, last
    raise DataError(f"{path}, {name}: window {value!r}, expected two timestamps like 2014-07-01 00:30:00")
