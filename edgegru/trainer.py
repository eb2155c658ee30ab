"""Training on recordings: chunks through the network, gradients into the weights, the validation part streamed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from edgegru.augmentation import augment, augment_features, check_augmentation
from edgegru.batching import Chunk, Span, chunks, evaluation_plan, training_plan
from edgegru.checkpoint import comparable_config
from edgegru.configuration import TrainConfig, TrainingConfig
from edgegru.data import Dataset, LabelledSequence
from edgegru.data.blocks import in_blocks
from edgegru.data.recordings import side_by_side
from edgegru.epoch_trainer import AUGMENTATION, ORDER, EpochTrainer
from edgegru.freezing import freeze
from edgegru.network import Network, State
from edgegru.network_input import NetworkInput
from edgegru.objective import make_objective
from edgegru.ridge_skip import RidgeSkip, fit_ridge_skip
from edgegru.schedule import MOMENTUM, rate_and_momentum
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ConfigError, DataError
from edgegru_runtime.json_fields import MAX_SIZE
from edgegru_runtime.model_config import NEXT_TOKEN

_BETA2 = 0.999  # AdamW's second beta
HIGHER_IS_BETTER = ("accuracy", "f1")  # how columns end of which that is true


class Trainer(EpochTrainer):
    """Trains a network on recordings."""

    counted = "recordings"
    files = ("model.safetensors", "quantized.safetensors")
    integer_features = False  # a front end computes as in static schemes
    network_type: type[Network] = Network

    def __init__(self, config: TrainConfig, dataset: Dataset, device: torch.device) -> None:
        self.config, self.dataset, self.device = config, dataset, device
        check_augmentation(config.augmentation, dataset, config.front_end.kind != "none")
        _check_embedding(config, dataset)
        if self.settings.patience and not dataset.validation:
            raise ConfigError(
                f"training.patience is {self.settings.patience}, but there is no validation part to judge by: use 0"
            )
        self.objective = make_objective(self.settings, dataset, device)
        self.input = NetworkInput(config, dataset, self.integer_features)
        self.train_sequences = _supervised(dataset.train, config, [output.target for output in dataset.outputs])
        self.validation_sequences = self.input.sequences(dataset.validation)
        if not self._total_weight([in_blocks(one, config.data.samples_per_step) for one in self.train_sequences]):
            raise ConfigError("training.class_weights give no step of the training part any weight")
        for part, sequences in (("training", self.train_sequences), ("validation", self.validation_sequences)):
            _check_counts(part, sequences, dataset)
        self.data_digest = _digest(dataset)
        self.ridge_skip = self._fitted_skip()
        self.begin()

    @property
    def settings(self) -> TrainingConfig:
        """How this training goes."""
        return self.config.training

    @property
    def judged_by(self) -> str:
        """The column of the history that decides which epoch is best."""
        metric = self.settings.metric
        if metric == "auto":
            metric = self.objective.decisive
        return f"{'validation' if self.dataset.validation else 'train'}_{metric}"

    @property
    def shown(self) -> tuple[str, ...]:
        metric = f"{'validation' if self.dataset.validation else 'train'}_{self.objective.metrics[0]}"
        return tuple(dict.fromkeys(("train_loss", metric, self.judged_by)))

    @property
    def counts(self) -> dict[str, int]:
        return {"train": len(self.dataset.train), "validation": len(self.dataset.validation)}

    @property
    def done(self) -> bool:
        """All epochs are run, or ``patience`` of them passed without a better one."""
        return super().done or 0 < self.settings.patience <= self.epoch - self.best_epoch

    def artifacts(self, provenance: Mapping[str, Any]) -> dict[str, Artifact]:
        """The model of the best epoch, of the last one where there is no validation part."""
        network = self._initial_network()
        network.load_state_dict(self.best)
        return {"model.safetensors": freeze(network, self.config, self.dataset, provenance)}

    def comparable_config(self) -> dict[str, dict[str, Any]]:
        return {**comparable_config(self.config), "start": {"qat": None, "from": None}}

    def _initial_network(self) -> Network:
        mean, std = torch.from_numpy(self.input.mean), torch.from_numpy(self.input.std)
        with torch.random.fork_rng(devices=[]):  # torch's layers draw weights of their own first
            sizes = {output.node: len(self.dataset.labels_of(output)) for output in self.dataset.outputs}
            size, seed = sizes if len(sizes) > 1 else len(self.dataset.labels), self.config.training.seed
            tokens = 0 if self.dataset.tokenizer is None else len(self.dataset.tokenizer.tokens)
            network = self.network_type(self.config.model, mean, std, size, seed, tokens)
        if self.ridge_skip is not None:
            self.ridge_skip.set_in(network)
        return network.to(self.device)

    def _fitted_skip(self) -> RidgeSkip | None:
        model = self.config.model
        if not model.skip_ridge:
            return None
        mean, std = self.input.mean, self.input.std
        if not model.standardise:
            mean, std = np.zeros_like(mean), np.ones_like(std)
        sequences = self.input.sequences(self.train_sequences)
        return fit_ridge_skip(sequences, self.dataset, mean, std, model.skip_steps, model.skip_ridge)

    def _new_optimiser(self) -> torch.optim.Optimizer:
        return _optimiser(self.network, self.settings)

    def _is_better(self, row: dict[str, float], best: dict[str, float]) -> bool:
        column = self.judged_by
        sign = 1 if column.endswith(HIGHER_IS_BETTER) else -1
        return not self.dataset.validation or sign * row[column] > sign * best[column]

    def _learn(self) -> dict[str, float]:
        settings, dataset = self.settings, self.dataset
        augmentation, generator = self.config.augmentation, self._generator(AUGMENTATION)
        augmented = augment(
            self.train_sequences, augmentation, dataset.mean, dataset.std, dataset.rate, generator
        )
        sequences = augment_features(self.input.sequences(augmented), augmentation, generator)
        plan = training_plan(
            [sequence.mask for sequence in sequences],
            settings.lanes,
            settings.bptt_steps,
            settings.random_reset,
            settings.random_start and not any(output.target.startswith("recording") for output in dataset.outputs),
            self._generator(ORDER),
        )
        counting = sum(any(span is not None and _counts(sequences, span) for span in tick) for tick in plan)
        # Each counted step of an epoch has the same pull, however many lanes are busy beside it.
        usual_weight = self._total_weight(sequences) / counting
        self.network.train()
        losses, results, state = [], [], self.network.zero_state(len(plan[0]))
        for tick, chunk in enumerate(chunks(sequences, plan)):
            with torch.set_grad_enabled(bool(chunk.mask.any())):
                outputs, targets, state = self._forward(self.network, chunk, state)
            if len(targets):
                loss = self.objective.losses(outputs, targets).sum()
                self._update(loss / usual_weight, (self.epoch + tick / len(plan)) / settings.epochs)
                losses.append(loss.detach())
                results.append((targets, self.objective.predictions(outputs.detach())))
            state = [h.detach() for h in state]
        total = float(torch.stack(losses).sum()) / (usual_weight * counting)
        return {"loss": total, **self._measure(results)}

    def _validate(self) -> dict[str, float]:
        return self.score(self.validation_sequences)

    def _set_rate(self, progress: float) -> None:
        rate, momentum = rate_and_momentum(self.settings, progress)
        for group in self.optimiser.param_groups:
            group["lr"], group["betas"] = rate, (momentum, _BETA2)

    @torch.no_grad()
    def score(self, sequences: Sequence[LabelledSequence]) -> dict[str, float]:
        """Loss and metrics of ``average`` over what the network reads, every recording streamed from its start; {}
        where there is none.
        """
        if not sequences:
            return {}
        plan = evaluation_plan([len(sequence.x) for sequence in sequences])
        self.average.eval()
        losses, weights, results, state = [], [], [], self.average.zero_state(len(plan[0]))
        for chunk in chunks(sequences, plan):
            state = [h[: len(chunk.first)] for h in state]  # the last group may have fewer lanes
            outputs, targets, state = self._forward(self.average, chunk, state)
            losses.append(self.objective.losses(outputs, targets))
            weights.append(self.objective.weights(targets))
            results.append((targets, self.objective.predictions(outputs)))
        loss = float(torch.cat(losses).sum() / torch.cat(weights).sum().clamp(min=1e-12))  # 0 where no class has weight
        return {"loss": loss, **self._measure(results)}

    def _forward(self, network: Network, chunk: Chunk, state: State) -> tuple[torch.Tensor, torch.Tensor, State]:
        """Outputs (N, O) and targets (N, …) of the steps that count, and the state after the chunk."""
        x, target, mask, lengths, first = (
            torch.from_numpy(array).to(self.device)
            for array in (chunk.x, chunk.target, chunk.mask, chunk.lengths, chunk.first)
        )
        state = [h.masked_fill(first.unsqueeze(1), 0.0) for h in state]
        outputs, state = network(x, state, lengths)
        return outputs[mask], target[mask], state

    def _measure(self, results: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float]:
        targets, predictions = (torch.cat(tensors).cpu().numpy() for tensors in zip(*results, strict=True))
        return self.objective.measure(targets, predictions)

    def _total_weight(self, sequences: Sequence[LabelledSequence]) -> float:
        counted = np.concatenate([sequence.target[sequence.mask] for sequence in sequences])
        return float(self.objective.weights(torch.from_numpy(counted).to(self.device)).sum())


def _check_embedding(config: TrainConfig, dataset: Dataset) -> None:
    """Raise ConfigError unless text has an embedding, and numbers have none."""
    size, model = config.model.embedding_size, config.model
    if (dataset.tokenizer is None) == (size == 0):
        if size and (model.differences or model.skip_steps or config.data.samples_per_step > 1):
            raise ConfigError("model.differences, model.skip_steps and data.samples_per_step are for numbers, not text")
        if dataset.target == NEXT_TOKEN and len(dataset.labels) > MAX_SIZE:
            found = f"{len(dataset.labels)} tokens, of which a model shall say the next"
            raise ConfigError(f"the text has {found}: use a data.vocabulary of {MAX_SIZE} at most")
        return
    what, expected = ("numbers", "0") if size else ("text", "some numbers for each token")
    raise ConfigError(f"model.embedding_size is {size}, but the data are {what}: expected {expected}")


def _optimiser(network: nn.Module, settings: TrainingConfig) -> torch.optim.AdamW:
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in learned if parameter.ndim >= 2]
    others = [parameter for parameter in learned if parameter.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(MOMENTUM, _BETA2), fused=True)


def _supervised(
    sequences: Sequence[LabelledSequence], config: TrainConfig, targets: Sequence[str]
) -> tuple[LabelledSequence, ...]:
    """The training part; with supervision "all" a recording's target counts at every step."""
    if config.training.supervision == "last":
        return tuple(sequences)
    return tuple(
        side_by_side(
            [
                _everywhere(one) if target.startswith("recording") else one
                for one, target in zip(sequence.apart, targets, strict=True)
            ]
        )
        for sequence in sequences
    )


