"""Training: a configuration and recordings in, a folder with an artifact out, float32 or trained in integers.

Everything random is drawn from seed and epoch, so that a run killed at any moment and resumed ends in the same bits as
one that was never interrupted (on a CPU; CUDA does not promise the order of its sums).
"""

from __future__ import annotations

import csv
import hashlib
import io
import sys
import time
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
from edgegru.epoch_trainer import EpochTrainer
from edgegru.plotting import plot_history
from edgegru.quantized_trainer import QuantizedTrainer
from edgegru.starting_model import read_start
from edgegru.trainer import Trainer
from edgegru_export.saving import artifact_bytes, save_artifact, write_atomically
from edgegru_runtime.errors import ArtifactError, ConfigError, EdgegruError
from edgegru_runtime.model_config import STATIC_SCHEMES


class TrainingInterrupted(EdgegruError):
    """Ctrl-C: training stopped and can be resumed."""


def train(
    config: TrainConfig | str | Path,
    *,
    output: str | Path,
    data: str | Path | None = None,
    seed: int | None = None,
    device: str = "cpu",
    qat: str | None = None,
    from_model: str | Path | None = None,
    resume: bool = False,
) -> Path:
    """Train and freeze; returns the path of ``output``/model.safetensors, with ``qat`` of quantized.safetensors.

    ``data`` and ``seed`` win over the configuration. ``qat``: a static scheme to train the model in, starting from the
    float32 model file ``from_model`` (the command's ``--from``), or from one trained here first, in ``output``/float.
    The output folder also gets checkpoint.pt and history.csv (after every epoch), config.toml and training.png.
    ``resume`` goes on from the checkpoint; without it a former run in the folder is replaced. Raises ConfigError,
    DataError, with ``qat`` CalibrationError and QuantizationError, and TrainingInterrupted on Ctrl-C.
    """
    if not isinstance(config, TrainConfig):
        config = load_config(config)
    if data is not None:
        config = replace(config, data=replace(config.data, path=str(data)))
    if seed is not None:
        config = replace(config, training=replace(config.training, seed=seed))
    if qat not in (None, *STATIC_SCHEMES):
        raise ConfigError(f"qat is {qat!r}, expected one of {', '.join(STATIC_SCHEMES)}")
    if from_model is not None and qat is None:
        raise ConfigError(f"{from_model} is to start quantization-aware training, expected a scheme for it (--qat)")
    torch_device, folder = torch_device_of(device), Path(output)
    dataset = prepare(config.data, seed=config.training.seed)
    trainer = Trainer(config, dataset, torch_device)
    if qat is None:
        return run_training(trainer, folder, resume)
    if from_model is None:
        from_model = run_training(trainer, folder / "float", resume, whole=folder)
        resume = resume and (folder / NAME).exists()
    elif Path(from_model).resolve().parent == folder.resolve():
        raise ConfigError(f"{from_model} would be replaced by what is trained from it, expected another output folder")
    start = read_start(from_model, trainer.artifacts({})["model.safetensors"].config)
    quantized = QuantizedTrainer(config, dataset, torch_device, qat, start)
    path = run_training(quantized, folder, resume)
    _report_cost(quantized)
    return path


def run_training(trainer: EpochTrainer, folder: Path, resume: bool, whole: Path | None = None) -> Path:
    """All epochs that are left, into ``folder``; the path of the last of its models.

    ``whole``: the folder of the run that this one begins. ``resume``: from the checkpoint in ``folder``. Raises
    ConfigError and ArtifactError as ``train`` does, and TrainingInterrupted on Ctrl-C.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(trainer.settings.threads)
    try:
        if resume:
            trainer.restore(load_checkpoint(folder / NAME, trainer.device), folder / NAME)
        _check_model_files(trainer)
        if not resume:
            for replaced in (folder, whole or folder):
                _remove_former_run(replaced, trainer.files)
            folder.mkdir(parents=True, exist_ok=True)
            save_checkpoint(trainer.checkpoint(), folder / NAME)
        _run(trainer, folder)
        return _finish(trainer, folder)
    except OSError as error:
        raise ConfigError(f"cannot write to {error.filename or folder}: {error.strerror}") from error
    except KeyboardInterrupt as error:
        raise TrainingInterrupted(
            f"interrupted after epoch {trainer.epoch} of {trainer.settings.epochs}: "
            f"{folder / NAME} can be resumed (--resume)"
        ) from error
    finally:
        torch.set_num_threads(threads)


def _check_model_files(trainer: EpochTrainer) -> None:
    """Refuse before training what no model file can hold, such as a name of a thousand characters."""
    try:
        for artifact in trainer.artifacts({}).values():
            artifact_bytes(artifact)
    except ArtifactError as error:
        raise ConfigError(f"no model file can hold these data and this configuration: {error}") from error


def _run(trainer: EpochTrainer, folder: Path) -> None:
    """All epochs that are left, with checkpoint and history after each."""
    path, epochs = folder / NAME, trainer.settings.epochs
    write_atomically(folder / "config.toml", config_to_toml(trainer.config).encode())
    interval = 0.1 if sys.stderr.isatty() else 10.0  # seconds between two states of the bar; few in a log
    with tqdm(total=epochs, initial=trainer.epoch, desc="training", unit="epoch", mininterval=interval) as progress:
        while not trainer.done:
            row = trainer.run_epoch()
            save_checkpoint(trainer.checkpoint(), path)
            write_atomically(folder / "history.csv", _csv(trainer.history).encode())
            progress.set_postfix({name: f"{row[name]:.4g}" for name in trainer.shown}, refresh=False)
            progress.update()


def _remove_former_run(folder: Path, models: Sequence[str]) -> None:
    for name in (NAME, *models, "training.png", "history.csv"):
        (folder / name).unlink(missing_ok=True)


def _finish(trainer: EpochTrainer, folder: Path) -> Path:
    """Freeze the weights of the epoch that is kept, and draw the curve."""
    row = trainer.history[trainer.best_epoch - 1]
    provenance = {
        "seed": trainer.config.training.seed,
        "epoch": trainer.best_epoch,
        "config": hashlib.sha256(repr(comparable_config(trainer.config)).encode()).hexdigest(),
        "data": trainer.data_digest,
        trainer.counted: trainer.counts,
        "metrics": {name: value for name, value in row.items() if name.startswith(("train_", "validation_"))},
        "versions": {"edgegru": edgegru.__version__, "numpy": np.__version__, "torch": torch.__version__},
    }
    for name, artifact in trainer.artifacts(provenance).items():
        path = folder / name
        save_artifact(artifact, path)
    plot_history(trainer.history, trainer.best_epoch, folder / "training.png")
    return path


def _report_cost(trainer: QuantizedTrainer) -> None:
    """Say what an epoch took, beside one of float training, which is run for that."""
    seconds = np.mean([row["seconds"] for row in trainer.history])
    threads = torch.get_num_threads()
    torch.set_num_threads(trainer.settings.threads)
    try:
        float_trainer = Trainer(trainer.config, trainer.dataset, trainer.device)
        started = time.monotonic()
        float_trainer.run_epoch()
        float_seconds = time.monotonic() - started
    finally:
        torch.set_num_threads(threads)
    print(f"an epoch takes {seconds:.3g} s, {float_seconds:.3g} s in float", file=sys.stderr)


def torch_device_of(name: str) -> torch.device:
    """The device of that name. Raises ConfigError for one that torch does not find here."""
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
