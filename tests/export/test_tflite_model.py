"""The TFLite writer: what every file has in common."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgegru_export import tflite_dynamic, tflite_float, tflite_integer
from edgegru_export.tflite_model import BUFFER_ALIGNMENT, FLOAT, Model, operator_count
from edgegru_runtime.artifact import Artifact
from tests.builders import mixed_artifact, quantized, random_artifact
from tests.export.tflite_file import DTYPES, operators, unpacked

FLOAT_MODEL = random_artifact(6, 3, (5, 4))
INTEGER_MODEL = quantized(FLOAT_MODEL)
WIDE_MODEL = quantized(FLOAT_MODEL, "static-w8a16")
FORMS = pytest.mark.parametrize(
    ("artifact", "options", "dtype"),
    [
        (FLOAT_MODEL, {}, "float32"),
        (quantized(FLOAT_MODEL, "dynamic-w8"), {}, "float32"),
        (INTEGER_MODEL, {}, "int16"),
        (WIDE_MODEL, {}, "int16"),
        (INTEGER_MODEL, {"allow_int8_state": True}, "int8"),
    ],
)
# What tflite-micro registers in its MicroMutableOpResolver, of the operators there are.
MICRO_OPERATORS = {
    "ADD", "ASSIGN_VARIABLE", "CALL_ONCE", "CAST", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEQUANTIZE", "DIV",
    "FULLY_CONNECTED", "GATHER", "LOGISTIC", "MINIMUM", "MUL", "QUANTIZE", "READ_VARIABLE", "RELU", "RESHAPE",
    "SOFTMAX", "SPLIT", "STRIDED_SLICE", "SUB", "TANH", "VAR_HANDLE",
}  # fmt: skip
BUILD = {"float32": tflite_float.build, "dynamic-w8": tflite_dynamic.build}


def build(artifact: Artifact, state: str = "io", **options: bool) -> bytes:
    return BUILD.get(artifact.config.scheme, tflite_integer.build)(artifact, state, **options)


@FORMS
def test_the_file_describes_itself(artifact: Artifact, options: dict[str, bool], dtype: str) -> None:
    data = build(artifact, **options)
    assert data == build(artifact, **options)
    model = unpacked(data)
    (signature,) = model.signatureDefs
    assert signature.signatureKey == b"step"
    assert [entry.name for entry in signature.inputs] == [b"x", b"h0", b"h1"]
    assert [entry.name for entry in signature.outputs] == [b"y", b"h0_next", b"h1_next"]
    tensors = model.subgraphs[0].tensors
    shapes = {tensors[entry.tensorIndex].name: tensors[entry.tensorIndex].shape.tolist() for entry in signature.inputs}
    assert shapes == {b"x": [1, 3], b"h0": [1, 5], b"h1": [1, 4]}  # the tensors have the signature's names
    assert [entry.name for entry in model.metadata] == [b"edgegru"]
    document = json.loads(bytes(model.buffers[model.metadata[0].buffer].data))
    assert document["identity"] == artifact.config.identity
    section = document["export"]
    assert (section["format"], section["form"], section["state"]) == ("tflite", "step", "io")
    assert section["state_dtype"] == dtype
    shift = {"float32": {}, "int16": {"shift": 9}, "int8": {"shift": 17}}[dtype]
    assert section["states"][1] == {"input": "h1", "output": "h1_next", "node": "gru1", "shape": [1, 4], **shift}


@FORMS
def test_states_as_variables_leave_only_x_and_y(artifact: Artifact, options: dict[str, bool], dtype: str) -> None:
    model = unpacked(build(artifact, "variables", **options))
    reset, step = model.signatureDefs
    assert [entry.name for entry in step.inputs] == [b"x"]
    assert [entry.name for entry in step.outputs] == [b"y"]
    assert (reset.signatureKey, reset.inputs or [], reset.outputs or []) == (b"reset", [], [])
    document = json.loads(bytes(model.buffers[model.metadata[0].buffer].data))
    assert (document["export"]["state"], document["export"]["state_dtype"]) == ("variables", dtype)


@FORMS
@pytest.mark.parametrize("state", ["io", "variables"])
def test_every_operator_is_one_that_microcontrollers_have(
    artifact: Artifact, options: dict[str, bool], dtype: str, state: str
) -> None:
    data = build(artifact, state, **options)
    assert set(operators(data)) <= MICRO_OPERATORS
    assert operator_count(data) == len(operators(data))
    if artifact.config.scheme != "float32":
        assert "FULLY_CONNECTED" not in operators(data)


@pytest.mark.parametrize("scheme", ["float32", "dynamic-w8", "static-w8a8", "static-w8a16"])
@pytest.mark.parametrize("embedding", [False, True])
def test_so_are_those_of_every_kind_of_node(embedding: bool, scheme: str) -> None:
    model = mixed_artifact(1, 4, 6, embedding=embedding, candidate="relu")
    data = build(model if scheme == "float32" else quantized(model, scheme))
    assert set(operators(data)) <= MICRO_OPERATORS
    assert inputs_of(data, "GATHER") <= {"float32", "int32"}  # TFLite Micro has no other


def inputs_of(data: bytes, operator: str) -> set[str]:
    """The types of what an operator reads."""
    model = unpacked(data)
    tables = zip(operators(data), model.subgraphs[0].operators, strict=True)
    read = [index for name, table in tables if name == operator for index in table.inputs]
    return {DTYPES[model.subgraphs[0].tensors[index].type] for index in read}


def test_shifts_are_those_of_the_state() -> None:
    """A convolution keeps the reference's operands, an unbounded state of 8 bits has twice the range."""
    shifts = []
    for candidate, scheme, options in (
        ("tanh", "static-w8a8", {}),
        ("relu", "static-w8a8", {}),
        ("relu", "static-w8a16", {}),
        ("relu", "static-w8a8", {"allow_int8_state": True}),
    ):
        model = unpacked(build(quantized(mixed_artifact(1, candidate=candidate), scheme), **options))
        document = json.loads(bytes(model.buffers[model.metadata[0].buffer].data))
        shifts.append([entry["shift"] for entry in document["export"]["states"]])
    assert shifts == [[0, 9], [0, 10], [0, 9], [0, 17]]


@FORMS
def test_constants_are_aligned(artifact: Artifact, options: dict[str, bool], dtype: str) -> None:
    data = build(artifact, **options)
    model = schema.Model.GetRootAs(data)
    places = []
    for index in range(model.BuffersLength()):
        table = model.Buffers(index)._tab
        field = table.Offset(4)  # of the buffer's bytes, in the table's own list of fields
        if field:
            places.append(table.Vector(field))
    assert len(places) > 10
    assert [place % BUFFER_ALIGNMENT for place in places] == [0] * len(places)


def test_float_steps_take_few_operators() -> None:
    """Standardise 2, GRU 12 (reset before 11), dense 1, softmax 1."""
    assert operator_count(tflite_float.build(random_artifact(0, 3, (5,)))) == 16
    assert operator_count(tflite_float.build(random_artifact(0, 3, (5,), reset="before"))) == 15


def test_two_tensors_cannot_have_one_name() -> None:
    graph = Model().add_subgraph("step")
    graph.input("x", (1, 2), FLOAT)
    with pytest.raises(AssertionError, match="two tensors are called x"):
        graph.constant("x", np.zeros(2, np.float32))
