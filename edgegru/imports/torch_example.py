"""What a module is called with, told from its first layer."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from edgegru_runtime.errors import ImportModelError

_LENGTH = 11  # steps
_TELLING = (nn.GRU, nn.GRUCell, nn.Linear, nn.Embedding, nn.Conv1d)


def derived_example(module: nn.Module) -> tuple[torch.Tensor, ...]:
    """Zeros for forward, from the layer that was registered first. Raises ImportModelError where it does not tell."""
    parts = [part for part in module.modules() if not list(part.children())]
    first = next((part for part in parts if list(part.parameters())), None)
    if not isinstance(first, _TELLING):
        found = "has no layer" if first is None else f"begins with {type(first).__name__}"
        raise ImportModelError(f"{type(module).__name__} {found}, expected an example of what it is called with")
    recurrent = next((part for part in parts if isinstance(part, (nn.GRU, nn.GRUCell))), None)
    x = _input(first, recurrent)
    wanted = [
        parameter
        for parameter in inspect.signature(module.forward).parameters.values()
        if parameter.default is parameter.empty and parameter.kind <= parameter.POSITIONAL_OR_KEYWORD
    ]
    if len(wanted) < 2 and not isinstance(module, nn.GRUCell):
        return (x,)
    if len(wanted) > 2 or recurrent is None:
        raise ImportModelError(f"forward of {type(module).__name__} takes {len(wanted)} arguments, expected an example")
    if isinstance(recurrent, nn.GRUCell):
        return x, torch.zeros(1, recurrent.hidden_size)
    layers = recurrent.num_layers * (2 if recurrent.bidirectional else 1)
    return x, torch.zeros(layers, 1, recurrent.hidden_size)


def _input(first: Any, recurrent: Any) -> torch.Tensor:
    """Of batch 1; (1, channels) for modules of one step."""
    shape: tuple[int, ...] = (1, _LENGTH) if getattr(recurrent, "batch_first", True) else (_LENGTH, 1)
    if isinstance(recurrent, nn.GRUCell):
        shape = (1,)
    if isinstance(first, nn.Embedding):
        return torch.zeros(shape, dtype=torch.long)
    if isinstance(first, nn.Conv1d):
        return torch.zeros(1, first.in_channels, _LENGTH)
    size = first.in_features if isinstance(first, nn.Linear) else first.input_size
    return torch.zeros(*shape, size)
