"""Integer ONNX files: every bit of every output and state is that of the integer reference."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.integer_soak import soak
from edgegru_export import onnx_integer
from edgegru_export.stimulus import gaussian_input, jumping_input
from edgegru_export.verification import verify
from edgegru_runtime import Model, load
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError, VerificationError
from edgegru_runtime.integer_layers import Gru
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import ACTIVATIONS, CANDIDATE_ACTIVATIONS, RESETS, STATIC_SCHEMES
from tests.builders import (
    SIZES,
    TOKENS,
    drawn_config,
    drawn_keep,
    from_arrays,
    mixed_artifact,
    mixed_config,
    quantized,
    random_artifact,
    random_floats,
    random_integer_artifact,
    random_integers,
)
from tests.export.onnx_file import SHAPES, feeds, quantized_artifact, random_states, session
from tests.export.test_onnx_float import two_outputs


@given(
    artifact=st.builds(
        quantized_artifact,
        st.integers(0, 99),
        **SHAPES,
        candidate=st.sampled_from(CANDIDATE_ACTIVATIONS),
        scheme=st.sampled_from(STATIC_SCHEMES),
    )
)
@settings(max_examples=5)
def test_quantized_models_of_any_size(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    path.write_bytes(onnx_integer.build(artifact))
    assert verify(path, artifact, steps=1000).largest_error == 0


def check_rows(artifact: Artifact, x: np.ndarray, seed: int = 0) -> None:
    """One step of a batch of streams in states over the whole range, each row against the reference."""
    states = random_states(artifact, len(x), seed)
    found, count = session(onnx_integer.build(artifact)).run(None, feeds(x, states)), len(artifact.config.outputs)
    engine = IntegerReference(artifact)
    for row, sample in enumerate(x):
        state = engine.new_state()
        engine.load_state(state, [h[row].astype("<i4").tobytes() for h in states])
        expected = engine.step(state, array("f", sample.tobytes()))
        assert [y[row].tolist() for y in found[:count]] == expected
        assert [h[row].astype("<i4").tobytes() for h in found[count:]] == engine.state_arrays(state)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("candidate", CANDIDATE_ACTIVATIONS)
def test_sizes_around_the_edges_of_vectors(size: int, candidate: str) -> None:
    for scheme, reset in zip(STATIC_SCHEMES, RESETS if size % 2 else RESETS[::-1], strict=True):
        config = mixed_config(size, size, reset=reset, candidate=candidate, bias=size != 7)
        artifact = random_integers(config, size, scheme)
        check_rows(artifact, jumping_input(artifact, 7), size)
        check_rows(artifact, gaussian_input(artifact, 1), size)


@pytest.mark.parametrize("seed", range(24))
def test_models_of_every_kind_and_mixed_widths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    config, scheme = drawn_config(rng), STATIC_SCHEMES[seed % 2]
    keep = drawn_keep(rng, config, scheme)
    artifact = random_integers(config, seed, scheme, keep, octaves=4)
    check_rows(artifact, jumping_input(artifact, 40), seed)
    artifact = quantized(random_floats(config, seed), scheme, keep)
    check_rows(artifact, np.concatenate([gaussian_input(artifact, 20), jumping_input(artifact, 20)]), seed)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("head", ["softmax", "sigmoid", "identity"])
@pytest.mark.parametrize("batch", [1, 7, 300])
def test_batches_in_any_state(reset: str, head: str, batch: int) -> None:
    artifact = random_integer_artifact(batch, 5, (9, 4), reset=reset, head=head, bias=batch != 7)
    check_rows(artifact, jumping_input(artifact, batch))


@pytest.mark.parametrize("octaves", [0, 8])
@pytest.mark.parametrize("seed", range(4))
def test_logarithms_of_tokens(seed: int, octaves: float) -> None:
    artifact = random_integers(mixed_config(**TOKENS), seed, STATIC_SCHEMES[seed % 2], octaves=octaves)
    check_rows(artifact, np.concatenate([gaussian_input(artifact, 30), jumping_input(artifact, 30)]), seed)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("where", ["input_linear", "hidden_linear"])
def test_linear_layers(where: str, activation: str) -> None:
    artifact = random_integer_artifact(1, 5, (9,), **{where: (7, activation)})
    check_rows(artifact, np.concatenate([gaussian_input(artifact, 30), jumping_input(artifact, 30)]))


@pytest.mark.parametrize("scheme", STATIC_SCHEMES)
def test_inputs_at_the_ends_of_float32(scheme: str) -> None:
    artifact = random_integer_artifact(2, 3, (6,), scheme=scheme)
    largest = np.finfo(np.float32).max
    x = np.array([[largest, -largest, 0], [-0.0, 1e-45, -1e-45], [1e30, -1e30, 1e30]], np.float32)
    check_rows(artifact, x)


@pytest.mark.parametrize(("scheme", "columns"), [("static-w8a8", 2000), ("static-w8a16", 515)])
def test_accumulators_at_the_end_of_their_range(scheme: str, columns: int) -> None:
    """Every weight at its limit and every operand as well: 16-bit accumulators reach 2^31."""
    artifact = random_integer_artifact(3, columns, (5,), scheme=scheme, bias=False)
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["gru0.weight_ih"][:] = 127
    arrays["gru0.weight_ih"][::2] = -127
    x = np.float32(1e6) * np.array([[1], [-1]], np.float32) * np.ones(columns, np.float32)
    check_rows(from_arrays(artifact.config, arrays), x)


def test_arguments_far_beyond_32_bits_saturate() -> None:
    """Where ONNX Runtime's own Clip of 64-bit integers does not."""
    artifact = random_integer_artifact(1, 3, (9,), candidate="linear")
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    for name in ("gru0.weight_ih_scale", "gru0.weight_hh_scale", "dense.weight_scale"):
        for factor in 2.0 ** np.arange(0, 14):
            scaled = from_arrays(artifact.config, {**arrays, name: arrays[name] * np.float32(factor)})
            check_rows(scaled, jumping_input(scaled, 30))


