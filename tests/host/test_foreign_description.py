"""``edgegru info`` of files that EdgeGRU did not write: what they are, and one sentence for damaged ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import edgegru
from edgegru.command_line import main
from edgegru_export import tflite_description
from edgegru_export.foreign_description import describe_foreign, foreign_text, quoted
from edgegru_export.saving import save_artifact
from edgegru_runtime.errors import ArtifactError
from tests.builders import random_artifact

SIZE_IN, SIZE = 3, 4
ATTRIBUTES = (
    "input_size 3, hidden_size 4, direction forward, linear_before_reset 1, layout 0, bias yes, sequence_lens no, "
    "initial_h computed"
)


def gru_model(**attributes: Any) -> onnx.ModelProto:
    """A stream's step as torch exports it: x and h in, y and the next h out, h behind an Unsqueeze and a Squeeze."""
    shapes = {"W": (1, 3 * SIZE, SIZE_IN), "R": (1, 3 * SIZE, SIZE), "B": (1, 6 * SIZE)}
    weights = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()]
    axis = numpy_helper.from_array(np.array([0]), "axis")
    nodes = [
        helper.make_node("Unsqueeze", ["h", "axis"], ["h3"]),
        helper.make_node(
            "GRU", ["x", "W", "R", "B", "", "h3"], ["y", "h3_next"], "gru", hidden_size=SIZE, **attributes
        ),
        helper.make_node("Squeeze", ["h3_next", "axis"], ["h_next"]),
        helper.make_node("Relu", ["y"], ["z"]),
    ]
    values = {"x": ["T", 1, SIZE_IN], "h": [1, SIZE], "z": ["T", 1, 1, SIZE], "h_next": [1, SIZE]}
    infos = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values.items()}
    graph = helper.make_graph(nodes, "g", [infos["x"], infos["h"]], [infos["z"], infos["h_next"]], [*weights, axis])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 2)]
    return helper.make_model(graph, producer_name="pytorch", producer_version="2.1", opset_imports=opsets, ir_version=8)


def written(path: Path, data: bytes | onnx.ModelProto) -> str:
    path.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
    return str(path)


def foreign_tflite(tmp_path: Path, state: str) -> bytes:
    """One of our exports, taken apart and packed again by the schema's classes without our metadata."""
    save_artifact(random_artifact(), tmp_path / "own.safetensors")
    edgegru.export(tmp_path / "own.safetensors", tmp_path / "own.tflite", format="tflite", state=state)
    model = schema.ModelT.InitFromPackedBuf((tmp_path / "own.tflite").read_bytes(), 0)
    model.metadata, model.description = None, b"MLIR Converted."
    builder = flatbuffers.Builder(2**16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_an_onnx_file(tmp_path: Path) -> None:
    description = edgegru.info(written(tmp_path / "m.onnx", gru_model(linear_before_reset=1)))
    assert description["producer"] == "pytorch 2.1"
    assert description["versions"] == {"IR": 8, "opset ai.onnx": 17, "opset com.acme": 2}
    assert description["inputs"][0] == {"name": "x", "dtype": "float", "shape": ["T", 1, SIZE_IN]}
    assert [value["name"] for value in description["outputs"]] == ["z", "h_next"]
    assert description["operators"] == {"Unsqueeze": 1, "GRU": 1, "Squeeze": 1, "Relu": 1}
    assert description["grus"] == [
        {
            "name": "gru", "input_size": SIZE_IN, "hidden_size": SIZE, "direction": "forward", "linear_before_reset": 1,
            "layout": 0, "bias": True, "sequence_lens": False, "initial_h": "computed",
        }
    ]  # fmt: skip
    assert [(state["name"], state["held"]) for state in description["states"]] == [
        ("h", "an input, next in output h_next")
    ]
    assert description["weights"]["bytes"] == 4 * (36 + 48 + 24) + 8
    assert description["weights"]["types"] == {"float": 3, "int64": 1}


def test_the_attributes_of_a_gru_are_those_of_the_file(tmp_path: Path) -> None:
    attributes = {
        "activations": ["HardSigmoid", "Tanh"],
        "activation_alpha": [0.2],
        "clip": 3.0,
        "direction": "reverse",
    }
    (gru,) = edgegru.info(written(tmp_path / "m.onnx", gru_model(**attributes)))["grus"]
    assert gru["linear_before_reset"] == 0  # what ONNX says where the file does not
    assert gru["activations"] == ["HardSigmoid", "Tanh"]
    assert gru["activation_alpha"] == [pytest.approx(0.2)]
    assert (gru["clip"], gru["direction"]) == (3.0, "reverse")


def test_a_state_of_another_shape_is_not_certain(tmp_path: Path) -> None:
    model = gru_model()
    model.graph.output[1].type.tensor_type.shape.dim[0].dim_value = 2
    assert edgegru.info(written(tmp_path / "m.onnx", model))["states"] == []


def test_operators_of_subgraphs_count_and_a_cycle_of_nodes_ends(tmp_path: Path) -> None:
    model = gru_model()
    inner = helper.make_graph([helper.make_node("GRU", ["x"], ["y"], "inner")], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["a"], ["b"], body=inner))
    model.graph.node.append(helper.make_node("Quack", ["a"], ["c"], domain="com.acme"))
    del model.graph.node[0].input[:]
    model.graph.node[0].input.append("h3")  # reads itself
    description = edgegru.info(written(tmp_path / "m.onnx", model))
    assert description["operators"]["GRU"] == 2
    assert description["operators"]["com.acme.Quack"] == 1
    assert description["grus"][1] == {
        "name": "inner", "input_size": None, "hidden_size": None, "direction": "forward", "linear_before_reset": 0,
        "layout": 0, "bias": False, "sequence_lens": False, "initial_h": "zeros",
    }  # fmt: skip
    assert description["states"] == []


