"""Residuals: what is compared with what, the score, when there is none, and the anomaly that it switches."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.data.targets import forecast_labels
from edgegru_export.saving import artifact_bytes
from edgegru_runtime import ArtifactError, InputError, StateError
from edgegru_runtime.artifact import parse_artifact
from edgegru_runtime.config_json import config_to_json, parse_config
from edgegru_runtime.decisions import Decisions, changed_decision, decide_scores, scores, target_names
from edgegru_runtime.model_config import DecisionConfig, ModelConfig, OutputConfig, ResidualConfig
from edgegru_runtime.residuals import Residuals, score, scored_labels
from edgegru_runtime.smoothing import RecentPeak
from tests.builders import changed, random_config, random_floats
from tests.runtime import document_deciding as document

# Of the channels c0, c1, c2: c2 and c0, two steps ahead.
FORECAST = changed(
    random_config(3, output_size=4, head="identity", rate=None),
    outputs=(OutputConfig("output", "forecast", forecast_labels(("c2", "c0"), 2), (), 2),),
)
VALUE = random_config(3, output_size=2, head="identity", rate=None)
SCALE = (0.5, 2.0)


def scored(**settings: Any) -> DecisionConfig:
    return DecisionConfig(**{"residual": ResidualConfig("output", SCALE), "threshold": 4.0, **settings})


def test_a_forecast_is_compared_with_the_next_sample() -> None:
    residuals = Residuals(FORECAST, "output")
    assert residuals.step(0, [1.0, 2.0, 3.0], None, ([10.0, 20.0, 30.0, 40.0],)) is None
    assert residuals.step(1, [21.0, 7.0, 12.0], None, ([0.0] * 4,)) == [2.0, 1.0]  # c2 was to be 10, c0 20
    assert residuals.step(2, [5.0, 7.0, 6.0], None, ([0.0] * 4,)) == [6.0, 5.0]


def test_a_value_is_compared_with_what_was_measured() -> None:
    residuals = Residuals(VALUE, "output")
    assert residuals.step(0, [1.0, 2.0, 3.0], [1.0, 2.0], ([3.0, 5.0],)) == [-2.0, -3.0]
    assert residuals.step(1, [1.0, 2.0, 3.0], None, ([3.0, 5.0],)) is None
    assert residuals.step(2, [1.0, 2.0, 3.0], [5.0, 5.0], ([3.0, 5.0],)) == [2.0, 0.0]


def test_what_records_must_bring() -> None:
    assert target_names(VALUE, scored()) == ("value 0", "value 1")
    assert target_names(VALUE, DecisionConfig()) == ()
    assert target_names(FORECAST, scored()) == ()
    assert scored_labels(FORECAST.outputs[0]) == ("c2+1", "c0+1")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_gives_no_score(bad: float) -> None:
    residuals = Residuals(VALUE, "output")
    assert residuals.step(0, [], [1.0, float("nan")], ([3.0, 5.0],)) is None
    assert residuals.step(1, [], [1.0, 1.0], ([3.0, bad],)) is None
    ahead = Residuals(FORECAST, "output")
    ahead.step(0, [1.0, 2.0, 3.0], None, ([10.0, bad, 30.0, 40.0],))
    assert ahead.saved() is None
    assert ahead.step(1, [1.0, 2.0, 3.0], None, ([10.0, 10.0, bad, bad],)) is None
    assert ahead.step(2, [1.0, 2.0, 3.0], None, ([10.0, 10.0, bad, bad],)) is not None


def test_samples_are_compared_as_they_enter_the_model() -> None:
    residuals = Residuals(VALUE, "output")
    assert residuals.step(0, [], [0.1, 1e300], ([0.0, 0.0],)) == [float(np.float32(0.1)), 2.0**60]
    assert residuals.step(1, [], [1, float("-inf")], ([0.0, 0.0],)) == [1.0, -(2.0**60)]


def test_the_score_is_the_root_of_the_mean_square_in_scales() -> None:
    assert score([1.0, -6.0], SCALE) == sqrt((2.0**2 + 3.0**2) / 2)
    assert score([2.0**60, 0.0], (2.0**-100, 1.0)) == sqrt(2.0**320 / 2)  # no overflow


numbers = st.floats(-(2.0**70), 2.0**70) | st.floats(-10, 10) | st.just(float("nan"))
pairs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20)


@given(pairs, pairs, st.integers(0, 3))
def test_scores_are_the_equations_of_the_document(
    measured: list[tuple[float, float]], predicted: list[tuple[float, float]], warm_up: int
) -> None:
    length = min(len(measured), len(predicted))
    outputs = [[float(np.float32(p)) for p in step] for step in predicted[:length]]
    expected = [document.score(m, p, SCALE) for m, p in zip(measured, outputs, strict=False)]
    found = scores(VALUE, scored(warm_up=warm_up), [[0.0] * 3] * length, measured[:length], outputs)
    assert found == [None] * min(warm_up, length) + expected[warm_up:]

    samples = [(b, 0.0, a) for a, b in measured[:length]]
    expected = [document.score(m, p, SCALE) for m, p in zip(measured[1:length], outputs, strict=False)]
    found = scores(FORECAST, scored(warm_up=warm_up), samples, None, [[*step, 9.0, 9.0] for step in outputs])
    assert found == ([None] * min(warm_up + 1, length) + expected[warm_up:])[:length]


def stepped(config: ModelConfig, decision: DecisionConfig, measured: Sequence[float]) -> list[tuple[int, bool, float]]:
    """Events where zeros are predicted and the first value is ``measured``, in halves: the score is |m| · √2."""
    decisions = Decisions(config, decision)
    assert decisions.active
    found = []
    for index, value in enumerate(measured):
        outputs = ([0.0] * len(config.outputs[0].labels),)
        events = decisions.step(index, [0.0, 0.0, value], [value, 0.0], outputs)
        assert all(event.label == "anomaly" for event in events)
        found += [(index, event.on, round(event.p / sqrt(2), 3)) for event in events]
        assert decisions.on == ((("anomaly",),) if found and found[-1][1] else ((),))
    return found


@pytest.mark.parametrize("config", [FORECAST, VALUE], ids=["forecast", "value"])
def test_an_anomaly_is_switched_like_one_label(config: ModelConfig) -> None:
    measured = [0.0, 1.0, 5.0, 2.0, 1.0, 5.0, 1.0]
    assert stepped(config, scored(threshold_off=2.0), measured) == [
        (2, True, 5),
        (4, False, 1),
        (5, True, 5),
        (6, False, 1),
    ]
    assert stepped(config, scored(threshold_off=2.0, minimum_on=4.0), measured) == [(2, True, 5), (6, False, 1)]
    assert stepped(config, scored(threshold_off=2.0, refractory=4.0), measured) == [(2, True, 5), (4, False, 1)]
    assert stepped(config, scored(threshold_off=2.0, smoothing="median:3"), [0.0, 0.0, 0.0, 5.0, 0.0]) == []
    assert stepped(config, scored(threshold_off=2.0, trigger_level=2), [0, 5.0, 5.0]) == [(2, True, 5)]


def test_a_step_without_a_score_is_passed_over() -> None:
    decisions = Decisions(VALUE, scored(trigger_level=2, smoothing="mean:2"))
    steps = [[0.0, 0.0], [9.0, 0.0], None, [9.0, 0.0]]
    events = [decisions.step(index, (), target, ([0.0, 0.0],)) for index, target in enumerate(steps)]
    assert [len(some) for some in events] == [0, 0, 0, 1]
    assert decisions.score == sqrt(18.0**2 / 2)
    decisions.step(4, (), None, ([0.0, 0.0],))
    assert decisions.score is None and decisions.on == (("anomaly",),)


def test_the_warm_up_has_no_score() -> None:
    assert [index for index, *_ in stepped(FORECAST, scored(warm_up=2), [9.0] * 6)] == [3]
    assert [index for index, *_ in stepped(VALUE, scored(warm_up=2), [9.0] * 6)] == [2]
    assert [index for index, *_ in stepped(FORECAST, scored(), [9.0] * 6)] == [1]


def test_a_reset_forgets_the_prediction() -> None:
    decisions = Decisions(FORECAST, scored())
    for _ in range(2):
        assert not decisions.step(0, [9.0] * 3, None, ([0.0] * 4,))
        assert decisions.score is None
        assert len(decisions.step(1, [9.0] * 3, None, ([0.0] * 4,))) == 1
        decisions.reset()
        assert decisions.on == ((),) and decisions.score is None


def test_scores_decide_a_whole_recording_as_steps_do() -> None:
    measured = [0.0, 9.0, 9.0, 0.0, 9.0, 9.0, 9.0]
    decision = scored(trigger_level=2, warm_up=1)
    samples = [[0.0, 0.0, m] for m in measured]
    found = decide_scores(FORECAST, decision, scores(FORECAST, decision, samples, None, [[0.0] * 4] * len(measured)))
    assert [(index, event.on, round(event.p / sqrt(2), 3)) for index, event in found] == stepped(
        FORECAST, decision, measured
    )
    assert [(index, event.on) for index, event in found] == [(5, True)]
    with pytest.raises(InputError, match="the decision has no residual"):
        decide_scores(FORECAST, DecisionConfig(), [1.0])


def remembering(memory: float, **settings: Any) -> DecisionConfig:
    return scored(residual=ResidualConfig("output", SCALE, memory), **settings)


def test_a_score_is_compared_with_the_peak_of_those_before() -> None:
    decision = remembering(4.0, threshold=1.5, threshold_off=1.5)
    # The score is |m| · √2: a peak of 1 to begin with; then 4√2, which fades by a quarter a step.
    measured = [0.0, 4.0, 4.0, 7.0, 7.0, 7.0]
    assert stepped(VALUE, decision, measured) == [(1, True, 4), (2, False, 0.707), (3, True, 1.237), (4, False, 0.707)]
    fading = [4.0, 0.0, 0.0, 0.0, 3.0]  # 4√2 · (3/4)³ = 1.6875 √2 are left
    assert stepped(VALUE, decision, fading)[-1] == (4, True, round(3 / 1.6875 / sqrt(2), 3))
    assert stepped(VALUE, decision, [0.1] * 9 + [1.0]) == []  # 1 is the smallest peak
    decisions = Decisions(VALUE, decision)
    for _ in range(2):
        assert [len(decisions.step(index, (), [4.0, 0.0], ([0.0, 0.0],))) for index in range(3)] == [1, 1, 0]
        decisions.reset()


@given(
    st.lists(st.integers(0, 2**31 - 1) | st.integers(0, 2**18), min_size=1, max_size=30),
    st.integers(1, 2**31 - 1) | st.integers(1, 20),
)
def test_the_peak_is_the_equation_of_the_document(values: list[int], memory: int) -> None:
    peak = RecentPeak(memory)
    assert [peak.add(value) for value in values] == document.relative(memory, values)
    assert peak.peak < 2**47


def test_a_memory_is_a_time() -> None:
    at_2_hz = random_config(3, output_size=2, head="identity", rate=2.0)
    measured = [4.0, 0.0, 0.0, 0.0, 3.0]
    assert stepped(at_2_hz, remembering(2.0, threshold=1.5), measured) == stepped(
        VALUE, remembering(4.0, threshold=1.5), measured
    )


@pytest.mark.parametrize("config", [FORECAST, VALUE], ids=["forecast", "value"])
@pytest.mark.parametrize("memory", [0.0, 3.0])
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=12), st.integers(0, 12))
def test_what_is_saved_goes_on_alike(memory: float, config: ModelConfig, values: list[float], cut: int) -> None:
    decision = remembering(memory, threshold=2.0, threshold_off=1.0, smoothing="mean:2", warm_up=1)
    before, after = Decisions(config, decision), Decisions(config, decision)

    def step(decisions: Decisions, index: int) -> list[Any]:
        value = values[index]
        outputs = ([float(np.float32(value / 3))] * len(config.outputs[0].labels),)
        return [*decisions.step(index, [value, 0.0, value], [value, value], outputs), decisions.score]

    for index in range(min(cut, len(values))):
        step(before, index)
    after.restore(json.loads(json.dumps(before.saved(), allow_nan=False)))
    assert (after.on, after.score) == (before.on, before.score)
    for index in range(cut, len(values)):
        assert step(after, index) == step(before, index)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        [[[0], [0], [0], [0], []], [0.0, 0.0], "high"],
        [[[0], [0], [0], [0], []], [0.0], None],
        [[[0], [0], [0], [0], []], [0.0, True], None],
        [[[0], [0], [0], [0], []], [0.0, float("nan")], None],
        [[[0], [0], [0], [0], []], 3.0, None],
        [[[0], [0], [0], []], None, None],
    ],
)
def test_a_broken_state_is_refused(broken: Any) -> None:
    decisions = Decisions(FORECAST, scored())
    decisions.step(0, [0.0] * 3, None, ([1.0] * 4,))
    before = decisions.saved()
    with pytest.raises(StateError, match="the saved"):
        decisions.restore({"settings": before["settings"], "deciders": [broken]})
    assert decisions.saved() == before
    remembers = Decisions(FORECAST, remembering(3.0))
    for peak in (None, True, 2.0**31, 2**31 - 1, 2**47):
        broken = {"settings": remembers.saved()["settings"], "deciders": [[[[0], [0], [0], [0], []], None, None, peak]]}
        with pytest.raises(StateError, match="the saved peak of the scores is"):
            remembers.restore(broken)
    with pytest.raises(StateError, match="the saved prediction does not fit"):
        Residuals(VALUE, "output").restore([1.0, 2.0])


MISTAKES = [
    (FORECAST, ("other", SCALE), "decision.residual.output is 'other'; expected one of the outputs output"),
    (FORECAST, ("output", (1.0,)), "decision.residual.scale has 1 numbers; expected 2, one a label: c2+1, c0+1"),
    (FORECAST, ("output", (1.0,) * 4), "decision.residual.scale has 4 numbers; expected 2"),
    (
        random_config(3),
        ("output", (1.0,) * 4),
        "is 'output' with target step_label; expected one with target forecast or step_value",
    ),
    (
        changed(VALUE, outputs=(OutputConfig("output", "recording_value", ("a", "b")),)),
        ("output", SCALE),
        "is 'output' with target recording_value; expected one with target",
    ),
    (
        changed(VALUE, outputs=(OutputConfig("output", "forecast", ("c0+1", "b+1"), (), 1),)),
        ("output", SCALE),
        "decision.residual.output 'output' has the label 'b+1'; expected a channel and +1, such as c0+1",
    ),
    (
        changed(VALUE, outputs=(OutputConfig("output", "forecast", ("c0+1", "c1"), (), 1),)),
        ("output", SCALE),
        "has the label 'c1'; expected a channel and +1",
    ),
]


@pytest.mark.parametrize(("config", "residual", "message"), MISTAKES)
def test_residuals_that_do_not_fit_are_refused(
    config: ModelConfig, residual: tuple[str, tuple[float, ...]], message: str
) -> None:
    decision = DecisionConfig(residual=ResidualConfig(*residual))
    with pytest.raises(InputError, match=re.escape(message)):
        Decisions(config, decision)
    written = config_to_json(changed(config, decision=decision)) | {"identity": "0" * 64}
    with pytest.raises(ArtifactError, match=re.escape(message)):
        parse_config(written)


def test_residuals_travel_in_the_model_file() -> None:
    decision = scored(threshold=32767.0, smoothing="ema:0.5")
    config = changed(FORECAST, decision=decision)
    assert parse_artifact(artifact_bytes(random_floats(config, 0))).config.decision == decision
    assert config_to_json(config)["decision"]["residual"] == {"output": "output", "scale": [0.5, 2.0]}
    config = changed(FORECAST, decision=remembering(2000.0))
    assert config_to_json(config)["decision"]["residual"]["memory"] == 2000
    assert parse_artifact(artifact_bytes(random_floats(config, 0))).config.decision == config.decision
    assert changed_decision(config.decision, {"threshold": 5.0}).residual == config.decision.residual
