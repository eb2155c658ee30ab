"""Files as exporters write them: both of torch, our own, and the graphs of tf2onnx."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

from edgegru.importing import import_model
from edgegru_export import onnx_float
from tests import builders
from tests.host.onnx_graphs import HIDDEN, SMALL, gru, imported, model, saved, steps, weights

SEEDS = range(6)


class Tagger(torch.nn.Module):
    """What people export: something before a GRU of some layers, something behind it."""

    def __init__(self, layers: int = 1, **parts: Any) -> None:
        super().__init__()
        self.parts = parts
        self.batch_first = parts.get("batch_first", True)
        self.embedding = torch.nn.Embedding(11, SMALL) if "embedding" in parts else None
        self.conv = torch.nn.Conv1d(SMALL, SMALL, 3, dilation=2, groups=SMALL) if "conv" in parts else None
        self.gru = torch.nn.GRU(SMALL, HIDDEN, layers, batch_first=self.batch_first, bias=parts.get("bias", True))
        self.norm = parts["norm"](HIDDEN) if "norm" in parts else None
        self.dense = torch.nn.Linear(HIDDEN, parts.get("outputs", 4))

    def forward(self, x: Any, *h: Any) -> Any:
        if self.embedding is not None:
            x = self.embedding(x)
        if self.conv is not None:
            x = self.conv(torch.nn.functional.pad(x.transpose(1, 2), (4, 0))).tanh().transpose(1, 2)
        y, h_n = self.gru(x, *h)
        if isinstance(self.norm, torch.nn.BatchNorm1d):
            y = self.norm(y.transpose(1, 2)).transpose(1, 2)
        elif self.norm is not None:
            y = self.norm(y)
        last = self.parts.get("last")
        y = y[:, -1] if last == "y" else h_n[-1] if last == "h" else y
        y = self.dense(y)
        if "activation" in self.parts:
            y = self.parts["activation"](y)
        return (y, h_n) if h else y


def written(
    path: Path, module: Any, arguments: tuple[Any, ...], *, dynamo: bool, opset: int = 17, dynamic: bool = False
) -> None:
    """A file of one of torch's exporters; ``dynamic``: for any batch and time, by the older one."""
    names = ["x", "h"][: len(arguments)]
    time = {0: "time"} if arguments[0].ndim == 2 and module.__class__ is torch.nn.GRU else {1: "time"}
    options: dict[str, Any] = {"input_names": names, "opset_version": 18 if dynamo else opset, "dynamo": dynamo}
    if dynamic:
        options["dynamic_axes"] = {"x": time | ({0: "batch"} if 1 in time else {}), "h": {1: "batch"}}
    silent = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), arguments, str(path), **options)


MODULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "layers": {"layers": 2},
    "without biases": {"bias": False},
    "last step": {"last": "y"},
    "last state": {"layers": 2, "last": "h"},
    "depthwise convolution": {"conv": True},
    "batch normalisation": {"norm": torch.nn.BatchNorm1d},
    "softmax": {"activation": torch.nn.Softmax(-1)},
    "embedding": {"embedding": True},
    "tokens": {"embedding": True, "outputs": 11, "activation": torch.nn.LogSoftmax(-1)},
}


def example(parts: dict[str, Any]) -> Any:
    torch.manual_seed(3)
    return torch.randint(0, 11, (2, 7)) if "embedding" in parts else torch.randn(2, 7, SMALL)


