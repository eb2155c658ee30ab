"""Quantization-aware training: the epochs of ``Trainer`` with a network that computes in integers.

What learns and what is validated is the integer model; a float32 model is where it starts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgegru.calibration import calibrate
from edgegru.checkpoint import comparable_config
from edgegru.configuration import TrainConfig, TrainingConfig
from edgegru.data import Dataset
from edgegru.data.blocks import in_blocks
from edgegru.freezing import freeze
from edgegru.integer_torch import sigmoid_q16, softmax_q15
from edgegru.network import Network
from edgegru.objective import ClassObjective, Objective, SeveralObjective, ValueObjective
from edgegru.quantization import DEFAULT_MARGIN, StaticScales, default_keep, initial_scales
from edgegru.quantized_network import QuantizedNetwork
from edgegru.starting_model import thaw
from edgegru.trainer import Trainer
from edgegru_export.saving import with_identity
from edgegru_runtime import fixed_point as fx
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ArtifactError, ConfigError
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import ModelConfig, QuantizationConfig


class QuantizedObjective:
    """An objective for the outputs of a ``QuantizedNetwork``: what the integer model says is what is measured."""

    def __init__(self, inner: Objective) -> None:
        self.inner = inner
        self.metrics, self.decisive = inner.metrics, inner.decisive

    def weights(self, targets: Tensor) -> Tensor:
        return self.inner.weights(targets)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if isinstance(self.inner, ValueObjective):
            outputs = (outputs - self.inner.mean) / self.inner.std
        return self.inner.losses(outputs.float(), targets)

    def predictions(self, outputs: Tensor) -> Tensor:
        if isinstance(self.inner, ValueObjective):
            return outputs
        if isinstance(self.inner, ClassObjective):  # the largest of rounded probabilities, as it is on the device
            return softmax_q15((outputs * 2.0**fx.SOFTMAX_ARGUMENT_BITS).to(torch.int64)).argmax(dim=1)
        return sigmoid_q16((outputs * 2.0**fx.SIGMOID_ARGUMENT_BITS).to(torch.int64)) * 2.0**-fx.GATE_BITS

    def measure(self, targets: NDArray[np.generic], predictions: NDArray[np.generic]) -> dict[str, float]:
        return self.inner.measure(targets, predictions)


def _quantized(objective: Objective) -> Objective:
    if isinstance(objective, SeveralObjective):
        parts = {name: QuantizedObjective(part) for name, part in objective.parts.items()}
        return SeveralObjective(parts, objective.sizes)
    return QuantizedObjective(objective)


class QuantizedTrainer(Trainer):
    """Fine-tunes the float32 model ``start`` as one of the static scheme ``scheme``.

    ``start`` fits configuration and data. Its ranges are those of the training part, streamed through it. Raises
    CalibrationError and QuantizationError where these are no ranges; ``history`` has the seconds of each epoch.
    """

    rate_name = "qat_learning_rate"
    integer_features = True
    network: QuantizedNetwork  # type: ignore[assignment]  # its weights are one level deeper than a Network's
    average: QuantizedNetwork  # type: ignore[assignment]

    def __init__(
        self, config: TrainConfig, dataset: Dataset, device: torch.device, scheme: str, start: Artifact
    ) -> None:
        self.scheme, self.start = scheme, start
        super().__init__(config, dataset, device)
        self.objective: Objective = _quantized(self.objective)

    @cached_property
    def settings(self) -> TrainingConfig:  # type: ignore[override]  # made once
        training = self.config.training
        return replace(training, epochs=training.qat_epochs, learning_rate=training.qat_learning_rate)

    def run_epoch(self) -> dict[str, float]:
        started = time.monotonic()
        try:
            row = super().run_epoch()
        except ArtifactError as error:
            raise ConfigError(
                f"epoch {self.epoch + 1} left the integers' range ({error}): use a training.{self.rate_name} below "
                f"{self.settings.learning_rate}"
            ) from error
        row["seconds"] = round(time.monotonic() - started, 3)
        return row

    def artifacts(self, provenance: Mapping[str, Any]) -> dict[str, Artifact]:
        network = self._initial_network()
        network.load_state_dict(self.best)
        provenance = {**provenance, "qat": self.scheme, "from": self.start.config.identity}
        integer = network.integer_artifact()
        IntegerReference(integer)  # derives every multiplier, and refuses by name what leaves the arithmetic's range
        integer = replace(integer, config=replace(integer.config, provenance=provenance))
        return {
            "model.safetensors": freeze(network.network, self.config, self.dataset, provenance),
            "quantized.safetensors": with_identity(integer),
        }

    def comparable_config(self) -> dict[str, dict[str, Any]]:
        start = {"qat": self.scheme, "from": self.start.config.identity}
        return {**comparable_config(self.config), "start": start}

    def _update(self, loss: Tensor, progress: float) -> None:
        super()._update(loss, progress)
        self.network.bound_scales()

    def _initial_network(self) -> QuantizedNetwork:  # type: ignore[override]
        config, scales = self._calibrated
        return QuantizedNetwork(self._starting_network(), config, scales, self.dataset, self.input.front_end)

    def _starting_network(self) -> Network:
        network = super()._initial_network()
        thaw(network, self.start, self.dataset)
        return network

    @cached_property
    def _calibrated(self) -> tuple[ModelConfig, StaticScales]:
        """The integer model's configuration, and the scales it starts with."""
        artifact = freeze(self._starting_network(), self.config, self.dataset, {})
        keep = default_keep(artifact.config, self.scheme)
        config = replace(artifact.config, scheme=self.scheme, quantization=QuantizationConfig(keep=keep))
        samples = self.config.data.samples_per_step
        ranges = calibrate(artifact, [in_blocks(sequence, samples).x for sequence in self.dataset.train])
        return config, initial_scales(artifact, config, ranges, DEFAULT_MARGIN)
