"""What counting does on the same words: TF-IDF and logistic regression for the intent, a table for the slots."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgegru.data import LabelledSequence
from edgegru.logistic_regression import logistic_regression
from edgegru.metrics import chunk_f1

Words = NDArray[np.int64]  # the numbers of a command's tokens


def scores(
    train: Sequence[LabelledSequence], test: Sequence[LabelledSequence], tokens: int, tags: Sequence[str]
) -> dict[str, float]:
    """Of both methods, learned from ``train``, on ``test``. Targets: (T, 2), tags and intent; x: numbers of tokens."""
    known, others = ([(words(one), *one.apart) for one in part] for part in (train, test))
    weights = inverse_document_frequency((numbers for numbers, *_ in known), tokens)
    features, unseen = (tf_idf([numbers for numbers, *_ in part], weights) for part in (known, others))
    intents, expected = (np.array([intent.target[-1] for *_, intent in part]) for part in (known, others))
    found = logistic_regression(features, intents, standardise=False).classes(unseen)
    table = TagTable((numbers, tagged.target) for numbers, tagged, _ in known)
    said = [[table(pair) for pair in pairs(numbers)] for numbers, *_ in others]
    true = [tagged.target.tolist() for _, tagged, _ in others]
    hits = [a == b for own, wanted in zip(said, true, strict=True) for a, b in zip(own, wanted, strict=True)]
    named = [[[tags[number] for number in command] for command in part] for part in (true, said)]
    return {"intent": float(np.mean(found == expected)), "slots": chunk_f1(*named), "words": float(np.mean(hits))}


def words(command: LabelledSequence) -> Words:
    """The numbers of its tokens: (T,)."""
    return command.x[:, 0].astype(np.int64)


def inverse_document_frequency(commands: Iterable[Words], tokens: int) -> NDArray[np.float64]:
    """ln((1 + N) / (1 + n)) + 1 of each token, in n of N commands (tokens,): what says more weighs more."""
    counts, number = np.zeros(tokens), 0
    for command in commands:
        counts[np.unique(command)] += 1
        number += 1
    return np.log((1 + number) / (1 + counts)) + 1


def tf_idf(commands: Sequence[Words], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """How often each token occurs in each command, times its weight; rows of length 1: (commands, tokens)."""
    rows = np.stack([np.bincount(command, minlength=len(weights)) for command in commands]) * weights
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class TagTable:
    """The most frequent tag of a word after the word before it; where that was never seen, of the word; else of all."""

    def __init__(self, commands: Iterable[tuple[Words, NDArray[np.int64]]]) -> None:
        counts: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for numbers, tags in commands:
            for pair, tag in zip(pairs(numbers), tags.tolist(), strict=True):
                for seen in (pair, pair[1:], ()):
                    counts[seen][tag] += 1
        self._best = {seen: max(found, key=lambda tag: (found[tag], -tag)) for seen, found in counts.items()}

    def __call__(self, pair: tuple[int, int]) -> int:
        return next(self._best[seen] for seen in (pair, pair[1:], ()) if seen in self._best)


def pairs(numbers: Words) -> list[tuple[int, int]]:
    """Each word with the one before it; in front of the first is −1."""
    own = numbers.tolist()
    return list(zip([-1, *own[:-1]], own, strict=True))
