"""MFCC statistics and logistic regression: how well spoken digits are told apart without a network.

Features of a recording: mean and standard deviation over time of its mel-frequency cepstral coefficients
(Davis & Mermelstein 1980).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgegru.logistic_regression import logistic_regression

FRAME, HOP, FFT_SIZE = 256, 80, 256  # samples at 8 kHz: 32 ms every 10 ms
BANDS, COEFFICIENTS = 40, 20
FLOOR = 1e-10  # of an energy


def mel_filters(bands: int, fft_size: int, rate: float, low: float, high: float) -> NDArray[np.float64]:
    """Triangles equally wide on the mel scale, 1 in their middle: (bands, fft_size // 2 + 1)."""
    mels = np.linspace(2595 * np.log10(1 + low / 700), 2595 * np.log10(1 + high / 700), bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    frequencies = np.arange(fft_size // 2 + 1) * rate / fft_size
    left, middle, right = edges[:-2, np.newaxis], edges[1:-1, np.newaxis], edges[2:, np.newaxis]
    return np.maximum(0, np.minimum((frequencies - left) / (middle - left), (right - frequencies) / (right - middle)))


def mfcc(sound: NDArray[np.float32], rate: float) -> NDArray[np.float64]:
    """Coefficients of every frame: (T, COEFFICIENTS). ``sound``: (N,), full scale 1; short ones are padded."""
    padded = np.pad(sound.astype(np.float64), (0, max(0, FRAME - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP] * np.hanning(FRAME)
    energies = np.abs(np.fft.rfft(frames, FFT_SIZE)) ** 2 @ mel_filters(BANDS, FFT_SIZE, rate, 20, rate / 2).T
    bands = np.arange(BANDS)
    cosines = np.cos(np.pi / BANDS * (bands + 0.5) * np.arange(COEFFICIENTS)[:, np.newaxis])  # DCT-II
    return np.log(energies + FLOOR) @ cosines.T * np.sqrt(2 / BANDS)


def statistics(sound: NDArray[np.float32], rate: float) -> NDArray[np.float64]:
    """Mean and standard deviation over time of each coefficient: (2 · COEFFICIENTS,)."""
    coefficients = mfcc(sound, rate)
    return np.concatenate([coefficients.mean(axis=0), coefficients.std(axis=0)])


def accuracy(
    train: Sequence[NDArray[np.float32]],
    train_labels: NDArray[np.int64],
    test: Sequence[NDArray[np.float32]],
    test_labels: NDArray[np.int64],
    rate: float,
) -> float:
    """Of the baseline trained on ``train``, on ``test``. Sounds (N,), full scale 1; labels are class numbers."""
    rows, others = (np.stack([statistics(sound, rate) for sound in sounds]) for sounds in (train, test))
    predicted = logistic_regression(rows, train_labels).classes(others)
    return float((predicted == test_labels).mean())
