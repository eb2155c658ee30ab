"""Float ONNX files: both formulations, any batch, steps and whole sequences, one self-contained file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru_export import onnx_float
from edgegru_export.exporting import export
from edgegru_export.gate_order import EDGEGRU, KERAS, ONNX, reorder_gates
from edgegru_export.onnx_graph import IR_VERSION, OPSET
from edgegru_export.stimulus import gaussian_input
from edgegru_export.verification import verify
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.model_config import CANDIDATE_ACTIVATIONS, HeadNode, OutputConfig
from edgegru_runtime.reference import Reference
from tests.builders import (
    TOKENS,
    changed,
    drawn_float_config,
    from_arrays,
    mixed_artifact,
    quantized,
    random_artifact,
    random_floats,
)
from tests.export.onnx_file import SHAPES, feeds, random_states, session

FORMULATIONS = pytest.mark.parametrize(
    ("reset", "bias"), [("after", True), ("after", False), ("before", True), ("before", False)]
)


@given(
    artifact=st.builds(random_artifact, st.integers(0, 99), **SHAPES, candidate=st.sampled_from(CANDIDATE_ACTIVATIONS)),
    sequence=st.booleans(),
)
@settings(max_examples=12)
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


@given(
    artifact=st.integers(0, 999).map(lambda seed: random_floats(drawn_float_config(np.random.default_rng(seed)), seed))
)
@settings(max_examples=10)
def test_nodes_of_every_kind(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    for sequence in (False, True):
        path.write_bytes(onnx_float.build(artifact, sequence))
        assert verify(path, artifact).passed


@pytest.mark.parametrize("sequence", [False, True])
def test_logarithms_of_tokens(sequence: bool, tmp_path: Path) -> None:
    assert export(mixed_artifact(2, **TOKENS), tmp_path / "model.onnx", format="onnx", sequence=sequence).passed


@FORMULATIONS
@pytest.mark.parametrize("kernel_size", [1, 4])
def test_a_sequence_is_its_steps(reset: str, bias: bool, kernel_size: int) -> None:
    """Sequences shorter than what a convolution keeps, too."""
    artifact = mixed_artifact(4, 3, 6, reset=reset, bias=bias, candidate="relu", kernel_size=kernel_size, dilation=3)
    step, whole = session(onnx_float.build(artifact)).run, session(onnx_float.build(artifact, sequence=True)).run
    for time, batch in ((1, 1), (2, 7), (37, 3)):
        x = gaussian_input(artifact, time * batch).reshape(time, batch, 3)
        states = random_states(artifact, batch)
        y, *last = whole(None, feeds(x, states))
        for t in range(time):
            y_t, *states = step(None, feeds(x[t], states))
            np.testing.assert_allclose(y[t], y_t, rtol=0, atol=1e-6)
        for after, expected in zip(last, states, strict=True):
            np.testing.assert_allclose(after, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("x", [-1e30, -0.5, 0.4999, 0.5, 1.5, 10.49, 11.0, 11.5, 3e38])
def test_an_embedding_takes_the_nearest_row(x: float) -> None:
    artifact = mixed_artifact(1, embedding=True)
    states = [np.zeros((1, node.state_size), np.float32) for node in artifact.config.state_nodes]
    y, *_ = session(onnx_float.build(artifact)).run(None, feeds(np.array([[x]], np.float32), states))
    reference = Reference(artifact)
    np.testing.assert_allclose(y[0], reference.step(reference.new_state(), [x])[0], rtol=0, atol=1e-6)


def test_several_outputs() -> None:
    artifact = two_outputs(mixed_artifact(5))
    y, y1, *_ = session(onnx_float.build(artifact)).run(
        None, feeds(gaussian_input(artifact, 1), random_states(artifact, 1))
    )
    reference = Reference(artifact)
    state = reference.new_state()
    state[:] = [h[0] for h in random_states(artifact, 1)]
    for found, expected in zip((y, y1), reference.step(state, gaussian_input(artifact, 1)[0]), strict=True):
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-6)


def two_outputs(artifact: Artifact) -> Artifact:
    """The same of ``mixed_artifact`` with a second output: an identity head on the product."""
    config = artifact.config
    size = config.node("product").output_size
    output = OutputConfig("values", "step_value", tuple(f"unit {index}" for index in range(size)))
    nodes = (*config.nodes, HeadNode("values", ("product",), size, "identity"))
    wider = changed(config, nodes=nodes, outputs=(*config.outputs, output))
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


@pytest.mark.parametrize("scheme", ["static-w8a8", "static-w8a16", "dynamic-w8"])
def test_other_schemes_are_refused(scheme: str) -> None:
    with pytest.raises(ExportError, match=f"{scheme}.*float32"):
        onnx_float.build(quantized(random_artifact(), scheme))


def test_gates_change_places_and_come_back() -> None:
    rows = np.repeat([10, 20, 30], 2)[:, None] + np.arange(3)
    moved = reorder_gates(rows, EDGEGRU, ONNX)
    assert moved[:, 0].tolist() == [20, 20, 10, 10, 30, 30]
    assert ONNX == KERAS
    np.testing.assert_array_equal(reorder_gates(moved, ONNX, EDGEGRU), rows)
