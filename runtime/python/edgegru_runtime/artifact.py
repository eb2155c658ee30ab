"""The artifact: one file that holds a whole model. Reading it and the one validator, standard library only.

A file is hostile until checked: shell (``container.py``), fields (``config_json.py``), nodes (``graph.py``) and here
the tensors. Whatever is wrong raises ``ArtifactError`` with one sentence, and nothing of the model is returned.
"""

from __future__ import annotations

import math
import os
import sys

from edgegru_runtime.config_json import parse_config_text
from edgegru_runtime.container import read_file, split_container
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.fixed_point import ACCUMULATOR_LIMIT, ARGUMENT_LIMIT
from edgegru_runtime.graph import check_graph
from edgegru_runtime.json_fields import MAX_SCALE, MIN_SCALE
from edgegru_runtime.log_mel_tables import check_tables, table_tensors
from edgegru_runtime.model_config import (
    STATIC_SCHEMES,
    UNBOUNDED,
    AttentionNode,
    ConvolutionNode,
    EmbeddingNode,
    GruNode,
    LayerNormalisationNode,
    LinearNode,
    LogMelNode,
    ModelConfig,
    Node,
    StandardiseNode,
    StateNode,
)
from edgegru_runtime.operands import expected_operands, has_full_scale, operand_limit, operand_names
from edgegru_runtime.plain_data import dataclass
from edgegru_runtime.strict_json import shown
from edgegru_runtime.tensor import Tensor

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

_CODES = {"float32": "f", "int8": "b", "int16": "h", "int32": "i"}


@dataclass(frozen=True)
class Artifact:
    """A model: what it is, and its tensors by name ("gru0.weight_ih", "standardise.mean", …)."""

    config: ModelConfig
    tensors: Mapping[str, Tensor]

    def array(self, name: str) -> NDArray[np.generic]:
        """The tensor of that name as a read-only array (KeyError where there is none)."""
        return self.tensors[name].to_numpy()

    def numbers(self, name: str) -> Sequence[float]:
        """The numbers of the tensor of that name, row-major (KeyError where there is none), without NumPy."""
        return _values(self.tensors[name])

    def initial_state(self, node: StateNode) -> NDArray[np.generic]:
        """What a stream begins with, (state_size,) as saved states have it: zeros, or h0 of a GRU that has one."""
        if isinstance(node, GruNode) and node.initial_state:
            return self.array(f"{node.name}.h0")
        import numpy as np

        return np.zeros(node.state_size, np.int32 if self.config.static else np.float32)


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
    for node in config.nodes:
        if config.static:
            _check_accumulators(config, node, tensors)
        if isinstance(node, GruNode) and node.initial_state:
            _check_initial_state(config, node, tensors[f"{node.name}.h0"])
        if isinstance(node, LogMelNode):
            names = table_tensors(node, config.static)
            check_tables(node, {name: _values(tensors[f"{node.name}.{name}"]) for name in names}, config.static)


