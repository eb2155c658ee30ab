"""Recordings at one rate, from timestamps that need not be regular."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgegru.data.recordings import Recording, Target
from edgegru_runtime.errors import DataError

MAX_FRAMES = 10_000_000  # more than this from one recording is a mistaken unit of time, not data
AT = 1e-4  # of a frame: a sample this little before a frame counts as at it (timestamps are rounded)


def resample(recording: Recording, rate: float, target: str = "auto") -> Recording:
    """The recording at ``rate`` Hz: frame k is the time k / rate after its first sample, up to its last.

    x and numeric targets are linearly interpolated; a label is that of the first sample at or after the frame, and so
    are numbers that ``target`` "step_labels" makes labels. A recording without timestamps is returned as it is:
    ``rate`` then declares what it has. Raises DataError.
    """
    if recording.t is None:
        return recording
    span = float(recording.t[-1]) * rate
    if span >= MAX_FRAMES:
        raise DataError(
            f"recording {recording.name!r} lasts {recording.t[-1]:.6g} s, {span:.3g} frames at {rate:g} Hz: "
            "is timestamp_unit right?"
        )
    frames = np.arange(int(np.floor(span + AT)) + 1) / rate
    after = np.searchsorted(recording.t, frames - AT / rate)  # the first sample at or after each frame
    after = np.minimum(after, len(recording.t) - 1)
    x = _interpolate(recording.t, recording.x.astype(np.float64), frames, after).astype(np.float32)
    return replace(recording, t=frames, x=x, y=_resample_target(recording, frames, after, target))


def _interpolate(
    t: NDArray[np.float64], values: NDArray[np.float64], frames: NDArray[np.float64], after: NDArray[np.intp]
) -> NDArray[np.float64]:
    """(frames, columns), each between its two neighbours whatever the rounding."""
    before = np.maximum(after - 1, 0)
    gap = np.where(after > before, t[after] - t[before], 1.0)
    weight = np.clip((frames - t[before]) / gap, 0.0, 1.0)[:, None]
    low, high = values[before], values[after]
    mixed = np.clip(low + (high - low) * weight, np.minimum(low, high), np.maximum(low, high))
    return np.where(weight == 1.0, high, mixed)  # a frame at a sample is that sample, even beside a missing target


def _resample_target(recording: Recording, frames: NDArray[np.float64], after: NDArray[np.intp], target: str) -> Target:
    y = recording.y
    if isinstance(y, tuple):
        return tuple(y[index] for index in after)
    if isinstance(y, np.ndarray) and y.ndim == 2 and recording.t is not None:
        return y[after] if target == "step_labels" else _interpolate(recording.t, y, frames, after)
    return y
