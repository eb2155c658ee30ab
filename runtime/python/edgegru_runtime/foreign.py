"""What the engines around foreign runtimes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from edgegru_runtime.errors import EngineError


def check_finite(values: Sequence[Any]) -> None:
    """Raise EngineError unless all numbers of a step's outputs and next states, NumPy arrays, are finite."""
    if not all(abs(value).max() < inf for value in values):  # nor is NaN below it
        raise EngineError("a value left the range of float32; the step was not taken")


def first_line(error: Exception) -> str:
    """What a foreign runtime said, short enough for our sentence."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
