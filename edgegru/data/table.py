"""A CSV file as columns of text that know their lines, and columns of numbers made from them."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.errors import DataError

MISSING = frozenset(("", "?", "na", "n/a", "nan", "null", "none"))  # cells without a value, in lower case


@dataclass(frozen=True)
class Table:
    """``columns``: name → the text of its cells, all equally many; ``lines``: the line each row is on."""

    path: Path
    columns: dict[str, tuple[str, ...]]
    lines: tuple[int, ...]

    def column(self, name: str) -> tuple[str, ...]:
        """The cells of a column, stripped. DataError names the columns there are."""
        self.require(name)
        return tuple(cell.strip() for cell in self.columns[name])

    def require(self, name: str) -> None:
        """DataError unless there is such a column."""
        if name not in self.columns:
            raise DataError(f"{self.path}, line 1: no column {name!r}, the columns are {', '.join(self.columns)}")

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as numbers, (rows,), NaN where a cell is one of MISSING. DataError for others, with the line."""
        self.require(name)
        cells = self.columns[name]
        try:
            values = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:  # some cell is missing or no number: look at each
            return np.array([self._number(name, row) for row in range(len(cells))])
        if np.isinf(values).any() or "_" in "".join(cells):  # float() takes "inf" and "1_000"
            return np.array([self._number(name, row) for row in range(len(cells))])
        return values

    def _number(self, name: str, row: int) -> float:
        text = self.columns[name][row].strip()
        value = parse_number(text)
        if value is None:
            raise DataError(
                f"{self.path}, line {self.lines[row]}: {text[:40]!r} in column {name!r} is no finite number"
            )
        return value

    def timestamps(self, name: str) -> tuple[NDArray[np.float64], str | None]:
        """A column as times, (rows,), and their unit: "s" (since the first) for ISO 8601 dates, None for numbers."""
        texts = self.column(name)
        if texts and parse_number(texts[0]) is None:
            return self._dates(name, texts), "s"
        values = self.numbers(name)
        missing = np.flatnonzero(np.isnan(values))
        if missing.size:
            raise DataError(f"{self.path}, line {self.lines[missing[0]]}: no timestamp in column {name!r}")
        return values, None

    def _dates(self, name: str, texts: tuple[str, ...]) -> NDArray[np.float64]:
        seconds = np.empty(len(texts))
        start = parse_date(texts[0])
        for row, text in enumerate(texts):
            date = parse_date(text)
            if date is None or start is None or (date.tzinfo is None) != (start.tzinfo is None):
                raise DataError(
                    f"{self.path}, line {self.lines[row]}: {text[:40]!r} in column {name!r} is no timestamp, "
                    "expected a number or a date like 2024-05-31 12:00:00"
                )
            seconds[row] = (date - start).total_seconds()
        return seconds


def parse_number(text: str) -> float | None:
    """A finite number, NaN where ``text`` is one of MISSING, None for anything else."""
    if text.lower() in MISSING:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def parse_date(text: str) -> datetime | None:
    """An ISO 8601 date and time, None for anything else."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def read_text(path: Path) -> str:
    """A whole UTF-8 file, with or without byte order mark. DataError where it cannot be read, with the line."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text") from error


def read_table(path: Path) -> Table:
    """Read a comma-separated file whose first line names the columns. Blank lines are skipped. Raises DataError."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header)
        for row in reader:
            if len(row) != len(header):
                if not row:
                    continue
                raise DataError(f"{path}, line {reader.line_num}: {len(row)} cells, the header names {len(header)}")
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not CSV: {error}") from error
    if not rows:
        raise DataError(f"{path} has no samples, only a header")
    return Table(path, dict(zip(header, zip(*rows, strict=True), strict=True)), tuple(lines))


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise DataError(f"{path}, line 1: empty, expected the names of the columns")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise DataError(f"{path}, line 1: columns must be separated by commas")
    if all(parse_number(name) is not None for name in header):
        raise DataError(f"{path}, line 1: numbers, expected the names of the columns")
    for index, name in enumerate(header):
        if not name:
            raise DataError(f"{path}, line 1: column {index + 1} has no name")
        if header.index(name) != index:
            raise DataError(f"{path}, line 1: two columns are named {name!r}")
