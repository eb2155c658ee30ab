"""The score of the Numenta Anomaly Benchmark (Lavin and Ahmad 2015, arXiv:1510.03336), and its search for a threshold.

A file is a series of rows with windows around its anomalies. A detector gives each row a score; the rows from a
threshold on are its detections, those of the probation aside. In a window only the first detection counts, and the more
the earlier it comes; a window without any costs, and so does each detection outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegru.data.nab import LABELS, probation_length

STEEPNESS = 5.0  # of the sigmoid over a window's length
FAR = 3.0  # lengths behind a window, from where a detection costs its full weight


@dataclass(frozen=True)
class Profile:
    """What a window found at its first row gains, and what a false detection and a missed window cost."""

    found: float
    false: float
    missed: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "reward_low_FP_rate": Profile(1.0, 0.22, 1.0),
    "reward_low_FN_rate": Profile(1.0, 0.11, 2.0),
}


@dataclass(frozen=True)
class Labels:
    """Of one file: how many rows it has, and the first and last row of each window, in order and apart."""

    length: int
    windows: tuple[tuple[int, int], ...]

    @property
    def probation(self) -> int:
        """The first rows, which are not scored."""
        return probation_length(self.length)


def windows_of(labels: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """The first and last row of every run of rows that are labelled as an anomaly."""
    inside = np.array([False, *(label == LABELS[1] for label in labels), False])
    edges = np.flatnonzero(inside[1:] != inside[:-1]).tolist()
    return tuple((first, end - 1) for first, end in zip(edges[::2], edges[1::2], strict=True))


def row_values(labels: Labels, profile: Profile) -> NDArray[np.float64]:
    """What a detection at each row gains or costs by itself, (rows,): S(y) times the profile's weight.

    ``S(y) = 2 / (1 + e^(5y)) − 1``. In a window of n rows, y goes from −1 at the first to −1/n at the last one, and S
    is scaled to be 1 at the first; k rows behind it y = k / (n − 1), and S is −1 from y = 3 on and before any window.
    """
    rows = np.arange(labels.length)
    values = np.full(labels.length, -profile.false)
    for first, last in labels.windows:
        behind = (rows[last + 1 :] - last) / max(last - first, 1)
        values[last + 1 :] = profile.false * np.where(behind < FAR, _sigmoid(np.minimum(behind, FAR)), -1.0)
        inside = (rows[first : last + 1] - last - 1) / (last - first + 1)
        values[first : last + 1] = profile.found * _sigmoid(inside) / _sigmoid(-1.0)
    return values


def score(labels: Sequence[Labels], detections: Sequence[NDArray[np.bool_]], profile: Profile) -> float:
    """The score of the detections (rows,) in each file.

    It is 100 where every window is detected at its first row and nothing else is, and 0 without any detection.
    """
    return threshold_scores(labels, [np.where(found, 1.0, 0.0) for found in detections], profile, above=0.5)[1][-1]


def threshold_scores(
    labels: Sequence[Labels], scores: Sequence[NDArray[np.float64]], profile: Profile, above: float = -np.inf
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Every threshold that makes a difference, from infinity down to ``above``, and the score of all files with it.

    ``scores``: (rows,) of each file. The thresholds are the scores that occur in the rows that count.
    """
    gains, heights, windows = [], [], 0
    for file, heard in zip(labels, scores, strict=True):
        values = row_values(file, profile)
        counted = np.arange(file.length) >= file.probation
        outside = counted.copy()
        for first, last in file.windows:
            outside[first : last + 1] = False
            rows = np.flatnonzero(counted[first : last + 1]) + first
            if not len(rows):
                continue
            windows += 1
            rows = rows[np.argsort(-heard[rows], kind="stable")]
            best = np.maximum.accumulate(values[rows])
            gains.append(np.diff(best, prepend=-profile.missed))  # the first one found also ends the miss
            heights.append(heard[rows])
        gains.append(values[outside])
        heights.append(heard[outside])
    gain, height = np.concatenate(gains), np.concatenate(heights)
    order = np.argsort(-height, kind="stable")
    gain, height = gain[order], height[order]
    last_of_equals = np.flatnonzero(np.append(height[1:] != height[:-1], True) & (height >= above))
    thresholds = np.append(np.inf, height[last_of_equals])
    raw = np.append(0.0, np.cumsum(gain)[last_of_equals])  # above that of the detector which finds nothing
    return thresholds, 100.0 * raw / (windows * (profile.found + profile.missed))


def best_threshold(
    labels: Sequence[Labels], scores: Sequence[NDArray[np.float64]], profile: Profile
) -> tuple[float, float]:
    """The one threshold for all files with the highest score, and that score."""
    thresholds, found = threshold_scores(labels, scores, profile)
    best = int(np.argmax(found))
    return float(thresholds[best]), float(found[best])


def _sigmoid(y: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray(2.0 / (1.0 + np.exp(STEEPNESS * np.asarray(y))) - 1.0)
