"""The graph of an ONNX model as it is walked: nodes in execution order, who makes which value, constants on demand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgegru.imports.onnx_loading import Tensors
from edgegru_runtime.errors import ImportModelError

DEFAULT_OPSET = 12  # of a file that names none: the last whose axes are attributes
NEWER_OPSET = 17  # or of one whose axes are inputs
OWN_DOMAINS = ("", "ai.onnx")
_AXES_AS_INPUT = {"Squeeze": 1, "Unsqueeze": 1, "Split": 1}
_NUMBERS: dict[int, np.dtype[Any]] = {
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.DOUBLE: np.dtype(np.float64),
    TensorProto.INT64: np.dtype(np.int64),
    TensorProto.INT32: np.dtype(np.int32),
}


class Node:
    """One operator with its attributes; ``""`` among ``inputs`` and ``outputs`` stands for what is left out."""

    def __init__(self, proto: onnx.NodeProto) -> None:
        self.proto = proto
        self.operator = proto.op_type
        self.domain = "" if proto.domain in OWN_DOMAINS else proto.domain
        self.inputs, self.outputs = list(proto.input), list(proto.output)
        self.name = proto.name or next(filter(None, self.outputs), "")

    def __str__(self) -> str:
        operator = f"{self.domain}:{self.operator}" if self.domain else self.operator
        return f"node {self.name} ({operator})"

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Values by name: numbers, bytes, lists of them, or tensors."""
        try:
            return {attribute.name: helper.get_attribute_value(attribute) for attribute in self.proto.attribute}
        except (ValueError, TypeError, AttributeError):
            raise ImportModelError(f"{self} has an attribute without a value") from None

    def integer(self, name: str, default: int) -> int:
        return int(self._checked(name, default, int))

    def number(self, name: str, default: float) -> float:
        return float(self._checked(name, default, (int, float)))

    def text(self, name: str, default: str) -> str:
        value = self._checked(name, default.encode(), bytes)
        return str(value.decode(errors="replace"))

    def integers(self, name: str) -> list[int] | None:
        return self._listed(name, int)

    def numbers(self, name: str) -> list[float]:
        return self._listed(name, (int, float)) or []

    def texts(self, name: str) -> list[str] | None:
        values = self._listed(name, bytes)
        return None if values is None else [value.decode(errors="replace") for value in values]

    def _checked(self, name: str, default: Any, kind: Any) -> Any:
        value = self.attributes.get(name, default)
        if not isinstance(value, kind):
            raise ImportModelError(f"{self}: attribute {name} is of type {type(value).__name__}, expected another")
        return value

    def _listed(self, name: str, kind: Any) -> list[Any] | None:
        if name not in self.attributes:
            return None
        value = self.attributes[name]
        if not isinstance(value, Sequence) or isinstance(value, bytes) or not all(isinstance(v, kind) for v in value):
            if isinstance(value, Iterable) and not isinstance(value, bytes) and not list(value):
                return []
            raise ImportModelError(f"{self}: attribute {name} is no list, expected one")
        return list(value)


@dataclass(frozen=True)
class GraphInput:
    """A value that the caller gives; a dimension is None where it is dynamic, ``dims`` where even the rank is not
    declared.
    """

    name: str
    dtype: np.dtype[Any] | None  # None: not one of float32, float64, int64, int32
    dims: tuple[int | None, ...] | None
    proto: onnx.ValueInfoProto


class OnnxGraph:
    """What a model computes. Raises ImportModelError for a graph that is no graph: cycles, names used twice or by
    nobody made.
    """

    def __init__(self, model: onnx.ModelProto, tensors: Tensors) -> None:
        self.model, self._tensors = model, tensors
        graph = model.graph
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = [_input(value) for value in graph.input if value.name not in self.initializers]
        self._given = {value.name for value in self.inputs} | set(self.initializers)
        self.outputs = [value.name for value in graph.output]
        self.output_dims = {value.name: _dims(value) for value in graph.output}
        self.nodes = [Node(proto) for proto in graph.node]
        self.makers: dict[str, int] = {}
        for index, node in enumerate(self.nodes):
            for name in filter(None, node.outputs):
                if name in self.makers or name in self._given:
                    raise ImportModelError(f"{node} makes {name}, which is there already")
                self.makers[name] = index
        self._constants: dict[str, NDArray[Any]] = {}
        self.opset = self._opset()

    def _opset(self) -> int:
        for entry in self.model.opset_import:
            if entry.domain in OWN_DOMAINS:
                return int(entry.version)
        newer = any(len(node.inputs) > _AXES_AS_INPUT.get(node.operator, 99) for node in self.nodes)
        return NEWER_OPSET if newer else DEFAULT_OPSET

    def initializer(self, name: str) -> NDArray[Any]:
        """An initializer's numbers; those of external data are in the model itself from then on."""
        if name not in self._constants:
            self._constants[name] = self._tensors.read(self.initializers[name], name)
        return self._constants[name]

    def constant(self, node: Node) -> NDArray[Any]:
        """What a node Constant holds."""
        for name, value in node.attributes.items():
            if name == "value" and isinstance(value, onnx.TensorProto):
                return self._tensors.read(value, node.name)
            if name in ("value_float", "value_floats"):
                return np.array(value, np.float32)
            if name in ("value_int", "value_ints"):
                return np.array(value, np.int64)
        raise ImportModelError(f"{node}: holds no numbers, expected a tensor of them")

    def needed(self, names: Iterable[str]) -> list[int]:
        """The nodes that make ``names``, everything they need before them. Depth first, without recursion."""
        order: list[int] = []
        state: dict[int, bool] = {}  # whether a node is finished
        pending = [(self._maker(name, None), False) for name in reversed(list(names))]
        while pending:
            index, leaving = pending.pop()
            if index < 0 or state.get(index):
                continue
            if leaving:
                state[index] = True
                order.append(index)
                continue
            if index in state:
                raise ImportModelError(f"{self.nodes[index]} needs its own output, expected a graph without cycles")
            state[index] = False
            pending.append((index, True))
            node = self.nodes[index]
            for name in reversed([*node.inputs, *_captured(node.proto)]):
                maker = self._maker(name, node) if name else -1
                if maker >= 0 and not state.get(maker):
                    pending.append((maker, False))
        return order

    def _maker(self, name: str, reader: Node | None) -> int:
        """The node that makes a value, −1 for one that is given."""
        if name in self.makers:
            return self.makers[name]
        if name in self._given:
            return -1
        if reader is not None and reader.operator in ("If", "Loop", "Scan"):
            return -1  # a name of its own inner graph, which is refused anyway
        raise ImportModelError(f"{reader or 'the graph'} reads {name}, which nothing makes")


def _captured(proto: onnx.NodeProto) -> list[str]:
    """Names that the inner graphs of a node read."""
    graphs = [attribute.g for attribute in proto.attribute if attribute.type == onnx.AttributeProto.GRAPH]
    return [name for graph in graphs for node in graph.node for name in node.input]


def _dims(value: onnx.ValueInfoProto) -> tuple[int | None, ...] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim)


def _input(value: onnx.ValueInfoProto) -> GraphInput:
    return GraphInput(value.name, _NUMBERS.get(value.type.tensor_type.elem_type), _dims(value), value)
