"""Random architectures: edgegru.from_torch streams each as torch computes it."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.host.torch_modules import check, normalised

PARTS = st.sampled_from(
    [
        "linear",
        "relu",
        "tanh",
        "sigmoid",
        "gru",
        "conv",
        "chomp",
        "dropout",
        "skip",
        "cat",
        "gate",
        "batch",
        "scale",
        "cut",
    ]
)


class Drawn(nn.Module):
    """Layers in the order of ``parts``, (batch, T, channels) in ``batch_first``, else (T, batch, channels)."""

    def __init__(self, size: int, parts: list[str], bias: bool, batch_first: bool, outputs: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.parts, self.time, self.outputs, first = [*parts, "gru"], 1 if batch_first else 0, outputs, size
        self.layers = nn.ModuleList()
        for index, part in enumerate(self.parts):
            wider = size + 1 + index % 3
            layer: nn.Module = nn.Identity()
            if part in ("linear", "gate", "cat"):
                layer = nn.Linear(size, wider if part == "linear" else size, bias)
            elif part == "gru":
                layer = nn.GRU(size, wider, 1 + index % 2, bias, batch_first, dropout=0.2 if index % 2 else 0.0)
            elif part == "conv":
                groups = 2 if size % 2 == 0 else 1
                layer = nn.Sequential(nn.ConstantPad1d((4, 0), 0.0), nn.Conv1d(size, size, 3, 1, 0, 2, groups, bias))
            elif part == "chomp":
                layer = nn.Conv1d(size, size, 2, padding=1, bias=bias)
            elif part == "batch":
                layer = normalised(size)
            elif part == "dropout":
                layer = nn.Dropout(0.5)
            self.layers.append(layer)
            size = {"linear": wider, "gru": wider, "cat": 2 * size, "cut": max(1, size - 1)}.get(part, size)
        self.head = nn.Linear(size, first, bias)

    def forward(self, x: torch.Tensor) -> Any:
        y = x
        for part, layer in zip(self.parts, self.layers, strict=True):
            y = self.part(part, layer, y)
        y = self.head(y)
        return (y + x, torch.softmax(y, -1), y.select(self.time, -1))[: self.outputs]

    def part(self, part: str, layer: nn.Module, y: torch.Tensor) -> torch.Tensor:
        match part:
            case "gru":
                return layer(y)[0]
            case "conv" | "chomp" | "batch":
                order = (0, 2, 1) if self.time == 1 else (1, 2, 0)
                back = (0, 2, 1) if self.time == 1 else (2, 0, 1)
                result = layer(y.permute(order))
                return (result[:, :, :-1] if part == "chomp" else result).permute(back)
            case "relu" | "tanh" | "sigmoid":
                return getattr(torch, part)(y)
            case "skip":
                return y + y.tanh()
            case "cat":
                return torch.cat([y, layer(y)], dim=-1)
            case "gate":
                return y * layer(y)
            case "scale":
                return (1 - y) / 3 + 0.5 * y
            case "cut":
                return y[..., -max(1, y.shape[-1] - 1) :]
        return layer(y)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 4), st.lists(PARTS, max_size=4), st.booleans(), st.booleans(), st.integers(1, 3), st.integers(0, 9)
)
def test_any_architecture_streams_as_torch_computes_it(
    size: int, parts: list[str], bias: bool, batch_first: bool, outputs: int, seed: int
):
    module = Drawn(size, parts, bias, batch_first, outputs, seed)
    example = torch.zeros(3, 5, size)
    check(module, example, None if batch_first else lambda xs: xs.unsqueeze(1))
