"""The artifact: one file that holds a whole model. Reading it and the one validator, standard library only.

A file is hostile until checked: shell (``container.py``), fields (``config_json.py``), nodes (``graph.py``) and here
the tensors. Whatever is wrong raises ``ArtifactError`` with one sentence, and nothing of the model is returned.
"""

from __future__ import annotations

import math
import os
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from edgegru_runtime.config_json import MAX_SCALE, MIN_SCALE, parse_config_text
from edgegru_runtime.container import read_file, split_container
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.fixed_point import ACCUMULATOR_LIMIT
from edgegru_runtime.graph import check_graph
from edgegru_runtime.model_config import GruNode, HeadNode, LinearNode, ModelConfig, StandardiseNode
from edgegru_runtime.strict_json import shown
from edgegru_runtime.tensor import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WEIGHT_OF_BIAS = {"bias": "weight", "bias_ih": "weight_ih", "bias_hn": "weight_hh"}
_CODES = {"float32": "f", "int8": "b", "int32": "i"}


@dataclass(frozen=True)
class Artifact:
    """A model: what it is, and its tensors by name ("gru0.weight_ih", "standardise.mean", …)."""

    config: ModelConfig
    tensors: Mapping[str, Tensor]

    def array(self, name: str) -> NDArray[np.generic]:
        """The tensor of that name as a read-only array (KeyError where there is none)."""
        return self.tensors[name].to_numpy()


def read_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Read and check an artifact; its tensors are views on the bytes read.

    Raises ``FormatVersionError`` for another format version and ``ArtifactError`` for everything else that is wrong,
    both with the path in front.
    """
    try:
        return parse_artifact(read_file(path))
    except ArtifactError as error:
        raise type(error)(f"{os.fspath(path)}: {error}") from None


def parse_artifact(data: bytes) -> Artifact:
    """Check the bytes of an artifact file; raises like ``read_artifact``, without a path."""
    text, tensors = split_container(data)
    config = parse_config_text(text)
    check(config, tensors)
    return Artifact(config, tensors)


def check(config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Raise ``ArtifactError`` unless nodes, tensors and quantization of a model fit together."""
    check_graph(config)
    _check_quantization(config)
    expected = expected_tensors(config)
    for name in expected:
        if name not in tensors:
            raise ArtifactError(f"has no tensor {name!r}; expected it from the configuration")
    for name, tensor in tensors.items():
        if name not in expected:
            raise ArtifactError(f"has an unused tensor {shown(name)}; expected only those of its nodes")
        dtype, shape = expected[name]
        if tensor.dtype != dtype or tuple(tensor.shape) != shape:
            found = f"{tensor.dtype} {tuple(tensor.shape)}"
            raise ArtifactError(f"tensor {name!r} is {found}; expected {dtype} {shape}")
    for name, tensor in tensors.items():
        _check_values(name, tensor)
    if config.scheme == "static-w8a8":
        for name in tensors:
            if name.rpartition(".")[2] in _WEIGHT_OF_BIAS:
                _check_accumulators(name, tensors)


