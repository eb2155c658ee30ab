"""Data sets of others, which are not in this repository: a folder that EDGEGRU_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def public_data(name: str) -> Path:
    """The folder of one set, or a skipped test that says what is missing."""
    folder = Path(os.environ.get("EDGEGRU_DATA", "/nowhere"), name)
    if not folder.is_dir():
        pytest.skip(f"EDGEGRU_DATA names no folder with {name}/")
    return folder
