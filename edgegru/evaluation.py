"""Evaluation as the device would see it: every recording streamed step by step on the engine named, then scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru import metrics
from edgegru.data import LabelledSequence, labelled_sequences
from edgegru.data.config import CLASS_TARGETS
from edgegru_runtime import Artifact, Model, load
from edgegru_runtime.errors import DataError
from edgegru_runtime.model_config import NEXT_TOKEN, OutputConfig

_CORNER = "true \\ predicted"
_SHOWN_CLASSES = 30  # whose confusion a terminal holds
_Values = NDArray[Any]


@dataclass(frozen=True)
class OutputScores:
    """How one output of a model does.

    ``output``: its node. ``scored`` counts the steps with a target: all of a step target, the last of each recording
    for a recording target. ``metrics``: "accuracy" and "macro_f1" of classes, "chunk_f1" too of tags of words (B-, I-,
    O); "nll" (in nats), "bits" (the same) and "accuracy" of tokens; "nll" and "micro_f1" of step_labels; "mse" and
    "mae" of values in the target's own units; edgegru.metrics defines them. ``confusion``: true classes down, predicted
    across, None for other targets.
    """

    output: str
    target: str
    scored: int
    labels: tuple[str, ...]
    metrics: dict[str, float]
    confusion: tuple[tuple[int, ...], ...] | None

    @property
    def lines(self) -> list[str]:
        """Metrics and, of few classes, the confusion matrix, for people to read."""
        width = max(10, *(len(name) + 1 for name in self.metrics))
        lines = [f"{name:<{width}}{value:.6g}" for name, value in self.metrics.items()]
        if self.confusion is not None and len(self.labels) <= _SHOWN_CLASSES:
            lines += ["", *_confusion_lines(self.confusion, self.labels)]
        return lines


@dataclass(frozen=True)
class Evaluation:
    """How a model does on labelled recordings, output by output. ``clipped``: input values that saturated."""

    engine: str
    scheme: str
    part: str
    recordings: int
    steps: int
    clipped: int
    outputs: tuple[OutputScores, ...]

    @property
    def metrics(self) -> dict[str, float]:
        """Those of the output; of several all, each behind the name of its output: "step_label_accuracy"."""
        if len(self.outputs) == 1:
            return self.outputs[0].metrics
        return {f"{own.output}_{name}": value for own in self.outputs for name, value in own.metrics.items()}

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the first output."""
        return self.outputs[0].labels

    @property
    def scored(self) -> int:
        """Steps with a target for the first output."""
        return self.outputs[0].scored

    @property
    def confusion(self) -> tuple[tuple[int, ...], ...] | None:
        """That of the first output."""
        return self.outputs[0].confusion

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data for JSON; those of a single output among the others."""
        fields = asdict(self)
        if len(self.outputs) == 1:
            (own,) = fields.pop("outputs")
            del own["output"]
            fields |= own
        return fields

    def __str__(self) -> str:
        """The same for people to read."""
        clipped = f", {self.clipped} input values clipped" if self.clipped else ""
        counts = f"{self.recordings} recordings (part {self.part}), {self.steps} steps streamed"
        start = f"{self.scheme} on {self.engine}: {counts}"
        if len(self.outputs) == 1:
            (own,) = self.outputs
            return "\n".join([f"{start}, {own.scored} scored ({own.target}){clipped}", *own.lines])
        lines = [f"{start}{clipped}"]
        for own in self.outputs:
            lines += ["", f"{own.target}: {own.scored} scored", *own.lines]
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
    targets = [output.target for output in loaded.config.outputs]
    if plot is not None and len(targets) > 1:
        raise DataError(f"a picture has one confusion matrix, but the model has the targets {', '.join(targets)}")
    if plot is not None and targets[0] not in CLASS_TARGETS:
        raise DataError(f"a confusion matrix needs classes, but the model's target is {targets[0]}")
    evaluation = evaluate_sequences(loaded, labelled_sequences(loaded.config, data, part), part=part)
    if plot is not None:
        from edgegru.evaluation_plots import plot_confusion  # matplotlib only where a picture is wanted

        title = f"accuracy {evaluation.metrics['accuracy']:.4f} ({evaluation.scheme} on {evaluation.engine})"
        plot_confusion(np.array(evaluation.confusion), evaluation.labels, title, plot)
    return evaluation


def evaluate_sequences(model: Model, sequences: Sequence[LabelledSequence], *, part: str = "all") -> Evaluation:
    """Score a loaded model on sequences already in memory; ``part`` only says in the result what they are."""
    outputs = model.config.outputs
    for place, output in enumerate(outputs):
        if not any(sequence.apart[place].mask.any() for sequence in sequences):
            of_output = f" {output.target}" if len(outputs) > 1 else ""
            raise DataError(f"{len(sequences)} recordings hold no target{of_output} to score (part {part})")
    stream = model.stream()
    said: list[list[_Values]] = [[] for _ in outputs]
    clipped = 0
    for sequence in sequences:
        stream.reset()
        found = stream.run(sequence.x)
        for own, values in zip(said, found if len(outputs) > 1 else (found,), strict=True):
            own.append(np.asarray(values))  # (T, output size)
        clipped += stream.clipped
    return Evaluation(
        engine=model.engine_name,
        scheme=model.config.scheme,
        part=part,
        recordings=len(sequences),
        steps=sum(len(sequence.x) for sequence in sequences),
        clipped=clipped,
        outputs=tuple(
            _scores(output, [sequence.apart[place] for sequence in sequences], said[place])
            for place, output in enumerate(outputs)
        ),
    )


def _scores(output: OutputConfig, sequences: Sequence[LabelledSequence], said: Sequence[_Values]) -> OutputScores:
    """How the numbers that an output said along each sequence fit the targets."""
    targets = np.concatenate([sequence.target[sequence.mask] for sequence in sequences])
    predictions = np.concatenate([values[one.mask] for one, values in zip(sequences, said, strict=True)])
    counts = None
    if output.target in CLASS_TARGETS:
        confusion = metrics.confusion_matrix(targets, predictions.argmax(axis=1), len(output.labels))
        scores = {"accuracy": metrics.accuracy(confusion), "macro_f1": metrics.macro_f1(confusion)}
        if output.target == "step_label" and metrics.are_chunk_tags(output.labels):
            true = [_tags(output.labels, one.target, one.mask) for one in sequences]
            found = [
                _tags(output.labels, values.argmax(axis=1), one.mask)
                for one, values in zip(sequences, said, strict=True)
            ]
            scores["chunk_f1"] = metrics.chunk_f1(true, found)
        counts = tuple(tuple(int(count) for count in row) for row in confusion)
    elif output.target == NEXT_TOKEN:
        nll = -float(np.mean(predictions[np.arange(len(targets)), targets], dtype=np.float64))
        scores = {
            "nll": nll,
            "bits": nll / np.log(2.0),
            "accuracy": float(np.mean(predictions.argmax(axis=1) == targets)),
        }
    elif output.target == "step_labels":
        scores = {
            "nll": metrics.negative_log_likelihood(targets, predictions),
            "micro_f1": metrics.micro_f1(targets, predictions),
        }
    else:
        scores = {
            "mse": metrics.mean_squared_error(targets, predictions),
            "mae": metrics.mean_absolute_error(targets, predictions),
        }
    return OutputScores(output.node, output.target, len(targets), output.labels, scores, counts)


def _tags(labels: Sequence[str], classes: _Values, mask: NDArray[np.bool_]) -> list[str]:
    """The tag of every step (T,); a step without a target is in no chunk."""
    return [labels[number] if counts else "O" for number, counts in zip(classes.tolist(), mask.tolist(), strict=True)]


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
