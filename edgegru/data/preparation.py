"""From recordings to labelled sequences: for training by a DataConfig, for evaluation by what the model itself says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.data.config import DataConfig
from edgegru.data.recordings import Dataset, LabelledSequence
from edgegru_runtime.model_config import ModelConfig


def prepare(config: DataConfig, path: str | Path | None = None, seed: int = 0) -> Dataset:
    """Read (``path`` wins over ``config.path``), resample, label, split by ``seed``, measure scales. Raises DataError."""
    raise NotImplementedError


def data_section(config: DataConfig, dataset: Dataset) -> dict[str, Any]:
    """What ``ModelConfig.data`` keeps so that ``labelled_sequences`` can read other folders of the same kind."""
    raise NotImplementedError


def labelled_sequences(
    model_config: ModelConfig, path: str | Path, part: str = "auto"
) -> tuple[LabelledSequence, ...]:
    """Sequences for a trained model, labels and channels numbered as the model numbers them.

    ``part``: "all"; "train", "validation" or "test" as ``prepare`` would split this path; "auto": the official test
    part where the publisher made one, else all. Raises DataError.
    """
    raise NotImplementedError


def calibration_sequences(model_config: ModelConfig, path: str | Path) -> tuple[NDArray[np.float32], ...]:
    """Inputs alone, (T, input_size) each, labels not needed: the official training part, else all. Raises DataError."""
    raise NotImplementedError
