"""A static-w8a8 artifact as one TFLite file: int8 weights, int16 activations and state (or, on request, all int8).

Every product is a CONV_2D 1×1, the one matrix product of TFLite that takes int8 weights with a scale per row, exists
with int16 activations, and runs alike in LiteRT, tflite-runtime 2.14 and TFLite Micro. The artifact's int8 weights and
scales enter unchanged. The ranges of values between the products are TFLite's own and so is its rounding, which makes
the file close to docs/quantization.md, not equal to it; docs/export-tflite.md has the operators and the measurements.

Values are (1, 1, 1, size) between the standardisation and the heads; standardisation and heads compute in float32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgegru_export.tflite_model import FLOAT, TensorKind, Value
from edgegru_export.tflite_step import StepBuilder, refuse_activations
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.fixed_point import OPERAND_LIMIT
from edgegru_runtime.model_config import GruNode, HeadNode, LinearNode, Node, StandardiseNode

SMALLEST_RANGE = 2.0**-20  # no range is zero, not even that of a product of zero weights
LARGEST_RESCALING = 2.0**7  # of an accumulator; TFLite's kernels shift to the left by at most 7 bits
_RELU, _NO_ACTIVATION, _VALID_PADDING = 1, 0, 1  # enumerations of the schema


@dataclass(frozen=True)
class Precision:
    """How activations are stored, and where they saturate."""

    limit: int  # largest stored magnitude
    symmetric: TensorKind  # what TANH gives, and the state: -1 … 1
    gate: TensorKind  # what LOGISTIC gives: 0 … 1
    sigmoid_argument: TensorKind
    tanh_argument: TensorKind
    product_range: float  # of the products that add up to an argument
    output_headroom: float  # an output may exceed its calibrated range by this factor
    bias_dtype: str
    accumulator_limit: float  # of a product with its bias, as TFLite's kernels demand

    def ranged(self, largest: float) -> TensorKind:
        """Values of magnitude up to ``largest``."""
        return TensorKind(self.symmetric.dtype, largest / self.limit)


# Arguments at powers of two are exact in LOGISTIC and TANH, whose tables end at ±10.7 and ±5.3. Products have a wider
# range than their sums, because two of opposite sign may cancel.
INT16 = Precision(
    limit=2**15 - 1,
    symmetric=TensorKind("int16", 2.0**-15),
    gate=TensorKind("int16", 2.0**-15),
    sigmoid_argument=TensorKind("int16", 2.0**-11),
    tanh_argument=TensorKind("int16", 2.0**-12),
    product_range=32.0,
    output_headroom=4.0,
    bias_dtype="int64",
    accumulator_limit=2.0**47,
)
# Of 8 bits there are none to spare: the ranges are as narrow as random models of trained magnitude bear.
INT8 = Precision(
    limit=2**7 - 1,
    symmetric=TensorKind("int8", 2.0**-7),
    gate=TensorKind("int8", 2.0**-8, -(2**7)),
    sigmoid_argument=TensorKind("int8", 6.0 / 127),
    tanh_argument=TensorKind("int8", 3.0 / 127),
    product_range=6.0,
    output_headroom=1.0,
    bias_dtype="int32",
    accumulator_limit=2.0**31,
)


@dataclass(frozen=True)
class _Rows:
    """Some rows of a product ``weight · scale · operand + bias``, scale and bias in real units."""

    weight: NDArray[np.int8]  # (rows, columns)
    scale: NDArray[np.float64]  # (rows,)
    bias: NDArray[np.float64]  # (rows,)

    def __getitem__(self, rows: slice) -> _Rows:
        return _Rows(self.weight[rows], self.scale[rows], self.bias[rows])

    def largest(self, operand: float) -> float:
        """What no value of the product exceeds while no operand exceeds ``operand``."""
        weights = np.sum(np.abs(self.weight.astype(np.int64)), axis=1) * self.scale
        return max(float(np.max(weights * operand + np.abs(self.bias))), SMALLEST_RANGE)


def build(artifact: Artifact, state: str = "io", allow_int8_state: bool = False) -> bytes:
    """The TFLite file's bytes; ``state``: "io" or "variables". ExportError for what the format cannot express.

    ``allow_int8_state``: activations and state as int8, for devices without int16 kernels. Such a state has 7
    fractional bits, and a slow unit stops far from its target: whoever asks for it must be warned.
    """
    return _IntegerStep(artifact, INT8 if allow_int8_state else INT16).build(state)


class _IntegerStep(StepBuilder):
    scheme = "static-w8a8"

    def __init__(self, artifact: Artifact, precision: Precision) -> None:
        super().__init__(artifact, precision.symmetric)
        self.precision = precision
        self._output_range: dict[str, NDArray[np.float64]] = {}  # of linear nodes with a range for every output

    def standardise(self, node: StandardiseNode, x: Value) -> Value:
        shape = (1, 1, 1, node.size)
        mean, std = (
            self.graph.constant(f"{node.name}.{field}", self.tensor(node, field).reshape(shape))
            for field in ("mean", "std")
        )
        centred = self.graph.add("SUB", [x, mean], f"{node.name}.centred", shape, FLOAT)
        value = self.graph.add("DIV", [centred, std], f"{node.name}.float", shape, FLOAT)
        return self.graph.add("QUANTIZE", [value], node.name, shape, self._operand_kind(node.name))

    def linear(self, node: LinearNode, source: Value) -> Value:
        name, precision = node.name, self.precision
        rows = self._rows(node, "weight", "bias", node.inputs[0])
        match node.activation:
            case "tanh":
                argument = self._product(source, rows, precision.tanh_argument, f"{name}.sum")
                return self._unary("TANH", argument, name, precision.symmetric)
            case "sigmoid":
                argument = self._product(source, rows, precision.sigmoid_argument, f"{name}.sum")
                return self._unary("LOGISTIC", argument, name, precision.gate)
            case "linear" | "relu":
                pass
            case _:
                raise ExportError(
                    f"linear {name} has the activation {node.activation}, "
                    "and TFLite export knows linear, relu, tanh, sigmoid"
                )
        if name in self._operand_scale:
            kind = self._operand_kind(name)
        elif f"{name}.output_scale" in self.artifact.tensors:
            # TFLite has one scale for all channels of a result. So each output becomes a fraction of its own range
            # here, which the head multiplies back in float.
            ranges = self.tensor(node, "output_scale").astype(np.float64) * 2.0**15 * precision.output_headroom
            self._output_range[name] = ranges
            rows = replace(rows, scale=rows.scale / ranges, bias=rows.bias / ranges)
            kind = precision.symmetric
        else:
            kind = precision.ranged(rows.largest(self._largest_operand(source)))
        return self._product(source, rows, kind, name, relu=node.activation == "relu")

    def gru(self, node: GruNode, source: Value, h: Value, next_name: str) -> tuple[Value, Value]:
        refuse_activations(node)
        name, size, precision = node.name, node.hidden_size, self.precision
        rz, n_rows = slice(0, 2 * size), slice(2 * size, None)
        h = self.graph.reshape(h, f"{name}.h", (1, 1, 1, size))
        weight_ih = self._rows(node, "weight_ih", "bias_ih", node.inputs[0])
        weight_hh = self._rows(node, "weight_hh", None, name)

        rz_x = self._addend(source, weight_ih[rz], f"{name}.rz_x")
        rz_h = self._addend(h, weight_hh[rz], f"{name}.rz_h")
        argument = self._binary("ADD", rz_x, rz_h, f"{name}.rz_sum", precision.sigmoid_argument)
        r, z = self.graph.split(
            self._unary("LOGISTIC", argument, f"{name}.rz", precision.gate), [f"{name}.r", f"{name}.z"]
        )
        n_x = self._addend(source, weight_ih[n_rows], f"{name}.n_x")
        if node.reset == "after":
            weight_hn = weight_hh[n_rows]
            if node.bias:
                real_bias = self.tensor(node, "bias_hn") * (weight_hn.scale * self._operand_scale[name])
                weight_hn = replace(weight_hn, bias=real_bias)
            n_h = self._addend(h, weight_hn, f"{name}.n_h")
            n_h = self._binary("MUL", r, n_h, f"{name}.n_rh", n_h.kind)
        else:
            rh = self._binary("MUL", r, h, f"{name}.rh", precision.symmetric)
            n_h = self._addend(rh, weight_hh[n_rows], f"{name}.n_rh")
        argument = self._binary("ADD", n_x, n_h, f"{name}.n_sum", precision.tanh_argument)
        n = self._unary("TANH", argument, f"{name}.n", precision.symmetric)
        h_next = self._mix(name, z, n, h)
        return h_next, self.graph.reshape(h_next, next_name, (1, size))

    def head(self, node: HeadNode, source: Value, output_name: str) -> Value:
        value = self._unary("DEQUANTIZE", source, f"{node.name}.float", FLOAT)
        if node.inputs[0] in self._output_range:
            ranges = self._output_range[node.inputs[0]].astype(np.float32).reshape(value.shape)
            factor = self.graph.constant(f"{node.name}.range", ranges)
            value = self._binary("MUL", value, factor, f"{node.name}.unit", FLOAT)
        if f"{node.inputs[0]}.output_offset" in self.artifact.tensors:
            offset = self.artifact.array(f"{node.inputs[0]}.output_offset").reshape(value.shape)
            moved = self.graph.constant(f"{node.name}.offset", offset)
            value = self.graph.add("ADD", [value, moved], f"{node.name}.moved", value.shape, FLOAT)
        match node.kind:
            case "softmax":
                value = self.graph.add("SOFTMAX", [value], node.name, value.shape, FLOAT, beta=1.0)
            case "sigmoid":
                value = self._unary("LOGISTIC", value, node.name, FLOAT)
            case "identity":
                pass
            case _:
                raise ExportError(f"head {node.name} is of kind {node.kind}, which TFLite export does not know")
        return self.graph.reshape(value, output_name, (1, node.size))

    def _mix(self, name: str, z: Value, n: Value, h: Value) -> Value:
        """(1 − z) ⊙ n + z ⊙ h. With n + z ⊙ (h − n) units that move slowly stop farther from their target,
        because h − n needs twice the range.
        """
        precision = self.precision
        halved = replace(precision.symmetric, scale=2.0 / (precision.limit + 1))  # holds 1 exactly
        ones = self.graph.constant(f"{name}.one", np.full(z.shape, (precision.limit + 1) // 2, halved.dtype), halved)
        new = self._binary("SUB", ones, z, f"{name}.one_minus_z", precision.gate)
        new_part = self._binary("MUL", new, n, f"{name}.n_part", precision.symmetric)
        old_part = self._binary("MUL", z, h, f"{name}.h_part", precision.symmetric)
        return self._binary("ADD", new_part, old_part, name, precision.symmetric)

    @property
    def _operand_scale(self) -> dict[str, float]:
        assert self.config.quantization is not None
        return self.config.quantization.operand_scale

    def _operand_kind(self, name: str) -> TensorKind:
        """An operand's calibrated range, in steps as fine as this precision has."""
        return self.precision.ranged(OPERAND_LIMIT[self.scheme] * self._operand_scale[name])

    def _largest_operand(self, source: Value) -> float:
        """The magnitude at which an operand saturates."""
        assert source.kind.scale is not None
        return source.kind.scale * (self.precision.limit - source.kind.zero_point)

    def _rows(self, node: Node, weight: str, bias: str | None, operand: str) -> _Rows:
        """The rows of a matrix, its integer bias in real units; ``operand``: what the artifact multiplies it with."""
        scale = self.tensor(node, f"{weight}_scale").astype(np.float64)
        real_bias = np.zeros(len(scale))
        if bias is not None and f"{node.name}.{bias}" in self.artifact.tensors:
            real_bias = self.tensor(node, bias) * (scale * self._operand_scale[operand])
        return _Rows(self.tensor(node, weight), scale, real_bias)

    def _addend(self, source: Value, rows: _Rows, name: str) -> Value:
        """A product that is added to another: no wider than it can get, and saturating at the range for products."""
        largest = min(rows.largest(self._largest_operand(source)), self.precision.product_range)
        return self._product(source, rows, self.precision.ranged(largest), name)

    def _product(self, source: Value, rows: _Rows, kind: TensorKind, name: str, relu: bool = False) -> Value:
        """``rows`` times ``source``: a convolution over one pixel that has as many channels as ``rows`` has columns.

        The zero bias where the model has none keeps the accumulators of every runtime at their full width.
        """
        assert source.kind.scale is not None
        assert kind.scale is not None
        count, columns = rows.weight.shape
        accumulator_scale = rows.scale * source.kind.scale
        bias = np.round(rows.bias / accumulator_scale)
        operands = np.sum(np.abs(rows.weight.astype(np.int64)), axis=1) * (self.precision.limit + 1.0)
        if np.any(operands + np.abs(bias) >= self.precision.accumulator_limit):
            raise ExportError(f"{name}: a bias is too large for TFLite's accumulators beside the scale of its weights")
        if np.any(accumulator_scale / kind.scale >= LARGEST_RESCALING):
            raise ExportError(f"{name}: a weight scale is too large for TFLite's rescaling of accumulators")
        inputs = [
            source,
            self.graph.row_scaled_constant(f"{name}.weight", rows.weight.reshape(count, 1, 1, columns), rows.scale),
            self.graph.row_scaled_constant(f"{name}.bias", bias.astype(self.precision.bias_dtype), accumulator_scale),
        ]
        return self.graph.add(
            "CONV_2D",
            inputs,
            name,
            (1, 1, 1, count),
            kind,
            padding=_VALID_PADDING,
            strideW=1,
            strideH=1,
            fusedActivationFunction=_RELU if relu else _NO_ACTIVATION,
        )

    def _unary(self, operator: str, value: Value, name: str, kind: TensorKind) -> Value:
        return self.graph.add(operator, [value], name, value.shape, kind)

    def _binary(self, operator: str, a: Value, b: Value, name: str, kind: TensorKind) -> Value:
        options = {} if operator == "MUL" else {"potScaleInt16": False}  # scales need not be powers of two
        return self.graph.add(operator, [a, b], name, a.shape, kind, **options)
