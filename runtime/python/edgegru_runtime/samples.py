"""What may enter a stream: numbers in any ordinary container become float32 samples, checked.

Accepted are sequences of numbers and buffers (``array.array``, ``memoryview``, NumPy arrays) of float32, float64 and
int16. NaN, infinity, a wrong length or a wrong type is an ``InputError``. Finite values beyond ±2^60 are saturated to
±2^60 and counted: so the products of a layer stay inside float32, and no sample, however wrong its sensor, can leave a
state that is not finite.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from math import copysign, isfinite

from edgegru_runtime.errors import InputError
from edgegru_runtime.plain_data import dataclass

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from typing import Any

    from edgegru_runtime.model_config import ModelConfig

INPUT_LIMIT = 2.0**60
_BUFFER_FORMATS = ("f", "d", "h")


@dataclass(frozen=True)
class Samples:
    """Checked samples, (input_size,) float32 each, and how many values of each were saturated."""

    rows: list[array[float]]
    saturated: list[int]
    from_buffer: bool  # a two-dimensional buffer, not a list of samples


def read_sample(x: object, channels: tuple[str, ...]) -> tuple[array[float], int]:
    """One sample as float32 (input_size,), and how many of its values were saturated."""
    view = view_of(x)
    if view is None:
        if isinstance(x, str) or not isinstance(x, Sequence):
            raise InputError(f"a {type(x).__name__} arrived, expected numbers or a buffer")
        return _float32(x, channels)
    with view:
        return _float32(numbers_of(view, (len(channels),)), channels)


def read_row(config: ModelConfig, value: object, key: object) -> tuple[array[float], int]:
    """A row for attention as float32 (row_size,): a value and a key, each checked like a sample."""
    node = config.attention
    if node is None:
        raise InputError("the model has no attention, expected one whose streams remember rows")
    row, saturated = read_sample(value, tuple(f"value[{place}]" for place in range(node.output_size)))
    keys, more = read_sample(key, tuple(f"key[{place}]" for place in range(node.size)))
    return row + keys, saturated + more


def read_samples(xs: object, channels: tuple[str, ...]) -> Samples:
    """Many samples: a list of what ``read_sample`` accepts, or a buffer of shape (T, input_size)."""
    view = view_of(xs)
    if view is None:
        if isinstance(xs, str) or not isinstance(xs, Sequence):
            raise InputError(f"a {type(xs).__name__} arrived, expected a list of samples or a two-dimensional buffer")
        return _collect(xs, read_sample, channels, from_buffer=False)
    size = len(channels)
    with view:
        numbers = numbers_of(view, (None, size))
    rows = (numbers[start : start + size] for start in range(0, len(numbers), size))
    return _collect(rows, _float32, channels, from_buffer=True)


def _collect(
    xs: Iterable[object],
    read: Callable[[Any, tuple[str, ...]], tuple[array[float], int]],
    channels: tuple[str, ...],
    *,
    from_buffer: bool,
) -> Samples:
    rows, saturated = [], []
    for index, x in enumerate(xs):
        try:
            row, count = read(x, channels)
        except InputError as error:
            raise InputError(f"row {index}: {error}") from None
        rows.append(row)
        saturated.append(count)
    return Samples(rows, saturated, from_buffer)


def view_of(x: object) -> memoryview | None:
    """A buffer's view; None of what is no buffer."""
    if isinstance(x, (list, tuple)):  # quicker than the failure below
        return None
    try:
        return memoryview(x)  # type: ignore[arg-type]  # whether it is a buffer is the question
    except (TypeError, ValueError):
        return None


def numbers_of(view: memoryview, shape: tuple[int | None, ...]) -> array[Any]:
    """The contents of a buffer, row-major, after a check of its format and shape (None: any length)."""
    if view.format not in _BUFFER_FORMATS:
        raise InputError(f"a buffer of format {view.format!r} arrived, expected float32, float64 or int16")
    found = view.shape or ()
    if len(found) != len(shape) or any(size not in (None, at) for size, at in zip(shape, found, strict=True)):
        expected = f"({shape[0] or 'N'},)" if len(shape) == 1 else f"(T, {shape[1]})"
        raise InputError(f"a buffer of shape {found} arrived, expected {expected}")
    numbers: array[Any] = array(view.format)
    numbers.frombytes(view.tobytes())
    return numbers


def _float32(x: Sequence[Any], channels: tuple[str, ...]) -> tuple[array[float], int]:
    if len(x) != len(channels):
        raise InputError(f"{len(x)} values arrived, expected {len(channels)}: {shortened(channels)}")
    try:
        row = array("f", x)
    except (TypeError, ValueError, OverflowError):
        return _one_by_one(x, channels)
    # One comparison for all values; false also for NaN and infinity. A sum this small has no value that is too large.
    if sum(map(abs, row)) <= INPUT_LIMIT:
        return row, 0
    return _one_by_one(x, channels)


def _one_by_one(x: Sequence[Any], channels: tuple[str, ...]) -> tuple[array[float], int]:
    """As ``_float32``, slowly: finds what is wrong, and saturates what is too large."""
    row, saturated = array("f"), 0
    for value, channel in zip(x, channels, strict=True):
        try:
            number = float(value) if not isinstance(value, (str, bytes)) else None
        except OverflowError:  # an integer beyond float64
            number = INPUT_LIMIT if value > 0 else -INPUT_LIMIT
            saturated += 1
        except (TypeError, ValueError):
            number = None
        if number is None:
            raise InputError(f"channel {channel} is a {type(value).__name__}, expected a number")
        if not isfinite(number):
            raise InputError(f"channel {channel} is {number}, expected a finite number")
        if abs(number) > INPUT_LIMIT:
            number = copysign(INPUT_LIMIT, number)
            saturated += 1
        row.append(number)
    return row, saturated


def shortened(channels: tuple[str, ...]) -> str:
    """The channels' names for an error: all, or of many the first and the last."""
    return ", ".join(channels) if len(channels) <= 12 else f"{channels[0]} … {channels[-1]}"


def writable(out: object, sizes: tuple[int, ...], rows: int | None = None) -> list[memoryview]:
    """The buffers that are to take outputs of these sizes: ``out``, or with several outputs those in it.

    ``rows``: of each output so many, without gaps.
    """
    buffers: Sequence[object] = (out,)
    if len(sizes) > 1:
        if not isinstance(out, (tuple, list)):
            raise InputError(f"out is a {type(out).__name__}, expected {len(sizes)} buffers")
        buffers = out
    if len(buffers) != len(sizes):
        raise InputError(f"out has {len(buffers)} buffers, expected {len(sizes)}")
    views = []
    for buffer, size in zip(buffers, sizes, strict=True):
        try:
            view = memoryview(buffer)  # type: ignore[arg-type]  # whether it is a buffer is the question
        except TypeError:
            raise InputError(f"out is a {type(buffer).__name__}, expected a writable float32 buffer") from None
        shape = (size,) if rows is None else (rows, size)
        gaps = rows is not None and not view.c_contiguous
        if view.readonly or view.format != "f" or view.shape != shape or gaps:
            access = "read-only" if view.readonly else "writable"
            raise InputError(
                f"out is a {access} buffer{' with gaps' if gaps else ''} of format {view.format!r} and shape "
                f"{view.shape}, expected writable float32 {shape}"
            )
        views.append(view)
    return views


def fill(views: Sequence[memoryview], numbers: bytes) -> None:
    """Float32 numbers, those of all outputs one after another, into what ``writable`` gave."""
    values, start = memoryview(numbers).cast("f"), 0
    for view in views:
        view[:] = values[start : start + len(view)]
        start += len(view)
