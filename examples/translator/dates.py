"""Dates as eight languages write them, and as ISO 8601 does: pairs made up with Babel, for everybody."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from babel.dates import format_date

LOCALES = ("de", "en", "es", "fr", "it", "nl", "pl", "pt")
FORMATS = ("medium", "long", "full")
FIRST, DAYS = date(1970, 1, 1), 36525
PARTS = {"train": 2500, "val": 100, "test": 300}  # pairs


def write_dates(folder: Path, seed: int = 0) -> Path:
    """Pairs in the layout of Multi30k, phrases in .any and dates in .iso; no date is in two parts."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = random.Random(seed).sample(range(DAYS), sum(PARTS.values()))  # no secret
    pairs = list(_pairs(drawn, random.Random(seed + 1)))
    start = 0
    for part, count in PARTS.items():
        chosen = pairs[start : start + count]
        start += count
        for ending, place in (("any", 0), ("iso", 1)):
            text = "".join(f"{pair[place]}\n" for pair in chosen)
            (folder / f"{part}.{ending}").write_text(text, encoding="utf-8")
    return folder


def _pairs(days: list[int], generator: random.Random) -> Iterator[tuple[str, str]]:
    for day in days:
        when = FIRST + timedelta(day)
        phrase = format_date(when, generator.choice(FORMATS), locale=generator.choice(LOCALES))
        yield " ".join(phrase.split()), when.isoformat()  # Babel has spaces of several kinds
