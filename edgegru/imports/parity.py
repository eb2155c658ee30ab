"""Whether an imported model computes what its source computes, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.imports.source import Source
from edgegru_export.stimulus import gaussian_input
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import EngineError, ImportModelError
from edgegru_runtime.reference import Reference

TOLERANCE = 1e-5  # over max(1, max|h|, max|y|)
OWN_FACTOR = 2.0  # or this many times the error that the source's own float32 makes, where that is more
LENGTHS = (1, 2, 7, 500)  # of the sequences compared
SEQUENCES = 4  # where the source takes one length only

Array = NDArray[Any]


@dataclass(frozen=True)
class Parity:
    """The comparison: with what, over how many steps in all, the largest error and the bound it stays in."""

    against: str
    steps: int
    largest_error: float
    allowed_error: float


def check_parity(artifact: Artifact, source: Source) -> Parity:
    """Compare all outputs, from the first step on. Raises ImportModelError where they differ by more than allowed."""
    lengths = LENGTHS if source.steps is None else (source.steps,) * SEQUENCES
    inputs = gaussian_input(artifact, sum(lengths))
    worst = Parity(source.name, sum(lengths), 0.0, TOLERANCE)
    for xs in np.split(inputs, np.cumsum(lengths)[:-1]):
        error, allowed, where = _compare(artifact, source, xs)
        if not error <= allowed:
            found = f"{where} differs from {source.name} by {error:.3g} within {len(xs)} steps"
            raise ImportModelError(f"{found}, expected at most {allowed:.3g}")
        if error / allowed >= worst.largest_error / worst.allowed_error:
            worst = Parity(source.name, sum(lengths), error, allowed)
    return worst


def _compare(artifact: Artifact, source: Source, xs: Array) -> tuple[float, float, str]:
    """The largest error over all outputs of one sequence, its bound, and in which output it is."""
    ours, magnitude = _ours(artifact, xs)
    theirs = [np.asarray(output) for output in source.run(xs)]
    if len(ours) != len(theirs):
        raise ImportModelError(f"{source.name} gives {len(theirs)} outputs, the imported model {len(ours)}")
    errors, own = [], 0.0
    for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if not np.isfinite(other).all():
            raise ImportModelError(f"output {index}: {source.name} gives numbers that are not finite")
        errors.append(float(np.abs(_as_given(mine, other, index) - other).max()))
    if source.precise:
        exact = source.run(xs.astype(np.float64))
        own = max(float(np.abs(a - b).max()) for a, b in zip(theirs, exact, strict=True))
    place = int(np.argmax(errors))
    return errors[place], max(TOLERANCE * magnitude, OWN_FACTOR * own), f"output {place}"


def _as_given(mine: Array, other: Array, index: int) -> Array:
    """Our steps (T, size) as the source gives them: all, or the last alone."""
    found = mine if other.ndim == 2 else mine[-1]
    if found.shape != other.shape:
        raise ImportModelError(f"output {index} has shape {found.shape}, the source's has {other.shape}")
    return found


def _ours(artifact: Artifact, xs: Array) -> tuple[list[Array], float]:
    """Every output (T, size), and max(1, max|h|, max|y|)."""
    engine = Reference(artifact)
    state, steps, magnitude = engine.new_state(), [], 1.0
    try:
        for x in xs:
            steps.append(engine.step(state, x))
            magnitude = max(magnitude, *(float(np.abs(h).max()) for h in state))
    except EngineError as error:
        raise ImportModelError(f"step {len(steps)} of the imported model: {error}") from None
    outputs = [np.array(column, np.float64) for column in zip(*steps, strict=True)]
    return outputs, max(magnitude, *(float(np.abs(output).max()) for output in outputs))
