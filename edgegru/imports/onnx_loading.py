"""An ONNX file read within bounds: nothing outside its folder, no cycles, every tensor as large as it says."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.foreign import first_line

LARGEST_TENSOR = 2**28  # numbers: a GiB of float32, in a file or made by folding
LARGEST_EXTERNAL = 2**31  # bytes of all external data together
_LARGEST_EXPANSION = 10**6  # nodes, once functions are written out
_BITS: dict[int, int] = {  # of one number in raw data
    onnx.TensorProto.FLOAT: 32,
    onnx.TensorProto.DOUBLE: 64,
    onnx.TensorProto.FLOAT16: 16,
    onnx.TensorProto.BFLOAT16: 16,
    onnx.TensorProto.INT64: 64,
    onnx.TensorProto.INT32: 32,
    onnx.TensorProto.INT16: 16,
    onnx.TensorProto.INT8: 8,
    onnx.TensorProto.UINT64: 64,
    onnx.TensorProto.UINT32: 32,
    onnx.TensorProto.UINT16: 16,
    onnx.TensorProto.UINT8: 8,
    onnx.TensorProto.BOOL: 8,
    onnx.TensorProto.INT4: 4,
    onnx.TensorProto.UINT4: 4,
}


def load_model(path: Path) -> onnx.ModelProto:
    """The file's model, functions written out, external data not yet read. Raises ImportModelError."""
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except OSError as error:
        raise ImportModelError(f"{path}: cannot be read: {error.strerror}") from None
    except DecodeError:
        raise ImportModelError(f"{path}: is no ONNX file: its bytes are no protobuf of a model") from None
    if not model.graph.node:
        raise ImportModelError(f"{path}: is no ONNX file, or one without nodes: expected a graph with a GRU")
    if not all(isinstance(text, str) for text in _texts(model)):  # protobuf gives bytes where it is no UTF-8
        raise ImportModelError(f"{path}: has names that are no UTF-8 text, expected an undamaged ONNX file")
    return _without_functions(model)


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """Every name that is read here."""
    yield from (model.producer_name, model.producer_version)
    yield from (entry.domain for entry in model.opset_import)
    graph = model.graph
    for group in (graph.input, graph.output, graph.initializer):
        yield from (value.name for value in group)
    for tensor in graph.initializer:
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
    nodes = [*graph.node, *(node for function in model.functions for node in function.node)]
    yield from (text for function in model.functions for text in (function.name, function.domain))
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Calls of the model's own functions replaced by the nodes of these, where that ends and stays small."""
    functions = {(function.domain, function.name): function for function in model.functions}
    calls = {
        name: Counter((node.domain, node.op_type) for node in function.node) for name, function in functions.items()
    }
    sizes: dict[tuple[str, str], int] = {}
    while len(sizes) < len(functions):  # bottom-up, so a cycle is what remains
        ready = [name for name in calls if name not in sizes and all(k in sizes or k not in calls for k in calls[name])]
        if not ready:
            cyclic = next(name for name in calls if name not in sizes)
            raise ImportModelError(f"function {cyclic[1]} calls itself, expected functions that end")
        for name in ready:
            sizes[name] = sum(count * sizes.get(called, 1) for called, count in calls[name].items())
    if not any((node.domain, node.op_type) in functions for node in model.graph.node):
        return model
    total = sum(sizes.get((node.domain, node.op_type), 1) for node in model.graph.node)
    if total > _LARGEST_EXPANSION:
        raise ImportModelError(f"its functions make {total:,} nodes, expected at most {_LARGEST_EXPANSION:,}")
    try:
        inlined = onnx.inliner.inline_local_functions(model)
    except Exception as error:  # of a C++ library, without a base of their own
        raise ImportModelError(f"its functions cannot be written out: {first_line(error)}") from None
    assert isinstance(inlined, onnx.ModelProto)
    return inlined


class Tensors:
    """Reads tensors of one model, external data from beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._external = 0  # bytes read so far

    def read(self, tensor: onnx.TensorProto, name: str) -> NDArray[np.generic]:
        """The array of ``tensor``, once its dimensions and its data have been compared."""
        count = math.prod(tensor.dims)
        if any(dimension < 0 for dimension in tensor.dims) or count > LARGEST_TENSOR:
            raise ImportModelError(f"tensor {name} is {_shape(tensor)}, expected at most {LARGEST_TENSOR:,} numbers")
        if tensor.data_type not in _BITS:
            raise ImportModelError(f"tensor {name} is of ONNX data type {tensor.data_type}, expected plain numbers")
        size = (count * _BITS[tensor.data_type] + 7) // 8
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            self._embed(tensor, name, size)
        if tensor.HasField("raw_data") and len(tensor.raw_data) != size:
            found = f"has {len(tensor.raw_data)} bytes of data"
            raise ImportModelError(f"tensor {name} is {_shape(tensor)} but {found}, expected {size}")
        try:
            return numpy_helper.to_array(tensor)
        except (ValueError, TypeError, OverflowError) as error:
            raise ImportModelError(
                f"tensor {name} is {_shape(tensor)} but cannot be read: {first_line(error)}"
            ) from None

    def _embed(self, tensor: onnx.TensorProto, name: str, size: int) -> None:
        """Put the bytes of external data into the tensor itself, so that nothing is read twice."""
        fields = {entry.key: entry.value for entry in tensor.external_data}
        path = self._path(fields.get("location", ""), name)
        try:
            offset, length = int(fields.get("offset", 0)), int(fields.get("length", size))
        except ValueError:
            raise ImportModelError(f"tensor {name}: offset or length of its external data is no number") from None
        self._external += size
        if offset < 0 or length != size or self._external > LARGEST_EXTERNAL:
            found = f"tensor {name}: its external data has {length} bytes at {offset}"
            raise ImportModelError(f"{found}, expected {size}, at most {LARGEST_EXTERNAL:,} in all")
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(size)
        if len(data) != size:
            raise ImportModelError(f"tensor {name}: {path.name} ends within its {size} bytes at {offset}")
        tensor.raw_data = data
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]

    def _path(self, location: str, name: str) -> Path:
        """A regular file within the model's folder, links followed."""
        folder = os.path.realpath(self._folder)
        path = os.path.realpath(os.path.join(folder, location)) if "\0" not in location else ""
        if not location or os.path.isabs(location) or os.path.commonpath([folder, path or "/"]) != folder:
            raise ImportModelError(f"tensor {name}: external data at {location!r}, expected a file beside the model")
        if not os.path.isfile(path):
            raise ImportModelError(f"tensor {name}: external data at {location!r}, but there is no such file")
        return Path(path)


def _shape(tensor: onnx.TensorProto) -> str:
    return "×".join(map(str, tensor.dims)) or "one number"
