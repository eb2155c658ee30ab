"""Smoothing in integers: each kind against its equation, where the slowest end up, and what is remembered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime import StateError
from edgegru_runtime.smoothing import LARGEST, Smoothing, fixed, fixed_values, make_smoothing
from tests.runtime import document_deciding as document

kinds = st.one_of(
    st.integers(2, 12).map(lambda n: f"mean:{n}"),
    st.integers(2, 12).map(lambda n: f"median:{n}"),
    st.integers(1, 32767).map(lambda a: f"ema:{a / 32768:.20f}"),
)
rows = st.integers(1, 3).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, 2**15) | st.integers(0, LARGEST), min_size=size, max_size=size), min_size=1, max_size=30
    )
)


def made(kind: str, size: int = 1) -> Smoothing:
    smoothing = make_smoothing(kind, size)
    assert smoothing is not None
    return smoothing


def smoothed(kind: str, *values: int) -> list[int]:
    smoothing = made(kind)
    return [smoothing.add([value])[0] for value in values]


@given(kinds, rows)
def test_every_kind_is_its_equation(kind: str, values: list[list[int]]) -> None:
    smoothing = made(kind, len(values[0]))
    for step, row in enumerate(values, 1):
        expected = [document.smoothed(kind, column[:step]) for column in map(list, zip(*values, strict=True))]
        assert smoothing.add(row) == expected


@given(st.integers(1, 32767), st.lists(st.integers(0, LARGEST), min_size=1, max_size=10))
def test_an_exponential_mean_is_its_equation_in_every_bit(a: int, values: list[int]) -> None:
    share = f"{a / 32768:.20f}"
    smoothing = made(f"ema:{share}")
    for value in values:
        smoothing.add([value])
    assert smoothing.saved() == [document.exponential(share, values)]


def test_a_mean_is_of_the_steps_there_are_and_rounds_a_half_up() -> None:
    assert smoothed("mean:3", 4, 5, 0, 0, 0) == [4, 5, 3, 2, 0]  # 4.5 → 5, 5/3 → 2
    assert smoothed("mean:2", 2, 1, 0) == [2, 2, 1]  # 1.5 → 2, 0.5 → 1


def test_a_median_leaves_out_single_peaks() -> None:
    assert smoothed("median:3", 5, 5, 90, 5, 0, 0) == [5, 5, 5, 5, 5, 0]
    assert smoothed("median:4", 1, 2, 9, 4) == [1, 2, 2, 3]  # (1 + 2 + 1) >> 1 = 2


def test_an_exponential_mean_weighs_the_newest_step() -> None:
    assert smoothed("ema:0.25", 0, 1000, 1000, 0) == [0, 250, 438, 328]


@pytest.mark.parametrize(
    ("kind", "first", "then", "steps"),
    [
        ("ema:0.00003", 0, 1, 40_000),
        ("ema:0.00000001", 1, 0, 40_000),
        ("ema:0.00003", 300, 0, 300_000),
        ("ema:0.001", 0, 32768, 15_000),
        ("ema:0.001", 32768, 12345, 15_000),
    ],
)
def test_the_slowest_mean_arrives(kind: str, first: int, then: int, steps: int) -> None:
    smoothing = made(kind)
    smoothing.add([first])
    *_, last = (smoothing.add([then]) for _ in range(steps))
    assert last == [then]


def test_no_number_is_too_large_for_64_bits() -> None:
    smoothing = made("ema:0.99998")  # the largest share that is none but 1
    assert [smoothing.add([value]) for value in (LARGEST, 0, LARGEST)][-1][0] <= LARGEST
    assert max(smoothing.saved()) < 2**47
    window = made("mean:9999")
    for _ in range(9999):
        assert window.add([LARGEST]) == [LARGEST]
    assert 2 * 9999 * LARGEST + 9999 < 2**46


@pytest.mark.parametrize("kind", ["none", "mean:1", "median:1", "ema:1", "ema:1.0", "ema:0.99999"])
def test_what_smooths_nothing_is_none(kind: str) -> None:
    assert make_smoothing(kind, 3) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, 0),
        (1.0, 32768),
        (0.5, 16384),
        (1.5 / 65536, 1),
        (0.9999 / 65536, 0),
        (1 / 65536, 1),
        (3 / 65536, 2),
        (0.49999997 / 32768, 0),  # in single precision the sum would be 1
        (-0.25, 0),
        (65535.9, 2147480371),
        (65535.99999, LARGEST),
        (1e300, LARGEST),
        (float("inf"), 0),
        (float("-inf"), 0),
        (float("nan"), 0),
    ],
)
def test_numbers_as_integers(value: float, expected: int) -> None:
    assert fixed(value) == expected
    assert fixed_values([0.25, value, 0.5]) == [8192, expected, 16384]
    assert fixed_values([value]) == [expected]


@given(st.lists(st.floats(width=32), min_size=1, max_size=5))
def test_numbers_together_are_as_each_alone(values: list[float]) -> None:
    assert fixed_values(values) == [fixed(value) for value in values] == [document.integer(value) for value in values]


@given(kinds, rows, st.integers(0, 30))
def test_what_is_saved_goes_on_alike(kind: str, values: list[list[int]], cut: int) -> None:
    size = len(values[0])
    smoothing, later = made(kind, size), made(kind, size)
    for row in values[:cut]:
        smoothing.add(row)
    later.restore(smoothing.saved())
    assert later.saved() == smoothing.saved()
    for row in values[cut:]:
        assert later.add(row) == smoothing.add(row)
    later.reset()
    assert later.saved() == []
    assert later.add(values[0]) == made(kind, size).add(values[0])


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("mean:2", [1]),
        ("median:2", [1, 2, 3, 4, 5, 6]),
        ("mean:2", [1, LARGEST + 1]),
        ("ema:0.5", [1]),
        ("ema:0.5", [1, 2, 3, 4]),
        ("ema:0.5", [1, 2**47]),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, numbers: list[int]) -> None:
    smoothing = made(kind, 2)
    smoothing.add([7, 8])
    before = smoothing.saved()
    with pytest.raises(StateError, match="the saved"):
        smoothing.restore(numbers)
    assert smoothing.saved() == before
