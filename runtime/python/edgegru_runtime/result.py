"""What a step gave: outputs, and what they switched on or off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgegru_runtime.record import Time


class Event(NamedTuple):
    """A label was switched on or off."""

    on: bool
    label: str
    p: float  # its probability, smoothed; of an anomaly its score
    output: int = 0  # which of the model's outputs


class Result(NamedTuple):
    """One step of one sensor's stream."""

    key: str  # the sensor's name, "" where there is one
    index: int  # type: ignore[assignment]  # counts from 0 at each reset; tuple's method of that name is not missed
    t: Time  # of the sample
    outputs: tuple[Sequence[float], ...]  # in declared order
    on: tuple[tuple[str, ...], ...]  # the labels that are on after the step, by output
    events: Sequence[Event]
    score: float | None = None  # of the residual, where residuals are scored
    step_us: float | None = None  # the step's time, where it is measured
    text: str | None = None  # of the token that the step read, where the model reads text