def test_a_soak_finds_no_difference() -> None:
    result = soak(4000, 0)
    assert (result["steps"], result["differences"], result["first_difference"]) == (4000, 0, None)
    assert result["models"] == 4


@pytest.mark.parametrize("scheme", STATIC_SCHEMES)
def test_a_state_moves_between_engines(scheme: str, tmp_path: Path) -> None:
    artifact = quantized(mixed_artifact(2, candidate="relu"), scheme)
    (tmp_path / "model.onnx").write_bytes(onnx_integer.build(artifact))
    models, x = (Model(artifact), load(tmp_path / "model.onnx")), gaussian_input(artifact, 60)
    whole = Model(artifact).stream()
    expected = whole.run(x)[40:].tobytes()
    for before in models:
        for after in models:
            first, second = before.stream(), after.stream()
            first.run(x[:40])
            second.state = first.state
            assert second.run(x[40:]).tobytes() == expected
            assert second.state[64:-4] == whole.state[64:-4]


@pytest.mark.parametrize("scheme", STATIC_SCHEMES)
@pytest.mark.parametrize("reset", RESETS)
def test_a_flipped_formulation_fails(reset: str, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Flipped(IntegerReference):
        def __init__(self, artifact: Artifact) -> None:
            super().__init__(artifact)
            for layer in self.layers.values():
                if isinstance(layer, Gru):
                    layer.reset = "before" if layer.reset == "after" else "after"

    artifact = quantized(mixed_artifact(2, reset=reset), scheme)
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_integer.build(artifact))
    assert verify(path, artifact).largest_error == 0
    monkeypatch.setattr(onnx_integer, "IntegerReference", Flipped)
    path.write_bytes(onnx_integer.build(artifact))
    with pytest.raises(VerificationError, match="h1 off by at most"):
        verify(path, artifact)


def test_several_outputs() -> None:
    artifact = quantized(two_outputs(mixed_artifact(5)))
    x, states = gaussian_input(artifact, 1), random_states(artifact, 1)
    y, y1, *_ = session(onnx_integer.build(artifact)).run(None, feeds(x, states))
    engine = IntegerReference(artifact)
    state = engine.new_state()
    engine.load_state(state, [h.astype("<i4").tobytes() for h in states])
    expected = engine.step(state, array("f", x[0].tobytes()))
    assert [output[0].tolist() for output in (y, y1)] == expected


@pytest.mark.parametrize(("scheme", "products"), [("static-w8a8", 5), ("static-w8a16", 10)])
def test_the_file_holds_eight_bit_weights_and_no_float_product(scheme: str, products: int) -> None:
    """And 16-bit operands cost a second product, 8-bit ones do not."""
    artifact = random_integer_artifact(6, 12, (32, 16), scheme=scheme)
    data = onnx_integer.build(artifact)
    assert data == onnx_integer.build(artifact)
    model = onnx.load_from_string(data)
    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer if "weight" in tensor.name}
    assert len(weights) == 5
    assert set(weights.values()) == {onnx.TensorProto.UINT8}
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("MatMulInteger") == products
    assert not {*operators} & {"MatMul", "Gemm", "GRU", "Sigmoid", "Tanh", "Softmax", "Conv"}


def test_without_optimisations_the_same_integers_come_out() -> None:
    """The table of tanh is then made at every step."""
    artifact = quantized(mixed_artifact(6, embedding=True))
    data, x, states = onnx_integer.build(artifact), gaussian_input(artifact, 4), random_states(artifact, 4)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    for found, expected in zip(
        plain.run(None, feeds(x, states)), session(data).run(None, feeds(x, states)), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scheme", ["float32", "dynamic-w8"])
def test_other_schemes_are_refused(scheme: str) -> None:
    artifact = random_artifact()
    with pytest.raises(ExportError, match=f"{scheme}.*static-w8a8 or static-w8a16"):
        onnx_integer.build(artifact if scheme == "float32" else quantized(artifact, scheme))
