"""Times of records: units, order, clocks that are set back, gaps, and steps at the model's rate against fractions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from math import inf, nan
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgegru_runtime import InputError
from edgegru_runtime.iso_time import nanoseconds
from edgegru_runtime.record import Record, Time
from edgegru_runtime.timeline import MAX_FILLED, RATE_INTERVALS, STRAYS_BELIEVED, TIME_UNITS
from tests.runtime.conditioned import Conditioned

WRONG_RATE = 16000 / 7  # neither it nor its period is a whole number of anything




def iso(nanoseconds: int) -> str:
    """Nanoseconds from 1970 as ISO 8601."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime(1970, 1, 1) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


@pytest.mark.parametrize("unit", TIME_UNITS)
@given(st.integers(-9_000_000_000, 9_000_000_000), st.integers(1, 10**9))
def test_integers_one_apart_are_told_apart(unit: str, seconds: int, more: int) -> None:
    first = seconds * 10**9 // TIME_UNITS[unit] + (more if unit == "ns" else 0)
    lane = Conditioned(None, time_unit=unit)
    assert lane.times([first, first + 1, first + 1, first]) == [[first], [first + 1], [], []]
    assert lane.counted == {"processed": 2, "dropped_duplicate": 1, "dropped_late": 1}


@pytest.mark.parametrize(
    ("unit", "t", "found"),
    [
        ("s", 0.25, 250_000_000),
        ("s", 1_700_000_000.125, 1_700_000_000_125_000_000),
        ("s", -2.5, -2_500_000_000),
        ("s", 1e-9, 1),
        ("s", 0.1, 100_000_000),
        ("s", 7, 7_000_000_000),
        ("ms", 0.125, 125_000),
        ("ms", 1_700_000_000_123, 1_700_000_000_123_000_000),
        ("us", 1.5, 1_500),
        ("ns", 1_700_000_000_000_000_001, 1_700_000_000_000_000_001),
        ("ns", 2.75, 3),
    ],
)
def test_numbers_are_in_their_unit(unit: str, t: float, found: int) -> None:
    for other, counted in ((-1, "dropped_late"), (0, "dropped_duplicate"), (1, "processed")):
        lane = Conditioned(None, time_unit=unit)
        lane.times([t, iso(found + other)])
        assert lane.counted == ({"processed": 2} if other == 1 else {"processed": 1, counted: 1})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T01:00:01+01:00", 10**9),
        ("1970-01-01 00:00:01", 10**9),
        ("1970-01-02", 86_400 * 10**9),
        ("1970-01-01T00:00:00.123456789Z", 123_456_789),
        ("1970-01-01T01:00:00,1234567+01:00", 123_456_700),
        ("1970-01-01T00:00:00.1234567891234Z", 123_456_789),
        ("1969-12-31T23:59:59.999999999", -1),
        ("19700101T000000.123456789", 123_456_789),
        ("1970-01-01T00:00:00+00:00:01.1234567", -1_123_456_000),  # the zone's fraction is not the second's
    ],
)
def test_iso_8601(text: str, found: int) -> None:
    assert nanoseconds(text) == found


@given(st.integers(-9_000_000_000 * 10**9, 9_000_000_000 * 10**9))
def test_iso_8601_to_the_nanosecond(found: int) -> None:
    assert nanoseconds(iso(found)) == found


@pytest.mark.parametrize(
    ("t", "message"),
    [
        ("noon", "the time is 'noon', expected a number or ISO 8601"),
        ("12:30:01", "the time is '12:30:01', expected a number or ISO 8601"),
        ("2016-12-31T23:59:60Z", "the time is '2016-12-31T23:59:60Z', expected a number or ISO 8601"),
        ("1677-12-31", "the time is '1677-12-31', expected one of the years 1678 to 2261"),
        ("2262-01-01", "the time is '2262-01-01', expected one of the years 1678 to 2261"),
        (nan, "the time is nan, expected a number of at most 9223372036 or ISO 8601"),
        (-inf, "the time is -inf, expected a number of at most 9223372036 or ISO 8601"),
        (9_223_372_037, "the time is 9223372037, expected a number of at most 9223372036 or ISO 8601"),
        (10**400, "the time is 1000"),
    ],
)
def test_what_is_no_time_is_named_and_changes_nothing(t: Time, message: str) -> None:
    lane = Conditioned(time_unit="s")
    lane.times([5])
    before = lane.conditioning.saved(), lane.counters.to_dict()
    with pytest.raises(InputError) as caught:
        lane.conditioning.take(Record([1.0], t))
    assert str(caught.value).startswith(message)
    assert (lane.conditioning.saved(), lane.counters.to_dict()) == before