def test_onnx_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "m.onnx", gru_model(linear_before_reset=1))
    assert main(["info", path]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: onnx, not written by EdgeGRU, {len(Path(path).read_bytes()):,} bytes",
        "producer    pytorch 2.1",
        "version     IR 8, opset ai.onnx 17, opset com.acme 2",
        "input       x: float (T, 1, 3)",
        "            h: float (1, 4)",
        "output      z: float (T, 1, 1, 4)",
        "            h_next: float (1, 4)",
        "state       h: float (1, 4), an input, next in output h_next",
        "operators   4: 1 Unsqueeze, 1 GRU, 1 Squeeze, 1 Relu",
        f"gru         gru: {ATTRIBUTES}",
        "weights     440 bytes in 4 tensors (3 float, 1 int64)",
    ]


@pytest.mark.parametrize("order", [["--json", "m"], ["m", "--json"]])
def test_json_is_what_the_function_gives(tmp_path: Path, order: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "m.onnx", gru_model())
    assert main(["info", *(path if word == "m" else word for word in order)]) == 0
    assert json.loads(capsys.readouterr().out) == edgegru.info(path)


def test_a_tflite_file(tmp_path: Path) -> None:
    path = written(tmp_path / "m.tflite", foreign_tflite(tmp_path, "io"))
    description = edgegru.info(path)
    assert (description["producer"], description["versions"]) == ("MLIR Converted.", {"schema": 3})
    assert [value["name"].split(":")[0] for value in description["inputs"]] == ["x", "h0"]
    assert description["inputs"][0]["shape"] == [1, 3]
    assert description["states"] == []  # h0 may be one: nothing in the file says so
    assert description["operators"]["FULLY_CONNECTED"] > 0
    assert description["signatures"][0]["inputs"] == ["x", "h0"]
    assert "TFLite has no operator GRU" in foreign_text(description)


def test_variables_of_a_tflite_file_are_states(tmp_path: Path) -> None:
    description = edgegru.info(written(tmp_path / "m.tflite", foreign_tflite(tmp_path, "variables")))
    (state,) = description["states"]
    assert state == {"name": "h0", "dtype": "float32", "shape": [1, 5], "held": "a resource variable"}
    assert description["subgraphs"] > 1


