"""Events are counted as a user would: found once, repeated, missed, or no event at all."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.tuning_events import SwitchedOn, TrueEvent, class_events, label_events, runs, score

LENGTH = 60


def judged_everywhere(length=LENGTH):
    return np.ones(length, bool)


def on(*steps, label="clap"):
    return [SwitchedOn(step, label) for step in steps]


EVENT = TrueEvent(10, 20, "clap")


@pytest.mark.parametrize(
    ("steps", "tolerance", "found", "repeats", "false_alarms"),
    [
        ((10,), 0, 1, 0, 0),  # the first step of the event
        ((19,), 0, 1, 0, 0),  # the last one
        ((20,), 0, 0, 0, 1),  # behind it
        ((20,), 1, 1, 0, 0),  # which a tolerance forgives
        ((21,), 1, 0, 0, 1),
        ((9,), 5, 0, 0, 1),  # too early is wrong, however tolerant
        ((9, 12), 0, 1, 0, 1),
        ((12, 14, 19), 0, 1, 2, 0),  # the first counts, the others repeat it
        ((12, 21), 5, 1, 1, 0),
        ((), 0, 0, 0, 0),
    ],
)
def test_what_is_switched_on_is_counted_once(steps, tolerance, found, repeats, false_alarms):
    counted = score(on(*steps), [EVENT], judged_everywhere(), tolerance)
    assert (counted.found, counted.repeats, counted.false_alarms) == (found, repeats, false_alarms)
    assert counted.found + counted.missed == counted.events == 1


def test_another_label_is_a_false_alarm():
    counted = score(on(12, label="shout"), [EVENT], judged_everywhere(), 0)
    assert (counted.found, counted.false_alarms) == (0, 1)


def test_latency_is_counted_from_the_start():
    events = [EVENT, TrueEvent(30, 40, "clap"), TrueEvent(50, 55, "clap")]
    counted = score(on(13, 31, 54), events, judged_everywhere(), 0)
    assert counted.latencies == (1, 3, 4)
    assert (counted.latency, counted.recall) == (3.0, 1.0)


def test_steps_that_nobody_labelled_tell_nothing():
    judged = judged_everywhere()
    judged[40:] = False
    counted = score(on(5, 45), [EVENT], judged, 0)
    assert (counted.false_alarms, counted.steps) == (1, 40)


def test_a_tolerance_that_reaches_the_next_event_finds_both():
    events = [TrueEvent(10, 12, "clap"), TrueEvent(14, 20, "clap")]
    counted = score(on(14, 16), events, judged_everywhere(), 5)
    assert (counted.found, counted.latencies) == (2, (2, 4))


def test_runs_of_a_class_are_events():
    classes = np.array([0, 1, 1, 0, 2, 2, 1, 1])
    labelled = np.array([1, 1, 1, 1, 1, 1, 1, 0], bool)
    found = class_events(classes, labelled, ("none", "clap", "shout"), "none")
    assert found == ((1, 3, "clap"), (4, 6, "shout"), (6, 7, "clap"))


def test_runs_of_independent_labels_are_events():
    holds = np.array([[0, 1], [1, 1], [1, 0], [0, 1]], np.float32)
    assert label_events(holds, np.ones(4, bool), ("a", "b")) == ((0, 2, "b"), (1, 3, "a"), (3, 4, "b"))


@given(st.lists(st.booleans(), max_size=40))
def test_runs_are_where_it_holds(holds):
    found = runs(np.array(holds, bool))
    again = np.zeros(len(holds), bool)
    for start, stop in found:
        assert start < stop
        again[start:stop] = True
    assert again.tolist() == holds
    assert all(stop < start for (_, stop), (start, _) in pairwise(found))


@st.composite
def situations(draw):
    holds = np.array(draw(st.lists(st.sampled_from([0, 0, 1, 2]), min_size=1, max_size=LENGTH)))
    events = class_events(holds, np.ones(len(holds), bool), ("none", "a", "b"), "none")
    steps = draw(st.lists(st.tuples(st.integers(0, len(holds) - 1), st.sampled_from(["a", "b"])), unique=True))
    return [SwitchedOn(*each) for each in sorted(steps)], events, len(holds)


@given(situations(), st.integers(0, 8))
def test_every_event_and_every_alarm_is_accounted_for(situation, tolerance):
    switched_on, events, length = situation
    counted = score(switched_on, events, judged_everywhere(length), tolerance)
    assert counted.found + counted.missed == len(events)
    assert counted.found + counted.repeats + counted.false_alarms == len(switched_on)
    assert all(latency >= 0 for latency in counted.latencies)


@given(situations(), st.integers(0, 8))
def test_more_tolerance_finds_no_less_and_alarms_no_more(situation, tolerance):
    switched_on, events, length = situation
    strict = score(switched_on, events, judged_everywhere(length), tolerance)
    lenient = score(switched_on, events, judged_everywhere(length), tolerance + 1)
    assert lenient.found >= strict.found
    assert lenient.false_alarms <= strict.false_alarms