def test_late_and_repeated_records_are_dropped() -> None:
    lane = Conditioned(time_unit="s", max_gap=2)
    assert lane.times([1, 2, 2, 1.5, 3, 2.5, 2, 3, 4]) == [[1], [2], [], [], [3], [], [], [], [4]]
    assert lane.counted == {"processed": 4, "dropped_late": 3, "dropped_duplicate": 2}


def test_late_by_max_gap_is_late() -> None:
    lane = Conditioned(time_unit="ms", max_gap=0.5)
    assert lane.times([1000, 500, 499, 500]) == [[1000], [], ["reset", 499], [500]]
    assert lane.counted == {"processed": 3, "dropped_late": 1, "clock_steps": 1}


def test_times_are_not_looked_at_unless_asked_for() -> None:
    lane = Conditioned(on_nan="hold")
    assert lane.times([5, 4, 4, None, "noon", 1e99]) == [[5], [4], [4], [None], ["noon"], [1e99]]
    assert lane.counted == {"processed": 6}


def test_a_clock_set_back_by_more_than_a_gap_begins_anew() -> None:
    lane = Conditioned(max_gap=1)
    assert lane.times([100, 100.1, 0, 0.1, 0.2]) == [[100], [100.1], ["reset", 0], [0.1], [0.2]]
    assert lane.counted == {"processed": 5, "clock_steps": 1}


@pytest.mark.parametrize("on_gap", ["hold", "zero"])
def test_a_clock_set_back_leaves_nothing_to_fill(on_gap: str) -> None:
    lane = Conditioned(max_gap=1, on_gap=on_gap)
    assert lane.times([100, 50, 50.1]) == [[100], ["reset", 50], [50.1]]
    assert lane.counted == {"processed": 3, "clock_steps": 1}


def test_a_clock_set_back_resets_nothing_where_gaps_do_not() -> None:
    lane = Conditioned(max_gap=1, on_gap="continue")
    assert lane.times([100, 50, 50.1]) == [[100], [50], [50.1]]
    assert lane.counted == {"processed": 3, "clock_steps": 1}


@pytest.mark.parametrize("conditions", [{"time_unit": "s"}, {"resample": True}, {"rate": 5.0}, {"max_gap": 1e6}])
def test_a_clock_set_back_is_believed_after_a_while(conditions: dict[str, object]) -> None:
    lane = Conditioned(**conditions)
    late = [index / 10 for index in range(STRAYS_BELIEVED + 2)]
    found = lane.times([100, *late])
    lost = STRAYS_BELIEVED - 1
    assert found == [[100], *[[]] * lost, ["reset", late[lost]], [late[lost + 1]], [late[lost + 2]]]
    assert lane.counted == {"processed": 4, "dropped_late": lost, "clock_steps": 1}


def test_late_records_between_others_never_set_the_clock() -> None:
    lane = Conditioned(None, time_unit="s")
    lane.times(t for newest in range(100, 200) for t in (newest, 5, 4, newest))
    assert lane.counted == {"processed": 100, "dropped_late": 200, "dropped_duplicate": 100}


def test_repeated_records_do_not_hide_that_the_clock_was_set_back() -> None:
    lane = Conditioned(time_unit="s")
    lane.times(t for index in range(STRAYS_BELIEVED) for t in (100, index))
    assert lane.counted == {
        "processed": 2,
        "dropped_duplicate": STRAYS_BELIEVED - 1,
        "dropped_late": STRAYS_BELIEVED - 1,
        "clock_steps": 1,
    }


