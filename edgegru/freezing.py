"""Freeze: the one place where torch tensors become the NumPy tensors of an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgegru.configuration import TrainConfig
from edgegru.data import Dataset, data_section
from edgegru.data.config import CLASS_TARGETS, VALUE_TARGETS
from edgegru.network import Network
from edgegru_export.saving import with_identity
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.model_config import (
    GruNode,
    HeadNode,
    InputConfig,
    LinearNode,
    ModelConfig,
    Node,
    OutputConfig,
    StandardiseNode,
)
from edgegru_runtime.tensor import Tensor

Arrays = dict[str, NDArray[np.float32]]


def freeze(network: Network, config: TrainConfig, dataset: Dataset, provenance: Mapping[str, Any]) -> Artifact:
    """The float32 artifact of a trained network, with identity.

    Numeric targets: the network gives them in standard deviations; the last linear layer takes the scale in, so that
    the artifact gives their own units.
    """
    nodes, arrays = frozen_layers(network, dataset)
    dense = nodes[-1]
    head = HeadNode("output", (dense.name,), dense.output_size, _head_kind(dataset.target))
    model = ModelConfig(
        scheme="float32",
        identity="",
        input=InputConfig(len(dataset.channels), dataset.channels, dataset.units, dataset.rate),
        nodes=(*nodes, head),
        outputs=(OutputConfig("output", dataset.target, dataset.labels, dataset.target_units, dataset.horizon),),
        decision=config.decision,
        data=data_section(config.data, dataset),
        provenance=dict(provenance),
    )
    return with_identity(Artifact(model, {name: Tensor.from_numpy(array) for name, array in arrays.items()}))


def frozen_layers(network: Network, dataset: Dataset) -> tuple[list[Node], Arrays]:
    """The nodes before the head in execution order, and their tensors by name."""
    nodes, arrays = _layers(network)
    if dataset.target in VALUE_TARGETS:
        _fold_target_scale(arrays, nodes[-1].name, dataset.target_mean, dataset.target_std)
    return nodes, arrays


def _head_kind(target: str) -> str:
    """What makes the numbers of the last linear layer what the target needs."""
    if target in VALUE_TARGETS:
        return "identity"
    return "softmax" if target in CLASS_TARGETS else "sigmoid"


def _layers(network: Network) -> tuple[list[Node], Arrays]:
    """Nodes in execution order, each reading the one before, and their tensors."""
    config = network.config
    nodes: list[Node] = [StandardiseNode("standardise", ("x",), len(network.mean))]
    arrays = {"standardise.mean": _array(network.mean), "standardise.std": _array(network.std)}

    def add_linear(name: str, layer: torch.nn.Linear, activation: str) -> None:
        inputs = (nodes[-1].name,)
        nodes.append(LinearNode(name, inputs, layer.in_features, layer.out_features, activation=activation))
        arrays[f"{name}.weight"] = _array(layer.weight)
        arrays[f"{name}.bias"] = _array(layer.bias)

    for index, layer in enumerate(network.input_layers):
        add_linear(f"input{index}", layer, config.input_activation)
    for index, layer in enumerate(network.gru_layers):
        name, size = f"gru{index}", nodes[-1].output_size
        nodes.append(GruNode(name, (nodes[-1].name,), size, config.hidden_size, config.reset, config.bias))
        for kind in ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if config.bias else ())):
            arrays[f"{name}.{kind}"] = _array(getattr(layer, f"{kind}_l0"))  # torch's gate order is rzn too
    for index, layer in enumerate(network.output_layers):
        add_linear(f"hidden{index}", layer, config.output_activation)
    add_linear("dense", network.dense, "linear")
    return nodes, arrays


def _fold_target_scale(arrays: Arrays, name: str, mean: NDArray[np.float32], std: NDArray[np.float32]) -> None:
    """std · (W v + b) + mean as one linear layer, computed in float64."""
    weight, bias = (arrays[f"{name}.{kind}"].astype(np.float64) for kind in ("weight", "bias"))
    arrays[f"{name}.weight"] = (weight * std[:, np.newaxis]).astype(np.float32)
    arrays[f"{name}.bias"] = (bias * std + mean).astype(np.float32)


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().numpy().astype(np.float32)