def _everywhere(sequence: LabelledSequence) -> LabelledSequence:
    """The sequence with its last target at every step."""
    target = np.repeat(sequence.target[-1:], len(sequence.target), axis=0)
    return replace(sequence, target=target, mask=np.full_like(sequence.mask, sequence.mask[-1]))


def _check_counts(part: str, sequences: Sequence[LabelledSequence], dataset: Dataset) -> None:
    """Raise DataError unless some step counts for each output of a part that there is."""
    by_sequence = ([one.mask for one in sequence.apart] for sequence in sequences)
    for output, *masks in zip(dataset.outputs, *by_sequence, strict=True):
        if sequences and not any(mask.any() for mask in masks):
            of_output = f" {output.target}" if len(dataset.outputs) > 1 else ""
            raise DataError(f"no step of the {part} part has a target{of_output}")


def _counts(sequences: Sequence[LabelledSequence], span: Span) -> bool:
    return bool(sequences[span.sequence].mask[span.start : span.stop].any())


def _digest(dataset: Dataset) -> str:
    """SHA-256 over what is trained on and judged by."""
    digest = hashlib.sha256(repr((dataset.channels, dataset.labels, dataset.outputs)).encode())
    for part in (dataset.train, dataset.validation):
        digest.update(str(len(part)).encode())
        for sequence in part:
            digest.update(repr((sequence.name, sequence.x.shape)).encode())
            for array in (sequence.x, sequence.mask, sequence.target[sequence.mask]):
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
