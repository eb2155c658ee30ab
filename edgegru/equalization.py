"""Inputs that no standardisation made alike, made alike for int8: the scale of each channel moves into the weights.

A model from elsewhere may read raw features, one of them fifty times larger than the others; one int8 scale for all of
them would leave most no steps. ``(x − mean) / std`` and the weights that read it are rewritten so that the model stays
the same function and every channel fills the range (docs/quantization.md).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgegru.calibration import Ranges
from edgegru.observers import EvenedObserver
from edgegru_export.saving import with_identity
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.fixed_point import OPERAND_LIMIT
from edgegru_runtime.model_config import ConcatenateNode, GruNode, LinearNode, ModelConfig, StandardiseNode
from edgegru_runtime.operands import operand_bits, pieces
from edgegru_runtime.tensor import Tensor

UNEVEN = 4.0  # the widest channel over the median one: beyond, channels are rewritten
NARROWEST = 2.0**-10  # of the widest channel: one that hardly moved in calibration may move later


def uneven_reach(config: ModelConfig, ranges: Ranges) -> NDArray[np.float64] | None:
    """The reach of each channel (size,) about its mean, in units of the standardised input, where it pays to give each
    its own scale; None where it does not, or where the model cannot be rewritten.

    ``config``: of the integer model to be. A convolution begins with zeros, add and multiply read the input itself, and
    a mean needs biases to go to: models with those stay as they are.
    """
    first = config.entry
    if not isinstance(first, StandardiseNode) or operand_bits(config, first.name) != 8:
        return None
    for node in config.nodes[1:]:
        if any(first.name in pieces(config, name) for name in node.inputs):
            rewritable = isinstance(node, (LinearNode, GruNode)) and node.bias
            if not (rewritable or isinstance(node, ConcatenateNode)):
                return None
    reach = np.array([observer.reach(OPERAND_LIMIT[8]) for observer in ranges.channels])
    reach = np.maximum(reach, NARROWEST * np.max(reach))
    return reach if np.max(reach) > UNEVEN * np.median(reach) else None


def evened_input(artifact: Artifact, config: ModelConfig, ranges: Ranges) -> tuple[Artifact, Ranges]:
    """A float32 artifact rewritten so that every channel of its input reaches 1, and its ranges, where ``uneven_reach``
    has found that to pay; else both as they are.
    """
    reach = uneven_reach(config, ranges)
    if reach is None:
        return artifact, ranges
    first = config.entry.name
    mean, std = (artifact.array(f"{first}.{name}").astype(np.float64) for name in ("mean", "std"))
    even = rewritten(artifact, (mean + std * ranges.centre).astype(np.float32), (std * reach).astype(np.float32))
    operand = {**ranges.operand, first: EvenedObserver(ranges.channels, reach)}
    gone = {node.name for node in config.nodes if first in pieces(config, node.name)}
    moments = {name: moment for name, moment in ranges.moments.items() if name not in gone}  # of the old input
    return even, replace(ranges, operand=operand, moments=moments)


def rewritten(artifact: Artifact, mean: NDArray[np.float32], std: NDArray[np.float32]) -> Artifact:
    """The float32 artifact that computes the same with another standardisation ``mean``, ``std`` (size,).

    z = ratio · z' + offset: columns that read z take the ratio in, biases their product with the offset.
    """
    config, first = artifact.config, artifact.config.entry.name
    old_mean, old_std = (artifact.array(f"{first}.{name}").astype(np.float64) for name in ("mean", "std"))
    ratio, offset = std.astype(np.float64) / old_std, (mean.astype(np.float64) - old_mean) / old_std
    arrays: dict[str, NDArray[np.generic]] = {f"{first}.mean": mean, f"{first}.std": std}
    for node in config.nodes[1:]:
        if isinstance(node, (LinearNode, GruNode)) and first in pieces(config, node.inputs[0]):
            weight, bias = ("weight_ih", "bias_ih") if isinstance(node, GruNode) else ("weight", "bias")
            sizes = [(piece, config.node(piece).output_size) for piece in pieces(config, node.inputs[0])]
            ratios = np.concatenate([ratio if name == first else np.ones(size) for name, size in sizes])
            offsets = np.concatenate([offset if name == first else np.zeros(size) for name, size in sizes])
            matrix = artifact.array(f"{node.name}.{weight}").astype(np.float64)
            arrays[f"{node.name}.{weight}"] = matrix * ratios
            arrays[f"{node.name}.{bias}"] = artifact.array(f"{node.name}.{bias}") + matrix @ offsets
    tensors = {name: Tensor.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    return with_identity(Artifact(replace(config, identity=""), {**artifact.tensors, **tensors}))


def as_standardised_in(artifact: Artifact, other: Artifact) -> Artifact:
    """``artifact``, float32, with the standardisation of ``other``, which was made of it: the same function, and itself
    where nothing was rewritten.
    """
    first = artifact.config.entry.name
    if artifact.tensors.get(f"{first}.std") == other.tensors.get(f"{first}.std"):
        return artifact
    mean, std = (np.asarray(other.array(f"{first}.{name}"), np.float32) for name in ("mean", "std"))
    return rewritten(artifact, mean, std)
