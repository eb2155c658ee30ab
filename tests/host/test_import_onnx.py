"""ONNX graphs of every form, drawn at random; that a wrong formulation is noticed; one node of a larger graph."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgegru.importing import convert, import_model
from edgegru.imports import onnx_gru
from edgegru.imports.assembling import Naming
from edgegru.imports.onnx_file import read
from edgegru.imports.parity import check_parity
from edgegru.imports.source import Options
from edgegru_export.gate_order import GruWeights
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.model_config import GruNode
from tests.host.onnx_graphs import HIDDEN, SMALL, gru, imported, model, saved, small, steps, weights

node = helper.make_node
X = {"x": ["T", 1, SMALL]}
Y = {"y": None}
RANDOM = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def graphs(draw: Any) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """GRU layers one behind the other, in one of the forms that exporters write."""
    form = {
        "sizes": draw(st.lists(st.integers(1, 5), min_size=2, max_size=4)),
        "layout": draw(st.sampled_from([0, 0, 1])),
        "linear_before_reset": draw(st.integers(0, 1)),
        "bias": draw(st.booleans()),
        "begin": draw(st.sampled_from(["none", "zeros", "constant", "input"])),
        "time": draw(st.sampled_from(["T", 6])),
        "batch": draw(st.sampled_from(["N", 1, 3])),
        "head": draw(st.sampled_from(["none", "gemm", "matmul", "softmax", "tanh"])),
        "take": draw(st.sampled_from(["every", "y_h", "slice", "gather"])),
        "seed": draw(st.integers(0, 1000)),
    }
    rng = np.random.default_rng(form["seed"])
    sizes, layout, batch = form["sizes"], form["layout"], form["batch"]
    count = batch if isinstance(batch, int) else 1
    order = (lambda time, batch: [batch, time]) if layout else (lambda time, batch: [time, batch])
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Any] = {"axis": np.array([2 if layout else 1]), "last": np.array(-1), "first": np.array([-1])}
    constants |= {"beyond": np.array([2**62]), "along": np.array([layout]), "direction": np.array([1 if layout else 0])}
    inputs: dict[str, Any] = {"x": [*order(form["time"], batch), sizes[0]]}
    outputs: dict[str, Any] = {}
    value = "x"
    for layer, (size, units) in enumerate(pairwise(sizes)):
        constants |= weights(form["seed"] + layer, size, units, form["bias"], suffix=str(layer))
        h = f"h{layer}"
        state = [batch, 1, units] if layout else [1, batch, units]
        if form["begin"] == "input":
            inputs[h], outputs[f"{h}_next"] = state, state
        elif form["begin"] != "none":
            start = rng.uniform(-0.9, 0.9, units) if form["begin"] == "constant" else np.zeros(units)
            constants[h] = np.broadcast_to(start, [count if each == batch else each for each in state]).astype(
                np.float32
            )
        given = [
            value,
            f"W{layer}",
            f"R{layer}",
            f"B{layer}" if form["bias"] else "",
            "",
            "" if form["begin"] == "none" else h,
        ]
        attributes = {"linear_before_reset": form["linear_before_reset"], "layout": layout}
        nodes.append(gru(given, [f"y{layer}", f"{h}_next"], units, **attributes))
        nodes.append(node("Squeeze", [f"y{layer}", "axis"], [f"s{layer}"]))
        value = f"s{layer}"
    if form["take"] == "y_h":
        nodes.append(node("Squeeze", [f"h{len(sizes) - 2}_next", "direction"], ["taken"]))
    elif form["take"] == "slice":
        nodes.append(node("Slice", [value, "first", "beyond", "along"], ["cut"]))
        nodes.append(node("Squeeze", ["cut", "along"], ["taken"]))
    elif form["take"] == "gather":
        nodes.append(node("Gather", [value, "last"], ["taken"], axis=layout))
    value = value if form["take"] == "every" else "taken"
    constants |= {
        "M": rng.standard_normal((sizes[-1], 4)).astype(np.float32),
        "c": rng.standard_normal(4).astype(np.float32),
    }
    match form["head"]:
        case "gemm" if form["take"] != "every":
            nodes.append(node("Gemm", [value, "M", "c"], ["y"], alpha=0.5))
        case "gemm" | "matmul":
            nodes += [node("MatMul", [value, "M"], ["m"]), node("Sub", ["c", "m"], ["y"])]
        case "softmax":
            nodes += [node("MatMul", [value, "M"], ["m"]), node("Softmax", ["m"], ["y"], axis=-1)]
        case head:
            nodes.append(node({"tanh": "Tanh", "none": "Identity"}[head], [value], ["y"]))
    return model(nodes, constants, inputs, {"y": None, **outputs}), form


@RANDOM
@given(graphs())
def test_graphs_at_random(tmp_path: Path, drawn: tuple[onnx.ModelProto, dict[str, Any]]):
    """Every form is compared with ONNX Runtime, or, where layout is 1, with ONNX's reference."""
    made, form = drawn
    artifact = imported(saved(tmp_path, made))
    layers = [each for each in artifact.config.nodes if isinstance(each, GruNode)]
    assert [layer.hidden_size for layer in layers] == form["sizes"][1:]
    assert {layer.reset for layer in layers} == {("before", "after")[form["linear_before_reset"]]}
    assert all(layer.initial_state == (form["begin"] == "constant") for layer in layers)
    targets = {"every": "step_value"}.get(form["take"], "recording_value")
    if form["head"] == "softmax":
        targets = targets.replace("value", "label")
    assert [output.target for output in artifact.config.outputs] == [targets]


