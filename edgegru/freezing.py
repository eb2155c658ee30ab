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
from edgegru.network import CausalConvolution, Network, convolution_activation, dense_layers
from edgegru.network_input import FrontEnd, front_end_of
from edgegru_export.saving import with_identity
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.graph import INPUT
from edgegru_runtime.model_config import (
    NEXT_TOKEN,
    ConvolutionNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    HeadNode,
    InputConfig,
    LinearNode,
    ModelConfig,
    Node,
    StandardiseNode,
)
from edgegru_runtime.tensor import Tensor

Arrays = dict[str, NDArray[np.float32]]


def freeze(network: Network, config: TrainConfig, dataset: Dataset, provenance: Mapping[str, Any]) -> Artifact:
    """The float32 artifact of a trained network, with identity.

    Numeric targets: the network gives them in standard deviations; the last linear layer takes the scale in, so that
    the artifact gives their own units.
    """
    nodes, arrays = frozen_layers(network, front_end_of(config, dataset), dataset)
    read = nodes[-len(dataset.outputs) :]
    heads = [
        HeadNode(output.node, (last.name,), last.output_size, _head_kind(output.target))
        for output, last in zip(dataset.outputs, read, strict=True)
    ]
    model = ModelConfig(
        scheme="float32",
        identity="",
        input=InputConfig(
            len(dataset.channels),
            dataset.channels,
            dataset.units,
            dataset.rate,
            config.data.samples_per_step,
            dataset.tokenizer,
        ),
        nodes=(*nodes, *heads),
        outputs=dataset.outputs,
        decision=config.decision,
        data=data_section(config.data, dataset),
        provenance=dict(provenance),
    )
    return with_identity(Artifact(model, {name: Tensor.from_numpy(array) for name, array in arrays.items()}))


def frozen_layers(network: Network, front_end: FrontEnd | None, dataset: Dataset) -> tuple[list[Node], Arrays]:
    """The nodes before the heads in execution order, what the heads read last, and their tensors by name."""
    nodes, arrays = ([], {}) if front_end is None else ([front_end.node], dict(front_end.tensors))
    _add_layers(network, nodes, arrays)
    if dataset.target in VALUE_TARGETS:
        _fold_target_scale(arrays, dataset.target_mean, dataset.target_std)
    return nodes, arrays


def _head_kind(target: str) -> str:
    """What makes the numbers of the last linear layer what the target needs."""
    if target in VALUE_TARGETS:
        return "identity"
    if target == NEXT_TOKEN:
        return "log_softmax"
    return "softmax" if target in CLASS_TARGETS else "sigmoid"


def _add_layers(network: Network, nodes: list[Node], arrays: Arrays) -> None:
    """The network's nodes in execution order, each reading the one before, and their tensors."""
    config = network.config
    source = nodes[-1].name if nodes else INPUT
    if network.embedding is not None:
        table = network.embedding.weight
        nodes.append(EmbeddingNode("embedding", (source,), *table.shape))
        arrays["embedding.weight"] = _array(table)
    else:
        nodes.append(StandardiseNode("standardise", (source,), len(network.mean)))
        arrays |= {"standardise.mean": _array(network.mean), "standardise.std": _array(network.std)}

    def add_convolution(name: str, source: str, layer: CausalConvolution, activation: str) -> None:
        outputs, inputs, kernel = layer.weight.shape
        bias = layer.bias is not None
        nodes.append(ConvolutionNode(name, (source,), inputs, outputs, kernel, bias=bias, activation=activation))
        arrays[f"{name}.weight"] = _array(layer.weight.transpose(1, 2))  # (outputs, kernel, inputs)
        if layer.bias is not None:
            arrays[f"{name}.bias"] = _array(layer.bias)

    def add_linear(name: str, source: str, layer: torch.nn.Linear, activation: str) -> None:
        nodes.append(LinearNode(name, (source,), layer.in_features, layer.out_features, activation=activation))
        arrays[f"{name}.weight"] = _array(layer.weight)
        arrays[f"{name}.bias"] = _array(layer.bias)

    if network.convolution is not None:
        add_convolution("convolution", nodes[-1].name, network.convolution, convolution_activation(config))
    for index, layer in enumerate(network.input_layers):
        add_linear(f"input{index}", nodes[-1].name, layer, config.input_activation)
    for index, layer in enumerate(network.gru_layers):
        name, size = f"gru{index}", nodes[-1].output_size
        nodes.append(GruNode(name, (nodes[-1].name,), size, config.hidden_size, config.reset, config.bias))
        for kind in ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if config.bias else ())):
            arrays[f"{name}.{kind}"] = _array(getattr(layer, f"{kind}_l0"))  # torch's gate order is rzn too
    for index, layer in enumerate(network.output_layers):
        add_linear(f"hidden{index}", nodes[-1].name, layer, config.output_activation)
    source = nodes[-1].name
    for name, dense in dense_layers(network).items():
        add_linear(name, source, dense, "linear")
    if network.skip is not None:
        add_convolution("skip", "standardise", network.skip, "linear")
        nodes.append(ElementwiseNode("sum", ("dense", "skip"), nodes[-1].output_size, "add"))


def _fold_target_scale(arrays: Arrays, mean: NDArray[np.float32], std: NDArray[np.float32]) -> None:
    """std · (W v + b) + mean in the layers that give the values, computed in float64."""
    for name in ("dense.weight", "skip.weight"):
        if name in arrays:
            weight = arrays[name].astype(np.float64)
            arrays[name] = (weight * std.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32)
    arrays["dense.bias"] = (arrays["dense.bias"].astype(np.float64) * std + mean).astype(np.float32)


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().numpy().astype(np.float32)
