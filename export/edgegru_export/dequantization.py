"""The float model that an artifact of int8 weights stands for: the oracle for exports that cannot be bit equal, and
what int8 weights alone cost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_export.saving import with_identity
from edgegru_runtime.artifact import Artifact, expected_tensors
from edgegru_runtime.errors import ExportError
from edgegru_runtime.fixed_point import FILTER_BITS, STATE_BITS, TWIDDLE_BITS
from edgegru_runtime.model_config import ConvolutionNode, GruNode, LinearNode, LogMelNode
from edgegru_runtime.operands import operand_scales
from edgegru_runtime.tensor import Tensor

_TABLE_BITS = {"window": TWIDDLE_BITS, "twiddles": TWIDDLE_BITS, "rising": FILTER_BITS}  # of a log_mel node


def dequantize(artifact: Artifact) -> Artifact:
    """A float32 artifact of the same nodes: weights ``w8 · s_i``, in static schemes divided by the share of their
    column, biases by the scale of their accumulator ``s_i · s`` (docs/quantization.md), initial states by the unit of
    the state, computed in float64 and rounded once.

    In static schemes a GRU's one integer bias of r and z becomes ``bias_ih``; ``bias_hh`` holds b_hn alone. Raises
    ExportError for an artifact that is float already.
    """
    config = artifact.config
    if config.scheme == "float32":
        raise ExportError("the model's scheme is float32, expected one with int8 weights to dequantize")
    real = replace(config, scheme="float32", quantization=None, identity="")
    arrays: dict[str, NDArray[Any]] = {}
    for node in config.nodes:
        if config.static and isinstance(node, (LinearNode, ConvolutionNode)):
            arrays |= _linear(artifact, node)
        elif config.static and isinstance(node, GruNode):
            arrays |= _gru(artifact, node)
        elif config.static and isinstance(node, LogMelNode):
            for name, bits in _TABLE_BITS.items():
                arrays[f"{node.name}.{name}"] = artifact.array(f"{node.name}.{name}").astype(np.float64) * 2.0**-bits
    expected = expected_tensors(real)
    for name in expected:
        if name not in arrays:  # embeddings, all weights of dynamic-w8, and what is float in every scheme
            arrays[name] = _weight(artifact, name) if f"{name}_scale" in artifact.tensors else artifact.array(name)
    tensors = {name: Tensor.from_numpy(array.astype(expected[name][0])) for name, array in arrays.items()}
    return with_identity(Artifact(real, tensors))


def _linear(artifact: Artifact, node: LinearNode | ConvolutionNode) -> dict[str, NDArray[Any]]:
    name, column_scale = node.name, np.array(operand_scales(artifact, node.inputs[0]))
    common = np.max(column_scale)
    arrays: dict[str, NDArray[Any]] = {f"{name}.weight": _weight(artifact, f"{name}.weight") / (column_scale / common)}
    if f"{name}.output_offset" in artifact.tensors:
        arrays[f"{name}.bias"] = artifact.array(f"{name}.output_offset")
    elif node.bias:
        arrays[f"{name}.bias"] = _integers(artifact, f"{name}.bias") * _row_scale(artifact, f"{name}.weight") * common
    return arrays


def _gru(artifact: Artifact, node: GruNode) -> dict[str, NDArray[Any]]:
    name, size = node.name, node.hidden_size
    x_scale, h_scale = (np.array(operand_scales(artifact, of)) for of in (node.inputs[0], name))
    # Unbounded, h and r ⊙ h have the same scales; bounded, each has one for all units.
    weight_hh = _weight(artifact, f"{name}.weight_hh") / (h_scale / np.max(h_scale))
    arrays = {
        f"{name}.weight_ih": _weight(artifact, f"{name}.weight_ih") / (x_scale / np.max(x_scale)),
        f"{name}.weight_hh": weight_hh,
    }
    if node.bias:
        accumulator = _row_scale(artifact, f"{name}.weight_ih") * np.max(x_scale)
        arrays[f"{name}.bias_ih"] = _integers(artifact, f"{name}.bias_ih") * accumulator
        arrays[f"{name}.bias_hh"] = np.zeros(3 * size)
        if node.reset == "after":
            accumulator = _row_scale(artifact, f"{name}.weight_hh")[2 * size :] * np.max(h_scale)
            arrays[f"{name}.bias_hh"][2 * size :] = _integers(artifact, f"{name}.bias_hn") * accumulator
    if node.initial_state:
        full_scale = artifact.array(f"{name}.full_scale").astype(np.float64) if node.unbounded else 1.0
        arrays[f"{name}.h0"] = _integers(artifact, f"{name}.h0") * (full_scale * 2.0**-STATE_BITS)
    return arrays


def _weight(artifact: Artifact, name: str) -> NDArray[np.float64]:
    """w8 · s_i: real weights, columns of static schemes still times their share."""
    weight = _integers(artifact, name)
    return weight * _row_scale(artifact, name).reshape(-1, *(1,) * (weight.ndim - 1))


def _row_scale(artifact: Artifact, name: str) -> NDArray[np.float64]:
    return artifact.array(f"{name}_scale").astype(np.float64)


def _integers(artifact: Artifact, name: str) -> NDArray[np.float64]:
    return artifact.array(name).astype(np.float64)
