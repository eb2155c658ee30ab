"""torch's own part in state dicts: reading its files without unpickling objects, and computing with its layers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgegru.imports.weight_stack import COUNTER, Block, check_settings, checked_name
from edgegru_runtime.errors import ImportModelError

_DEEPEST = 4  # dicts in dicts of a checkpoint
Array = NDArray[Any]


def load_tensors(path: Path) -> dict[str, Array]:
    """The tensors of the one state dict in a file of torch.save, as float64, by name.

    Whatever the environment says, only tensors and plain data are read (weights_only). Raises ImportModelError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile pickle fails in many ways
        raise ImportModelError(_why_not(error)) from None
    found = []
    for where, part in _dicts(content):
        check_settings(where, part)
        if any(isinstance(name, str) and re.search(r"(^|\.)weight_ih(_l\d+)?$", name) for name in part):
            found.append((where, part))
    if not found:
        raise ImportModelError("holds no tensor named weight_ih or weight_ih_l0, expected the state dict of a GRU")
    if len(found) > 1:
        raise ImportModelError(f"holds state dicts {' and '.join(where for where, _ in found)}, expected one GRU's")
    tensors = {
        checked_name(str(name)): tensor
        for name, tensor in found[0][1].items()
        if isinstance(tensor, torch.Tensor) and not str(name).endswith(COUNTER)
    }
    if sum(tensor.numel() for tensor in tensors.values()) > path.stat().st_size:
        raise ImportModelError("has tensors of more numbers than the file has bytes, expected every number in the file")
    return {name: _array(name, tensor) for name, tensor in tensors.items()}


def _why_not(error: Exception) -> str:
    if match := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"holds a {match[1]}, not weights alone, and objects are never unpickled; expected "
            "torch.save(model.state_dict(), ...), or edgegru.from_torch(model) in Python"
        )
    lines = str(error).splitlines() or [type(error).__name__]
    reason = next((line.strip() for line in lines if "rror:" in line), lines[0].strip())
    return f"cannot be read as weights: {reason[:200]!a}"


def _dicts(content: Any) -> Iterator[tuple[str, dict[Any, Any]]]:
    """A checkpoint's dicts, each with its place in it; an optimizer's and other lists are left alone."""
    pending, seen = [("", content)], set()
    for _ in range(_DEEPEST):
        inner: list[tuple[str, Any]] = []
        for where, part in pending:
            if isinstance(part, dict) and id(part) not in seen:
                seen.add(id(part))
                yield where or "at the top", part
                inner.extend((f"{where}.{_shown(key)}".lstrip("."), value) for key, value in part.items())
        pending = inner


def _shown(key: Any) -> str:
    text = str(key)[:40]
    return text if text.isprintable() else ascii(text)


def _array(name: str, tensor: torch.Tensor) -> Array:
    if tensor.layout != torch.strided or tensor.is_quantized or not tensor.is_floating_point():
        kind = "quantized" if tensor.is_quantized else "sparse" if tensor.layout != torch.strided else str(tensor.dtype)
        raise ImportModelError(f"{name}: is {kind}, expected a dense tensor of floats")
    if tensor.device.type != "cpu" or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ImportModelError(f"{name}: has fewer numbers in the file than its shape says, expected all")
    return tensor.detach().double().numpy()


class TorchStack:
    """A stack as torch's own layers. Its one output: (T, size)."""

    name = f"torch {torch.__version__}"
    steps: int | None = None
    precise = True

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._modules = [_module(block) for block in blocks]

    def run(self, xs: Array) -> list[Array]:
        """As ``Source`` says."""
        inputs = torch.from_numpy(xs)
        value = inputs
        with torch.no_grad():
            for module in self._modules:
                module.to(inputs.dtype)
                value = module(value[:, 0].long()) if isinstance(module, nn.Embedding) else module(value)
                value = value[0] if isinstance(module, nn.GRU) else value
        return [value.numpy()]


def _module(block: Block) -> nn.Module:
    module: nn.Module
    if block.kind == "GRU":
        layers, bias = len(block.tensors), len(block.tensors[0]) == 4
        module = nn.GRU(block.input_size, block.output_size, layers, bias)
    elif block.kind == "Linear":
        module = nn.Linear(block.input_size, block.output_size, len(block.tensors[0]) == 2)
    else:
        module = nn.Embedding(len(block.tensors[0][0]), block.output_size)
    module = module.double()
    with torch.no_grad():
        given = [tensor for parts in block.tensors for tensor in parts]
        for parameter, tensor in zip(module.parameters(), given, strict=True):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(tensor)))
    return module
