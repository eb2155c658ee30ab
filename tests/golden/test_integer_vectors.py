"""The committed integer vectors: the arithmetic of today gives the bits of the day they were made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgegru_runtime.artifact import read_artifact
from tests.golden.make_integer_vectors import CASES, FOLDER, vector


@pytest.mark.parametrize("name", CASES)
def test_the_reference_gives_the_committed_bits(name: str) -> None:
    expected = json.loads((FOLDER / f"{name}.json").read_text())
    x = np.array(expected["x"], np.float32)
    assert vector(read_artifact(FOLDER / f"{name}.safetensors"), x) == expected
    assert expected["clipped"] > 0


def test_every_committed_file_belongs_to_a_case() -> None:
    assert {Path(path).stem for path in FOLDER.iterdir()} == set(CASES)
