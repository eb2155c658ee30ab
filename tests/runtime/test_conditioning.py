"""Values that are no numbers, one fate for every record, and the same continuation from every saved state."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, isfinite, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime import InputError, StateError
from edgegru_runtime.conditioning import ON_GAP, ON_NAN, Conditions
from edgegru_runtime.record import Record
from edgegru_runtime.timeline import STRAYS_BELIEVED, TIME_UNITS
from tests.runtime.conditioned import Conditioned

BIG = 10**400  # finite, though no float is so large


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"on_nan": "drop"}, "on_nan is 'drop', expected error, hold, zero, skip or reset"),
        ({"max_gap": 1, "on_gap": "fill"}, "on_gap is 'fill', expected reset, hold, zero or continue"),
        ({"time_unit": "min"}, "time_unit is 'min', expected s, ms, us or ns"),
        ({"max_gap": 0}, "max_gap is 0, expected a number from 1e-9 to 1e9"),
        ({"max_gap": nan}, "max_gap is nan, expected a number from 1e-9 to 1e9"),
        ({"rate": -5.0}, "rate is -5.0, expected a number from 1e-9 to 1e9"),
        ({"rate": inf}, "rate is inf, expected a number from 1e-9 to 1e9"),
        ({"on_gap": "hold"}, "on_gap is 'hold' without max_gap, expected the seconds that make a gap"),
        ({"max_gap": 0.05}, "max_gap is 0.05 s, expected at least the 0.1 s between two samples"),
        ({"max_gap": 0.2, "rate": 4.0}, "max_gap is 0.2 s, expected at least the 0.25 s between two samples"),
    ],
)
def test_conditions_that_do_not_fit_are_named(conditions: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Conditioned(10.0, **conditions)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("conditions", "what"),
    [
        ({"resample": True}, "resampling"),
        ({"max_gap": 1, "on_gap": "hold"}, "on_gap 'hold'"),
        ({"max_gap": 1, "on_gap": "zero"}, "on_gap 'zero'"),
    ],
)
def test_what_needs_a_rate_says_so(conditions: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError) as caught:
        Conditioned(None, **conditions)
    assert str(caught.value) == f"the model declares no rate, which {what} needs; expected a model with one"


def test_an_input_faster_than_the_model_may_have_short_gaps_when_resampled() -> None:
    assert Conditioned(10.0, resample=True, max_gap=0.02).times([0, 0.01, 0.04]) == [[0], [], ["reset", 0.04]]


@pytest.mark.parametrize(
    ("conditions", "trivial"),
    [
        ({}, True),
        *(({"on_nan": on_nan}, on_nan == "error") for on_nan in ON_NAN),
        ({"max_gap": 1}, False),
        ({"resample": True}, False),
        ({"rate": 10.0}, False),
        ({"time_unit": "s"}, False),
    ],
)
def test_conditions_that_do_nothing_are_trivial(conditions: dict[str, Any], trivial: bool) -> None:
    lane = Conditioned(**conditions)
    assert Conditions(**conditions).trivial == lane.conditioning.trivial == trivial
    record = Record([1.0], 7.0)
    reset, samples = lane.conditioning.take(record)
    assert not reset and next(iter(samples)) is record  # trivial or not: nothing is made anew that is as it should be


@pytest.mark.parametrize(
    ("values", "named"),
    [([1.0, nan], "channel c1 is nan"), ([-inf, nan], "channel c0 is -inf"), ([BIG, inf], "channel c1 is inf")],
)
@pytest.mark.parametrize("conditions", [{}, {"max_gap": 1}])
def test_an_error_names_the_value_and_changes_nothing(
    values: list[float], named: str, conditions: dict[str, Any]
) -> None:
    lane = Conditioned(10.0, 2, **conditions)
    lane.take(Record([1.0, 2.0], 5))
    before = lane.conditioning.saved(), lane.counters.to_dict()
    with pytest.raises(InputError, match=f"^{named}, expected a finite number$"):
        lane.conditioning.take(Record(values, 5.1))
    assert (lane.conditioning.saved(), lane.counters.to_dict()) == before


def test_hold_repeats_the_last_value_of_the_channel() -> None:
    lane = Conditioned(10.0, 2, on_nan="hold")
    found = lane.values([[nan, 1], [2, 3], [4, nan], [inf, -inf], [nan, 5], [6, 7]])
    assert found == [[], [[2, 3]], [[4, 3]], [[4, 3]], [[4, 5]], [[6, 7]]]
    assert lane.counted == {"processed": 2, "held": 3, "skipped": 1}


def test_zero_stands_for_what_is_missing() -> None:
    lane = Conditioned(10.0, 2, on_nan="zero")
    assert lane.values([[nan, 1], [2, inf], [nan, nan], [3, 4]]) == [[[0, 1]], [[2, 0]], [[0, 0]], [[3, 4]]]
    assert lane.counted == {"processed": 1, "zeroed": 3}


def test_skip_leaves_the_record_out() -> None:
    lane = Conditioned(10.0, 2, on_nan="skip")
    assert lane.values([[nan, 1], [2, 3], [4, nan], [5, 6]]) == [[], [[2, 3]], [], [[5, 6]]]
    assert lane.counted == {"processed": 2, "skipped": 2} and lane.counters.resets == 0


def test_reset_leaves_the_record_out_and_begins_anew() -> None:
    lane = Conditioned(10.0, 1, on_nan="reset")
    taken = [lane.take(Record([value])) for value in (1.0, nan, nan, 2.0)]
    assert taken == [(False, [Record([1.0])]), (True, []), (True, []), (False, [Record([2.0])])]
    assert lane.counted == {"processed": 2, "skipped": 2}


@pytest.mark.parametrize("conditions", [{"max_gap": 0.2, "on_gap": "hold"}, {"resample": True}])
def test_nothing_leads_from_before_a_reset_to_after_it(conditions: dict[str, Any]) -> None:
    lane = Conditioned(10.0, 1, on_nan="reset", **conditions)
    assert lane.values([1, nan, 2, 3], period=0.5)[:3] == [[[1]], [], [[2]]]
    assert lane.counters.resets == 1 and lane.counters.filled == (4 if "max_gap" in conditions else 0)


@pytest.mark.parametrize("on_nan", ON_NAN)
def test_large_values_are_numbers(on_nan: str) -> None:
    lane = Conditioned(10.0, 2, on_nan=on_nan)
    assert lane.values([[1e308, 1e308], [BIG, -BIG]]) == [[[1e308, 1e308]], [[BIG, -BIG]]]
    assert lane.counted == {"processed": 2}


def test_a_repaired_record_keeps_all_else() -> None:
    lane = Conditioned(10.0, 2, on_nan="zero")
    record = Record([nan, 1.0], 5, "a", 7, 70, [3.0])
    assert lane.take(record) == (False, [record._replace(x=[0.0, 1.0])])


def test_what_is_skipped_leaves_a_gap() -> None:
    lane = Conditioned(10.0, on_nan="skip", max_gap=0.25, on_gap="hold")
    assert lane.values([1, nan, 3, nan, nan, 6], period=0.1) == [[[1]], [], [[3]], [], [], [[3], [3], [6]]]
    assert lane.counted == {"processed": 3, "skipped": 3, "gaps": 1, "filled": 2}


def test_what_is_skipped_takes_its_time_where_there_is_none() -> None:
    lane = Conditioned(10.0, on_nan="skip", max_gap=0.25, on_gap="zero", rate=10.0)
    assert lane.values([1, nan, nan, 4]) == [[[1]], [], [], [[0], [0], [4]]]


@pytest.mark.parametrize("on_nan", ["hold", "zero", "skip", "reset"])
def test_a_late_record_is_late_whatever_its_values(on_nan: str) -> None:
    lane = Conditioned(10.0, on_nan=on_nan, time_unit="s")
    lane.times([1, 2])
    assert [lane.take(Record([nan], t)) for t in (1.5, 2, None)] == [(False, [])] * 3
    assert lane.counted == {"processed": 2, "dropped_late": 1, "dropped_duplicate": 1, "dropped_untimed": 1}


def test_after_a_value_that_resets_late_records_are_still_late() -> None:
    lane = Conditioned(10.0, on_nan="reset", max_gap=10)
    lane.times([1, 2])
    assert lane.take(Record([nan], 2.1)) == (True, [])
    assert lane.times([1.5, 9]) == [[], [9]]
    assert lane.counted == {"processed": 3, "skipped": 1, "dropped_late": 1}


def test_nothing_is_held_over_a_reset() -> None:
    lane = Conditioned(10.0, 2, on_nan="hold", max_gap=1)
    lane.take(Record([1.0, 2.0], 0))
    assert lane.take(Record([nan, 4.0], 9)) == (True, [])
    assert lane.take(Record([nan, 4.0], 9.1)) == (False, [])
    assert lane.take(Record([5.0, 6.0], 9.2)) == (False, [Record([5.0, 6.0], 9.2)])
    lane.conditioning.forget()
    assert lane.take(Record([nan, 4.0], 9.3)) == (False, [])
    assert lane.counted == {"processed": 2, "skipped": 3, "gaps": 1}


def test_held_values_are_resampled_as_any_others() -> None:
    lane = Conditioned(10.0, 2, on_nan="hold", resample=True)
    assert lane.values([[1, 2], [3, nan], [nan, 6]], period=0.05) == [[[1, 2]], [], [[3, 6]]]
    assert lane.values([[0, 0]], period=0.1) == [[]]  # the time begins anew, and is late
    assert lane.counted == {"processed": 1, "held": 2, "dropped_late": 1}


NUMBERS = st.sampled_from([0.0, 1.0, -2.5, 0.1, 3, 1e300, -1e300, BIG])
VALUES = st.one_of(NUMBERS, NUMBERS, NUMBERS, st.sampled_from([nan, inf, -inf]))
STEPS = st.sampled_from([0, 0, -30, -5, 20, 50, 80, 100, 100, 100, 110, 200, 350, 2000, 20_000, -3000, -10**7])
ITEM = st.tuples(st.tuples(VALUES, VALUES), st.one_of(STEPS, STEPS, STEPS, STEPS, st.none()), st.booleans())
ITEMS = st.lists(ITEM, max_size=30)
CONDITIONS = st.fixed_dictionaries(
    {
        "on_nan": st.sampled_from(ON_NAN[1:]),
        "max_gap": st.sampled_from([None, 0.3, 0.3, 2]),
        "on_gap": st.sampled_from([None, *ON_GAP]),
        "resample": st.booleans(),
        "rate": st.sampled_from([None, None, 10.0, 7.0]),
        "time_unit": st.sampled_from([None, *TIME_UNITS]),
    }
).map(lambda found: found | ({"on_gap": None} if found["max_gap"] is None else {}))
RATES = st.sampled_from([10.0, 10.0, 160 / 7])


def records(items: list[Any], unit: str | None) -> list[Record]:
    """Records whose times move by so many milliseconds, as numbers or now and then as text."""
    found, now = [], 1_700_000_000_000
    for place, (x, step, as_text) in enumerate(items, 1):
        now += step or 0
        number = now * 10**6 / TIME_UNITS[unit or "s"]
        text = f"{1970 + 53}-11-14T22:13:20+00:00" if now == 1_700_000_000_000 else number
        target = (None, [place / 2], [nan])[place % 3]
        t = None if step is None else text if as_text else int(number) if number == int(number) else number
        found.append(Record(list(x), t, "a", place, place * 10, target))
    return found


@given(RATES, CONDITIONS, ITEMS)
def test_every_record_has_one_fate(rate: float, conditions: dict[str, Any], items: list[Any]) -> None:
    lane = Conditioned(rate, 2, **conditions)
    entered = 0
    for record in records(items, conditions["time_unit"]):
        before = lane.counters.to_dict()
        reset, samples = lane.take(record)
        counters = lane.counters.to_dict()
        assert lane.counters.accounted and counters["read"] == before["read"] + 1
        assert all(isfinite(value) or value in (BIG, -BIG) for sample in samples for value in map(_small, sample.x))
        assert all((sample.key, sample.place, sample.end) == record[2:5] for sample in samples)
        took = sum(counters[name] - before[name] for name in ("processed", "held", "zeroed"))
        entered += took
        if not took:
            assert samples == []
        if reset:
            assert len(samples) == took  # it begins with the record alone
        if took and not conditions["resample"]:
            assert samples[-1].t == record.t and samples[-1].target is record.target
    if not conditions["resample"]:
        assert lane.counters.steps == entered + lane.counters.filled
    if conditions["max_gap"] is None:
        assert lane.counters.gaps == lane.counters.filled == 0


def _small(value: float) -> float:
    return 0.0 if abs(value) > 1e308 else value


@given(RATES, CONDITIONS, st.lists(ITEM, min_size=STRAYS_BELIEVED, max_size=60))
def test_no_stream_is_dropped_for_ever(rate: float, conditions: dict[str, Any], items: list[Any]) -> None:
    lane = Conditioned(rate, 2, **conditions | {"on_nan": "zero"})
    strays = 0
    for record in records(items, conditions["time_unit"]):
        before = lane.counters.processed + lane.counters.zeroed, lane.counters.dropped_duplicate
        lane.take(record)
        if lane.counters.processed + lane.counters.zeroed > before[0]:
            strays = 0
        elif lane.counters.dropped_duplicate == before[1]:
            strays += 1
        assert strays < STRAYS_BELIEVED


@given(RATES, CONDITIONS, ITEMS, ITEMS)
def test_a_saved_state_continues_as_if_nothing_had_been(
    rate: float, conditions: dict[str, Any], before: list[Any], after: list[Any]
) -> None:
    items = records(before + after, conditions["time_unit"])
    whole, first, second = (Conditioned(rate, 2, **conditions) for _ in range(3))
    for record in items[: len(before)]:
        assert repr(whole.take(record)) == repr(first.take(record))
    second.conditioning.restore(json.loads(json.dumps(first.conditioning.saved(), allow_nan=False)))
    second.counters.restore(json.loads(json.dumps(first.counters.saved())))
    assert second.conditioning.saved() == first.conditioning.saved()
    for record in items[len(before) :]:
        assert repr(whole.take(record)) == repr(second.take(record))
    assert second.counters.to_dict() == whole.counters.to_dict()
    assert second.conditioning.saved() == whole.conditioning.saved()
    assert first.warnings + second.warnings == whole.warnings


@given(CONDITIONS, ITEMS, ITEMS)
def test_after_forgetting_all_begins_anew(conditions: dict[str, Any], before: list[Any], after: list[Any]) -> None:
    used, fresh = (Conditioned(10.0, 2, **conditions) for _ in range(2))
    for record in records(before, conditions["time_unit"]):
        used.take(record)
    used.conditioning.forget()
    for record in records(after, conditions["time_unit"]):
        assert repr(used.take(record)) == repr(fresh.take(record))


def saved(**conditions: Any) -> Any:
    lane = Conditioned(10.0, 2, **conditions)
    for place in range(3):
        lane.take(Record([place, 0.5], place / 10))
    return lane.conditioning.saved()


@pytest.mark.parametrize("conditions", [{"on_nan": "hold"}, {"max_gap": 1}, {"resample": True}])
def test_every_part_of_a_saved_state_is_checked(conditions: dict[str, Any]) -> None:
    """A part replaced by what it cannot be is refused, and what was remembered stays."""
    good = saved(**conditions)
    lane = Conditioned(10.0, 2, **conditions)
    lane.take(Record([7.0, 8.0], 100))
    before = lane.conditioning.saved()
    bad_times = [[good[0], times] for times in damaged(good[1], -1.5)] if good[1] else []
    for bad in (*damaged(good, "x", [[1]]), *bad_times, good[:1], [[good[0]], good[1]], None, 3, "", {}, []):
        with pytest.raises(StateError, match=r", expected "):
            lane.conditioning.restore(bad)
        assert lane.conditioning.saved() == before
    lane.conditioning.restore(good)
    assert lane.conditioning.saved() == good


def damaged(value: Any, *never: object) -> list[Any]:
    """The value with each of its parts replaced by things that are never right there, or with one of those added."""
    if not isinstance(value, list):
        return list(never)
    found: list[Any] = [[*value, bad] for bad in never]
    for place, part in enumerate(value):
        found += [[*value[:place], bad, *value[place + 1 :]] for bad in damaged(part, *never)]
    return found


@pytest.mark.parametrize(
    ("place", "bad"), [(1, None), (3, -1), (4, -1), (4, True), (5, 0), (5, None), (5, 10**9 + 1), (6, [])]
)
def test_saved_times_fit_together(place: int, bad: object) -> None:
    sample, times = saved(resample=True)
    assert times[5] == 10**9 and times[6] is None  # a period ahead, in ticks of a tenth of a nanosecond; no intervals
    lane = Conditioned(10.0, 2, resample=True)
    with pytest.raises(StateError, match="the time that was saved is damaged"):
        lane.conditioning.restore([sample, [*times[:place], bad, *times[place + 1 :]]])


def test_what_json_cannot_hold_is_not_saved() -> None:
    lane = Conditioned(10.0, 1, on_nan="hold")
    for target, kept in (([nan], None), ([1.5, inf], None), ([1.5, BIG], [1.5, BIG]), (None, None)):
        lane.take(Record((2.5,), target=target))
        assert lane.conditioning.saved() == [[[2.5], kept], None]


def test_other_options_than_those_of_the_saved_state_are_named() -> None:
    with pytest.raises(StateError, match="the times of records were looked at when the state was saved"):
        Conditioned(10.0, 2, on_nan="hold").conditioning.restore(saved(max_gap=1))
    with pytest.raises(StateError, match="the times of records were not looked at when the state was saved"):
        Conditioned(10.0, 2, max_gap=1).conditioning.restore(saved(on_nan="hold"))
    for other in ({"resample": True}, {"rate": 5.0, "max_gap": 1}):
        with pytest.raises(StateError, match="the state was saved with another rate or other resampling"):
            Conditioned(10.0, 2, **other).conditioning.restore(saved(max_gap=1))
    with pytest.raises(StateError, match="expected 3 finite numbers"):
        Conditioned(10.0, 3, max_gap=1).conditioning.restore(saved(max_gap=1))
    changed = Conditioned(10.0, 2, max_gap=5, on_gap="hold", on_nan="zero", time_unit="ms")
    changed.conditioning.restore(saved(max_gap=1))  # what is done about gaps may change, and how times are written
    assert changed.take(Record([1.0, 1.0], 300))[1] == [Record([1.0, 1.0], 300)]
    assert changed.counted == {"processed": 1}


def test_conditions_are_plain_data() -> None:
    assert replace(Conditions(max_gap=1), on_gap="hold") == Conditions(max_gap=1, on_gap="hold")