def expected_tensors(config: ModelConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """dtype and shape of every tensor that a configuration demands, by name; there are no others."""
    integer = config.scheme == "static-w8a8"
    weight, bias = ("int8", "int32") if integer else ("float32", "float32")
    read_by_identity = {node.inputs[0] for node in config.nodes if node.kind == "identity"}
    result: dict[str, tuple[str, tuple[int, ...]]] = {}
    for node in config.nodes:
        at = node.name
        if isinstance(node, StandardiseNode):
            result[f"{at}.mean"] = result[f"{at}.std"] = ("float32", (node.size,))
        elif isinstance(node, LinearNode):
            rows = node.output_size
            result[f"{at}.weight"] = (weight, (rows, node.input_size))
            if integer and is_offset(config, at):
                result[f"{at}.output_offset"] = ("float32", (rows,))
            elif node.bias:
                result[f"{at}.bias"] = (bias, (rows,))
            if integer:
                result[f"{at}.weight_scale"] = ("float32", (rows,))
                if at in read_by_identity and node.activation in ("linear", "relu"):
                    result[f"{at}.output_scale"] = ("float32", (rows,))
        elif isinstance(node, GruNode):
            rows = 3 * node.hidden_size
            result[f"{at}.weight_ih"] = (weight, (rows, node.input_size))
            result[f"{at}.weight_hh"] = (weight, (rows, node.hidden_size))
            if node.bias:
                result[f"{at}.bias_ih"] = (bias, (rows,))
            if integer:
                result[f"{at}.weight_ih_scale"] = result[f"{at}.weight_hh_scale"] = ("float32", (rows,))
                if node.bias and node.reset == "after":
                    result[f"{at}.bias_hn"] = ("int32", (node.hidden_size,))
            elif node.bias:
                result[f"{at}.bias_hh"] = (bias, (rows,))
    return result


def is_offset(config: ModelConfig, name: str) -> bool:
    """Whether an integer scheme adds the bias of the linear node ``name`` to its outputs, as a float.

    So it is for values that are only given out: beside an offset far larger than their spread (a pressure, say) their
    integers would have no steps left.
    """
    node = config.node(name)
    readers = {reader.kind for reader in config.nodes if name in reader.inputs}
    return isinstance(node, LinearNode) and node.bias and node.activation == "linear" and readers == {"identity"}


def expected_operands(config: ModelConfig) -> tuple[str, ...]:
    """Names of the values that need an operand scale in an integer scheme, in execution order."""
    read_by_layers = {node.inputs[0] for node in config.nodes if not isinstance(node, HeadNode)}
    result = []
    for node in config.nodes:
        if isinstance(node, (StandardiseNode, GruNode)) or node.name in read_by_layers:
            result.append(node.name)
        if isinstance(node, GruNode) and node.reset == "before":
            result.append(f"{node.name}.rh")
    return tuple(result)


def _check_quantization(config: ModelConfig) -> None:
    if config.scheme == "float32":
        if config.quantization is not None:
            raise ArtifactError("has a field quantization and scheme float32; expected it only in integer schemes")
        return
    if config.quantization is None:
        raise ArtifactError(f"has no field quantization; expected it for scheme {config.scheme}")
    found, expected = config.quantization.operand_scale, expected_operands(config)
    for name in expected:
        if name not in found:
            raise ArtifactError(f"quantization.operand_scale has no entry {name!r}; expected {', '.join(expected)}")
    for name in found:
        if name not in expected:
            raise ArtifactError(
                f"quantization.operand_scale has an unused entry {shown(name)}; expected only {', '.join(expected)}"
            )


def _check_values(name: str, tensor: Tensor) -> None:
    """Finite floats; std and scales positive; int8 weights without -128."""
    if tensor.dtype == "int8":
        index = bytes(tensor.data).find(b"\x80")
        if index >= 0:
            raise ArtifactError(f"tensor {name!r} holds -128 at index {index}; expected -127 to 127")
    elif tensor.dtype == "float32":
        values = _values(tensor)
        # In double precision a sum of float32 numbers is finite exactly when all of them are, and sum() is quick.
        if not math.isfinite(sum(values)):
            index = next(i for i, value in enumerate(values) if not math.isfinite(value))
            raise ArtifactError(f"tensor {name!r} holds {values[index]} at index {index}; expected finite numbers")
        if name.endswith((".std", "_scale")) and not (min(values) >= MIN_SCALE and max(values) <= MAX_SCALE):
            index = next(i for i, value in enumerate(values) if not MIN_SCALE <= value <= MAX_SCALE)
            found = f"{values[index]:g} at index {index}"
            raise ArtifactError(f"tensor {name!r} holds {found}; expected positive numbers from 2^-100 to 2^100")


def _check_accumulators(bias_name: str, tensors: Mapping[str, Tensor]) -> None:
    """No sum of products can leave its range: 127 * 127 * columns + max |bias| < 2^30 (docs/quantization.md)."""
    node, _, kind = bias_name.rpartition(".")
    columns = tensors[f"{node}.{_WEIGHT_OF_BIAS[kind]}"].shape[1]
    reach = 127 * 127 * columns + max(map(abs, _values(tensors[bias_name])))
    if reach >= ACCUMULATOR_LIMIT:
        raise ArtifactError(f"tensor {bias_name!r} lets an accumulator reach {reach}; expected less than 2^30")


def _values(tensor: Tensor) -> Sequence[float]:
    """The numbers of a tensor, row-major; a view where this machine is little-endian."""
    code = _CODES[tensor.dtype]
    if sys.byteorder == "little":
        return cast("Sequence[float]", memoryview(tensor.data).cast(code))  # type: ignore[call-overload]  # three codes
    values = array(code, bytes(tensor.data))
    values.byteswap()
    return values
