"""Training: a configuration and recordings in, a folder with a float32 artifact out.

Everything random is drawn from seed and epoch, so that a run killed at any moment and resumed ends in the same bits as
one that was never interrupted (on a CPU; CUDA does not promise the order of its sums).
"""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import edgegru
from edgegru.augmentation import augment, check_augmentation
from edgegru.batching import Chunk, Span, chunks, evaluation_plan, training_plan
from edgegru.checkpoint import (
    NAME,
    Checkpoint,
    check_checkpoint,
    comparable_config,
    load_checkpoint,
    save_checkpoint,
)
from edgegru.configuration import TrainConfig, config_to_toml, load_config
from edgegru.data import Dataset, LabelledSequence, prepare
from edgegru.freezing import freeze
from edgegru.network import Network, State
from edgegru.objective import make_objective
from edgegru.plotting import plot_history
from edgegru.schedule import MOMENTUM, rate_and_momentum
from edgegru_export.saving import save_artifact, write_atomically
from edgegru_runtime.errors import ArtifactError, ConfigError, DataError, EdgegruError

_ORDER, _AUGMENTATION, _DROPOUT = range(3)  # what a generator is for: each has its own numbers
_BETA2 = 0.999  # AdamW's second beta


class TrainingInterrupted(EdgegruError):
    """Ctrl-C: training stopped and can be resumed."""


def train(
    config: TrainConfig | str | Path,
    *,
    output: str | Path,
    data: str | Path | None = None,
    seed: int | None = None,
    device: str = "cpu",
    resume: bool = False,
) -> Path:
    """Train and freeze; returns the path of ``output``/model.safetensors.

    ``data`` and ``seed`` win over the configuration. The output folder also gets checkpoint.pt and history.csv (after
    every epoch), config.toml and training.png. ``resume`` goes on from the checkpoint; without it a former run in the
    folder is replaced. Raises ConfigError, DataError, and TrainingInterrupted on Ctrl-C.
    """
    if not isinstance(config, TrainConfig):
        config = load_config(config)
    if data is not None:
        config = replace(config, data=replace(config.data, path=str(data)))
    if seed is not None:
        config = replace(config, training=replace(config.training, seed=seed))
    torch_device = _device(device)
    dataset = prepare(config.data, seed=config.training.seed)
    trainer = Trainer(config, dataset, torch_device)
    folder = Path(output)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.training.threads)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _run(trainer, folder, resume)
        return _finish(trainer, folder)
    except OSError as error:
        raise ConfigError(f"cannot write to {error.filename or folder}: {error.strerror}") from error
    except KeyboardInterrupt as error:
        raise TrainingInterrupted(
            f"interrupted after epoch {trainer.epoch} of {config.training.epochs}: "
            f"{folder / NAME} can be resumed (--resume)"
        ) from error
    finally:
        torch.set_num_threads(threads)


def _run(trainer: Trainer, folder: Path, resume: bool) -> None:
    """All epochs that are left, with checkpoint and history after each."""
    path, epochs = folder / NAME, trainer.config.training.epochs
    if resume:
        trainer.restore(load_checkpoint(path, trainer.device), path)
    else:
        for stale in ("model.safetensors", "training.png", "history.csv"):
            (folder / stale).unlink(missing_ok=True)
        save_checkpoint(trainer.checkpoint(), path)
    write_atomically(folder / "config.toml", config_to_toml(trainer.config).encode())
    interval = 0.1 if sys.stderr.isatty() else 10.0  # seconds between two states of the bar; few in a log
    with tqdm(total=epochs, initial=trainer.epoch, desc="training", unit="epoch", mininterval=interval) as progress:
        while not trainer.done:
            row = trainer.run_epoch()
            save_checkpoint(trainer.checkpoint(), path)
            write_atomically(folder / "history.csv", _csv(trainer.history).encode())
            progress.set_postfix({name: f"{row[name]:.4g}" for name in trainer.shown}, refresh=False)
            progress.update()


