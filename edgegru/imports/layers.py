"""A foreign model as its reader understood it: layers in float, each reading others. ``folding`` and ``artifact`` turn
them into nodes.

Readers call one method of ``Layers`` a layer and get its value; whether it will be a node of its own is not their
concern.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_export.gate_order import GruWeights
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.model_config import ACTIVATIONS, UNBOUNDED

Floats = NDArray[np.float64]
ENDS = ("softmax", "log_softmax")  # activations of outputs alone


@dataclass(eq=False)
class Layer:
    """One layer and its value, ``size`` numbers a step. ``arrays`` by tensor name, float64; ``fields``: the rest."""

    kind: str  # "x", "linear", "affine", "select", "activation", or a node's kind
    inputs: list[Layer]
    size: int
    arrays: dict[str, Floats] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def activation(self) -> str:
        """What its sums go through; "linear" for kinds that have none."""
        return str(self.fields.get("activation", "linear"))


@dataclass(frozen=True)
class Output:
    """A value that the model gives, at every step or, ``recording``, only the last one of a sequence."""

    layer: Layer
    recording: bool
    name: str | None = None  # as the source calls it, for messages and labels


class Layers:
    """All layers of a model that reads ``channels`` numbers a step (with an embedding: one, a row number)."""

    def __init__(self, channels: int) -> None:
        self.x = Layer("x", [], channels)
        self.outputs: list[Output] = []

    def embedding(self, weight: NDArray[Any]) -> Layer:
        """Rows of ``weight`` (num_embeddings, size), chosen by x."""
        if self.x.size != 1:
            raise ImportModelError(f"an embedding reads {self.x.size} channels, expected one row number a step")
        return Layer("embedding", [self.x], weight.shape[1], {"weight": _float64(weight)})

    def linear(self, value: Layer, weight: NDArray[Any], bias: NDArray[Any] | None = None) -> Layer:
        """``weight`` (size, value.size) times ``value``, plus ``bias`` (size,)."""
        _check(value, weight.shape[1], "a linear layer")
        return Layer("linear", [value], len(weight), _arrays(weight=weight, bias=bias))

    def affine(self, value: Layer, scale: NDArray[Any], shift: NDArray[Any]) -> Layer:
        """``scale ⊙ value + shift``, (size,) each or one number for all: batch normalisation and the like."""
        scale, shift = (np.broadcast_to(_float64(part), (value.size,)) for part in (scale, shift))
        return Layer("affine", [value], value.size, {"scale": scale, "shift": shift})

    def select(self, value: Layer, indices: Sequence[int]) -> Layer:
        """The numbers of ``value`` at ``indices``, in that order."""
        return Layer("select", [value], len(indices), fields={"indices": list(indices)})

    def convolution(
        self, value: Layer, weight: NDArray[Any], bias: NDArray[Any] | None = None, dilation: int = 1
    ) -> Layer:
        """Causal, zeros before the first step; ``weight`` (size, kernel_size, value.size), the oldest step first."""
        _check(value, weight.shape[2], "a convolution")
        arrays = _arrays(weight=weight, bias=bias)
        return Layer("convolution", [value], len(weight), arrays, {"dilation": dilation})

    def gru(
        self,
        value: Layer,
        weights: GruWeights,
        *,
        reset: str,
        gate_activation: str = "sigmoid",
        candidate_activation: str = "tanh",
        h0: NDArray[Any] | None = None,
    ) -> Layer:
        """h of a GRU; ``weights`` come from a function of ``edgegru_export.gate_order``. ``h0``: (H,), None: zeros."""
        _check(value, weights.weight_ih.shape[1], "a GRU")
        if h0 is not None and candidate_activation not in UNBOUNDED and np.abs(h0).max() > 1:
            found = f"a GRU starts from {np.abs(h0).max():g}"
            raise ImportModelError(f"{found}, expected a state from -1 to 1, as {candidate_activation} gives")
        arrays = _arrays(
            weight_ih=weights.weight_ih,
            weight_hh=weights.weight_hh,
            bias_ih=weights.bias_ih,
            bias_hh=weights.bias_hh,
            h0=h0 if h0 is not None and np.any(h0) else None,
        )
        form = {"reset": reset, "gate_activation": gate_activation, "candidate_activation": candidate_activation}
        return Layer("gru", [value], weights.weight_hh.shape[1], arrays, form)

    def layer_normalisation(
        self, value: Layer, weight: NDArray[Any], bias: NDArray[Any] | None, epsilon: float
    ) -> Layer:
        """(value − mean) / sqrt(variance + epsilon) ⊙ weight + bias."""
        _check(value, len(weight), "a layer normalisation")
        bias = np.zeros(len(weight)) if bias is None else bias
        return Layer(
            "layer_normalisation", [value], value.size, _arrays(weight=weight, bias=bias), {"epsilon": epsilon}
        )

    def activation(self, value: Layer, name: str) -> Layer:
        """One of ``ACTIVATIONS`` or ``ENDS`` of every number of ``value``."""
        if name == "linear":
            return value
        if name not in (*ACTIVATIONS, *ENDS):
            raise ImportModelError(f"activation {name} is not known, expected {', '.join((*ACTIVATIONS, *ENDS))}")
        return Layer("activation", [value], value.size, fields={"activation": name})

    def add(self, left: Layer, right: Layer) -> Layer:
        """left + right, number by number."""
        return self._elementwise("add", left, right)

    def multiply(self, left: Layer, right: Layer) -> Layer:
        """left ⊙ right."""
        return self._elementwise("multiply", left, right)

    def concatenate(self, values: Sequence[Layer]) -> Layer:
        """The numbers of ``values`` side by side."""
        if len(values) == 1:
            return values[0]
        return Layer("concatenate", list(values), sum(value.size for value in values))

    def output(self, value: Layer, *, recording: bool = False, name: str | None = None) -> None:
        """Declare an output; their order is the order of these calls."""
        self.outputs.append(Output(value, recording, name))

    def _elementwise(self, kind: str, left: Layer, right: Layer) -> Layer:
        if left.size != right.size:
            raise ImportModelError(f"{kind} takes {left.size} and {right.size} numbers, expected as many of both")
        return Layer(kind, [left, right], left.size)


def _check(value: Layer, expected: int, what: str) -> None:
    if value.size != expected:
        raise ImportModelError(f"{what} takes {expected} numbers, but reads a value of {value.size}")


def _arrays(**arrays: NDArray[Any] | None) -> dict[str, Floats]:
    return {name: _float64(array) for name, array in arrays.items() if array is not None}


def _float64(array: Any) -> Floats:
    return np.asarray(array, np.float64)
