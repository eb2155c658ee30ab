"""The rules for every recording: equal timestamps, missing values, resampling."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgegru.data import DataConfig, Recording
from edgegru.data.cleaning import clean
from edgegru.data.resampling import resample
from edgegru.data.samples import Samples
from edgegru_runtime.errors import ConfigError, DataError

NAN = float("nan")


def cleaned(
    x: list[float], t: list[float] | None = None, missing: str = "hold", ticks: float = 1
) -> tuple[Recording, Counter[str]]:
    samples = Samples(
        "r", "g", Path("f.csv"), range(2, 2 + len(x)), None if t is None else np.array(t), np.array(x)[:, None], None
    )
    counts: Counter[str] = Counter()
    return clean(samples, ticks, DataConfig(missing=missing), ("c",), counts), counts


def test_equal_timestamps_keep_the_first_and_are_counted() -> None:
    recording, counts = cleaned([1, 2, 3, 4, 5], [7, 7, 7, 8, 8])
    np.testing.assert_array_equal(recording.x[:, 0], [1, 4])
    np.testing.assert_array_equal(recording.t, [0, 1])
    assert counts["equal timestamps"] == 3


def test_milliseconds_become_exact_seconds() -> None:
    recording, _ = cleaned([1, 2, 3], [1657533977810, 1657533977830, 1657533977850], ticks=1000)
    assert recording.t is not None
    assert recording.t.tolist() == [0, 0.02, 0.04]


def test_missing_values_hold_the_last_and_before_the_first_the_first() -> None:
    recording, counts = cleaned([NAN, 2, NAN, NAN, 5, NAN])
    np.testing.assert_array_equal(recording.x[:, 0], [2, 2, 2, 2, 5, 5])
    assert counts["missing values"] == 4


def test_the_first_of_equal_timestamps_counts_even_when_missing() -> None:
    recording, counts = cleaned([1, NAN, 3], [0, 1, 1])
    np.testing.assert_array_equal(recording.x[:, 0], [1, 1])
    assert counts == {"equal timestamps": 1, "missing values": 1}


def test_missing_values_can_be_refused() -> None:
    with pytest.raises(DataError, match=r"f.csv, line 3: no value in channel 'c'"):
        cleaned([1, NAN], missing="error")


@given(st.lists(st.one_of(st.just(NAN), st.floats(-9, 9)), min_size=1, max_size=20))
def test_holding_is_the_loop_that_says_it(values: list[float]) -> None:
    present = [value for value in values if value == value]
    if not present:
        with pytest.raises(DataError, match="no value in the whole recording"):
            cleaned(values)
        return
    last, expected = present[0], []
    for value in values:
        last = value if value == value else last
        expected.append(last)
    recording, _ = cleaned(values)
    np.testing.assert_array_equal(recording.x[:, 0], np.array(expected, np.float32))


def recording_of(t: NDArray[np.float64], x: NDArray[np.float32], y: object = None) -> Recording:
    return Recording("r", t, x, y, "g")  # type: ignore[arg-type]  # each test gives a valid y


@st.composite
def timed(draw: st.DrawFn) -> tuple[list[int], list[float], float]:
    """Milliseconds from 0, strictly increasing, a value each, and a rate that divides 1000."""
    steps = draw(st.lists(st.integers(1, 200), max_size=30))
    ms = [0]
    for step in steps:
        ms.append(ms[-1] + step)
    number = st.floats(width=32, allow_nan=False, allow_infinity=False)
    values = draw(st.lists(number, min_size=len(ms), max_size=len(ms)))
    return ms, values, draw(st.sampled_from([1.0, 20.0, 50.0, 100.0, 1000.0]))


@given(timed())
def test_resampling_interpolates_and_labels_by_the_rule(case: tuple[list[int], list[float], float]) -> None:
    ms, values, rate = case
    x = np.array(values, np.float32)[:, None]
    labels = tuple(str(index) for index in range(len(ms)))
    result = resample(recording_of(np.array(ms) / 1000, x, labels), rate)
    step = round(1000 / rate)
    frames = list(range(0, ms[-1] + 1, step))
    assert len(result.x) == len(frames)
    assert isinstance(result.y, tuple)
    for frame, value, label in zip(frames, result.x[:, 0], result.y, strict=True):
        after = next(index for index, time in enumerate(ms) if time >= frame)
        assert label == str(after)
        before = after if ms[after] == frame else after - 1
        low, high = sorted((x[before, 0], x[after, 0]))
        assert low <= value <= high
        if before == after:
            assert value == x[after, 0]
    np.testing.assert_array_equal(result.t, np.array(frames) / 1000)


@given(timed(), st.floats(0.5, 300))
def test_resampling_stays_within_the_range_and_constants_constant(
    case: tuple[list[int], list[float], float], rate: float
) -> None:
    ms, values, _ = case
    x = np.stack([np.array(values, np.float32), np.full(len(ms), values[0], np.float32)], axis=1)
    result = resample(recording_of(np.array(ms) / 1000, x), rate)
    assert result.x.dtype == np.float32
    assert (result.x.min(axis=0) >= x.min(axis=0)).all()
    assert (result.x.max(axis=0) <= x.max(axis=0)).all()
    assert (result.x[:, 1] == x[0, 1]).all()


def test_linear_signals_stay_linear() -> None:
    t = np.array([0, 0.3, 0.31, 1.0])
    result = resample(recording_of(t, (2 * t + 1).astype(np.float32)[:, None], (4 * t)[:, None]), 10)
    np.testing.assert_allclose(result.x[:, 0], 1 + 0.2 * np.arange(11), atol=1e-6)
    assert isinstance(result.y, np.ndarray)
    np.testing.assert_allclose(result.y[:, 0], 0.4 * np.arange(11), atol=1e-12)


def test_missing_targets_stay_missing_but_only_around_them() -> None:
    t = np.arange(5) / 10
    y = np.array([[0.0], [1.0], [NAN], [3.0], [4.0]])
    result = resample(recording_of(t, np.zeros((5, 1), np.float32), y), 20)
    assert isinstance(result.y, np.ndarray)
    np.testing.assert_array_equal(np.isnan(result.y[:, 0]), [False] * 3 + [True] * 3 + [False] * 3)


def test_numbers_that_are_labels_are_not_interpolated() -> None:
    t = np.array([0.0, 0.09, 0.21])
    y = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, NAN]])
    result = resample(recording_of(t, np.zeros((3, 1), np.float32), y), 20, "step_labels")
    np.testing.assert_array_equal(result.y, [[0, 1], [1, 1], [0, NAN], [0, NAN], [0, NAN]])


@pytest.mark.parametrize("last", [29, 30, 31, 32])
def test_rounded_timestamps_lose_no_frame(last: int) -> None:
    start = 1657533977.81  # UNIX seconds are rounded to 2.4e-7
    t = np.array([start + 0.02 * index for index in range(last)]) - start
    assert (t < np.arange(last) / 50).any()
    labels = tuple(map(str, range(last)))
    result = resample(recording_of(t, t.astype(np.float32)[:, None], labels), 50)
    assert result.y == labels


def test_without_timestamps_nothing_is_resampled() -> None:
    recording = Recording("r", None, np.zeros((3, 1), np.float32), None, "g")
    assert resample(recording, 50) is recording


def test_a_mistaken_unit_of_time_is_refused() -> None:
    t = np.array([0, 1e9])
    with pytest.raises(DataError, match="is timestamp_unit right"):
        resample(recording_of(t, np.zeros((2, 1), np.float32)), 50)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "xls"}, "data.format is 'xls', expected one of auto"),
        ({"device": "hat"}, "data.device"),
        ({"timestamp_unit": "us"}, "data.timestamp_unit"),
        ({"missing": "zero"}, "data.missing"),
        ({"target": "label"}, "data.target"),
        ({"split": "random"}, "data.split"),
        ({"rate": -1.0}, "data.rate"),
        ({"rate": NAN}, "data.rate"),
        ({"horizon": -1}, "data.horizon"),
        ({"horizon": 10**9}, "data.horizon"),
        ({"target": "forecast"}, "needs a horizon"),
        ({"target": "step_label", "horizon": 2}, "no other target has one"),
        ({"target": "step_label", "target_columns": ("a",)}, "use label_column"),
        ({"validation_fraction": 1.0}, "data.validation_fraction"),
        ({"test_fraction": -0.1}, "data.test_fraction"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"channels": ("a", "a")}, "names 'a' twice"),
        ({"validation_groups": ("a",), "test_groups": ("a",)}, "group 'a' is in"),
    ],
)
def test_options_are_checked(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        DataConfig(**options)  # type: ignore[arg-type]  # every option has a wrong value of the right type
