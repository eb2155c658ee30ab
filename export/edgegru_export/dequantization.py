"""The float model that an integer artifact stands for: the oracle for exports that cannot be bit equal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_export.saving import with_identity
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.model_config import GruNode, LinearNode
from edgegru_runtime.tensor import Tensor


def dequantize(artifact: Artifact) -> Artifact:
    """A float32 artifact of the same nodes: weights ``w8 · s_i``, biases by the scale of their accumulator
    ``s_i · s_operand`` (docs/quantization.md), computed in float64 and rounded once.

    A GRU's one integer bias of r and z becomes ``bias_ih``; ``bias_hh`` holds b_hn alone. Raises ExportError for an
    artifact that is float already.
    """
    config, quantization = artifact.config, artifact.config.quantization
    if quantization is None:
        raise ExportError(f"the model's scheme is {config.scheme}, expected an integer scheme to dequantize")
    arrays: dict[str, NDArray[Any]] = {}
    for node in config.nodes:
        if isinstance(node, LinearNode):
            weight, weight_scale = _weight(artifact, f"{node.name}.weight")
            arrays[f"{node.name}.weight"] = weight
            if f"{node.name}.output_offset" in artifact.tensors:
                arrays[f"{node.name}.bias"] = artifact.array(f"{node.name}.output_offset")
            elif node.bias:
                accumulator = weight_scale * quantization.operand_scale[node.inputs[0]]
                arrays[f"{node.name}.bias"] = _integers(artifact, f"{node.name}.bias") * accumulator
        elif isinstance(node, GruNode):
            size = node.hidden_size
            arrays[f"{node.name}.weight_ih"], ih_scale = _weight(artifact, f"{node.name}.weight_ih")
            arrays[f"{node.name}.weight_hh"], hh_scale = _weight(artifact, f"{node.name}.weight_hh")
            if node.bias:
                accumulator = ih_scale * quantization.operand_scale[node.inputs[0]]
                arrays[f"{node.name}.bias_ih"] = _integers(artifact, f"{node.name}.bias_ih") * accumulator
                bias_hh = np.zeros(3 * size)
                if node.reset == "after":
                    accumulator = hh_scale[2 * size :] * quantization.operand_scale[node.name]
                    bias_hh[2 * size :] = _integers(artifact, f"{node.name}.bias_hn") * accumulator
                arrays[f"{node.name}.bias_hh"] = bias_hh
    tensors = {name: Tensor.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    unchanged = {name: tensor for name, tensor in artifact.tensors.items() if name.endswith((".mean", ".std"))}
    return with_identity(
        Artifact(replace(config, scheme="float32", quantization=None, identity=""), unchanged | tensors)
    )


def _weight(artifact: Artifact, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The real weights (rows, columns) and the scales of their rows (rows,)."""
    scale = artifact.array(f"{name}_scale").astype(np.float64)
    return _integers(artifact, name) * scale[:, None], scale


def _integers(artifact: Artifact, name: str) -> NDArray[np.float64]:
    return artifact.array(name).astype(np.float64)