def _finish(trainer: Trainer, folder: Path) -> Path:
    """Freeze the weights of the epoch that is kept, and draw the curve."""
    row = trainer.history[trainer.best_epoch - 1]
    provenance = {
        "seed": trainer.config.training.seed,
        "epoch": trainer.best_epoch,
        "config": hashlib.sha256(repr(comparable_config(trainer.config)).encode()).hexdigest(),
        "data": trainer.data_digest,
        "recordings": {"train": len(trainer.dataset.train), "validation": len(trainer.dataset.validation)},
        "metrics": {name: value for name, value in row.items() if name.startswith(("train_", "validation_"))},
        "versions": {"edgegru": edgegru.__version__, "numpy": np.__version__, "torch": torch.__version__},
    }
    path = folder / "model.safetensors"
    save_artifact(freeze(trainer.best_network(), trainer.config, trainer.dataset, provenance), path)
    plot_history(trainer.history, trainer.best_epoch, folder / "training.png")
    return path


class Trainer:
    """The state of training, an epoch at a time.

    ``epoch``: epochs done. ``history``: their rows. ``network``: the weights that learn; ``average``: those that are
    validated and frozen, the same unless weights are averaged.
    """

    def __init__(self, config: TrainConfig, dataset: Dataset, device: torch.device) -> None:
        check_augmentation(config.augmentation, dataset)
        if config.training.patience and not dataset.validation:
            raise ConfigError(
                f"training.patience is {config.training.patience}, but there is no validation part to judge by: use 0"
            )
        self.config, self.dataset, self.device = config, dataset, device
        self.objective = make_objective(config.training, dataset, device)
        self.train_sequences = _supervised(dataset.train, config, dataset.target)
        if not self._total_weight(self.train_sequences):
            raise ConfigError("training.class_weights give no step of the training part any weight")
        if dataset.validation and not any(sequence.mask.any() for sequence in dataset.validation):
            raise DataError("no step of the validation part has a target")
        self.data_digest = _digest(dataset)
        mean, std = torch.from_numpy(dataset.mean), torch.from_numpy(dataset.std)
        outputs = len(dataset.target_mean) or len(dataset.labels)
        with torch.random.fork_rng(devices=[]):  # torch's layers draw weights of their own first
            self.network = Network(config.model, mean, std, outputs, config.training.seed).to(device)
        self.average = copy.deepcopy(self.network) if config.training.averaging else self.network
        self.optimiser = _optimiser(self.network, config)
        self.epoch = self.updates = 0
        self.history: list[dict[str, float]] = []
        self.best_epoch, self.best = 0, _copy(self.average)

    @property
    def judged_by(self) -> str:
        """The column of the history that decides which epoch is best."""
        metric = self.config.training.metric
        if metric == "auto":
            metric = "loss" if len(self.dataset.target_mean) else "accuracy"
        return f"{'validation' if self.dataset.validation else 'train'}_{metric}"

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns that the progress bar shows."""
        metric = f"{'validation' if self.dataset.validation else 'train'}_{self.objective.metrics[0]}"
        return tuple(dict.fromkeys(("train_loss", metric, self.judged_by)))

    @property
    def done(self) -> bool:
        """All epochs are run, or ``patience`` of them passed without a better one."""
        patience = self.config.training.patience
        return self.epoch >= self.config.training.epochs or (0 < patience <= self.epoch - self.best_epoch)

    def run_epoch(self) -> dict[str, float]:
        """One pass over the training part and one over the validation part; returns the row of the history."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(self._generator(_DROPOUT).integers(2**63)))
            row = {"epoch": self.epoch + 1.0, "learning_rate": 0.0, **self._learn()}
        row["learning_rate"] = self.optimiser.param_groups[0]["lr"]
        row |= {f"validation_{name}": value for name, value in self._validate().items()}
        if not all(math.isfinite(value) for value in row.values()):
            raise ConfigError(
                f"the loss is no longer finite in epoch {self.epoch + 1}: use a training.learning_rate below "
                f"{self.config.training.learning_rate}"
            )
        self.epoch += 1
        self.history.append(row)
        if not self.dataset.validation or self._is_best(row):
            self.best_epoch, self.best = self.epoch, _copy(self.average)
        return row

    def best_network(self) -> Network:
        """The network with the weights of the best epoch: of the last one where there is no validation part."""
        network = copy.deepcopy(self.average)
        network.load_state_dict(self.best)
        return network

    def checkpoint(self) -> Checkpoint:
        """Everything that ``restore`` needs."""
        return Checkpoint(
            config=comparable_config(self.config),
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
        check_checkpoint(checkpoint, self.config, self.data_digest, path)
        try:
            for weights, network in ((checkpoint.best, self.average), (checkpoint.average, self.average)):
                network.load_state_dict(weights)
            self.network.load_state_dict(checkpoint.network)
            self.optimiser.load_state_dict(checkpoint.optimiser)
            self.history = [dict(row) for row in checkpoint.history]
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ArtifactError(f"{path} does not hold what its configuration says: {error}") from error
        self.epoch, self.updates = checkpoint.epoch, checkpoint.updates
        self.best_epoch, self.best = checkpoint.best_epoch, checkpoint.best

    def _is_best(self, row: dict[str, float]) -> bool:
        if not self.best_epoch:
            return True
        column, best = self.judged_by, self.history[self.best_epoch - 1]
        sign = 1 if column.endswith(("accuracy", "macro_f1")) else -1
        return sign * row[column] > sign * best[column]

    def _generator(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.config.training.seed, self.epoch, purpose])

    def _learn(self) -> dict[str, float]:
        settings, dataset = self.config.training, self.dataset
        sequences = augment(
            self.train_sequences, self.config.augmentation, dataset.mean, dataset.std, self._generator(_AUGMENTATION)
        )
        plan = training_plan(
            [sequence.mask for sequence in sequences],
            settings.lanes,
            settings.bptt_steps,
            settings.random_reset,
            settings.random_start and not dataset.target.startswith("recording"),
            self._generator(_ORDER),
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
        return {f"train_{name}": value for name, value in {"loss": total, **self._measure(results)}.items()}

    def _update(self, loss: torch.Tensor, progress: float) -> None:
        settings = self.config.training
        rate, momentum = rate_and_momentum(settings, progress)
        for group in self.optimiser.param_groups:
            group["lr"], group["betas"] = rate, (momentum, _BETA2)
        self.optimiser.zero_grad()
        loss.backward()
        if settings.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.gradient_clip)
        self.optimiser.step()
        self.updates += 1
        if self.average is not self.network:
            decay = min(settings.averaging, (1 + self.updates) / (10 + self.updates))  # forget the first weights soon
            with torch.no_grad():
                for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                    mean.lerp_(value, 1.0 - decay)

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """Loss and metrics of the validation part, every recording streamed from its start; {} where there is none."""
        sequences = self.dataset.validation
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


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device is {name!r}, expected cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device is {name!r}, expected cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device is {name!r}, but torch finds {torch.cuda.device_count()} CUDA devices here")
    return device


