"""A trained model as the start of another training: checked against the configuration, its tensors back in torch."""

from __future__ import annotations

from dataclasses import fields
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgegru.data import Dataset
from edgegru.data.config import VALUE_TARGETS
from edgegru.network import Network, layers_by_name
from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.errors import ConfigError
from edgegru_runtime.model_config import ModelConfig, Node, StandardiseNode


def read_start(path: str | Path, expected: ModelConfig) -> Artifact:
    """Read the float32 model to start from; ``expected``: what the configuration and the data make.

    Raises ConfigError, naming the first difference, for a model of another network or of other data, ArtifactError for
    a file that is none.
    """
    artifact = read_artifact(path)
    config = artifact.config
    if config.scheme != "float32":
        raise ConfigError(f"{path} is {config.scheme}, expected a float32 model to start from")
    differing = [("channels", config.input.channels, expected.input.channels)]
    for kind in ("target", "labels", "horizon"):
        for output, wanted in zip_longest(config.outputs, expected.outputs):
            differing.append((kind, getattr(output, kind, "nothing"), getattr(wanted, kind, "nothing")))
    for what, found, needed in differing:
        if found != needed:
            raise ConfigError(f"{path} has the {what} {_shown(found)}, but the data give {_shown(needed)}")
    for place in range(max(len(config.nodes), len(expected.nodes))):
        _check_node(path, *(nodes[place] if place < len(nodes) else None for nodes in (config.nodes, expected.nodes)))
    return artifact


def thaw(network: Network, artifact: Artifact, dataset: Dataset) -> None:
    """Give a network the tensors of an artifact of the same nodes: the reverse of freezing.

    Values are taken back to standard deviations of the targets of ``dataset``.
    """
    arrays = {name: tensor.to_numpy() for name, tensor in artifact.tensors.items()}
    if dataset.target in VALUE_TARGETS:
        std, mean = dataset.target_std.astype(np.float64), dataset.target_mean.astype(np.float64)
        for name in ("dense.weight", "skip.weight"):
            if name in arrays:
                arrays[name] = arrays[name] / std.reshape(-1, *[1] * (arrays[name].ndim - 1))
        arrays["dense.bias"] = (arrays["dense.bias"] - mean) / std
    with torch.no_grad():
        for node in artifact.config.nodes:
            if isinstance(node, StandardiseNode):
                _copy(network.mean, arrays[f"{node.name}.mean"])
                _copy(network.std, arrays[f"{node.name}.std"])
        for name, layer in layers_by_name(network).items():
            for kind, parameter in layer.named_parameters():
                array = arrays[f"{name}.{kind.removesuffix('_l0')}"]
                _copy(parameter, array.transpose(0, 2, 1) if array.ndim == 3 else array)  # of a convolution


def _copy(tensor: torch.Tensor, array: NDArray[np.generic]) -> None:
    tensor.copy_(torch.from_numpy(array.astype(np.float32)))


def _check_node(path: str | Path, found: Node | None, needed: Node | None) -> None:
    if found is None or needed is None or (found.kind, found.name) != (needed.kind, needed.name):
        names = ["nothing" if node is None else f"the {node.kind} node {node.name}" for node in (found, needed)]
        raise ConfigError(f"{path} has {names[0]} where the configuration makes {names[1]}: expected the same network")
    for item in fields(found):
        values = getattr(found, item.name), getattr(needed, item.name)
        if values[0] != values[1]:
            raise ConfigError(
                f"{path}: node {found.name} has {item.name} {_shown(values[0])}, but the configuration makes it "
                f"{_shown(values[1])}"
            )


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
