"""Splitting: groups never straddle parts, whatever the options; the same seed gives the same parts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.data import DataConfig, Recording
from edgegru.data.splitting import Parts, split_recordings
from edgegru_runtime.errors import DataError

X = np.zeros((2, 1), np.float32)


def recordings(groups: str, labels: str | None = None, parts: list[str] | None = None) -> list[Recording]:
    """One recording for each letter of ``groups``, its group; ``labels``: its label; ``parts``: its official part."""
    return [
        Recording(f"{index}{group}", None, X, labels[index] if labels else None, group, parts[index] if parts else None)
        for index, group in enumerate(groups)
    ]


def groups_of(parts: Parts) -> tuple[set[str], set[str], set[str]]:
    train, validation, test = ({recording.group for recording in part} for part in parts)
    return train, validation, test


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=60),
    st.floats(0, 0.45),
    st.floats(0, 0.45),
    st.integers(0, 2**31),
    st.sampled_from(["auto", "group"]),
)
def test_groups_never_straddle_and_nothing_is_lost(
    groups: list[int], validation: float, test: float, seed: int, split: str
) -> None:
    found = [Recording(str(index), None, X, "ab"[index % 2], str(group), None) for index, group in enumerate(groups)]
    config = DataConfig(split=split, validation_fraction=validation, test_fraction=test)
    try:
        parts = split_recordings(found, config, seed)
    except DataError:
        count = len(set(groups))
        assert sum(max(1, round(fraction * count)) for fraction in (validation, test) if fraction) >= count
        return
    a, b, c = groups_of(parts)
    assert not (a & b or a & c or b & c)
    assert sorted(r.name for part in parts for r in part) == sorted(r.name for r in found)
    assert parts.train
    assert split_recordings(found, config, seed) == parts
    again = split_recordings(found[::-1], config, seed)  # the order of files does not matter
    assert groups_of(again) == (a, b, c)


def test_fractions_are_of_groups() -> None:
    found = recordings("abcdefghij" * 3)
    parts = split_recordings(found, DataConfig(validation_fraction=0.2, test_fraction=0.3), 0)
    assert [len(part) for part in parts] == [15, 6, 9]
    assert [len(groups) for groups in groups_of(parts)] == [5, 2, 3]


def test_seeds_differ() -> None:
    found = recordings("abcdefghij")
    drawn = {frozenset(groups_of(split_recordings(found, DataConfig(), seed))[1]) for seed in range(20)}
    assert len(drawn) > 10


@given(st.integers(0, 1000))
def test_recordings_are_drawn_label_by_label(seed: int) -> None:
    labels = "u" * 30 + "v" * 10 + "w" * 5
    found = [Recording(str(i), None, X, label, str(i), None) for i, label in enumerate(labels)]
    parts = split_recordings(found, DataConfig(validation_fraction=0.2), seed)
    assert Counter(r.y for r in parts.validation) == {"u": 6, "v": 2, "w": 1}


def test_named_groups_win_over_fractions() -> None:
    config = DataConfig(validation_groups=("b",), test_groups=("d",), validation_fraction=0.5, test_fraction=0.4)
    assert groups_of(split_recordings(recordings("abcde"), config, 0)) == ({"a", "c", "e"}, {"b"}, {"d"})


def test_no_split() -> None:
    found = recordings("abc")
    for config in (DataConfig(split="none"), DataConfig(validation_fraction=0)):
        assert split_recordings(found, config, 0) == (tuple(found), (), ())
    assert split_recordings(found[:1], DataConfig(), 0) == (tuple(found[:1]), (), ())


def test_official_split_draws_validation_from_the_training_part() -> None:
    found = recordings("abcdefgh", parts=["train"] * 5 + ["test"] * 3)
    parts = split_recordings(found, DataConfig(), 0)
    assert [len(part) for part in parts] == [4, 1, 3]
    assert groups_of(parts)[2] == set("fgh")
    found = recordings("abcd", parts=["train", "train", "validation", "test"])
    assert groups_of(split_recordings(found, DataConfig(), 0)) == ({"a", "b"}, {"c"}, {"d"})


@pytest.mark.parametrize(
    ("groups", "parts", "config", "words"),
    [
        ("ab", None, DataConfig(split="official"), "no official split"),
        ("ab", ["test", "test"], DataConfig(), "a test part but no training part"),
        ("aa", ["train", "test"], DataConfig(), "group 'a' is in the train part and in the test part"),
        ("ab", ["train", "test"], DataConfig(test_fraction=0.1), "official test part: test_groups and test_fraction"),
        ("ab", ["train", "validation"], DataConfig(validation_groups=("a",)), "official validation part"),
        ("a", None, DataConfig(split="group"), "1 groups are too few for a validation part of 0.2"),
        ("ab", None, DataConfig(split="group", test_fraction=0.2), "2 groups are too few for a validation part"),
        ("ab", None, DataConfig(validation_groups=("z",)), "validation_groups names 'z', the groups are a, b"),
        ("ab", None, DataConfig(test_groups=("z",)), "test_groups names 'z'"),
        ("ab", None, DataConfig(validation_groups=("a",), test_groups=("b",)), "no group of 2 is left to train on"),
    ],
)
def test_refusals(groups: str, parts: list[str] | None, config: DataConfig, words: str) -> None:
    with pytest.raises(DataError, match=words):
        split_recordings(recordings(groups, parts=parts), config, 0)
