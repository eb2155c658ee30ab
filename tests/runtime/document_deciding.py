"""docs/deciding.md written a second time, from its equations alone: plain loops over whole histories."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor, isfinite, sqrt

import numpy as np

from edgegru_runtime.model_config import DecisionConfig

Switch = tuple[int, bool, int, float]  # step, on, label, p


def integer(p: float) -> int:
    return min(floor(p * 2.0**15 + 0.5), 2**31 - 1) if isfinite(p) and p > 0 else 0


def exponential(share: str, history: Sequence[int]) -> int:
    """s of an exponential mean."""
    a = max(integer(float(share)), 1)
    s = history[0] * 2**16
    for q in history[1:]:
        s = s + floor(Fraction(a * (q * 2**16 - s) + 2**14, 2**15))
    return s


def smoothed(how: str, history: Sequence[int]) -> int:
    """What the last of the integers of one label becomes."""
    kind, _, number = how.partition(":")
    if kind == "ema":
        return floor(Fraction(exponential(number, history) + 2**15, 2**16))
    window = history if kind == "none" else history[-int(number) :]
    if kind == "mean":
        return floor(Fraction(sum(window), len(window)) + Fraction(1, 2))
    if kind == "median":
        ordered, n = sorted(window), len(window)
        return floor((Fraction(ordered[(n - 1) // 2]) + ordered[n // 2]) / 2 + Fraction(1, 2))
    return history[-1]


def steps(time: float, rate: float | None) -> int:
    return min(max(ceil(time * (rate or 1.0) - 1e-6), 0), 2**31 - 1)


def switches(
    decision: DecisionConfig, rate: float | None, classes: bool, values: Sequence[Sequence[float]]
) -> list[Switch]:
    """What is switched by the probabilities ``values`` (steps, labels)."""
    threshold, threshold_off = integer(decision.threshold), integer(decision.threshold_off)
    minimum_on, minimum_off = steps(decision.minimum_on, rate), steps(decision.minimum_off, rate)
    refractory = steps(decision.refractory, rate)
    labels = range(len(values[0]))
    on, row, may_on, may_off = ([0 for _ in labels] for _ in range(4))
    history: list[list[int]] = [[] for _ in labels]
    found: list[Switch] = []

    def switch(turned: int, k: int) -> None:
        on[k] = turned
        if turned:
            row[k], may_off[k], may_on[k] = 0, i + minimum_on, i + refractory
        else:
            may_on[k] = max(may_on[k], i + minimum_off)
        found.append((i, bool(turned), k, v[k] / 2**15))

    for i, step in enumerate(values):
        if i < decision.warm_up:
            continue
        for k in labels:
            history[k].append(integer(step[k]))
        v = [smoothed(decision.smoothing, history[k]) for k in labels]
        if not classes:
            for k in labels:
                if on[k]:
                    if v[k] < threshold_off and i >= may_off[k]:
                        switch(0, k)
                else:
                    row[k] = row[k] + 1 if v[k] >= threshold else 0
                    if row[k] >= decision.trigger_level and i >= may_on[k]:
                        switch(1, k)
            continue
        o = next((k for k in labels if on[k]), None)
        c = next(k for k in labels if v[k] == max(v)) if o is None or v[o] != max(v) else o
        row = [row[k] + 1 if k == c and c != o and v[c] >= threshold else 0 for k in labels]
        may = c != o and row[c] >= decision.trigger_level and i >= may_on[c]
        if may and (o is None or i >= may_off[o]):
            if o is not None:
                switch(0, o)
            switch(1, c)
        elif o is not None and v[o] < threshold_off and i >= may_off[o]:
            switch(0, o)
    return found


def relative(memory: int, values: Sequence[int]) -> list[int]:
    """Smoothed scores in units of the peak before each of them."""
    peak, found = 2**31, []
    for v in values:
        found.append(floor(Fraction(v * 2**31 + floor(Fraction(peak, 2)), peak)))
        peak = max(v * 2**16, peak - floor(Fraction(peak, memory)), 2**31)
    return found


def score(measured: Sequence[float], predicted: Sequence[float], scale: Sequence[float]) -> float | None:
    total: float | None = None
    for m, p, s in zip(measured, predicted, scale, strict=True):
        share = (float(np.float32(np.clip(m, -(2.0**60), 2.0**60))) - p) / s
        if not isfinite(share):
            return None
        total = share * share if total is None else total + share * share
    assert total is not None
    return sqrt(total / len(scale))
