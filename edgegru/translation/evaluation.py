"""How well a translator translates: BLEU, the share of sentences that are right, and sentences per second here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgegru.translation.pairs import Pair, read_pairs
from edgegru_runtime.errors import DataError, EdgegruError, InputError
from edgegru_runtime.translation import DEFAULT_BEAM, Translator, load_translator


@dataclass(frozen=True)
class TranslationScore:
    """``bleu``: of sacrebleu, lower-cased, with its ``signature``. ``exact``: the share of sentences that are equal to
    the reference but for case. ``skipped``: sentences that were longer than the translator remembers, scored as empty.
    """

    sentences: int
    bleu: float
    signature: str
    exact: float
    skipped: int
    sentences_per_second: float
    translations: list[str]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        skipped = f", {self.skipped} too long" if self.skipped else ""
        exact = f"{self.exact:.1%} of {self.sentences} sentences are equal to the reference{skipped}"
        return f"BLEU {self.bleu:.2f} ({self.signature}); {exact}; {self.sentences_per_second:.0f} sentences a second"


def evaluate_translator(
    folder: str | Path,
    data: str | Path,
    *,
    part: str = "test",
    engine: str | None = None,
    beam: int = DEFAULT_BEAM,
    most: int | None = None,
) -> TranslationScore:
    """Translate a part of the pairs in the folder ``data``, at most ``most`` of them, one after another.

    Raises ArtifactError, EngineError, DataError, and EdgegruError where sacrebleu is not installed.
    """
    translator = load_translator(folder, engine)
    options = translator.decoder.config.data["options"]
    pairs = read_pairs(Path(data), part, options["source"], options["target"])[:most]
    if not pairs:
        raise DataError(f"{data} has no pairs of the part {part}")
    return score(translator, pairs, beam)


def score(translator: Translator, pairs: Sequence[Pair], beam: int = DEFAULT_BEAM) -> TranslationScore:
    """Translate the source of every pair and compare it with the target. Raises EdgegruError without sacrebleu."""
    translations, skipped, started = list[str](), 0, time.perf_counter()
    for pair in pairs:
        try:
            translations.append(translator.translate(pair.source, beam).text)
        except InputError:
            translations.append("")
            skipped += 1
    seconds = time.perf_counter() - started
    references = [pair.target for pair in pairs]
    value, signature = bleu_of(translations, references)
    exact = sum(one.lower() == other.lower() for one, other in zip(translations, references, strict=True))
    speed = len(pairs) / seconds
    return TranslationScore(len(pairs), value, signature, exact / len(pairs), skipped, speed, translations)


def bleu_of(translations: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    """BLEU of sacrebleu (Post 2018, arXiv:1804.08771), lower-cased, and its signature.

    Raises EdgegruError where sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise EdgegruError('BLEU needs sacrebleu, expected it after: pip install "edgegru[translation]"') from error
    bleu = BLEU(lowercase=True)
    return float(bleu.corpus_score(translations, [references]).score), str(bleu.get_signature())
