"""The operations of docs/quantization.md in NumPy. All values are int64 arrays; the document's bounds say which of them
fit 32 or 16 bits elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime import fixed_point as fx

if TYPE_CHECKING:
    from edgegru_runtime.derivation import Multipliers, PairMultipliers

Integers = NDArray[np.int64]

_TANH = tuple(np.array(c, np.int64) for c in (fx.TANH_C0, fx.TANH_C1, fx.TANH_C2))
_EXP2 = tuple(np.array(c, np.int64) for c in (fx.EXP2_C0, fx.EXP2_C1, fx.EXP2_C2))


def rounding_shift(value: Integers, shift: int) -> Integers:
    """``(value + 2^(shift-1)) >> shift``: divide by 2^shift, round half up; the one rounding rule."""
    shifted: Integers = (value + (1 << (shift - 1))) >> shift
    return shifted


def clamp(value: Integers, limit: int) -> Integers:
    """Saturate to -limit … limit."""
    clamped: Integers = np.minimum(np.maximum(value, -limit), limit)
    return clamped


def coarser(numbers: NDArray[Any], shift: int, dtype: np.dtype[Any]) -> NDArray[np.integer[Any]]:
    """Numbers of ``shift`` fractional bits less, to nearest, as a narrower ``dtype`` holds them."""
    rounded = (numbers.astype(np.int64) + ((1 << shift) >> 1)) >> shift
    return np.clip(rounded, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)


def _interpolate(table: tuple[Integers, ...], segment: Integers, position: Integers) -> Integers:
    """c0 + p (c1 + p c2), p = position / 2^15 in the segment."""
    c0, c1, c2 = (c[segment] for c in table)
    return c0 + rounding_shift(position * (c1 + rounding_shift(position * c2, 15)), 15)


def tanh_q15(argument: Integers) -> Integers:
    """tanh of an argument with 12 fractional bits (saturated to ±8), with 15 fractional bits; odd."""
    saturated = clamp(argument, fx.ARGUMENT_LIMIT)
    magnitude = np.abs(saturated)
    return np.sign(saturated) * _interpolate(_TANH, magnitude >> 9, (magnitude & 511) << 6)


def sigmoid_q16(argument: Integers) -> Integers:
    """sigmoid of an argument with 11 fractional bits, with 16: σ(x) = (1 + tanh(x/2)) / 2, exact after the table."""
    return 2**15 + tanh_q15(argument)


def hard_sigmoid_q16(argument: Integers) -> Integers:
    """A hard sigmoid of an argument over its divisor with 16 fractional bits (saturated to ±1/2), with 16."""
    return 2**15 + clamp(argument, fx.ARGUMENT_LIMIT)


def softmax_q15(argument: Integers) -> Integers:
    """softmax over an argument (n,) with 16 fractional bits, with 15: 2^(-d·log2 e), d from the largest."""
    power = _power(_octaves(argument))
    total = int(np.sum(power))
    probabilities: Integers = (power * 2**fx.PROBABILITY_BITS + (total >> 1)) // total
    return probabilities


def log_softmax_q16(argument: Integers) -> Integers:
    """log2 of the softmax over an argument (n,), both with 16 fractional bits; never above 0."""
    octaves = _octaves(argument)
    total = np.full(1, np.sum(_power(octaves)), np.int64)
    return -(octaves + log2_q16(total) - (fx.POWER_BITS << fx.LOG2_BITS))


def _octaves(argument: Integers) -> Integers:
    """How far numbers are below the largest, in powers of two with 16 fractional bits."""
    return rounding_shift((np.max(argument) - argument) * fx.LOG2_E, fx.LOG2_E_SHIFT)


def _power(octaves: Integers) -> Integers:
    """2^-octaves with 30 fractional bits."""
    fraction = octaves & 0xFFFF
    mantissa = _interpolate(_EXP2, fraction >> 12, (fraction & 4095) << 3)  # in Q14
    power: Integers = (mantissa << (fx.POWER_BITS - 14)) >> np.minimum(octaves >> 16, 62)
    return power


def log2_q16(value: Integers) -> Integers:
    """log2 of integers from 1 on, in units of 2^-16: the highest bit, and a polynomial for what is behind it."""
    highest = np.zeros_like(value)
    rest = value.copy()
    for shift in (32, 16, 8, 4, 2, 1):
        more = (rest >> shift) > 0
        highest += more * shift
        rest = np.where(more, rest >> shift, rest)
    mantissa = (value << (62 - highest)) >> 32  # 30 fractional bits, the rest cut off
    fraction = mantissa - (1 << 30)
    result = np.full_like(value, fx.LOG2_C[-1])
    for coefficient in fx.LOG2_C[-2::-1]:
        result = coefficient + rounding_shift(result * fraction, 30)
    return (highest << fx.LOG2_BITS) + rounding_shift(result * fraction, 60 - fx.LOG2_BITS)


@dataclass(frozen=True)
class Rescaling:
    """``R(value; M, t)`` = ``(value · M + 2^(t-1)) >> t``, a multiplier for each number or one for all."""

    multiplier: Integers
    shift: int

    @classmethod
    def of(cls, derived: Multipliers) -> Rescaling:
        """By derived integers."""
        return cls(np.array(derived.integers, np.int64), derived.shift)

    def __call__(self, value: Integers) -> Integers:
        return rounding_shift(value * self.multiplier, self.shift)


@dataclass(frozen=True)
class PairRescaling:
    """``R'(a · M_a + b · M_b; t)``: two products added first, rounded once."""

    a: Integers
    b: Integers
    shift: int

    @classmethod
    def of(cls, derived: PairMultipliers) -> PairRescaling:
        """By derived integers."""
        return cls(np.array(derived.a, np.int64), np.array(derived.b, np.int64), derived.shift)

    def __call__(self, a: Integers, b: Integers) -> Integers:
        return rounding_shift(a * self.a + b * self.b, self.shift)

    @property
    def of_a(self) -> Rescaling:
        """``R(a; M_a, t)`` alone."""
        return Rescaling(self.a, self.shift)

    @property
    def of_b(self) -> Rescaling:
        """``R(b; M_b, t)`` alone."""
        return Rescaling(self.b, self.shift)
