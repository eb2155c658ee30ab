"""Make the integer tables of ``edgegru_runtime.fixed_point``: run it and paste what it prints.

Each segment's three coefficients are fitted by least squares, rounded, then improved by a search over
neighbours so that the largest error over every argument of the segment, in exact integers, is as small as it gets.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

LARGEST = 32767  # every coefficient fits int16


def _integer_values(c0: int, c1: int, c2: int, position: np.ndarray) -> np.ndarray:
    inner = c1 + ((position * c2 + 2**14) >> 15)
    return c0 + ((position * inner + 2**14) >> 15)


def fit_segment(
    function: Callable[[float], float], arguments: list[float], position: np.ndarray
) -> tuple[int, int, int]:
    """Best (c0, c1, c2) for ``c0 + p (c1 + p c2)`` with p = position / 2^15, against ``function`` in units of 2^-15.

    c0 is the function's own value at the segment's start, so that f(0) is exact; of equal fits the flattest is taken.
    """
    wanted = np.minimum(np.array([function(argument) for argument in arguments]) * 2**15, LARGEST)
    p = position / 2**15
    c0 = round(float(wanted[0]))
    slope, curvature = np.linalg.lstsq(np.stack([p, p * p], axis=1), wanted - c0, rcond=None)[0]
    best, best_cost = (c0, 0, 0), (math.inf, math.inf)
    for d0, d1, d2 in itertools.product((0,) if c0 == 0 else (0, -1, 1), range(-4, 5), range(-4, 5)):
        candidate = (c0 + d0, round(slope) + d1, round(curvature) + d2)
        if abs(candidate[0]) > LARGEST:
            continue
        error = float(np.max(np.abs(_integer_values(*candidate, position) - wanted)))
        cost = (round(error, 6), float(abs(candidate[1]) + abs(candidate[2])))
        if cost < best_cost:
            best, best_cost = candidate, cost
    return best


def tanh_table() -> list[tuple[int, int, int]]:
    """64 segments of width 1/8 over [0, 8); arguments in units of 2^-12."""
    table = []
    for segment in range(64):
        offsets = np.arange(512)
        arguments = [(segment * 512 + int(o)) / 2**12 for o in offsets]
        table.append(fit_segment(math.tanh, arguments, offsets << 6))
    return table


def exp2_table() -> list[tuple[int, int, int]]:
    """16 segments of width 1/16 over [0, 1) of 2^-f / 2; arguments in units of 2^-16."""
    table = []
    for segment in range(16):
        offsets = np.arange(4096)
        arguments = [(segment * 4096 + int(o)) / 2**16 for o in offsets]
        table.append(fit_segment(lambda f: 2.0**-f / 2, arguments, offsets << 3))
    return table


def log2_polynomial(degree: int = 6) -> tuple[int, ...]:
    """c1, c2, … of log2(1 + f) ≈ f (c1 + f (c2 + …)) over [0, 1), in units of 2^-30: exact at both ends, its largest
    error as small as Lawson's weights make it (C. L. Lawson 1961, Contributions to the theory of linear least maximum
    approximation).
    """
    f = (1 - np.cos(np.pi * np.arange(1, 4000) / 4000)) / 2
    ends = f * (1 - f)  # the polynomial is f + f (1 - f) q(f)
    wanted, powers = (np.log2(1 + f) - f) / ends, np.vander(f, degree - 1, increasing=True)
    weight = np.full(len(f), 1 / len(f))
    for _ in range(3000):
        root = np.sqrt(weight) * ends
        q = np.linalg.lstsq(powers * root[:, None], wanted * root, rcond=None)[0]
        weight *= np.abs(ends * (powers @ q - wanted)) + 1e-18
        weight /= weight.sum()
    coefficients = np.zeros(degree)
    coefficients[0] = 1
    coefficients[: degree - 1] += q
    coefficients[1:] -= q
    return tuple(round(float(c) * 2**30) for c in coefficients)


def main() -> None:
    for name, table in (("TANH", tanh_table()), ("EXP2", exp2_table())):
        for index in range(3):
            print(f"{name}_C{index} = {tuple(row[index] for row in table)}")
    print(f"LOG2_C = {log2_polynomial()}")


if __name__ == "__main__":
    main()
