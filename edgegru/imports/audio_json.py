"""The JSON files of amplifier models: a state dict of PyTorch beside what its network was made with, skip included.

GuitarML and those who took over its training write them: ``{"model_data": {...}, "state_dict": {...}}``. Their network,
SimpleRNN, is a GRU ``rec``, a Linear layer ``lin`` and, with skip, the first channels of the input added to the output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.imports import weight_stack
from edgegru.imports.source import ForeignModel, Options, Source
from edgegru.imports.state_dict import source_of
from edgegru.imports.weight_stack import Block
from edgegru_runtime.errors import ImportModelError

Array = NDArray[Any]


def read(path: Path, options: Options) -> ForeignModel:
    """The network that the file describes. Raises ImportModelError."""
    content = json.loads(path.read_text(encoding="utf-8"))
    made_with, tensors = content["model_data"], content["state_dict"]
    if not isinstance(made_with, dict) or not isinstance(tensors, dict):
        raise ImportModelError("model_data and state_dict are not both objects, expected the JSON of an audio model")
    for name, expected in (("model", "SimpleRNN"), ("unit_type", "GRU")):
        if made_with.get(name) != expected:
            raise ImportModelError(f"model_data: {name} is {str(made_with.get(name))[:40]!a}, expected {expected!r}")
    blocks = weight_stack.stack_of(
        {weight_stack.checked_name(name): _array(name, values) for name, values in tensors.items()}
    )
    if [(block.kind, block.path) for block in blocks] != [("GRU", "rec"), ("Linear", "lin")]:
        raise ImportModelError(f"state_dict holds {', '.join(map(str, blocks))}, expected a GRU rec and a Linear lin")
    skip = _checked(made_with, *blocks)
    layers, value = weight_stack.build(blocks)
    if skip:
        value = layers.add(value, layers.select(layers.x, range(skip)))
    layers.output(value)
    shown = f"{blocks[0]} → {blocks[1]}, {'with' if skip else 'without'} skip"
    return ForeignModel(f"JSON of an audio model: {shown}", layers, _Skipping(source_of(blocks), skip))


def _checked(made_with: Mapping[str, Any], rec: Block, lin: Block) -> int:
    """How many channels skip; the sizes stated are those of the tensors."""
    sizes = {
        "input_size": rec.input_size,
        "hidden_size": rec.output_size,
        "num_layers": len(rec.tensors),
        "output_size": lin.output_size,
    }
    for name, size in sizes.items():
        if made_with.get(name, size) != size:
            raise ImportModelError(f"model_data: {name} is {str(made_with[name])[:40]!a}, but the tensors have {size}")
    skip = made_with.get("skip")
    allowed = {0, lin.output_size} if lin.output_size <= rec.input_size else {0}
    if not isinstance(skip, int) or skip not in allowed:
        raise ImportModelError(f"model_data: skip is {str(skip)[:40]!a}, expected 0 or output_size, {lin.output_size}")
    return int(skip)


def _array(name: str, values: Any) -> Array:
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ImportModelError(f"state_dict: {name} is no array of numbers") from None


class _Skipping:
    """A stack that adds the first ``skip`` channels of its input."""

    def __init__(self, stack: Source, skip: int) -> None:
        self.name, self.steps, self.precise = stack.name, stack.steps, stack.precise
        self._stack, self._skip = stack, skip

    def run(self, xs: Array) -> list[Array]:
        """As ``Source`` says."""
        (output,) = self._stack.run(xs)
        return [output + xs[:, : self._skip] if self._skip else output]
