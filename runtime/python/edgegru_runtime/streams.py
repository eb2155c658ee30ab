"""Many streams of one model, stepped together."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgegru_runtime.errors import EngineError, InputError
from edgegru_runtime.samples import Samples, read_samples, writable
from edgegru_runtime.stream import Stream, matrix

if TYPE_CHECKING:
    from edgegru_runtime.kernel_engine import KernelEngine
    from edgegru_runtime.model import Model


class Streams:
    """Streams of a model, from ``Model.streams(n)``: ``streams[i]`` is one of them, with its state and counts.

    What a stream computes never depends on how many others there are: in integer schemes it is what it computes alone,
    in every bit, in float ones within rounding.
    """

    def __init__(self, model: Model, count: int) -> None:
        self.model = model
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

    def step(self, xs: object, out: object = None) -> Any:
        """Advance every stream by its sample: ``xs`` is a buffer (n, input_size) or a list of n samples.

        Returns a float32 memoryview (n, output_size), with several outputs a tuple of them; ``out``, writable float32
        buffers of these shapes, is filled and returned. Raises InputError, naming the row, before any stream has moved;
        EngineError, naming the stream, where a value leaves its range: that stream has not moved, the others have.
        """
        sizes = self.model.output_sizes
        targets = None if out is None else writable(out, sizes, len(self))  # held: they keep their size
        parts = self._step(xs)
        if targets is None:
            views = tuple(matrix(part, size) for part, size in zip(parts, sizes, strict=True))
            return views[0] if len(views) == 1 else views
        for target, part in zip(targets, parts, strict=True):
            if part:  # what has no rows cannot be cast
                target.cast("B")[:] = part
        return out

    def _step(self, xs: object) -> tuple[bytearray, ...]:
        """The rows of every output, one after another."""
        taken = self._samples(xs)
        outputs = tuple(array("f") for _ in self.model.output_sizes)
        failed: EngineError | None = None
        for index, (stream, row, saturated) in enumerate(zip(self._streams, taken.rows, taken.saturated, strict=True)):
            try:
                result = stream.step(row)
                stream.count_saturated(saturated)
            except EngineError as error:  # the others go on
                failed = failed or EngineError(f"stream {index}: {error}")
                continue
            for output, numbers in zip(outputs, result if isinstance(result, tuple) else (result,), strict=True):
                output.extend(numbers)
        if failed is not None:
            raise failed
        return tuple(bytearray(output) for output in outputs)

    def _samples(self, xs: object) -> Samples:
        """A checked sample for each stream."""
        taken = read_samples(xs, self.model.config.input.channels)
        if len(taken.rows) != len(self):
            raise InputError(f"{len(taken.rows)} samples arrived, expected one for each of {len(self)} streams")
        return taken


class KernelStreams(Streams):
    """The same in C, weights read once for several streams."""

    def __init__(self, model: Model, count: int, engine: KernelEngine) -> None:
        from edgegru_runtime._kernel import Batch

        super().__init__(model, count)
        self._batch = Batch(engine.model)

    def step(self, xs: object, out: object = None) -> Any:
        if out is not None and self._streams and self._batch.step(self._streams, xs, out) is not None:
            return out
        return super().step(xs, out)

    def _step(self, xs: object) -> tuple[bytearray, ...]:
        if not self._streams:
            return super()._step(xs)
        parts = self._batch.step(self._streams, xs)
        if parts is None:  # a list of samples, or something that needs words or a second look
            taken, flat = self._samples(xs), array("f")
            for row in taken.rows:
                flat.extend(row)
            parts = self._batch.step(self._streams, matrix(flat, self.model.input_size))
            assert parts is not None
            for stream, saturated in zip(self._streams, taken.saturated, strict=True):
                stream.count_saturated(saturated)
        return parts
