"""Training of a translator: a configuration and pairs of sentences in, a folder with encoder and decoder out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgegru.checkpoint import comparable_config
from edgegru.epoch_trainer import ORDER, EpochTrainer
from edgegru.schedule import cosine
from edgegru.training import run_training, torch_device_of
from edgegru.translation.config import TranslatorConfig, load_translator_config
from edgegru.translation.freezing import freeze_translator
from edgegru.translation.network import TranslatorNetwork
from edgegru.translation.pairs import TokenPair, digest, in_tokens, learned_tokenizers, read_pairs
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ConfigError, DataError

ENCODER, DECODER = "encoder.safetensors", "decoder.safetensors"  # the files of a translator
_BETAS = 0.9, 0.98
_SPREAD = 2.5  # tokens by which pairs of one batch may differ, about: so that batches differ from epoch to epoch
_NOTHING = -100  # a target that counts for nothing
Batch = tuple[Tensor, Tensor, Tensor, Tensor]  # source (B, S), its lengths (B,), decoder's input and target (B, T)


class TranslatorTrainer(EpochTrainer):
    """Trains a translator on pairs of sentences. ``train``, ``validation``: pairs in tokens."""

    counted = "pairs"
    files = (ENCODER, DECODER)
    shown = ("train_loss", "validation_loss")
    config: TranslatorConfig

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
        self.begin()

    @property
    def counts(self) -> dict[str, int]:
        return {"train": len(self.train), "validation": len(self.validation)}

    def artifacts(self, provenance: Mapping[str, Any]) -> dict[str, Artifact]:
        """Encoder and decoder of the best epoch, by file name."""
        network, data = self._initial_network(), self.config.data
        network.load_state_dict(self.best)
        section = {"format": "pairs", "options": {"source": data.source, "target": data.target}}
        encoder, decoder = freeze_translator(network, self.tokenizers, section, provenance)
        return {ENCODER: encoder, DECODER: decoder}

    def comparable_config(self) -> dict[str, dict[str, Any]]:
        return comparable_config(self.config)

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

    def _new_optimiser(self) -> torch.optim.Optimizer:
        rate = self.settings.learning_rate
        return torch.optim.Adam(self.network.parameters(), lr=rate, betas=_BETAS, fused=True)

    def _is_better(self, row: dict[str, float], best: dict[str, float]) -> bool:
        return row["validation_loss"] < best["validation_loss"]

    def _set_rate(self, progress: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * cosine(self.settings.warm_up, progress)

    def _validate(self) -> dict[str, float]:
        return {"loss": self.score(self.validation)}

    def _learn(self) -> dict[str, float]:
        """One pass over the training part, in batches of pairs of like length; nats per token, smoothed."""
        settings, generator = self.settings, self._generator(ORDER)
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
        return {"loss": total / tokens}

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
