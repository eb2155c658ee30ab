"""Decisions on a stream: each rule by itself, all together as docs/deciding.md has them, what is saved and refused."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_export.saving import save_artifact
from edgegru_runtime import InputError, StateError
from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.decisions import Decisions, changed_decision, decide, steps_of, target_names
from edgegru_runtime.description import describe
from edgegru_runtime.model_config import DecisionConfig, HeadNode, ModelConfig, OutputConfig, ResidualConfig
from edgegru_runtime.result import Event
from tests.builders import changed, random_artifact, random_config, random_floats
from tests.runtime import document_deciding as document

CLASSES = random_config(3, output_size=3, rate=None)
LABELS = random_config(3, output_size=3, rate=None, head="sigmoid")
VALUES = random_config(3, output_size=3, rate=None, head="identity")
DOCUMENT = (Path(__file__).parents[2] / "docs" / "deciding.md").read_text()


def switched(config: ModelConfig, probabilities: Sequence[Sequence[float]], **settings: Any) -> list[tuple[int, str]]:
    """(step, "+label" or "-label") for all that is switched."""
    events = decide(config, replace(DecisionConfig(), **settings), probabilities)
    return [(index, "+-"[not event.on] + event.label[-1]) for index, event in events]


def of_first(*probabilities: float) -> list[tuple[float, ...]]:
    """Steps of the label 0, the others impossible."""
    return [(p, 0.0, 0.0) for p in probabilities]


both = pytest.mark.parametrize("config", [CLASSES, LABELS], ids=["classes", "labels"])


@both
def test_the_threshold_itself_is_reached(config: ModelConfig) -> None:
    assert switched(config, of_first(0.74, 0.75, 0.75, 0.74), threshold=0.75, threshold_off=0.75) == [
        (1, "+0"),
        (3, "-0"),
    ]


@both
def test_what_rounds_to_the_threshold_reaches_it(config: ModelConfig) -> None:
    just, nearly = (16384 - 0.5) / 32768, (16384 - 0.5) / 32768 - 2.0**-25
    assert switched(config, of_first(nearly, just, just, nearly)) == [(1, "+0"), (3, "-0")]


@both
def test_between_the_thresholds_nothing_changes(config: ModelConfig) -> None:
    steps = of_first(0.6, 0.8, 0.6, 0.5, 0.49, 0.6, 0.79)
    assert switched(config, steps, threshold=0.8, threshold_off=0.5) == [(1, "+0"), (4, "-0")]


@both
def test_the_trigger_level_asks_for_steps_in_a_row(config: ModelConfig) -> None:
    steps = of_first(0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.1, 0.9)
    assert switched(config, steps, trigger_level=3) == [(5, "+0"), (6, "-0")]


def test_a_row_of_one_class_is_ended_by_another() -> None:
    steps = [(0.9, 0.1, 0.0), (0.1, 0.9, 0.0), (0.9, 0.1, 0.0), (0.9, 0.1, 0.0)]
    assert switched(CLASSES, steps, trigger_level=2) == [(3, "+0")]
    assert switched(LABELS, [(0.9, 0.0, 0.0), (0.9, 0.9, 0.0), (0.0, 0.9, 0.0)], trigger_level=2) == [
        (1, "+0"),
        (2, "-0"),
        (2, "+1"),
    ]


def test_a_row_is_ended_while_another_class_is_on() -> None:
    one, two = (0.9, 0.1, 0.0), (0.1, 0.9, 0.0)
    assert switched(CLASSES, [one, one, two, one, two, two], trigger_level=2, threshold_off=0.0) == [
        (1, "+0"),
        (5, "-0"),
        (5, "+1"),
    ]


@both
def test_a_label_stays_on_for_the_minimum(config: ModelConfig) -> None:
    steps = of_first(0.9, 0.1, 0.1, 0.1, 0.1)
    assert switched(config, steps, minimum_on=3) == [(0, "+0"), (3, "-0")]
    assert switched(config, of_first(0.9, 0.1, 0.9, 0.9, 0.1), minimum_on=3) == [(0, "+0"), (4, "-0")]


def test_a_class_gives_no_way_before_the_minimum() -> None:
    steps = [(0.9, 0.1, 0.0), *[(0.1, 0.9, 0.0)] * 4]
    assert switched(CLASSES, steps, minimum_on=3) == [(0, "+0"), (3, "-0"), (3, "+1")]


@both
def test_a_label_stays_off_for_the_minimum(config: ModelConfig) -> None:
    steps = of_first(0.9, 0.1, 0.9, 0.9, 0.9, 0.9)
    assert switched(config, steps, minimum_off=3) == [(0, "+0"), (1, "-0"), (4, "+0")]


@both
def test_refractory_is_from_on_to_on(config: ModelConfig) -> None:
    steps = of_first(0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9)
    assert switched(config, steps, refractory=5) == [(0, "+0"), (2, "-0"), (5, "+0")]
    assert switched(config, steps, refractory=5, minimum_off=4) == [(0, "+0"), (2, "-0"), (6, "+0")]
    assert switched(config, steps, refractory=5, minimum_off=2) == [(0, "+0"), (2, "-0"), (5, "+0")]


@both
def test_times_are_of_each_label(config: ModelConfig) -> None:
    steps = [(0.9, 0.0, 0.0), (0.0, 0.9, 0.0), (0.9, 0.0, 0.0)]
    assert switched(config, steps, refractory=9, minimum_off=9) == [(0, "+0"), (1, "-0"), (1, "+1"), (2, "-1")]


@both
def test_the_warm_up_decides_nothing_and_is_not_smoothed(config: ModelConfig) -> None:
    steps = of_first(0.9, 0.9, 0.9, 0.9)
    assert switched(config, steps, warm_up=2) == [(2, "+0")]
    assert switched(config, steps, warm_up=1, trigger_level=3) == [(3, "+0")]
    assert switched(config, of_first(0.0, 0.0, 0.9), warm_up=2, smoothing="mean:3") == [(2, "+0")]


@both
@pytest.mark.parametrize(("smoothing", "first"), [("none", 1), ("mean:2", 2), ("median:3", 2), ("ema:0.25", 3)])
def test_what_is_smoothed_is_compared(config: ModelConfig, smoothing: str, first: int) -> None:
    assert switched(config, of_first(0.1, 0.8, 0.8, 0.8), smoothing=smoothing)[0] == (first, "+0")


def test_an_event_has_the_smoothed_probability_in_15_bits() -> None:
    (event,) = decide(CLASSES, DecisionConfig(smoothing="mean:2"), of_first(0.25, 0.75))
    assert event == (1, Event(True, "class 0", 0.5, 0))
    (event,) = decide(LABELS, DecisionConfig(), of_first(0.7))
    assert event == (0, Event(True, "class 0", 22938 / 32768, 0))


def test_independent_labels_are_on_together() -> None:
    decisions = Decisions(LABELS, DecisionConfig())
    assert len(decisions.step(0, (), None, ([0.9, 0.1, 0.9],))) == 2
    assert decisions.on == (("class 0", "class 2"),)


def test_the_most_probable_class_that_reaches_the_threshold_is_on() -> None:
    steps = [(0.4, 0.3, 0.3), (0.3, 0.5, 0.2), (0.2, 0.3, 0.5), (0.4, 0.3, 0.3)]
    assert switched(CLASSES, steps) == [(1, "+1"), (2, "-1"), (2, "+2"), (3, "-2")]
    assert switched(CLASSES, steps, threshold=0.0, threshold_off=0.0) == [
        (0, "+0"),
        (1, "-0"),
        (1, "+1"),
        (2, "-1"),
        (2, "+2"),
        (3, "-2"),
        (3, "+0"),
    ]


def test_a_class_gives_way_only_to_one_that_reaches_the_threshold() -> None:
    steps = [(0.7, 0.3, 0.0), (0.45, 0.55, 0.0), (0.4, 0.6, 0.0), (0.35, 0.35, 0.3), (0.3, 0.4, 0.3)]
    assert switched(CLASSES, steps, threshold=0.6, threshold_off=0.4) == [
        (0, "+0"),
        (2, "-0"),
        (2, "+1"),
        (3, "-1"),
    ]


def test_a_class_goes_off_where_its_successor_must_wait() -> None:
    steps = [(0.9, 0.1, 0.0), (0.1, 0.9, 0.0), (0.9, 0.1, 0.0), (0.9, 0.1, 0.0)]
    assert switched(CLASSES, steps, refractory=3) == [(0, "+0"), (1, "-0"), (1, "+1"), (2, "-1"), (3, "+0")]


def test_in_a_tie_the_class_that_is_on_stays_else_the_first_counts() -> None:
    tie = (0.5, 0.5, 0.0)
    assert switched(CLASSES, [tie, tie]) == [(0, "+0")]
    assert switched(CLASSES, [(0.1, 0.9, 0.0), tie, tie]) == [(0, "+1")]
    least = 0.5 + 2.0**-18  # is the same integer
    assert switched(CLASSES, [(0.0, 0.9, 0.0), (least, 0.5, 0.0)]) == [(0, "+1")]


@both
def test_numbers_that_are_none_are_zero(config: ModelConfig) -> None:
    steps = [(0.9, 0.0, 0.0), (float("nan"), 0.0, 0.0), (0.9, float("nan"), 0.0), (float("inf"), 0.0, 0.0)]
    assert switched(config, steps) == [(0, "+0"), (1, "-0"), (2, "+0"), (3, "-0")]


@pytest.mark.parametrize(
    ("time", "rate", "steps"),
    [
        (0.07, 100.0, 7),
        (0.0, 100.0, 0),
        (0.011, 100.0, 2),
        (2.0, 50.0, 100),
        (3.0, None, 3),
        (2.5, None, 3),
        (1e9, 2.0**100, 2**31 - 1),
    ],
)
def test_times_are_seconds_or_steps(time: float, rate: float | None, steps: int) -> None:
    assert steps_of(time, rate) == document.steps(time, rate) == steps
    if 0 < steps < 1000:
        config = random_config(3, output_size=3, rate=rate)
        found = switched(config, of_first(0.9, *[0.0] * (steps + 2)), minimum_on=time)
        assert found == [(0, "+0"), (steps, "-0")]


TIMES = st.sampled_from([0.0, 0.0, 1.0, 2.0, 3.5, 7.0])
GRID = st.sampled_from([0.0, 0.25, 0.499985, 0.5, 0.50001, 0.75, 1.0])  # ties, and both sides of a threshold


@st.composite
def settings(draw: st.DrawFn) -> DecisionConfig:
    threshold = draw(GRID | st.floats(0, 1))
    return DecisionConfig(
        threshold,
        draw(st.just(threshold) | st.floats(0, threshold)),
        draw(st.sampled_from(["none", "none", "mean:3", "median:4", "median:3", "ema:0.3"])),
        draw(st.integers(0, 3)),
        trigger_level=draw(st.integers(1, 3)),
        minimum_on=draw(TIMES),
        minimum_off=draw(TIMES),
        refractory=draw(TIMES),
    )


probabilities = st.lists(st.tuples(*[GRID | st.floats(0, 1, width=32)] * 3), min_size=1, max_size=25)


@both
@given(settings(), probabilities)
def test_decisions_are_the_equations_of_the_document(
    config: ModelConfig, decision: DecisionConfig, values: list[tuple[float, ...]]
) -> None:
    found = [(index, event.on, int(event.label[-1]), event.p) for index, event in decide(config, decision, values)]
    assert found == document.switches(decision, None, config is CLASSES, values)


@both
@given(settings(), probabilities, st.integers(0, 25))
def test_what_is_saved_goes_on_alike(
    config: ModelConfig, decision: DecisionConfig, values: list[tuple[float, ...]], cut: int
) -> None:
    before, after = Decisions(config, decision), Decisions(config, decision)
    for index, value in enumerate(values[:cut]):
        before.step(index, (), None, (value,))
    after.restore(json.loads(json.dumps(before.saved(), allow_nan=False)))
    assert (after.on, after.saved()) == (before.on, before.saved())
    for index, value in enumerate(values[cut:], cut):
        assert after.step(index, (), None, (value,)) == before.step(index, (), None, (value,))
    after.reset()
    assert after.on == ((),) and after.saved() == Decisions(config, decision).saved()


@both
def test_reset_begins_anew(config: ModelConfig) -> None:
    decision = DecisionConfig(smoothing="mean:2", warm_up=1, refractory=9.0)
    decisions = Decisions(config, decision)
    for _ in range(2):
        events = [decisions.step(index, (), None, (value,)) for index, value in enumerate(of_first(0.0, 0.9, 0.9))]
        assert [len(some) for some in events] == [0, 1, 0]
        decisions.reset()


def two_outputs() -> ModelConfig:
    head = HeadNode("extra", ("gru0",), 5, "sigmoid")
    output = OutputConfig("extra", "step_labels", tuple("abcde"))
    return changed(CLASSES, nodes=(*CLASSES.nodes, head), outputs=(*CLASSES.outputs, output))


def test_outputs_decide_beside_each_other() -> None:
    decisions = Decisions(two_outputs(), DecisionConfig())
    events = decisions.step(0, (), None, ([0.1, 0.9, 0.0], [0.9, 0.0, 0.0, 0.0, 0.9]))
    assert [(event.label, event.output) for event in events] == [("class 1", 0), ("a", 1), ("e", 1)]
    assert decisions.on == (("class 1",), ("a", "e"))
    assert decisions.active and decisions.score is None
    events = decisions.step(1, (), None, ([0.1, 0.1, 0.0], [0.9, 0.0, 0.0, 0.0, 0.0]))
    assert [(event.on, event.label, event.output) for event in events] == [(False, "class 1", 0), (False, "e", 1)]
    assert [event.label for _, event in decide(two_outputs(), DecisionConfig(), [[0, 0.9, 0, 0, 0]], 1)] == ["b"]


def test_values_decide_nothing() -> None:
    decisions = Decisions(VALUES, DecisionConfig(threshold=0.0, threshold_off=0.0))
    assert not decisions.active
    assert not decisions.step(0, (), None, ([1.0, 2.0, 3.0],))
    assert decisions.on == ((),)
    assert target_names(VALUES, DecisionConfig()) == ()
    with pytest.raises(InputError, match="output 'output' has no probabilities; expected a softmax or sigmoid"):
        decide(VALUES, DecisionConfig(), [[1.0, 2.0, 3.0]])


STORED = DecisionConfig(0.8, 0.6, "mean:3", refractory=2.0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, STORED),
        ({"smoothing": "none", "trigger_level": 4}, replace(STORED, smoothing="none", trigger_level=4)),
        ({"refractory": 0}, replace(STORED, refractory=0.0)),
        ({"threshold": 0.9}, replace(STORED, threshold=0.9)),
        ({"threshold": 0.4}, replace(STORED, threshold=0.4, threshold_off=0.4)),
        ({"threshold": 0.9, "threshold_off": 0.1}, replace(STORED, threshold=0.9, threshold_off=0.1)),
        (
            {"residual": {"output": "output", "scale": [1, 2]}, "threshold": 3},
            replace(STORED, threshold=3.0, residual=ResidualConfig("output", (1.0, 2.0))),
        ),
    ],
)
def test_settings_are_changed(changes: dict[str, Any], expected: DecisionConfig) -> None:
    assert changed_decision(STORED, changes) == expected


def test_equal_thresholds_stay_equal() -> None:
    assert changed_decision(DecisionConfig(), {"threshold": 0.9}) == DecisionConfig(0.9, 0.9)
    scored = DecisionConfig(3.0, 2.0, residual=ResidualConfig("output", (1.0,)))
    assert changed_decision(scored, {"residual": scored.residual, "threshold": 4.0}) == replace(scored, threshold=4.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 1.5}, "decision.threshold is 1.5; expected a number from 0 to 1"),
        ({"threshold": "much"}, "decision.threshold is 'much'; expected a number"),
        ({"threshold_off": 0.9}, "decision.threshold_off is 0.9; expected a number from 0 to 0.8"),
        ({"smoothing": "mean:0"}, "decision.smoothing is 'mean:0'"),
        ({"trigger_level": 0}, "decision.trigger_level is 0; expected an integer from 1"),
        ({"minimum_on": -1.0}, "decision.minimum_on is -1.0; expected a number from 0 to 1e+09"),
        ({"minimum_off": float("nan")}, "decision.minimum_off is nan"),
        ({"refractory": 2e9}, "decision.refractory is 2000000000.0"),
        ({"patience": 3}, "decision has an unknown field 'patience'"),
        ({"residual": 3}, "decision.residual is 3; expected an object"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        changed_decision(STORED, changes)


def test_a_state_of_other_settings_is_refused() -> None:
    saved = Decisions(CLASSES, DecisionConfig()).saved()
    message = "the decisions were saved with threshold 0.5; expected 0.75, as it is now"
    with pytest.raises(StateError, match=message):
        Decisions(CLASSES, DecisionConfig(threshold=0.75)).restore(saved)
    with pytest.raises(StateError, match="saved with trigger_level 1; expected 2"):
        Decisions(CLASSES, DecisionConfig(trigger_level=2)).restore(saved)
    with pytest.raises(StateError, match="saved with rate None; expected 50"):
        Decisions(random_config(3, output_size=3), DecisionConfig()).restore(saved)
    Decisions(CLASSES, DecisionConfig(reset="never")).restore(saved)  # says nothing about what is decided


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {"settings": {}},
        {"settings": None, "deciders": []},
        {"deciders": []},
        {"deciders": None},
        {"deciders": [None, None]},
        {"deciders": [[[1, 0, 0], [0] * 3, [0] * 3, [0] * 3, []], [[0] * 5] * 4]},
        {"deciders": [[[1, 0, 0], [0] * 3, [0] * 3, [0] * 3, []], [*[[0] * 5] * 3, [0] * 4, []]]},
        {"deciders": [[[1, 0, 0], [0] * 3, [0] * 3, [0] * 3, []], [[2, *[0] * 4], *[[0] * 5] * 3, []]]},
        {"deciders": [[[1, 0, 0], [0] * 3, [0] * 3, [0] * 3, []], [[True, *[0] * 4], *[[0] * 5] * 3, []]]},
        {"deciders": [[[1, 0, 0], [0] * 3, [0] * 3, [0] * 3, []], [[-1, *[0] * 4], *[[0] * 5] * 3, []]]},
        {"deciders": [[[1, 0, 0], [0] * 3, [0] * 3, [0] * 3, []], [*[[0] * 5] * 4, [1]]]},
        {"deciders": [[[1, 1, 0], [0] * 3, [0] * 3, [0] * 3, []], [*[[0] * 5] * 4, []]]},
    ],
)
def test_a_broken_state_is_refused_and_changes_nothing(broken: Any) -> None:
    decisions = Decisions(two_outputs(), DecisionConfig())
    decisions.step(0, (), None, ([0.1, 0.9, 0.0], [0.0] * 5))
    before = decisions.saved()
    if isinstance(broken, dict) and len(broken) == 1 and "deciders" in broken:
        broken = {"settings": before["settings"], **broken}
    with pytest.raises(StateError, match="decisions"):
        decisions.restore(broken)
    assert decisions.saved() == before and decisions.on == (("class 1",), ())


def test_python_in_the_document_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_artifact(random_artifact(0, 3, (5,)), tmp_path / "model.safetensors")
    save_artifact(forecasting(), tmp_path / "forecast.safetensors")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(blocks) == 2
    exec("\n".join(blocks), {})


def forecasting() -> Artifact:
    config = random_config(3, output_size=1, head="identity")
    return random_floats(changed(config, outputs=(OutputConfig("output", "forecast", ("c0+1",), (), 1),)), 0)


def test_info_shows_what_was_set(tmp_path: Path) -> None:
    config = changed(random_config(3, output_size=3), decision=DecisionConfig(minimum_on=0.25, trigger_level=3))
    path = tmp_path / "model.safetensors"
    save_artifact(random_floats(config, 0), path)
    found = describe(str(path), read_artifact(path))["decision"]
    usual = ("threshold", "threshold_off", "smoothing", "warm_up", "reset")
    assert found == {name: getattr(DecisionConfig(), name) for name in usual} | {"trigger_level": 3, "minimum_on": 0.25}


def test_the_document_names_every_setting() -> None:
    for name in vars(DecisionConfig()):
        assert name == "reset" or f"| `{name}` |" in DOCUMENT
    assert np.float32(0.49999997) + np.float32(0.5) == 1  # what it says of single precision
