"""What a TFLite file of another maker is, for ``foreign_description``.

The schema's classes follow offsets without checking them. In Python that gives wrong numbers or an exception, never a
crash, and never a cycle, since every table has another class than the one that it is read from; what remains to be
bounded is how much there is to read.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgegru_export.foreign_description import quoted
from edgegru_export.metadata import METADATA_KEY
from edgegru_export.tflite_model import FILE_IDENTIFIER
from edgegru_runtime.errors import ArtifactError

MOST_READ = 2_000_000  # entries of vectors, and 64 characters of text, in all
HIGHEST_RANK = 32
_UNREADABLE = (struct.error, IndexError, TypeError, ValueError, OverflowError, AttributeError, MemoryError)
_WITHOUT_GRU = "TFLite has no operator GRU; one is written as basic operators, unrolled or in a WHILE loop"


def _names(enumeration: type) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}


_OPERATORS, _TYPES = _names(schema.BuiltinOperator), _names(schema.TensorType)


def describe_tflite(data: bytes) -> dict[str, Any] | None:
    """The description; None where EdgeGRU wrote the file. Raises ArtifactError."""
    if data[4:8] != FILE_IDENTIFIER:
        raise ArtifactError("does not begin as a TFLite file")
    try:
        return _File(data).describe()
    except _UNREADABLE as error:
        reason = type(error).__name__ if not str(error) else quoted(str(error))
        raise ArtifactError(f"is no whole TFLite file: an offset or length in it is wrong ({reason})") from None


class _File:
    """A file that is being read, and how much of it was."""

    def __init__(self, data: bytes) -> None:
        self._data, self._read = data, 0
        self._model = schema.Model.GetRootAs(data, 0)
        self._codes: list[str] = []

    def describe(self) -> dict[str, Any] | None:
        """All of ``describe_tflite``."""
        model = self._model
        metadata = [self._text(entry.Name()) for entry in self._all(model.MetadataLength, model.Metadata)]
        if METADATA_KEY in metadata:
            return None
        self._codes = [self._code(code) for code in self._all(model.OperatorCodesLength, model.OperatorCodes)]
        subgraphs = list(self._all(model.SubgraphsLength, model.Subgraphs))
        if not subgraphs:
            raise ArtifactError("is no TFLite model: it has no subgraph")
        operators: Counter[str] = Counter()
        types: Counter[str] = Counter()
        states: dict[str, dict[str, Any]] = {}
        for number, subgraph in enumerate(subgraphs):
            handles: dict[int, str] = {}
            for operator in self._all(subgraph.OperatorsLength, subgraph.Operators):
                name = self._codes[operator.OpcodeIndex()]
                operators[name] += 1
                if name in ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"):
                    self._resource(states, subgraph, operator, handles)
            self._tensors(number, subgraph, types, states)
        first = subgraphs[0]
        lengths = [buffer.DataLength() for buffer in self._all(model.BuffersLength, model.Buffers)]
        return {
            "file_bytes": len(self._data),
            "producer": self._text(model.Description()),
            "versions": {"schema": model.Version()},
            "signatures": [
                self._signature(entry) for entry in self._all(model.SignatureDefsLength, model.SignatureDefs)
            ],
            "subgraphs": len(subgraphs),
            "inputs": [self._value(first, index) for index in self._all(first.InputsLength, first.Inputs)],
            "outputs": [self._value(first, index) for index in self._all(first.OutputsLength, first.Outputs)],
            "states": list(states.values()),
            "operators": dict(operators.most_common()),
            "grus": [{"name": name, "count": n} for name, n in operators.items() if "gru" in name.lower()],
            "without_gru": _WITHOUT_GRU,
            "weights": {
                "count": sum(types.values()),
                "bytes": sum(length for length in lengths if 0 < length <= len(self._data)),
                "types": dict(types.most_common()),
            },
            "metadata": metadata,
        }

    def _all(self, length: Callable[[], int], entry: Callable[[int], Any]) -> Iterator[Any]:
        """The entries of a vector, each of which takes 4 bytes of the file."""
        count = length()
        if count < 0 or 4 * count > len(self._data):
            raise ArtifactError(f"is no whole TFLite file: a list of {count:,} entries does not fit in it")
        for index in range(count):
            self._spend(1)
            found = entry(index)
            if found is None:
                raise ArtifactError("is no whole TFLite file: an entry of a list is missing")
            yield found

    def _spend(self, amount: int) -> None:
        self._read += amount
        if self._read > MOST_READ:
            raise ArtifactError(f"is no TFLite file that can be described: it has more than {MOST_READ:,} entries")

    def _text(self, text: bytes | None) -> str:
        self._spend(1 + len(text or b"") // 64)
        return quoted((text or b"")[:1000])

    def _code(self, code: Any) -> str:
        number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())  # old files have the one, new ones the other
        if number == schema.BuiltinOperator.CUSTOM:
            return f"custom {self._text(code.CustomCode())}"
        return _OPERATORS.get(number, f"operator {number}")

    def _signature(self, entry: Any) -> dict[str, Any]:
        return {
            "key": self._text(entry.SignatureKey()),
            "inputs": [self._text(name.Name()) for name in self._all(entry.InputsLength, entry.Inputs)],
            "outputs": [self._text(name.Name()) for name in self._all(entry.OutputsLength, entry.Outputs)],
        }

    def _value(self, subgraph: Any, index: int) -> dict[str, Any]:
        """Name, type and shape of a tensor; −1 stands for a size that may differ."""
        if not 0 <= index < subgraph.TensorsLength():
            raise ArtifactError(f"is no whole TFLite file: it has no tensor {index}")
        tensor = subgraph.Tensors(index)
        result: dict[str, Any] = {
            "name": self._text(tensor.Name()),
            "dtype": _TYPES.get(tensor.Type(), f"type {tensor.Type()}").lower(),
            "shape": self._shape(tensor),
        }
        quantization = tensor.Quantization()
        if quantization is not None and quantization.ScaleLength() == quantization.ZeroPointLength() == 1:
            scale = quantization.Scale(0)
            if math.isfinite(scale):
                result["quantization"] = {"scale": scale, "zero_point": quantization.ZeroPoint(0)}
        return result

    def _shape(self, tensor: Any) -> list[int]:
        fixed = tensor.ShapeSignatureLength() == 0
        length = tensor.ShapeLength() if fixed else tensor.ShapeSignatureLength()
        if not 0 <= length <= HIGHEST_RANK:
            raise ArtifactError(f"is no whole TFLite file: a tensor has {length:,} axes")
        return [int(tensor.Shape(axis) if fixed else tensor.ShapeSignature(axis)) for axis in range(length)]

    def _tensors(self, number: int, subgraph: Any, types: Counter[str], states: dict[str, dict[str, Any]]) -> None:
        """Count the stored tensors of a subgraph by their type, and collect its variables."""
        buffers = self._model.BuffersLength()
        for index, tensor in enumerate(self._all(subgraph.TensorsLength, subgraph.Tensors)):
            if tensor.IsVariable():
                value = self._value(subgraph, index)
                states[f"tensor {number}.{index}"] = {**value, "held": "a variable tensor"}
            elif tensor.Buffer() < buffers and self._model.Buffers(tensor.Buffer()).DataLength():
                types[_TYPES.get(tensor.Type(), f"type {tensor.Type()}").lower()] += 1

    def _resource(
        self, states: dict[str, dict[str, Any]], subgraph: Any, operator: Any, handles: dict[int, str]
    ) -> None:
        """A resource variable: its name stands at the handle, in every subgraph, its shape where it is read or set."""
        name = self._codes[operator.OpcodeIndex()]
        if name == "VAR_HANDLE":
            options, table = schema.VarHandleOptions(), operator.BuiltinOptions()
            if operator.BuiltinOptionsType() != schema.BuiltinOptions.VarHandleOptions or table is None:
                return
            options.Init(table.Bytes, table.Pos)
            shared = handles[operator.Outputs(0)] = self._text(options.SharedName())
            states.setdefault(
                shared, {"name": shared, "dtype": "unknown", "shape": None, "held": "a resource variable"}
            )
        elif operator.Inputs(0) in handles:
            shared = handles[operator.Inputs(0)]
            index = operator.Outputs(0) if name == "READ_VARIABLE" else operator.Inputs(1)
            states[shared] |= {**self._value(subgraph, index), "name": shared}
