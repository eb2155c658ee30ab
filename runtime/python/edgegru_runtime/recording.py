"""A log of what arrived, as JSON lines that ``run`` reads again and answers with the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from math import isfinite, isnan
from types import TracebackType

from edgegru_runtime.errors import EdgegruError
from edgegru_runtime.record import Control, Frame, Item, Mark, Record, Refusal, Word


class Recorder:
    """Appends to the file at ``path``; ``targets``: the names of the measured values that records bring, ``key``: the
    field that tells sensors apart. Raises EdgegruError where it cannot be written.
    """

    def __init__(self, path: str, targets: Sequence[str], key: str | None) -> None:
        self._path, self._key = path, json.dumps(key or "stream")
        self._targets = [json.dumps(name) for name in targets]
        try:
            self._file = open(path, "ab")  # noqa: SIM115  # closed at the block's end
        except (OSError, ValueError) as error:
            raise EdgegruError(f"{path}: cannot be written: {getattr(error, 'strerror', error)}") from None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, items: Sequence[Item]) -> None:
        """Append what arrived, but for what is no record."""
        lines = "".join(line for item in items for line in self._lines(item))
        try:
            self._file.write(lines.encode())
            self._file.flush()
        except OSError as error:
            raise EdgegruError(f"{self._path}: cannot be written: {error.strerror}") from None

    def _lines(self, item: Item) -> Iterator[str]:
        if isinstance(item, Record):
            yield self._line(item)
        elif isinstance(item, Frame):
            rows: Sequence[Sequence[float]] = item.xs.tolist()  # type: ignore[assignment]  # it has two dimensions
            for place, x in enumerate(rows):
                yield self._line(Record(x, None, str(place)))
        elif isinstance(item, Control):
            key = "" if item.key is None else f",{self._key}:{json.dumps(item.key)}"
            yield f'{{"control":{json.dumps(item.action)}{key}}}\n'
        elif isinstance(item, Word):
            yield from map(self._line, item.records)
        elif isinstance(item, Mark):
            if item.what == "recording":
                yield '{"control":"reset"}\n'
        else:
            assert isinstance(item, Refusal)

    def _line(self, record: Record) -> str:
        key = f"{self._key}:{json.dumps(record.key)}," if record.key else ""
        t = "" if record.t is None else f'"t":{json.dumps(record.t)},'
        targets = zip(self._targets, record.target or (), strict=True) if record.target else ()
        measured = "".join(f",{name}:{_number(value)}" for name, value in targets)
        return f'{{{key}{t}"x":[{",".join(map(_number, record.x))}]{measured}}}\n'


def _number(value: float) -> str:
    """As strict JSON: null is read as NaN, and 1e999 as infinity."""
    if isfinite(value):
        return repr(value)
    return "null" if isnan(value) else f"{'-' if value < 0 else ''}1e999"
