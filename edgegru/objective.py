"""What training minimises and what it reports: a class each for classes, tokens, sets of labels, and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgegru.configuration import TrainingConfig
from edgegru.data import Dataset
from edgegru.data.config import CLASS_TARGETS
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
    """``outputs`` and ``targets`` below are those of N steps that count: (N, O), and (N,) or (N, K)."""

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
    """The objective for the target of a data set. Raises ConfigError where the configuration does not fit it."""
    objective: Objective
    if dataset.target in (*CLASS_TARGETS, NEXT_TOKEN):
        kind = TokenObjective if dataset.target == NEXT_TOKEN else ClassObjective
        weights = torch.tensor(_class_weights(config.class_weights, dataset), dtype=torch.float32, device=device)
        objective = kind(len(dataset.labels), weights, config.label_smoothing)
    else:
        for name, neutral in (("class_weights", "none"), ("label_smoothing", 0.0)):
            if getattr(config, name) != neutral:
                raise ConfigError(f"training.{name} is for classes, but the target is {dataset.target}: leave it out")
        objective = LabelsObjective() if dataset.target == "step_labels" else _value_objective(dataset, device)
    if config.metric not in ("auto", "loss", *objective.metrics):
        known = ", ".join(("auto", "loss", *objective.metrics))
        raise ConfigError(f"training.metric is {config.metric!r}, expected one of {known} for target {dataset.target}")
    return objective


def _value_objective(dataset: Dataset, device: torch.device) -> ValueObjective:
    mean, std = (torch.from_numpy(array).to(device) for array in (dataset.target_mean, dataset.target_std))
    return ValueObjective(mean, std)


def _class_weights(setting: str | Sequence[float], dataset: Dataset) -> list[float]:
    if setting == "none":
        return [1.0] * len(dataset.labels)
    if setting == "balanced":  # every class weighs the same in sum, a step 1 on average
        counts = np.zeros(len(dataset.labels))
        for sequence in dataset.train:
            counts += np.bincount(sequence.target[sequence.mask], minlength=len(counts))
        present = np.count_nonzero(counts)
        return [counts.sum() / (present * count) if count else 0.0 for count in counts]
    if len(setting) != len(dataset.labels) or not any(setting):
        raise ConfigError(
            f"training.class_weights has {len(setting)} numbers, expected one for each class, not all 0: "
            + ", ".join(dataset.labels)
        )
    return [float(weight) for weight in setting]