@pytest.mark.parametrize("attributes", [{"linear_before_reset": 0}, {"linear_before_reset": 1}])
def test_the_other_formulation_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attributes: dict[str, int]):
    path = saved(tmp_path, small(**attributes))
    imported(path)
    monkeypatch.setattr(onnx_gru, "RESETS", {0: "after", 1: "before"})
    with pytest.raises(ImportModelError, match="differs from onnxruntime by"):
        imported(path)


def test_a_file_with_the_flag_flipped_is_another_model(tmp_path: Path):
    (tmp_path / "other").mkdir()
    source = read(saved(tmp_path, small(linear_before_reset=1)), Options()).source
    other = imported(saved(tmp_path / "other", small(linear_before_reset=0)))
    with pytest.raises(ImportModelError, match="differs"):
        check_parity(other, source)


@pytest.mark.parametrize("swap", ["gates", "biases", "initial state"])
def test_numbers_in_wrong_places_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: str):
    constants = weights() | {"h": np.full((1, 1, HIDDEN), 0.7, np.float32)}
    path = saved(tmp_path, model([gru(("x", "W", "R", "B", "", "h"), linear_before_reset=1)], constants, X, Y))
    imported(path)
    right = onnx_gru.from_onnx

    def wrong(w: Any, r: Any, b: Any) -> GruWeights:
        if swap == "gates":
            return right(w, np.roll(r, HIDDEN, axis=0), b)
        return right(w, r, np.roll(b, 3 * HIDDEN) if swap == "biases" else b)

    monkeypatch.setattr(onnx_gru, "from_onnx", wrong)
    if swap == "initial state":
        monkeypatch.setattr(onnx_gru, "_beginning", lambda *_: (None, None))
    with pytest.raises(ImportModelError, match="differs from onnxruntime"):
        imported(path)


ACTIVATIONS: list[tuple[list[str], dict[str, Any], tuple[str, str]]] = [
    (["Sigmoid", "Tanh"], {}, ("sigmoid", "tanh")),
    (["sigmoid", "relu"], {}, ("sigmoid", "relu")),
    (["Sigmoid", "Affine"], {"activation_alpha": [1.0], "activation_beta": [0.0]}, ("sigmoid", "linear")),
    (["HardSigmoid", "Tanh"], {}, ("hard_sigmoid_5", "tanh")),
    (["HardSigmoid", "Relu"], {"activation_alpha": [1 / 6], "activation_beta": [0.5]}, ("hard_sigmoid_6", "relu")),
    (["Sigmoid", "Sigmoid"], {}, ("sigmoid", "sigmoid")),
    (["Sigmoid", "HardSigmoid"], {}, ("sigmoid", "hard_sigmoid_5")),
]


@pytest.mark.parametrize(("names", "numbers", "expected"), ACTIVATIONS)
@pytest.mark.parametrize("layout", [0, 1])
def test_activations(tmp_path: Path, names: list[str], numbers: dict[str, Any], expected: tuple[str, str], layout: int):
    shape = [1, "T", SMALL] if layout else ["T", 1, SMALL]
    small_weights = {name: array / 2 for name, array in weights().items()}
    made = model([gru(activations=names, layout=layout, **numbers)], small_weights, {"x": shape}, Y)
    found = imported(saved(tmp_path, made)).config.nodes[1]
    assert isinstance(found, GruNode) and (found.gate_activation, found.candidate_activation) == expected


