"""The nodes of a static scheme in integers: docs/quantization.md line by line.

A layer is built from an artifact; ``scale`` is what one unit of each number of its value is worth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime import fixed_point as fx
from edgegru_runtime.integer_arithmetic import (
    Integers,
    PairRescaling,
    Rescaling,
    clamp,
    rounding_shift,
    sigmoid_q16,
    softmax_q15,
    tanh_q15,
)
from edgegru_runtime.model_config import (
    ConvolutionNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    HeadNode,
    LinearNode,
    StandardiseNode,
)
from edgegru_runtime.operands import operand_bits, operand_limit, operand_scales

if TYPE_CHECKING:
    from edgegru_runtime.artifact import Artifact

Scales = NDArray[np.float64]


class Standardise:
    """q = clamp(⌊a · x + b⌋), float32, product and sum rounded separately; saturated before the conversion."""

    def __init__(self, artifact: Artifact, node: StandardiseNode) -> None:
        self.scale = operand_scales(artifact, node.name)
        mean, std = (artifact.array(f"{node.name}.{field}").tolist() for field in ("mean", "std"))
        a, b = fx.input_coefficients(mean, std, float(self.scale[0]), node.name)
        self.a, self.b = np.array(a, np.float32), np.array(b, np.float32)
        self.limit = operand_limit(artifact.config, node.name)

    def __call__(self, x: NDArray[np.float32]) -> tuple[Integers, int]:
        """The operand, and how many of its numbers were saturated."""
        with np.errstate(over="ignore"):  # an infinite product saturates like any other
            q = np.floor(self.a * x + self.b)
        saturated = np.minimum(np.maximum(q, -self.limit), self.limit)
        return saturated.astype(np.int64), int(np.count_nonzero(q != saturated))


class Embedding:
    """Row ⌊x + 1/2⌋ of a table of operands, made once: q = clamp(R(w8; M, t)), ρ_row = s_row / s."""

    def __init__(self, artifact: Artifact, node: EmbeddingNode) -> None:
        self.scale = operand_scales(artifact, node.name)
        row_scale = artifact.array(f"{node.name}.weight_scale").astype(np.float64)
        weight = artifact.array(f"{node.name}.weight").astype(np.int64)
        rescale = Rescaling.by(row_scale / self.scale[0], node.name)
        rows = rounding_shift(weight * rescale.multiplier[:, np.newaxis], rescale.shift)
        self.table = clamp(rows, operand_limit(artifact.config, node.name))

    def __call__(self, x: NDArray[np.float32]) -> tuple[Integers, int]:
        """The operand, and 1 where the input named no row."""
        index = np.floor(x[0] + np.float32(0.5))
        row = np.clip(index, 0, len(self.table) - 1)
        return self.table[int(row)], int(row != index)


class Linear:
    """acc = W q + b, then the activation. A convolution is one over the operands that it keeps, the oldest first."""

    def __init__(self, artifact: Artifact, node: LinearNode | ConvolutionNode) -> None:
        weight = artifact.array(f"{node.name}.weight").astype(np.int64)
        self.weight = weight.reshape(node.output_size, -1)
        self.bias = _bias(artifact, f"{node.name}.bias", node.output_size)
        self.activation = node.activation
        self.scale = _row_scales(artifact, f"{node.name}.weight") * np.max(operand_scales(artifact, node.inputs[0]))
        if node.activation == "tanh":
            self.to_argument = Rescaling.by(self.scale * 2.0**fx.TANH_ARGUMENT_BITS, node.name)
            self.scale = np.full(node.output_size, 2.0**-fx.CANDIDATE_BITS)
        elif node.activation == "sigmoid":
            self.to_argument = Rescaling.by(self.scale * 2.0**fx.SIGMOID_ARGUMENT_BITS, node.name)
            self.scale = np.full(node.output_size, 2.0**-fx.GATE_BITS)

    def __call__(self, q: Integers) -> Integers:
        acc: Integers = self.weight @ q + self.bias
        if self.activation == "relu":
            return np.maximum(acc, 0)
        if self.activation == "tanh":
            return tanh_q15(self.to_argument(acc))
        if self.activation == "sigmoid":
            return sigmoid_q16(self.to_argument(acc))
        return acc


class Gru:
    """One GRU step from operand q_x and state h to the next h: 24 fractional bits, of full scale where unbounded."""

    def __init__(self, artifact: Artifact, node: GruNode) -> None:
        name, size = node.name, node.hidden_size
        self.size, self.reset, self.candidate = size, node.reset, node.candidate_activation
        self.limit = operand_limit(artifact.config, name)
        self.weight_ih = artifact.array(f"{name}.weight_ih").astype(np.int64)
        self.weight_hh = artifact.array(f"{name}.weight_hh").astype(np.int64)
        self.bias_ih = _bias(artifact, f"{name}.bias_ih", 3 * size)
        self.bias_hn = _bias(artifact, f"{name}.bias_hn", size)
        h_scales = operand_scales(artifact, name)
        if node.unbounded:
            self.scale = artifact.array(f"{name}.full_scale").astype(np.float64) * 2.0**-fx.STATE_BITS
            to_candidate, self.candidate_limit = 1 / self.scale, fx.VALUE_LIMIT
            rh_scales, operand_ratio = h_scales, 2.0 ** (operand_bits(artifact.config, name) - 1 - fx.STATE_BITS)
            rh_ratio = operand_ratio
        else:
            self.scale = np.full(size, 2.0**-fx.STATE_BITS)
            to_candidate = np.full(size, 2.0**fx.TANH_ARGUMENT_BITS)
            self.candidate_limit = fx.CANDIDATE_ARGUMENT_LIMIT
            rh_scales = h_scales if node.reset == "after" else operand_scales(artifact, f"{name}.rh")
            operand_ratio, rh_ratio = (2.0**-fx.STATE_BITS / scales[0] for scales in (h_scales, rh_scales))
        # The rows of r and z give sigmoid's argument, those of n tanh's or h itself; the n rows of W_hh multiply h or,
        # with reset before, r ⊙ h.
        rz, n_rows = slice(0, 2 * size), slice(2 * size, None)
        ih = _row_scales(artifact, f"{name}.weight_ih") * np.max(operand_scales(artifact, node.inputs[0]))
        hh = _row_scales(artifact, f"{name}.weight_hh")
        to_gate = 2.0**fx.SIGMOID_ARGUMENT_BITS
        self.rz = PairRescaling.by(ih[rz] * to_gate, hh[rz] * np.max(h_scales) * to_gate, name)
        self.n = PairRescaling.by(ih[n_rows] * to_candidate, hh[n_rows] * np.max(rh_scales) * to_candidate, name)
        self.h_operand = Rescaling.by(np.array([operand_ratio]), name)
        self.rh_operand = Rescaling.by(np.array([rh_ratio]), name)

    def __call__(self, q_x: Integers, h: Integers) -> Integers:
        rz, n_rows = slice(0, 2 * self.size), slice(2 * self.size, None)
        q_h = clamp(self.h_operand(h), self.limit)
        acc_ih = self.weight_ih @ q_x + self.bias_ih
        r, z = sigmoid_q16(self.rz(acc_ih[rz], self.weight_hh[rz] @ q_h)).reshape(2, self.size)
        if self.reset == "after":
            acc_hn = self.weight_hh[n_rows] @ q_h + self.bias_hn
            hn = clamp(self.n.of_b(acc_hn), self.candidate_limit)
            argument = self.n.of_a(acc_ih[n_rows]) + rounding_shift(r * hn, fx.GATE_BITS)
        else:
            q_rh = clamp(self.rh_operand(rounding_shift(r * h, fx.GATE_BITS)), self.limit)
            argument = self.n(acc_ih[n_rows], self.weight_hh[n_rows] @ q_rh)
        if self.candidate == "tanh":
            n = tanh_q15(argument) << (fx.STATE_BITS - fx.CANDIDATE_BITS)
        else:
            n = clamp(np.maximum(argument, 0) if self.candidate == "relu" else argument, fx.VALUE_LIMIT)
        return rounding_shift((2**fx.GATE_BITS - z) * n + z * h, fx.GATE_BITS)


class Elementwise:
    """A sum of two values, or a product of two operands, with 24 fractional bits of full scale."""

    def __init__(self, artifact: Artifact, node: ElementwiseNode, scales: tuple[Scales, Scales]) -> None:
        """``scales``: of the two values, or of the two operands."""
        self.scale = artifact.array(f"{node.name}.full_scale").astype(np.float64) * 2.0**-fx.VALUE_BITS
        self.kind, (a, b) = node.kind, scales
        if node.kind == "add":
            self.sum = PairRescaling.by(a / self.scale, b / self.scale, node.name)
        else:
            self.product = Rescaling.by(a * b / self.scale, node.name)

    def __call__(self, a: Integers, b: Integers) -> Integers:
        return clamp(self.sum(a, b) if self.kind == "add" else self.product(a * b), fx.VALUE_LIMIT)


class Head:
    """What gives the floats: a fixed-point value (size,) of scale ``scale`` to outputs (size,) float32."""

    def __init__(self, artifact: Artifact, node: HeadNode, scale: Scales) -> None:
        self.kind = node.kind
        self.output_offset: NDArray[Any] | None = None
        self.rescaling: Rescaling | None = None
        self.output_scale: NDArray[np.float32] | np.float32  # real value of one unit of the output
        if node.kind == "softmax":
            self.rescaling = Rescaling.by(scale * 2.0**fx.SOFTMAX_ARGUMENT_BITS, node.name)
            self.output_scale = np.float32(2.0**-fx.PROBABILITY_BITS)
        elif node.kind == "sigmoid":
            self.rescaling = Rescaling.by(scale * 2.0**fx.SIGMOID_ARGUMENT_BITS, node.name)
            self.output_scale = np.float32(2.0**-fx.GATE_BITS)
        elif (scale_name := f"{node.inputs[0]}.output_scale") in artifact.tensors:
            self.output_scale = artifact.array(scale_name).astype(np.float32)
            self.rescaling = Rescaling.by(scale / self.output_scale.astype(np.float64), node.name)
            if (offset_name := f"{node.inputs[0]}.output_offset") in artifact.tensors:
                self.output_offset = artifact.array(offset_name)
        else:  # tanh, sigmoid, sums and products have their scale from their format
            self.output_scale = scale.astype(np.float32)

    def __call__(self, value: Integers) -> NDArray[np.float32]:
        integers = value if self.rescaling is None else self.rescaling(value)
        if self.kind == "softmax":
            integers = softmax_q15(clamp(integers, 2**30))
        elif self.kind == "sigmoid":
            integers = sigmoid_q16(integers)
        else:
            integers = clamp(integers, fx.OUTPUT_LIMIT)
        real: NDArray[np.float32] = integers.astype(np.float32) * self.output_scale
        return real if self.output_offset is None else real + self.output_offset


def _bias(artifact: Artifact, name: str, size: int) -> Integers:
    """The bias (size,) in accumulator units, zero where there is none."""
    return artifact.array(name).astype(np.int64) if name in artifact.tensors else np.zeros(size, np.int64)


def _row_scales(artifact: Artifact, weight: str) -> Scales:
    return artifact.array(f"{weight}_scale").astype(np.float64)
