"""What an ONNX file must not have: each is one sentence that names the node and the attribute."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgegru.importing import import_model
from edgegru.imports import onnx_walk
from edgegru_runtime.errors import ImportModelError
from tests.host.onnx_graphs import HIDDEN, SMALL, gru, imported, model, saved, small, weights

node = helper.make_node
X = {"x": ["T", 1, SMALL]}
FIXED = {"x": [4, 1, SMALL]}
W = weights()


def behind(*nodes: onnx.NodeProto, inputs: dict[str, Any] = X, **constants: Any) -> onnx.ModelProto:
    """Nodes that read y of a GRU and make z."""
    return model([gru(), *nodes], W | constants, inputs, {"z": None})


def before(*nodes: onnx.NodeProto, inputs: dict[str, Any] = X, **constants: Any) -> onnx.ModelProto:
    """Nodes that read x and make v, which a GRU reads."""
    return model([*nodes, gru(("v", "W", "R", "B"))], W | constants, inputs, {"y": None})


def with_state(first: str, **constants: Any) -> onnx.ModelProto:
    return model([gru(("x", "W", "R", "B", "", first))], W | constants, X, {"y": None})


INNER = helper.make_graph([node("Identity", ["y"], ["i"])], "inner", [], [helper.make_tensor_value_info("i", 1, None)])
BROKEN = {name: array if name != "R" else array[:, :-1] for name, array in W.items()}
NAN = {name: array if name != "R" else array * np.float32("nan") for name, array in W.items()}

REFUSED: dict[str, tuple[onnx.ModelProto, str]] = {
    "reverse": (small(direction="reverse"), "node y (GRU): direction is reverse, expected forward"),
    "clip": (small(clip=3.0), "node y (GRU): clip is 3, expected none"),
    "softsign": (
        small(activations=["Sigmoid", "Softsign"]),
        "node y (GRU): activations are Softsign for the candidate",
    ),
    "gates": (
        small(activations=["Tanh", "Tanh"]),
        "node y (GRU): activations are Tanh for the gates, expected Sigmoid",
    ),
    "alpha": (
        small(activations=["HardSigmoid", "Tanh"], activation_alpha=[0.25], activation_beta=[0.5]),
        "node y (GRU): activations are HardSigmoid (alpha 0.25, beta 0.5) for the gates",
    ),
    "slope": (
        small(activations=["Sigmoid", "Affine"], activation_alpha=[2.0], activation_beta=[0.0]),
        "node y (GRU): activations are Affine (alpha 2, beta 0) for the candidate",
    ),
    "three activations": (small(activations=["Sigmoid"] * 3), "node y (GRU): activations are ['Sigmoid',"),
    "flag": (small(linear_before_reset=2), "node y (GRU): linear_before_reset is 2 and layout 0"),
    "lstm": (
        model([node("LSTM", ["x", "W", "R"], ["z"])], W, X, {"z": None}),
        "node z (LSTM) is an LSTM, expected GRU",
    ),
    "rnn": (behind(node("RNN", ["y", "W", "R"], ["z"])), "node z (RNN) is a plain recurrent layer, expected GRU"),
    "if": (
        behind(node("If", ["c"], ["z"], then_branch=INNER, else_branch=INNER), c=True),
        "node z (If) chooses between",
    ),
    "loop": (behind(node("Loop", ["m", "c", "y"], ["z"], body=INNER), m=3, c=True), "node z (Loop) is a loop over"),
    "no gru": (model([node("Relu", ["x"], ["z"])], {}, X, {"z": None}), "the graph has no node of type GRU, but Relu"),
    "domain": (before(node("F", ["x"], ["v"], domain="com.microsoft")), "node v (com.microsoft:F) is of the domain"),
    "lengths": (
        model([gru(("x", "W", "R", "B", "L"))], W | {"L": np.array([3], np.int32)}, FIXED, {"y": None}),
        "node y (GRU): sequence_lens names a length for every sample",
    ),
    "lengths given": (
        model([gru(("x", "W", "R", "B", "L"))], W, FIXED | {"L": [1]}, {"y": None}),
        "node y (GRU): its sequence_lens is the graph input L, expected a constant",
    ),
    "weights given": (
        model([gru(("x", "W", "R", "b"))], W, X | {"b": [1, 6 * HIDDEN]}, {"y": None}),
        "node y (GRU): its B is the graph input b, expected a constant",
    ),
    "weights computed": (
        model(
            [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Mul", ["R", "s"], ["r"]), gru(("x", "W", "r"))],
            W,
            X,
            {"y": None},
        ),
        "node y (GRU): its R depends on the graph input x, expected a constant",
    ),
    "states that differ": (
        model(
            [gru(("x", "W", "R", "B", "", "h"))],
            W | {"h": np.eye(2, HIDDEN, dtype=np.float32)[None]},
            {"x": [4, 2, SMALL]},
            {"y": None},
        ),
        "node y (GRU): its initial_h differs from sample to sample",
    ),
    "shape of the state": (
        with_state("h", h=np.zeros((1, 1, 7), np.float32)),
        "node y (GRU): its initial_h has shape (1, 1, 7)",
    ),
    "shapes": (model([gru()], BROKEN, X, {"y": None}), "node y (GRU): its R has shape (1, 14, 5), expected (1, 15, 5)"),
    "not finite": (model([gru()], NAN, X, {"y": None}), "node y (GRU): its R is of float32 or not finite"),
    "channels": (
        model([gru()], W, {"x": ["T", 1, 7]}, {"y": None}),
        "node y (GRU): a GRU takes 3 numbers, but reads a value of 7",
    ),
    "half": (
        model([gru()], W, {"x": ["T", 1, SMALL]}, {"y": None}),
        "the input x is of a type other than float32, float64, int64 and int32",
    ),
    "no shape": (model([gru()], W, {"x": None}, {"y": None}), "the input x has no shape, expected one"),
    "two inputs": (
        model(
            [node("Concat", ["x", "u"], ["v"], axis=2), gru(("v", "W", "R"))],
            weights(0, 6),
            X | {"u": X["x"]},
            {"y": ["T"]},
        ),
        "the graph has the inputs x and u, expected one and states that an output hands on",
    ),
    "reversed": (
        before(node("Slice", ["x", "e", "b", "z", "e"], ["v"]), e=[-1], b=[-(2**62)], z=[0]),
        "node v (Slice): reverses time",
    ),
    "subsampled": (
        before(node("Slice", ["x", "z", "b", "z", "s"], ["v"]), z=[0], b=[2**62], s=[2]),
        "node v (Slice): takes every 2th step",
    ),
    "one step": (
        behind(node("Gather", ["y", "i"], ["z"]), i=0),
        "node z (Gather): takes the steps 0 to 0 of any number",
    ),
    "reverse sequence": (
        before(node("ReverseSequence", ["x", "l"], ["v"]), l=[4]),
        "node v (ReverseSequence): reverses time",
    ),
    "pooled": (behind(node("ReduceMean", ["y"], ["z"], axes=[0])), "node z (ReduceMean): pools over time"),
    "attention": (
        behind(node("Softmax", ["y"], ["z"], axis=0)),
        "node z (Softmax): probabilities add up along axis 0 of (time,",
    ),
    "logarithm": (
        behind(node("LogSoftmax", ["y"], ["z"], axis=-1)),
        "logarithms of 5 probabilities and the model begins with no embedding, expected as many rows as probabilities",
    ),
    "unknown": (behind(node("Erf", ["y"], ["z"])), "node z (Erf): is no operator that the import knows"),
    "hard sigmoid": (
        behind(node("HardSigmoid", ["y"], ["z"], alpha=0.3)),
        "node z (HardSigmoid): alpha 0.3 and beta 0.5, expected",
    ),
    "clipped": (
        behind(node("Clip", ["y", "a", "b"], ["z"]), a=np.float32(-1), b=np.float32(1)),
        "node z (Clip): keeps values between -1.0 and 1.0",
    ),
    "quotient": (
        behind(node("Div", ["one", "y"], ["z"]), one=np.float32(1)),
        "node z (Div): divides by the input or by zero",
    ),
    "table over time": (
        behind(node("Mul", ["y", "t"], ["z"]), inputs=FIXED, t=np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1)),
        "node z (Mul): a constant differs along time",
    ),
    "time as features": (
        behind(node("Reshape", ["y", "s"], ["z"]), inputs=FIXED, s=[1, 4 * HIDDEN]),
        "node z (Reshape): (time, 1, 1, 5) becomes [1, 20], which mixes time",
    ),
    "repeated": (behind(node("Add", ["y", "y_h"], ["z"])), "node z (Add): combines every step and the last step"),
    "looking ahead": (
        before(
            node("Transpose", ["x"], ["t"], perm=[1, 2, 0]),
            node("Conv", ["t", "K"], ["c"], pads=[1, 1]),
            node("Transpose", ["c"], ["v"], perm=[2, 0, 1]),
            K=np.ones((3, 3, 3), np.float32),
        ),
        "node c (Conv): looks 1 steps ahead, expected a causal convolution",
    ),
    "strided": (
        before(
            node("Transpose", ["x"], ["t"], perm=[1, 2, 0]),
            node("Conv", ["t", "K"], ["c"], strides=[2]),
            node("Transpose", ["c"], ["v"], perm=[2, 0, 1]),
            K=np.ones((3, 3, 1), np.float32),
        ),
        "node c (Conv): strides [2] leave out steps",
    ),
    "computed state": (
        model(
            [gru(), gru(("y2", "W2", "R2", "", "", "y_h"), ("z", "")), node("Squeeze", ["y", "a"], ["y2"])],
            W | weights(1, HIDDEN, suffix="2") | {"a": np.array([1])},
            X,
            {"z": None},
        ),
        "node z (GRU): its initial_h is computed from the input",
    ),
    "state not handed on": (
        model(
            [gru(("x", "W", "R", "", "", "h")), node("Relu", ["h"], ["g"]), node("Add", ["y", "g"], ["z"])],
            W,
            {"x": [1, 1, SMALL], "h": [1, 1, HIDDEN]},
            {"z": None},
        ),
        "node g (Relu)",
    ),
    "unrolled": (
        model(
            [
                node("MatMul", ["h", "M"], ["m"]),
                node("Tanh", ["m"], ["h_out"]),
                gru(("x", "W", "R", "", "", "s"), ("y", "s_out")),
                node("Add", ["y", "h"], ["z"]),
            ],
            W | {"M": np.eye(HIDDEN, dtype=np.float32)},
            {"x": [1, 1, SMALL], "h": [1, 1, HIDDEN], "s": [1, 1, HIDDEN]},
            {"z": None, "h_out": [1, 1, HIDDEN], "s_out": [1, 1, HIDDEN]},
        ),
        "needs its own last value, expected feedback within GRU nodes alone",
    ),
    "cycle": (
        before(node("Add", ["x", "b"], ["v"]), node("Relu", ["v"], ["b"])),
        "needs its own output, expected a graph without cycles",
    ),
    "nothing": (before(node("Add", ["x", "b"], ["v"])), "node v (Add) reads b, which nothing makes"),
    "made twice": (
        before(node("Relu", ["x"], ["v"]), node("Tanh", ["x"], ["v"])),
        "node v (Tanh) makes v, which is there already",
    ),
    "huge constant": (
        model(
            [node("ConstantOfShape", ["s"], ["c"]), node("Add", ["W", "c"], ["w"]), gru(("x", "w", "R"))],
            W | {"s": np.array([2**31, 2**31])},
            X,
            {"y": None},
        ),
        "node c (ConstantOfShape) makes 4,611,686,018,427,387,904 numbers",
    ),
    "huge expansion": (before(node("Expand", ["x", "s"], ["v"]), s=[1, 2**31, SMALL]), "node v (Expand) makes"),
    "huge tile": (
        model(
            [node("Tile", ["W", "s"], ["w"]), gru(("x", "w", "R"))],
            W | {"s": np.array([2**20, 2**20, 1])},
            X,
            {"y": None},
        ),
        "node w (Tile) makes",
    ),
    "huge range": (
        model(
            [node("Range", ["a", "b", "a"], ["i"]), node("Gather", ["W", "i"], ["w"]), gru(("x", "w", "R"))],
            W | {"a": np.array(1), "b": np.array(2**40)},
            X,
            {"y": None},
        ),
        "node i (Range) makes",
    ),
    "huge padding": (before(node("Pad", ["x", "p"], ["v"]), p=[0, 0, 0, 0, 0, 2**40]), "node v (Pad): pads by"),
    "huge input": (model([gru()], W, {"x": ["T", 1, 2**40]}, {"y": None}), "the input x has more than"),
}
REFUSED["half"][0].graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(tmp_path: Path, name: str):
    made, message = REFUSED[name]
    with pytest.raises(ImportModelError) as found:
        imported(saved(tmp_path, made))
    text = str(found.value)
    assert message in text and len(text) < 400 and "\n" not in text


def test_the_refused_are_good_but_for_one_thing(tmp_path: Path):
    imported(saved(tmp_path, small()))
    imported(saved(tmp_path, behind(node("Relu", ["y"], ["z"]))))
    imported(saved(tmp_path, before(node("Neg", ["x"], ["v"]))))
    imported(saved(tmp_path, with_state("h", h=np.zeros((1, 1, HIDDEN), np.float32))))


def test_constants_and_values_that_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each of forty nodes makes twice as many numbers as the one before."""
    doubling = [node("Concat", [f"v{index}", f"v{index}"], [f"v{index + 1}"], axis=2) for index in range(40)]
    first = node("Identity", ["x"], ["v0"])
    made = model([first, *doubling, gru(("v40", "W", "R"))], W, X, {"y": None})
    with pytest.raises(ImportModelError, match=r"node v19 \(Concat\) makes more than 1,048,576 numbers"):
        imported(saved(tmp_path, made))
    monkeypatch.setattr(onnx_walk, "LARGEST_TENSOR", 2**20)
    made = model([node("Identity", ["W"], ["v0"]), *doubling, gru(("x", "v40", "R"))], W, X, {"y": None})
    with pytest.raises(ImportModelError, match=r"\(Concat\): constants of"):
        imported(saved(tmp_path, made))


