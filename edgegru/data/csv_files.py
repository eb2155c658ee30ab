"""Reader of CSV files: a folder with one recording a file, or one long file with a recording column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgegru.data.config import CLASS_TARGETS, TIMESTAMP_UNITS, DataConfig
from edgegru.data.folders import files_below
from edgegru.data.recordings import Target
from edgegru.data.samples import Samples, SampleSet
from edgegru.data.table import Table, read_table
from edgegru_runtime.errors import DataError

PARTS = ("train", "validation", "test")
# Names a column's role is recognised by when the configuration names none.
TIMESTAMPS = tuple(f"{name}{unit}" for name in ("timestamp", "time", "t") for unit in ("", "_s", "_ms"))
LABELS = ("label",)
RECORDINGS = ("recording",)
GROUPS = ("group", "subject")


@dataclass(frozen=True)
class _Roles:
    """Which column of a table is what; None where there is none."""

    timestamp: str | None
    timestamp_unit: str
    label: str | None
    recording: str | None
    group: str | None
    targets: tuple[str, ...]
    channels: tuple[str, ...]


def read(path: Path, config: DataConfig) -> SampleSet:
    """All recordings of a CSV file, or of the CSV files in a folder and its subfolders. Raises DataError.

    In a folder whose recordings all lie under ``train/``, ``validation/`` or ``test/`` these are the official parts. A
    subfolder names the group of the recordings in it, unless a column does.
    """
    if path.is_file():
        table = read_table(path)
        roles = _roles(table, config, None)
        return _sample_set(_recordings(table, roles, path.stem, "", None, None), roles)
    files = csv_files(path)
    if not files:
        raise DataError(f"{path} has no CSV files")
    folders = [file.relative_to(path).parts[:-1] for file in files]
    official = all(folder and folder[0].lower() in PARTS for folder in folders)
    samples: list[Samples] = []
    first: _Roles | None = None
    for file, folder in zip(files, folders, strict=True):
        table = read_table(file)
        roles = _roles(table, config, first)
        first = first or roles
        part = folder[0].lower() if official else None
        inner = folder[1:] if official else folder
        name = file.relative_to(path).with_suffix("").as_posix()
        samples += _recordings(table, roles, name, f"{name}/", inner[0] if inner else None, part)
    assert first is not None
    return _sample_set(samples, first)


def csv_files(path: Path) -> list[Path]:
    """The CSV files in a folder and its subfolders, in order of path; hidden ones are not data."""
    return sorted(file for file in files_below(path) if file.suffix.lower() == ".csv")


def _sample_set(samples: Sequence[Samples], roles: _Roles) -> SampleSet:
    return SampleSet(tuple(samples), roles.channels, targets=roles.targets)


def _roles(table: Table, config: DataConfig, first: _Roles | None) -> _Roles:
    """Assign the columns. ``first``: the roles in the folder's first file, which sets the order of the channels."""
    labels_wanted = not {*CLASS_TARGETS}.isdisjoint(config.wanted_targets)
    label = _column(table, config.label_column, LABELS)
    if labels_wanted and label is None:
        table.require("label")
    timestamp = _column(table, config.timestamp_column, TIMESTAMPS)
    recording = _column(table, config.recording_column, RECORDINGS)
    group = _column(table, config.group_column, GROUPS)
    # A forecast's targets are channels; other targets are not, unless the configuration lists them as channels too.
    targets = () if "forecast" in config.wanted_targets else config.target_columns
    for name in (*targets, *config.channels):
        table.require(name)
    others = {timestamp, label, recording, group, *targets}
    channels = config.channels or tuple(name for name in table.columns if name not in others)
    if not channels:
        raise DataError(
            f"{table.path}, line 1: no column is left to be a channel, the columns are {list(table.columns)}"
        )
    if first is not None and set(channels) != set(first.channels):
        odd = min(set(channels) ^ set(first.channels))
        missing = "has no" if odd in first.channels else "has an unknown"
        raise DataError(
            f"{table.path}, line 1: {missing} column {odd!r}, the first file's channels are {', '.join(first.channels)}"
        )
    if first is not None and (timestamp is None) != (first.timestamp is None):  # one rate cannot be made of both
        has = "has no timestamps" if timestamp is None else f"has timestamps in column {timestamp!r}"
        raise DataError(f"{table.path}, line 1: {has}, unlike the first file; expected them in all files or in none")
    unit = (timestamp or "").lower().rpartition("_")[2]
    unit = unit if config.timestamp_unit == "auto" and unit in TIMESTAMP_UNITS else "auto"
    return _Roles(timestamp, unit, label, recording, group, targets, first.channels if first else channels)


def _column(table: Table, name: str, usual: tuple[str, ...]) -> str | None:
    """The column called ``name``, which must exist; where no name is given, the first that has a usual name."""
    if name:
        table.require(name)
        return name
    lower = {column.lower(): column for column in reversed(table.columns)}
    return next((lower[usual_name] for usual_name in usual if usual_name in lower), None)


def _recordings(
    table: Table, roles: _Roles, name: str, prefix: str, group: str | None, part: str | None
) -> list[Samples]:
    """The recordings of one file: itself, called ``name``, or one for each value of its recording column.

    These are called ``prefix`` and the value, and come in order of appearance.
    """
    t, unit = table.timestamps(roles.timestamp) if roles.timestamp else (None, None)
    x = np.stack([table.numbers(channel) for channel in roles.channels], axis=1)
    y = _target(table, roles)
    groups = table.column(roles.group) if roles.group else None
    samples = []
    for value, rows in _rows_by_recording(table, roles.recording).items():
        whole = name if value is None else prefix + value
        samples.append(
            Samples(
                name=whole,
                group=_one_group(table, groups, rows) if groups else group or whole,
                path=table.path,
                lines=[table.lines[row] for row in rows],
                t=None if t is None else t[rows],
                x=x[rows],
                y=_rows_of(y, rows),
                part=part,
                time_unit=unit or roles.timestamp_unit,
            )
        )
    return samples


def _target(table: Table, roles: _Roles) -> Target:
    """A label ("" = none) or the target values of each row of a table, or None."""
    if roles.targets:
        return np.stack([table.numbers(target) for target in roles.targets], axis=1)
    if roles.label:
        return tuple("" if label == "?" else label for label in table.column(roles.label))
    return None


def _rows_of(y: Target, rows: list[int]) -> Target:
    if isinstance(y, tuple):
        return tuple(y[row] for row in rows)
    return y[rows] if isinstance(y, np.ndarray) else y


def _rows_by_recording(table: Table, column: str | None) -> dict[str | None, list[int]]:
    if column is None:
        return {None: list(range(len(table.lines)))}
    rows: dict[str | None, list[int]] = {}
    for row, value in enumerate(table.column(column)):
        if not value:
            raise DataError(f"{table.path}, line {table.lines[row]}: no value in column {column!r}")
        rows.setdefault(value, []).append(row)
    return rows


def _one_group(table: Table, groups: tuple[str, ...], rows: list[int]) -> str:
    """The one group that all rows of a recording belong to."""
    for row in rows:
        if not groups[row]:
            raise DataError(f"{table.path}, line {table.lines[row]}: no group")
        if groups[row] != groups[rows[0]]:
            raise DataError(
                f"{table.path}, line {table.lines[row]}: group {groups[row]!r} in a recording of group "
                f"{groups[rows[0]]!r}"
            )
    return groups[rows[0]]
