"""Residuals: how far what a model predicted is from what was measured, as one score a step (docs/deciding.md).

A forecast made at one step is compared with the sample of the next one, a value of this step with what was measured
beside the sample.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import isfinite, sqrt
from typing import Any

from edgegru_runtime.errors import ArtifactError, StateError
from edgegru_runtime.model_config import ModelConfig, OutputConfig, ResidualConfig

RESIDUAL_TARGETS = ("forecast", "step_value")
_LIMIT = 2.0**60  # beyond which samples are saturated before they enter a model
_NEXT = "+1"  # the end of a label that names what a channel will be at the next step


def check_residual(config: ModelConfig, residual: ResidualConfig) -> None:
    """Raise ArtifactError where no score can be made: of another output, or with another number of scales."""
    at = "decision.residual"
    place = _place(config, residual.output)
    if place is None:
        named = ", ".join(output.node for output in config.outputs)
        raise ArtifactError(f"{at}.output is {residual.output!r}; expected one of the outputs {named}")
    output = config.outputs[place]
    if output.target not in RESIDUAL_TARGETS:
        expected = f"one with target {' or '.join(RESIDUAL_TARGETS)}"
        raise ArtifactError(f"{at}.output is {residual.output!r} with target {output.target}; expected {expected}")
    labels = scored_labels(output)
    if output.target == "forecast":
        for label in labels:
            if label.removesuffix(_NEXT) == label or label.removesuffix(_NEXT) not in config.input.channels:
                expected = f"a channel and {_NEXT}, such as {config.input.channels[0]}{_NEXT}"
                raise ArtifactError(f"{at}.output {residual.output!r} has the label {label!r}; expected {expected}")
    if len(residual.scale) != len(labels):
        found = f"{at}.scale has {len(residual.scale)} numbers"
        raise ArtifactError(f"{found}; expected {len(labels)}, one a label: {', '.join(labels[:8])}")


def scored_labels(output: OutputConfig) -> tuple[str, ...]:
    """The labels of an output that have a residual: of a forecast those of the next step."""
    return output.labels[: len(output.labels) // max(output.horizon, 1)]


def scored_channels(config: ModelConfig, output: OutputConfig) -> list[int]:
    """The channels that the next step's labels of a forecast are about."""
    return [config.input.channels.index(label.removesuffix(_NEXT)) for label in scored_labels(output)]


class Residuals:
    """The residuals of one stream: measured minus predicted, one a label, in the units of the data.

    ``output``: the node of a forecast or step value, whose labels fit (``check_residual``). ``warm_up``: steps after a
    reset whose predictions are not compared.
    """

    def __init__(self, config: ModelConfig, output: str, warm_up: int = 0) -> None:
        place = _place(config, output)
        assert place is not None
        self.place, self._warm_up = place, warm_up
        labels = scored_labels(config.outputs[place])
        self._size = len(labels)
        self._channels: list[int] | None = None
        if config.outputs[place].target == "forecast":
            self._channels = scored_channels(config, config.outputs[place])
        self._predicted: list[float] | None = None

    def step(
        self, index: int, x: Sequence[float], target: Sequence[float] | None, outputs: Sequence[Sequence[float]]
    ) -> list[float] | None:
        """The residuals of a step; None where nothing was predicted for it, or a number is missing or not finite.

        ``index`` counts the steps since the reset; ``x``: the sample, of a block the last one; ``target``: the measured
        values of the output's labels; ``outputs``: what the step gave.
        """
        predicted: Sequence[float] | None = outputs[self.place] if index >= self._warm_up else None
        measured = target
        if self._channels is not None:
            following = None if predicted is None else list(predicted[: self._size])
            predicted, self._predicted = self._predicted, following
            measured = [x[channel] for channel in self._channels]
        if predicted is None or measured is None:
            return None
        taken: Sequence[float] = array("f", measured)  # as a sample enters the model
        if max(taken) > _LIMIT or min(taken) < -_LIMIT:
            taken = [min(max(value, -_LIMIT), _LIMIT) for value in taken]
        residuals = [value - expected for value, expected in zip(taken, predicted, strict=True)]
        return residuals if isfinite(sum(residuals)) else None

    def reset(self) -> None:
        """Nothing has been predicted."""
        self._predicted = None

    def saved(self) -> list[float] | None:
        """The prediction for the next step."""
        return self._predicted if self._predicted is None or isfinite(sum(self._predicted)) else None

    def restore(self, value: Any) -> None:
        """Take back what ``saved`` gave. Raises StateError where it does not fit."""
        if value is not None:
            numbers = isinstance(value, list) and all(type(number) in (int, float) for number in value)
            if self._channels is None or not numbers or len(value) != self._size or not all(map(isfinite, value)):
                raise StateError(f"the saved prediction does not fit, expected {self._size} finite numbers")
        self._predicted = value


def score(residuals: Sequence[float], scale: Sequence[float]) -> float:
    """``√(mean of (residual / scale)²)`` over the labels, added in their order."""
    total = 0.0
    for residual, usual in zip(residuals, scale, strict=True):  # not sum(), which compensates what rounding loses
        share = residual / usual
        total += share * share
    return sqrt(total / len(scale))


def _place(config: ModelConfig, node: str) -> int | None:
    return next((place for place, output in enumerate(config.outputs) if output.node == node), None)