def test_among_times_a_record_without_one_is_dropped_until_the_clock_is_gone() -> None:
    lane = Conditioned(max_gap=1)
    found = lane.times([5, None, 5.1, *[None] * (STRAYS_BELIEVED + 1)])
    assert found == [[5], [], [5.1], *[[]] * (STRAYS_BELIEVED - 1), ["reset", None], [None]]
    assert lane.counted == {"processed": 4, "dropped_untimed": STRAYS_BELIEVED, "clock_steps": 1}


@pytest.mark.parametrize("rate", [None, 10.0])
def test_the_first_time_among_records_without_is_a_clock_that_came(rate: float | None) -> None:
    lane = Conditioned(rate, time_unit="s")
    assert lane.times([None, None, 1e9, 1e9 + 1, None]) == [[None], [None], ["reset", 1e9], [1e9 + 1], []]
    assert lane.counted == {"processed": 4, "clock_steps": 1, "dropped_untimed": 1}


@pytest.mark.parametrize("t", [-5, 0.1, 0.15])
def test_a_clock_that_came_may_show_less_than_the_time_that_has_passed(t: float) -> None:
    lane = Conditioned(time_unit="s")
    assert lane.times([None, None, None, t]) == [[None], [None], [None], ["reset", t]]


def test_a_stream_that_has_just_begun_is_not_reset_again() -> None:
    lane = Conditioned(on_nan="reset", max_gap=1)
    lane.times([100])
    assert lane.take(Record([nan], 100.1)) == (True, [])
    assert lane.times([0, 0.1]) == [[0], [0.1]]
    assert lane.counted == {"processed": 3, "skipped": 1, "clock_steps": 1}


def test_a_reset_from_outside_forgets_the_time() -> None:
    lane = Conditioned(max_gap=10)
    lane.times([100, 101])
    lane.conditioning.forget()
    assert lane.times([99, 98]) == [[99], []]
    lane.conditioning.forget()
    assert lane.times([None, None]) == [[None], [None]]
    lane.conditioning.forget()
    assert lane.times([1e9]) == [[1e9]]
    assert lane.counted == {"processed": 6, "dropped_late": 1}


@pytest.mark.parametrize(
    ("on_gap", "found", "filled"),
    [
        (None, ["reset", 0.5], 0),
        ("reset", ["reset", 0.5], 0),
        ("continue", [0.5], 0),
        ("hold", [0.2, 0.3, 0.4, 0.5], 3),
        ("zero", [0.2, 0.3, 0.4, 0.5], 3),
    ],
)
def test_what_is_done_about_a_gap(on_gap: str | None, found: list[Time], filled: int) -> None:
    lane = Conditioned(max_gap=0.25, on_gap=on_gap)
    assert lane.times([0.0, 0.1, 0.5, 0.6]) == [[0.0], [0.1], found, [0.6]]
    assert lane.counted == {"processed": 4, "gaps": 1} | ({"filled": filled} if filled else {})


@pytest.mark.parametrize(("on_gap", "filled"), [("hold", [2.0, -7]), ("zero", [0.0, 0.0])])
def test_what_fills_a_gap(on_gap: str, filled: list[float]) -> None:
    lane = Conditioned(10.0, 2, max_gap=0.1, on_gap=on_gap)
    lane.take(Record([2.0, -7], 0, "a", 1, 10, [0.5]))
    last = Record([3.0, -8], 0.34, "a", 2, 20, [0.75])  # 3.4 steps later: two are missing
    made = [Record(filled, t, "a", 2, 20) for t in (0.1, 0.2)]
    assert [sample._replace(x=list(sample.x)) for sample in lane.take(last)[1]] == [*made, last]


@pytest.mark.parametrize(("end", "filled"), [(240, 1), (250, 2), (349, 2), (360, 3)])
def test_missing_samples_are_counted_to_the_nearest(end: int, filled: int) -> None:
    lane = Conditioned(10.0, max_gap=0.2, on_gap="hold", time_unit="ms")
    assert lane.times([0, end])[1] == [*range(100, 100 * filled + 1, 100), end]
    assert lane.counters.filled == filled


