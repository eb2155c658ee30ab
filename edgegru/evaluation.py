"""Evaluation as the device would see it: every recording streamed step by step on the engine named, then scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgegru import metrics
from edgegru.data import LabelledSequence, labelled_sequences
from edgegru.data.config import CLASS_TARGETS
from edgegru_runtime import Artifact, Model, load
from edgegru_runtime.errors import DataError
from edgegru_runtime.model_config import NEXT_TOKEN

_CORNER = "true \\ predicted"


@dataclass(frozen=True)
class Evaluation:
    """How a model does on labelled recordings.

    ``scored`` counts the steps with a target: all of a step target, the last of each recording for a recording target.
    ``metrics``: "accuracy" and "macro_f1" of classes; "nll" (in nats), "bits" (the same) and "accuracy" of tokens;
    "nll" and "micro_f1" of step_labels; "mse" and "mae" of values in the target's own units; edgegru.metrics defines
    them. ``confusion``: true classes down, predicted across, None for other targets. ``clipped``: input values that
    saturated.
    """

    engine: str
    scheme: str
    target: str
    part: str
    recordings: int
    steps: int
    scored: int
    clipped: int
    labels: tuple[str, ...]
    metrics: dict[str, float]
    confusion: tuple[tuple[int, ...], ...] | None

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """The same for people to read."""
        clipped = f", {self.clipped} input values clipped" if self.clipped else ""
        counts = f"{self.recordings} recordings (part {self.part}), {self.steps} steps streamed, {self.scored} scored"
        lines = [f"{self.scheme} on {self.engine}: {counts} ({self.target}){clipped}"]
        lines += [f"{name:<10}{value:.6g}" for name, value in self.metrics.items()]
        if self.confusion is not None:
            lines += ["", *_confusion_lines(self.confusion, self.labels)]
        return "\n".join(lines)


def evaluate(
    model: str | Path | Artifact | Model,
    data: str | Path,
    *,
    engine: str = "auto",
    part: str = "auto",
    plot: str | Path | None = None,
) -> Evaluation:
    """Stream labelled recordings through a model, the state reset at the start of each, and score its outputs.

    ``model``: an artifact, a ``.onnx`` or ``.tflite`` file, or what was read from one. ``data``: recordings in the
    layout the model was trained on. ``engine``: "auto" or an engine's name. ``part``: "train", "validation", "test",
    "all", or "auto": the official test part where there is one, else all. ``plot``: where to write the confusion
    matrix as a PNG.

    Raises ArtifactError, DataError, EngineError; DataError also where nothing has a target or ``plot`` is given for
    a target that has no confusion matrix.
    """
    loaded = _loaded(model, None if engine == "auto" else engine)
    target = loaded.config.outputs[0].target
    if plot is not None and target not in CLASS_TARGETS:
        raise DataError(f"a confusion matrix needs classes, but the model's target is {target}")
    evaluation = evaluate_sequences(loaded, labelled_sequences(loaded.config, data, part), part=part)
    if plot is not None:
        from edgegru.evaluation_plots import plot_confusion  # matplotlib only where a picture is wanted

        title = f"accuracy {evaluation.metrics['accuracy']:.4f} ({evaluation.scheme} on {evaluation.engine})"
        plot_confusion(np.array(evaluation.confusion), evaluation.labels, title, plot)
    return evaluation


def evaluate_sequences(model: Model, sequences: Sequence[LabelledSequence], *, part: str = "all") -> Evaluation:
    """Score a loaded model on sequences already in memory; ``part`` only says in the result what they are."""
    output = model.config.outputs[0]
    scored = sum(int(sequence.mask.sum()) for sequence in sequences)
    if not scored:
        raise DataError(f"{len(sequences)} recordings hold no target to score (part {part})")
    stream = model.stream()
    targets, predictions, clipped = [], [], 0
    for sequence in sequences:
        stream.reset()
        outputs = np.asarray(stream.run(sequence.x))  # (T, output size)
        clipped += stream.clipped
        targets.append(sequence.target[sequence.mask])
        predictions.append(outputs[sequence.mask])
    all_targets, all_predictions = np.concatenate(targets), np.concatenate(predictions)
    counts = None
    if output.target in CLASS_TARGETS:
        confusion = metrics.confusion_matrix(all_targets, all_predictions.argmax(axis=1), len(output.labels))
        scores = {"accuracy": metrics.accuracy(confusion), "macro_f1": metrics.macro_f1(confusion)}
        counts = tuple(tuple(int(count) for count in row) for row in confusion)
    elif output.target == NEXT_TOKEN:
        nll = -float(np.mean(all_predictions[np.arange(scored), all_targets], dtype=np.float64))
        scores = {
            "nll": nll,
            "bits": nll / np.log(2.0),
            "accuracy": float(np.mean(all_predictions.argmax(axis=1) == all_targets)),
        }
    elif output.target == "step_labels":
        scores = {
            "nll": metrics.negative_log_likelihood(all_targets, all_predictions),
            "micro_f1": metrics.micro_f1(all_targets, all_predictions),
        }
    else:
        scores = {
            "mse": metrics.mean_squared_error(all_targets, all_predictions),
            "mae": metrics.mean_absolute_error(all_targets, all_predictions),
        }
    steps = sum(len(sequence.x) for sequence in sequences)
    return Evaluation(
        engine=model.engine_name,
        scheme=model.config.scheme,
        target=output.target,
        part=part,
        recordings=len(sequences),
        steps=steps,
        scored=scored,
        clipped=clipped,
        labels=output.labels,
        metrics=scores,
        confusion=counts,
    )


def _loaded(model: str | Path | Artifact | Model, engine: str | None) -> Model:
    if isinstance(model, Model):
        return model if engine is None else Model(model.source, engine)
    return Model(model, engine) if isinstance(model, Artifact) else load(model, engine)


def _confusion_lines(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> list[str]:
    """The matrix as text: true classes down, predicted across, a number's width wide enough for all."""
    cells = max(3, *(len(str(count)) for row in confusion for count in row), *(len(label) for label in labels))
    name = max(len(_CORNER), *(len(label) for label in labels))
    header = f"{_CORNER:<{name}}" + "".join(f"  {label:>{cells}}" for label in labels)
    rows = [
        f"{label:<{name}}" + "".join(f"  {count:>{cells}}" for count in row)
        for label, row in zip(labels, confusion, strict=True)
    ]
    return [header, *rows]
