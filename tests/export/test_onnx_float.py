"""Float ONNX files: both formulations, any batch, steps and whole sequences, one self-contained file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru_export import onnx_float
from edgegru_export.gate_order import EDGEGRU, KERAS, ONNX, reorder_gates
from edgegru_export.onnx_graph import IR_VERSION, OPSET
from edgegru_export.stimulus import gaussian_input
from edgegru_export.verification import verify
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.model_config import GruNode, HeadNode, OutputConfig
from tests.builders import changed, from_arrays, random_artifact, random_integer_artifact
from tests.export.onnx_file import SHAPES, feeds, random_states, session

FORMULATIONS = pytest.mark.parametrize(
    ("reset", "bias"), [("after", True), ("after", False), ("before", True), ("before", False)]
)


@given(artifact=st.builds(random_artifact, st.integers(0, 99), **SHAPES), sequence=st.booleans())
@settings(max_examples=20)
def test_models_of_any_size_and_kind_compute_the_reference(
    artifact: Artifact, sequence: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    path.write_bytes(onnx_float.build(artifact, sequence))
    report = verify(path, artifact, steps=1000)
    assert report.passed
    assert {deviation.name[0] for deviation in report.deviations} == {"y", "h"}


@FORMULATIONS
def test_each_row_of_a_batch_is_a_stream_of_its_own(reset: str, bias: bool) -> None:
    artifact = random_artifact(3, 5, (9, 4), reset=reset, bias=bias, head="identity")
    run = session(onnx_float.build(artifact)).run
    states = random_states(artifact, 7)
    x = gaussian_input(artifact, 7)
    together = run(None, feeds(x, states))
    for row in range(7):
        alone = run(None, feeds(x[row : row + 1], [h[row : row + 1] for h in states]))
        for both, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(both[row], one[0], rtol=0, atol=1e-6)


@FORMULATIONS
def test_a_sequence_is_its_steps(reset: str, bias: bool) -> None:
    artifact = random_artifact(4, 3, (6, 8), reset=reset, bias=bias, head="sigmoid")
    step, whole = session(onnx_float.build(artifact)).run, session(onnx_float.build(artifact, sequence=True)).run
    for time, batch in ((1, 1), (2, 7), (37, 3)):
        x = gaussian_input(artifact, time * batch).reshape(time, batch, 3)
        states = random_states(artifact, batch)
        y, *last = whole(None, feeds(x, states))
        for t in range(time):
            y_t, *states = step(None, feeds(x[t], states))
            np.testing.assert_allclose(y[t], y_t, rtol=0, atol=1e-6)
        for after, expected in zip(last, states, strict=True):
            np.testing.assert_allclose(after, expected, rtol=0, atol=1e-6)


def test_several_outputs_and_a_head_on_a_state() -> None:
    artifact = two_outputs(random_artifact(5, 2, (4,), head="identity"))
    y, y1, h = session(onnx_float.build(artifact)).run(
        None, feeds(gaussian_input(artifact, 1), [np.zeros((1, 4), "f")])
    )
    assert y.shape == (1, 4)
    np.testing.assert_allclose(y1, 1 / (1 + np.exp(-h)), atol=1e-6)


def two_outputs(artifact: Artifact) -> Artifact:
    """The same with a second output: a sigmoid head on the last GRU."""
    config = artifact.config
    gru = config.gru_nodes[-1]
    head = HeadNode("gates", (gru.name,), gru.hidden_size, "sigmoid")
    output = OutputConfig("gates", "step_label", tuple(f"unit {index}" for index in range(gru.hidden_size)))
    wider = changed(config, nodes=(*config.nodes, head), outputs=(*config.outputs, output))
    return from_arrays(wider, {name: artifact.array(name) for name in artifact.tensors})


def test_the_file_is_modest_and_describes_itself(tmp_path: Path) -> None:
    artifact = random_artifact(6, 3, (5, 4))
    data = onnx_float.build(artifact)
    assert data == onnx_float.build(artifact)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [entry.version for entry in model.opset_import]) == (IR_VERSION, [OPSET])
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    ours, onnx_shape = [value.name for value in model.graph.input], model.graph.input[1].type.tensor_type.shape.dim
    assert ours == ["x", "h0", "h1"]
    assert [value.name for value in model.graph.output] == ["y", "h0_next", "h1_next"]
    assert (onnx_shape[0].dim_param, onnx_shape[1].dim_value) == ("batch", 5)
    (entry,) = model.metadata_props
    document = json.loads(entry.value)
    assert (entry.key, document["identity"]) == ("edgegru", artifact.config.identity)
    assert document["export"]["states"][1] == {"input": "h1", "output": "h1_next", "node": "gru1", "shape": [1, 4]}
    np.testing.assert_array_equal(document["export"]["standardise"]["mean"], artifact.array("standardise.mean"))


def test_what_the_operator_is_not_given_is_refused() -> None:
    with pytest.raises(ExportError, match="static-w8a8.*float32"):
        onnx_float.build(random_integer_artifact())
    artifact = random_artifact()
    nodes = tuple(
        replace(node, candidate_activation="relu") if isinstance(node, GruNode) else node
        for node in artifact.config.nodes
    )
    with pytest.raises(ExportError, match="gru0.*relu"):
        onnx_float.build(replace(artifact, config=replace(artifact.config, nodes=tuple(nodes))))


def test_gates_change_places_and_come_back() -> None:
    rows = np.repeat([10, 20, 30], 2)[:, None] + np.arange(3)
    moved = reorder_gates(rows, EDGEGRU, ONNX)
    assert moved[:, 0].tolist() == [20, 20, 10, 10, 30, 30]
    assert ONNX == KERAS
    np.testing.assert_array_equal(reorder_gates(moved, ONNX, EDGEGRU), rows)
