"""How the values of an integer TFLite file are stored: their types, their ranges, and what their units are worth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgegru_export.tflite_model import TensorKind, Value

SMALLEST_RANGE = 2.0**-20  # no range is zero, not even that of a product of zero weights

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Precision:
    """How activations are stored, and where they saturate."""

    bits: int
    gate: TensorKind  # what LOGISTIC gives: 0 … 1
    sigmoid_argument: TensorKind
    tanh_argument: TensorKind
    # Products for what saturates have these ranges, wider ones where they often need them, narrower where they cannot:
    gate_range: float  # of the two that add up to an argument of sigmoid
    candidate_range: float  # the same for tanh
    output_range: float  # of the arguments of an output's softmax or sigmoid
    most_widening: int  # what adds up to a sum of its own range may exceed that by this factor
    headroom: float  # values without a bound may exceed the calibrated range by this factor
    output_headroom: float  # the same for outputs in their own unit
    bias_dtype: str
    accumulator_limit: float  # of a product with its bias, as TFLite's kernels demand

    @property
    def dtype(self) -> str:
        return f"int{self.bits}"

    @property
    def limit(self) -> int:
        """Largest stored magnitude."""
        return (1 << (self.bits - 1)) - 1

    @property
    def fraction(self) -> TensorKind:
        """Values as a share of their range: states, operands, what TANH gives."""
        return TensorKind(self.dtype, 2.0 ** (1 - self.bits))

    @property
    def hard_sigmoid_argument(self) -> TensorKind:
        """Arguments over the divisor of a hard sigmoid, which end where it does: at ±1/2."""
        return TensorKind(self.dtype, 2.0**-self.bits)

    def ranged(self, largest: float) -> TensorKind:
        """Values of magnitude up to ``largest``."""
        return TensorKind(self.dtype, max(largest, SMALLEST_RANGE) / self.limit)


def _above(scale: float) -> float:
    """The float32 after that nearest to ``scale``: TFLite cuts the multipliers that it makes of such scales."""
    return float(np.nextafter(np.float32(scale), np.float32(np.inf)))


# LOGISTIC and TANH look up a table with interpolation, of arguments in steps of 2^-12 / 3, which they multiply by three
# quarters of a power of two. With these scales the product is exact, and the range is that of the table. At 2^-11 and
# 2^-12 LiteRT has another implementation, which is off by 12 units in the last place.
INT16 = Precision(
    bits=16,
    gate=TensorKind("int16", 2.0**-15),
    sigmoid_argument=TensorKind("int16", _above(1 / 3072)),
    tanh_argument=TensorKind("int16", _above(1 / 6144)),
    gate_range=16.0,
    candidate_range=12.0,
    output_range=16.0,
    most_widening=16,
    headroom=2.0,
    output_headroom=4.0,
    bias_dtype="int64",
    accumulator_limit=2.0**47,
)
# From the finest to that with most room: one bit of range is one of precision.
INT16_BY_ROOM = tuple(
    replace(INT16, gate_range=room * INT16.gate_range, candidate_range=room * INT16.candidate_range)
    for room in (0.5, 1.0, 2.0)
)
# Of 8 bits there are none to spare: the ranges are as narrow as random models of trained magnitude bear.
INT8 = Precision(
    bits=8,
    gate=TensorKind("int8", 2.0**-8, -(2**7)),
    sigmoid_argument=TensorKind("int8", 6.0 / 127),
    tanh_argument=TensorKind("int8", 3.0 / 127),
    gate_range=6.0,
    candidate_range=6.0,
    output_range=6.0,
    most_widening=4,
    headroom=1.0,
    output_headroom=1.0,
    bias_dtype="int32",
    accumulator_limit=2.0**31,
)


@dataclass(frozen=True)
class Quantity:
    """The value of a node: a tensor (1, 1, 1, size), and what one unit of each number is worth.

    The unit is the tensor's own scale where it is one for all numbers; where not, that scale is only what TFLite
    computes with. ``reach``: the largest magnitude to expect of each number, in units.
    """

    tensor: Value
    unit: Floats  # (size,)
    reach: Floats  # (size,)


@dataclass(frozen=True)
class Rows:
    """Some rows of a product ``weight · scale · stored + bias``: scale and bias in real units."""

    weight: NDArray[np.int8]  # (rows, …, columns)
    scale: Floats  # (rows,): what one unit of an accumulator is worth
    bias: Floats  # (rows,)

    def __getitem__(self, rows: slice) -> Rows:
        return Rows(self.weight[rows], self.scale[rows], self.bias[rows])

    def largest(self, reach: Floats) -> Floats:
        """What no row exceeds while no stored number exceeds its ``reach``."""
        weights = np.abs(self.weight.astype(np.float64)).reshape(len(self.weight), -1)
        columns = np.tile(reach, weights.shape[1] // len(reach))
        return np.asarray(weights @ columns * self.scale + np.abs(self.bias))

    def often(self, reach: Floats) -> Floats:
        """What rows often reach, where numbers are independent of each other."""
        weights = self.weight.astype(np.float64).reshape(len(self.weight), -1)
        columns = weights * np.tile(reach, weights.shape[1] // len(reach))
        return np.asarray(np.sqrt(np.sum(columns**2, axis=1)) * self.scale / 2 + np.abs(self.bias))

    def over(self, unit: Floats) -> Rows:
        """The rows in a unit of their own each."""
        return replace(self, scale=self.scale / unit, bias=self.bias / unit)
