"""Groups of nodes that exporters write for one operator: a layer normalisation, of opsets before it was an operator."""

from __future__ import annotations

import copy

import numpy as np
from onnx import helper

from edgegru.imports.onnx_graph import Node, OnnxGraph


def recognised(graph: OnnxGraph) -> OnnxGraph:
    """``graph`` with one node in place of every such group; what they computed on the way is there no longer needed."""
    found = {
        index: layer
        for index, node in enumerate(graph.nodes)
        if (layer := _layer_normalisation(graph, node)) is not None
    }
    if not found:
        return graph
    result = copy.copy(graph)
    result.nodes = [found.get(index, node) for index, node in enumerate(graph.nodes)]
    return result


def _layer_normalisation(graph: OnnxGraph, node: Node) -> Node | None:
    """``d / sqrt(mean(d²) + epsilon)`` with ``d = x − mean(x)``, over the last axis."""
    deviation = _maker(graph, node, 1) if node.operator == "Div" else None
    total = _maker(graph, deviation, 0) if deviation is not None and deviation.operator == "Sqrt" else None
    centred = _maker(graph, node, 0)
    if total is None or total.operator != "Add" or centred is None or centred.operator != "Sub":
        return None
    mean = _maker(graph, centred, 1)
    variance, epsilon = _maker(graph, total, 0), _number(graph, total.inputs[1])
    if not _is_last_mean(graph, mean) or not _is_last_mean(graph, variance) or epsilon is None:
        return None
    assert mean is not None and variance is not None
    square = _maker(graph, variance, 0)
    if square is None or mean.inputs[0] != centred.inputs[0] or not _squares(graph, square, node.inputs[0]):
        return None
    name = node.proto.name or node.outputs[0]
    proto = helper.make_node("LayerNormalization", [centred.inputs[0]], node.outputs, name, axis=-1, epsilon=epsilon)
    return Node(proto)


def _maker(graph: OnnxGraph, node: Node | None, place: int) -> Node | None:
    """The node that makes an input of ``node``."""
    if node is None or place >= len(node.inputs) or node.inputs[place] not in graph.makers:
        return None
    return graph.nodes[graph.makers[node.inputs[place]]]


def _is_last_mean(graph: OnnxGraph, node: Node | None) -> bool:
    if node is None or node.operator != "ReduceMean" or not node.integer("keepdims", 1):
        return False
    axes = node.integers("axes")
    if axes is None and len(node.inputs) > 1:
        given = _number(graph, node.inputs[1])
        axes = None if given is None else [int(given)]
    return axes == [-1]


def _squares(graph: OnnxGraph, node: Node, name: str) -> bool:
    if node.operator == "Mul":
        return node.inputs == [name, name]
    return node.operator == "Pow" and node.inputs[0] == name and _number(graph, node.inputs[1]) == 2


def _number(graph: OnnxGraph, name: str) -> float | None:
    """A constant of one number."""
    if name in graph.initializers:
        array = graph.initializer(name)
    elif name in graph.makers and graph.nodes[graph.makers[name]].operator == "Constant":
        array = graph.constant(graph.nodes[graph.makers[name]])
    else:
        return None
    return float(np.asarray(array, np.float64).reshape(())) if array.size == 1 else None