def _optimiser(network: Network, config: TrainConfig) -> torch.optim.AdamW:
    matrices = [parameter for parameter in network.parameters() if parameter.ndim == 2]
    others = [parameter for parameter in network.parameters() if parameter.ndim != 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": config.training.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.training.learning_rate, betas=(MOMENTUM, _BETA2), fused=True)


def _supervised(
    sequences: Sequence[LabelledSequence], config: TrainConfig, target: str
) -> tuple[LabelledSequence, ...]:
    """The training part; with supervision "all" a recording's target counts at every step."""
    if config.training.supervision == "last" or not target.startswith("recording"):
        return tuple(sequences)
    return tuple(
        replace(
            sequence,
            target=np.repeat(sequence.target[-1:], len(sequence.target), axis=0),
            mask=np.full_like(sequence.mask, sequence.mask[-1]),
        )
        for sequence in sequences
    )


def _counts(sequences: Sequence[LabelledSequence], span: Span) -> bool:
    return bool(sequences[span.sequence].mask[span.start : span.stop].any())


def _copy(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _digest(dataset: Dataset) -> str:
    """SHA-256 over what is trained on and judged by."""
    digest = hashlib.sha256(repr((dataset.channels, dataset.labels, dataset.target)).encode())
    for part in (dataset.train, dataset.validation):
        digest.update(str(len(part)).encode())
        for sequence in part:
            digest.update(repr((sequence.name, sequence.x.shape)).encode())
            for array in (sequence.x, sequence.mask, sequence.target[sequence.mask]):
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _csv(history: Sequence[dict[str, float]]) -> str:
    """A header and a row an epoch; every number reads back equal."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "epoch": int(row["epoch"])} for row in history)
    return text.getvalue()
