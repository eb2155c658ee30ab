"""Reader of UEA/UCR time series files (.ts), alone or as the pair X_TRAIN.ts and X_TEST.ts of an official split.

Header lines start with ``@``, comments with ``#`` or ``%``; after ``@data`` each line is a recording: its channels
separated by ``:``, values by ``,``, the label or target value last. Ragged recordings, missing values (``?`` or NaN)
and timestamped values ``(time,value)`` are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegru.data.config import DataConfig
from edgegru.data.recordings import Target
from edgegru.data.samples import Samples, SampleSet, one_name_a_value
from edgegru.data.table import parse_date, parse_number, read_text
from edgegru_runtime.errors import DataError

TAGS = (
    "problemname", "timestamps", "missing", "univariate", "dimension", "dimensions", "equallength", "serieslength",
    "classlabel", "targetlabel", "data",
)  # fmt: skip
PARTS = {"_TRAIN.ts": "train", "_TEST.ts": "test"}
_PAIR = re.compile(r"\(([^()]*)\)")
_PAIR_OR_COLON = re.compile(r"\([^()]*\)|:")


@dataclass
class _Header:
    """What the ``@`` lines of a file declare."""

    timestamps: bool = False
    dimensions: int | None = None
    series_length: int | None = None
    classes: tuple[str, ...] = field(default=())
    has_class: bool = False
    has_target: bool = False


def read(path: Path, config: DataConfig) -> SampleSet:
    """The recordings of a .ts file. X_TRAIN.ts brings X_TEST.ts beside it along; a folder stands for its pair.

    Raises DataError with file and line.
    """
    samples: list[Samples] = []
    labels: tuple[str, ...] = ()
    has_target = False
    for file in problem_files(path):
        header, read_samples = _read_file(file)
        if samples and read_samples[0].x.shape[1] != samples[0].x.shape[1]:
            raise DataError(
                f"{file} has {read_samples[0].x.shape[1]} channels, {samples[0].path} has {samples[0].x.shape[1]}"
            )
        samples += read_samples
        labels += tuple(label for label in header.classes if label not in labels)
        has_target = has_target or header.has_target
    return SampleSet(
        samples=tuple(samples),
        channels=one_name_a_value(config.channels, samples[0].x.shape[1], "channel", path),
        labels=labels,
        targets=one_name_a_value(config.target_columns, 1, "value", path) if has_target else (),
    )


def problem_files(path: Path) -> list[Path]:
    """The files that belong to ``path``, training part first; in a folder of several problems, those named like it."""
    if path.is_file():
        test = path.with_name(path.name.removesuffix("_TRAIN.ts") + "_TEST.ts")
        return [path, test] if path.name.endswith("_TRAIN.ts") and test.is_file() else [path]
    problems = {_problem(file) for file in path.glob("*.ts")}
    if not problems:
        raise DataError(f"{path} has no .ts files")
    problem = path.resolve().name if len(problems) > 1 else min(problems)
    if problem not in problems:
        raise DataError(f"{path} has several problems, name the file of one: {', '.join(sorted(problems))}")
    return [file for ending in (".ts", *PARTS) if (file := path / f"{problem}{ending}").is_file()]


def _problem(file: Path) -> str:
    return file.name.removesuffix("_TRAIN.ts").removesuffix("_TEST.ts").removesuffix(".ts")


def _read_file(path: Path) -> tuple[_Header, list[Samples]]:
    lines = read_text(path).splitlines()
    header = _Header()
    start = None
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if not line or line[0] in "#%":
            continue
        if line[0] != "@":
            raise DataError(f"{path}, line {number}: expected a header line that starts with @, found {line[:40]!r}")
        if _header_line(path, number, line, header):
            start = number
            break
    if start is None:
        raise DataError(f"{path} has no line @data")
    stem = path.name.removesuffix(".ts")
    part = next((part for ending, part in PARTS.items() if path.name.endswith(ending)), None)
    samples: list[Samples] = []
    for number, line in enumerate(lines[start:], start=start + 1):
        line = line.strip()
        if line and line[0] not in "#%":
            samples.append(_recording(path, number, line, header, f"{stem}/{len(samples) + 1:04d}", part))
    if not samples:
        raise DataError(f"{path} has no recordings after @data")
    return header, samples


def _header_line(path: Path, number: int, line: str, header: _Header) -> bool:
    """Note what a header line declares; True for ``@data``."""
    tag, *words = line[1:].split() or [""]
    tag = tag.lower()
    if tag not in TAGS:
        raise DataError(f"{path}, line {number}: unknown header @{tag}, known are {', '.join(TAGS)}")
    if tag in ("timestamps", "missing", "univariate", "equallength", "classlabel", "targetlabel"):
        if not words or words[0].lower() not in ("true", "false"):
            raise DataError(f"{path}, line {number}: @{tag} must be true or false")
        yes = words[0].lower() == "true"
        if tag == "timestamps":
            header.timestamps = yes
        elif tag == "univariate" and yes:
            header.dimensions = 1
        elif tag == "classlabel":
            header.has_class, header.classes = yes, tuple(words[1:]) if yes else ()
        elif tag == "targetlabel":
            header.has_target = yes
        if header.has_class and header.has_target:
            raise DataError(f"{path}, line {number}: @classLabel and @targetLabel cannot both be true")
    elif tag in ("dimension", "dimensions", "serieslength"):
        if len(words) != 1 or not re.fullmatch("0*[1-9][0-9]{0,8}", words[0]):
            raise DataError(f"{path}, line {number}: @{tag} must be a whole number above 0")
        if tag == "serieslength":
            header.series_length = int(words[0])
        else:
            header.dimensions = int(words[0])
    return tag == "data"


def _recording(path: Path, number: int, line: str, header: _Header, name: str, part: str | None) -> Samples:
    """One line after ``@data``. The first one settles the number of channels where the header does not."""
    where = f"{path}, line {number}"
    fields = _split_outside_parentheses(line) if header.timestamps else line.split(":")
    label = fields.pop().strip() if header.has_class or header.has_target else None
    if not fields:
        raise DataError(f"{where}: no channels before the label")
    header.dimensions = header.dimensions or len(fields)
    if len(fields) != header.dimensions:
        raise DataError(f"{where}: {len(fields)} channels, expected {header.dimensions}")
    t, unit = None, "auto"
    if header.timestamps:
        t, unit, channels = _timestamped(where, fields)
    else:
        channels = [_values(where, text.split(",")) for text in fields]
    lengths = {len(values) for values in channels}
    if len(lengths) > 1:
        raise DataError(f"{where}: channels of different lengths, {min(lengths)} to {max(lengths)} values")
    if header.series_length is not None and lengths != {header.series_length}:
        raise DataError(f"{where}: {lengths.pop()} values a channel, @seriesLength says {header.series_length}")
    x = np.stack(channels, axis=1)  # (T, channels)
    present = np.flatnonzero(~np.isnan(x).all(axis=1))
    if not present.size:
        raise DataError(f"{where}: no values")
    length = int(present[-1]) + 1  # ragged recordings are often padded with missing values to one length
    return Samples(
        name=name,
        group=name,
        path=path,
        lines=number,
        t=None if t is None else t[:length],
        x=x[:length],
        y=_target(where, label, header),
        part=part,
        time_unit=unit,
    )


def _values(where: str, cells: list[str]) -> NDArray[np.float64]:
    """Numbers, NaN where missing."""
    values = [parse_number(cell.strip()) if cell.strip() else None for cell in cells]
    if None in values:
        raise DataError(f"{where}: {cells[values.index(None)].strip()[:40]!r} is no finite number")
    return np.array(values, np.float64)  # (T,)


def _split_outside_parentheses(line: str) -> list[str]:
    """Split at the colons between channels, not at those within times of day."""
    return _PAIR_OR_COLON.sub(lambda match: "\n" if match[0] == ":" else match[0], line).split("\n")


def _timestamped(where: str, fields: list[str]) -> tuple[NDArray[np.float64], str, list[NDArray[np.float64]]]:
    """Times, their unit, and each channel's values. All channels must have the same times."""
    times: list[str] | None = None
    channels = []
    for text in fields:
        if _PAIR.sub("", text).strip(", "):
            raise DataError(f"{where}: expected (time,value) pairs, found {text[:40]!r}")
        pairs = [pair.rpartition(",") for pair in _PAIR.findall(text)]
        if times is not None and times != [time for time, _, _ in pairs]:
            raise DataError(f"{where}: channels with different timestamps")
        times = [time for time, _, _ in pairs]
        channels.append(_values(where, [value for _, _, value in pairs]))
    if not times:
        raise DataError(f"{where}: no values")
    numbers = [parse_number(time.strip()) for time in times]
    if all(number is not None and number == number for number in numbers):
        return np.array(numbers, np.float64), "auto", channels
    dates = [parse_date(time.strip()) for time in times]
    if any(date is None or (date.tzinfo is None) != (dates[0] is None or dates[0].tzinfo is None) for date in dates):
        raise DataError(f"{where}: timestamps must be numbers or dates like 2024-05-31 12:00:00")
    return np.array([(date - dates[0]).total_seconds() for date in dates if date and dates[0]]), "s", channels


def _target(where: str, label: str | None, header: _Header) -> Target:
    """The class ("" = unknown), the target value (NaN = unknown) or None."""
    if header.has_target:
        value = parse_number(label or "")
        if value is None:
            raise DataError(f"{where}: {label!r} is no target value")
        return np.array([value])
    if header.has_class:
        if label in ("", "?"):
            return ""
        if header.classes and label not in header.classes:
            raise DataError(f"{where}: class {label!r} is not among those of @classLabel: {', '.join(header.classes)}")
        return label
    return None
