"""Counters: every record in exactly one of them, saved and restored."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime import StateError
from edgegru_runtime.counters import FATES, HAPPENINGS, NAMES, Counters

COUNTS = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2**70))


def counters(**counts: int) -> Counters:
    made = Counters()
    made.restore(counts)
    return made


def test_all_begin_at_zero_in_a_stable_order() -> None:
    assert Counters().to_dict() == dict.fromkeys(("read", *FATES, *HAPPENINGS), 0)
    assert list(Counters().to_dict()) == ["read", *FATES, *HAPPENINGS]
    assert len(set(NAMES)) == len(NAMES)


def test_a_misspelled_counter_is_an_error() -> None:
    with pytest.raises(AttributeError):
        Counters().procesed = 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        Counters().count("lates")


@pytest.mark.parametrize("fate", FATES)
def test_every_fate_accounts_for_a_record(fate: str) -> None:
    made = Counters()
    made.read += 2
    assert not made.accounted
    made.count(fate)
    assert not made.accounted
    made.count(fate)
    assert made.accounted and getattr(made, fate) == 2
    made.count(fate)
    assert not made.accounted


@pytest.mark.parametrize("name", HAPPENINGS)
def test_what_happens_accounts_for_no_record(name: str) -> None:
    assert counters(**{name: 3}).accounted


@pytest.mark.parametrize("name", NAMES)
def test_all_but_ordinary_work_is_unusual(name: str) -> None:
    assert counters(**{name: 1}).unusual == (name not in ("read", "processed", "steps", "controls", "events"))


@given(COUNTS)
def test_counts_survive_json(counts: dict[str, int]) -> None:
    again = counters(steps=7)  # is replaced, not added to
    again.restore(json.loads(json.dumps(counters(**counts).saved())))
    assert again.to_dict() == {name: counts.get(name, 0) for name in NAMES}


def test_a_counter_that_was_not_saved_is_zero() -> None:
    again = counters(steps=7, gaps=1)
    again.restore({"read": 3})
    assert again.to_dict() == counters(read=3).to_dict()


@pytest.mark.parametrize(
    "value", [None, [], 3, {"read": -1}, {"read": 1.0}, {"read": True}, {"read": None}, {"stepps": 1}, {"__class__": 1}]
)
def test_no_counts_are_refused_and_change_nothing(value: object) -> None:
    made = counters(read=5, gaps=2)
    with pytest.raises(StateError, match=r"the saved counter.*, expected "):
        made.restore(value)
    assert made.to_dict() == counters(read=5, gaps=2).to_dict()
