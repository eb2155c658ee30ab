"""Fixed-point constants and the derivation of multipliers: docs/quantization.md, in code, standard library only.

Every engine starts from the same integers that this module derives, so that they can agree in every bit.
"""

from __future__ import annotations

import math
import struct

from edgegru_runtime.errors import ArtifactError

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from collections.abc import Sequence

STATE_BITS = 24  # fractional bits of the state h, an int32
CANDIDATE_BITS = 15  # fractional bits of n and of tanh's value
GATE_BITS = 16  # fractional bits of r, z and of sigmoid's value
TANH_ARGUMENT_BITS = 12  # fractional bits of tanh's argument: ±8 in 16 bits
SIGMOID_ARGUMENT_BITS = 11  # fractional bits of sigmoid's argument: ±16 in 16 bits
HARD_SIGMOID_ARGUMENT_BITS = 16  # fractional bits of a hard sigmoid's argument over its divisor: ±1/2 in 16 bits
SOFTMAX_ARGUMENT_BITS = 16
PROBABILITY_BITS = 15  # fractional bits of a softmax output
POWER_BITS = 30  # of 2^-d, what a softmax adds up
LOG2_BITS = 16  # of a logarithm to the base 2: of an energy, of a probability
OPERAND_BITS = {"static-w8a8": 8, "static-w8a16": 16}
OPERAND_LIMIT = {8: 127, 16: 32767}  # by bits; operands are symmetric: -limit … limit
ARGUMENT_LIMIT = 2**15 - 1  # arguments of tanh and of sigmoids saturate here
CANDIDATE_ARGUMENT_LIMIT = 2**24  # W_hn h + b_hn may exceed tanh's range because r scales it down
VALUE_BITS = 24  # fractional bits of a value with a full scale: an unbounded state, a sum, a product
VALUE_LIMIT = 2**30  # it may exceed its full scale 64 times
OUTPUT_LIMIT = 2**24  # integers up to here are exact in float32
ACCUMULATOR_LIMIT = 2**31  # |Σ w q + b| stays below
MULTIPLIER_LIMIT = 2**29  # the sum of two accumulators, each times a multiplier, stays below 2^61
MAX_SHIFT = 61
SAMPLE_BITS = 15  # fractional bits of a sample of sound, an int16: 1 is full scale
TWIDDLE_BITS = 30  # of a cosine, and of the window's weights
SPECTRUM_BITS = 30  # of a number of a spectrum over its size, whose square is an energy
FILTER_BITS = 15  # of a bin's share in a band
LOG_MEL_LIMIT = 2**61  # of an energy, and of the floor that is added to it
LOG2_E = 1549082005  # round(log2(e) · 2^30)
LOG2_E_SHIFT = 30
LN_2 = 0.6931471805599453

