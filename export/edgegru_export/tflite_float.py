"""A float32 artifact as one TFLite file: one step from primitive operators, few of them.

Both gates r and z come from one product over x and h side by side, with their two biases added beforehand (one float32
rounding), and the mix is ``n + z ⊙ (h − n)``, which is ``(1 − z) ⊙ n + z ⊙ h``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_export.tflite_model import FLOAT, Value
from edgegru_export.tflite_step import StepBuilder, refuse_activations
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.model_config import GruNode, HeadNode, LinearNode, StandardiseNode

ACTIVATION_OPERATORS = {"relu": "RELU", "tanh": "TANH", "sigmoid": "LOGISTIC"}


def build(artifact: Artifact, state: str = "io") -> bytes:
    """The TFLite file's bytes; ``state``: "io" or "variables". ExportError for what the format cannot express."""
    return _FloatStep(artifact, FLOAT).build(state)


class _FloatStep(StepBuilder):
    """All values are (1, size)."""

    scheme = "float32"

    def standardise(self, node: StandardiseNode, x: Value) -> Value:
        mean, std = (
            self.graph.constant(f"{node.name}.{field}", self.tensor(node, field)[None]) for field in ("mean", "std")
        )
        return self._elementwise("DIV", self._elementwise("SUB", x, mean, f"{node.name}.centred"), std, node.name)

    def linear(self, node: LinearNode, source: Value) -> Value:
        weight = self.tensor(node, "weight")
        bias = self.tensor(node, "bias") if node.bias else None
        if node.activation == "linear":
            return self._product(source, weight, bias, node.name)
        if node.activation not in ACTIVATION_OPERATORS:
            raise ExportError(
                f"linear {node.name} has the activation {node.activation}, and TFLite export knows linear, "
                + ", ".join(ACTIVATION_OPERATORS)
            )
        value = self._product(source, weight, bias, f"{node.name}.sum")
        return self._activation(ACTIVATION_OPERATORS[node.activation], value, node.name)

    def gru(self, node: GruNode, source: Value, h: Value, next_name: str) -> tuple[Value, Value]:
        refuse_activations(node)
        name, size = node.name, node.hidden_size
        weight_ih, weight_hh = (self.tensor(node, field) for field in ("weight_ih", "weight_hh"))
        weight = np.concatenate([weight_ih, weight_hh], axis=1)  # (3H, I + H)
        bias_ih = bias_hh = None
        if node.bias:
            bias_ih, bias_hh = (self.tensor(node, field) for field in ("bias_ih", "bias_hh"))
        bias = None if bias_ih is None or bias_hh is None else bias_ih + bias_hh
        rz, n_rows = slice(0, 2 * size), slice(2 * size, None)

        gates = self._product(self._concatenate(source, h, f"{name}.xh"), weight[rz], _rows(bias, rz), f"{name}.rz_sum")
        r, z = self.graph.split(self._activation("LOGISTIC", gates, f"{name}.rz"), [f"{name}.r", f"{name}.z"])
        if node.reset == "after":
            product_x = self._product(source, weight_ih[n_rows], _rows(bias_ih, n_rows), f"{name}.n_x")
            product_h = self._product(h, weight_hh[n_rows], _rows(bias_hh, n_rows), f"{name}.n_h")
            kept = self._elementwise("MUL", r, product_h, f"{name}.n_rh")
            total = self._elementwise("ADD", product_x, kept, f"{name}.n_sum")
        else:
            rh = self._elementwise("MUL", r, h, f"{name}.rh")
            x_rh = self._concatenate(source, rh, f"{name}.x_rh")
            total = self._product(x_rh, weight[n_rows], _rows(bias, n_rows), f"{name}.n_sum")
        n = self._activation("TANH", total, f"{name}.n")
        away = self._elementwise("SUB", h, n, f"{name}.h_minus_n")
        h_next = self._elementwise("ADD", n, self._elementwise("MUL", z, away, f"{name}.z_part"), next_name)
        return h_next, h_next

    def head(self, node: HeadNode, source: Value, output_name: str) -> Value:
        match node.kind:
            case "softmax":
                return self.graph.add("SOFTMAX", [source], output_name, source.shape, FLOAT, beta=1.0)
            case "sigmoid":
                return self._activation("LOGISTIC", source, output_name)
            case "identity":
                return self.graph.reshape(source, output_name, source.shape)  # a copy under the output's name
            case _:
                raise ExportError(f"head {node.name} is of kind {node.kind}, which TFLite export does not know")

    def _product(self, source: Value, weight: NDArray[Any], bias: NDArray[Any] | None, name: str) -> Value:
        inputs = [source, self.graph.constant(f"{name}.weight", weight)]
        if bias is not None:
            inputs.append(self.graph.constant(f"{name}.bias", bias))
        return self.graph.add("FULLY_CONNECTED", inputs, name, (1, len(weight)), FLOAT)

    def _concatenate(self, a: Value, b: Value, name: str) -> Value:
        return self.graph.add("CONCATENATION", [a, b], name, (1, a.shape[1] + b.shape[1]), FLOAT, axis=1)

    def _elementwise(self, operator: str, a: Value, b: Value, name: str) -> Value:
        return self.graph.add(operator, [a, b], name, a.shape, FLOAT)

    def _activation(self, operator: str, value: Value, name: str) -> Value:
        return self.graph.add(operator, [value], name, value.shape, FLOAT)


def _rows(bias: NDArray[Any] | None, rows: slice) -> NDArray[Any] | None:
    return None if bias is None else bias[rows]
