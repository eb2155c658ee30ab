"""What the engines around foreign runtimes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.errors import EngineError


def check_finite(states: Sequence[NDArray[Any]]) -> None:
    """Raise EngineError unless all values are finite: |h| ≤ 1, so that a sum of squares is small, or NaN."""
    for index, h in enumerate(states):
        flat = h.reshape(-1)
        if flat.dtype == np.float32 and not np.isfinite(flat.dot(flat)):
            raise EngineError(f"the next state of GRU {index} is not finite; the step was not taken")


def first_line(error: Exception) -> str:
    """What a foreign runtime said, short enough for our sentence."""
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
