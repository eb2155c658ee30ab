"""What training minimises and what it reports: a class each for classes, tokens, several outputs, labels and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgegru.configuration import CLASS_WEIGHTS, METRICS, TrainingConfig
from edgegru.data import Dataset, LabelledSequence
from edgegru.data.config import CLASS_TARGETS
from edgegru.data.recordings import NO_CLASS
from edgegru.metrics import (
    accuracy,
    confusion_matrix,
    macro_f1,
    mean_absolute_error,
    mean_squared_error,
    micro_f1,
    negative_log_likelihood,
)
from edgegru_runtime.errors import ConfigError
from edgegru_runtime.model_config import NEXT_TOKEN


class Objective(Protocol):
    """``outputs`` and ``targets`` below are those of N steps that count: (N, O), and (N,), (N, K) or (N, outputs)."""

    metrics: tuple[str, ...]  # names of what ``measure`` gives, the first is shown while training
    decisive: str  # the metric, or "loss", that decides which epoch is best where the configuration does not

    def weights(self, targets: Tensor) -> Tensor:
        """How much each step counts in the loss: (N,)."""

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each step times its weight: (N,)."""

    def predictions(self, outputs: Tensor) -> Tensor:
        """What the model says: class numbers (N,), or (N, K): values in their own units, probabilities of labels."""

    def measure(self, targets: NDArray[np.generic], predictions: NDArray[np.generic]) -> dict[str, float]:
        """Every metric over N steps."""


class ClassObjective:
    """Cross-entropy of classes, smoothed and weighted as configured."""

    metrics: tuple[str, ...] = ("accuracy", "macro_f1")
    decisive = "accuracy"

    def __init__(self, classes: int, class_weights: Tensor, label_smoothing: float) -> None:
        self.classes = classes
        self.class_weights = class_weights  # (classes,)
        self.label_smoothing = label_smoothing

    def weights(self, targets: Tensor) -> Tensor:
        return self.class_weights[targets]

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses = nn.functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=self.label_smoothing)
        return losses * self.weights(targets)

    def predictions(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(dim=1)

    def measure(self, targets: NDArray[np.generic], predictions: NDArray[np.generic]) -> dict[str, float]:
        confusion = confusion_matrix(targets, predictions, self.classes)
        return {"accuracy": accuracy(confusion), "macro_f1": macro_f1(confusion)}


class TokenObjective(ClassObjective):
    """Cross-entropy of the token that comes next."""

    metrics = ("accuracy",)
    decisive = "loss"

    def measure(self, targets: NDArray[np.generic], predictions: NDArray[np.generic]) -> dict[str, float]:
        return {"accuracy": float(np.mean(targets == predictions))}


class SeveralObjective:
    """Several outputs of classes, by name: the numbers of each stand behind those of the one before. Targets are
    (N, outputs), NO_CLASS where a step does not count for one; whatever counts adds alike to the same sum.
    """

    decisive = "accuracy"

    def __init__(self, parts: Mapping[str, Objective], sizes: Sequence[int]) -> None:
        self.parts, self.sizes = parts, [*sizes]
        own = (f"{name}_{metric}" for name, part in parts.items() for metric in part.metrics)
        self.metrics: tuple[str, ...] = ("accuracy", *own)

    def weights(self, targets: Tensor) -> Tensor:
        columns = zip(self.parts.values(), targets.unbind(1), strict=True)
        return torch.stack([part.weights(own.clamp(min=0)) * (own != NO_CLASS) for part, own in columns]).sum(dim=0)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        rows = zip(self.parts.values(), outputs.split(self.sizes, dim=1), targets.unbind(1), strict=True)
        losses = [part.losses(numbers, own.clamp(min=0)) * (own != NO_CLASS) for part, numbers, own in rows]
        return torch.stack(losses).sum(dim=0)

    def predictions(self, outputs: Tensor) -> Tensor:
        rows = zip(self.parts.values(), outputs.split(self.sizes, dim=1), strict=True)
        return torch.stack([part.predictions(numbers) for part, numbers in rows], dim=1)

    def measure(self, targets: NDArray[np.generic], predictions: NDArray[np.generic]) -> dict[str, float]:
        """The metrics of each output under its name, and the mean of their accuracies."""
        found = {}
        for (name, part), own, predicted in zip(self.parts.items(), targets.T, predictions.T, strict=True):
            counted = own != NO_CLASS
            own_metrics = part.measure(own[counted], predicted[counted])
            found |= {f"{name}_{metric}": value for metric, value in own_metrics.items()}
        mean = float(np.mean([found[f"{name}_accuracy"] for name in self.parts]))
        return {"accuracy": mean, **found}


class LabelsObjective:
    """Cross-entropy of labels of which any number may hold: each label's own yes or no, their sum at a step."""

    metrics: tuple[str, ...] = ("nll", "micro_f1")
    decisive = "loss"

    def weights(self, targets: Tensor) -> Tensor:
        return torch.ones_like(targets[:, 0])

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(dim=1)

    def predictions(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid()

    def measure(self, targets: NDArray[np.generic], predictions: NDArray[np.generic]) -> dict[str, float]:
        return {"nll": negative_log_likelihood(targets, predictions), "micro_f1": micro_f1(targets, predictions)}


class ValueObjective:
    """Squared error of values in standard deviations of the training targets; metrics in their own units."""

    metrics: tuple[str, ...] = ("mse", "mae")
    decisive = "loss"

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std  # (K,)

    def weights(self, targets: Tensor) -> Tensor:
        return torch.ones_like(targets[:, 0])

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs - (targets - self.mean) / self.std) ** 2).mean(dim=1)

    def predictions(self, outputs: Tensor) -> Tensor:
        return outputs * self.std + self.mean

    def measure(self, targets: NDArray[np.generic], predictions: NDArray[np.generic]) -> dict[str, float]:
        return {"mse": mean_squared_error(targets, predictions), "mae": mean_absolute_error(targets, predictions)}


