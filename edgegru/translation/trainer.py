"""One epoch of a translator after another. Everything random is drawn from seed and epoch, as in edgegru.trainer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgegru.checkpoint import Checkpoint, check_checkpoint, comparable_config
from edgegru.training import run_training, torch_device_of
from edgegru.translation.config import TranslatorConfig, TranslatorTrainingConfig, load_translator_config
from edgegru.translation.freezing import freeze_translator
from edgegru.translation.network import TranslatorNetwork
from edgegru.translation.pairs import TokenPair, digest, in_tokens, learned_tokenizers, read_pairs
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ArtifactError, ConfigError, DataError

ENCODER, DECODER = "encoder.safetensors", "decoder.safetensors"  # the files of a translator
_BETAS = 0.9, 0.98
_SPREAD = 2.5  # tokens by which pairs of one batch may differ, about: so that batches differ from epoch to epoch
_NOTHING = -100  # a target that counts for nothing
_ORDER, _DROPOUT = range(2)  # what a generator is for
Batch = tuple[Tensor, Tensor, Tensor, Tensor]  # source (B, S), its lengths (B,), decoder's input and target (B, T)


class TranslatorTrainer:
    """The state of training, an epoch at a time: what ``edgegru.training`` runs.

    ``train``, ``validation``: pairs in tokens. ``network``: the weights that learn; ``average``: their running average,
    which is validated and frozen.
    """

    counted = "pairs"
    shown = ("train_loss", "validation_loss")

    def __init__(self, config: TranslatorConfig, folder: Path, device: torch.device) -> None:
        """Read the pairs in ``folder`` and learn both tokenizers. Raises DataError."""
        self.config, self.device = config, device
        data = config.data
        pairs, chosen_by = (read_pairs(folder, part, data.source, data.target) for part in ("train", "validation"))
        if not pairs or not chosen_by:
            missing = "train" if not pairs else "val"
            raise DataError(f"{folder} has no files {missing}*.{data.source} and {missing}*.{data.target}")
        self.tokenizers = learned_tokenizers(pairs, data)
        self.train, self.validation = (
            in_tokens(part, *self.tokenizers, config.model.length) for part in (pairs, chosen_by)
        )
        if not self.train or not self.validation:
            raise DataError(f"no pair in {folder} has a source of 1 to {config.model.length} tokens")
        self.data_digest = digest(pairs, chosen_by)
        self.network, self.average = self._initial_network(), self._initial_network()
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=self.settings.learning_rate, betas=_BETAS, fused=True
        )
        self.epoch = self.updates = 0
        self.history: list[dict[str, float]] = []
        self.best_epoch, self.best = 0, _copy(self.average)

    @property
    def settings(self) -> TranslatorTrainingConfig:
        """How this training goes."""
        return self.config.training

    @property
    def done(self) -> bool:
        """All epochs are run."""
        return self.epoch >= self.settings.epochs

    @property
    def counts(self) -> dict[str, int]:
        """How many pairs there are, for the provenance."""
        return {"train": len(self.train), "validation": len(self.validation)}

    def run_epoch(self) -> dict[str, float]:
        """One pass over the training part and one over the validation part; returns the row of the history."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(self._generator(_DROPOUT).integers(2**63)))
            row = {"epoch": self.epoch + 1.0, "learning_rate": 0.0, "train_loss": self._learn()}
        row["learning_rate"] = self.optimiser.param_groups[0]["lr"]
        row["validation_loss"] = self.score(self.validation)
        if not all(math.isfinite(value) for value in row.values()):
            raise ConfigError(
                f"the loss is no longer finite in epoch {self.epoch + 1}: use a training.learning_rate below "
                f"{self.settings.learning_rate}"
            )
        self.epoch += 1
        self.history.append(row)
        if not self.best_epoch or row["validation_loss"] < self.history[self.best_epoch - 1]["validation_loss"]:
            self.best_epoch, self.best = self.epoch, _copy(self.average)
        return row

    def artifacts(self, provenance: Mapping[str, Any]) -> dict[str, Artifact]:
        """Encoder and decoder of the best epoch, by file name."""
        network, data = self._initial_network(), self.config.data
        network.load_state_dict(self.best)
        section = {"format": "pairs", "options": {"source": data.source, "target": data.target}}
        encoder, decoder = freeze_translator(network, self.tokenizers, section, provenance)
        return {ENCODER: encoder, DECODER: decoder}

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
        check_checkpoint(checkpoint, comparable_config(self.config), self.data_digest, path)
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

    @torch.no_grad()
    def score(self, pairs: Sequence[TokenPair]) -> float:
        """Nats per token, the end included, of ``average``, which is told all tokens before."""
        self.average.eval()
        total, tokens = 0.0, 0
        for source, lengths, given, target in self._batches([pairs[i : i + 100] for i in range(0, len(pairs), 100)]):
            outputs = self.average.decode(given, self.average.encode(source, lengths))
            total += float(nn.functional.cross_entropy(outputs.flatten(0, 1), target.flatten(), reduction="sum"))
            tokens += int((target != _NOTHING).sum())
        return total / tokens

    def _initial_network(self) -> TranslatorNetwork:
        source, target = (len(tokenizer.tokens) for tokenizer in self.tokenizers)
        return TranslatorNetwork(self.config.model, (source, target), self.settings.seed).to(self.device)

    def _generator(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, self.epoch, purpose])

    def _learn(self) -> float:
        """One pass over the training part, in batches of pairs of like length; nats per token, smoothed."""
        settings, generator = self.settings, self._generator(_ORDER)
        lengths = np.array([len(pair.target) for pair in self.train])
        order = np.argsort(lengths + generator.uniform(0, _SPREAD, len(lengths)), kind="stable")
        starts = generator.permutation(np.arange(0, len(order), settings.batch))
        groups = [[self.train[index] for index in order[start : start + settings.batch]] for start in starts]
        self.network.train()
        total, tokens = 0.0, 0
        for place, (source, source_lengths, given, target) in enumerate(self._batches(groups)):
            outputs = self.network.decode(given, self.network.encode(source, source_lengths))
            loss = nn.functional.cross_entropy(
                outputs.flatten(0, 1), target.flatten(), label_smoothing=settings.label_smoothing
            )
            self._update(loss, (self.epoch + place / len(groups)) / settings.epochs)
            count = int((target != _NOTHING).sum())
            total, tokens = total + float(loss.detach()) * count, tokens + count
        return total / tokens

    def _update(self, loss: Tensor, progress: float) -> None:
        """The rate rises over ``warm_up`` and falls along half a cosine; the average forgets the first weights soon."""
        settings = self.settings
        rising = progress < settings.warm_up
        share = progress / settings.warm_up if rising else (1 - progress) / (1 - settings.warm_up)
        factor = share if rising else (1 - math.cos(math.pi * share)) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * factor
        self.optimiser.zero_grad()
        loss.backward()
        if settings.gradient_clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.gradient_clip)
        self.optimiser.step()
        self.updates += 1
        decay = min(settings.averaging, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1.0 - decay)

    def _batches(self, groups: Sequence[Sequence[TokenPair]]) -> Iterator[Batch]:
        """Each group side by side, filled up behind."""
        end = self.tokenizers[1].end
        assert end is not None
        for group in groups:
            lengths = torch.tensor([len(pair.source) for pair in group])
            columns = max(len(pair.target) for pair in group) + 1
            source = torch.zeros(len(group), int(lengths.max()), dtype=torch.long)
            given = torch.full((len(group), columns), end)
            target = torch.full((len(group), columns), _NOTHING)
            for row, pair in enumerate(group):
                source[row, : len(pair.source)] = torch.tensor(pair.source)
                given[row, 1 : len(pair.target) + 1] = torch.tensor(pair.target)
                target[row, : len(pair.target) + 1] = torch.tensor((*pair.target, end))
            yield tuple(tensor.to(self.device) for tensor in (source, lengths, given, target))  # type: ignore[misc]


def train_translator(
    config: TranslatorConfig | str | Path,
    *,
    output: str | Path,
    data: str | Path | None = None,
    seed: int | None = None,
    device: str = "cpu",
    resume: bool = False,
) -> Path:
    """Train and freeze a translator; returns the folder ``output`` with encoder.safetensors and decoder.safetensors.

    ``data`` and ``seed`` win over the configuration. The folder also gets checkpoint.pt and history.csv (after every
    epoch), config.toml and training.png; ``resume`` goes on from the checkpoint. Raises ConfigError, DataError, and
    TrainingInterrupted on Ctrl-C.
    """
    if not isinstance(config, TranslatorConfig):
        config = load_translator_config(config)
    if data is not None:
        config = replace(config, data=replace(config.data, path=str(data)))
    if seed is not None:
        config = replace(config, training=replace(config.training, seed=seed))
    if not config.data.path:
        raise ConfigError("no data: give data.path in the configuration, or a path")
    trainer = TranslatorTrainer(config, Path(config.data.path), torch_device_of(device))
    run_training(trainer, Path(output), resume)
    return Path(output)


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}
