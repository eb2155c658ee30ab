"""The baseline: what the most similar sentence of the training part was translated to (a translation memory)."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence


class NearestSentence:
    """Cosine of TF-IDF vectors of words; of equal ones the first."""

    def __init__(self, sources: Sequence[str], targets: Sequence[str]) -> None:
        self.targets = targets
        documents = [Counter(_words(source)) for source in sources]
        seen = Counter(word for document in documents for word in document)
        self.weight = {word: math.log(len(documents) / count) + 1 for word, count in seen.items()}
        self.places = defaultdict[str, list[tuple[int, float]]](list)
        for index, document in enumerate(documents):
            for word, value in self._vector(document).items():
                self.places[word].append((index, value))

    def translate(self, text: str) -> str:
        """The target of the nearest source; that of the first where no word is known."""
        scores = Counter[int]()
        for word, value in self._vector(Counter(_words(text))).items():
            for index, other in self.places.get(word, ()):
                scores[index] += value * other  # type: ignore[assignment]  # a Counter of floats
        best = max(scores.items(), key=lambda item: (item[1], -item[0]), default=(0, 0.0))
        return self.targets[best[0]]

    def _vector(self, document: Counter[str]) -> dict[str, float]:
        values = {word: count * self.weight.get(word, 0.0) for word, count in document.items()}
        norm = math.sqrt(sum(value**2 for value in values.values())) or 1.0
        return {word: value / norm for word, value in values.items() if value}


def _words(text: str) -> Iterable[str]:
    return text.lower().replace(".", " ").replace(",", " ").split()
