"""What every training has in common: epochs, the best of them, an average of weights, and a checkpoint to go on from.

Everything random is drawn from seed and epoch, so nothing but ``Checkpoint`` is needed to go on.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgegru.checkpoint import Checkpoint, check_checkpoint
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ArtifactError, ConfigError

ORDER, AUGMENTATION, DROPOUT = range(3)  # what a generator is for: each has its own numbers


class EpochTrainer(ABC):
    """The state of training, an epoch at a time: what ``edgegru.training.run_training`` runs.

    ``config``: a dataclass of sections. ``data_digest``: of what is trained on and judged by. ``epoch``: epochs done.
    ``history``: their rows. ``network``: the weights that learn; ``average``: those that are validated and frozen, the
    same unless weights are averaged.
    """

    counted: str  # what ``counts`` counts
    files: tuple[str, ...]  # the models that such a training may write
    rate_name = "learning_rate"  # the setting of the learning rate
    config: Any
    device: torch.device
    data_digest: str
    network: Any
    average: Any
    optimiser: torch.optim.Optimizer

    def begin(self) -> None:
        """Draw the first weights. Nothing is done yet."""
        self.network = self._initial_network()
        self.average = self._initial_network() if self.settings.averaging else self.network
        self.optimiser = self._new_optimiser()
        self.epoch = self.updates = 0
        self.history: list[dict[str, float]] = []
        self.best_epoch, self.best = 0, _copy(self.average)

    @property
    def settings(self) -> Any:
        """How this training goes: seed, epochs, learning_rate, gradient_clip, averaging, threads."""
        return self.config.training

    @property
    @abstractmethod
    def shown(self) -> tuple[str, ...]:
        """The columns of the history that the progress bar shows."""

    @property
    @abstractmethod
    def counts(self) -> dict[str, int]:
        """How much there is to train on and to be judged by, for the provenance."""

    @property
    def done(self) -> bool:
        """All epochs are run."""
        return bool(self.epoch >= self.settings.epochs)

    def run_epoch(self) -> dict[str, float]:
        """One pass over the training part and one over the validation part; returns the row of the history."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(self._generator(DROPOUT).integers(2**63)))
            row = {"epoch": self.epoch + 1.0, "learning_rate": 0.0}
            row |= {f"train_{name}": value for name, value in self._learn().items()}
        row["learning_rate"] = self.optimiser.param_groups[0]["lr"]
        row |= {f"validation_{name}": value for name, value in self._validate().items()}
        if not all(math.isfinite(value) for value in row.values()):
            raise ConfigError(
                f"the loss is no longer finite in epoch {self.epoch + 1}: use a training.{self.rate_name} below "
                f"{self.settings.learning_rate}"
            )
        self.epoch += 1
        self.history.append(row)
        if not self.best_epoch or self._is_better(row, self.history[self.best_epoch - 1]):
            self.best_epoch, self.best = self.epoch, _copy(self.average)
        return row

    @abstractmethod
    def artifacts(self, provenance: Mapping[str, Any]) -> dict[str, Artifact]:
        """The models of the best epoch by file name; the last of them is what was trained."""

    @abstractmethod
    def comparable_config(self) -> dict[str, dict[str, Any]]:
        """What must be the same to go on from a checkpoint, by section and key."""

    def checkpoint(self) -> Checkpoint:
        """Everything that ``restore`` needs."""
        return Checkpoint(
            config=self.comparable_config(),
            data=self.data_digest,
            epoch=self.epoch,
            updates=self.updates,
            network=self.network.state_dict(),
            average=self.average.state_dict(),
            optimiser=self.optimiser.state_dict(),
            best=self.best,
            best_epoch=self.best_epoch,
            history=self.history,
        )

    def restore(self, checkpoint: Checkpoint, path: Path) -> None:
        """Go back to where a checkpoint was made. Raises ConfigError for one of another configuration or other data."""
        check_checkpoint(checkpoint, self.comparable_config(), self.data_digest, path)
        try:
            for weights in (checkpoint.best, checkpoint.average):
                self.average.load_state_dict(weights)
            self.network.load_state_dict(checkpoint.network)
            self.optimiser.load_state_dict(checkpoint.optimiser)
            self.history = [dict(row) for row in checkpoint.history]
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ArtifactError(f"{path} does not hold what its configuration says: {error}") from error
        self.epoch, self.updates = checkpoint.epoch, checkpoint.updates
        self.best_epoch, self.best = checkpoint.best_epoch, checkpoint.best

    @abstractmethod
    def _initial_network(self) -> Any:
        """A network as it is before anything is learned."""

    @abstractmethod
    def _new_optimiser(self) -> torch.optim.Optimizer:
        """What changes ``network``."""

    @abstractmethod
    def _learn(self) -> dict[str, float]:
        """One pass over the training part; its loss and metrics."""

    @abstractmethod
    def _validate(self) -> dict[str, float]:
        """Loss and metrics of ``average`` over the validation part; {} where there is none."""

    @abstractmethod
    def _is_better(self, row: dict[str, float], best: dict[str, float]) -> bool:
        """Whether an epoch is to be kept in place of the best before it."""

    @abstractmethod
    def _set_rate(self, progress: float) -> None:
        """The learning rate after the share ``progress`` in [0, 1) of all training."""

    def _generator(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, self.epoch, purpose])

    def _update(self, loss: torch.Tensor, progress: float) -> None:
        settings = self.settings
        self._set_rate(progress)
        self.optimiser.zero_grad()
        loss.backward()
        if settings.gradient_clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.gradient_clip)
        self.optimiser.step()
        self.updates += 1
        if self.average is not self.network:
            decay = min(settings.averaging, (1 + self.updates) / (10 + self.updates))  # forget the first weights soon
            with torch.no_grad():
                for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                    mean.lerp_(value, 1.0 - decay)


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}