@pytest.mark.parametrize("opset", [None, 1, 3, 7, 9, 11, 12])
def test_earlier_opsets(tmp_path: Path, opset: int | None):
    made = model([gru(), node("Squeeze", ["y"], ["z"], axes=[1])], weights(), X, {"z": None}, opset=opset)
    assert len(imported(saved(tmp_path, made)).config.nodes) == 3


@pytest.mark.parametrize("opset", [None, 13, 15, 19, 21, 22, 23])
def test_later_opsets(tmp_path: Path, opset: int | None):
    constants = weights() | {"axes": np.array([1])}
    made = model([gru(), node("Squeeze", ["y", "axes"], ["z"])], constants, X, {"z": None}, opset=opset)
    assert len(imported(saved(tmp_path, made)).config.nodes) == 3


@pytest.mark.parametrize(
    "shape", [["T", "N", SMALL], ["T", "N", None], [None, None, None], ["T", 1, SMALL], [4, 2, SMALL], [1, 1, SMALL]]
)
def test_shapes_of_the_input(tmp_path: Path, shape: list[Any]):
    assert imported(saved(tmp_path, model([gru()], weights(), {"x": shape}, Y))).config.input.size == SMALL


def test_doubles_run_in_the_reference(tmp_path: Path):
    doubles = {name: array.astype(np.float64) for name, array in weights().items()}
    made = model([gru()], doubles, X, Y, kinds={"x": "float64", "y": "float64"})
    report = import_model(saved(tmp_path, made), tmp_path / "m.safetensors")
    assert report.checked_against == "onnx.reference" and report.largest_error < 1e-6


def test_weights_made_by_subgraphs_of_constants(tmp_path: Path):
    """Transposed, concatenated from gates, cut, and int8 with a scale for every row."""
    w = weights()
    scale = np.full(3 * HIDDEN, 0.01, np.float32)
    integers = np.clip(np.rint(w["R"][0] / 0.01), -127, 127).astype(np.int8)
    nodes = [
        node("Transpose", ["Wt"], ["W2"], perm=[1, 0]),
        node("Unsqueeze", ["W2", "zero"], ["W"]),
        node("DequantizeLinear", ["q", "scale", "point"], ["R2"], axis=0),
        node("Unsqueeze", ["R2", "zero"], ["R"]),
        node("Constant", [], ["Bx"], value=numpy_helper.from_array(np.tile(w["B"], (1, 2)))),
        node("Slice", ["Bx", "zero", "width", "one"], ["B"]),
        gru(linear_before_reset=1),
    ]
    constants = {"Wt": w["W"][0].T, "q": integers, "scale": scale, "point": np.zeros(3 * HIDDEN, np.int8)}
    constants |= {"zero": np.array([0]), "one": np.array([1]), "width": np.array([6 * HIDDEN])}
    artifact = imported(saved(tmp_path, model(nodes, constants, X, Y)))
    found = artifact.array("gru0.weight_hh")
    np.testing.assert_allclose(np.sort(found, axis=None), np.sort(integers * np.float32(0.01), axis=None), rtol=1e-6)


