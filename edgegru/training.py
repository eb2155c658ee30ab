"""Training: a configuration and recordings in, a folder with a float32 artifact out.

Everything random is drawn from seed and epoch, so that a run killed at any moment and resumed ends in the same bits as
one that was never interrupted (on a CPU; CUDA does not promise the order of its sums).
"""

from __future__ import annotations

import csv
import hashlib
import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import edgegru
from edgegru.checkpoint import NAME, comparable_config, load_checkpoint, save_checkpoint
from edgegru.configuration import TrainConfig, config_to_toml, load_config
from edgegru.data import prepare
from edgegru.freezing import freeze
from edgegru.plotting import plot_history
from edgegru.trainer import Trainer
from edgegru_export.saving import artifact_bytes, save_artifact, write_atomically
from edgegru_runtime.errors import ArtifactError, ConfigError, EdgegruError


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
    _check_model_file(trainer)
    folder = Path(output)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.training.threads)
    try:
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


def _check_model_file(trainer: Trainer) -> None:
    """Refuse before training what no model file can hold, such as a name of a thousand characters."""
    try:
        artifact_bytes(freeze(trainer.best_network(), trainer.config, trainer.dataset, {}))
    except ArtifactError as error:
        raise ConfigError(f"no model file can hold these data and this configuration: {error}") from error


def _run(trainer: Trainer, folder: Path, resume: bool) -> None:
    """All epochs that are left, with checkpoint and history after each."""
    path, epochs = folder / NAME, trainer.config.training.epochs
    if resume:
        trainer.restore(load_checkpoint(path, trainer.device), path)
    else:
        folder.mkdir(parents=True, exist_ok=True)
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


def _csv(history: Sequence[dict[str, float]]) -> str:
    """A header and a row an epoch; every number reads back equal."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "epoch": int(row["epoch"])} for row in history)
    return text.getvalue()
