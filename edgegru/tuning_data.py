"""The recordings that settings are tuned on and those that they are reported on, streamed once through the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegru.data import LabelledSequence, labelled_sequences
from edgegru.tuning_events import TrueEvent, class_events, label_events
from edgegru_runtime import Model
from edgegru_runtime.decisions import ANOMALY
from edgegru_runtime.errors import DataError
from edgegru_runtime.json_fields import MIN_SCALE
from edgegru_runtime.model_config import ModelConfig, OutputConfig
from edgegru_runtime.residuals import RESIDUAL_TARGETS, Residuals, score, scored_labels

MEDIAN_TO_STD = 1.4826  # of the absolute value of normal noise
TUNED_SHARE = 0.7  # of the steps, where the recordings themselves are split in time
PARTS = ("auto", "train", "validation", "all")
TEST_PARTS = ("auto", "train", "validation", "test", "time", "none")
USUAL_BACKGROUNDS = ("background", "none", "idle", "normal", "silence")


@dataclass(frozen=True)
class Stretch:
    """A recording as the model saw it, and what happened in the part of it that counts.

    ``values``: (T, size), the outputs, or of a model of values its residuals, NaN where there is none. ``judged``: (T,)
    bool, the steps that count. ``events``: by their start, those among these steps.
    """

    values: NDArray[np.float32] | NDArray[np.float64]
    judged: NDArray[np.bool_]
    events: tuple[TrueEvent, ...]


@dataclass(frozen=True)
class Parts:
    """What settings are chosen on, and what they are reported on (nothing where that was not wanted).

    ``tuned_on``, ``tested_on``: what the two are called.
    """

    tuned: tuple[Stretch, ...]
    tested: tuple[Stretch, ...]
    tuned_on: str
    tested_on: str | None


def streamed_parts(
    model: Model, data: str | Path, *, part: str, test_part: str, background: str | None, tolerance: int
) -> Parts:
    """Read the recordings that ``part`` and ``test_part`` name and stream them, each from a new state.

    ``background``: the label that is no event; of a model of values that of normal steps, or None where all are normal.
    ``tolerance``: steps behind an event that still belong to it; a cut in time does not go through them.

    Raises DataError where there are no such recordings, labels or events.
    """
    config = model.config

    def stretches(name: str) -> tuple[Stretch, ...]:
        sequences = labelled_sequences(config, data, name)
        if config.outputs[0].target not in RESIDUAL_TARGETS:
            return tuple(_classified(model, sequence, background) for sequence in sequences)
        if background is None:
            return tuple(_predicted(model, sequence, None, None) for sequence in sequences)
        labelled = labelled_sequences(_labelled_config(config, background), data, name)
        pairs = zip(sequences, labelled, strict=True)
        return tuple(_predicted(model, sequence, labels, background) for sequence, labels in pairs)

    if part == "auto":
        part = "validation" if _has_part(config, data, "validation") else "train"
    if test_part == "auto":
        test_part = "test" if part != "all" and _has_part(config, data, "test") else "time"
    if test_part == part or (part == "all" and test_part in ("train", "validation", "test")):
        raise DataError(f"the test part {test_part} is inside the part {part} that is tuned on, expected another part")
    tuned = stretches(part)
    tested: tuple[Stretch, ...] = ()
    tested_on = None
    if test_part == "time":
        whole = tuned
        tuned, tested = split_in_time(whole, tolerance)
        tuned_on, tested_on = f"{part}, first {TUNED_SHARE:.0%}", f"{part}, the rest"
    else:
        tuned_on = part
        if test_part != "none":
            tested, tested_on = stretches(test_part), test_part
    events_needed = config.outputs[0].target not in RESIDUAL_TARGETS or background is not None
    if events_needed and not any(stretch.events for stretch in tuned):
        steps = sum(int(np.count_nonzero(stretch.judged)) for stretch in tuned)
        raise DataError(f"{data}: {steps} steps (part {tuned_on}) hold no event, expected some to tune on")
    return Parts(tuned, tested, tuned_on, tested_on)


def chosen_background(output: OutputConfig, background: str | None) -> str | None:
    """The label that is no event: as asked for, else the one of classes that is usually called so.

    None for labels that hold independently, and where a model of values is to take all steps as normal. Raises
    DataError for a label that there is not, or a target that has no events.
    """
    if output.target in RESIDUAL_TARGETS:
        return background
    if output.target == "step_labels":
        if background is not None:
            raise DataError(f"the background {background!r} was given, but labels that hold independently need none")
        return None
    if output.target != "step_label":
        expected = f"step_label, step_labels, {' or '.join(RESIDUAL_TARGETS)}"
        raise DataError(f"the model's target is {output.target}, which has no events; expected {expected}")
    labels = ", ".join(output.labels)
    if background is not None:
        if background not in output.labels:
            raise DataError(f"the background is {background!r}, expected one of the model's labels {labels}")
        return background
    usual = [label for label in output.labels if label.lower() in USUAL_BACKGROUNDS]
    if len(usual) != 1:
        raise DataError(f"which of the labels {labels} is no event is not known, expected it as --background")
    return usual[0]


def split_in_time(stretches: Sequence[Stretch], tolerance: int) -> tuple[tuple[Stretch, ...], tuple[Stretch, ...]]:
    """The first ``TUNED_SHARE`` of all steps, and the rest; both halves of a recording that is cut are all of it.

    The cut waits until no event, nor the tolerance behind one, is going on.
    """
    before: list[Stretch] = []
    after: list[Stretch] = []
    left = round(TUNED_SHARE * sum(len(stretch.judged) for stretch in stretches))
    for stretch in stretches:
        length = len(stretch.judged)
        cut = max(min(left, length), 0)
        for event in stretch.events:
            if event.start < cut < event.stop + tolerance:
                cut = min(event.stop + tolerance, length)
        left -= length if cut == length else cut
        if cut == length:
            before.append(stretch)
        elif cut == 0:
            after.append(stretch)
        else:
            early = tuple(event for event in stretch.events if event.start < cut)
            late = tuple(event for event in stretch.events if event.start >= cut)
            first = np.arange(length) < cut
            before.append(replace(stretch, judged=stretch.judged & first, events=early))
            after.append(replace(stretch, judged=stretch.judged & ~first, events=late))
            left = 0
    return tuple(before), tuple(after)


def _has_part(config: ModelConfig, data: str | Path, name: str) -> bool:
    """Whether the recordings have that part. What else is wrong with them is said when they are read to be used."""
    try:
        return bool(labelled_sequences(config, data, name))
    except DataError:
        return False


def _classified(model: Model, sequence: LabelledSequence, background: str | None) -> Stretch:
    """A recording with a class a step, or with labels that hold independently (where there is no background)."""
    labels = model.config.outputs[0].labels
    values = np.array(model.stream().run(sequence.x))
    if background is None:
        events = label_events(sequence.target, sequence.mask, labels)
    else:
        events = class_events(sequence.target, sequence.mask, labels, background)
    return Stretch(values, sequence.mask, events)


def _labelled_config(config: ModelConfig, background: str) -> ModelConfig:
    """What reads the labels of recordings for a model that predicts values: normal or an anomaly."""
    options = {name: value for name, value in config.data.get("options", {}).items() if name != "target_columns"}
    output = OutputConfig(config.outputs[0].node, "step_label", (background, ANOMALY))
    return replace(config, outputs=(output,), data={**config.data, "options": options})


def _predicted(
    model: Model, sequence: LabelledSequence, labels: LabelledSequence | None, background: str | None
) -> Stretch:
    """A recording with the residuals of a model of values; steps without a label are normal."""
    config, length = model.config, len(sequence.x)
    output = config.outputs[0]
    residuals = Residuals(config, output.node, config.decision.warm_up)
    predictions = np.array(model.stream().run(sequence.x)).tolist()
    targets = [None] * length
    if output.target == "step_value":
        pairs = zip(sequence.target.tolist(), sequence.mask.tolist(), strict=True)
        targets = [target if counts else None for target, counts in pairs]
    steps = zip(sequence.x.tolist(), targets, predictions, strict=True)
    found = [residuals.step(index, x, target, (values,)) for index, (x, target, values) in enumerate(steps)]
    nothing = [float("nan")] * len(scored_labels(output))
    values = np.array([nothing if step is None else step for step in found])
    events: tuple[TrueEvent, ...] = ()
    if labels is not None and background is not None:
        events = class_events(labels.target, labels.mask, (background, ANOMALY), background)
    return Stretch(values, np.isfinite(values).all(axis=1), events)


def residual_scale(stretches: Sequence[Stretch], tolerance: int) -> tuple[float, ...]:
    """The usual size of each residual in normal steps: 1.4826 times the median of its absolute value.

    Of normal noise that is the standard deviation, and a few anomalies that nobody labelled do not move it. Where more
    than half are exactly 0, the root of the mean square; 1 where all are.
    """
    normal = []
    for stretch in stretches:
        outside = stretch.judged.copy()
        for event in stretch.events:
            outside[event.start : event.stop + tolerance] = False
        normal.append(stretch.values[outside])
    residuals = np.concatenate(normal)
    if not len(residuals):
        raise DataError("no step is normal, expected some to tell the usual size of residuals from")
    median = MEDIAN_TO_STD * np.median(np.abs(residuals), axis=0)
    root = np.sqrt(np.mean(np.square(residuals), axis=0))
    scale = np.where(median > MIN_SCALE, median, np.where(root > MIN_SCALE, root, 1.0))
    return tuple(float(f"{value:.6g}") for value in scale.tolist())


def scored(parts: Parts, scale: tuple[float, ...]) -> Parts:
    """The recordings with the score of each step (T, 1) in place of its residuals."""
    known: dict[int, NDArray[np.float64]] = {}

    def with_scores(stretch: Stretch) -> Stretch:
        residuals = stretch.values
        if id(residuals) not in known:
            scores = [score(step, scale) for step in residuals.tolist()]
            known[id(residuals)] = np.array(scores).reshape(-1, 1)
        return replace(stretch, values=known[id(residuals)])

    return replace(parts, tuned=tuple(map(with_scores, parts.tuned)), tested=tuple(map(with_scores, parts.tested)))
