"""What settings really decide on recordings, by the deciders of the device, and how that is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from numpy.typing import NDArray

from edgegru.tuning_data import Stretch
from edgegru.tuning_events import NOTHING, Score, SwitchedOn, score
from edgegru_runtime.decisions import ANOMALY, decide, decide_scores
from edgegru_runtime.model_config import DecisionConfig, ModelConfig

STEPS_WITHOUT_RATE = 1000  # that false alarms are counted in where hours cannot be told


@dataclass(frozen=True)
class Judge:
    """A model's decisions against what happened.

    ``background``: the label that is no event; ``tolerance``: steps behind an event that still belong to it.
    """

    config: ModelConfig
    background: str | None
    tolerance: int

    @property
    def kind(self) -> str:
        """Of the head that decides: "softmax", "sigmoid", or "identity" where residuals do."""
        return self.config.node(self.config.outputs[0].node).kind

    @property
    def labels(self) -> tuple[str, ...]:
        """What can be switched on."""
        return (ANOMALY,) if self.kind == "identity" else self.config.outputs[0].labels

    @property
    def silent(self) -> str | None:
        """What may be switched on without anybody being told."""
        return None if self.kind == "identity" else self.background

    @property
    def rate(self) -> float | None:
        """Steps per second, None where the model declares none."""
        return self.config.input.step_rate

    def scores(self, decision: DecisionConfig, *parts: Sequence[Stretch]) -> list[Score]:
        """What the deciders of the device switch on with these settings, scored for each of the ``parts``.

        Every recording begins anew; one of which there is some in several parts is gone through once.
        """
        known: dict[int, list[SwitchedOn]] = {}
        totals = []
        for stretches in parts:
            total = NOTHING
            for stretch in stretches:
                if id(stretch.values) not in known:
                    known[id(stretch.values)] = self.switched_on(decision, stretch.values)
                total += score(known[id(stretch.values)], stretch.events, stretch.judged, self.tolerance)
            totals.append(total)
        return totals

    def switched_on(self, decision: DecisionConfig, values: NDArray[Any]) -> list[SwitchedOn]:
        """What the deciders switch on, but for the background, by the outputs or scores (T, size) of a recording."""
        if self.kind == "identity":
            scores = [None if isnan(value) else value for (value,) in values.tolist()]
            events = decide_scores(self.config, decision, scores)
        else:
            events = decide(self.config, decision, values.tolist())
        return [SwitchedOn(step, event.label) for step, event in events if event.on and event.label != self.silent]

    def alarm_rate(self, found: Score) -> float:
        """False alarms an hour of the steps that were judged; every 1,000 steps where there is no rate."""
        return found.false_alarms / max(self.duration(found.steps), 1e-9)

    def duration(self, steps: int) -> float:
        """How long so many steps last: hours, or thousands of steps where there is no rate."""
        return steps / (STEPS_WITHOUT_RATE if self.rate is None else 3600 * self.rate)

    def seconds(self, steps: float) -> float:
        """The time of so many steps: seconds, or steps where there is no rate."""
        return steps if self.rate is None else steps / self.rate