def make_objective(config: TrainingConfig, dataset: Dataset, device: torch.device) -> Objective:
    """The objective for the targets of a data set. Raises ConfigError where the configuration does not fit it."""
    objective: Objective
    if len(dataset.outputs) > 1:
        if not isinstance(config.class_weights, str):
            known = " or ".join(map(repr, CLASS_WEIGHTS))
            raise ConfigError(f"training.class_weights are a list, expected {known} for several outputs")
        names = [output.node for output in dataset.outputs]
        parts = {name: _class_objective(config, dataset, place, device) for place, name in enumerate(names)}
        objective = SeveralObjective(parts, [part.classes for part in parts.values()])
    elif dataset.target in (*CLASS_TARGETS, NEXT_TOKEN):
        objective = _class_objective(config, dataset, 0, device)
    else:
        for name, neutral in (("class_weights", "none"), ("label_smoothing", 0.0)):
            if getattr(config, name) != neutral:
                raise ConfigError(f"training.{name} is for classes, but the target is {dataset.target}: leave it out")
        objective = LabelsObjective() if dataset.target == "step_labels" else _value_objective(dataset, device)
    if config.metric not in ("auto", "loss", *objective.metrics):
        known = ", ".join(("auto", "loss", *(metric for metric in METRICS if metric in objective.metrics)))
        targets = ", ".join(output.target for output in dataset.outputs)
        raise ConfigError(f"training.metric is {config.metric!r}, expected one of {known} for target {targets}")
    return objective


def _class_objective(config: TrainingConfig, dataset: Dataset, place: int, device: torch.device) -> ClassObjective:
    """That of the output in a place, of classes or tokens."""
    output = dataset.outputs[place]
    labels = dataset.labels_of(output)
    kind = TokenObjective if output.target == NEXT_TOKEN else ClassObjective
    weights = _class_weights(config.class_weights, labels, [sequence.apart[place] for sequence in dataset.train])
    tensor = torch.tensor(weights, dtype=torch.float32, device=device)
    return kind(len(labels), tensor, config.label_smoothing)


def _value_objective(dataset: Dataset, device: torch.device) -> ValueObjective:
    mean, std = (torch.from_numpy(array).to(device) for array in (dataset.target_mean, dataset.target_std))
    return ValueObjective(mean, std)


def _class_weights(
    setting: str | Sequence[float], labels: Sequence[str], train: Sequence[LabelledSequence]
) -> list[float]:
    if setting == "none":
        return [1.0] * len(labels)
    if setting == "balanced":  # every class weighs the same in sum, a step 1 on average
        counts = np.zeros(len(labels))
        for sequence in train:
            counts += np.bincount(sequence.target[sequence.mask], minlength=len(counts))
        present = np.count_nonzero(counts)
        return [counts.sum() / (present * count) if count else 0.0 for count in counts]
    if len(setting) != len(labels) or not any(setting):
        raise ConfigError(
            f"training.class_weights has {len(setting)} numbers, expected one for each class, not all 0: "
            + ", ".join(labels)
        )
    return [float(weight) for weight in setting]
