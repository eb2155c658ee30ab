"""The nodes of a static scheme in integers: docs/quantization.md line by line.

A layer is built from an artifact and the integers derived from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime import fixed_point as fx
from edgegru_runtime.integer_arithmetic import (
    Integers,
    PairRescaling,
    Rescaling,
    clamp,
    hard_sigmoid_q16,
    log_softmax_q16,
    rounding_shift,
    sigmoid_q16,
    softmax_q15,
    tanh_q15,
)
from edgegru_runtime.model_config import (
    GATE_ACTIVATIONS,
    AttentionNode,
    ConvolutionNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    HeadNode,
    LinearNode,
    StandardiseNode,
)
from edgegru_runtime.operands import operand_limit

if TYPE_CHECKING:
    from edgegru_runtime.artifact import Artifact
    from edgegru_runtime.derivation import Derivation


class Standardise:
    """q = clamp(⌊a · x + b⌋), float32, product and sum rounded separately; saturated before the conversion."""

    def __init__(self, artifact: Artifact, node: StandardiseNode, derived: Derivation) -> None:
        a, b = derived.coefficients[node.name]
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

    def __init__(self, artifact: Artifact, node: EmbeddingNode, derived: Derivation) -> None:
        weight = artifact.array(f"{node.name}.weight").astype(np.int64)
        rescale = Rescaling.of(derived.rows[node.name])
        rows = rounding_shift(weight * rescale.multiplier[:, np.newaxis], rescale.shift)
        self.table = clamp(rows, operand_limit(artifact.config, node.name))

    def __call__(self, x: NDArray[np.float32]) -> tuple[Integers, int]:
        """The operand, and 1 where the input named no row."""
        index = np.floor(x[0] + np.float32(0.5))
        row = np.clip(index, 0, len(self.table) - 1)
        return self.table[int(row)], int(row != index)


class Linear:
    """acc = W q + b, then the activation. A convolution is one over the operands that it keeps, the oldest first."""

    def __init__(self, artifact: Artifact, node: LinearNode | ConvolutionNode, derived: Derivation) -> None:
        weight = artifact.array(f"{node.name}.weight").astype(np.int64)
        self.weight = weight.reshape(node.output_size, -1)
        self.bias = _bias(artifact, f"{node.name}.bias", node.output_size)
        self.activation = node.activation
        if node.name in derived.argument:
            self.to_argument = Rescaling.of(derived.argument[node.name])

    def __call__(self, q: Integers) -> Integers:
        acc: Integers = self.weight @ q + self.bias
        if self.activation == "relu":
            return np.maximum(acc, 0)
        if self.activation == "tanh":
            return tanh_q15(self.to_argument(acc))
        if self.activation in GATE_ACTIVATIONS:
            return gate(self.to_argument(acc), self.activation)
        return acc


class Gru:
    """One GRU step from operand q_x and state h to the next h: 24 fractional bits, of full scale where unbounded."""

    def __init__(self, artifact: Artifact, node: GruNode, derived: Derivation) -> None:
        name, size = node.name, node.hidden_size
        self.size, self.reset = size, node.reset
        self.gates, self.candidate = node.gate_activation, node.candidate_activation
        self.limit = operand_limit(artifact.config, name)
        self.weight_ih = artifact.array(f"{name}.weight_ih").astype(np.int64)
        self.weight_hh = artifact.array(f"{name}.weight_hh").astype(np.int64)
        self.bias_ih = _bias(artifact, f"{name}.bias_ih", 3 * size)
        self.bias_hn = _bias(artifact, f"{name}.bias_hn", size)
        self.candidate_limit = fx.VALUE_LIMIT if node.unbounded else fx.CANDIDATE_ARGUMENT_LIMIT
        multipliers = derived.gru[name]
        self.rz, self.n = PairRescaling.of(multipliers.rz), PairRescaling.of(multipliers.n)
        self.h_operand, self.rh_operand = Rescaling.of(multipliers.h), Rescaling.of(multipliers.rh)

    def __call__(self, q_x: Integers, h: Integers) -> Integers:
        rz, n_rows = slice(0, 2 * self.size), slice(2 * self.size, None)
        q_h = clamp(self.h_operand(h), self.limit)
        acc_ih = self.weight_ih @ q_x + self.bias_ih
        r, z = gate(self.rz(acc_ih[rz], self.weight_hh[rz] @ q_h), self.gates).reshape(2, self.size)
        if self.reset == "after":
            acc_hn = self.weight_hh[n_rows] @ q_h + self.bias_hn
            hn = clamp(self.n.of_b(acc_hn), self.candidate_limit)
            argument = self.n.of_a(acc_ih[n_rows]) + rounding_shift(r * hn, fx.GATE_BITS)
        else:
            q_rh = clamp(self.rh_operand(rounding_shift(r * h, fx.GATE_BITS)), self.limit)
            argument = self.n(acc_ih[n_rows], self.weight_hh[n_rows] @ q_rh)
        if self.candidate == "tanh":
            n = tanh_q15(argument) << (fx.STATE_BITS - fx.CANDIDATE_BITS)
        elif self.candidate in GATE_ACTIVATIONS:
            n = gate(argument, self.candidate) << (fx.STATE_BITS - fx.GATE_BITS)
        else:
            n = clamp(np.maximum(argument, 0) if self.candidate == "relu" else argument, fx.VALUE_LIMIT)
        return rounding_shift((2**fx.GATE_BITS - z) * n + z * h, fx.GATE_BITS)


class Attention:
    """Additive attention over rows of operands and of arguments of tanh (keys), as they were remembered."""

    def __init__(self, artifact: Artifact, node: AttentionNode, derived: Derivation) -> None:
        multipliers, limit = derived.attention[node.name], operand_limit(artifact.config, node.name)
        self.values, self.limit = node.output_size, limit
        self.weight = artifact.array(f"{node.name}.weight").astype(np.int64)
        self.query, self.score = Rescaling.of(multipliers.query), Rescaling.of(multipliers.score)

    def __call__(self, query: Integers, rows: Integers) -> tuple[Integers, Integers]:
        """The operand (output_size,) and the shares (n,), with 15 fractional bits, of rows (n, row_size)."""
        if not len(rows):
            return np.zeros(self.values, np.int64), np.zeros(0, np.int64)
        argument = clamp(self.query(query), fx.ARGUMENT_LIMIT)
        scores = self.score(tanh_q15(argument + rows[:, self.values :]) @ self.weight)
        shares = softmax_q15(clamp(scores, fx.VALUE_LIMIT))
        return clamp(rounding_shift(shares @ rows[:, : self.values], fx.PROBABILITY_BITS), self.limit), shares


class Elementwise:
    """A sum of two values, or a product of two operands, with 24 fractional bits of full scale."""

    def __init__(self, node: ElementwiseNode, derived: Derivation) -> None:
        self.kind = node.kind
        if node.kind == "add":
            self.sum = PairRescaling.of(derived.pair[node.name])
        else:
            self.product = Rescaling.of(derived.product[node.name])

    def __call__(self, a: Integers, b: Integers) -> Integers:
        return clamp(self.sum(a, b) if self.kind == "add" else self.product(a * b), fx.VALUE_LIMIT)


class Head:
    """What gives the floats: a fixed-point value (size,) to outputs (size,) float32."""

    def __init__(self, node: HeadNode, derived: Derivation) -> None:
        head = derived.head[node.name]
        self.kind = node.kind
        self.rescaling = None if head.multipliers is None else Rescaling.of(head.multipliers)
        self.output_scale = np.array(head.scale, np.float32)  # real value of one unit of the output
        self.output_offset = None if head.offset is None else np.array(head.offset, np.float32)

    def __call__(self, value: Integers) -> NDArray[np.float32]:
        integers = value if self.rescaling is None else self.rescaling(value)
        if self.kind == "softmax":
            integers = softmax_q15(clamp(integers, fx.VALUE_LIMIT))
        elif self.kind == "log_softmax":
            integers = log_softmax_q16(clamp(integers, fx.VALUE_LIMIT))
        elif self.kind == "sigmoid":
            integers = sigmoid_q16(integers)
        else:
            integers = clamp(integers, fx.OUTPUT_LIMIT)
        real: NDArray[np.float32] = integers.astype(np.float32) * self.output_scale
        return real if self.output_offset is None else real + self.output_offset


def gate(argument: Integers, activation: str) -> Integers:
    """One of ``GATE_ACTIVATIONS`` of the argument that its multiplier gives, with 16 fractional bits."""
    return sigmoid_q16(argument) if activation == "sigmoid" else hard_sigmoid_q16(argument)


def _bias(artifact: Artifact, name: str, size: int) -> Integers:
    """The bias (size,) in accumulator units, zero where there is none."""
    return artifact.array(name).astype(np.int64) if name in artifact.tensors else np.zeros(size, np.int64)
