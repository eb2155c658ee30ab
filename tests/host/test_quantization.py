"""Float artifact to integer artifact: rows, scales, biases, refusals and the error that is left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as float_arrays

from edgegru.calibration import calibrate
from edgegru.observers import new_observer
from edgegru.quantization import quantization_report, quantize_artifact, quantize_rows
from edgegru_export.dequantization import dequantize
from edgegru_export.saving import artifact_bytes
from edgegru_runtime.artifact import Artifact, check
from edgegru_runtime.errors import ArtifactError, QuantizationError
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import LinearNode
from edgegru_runtime.reference import Reference
from edgegru_runtime.tensor import Tensor
from tests.builders import random_artifact

STATE_RMS = 0.012  # int8 operands and weights against float, random models of trained magnitude, carried state


def _recording(artifact: Artifact, steps: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(steps, artifact.config.input.size))
    for step in range(1, steps):
        x[step] = 0.9 * x[step - 1] + 0.43 * x[step]
    return (x * artifact.array("standardise.std") + artifact.array("standardise.mean")).astype(np.float32)


def _quantized(artifact: Artifact, steps: int = 200) -> Artifact:
    return quantize_artifact(artifact, calibrate(artifact, [_recording(artifact, steps)]))


@settings(max_examples=60, deadline=None)
@given(float_arrays(np.float32, (3, 5), elements=st.floats(-4, 4, width=32)), st.floats(-100, 100))
def test_rows_round_to_the_nearest_of_255_levels(weight: np.ndarray, bias: float) -> None:
    operand = np.full(3, 1 / 127)
    rows, scale, integers = quantize_rows(weight, np.full(3, bias), operand)
    assert rows.dtype == np.int8
    assert integers is not None
    assert np.min(rows) >= -127
    assert np.all(np.abs(rows * scale[:, None].astype(np.float64) - weight) <= scale[:, None] * 0.5001)
    assert np.all(np.abs(integers * scale.astype(np.float64) * operand - bias) <= scale * operand * 0.5001)
    assert np.max(np.abs(integers.astype(np.int64))) <= 2**28 + 64


def test_a_zero_row_and_a_large_bias_have_a_scale() -> None:
    weight = np.array([[0, 0], [1e-12, 0]], np.float32)
    rows, scale, bias = quantize_rows(weight, np.array([0.0, 50.0]), np.full(2, 1 / 127))
    assert bias is not None
    assert rows[0].tolist() == [0, 0]
    assert np.all(scale > 0)
    assert bias[1] * float(scale[1]) / 127 == pytest.approx(50, rel=1e-6)


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("hidden_sizes", [(3,), (33,), (16, 9, 7)])
def test_the_integer_model_follows_the_float_model(reset: str, bias: bool, hidden_sizes: tuple[int, ...]) -> None:
    artifact = random_artifact(4, 5, hidden_sizes, reset=reset, bias=bias)
    quantized = _quantized(artifact, 300)
    float_engine, integer_engine = Reference(artifact), IntegerReference(quantized)
    h, state = float_engine.new_state(), integer_engine.new_state()
    errors = []
    for sample in _recording(artifact, 300):
        float_engine.step(h, sample)
        integer_engine.step(state, sample)
        errors.append(h[-1] - state.h[-1] / 2**24)
    assert np.sqrt(np.mean(np.square(errors))) < STATE_RMS
    assert integer_engine.clipped(state) == 0


@pytest.mark.parametrize("reset", ["after", "before"])
def test_a_bias_in_the_wrong_place_would_show(reset: str) -> None:
    """Reset after scales b_hn by r; the fold must keep it apart exactly there."""
    artifact = random_artifact(6, 3, (8,), reset=reset)
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["gru0.bias_hh"][16:] = 3.0
    artifact = replace(artifact, tensors={name: Tensor.from_numpy(array) for name, array in arrays.items()})
    node = replace(artifact.config.gru_nodes[0], reset="before" if reset == "after" else "after")
    nodes = tuple(node if n.name == "gru0" else n for n in artifact.config.nodes)
    flipped = replace(artifact, config=replace(artifact.config, nodes=nodes))
    x = _recording(artifact, 100)

    def distance(source: Artifact) -> float:
        integer_engine, float_engine = IntegerReference(_quantized(source)), Reference(artifact)
        state, h = integer_engine.new_state(), float_engine.new_state()
        errors = []
        for sample in x:
            integer_engine.step(state, sample)
            float_engine.step(h, sample)
            errors.append(h[0] - state.h[0] / 2**24)
        return float(np.sqrt(np.mean(np.square(errors))))

    assert distance(artifact) < STATE_RMS
    assert distance(flipped) > 5 * STATE_RMS


def test_same_input_same_bytes_and_weights_a_quarter() -> None:
    artifact = random_artifact(2, 6, (32,))
    first, second = _quantized(artifact), _quantized(artifact)
    assert artifact_bytes(first) == artifact_bytes(second)
    for name in ("gru0.weight_ih", "gru0.weight_hh", "dense.weight"):
        assert first.tensors[name].dtype == "int8"
        assert 4 * len(first.tensors[name].data) == len(artifact.tensors[name].data)
    assert first.config.identity != artifact.config.identity


@pytest.mark.parametrize(("hidden", "ratio"), [(32, 2.1), (64, 2.8), (128, 3.5)])
def test_the_file_shrinks(hidden: int, ratio: float) -> None:
    artifact = random_artifact(2, 6, (hidden,))
    assert len(artifact_bytes(artifact)) / len(artifact_bytes(_quantized(artifact, 50))) >= ratio


def test_dequantizing_gives_the_rounded_weights_back() -> None:
    artifact = random_artifact(8, 4, (6,), head="identity", hidden_linear=(5, "relu"))
    quantized = _quantized(artifact)
    real = dequantize(quantized)
    for name in ("gru0.weight_ih", "gru0.weight_hh", "dense.weight", "hidden0.weight"):
        step = quantized.array(f"{name}_scale")[:, None]
        assert np.all(np.abs(real.array(name) - artifact.array(name)) <= 0.501 * step)


def test_the_report_names_every_tensor_and_operand() -> None:
    artifact = random_artifact(8, 4, (6,), reset="before")
    x = _recording(artifact, 100)
    ranges = calibrate(artifact, [x])
    report = quantization_report(artifact, quantize_artifact(artifact, ranges), ranges)
    assert {t.name for t in report.tensors} == {
        "gru0.weight_ih",
        "gru0.weight_hh",
        "gru0.bias_ih",
        "dense.weight",
        "dense.bias",
    }
    assert {o.name for o in report.operands} == {"standardise", "gru0", "gru0.rh"}
    for tensor in report.tensors:
        assert tensor.dtype == ("int32" if "bias" in tensor.name else "int8")
        assert 0 < tensor.relative_error < 0.02
    assert report.calibration_steps == 100
    assert report.to_dict()["scheme"] == "static-w8a8"


def test_margin_widens_the_scales_but_not_beyond_the_bound_of_h() -> None:
    artifact = random_artifact(3, 4, (6,))
    ranges = calibrate(artifact, [_recording(artifact, 100)])
    narrow, wide = (quantize_artifact(artifact, ranges, margin=margin).config.quantization for margin in (1.0, 5.0))
    assert narrow is not None
    assert wide is not None
    assert wide.operand_scale["standardise"] == pytest.approx(5 * narrow.operand_scale["standardise"])
    assert wide.operand_scale["gru0"] == pytest.approx(1 / 127)


@pytest.mark.parametrize("observer", ["percentile", "mse"])
def test_observers_that_saturate_rare_values_make_finer_steps(observer: str) -> None:
    artifact = random_artifact(3, 4, (6,))
    x = _recording(artifact, 4000)
    x[7, 0] = artifact.array("standardise.mean")[0] + 6 * artifact.array("standardise.std")[0]
    plain, finer = (
        quantize_artifact(artifact, calibrate(artifact, [x], name)).config.quantization for name in ("minmax", observer)
    )
    assert plain is not None
    assert finer is not None
    assert finer.operand_scale["standardise"] < plain.operand_scale["standardise"]
    assert finer.observer == observer


def test_refusals() -> None:
    artifact = random_artifact(3, 4, (6,))
    ranges = calibrate(artifact, [_recording(artifact, 50)])
    with pytest.raises(QuantizationError, match="already static-w8a8"):
        quantize_artifact(quantize_artifact(artifact, ranges), ranges)
    with pytest.raises(QuantizationError, match="unknown scheme 'int4'"):
        quantize_artifact(artifact, ranges, scheme="int4")
    with pytest.raises(QuantizationError, match="margin"):
        quantize_artifact(artifact, ranges, margin=0.5)
    silent = replace(ranges, operand={**ranges.operand, "gru0": new_observer("minmax")})
    with pytest.raises(QuantizationError, match="gru0 was zero"):
        quantize_artifact(artifact, silent)


def test_a_row_that_could_overflow_is_refused_by_name() -> None:
    """70,000 inputs at full scale pass 2^30; the model is built small and its bias made to say so."""
    artifact = random_artifact(3, 2, (4,))
    quantized = _quantized(artifact)
    arrays = {name: quantized.array(name).copy() for name in quantized.tensors}
    arrays["dense.bias"][1] = 2**30
    tensors = {name: Tensor.from_numpy(array) for name, array in arrays.items()}
    assert isinstance(quantized.config.node("dense"), LinearNode)
    with pytest.raises(ArtifactError, match="dense"):
        artifact_bytes(replace(quantized, config=replace(quantized.config, identity=""), tensors=tensors))


@pytest.mark.parametrize("matrix", ["weight_ih", "weight_hh"])
def test_a_recurrent_weight_that_stays_float_is_a_failure(matrix: str) -> None:
    artifact = random_artifact(3, 2, (4,))
    quantized = _quantized(artifact)
    tensors = {**quantized.tensors, f"gru0.{matrix}": artifact.tensors[f"gru0.{matrix}"]}
    with pytest.raises(ArtifactError, match=f"gru0.{matrix}.*float32.*expected int8"):
        check(quantized.config, tensors)


def test_the_file_command_keeps_what_exists(tmp_path: Path) -> None:
    from edgegru.quantization import quantize

    existing = tmp_path / "out.safetensors"
    existing.write_text("mine")
    with pytest.raises(QuantizationError, match="exists already"):
        quantize(tmp_path / "model", tmp_path, existing)
    assert existing.read_text() == "mine"


@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_values_beside_a_large_offset_keep_their_steps(offset: float) -> None:
    artifact = random_artifact(0, 3, (8,), output_size=2, head="identity")
    bias = Tensor.from_numpy(np.array([0, offset * np.abs(artifact.array("dense.weight")[1]).max()], np.float32))
    artifact = replace(artifact, tensors={**artifact.tensors, "dense.bias": bias})
    x = _recording(artifact, 200)
    ranges = calibrate(artifact, [x])
    quantized = quantize_artifact(artifact, ranges)
    reference, integer = Reference(artifact, np.float64), IntegerReference(quantized)
    states = reference.new_state(), integer.new_state()
    pairs = np.array([(reference.step(states[0], v)[0], integer.step(states[1], v)[0]) for v in x])
    errors = np.sqrt(np.mean((pairs[:, 1] - pairs[:, 0]) ** 2, axis=0))
    assert np.all(errors < 0.1 * np.std(pairs[:, 0], axis=0))
    report = quantization_report(artifact, quantized, ranges)
    assert "dense.bias" not in {tensor.name for tensor in report.tensors}