def test_external_data_beside_the_model(tmp_path: Path):
    onnx.save(small(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    os.rename(tmp_path / "m.onnx", tmp_path / "model.onnx")
    assert imported(tmp_path / "model.onnx").config.identity == imported(saved(tmp_path, small())).config.identity


def test_functions_of_the_model_are_written_out(tmp_path: Path):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    function = helper.make_function(
        "mine", "Layer", ["a", "w", "r", "b"], ["o"], [gru(("a", "w", "r", "b"), ("o",))], opsets
    )
    made = model([node("Layer", ["x", "W", "R", "B"], ["y"], domain="mine")], weights(), X, Y)
    made.functions.append(function)
    made.opset_import.append(opsets[1])
    assert imported(saved(tmp_path, made)).config.identity == imported(saved(tmp_path, small())).config.identity


@pytest.mark.parametrize("names", [("h", "h_next"), ("state", "other"), ("cache.1", "result")])
def test_streaming_steps_with_caches(tmp_path: Path, names: tuple[str, str]):
    """(x, cache, h) → (y, cache', h'): a causal convolution whose last steps the caller keeps, and a GRU."""
    taps = np.random.default_rng(5).uniform(-1, 1, (4, SMALL, 3)).astype(np.float32)
    nodes = [
        node("Concat", ["kept", "x"], ["all"], axis=2),
        node("Slice", ["all", "one", "beyond", "two"], ["kept_out"]),
        node("Conv", ["all", "K"], ["c"]),
        node("Transpose", ["c"], ["ct"], perm=[2, 0, 1]),
        gru(("ct", "W", "R", "B", "", names[0]), ("Y", names[1]), linear_before_reset=1),
        node("Squeeze", ["Y", "axis"], ["y"]),
    ]
    constants = weights(input_size=4) | {"K": taps, "one": np.array([1]), "two": np.array([2])}
    constants |= {"beyond": np.array([2**62]), "axis": np.array([0, 1])}
    inputs = {"x": [1, SMALL, 1], "kept": [1, SMALL, 2], names[0]: [1, 1, HIDDEN]}
    outputs = {"y": [1, HIDDEN], "kept_out": [1, SMALL, 2], names[1]: [1, 1, HIDDEN]}
    artifact = imported(saved(tmp_path, model(nodes, constants, inputs, outputs)))
    assert [each.kind for each in artifact.config.nodes] == ["standardise", "convolution", "gru", "identity"]


CAUSAL: dict[str, list[onnx.NodeProto]] = {
    "pads of Conv": [node("Conv", ["xt", "K"], ["c"], pads=[4, 0], dilations=[2])],
    "Pad before it": [node("Pad", ["xt", "pads"], ["p"]), node("Conv", ["p", "K"], ["c"], dilations=[2])],
    "zeros before it": [node("Concat", ["zeros", "xt"], ["p"], axis=2), node("Conv", ["p", "K"], ["c"], dilations=[2])],
    "cut behind it": [
        node("Conv", ["xt", "K"], ["long"], pads=[4, 4], dilations=[2]),
        node("Relu", ["long"], ["r"]),
        node("Slice", ["r", "nought", "end", "two"], ["c"]),
    ],
}


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("time", ["T", 9])
def test_causal_convolutions(tmp_path: Path, name: str, time: Any):
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[0, 2, 1]),
        *CAUSAL[name],
        node("Transpose", ["c"], ["ct"], perm=[2, 0, 1]),
        gru(("ct", "W", "R", "B")),
    ]
    rng = np.random.default_rng(6)
    constants = weights(input_size=4) | {"K": rng.standard_normal((4, SMALL, 3)).astype(np.float32)}
    constants |= {
        "pads": np.array([0, 0, 4, 0, 0, 0]),
        "nought": np.array([0]),
        "end": np.array([-4]),
        "two": np.array([2]),
    }
    constants["zeros"] = np.zeros((1, SMALL, 4), np.float32)
    artifact = imported(saved(tmp_path, model(nodes, constants, {"x": [1, time, SMALL]}, Y)))
    assert artifact.config.nodes[1].kind == "convolution" and artifact.config.nodes[1].dilation == 2


@pytest.mark.parametrize("opset", [11, 17])
def test_layer_normalisation_as_an_operator_or_written_out(tmp_path: Path, opset: int):
    written_out = [
        node("ReduceMean", ["y"], ["mean"], axes=[-1]),
        node("Sub", ["y", "mean"], ["d"]),
        node("Pow", ["d", "two"], ["square"]),
        node("ReduceMean", ["square"], ["variance"], axes=[-1]),
        node("Add", ["variance", "epsilon"], ["sum"]),
        node("Sqrt", ["sum"], ["deviation"]),
        node("Div", ["d", "deviation"], ["n"]),
        node("Mul", ["n", "scale"], ["z"]),
    ]
    operator = [node("LayerNormalization", ["y", "scale"], ["z"], epsilon=1e-3)]
    constants = weights() | {
        "two": np.float32(2),
        "epsilon": np.float32(1e-3),
        "scale": np.arange(1, 6, dtype=np.float32),
    }
    made = model([gru(), *(operator if opset > 16 else written_out)], constants, X, {"z": None}, opset=opset)
    assert "layer_normalisation" in [each.kind for each in imported(saved(tmp_path, made)).config.nodes]


