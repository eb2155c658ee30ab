"""State dicts of PyTorch, from torch's zip files and from .safetensors, as layers."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from edgegru.imports import weight_stack
from edgegru.imports.formats import LARGEST_FILE
from edgegru.imports.source import ForeignModel, Options, Source
from edgegru.imports.weight_stack import Block
from edgegru_runtime.errors import ImportModelError

_LARGEST_PICKLE = 2**24  # bytes of data.pkl: names and shapes
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
Array = NDArray[Any]


def read(path: Path, options: Options) -> ForeignModel:
    """The stack of GRUs and Linear layers that the weights fit. Raises ImportModelError; a file runs no code."""
    with open(path, "rb") as file:
        is_zip = file.read(2) == b"PK"
    tensors = _read_torch(path) if is_zip else _read_safetensors(path)
    blocks = weight_stack.stack_of(tensors)
    layers, value = weight_stack.build(blocks)
    layers.output(value)
    shown = " → ".join(map(str, blocks))
    kind = "PyTorch state dict" if is_zip else "safetensors"
    format = f"{kind}: {shown}; no activation or skip connection is visible in weights"
    return ForeignModel(format, layers, source_of(blocks))


def source_of(blocks: Sequence[Block]) -> Source:
    """What computes a stack: torch where it is installed, else its equations in NumPy."""
    if find_spec("torch") is None:
        return _Equations(blocks)
    from edgegru.imports.torch_weights import TorchStack

    return TorchStack(blocks)


class _Equations:
    """The stack in NumPy, where torch is not installed."""

    name = "the equations of PyTorch's documentation"
    steps: int | None = None
    precise = True

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = blocks

    def run(self, xs: Array) -> list[Array]:
        """The one output, (T, size)."""
        return [weight_stack.equations(self._blocks, xs)]


def _read_torch(path: Path) -> dict[str, Array]:
    """Tensors of a zip file of torch.save."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if any(name.endswith("archive_format") or "serialized_exported_program" in name for name in names):
        raise ImportModelError(
            "is a program of torch.export (.pt2), whose loader can unpickle objects and is not called here; expected a "
            "state dict, or edgegru.from_torch(torch.export.load(...)) for a file that you trust"
        )
    if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
        raise ImportModelError(
            "is a TorchScript file, which holds code, expected weights alone: torch.save(model.state_dict(), ...)"
        )
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ImportModelError("is a compressed zip file, which torch.save never writes, expected stored entries")
    if sum(entry.file_size for entry in entries) > LARGEST_FILE:
        raise ImportModelError(f"has entries of more than {LARGEST_FILE:,} bytes, expected fewer")
    if any(entry.file_size > _LARGEST_PICKLE for entry in entries if entry.filename.endswith("data.pkl")):
        raise ImportModelError(
            f"has a data.pkl of more than {_LARGEST_PICKLE:,} bytes, expected names and shapes alone"
        )
    if find_spec("torch") is None:
        raise ImportModelError(
            "is a PyTorch file, which only torch reads: install edgegru[train], or save the weights as .safetensors"
        )
    from edgegru.imports.torch_weights import load_tensors

    return load_tensors(path)


def _read_safetensors(path: Path) -> dict[str, Array]:
    data = path.read_bytes()
    try:
        entries: Any = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ImportModelError(f"is a damaged safetensors file: {str(error)[:100]!a}") from None
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    settings = header.get("__metadata__", {})
    if "edgegru" in settings:
        raise ImportModelError("is a model of EdgeGRU already, expected one made elsewhere")
    weight_stack.check_settings("its metadata", settings)
    return {name: _array(name, entry) for name, entry in entries if not name.endswith(weight_stack.COUNTER)}


def _array(name: str, entry: Any) -> Array:
    weight_stack.checked_name(name)
    dtype, shape, data = entry["dtype"], entry["shape"], entry["data"]
    if dtype == "BF16":  # the upper half of a float32
        flat = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif dtype in _FLOATS:
        flat = np.frombuffer(data, _FLOATS[dtype])
    else:
        raise ImportModelError(f"{name}: has numbers of type {dtype}, expected floats")
    if len(flat) != math.prod(shape):
        raise ImportModelError(f"{name}: has {len(flat)} numbers, expected {shape}")
    return flat.astype(np.float64).reshape(shape)
