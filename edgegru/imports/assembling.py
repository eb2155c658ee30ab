"""From the layers of a foreign model to an artifact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgegru.imports.folding import Graph, fold
from edgegru.imports.layers import Layer, Layers
from edgegru_export.saving import with_identity
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.model_config import (
    NEXT_TOKEN,
    ConcatenateNode,
    ConvolutionNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    HeadNode,
    InputConfig,
    LayerNormalisationNode,
    LinearNode,
    ModelConfig,
    Node,
    OutputConfig,
    StandardiseNode,
)
from edgegru_runtime.tensor import Tensor

_READ_BY_HEADS = ("linear", "convolution", "gru", "add", "multiply", "layer_normalisation")
_NAMES = {"convolution": "conv", "concatenate": "concat", "layer_normalisation": "norm"}


@dataclass(frozen=True)
class Naming:
    """What the source does not say: names and units of the channels, their rate in Hz, labels of every output."""

    channels: Sequence[str] | None = None
    units: Sequence[str] | None = None
    rate: float | None = None
    labels: Sequence[Sequence[str]] | None = None


def assemble(layers: Layers, naming: Naming, provenance: Mapping[str, Any]) -> Artifact:
    """The float32 artifact, with identity. Raises ImportModelError for what our nodes cannot say."""
    graph = fold(layers.x, layers.outputs)
    if not any(layer.kind == "gru" for layer in graph.layers):
        raise ImportModelError("the model has no GRU, expected one or more")
    assembly = _Assembly(graph)
    heads = [assembly.add_head(index, kind) for index, kind in enumerate(graph.heads)]
    labels = _labels(naming, layers, heads)
    outputs = []
    for head, output, texts in zip(heads, layers.outputs, labels, strict=True):
        place = "recording" if output.recording else "step"
        target = f"{place}_value" if head.kind == "identity" else f"{place}_label"
        if head.kind == "sigmoid" and not output.recording:
            target = "step_labels"
        if head.kind == "log_softmax":
            target = NEXT_TOKEN
            _check_tokens(assembly.nodes[0], head)
        outputs.append(OutputConfig(head.name, target, texts))
    config = ModelConfig(
        scheme="float32",
        identity="",
        input=_input(naming, layers.x.size),
        nodes=tuple(assembly.nodes),
        outputs=tuple(outputs),
        provenance=dict(provenance),
    )
    return with_identity(Artifact(config, assembly.tensors))


def _input(naming: Naming, size: int) -> InputConfig:
    channels = tuple(naming.channels or (f"x{index}" for index in range(size)))
    if len(channels) != size:
        raise ImportModelError(f"{len(channels)} channels were named, but the model reads {size}")
    units = tuple(naming.units or ("",) * size)
    if len(units) != size:
        raise ImportModelError(f"{len(units)} units were given, expected one for each of {size} channels")
    return InputConfig(size, channels, units, naming.rate)


def _check_tokens(first: Node, head: HeadNode) -> None:
    """Logarithms are of tokens, which an embedding reads."""
    rows = first.num_embeddings if isinstance(first, EmbeddingNode) else 0
    if rows != head.size:
        found = f"an embedding of {rows} rows" if rows else "no embedding"
        raise ImportModelError(
            f"an output gives logarithms of {head.size} probabilities and the model begins with {found}, expected "
            "as many rows as probabilities; elsewhere softmax or the scores before it"
        )


def _labels(naming: Naming, layers: Layers, heads: Sequence[HeadNode]) -> list[tuple[str, ...]]:
    """The given ones, or numbers."""
    sizes = [0 if head.kind == "log_softmax" else head.size for head in heads]  # tokens have none
    if naming.labels is None:
        single = len(sizes) == 1
        names = ["y" if single else output.name or f"y{i}" for i, output in enumerate(layers.outputs)]
        return [
            tuple(str(i) if head.kind != "identity" else name if head.size == 1 else f"{name}{i}" for i in range(size))
            for head, size, name in zip(heads, sizes, names, strict=True)
        ]
    found = [len(labels) for labels in naming.labels]
    if found != sizes:
        raise ImportModelError(f"labels were given for outputs of {found} numbers, the model has outputs of {sizes}")
    return [tuple(labels) for labels in naming.labels]


class _Assembly:
    """Nodes and tensors, growing in execution order."""

    def __init__(self, graph: Graph) -> None:
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self._graph = graph
        self._counts: Counter[str] = Counter()
        self._names: dict[int, str] = {}  # of layers, by id
        self._add_first()
        for layer in graph.layers:
            if id(layer) not in self._names:
                self._add(layer)

    def _add_first(self) -> None:
        """Standardise or embedding: the one node that reads x."""
        graph = self._graph
        readers = graph.readers(graph.x)
        if any(layer.kind == "embedding" for layer in readers):
            if len(readers) > 1:
                raise ImportModelError("the input is read by an embedding and by other layers, expected one reader")
            self._add_embedding(readers[0])
            return
        first = graph.x
        mean, std = np.zeros(first.size), np.ones(first.size)
        if len(readers) == 1 and readers[0].kind == "affine":  # what folding left there
            first = readers[0]
            std = 1 / first.arrays["scale"]
            mean = -first.arrays["shift"] * std
        self._names[id(graph.x)] = self._names[id(first)] = "standardise"
        self.nodes.append(StandardiseNode("standardise", ("x",), first.size))
        self._keep("standardise", {"mean": mean, "std": std})

    def _add_embedding(self, layer: Layer) -> None:
        self._names[id(self._graph.x)] = self._names[id(layer)] = "embedding"
        self.nodes.append(EmbeddingNode("embedding", ("x",), len(layer.arrays["weight"]), layer.size))
        self._keep("embedding", layer.arrays)

    def _add(self, layer: Layer) -> None:
        prefix = _NAMES.get(layer.kind, layer.kind)
        name = self._names[id(layer)] = f"{prefix}{self._counts[prefix]}"
        self._counts[prefix] += 1
        self.nodes.append(self._node(name, layer))
        self._keep(name, layer.arrays)

    def _node(self, name: str, layer: Layer) -> Node:
        inputs = tuple(self._names[id(source)] for source in layer.inputs)
        size, arrays, fields = layer.size, layer.arrays, layer.fields
        width = layer.inputs[0].size
        bias = "bias" in arrays or "bias_ih" in arrays
        match layer.kind:
            case "linear":
                return LinearNode(name, inputs, width, size, bias, layer.activation)
            case "convolution":
                taps = arrays["weight"].shape[1]
                return ConvolutionNode(name, inputs, width, size, taps, fields["dilation"], bias, layer.activation)
            case "gru":
                return GruNode(name, inputs, width, size, bias=bias, initial_state="h0" in arrays, **fields)
            case "concatenate":
                return ConcatenateNode(name, inputs, size)
            case "add" | "multiply":
                return ElementwiseNode(name, inputs, size, layer.kind)
            case "layer_normalisation":
                return LayerNormalisationNode(name, inputs, size, fields["epsilon"])
        raise ImportModelError(f"a layer of kind {layer.kind} cannot be part of a model")

    def add_head(self, index: int, kind: str) -> HeadNode:
        """The head of an output, behind a unit matrix where it cannot read the value itself."""
        layer = self._graph.outputs[index]
        if layer.kind not in _READ_BY_HEADS:
            unit = Layer("linear", [layer], layer.size, {"weight": np.eye(layer.size)})
            self._add(unit)
            layer = unit
        name = "output" if len(self._graph.outputs) == 1 else f"output{index}"
        head = HeadNode(name, (self._names[id(layer)],), layer.size, kind)
        self.nodes.append(head)
        return head

    def _keep(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Tensors of a node, rounded to float32."""
        for kind, array in arrays.items():
            with np.errstate(over="ignore"):
                rounded = np.asarray(array, np.float32)
            if not np.isfinite(rounded).all():
                raise ImportModelError(f"{name}.{kind} has numbers that are not finite in float32")
            self.tensors[f"{name}.{kind}"] = Tensor.from_numpy(rounded)