def check(path: Path, module: Any, parts: dict[str, Any]) -> None:
    """The artifact against torch itself."""
    artifact = imported(path)
    x = example(parts)
    with torch.no_grad():
        expected = module(x)[0].numpy()
    found = steps(artifact, x[0].reshape(7, -1).numpy())[0]
    np.testing.assert_allclose(found[-1] if expected.ndim == 1 else found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("opset", [9, 13, 17])
@pytest.mark.parametrize("name", MODULES)
def test_torch_script_exporter(tmp_path: Path, name: str, opset: int, dynamic: bool):
    parts = MODULES[name]
    torch.manual_seed(1)
    module = Tagger(**parts)
    written(tmp_path / "m.onnx", module, (example(parts),), dynamo=False, opset=opset, dynamic=dynamic)
    check(tmp_path / "m.onnx", module, parts)


@pytest.mark.parametrize("name", MODULES)
def test_torch_dynamo_exporter(tmp_path: Path, name: str):
    parts = MODULES[name]
    torch.manual_seed(1)
    module = Tagger(**parts)
    written(tmp_path / "m.onnx", module, (example(parts),), dynamo=True)
    check(tmp_path / "m.onnx", module, parts)


@pytest.mark.parametrize("dynamo", [False, True])
def test_streaming_step_of_torch(tmp_path: Path, dynamo: bool):
    """(x, h) → (y, h_n), the state of both layers in one tensor, which is no output of the artifact."""
    torch.manual_seed(2)
    module = Tagger(2)
    arguments = (torch.randn(1, 1, SMALL), torch.zeros(2, 1, HIDDEN))
    written(tmp_path / "m.onnx", module, arguments, dynamo=dynamo)
    report = import_model(tmp_path / "m.onnx", tmp_path / "m.safetensors")
    assert report.layers == ("standardise", "gru0", "gru1", "linear0", "output") and report.steps == 510
    artifact, x = imported(tmp_path / "m.onnx"), torch.randn(1, 20, SMALL)
    with torch.no_grad():
        expected = module(x, torch.zeros(2, 1, HIDDEN))[0][0].numpy()
    np.testing.assert_allclose(steps(artifact, x[0].numpy())[0], expected, rtol=0, atol=2e-6)


def test_sequences_with_a_state_of_torch_run_in_one_call(tmp_path: Path):
    module = Tagger(2)
    arguments = (torch.randn(2, 7, SMALL), torch.zeros(2, 2, HIDDEN))
    written(tmp_path / "m.onnx", module, arguments, dynamo=False, dynamic=True)
    artifact = imported(tmp_path / "m.onnx")
    assert [node.kind for node in artifact.config.nodes] == ["standardise", "gru", "gru", "linear", "identity"]


@pytest.mark.parametrize("shape", [(7, SMALL), (2, 7, SMALL)])
def test_bare_gru_of_torch_gives_its_last_state_too(tmp_path: Path, shape: tuple[int, ...]):
    module = torch.nn.GRU(SMALL, HIDDEN, batch_first=True)
    written(tmp_path / "m.onnx", module, (torch.randn(shape),), dynamo=False, dynamic=True)
    targets = [output.target for output in imported(tmp_path / "m.onnx").config.outputs]
    assert targets == ["step_value", "recording_value"]


@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize("make", [builders.random_artifact, builders.mixed_artifact])
@pytest.mark.parametrize("seed", SEEDS)
def test_own_float_exports_come_back(tmp_path: Path, seed: int, make: Any, sequence: bool):
    """Standardisation, embedding, convolution states and all."""
    original = make(seed)
    (tmp_path / "m.onnx").write_bytes(onnx_float.build(original, sequence))
    artifact = imported(tmp_path / "m.onnx")
    assert artifact.config.state_nodes and len(artifact.config.outputs) == len(original.config.outputs)
    xs = builders.gaussian_input(original, 40)
    for ours, theirs in zip(steps(artifact, xs), steps(original, xs), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sequence", [False, True])
def test_own_exports_of_any_shape_come_back(tmp_path: Path, seed: int, sequence: bool):
    original = builders.random_floats(builders.drawn_config(np.random.default_rng(seed), (1, 2, 3)), seed)
    (tmp_path / "m.onnx").write_bytes(onnx_float.build(original, sequence))
    xs = builders.gaussian_input(original, 40)
    for ours, theirs in zip(steps(imported(tmp_path / "m.onnx"), xs), steps(original, xs), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * max(1, float(np.abs(theirs).max())))


@pytest.mark.parametrize("linear_before_reset", [0, 1])
def test_graph_of_tf2onnx(tmp_path: Path, linear_before_reset: int):
    """Keras' GRU and Dense: batch first outside, h0 from the batch's size, shapes computed for the reshape."""
    node = helper.make_node
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("Shape", ["x"], ["s"]),
        node("Slice", ["s", "zero", "one"], ["n"]),
        node("Concat", ["one", "n", "units"], ["hs"], axis=0),
        node("Expand", ["nought", "hs"], ["h0"]),
        gru(("xt", "W", "R", "B", "", "h0"), ("Y", ""), linear_before_reset=linear_before_reset),
        node("Squeeze", ["Y", "one"], ["Ys"]),
        node("Transpose", ["Ys"], ["Yt"], perm=[1, 0, 2]),
        node("Shape", ["Yt"], ["ys"]),
        node("Cast", ["ys"], ["ys32"], to=6),
        node("Cast", ["ys32"], ["ys64"], to=7),
        node("Slice", ["ys64", "zero", "two"], ["lead"]),
        node("Concat", ["lead", "four"], ["rs"], axis=0),
        node("Reshape", ["Yt", "flat"], ["r"]),
        node("MatMul", ["r", "D"], ["d"]),
        node("Add", ["d", "b"], ["db"]),
        node("Reshape", ["db", "rs"], ["o"]),
        node("Sigmoid", ["o"], ["y"]),
    ]
    rng = np.random.default_rng(4)
    constants = {
        **weights(),
        **{
            name: np.array([value])
            for name, value in (("zero", 0), ("one", 1), ("two", 2), ("four", 4), ("units", HIDDEN))
        },
        "flat": np.array([-1, HIDDEN]),
        "nought": np.zeros((1, 1, 1), np.float32),
        "D": rng.standard_normal((HIDDEN, 4)).astype(np.float32),
        "b": rng.standard_normal(4).astype(np.float32),
    }
    made = model(nodes, constants, {"x": ["unk__1", "unk__2", SMALL]}, {"y": ["unk__3", "unk__4", 4]})
    artifact = imported(saved(tmp_path, made))
    assert [node.kind for node in artifact.config.nodes] == ["standardise", "gru", "linear", "sigmoid"]
    assert artifact.config.nodes[1].reset == ("before", "after")[linear_before_reset]
