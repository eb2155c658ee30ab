"""From a path to clean recordings at one rate."""

from __future__ import annotations

from pathlib import Path

from edgegru.data.config import DataConfig
from edgegru.data.recordings import RecordingSet


def read_recordings(path: str | Path, config: DataConfig) -> RecordingSet:
    """All recordings of a file or folder, cleaned and resampled to ``config.rate``. Raises DataError."""
    raise NotImplementedError
