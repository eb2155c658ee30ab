"""The baseline: every key for itself, by whether it sounds now. A Markov chain of the first order, counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgegru.data import LabelledSequence
from edgegru.metrics import negative_log_likelihood

SMOOTHING = 1.0  # added to every count


def nll(train: Sequence[LabelledSequence], test: Sequence[LabelledSequence]) -> float:
    """Nats a frame of ``test``, of the chains that ``train`` gives. x, target: (T, keys), of the next frame."""
    now, then = frames(train)
    sounding = [then[now[:, key] == before, key] for key in range(now.shape[1]) for before in (0.0, 1.0)]
    likely = np.array([(one.sum() + SMOOTHING) / (len(one) + 2.0 * SMOOTHING) for one in sounding]).reshape(-1, 2)
    now, then = frames(test)
    return negative_log_likelihood(then, np.where(now == 1.0, likely[:, 1], likely[:, 0]))


def frames(sequences: Sequence[LabelledSequence]) -> tuple[np.ndarray, np.ndarray]:
    """Frames that another one follows, and that one: (N, keys) each."""
    now = np.concatenate([sequence.x[sequence.mask] for sequence in sequences])
    return now, np.concatenate([sequence.target[sequence.mask] for sequence in sequences])
