"""Many streams of one model, stepped together."""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgegru_runtime.errors import EngineError, InputError
from edgegru_runtime.samples import Samples, read_samples, writable
from edgegru_runtime.stream import Stream, matrix

if TYPE_CHECKING:
    from edgegru_runtime.kernel_engine import KernelEngine
    from edgegru_runtime.model import Model


class Streams:
    """Streams of a model, from ``Model.streams(n)``: ``streams[i]`` is one of them, with its state and counts.

    What a stream computes never depends on which others there are or step: in integer schemes it is what it computes
    alone, in every bit, in float ones within rounding.
    """

    def __init__(self, model: Model, count: int) -> None:
        self.model = model
        self._sizes = model.output_sizes
        self._streams: list[Any] = [model.stream() for _ in range(count)]

    def __len__(self) -> int:
        return len(self._streams)

    def __getitem__(self, index: int) -> Stream:
        return self._streams[index]  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._streams)

    def add(self) -> Stream:
        """One more stream, the last one, newly born; the others are untouched."""
        self._streams.append(self.model.stream())
        return self[-1]

    def remove(self, index: int) -> Stream:
        """Take out the stream at ``index`` and return it; those behind it move up by one, as in a list."""
        stream: Stream = self._streams.pop(index)
        return stream

    def step(self, xs: object, out: object = None, *, which: object = None) -> Any:
        """Advance every stream by its sample: ``xs`` is a buffer (n, input_size) or a list of n samples.

        ``which``: the indices, each once, of n streams that step instead of all; quickest as a list or tuple of ints.
        Returns a float32 memoryview (n, output_size), with several outputs a tuple of them; ``out``, writable float32
        buffers of these shapes, is filled and returned. Raises InputError, naming the row, with ``which`` the stream,
        before any stream has moved; EngineError, naming the stream, where a value leaves its range: that stream has not
        moved, the others have.
        """
        places = range(len(self)) if which is None else self._places(_listed(which))
        targets = None if out is None else writable(out, self._sizes, len(places))  # held: they keep their size
        parts = self._step(self._samples(xs, places, which is not None), places)
        if targets is None:
            return self._views(parts)
        for target, part in zip(targets, parts, strict=True):
            if part:  # what has no rows cannot be cast
                target.cast("B")[:] = part
        return out

    def _step(self, taken: Samples, places: Sequence[int]) -> tuple[bytearray, ...]:
        """The rows of every output, one after another."""
        outputs = tuple(array("f") for _ in self._sizes)
        failed: EngineError | None = None
        for place, row, saturated in zip(places, taken.rows, taken.saturated, strict=True):
            stream = self._streams[place]
            try:
                result = stream.step(row)
                stream.count_saturated(saturated)
            except EngineError as error:  # the others go on
                failed = failed or EngineError(f"stream {place}: {error}")
                continue
            for output, numbers in zip(outputs, result if isinstance(result, tuple) else (result,), strict=True):
                output.extend(numbers)
        if failed is not None:
            raise failed
        return tuple(bytearray(output) for output in outputs)

    def _views(self, parts: tuple[bytearray, ...]) -> Any:
        views = tuple(matrix(part, size) for part, size in zip(parts, self._sizes, strict=True))
        return views[0] if len(views) == 1 else views

    def _places(self, which: Sequence[Any]) -> list[int]:
        """``which`` as indices that exist, each once."""
        places: dict[int, None] = {}
        for item in which:
            try:
                place = operator.index(item)
            except TypeError:
                place = None
            if place is None or isinstance(item, bool):  # a mask is no list of indices
                raise InputError(f"which has a {type(item).__name__}, expected indices of streams")
            if not 0 <= place < len(self):
                raise InputError(f"which has index {place}, expected 0 ≤ index < {len(self)}, the number of streams")
            if place in places:
                raise InputError(f"which has index {place} twice, expected every stream once")
            places[place] = None
        return list(places)

    def _samples(self, xs: object, places: Sequence[int], chosen: bool) -> Samples:
        """A checked sample for each of the streams at ``places``; ``chosen``: these are not simply all."""
        try:
            taken = read_samples(xs, self.model.config.input.number_names)
        except InputError as error:
            row, colon, reason = str(error).partition(": ")
            number = row.removeprefix("row ")
            if chosen and number != row and int(number) < len(places):
                raise InputError(f"stream {places[int(number)]}{colon}{reason}") from None
            raise
        if len(taken.rows) != len(places):
            raise InputError(f"{len(taken.rows)} samples arrived, expected one for each of {len(places)} streams")
        return taken


def _listed(which: Any) -> list[Any] | tuple[Any, ...]:
    """A sequence or a buffer as a list or tuple."""
    if isinstance(which, (list, tuple)):
        return which
    try:
        return list(which if isinstance(which, Sequence) else memoryview(which).tolist())
    except (TypeError, NotImplementedError):
        raise InputError(f"which is a {type(which).__name__}, expected a list of indices") from None


class KernelStreams(Streams):
    """The same in C, weights read once for several streams."""

    def __init__(self, model: Model, count: int, engine: KernelEngine) -> None:
        from edgegru_runtime._kernel import Batch

        super().__init__(model, count)
        self._batch = Batch(engine.model)

    def step(self, xs: object, out: object = None, *, which: object = None) -> Any:
        if which is not None:
            which = _listed(which)
        taken = self._batch.step(self._streams, xs, out, which)
        if taken is None:  # something that needs words or a second look
            return super().step(xs, out, which=which)
        return self._views(taken) if out is None else out

    def _step(self, taken: Samples, places: Sequence[int]) -> tuple[bytearray, ...]:
        if not places:
            return super()._step(taken, places)
        parts: tuple[bytearray, ...] | None = self._batch.step(self._streams, taken.rows, None, list(places))
        assert parts is not None
        for place, saturated in zip(places, taken.saturated, strict=True):
            self._streams[place].count_saturated(saturated)
        return parts
