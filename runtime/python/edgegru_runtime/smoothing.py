"""Smoothing over steps, in integers: ``none``, ``mean:N``, ``median:N`` or ``ema:A`` (docs/deciding.md).

``add`` takes what a step gave, one integer of 15 fractional bits a label, and returns the smoothed ones. ``saved`` is
what a smoothing remembers, as a flat list of integers that ``restore`` takes back; ``reset`` forgets it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

from edgegru_runtime.errors import StateError

UNIT = 2**15  # what 1 is
LARGEST = 2**31 - 1  # of a probability or score as an integer; scores may exceed 1
_EXTRA_BITS = 16  # of an exponential mean, so that the slowest one arrives: below half of its last bit is lost
_INF = float("inf")


def fixed(value: float) -> int:
    """``⌊value · 2^15 + 1/2⌋`` from 0 to ``LARGEST``; 0 for what is not finite."""
    return min(int(value * UNIT + 0.5), LARGEST) if 0.0 < value < _INF else 0


def fixed_values(values: Sequence[float]) -> list[int]:
    """``fixed`` of each."""
    if min(values) >= 0.0 and sum(values) < LARGEST / UNIT - 1:  # also false where one is no number
        return [int(value * 32768.0 + 0.5) for value in values]
    return [fixed(value) for value in values]


class _Window(ABC):
    """The last ``length`` steps of ``size`` labels, or those there are."""

    def __init__(self, length: int, size: int) -> None:
        self._length, self._size = length, size
        self.reset()

    @abstractmethod
    def add(self, values: Sequence[int]) -> list[int]:
        """Take in a step, and return the smoothed one."""

    def reset(self) -> None:
        self._window: deque[Sequence[int]] = deque()

    def saved(self) -> list[int]:
        return [number for values in self._window for number in values]

    def restore(self, numbers: Sequence[int]) -> None:
        size = self._size
        if len(numbers) % size or len(numbers) > self._length * size or max(numbers, default=0) > LARGEST:
            expected = f"expected up to {self._length} steps of {size} in range"
            raise StateError(f"the saved window has {len(numbers)} numbers, {expected}")
        self.reset()
        for start in range(0, len(numbers), size):
            self.add(numbers[start : start + size])


class MeanSmoothing(_Window):
    """The mean of the window, rounded to nearest, a half up."""

    _sums: list[int]

    def add(self, values: Sequence[int]) -> list[int]:
        self._window.append(values)
        if len(self._window) > self._length:
            oldest = self._window.popleft()
            self._sums = [total + new - old for total, new, old in zip(self._sums, values, oldest, strict=True)]
        else:
            self._sums = [total + new for total, new in zip(self._sums, values, strict=True)]
        count = len(self._window)
        return [(2 * total + count) // (2 * count) for total in self._sums]

    def reset(self) -> None:
        super().reset()
        self._sums = [0] * self._size


class MedianSmoothing(_Window):
    """The median of the window; of an even number the mean of the middle two, a half up."""

    def add(self, values: Sequence[int]) -> list[int]:
        self._window.append(values)
        oldest = self._window.popleft() if len(self._window) > self._length else None
        middle, odd = divmod(len(self._window), 2)
        medians = []
        for label, ordered in enumerate(self._ordered):
            if oldest is not None:
                del ordered[bisect_left(ordered, oldest[label])]
            insort(ordered, values[label])
            medians.append(ordered[middle] if odd else (ordered[middle - 1] + ordered[middle] + 1) >> 1)
        return medians

    def reset(self) -> None:
        super().reset()
        self._ordered: list[list[int]] = [[] for _ in range(self._size)]


class ExponentialSmoothing:
    """``s + A (q − s)``, beginning with the first ``q``; ``share`` is A with 15 fractional bits, from 1 to 2^15."""

    def __init__(self, share: int, size: int) -> None:
        self._share, self._size = share, size
        self._smoothed: list[int] = []

    def add(self, values: Sequence[int]) -> list[int]:
        if self._smoothed:
            share = self._share
            self._smoothed = [
                s + ((share * ((q << _EXTRA_BITS) - s) + UNIT // 2) >> 15)
                for q, s in zip(values, self._smoothed, strict=True)
            ]
        else:
            self._smoothed = [q << _EXTRA_BITS for q in values]
        return [(s + (1 << _EXTRA_BITS - 1)) >> _EXTRA_BITS for s in self._smoothed]

    def reset(self) -> None:
        self._smoothed = []

    def saved(self) -> list[int]:
        return self._smoothed

    def restore(self, numbers: Sequence[int]) -> None:
        if len(numbers) not in (0, self._size) or max(numbers, default=0) > LARGEST << _EXTRA_BITS:
            expected = f"expected {self._size} in range"
            raise StateError(f"the saved exponential mean has {len(numbers)} numbers, {expected}")
        self._smoothed = list(numbers)


class RecentPeak:
    """What a score is in units of the peak of those before it, which is 1 at least and fades over ``memory`` steps.

    A step takes the share ``1 / memory`` from the peak: after ``memory`` steps about a third of it is left.
    """

    LEAST = UNIT << _EXTRA_BITS  # as ``peak`` has it: with 31 fractional bits

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self.peak = self.LEAST

    def add(self, value: int) -> int:
        """Take in the score of a step, and return it in units of the peak before it."""
        peak = self.peak
        self.peak = max(value << _EXTRA_BITS, peak - peak // self._memory, self.LEAST)
        return (value * self.LEAST + peak // 2) // peak

    def reset(self) -> None:
        self.peak = self.LEAST

    def restore(self, number: int) -> None:
        if not self.LEAST <= number <= LARGEST << _EXTRA_BITS:
            raise StateError(f"the saved peak of the scores is {number}, expected {self.LEAST} or more, in range")
        self.peak = number


Smoothing = MeanSmoothing | MedianSmoothing | ExponentialSmoothing


def make_smoothing(text: str, size: int) -> Smoothing | None:
    """The smoothing of ``size`` labels that ``text`` names, as in ``DecisionConfig.smoothing``; None for none."""
    kind, _, number = text.partition(":")
    if kind == "ema":
        share = max(fixed(float(number)), 1)
        return None if share == UNIT else ExponentialSmoothing(share, size)
    if kind == "none" or int(number) == 1:
        return None
    return MeanSmoothing(int(number), size) if kind == "mean" else MedianSmoothing(int(number), size)

