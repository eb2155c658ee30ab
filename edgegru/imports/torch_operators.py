"""ATen operators that compute: products, convolutions, GRUs, normalisations, activations, arithmetic."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.imports.layers import Layer
from edgegru.imports.torch_shapes import Handler
from edgegru.imports.torch_value import STATE, Call, Trace, Value
from edgegru_export.gate_order import from_torch

Array = NDArray[Any]


def _constant(call: Call, name: str) -> Array | None:
    """A weight as an array; None where there is none."""
    value = call.get(name)
    if isinstance(value, Value):
        call.refuse(f"computes its {name} from the input, expected a constant")
    return None if value is None else np.asarray(value)


def _weight(call: Call, name: str) -> Array:
    array = _constant(call, name)
    assert array is not None  # the schema has no default for it
    return array


def _product(trace: Trace, call: Call, value: Any, weight: Array, bias: Array | None) -> Value:
    """weight (out, in) times the last axis."""
    if not isinstance(value, Value):
        call.refuse(f"{call.name} multiplies a constant with numbers of the input from the right, expected the left")
    if value.time == value.numbers.ndim - 1:
        call.wrong_axis(f"{call.name} runs along time, expected channels on the last axis")
    rows = value.numbers.reshape(-1, value.numbers.shape[-1])
    parts = [
        trace.layers.linear(trace.layer(call, replace(value, numbers=row, time=None)), weight, bias) for row in rows
    ]
    return trace.fresh(value, trace.layers.concatenate(parts), (*value.numbers.shape[:-1], len(weight)))


def _linear(trace: Trace, call: Call) -> Value:
    return _product(trace, call, call["input"], _weight(call, "weight"), _constant(call, "bias"))


def _matmul(trace: Trace, call: Call) -> Value:
    """matmul, mm, bmm and addmm with a constant matrix on the right."""
    right = "mat2" if "mat2" in call.arguments else "other"
    value = call.get("mat1", call["self"])
    if isinstance(value, Value) and isinstance(call[right], Value):
        call.refuse("multiplies two values of the input, as attention does, expected a constant matrix")
    matrix = _weight(call, right)
    matrix = matrix[0] if matrix.ndim == 3 and len(matrix) == 1 else matrix
    bias = None
    if call.name == "addmm":
        bias = call["beta"] * np.broadcast_to(_weight(call, "self"), (1, matrix.shape[1]))[0]
        matrix = call["alpha"] * matrix
    if matrix.ndim not in (1, 2):
        call.refuse(f"multiplies with a constant of {matrix.ndim} axes, expected a matrix")
    result = _product(trace, call, value, matrix.T if matrix.ndim == 2 else matrix[np.newaxis], bias)
    return result if matrix.ndim == 2 else replace(result, numbers=result.numbers[..., 0])


def _embedding(trace: Trace, call: Call) -> Value:
    value, weight = call["indices"], _weight(call, "weight")
    if value.layers != (trace.layers.x,) or value.numbers.size != 1:
        call.wrong_axis("reads something else than the input, one row number a step")
    return trace.fresh(value, trace.layers.embedding(weight), (*value.numbers.shape, weight.shape[1]))


def _convolution(trace: Trace, call: Call) -> Value:
    """conv1d along time, causal once its padding is counted."""
    value: Value = call["input"]
    weight = _weight(call, "weight")
    if weight.ndim != 3 or call.get("transposed"):
        name = "transposed convolution" if call.get("transposed") else f"convolution over {weight.ndim - 2} axes"
        call.refuse(f"is a {name}, expected one over time alone (Conv1d)")
    if value.time is None or value.time != value.numbers.ndim - 1:
        call.wrong_axis("convolves along an axis that is not time, expected (batch, channels, time)")
    stride, dilation = call["stride"][0], call["dilation"][0]
    if stride != 1:
        call.refuse(f"has stride {stride}, expected 1: as many steps out as in")
    size, reach = weight.shape[2], (weight.shape[2] - 1) * dilation
    front, behind = _convolution_padding(call, reach)
    cut = value.steps.start > 0 or (trace.length is not None and value.steps.stop < trace.length)
    if cut or (value.steps.start < 0 and not value.zeros):
        call.refuse("convolves a value that was cut or shifted in time, expected zeros before the first step at most")
    steps = range(value.steps.start - front + reach, value.steps.stop + behind)
    if value.numbers.size != weight.shape[1] * call["groups"]:
        call.refuse(f"reads {value.numbers.size} numbers a step in several rows, expected batch 1 and channels")
    whole, bias = _without_groups(weight, call["groups"]), _constant(call, "bias")
    before = trace.layer(call, value)
    if size == 1:
        layer = trace.layers.linear(before, whole[:, 0], bias)
    else:
        layer = trace.layers.convolution(before, whole, bias, dilation)
    shape = (*value.numbers.shape[:-2], len(weight), 1)
    return replace(trace.fresh(value, layer, shape), steps=steps)


def _convolution_padding(call: Call, reach: int) -> tuple[int, int]:
    padding = call["padding"]
    if padding == "same":
        return reach // 2, reach - reach // 2
    if padding == "valid":
        return 0, 0
    return padding[0], padding[0]


def _without_groups(weight: Array, groups: int) -> Array:
    """(out, in / groups, kernel_size) as torch has it → (out, kernel_size, in), zeros between groups."""
    out, width, size = weight.shape
    whole = np.zeros((out, size, width * groups))
    for group in range(groups):
        rows = slice(group * out // groups, (group + 1) * out // groups)
        whole[rows, :, group * width : (group + 1) * width] = weight[rows].transpose(0, 2, 1)
    return whole


def _gru(trace: Trace, call: Call) -> list[Value]:
    """nn.GRU: every h of the last layer, and the last h of all layers."""
    if call.overload != "input":
        call.refuse("reads a packed sequence, expected a tensor of one sequence")
    if call["bidirectional"]:
        call.refuse("is bidirectional, expected one direction: a stream has no last step to begin from")
    if call["train"] and call["dropout"] > 0 and call["num_layers"] > 1:
        call.refuse("drops numbers at random between its layers, expected a program exported in eval mode")
    value: Value = call["input"]
    time, batch = (1, 0) if call["batch_first"] else (0, 1)
    if value.time != time and not (trace.length is None and value.numbers.shape[time] == 1):
        call.wrong_axis(f"runs along axis {time} of its input, which is not time")
    if value.numbers.shape[batch] != 1:
        call.wrong_axis(f"runs over {value.numbers.shape[batch]} sequences at once, expected one (batch 1)")
    layer, layers = trace.layer(call, trace.aligned(call, value)), []
    count = 4 if call["has_biases"] else 2
    for index in range(call["num_layers"]):
        weights = call["params"][count * index : count * (index + 1)]
        layer = _recurrent(trace, call, layer, weights, _rows(call["hx"], index))
        layers.append(layer)
    every = trace.fresh(value, layer, (1, 1, layer.size))
    numbers = np.arange(len(layers) * layer.size).reshape(len(layers), 1, layer.size)
    return [every, Value(tuple(layers), numbers, last=trace.length is not None)]


def _rows(state: Any, index: int) -> Any:
    """What one layer of a GRU begins with: hx[index]."""
    return replace(state, numbers=state.numbers[index]) if isinstance(state, Value) else np.asarray(state)[index]


def _gru_cell(trace: Trace, call: Call) -> Value:
    value, state = call["input"], call["hx"]
    if value.time is not None or trace.length is not None:
        call.wrong_axis("is one step, but is called with a sequence; expected nn.GRU, or a forward(x, h) of one step")
    if not isinstance(state, Value):
        call.refuse("begins anew at every call, expected its last h as an argument of forward and the new one returned")
    weights = [call[name] for name in ("w_ih", "w_hh", "b_ih", "b_hh") if call.get(name) is not None]
    if value.numbers.size != value.numbers.shape[-1]:
        call.refuse(f"runs over {value.numbers.shape[0]} sequences at once, expected one (batch 1)")
    layer = _recurrent(trace, call, trace.layer(call, value), weights, state)
    return trace.fresh(value, layer, (*value.numbers.shape[:-1], layer.size))


def _recurrent(trace: Trace, call: Call, value: Layer, weights: list[Any], state: Any) -> Layer:
    if any(isinstance(weight, Value) for weight in weights):
        call.refuse("computes its weights from the input, expected constants")
    h0 = _initial(trace, call, state)
    layer = trace.layers.gru(value, from_torch(*(np.asarray(weight) for weight in weights)), reset="after", h0=h0)
    if isinstance(state, Value):
        _note_units(trace, call, state, layer)
    return layer


def _initial(trace: Trace, call: Call, state: Any) -> Array:
    """h before the first step, (H,)."""
    if not isinstance(state, Value):
        if trace.length is None:
            call.refuse("begins anew at every call, expected its last h as an argument of forward and the new one back")
        return np.asarray(state).ravel()
    if not all(layer.kind == STATE for layer in state.layers):
        call.wrong_axis("begins with an h computed from the input, expected zeros, constants or an argument of forward")
    firsts = {id(known.layer): known.first for known in trace.states}
    return np.array([firsts[layer][place] for layer, place in state.elements()])


def _note_units(trace: Trace, call: Call, state: Value, layer: Layer) -> None:
    """Remember which unit each number of a state is."""
    known = {id(state.layer): state for state in trace.states}
    for unit, (source, place) in enumerate(state.elements()):
        if known[source].units[place] is not None:
            call.refuse(f"begins with {known[source].name} as another GRU does, expected a state for each")
        known[source].units[place] = (id(layer), unit)


def _batch_norm(trace: Trace, call: Call) -> list[Value]:
    """By the statistics of training: what eval mode makes of BatchNorm1d."""
    value: Value = call["input"]
    if value.time == 1 and value.numbers.ndim > 1:
        call.wrong_axis("normalises each step by its own numbers, expected channels on axis 1")
    scale = 1 / np.sqrt(_weight(call, "running_var").astype(np.float64) + call["eps"])
    weight, bias = _constant(call, "weight"), _constant(call, "bias")
    scale = scale if weight is None else scale * weight
    shift = -_weight(call, "running_mean") * scale
    shift = shift if bias is None else shift + bias
    axes = (-1, *[1] * (value.numbers.ndim - 2))
    return [trace.affine(call, value, scale.reshape(axes), shift.reshape(axes))]


def _layer_norm(trace: Trace, call: Call) -> Any:
    value: Value = call["input"]
    count = len(call["normalized_shape"])
    if value.time is not None and value.time >= value.numbers.ndim - count:
        call.wrong_axis("normalises over time, expected over the channels of one step")
    if np.prod(call["normalized_shape"]) != value.numbers.size:
        call.refuse(f"normalises {value.numbers.size} numbers in groups of {list(call['normalized_shape'])}")
    weight, bias = _constant(call, "weight"), _constant(call, "bias")
    weight = np.ones(value.numbers.size) if weight is None else weight.ravel()
    bias = None if bias is None else bias.ravel()
    result = trace.pointwise(
        call, value, lambda layer: trace.layers.layer_normalisation(layer, weight, bias, call["eps"])
    )
    return [result] if call.name.startswith("native") else result


def _activation(name: str, trace: Trace, call: Call) -> Value:
    return trace.pointwise(call, call["self"], lambda layer: trace.layers.activation(layer, name))


def _gated(gate: str, trace: Trace, call: Call) -> Value:
    """x ⊙ gate(x): silu, hardswish."""
    return trace.pointwise(
        call, call["self"], lambda layer: trace.layers.multiply(layer, trace.layers.activation(layer, gate))
    )


def _softmax(name: str, trace: Trace, call: Call) -> Value:
    value: Value = call["self"]
    axis = value.axis(call["dim"])
    if axis == value.time:
        call.refuse("is a softmax over time, expected over the numbers of one step")
    if value.numbers.shape[axis] != value.numbers.size:
        call.refuse(f"is a softmax over {value.numbers.shape[axis]} of {value.numbers.size} numbers, expected all")
    return _activation(name, trace, call)


def _leaky_relu(trace: Trace, call: Call) -> Value:
    """relu(x) − slope · relu(−x), for prelu too."""
    value: Value = call["self"]
    slope = np.asarray(call.get("negative_slope", call.get("weight")), np.float64)
    if slope.size > 1:
        slope = slope.reshape(-1, *[1] * (value.numbers.ndim - 2))
    above = _activation("relu", trace, call)
    below = trace.affine(call, value, -1.0, 0.0)
    below = trace.pointwise(call, below, lambda layer: trace.layers.activation(layer, "relu"))
    return trace.combine(call, above, trace.affine(call, below, -slope, 0.0), trace.layers.add)


def _clamp(trace: Trace, call: Call) -> Value:
    if call.get("min") != 0 or call.get("max") is not None:
        call.refuse(f"clamps from {call.get('min')} to {call.get('max')}, expected from 0 on (ReLU)")
    return _activation("relu", trace, call)


def _sum(trace: Trace, call: Call) -> Value:
    """add, sub and rsub, with alpha."""
    left, right, factor = call["self"], call["other"], call.get("alpha", 1)
    if call.name == "rsub":
        left, right = right, left
    sign = 1.0 if call.name == "add" else -1.0
    if not isinstance(right, Value):
        return trace.affine(call, left, 1.0, sign * factor * np.asarray(right, np.float64))
    if call.name == "rsub" and factor != 1:
        call.refuse(f"multiplies by {factor} before subtracting from {call.name}, expected 1")
    if not isinstance(left, Value):
        return trace.affine(call, right, sign * factor, np.asarray(left, np.float64))
    scaled = right if sign * factor == 1 else trace.affine(call, right, sign * factor, 0.0)
    return trace.combine(call, left, scaled, trace.layers.add)


def _times(trace: Trace, call: Call) -> Value:
    left, right = call["self"], call["other"]
    if isinstance(left, Value) and isinstance(right, Value):
        return trace.combine(call, left, right, trace.layers.multiply)
    value, constant = (left, right) if isinstance(left, Value) else (right, left)
    return trace.affine(call, value, constant, 0.0)


def _divided(trace: Trace, call: Call) -> Value:
    left, right = call["self"], call["other"]
    if isinstance(right, Value) or call.get("rounding_mode") is not None:
        call.refuse("divides by numbers of the input or rounds, expected a division by constants")
    divisor = np.asarray(right, np.float64)
    if (divisor == 0).any():
        call.refuse("divides by 0")
    return trace.affine(call, left, 1 / divisor, 0.0)


def _power(trace: Trace, call: Call) -> Value:
    if call["exponent"] != 2:
        call.refuse(f"raises to the power of {call['exponent']}, expected 2")
    value: Value = call["self"]
    return trace.combine(call, value, value, trace.layers.multiply)


def _glu(trace: Trace, call: Call) -> Value:
    """First half ⊙ σ(second half) along an axis."""
    value: Value = call["self"]
    axis = value.axis(call["dim"])
    if axis == value.time:
        call.refuse("halves the sequence in time, expected the channels of one step")
    first, second = (replace(value, numbers=half) for half in np.split(value.numbers, 2, axis))
    gate = trace.pointwise(call, second, lambda layer: trace.layers.activation(layer, "sigmoid"))
    return trace.combine(call, first, gate, trace.layers.multiply)


OPERATORS: dict[str, Handler] = {
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm", "addmm"), _matmul),
    "embedding": _embedding,
    **dict.fromkeys(("conv1d", "conv2d", "convolution"), _convolution),
    "gru": _gru,
    "gru_cell": _gru_cell,
    "_native_batch_norm_legit_no_training": _batch_norm,
    **dict.fromkeys(("layer_norm", "native_layer_norm"), _layer_norm),
    **{name: partial(_activation, name) for name in ("relu", "tanh", "sigmoid")},
    "hardsigmoid": partial(_activation, "hard_sigmoid_6"),
    "silu": partial(_gated, "sigmoid"),
    "hardswish": partial(_gated, "hard_sigmoid_6"),
    **dict.fromkeys(("softmax", "_softmax"), partial(_softmax, "softmax")),
    **dict.fromkeys(("log_softmax", "_log_softmax"), partial(_softmax, "log_softmax")),
    **dict.fromkeys(("leaky_relu", "prelu"), _leaky_relu),
    **dict.fromkeys(("clamp", "clamp_min"), _clamp),
    **dict.fromkeys(("add", "sub", "subtract", "rsub"), _sum),
    **dict.fromkeys(("mul", "multiply"), _times),
    **dict.fromkeys(("div", "divide", "true_divide"), _divided),
    "neg": lambda trace, call: trace.affine(call, call["self"], -1.0, 0.0),
    "pow": _power,
    "square": lambda trace, call: trace.combine(call, call["self"], call["self"], trace.layers.multiply),
    "glu": _glu,
}
# Named in their refusals, so that nobody has to know ATen's names.
REFUSED = {
    "lstm": "is an LSTM, expected a GRU",
    "lstm_cell": "is an LSTM cell, expected a GRU",
    "rnn_tanh": "is a plain RNN, expected a GRU",
    "rnn_relu": "is a plain RNN, expected a GRU",
    "rnn_tanh_cell": "is a plain RNN cell, expected a GRU",
    "rnn_relu_cell": "is a plain RNN cell, expected a GRU",
    "_pack_padded_sequence": "packs a sequence, expected a tensor of one sequence",
    "native_dropout": "drops numbers at random, expected eval mode",
    **dict.fromkeys(
        ("_native_batch_norm_legit", "_native_batch_norm_legit_functional"),
        "normalises by the batch, expected the statistics of training (eval mode, track_running_stats=True)",
    ),
    "scaled_dot_product_attention": "is attention over time, expected layers that look at one step",
    "conv_transpose1d": "is a transposed convolution, expected a causal Conv1d",
    "cond": "branches on data, expected the same computation at every step",
    "while_loop": "loops on data, expected the same computation at every step",
    "scan": "is a scan over time, expected nn.GRU",
    **dict.fromkeys(
        ("max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d", "max_pool1d_with_indices"),
        "pools over time, expected as many steps out as in",
    ),
    **dict.fromkeys(
        ("group_norm", "instance_norm", "native_group_norm"), "normalises over time, expected LayerNorm or BatchNorm1d"
    ),
    **dict.fromkeys(
        ("mean", "sum", "amax", "amin", "max", "min", "var", "std", "norm", "linalg_vector_norm", "logsumexp"),
        "reduces many numbers to one, as pooling does, expected layers that give every step its own numbers",
    ),
    "reciprocal": "divides by numbers of the input, expected a division by constants",
    "cumsum": "adds up over time, expected GRUs and causal convolutions to remember",
}
