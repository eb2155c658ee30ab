"""The operations of docs/quantization.md in ONNX operators, which know no fixed point and no arithmetic shift.

Every value is an int64 tensor (batch, n) unless said otherwise; names are those of the document.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from edgegru_export.onnx_graph import Graph
from edgegru_runtime import fixed_point as fx
from edgegru_runtime.integer_arithmetic import Integers, PairRescaling, Rescaling

ZERO_POINT = 128  # operands and weights are uint8: signed x unsigned products saturate on some x86 kernels
SHIFT_OFFSET = 2**62  # a multiple of every 2^bits, and above every |value| that is shifted

_TABLES = {
    "tanh": (fx.TANH_C0, fx.TANH_C1, fx.TANH_C2),
    "exp2": (fx.EXP2_C0, fx.EXP2_C1, fx.EXP2_C2),
}


class FixedPointGraph(Graph):
    """A graph with the document's arithmetic. Operands of methods are names of values, or plain integers."""

    def __init__(self) -> None:
        super().__init__()
        self._tanh_table = ""  # made for the first that asks
        self._bytes: dict[tuple[str, int], list[tuple[str, int, int]]] = {}  # of an operand, by its name and its bits

    def number(self, value: int) -> str:
        """An int64 constant without dimensions."""
        return self.constant(str(value), np.array(value, np.int64))

    def vector(self, values: Integers) -> str:
        """A vector of integers of its own as a constant."""
        return self.constant(f"{self.scope}.constant{len(self._constants)}", values)

    def binary(self, operator: str, left: str, right: str | int) -> str:
        """``left operator right``."""
        return self.add(operator, left, self.number(right) if isinstance(right, int) else right)

    def to_int64(self, value: str) -> str:
        return self.add("Cast", value, to=TensorProto.INT64)

    def clamp(self, value: str, limit: int) -> str:
        """Saturate to -limit … limit."""
        return self.between(value, -limit, limit)

    def between(self, value: str, low: int, high: int) -> str:
        """Saturate to ``low`` … ``high``, integers below 2^53.

        As float64: for int64 Clip, Min, Max, Sign and ReduceMax of ONNX Runtime are wrong about magnitudes from 2^31 to
        2^32 (github.com/microsoft/onnxruntime/pull/25280). Beyond 2^53 the rounding does not matter: it saturates.
        """
        bounds = (self.constant(f"{bound} float64", np.array(bound, np.float64)) for bound in (low, high))
        return self.to_int64(self.add("Clip", self._to_float64(value), *bounds))

    def _to_float64(self, value: str) -> str:
        return self.add("Cast", value, to=TensorProto.DOUBLE)

    def shift(self, value: str, bits: int) -> str:
        """``R'(value; bits)`` = (value + 2^(bits-1)) >> bits, arithmetic.

        Div truncates towards zero, which is a shift for positive values only: 2^62 goes in before and out after.
        With the rounding term |value| is below 2^62 (the bounds are in the document): the sum is positive and below
        2^63.
        """
        positive = self.binary("Add", value, SHIFT_OFFSET + (1 << (bits - 1)))
        return self.binary("Sub", self.binary("Div", positive, 1 << bits), SHIFT_OFFSET >> bits)

    def scaled(self, value: str, multiplier: Integers) -> str:
        """``value · M``, before it is shifted."""
        return self.binary("Mul", value, self.vector(multiplier))

    def rescale(self, value: str, rescaling: Rescaling) -> str:
        """``R(value; M, t)``."""
        return self.shift(self.scaled(value, rescaling.multiplier), rescaling.shift)

    def rescale_pair(self, a: str, b: str, rescaling: PairRescaling) -> str:
        """``R'(a · M_a + b · M_b; t)``."""
        both = self.binary("Add", self.scaled(a, rescaling.a), self.scaled(b, rescaling.b))
        return self.shift(both, rescaling.shift)

    def to_operand(self, value: str, rescaling: Rescaling, limit: int) -> str:
        """``clamp(R(value; M, t))``."""
        return self.clamp(self.rescale(value, rescaling), limit)

    def product(self, operand: str, bits: int, weight: NDArray[Any], name: str) -> str:
        """``W q`` exactly: operand (batch, columns) of 8 or 16 ``bits``, int8 values (rows, columns) → (batch, rows).

        MatMulInteger takes bytes and adds up in 32 bits, which the sums of a valid model fit, of its high bytes and its
        low bytes as well.
        """
        stored = self.constant(name, (weight.T + ZERO_POINT).astype(np.uint8))
        parts = []
        for value, zero_point, factor in self._bytes_of(operand, bits):
            zero_points = self._zero_point(zero_point), self._zero_point(ZERO_POINT)
            part = self.to_int64(self.add("MatMulInteger", value, stored, *zero_points))
            parts.append(part if factor == 1 else self.binary("Mul", part, factor))
        return parts[0] if len(parts) == 1 else self.add("Add", *parts)

    def _bytes_of(self, operand: str, bits: int) -> list[tuple[str, int, int]]:
        """An operand as uint8 values with their zero points and factors, made once for all its readers:
        ``q = Σ (value - zero point) · factor``.
        """
        if (operand, bits) not in self._bytes:
            if bits == 8:
                found = [(self._to_uint8(self.binary("Add", operand, ZERO_POINT)), ZERO_POINT, 1)]
            else:
                positive = self.binary("Add", operand, ZERO_POINT * 256)
                high, low = self.binary("Div", positive, 256), self.binary("Mod", positive, 256)
                found = [(self._to_uint8(high), ZERO_POINT, 256), (self._to_uint8(low), 0, 1)]
            self._bytes[operand, bits] = found
        return self._bytes[operand, bits]

    def _to_uint8(self, value: str) -> str:
        return self.add("Cast", value, to=TensorProto.UINT8)

    def _zero_point(self, value: int) -> str:
        return self.constant(f"zero point {value}", np.array(value, np.uint8))

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

    def gate(self, argument: str, activation: str) -> str:
        """``σ``: Q11 in, Q16 out; a hard one: Q16 in."""
        hard = activation != "sigmoid"
        return self.binary("Add", self.clamp(argument, fx.ARGUMENT_LIMIT) if hard else self.tanh(argument), 2**15)

    def softmax(self, argument: str, there: str = "") -> str:
        """Q16 in, Q15 out, over the columns; of those alone that are ``there``, 1 and not 0, if any is."""
        if there:  # what is not does not count where the largest is looked for, nor in the sum
            argument = self.add("Where", self.binary("Less", there, 1), self.number(-fx.VALUE_LIMIT), argument)
        _, power, total = self._powers(argument)
        if there:
            power = self.binary("Mul", power, there)
            total = self.add("ReduceSum", power, self.integers(-1), keepdims=1)
            total = self.binary("Add", total, self.to_int64(self.binary("Less", total, 1)))  # 0 divides nothing
        rounded = self.binary("Add", self.binary("Mul", power, 2**fx.PROBABILITY_BITS), self.binary("Div", total, 2))
        return self.binary("Div", rounded, total)

    def log_softmax(self, argument: str) -> str:
        """log2 of the softmax over the columns, Q16 in and out."""
        octaves, _, total = self._powers(argument)
        whole = self.binary("Sub", self.log2(total), fx.POWER_BITS << fx.LOG2_BITS)
        return self.add("Neg", self.binary("Add", octaves, whole))

    def _powers(self, argument: str) -> tuple[str, str, str]:
        """How far numbers are below the largest (Q16), two to the power of minus that (Q30), and the sum (batch, 1).

        Nothing is negative after the first line: Div is a plain shift.
        """
        largest = self.to_int64(self.add("ReduceMax", self._to_float64(argument), axes=[-1], keepdims=1))
        distance = self.binary("Sub", largest, argument)
        octaves = self.shift(self.binary("Mul", distance, fx.LOG2_E), fx.LOG2_E_SHIFT)
        fraction = self.binary("Mod", octaves, 2**16)
        position = self.binary("Mul", self.binary("Mod", fraction, 4096), 8)
        mantissa = self._interpolate("exp2", self.binary("Div", fraction, 4096), position)
        halvings = self.between(self.binary("Div", octaves, 2**16), 0, 62)
        divisor = self.add("Gather", self.constant("powers of two", 2 ** np.arange(63, dtype=np.int64)), halvings)
        power = self.binary("Div", self.binary("Mul", mantissa, 2**16), divisor)
        return octaves, power, self.add("ReduceSum", power, self.integers(-1), keepdims=1)

    def log2(self, value: str) -> str:
        """Of integers from 1 on, Q16: moved up to their highest bit, and a polynomial for what is behind it."""
        highest = self.number(62)
        for shift in (32, 16, 8, 4, 2, 1):
            low = self.binary("Less", value, 2 ** (63 - shift))
            value = self.add("Where", low, self.binary("Mul", value, 2**shift), value)
            highest = self.binary("Sub", highest, self.binary("Mul", self.to_int64(low), shift))
        fraction = self.binary("Sub", self.binary("Div", value, 2**32), 2**30)
        result = self.number(fx.LOG2_C[-1])
        for coefficient in fx.LOG2_C[-2::-1]:
            result = self.binary("Add", self.shift(self.binary("Mul", result, fraction), 30), coefficient)
        rest = self.shift(self.binary("Mul", result, fraction), 60 - fx.LOG2_BITS)
        return self.binary("Add", self.binary("Mul", highest, 2**fx.LOG2_BITS), rest)

    def _interpolate(self, table: str, segment: str, position: str) -> str:
        """``c0 + R(p (c1 + R(p c2; 15)); 15)`` of each value's segment."""
        c0, c1, c2 = (
            self.add("Gather", self.constant(f"{table}.c{power}", np.array(coefficients, np.int64)), segment)
            for power, coefficients in enumerate(_TABLES[table])
        )
        slope = self.binary("Add", c1, self.shift(self.binary("Mul", position, c2), 15))
        return self.binary("Add", c0, self.shift(self.binary("Mul", position, slope), 15))