# Second-order interpolation, made by tests/golden/make_tables.py. tanh: 64 segments over [0, 8), largest error
# 1.52 · 2^-15 over all arguments. 2^-f / 2: 16 segments over [0, 1), largest error 1.2 · 2^-15.
# fmt: off
TANH_C0 = (
    0, 4075, 8025, 11743, 15143, 18173, 20813, 23066, 24956, 26520, 27797, 28830, 29660, 30322, 30847, 31262, 31590,
    31846, 32048, 32206, 32329, 32426, 32501, 32560, 32606, 32642, 32670, 32691, 32708, 32722, 32732, 32740, 32746,
    32751, 32755, 32758, 32760, 32762, 32763, 32764, 32765, 32766, 32766, 32767, 32767, 32767, 32767, 32767, 32767,
    32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
)
TANH_C1 = (
    4105, 4041, 3859, 3573, 3223, 2837, 2438, 2061, 1716, 1407, 1143, 922, 736, 585, 464, 366, 285, 227, 176, 138,
    109, 86, 67, 51, 39, 30, 24, 21, 14, 10, 8, 6, 5, 4, 2, 2, 2, 0, 2, 2, -1, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
)
TANH_C2 = (
    -29, -90, -141, -173, -193, -198, -185, -171, -153, -131, -110, -92, -74, -60, -49, -39, -29, -25, -18, -15,
    -12, -11, -8, -5, -3, -2, -3, -4, 0, 0, 0, 0, 0, 0, 1, 0, -1, 1, -1, -1, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
)
EXP2_C0 = (
    16384, 15689, 15024, 14387, 13777, 13193, 12634, 12098, 11585, 11094, 10623, 10173, 9742, 9329, 8933, 8555,
)
EXP2_C1 = (
    -708, -677, -649, -621, -595, -572, -547, -522, -501, -480, -457, -440, -422, -402, -387, -371,
)
EXP2_C2 = (
    13, 12, 12, 11, 11, 13, 11, 9, 10, 10, 7, 9, 9, 6, 9, 8,
)
# log2(1 + f) = f (c1 + f (c2 + …)), 30 fractional bits, largest error 0.65 · 2^-16 where the result has 16 of them.
LOG2_C = (1548920839, -771102598, 491289709, -298398591, 130779510, -27747045)
LOG2_SERIES = (2.885390081777927, 0.961796693925976, 0.5770780163555854, 0.412198583111132, 0.3205988979753252)
# fmt: on


def multipliers(ratios: Sequence[float], where: str) -> tuple[list[int], int]:
    """Integers M and one shift s with ``ratio ≈ M / 2^s``, for ``(value · M + 2^(s-1)) >> s``.

    The shift is the largest with every M below 2^29, so the largest ratio keeps 29 significant bits.
    Raises ArtifactError where a ratio is not finite, negative, or too large for a shift of at least one bit.
    """
    largest = max(ratios)
    usable = all(math.isfinite(ratio) and ratio >= 0 for ratio in ratios)
    if not usable or round(2 * largest) >= MULTIPLIER_LIMIT:
        raise ArtifactError(f"{where}: the scales give a rescaling factor of {largest:g}, expected one below 2^28")
    shift = MAX_SHIFT
    if largest > 0:
        shift = min(29 - math.frexp(largest)[1], MAX_SHIFT)
        if round(math.ldexp(largest, shift)) >= MULTIPLIER_LIMIT:
            shift -= 1
    return [round(math.ldexp(ratio, shift)) for ratio in ratios], shift


def float32(value: float) -> float:
    """``value`` rounded to the nearest float32 (ties to even), returned as a float; infinite where it is too large."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def log_mel_floor(floor: float, fft_size: int) -> int:
    """The floor of an energy in its integer units: ``2^-60 fft_size²`` of full scale squared."""
    return round(math.ldexp(floor, 2 * SPECTRUM_BITS - 2 * (fft_size.bit_length() - 1)))


def input_coefficients(
    mean: Sequence[float], std: Sequence[float], scale: float, where: str
) -> tuple[list[float], list[float]]:
    """The float32 a and b of ``q = floor(a · x + b)``, which standardises, quantizes and rounds in one step.

    ``a = 1 / (std · scale)`` and ``b = 1/2 - mean / (std · scale)``, computed in float64 and rounded once.
    Raises ArtifactError where one of them does not fit float32.
    """
    a, b = [], []
    for channel, (channel_mean, channel_std) in enumerate(zip(mean, std, strict=True)):
        step = channel_std * scale  # what one unit of the operand is worth in the channel's own unit
        slope = float32(1.0 / step) if step > 0 else math.inf
        offset = float32(0.5 - channel_mean / step) if step > 0 else math.inf
        if not (0 < slope < math.inf and math.isfinite(offset)):
            raise ArtifactError(
                f"{where}: channel {channel} has mean {channel_mean:g} and std {channel_std:g}, beyond float32"
            )
        a.append(slope)
        b.append(offset)
    return a, b
