"""The quick count of the search is what the deciders do, and what is tried fits the events."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru.tuning_data import Stretch
from edgegru.tuning_events import class_events, label_events
from edgegru.tuning_judge import Judge
from edgegru.tuning_search import Search, effort, hold_times, rounded, smoothings, trigger_levels
from edgegru_runtime.config_json import parse_decision
from edgegru_runtime.model_config import DecisionConfig, ResidualConfig
from tests.host.tuning_recordings import LABELS, RATE, passing_artifact

MANY = 10**6
FORECAST = ("c0+1", "c1+1", "c2+1")
TARGETS = {"softmax": ("step_label", LABELS), "sigmoid": ("step_labels", LABELS), "identity": ("forecast", FORECAST)}


def wandering(rng, length, labels):
    """Probabilities that stay high or low for a while, with noise: (length, labels) float32."""
    level = np.cumsum(rng.normal(0, 0.8, (length, labels)), axis=0) * (rng.random((length, labels)) < 0.9)
    level += rng.normal(0, 0.3, level.shape)  # no two classes are ever equal
    return (1 / (1 + np.exp(-level))).astype(np.float32)


def drawn(seed, kind, warm_up=0):
    """A judge and a few recordings of random probabilities and events."""
    rng = np.random.default_rng(seed)
    artifact = passing_artifact(*TARGETS[kind])
    judge = Judge(artifact.config, "none" if kind == "softmax" else None, int(rng.integers(0, 4)))
    stretches = []
    for _ in range(int(rng.integers(1, 3))):
        length = int(rng.integers(40, 100))
        said = wandering(rng, length, len(judge.labels))
        everywhere = np.ones(length, bool)
        held = rng.integers(0, 2, (-(-length // 8), len(judge.labels))).repeat(8, axis=0)[:length]
        if kind == "softmax":
            said = (said / said.sum(axis=1, keepdims=True)).astype(np.float32)
            events = class_events(rng.integers(0, 3, -(-length // 8)).repeat(8)[:length], everywhere, LABELS, "none")
        else:
            events = label_events(held.astype(np.float32), everywhere, judge.labels)
        if kind == "identity":
            said = said.astype(np.float64) * 4
            said[: int(rng.integers(0, 5))] = np.nan  # a forecast has no score at first
        stretches.append(Stretch(said, everywhere, events))
    residual = ResidualConfig("output", (1.0,) * len(LABELS)) if kind == "identity" else None
    return judge, stretches, DecisionConfig(warm_up=warm_up, residual=residual)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "identity"])
@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 7]))
def test_the_quick_count_is_what_the_deciders_do(kind, seed, warm_up):
    judge, stretches, decision = drawn(seed, kind, warm_up)
    if not any(stretch.events for stretch in stretches):
        return
    tried = list(Search(judge, stretches, decision, MANY).everywhere())
    rng = np.random.default_rng(seed)
    for each in (tried[place] for place in rng.integers(0, len(tried), min(len(tried), 60))):
        assert judge.scores(each.decision, stretches) == [each.score], each.decision


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10**6))
def test_finer_thresholds_lie_around_those_that_were_asked_for(seed):
    judge, stretches, decision = drawn(seed, "sigmoid")
    if not any(stretch.events for stretch in stretches):
        return
    search = Search(judge, stretches, decision, MANY)
    tried = list(search.everywhere())
    asked = tried[len(tried) // 2].decision
    finer = list(search.between([asked]))
    assert finer
    for each in finer:
        assert each.decision.smoothing == asked.smoothing
        assert each.decision.threshold_off <= each.decision.threshold
        assert judge.scores(each.decision, stretches) == [each.score]


def test_too_many_false_alarms_are_left_out():
    judge, stretches, decision = drawn(3, "sigmoid")
    everything = [each.score.false_alarms for each in Search(judge, stretches, decision, MANY).everywhere()]
    few = [each.score.false_alarms for each in Search(judge, stretches, decision, 2).everywhere()]
    assert max(everything) > 2 >= max(few)


@pytest.mark.parametrize("usual", [1, 2, 3, 5, 20, 500, 100_000])
def test_everything_tried_may_be_written(usual):
    for smoothing in smoothings(usual):
        assert int(smoothing.partition(":")[2]) <= usual + 1 if smoothing[:2] == "me" else True
        parse_decision({"threshold": 0.5, "threshold_off": 0.5, "smoothing": smoothing, "warm_up": 0, "reset": "never"})
    levels = trigger_levels(usual)
    assert levels[0] == 1
    assert all(a < b for a, b in pairwise(levels))
    assert levels[-1] <= max(usual // 2, 1)
    for rate in (None, RATE, 16_000.0):
        assert all(time >= 0 for times in hold_times(usual, rate) for time in times.values())


@given(st.floats(1e-3, 3e4))
def test_rounded_values_are_not_above(value):
    assert -1e-8 <= value - rounded(value) <= max(1e-4, value * 1e-3) + 1e-8
    assert rounded(rounded(value)) == rounded(value)


def test_effort_counts_what_is_not_at_its_simplest():
    assert effort(DecisionConfig(threshold=0.9, threshold_off=0.9)) == 0
    assert effort(DecisionConfig(threshold=0.9, threshold_off=0.5, smoothing="mean:3", refractory=1.0)) == 3
