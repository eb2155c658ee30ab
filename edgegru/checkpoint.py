"""Checkpoints: all that a later process needs to go on exactly where training stood after an epoch.

Tensors and plain data only, read with ``weights_only=True``: no pickled code on any path. Random numbers come from seed
and epoch, so no generator state is stored.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from edgegru.configuration import config_values
from edgegru_export.saving import write_atomically
from edgegru_runtime.errors import ArtifactError, ConfigError

NAME = "checkpoint.pt"
Weights = dict[str, torch.Tensor]
_UNREADABLE = (
    OSError, EOFError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError,
    pickle.UnpicklingError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclass
class Checkpoint:
    """The state of training after ``epoch`` epochs.

    ``config``: what must be the same to go on, section → key → value. ``data``: digest of the sequences. ``average``:
    running average of weights (those of ``network`` where none is kept) over ``updates`` updates. ``best``: averaged
    weights after ``best_epoch``. ``history``: a row an epoch.
    """

    config: dict[str, dict[str, Any]]
    data: str
    epoch: int
    updates: int
    network: Weights
    average: Weights
    optimiser: dict[str, Any]
    best: Weights
    best_epoch: int
    history: list[dict[str, float]]


def comparable_config(config: Any) -> dict[str, dict[str, Any]]:
    """The values of a configuration that must be the same to go on: all but where the data lie."""
    values = config_values(config)
    del values["data"]["path"]
    return values


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint whole or not at all. OSError where it cannot be written."""
    buffer = io.BytesIO()
    torch.save({item.name: getattr(checkpoint, item.name) for item in fields(Checkpoint)}, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path, device: torch.device) -> Checkpoint:
    """Read a checkpoint. Raises ConfigError where there is none and ArtifactError where it is broken."""
    if not path.exists():
        raise ConfigError(f"nothing to resume: there is no {path}")
    try:
        with zipfile.ZipFile(path) as archive:  # torch.save writes a ZIP, and torch.load does not look at its sums
            broken = archive.testzip()
        if broken is not None:
            raise ArtifactError(f"{path} is a broken checkpoint: {broken} in it is damaged")
        content = torch.load(path, map_location=device, weights_only=True)
    except _UNREADABLE as error:
        raise ArtifactError(f"{path} is no checkpoint, or a broken one") from error
    kinds = {"config": dict, "data": str, "epoch": int, "updates": int, "best_epoch": int, "history": list}
    names = {item.name for item in fields(Checkpoint)}
    if not isinstance(content, dict) or set(content) != names:
        raise ArtifactError(f"{path} is no checkpoint of this version: expected {', '.join(sorted(names))} in it")
    for name in names:
        if not isinstance(content[name], kinds.get(name, dict)):
            raise ArtifactError(f"{path} is a broken checkpoint: {name} is no {kinds.get(name, dict).__name__}")
    if not 0 <= content["best_epoch"] <= content["epoch"] == len(content["history"]):
        raise ArtifactError(f"{path} is a broken checkpoint: epochs and history contradict each other")
    return Checkpoint(**content)


def check_checkpoint(checkpoint: Checkpoint, expected: dict[str, dict[str, Any]], data: str, path: Path) -> None:
    """Raise ConfigError, naming the first difference, for a checkpoint of another configuration or of other data."""
    for section, values in expected.items():
        found = checkpoint.config.get(section)
        for key, value in values.items():
            written = found.get(key) if isinstance(found, dict) else None
            if written != value:
                raise ConfigError(
                    f"cannot resume: {path} was trained with {section}.{key} = {written!r}, now it is {value!r}"
                )
    if checkpoint.data != data:
        raise ConfigError(f"cannot resume: {path} was trained on other data")
