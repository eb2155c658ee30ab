"""Statistics of the last second and logistic regression: how well activities are told apart without a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgegru.data import LabelledSequence
from edgegru.logistic_regression import logistic_regression
from edgegru.metrics import accuracy, confusion_matrix, macro_f1

WINDOW = 50  # samples


def scores(train: Sequence[LabelledSequence], test: Sequence[LabelledSequence], channels: int) -> dict[str, float]:
    """Accuracy and macro-F1 on the steps of ``test``, whose x is (T, samples of a step · ``channels``)."""
    known, others = (np.concatenate([statistics(one.x, channels)[one.mask] for one in part]) for part in (train, test))
    labels, expected = (np.concatenate([one.target[one.mask] for one in part]).astype(int) for part in (train, test))
    found = logistic_regression(known, labels).classes(others)
    confusion = confusion_matrix(expected, found, int(max(labels.max(), expected.max())) + 1)
    return {"accuracy": accuracy(confusion), "macro_f1": macro_f1(confusion)}


def statistics(x: NDArray[np.float32], channels: int) -> NDArray[np.float64]:
    """Of each channel and of the length of each three (a vector in space), over the last samples at each step: mean,
    standard deviation, least, largest, mean change from sample to sample, mean of the later half less that of the
    earlier one. (T, 6 · (channels + channels / 3)).

    Before the first sample it is as if that one had been there already.
    """
    samples = x.astype(np.float64).reshape(-1, channels)
    lengths = np.linalg.norm(samples.reshape(len(samples), -1, 3), axis=2)
    samples = np.concatenate([samples, lengths], axis=1)
    padded = np.concatenate([np.repeat(samples[:1], WINDOW - 1, axis=0), samples])
    a_step = len(samples) // len(x)
    last = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=0)[a_step - 1 :: a_step]
    changes = np.abs(np.diff(last, axis=2)).mean(axis=2)
    trend = last[:, :, WINDOW // 2 :].mean(axis=2) - last[:, :, : WINDOW // 2].mean(axis=2)
    return np.concatenate(
        [last.mean(axis=2), last.std(axis=2), last.min(axis=2), last.max(axis=2), changes, trend], axis=1
    )
