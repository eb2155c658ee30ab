"""Observers: from the values seen in calibration to the magnitude that an operand's range must reach.

All see magnitudes only, because operands are symmetric. ``minmax`` keeps every value seen inside the range;
``percentile`` and ``mse`` give rare large values up for smaller steps (both compared with others by Wu et al. 2020,
arXiv:2004.09602, section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

OBSERVERS = ("minmax", "percentile", "mse")
PERCENTILE = 99.99  # of all magnitudes but zeros, pooled over units and steps
BINS = 2048
CANDIDATES = 128  # ranges that ``mse`` tries, evenly spaced up to the largest magnitude


class Observer(Protocol):
    """Sees the values that share a range."""

    def observe(self, magnitudes: NDArray[np.float64]) -> None:
        """Take in magnitudes (N,), finite float32 numbers, at least one."""

    def reach(self, limit: int) -> float:
        """The magnitude that the integer ``limit`` is to stand for; 0 where every value was 0."""

    def beyond(self, reach: float) -> float:
        """The share of all magnitudes seen that exceed ``reach``, to the width of a bin."""


class MinMaxObserver:
    """The largest magnitude."""

    def __init__(self) -> None:
        self._largest = 0.0

    def observe(self, magnitudes: NDArray[np.float64]) -> None:
        self._largest = max(self._largest, float(np.max(magnitudes)))

    def reach(self, limit: int) -> float:
        return self._largest

    def beyond(self, reach: float) -> float:
        assert reach >= self._largest, "a range is never narrower than what this observer found"
        return 0.0


class _HistogramObserver:
    """Counts magnitudes in bins of equal width, which doubles whenever a value falls beyond the last bin.

    Zeros are not counted: they are exact in every range.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.width = 0.0  # of one bin; 0 until a value is not 0
        self.seen = 0  # zeros too

    def observe(self, magnitudes: NDArray[np.float64]) -> None:
        self.seen += len(magnitudes)
        counted = magnitudes[magnitudes > 0]
        if not len(counted):
            return
        largest = float(np.max(counted))
        if self.width == 0:
            self.width = largest / (BINS // 2)
        while largest >= BINS * self.width:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros_like(merged)])
            self.width *= 2
        self.counts += np.bincount((counted / self.width).astype(np.int64), minlength=BINS)

    def beyond(self, reach: float) -> float:
        if self.width == 0:
            return 0.0
        return float(self.counts[int(np.ceil(min(reach / self.width, BINS))) :].sum() / self.seen)

    @property
    def largest(self) -> float:
        """Upper edge of the last bin with a value in it."""
        occupied = np.flatnonzero(self.counts)
        return float((occupied[-1] + 1) * self.width) if len(occupied) else 0.0


class PercentileObserver(_HistogramObserver):
    """The magnitude that ``PERCENTILE`` % of the values do not exceed, to the width of a bin."""

    def reach(self, limit: int) -> float:
        total = int(self.counts.sum())
        if total == 0:
            return 0.0
        index = int(np.searchsorted(np.cumsum(self.counts), total * PERCENTILE / 100))
        return float((index + 1) * self.width)


class MseObserver(_HistogramObserver):
    """The range with the smallest mean squared error: rounding, step² / 12 inside it, and saturation outside."""

    def reach(self, limit: int) -> float:
        largest = self.largest
        if largest == 0:
            return 0.0
        centres = (np.arange(BINS) + 0.5) * self.width
        candidates = largest * np.arange(1, CANDIDATES + 1) / CANDIDATES
        rounding = (candidates / limit) ** 2 / 12
        errors = np.empty(CANDIDATES)
        for index, reach in enumerate(candidates):
            beyond = np.maximum(centres - reach, 0.0)
            errors[index] = np.sum(self.counts * np.where(beyond > 0, beyond**2, rounding[index]))
        return float(candidates[np.argmin(errors)])


class EvenedObserver:
    """Several observers whose values are each divided by a range of their own, and then share one."""

    def __init__(self, observers: Sequence[Observer], divisors: NDArray[np.float64]) -> None:
        self._pairs = list(zip(observers, divisors.tolist(), strict=True))

    def observe(self, magnitudes: NDArray[np.float64]) -> None:
        raise AssertionError("its observers have seen everything already")

    def reach(self, limit: int) -> float:
        return max(observer.reach(limit) / divisor for observer, divisor in self._pairs)

    def beyond(self, reach: float) -> float:
        return float(np.mean([observer.beyond(reach * divisor) for observer, divisor in self._pairs]))


def new_observer(name: str) -> Observer:
    """The observer of that name, one of ``OBSERVERS`` (KeyError for any other)."""
    kinds: dict[str, type[Observer]] = {
        "minmax": MinMaxObserver,
        "percentile": PercentileObserver,
        "mse": MseObserver,
    }
    return kinds[name]()
