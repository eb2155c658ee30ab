"""Tables, multipliers and elementary functions of the integer arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime import fixed_point as fx
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.integer_arithmetic import (
    hard_sigmoid_q16,
    log_softmax_q16,
    rounding_shift,
    sigmoid_q16,
    softmax_q15,
    tanh_q15,
)
from tests.golden.make_tables import exp2_table, tanh_table

TANH_ERROR = 1.52 * 2**-15  # docs/quantization.md
EXP2_ERROR = 1.2 * 2**-14  # docs/quantization.md
SOFTMAX_ERROR = 2e-4
LOG_SOFTMAX_ERROR = 17.0  # units of 2^-16 bits: docs/quantization.md


def test_the_tables_are_those_the_script_makes() -> None:
    assert tuple(zip(fx.TANH_C0, fx.TANH_C1, fx.TANH_C2, strict=True)) == tuple(tanh_table())
    assert tuple(zip(fx.EXP2_C0, fx.EXP2_C1, fx.EXP2_C2, strict=True)) == tuple(exp2_table())
    assert max(map(abs, fx.TANH_C0 + fx.TANH_C1 + fx.TANH_C2)) < 2**15


def test_tanh_over_every_argument() -> None:
    argument = np.arange(-(2**15) + 1, 2**15)
    value = tanh_q15(argument)
    assert np.max(np.abs(value / 2**15 - np.tanh(argument / 2**12))) <= TANH_ERROR
    assert np.array_equal(value, -tanh_q15(-argument))
    assert tanh_q15(np.array([0]))[0] == 0
    assert np.max(np.abs(value)) < 2**15


def test_powers_of_two_over_every_argument() -> None:
    fraction = np.arange(2**16)
    c0, c1, c2 = (np.array(row)[fraction >> 12] for row in (fx.EXP2_C0, fx.EXP2_C1, fx.EXP2_C2))
    position = (fraction & 4095) << 3
    value = c0 + rounding_shift(position * (c1 + rounding_shift(position * c2, 15)), 15)
    assert np.max(np.abs(value / 2**14 - 2.0 ** (-fraction / 2**16))) <= EXP2_ERROR


def test_tanh_saturates_beyond_its_range() -> None:
    far = np.array([2**15 - 1, 2**15, 2**40])
    assert np.all(tanh_q15(far) == tanh_q15(far)[0])
    assert np.all(tanh_q15(-far) == -tanh_q15(far))


def test_sigmoid_over_every_argument() -> None:
    argument = np.arange(-(2**15) + 1, 2**15)
    value = sigmoid_q16(argument)
    assert np.max(np.abs(value / 2**16 - 1 / (1 + np.exp(-argument / 2**11)))) <= TANH_ERROR / 2
    assert value.min() >= 1
    assert value.max() <= 2**16 - 1
    assert np.array_equal(2**16 - value, sigmoid_q16(-argument))


def test_hard_sigmoid_over_every_argument() -> None:
    argument = np.arange(-(2**17), 2**17)
    value = hard_sigmoid_q16(argument)
    assert np.max(np.abs(value / 2**16 - np.clip(argument / 2**16 + 0.5, 0, 1))) <= 2.0**-16
    assert value.min() == 1
    assert value.max() == 2**16 - 1
    assert np.array_equal(2**16 - value, hard_sigmoid_q16(-argument))


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=20))
def test_softmax_against_float64(logits: list[float]) -> None:
    argument = np.array([round(logit * 2**16) for logit in logits])
    exact = np.exp(argument / 2**16 - max(argument) / 2**16)
    exact /= exact.sum()
    value = softmax_q15(argument) / 2**15
    assert np.max(np.abs(value - exact)) <= SOFTMAX_ERROR
    assert abs(value.sum() - 1) <= len(logits) * 2**-15


def test_softmax_of_extreme_arguments() -> None:
    assert softmax_q15(np.array([2**30, -(2**30)])).tolist() == [2**15, 0]
    assert softmax_q15(np.array([5, 5, 5, 5])).tolist() == [2**13] * 4


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=20))
def test_log_softmax_against_float64(logits: list[float]) -> None:
    check_logarithms(np.array([round(logit * 2**16) for logit in logits]))


@pytest.mark.parametrize("size", [2, 100, 16384])
@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0, 30.0])
def test_log_softmax_of_many_numbers(size: int, spread: float) -> None:
    generator = np.random.default_rng(size)
    for _ in range(10):
        check_logarithms(np.rint(generator.normal(0, spread, size) * 2**16).astype(np.int64))


def check_logarithms(argument: np.ndarray) -> None:
    """Within what is stated, never above 0, and in the order of the arguments."""
    below = (argument - max(argument)) / 2**16
    exact = (below - np.log(np.exp(below).sum())) / math.log(2) * 2**16
    value = log_softmax_q16(argument)
    assert np.max(np.abs(value - exact)) <= LOG_SOFTMAX_ERROR
    assert value.max() <= 0
    assert np.all(np.diff(value[np.argsort(argument)]) >= 0)


def test_log_softmax_of_extreme_arguments() -> None:
    assert log_softmax_q16(np.array([2**30, -(2**30)])).tolist() == [0, -3098164010]  # beyond 32 bits
    assert log_softmax_q16(np.array([7])).tolist() == [0]
    assert log_softmax_q16(np.array([5, 5, 5, 5])).tolist() == [-(2**17)] * 4
    far = log_softmax_q16(np.array([2**30] * 16384 + [-(2**30)]))
    assert far.tolist() == [-14 * 2**16] * 16384 + [-3098164010 - 14 * 2**16]


def test_rounding_is_half_up_for_both_signs() -> None:
    assert rounding_shift(np.array([-3, -2, -1, 0, 1, 2, 3]), 1).tolist() == [-1, -1, 0, 0, 1, 1, 2]


@given(st.lists(st.floats(0, 2.0**28), min_size=1, max_size=6))
def test_multipliers_approximate_their_ratios(ratios: list[float]) -> None:
    integers, shift = fx.multipliers(ratios, "x")
    assert 1 <= shift <= fx.MAX_SHIFT
    assert max(integers) < fx.MULTIPLIER_LIMIT
    for integer, ratio in zip(integers, ratios, strict=True):
        assert abs(integer / 2**shift - ratio) <= 0.5 / 2**shift
    if shift < fx.MAX_SHIFT:
        assert max(integers) >= fx.MULTIPLIER_LIMIT // 2  # no significant bit is given away


@pytest.mark.parametrize("ratio", [2.0**29, 2.0**29 - 2.0**-20, math.inf, math.nan, -1.0])
def test_multipliers_refuse_by_name(ratio: float) -> None:
    with pytest.raises(ArtifactError, match="gru0"):
        fx.multipliers([0.5, ratio], "gru0")


def test_input_coefficients() -> None:
    a, b = fx.input_coefficients([2.0], [0.5], 0.25, "standardise")
    assert (a, b) == ([8.0], [0.5 - 16.0])
    with pytest.raises(ArtifactError, match="channel 1"):
        fx.input_coefficients([0.0, 1e30], [1.0, 1e-30], 0.01, "standardise")
