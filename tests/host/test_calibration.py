"""Ranges: observed step by step with carried state; unusable data refused."""

from __future__ import annotations

import numpy as np
import pytest

from edgegru.calibration import calibrate, value_outputs
from edgegru_runtime.errors import CalibrationError
from edgegru_runtime.operands import expected_operands
from edgegru_runtime.reference import Reference
from tests.builders import (
    from_arrays,
    mixed_artifact,
    random_artifact,
    random_config,
    random_floats,
    with_initial_states,
)


def _recording(steps: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (steps, size)).astype(np.float32)


def test_the_range_of_h_is_that_of_the_stream() -> None:
    artifact = random_artifact(0, 4, (7,))
    x = _recording(50, 4)
    engine = Reference(artifact)
    state = engine.new_state()
    largest = 0.0
    for sample in x:
        engine.step(state, sample)
        largest = max(largest, float(np.max(np.abs(state[0]))))
    ranges = calibrate(artifact, [x])
    assert ranges.operand["gru0"].reach(127) == pytest.approx(largest, rel=1e-6)
    assert ranges.steps == 50


def test_state_is_carried_in_a_recording_and_not_between_recordings() -> None:
    artifact = random_artifact(0, 4, (7,))
    x = np.full((40, 4), 5.0, np.float32)
    x[0] = 4.0
    whole = calibrate(artifact, [x]).operand["gru0"].reach(127)
    pieces = calibrate(artifact, [x[i : i + 1] for i in range(len(x))]).operand["gru0"].reach(127)
    assert pieces < whole


@pytest.mark.parametrize("reset", ["after", "before"])
def test_every_operand_has_a_range(reset: str) -> None:
    artifact = random_artifact(1, 3, (5, 6), reset=reset, head="identity", hidden_linear=(4, "relu"))
    ranges = calibrate(artifact, [_recording(20, 3)])
    assert tuple(ranges.operand) == expected_operands(artifact.config)
    assert all(observer.reach(127) > 0 for observer in ranges.operand.values())
    assert {name: len(observers) for name, observers in ranges.units.items()} == {"hidden0": 4}
    assert tuple(ranges.output) == value_outputs(artifact.config) == ("dense",)
    assert ranges.output["dense"].shape == (4,)


@pytest.mark.parametrize("observer", ["minmax", "percentile"])
def test_every_unit_without_a_bound_is_observed_for_itself(observer: str) -> None:
    artifact = mixed_artifact(1, candidate="linear")
    x = _recording(1500, 3)
    seen: dict[str, list[np.ndarray]] = {}
    engine = Reference(artifact, trace=lambda name, value: seen.setdefault(name, []).append(value))
    state = engine.new_state()
    for sample in x:
        engine.step(state, sample)
    ranges = calibrate(artifact, [x], observer)
    assert set(ranges.units) == {"conv0", "gru0", "sum", "product"}
    for name, observers in ranges.units.items():
        magnitudes = np.abs(np.array(seen[name], np.float64))
        exact = magnitudes.max(axis=0) if observer == "minmax" else np.percentile(magnitudes, 99.99, axis=0)
        tolerance = 1e-6 if observer == "minmax" else 0.05
        np.testing.assert_allclose([one.reach(127) for one in observers], exact, rtol=tolerance)


@pytest.mark.parametrize(
    ("recordings", "message"),
    [
        ([], "no samples"),
        ([np.zeros((0, 3), np.float32)], "no samples"),
        ([np.ones((9, 3), np.float32)], "same"),
        ([np.ones((9, 4), np.float32)], r"\(9, 4\), expected \(steps, 3\)"),
        ([np.array([[1, 2, 3], [1, np.nan, 3]], np.float32)], "not finite at step 1"),
        ([np.array([[1, 2, 3], [1, np.inf, 3]], np.float32)], "not finite at step 1"),
    ],
)
def test_unusable_data_is_refused(recordings: list[np.ndarray], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        calibrate(random_artifact(0, 3), recordings)


def test_an_unknown_observer_is_refused_by_name() -> None:
    with pytest.raises(CalibrationError, match="unknown observer 'guess', expected one of minmax, percentile, mse"):
        calibrate(random_artifact(0, 3), [_recording(9, 3)], "guess")


def test_what_a_recording_begins_with_is_in_the_range() -> None:
    artifact = random_floats(with_initial_states(random_config(3, (4,), candidate="linear")), 0)
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["gru0.h0"][1] = -1000
    ranges = calibrate(from_arrays(artifact.config, arrays), [_recording(20, 3)])
    assert ranges.units["gru0"][1].reach(127) == 1000
    assert ranges.units["gru0"][0].reach(127) < 1000
