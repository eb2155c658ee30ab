"""A model whose outputs are written in its inputs, and recordings made for it: what is best is known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgegru_runtime import Artifact
from edgegru_runtime.artifact import expected_tensors
from edgegru_runtime.model_config import OutputConfig
from tests.builders import changed, from_arrays, random_config

RATE = 10.0
LABELS = ("none", "clap", "shout")


def passing_artifact(
    target: str = "step_label",
    labels: Sequence[str] = LABELS,
    rate: float | None = RATE,
    data: dict | None = None,
) -> Artifact:
    """A model that gives out what it is given: behind a softmax, a sigmoid, or as it is."""
    size = len(labels)
    head = {"step_label": "softmax", "recording_label": "softmax", "step_labels": "sigmoid"}.get(target, "identity")
    config = random_config(size, (size,), size, candidate="linear", head=head, rate=rate)
    output = OutputConfig("output", target, tuple(labels), horizon=1 if target == "forecast" else 0)
    config = changed(config, outputs=(output,), data=data or {})
    arrays = {name: np.zeros(shape, np.float32) for name, (_, shape) in expected_tensors(config).items()}
    arrays["standardise.std"][:] = 1
    arrays["gru0.weight_ih"][2 * size :] = np.eye(size)
    arrays["gru0.bias_ih"][size : 2 * size] = -60  # nothing of the last state is kept
    arrays["dense.weight"][:] = np.eye(size)
    return from_arrays(config, arrays)


def write_csv(path: Path, columns: dict[str, Sequence[object]]) -> Path:
    """A recording with these columns."""
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


def logits(labels: Sequence[str], sure: float = 6.0) -> dict[str, list[float]]:
    """Inputs with which a model of ``LABELS`` says these labels, step by step."""
    return {f"c{number}": [sure * (label == name) for label in labels] for number, name in enumerate(LABELS)}


def labelled(length: int, events: Sequence[tuple[int, int, str]]) -> list[str]:
    """A label a step: "none" but for the events (first step, length, label)."""
    labels = ["none"] * length
    for start, size, label in events:
        labels[start : start + size] = [label] * size
    return labels
