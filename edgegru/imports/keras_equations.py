"""A Keras model in NumPy, by Keras's own equations in its own layouts, in the dtype of the input.

Gates come as z, r, h, matrices as (input, 3H), a step multiplies from the left, and h' = z ⊙ h + (1 − z) ⊙ h̃: nothing
here is shared with the layers that a model becomes, so that a mistake in them shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.imports.keras_steps import Step, Steps

Array = NDArray[Any]


def sigmoid(v: Array) -> Array:
    """1 / (1 + exp(−v)), without overflow."""
    e = np.exp(-np.abs(v))
    return np.asarray(np.where(v >= 0, 1, e) / (1 + e))


def softmax(v: Array) -> Array:
    """exp(v) / Σ exp(v) over the last axis."""
    e = np.exp(v - v.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def log_softmax(v: Array) -> Array:
    """v − ln Σ exp(v) over the last axis."""
    below = v - v.max(-1, keepdims=True)
    return np.asarray(below - np.log(np.exp(below).sum(-1, keepdims=True)))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda v: v,
    "relu": lambda v: np.maximum(v, 0),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "hard_sigmoid_5": lambda v: np.clip(v * 0.2 + 0.5, 0, 1),
    "hard_sigmoid_6": lambda v: np.clip(v + 3, 0, 6) / 6,
}


class KerasEquations:
    """A Source."""

    steps: int | None = None
    precise: bool = True

    def __init__(self, steps: Steps, name: str) -> None:
        self._steps = steps
        self.channels = steps.channels
        self.name: str = name

    def run(self, xs: Array) -> list[Array]:
        """Every output for xs (T, channels), from a zero state: (T, size), or (size,) of the last step alone."""
        values = [xs]
        for step in self._steps.steps:
            arrays = {name: array.astype(xs.dtype) for name, array in step.arrays.items()}
            values.append(_value(step, arrays, [values[index] for index in step.inputs]).astype(xs.dtype, copy=False))
        return [values[index] for _, index, _ in self._steps.outputs]


def _value(step: Step, arrays: dict[str, Array], inputs: list[Array]) -> Array:
    fields, v = step.fields, inputs[0]
    bias = arrays.get("bias", np.zeros((), v.dtype))
    match step.kind:
        case "gru":
            return _gru(v, arrays, fields)
        case "last":
            return np.asarray(v[-1])
        case "dense":
            return np.asarray(v @ arrays["kernel"] + bias)
        case "convolution":
            return _convolution(v, arrays["kernel"], fields["groups"], fields["dilation"]) + bias
        case "embedding":
            return np.asarray(arrays["embeddings"][v[:, 0].astype(int)])
        case "affine":
            return arrays["scale"] * v + arrays["shift"]
        case "layer_normalisation":
            deviation = v - v.mean(-1, keepdims=True)
            normal = deviation / np.sqrt((deviation**2).mean(-1, keepdims=True) + v.dtype.type(fields["epsilon"]))
            return np.asarray(normal * arrays.get("gamma", 1) + arrays.get("beta", 0))
        case "activation":
            return ACTIVATIONS[fields["activation"]](v)
        case "add":
            return inputs[0] + inputs[1]
        case "multiply":
            return inputs[0] * inputs[1]
    return np.concatenate(inputs, axis=-1)


def _gru(xs: Array, arrays: dict[str, Array], fields: dict[str, Any]) -> Array:
    kernel, recurrent = arrays["kernel"], arrays["recurrent_kernel"]
    units = recurrent.shape[0]
    bias = arrays.get("bias", np.zeros(3 * units, xs.dtype))
    if fields["cudnn"]:  # as Keras itself converts them when it loads a CuDNNGRU into a GRU
        kernel = np.hstack([part.T.reshape(part.shape, order="F") for part in np.hsplit(kernel, 3)])
        recurrent = np.hstack([part.T for part in np.hsplit(recurrent, 3)])
        bias = bias.reshape(2, -1)
    input_bias, recurrent_bias = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    gate, candidate = (ACTIVATIONS[fields[name]] for name in ("gate_activation", "candidate_activation"))
    z, r, h_ = (slice(index * units, (index + 1) * units) for index in range(3))
    x = xs @ kernel + input_bias
    h, states = np.zeros(units, xs.dtype), np.empty((len(xs), units), xs.dtype)
    for t in range(len(xs)):
        if fields["reset_after"]:
            inner = h @ recurrent + recurrent_bias
            update, reset = gate(x[t, z] + inner[z]), gate(x[t, r] + inner[r])
            proposed = candidate(x[t, h_] + reset * inner[h_])
        else:
            update = gate(x[t, z] + h @ recurrent[:, z])
            reset = gate(x[t, r] + h @ recurrent[:, r])
            proposed = candidate(x[t, h_] + (reset * h) @ recurrent[:, h_])
        h = update * h + (1 - update) * proposed
        states[t] = h
    return states


def _convolution(xs: Array, kernel: Array, groups: int, dilation: int) -> Array:
    """Padding "causal": zeros before the first step."""
    taps = len(kernel)
    padded = np.concatenate([np.zeros(((taps - 1) * dilation, xs.shape[1]), xs.dtype), xs])
    columns, filters = np.split(padded, groups, axis=1), np.split(kernel, groups, axis=2)
    sums = [
        sum(part[tap * dilation : tap * dilation + len(xs)] @ weights[tap] for tap in range(taps))
        for part, weights in zip(columns, filters, strict=True)
    ]
    return np.concatenate([np.asarray(part) for part in sums], axis=1)
