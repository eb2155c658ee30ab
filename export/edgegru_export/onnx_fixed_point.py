"""The operations of docs/quantization.md in ONNX operators, which know no fixed point and no arithmetic shift.

Every value is an int64 tensor (batch, n) unless said otherwise; names are those of the document.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from edgegru_export.onnx_graph import Graph
from edgegru_runtime import fixed_point as fx

OPERAND_ZERO_POINT = 128  # operands and weights are uint8: signed x unsigned products saturate on some x86 kernels
SHIFT_OFFSET = 2**62  # a multiple of every 2^bits, and above every |value| that is shifted

_TABLES = {
    "tanh": (fx.TANH_C0, fx.TANH_C1, fx.TANH_C2),
    "exp2": (fx.EXP2_C0, fx.EXP2_C1, fx.EXP2_C2),
}


@dataclass(frozen=True)
class Rescaling:
    """``R(value; M, t)``: multipliers M, one a column or a single one, and the shift t."""

    multiplier: NDArray[np.int64]
    shift: int

    @classmethod
    def by(cls, ratio: NDArray[np.float64], where: str) -> Rescaling:
        """By real factors; raises ArtifactError, naming ``where``, for factors that the arithmetic cannot hold."""
        integers, shift = fx.multipliers(ratio.tolist(), where)
        return cls(np.array(integers, np.int64), shift)


class FixedPointGraph(Graph):
    """A graph with the document's arithmetic. Operands of methods are names of values, or plain integers."""

    def __init__(self) -> None:
        super().__init__()
        self._tanh_table = ""  # made for the first that asks

    def number(self, value: int) -> str:
        """An int64 constant without dimensions."""
        return self.constant(str(value), np.array(value, np.int64))

    def integers(self, values: NDArray[np.int64]) -> str:
        """A vector of integers of its own as a constant."""
        return self.constant(f"{self.scope}.constant{len(self._constants)}", values)

    def binary(self, operator: str, left: str, right: str | int) -> str:
        """``left operator right``."""
        return self.add(operator, left, self.number(right) if isinstance(right, int) else right)

    def to_int64(self, value: str) -> str:
        return self.add("Cast", value, to=TensorProto.INT64)

    def clamp(self, value: str, limit: int) -> str:
        """Saturate to -limit … limit."""
        return self.add("Clip", value, self.number(-limit), self.number(limit))

    def shift(self, value: str, bits: int) -> str:
        """``R'(value; bits)`` = (value + 2^(bits-1)) >> bits, arithmetic.

        Div truncates towards zero, which is a shift for positive values only: 2^62 goes in before and out after.
        Every value here is below 2^62 (the bounds are in the document), so the sum stays positive and below 2^63.
        """
        positive = self.binary("Add", value, SHIFT_OFFSET + (1 << (bits - 1)))
        return self.binary("Sub", self.binary("Div", positive, 1 << bits), SHIFT_OFFSET >> bits)

    def rescale(self, value: str, rescaling: Rescaling) -> str:
        """``R(value; M, t)``."""
        return self.shift(self.binary("Mul", value, self.integers(rescaling.multiplier)), rescaling.shift)

    def to_operand(self, value: str, rescaling: Rescaling, limit: int) -> str:
        """``clamp(R(value; M, t))`` as a uint8 operand for ``product``."""
        return self.offset_operand(self.clamp(self.rescale(value, rescaling), limit))

    def offset_operand(self, q: str) -> str:
        """q in -127 … 127 (int64) as uint8 around the zero point."""
        return self.add("Cast", self.binary("Add", q, OPERAND_ZERO_POINT), to=TensorProto.UINT8)

    def product(self, operand: str, weight: NDArray[Any], name: str) -> str:
        """``W q`` exactly: uint8 operand (batch, columns), int8 weight (rows, columns) → int64 (batch, rows)."""
        around_zero_point = (weight.T.astype(np.int16) + OPERAND_ZERO_POINT).astype(np.uint8)
        zero_point = self.constant("zero_point", np.array(OPERAND_ZERO_POINT, np.uint8))
        stored = self.constant(name, around_zero_point)
        return self.to_int64(self.add("MatMulInteger", operand, stored, zero_point, zero_point))

    def tanh(self, argument: str) -> str:
        """``T``: Q12 in, Q15 out, looked up in a table of all 65,535 values.

        The file holds the 64 segments and the nodes that make the table of them; as those depend on constants only,
        a runtime works them out once, when it loads the file.
        """
        if not self._tanh_table:
            self._tanh_table = self._all_of_tanh()
        index = self.binary("Add", self.clamp(argument, fx.ARGUMENT_LIMIT), fx.ARGUMENT_LIMIT)
        return self.to_int64(self.add("Gather", self._tanh_table, index))

    def _all_of_tanh(self) -> str:
        """T of -32767 … 32767 in this order, as int16 (65535,)."""
        bounds = (self.number(bound) for bound in (-fx.ARGUMENT_LIMIT, fx.ARGUMENT_LIMIT + 1, 1))
        argument = self.add("Range", *bounds)
        magnitude = self.add("Abs", argument)
        position = self.binary("Mul", self.binary("Mod", magnitude, 512), 64)
        value = self._interpolate("tanh", self.binary("Div", magnitude, 512), position)
        return self.add("Cast", self.binary("Mul", self.add("Sign", argument), value), to=TensorProto.INT16)

    def sigmoid(self, argument: str) -> str:
        """``σ``: Q11 in, Q16 out."""
        return self.binary("Add", self.tanh(argument), 2**15)

    def softmax(self, argument: str) -> str:
        """Q16 in, Q15 out, over the columns. Nothing is negative after the first line: Div is a plain shift."""
        distance = self.binary("Sub", self.add("ReduceMax", argument, axes=[-1], keepdims=1), argument)
        octaves = self.shift(self.binary("Mul", distance, fx.LOG2_E), fx.LOG2_E_SHIFT)
        fraction = self.binary("Mod", octaves, 2**16)
        position = self.binary("Mul", self.binary("Mod", fraction, 4096), 8)
        mantissa = self._interpolate("exp2", self.binary("Div", fraction, 4096), position)
        halvings = self.add("Clip", self.binary("Div", octaves, 2**16), "", self.number(62))
        divisor = self.add("Gather", self.constant("powers of two", 2 ** np.arange(63, dtype=np.int64)), halvings)
        power = self.binary("Div", self.binary("Mul", mantissa, 2**16), divisor)
        total = self.add("ReduceSum", power, self.axes(-1), keepdims=1)
        rounded = self.binary("Add", self.binary("Mul", power, 2**fx.PROBABILITY_BITS), self.binary("Div", total, 2))
        return self.binary("Div", rounded, total)

    def _interpolate(self, table: str, segment: str, position: str) -> str:
        """``c0 + R(p (c1 + R(p c2; 15)); 15)`` of each value's segment."""
        c0, c1, c2 = (
            self.add("Gather", self.constant(f"{table}.c{power}", np.array(coefficients, np.int64)), segment)
            for power, coefficients in enumerate(_TABLES[table])
        )
        slope = self.binary("Add", c1, self.shift(self.binary("Mul", position, c2), 15))
        return self.binary("Add", c0, self.shift(self.binary("Mul", position, slope), 15))
