"""What the engines around foreign runtimes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from edgegru_runtime.errors import EngineError


def check_finite(states: Sequence[Any]) -> None:
    """Raise EngineError unless the next h of every GRU, a NumPy array (1, H) each, is finite.

    |h| ≤ 1, so its sum of squares is small, or NaN.
    """
    for index, h in enumerate(states):
        flat = h.reshape(-1)
        if flat.dtype.kind == "f" and not isfinite(flat.dot(flat)):
            raise EngineError(f"the next state of GRU {index} is not finite; the step was not taken")


def first_line(error: Exception) -> str:
    """What a foreign runtime said, short enough for our sentence."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
