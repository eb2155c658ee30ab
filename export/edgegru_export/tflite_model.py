"""A small TFLite model under construction: tensors, operators in execution order, signatures, then one file in bytes.

Written with the schema classes that come inside ``ai-edge-litert``; neither TensorFlow nor a converter takes part. The
schema is github.com/tensorflow/tensorflow, tensorflow/compiler/mlir/lite/schema/schema.fbs, version 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgegru_export.metadata import METADATA_KEY
from edgegru_runtime.exported import CHECKSUM_DIGITS, CHECKSUM_START, file_checksum

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
BUFFER_ALIGNMENT = 16  # bytes; what the schema demands of constants, which runtimes use in place
NO_ACTIVATION, RELU = 0, 1  # enumerations of the schema
VALID_PADDING = 1
FLOAT32_TYPE, INT32_TYPE = 0, 2
TENSOR_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "resource": schema.TensorType.RESOURCE,
}

# Operator → the class of its options, and its version by the type of its first data input. A version says since when
# runtimes know that form, so that one that does not know it refuses the file.
_OPERATORS: dict[str, tuple[str, dict[str, int]]] = {
    "ADD": ("AddOptions", {"float32": 1, "int8": 2, "int16": 3}),
    "ASSIGN_VARIABLE": ("AssignVariableOptions", {}),
    "CALL_ONCE": ("CallOnceOptions", {}),
    "CAST": ("CastOptions", {}),
    "CONCATENATION": ("ConcatenationOptions", {"float32": 1, "int8": 2, "int16": 3}),
    "CONV_2D": ("Conv2DOptions", {"float32": 1, "int8": 3, "int16": 4}),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", {"int8": 3, "int16": 5}),
    "DEQUANTIZE": ("DequantizeOptions", {"int8": 2, "int16": 3}),
    "DIV": ("DivOptions", {}),
    "FULLY_CONNECTED": ("FullyConnectedOptions", {}),
    "GATHER": ("GatherOptions", {}),
    "LOGISTIC": ("", {"float32": 1, "int8": 2, "int16": 3}),
    "LOG_SOFTMAX": ("LogSoftmaxOptions", {}),
    "MEAN": ("ReducerOptions", {}),
    "MINIMUM": ("MaximumMinimumOptions", {}),
    "MUL": ("MulOptions", {"float32": 1, "int8": 2, "int16": 4}),
    "QUANTIZE": ("QuantizeOptions", {}),
    "READ_VARIABLE": ("ReadVariableOptions", {}),
    "RELU": ("", {}),
    "RESHAPE": ("ReshapeOptions", {}),
    "RSQRT": ("", {}),
    "SOFTMAX": ("SoftmaxOptions", {}),
    "SPLIT": ("SplitOptions", {"float32": 1, "int8": 2, "int16": 4}),
    "STRIDED_SLICE": ("StridedSliceOptions", {"float32": 1, "int8": 2, "int16": 4}),
    "SUM": ("ReducerOptions", {}),
    "SUB": ("SubOptions", {"float32": 1, "int8": 2, "int16": 5}),
    "TANH": ("", {"float32": 1, "int8": 2, "int16": 3}),
    "VAR_HANDLE": ("VarHandleOptions", {}),
}


@dataclass(frozen=True)
class TensorKind:
    """What the numbers of a tensor are: real = (stored - zero_point) · scale, or plain numbers without a scale."""

    dtype: str
    scale: float | None = None
    zero_point: int = 0


FLOAT = TensorKind("float32")


@dataclass(frozen=True)
class Value:
    """A tensor of one subgraph."""

    index: int
    shape: tuple[int, ...]
    kind: TensorKind


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]  # the schema has no types
    """Constants at a multiple of 16 bytes; the generated class would align them to 4."""

    def Pack(self, builder: Any) -> Any:
        """Write the bytes, then the table that points to them."""
        data = bytes(self.data)
        builder.StartVector(1, len(data), BUFFER_ALIGNMENT)
        builder.head = builder.Head() - len(data)
        builder.Bytes[builder.Head() : builder.Head() + len(data)] = data
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


class Model:
    """Collects subgraphs (the first is the one that runs by default), signatures and metadata."""

    def __init__(self) -> None:
        self.buffers: list[Any] = [schema.BufferT()]  # buffer 0 means "computed, not stored"
        self._codes: list[Any] = []
        self._code_index: dict[tuple[str, int], int] = {}
        self._subgraphs: list[Any] = []
        self._signatures: list[Any] = []

    def add_subgraph(self, name: str) -> Subgraph:
        """An empty subgraph, to be filled through its methods."""
        table = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[], name=name.encode())
        self._subgraphs.append(table)
        return Subgraph(self, table, len(self._subgraphs) - 1)

    def add_signature(
        self, key: str, subgraph: Subgraph, inputs: Mapping[str, Value], outputs: Mapping[str, Value]
    ) -> None:
        """Name a subgraph's inputs and outputs, and make them its inputs and outputs, in this order."""
        subgraph.table.inputs = [value.index for value in inputs.values()]
        subgraph.table.outputs = [value.index for value in outputs.values()]
        self._signatures.append(
            schema.SignatureDefT(
                signatureKey=key.encode(),
                subgraphIndex=subgraph.index,
                inputs=[schema.TensorMapT(name.encode(), value.index) for name, value in inputs.items()],
                outputs=[schema.TensorMapT(name.encode(), value.index) for name, value in outputs.items()],
            )
        )

    def add_buffer(self, data: bytes) -> int:
        """Store bytes; the buffer's index."""
        self.buffers.append(_AlignedBuffer(data=data))
        return len(self.buffers) - 1

    def operator_code(self, operator: str, version: int) -> int:
        """The index of an operator in this model's table of operators, where each stands once."""
        key = (operator, version)
        if key not in self._code_index:
            builtin = getattr(schema.BuiltinOperator, operator)
            # Readers from before 2020 look at the 8-bit field, where 127 means "see the other".
            code = schema.OperatorCodeT(deprecatedBuiltinCode=min(builtin, 127), builtinCode=builtin, version=version)
            self._codes.append(code)
            self._code_index[key] = len(self._codes) - 1
        return self._code_index[key]

    def to_bytes(self, metadata: str) -> bytes:
        """One self-contained file with ``metadata``, a JSON object, in the buffer called "edgegru", to which the
        checksum of the file is added.
        """
        text = CHECKSUM_START + b"0" * CHECKSUM_DIGITS + b'",' + metadata.encode().removeprefix(b"{")
        entry = schema.MetadataT(name=METADATA_KEY.encode(), buffer=self.add_buffer(text))
        model = schema.ModelT(
            version=SCHEMA_VERSION,
            description=b"edgegru",
            operatorCodes=self._codes,
            subgraphs=self._subgraphs,
            buffers=self.buffers,
            signatureDefs=self._signatures,
            metadata=[entry],
        )
        builder = flatbuffers.Builder(sum(len(buffer.data or b"") for buffer in self.buffers) + 2**15)
        builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
        file = bytes(builder.Output())
        place = file.index(text) + len(CHECKSUM_START)
        return file[:place] + file_checksum(file, place) + file[place + CHECKSUM_DIGITS :]


