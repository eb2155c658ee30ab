"""Observers: minmax, percentile and mse against direct computations on the same values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru.observers import OBSERVERS, PERCENTILE, new_observer


def _reach(name: str, values: np.ndarray, limit: int = 127) -> float:
    observer = new_observer(name)
    for row in values.reshape(-1, 10):
        observer.observe(np.abs(row))
    return observer.reach(limit)


def _normal(seed: int = 0, size: int = 200_000) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, size)


def test_minmax_is_the_largest_magnitude() -> None:
    values = _normal()
    assert _reach("minmax", values) == np.max(np.abs(values))


def test_percentile_leaves_out_its_share() -> None:
    values = np.abs(_normal())
    reach = _reach("percentile", values)
    assert np.mean(values > reach) <= 1 - PERCENTILE / 100
    assert reach == pytest.approx(np.percentile(values, PERCENTILE), rel=0.01)


@pytest.mark.parametrize("limit", [127, 32767])
def test_mse_finds_the_range_with_the_smallest_error(limit: int) -> None:
    values = np.concatenate([_normal(size=199_990), np.full(10, 1e-9)])
    values[17] = 25.0

    def error(reach: float) -> float:
        step = reach / limit
        return float(np.mean((np.clip(np.round(values / step), -limit, limit) * step - values) ** 2))

    found = _reach("mse", values, limit)
    best = min(error(25.0 * share) for share in np.linspace(0.05, 1, 96))
    assert error(found) <= 1.02 * best
    if limit == 127:
        assert error(found) < 0.7 * error(25.0)  # minmax would spend the range on one value


def test_a_range_that_grows_by_magnitudes_is_followed() -> None:
    values = np.repeat(10.0 ** np.arange(-6, 7), 10)
    assert _reach("percentile", values) == pytest.approx(1e6, rel=0.01)
    assert _reach("mse", values) == pytest.approx(1e6, rel=0.2)


@pytest.mark.parametrize("name", ["percentile", "mse"])
def test_the_share_beyond_a_range_is_that_of_the_values(name: str) -> None:
    values = _normal()
    observer = new_observer(name)
    for row in values.reshape(-1, 10):
        observer.observe(np.abs(row))
    for reach in (3.0, 6.0, 100.0):
        assert observer.beyond(reach) == pytest.approx(np.mean(np.abs(values) > reach), rel=0.05)
    assert new_observer(name).beyond(1.0) == 0


@pytest.mark.parametrize("name", OBSERVERS)
def test_nothing_but_zeros_has_no_range(name: str) -> None:
    assert _reach(name, np.zeros(30)) == 0


@pytest.mark.parametrize("name", OBSERVERS)
def test_zeros_do_not_narrow_a_range(name: str) -> None:
    values = np.concatenate([np.zeros(999_990), np.full(10, 5.0)])
    assert _reach(name, values) == pytest.approx(5.0, rel=0.01)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=10, max_size=200), st.sampled_from(OBSERVERS))
def test_the_range_lies_between_nothing_and_a_bin_above_the_largest(numbers: list[float], name: str) -> None:
    values = np.resize(np.array(numbers), (len(numbers) // 10 + 1) * 10)
    largest = float(np.max(np.abs(values)))
    assert 0 <= _reach(name, values) <= largest * 1.002 + 1e-300
