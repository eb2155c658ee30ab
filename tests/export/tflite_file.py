"""Looking into TFLite files and damaging them, and a model with two outputs, for several tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgegru_export.metadata import METADATA_KEY
from edgegru_export.tflite_model import FILE_IDENTIFIER, TENSOR_TYPES
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.exported import CHECKSUM_DIGITS, CHECKSUM_START, file_checksum
from edgegru_runtime.model_config import HeadNode, OutputConfig
from tests.builders import changed, from_arrays

DTYPES = {number: name for name, number in TENSOR_TYPES.items() if name != "resource"}
OPERATOR_NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}


def with_second_head(artifact: Artifact, kind: str) -> Artifact:
    """The same with a second output: another head on the last linear node."""
    config = artifact.config
    first = config.outputs[0]
    head = HeadNode("second", ("dense",), config.node("dense").output_size, kind)
    output = OutputConfig("second", "step_label", tuple(f"class {index}" for index, _ in enumerate(first.labels)))
    wider = changed(config, nodes=(*config.nodes, head), outputs=(first, output))
    return from_arrays(wider, {name: artifact.array(name) for name in artifact.tensors})


def unpacked(data: bytes) -> Any:
    """The file as the schema's objects."""
    return schema.ModelT.InitFromPackedBuf(data)


def packed(model: Any) -> bytes:
    """The file of the schema's objects, its checksum made right."""
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return resealed(bytes(builder.Output()))


def resealed(data: bytes) -> bytes:
    """The file with the checksum that belongs to its bytes, so that others have to find what was changed."""
    for found in re.finditer(re.escape(CHECKSUM_START), data):
        place = found.end()
        data = data[:place] + file_checksum(data, place) + data[place + CHECKSUM_DIGITS :]
    return data


def operators(data: bytes, subgraph: int = 0) -> list[str]:
    """The names of a subgraph's operators in execution order."""
    model = unpacked(data)
    return [
        OPERATOR_NAMES[model.operatorCodes[operator.opcodeIndex].builtinCode]
        for operator in model.subgraphs[subgraph].operators
    ]


def tensor(model: Any, name: str) -> Any:
    (found,) = [tensor for tensor in model.subgraphs[0].tensors if tensor.name == name.encode()]
    return found


def constant(model: Any, name: str) -> NDArray[Any]:
    """The values of a stored tensor."""
    found = tensor(model, name)
    return np.frombuffer(bytes(model.buffers[found.buffer].data), DTYPES[found.type]).reshape(found.shape)


def change_constant(path: Path, name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """Rewrite the values of one stored tensor of a file."""
    model = unpacked(path.read_bytes())
    changed = np.ascontiguousarray(change(constant(model, name)))
    model.buffers[tensor(model, name).buffer].data = np.frombuffer(changed.tobytes(), np.uint8)
    path.write_bytes(packed(model))


def change_scales(path: Path, name: str, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
    """Rewrite the scales of one tensor of a file."""
    model = unpacked(path.read_bytes())
    quantization = tensor(model, name).quantization
    quantization.scale = change(np.array(quantization.scale, np.float32)).astype(np.float32)
    path.write_bytes(packed(model))


def with_metadata_of(data: bytes, original: bytes) -> bytes:
    """The first file, claiming to be the second."""
    model, source = unpacked(data), unpacked(original)
    assert [entry.name for entry in model.metadata] == [METADATA_KEY.encode()]
    model.buffers[model.metadata[0].buffer] = source.buffers[source.metadata[0].buffer]
    return packed(model)


def swap_halves(rows: NDArray[Any]) -> NDArray[Any]:
    """Exchange the first and the second half of the first axis: the gates r and z."""
    return np.concatenate(np.split(rows, 2)[::-1])
