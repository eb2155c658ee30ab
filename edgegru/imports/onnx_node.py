"""One GRU node of a larger ONNX model as a model of its own: x → GRU → y."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgegru.imports.onnx_constants import fold
from edgegru.imports.onnx_graph import Node, OnnxGraph
from edgegru.imports.onnx_gru import arrays, form
from edgegru.imports.onnx_loading import LARGEST_TENSOR
from edgegru.imports.onnx_roles import MOVING
from edgegru_runtime.errors import ImportModelError

_LISTED = 10  # names in a message


def single_node(graph: OnnxGraph, name: str) -> onnx.ModelProto:
    """The model of the node called ``name``, or whose output is. Raises ImportModelError with the names there are."""
    node = _find(graph, name)
    shape = form(node)
    inputs = [*node.inputs, "", "", "", ""][:6]
    values = [
        None if not each or place == 0 else _constant(graph, node, place, each) for place, each in enumerate(inputs[:4])
    ]
    weights = arrays(node, values)
    if inputs[4] and not _is_constant(graph, inputs[4]):
        raise ImportModelError(f"{node}: sequence_lens is {inputs[4]}, a length for every sample, expected none")
    h0 = _initial_h(graph, node, inputs[5], weights.hidden_size)
    tensors = {"W": values[1], "R": values[2], "B": values[3], "initial_h": h0}
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    del proto.input[:], proto.output[:]
    proto.input.extend(["x", "W", "R", "B" if values[3] is not None else "", "", "initial_h" if h0 is not None else ""])
    proto.output.append("y")
    size, hidden = weights.w.shape[1], weights.hidden_size
    steps: list[str | int] = [1, "time", size] if shape.layout else ["time", 1, size]
    outputs: list[str | int] = [1, "time", 1, hidden] if shape.layout else ["time", 1, 1, hidden]
    dtype = helper.np_dtype_to_tensor_dtype(weights.w.dtype)
    if dtype not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        raise ImportModelError(f"{node}: its weights are of {weights.w.dtype}, expected float32")
    model = helper.make_model(
        helper.make_graph(
            [proto],
            "node",
            [helper.make_tensor_value_info("x", dtype, steps)],
            [helper.make_tensor_value_info("y", dtype, outputs)],
            [numpy_helper.from_array(array, each) for each, array in tensors.items() if array is not None],
        ),
        opset_imports=[helper.make_opsetid("", graph.opset)],
    )
    model.ir_version = max(graph.model.ir_version, 4)
    return model


def _find(graph: OnnxGraph, name: str) -> Node:
    grus = [node for node in graph.nodes if node.operator == "GRU" and not node.domain]
    for node in grus:
        if node.proto.name == name:
            return node
    for node in grus:
        if name and name in node.outputs:
            return node
    other = next((node for node in graph.nodes if name and (node.proto.name == name or name in node.outputs)), None)
    listed = ", ".join(node.name for node in grus[:_LISTED]) + (" …" if len(grus) > _LISTED else "")
    there = f"its {len(grus)} GRU nodes are {listed}" if grus else "it has no GRU nodes"
    if other is not None:
        raise ImportModelError(f"{other} is no GRU; {there}")
    raise ImportModelError(f"there is no GRU node called {name}; {there}")


def _is_constant(graph: OnnxGraph, name: str) -> bool:
    inputs = {value.name for value in graph.inputs}
    nodes = [graph.nodes[index] for index in graph.needed([name])]
    return name not in inputs and not any(each in inputs for node in nodes for each in node.inputs)


def _constant(graph: OnnxGraph, node: Node, place: int, name: str) -> NDArray[Any]:
    """An initializer, or what a subgraph of constants makes."""
    what = ("X", "W", "R", "B")[place]
    if not _is_constant(graph, name):
        raise ImportModelError(
            f"{node}: its {what} is {name}, which depends on the graph's inputs, expected a constant"
        )
    values: dict[str, NDArray[Any]] = {}
    made = 0
    for index in graph.needed([name]):
        maker = graph.nodes[index]
        if maker.operator == "Constant" and not maker.domain:
            results = [graph.constant(maker)]
        else:
            inputs = [None if not each else _value(graph, values, each) for each in maker.inputs]
            results = fold(maker, inputs, graph.opset)
            made += sum(array.size for array in results)
            if made > LARGEST_TENSOR:
                raise ImportModelError(f"{maker}: constants of {made:,} numbers, at most {LARGEST_TENSOR:,} expected")
        values.update((each, array) for each, array in zip(maker.outputs, results, strict=False) if each)
    return _value(graph, values, name)


def _value(graph: OnnxGraph, values: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    return values[name] if name in values else graph.initializer(name)


def _initial_h(graph: OnnxGraph, node: Node, name: str, size: int) -> NDArray[Any] | None:
    """A constant initial state (1, 1, H); none where it is zero, or a state that the caller hands in."""
    if not name:
        return None
    if not _is_constant(graph, name):
        _check_moved(graph, node, name)
        return None
    value = _constant(graph, node, 0, name)
    samples = value.reshape(-1, size) if value.size % size == 0 and value.size else value
    if value.ndim != 3 or value.shape[2] != size or np.any(samples != samples[0]):
        raise ImportModelError(f"{node}: its initial_h has shape {value.shape} or differs from sample to sample")
    return np.ascontiguousarray(samples[:1].reshape(1, 1, size)) if np.any(samples) else None


def _check_moved(graph: OnnxGraph, node: Node, name: str) -> None:
    """Whether an initial state is a graph input, or zeros, that were only moved."""
    inputs = {value.name for value in graph.inputs}
    stack, seen = [name], set[str]()
    while stack:
        name = stack.pop()
        if name in inputs or name in seen:
            continue
        seen.add(name)
        if name in graph.makers and not _is_constant(graph, name):
            maker = graph.nodes[graph.makers[name]]
            if maker.operator == "ConstantOfShape":
                value = maker.attributes.get("value")
                zeros = value is None or not np.any(numpy_helper.to_array(value))
            else:
                zeros = maker.operator in MOVING
                stack.extend(maker.inputs if maker.operator == "Concat" else maker.inputs[:1])
            if not zeros:
                raise ImportModelError(f"{node}: its initial_h is computed by {maker}, expected zeros or a state input")
        elif np.any(_constant(graph, node, 0, name)):
            raise ImportModelError(f"{node}: its initial_h depends on the graph's inputs, expected zeros or a state")