JUNK = [
    b"\x08hello",
    b'"a quoted text',
    b"8 rows of text\n" * 100,
    b"\x08" + bytes(range(256)),
    b"\x08\x07",
    b"\x12\x00",
]


@pytest.mark.parametrize("content", JUNK)
def test_what_is_no_onnx_file(tmp_path: Path, content: bytes):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ImportModelError, match="is no ONNX file"):
        import_model(path, tmp_path / "m.safetensors")
    assert not (tmp_path / "m.safetensors").exists()


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_damaged_files_give_one_error_or_a_model(tmp_path: Path, data: Any):
    """Cut, or a byte changed: never anything but ImportModelError."""
    content = bytearray(small().SerializeToString())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(1, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with contextlib.suppress(ImportModelError):
        import_model(path, tmp_path / "m.safetensors", force=True)


def test_names_that_are_no_text(tmp_path: Path):
    content = small(name="unlikely").SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(content.replace(b"unlikely", b"unl\xffkely"))
    with pytest.raises(ImportModelError, match="has names that are no UTF-8 text"):
        import_model(path, tmp_path / "m.safetensors")


LOCATIONS = ["../w.data", "/etc/hostname", "missing.data", "", "a\0b", "link.data", "folder"]


@pytest.mark.parametrize("location", LOCATIONS)
def test_external_data_elsewhere(tmp_path: Path, location: str):
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "w.data").write_bytes(bytes(10000))
    os.symlink(tmp_path / "w.data", folder / "link.data")
    made = small()
    onnx.save(made, folder / "m.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    changed = onnx.load(folder / "m.onnx", load_external_data=False)
    for tensor in changed.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = location
    with pytest.raises(ImportModelError, match=r"tensor W: external data at .*"):
        imported(saved(folder, changed))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("length", "7", "its external data has 7 bytes at 0, expected 180"),
        ("offset", "-4", "bytes at -4, expected 180"),
        ("offset", "999999999", "w.data ends within its 180 bytes"),
        ("offset", "much", "offset or length of its external data is no number"),
    ],
)
def test_external_data_of_another_size(tmp_path: Path, key: str, value: str, message: str):
    onnx.save(small(), tmp_path / "m.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    changed = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    entries = {entry.key: entry for entry in changed.graph.initializer[0].external_data}
    entries[key].value = value
    with pytest.raises(ImportModelError) as found:
        imported(saved(tmp_path, changed))
    assert message in str(found.value)


@pytest.mark.parametrize("dims", [[-1, 3], [2**40, 2**40], [1, 15, 4]])
def test_tensors_that_are_not_as_large_as_they_say(tmp_path: Path, dims: list[int]):
    made = small()
    del made.graph.initializer[0].dims[:]
    made.graph.initializer[0].dims.extend(dims)
    with pytest.raises(ImportModelError, match="tensor W is "):
        imported(saved(tmp_path, made))


def test_functions_that_never_end(tmp_path: Path):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    calls = {"A": "B", "B": "A"}
    made = model([node("A", ["x"], ["v"], domain="mine"), gru(("v", "W", "R", "B"))], W, X, {"y": None})
    made.opset_import.append(opsets[1])
    for name, called in calls.items():
        inner = [node(called, ["a"], ["o"], domain="mine")]
        made.functions.append(helper.make_function("mine", name, ["a"], ["o"], inner, opsets))
    with pytest.raises(ImportModelError, match="function A calls itself"):
        imported(saved(tmp_path, made))


def test_functions_that_explode(tmp_path: Path):
    """Each calls the one before ten times."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    made = model([node("F9", ["x"], ["v"], domain="mine"), gru(("v", "W", "R", "B"))], W, X, {"y": None})
    made.opset_import.append(opsets[1])
    for level in range(10):
        names = ["a", *(f"t{index}" for index in range(9)), "o"]
        call = ("Relu", "") if level == 0 else (f"F{level - 1}", "mine")
        inner = [node(call[0], [a], [b], domain=call[1]) for a, b in itertools.pairwise(names)]
        made.functions.append(helper.make_function("mine", f"F{level}", ["a"], ["o"], inner, opsets))
    with pytest.raises(ImportModelError, match="its functions make 10,000,000,001 nodes"):
        imported(saved(tmp_path, made))