def test_an_interval_of_max_gap_is_none() -> None:
    lane = Conditioned(3.0, max_gap=1 / 3, rate=3.0)
    assert lane.times([None] * 5) == [[None]] * 5
    lane = Conditioned(max_gap=0.25, time_unit="ns")
    assert lane.times([0, 250_000_000, 500_000_001])[2] == ["reset", 500_000_001]
    assert lane.counted == {"processed": 3, "gaps": 1}


@pytest.mark.parametrize("conditions", [{"max_gap": 1, "on_gap": "hold"}, {"resample": True}])
def test_a_gap_too_long_to_fill_resets(conditions: dict[str, object]) -> None:
    lane = Conditioned(10.0, **conditions)
    end = MAX_FILLED / 10 + 1
    assert lane.times([0, end, end + 0.1]) == [[0], ["reset", end], [end + 0.1]]
    assert lane.counted.pop("gaps", 1) == 1
    assert lane.counters.long_gaps == 1 and lane.counters.processed == 3 and lane.counters.filled == 0


def exact_steps(times: list[int], values: list[float], rate: float) -> list[tuple[Fraction, Fraction]]:
    """The definition: at every period from the first time until the last, the value on the line between neighbours."""
    period = 10**9 / Fraction(rate)
    found, count = [], 0
    for (start, a), (end, b) in pairwise(zip(times, values, strict=True)):
        while (at := times[0] + count * period) < end:
            found.append((at, Fraction(a) + (Fraction(b) - Fraction(a)) * (at - start) / (end - start)))
            count += 1
    if (at := times[0] + count * period) == times[-1]:
        found.append((at, Fraction(values[-1])))
    return found


