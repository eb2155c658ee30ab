"""What a model is judged by.

Accuracy, macro-F1 and confusion of classes; F1 of the chunks that tags of words mark; likelihood and micro-F1 of labels
of which any number may hold; squared and absolute error of values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

SMALLEST_PROBABILITY = 2.0**-17  # half the unit of an integer head's probabilities, which may round to 0 or to 1


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


def are_chunk_tags(labels: Iterable[str]) -> bool:
    """Whether labels mark chunks: "B-KIND" its first word, "I-KIND" any other one, "O" what is in none."""
    names = set(labels)
    marks = {name[:2] for name in names - {"O"}}
    return "O" in names and "B-" in marks and marks <= {"B-", "I-"}


def chunks(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """First word, the one behind the last, and kind of every chunk, as conlleval reads them (Tjong Kim Sang &
    Buchholz 2000, CoNLL-2000 shared task): a chunk begins at every B, and at an I that does not go on with its kind.
    """
    found = set()
    start, kind = 0, ""  # of the chunk that is open; "": none is
    for place, tag in enumerate([*tags, "O"]):
        of_kind = tag[2:]  # "" of O
        if kind and (tag.startswith("B-") or of_kind != kind):
            found.add((start, place, kind))
            kind = ""
        if of_kind and not kind:
            start, kind = place, of_kind
    return found


def chunk_f1(targets: Iterable[Sequence[str]], predictions: Iterable[Sequence[str]]) -> float:
    """``2 TP / (2 TP + FP + FN)`` over the chunks of all sequences of tags together, as conlleval counts them.

    A chunk is a hit where first word, last word and kind are right. 0 where there is none and none is predicted.
    """
    hits = mentions = 0
    for target, predicted in zip(targets, predictions, strict=True):
        true, said = chunks(target), chunks(predicted)
        hits += len(true & said)
        mentions += len(true) + len(said)
    return 2.0 * hits / mentions if mentions else 0.0


def negative_log_likelihood(targets: ArrayLike, probabilities: ArrayLike) -> float:
    """``−Σ_k log p_k`` in nats, ``p_k`` the probability given to what is true of label ``k``; the mean over N steps.

    ``targets``: (N, K), 1 where a label holds, 0 where not. ``probabilities``: (N, K) that it holds. Each is clipped to
    [2⁻¹⁷, 1 − 2⁻¹⁷]: an integer head gives multiples of 2⁻¹⁶, 0 and 1 among them, and no surprise shall be infinite.
    """
    holds, likely = _same_shape(targets, probabilities)
    likely = np.clip(likely, SMALLEST_PROBABILITY, 1.0 - SMALLEST_PROBABILITY)
    return float(-np.log(np.where(holds == 1.0, likely, 1.0 - likely)).sum(axis=1).mean())


def micro_f1(targets: ArrayLike, probabilities: ArrayLike) -> float:
    """``2 TP / (2 TP + FP + FN)`` over all labels and steps together; a label is predicted from probability 1/2 on.

    Shapes as for ``negative_log_likelihood``. 1 where no label holds and none is predicted.
    """
    holds, likely = _same_shape(targets, probabilities)
    predicted = likely >= 0.5
    mentions = holds.sum() + predicted.sum()
    return float(2.0 * holds[predicted].sum() / mentions) if mentions else 1.0


def mean_squared_error(targets: ArrayLike, predictions: ArrayLike) -> float:
    """The mean of ``(prediction − target)²`` over all numbers, summed in float64."""
    return float(np.mean(_differences(targets, predictions) ** 2))


def mean_absolute_error(targets: ArrayLike, predictions: ArrayLike) -> float:
    """The mean of ``|prediction − target|`` over all numbers, summed in float64."""
    return float(np.mean(np.abs(_differences(targets, predictions))))


def _differences(targets: ArrayLike, predictions: ArrayLike) -> NDArray[np.float64]:
    target_values, predicted_values = _same_shape(targets, predictions)
    return predicted_values - target_values


def _same_shape(targets: ArrayLike, predictions: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both in float64."""
    target_values = np.asarray(targets, dtype=np.float64)
    predicted_values = np.asarray(predictions, dtype=np.float64)
    if target_values.shape != predicted_values.shape:
        raise ValueError(f"targets of shape {target_values.shape} against predictions of {predicted_values.shape}")
    return target_values, predicted_values
