"""What the numbers of outputs are called, and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from edgegru_runtime.model_config import DecisionConfig, ModelConfig, OutputConfig
from edgegru_runtime.result import Event


def number(value: float) -> str:
    """A number as JSON: the nine digits that give a float32 back; null where it is not finite."""
    text = "%.9g" % value  # noqa: UP031 (twice as fast as an f-string's format)
    if "." in text and "e" not in text:
        return text  # as repr would print it
    return repr(float(text)) if isfinite(value) else "null"


def kind_of(config: ModelConfig, output: OutputConfig) -> str:
    """What an output is: "softmax" (one of several classes), "log_softmax" (tokens), "sigmoid" (independent labels) or
    "identity" (values).
    """
    return config.node(output.node).kind


def on_says_more(config: ModelConfig, output: OutputConfig, decision: DecisionConfig) -> bool:
    """Whether the labels that are on can differ from what an output's numbers say by themselves.

    Of values: where their residuals are scored. Of classes: where any setting but ``reset`` is not its default. Of
    independent labels, whose ``labels`` follow the threshold, this may also differ, as long as ``threshold_off`` is the
    same.
    """
    kind = kind_of(config, output)
    if kind == "log_softmax":
        return False
    if kind == "identity":
        return decision.residual is not None and decision.residual.output == output.node
    plain = {"reset", "residual"}
    if kind == "sigmoid" and decision.threshold == decision.threshold_off:
        plain |= {"threshold", "threshold_off"}
    defaults = vars(DecisionConfig())
    return any(value != defaults[name] for name, value in vars(decision).items() if name not in plain)


def likeliest(values: Sequence[float]) -> int:
    """Where the largest is: of equal ones the first."""
    return max(range(len(values)), key=values.__getitem__)


def unique_labels(labels: Sequence[str]) -> list[str]:
    """Names for columns: the labels, numbered from 0 where one is there twice."""
    if len(set(labels)) == len(labels):
        return list(labels)
    return [f"{index}.{label}" for index, label in enumerate(labels)]


def path(config: ModelConfig, output: OutputConfig, name: str) -> str:
    """A name of a column: with several outputs behind the output's own."""
    return name if len(config.outputs) == 1 else f"{output.node}.{name}"


def events_text(config: ModelConfig, events: Sequence[Event]) -> str:
    """Events in one field: ``on:walk;off:sit``, with several outputs ``on:NODE.walk``."""
    return ";".join(
        f"{'on' if event.on else 'off'}:{path(config, config.outputs[event.output], event.label)}" for event in events
    )