def expected_tensors(config: ModelConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """dtype and shape of every tensor that a configuration demands, by name; there are no others."""
    result: dict[str, tuple[str, tuple[int, ...]]] = {}
    for node in config.nodes:
        found: dict[str, tuple[str, tuple[int, ...]]]
        if isinstance(node, LogMelNode):
            found = table_tensors(node, config.static)
        elif isinstance(node, StandardiseNode):
            found = {"mean": ("float32", (node.size,)), "std": ("float32", (node.size,))}
        elif config.scheme_of(node.name) == "float32":
            found = {name: ("float32", shape) for name, shape in {**_matrices(node), **_vectors(node)}.items()}
        else:
            found = {name: ("int8", shape) for name, shape in _matrices(node).items()}
            found |= {f"{name}_scale": ("float32", shape[:1]) for name, shape in _matrices(node).items()}
            if config.static:
                found |= _static_tensors(config, node)
            else:
                found |= {name: ("float32", shape) for name, shape in _vectors(node).items()}
        result |= {f"{node.name}.{name}": tensor for name, tensor in found.items()}
    return result


def _matrices(node: Node) -> dict[str, tuple[int, ...]]:
    """The shapes of a node's weights; the first axis is that of their rows."""
    match node:
        case EmbeddingNode():
            return {"weight": (node.num_embeddings, node.output_size)}
        case LinearNode():
            return {"weight": (node.output_size, node.input_size)}
        case ConvolutionNode():
            return {"weight": (node.output_size, node.kernel_size, node.input_size)}
        case GruNode():
            rows = 3 * node.hidden_size
            return {"weight_ih": (rows, node.input_size), "weight_hh": (rows, node.hidden_size)}
        case _:
            return {}


def _vectors(node: Node) -> dict[str, tuple[int, ...]]:
    """The shapes of a node's tensors that are floats wherever they are not integers, or always: all but matrices."""
    match node:
        case LinearNode() | ConvolutionNode() if node.bias:
            return {"bias": (node.output_size,)}
        case LayerNormalisationNode():
            return {"weight": (node.size,), "bias": (node.size,)}
        case AttentionNode():
            return {"weight": (node.size,)}
        case GruNode():
            biases = ("bias_ih", "bias_hh") if node.bias else ()
            initial = {"h0": (node.hidden_size,)} if node.initial_state else {}
            return {**dict.fromkeys(biases, (3 * node.hidden_size,)), **initial}
        case _:
            return {}


def _static_tensors(config: ModelConfig, node: Node) -> dict[str, tuple[str, tuple[int, ...]]]:
    """What a node has in a static scheme besides int8 weights and their scales."""
    result: dict[str, tuple[str, tuple[int, ...]]] = {}
    if isinstance(node, (LinearNode, ConvolutionNode)):
        rows = (node.output_size,)
        if is_offset(config, node.name):
            result["output_offset"] = ("float32", rows)
        elif node.bias:
            result["bias"] = ("int32", rows)
        if node.activation in UNBOUNDED and "identity" in _reader_kinds(config, node.name):
            result["output_scale"] = ("float32", rows)
    elif isinstance(node, GruNode):
        if node.bias:
            result["bias_ih"] = ("int32", (3 * node.hidden_size,))
            if node.reset == "after":
                result["bias_hn"] = ("int32", (node.hidden_size,))
        if node.initial_state:
            result["h0"] = ("int32", (node.hidden_size,))
    elif isinstance(node, AttentionNode):
        result = {"weight": ("int8", (node.size,)), "weight_scale": ("float32", (1,))}
    if has_full_scale(config, node):
        result["full_scale"] = ("float32", (node.output_size,))
    return result


def _reader_kinds(config: ModelConfig, name: str) -> set[str]:
    return {node.kind for node in config.nodes if name in node.inputs}


def is_offset(config: ModelConfig, name: str) -> bool:
    """Whether a static scheme adds the bias of the node ``name`` to its outputs, as a float.

    So it is for values that are only given out: beside an offset far larger than their spread (a pressure, say) their
    integers would have no steps left.
    """
    node = config.node(name)
    return (
        isinstance(node, (LinearNode, ConvolutionNode))
        and node.bias
        and node.activation == "linear"
        and _reader_kinds(config, name) == {"identity"}
    )


def _check_quantization(config: ModelConfig) -> None:
    if config.scheme == "float32":
        if config.quantization is not None:
            raise ArtifactError("has a field quantization and scheme float32; expected it only in other schemes")
        return
    if config.quantization is None:
        raise ArtifactError(f"has no field quantization; expected it for scheme {config.scheme}")
    for node in config.nodes:
        if config.static and isinstance(node, LayerNormalisationNode):
            found = f"node {node.name!r} is of kind {node.kind} in scheme {config.scheme}"
            raise ArtifactError(f"{found}; expected such a node in float32 or dynamic-w8 only")
    expected = expected_operands(config) if config.static else ()
    scales = config.quantization.operand_scale
    for name in expected:
        if name not in scales:
            raise ArtifactError(f"quantization.operand_scale has no entry {name!r}; expected {', '.join(expected)}")
    for name in scales:
        if name not in expected:
            known = f"only {', '.join(expected)}" if expected else "none"
            raise ArtifactError(f"quantization.operand_scale has an unused entry {shown(name)}; expected {known}")
    choices = keep_choices(config)
    for name, scheme in config.quantization.keep.items():
        if scheme not in choices.get(name, ()):
            known = " or ".join(f"{node}: {', '.join(schemes)}" for node, schemes in choices.items())
            raise ArtifactError(f"quantization.keep has {shown(name)}: {scheme}; expected {known or 'no entry'}")


def keep_choices(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """The nodes that may have a scheme of their own, and which.

    In a static scheme those whose values are operands may have another width. In dynamic-w8 weights may stay float,
    but never a GRU's: they are what the scheme is for.
    """
    if config.static:
        others = tuple(scheme for scheme in STATIC_SCHEMES if scheme != config.scheme)
        return dict.fromkeys(operand_names(config), others)
    if config.scheme == "dynamic-w8":
        return {node.name: ("float32",) for node in config.nodes if _matrices(node) and not isinstance(node, GruNode)}
    return {}


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


def _check_initial_state(config: ModelConfig, node: GruNode, tensor: Tensor) -> None:
    """A stream begins where a stream can be."""
    from edgegru_runtime.state import state_limit  # only here: few models need it to start

    values, (limit, unit) = _values(tensor), state_limit(config, node)
    if max(map(abs, values)) > limit:
        index = next(i for i, value in enumerate(values) if abs(value) > limit)
        found = f"tensor '{node.name}.h0' holds {values[index]} at index {index}"
        raise ArtifactError(f"{found}; expected a state from -{unit} to {unit}")


def _check_accumulators(config: ModelConfig, node: Node, tensors: Mapping[str, Tensor]) -> None:
    """No sum of products can leave its range: Σ|w| · largest operand + |bias| < 2^31 in every row."""
    if isinstance(node, (LinearNode, ConvolutionNode)):
        _check_rows(f"{node.name}.weight", f"{node.name}.bias", 0, operand_limit(config, node.inputs[0]), tensors)
    elif isinstance(node, GruNode):
        source, own = operand_limit(config, node.inputs[0]), operand_limit(config, node.name)
        _check_rows(f"{node.name}.weight_ih", f"{node.name}.bias_ih", 0, source, tensors)
        _check_rows(f"{node.name}.weight_hh", f"{node.name}.bias_hn", 2 * node.hidden_size, own, tensors)
    elif isinstance(node, AttentionNode):
        reach = sum(map(abs, _values(tensors[f"{node.name}.weight"]))) * ARGUMENT_LIMIT  # of tanh, with 15 bits
        if reach >= ACCUMULATOR_LIMIT:
            raise ArtifactError(f"'{node.name}.weight' lets an accumulator reach {reach:.0f}; expected less than 2^31")


def _check_rows(weight: str, bias: str, first: int, limit: int, tensors: Mapping[str, Tensor]) -> None:
    """``first``: the row of the matrix ``weight`` that the first number of ``bias`` belongs to."""
    rows, *inner = tensors[weight].shape
    columns = math.prod(inner)
    biases = [0] * first + list(map(abs, _values(tensors[bias]))) if bias in tensors else [0] * rows
    if 127 * limit * columns + max(biases) < ACCUMULATOR_LIMIT:
        return  # whatever the weights: their sums need not be looked at
    weights = _values(tensors[weight])
    for row in range(rows):
        reach = sum(map(abs, weights[row * columns : (row + 1) * columns])) * limit + biases[row]
        if reach >= ACCUMULATOR_LIMIT:
            found = f"row {row} of {weight!r} lets an accumulator reach {reach:.0f}"
            raise ArtifactError(f"{found}; expected less than 2^31")


def _values(tensor: Tensor) -> Sequence[float]:
    """The numbers of a tensor, row-major; a view where this machine is little-endian."""
    code = _CODES[tensor.dtype]
    if sys.byteorder == "little":
        return memoryview(tensor.data).cast(code)  # type: ignore[call-overload,no-any-return]  # four codes
    from array import array

    values = array(code, bytes(tensor.data))
    values.byteswap()
    return values