def test_variable_tensors_custom_operators_and_scales(tmp_path: Path) -> None:
    scale = schema.QuantizationParametersT(scale=np.array([0.5], np.float32), zeroPoint=np.array([-3]))
    tensors = [
        schema.TensorT(
            name=b"in", shape=[1, 2], shapeSignature=[-1, 2], type=schema.TensorType.INT8, quantization=scale
        ),
        schema.TensorT(name=b"h\x1b[2J", shape=[1, 7], type=schema.TensorType.FLOAT32, isVariable=True),
    ]
    operators = [schema.OperatorT(opcodeIndex=index, inputs=[0], outputs=[1]) for index in (0, 0, 1)]
    codes = [
        schema.OperatorCodeT(deprecatedBuiltinCode=32, builtinCode=32, customCode=b"MyGRU"),
        schema.OperatorCodeT(deprecatedBuiltinCode=44),  # of before 2020
    ]
    graph = schema.SubGraphT(tensors=tensors, inputs=[0], outputs=[0], operators=operators, name=b"main")
    model = schema.ModelT(version=3, operatorCodes=codes, subgraphs=[graph], buffers=[schema.BufferT()])
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    description = edgegru.info(written(tmp_path / "m.tflite", bytes(builder.Output())))
    assert description["operators"] == {"custom MyGRU": 2, "UNIDIRECTIONAL_SEQUENCE_LSTM": 1}
    assert description["grus"] == [{"name": "custom MyGRU", "count": 2}]
    assert description["inputs"][0]["shape"] == [-1, 2]
    assert description["inputs"][0]["quantization"] == {"scale": 0.5, "zero_point": -3}
    assert [state["name"] for state in description["states"]] == [r"h\x1b[2J"]
    assert "\x1b" not in foreign_text(description)


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_our_own_files_stay_with_the_device(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_artifact(random_artifact(), tmp_path / "own.safetensors")
    path = tmp_path / f"own.{form}"
    edgegru.export(tmp_path / "own.safetensors", path, format=form)
    assert describe_foreign(str(path)) is None
    assert "identity" in edgegru.info(path)
    if form == "tflite":
        path.write_bytes(path.read_bytes()[:-1] + b"?")  # damaged, but ours
        assert main(["info", str(path)]) == 1
        assert "checksum" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("m.onnx", b"", "is empty"),
        ("m.onnx", b"not a model at all", "is no whole ONNX file"),
        ("m.onnx", b"\x08\x07", "is no ONNX model: it has no graph"),
        ("m.tflite", b"", "is empty"),
        ("m.tflite", b"\x00" * 40, "does not begin as a TFLite file"),
        ("m.tflite", b"\x08\0\0\0TFL3" + b"\xff" * 40, "is no whole TFLite file"),
        ("absent.onnx", None, "cannot be read: No such file"),
    ],
)
def test_refused_in_one_sentence(
    name: str, data: bytes | None, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    assert main(["info", str(tmp_path / name)]) == 1
    error = capsys.readouterr().err
    assert sentence in error and error.startswith(f"error: {tmp_path / name}: ") and error.count("\n") == 1


def test_work_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "m.tflite", foreign_tflite(tmp_path, "io"))
    monkeypatch.setattr(tflite_description, "MOST_READ", 20)
    with pytest.raises(ArtifactError, match="it has more than 20 entries"):
        edgegru.info(path)


def test_quoted() -> None:
    assert quoted(b"a\xffb") == "a\ufffdb"
    assert quoted("é\n\x1b") == r"é\n\x1b"
    assert quoted("x" * 300) == "x" * 200 + "…"


@pytest.fixture(scope="module", params=["onnx", "io", "variables"])
def good(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    if request.param == "onnx":
        return "onnx", gru_model(activations=["Sigmoid", "Tanh"], clip=1.0).SerializeToString()
    return "tflite", foreign_tflite(tmp_path_factory.mktemp("good"), request.param)


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_files_are_described_or_refused(
    good: tuple[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    form, content = good
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(content))) :]
    path = tmp_path_factory.getbasetemp() / f"damaged.{form}"
    path.write_bytes(bytes(damaged))
    try:
        description = describe_foreign(str(path))
    except ArtifactError as error:
        text = str(error).removeprefix(f"{path}: ").replace("\n", "\0")
    else:
        json.dumps(description, allow_nan=False)
        text = "" if description is None else foreign_text(description)
    assert all(character.isprintable() or character == "\n" for character in text)
