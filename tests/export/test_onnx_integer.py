"""Integer ONNX files: every bit of every output and state is that of the integer reference."""

from __future__ import annotations

from array import array

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru_export import onnx_integer
from edgegru_export.stimulus import gaussian_input, jumping_input
from edgegru_export.verification import verify
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.integer_reference import IntegerReference
from tests.builders import random_artifact, random_integer_artifact
from tests.export.onnx_file import ACTIVATIONS, SHAPES, feeds, quantized_artifact, random_states, session
from tests.export.test_onnx_float import two_outputs


@given(artifact=st.builds(quantized_artifact, st.integers(0, 99), **SHAPES))
@settings(max_examples=8)
def test_quantized_models_of_any_size_and_kind(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    path.write_bytes(onnx_integer.build(artifact))
    assert verify(path, artifact, steps=1000).largest_error == 0


def check_rows(artifact: Artifact, x: np.ndarray, seed: int = 0) -> None:
    """One step of a batch of streams in states over the whole range, each row against the reference."""
    states = random_states(artifact, len(x), seed)
    y, *after = session(onnx_integer.build(artifact)).run(None, feeds(x, states))
    engine = IntegerReference(artifact)
    for row, sample in enumerate(x):
        state = engine.new_state()
        engine.load_state(state, [h[row].astype("<i4").tobytes() for h in states])
        (expected,) = engine.step(state, array("f", sample.tobytes()))
        assert y[row].tobytes() == np.array(expected, np.float32).tobytes()
        assert [h[row].astype("<i4").tobytes() for h in after] == engine.state_arrays(state)


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("head", ["softmax", "sigmoid", "identity"])
@pytest.mark.parametrize("batch", [1, 7, 300])
def test_batches_in_any_state(reset: str, head: str, batch: int) -> None:
    artifact = random_integer_artifact(batch, 5, (9, 4), reset=reset, head=head, bias=batch != 7)
    check_rows(artifact, jumping_input(artifact, batch))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("where", ["input_linear", "hidden_linear"])
def test_linear_layers(where: str, activation: str) -> None:
    artifact = random_integer_artifact(1, 5, (9,), **{where: (7, activation)})
    check_rows(artifact, np.concatenate([gaussian_input(artifact, 30), jumping_input(artifact, 30)]))


def test_inputs_at_the_ends_of_float32() -> None:
    artifact = random_integer_artifact(2, 3, (6,))
    largest = np.finfo(np.float32).max
    x = np.array([[largest, -largest, 0], [-0.0, 1e-45, -1e-45], [1e30, -1e30, 1e30]], np.float32)
    check_rows(artifact, x)


def test_a_wide_model() -> None:
    """Accumulators far beyond 16 bits: a saturating product would show."""
    artifact = random_integer_artifact(3, 200, (150,))
    check_rows(artifact, jumping_input(artifact, 20))


def test_several_outputs() -> None:
    artifact = two_outputs(quantized_artifact(5, 2, (4,), head="identity"))
    x, states = gaussian_input(artifact, 1), random_states(artifact, 1)
    *outputs, _ = session(onnx_integer.build(artifact)).run(None, feeds(x, states))
    engine = IntegerReference(artifact)
    state = engine.new_state()
    engine.load_state(state, [states[0].astype("<i4").tobytes()])
    expected = engine.step(state, array("f", x[0].tobytes()))
    assert [output[0].tolist() for output in outputs] == expected


def test_the_file_holds_eight_bit_weights_and_no_float_product() -> None:
    artifact = quantized_artifact(6, 12, (32, 16))
    data = onnx_integer.build(artifact)
    assert data == onnx_integer.build(artifact)
    model = onnx.load_from_string(data)
    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer if "weight" in tensor.name}
    assert len(weights) == 5
    assert set(weights.values()) == {onnx.TensorProto.UINT8}
    operators = {node.op_type for node in model.graph.node}
    assert "MatMulInteger" in operators
    assert not operators & {"MatMul", "Gemm", "GRU", "Sigmoid", "Tanh", "Softmax"}


def test_without_optimisations_the_same_integers_come_out() -> None:
    """The table of tanh is then made at every step."""
    artifact = quantized_artifact(6, 3, (5,))
    data, x, states = onnx_integer.build(artifact), gaussian_input(artifact, 4), random_states(artifact, 4)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    for found, expected in zip(
        plain.run(None, feeds(x, states)), session(data).run(None, feeds(x, states)), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_float_model_is_refused() -> None:
    with pytest.raises(ExportError, match="float32.*static-w8a8"):
        onnx_integer.build(random_artifact())
