"""What an ONNX file of another maker is, for ``foreign_description``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from edgegru_export.foreign_description import quoted
from edgegru_export.metadata import METADATA_KEY
from edgegru_runtime.errors import ArtifactError

PASSES_ON = ("Identity", "Squeeze", "Unsqueeze", "Reshape")  # the same numbers in another shape
_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h")
_UNSET = {"direction": "forward", "linear_before_reset": 0, "layout": 0}  # ONNX's own defaults


def describe_onnx(data: bytes) -> dict[str, Any] | None:
    """The description; None where EdgeGRU wrote the file. Raises ArtifactError."""
    try:
        model = onnx.ModelProto.FromString(data)
        if any(entry.key == METADATA_KEY for entry in model.metadata_props):
            return None
        if not model.HasField("graph"):
            raise ArtifactError("is no ONNX model: it has no graph")
        return _describe(model, len(data))
    except (DecodeError, UnicodeDecodeError, RecursionError, OverflowError, ValueError) as error:
        raise ArtifactError(f"is no whole ONNX file: {quoted(str(error)) or type(error).__name__}") from None


def _describe(model: onnx.ModelProto, size: int) -> dict[str, Any]:
    graph = model.graph
    nodes = list(_nodes(graph))
    stored = {tensor.name for tensor in graph.initializer}
    values = [value for value in graph.input if value.name not in stored]
    return {
        "file_bytes": size,
        "producer": f"{quoted(model.producer_name)} {quoted(model.producer_version)}".strip(),
        "versions": {
            "IR": model.ir_version,
            **{f"opset {quoted(entry.domain or 'ai.onnx')}": entry.version for entry in model.opset_import},
        },
        "inputs": [_value(value) for value in values],
        "outputs": [_value(value) for value in graph.output],
        "states": list(_states(graph)),
        "operators": dict(Counter(_operator(node) for node in nodes).most_common()),
        "grus": [_gru(node, graph) for node in nodes if node.op_type == "GRU"],
        "without_gru": "no GRU node",
        "weights": _weights(graph),
    }


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of subgraphs too; protobuf's own limit of depth keeps this finite."""
    graphs = [graph]
    while graphs:
        for node in graphs.pop().node:
            yield node
            for attribute in node.attribute:
                graphs.extend([attribute.g] if attribute.HasField("g") else attribute.graphs)


def _operator(node: onnx.NodeProto) -> str:
    domain = "" if node.domain in ("", "ai.onnx") else f"{quoted(node.domain)}."
    return f"{domain}{quoted(node.op_type)}"


def _value(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return {"name": quoted(value.name), "dtype": kind or "unknown", "shape": None}
    tensor = value.type.tensor_type
    shape = [_dimension(entry) for entry in tensor.shape.dim] if tensor.HasField("shape") else None
    return {"name": quoted(value.name), "dtype": _dtype(tensor.elem_type), "shape": shape}


def _dimension(entry: onnx.TensorShapeProto.Dimension) -> int | str:
    """A size, or the name of one that may differ."""
    return entry.dim_value if entry.HasField("dim_value") else quoted(entry.dim_param) or "?"


def _dtype(number: int) -> str:
    known = number in onnx.TensorProto.DataType.values()
    return onnx.TensorProto.DataType.Name(number).lower() if known else f"type {number}"


def _weights(graph: onnx.GraphProto) -> dict[str, Any]:
    """Of the main graph: stored tensors and how many bytes they have."""
    types: Counter[str] = Counter(_dtype(tensor.data_type) for tensor in graph.initializer)
    external = sum(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer)
    return {
        "count": len(graph.initializer),
        "bytes": sum(_stored_bytes(tensor) for tensor in graph.initializer),
        "types": dict(types.most_common()),
        "external": external,
    }


def _stored_bytes(tensor: onnx.TensorProto) -> int:
    """By its type and shape, wherever its numbers are."""
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError, TypeError):
        return len(tensor.raw_data)
    return int(math.prod(size for size in tensor.dims if size >= 0) * dtype.itemsize)


def _gru(node: onnx.NodeProto, graph: onnx.GraphProto) -> dict[str, Any]:
    """Its attributes, those that it does not set with ONNX's default, and what its inputs tell."""
    given = {quoted(attribute.name): _attribute(attribute) for attribute in node.attribute}
    inputs = dict(zip(_INPUTS, node.input, strict=False))
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    w = shapes.get(inputs.get("W", ""))
    return {
        "name": quoted(node.name),
        "input_size": w[2] if w is not None and len(w) == 3 else None,
        "hidden_size": given.pop("hidden_size", None),
        **{name: given.pop(name, default) for name, default in _UNSET.items()},
        **dict(sorted(given.items())),
        "bias": bool(inputs.get("B")),
        "sequence_lens": bool(inputs.get("sequence_lens")),
        "initial_h": _given_by(inputs.get("initial_h", ""), shapes, graph),
    }


def _given_by(name: str, stored: dict[str, list[int]], graph: onnx.GraphProto) -> str:
    if not name:
        return "zeros"
    if name in stored:
        return "stored"
    return "an input" if any(value.name == name for value in graph.input) else "computed"


def _attribute(attribute: onnx.AttributeProto) -> Any:
    """A number, text or a list of them; of anything else its type."""
    try:
        value = onnx.helper.get_attribute_value(attribute)
    except ValueError:
        return "unknown"
    if isinstance(value, bytes | int | float):
        return _plain(value)
    listed = hasattr(value, "__iter__") and all(isinstance(item, bytes | int | float) for item in value)
    return [_plain(item) for item in value] if listed else type(value).__name__


def _plain(value: float | bytes) -> int | float | str:
    """What JSON can hold."""
    if isinstance(value, bytes):
        return quoted(value)
    return value if math.isfinite(value) else str(value)


def _states(graph: onnx.GraphProto) -> Iterator[dict[str, Any]]:
    """Inputs that are the first state of a GRU whose last state is an output, of the same shape: those are certain."""
    makers = {name: node for node in graph.node for name in node.output if name}
    inputs = {value.name: value for value in graph.input}
    origins = {_origin(output.name, makers): output for output in graph.output}
    for node in graph.node:
        if node.op_type != "GRU" or len(node.input) < 6 or len(node.output) < 2:
            continue
        before, after = inputs.get(_origin(node.input[5], makers)), origins.get(node.output[1])
        if before is None or after is None or not node.output[1]:
            continue
        value, result = _value(before), _value(after)
        if value["shape"] == result["shape"] and value["dtype"] == result["dtype"]:
            yield {**value, "held": f"an input, next in output {result['name']}"}


def _origin(name: str, makers: dict[str, onnx.NodeProto]) -> str:
    """Where a value comes from, through nodes that only change its shape; a cycle ends it."""
    seen: set[str] = set()
    while name not in seen and name in makers and makers[name].op_type in PASSES_ON and makers[name].input:
        seen.add(name)
        name = makers[name].input[0]
    return name
