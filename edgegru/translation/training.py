"""Training of a translator: a configuration and pairs of sentences in, a folder with an encoder and a decoder out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgegru.training import run_training, torch_device_of
from edgegru.translation.config import TranslatorConfig, load_translator_config
from edgegru.translation.trainer import TranslatorTrainer
from edgegru_runtime.errors import ConfigError


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
