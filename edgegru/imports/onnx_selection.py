"""Operators that take some of a signal's numbers: Slice, Gather and Split; and rows of a table by the input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgegru.imports.onnx_graph import Node
from edgegru.imports.onnx_values import Signal, Value, axis_of, integers, moved_signal
from edgegru_runtime.errors import ImportModelError

if TYPE_CHECKING:
    from edgegru.imports.onnx_walk import Walk

_BEYOND = 2**62  # a bound beyond every axis


def _slice(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    signal = moved_signal(node, inputs)
    starts, ends = integers(node, inputs, 1, "starts") or [], integers(node, inputs, 2, "ends") or []
    axes = integers(node, inputs, 3, "axes") or list(range(len(starts)))
    steps = integers(node, inputs, 4, "steps") or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ImportModelError(f"{node}: {len(starts)} starts, {len(ends)} ends, {len(axes)} axes, steps {steps}")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis_of(node, axis, signal.rank)
        bounds = slice(start, None if step < 0 and end <= -_BEYOND else end, step)
        if axis == signal.time:
            if step != 1:
                what = "reverses time" if step == -1 else f"takes every {step}th step"
                raise ImportModelError(f"{node}: {what}, expected every step in order")
            signal = _time_range(walk, node, signal, *bounds.indices(walk.shape(signal)[axis])[:2])
        elif axis == signal.batch:
            if bounds.indices(walk.batch) != (0, walk.batch, 1):
                raise ImportModelError(f"{node}: takes some samples of the batch, expected all")
        else:
            index: list[slice] = [slice(None)] * signal.rank
            index[axis] = bounds
            cache = None if signal.cache is None else signal.cache[tuple(index)]
            signal = replace(signal, cells=signal.cells[tuple(index)], cache=cache)
        if signal.cells.size == 0:
            raise ImportModelError(f"{node}: takes nothing of {walk.shape_text(signal)}")
    return [signal]


def _time_range(walk: Walk, node: Node, signal: Signal, start: int, end: int) -> Signal:
    """Some places along time: all steps, or the last ones."""
    assert signal.time is not None
    steps_end = signal.lead + walk.steps
    total, count = steps_end + signal.trail, end - start
    if start <= signal.lead and end >= steps_end:
        cut = [slice(None)] * signal.rank
        cut[signal.time] = slice(start, None)
        cache = None if signal.cache is None else signal.cache[tuple(cut)]
        return replace(
            signal, lead=signal.lead - start, trail=end - steps_end, cache=cache if start < signal.lead else None
        )
    if end != total or signal.trail or not (count == 1 or count <= signal.lead or not walk.open_ended):
        found = f"takes the steps {start - signal.lead} to {end - signal.lead - 1}"
        raise ImportModelError(f"{node}: {found} of {walk.steps_text}, expected all or the last")
    parts = [walk.table.delayed(signal.cells, count - 1 - place) for place in range(count)]
    return replace(signal, cells=np.concatenate(parts, signal.time), time=None, last=True, lead=0, cache=None)


def _gather(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    indices = inputs[1] if len(inputs) > 1 else None
    if isinstance(indices, Signal):
        return [_rows_of_table(walk, node, inputs[0], indices)]
    signal = moved_signal(node, inputs)
    axis = axis_of(node, node.integer("axis", 0), signal.rank)
    if indices is None:
        raise ImportModelError(f"{node}: names no indices")
    size = walk.shape(signal)[axis]
    if indices.size == 0 or np.any((indices < -size) | (indices >= size)):
        raise ImportModelError(f"{node}: indices {indices.reshape(-1)[:8].tolist()} of an axis of {size}")
    if axis in (signal.time, signal.batch):
        if indices.size != 1:
            raise ImportModelError(f"{node}: takes {indices.size} steps or samples by number, expected all or one")
        if axis == signal.time:
            index = int(indices.reshape(-1)[0]) % size
            signal = _time_range(walk, node, signal, index, index + 1)
        else:
            signal = replace(signal, batch=None)
        if signal.time == axis:  # a sequence of one step
            signal = replace(signal, time=None, last=True)
        indices = np.zeros_like(indices)
    elif signal.cache is not None:
        raise ImportModelError(
            f"{node}: takes values kept from earlier calls by number, expected a convolution of them"
        )
    if signal.cells.size // signal.cells.shape[axis] * indices.size > walk.largest:
        raise ImportModelError(f"{node} makes more than {walk.largest:,} numbers of one step")
    shift = indices.ndim - 1
    time, batch = (
        None if place is None else place + shift if place > axis else place for place in (signal.time, signal.batch)
    )
    return [signal.moved(np.take(signal.cells, indices, axis), time, batch)]


def _rows_of_table(walk: Walk, node: Node, table: Value | None, indices: Signal) -> Signal:
    """An embedding: rows of a constant chosen by x."""
    if table is None or isinstance(table, Signal) or node.integer("axis", 0) != 0 or table.ndim < 1:
        raise ImportModelError(f"{node}: takes numbers by the model's input, expected rows of a constant table")
    if not indices.row or indices.cells.size != 1:
        found = f"{indices.cells.size} numbers a step" if indices.row else "numbers that are computed"
        raise ImportModelError(f"{node}: takes rows by {found}, expected one integer, the model's input")
    if indices.rows not in (None, len(table)):
        raise ImportModelError(f"{node}: has {len(table)} rows, but the row number is kept below {indices.rows}")
    layer = walk.layers.embedding(table.reshape(len(table), -1))
    cells = walk.table.of_layer(layer, (*indices.cells.shape, *table.shape[1:]))
    return indices.moved(cells, indices.time, indices.batch, row=False, rows=None)


def _split(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    signal = moved_signal(node, inputs)
    axis = axis_of(node, node.integer("axis", 0), signal.rank)
    size, count = walk.shape(signal)[axis], len(node.outputs)
    sizes = integers(node, inputs, 1, "split")
    if sizes is None:
        chunk = -(-size // count)
        sizes = [min(chunk, size - chunk * place) for place in range(count)]
    if sum(sizes) != size or min(sizes) < 1 or len(sizes) != count:
        raise ImportModelError(f"{node}: splits an axis of {size} into {sizes} for {count} outputs")
    if axis in (signal.time, signal.batch) and count > 1:
        raise ImportModelError(f"{node}: splits {walk.shape_text(signal)} along time or batch, expected features")
    parts = np.split(signal.cells, np.cumsum(sizes)[:-1], axis) if count > 1 else [signal.cells]
    return [signal.moved(part, signal.time, signal.batch) for part in parts]


SELECTIONS: dict[str, Callable[[Any, Node, Sequence[Value | None]], list[Value]]] = {
    "Gather": _gather,
    "Slice": _slice,
    "Split": _split,
}
