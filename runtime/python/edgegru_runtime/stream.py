"""A stream: one sample in, one result out, and a state that persists between them (docs/streaming.md)."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, overload

from edgegru_runtime.errors import StateError
from edgegru_runtime.samples import read_row, read_sample, read_samples, writable
from edgegru_runtime.state import SavedState, pack_state, unpack_state

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Protocol

    from edgegru_runtime.model import Model
else:
    from abc import ABCMeta

    Protocol = ABCMeta("Protocol", (), {})  # its subclasses register; a true protocol would ask a stream for its state

Result = list[float] | tuple[list[float], ...]
_Out = TypeVar("_Out")


class Stream(Protocol):
    """One session with a model, from ``Model.stream()``; born with zeros for a state, or what its GRUs begin with.

    Owned by one thread at a time: a call during another call raises StateError. A call that raises InputError leaves
    state and counts as they were.
    """

    model: Model

    @overload
    def step(self, x: object) -> Result: ...

    @overload
    def step(self, x: object, out: _Out) -> _Out: ...

    def step(self, x: object, out: object = None) -> object:
        """Advance by one sample.

        ``x``: input_size finite numbers in the units of the data: a sequence, or a buffer of float32, float64 or int16;
        of a model that takes several samples a step, all of them, the oldest first.
        Returns the output as a list of floats, or with several outputs a tuple of lists in declared order. With
        ``out``, a writable float32 buffer of the output's size (several outputs: a tuple of buffers), fills and returns
        that. Raises InputError for a sample or buffer that does not fit, StateError where another thread is inside,
        EngineError where the engine cannot run here or a value leaves its range.
        """

    def run(self, xs: object) -> Any:
        """``step`` for each sample of ``xs``, which are all checked before the first one is taken.

        A list of samples gives the list of what ``step`` returns. A buffer (T, input_size) gives a float32 memoryview
        (T, output_size), or a tuple of them in declared order; ``numpy.asarray`` wraps it without copying. Raises as
        ``step`` does, naming the row.
        """

    def remember(self, value: object, key: object) -> None:
        """One more row that the model's attention reads from the next step on, until ``reset``.

        ``value``: output_size finite numbers, ``key``: size, as the outputs of an encoder. Raises InputError for
        numbers that do not fit, where the stream remembers as many rows as it can, and where the model has no
        attention; StateError where another thread is inside.
        """

    def copy_state(self, other: Stream) -> None:
        """Go on from where ``other``, a stream of the same model, is: its state, steps and counts.

        Raises StateError where it is of another model, or where another thread is inside one of them.
        """

    def reset(self) -> None:
        """Back to the state the stream was born with: no steps, nothing clipped, no rows."""

    @property
    def state(self) -> bytes:
        """The state with the model's identity and the counts, to be assigned to a stream of the same model later.

        The same bytes on every engine that computes the same values. Assigning raises StateError, and changes nothing,
        where the bytes are of another model, torn or damaged.
        """

    @state.setter
    def state(self, data: bytes) -> None: ...

    @property
    def steps(self) -> int:
        """Steps taken since the last reset, counted on over ``state``."""

    @property
    def clipped(self) -> int:
        """Input values saturated since the last reset, counted on over ``state``."""


class _OneUser:
    """A lock that is never waited for: two users of one stream at once are a mistake."""

    def __init__(self) -> None:
        self._lock = Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise StateError("this stream is in use by another thread; expected one stream per thread")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.release()


class EngineStream:
    """A stream of an engine written in Python, which computes one sample at a time."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._names = model.config.input.number_names
        self._output_sizes = model.output_sizes
        self._use = _OneUser()
        self._state: Any = None  # the engine's; made when first needed, so that a stream exists without NumPy
        self._steps = 0
        self._saturated = 0  # before the engine; the engine counts its own

    def step(self, x: object, out: object = None) -> Any:
        row, saturated = read_sample(x, self._names)
        targets = None if out is None else writable(out, self._output_sizes)
        with self._use:
            outputs = self._advance(row, saturated)
        if targets is None:
            return outputs[0] if len(outputs) == 1 else tuple(outputs)
        for target, output in zip(targets, outputs, strict=True):
            target[:] = memoryview(array("f", output))
        return out

    def run(self, xs: object) -> Any:
        taken = read_samples(xs, self._names)
        with self._use:
            results = [self._advance(row, 0) for row in taken.rows]
            self._saturated += sum(taken.saturated)
        if not taken.from_buffer:
            return [outputs[0] if len(outputs) == 1 else tuple(outputs) for outputs in results]
        columns = zip(*results, strict=True) if results else ([],) * len(self._output_sizes)
        views = tuple(_matrix(rows, size) for rows, size in zip(columns, self._output_sizes, strict=True))
        return views[0] if len(views) == 1 else views

    def remember(self, value: object, key: object) -> None:
        from edgegru_runtime.memory import with_row

        config = self.model.config
        row, saturated = read_row(config, value, key)
        assert config.attention is not None
        with self._use:
            blobs, place = self._blobs(), config.state_nodes.index(config.attention)
            blobs[place], more = with_row(config, config.attention, blobs[place], row)
            self.model.engine.load_state(self._state, blobs)
            self._saturated += saturated + more

    def copy_state(self, other: Stream) -> None:
        if not isinstance(other, EngineStream) or other.model is not self.model:
            raise StateError("the other stream is of another model; expected one of the same")
        if other is self:
            return
        with self._use, other._use:
            self._state = self.model.engine.new_state()
            self.model.engine.load_state(self._state, other._blobs())
            self._steps, self._saturated = other._steps, other.clipped

    def _blobs(self) -> list[bytes]:
        """The numbers of every state node."""
        if self._state is None:
            self._state = self.model.engine.new_state()
        return self.model.engine.state_arrays(self._state)

    def reset(self) -> None:
        with self._use:
            self._state, self._steps, self._saturated = None, 0, 0

    @property
    def state(self) -> bytes:
        with self._use:
            return pack_state(self.model.config, SavedState(self._blobs(), self._steps, self.clipped))

    @state.setter
    def state(self, data: bytes) -> None:
        saved = unpack_state(self.model.config, bytes(data))
        with self._use:
            state = self.model.engine.new_state()
            self.model.engine.load_state(state, saved.blobs)
            self._state, self._steps, self._saturated = state, saved.steps, saved.clipped

    @property
    def steps(self) -> int:
        return self._steps

    @property
    def clipped(self) -> int:
        return self._saturated + (0 if self._state is None else self.model.engine.clipped(self._state))

    def count_saturated(self, count: int) -> None:
        """Count values that were saturated before they came here."""
        self._saturated += count

    def _advance(self, row: array[float], saturated: int) -> list[list[float]]:
        if self._state is None:
            self._state = self.model.engine.new_state()
        outputs = self.model.engine.step(self._state, row)
        self._steps += 1
        self._saturated += saturated
        return outputs


def _matrix(rows: Sequence[Sequence[float]], size: int) -> memoryview[float]:
    """Rows as a float32 memoryview (T, size)."""
    flat = array("f")
    for row in rows:
        flat.extend(row)
    return matrix(flat, size)


def matrix(flat: array[float] | bytearray, size: int) -> memoryview[float]:
    """The bytes of float32 rows as a memoryview (T, size)."""
    data = memoryview(flat).cast("B")
    if not data:  # a memoryview cannot be cast to no rows, but it can be cut to none
        return memoryview(bytearray(4 * size)).cast("f", (1, size))[:0]
    return data.cast("f", (len(data) // (4 * size), size))


if not TYPE_CHECKING:
    Stream.register(EngineStream)
    with suppress(ImportError):  # there may be no kernel
        from edgegru_runtime.kernel_engine import KernelStream

        Stream.register(KernelStream)