class Subgraph:
    """One subgraph under construction."""

    def __init__(self, model: Model, table: Any, index: int) -> None:
        self.table, self.index = table, index
        self._model = model
        self._names: set[str] = set()

    def input(self, name: str, shape: tuple[int, ...], kind: TensorKind) -> Value:
        """A tensor that the caller fills; it becomes an input when a signature names it."""
        return self._tensor(name, shape, kind)

    def constant(self, name: str, array: NDArray[Any], kind: TensorKind | None = None) -> Value:
        """A stored tensor. ``kind``: its scale, where it has one; the type is the array's own."""
        kind = kind or TensorKind(array.dtype.name)
        assert kind.dtype == array.dtype.name
        return self._tensor(name, array.shape, kind, self._store(array))

    def row_scaled_constant(self, name: str, array: NDArray[Any], scales: NDArray[Any], axis: int = 0) -> Value:
        """A stored tensor with one scale an entry of an ``axis``."""
        value = self._tensor(name, array.shape, TensorKind(array.dtype.name), self._store(array))
        self.table.tensors[value.index].quantization = schema.QuantizationParametersT(
            scale=np.asarray(scales, np.float32), zeroPoint=np.zeros(len(scales), np.int64), quantizedDimension=axis
        )
        return value

    def add(
        self,
        operator: str,
        inputs: Sequence[Value],
        name: str,
        shape: tuple[int, ...],
        kind: TensorKind,
        **options: Any,
    ) -> Value:
        """An operator with one output, which is called ``name``. ``options``: fields of the schema's options table."""
        result = self._tensor(name, shape, kind)
        self._operator(operator, inputs, [result], options)
        return result

    def convolve(
        self,
        inputs: Sequence[Value],
        name: str,
        kind: TensorKind,
        *,
        operator: str = "CONV_2D",
        relu: bool = False,
        dilation: int = 1,
        **options: Any,
    ) -> Value:
        """``inputs``: an image (1, frames, 1, columns), weights (rows, …) and biases, for one pixel (1, 1, 1, rows)."""
        rows = inputs[-1].shape[0]
        return self.add(
            operator,
            inputs,
            name,
            (1, 1, 1, rows),
            kind,
            padding=VALID_PADDING,
            strideW=1,
            strideH=1,
            dilationHFactor=dilation,
            dilationWFactor=1,
            fusedActivationFunction=RELU if relu else NO_ACTIVATION,
            **options,
        )

    def split(self, value: Value, names: Sequence[str]) -> list[Value]:
        """Cut the last axis into equal parts, called ``names``."""
        parts = len(names)
        axis = self.constant(f"{'_'.join(names)}.axis", np.array(len(value.shape) - 1, np.int32))
        shape = (*value.shape[:-1], value.shape[-1] // parts)
        results = [self._tensor(name, shape, value.kind) for name in names]
        self._operator("SPLIT", [axis, value], results, {"numSplits": parts}, typed_by=value)
        return results

    def concatenate(self, values: Sequence[Value], name: str, axis: int) -> Value:
        """Values of one kind side by side along ``axis``."""
        first = values[0]
        assert all(value.kind == first.kind for value in values)
        length = sum(value.shape[axis] for value in values)
        shape = (*first.shape[:axis], length, *first.shape[axis + 1 :])
        return self.add("CONCATENATION", values, name, shape, first.kind, axis=axis)

    def mean(self, value: Value, name: str) -> Value:
        """The mean over the last axis, which keeps its place."""
        axis = self.constant(f"{name}.axis", np.array([len(value.shape) - 1], np.int32))
        return self.add("MEAN", [value, axis], name, (*value.shape[:-1], 1), value.kind, keepDims=True)

    def sum(self, value: Value, name: str, axis: int) -> Value:
        """The sum over ``axis``, which is gone then."""
        place = self.constant(f"{name}.axis", np.array([axis], np.int32))
        shape = (*value.shape[:axis], *value.shape[axis + 1 :])
        return self.add("SUM", [value, place], name, shape, value.kind, keepDims=False)

    def drop_first(self, value: Value, name: str, axis: int, count: int) -> Value:
        """All but the first ``count`` entries along ``axis``."""
        return self.part(value, name, axis, count, value.shape[axis])

    def part(self, value: Value, name: str, axis: int, start: int, stop: int) -> Value:
        """The entries from ``start`` to before ``stop`` along ``axis``."""
        rank = len(value.shape)
        begin, end = np.zeros(rank, np.int32), np.array(value.shape, np.int32)
        begin[axis], end[axis] = start, stop
        places = [
            self.constant(f"{name}.{field}", array)
            for field, array in (("begin", begin), ("end", end), ("strides", np.ones(rank, np.int32)))
        ]
        shape = (*value.shape[:axis], stop - start, *value.shape[axis + 1 :])
        return self.add("STRIDED_SLICE", [value, *places], name, shape, value.kind)

    def reshape(self, value: Value, name: str, shape: tuple[int, ...]) -> Value:
        """The same numbers in another shape."""
        assert math.prod(shape) == math.prod(value.shape)
        return self.add("RESHAPE", [value], name, shape, value.kind, newShape=list(shape))

    def variable(self, name: str) -> Value:
        """A handle to the resource variable called ``name``: the same one in every subgraph of a model."""
        return self.add("VAR_HANDLE", [], f"{name}.handle", (), TensorKind("resource"), sharedName=name.encode())

    def read(self, variable: Value, name: str, shape: tuple[int, ...], kind: TensorKind) -> Value:
        """The value of a variable."""
        return self.add("READ_VARIABLE", [variable], name, shape, kind)

    def assign(self, variable: Value, value: Value) -> None:
        """Set a variable."""
        self._operator("ASSIGN_VARIABLE", [variable, value], [], {})

    def call_once(self, initial: Subgraph) -> None:
        """Run ``initial``, which has neither inputs nor outputs, before the first run of this subgraph."""
        self._operator("CALL_ONCE", [], [], {"initSubgraphIndex": initial.index})

    def _operator(
        self,
        operator: str,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        options: Mapping[str, Any],
        typed_by: Value | None = None,
    ) -> None:
        options_name, versions = _OPERATORS[operator]
        source = typed_by or (inputs[0] if inputs else None)
        version = versions.get(source.kind.dtype, 1) if source is not None else 1
        table = schema.OperatorT(
            opcodeIndex=self._model.operator_code(operator, version),
            inputs=[value.index for value in inputs],
            outputs=[value.index for value in outputs],
        )
        if options_name:
            table.builtinOptionsType = getattr(schema.BuiltinOptions, options_name)
            table.builtinOptions = getattr(schema, f"{options_name}T")(**options)
        self.table.operators.append(table)

    def _tensor(self, name: str, shape: tuple[int, ...], kind: TensorKind, buffer: int = 0) -> Value:
        assert name not in self._names, f"two tensors are called {name}"
        self._names.add(name)
        quantization = None
        if kind.scale is not None:
            quantization = schema.QuantizationParametersT(
                scale=np.array([kind.scale], np.float32), zeroPoint=np.array([kind.zero_point], np.int64)
            )
        self.table.tensors.append(
            schema.TensorT(
                shape=np.array(shape, np.int32),
                type=TENSOR_TYPES[kind.dtype],
                buffer=buffer,
                name=name.encode(),
                quantization=quantization,
                hasRank=True,
            )
        )
        return Value(len(self.table.tensors) - 1, tuple(shape), kind)

    def _store(self, array: NDArray[Any]) -> int:
        return self._model.add_buffer(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())


def operator_count(file: bytes) -> int:
    """How many operators one step of a TFLite file executes (those of its first subgraph)."""
    return int(schema.Model.GetRootAs(file).Subgraphs(0).OperatorsLength())
