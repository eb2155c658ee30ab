"""What a model is judged by: accuracy, macro-F1 and confusion of classes, squared and absolute error of values."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def confusion_matrix(targets: ArrayLike, predictions: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count how often class ``i`` was predicted as ``j``: (classes, classes), true classes down, predicted across.

    ``targets`` and ``predictions`` are class indices of the same shape, each in [0, classes).
    """
    target_indices = np.asarray(targets, dtype=np.int64).ravel()
    predicted_indices = np.asarray(predictions, dtype=np.int64).ravel()
    if target_indices.shape != predicted_indices.shape:
        raise ValueError(f"{len(target_indices)} targets against {len(predicted_indices)} predictions")
    both = np.concatenate([target_indices, predicted_indices])
    if np.any((both < 0) | (both >= classes)):
        raise ValueError(f"class indices must lie in [0, {classes})")
    pairs = np.bincount(target_indices * classes + predicted_indices, minlength=classes * classes)
    return pairs.reshape(classes, classes).astype(np.int64)


def accuracy(confusion: NDArray[np.int64]) -> float:
    """The share of predictions on the diagonal of a confusion matrix that counts at least one."""
    return float(np.trace(confusion) / confusion.sum())


def f1_scores(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """``2 TP / (2 TP + FP + FN)`` of each class: (classes,); NaN for a class that neither occurs nor is predicted."""
    hits = np.diag(confusion).astype(np.float64)
    mentions = confusion.sum(axis=0) + confusion.sum(axis=1)
    scores = np.full(len(hits), np.nan)
    np.divide(2 * hits, mentions, out=scores, where=mentions > 0)
    return scores


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """The mean F1 over the classes that occur or are predicted, each class counting the same."""
    return float(np.nanmean(f1_scores(confusion)))


def mean_squared_error(targets: ArrayLike, predictions: ArrayLike) -> float:
    """The mean of ``(prediction − target)²`` over all numbers, summed in float64."""
    return float(np.mean(_differences(targets, predictions) ** 2))


def mean_absolute_error(targets: ArrayLike, predictions: ArrayLike) -> float:
    """The mean of ``|prediction − target|`` over all numbers, summed in float64."""
    return float(np.mean(np.abs(_differences(targets, predictions))))


def _differences(targets: ArrayLike, predictions: ArrayLike) -> NDArray[np.float64]:
    target_values = np.asarray(targets, dtype=np.float64)
    predicted_values = np.asarray(predictions, dtype=np.float64)
    if target_values.shape != predicted_values.shape:
        raise ValueError(f"targets of shape {target_values.shape} against predictions of {predicted_values.shape}")
    return predicted_values - target_values
