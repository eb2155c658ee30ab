"""The windowed Gaussian detector of the Numenta Anomaly Benchmark, with its published settings: what there is to beat.

A row's score is one minus the tail probability of its value under a normal distribution with the mean and standard
deviation of the 6400 rows before it; of fewer in the beginning, and from then on renewed every 100 rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WINDOW = 6400
STEP = 100
SMALLEST_SPREAD = 1e-6  # instead of 0


def windowed_gaussian(values: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    """The scores of a file's values, (rows,), 0 for the first row."""
    values = np.asarray(values, np.float64)
    scores = np.zeros(len(values))
    start = end = 0  # of the window whose mean and spread are known
    mean, spread = 0.0, 1.0
    for row, value in enumerate(values):
        if row >= end + (1 if end < WINDOW else STEP):
            start, end = max(0, row - WINDOW), row
            mean, spread = float(np.mean(values[start:end])), float(np.std(values[start:end])) or SMALLEST_SPREAD
        if end:
            scores[row] = 1.0 - 0.5 * math.erfc(abs(value - mean) / spread / math.sqrt(2.0))
    return scores
