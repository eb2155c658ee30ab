"""Samples as lines of CSV: what the columns are, and the numbers in each line.

Most of a stream's time in Python goes into reading numbers, so lines are taken apart in blocks, by what knows only good
lines. A block with another line in it is read line by line by ``item``, which can say what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, repeat
from math import inf

from edgegru_runtime.errors import InputError
from edgegru_runtime.record import Item, Record, Refusal, Time
from edgegru_runtime.samples import shortened
from edgegru_runtime.sources.fields import INTEGER_DIGITS, TIME_NAMES, as_number, as_time, control_line, number
from edgegru_runtime.sources.source import SourceOptions

_BLOCK_LINES = 64  # taken apart at once


class CsvLines:
    """Lines whose columns are known.

    ``columns``: their names in order, which errors call ``called``. Raises InputError where one that is needed is
    missing or there twice.
    """

    def __init__(
        self, columns: Sequence[str], channels: tuple[str, ...], options: SourceOptions, called: str = "the header"
    ) -> None:
        self.columns = tuple(columns)
        named = () if options.streams_by is None else (options.streams_by,)
        needed = tuple(dict.fromkeys((*channels, *options.targets, *named)))
        missing = tuple(name for name in needed if name not in columns)
        if missing:
            raise InputError(f"{called} has no {shortened(missing)}; expected {shortened(needed)}")
        for name in needed:
            if columns.count(name) > 1:
                raise InputError(f"column {name} is there {columns.count(name)} times, expected it once")
        self._channels = [(self.columns.index(name), f"channel {name}") for name in channels]
        self._targets = [(self.columns.index(name), f"column {name}") for name in options.targets]
        self._key = None if options.streams_by is None else self.columns.index(options.streams_by)
        times = [name for name in TIME_NAMES if name in columns and name not in needed]
        self._time = self.columns.index(times[0]) if times else None
        self._plain = [at for at, _ in self._channels] == list(range(len(self.columns))) and not self._targets

    def item(self, line: bytes, place: int, end: int) -> Item | None:
        """What one line holds; None where it is blank."""
        control = control_line(line, place, end)
        if control is not None:
            return control
        try:
            fields = split_fields(line)
            if fields == [""]:
                return None
            if len(fields) != len(self.columns):
                raise InputError(f"{len(fields)} columns arrived, expected {len(self.columns)}")
            x = [number(fields[at], what) for at, what in self._channels]
            target = [number(fields[at], what) for at, what in self._targets] if self._targets else None
            t = None if self._time is None else as_time(fields[self._time])
            key = "" if self._key is None else fields[self._key]
            if self._key is not None and not key:
                raise InputError(f"column {self.columns[self._key]} is empty, expected the sensor's name")
        except InputError as error:
            return Refusal(str(error), place, end)
        return Record(x, t, key, place, end, target)

    def items(self, lines: list[bytes], place: int, end: int) -> list[Item]:
        """What is in lines that follow on ``place`` and ``end``."""
        items: list[Item] = []
        for first in range(0, len(lines), _BLOCK_LINES):
            block = lines[first : first + _BLOCK_LINES]
            ends = [*accumulate(map(len, block), lambda before, length: before + length + 1, initial=end)][1:]
            try:
                items += self._records(block, place, ends)
            except ValueError:
                for line, at, line_end in zip(block, range(place + 1, place + 1 + len(block)), ends, strict=True):
                    item = self.item(line, at, line_end)
                    if item is not None:
                        items.append(item)
            place += len(block)
            end = ends[-1]
        return items

    def _records(self, lines: list[bytes], place: int, ends: list[int]) -> list[Record]:
        """The same, where every line is a record as ``item`` would find it; ValueError where one may be none."""
        text = b",\n,".join(lines)  # so that a field that is a newline stands behind the last one of each line
        if b'"' in text or b"!" in text or (len(self.columns) == 1 and not all(map(bytes.strip, lines))):
            raise ValueError
        odd = b"_" in text
        fields, count, width, stride = text.split(b","), len(lines), len(self.columns), len(self.columns) + 1
        if len(fields) != count * stride - 1 or fields[width::stride].count(b"\n") != count - 1:
            raise ValueError
        times: Iterable[Time] = repeat(None)
        keys: Iterable[str] = repeat("")
        targets: Iterable[Sequence[float] | None] = repeat(None)
        if self._plain:
            del fields[width::stride]
            numbers = _floats(fields, odd)
            samples: Iterable[Sequence[float]] = [numbers[at : at + width] for at in range(0, count * width, width)]
        else:
            samples = [*map(list, zip(*(_floats(fields[at::stride], odd) for at, _ in self._channels), strict=True))]
            if self._targets:
                targets = map(list, zip(*(_floats(fields[at::stride], odd) for at, _ in self._targets), strict=True))
            if self._time is not None:
                times = _times(fields[self._time :: stride], odd)
            if self._key is not None:
                keys = [field.decode().strip() for field in fields[self._key :: stride]]
                if "" in keys:
                    raise ValueError
        places = range(place + 1, place + 1 + count)
        new, rows = tuple.__new__, zip(samples, times, keys, places, ends, targets)  # noqa: B905
        return [new(Record, row) for row in rows]  # without the call of Record(…), which costs as much as splitting


def is_header(fields: Sequence[str], channels: tuple[str, ...]) -> bool:
    """Whether a first line names columns: channels may be called 0, 1, 2, so numbers alone do not decide."""
    return set(channels) <= set(fields) or any(field and as_number(field) is None for field in fields)


def is_chatter(fields: Sequence[str] | None, channels: tuple[str, ...]) -> bool:
    """Whether a line that does not fit is words, and no header with other columns. None: it is no CSV at all."""
    if fields is None:
        return True
    if set(channels) & set(fields) or not is_header(fields, channels):
        return False
    return len(fields) < len(channels) or not all(field.isidentifier() for field in fields)


def split_fields(line: bytes) -> list[str]:
    """The fields of a line, without the blanks around them. Raises InputError where it is no CSV in UTF-8."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} is not UTF-8") from None
    if '"' not in text:
        return [field.strip() for field in text.split(",")]
    import csv

    try:
        return [field.strip() for field in next(csv.reader([text.rstrip("\r\n")], strict=True))]
    except csv.Error as error:
        raise InputError(f"the line is not CSV: {error}") from None


def _floats(fields: list[bytes], odd: bool) -> list[float]:
    """The numbers in fields, NaN where one is empty. Raises ValueError where one may be none.

    ``odd``: there may be an underscore in them, which only Python takes for a part of a number.
    """
    if odd and b"_" in b"".join(fields):
        raise ValueError
    try:
        return [*map(float, fields)]
    except ValueError:
        return [float(field.strip() or b"nan") for field in fields]


def _times(fields: list[bytes], odd: bool) -> list[Time]:
    """The times in fields, as ``as_time`` reads them."""
    if not odd and max(map(len, fields)) <= INTEGER_DIGITS:
        try:
            times = [float(field) if b"." in field else int(field) for field in fields]
            if inf not in times and -inf not in times:
                return times  # type: ignore[return-value]  # numbers are times
        except ValueError:
            pass
    return [as_time(field.decode().strip()) for field in fields]
