"""How values lie in the ranges of their integers: histograms of operands and of weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegru.equalization import as_standardised_in
from edgegru.signal_to_noise import first_steps, trace
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.operands import has_full_scale, operand_limit, operand_scales

BINS = 85  # 255 integers of a weight in threes; odd, so that zero has a bin of its own
STEPS = 4_000  # of the recordings, at most
WIDEST = 2.0  # × the range: values farther out count in the outermost bins


@dataclass(frozen=True)
class Histogram:
    """``counts`` (BINS,) of values in equal bins over −``reach`` … ``reach``; integers stand for ±``range``."""

    counts: NDArray[np.int64]
    reach: float
    range: float


@dataclass(frozen=True)
class OperandValues:
    """The values of one operand in the float model.

    ``relative``: each number has a range of its own and is counted by its share of it, so that ``histogram.range`` is
    1. ``ranges``: the narrowest and the widest range. ``saturated``: the share of the integer model's values that lay
    beyond.
    """

    name: str
    histogram: Histogram
    relative: bool
    ranges: tuple[float, float]
    saturated: float


def operand_values(
    before: Artifact,
    after: Artifact,
    names: Sequence[str],
    recordings: Iterable[NDArray[np.float32]],
    steps: int = STEPS,
) -> tuple[OperandValues, ...]:
    """The operands ``names`` of a static artifact over the first ``steps`` steps of recordings (T, input_size).

    ``before``: the float32 artifact that ``after`` was made of. What reads the input is the same in both, and r ⊙ h
    never leaves the integer engine: for these the values beyond are those of the float model.
    """
    chosen = first_steps(recordings, steps)
    real, found = trace(as_standardised_in(before, after), chosen), trace(after, chosen)
    first = before.config.entry.name
    result = []
    for name in names:
        relative = has_full_scale(after.config, after.config.node(name.removesuffix(".rh")))
        scale, limit = np.array(operand_scales(after, name)), operand_limit(after.config, name)
        integers = real[name] if name == first or name not in found else found[name]
        ranges = scale * limit
        result.append(
            OperandValues(
                name=name,
                histogram=_histogram(real[name] / (ranges if relative else 1.0), 1.0 if relative else float(ranges[0])),
                relative=relative,
                ranges=(float(np.min(ranges)), float(np.max(ranges))),
                saturated=float(np.mean(np.abs(integers) >= scale * (limit + 0.5))),
            )
        )
    return tuple(result)


def weight_histograms(after: Artifact) -> dict[str, Histogram]:
    """The int8 values of every matrix, by tensor name: a row's own scale makes its largest weight ±127."""
    names = [name for name, tensor in after.tensors.items() if tensor.dtype == "int8"]
    return {name: _histogram(after.array(name).astype(np.float64), 127.0, reach=127.5) for name in names}


def _histogram(values: NDArray[np.float64], range: float, reach: float | None = None) -> Histogram:
    if reach is None:
        reach = min(max(1.1 * range, float(np.max(np.abs(values)))), WIDEST * range)
    places = np.floor((values + reach) * (BINS / (2 * reach))).astype(np.int64)
    counts = np.bincount(np.clip(places, 0, BINS - 1).reshape(-1), minlength=BINS)
    return Histogram(counts, reach, range)
