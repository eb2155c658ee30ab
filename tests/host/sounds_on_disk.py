"""WAV files written to disk for tests that need them."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_wav(path: Path, samples: NDArray[np.int16], rate: int = 8000, channels: int = 1, width: int = 2) -> Path:
    """``samples`` as they are; with other ``channels`` or bytes a sample (``width``) their bytes are only called so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path
