"""The operator Conv: causal over time, and over any other axes a matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgegru.imports.onnx_graph import Node
from edgegru.imports.onnx_movement import padded
from edgegru.imports.onnx_values import Cells, Signal, Value
from edgegru_runtime.errors import ImportModelError

if TYPE_CHECKING:
    from edgegru.imports.onnx_walk import Walk


def convolution(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> Sequence[Value]:
    """Every place of the output is a product of the cells that it sees and the kernel."""
    signal, weight, bias = [*inputs, None][:3]
    if not isinstance(signal, Signal) or not isinstance(weight, np.ndarray) or isinstance(bias, Signal):
        raise ImportModelError(f"{node}: its kernel depends on the input, expected constants")
    rank = weight.ndim - 2
    group = node.integer("group", 1)
    if rank < 1 or signal.rank != weight.ndim or 1 in (signal.time, signal.batch):
        raise ImportModelError(f"{node}: convolves {walk.shape_text(signal)} by {list(weight.shape)}")
    if signal.batch not in (None, 0) or signal.cells.shape[0] != 1:
        raise ImportModelError(f"{node}: convolves {walk.shape_text(signal)}, expected a batch of 1 along axis 0")
    channels = signal.cells.shape[1]
    if group < 1 or channels != weight.shape[1] * group or len(weight) % group:
        raise ImportModelError(f"{node}: {channels} channels in {group} groups, a kernel of shape {list(weight.shape)}")
    kernel = list(weight.shape[2:])
    strides, dilations = node.integers("strides") or [1] * rank, node.integers("dilations") or [1] * rank
    if len(strides) != rank or len(dilations) != rank or min(strides + dilations) < 1:
        raise ImportModelError(f"{node}: strides {strides} and dilations {dilations} for {rank} axes")
    pads = _pads(walk, node, signal, kernel, strides, dilations)
    for place in range(rank):
        axis, before, after = 2 + place, pads[place], pads[rank + place]
        if axis != signal.time:
            cells = walk.resolved(signal.cells) if walk.axes.time is None else signal.cells
            signal = replace(signal, cells=padded(cells, axis, before, after))
            continue
        if strides[place] != 1:
            raise ImportModelError(f"{node}: strides {strides} leave out steps, expected 1 along time")
        signal = _with_past(walk, node, signal, axis, (kernel[place] - 1) * dilations[place], before, after)
        taps = [(kernel[place] - 1 - tap) * dilations[place] for tap in range(kernel[place])]
        stacked = [walk.table.delayed(signal.cells, delay) for delay in taps]
        signal = replace(signal, cells=np.concatenate(stacked, axis))
        dilations[place] = 1
    if signal.lead:
        raise ImportModelError(f"{node}: reads values before the first step, expected a convolution over time")
    return [_convolved(walk, node, signal, weight, bias, strides, dilations, group)]


def _pads(
    walk: Walk, node: Node, signal: Signal, kernel: list[int], strides: list[int], dilations: list[int]
) -> list[int]:
    """How many zeros are put before and after every axis."""
    rank, mode = len(kernel), node.text("auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID"):
        pads = (node.integers("pads") if mode == "NOTSET" else None) or [0] * (2 * rank)
        if len(pads) != 2 * rank or min(pads) < 0 or max(pads) > walk.largest:
            raise ImportModelError(f"{node}: pads are {pads} for {rank} axes")
        return pads
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise ImportModelError(f"{node}: auto_pad is {mode}, expected one of ONNX's")
    befores, afters = [], []
    for size, length, stride, dilation in zip(walk.shape(signal)[2:], kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + (length - 1) * dilation + 1 - size)
        less, more = total // 2, total - total // 2
        befores.append(more if mode == "SAME_LOWER" else less)
        afters.append(less if mode == "SAME_LOWER" else more)
    return befores + afters


def _with_past(walk: Walk, node: Node, signal: Signal, axis: int, needed: int, before: int, after: int) -> Signal:
    """``signal`` without its lead, which is all that a causal kernel reaches back."""
    if signal.cache is not None:
        past = walk.resolved(signal.cache)
        for place in range(signal.lead):
            expected = walk.table.delayed(signal.cells, signal.lead - place)
            if before or not np.array_equal(past.take([place], axis), expected):
                raise ImportModelError(f"{node}: what stands before the first step is not the steps before it")
    lead = signal.lead + before
    if lead != needed:
        found = f"looks {needed - lead} steps ahead" if lead < needed else f"is {lead - needed} steps late"
        raise ImportModelError(f"{node}: {found}, expected a causal convolution, {needed} zeros before the first step")
    return replace(signal, lead=0, cache=None, trail=signal.trail + after)


def _convolved(
    walk: Walk,
    node: Node,
    signal: Signal,
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    strides: list[int],
    dilations: list[int],
    group: int,
) -> Signal:
    """A kernel without padding over cells (1, C, …); between groups of channels its weights are zero."""
    kernel = weight.shape[2:]
    sizes = [
        (size - (length - 1) * dilation - 1) // stride + 1
        for size, length, stride, dilation in zip(signal.cells.shape[2:], kernel, strides, dilations, strict=True)
    ]
    if min(sizes) < 1:
        raise ImportModelError(f"{node}: a kernel of {list(kernel)} is larger than {walk.shape_text(signal)}")
    if max(math.prod(sizes), len(weight)) * signal.cells.shape[1] * math.prod(kernel) > walk.largest:
        raise ImportModelError(f"{node}: sees more than {walk.largest:,} numbers at one step")
    cells = signal.cells[0]
    outputs, inputs = len(weight) // group, weight.shape[1]
    whole = np.zeros((len(weight), len(cells), *kernel))
    for index in range(group):
        own = slice(index * outputs, (index + 1) * outputs)
        whole[own, index * inputs : (index + 1) * inputs] = weight[own]
    rows = _windows(cells, kernel, sizes, strides, dilations)
    cells = walk.table.weighted(rows, whole.reshape(len(weight), -1), bias, node).T
    return replace(signal, cells=np.ascontiguousarray(cells).reshape(1, len(weight), *sizes), row=False)


def _windows(
    cells: Cells, kernel: Sequence[int], sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Cells:
    """What every place of the output sees: (places, channels · kernel)."""
    rows = []
    for place in np.ndindex(*sizes):
        index = [
            start * stride + np.arange(length) * dilation
            for start, stride, length, dilation in zip(place, strides, kernel, dilations, strict=True)
        ]
        rows.append(cells[np.ix_(np.arange(len(cells)), *index)].reshape(-1))
    return np.stack(rows)
