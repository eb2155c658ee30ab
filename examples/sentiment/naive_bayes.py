"""Multinomial naive Bayes on the words of a sentence (McCallum & Nigam 1998): verdicts without a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgegru.data import LabelledSequence

SMOOTHING = 1.0  # added to every count


def accuracy(train: Sequence[LabelledSequence], test: Sequence[LabelledSequence], tokens: int) -> float:
    """Of the classifier that ``train`` gives, on ``test``. x: (T, 1), the numbers of ``tokens`` tokens."""
    counts, labels = np.full((tokens, 2), SMOOTHING), np.zeros(2)
    for sentence in train:
        label = sentence.target[-1]
        labels[label] += 1
        np.add.at(counts[:, label], words(sentence), 1)
    weights = np.log(counts[:, 1] / counts[:, 1].sum()) - np.log(counts[:, 0] / counts[:, 0].sum())
    bias = np.log(labels[1] / labels[0])
    return float(np.mean([(weights[words(one)].sum() + bias > 0) == one.target[-1] for one in test]))


def words(sentence: LabelledSequence) -> np.ndarray:
    """The numbers of its tokens: (T,)."""
    return sentence.x[:, 0].astype(np.int64)