@given(
    st.sampled_from([10.0, 3.0, 50.0, WRONG_RATE, 0.1, 44100.0]),
    st.integers(-(2**62), 2**62),
    st.lists(st.tuples(st.integers(1, 400), st.floats(-1e6, 1e6)), min_size=2, max_size=12),
)
@example(10.0, 0, [(1, 1.0), (100, 2.0), (50, 4.0), (50, 0.0)])
def test_resampling_is_what_fractions_give(rate: float, start: int, jittered: list[tuple[int, float]]) -> None:
    unit = round(10**7 / rate)  # nanoseconds: a hundredth of a step
    times = [start + unit * sum(interval for interval, _ in jittered[:count]) for count in range(len(jittered))]
    values = [value for _, value in jittered]
    lane = Conditioned(rate, time_unit="ns", resample=True)
    taken = [lane.take(Record([value], t)) for t, value in zip(times, values, strict=True)]
    found = [sample for _, samples in taken for sample in samples]
    expected = exact_steps(times, values, rate)
    assert [sample.t for sample in found] == [(2 * at + 1) // 2 for at, _ in expected]
    size = max(map(abs, values))
    assert all(abs(sample.x[0] - value) <= 2**-51 * size for sample, (_, value) in zip(found, expected, strict=True))
    assert lane.counted == {"processed": len(times)} and not any(reset for reset, _ in taken)


def test_a_sample_on_the_grid_is_itself() -> None:
    lane = Conditioned(10.0, resample=True)
    record = Record([0.1], 0.2, "a", 3, 30, [nan])
    lane.times([0, 0.1])
    assert lane.take(record)[1] == [record]


def test_a_constant_stays_what_it_is() -> None:
    lane = Conditioned(WRONG_RATE, resample=True)
    found = [lane.take(Record([0.1], t))[1] for t in (0, 0.01, 0.02)]
    assert {sample.x[0] for samples in found for sample in samples} == {0.1} and len(found[2]) > 20


def test_the_millionth_step_lies_where_it_would_as_the_first() -> None:
    begin, period = 1_700_000_000_123_456_789, 10**9 / Fraction(WRONG_RATE)
    lane = Conditioned(WRONG_RATE, time_unit="ns", resample=True)
    conditioning = lane.conditioning
    for count in range(0, 1_000_001, 50_000):  # the steps in between are made only when asked for
        _, samples = conditioning.take(Record([float(count)], begin + int(count * period)))
    found = next(sample for sample in conditioning.take(Record([0.0], begin + int(1_000_001 * period)))[1])
    assert found.t == (2 * (begin + 1_000_000 * period) + 1) // 2
    assert lane.counted == {"processed": 22}
    del samples


def test_jitter_does_not_move_the_steps() -> None:
    random, rate = Random(7), WRONG_RATE
    times = [index * 1_000_000 + random.randrange(-400_000, 400_000) for index in range(5_000)]
    lane = Conditioned(rate, time_unit="ns", resample=True)
    steps = [t for found in lane.times(times) for t in found]
    assert len(steps) == (times[-1] - times[0]) * Fraction(rate) // 10**9 + 1
    assert steps[-1] == (2 * (times[0] + (len(steps) - 1) * 10**9 / Fraction(rate)) + 1) // 2


def test_records_without_time_are_resampled_by_their_rate() -> None:
    lane = Conditioned(10.0, resample=True, rate=20.0)
    assert lane.values([0, 1, 2, 3, 4]) == [[[0]], [], [[2]], [], [[4]]]
    lane = Conditioned(30.0, resample=True, rate=20.0)
    found = [x for step in lane.values([0, 3, 6]) for (x,) in step]
    assert found == pytest.approx([0, 2, 4, 6], rel=1e-15)
    assert found[-1] == 6  # on the grid, though neither period is a whole number of nanoseconds
    lane = Conditioned(3.0, resample=True)
    assert lane.values([5, 7, 9]) == [[[5]], [[7]], [[9]]]


@pytest.mark.parametrize(
    ("unit", "times", "found"),
    [
        ("s", [0, 1], [0, 0.25, 0.5, 0.75, 1]),
        ("s", [0.5, 1.0], [0.5, 0.75, 1.0]),
        ("ms", [1_700_000_000_000, 1_700_000_000_500], [1_700_000_000_000, 1_700_000_000_250, 1_700_000_000_500]),
        ("ms", ["2024-01-01T00:00:00Z", 1_704_067_200_250], ["2024-01-01T00:00:00Z", 1_704_067_200_250]),
        (
            "s",
            ["2024-01-01T00:00:00+01:00", "2023-12-31T23:00:00.300Z"],
            ["2024-01-01T00:00:00+01:00", "2023-12-31T23:00:00.250000+00:00"],
        ),
        ("s", ["2024-01-01", "2024-01-01T00:00:00.25"], ["2024-01-01", "2024-01-01T00:00:00.25"]),
        ("s", ["2024-01-01", "2024-01-01T00:00:00.3"], ["2024-01-01", "2024-01-01T00:00:00.250000"]),
    ],
)
def test_times_are_written_as_the_input_writes_them(unit: str, times: list[Time], found: list[Time]) -> None:
    lane = Conditioned(4.0, resample=True, time_unit=unit)
    steps = [t for step in lane.times(times) for t in step]
    assert steps == found and list(map(type, steps)) == list(map(type, found))


@pytest.mark.parametrize(
    ("on_gap", "values", "filled"),
    [("hold", [3, 3, 3, 7, 5], 3), ("zero", [0, 0, 0, 7, 5], 3), ("continue", [4, 5, 6, 7, 5], 0)],
)
def test_gaps_when_resampling(on_gap: str, values: list[float], filled: int) -> None:
    lane = Conditioned(10.0, resample=True, max_gap=0.2, on_gap=on_gap, time_unit="ms")
    lane.take(Record([3.0], 0))
    steps = [sample for t, x in ((400, 7.0), (500, 5.0)) for sample in lane.take(Record([x], t))[1]]
    assert [sample.x[0] for sample in steps] == values
    assert [sample.t for sample in steps] == [100, 200, 300, 400, 500]
    assert lane.counters.gaps == 1 and lane.counters.filled == filled


def test_the_steps_go_on_between_records_after_a_filled_gap() -> None:
    lane = Conditioned(10.0, resample=True, max_gap=0.2, on_gap="zero", time_unit="ms")
    lane.take(Record([3.0], 0))
    assert [(s.x[0], s.t) for s in lane.take(Record([7.0], 350))[1]] == [(0, 100), (0, 200), (0, 300)]
    assert [(s.x[0], s.t) for s in lane.take(Record([9.0], 450))[1]] == [(8, 400)]
    assert lane.counted == {"processed": 3, "gaps": 1, "filled": 3}


def test_a_gap_that_resets_moves_the_grid() -> None:
    lane = Conditioned(10.0, resample=True, max_gap=0.2, time_unit="ms")
    assert lane.times([0, 100, 333, 400, 500]) == [[0], [100], ["reset", 333], [], [433]]


def test_measured_targets_are_resampled_too() -> None:
    lane = Conditioned(10.0, resample=True, time_unit="ms")
    lane.take(Record([0.0], 0, target=[1.0]))
    assert lane.take(Record([4.0], 200, target=[2.0]))[1][0] == Record([2.0], 100, target=[1.5])
    assert lane.take(Record([4.0], 350, target=[nan]))[1][0].target is None
    assert lane.take(Record([4.0], 450, target=[2.0]))[1][0].target is None
    assert lane.take(Record([4.0], 550))[1][0].target is None


def test_integers_beyond_float64_are_resampled() -> None:
    lane = Conditioned(10.0, resample=True, time_unit="ms")
    lane.take(Record([10**400], 0))
    assert lane.take(Record([0.0], 150))[1][0].x[0] == pytest.approx(1.7976931348623157e308 / 3)


def nanoseconds_apart(intervals: list[int]) -> list[int]:
    return [sum(intervals[:count]) for count in range(len(intervals) + 1)]


STEP = 20_000_000  # of a model at 50 Hz


@pytest.mark.parametrize(
    "intervals",
    [
        [STEP] * 100,
        [STEP * 104 // 100] * 100,
        [STEP - 9_000_000, STEP + 9_000_000] * 50,  # jitter
        [STEP, STEP, STEP * 2] * 30,  # lost samples
        [1, 1, 1, STEP * 4 - 3] * 30,  # bursts
        [STEP * 2] * (RATE_INTERVALS - 1),  # too few to know
        [STEP * 50, *[STEP] * 100],  # a gap says nothing
    ],
)
def test_an_input_at_the_rate_of_the_model(intervals: list[int]) -> None:
    lane = Conditioned(50.0, max_gap=0.2, on_gap="continue", time_unit="ns")
    lane.times(nanoseconds_apart(intervals))
    assert lane.warnings == [] and lane.counters.rate_mismatches == 0


@pytest.mark.parametrize(
    ("intervals", "found"),
    [
        ([STEP * 2] * 100, "25"),
        ([STEP * 107 // 100] * RATE_INTERVALS, "46.73"),
        ([STEP // 1000] * 100, "5e+04"),
        ([STEP * 2 - 5_000_000, STEP * 2 + 5_000_000] * 50, "25"),
    ],
)
def test_an_input_at_another_rate_is_told_once(intervals: list[int], found: str) -> None:
    lane = Conditioned(50.0, time_unit="ns")
    lane.times(nanoseconds_apart(intervals))
    sentence = f"the input has {found} samples per second by its times in ns, expected 50 as the model"
    assert lane.warnings == [sentence]
    assert lane.counted == {"processed": len(intervals) + 1, "rate_mismatches": 1}


def test_a_rate_that_is_declared_is_compared_too() -> None:
    lane = Conditioned(50.0, rate=25.0)
    lane.times([None] * 50)
    assert lane.warnings == ["the input has 25 samples per second, expected 50 as the model"]
    lane = Conditioned(50.0)
    lane.times([None] * 50)
    assert lane.warnings == []


def test_of_many_sensors_one_is_named() -> None:
    first, second = (Conditioned(50.0, rate=25.0) for _ in range(2))
    second.counters.rate_mismatches = 1  # as another sensor has counted
    for lane in (first, second):
        lane.times([None] * 50)
    assert len(first.warnings) == 1 and second.warnings == []
    assert second.counters.rate_mismatches == 2


def test_resampling_takes_any_rate() -> None:
    lane = Conditioned(50.0, rate=25.0, resample=True)
    lane.times([None] * 50)
    assert lane.warnings == [] and lane.counters.steps == 99


def test_now_is_no_input() -> None:
    """Replays are exact: a recording of any day is what it is."""
    recorded = datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)
    times = [(recorded + timedelta(milliseconds=300 * index)).isoformat() for index in range(9)]
    lane = Conditioned(max_gap=1)
    assert lane.times(times) == [[t] for t in times]
