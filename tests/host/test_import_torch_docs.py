"""The example of docs/import-pytorch.md does what the page says."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from edgegru_runtime import load

PAGE = Path(__file__).resolve().parents[2] / "docs" / "import-pytorch.md"


def test_the_example_streams_as_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {"__name__": "example"}
    exec(example, names)
    model = load("amplifier.safetensors")
    xs = np.random.default_rng(0).normal(size=(50, 1)).astype(np.float32)
    stream = model.stream()
    with torch.no_grad():
        expected = names["model"](torch.from_numpy(xs)[None])[0].numpy()
    np.testing.assert_allclose(np.array([stream.step(x) for x in xs]), expected, atol=1e-6)
