"""A float32 artifact as one TFLite file: one step from primitive operators, few of them.

Both gates r and z come from one product over x and h side by side, with their two biases added beforehand (one float32
rounding), and the mix is ``n + z ⊙ (h − n)``, which is ``(1 − z) ⊙ n + z ⊙ h``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_export.tflite_attention import attend
from edgegru_export.tflite_model import FLOAT, RELU, Value
from edgegru_export.tflite_step import StepBuilder
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.model_config import (
    HARD_SIGMOIDS,
    AttentionNode,
    ConcatenateNode,
    ConvolutionNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    HeadNode,
    LayerNormalisationNode,
    LinearNode,
    StandardiseNode,
)

_OPERATORS = {"relu": "RELU", "tanh": "TANH", "sigmoid": "LOGISTIC"}


def build(artifact: Artifact, state: str = "io") -> bytes:
    """The TFLite file's bytes; ``state``: "io" or "variables". ExportError for what the format cannot express."""
    return FloatStep(artifact, FLOAT).build(state)


class FloatStep(StepBuilder[Value]):
    """All values are (1, size) in float32."""

    schemes = ("float32",)

    def value_shape(self, size: int) -> tuple[int, ...]:
        """Of the value of a node with ``size`` numbers."""
        return (1, size)

    def standardise(self, node: StandardiseNode, x: Value) -> Value:
        shape = self.value_shape(node.size)
        mean, std = (
            self.graph.constant(f"{node.name}.{field}", self.tensor(node, field).reshape(shape))
            for field in ("mean", "std")
        )
        centred = self.graph.add("SUB", [x, mean], f"{node.name}.centred", shape, FLOAT)
        return self.binary("DIV", centred, std, node.name)

    def embedding(self, node: EmbeddingNode, row: Value) -> Value:
        shape = self.value_shape(node.output_size)
        table = self._real(node, "weight").reshape(node.num_embeddings, *shape[1:])
        weight = self.graph.constant(f"{node.name}.weight", table)
        return self.graph.add("GATHER", [weight, row], node.name, shape, FLOAT, axis=0)

    def linear(self, node: LinearNode, source: Value) -> Value:
        bias = self.tensor(node, "bias") if node.bias else None
        return self._activated(node, lambda name: self.product(node, source, "weight", slice(None), bias, name))

    def convolution(
        self, node: ConvolutionNode, source: Value, kept: Value | None, next_name: str
    ) -> tuple[Value, Value | None]:
        name, graph, after = node.name, self.graph, None
        frames = self._shaped(source, f"{name}.x", (1, 1, 1, node.input_size))
        if kept is not None:
            before = graph.reshape(kept, f"{name}.kept", (1, node.frames, 1, node.input_size))
            frames = graph.concatenate([before, frames], f"{name}.frames", axis=1)
            after = graph.reshape(graph.drop_first(frames, f"{name}.newest", axis=1, count=1), next_name, kept.shape)
        weight = self.tensor(node, "weight")[:, :, np.newaxis]  # (output_size, kernel_size, 1, input_size)
        bias = self.tensor(node, "bias") if node.bias else np.zeros(node.output_size, np.float32)

        def products(product_name: str) -> Value:
            value = self.convolve(frames, weight, self.scales(node, "weight"), bias, f"{name}.products", node.dilation)
            return self._shaped(value, product_name, self.value_shape(node.output_size))

        return self._activated(node, products), after

    def gru(self, node: GruNode, source: Value, h: Value, next_name: str) -> tuple[Value, Value]:
        name, size = node.name, node.hidden_size
        rz, n_rows = slice(0, 2 * size), slice(2 * size, None)
        state_shape, h = h.shape, self._shaped(h, f"{name}.h", self.value_shape(size))
        sums = self.joint_product(node, source, h, rz, f"{name}.rz_sum")
        gates = self.activation(node.gate_activation, sums, f"{name}.rz")
        r, z = self.graph.split(gates, [f"{name}.r", f"{name}.z"])
        if node.reset == "after":
            bias_ih, bias_hh = (
                (self.tensor(node, field)[n_rows] for field in ("bias_ih", "bias_hh")) if node.bias else (None, None)
            )
            product_x = self.product(node, source, "weight_ih", n_rows, bias_ih, f"{name}.n_x")
            product_h = self.product(node, h, "weight_hh", n_rows, bias_hh, f"{name}.n_h")
            total = self.binary("ADD", product_x, self.binary("MUL", r, product_h, f"{name}.n_rh"), f"{name}.n_sum")
        else:
            total = self.joint_product(node, source, self.binary("MUL", r, h, f"{name}.rh"), n_rows, f"{name}.n_sum")
        n = self.activation(node.candidate_activation, total, f"{name}.n")
        z_part = self.binary("MUL", z, self.binary("SUB", h, n, f"{name}.h_minus_n"), f"{name}.z_part")
        h_next = self.binary("ADD", n, z_part, next_name if h.shape == state_shape else name)
        return h_next, self._shaped(h_next, next_name, state_shape)

    def attention(self, node: AttentionNode, source: Value, kept: Value) -> Value:
        query = self._shaped(source, f"{node.name}.flat", (1, node.size))
        value = attend(self.graph, node, query, kept, self.tensor(node, "weight"))
        return self._shaped(value, node.name, self.value_shape(node.output_size))

    def elementwise(self, node: ElementwiseNode, a: Value, b: Value) -> Value:
        return self.binary("ADD" if node.kind == "add" else "MUL", a, b, node.name)

    def layer_normalisation(self, node: LayerNormalisationNode, source: Value) -> Value:
        graph, name, shape = self.graph, node.name, source.shape
        weight, bias = (
            graph.constant(f"{name}.{field}", self.tensor(node, field).reshape(shape)) for field in ("weight", "bias")
        )
        centred = self.binary("SUB", source, graph.mean(source, f"{name}.mean"), f"{name}.centred")
        variance = graph.mean(self.binary("MUL", centred, centred, f"{name}.squares"), f"{name}.variance")
        epsilon = graph.constant(f"{name}.epsilon", np.full(variance.shape, node.epsilon, np.float32))
        inverse = self.unary("RSQRT", self.binary("ADD", variance, epsilon, f"{name}.sum"), f"{name}.inverse")
        normalised = self.binary("MUL", centred, inverse, f"{name}.normalised")
        return self.binary("ADD", self.binary("MUL", normalised, weight, f"{name}.scaled"), bias, name)

    def concatenate(self, node: ConcatenateNode, sources: list[Value]) -> Value:
        return self.graph.concatenate(sources, node.name, axis=len(sources[0].shape) - 1)

    def head(self, node: HeadNode, source: Value, output_name: str) -> Value:
        shape = (1, node.size)
        if node.kind == "identity":
            return self.graph.reshape(source, output_name, shape)  # a copy under the output's name
        name = output_name if source.shape == shape else node.name
        if node.kind == "softmax":
            value = self.graph.add("SOFTMAX", [source], name, source.shape, FLOAT, beta=1.0)
        elif node.kind == "log_softmax":
            value = self.unary("LOG_SOFTMAX", source, name)
        else:
            value = self.unary("LOGISTIC", source, name)
        return self._shaped(value, output_name, shape)

    def product(
        self, node: LinearNode | GruNode, source: Value, field: str, rows: slice, bias: NDArray[Any] | None, name: str
    ) -> Value:
        """Some ``rows`` of a node's matrix times ``source``, plus ``bias``."""
        return self._fully_connected(source, self.tensor(node, field)[rows], bias, name)

    def joint_product(self, node: GruNode, x: Value, h: Value, rows: slice, name: str) -> Value:
        """Some ``rows`` of both matrices of a GRU times ``x`` and ``h``, with both biases."""
        weight = np.concatenate([self.tensor(node, field)[rows] for field in ("weight_ih", "weight_hh")], axis=1)
        return self._fully_connected(
            self.graph.concatenate([x, h], f"{name}.operands", axis=1), weight, self.joint_bias(node, rows), name
        )

    def joint_bias(self, node: GruNode, rows: slice) -> NDArray[Any] | None:
        """``bias_ih + bias_hh`` of some rows."""
        return self.tensor(node, "bias_ih")[rows] + self.tensor(node, "bias_hh")[rows] if node.bias else None

    def scales(self, node: LinearNode | ConvolutionNode | GruNode | EmbeddingNode, field: str) -> NDArray[Any] | None:
        """The scales of a matrix's rows, None where it is float."""
        name = f"{node.name}.{field}_scale"
        return self.artifact.array(name) if name in self.artifact.tensors else None

    def convolve(
        self,
        source: Value,
        weight: NDArray[Any],
        scales: NDArray[Any] | None,
        bias: NDArray[Any],
        name: str,
        dilation: int = 1,
    ) -> Value:
        """``weight`` (rows, frames, 1, columns), float or int8 with ``scales``, over ``source`` (1, …, 1, columns)."""
        if scales is None:
            stored = self.graph.constant(f"{name}.weight", weight)
        else:
            stored = self.graph.row_scaled_constant(f"{name}.weight", weight, scales)
        inputs = [source, stored, self.graph.constant(f"{name}.bias", bias)]
        return self.graph.convolve(inputs, name, FLOAT, dilation=dilation)

    def binary(self, operator: str, a: Value, b: Value, name: str) -> Value:
        """``operator`` of two values; the second has the shape of the first, or one number for all of its."""
        return self.graph.add(operator, [a, b], name, a.shape, FLOAT)

    def unary(self, operator: str, value: Value, name: str) -> Value:
        """``operator`` of every number."""
        return self.graph.add(operator, [value], name, value.shape, FLOAT)

    def activation(self, activation: str, value: Value, name: str) -> Value:
        """One of ``ACTIVATIONS`` of every number; a hard sigmoid is ``min(max(v / divisor + 1/2, 0), 1)``."""
        if activation == "linear":
            return value
        if activation not in HARD_SIGMOIDS:
            return self.unary(_OPERATORS[activation], value, name)
        graph, shape = self.graph, value.shape
        slope, half, one = (
            graph.constant(f"{name}.{title}", np.full(shape, number, np.float32))
            for title, number in (("slope", 1 / HARD_SIGMOIDS[activation]), ("half", 0.5), ("one", 1.0))
        )
        scaled = self.binary("MUL", value, slope, f"{name}.scaled")
        above = graph.add("ADD", [scaled, half], f"{name}.above", shape, FLOAT, fusedActivationFunction=RELU)
        return self.binary("MINIMUM", above, one, name)

    def _real(self, node: EmbeddingNode, field: str) -> NDArray[Any]:
        """A matrix in float32, whatever it is stored as."""
        weight, scales = self.tensor(node, field), self.scales(node, field)
        return weight if scales is None else (weight * scales[:, np.newaxis]).astype(np.float32)

    def _activated(self, node: LinearNode | ConvolutionNode, sums: Callable[[str], Value]) -> Value:
        """The node's activation of its ``sums``, which are called as they are told."""
        if node.activation == "linear":
            return sums(node.name)
        return self.activation(node.activation, sums(f"{node.name}.sum"), node.name)

    def _fully_connected(self, source: Value, weight: NDArray[Any], bias: NDArray[Any] | None, name: str) -> Value:
        inputs = [source, self.graph.constant(f"{name}.weight", weight)]
        if bias is not None:
            inputs.append(self.graph.constant(f"{name}.bias", bias))
        return self.graph.add("FULLY_CONNECTED", inputs, name, (1, len(weight)), FLOAT)

    def _shaped(self, value: Value, name: str, shape: tuple[int, ...]) -> Value:
        """The value in this shape; a new one, called ``name``, where it has another."""
        return value if value.shape == shape else self.graph.reshape(value, name, shape)
