"""Choosing of tokens in Python: what the kernel must equal, and what runs where there is none (docs/choosing.md).

The functions have the kernel's names and give None where a number is not finite nor −infinity, or all are −infinity.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import frexp, inf

from edgegru_runtime.fixed_point import EXP2_C0, EXP2_C1, EXP2_C2, LOG2_BITS, LOG2_E, LOG2_E_SHIFT, POWER_BITS

FARTHEST = 2**32  # a logarithm in units of 2^-16 that is farther from 0 counts as this


def octaves(log_probability: float) -> int:
    """A natural logarithm, of float32, as one to the base 2 with 16 fractional bits: to nearest, halves away from 0."""
    fraction, exponent = frexp(abs(log_probability))
    shift = 24 + LOG2_E_SHIFT - LOG2_BITS - exponent
    if shift > 63:
        return 0
    found = FARTHEST if shift < 21 else (int(fraction * 2**24) * LOG2_E + (1 << shift - 1)) >> shift
    found = min(found, FARTHEST)
    return -found if log_probability < 0 else found


def top_k(numbers: array[float], k: int) -> list[int] | None:
    """The places of the largest."""
    if not _are_good(numbers):
        return None
    return sorted(range(len(numbers)), key=numbers.__getitem__, reverse=True)[:k]  # which leaves equal ones in order


def sample(
    numbers: array[float], k: int, temperature: int, places: bytearray, random: int
) -> tuple[int, int] | None:
    """The token drawn, and where the generator is then. ``temperature``: in units of 2^-16; ``places``: unused here."""
    if not _are_good(numbers) or max(numbers) == -inf:
        return None
    best = numbers.index(max(numbers))
    if temperature == 0:
        return best, random
    tokens = sorted(top_k(numbers, k) or ()) if k else range(len(numbers))
    tokens = [token for token in tokens if numbers[token] > -inf]
    distances = (octaves(numbers[best]) - octaves(numbers[token]) for token in tokens)
    weights = [_power((distance * 2**16 + temperature // 2) // temperature) for distance in distances]
    total = sum(weights)
    while True:
        random, drawn = _next_random(random)
        if drawn >= 2**64 % total:  # else what 2^64 has too much for all to be equally likely
            break
    drawn %= total
    for token, weight in zip(tokens, weights, strict=True):
        if drawn < weight:
            return token, random
        drawn -= weight
    raise AssertionError("what is drawn is below the sum")


def beam(scores: array[int], rows: array[float], k: int) -> list[tuple[int, int, int]] | None:
    """The best continuations: parent, token, score."""
    if not _are_good(rows) or max(rows) == -inf:
        return None
    found, size = [], len(rows) // len(scores)
    for place, number in enumerate(rows):
        if number > -inf:
            parent, token = divmod(place, size)
            found.append((-scores[parent] - octaves(number), parent, token))
    return [(parent, token, -cost) for cost, parent, token in sorted(found)[:k]]


def _next_random(random: int) -> tuple[int, int]:
    """State and number of SplitMix64: G. Steele, D. Lea, C. Flood 2014, "Fast splittable pseudorandom number
    generators", figure 17.
    """
    random = z = (random + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return random, z ^ z >> 31


def _power(distance: int) -> int:
    """2^-distance with 30 fractional bits, as softmax has it (docs/quantization.md)."""
    segment, position = distance >> 12 & 15, (distance & 4095) << 3
    slope = EXP2_C1[segment] + (position * EXP2_C2[segment] + 2**14 >> 15)
    return EXP2_C0[segment] + (position * slope + 2**14 >> 15) << POWER_BITS - 14 >> min(distance >> 16, 62)


def _are_good(numbers: Sequence[float]) -> bool:
    return all(-inf <= number < inf for number in numbers)
