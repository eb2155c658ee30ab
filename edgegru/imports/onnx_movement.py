"""Operators that only move numbers: on signals they move cells and keep track of where time and batch are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgegru.imports.onnx_graph import Node
from edgegru.imports.onnx_values import ZERO, Cells, Signal, Value, axis_of, integers, moved_signal
from edgegru_runtime.errors import ImportModelError

if TYPE_CHECKING:
    from edgegru.imports.onnx_walk import Walk


def _identity(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    return [moved_signal(node, inputs)]


def _transpose(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    signal = moved_signal(node, inputs)
    perm = node.integers("perm") or list(range(signal.rank))[::-1]
    if sorted(perm) != list(range(signal.rank)):
        raise ImportModelError(f"{node}: perm {perm} of a value with {signal.rank} axes")
    return [_permuted(signal, perm)]


def _permuted(signal: Signal, perm: Sequence[int]) -> Signal:
    time, batch = (None if axis is None else perm.index(axis) for axis in (signal.time, signal.batch))
    cache = None if signal.cache is None else signal.cache.transpose(perm)
    return signal.moved(signal.cells.transpose(perm), time, batch, cache=cache)


def swapped(signal: Signal) -> Signal:
    """The last two axes swapped."""
    return _permuted(signal, [*range(signal.rank - 2), signal.rank - 1, signal.rank - 2])


def _unsqueeze(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    signal = moved_signal(node, inputs)
    axes = integers(node, inputs, 1, "axes") or []
    rank = signal.rank + len(axes)
    new = {axis_of(node, axis, rank) for axis in axes}
    if len(new) != len(axes):
        raise ImportModelError(f"{node}: axes {axes} name one twice")
    kept = [axis for axis in range(rank) if axis not in new]
    return [_with_axes(signal, kept, rank)]


def _with_axes(signal: Signal, kept: Sequence[int], rank: int) -> Signal:
    """``kept``: where the axes of ``signal`` come to stand; all others have length 1."""

    def placed(cells: Cells) -> Cells:
        shape = [1] * rank
        for axis, size in zip(kept, cells.shape, strict=True):
            shape[axis] = size
        return cells.reshape(shape)

    time, batch = (None if axis is None else kept[axis] for axis in (signal.time, signal.batch))
    cache = None if signal.cache is None else placed(signal.cache)
    return signal.moved(placed(signal.cells), time, batch, cache=cache)


def unsqueezed(signal: Signal, rank: int) -> Signal:
    """With axes of length 1 before the others, as broadcasting puts them."""
    return _with_axes(signal, range(rank - signal.rank, rank), rank)


def _squeeze(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    signal = moved_signal(node, inputs)
    shape = walk.shape(signal)
    given = integers(node, inputs, 1, "axes")
    if given is None:
        gone = {axis for axis, size in enumerate(shape) if size == 1}
    else:
        gone = {axis_of(node, axis, signal.rank) for axis in given}
    if any(shape[axis] != 1 for axis in gone):
        raise ImportModelError(
            f"{node}: axes {sorted(gone)} of shape {walk.shape_text(signal)}, expected ones of size 1"
        )
    if signal.time in gone:  # of a sequence of one step
        signal = replace(signal, last=True, time=None)
    return [without_axes(signal, gone)]


def without_axes(signal: Signal, gone: set[int]) -> Signal:
    """Without axes of length 1."""
    places, kept = {}, 0
    for axis in range(signal.rank):
        if axis not in gone:
            places[axis] = kept
            kept += 1
    time, batch = (None if axis is None else places.get(axis) for axis in (signal.time, signal.batch))
    cells = signal.cells.squeeze(axis=tuple(sorted(gone)))
    cache = None if signal.cache is None else signal.cache.squeeze(axis=tuple(sorted(gone)))
    return signal.moved(cells, time, batch, cache=cache)


def _reshape(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    signal = moved_signal(node, inputs)
    shape, target = walk.shape(signal), integers(node, inputs, 1, "shape")
    if target is None:
        raise ImportModelError(f"{node}: names no shape")
    if not node.integer("allowzero", 0):
        target = [shape[axis] if size == 0 and axis < len(shape) else size for axis, size in enumerate(target)]
    if target.count(-1) == 1:
        rest = math.prod(size for size in target if size != -1)
        target[target.index(-1)] = math.prod(shape) // rest if rest else 0
    return [_reshaped(walk, node, signal, target)]


def _flatten(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    signal = moved_signal(node, inputs)
    shape, axis = walk.shape(signal), node.integer("axis", 1)
    axis += signal.rank if axis < 0 else 0
    return [_reshaped(walk, node, signal, [math.prod(shape[:axis]), math.prod(shape[axis:])])]


def _reshaped(walk: Walk, node: Node, signal: Signal, target: list[int]) -> Signal:
    """Time and batch must stay axes of their own."""
    shape = walk.shape(signal)
    if math.prod(shape) != math.prod(target) or min(target, default=1) < 1:
        raise ImportModelError(f"{node}: {walk.shape_text(signal)} cannot become {target}")
    places: dict[str, int | None] = {"time": None, "batch": None}
    for what, axis in (("time", signal.time), ("batch", signal.batch)):
        if axis is None:
            continue
        before, size = math.prod(shape[:axis]), shape[axis]
        fits = [
            place
            for place, length in enumerate(target)
            if length == size and math.prod(target[:place]) == before and place not in places.values()
        ]
        if not fits:
            raise ImportModelError(
                f"{node}: {walk.shape_text(signal)} becomes {target}, which mixes {what} with other axes"
            )
        places[what] = axis if axis in fits else fits[0]
    if signal.cache is not None:
        if target != list(shape):
            raise ImportModelError(f"{node}: reshapes values kept from earlier calls, expected a convolution of them")
        return signal
    lengths = [1 if place in places.values() else size for place, size in enumerate(target)]
    return signal.moved(signal.cells.reshape(lengths), places["time"], places["batch"])


def _expand(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    signal = moved_signal(node, inputs)
    sizes = integers(node, inputs, 1, "shape") or []
    rank = max(signal.rank, len(sizes))
    signal = unsqueezed(signal, rank)
    sizes = [1] * (rank - len(sizes)) + sizes
    target = [max(pair) for pair in zip(walk.shape(signal), sizes, strict=True)]
    if any(1 != given != size for given, size in zip(sizes, target, strict=True)):
        raise ImportModelError(f"{node}: {walk.shape_text(signal)} does not expand to {sizes}")
    if math.prod(target) > walk.largest:
        raise ImportModelError(f"{node} makes {math.prod(target):,} numbers, expected at most {walk.largest:,}")
    lengths = [1 if axis in (signal.time, signal.batch) else size for axis, size in enumerate(target)]
    return [signal.moved(np.broadcast_to(signal.cells, lengths), signal.time, signal.batch)]


def _tile(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    signal = moved_signal(node, inputs)
    repeats = integers(node, inputs, 1, "repeats") or []
    if len(repeats) != signal.rank or any(
        repeats[axis] != 1 for axis in (signal.time, signal.batch) if axis is not None
    ):
        raise ImportModelError(f"{node}: repeats {walk.shape_text(signal)} by {repeats}, expected time repeated once")
    if signal.cells.size * math.prod(repeats) > walk.largest or min(repeats, default=1) < 1:
        raise ImportModelError(f"{node} makes {signal.cells.size * math.prod(repeats):,} numbers of one step")
    return [signal.moved(np.tile(signal.cells, repeats), signal.time, signal.batch)]


def _concat(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    values = [value for value in inputs if value is not None and (isinstance(value, Signal) or value.size)]
    model = next(value for value in values if isinstance(value, Signal))
    axis = axis_of(node, node.integer("axis", 1), model.rank)
    for value in values:
        if (value.rank if isinstance(value, Signal) else value.ndim) != model.rank:
            raise ImportModelError(f"{node}: puts values of different numbers of axes side by side")
    steps = next((value for value in values if isinstance(value, Signal) and value.time is not None), None)
    if steps is not None and axis == steps.time:
        return [_behind(walk, node, values)]
    signals = walk.together(node, [value for value in values if isinstance(value, Signal)])
    if axis == signals.batch:
        raise ImportModelError(f"{node}: puts samples of a batch side by side, expected features")
    parts = [
        value.cells if isinstance(value, Signal) else walk.constant_cells(node, value, signals) for value in values
    ]
    if sum(part.size for part in parts) > walk.largest:
        raise ImportModelError(f"{node} makes more than {walk.largest:,} numbers of one step")
    try:
        return [signals.moved(np.concatenate(parts, axis), signals.time, signals.batch)]
    except ValueError:
        shapes = [part.shape for part in parts]
        raise ImportModelError(f"{node}: values of shapes {shapes} do not fit along axis {axis}") from None


def _behind(walk: Walk, node: Node, values: Sequence[Value]) -> Signal:
    """Zeros, or values kept from earlier calls, before the first step."""
    *first, signal = values
    if len(first) != 1 or not isinstance(signal, Signal) or signal.time is None or signal.lead or signal.trail:
        raise ImportModelError(f"{node}: puts sequences one after the other, expected past values and one sequence")
    past = first[0]
    if isinstance(past, Signal):
        if past.time is not None or past.last:
            raise ImportModelError(f"{node}: puts sequences one after the other, expected past values and one sequence")
        return replace(signal, lead=past.cells.shape[signal.time], cache=past.cells)
    if np.any(past):
        raise ImportModelError(f"{node}: numbers other than zero stand before the first step, expected zeros")
    return replace(signal, lead=past.shape[signal.time])


def _pad(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    signal = moved_signal(node, inputs)
    pads = integers(node, inputs, 1, "pads") or node.integers("paddings") or []
    axes = integers(node, inputs, 3, "axes") or list(range(signal.rank))
    value = inputs[2] if len(inputs) > 2 and inputs[2] is not None else np.array(node.number("value", 0.0))
    mode = node.text("mode", "constant")
    if len(pads) != 2 * len(axes):
        raise ImportModelError(f"{node}: has {len(pads)} pads for {len(axes)} axes")
    if not any(pads):
        return [signal]
    if mode != "constant" or isinstance(value, Signal) or np.any(value):
        raise ImportModelError(f"{node}: pads by mode {mode} or by other numbers than zero, expected zeros")
    if max(pads) > walk.largest or signal.cache is not None:
        raise ImportModelError(f"{node}: pads by {max(pads)}, expected fewer")
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        axis = axis_of(node, axis, signal.rank)
        if axis == signal.batch and (before or after):
            raise ImportModelError(f"{node}: pads the batch, expected features or time")
        if axis == signal.time:
            if signal.trail + after < 0 or before < 0:
                raise ImportModelError(f"{node}: cuts steps off, expected all of them")
            signal = replace(signal, lead=signal.lead + before, trail=signal.trail + after)
        elif before or after:
            signal = replace(signal, cells=padded(signal.cells, axis, before, after))
    return [signal]


def padded(cells: Cells, axis: int, before: int, after: int) -> Cells:
    """Zeros around, or, where negative, numbers cut off."""
    size = cells.shape[axis]
    index: list[slice] = [slice(None)] * cells.ndim
    index[axis] = slice(max(0, -before), size - max(0, -after))
    widths = [(0, 0)] * cells.ndim
    widths[axis] = (max(0, before), max(0, after))
    return np.pad(cells[tuple(index)], widths, constant_values=ZERO)


MOVEMENTS: dict[str, Callable[[Any, Node, Sequence[Value | None]], list[Value]]] = {
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _flatten,
    "Identity": _identity,
    "Pad": _pad,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