def large() -> onnx.ModelProto:
    """A graph that cannot be imported as a whole: GRUs among thousands of operators, one of two directions."""
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Any] = {"shape": np.array([1, 1, HIDDEN]), "flat": np.array([1, 6 * HIDDEN])}
    value = "x"
    for index in range(12):
        constants |= weights(index, suffix=str(index))
        constants[f"B{index}"] = constants[f"B{index}"].reshape(2, -1)
        nodes.append(node("Reshape", [f"B{index}", "flat"], [f"b{index}"]))
        nodes.append(node("ConstantOfShape", ["shape"], [f"h{index}"]))
        given = (value, f"W{index}", f"R{index}", f"b{index}", "", f"h{index}")
        nodes.append(gru(given, (f"y{index}", ""), linear_before_reset=1, name=f"/dpgru/{index}/GRU" if index else ""))
        nodes += [
            node("Erf", [f"y{index}" if not each else f"e{index}_{each}"], [f"e{index}_{each + 1}"])
            for each in range(200)
        ]
        nodes.append(node("MatMul", [f"e{index}_200", "M"], [f"x{index}"]))
        value = f"x{index}"
    constants["M"] = np.ones((HIDDEN, SMALL), np.float32)
    nodes.append(gru((value, "W0", "R0"), ("both", ""), direction="bidirectional", name="both"))
    nodes.append(node("Add", ["both", "e11_200"], ["end"]))
    return model(nodes, constants, X, {"end": None})


@pytest.mark.parametrize(("name", "index"), [("/dpgru/7/GRU", 7), ("y0", 0), ("y11", 11)])
def test_one_node_of_a_larger_graph(tmp_path: Path, name: str, index: int):
    artifact = imported(saved(tmp_path, large()), node=name)
    (tmp_path / "alone").mkdir()
    alone = model([gru(linear_before_reset=1)], weights(index), X, Y)
    assert artifact.config.identity == imported(saved(tmp_path / "alone", alone)).config.identity


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("both", "node both (GRU): direction is bidirectional, expected forward"),
        ("end", "node end (Add) is no GRU; its 13 GRU nodes are y0, /dpgru/1/GRU,"),
        ("no", "there is no GRU node called no; its 13 GRU nodes are y0, /dpgru/1/GRU,"),
    ],
)
def test_a_node_that_cannot_be_taken_out(tmp_path: Path, name: str, message: str):
    with pytest.raises(ImportModelError) as found:
        imported(saved(tmp_path, large()), node=name)
    assert str(found.value).startswith(message) and len(str(found.value)) < 300


def test_a_node_whose_beginning_is_the_callers(tmp_path: Path):
    """A slice of a state input, zeros made for the batch: both stand for the state of a stream."""
    nodes = [
        node("Slice", ["h", "nought", "one"], ["mine"]),
        gru(("x", "W", "R", "B", "", "mine"), ("y", ""), name="first"),
        node("Shape", ["x"], ["s"]),
        node("ConstantOfShape", ["s"], ["z"]),
        gru(("x", "W", "R", "B", "", "z"), ("y2", ""), name="second"),
        node("ConstantOfShape", ["s"], ["ones"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])),
        gru(("x", "W", "R", "B", "", "ones"), ("y3", ""), name="third"),
    ]
    constants = weights() | {"nought": np.array([0]), "one": np.array([1])}
    inputs = X | {"h": [2, 1, HIDDEN]}
    path = saved(tmp_path, model(nodes, constants, inputs, {"y": None, "y2": None, "y3": None}))
    assert imported(path, node="first").config.identity == imported(path, node="second").config.identity
    with pytest.raises(ImportModelError, match=r"node third \(GRU\): its initial_h is computed by node ones"):
        imported(path, node="third")


def test_outputs_are_those_of_the_file_in_its_order(tmp_path: Path):
    nodes = [gru(), node("Sigmoid", ["y"], ["gate"])]
    artifact = convert(
        read(saved(tmp_path, model(nodes, weights(), X, {"gate": None, "y_h": None})), Options()), Naming()
    )[0]
    assert [output.target for output in artifact.config.outputs] == ["step_labels", "recording_value"]
    gate, h = steps(artifact, np.random.default_rng(0).standard_normal((6, SMALL)))
    np.testing.assert_allclose(gate, 1 / (1 + np.exp(-h)), atol=1e-6)
