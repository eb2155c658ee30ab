"""Training, validation and test parts that share no group: a recording is never cut, a subject never in two parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edgegru.data.config import DataConfig
from edgegru.data.recordings import Recording
from edgegru_runtime.errors import DataError


class Parts(NamedTuple):
    """The recordings of each part, in the order they were read."""

    train: tuple[Recording, ...]
    validation: tuple[Recording, ...]
    test: tuple[Recording, ...]


def split_recordings(recordings: Sequence[Recording], config: DataConfig, seed: int) -> Parts:
    """Split by the rules of docs/data.md; the same recordings and seed give the same parts. Raises DataError."""
    how = _how(recordings, config)
    if how == "none":
        return Parts(tuple(recordings), (), ())
    fixed = {"validation": set[str](), "test": set[str]()}  # groups whose part the publisher settled
    pool = list(recordings)
    if how == "official":
        _check_official(recordings, config)
        pool = [recording for recording in recordings if recording.part == "train"]
        for part, groups in fixed.items():
            groups.update(recording.group for recording in recordings if recording.part == part)
    strata = _strata(pool)
    test = fixed["test"] or _choose(strata, config.test_groups, config.test_fraction, set(), seed, "test")
    validation = fixed["validation"] or _choose(
        strata, config.validation_groups, config.validation_fraction, test, seed, "validation"
    )
    parts = Parts(
        train=tuple(recording for recording in pool if recording.group not in test | validation),
        validation=tuple(recording for recording in recordings if recording.group in validation),
        test=tuple(recording for recording in recordings if recording.group in test),
    )
    if not parts.train:
        raise DataError(f"no group of {sum(map(len, strata.values()))} is left to train on")
    return parts


def _how(recordings: Sequence[Recording], config: DataConfig) -> str:
    official = any(recording.part for recording in recordings)
    if config.split == "official" and not official:
        raise DataError("the recordings have no official split, expected X_TRAIN.ts and X_TEST.ts, or train/ and test/")
    if config.split != "auto":
        return config.split
    if official:
        return "official"
    explicit = config.validation_groups or config.test_groups
    needed = 1 + (config.validation_fraction > 0) + (config.test_fraction > 0)
    return "group" if explicit or len({recording.group for recording in recordings}) >= needed else "none"


def _check_official(recordings: Sequence[Recording], config: DataConfig) -> None:
    parts: dict[str, str | None] = {}
    for recording in recordings:
        if parts.setdefault(recording.group, recording.part) != recording.part:
            raise DataError(
                f"group {recording.group!r} is in the {parts[recording.group]} part and in the {recording.part} part"
            )
    if "train" not in parts.values():
        raise DataError("the recordings have a test part but no training part")
    if "test" in parts.values() and (config.test_groups or config.test_fraction):
        raise DataError("the recordings have an official test part: test_groups and test_fraction do not apply")
    if "validation" in parts.values() and config.validation_groups:
        raise DataError("the recordings have an official validation part: validation_groups do not apply")


def _strata(pool: Sequence[Recording]) -> dict[str, list[str]]:
    """Groups by the one label that all their recordings have; "" for those that have several or none."""
    labels: dict[str, set[str]] = {}
    for recording in pool:
        y = recording.label or recording.y
        own = (y,) if isinstance(y, str) else y if isinstance(y, tuple) else ()
        labels.setdefault(recording.group, set()).update(own)
    strata: dict[str, list[str]] = {}
    for group in sorted(labels):
        strata.setdefault(min(labels[group]) if len(labels[group]) == 1 else "", []).append(group)
    return strata


def _choose(
    strata: dict[str, list[str]], named: tuple[str, ...], fraction: float, taken: set[str], seed: int, part: str
) -> set[str]:
    """The groups of a part: those named, else a fraction of all groups drawn from those not taken, label by label."""
    known = {group for groups in strata.values() for group in groups}
    unknown = next((group for group in named if group not in known), None)
    if unknown is not None:
        raise DataError(f"{part}_groups names {unknown!r}, the groups are {_some(sorted(known))}")
    if named or fraction == 0:
        return set(named)
    wanted = max(1, round(fraction * len(known)))
    if wanted >= len(known - taken):
        raise DataError(f"{len(known)} groups are too few for a {part} part of {fraction:g} and a training part")
    generator = np.random.default_rng([seed, len(part)])
    # Systematic sampling along all groups, label after label: each label gives its share, to within one group.
    line = []
    for label in sorted(strata):
        free = [group for group in strata[label] if group not in taken]
        line += [free[index] for index in generator.permutation(len(free))]
    start = int(generator.integers(len(line)))
    return {line[(start + index * len(line)) // wanted] for index in range(wanted)}


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"
