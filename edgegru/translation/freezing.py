"""Freeze: the weights of a translator become two artifacts, an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from edgegru.data.texts import CHANNEL
from edgegru.translation.network import TranslatorNetwork
from edgegru_export.saving import with_identity
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.graph import INPUT
from edgegru_runtime.model_config import (
    NEXT_TOKEN,
    AttentionNode,
    ConcatenateNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    HeadNode,
    InputConfig,
    LinearNode,
    ModelConfig,
    Node,
    OutputConfig,
    TokenizerConfig,
)
from edgegru_runtime.tensor import Tensor


def freeze_translator(
    network: TranslatorNetwork,
    tokenizers: tuple[TokenizerConfig, TokenizerConfig],
    data: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> tuple[Artifact, Artifact]:
    """The float32 encoder and decoder of a trained network, with identities; the decoder knows its encoder's."""
    encoder = _Model(tokenizers[0], data, provenance)
    value = encoder.embedding(network.source_embedding)
    for index, layer in enumerate(network.encoder):
        outputs = encoder.gru(f"gru{index}", value, layer)
        if index:
            value = encoder.add(ElementwiseNode(f"sum{index}", (value, outputs), network.config.hidden_size, "add"))
        else:
            value = outputs
    key = encoder.linear("key", value, network.key)
    encoder.output("memory", value, "value")
    encoder.output("keys", key, "key")
    frozen = encoder.artifact()

    decoder, hidden = _Model(tokenizers[1], data, provenance), network.config.hidden_size
    first = decoder.gru("gru0", decoder.embedding(network.target_embedding), network.decoder0)
    query = decoder.linear("query", first, network.query)
    size, length = network.config.attention_size, network.config.length
    context = decoder.add(AttentionNode("attention", (query,), size, hidden, length), weight=network.attention)
    second = decoder.gru("gru1", decoder.beside(first, context), network.decoder1)
    last = decoder.linear("hidden", decoder.beside(second, context), network.hidden, "tanh")
    table = network.target_embedding.weight
    dense = LinearNode("dense", (last,), table.shape[1], table.shape[0])
    decoder.token_output(decoder.add(dense, weight=table, bias=network.bias))
    return frozen, decoder.artifact(frozen.config.identity)


class _Model:
    """Nodes in execution order, each added with its tensors; what adds one returns its name."""

    def __init__(self, tokenizer: TokenizerConfig, data: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        self.tokenizer, self.data, self.provenance = tokenizer, data, provenance
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.outputs: list[OutputConfig] = []

    def add(self, node: Node, **tensors: torch.Tensor) -> str:
        self.nodes.append(node)
        for name, tensor in tensors.items():
            self.tensors[f"{node.name}.{name}"] = Tensor.from_numpy(tensor.detach().cpu().numpy())
        return node.name

    def embedding(self, layer: nn.Embedding) -> str:
        return self.add(EmbeddingNode("embedding", (INPUT,), *layer.weight.shape), weight=layer.weight)

    def gru(self, name: str, source: str, layer: nn.GRU) -> str:
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        tensors = {kind: getattr(layer, f"{kind}_l0") for kind in kinds}  # torch's gate order is rzn too
        return self.add(GruNode(name, (source,), layer.input_size, layer.hidden_size), **tensors)

    def linear(self, name: str, source: str, layer: nn.Linear, activation: str = "linear") -> str:
        bias = layer.bias is not None
        node = LinearNode(name, (source,), layer.in_features, layer.out_features, bias, activation)
        return self.add(node, weight=layer.weight, **({"bias": layer.bias} if bias else {}))

    def beside(self, first: str, second: str) -> str:
        sizes = {node.name: node.output_size for node in self.nodes}
        return self.add(ConcatenateNode(f"{first}_{second}", (first, second), sizes[first] + sizes[second]))

    def output(self, name: str, source: str, label: str) -> None:
        size = next(node.output_size for node in self.nodes if node.name == source)
        self.add(HeadNode(name, (source,), size, "identity"))
        self.outputs.append(OutputConfig(name, "step_value", tuple(f"{label}{place}" for place in range(size))))

    def token_output(self, source: str) -> None:
        self.add(HeadNode("output", (source,), len(self.tokenizer.tokens), "log_softmax"))
        self.outputs.append(OutputConfig("output", NEXT_TOKEN))

    def artifact(self, encoder: str | None = None) -> Artifact:
        config = ModelConfig(
            scheme="float32",
            identity="",
            input=InputConfig(1, (CHANNEL,), ("",), None, 1, self.tokenizer),
            nodes=tuple(self.nodes),
            outputs=tuple(self.outputs),
            encoder=encoder,
            data=dict(self.data),
            provenance=dict(self.provenance),
        )
        return with_identity(Artifact(config, self.tensors))
