"""Fewer layers that compute the same: linear maps without a node of their own go into the matrices around them.

All arithmetic is in float64; what a fold costs is one rounding of the weights to float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgegru.imports.layers import ENDS, Floats, Layer, Output
from edgegru_runtime.errors import ImportModelError

_MATRICES = ("linear", "convolution")
_MAPS = ("affine", "select")  # linear maps that are no node
SMALLEST_SCALE, LARGEST_SCALE = 2.0**-100, 2.0**100  # of standardise


class Graph:
    """The layers that outputs need, in execution order, and who reads whom. Folding changes it in place."""

    def __init__(self, x: Layer, outputs: list[Output]) -> None:
        self.x, self.outputs = x, [output.layer for output in outputs]
        self.heads = ["identity"] * len(outputs)
        self.layers: list[Layer] = []
        self._collect()

    def _collect(self) -> None:
        """Depth first without recursion: a foreign file may be deep."""
        done: set[int] = set()
        stack = [(layer, False) for layer in reversed(self.outputs)]
        while stack:
            layer, expanded = stack.pop()
            if id(layer) in done:
                continue
            if expanded:
                done.add(id(layer))
                self.layers.append(layer)
            else:
                stack.append((layer, True))
                stack.extend((source, False) for source in reversed(layer.inputs))

    def readers(self, layer: Layer) -> list[Layer]:
        """The layers that read ``layer``, one entry for each time they do."""
        return [reader for reader in self.layers for source in reader.inputs if source is layer]

    def is_private(self, layer: Layer, reader: Layer) -> bool:
        """Whether nothing but ``reader`` needs the value of ``layer``."""
        return self.readers(layer) == [reader] and not any(output is layer for output in self.outputs)

    def replace(self, old: Layer, new: Layer) -> None:
        """Let everything that reads ``old`` read ``new``, and forget ``old``."""
        for reader in self.layers:
            reader.inputs = [new if source is old else source for source in reader.inputs]
        self.outputs = [new if output is old else output for output in self.outputs]
        self.layers.remove(old)


def fold(x: Layer, outputs: list[Output]) -> Graph:
    """The graph of ``outputs`` with everything folded: no affine, select or activation layer is left.

    Raises ImportModelError for a softmax, or the logarithm of one, that is not the end of the model.
    """
    graph = Graph(x, outputs)
    _take_heads(graph)
    for layer in _present(graph):
        if layer.kind in _MAPS:
            _fold_back(graph, layer)
    for layer in _present(graph):
        if layer.kind == "activation":
            _fold_activation(graph, layer)
    for layer in reversed(graph.layers.copy()):  # the last of several maps in a row first
        if layer.kind in _MAPS and not _is_standardisation(graph, layer):
            _fold_forward(graph, layer)
    for layer in graph.layers:
        if layer.kind in _MAPS and not _is_standardisation(graph, layer):
            _make_linear(layer)
    return graph


def _present(graph: Graph) -> Iterator[Layer]:
    """The layers there are now, without those that go meanwhile."""
    for layer in list(graph.layers):
        if any(layer is other for other in graph.layers):
            yield layer


def _take_heads(graph: Graph) -> None:
    """A softmax, its logarithm, or a sigmoid that only an output needs is its head."""
    for index, layer in enumerate(graph.outputs):
        if layer.kind == "activation" and layer.activation in (*ENDS, "sigmoid") and not graph.readers(layer):
            graph.heads[index] = layer.activation
            graph.outputs[index] = layer.inputs[0]
    graph.layers = [
        layer for layer in graph.layers if graph.readers(layer) or any(output is layer for output in graph.outputs)
    ]


def _fold_back(graph: Graph, layer: Layer) -> None:
    """scale (W v + b) + shift, or some of its rows, as one matrix; two maps in a row as one."""
    before = layer.inputs[0]
    if before.kind == "x" or before.activation != "linear" or not graph.is_private(before, layer):
        return
    if before.kind in _MATRICES:
        merged = _rows_of(before, layer)
    elif before.kind == "affine" and layer.kind == "affine":
        scale, shift = layer.arrays["scale"], layer.arrays["shift"]
        merged = {"scale": scale * before.arrays["scale"], "shift": scale * before.arrays["shift"] + shift}
    else:
        return
    before.arrays, before.size = merged, layer.size
    graph.replace(layer, before)


def _rows_of(matrix: Layer, layer: Layer) -> dict[str, Floats]:
    """The tensors of ``matrix`` with ``layer``, which reads it, taken in."""
    weight, bias = matrix.arrays["weight"], matrix.arrays.get("bias")
    if layer.kind == "select":
        parts = {"weight": weight, "bias": bias}
        return {name: part[layer.fields["indices"]] for name, part in parts.items() if part is not None}
    scale, shift = layer.arrays["scale"], layer.arrays["shift"]
    weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    shift = shift if bias is None else scale * bias + shift
    return {"weight": weight, "bias": shift} if np.any(shift) or bias is not None else {"weight": weight}


def _fold_activation(graph: Graph, layer: Layer) -> None:
    """Into the matrix before it, or behind a unit matrix of its own."""
    name, before = layer.activation, layer.inputs[0]
    if name in ENDS:
        raise ImportModelError(f"a {name} stands inside the model, expected it at an output, read by nothing else")
    foldable = before.kind in (*_MATRICES, *_MAPS) and before.activation == "linear"
    if foldable and graph.is_private(before, layer):
        if before.kind in _MAPS:
            _make_linear(before)
        before.fields["activation"] = name
        graph.replace(layer, before)
    else:
        layer.kind, layer.arrays = "linear", {"weight": np.eye(layer.size)}


def _is_standardisation(graph: Graph, layer: Layer) -> bool:
    """Whether the first node can do it: the one reader of x, with scales that it may have."""
    if layer.kind != "affine" or layer.inputs[0] is not graph.x or not graph.is_private(graph.x, layer):
        return False
    scale = layer.arrays["scale"]
    return bool(np.all((scale >= SMALLEST_SCALE) & (scale <= LARGEST_SCALE))) and layer.activation == "linear"


def _fold_forward(graph: Graph, layer: Layer) -> None:
    """W (scale ⊙ v + shift) = (W scale) v + W shift, where every reader is a matrix that can take it in."""
    readers = graph.readers(layer)
    shift = layer.arrays.get("shift", np.zeros(1))
    takes = {"linear", "gru"} if np.any(shift) else {"linear", "gru", "convolution"}  # zeros come before the first step
    if any(output is layer for output in graph.outputs) or not all(reader.kind in takes for reader in readers):
        return
    for reader in readers:
        _take_columns(reader, layer)
    graph.replace(layer, layer.inputs[0])


def _take_columns(reader: Layer, layer: Layer) -> None:
    name = "weight_ih" if reader.kind == "gru" else "weight"
    weight, source = reader.arrays[name], layer.inputs[0].size
    if layer.kind == "select":
        columns = np.zeros((*weight.shape[:-1], source))
        for column, index in enumerate(layer.fields["indices"]):
            columns[..., index] += weight[..., column]
        reader.arrays[name] = columns
        return
    scale, shift = layer.arrays["scale"], layer.arrays["shift"]
    reader.arrays[name] = weight * scale
    if not np.any(shift):
        return
    moved = weight @ shift  # a linear layer or a GRU: (rows,)
    bias = "bias_ih" if reader.kind == "gru" else "bias"
    reader.arrays[bias] = reader.arrays.get(bias, 0) + moved
    if reader.kind == "gru":
        reader.arrays.setdefault("bias_hh", np.zeros_like(moved))


def _make_linear(layer: Layer) -> None:
    """A matrix that does the same."""
    if layer.kind == "select":
        weight = np.eye(layer.inputs[0].size)[layer.fields.pop("indices")]
        arrays = {"weight": weight}
    else:
        arrays = {"weight": np.diag(layer.arrays["scale"])}
        if np.any(layer.arrays["shift"]):
            arrays["bias"] = layer.arrays["shift"]
    layer.kind, layer.arrays = "linear", arrays
