"""What happened in a recording, what a decider said of it, and how the two are counted against each other.

A true event is a run of steps with one label. It is found when the label is switched on within it, or not later than a
tolerance behind its end. docs/tuning.md explains the counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class TrueEvent(NamedTuple):
    """Steps ``start`` to ``stop`` − 1 of a recording have the label."""

    start: int
    stop: int
    label: str


class SwitchedOn(NamedTuple):
    """A decider switched the label on at this step."""

    step: int
    label: str


@dataclass(frozen=True)
class Score:
    """How what was switched on fits what happened.

    ``false_alarms``: switched on outside of every event of that label; ``repeats``: within one that was found before.
    ``latencies``: steps from the start of each event that was found until it was, the shortest first. ``steps``: how
    many were judged.
    """

    events: int
    false_alarms: int
    repeats: int
    steps: int
    latencies: tuple[int, ...]

    @property
    def found(self) -> int:
        return len(self.latencies)

    @property
    def missed(self) -> int:
        return self.events - self.found

    @property
    def recall(self) -> float:
        """Share of the events that were found; 0 where there was none."""
        return self.found / self.events if self.events else 0.0

    @property
    def latency(self) -> float | None:
        """Median steps from an event's start until it was found; None where none was."""
        return float(np.median(self.latencies)) if self.latencies else None

    def __add__(self, other: Score) -> Score:
        return Score(
            self.events + other.events,
            self.false_alarms + other.false_alarms,
            self.repeats + other.repeats,
            self.steps + other.steps,
            tuple(sorted(self.latencies + other.latencies)),
        )


NOTHING = Score(0, 0, 0, 0, ())


def runs(holds: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where ``holds`` (T,) is true without interruption: the first step of each run and the one behind its last."""
    edges = np.flatnonzero(np.diff(holds, prepend=False, append=False))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def class_events(
    classes: NDArray[np.int64], labelled: NDArray[np.bool_], labels: Sequence[str], background: str
) -> tuple[TrueEvent, ...]:
    """The events in class numbers (T,): runs of one class other than the background, by their start.

    ``labelled``: (T,), the steps that have a class; one that has none ends a run.
    """
    events = [
        TrueEvent(start, stop, label)
        for number, label in enumerate(labels)
        if label != background
        for start, stop in runs((classes == number) & labelled)
    ]
    return tuple(sorted(events))


def label_events(
    holds: NDArray[np.float32], labelled: NDArray[np.bool_], labels: Sequence[str]
) -> tuple[TrueEvent, ...]:
    """The events of labels that hold independently of each other, ``holds`` (T, labels) of 0 and 1, by their start."""
    events = [
        TrueEvent(start, stop, label)
        for number, label in enumerate(labels)
        for start, stop in runs((holds[:, number] != 0) & labelled)
    ]
    return tuple(sorted(events))


def score(
    switched_on: Iterable[SwitchedOn], events: Sequence[TrueEvent], judged: NDArray[np.bool_], tolerance: int
) -> Score:
    """Count what was switched on, in order of steps, against the events, in order of their starts.

    Each finds the first event of its label that has not been found yet and whose steps, or the ``tolerance`` steps
    behind them, it lies in. ``judged``: (T,); elsewhere nothing is known, and nothing is a false alarm.
    """
    waiting: dict[str, list[TrueEvent]] = {}  # by label, those that are not found, the first one last
    for event in reversed(events):
        waiting.setdefault(event.label, []).append(event)
    last_found: dict[str, int] = {}  # by label: until where further ones are repeats
    false_alarms = repeats = 0
    latencies = []
    for step, label in switched_on:
        queue = waiting.get(label, [])
        while queue and queue[-1].stop + tolerance <= step:
            queue.pop()
        if queue and queue[-1].start <= step:
            event = queue.pop()
            last_found[label] = event.stop + tolerance
            latencies.append(step - event.start)
        elif step < last_found.get(label, 0):
            repeats += 1
        elif judged[step]:
            false_alarms += 1
    return Score(len(events), false_alarms, repeats, int(np.count_nonzero(judged)), tuple(sorted(latencies)))
