"""Modules of PyTorch for the tests of imports, and the comparison with what torch computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from edgegru.importing import from_torch
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.reference import Reference

STEPS = 9


class Written(nn.Module):
    """A module of some parts, whose forward is a function of them and the arguments."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, *arguments: Any) -> Any:
        return self.function(self, *arguments)


def streamed(artifact: Artifact, xs: np.ndarray) -> list[np.ndarray]:
    """Every output at every step, (T, size) each."""
    engine = Reference(artifact)
    state = engine.new_state()
    steps = [engine.step(state, x) for x in xs.astype(np.float32)]
    return [np.array(column) for column in zip(*steps, strict=True)]


def check(module: nn.Module, example: Any = None, place: Callable[[Any], Any] | None = None) -> Artifact:
    """Import, and compare with ``module`` called by this test itself; ``place``: xs (T, channels) → its argument."""
    artifact = from_torch(module, example)
    size = artifact.config.input.size
    xs = np.random.default_rng(3).normal(size=(STEPS, size)).astype(np.float32)
    place = place or (lambda xs: xs.unsqueeze(0))
    with torch.no_grad():
        results = module.eval()(place(torch.from_numpy(xs)))
    results = results if isinstance(results, tuple) else (results,)
    for ours, theirs, output in zip(streamed(artifact, xs), results, artifact.config.outputs, strict=True):
        last = output.target.startswith("recording")
        found = (ours[-1] if last else ours).ravel()
        np.testing.assert_allclose(found, theirs.numpy().ravel(), atol=1e-5)
    return artifact


def normalised(size: int) -> nn.BatchNorm1d:
    """With statistics of some training."""
    layer = nn.BatchNorm1d(size)
    generator = torch.Generator().manual_seed(1)
    for tensor in (layer.running_mean, layer.weight.data, layer.bias.data):
        tensor.copy_(torch.randn(size, generator=generator))
    layer.running_var.copy_(torch.rand(size, generator=generator) + 0.3)
    return layer


def gru(inputs: int, hidden: int, layers: int = 1, **options: Any) -> nn.GRU:
    return nn.GRU(inputs, hidden, layers, **{"batch_first": True, **options})


class Remembering(nn.Module):
    """Keeps its state in an attribute, as networks of amplifier models do; time first, a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.rec, self.lin, self.hidden = nn.GRU(1, 8), nn.Linear(8, 1), None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, self.hidden = self.rec(x, self.hidden)
        return self.lin(y) + x[:, :, 0:1]
