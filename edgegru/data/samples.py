"""What a reader returns: recordings exactly as their file has them, before any rule has touched them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegru.data.recordings import Target
from edgegru_runtime.errors import DataError


@dataclass(frozen=True)
class Samples:
    """One recording of T samples as its file has it.

    ``t``: (T,) in ``time_unit`` ("s", "ms" or "auto"), finite, or None. ``x``: (T, channels), NaN where missing.
    ``lines``: the line of each sample, or one line for all, or None for binary files.
    """

    name: str
    group: str
    path: Path
    lines: Sequence[int] | int | None
    t: NDArray[np.float64] | None
    x: NDArray[np.float64]
    y: Target
    part: str | None = None
    time_unit: str = "auto"

    def where(self, row: int) -> str:
        """Where sample ``row`` is, as error messages say it."""
        if self.lines is None:
            return f"{self.path}, recording {self.name!r}, sample {row}"
        if isinstance(self.lines, int):
            return f"{self.path}, line {self.lines}, sample {row}"
        return f"{self.path}, line {self.lines[row]}"


@dataclass(frozen=True)
class SampleSet:
    """All recordings of one file or folder. ``units``, ``labels``, ``targets``: () where the format does not tell.

    ``target``: the kind that a numeric ``y`` is meant for, "" where the format does not tell. ``rate``: samples per
    second where the files declare it instead of giving times. ``counts``: what the reader left out.
    """

    samples: tuple[Samples, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    target: str = ""
    rate: float | None = None
    counts: dict[str, int] = field(default_factory=dict)


def one_name_a_value(names: tuple[str, ...], size: int, noun: str, path: Path) -> tuple[str, ...]:
    """Names for the ``size`` columns of a format whose files name none: ``names`` if given, else numbered ones."""
    if not names:
        return tuple(f"{noun}{index}" for index in range(size))
    if len(names) != size:
        raise DataError(f"{path} has {size} {noun}s, but {len(names)} names are given: {', '.join(names)}")
    return names
