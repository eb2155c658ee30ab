"""Operators that compute: each becomes layers over the features of one step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from edgegru.imports.layers import Layer
from edgegru.imports.onnx_convolution import convolution
from edgegru.imports.onnx_graph import Node
from edgegru.imports.onnx_gru import gru, hard_sigmoid
from edgegru.imports.onnx_movement import swapped, unsqueezed, without_axes
from edgegru.imports.onnx_values import Signal, Value, axis_of, integers
from edgegru_runtime.errors import ImportModelError

if TYPE_CHECKING:
    from edgegru.imports.onnx_walk import Walk

Array = NDArray[Any]
Inputs = Sequence[Value | None]
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)


def _layer(walk: Walk, node: Node, value: Value | None) -> tuple[Signal, Layer]:
    """A signal, and its numbers of one step as a layer."""
    if not isinstance(value, Signal):
        raise ImportModelError(f"{node} reads a constant, expected values that depend on the input")
    if value.row:
        raise ImportModelError(f"{node} computes with row numbers, expected Gather from a table")
    signal = walk.settled(node, value)
    return signal, walk.table.layer(_present(walk, signal))


def _present(walk: Walk, signal: Signal) -> Any:
    return walk.resolved(signal.cells) if walk.axes.time is None else signal.cells


def _like(walk: Walk, signal: Signal, layer: Layer) -> list[Value]:
    """The value of a layer with as many numbers as ``signal``, in the same places."""
    return [replace(signal, cells=walk.table.of_layer(layer, signal.cells.shape), row=False, rows=None)]


def _activated(name: str) -> Callable[[Walk, Node, Inputs], list[Value]]:
    def activation(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
        signal, layer = _layer(walk, node, inputs[0])
        return _like(walk, signal, walk.layers.activation(layer, name))

    return activation


def _hard_sigmoid(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    name = hard_sigmoid(alpha, beta)
    if name is None:
        found = f"alpha {alpha:.6g} and beta {beta:.6g}"
        raise ImportModelError(f"{node}: {found}, expected 0.2 and 0.5, or 1/6 and 0.5")
    return _activated(name)(walk, node, inputs)


def _leaky_relu(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    """LeakyRelu and PRelu: relu(x) − slope ⊙ relu(−x)."""
    signal, layer = _layer(walk, node, inputs[0])
    slope = np.array(node.number("alpha", 0.01)) if node.operator == "LeakyRelu" else inputs[1]
    if not isinstance(slope, np.ndarray) or slope.ndim > signal.rank:
        raise ImportModelError(f"{node}: its slope is no constant that fits {walk.shape_text(signal)}")
    slope = slope.reshape((1,) * (signal.rank - slope.ndim) + slope.shape)
    slope = np.broadcast_to(walk.reduced(node, slope, signal), signal.cells.shape).reshape(-1)
    layers, zero = walk.layers, np.array(0.0)
    below = layers.activation(layers.affine(layer, np.array(-1.0), zero), "relu")
    return _like(walk, signal, layers.add(layers.activation(layer, "relu"), layers.affine(below, -slope, zero)))


def _hard_swish(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    signal, layer = _layer(walk, node, inputs[0])
    return _like(walk, signal, walk.layers.multiply(layer, walk.layers.activation(layer, "hard_sigmoid_6")))


def _softmax(name: str, walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    signal, layer = _layer(walk, node, inputs[0])
    old = walk.opset < 13
    axis = axis_of(node, node.integer("axis", 1 if old else -1), signal.rank)
    axes = list(range(axis, signal.rank)) if old else [axis]
    shape = walk.shape(signal)
    over_time = signal.time in axes and shape[axes[0] if len(axes) == 1 else signal.time] > 1
    if over_time or math.prod(shape[place] for place in axes if place not in (signal.time, signal.batch)) != layer.size:
        found = f"axis {axis} of {walk.shape_text(signal)}"
        raise ImportModelError(f"{node}: probabilities add up along {found}, expected along all features")
    return _like(walk, signal, walk.layers.activation(layer, name))


def _clip(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    def bound(place: int, name: str) -> float | None:
        value = inputs[place] if place < len(inputs) else None
        if isinstance(value, Signal) or (value is not None and value.size != 1):
            raise ImportModelError(f"{node}: its {name} is no constant number")
        return node.number(name, math.nan) if value is None else float(value.reshape(()))

    low, high = bound(1, "min"), bound(2, "max")
    value = inputs[0]
    if isinstance(value, Signal) and value.row and low == 0 and high is not None and high >= 0:
        return [replace(value, rows=int(high) + 1)]
    signal, layer = _layer(walk, node, value)
    if low == 0 and (high is None or math.isnan(high) or high >= np.finfo(np.float32).max):
        return _like(walk, signal, walk.layers.activation(layer, "relu"))
    raise ImportModelError(f"{node}: keeps values between {low} and {high}, expected from 0 on, as Relu does")


def _extremum(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    """Max(x, 0)."""
    constants = [value for value in inputs if value is not None and not isinstance(value, Signal)]
    signals = [value for value in inputs if isinstance(value, Signal)]
    if len(signals) != 1 or len(constants) != 1 or np.any(constants[0]) or constants[0].size != 1:
        raise ImportModelError(f"{node}: takes the largest of several values, expected that of one and 0, as Relu does")
    return _activated("relu")(walk, node, signals)


def _sums(operator: str) -> Callable[[Walk, Node, Inputs], list[Value]]:
    def elementwise(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
        left, right = inputs[:2]
        if node.integer("broadcast", 0) and isinstance(right, np.ndarray) and isinstance(left, Signal):
            axis = node.integer("axis", left.rank - right.ndim)  # of opset 6 and before
            right = right.reshape(right.shape + (1,) * (left.rank - axis - right.ndim))
        if isinstance(left, Signal) and isinstance(right, Signal):
            return [_combined(walk, node, operator, left, right)]
        return [_scaled(walk, node, operator, left, right)]

    return elementwise


def _combined(walk: Walk, node: Node, operator: str, left: Signal, right: Signal) -> Signal:
    """Two signals, number by number."""
    rank = max(left.rank, right.rank)
    pair = [unsqueezed(signal, rank) for signal in (left, right)]
    model = walk.together(node, pair)
    try:
        cells = np.broadcast_arrays(*(signal.cells for signal in pair))
    except ValueError:
        shapes = " and ".join(walk.shape_text(signal) for signal in pair)
        raise ImportModelError(f"{node}: {shapes} do not fit") from None
    if cells[0].size > walk.largest:
        raise ImportModelError(f"{node} makes {cells[0].size:,} numbers of one step, at most {walk.largest:,} expected")
    if operator == "Div":
        raise ImportModelError(f"{node}: divides by a value that depends on the input, expected a constant")
    a, b = (_layer(walk, node, replace(model, cells=np.ascontiguousarray(each)))[1] for each in cells)
    if operator == "Sub":
        b = walk.layers.affine(b, np.array(-1.0), np.array(0.0))
    layer = walk.layers.multiply(a, b) if operator == "Mul" else walk.layers.add(a, b)
    return replace(model, cells=walk.table.of_layer(layer, cells[0].shape))


def _scaled(walk: Walk, node: Node, operator: str, left: Value | None, right: Value | None) -> Signal:
    """A signal and a constant: scale and shift."""
    reverse = isinstance(right, Signal)
    signal, array = (right, left) if reverse else (left, right)
    assert isinstance(signal, Signal) and isinstance(array, np.ndarray)
    signal = walk.together(node, [unsqueezed(walk.settled(node, signal), max(signal.rank, array.ndim))])
    constant = walk.reduced(node, array, signal).astype(np.float64)
    try:
        shape = np.broadcast_shapes(signal.cells.shape, constant.shape)
    except ValueError:
        raise ImportModelError(f"{node}: {walk.shape_text(signal)} and {list(array.shape)} do not fit") from None
    if math.prod(shape) > walk.largest:
        raise ImportModelError(f"{node} makes {math.prod(shape):,} numbers of one step")
    cells = np.ascontiguousarray(np.broadcast_to(signal.cells, shape))
    signal, layer = _layer(walk, node, replace(signal, cells=cells))
    constant = np.broadcast_to(constant, shape).reshape(-1)
    scale: Array = np.ones(())
    shift: Array = np.zeros(())
    match operator:
        case "Mul":
            scale = constant
        case "Add":
            shift = constant
        case "Sub":
            scale, shift = (-scale, constant) if reverse else (scale, -constant)
        case _:
            if reverse or not np.all(constant):
                raise ImportModelError(f"{node}: divides by the input or by zero, expected by other numbers")
            scale = 1 / constant
    return replace(signal, cells=walk.table.of_layer(walk.layers.affine(layer, scale, shift), shape))


def _negative(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    signal, layer = _layer(walk, node, inputs[0])
    return _like(walk, signal, walk.layers.affine(layer, np.array(-1.0), np.array(0.0)))


def _sum(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    total = inputs[0]
    for value in inputs[1:]:
        if isinstance(total, np.ndarray) and isinstance(value, np.ndarray):
            total = total + value
        else:
            total = _sums("Add")(walk, node, [total, value])[0]
    assert total is not None
    return [total]


def _matmul(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    left, right = inputs[:2]
    if isinstance(left, Signal) and isinstance(right, Signal):
        raise ImportModelError(f"{node}: multiplies two values that depend on the input, expected a constant matrix")
    if isinstance(right, Signal):
        assert left is not None and not isinstance(left, Signal)
        if right.rank < 2 or left.ndim < 2:
            raise ImportModelError(f"{node}: multiplies a vector from the left, expected matrices")
        return [swapped(_product(walk, node, swapped(right), np.swapaxes(left, -1, -2), None))]
    assert isinstance(left, Signal) and right is not None
    return [_product(walk, node, left, right, None)]


def _gemm(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    a, b = inputs[:2]
    c = inputs[2] if len(inputs) > 2 else None
    if not isinstance(a, Signal) or isinstance(b, Signal) or isinstance(c, Signal) or b is None or a.rank != 2:
        raise ImportModelError(f"{node}: its matrices B and C depend on the input, expected A alone")
    a = swapped(a) if node.integer("transA", 0) else a
    weight = node.number("alpha", 1.0) * (b.T if node.integer("transB", 0) else b).astype(np.float64)
    if c is None:
        return [_product(walk, node, a, weight, None)]
    bias = walk.reduced(node, c, a).astype(np.float64).reshape(-1) * node.number("beta", 1.0)
    return [_product(walk, node, a, weight, np.broadcast_to(bias, weight.shape[1:]))]


def _product(walk: Walk, node: Node, signal: Signal, matrix: Array, bias: Array | None) -> Signal:
    """``signal`` (…, K) times ``matrix`` (K, M)."""
    signal = walk.settled(node, signal)
    if matrix.ndim > 2 and math.prod(matrix.shape[:-2]) == 1 and matrix.ndim <= signal.rank:
        matrix = matrix.reshape(matrix.shape[-2:])
    if matrix.ndim != 2 or signal.rank < 1 or signal.row:
        raise ImportModelError(f"{node}: multiplies by a constant of shape {list(matrix.shape)}, expected a matrix")
    last = signal.rank - 1
    if last in (signal.time, signal.batch) or signal.cells.shape[last] != len(matrix):
        found = f"{walk.shape_text(signal)} by {matrix.shape[0]}×{matrix.shape[1]}"
        raise ImportModelError(f"{node}: multiplies {found}, expected features along the last axis")
    rows = _present(walk, signal).reshape(-1, len(matrix))
    cells = walk.table.weighted(rows, matrix.T, bias, node)
    return replace(signal, cells=cells.reshape(*signal.cells.shape[:-1], matrix.shape[1]))


def _batch_normalisation(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    signal, layer = _layer(walk, node, inputs[0])
    if node.integer("training_mode", 0) or len([name for name in node.outputs if name]) > 1:
        raise ImportModelError(f"{node}: is a training graph's, expected training_mode 0")
    constants = [value for value in inputs[1:5] if isinstance(value, np.ndarray)]
    if len(constants) != 4 or signal.rank < 2 or 1 in (signal.time, signal.batch):
        raise ImportModelError(f"{node}: normalises {walk.shape_text(signal)}, expected features along axis 1")
    channels = signal.cells.shape[1]
    if any(array.shape != (channels,) for array in constants):
        raise ImportModelError(f"{node}: its constants are not {channels} numbers each")
    weight, bias, mean, variance = (array.astype(np.float64) for array in constants)
    scale = weight / np.sqrt(variance + node.number("epsilon", 1e-5))
    each = [
        np.broadcast_to(part.reshape(-1, *[1] * (signal.rank - 2)), signal.cells.shape).reshape(-1)
        for part in (scale, bias - mean * scale)
    ]
    return _like(walk, signal, walk.layers.affine(layer, *each))


def _layer_normalisation(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    signal, layer = _layer(walk, node, inputs[0])
    first = axis_of(node, node.integer("axis", -1), signal.rank)
    axes = range(first, signal.rank)
    if signal.time in axes or math.prod(signal.cells.shape[first:]) != layer.size:
        found = f"the axes from {first} of {walk.shape_text(signal)}"
        raise ImportModelError(f"{node}: normalises {found}, expected all features of a step")
    if len([name for name in node.outputs if name]) > 1:
        raise ImportModelError(f"{node}: gives mean and deviation too, expected its value alone")
    weight, bias = (inputs[place] if place < len(inputs) else None for place in (1, 2))
    if isinstance(weight, Signal) or isinstance(bias, Signal):
        raise ImportModelError(f"{node}: scale and bias are no constants")
    shape = signal.cells.shape[first:]
    weight = np.ones(shape) if weight is None else weight
    parts = [None if part is None else np.broadcast_to(part, shape).reshape(-1) for part in (weight, bias)]
    assert parts[0] is not None
    normalised = walk.layers.layer_normalisation(layer, parts[0], parts[1], node.number("epsilon", 1e-5))
    return _like(walk, signal, normalised)


def _mean(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    """ReduceMean and ReduceSum over features."""
    signal = _layer(walk, node, inputs[0])[0]
    axes = {axis_of(node, axis, signal.rank) for axis in integers(node, inputs, 1, "axes") or range(signal.rank)}
    if signal.time in axes or signal.batch in axes:
        raise ImportModelError(f"{node}: pools over time, expected values of one step")
    kept = [axis for axis in range(signal.rank) if axis not in axes]
    cells = _present(walk, signal).transpose([*kept, *sorted(axes)])
    lengths = cells.shape[: len(kept)]
    rows = cells.reshape(math.prod(lengths), -1)
    size = rows.shape[1]
    weight = np.full((1, size), 1 / size if node.operator == "ReduceMean" else 1.0)
    shape = [1 if axis in axes else signal.cells.shape[axis] for axis in range(signal.rank)]
    result = replace(signal, cells=walk.table.weighted(rows, weight, None, node).reshape(shape))
    return [result if node.integer("keepdims", 1) else without_axes(result, axes)]


def _dropout(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    training = inputs[2] if len(inputs) > 2 else None
    if (
        isinstance(training, Signal)
        or (training is not None and np.any(training))
        or (len(node.outputs) > 1 and node.outputs[1])
    ):
        raise ImportModelError(f"{node}: drops values, expected a model that was exported for use")
    assert inputs[0] is not None
    return [inputs[0]]


def _cast(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    signal, target = inputs[0], node.attributes.get("to")
    assert isinstance(signal, Signal)
    integer = target in (TensorProto.INT64, TensorProto.INT32, b"INT64", b"INT32")
    if target in _FLOATS or target in (b"FLOAT", b"DOUBLE"):
        return [replace(signal, row=False, rows=None)]
    if integer and (signal.row or _is_row(walk, signal, (0.0,))):
        return [replace(signal, row=True)]
    raise ImportModelError(f"{node}: rounds values, expected float32 or, for the row numbers of a table, int64")


def _rounded(walk: Walk, node: Node, inputs: Inputs) -> list[Value]:
    """Round(x) or Floor(x + 1/2): the row numbers of a table."""
    signal, shift = inputs[0], 0.5 if node.operator == "Floor" else 0.0
    if not isinstance(signal, Signal) or not _is_row(walk, signal, (shift,)):
        raise ImportModelError(f"{node}: rounds values, expected the row numbers of a table alone to be rounded")
    cells = walk.table.of_layer(walk.layers.x, signal.cells.shape)
    return [replace(signal, cells=cells, row=True)]


def _is_row(walk: Walk, signal: Signal, shifts: Sequence[float]) -> bool:
    """Whether a signal is x, one number a step, plus one of ``shifts``."""
    if signal.cells.size != 1 or walk.layers.x.size != 1:
        return False
    layer = walk.table.layer(signal.cells)
    if layer is walk.layers.x:
        return 0.0 in shifts
    if layer.kind != "affine" or layer.inputs[0] is not walk.layers.x:
        return False
    return bool(np.all(layer.arrays["scale"] == 1)) and float(layer.arrays["shift"][0]) in shifts


OPERATORS: dict[str, Callable[[Any, Node, Inputs], Sequence[Value]]] = {
    **{operator: _sums(operator) for operator in ("Add", "Sub", "Mul", "Div")},
    **{name: _activated(name.lower()) for name in ("Relu", "Tanh", "Sigmoid")},
    "BatchNormalization": _batch_normalisation,
    "Cast": _cast,
    "Clip": _clip,
    "Conv": convolution,
    "Dropout": _dropout,
    "Floor": _rounded,
    "GRU": gru,
    "Gemm": _gemm,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LayerNormalization": _layer_normalisation,
    "LeakyRelu": _leaky_relu,
    "MatMul": _matmul,
    "Max": _extremum,
    "Neg": _negative,
    "PRelu": _leaky_relu,
    "ReduceMean": _mean,
    "ReduceSum": _mean,
    "Round": _rounded,
    "Softmax": partial(_softmax, "softmax"),
    "LogSoftmax": partial(_softmax, "log_softmax"),
    "Sum": _sum,
}
