"""An n-gram of characters: the baseline, counted and not learned.

Probabilities are interpolated by Witten and Bell's method (1991, doi:10.1109/18.87000, their method C): with N(h) the
characters that followed the history h in training, T(h) how many different ones, and h' the history without its first
character,

    p(c | h) = (count(h c) + T(h) · p(c | h')) / (N(h) + T(h))

down to the empty history, behind which every character that there is has the same probability. A history that was not
seen says nothing: p(c | h) = p(c | h').
"""

from __future__ import annotations

from collections import Counter, defaultdict
from math import log2

ORDER = 5  # characters of history


class NGram:
    """Counted over ``text``. ``alphabet``: how many characters there are, for those that never followed."""

    def __init__(self, text: str, order: int, alphabet: int) -> None:
        self._order, self._alphabet = order, alphabet
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)  # what followed each history
        for place, character in enumerate(text):
            for length in range(min(order, place) + 1):
                self._counts[text[place - length : place]][character] += 1
        self._totals = {history: counts.total() for history, counts in self._counts.items()}

    def probability(self, history: str, character: str) -> float:
        """That ``character`` follows ``history``, of which only the last characters count."""
        found = 1.0 / self._alphabet
        for length in range(min(self._order, len(history)) + 1):
            known = history[len(history) - length :]
            counts = self._counts.get(known)
            if counts is None:
                break  # nor were longer ones seen
            found = (counts[character] + len(counts) * found) / (self._totals[known] + len(counts))
        return found

    def bits(self, text: str) -> float:
        """Bits per character of ``text`` from its second one on, each from those before it in the text."""
        places = range(1, len(text))
        histories = (text[max(0, place - self._order) : place] for place in places)
        found = (self.probability(history, text[place]) for history, place in zip(histories, places, strict=True))
        return -sum(map(log2, found)) / len(places)
