"""ONNX files for the tests of their import, written with onnx.helper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgegru.importing import convert
from edgegru.imports.assembling import Naming
from edgegru.imports.onnx_file import read
from edgegru.imports.source import Options
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.reference import Reference

Shape = Sequence[int | str | None] | None
KINDS = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int64": TensorProto.INT64}
SMALL, HIDDEN = 3, 5  # channels and units where a test does not care


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any],
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape],
    *,
    opset: int | None = 17,
    kinds: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """A model; inputs are float32 unless ``kinds`` says otherwise; ``opset`` None: it names none."""

    def value(name: str, shape: Shape) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, KINDS[(kinds or {}).get(name, "float32")], shape)

    graph = helper.make_graph(
        nodes,
        "test",
        [value(*each) for each in inputs.items()],
        [value(*each) for each in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset or 17)], ir_version=8)
    if opset is None:
        del made.opset_import[:]
    return made


def weights(
    seed: int = 0, input_size: int = SMALL, hidden_size: int = HIDDEN, bias: bool = True, suffix: str = ""
) -> dict[str, np.ndarray]:
    """W, R and B: drawn, so that no two gates, units or formulations are alike."""
    rng = np.random.default_rng(seed)
    shapes = {"W": (1, 3 * hidden_size, input_size), "R": (1, 3 * hidden_size, hidden_size), "B": (1, 6 * hidden_size)}
    drawn = {name: rng.uniform(-0.9, 0.9, shape).astype(np.float32) for name, shape in shapes.items()}
    return {name + suffix: array for name, array in drawn.items() if bias or name != "B"}


def gru(
    inputs: Sequence[str] = ("x", "W", "R", "B"),
    outputs: Sequence[str] = ("y", "y_h"),
    hidden_size: int = HIDDEN,
    **attributes: Any,
) -> onnx.NodeProto:
    return helper.make_node("GRU", inputs, outputs, hidden_size=hidden_size, **attributes)


def small(**attributes: Any) -> onnx.ModelProto:
    """x → GRU → y, time first, of any length."""
    return model([gru(**attributes)], weights(), {"x": ["T", 1, SMALL]}, {"y": ["T", 1, 1, HIDDEN]})


def saved(folder: Path, made: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def imported(path: Path, **options: Any) -> Artifact:
    """The artifact of a file, checked against its source."""
    return convert(read(path, Options(**options)), Naming())[0]


def steps(artifact: Artifact, xs: np.ndarray) -> list[np.ndarray]:
    """Every output of the artifact for xs (T, channels): (T, size)."""
    engine = Reference(artifact)
    state = engine.new_state()
    results = [engine.step(state, x) for x in np.asarray(xs, np.float32)]
    return [np.array(column) for column in zip(*results, strict=True)]
