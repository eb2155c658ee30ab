"""Float artifact to integer artifact: rows, scales, biases, refusals and the error that is left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as float_arrays

from edgegru.calibration import calibrate
from edgegru.equalization import rewritten
from edgegru.integer_tensors import quantize_rows, round_with_feedback
from edgegru.observers import new_observer
from edgegru.quantization import HEADROOM, NARROWEST, quantize_artifact
from edgegru.quantization_report import advice, quantization_report
from edgegru.signal_to_noise import SignalToNoise, measure_signal_to_noise
from edgegru_export.dequantization import dequantize
from edgegru_export.saving import artifact_bytes
from edgegru_runtime.artifact import Artifact, check
from edgegru_runtime.errors import ArtifactError, CalibrationError, QuantizationError
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import LinearNode
from edgegru_runtime.reference import Reference
from edgegru_runtime.tensor import Tensor
from tests.builders import mixed_artifact, random_artifact

STATE_RMS = 0.012  # int8 operands and weights against float, random models of trained magnitude, carried state


def _recording(artifact: Artifact, steps: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(steps, artifact.config.input.size))
    for step in range(1, steps):
        x[step] = 0.9 * x[step - 1] + 0.43 * x[step]
    return (x * artifact.array("standardise.std") + artifact.array("standardise.mean")).astype(np.float32)


def _quantized(artifact: Artifact, steps: int = 200, **options: Any) -> Artifact:
    return quantize_artifact(artifact, calibrate(artifact, [_recording(artifact, steps)]), **options)


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


def test_feedback_rounds_what_moves_together_in_opposite_ways() -> None:
    """Two columns that always move together: both halves rounded up would add up, one up and one down cancel."""
    levels, moment = np.array([[0.5, 0.5, 3.0]]), np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1.0]])
    assert round_with_feedback(levels, moment).sum() == 4.0
    assert round_with_feedback(levels, np.eye(3)).tolist() == np.round(levels).tolist()
    assert round_with_feedback(levels, np.zeros((3, 3))).tolist() == np.round(levels).tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 24))
def test_feedback_changes_products_less_than_nearest_levels(seed: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    v = rng.normal(size=(2000, columns)) + rng.normal(0, 2, (2000, 1))  # a part in common
    levels = rng.uniform(-100, 100, (64, columns))
    rounded = round_with_feedback(levels, v.T @ v / len(v))
    assert np.all(rounded == np.round(rounded))
    assert np.max(np.abs(rounded)) <= 127
    errors = [np.mean(((found - levels) @ v.T) ** 2) for found in (rounded, np.round(levels))]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("reset", ["after", "before"])
def test_feedback_helps_a_model_on_data_that_it_was_not_calibrated_on(reset: str) -> None:
    artifact = random_artifact(5, 2, (24,), reset=reset)
    x = _recording(artifact, 2400)
    ranges = calibrate(artifact, [x[:1600]])
    feedback = quantize_artifact(artifact, ranges, scheme="static-w8a16")
    nearest = quantize_artifact(artifact, replace(ranges, moments={}), scheme="static-w8a16")
    noise = [measure_signal_to_noise(artifact, model, [x[1600:]]).model["dense"] for model in (feedback, nearest)]
    assert noise[0] > noise[1] + 2


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
        errors.append(h[-1] - state.numbers[-1] / 2**24)
    assert np.sqrt(np.mean(np.square(errors))) < STATE_RMS
    assert integer_engine.clipped(state) == 0


@pytest.mark.parametrize("reset", ["after", "before"])
def test_a_bias_in_the_wrong_place_would_show(reset: str) -> None:
    """Reset after scales b_hn by r; the fold must keep it apart exactly there."""
    artifact = random_artifact(6, 3, (8,), reset=reset)
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["gru0.bias_hh"][16:] = 3.0
    artifact = replace(artifact, tensors={name: Tensor.from_numpy(array) for name, array in arrays.items()})
    node = replace(artifact.config.state_nodes[0], reset="before" if reset == "after" else "after")
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
            errors.append(h[0] - state.numbers[0] / 2**24)
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
    ranges = calibrate(artifact, [_recording(artifact, 200)])
    quantized = quantize_artifact(artifact, replace(ranges, moments={}))  # to the nearest levels
    real = dequantize(quantized)
    for name in ("gru0.weight_ih", "gru0.weight_hh", "dense.weight", "hidden0.weight"):
        share = np.ones(1)  # of a column in its rows' common scale: dense reads units with a range each
        if name == "dense.weight":
            share = quantized.array("hidden0.full_scale") / quantized.array("hidden0.full_scale").max()
        step = quantized.array(f"{name}_scale")[:, None] / share
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
    """A small model whose bias is made as large as no row can bear."""
    artifact = random_artifact(3, 2, (4,))
    quantized = _quantized(artifact)
    arrays = {name: quantized.array(name).copy() for name in quantized.tensors}
    arrays["dense.bias"][1] = 2**31 - 1
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


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("candidate", ["tanh", "relu", "linear"])
def test_sixteen_bits_cost_nothing_beside_int8_weights(reset: str, candidate: str) -> None:
    artifact = mixed_artifact(5, 4, 12, reset=reset, candidate=candidate, head="identity")
    x = _recording(artifact, 1200)
    ranges = replace(calibrate(artifact, [x[:600]]), moments={})  # nearest levels, as what it is compared with has
    noise = {
        scheme: measure_signal_to_noise(artifact, quantize_artifact(artifact, ranges, scheme=scheme), [x[600:]])
        for scheme in ("static-w8a8", "static-w8a16")
    }
    assert abs(noise["static-w8a16"].cost) < 0.5
    assert noise["static-w8a8"].model["output"] > 18
    assert noise["static-w8a8"].cost > noise["static-w8a16"].cost + 1


def test_each_unit_without_a_bound_has_its_own_range() -> None:
    """One unit a hundred times larger than the others: with one scale for all, those would be left no bits."""
    artifact = random_artifact(3, 3, (8,), candidate="relu", head="identity")
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["gru0.weight_ih"][16] *= 40
    arrays["gru0.weight_hh"][:, 0] /= 40  # what reads the unit makes up for it
    arrays["dense.weight"][:, 0] /= 40
    artifact = replace(artifact, tensors={name: Tensor.from_numpy(array) for name, array in arrays.items()})
    x = _recording(artifact, 800)
    ranges = calibrate(artifact, [x[:400]])
    quantized = quantize_artifact(artifact, ranges)
    full = quantized.array("gru0.full_scale")
    reach = np.array([observer.reach(127) for observer in ranges.units["gru0"]]) * 1.1
    assert reach.max() / np.median(reach) > 10
    expected = np.sqrt(np.maximum(reach, NARROWEST * reach.max()) * reach.max())
    np.testing.assert_allclose(full, expected, rtol=1e-6)
    apart = measure_signal_to_noise(artifact, quantized, [x[400:]]).model["output"]
    widest = ranges.units["gru0"][int(np.argmax(full))]
    shared = quantize_artifact(artifact, replace(ranges, units={"gru0": [widest] * 8}))
    assert apart > measure_signal_to_noise(artifact, shared, [x[400:]]).model["output"] + 6


def test_a_narrow_input_has_16_bits_unless_told_otherwise() -> None:
    narrow, wide = random_artifact(3, 2, (16,)), random_artifact(3, 12, (16,))
    x = _recording(narrow, 600)
    ranges = calibrate(narrow, [x[:300]])
    kept = quantize_artifact(narrow, ranges)
    assert kept.config.scheme_of("standardise") == "static-w8a16"
    plain = quantize_artifact(narrow, ranges, keep={"standardise": "static-w8a8"})
    assert plain.config.scheme_of("standardise") == "static-w8a8"
    with_16, with_8 = (measure_signal_to_noise(narrow, model, [x[300:]]).model["dense"] for model in (kept, plain))
    assert with_16 > with_8
    assert _quantized(wide, 50).config.scheme_of("standardise") == "static-w8a8"
    beside = mixed_artifact(3, 1, 16)  # the input is part of a concatenation, whose other pieces have 8 bits
    assert _quantized(beside, 50).config.quantization.keep == {}  # type: ignore[union-attr]


@pytest.mark.parametrize("shape", [{}, {"reset": "before"}, {"input_linear": (12, "tanh")}])
def test_raw_inputs_are_evened_and_the_model_stays_the_same_function(shape: dict[str, Any]) -> None:
    artifact = random_artifact(2, 6, (8,), **shape)
    mean, std = np.array([-40, 0, 0.1, 0, 0, 0], np.float32), np.array([30, 1, 0.5, 1, 2, 0.25], np.float32)
    scales = {"standardise.mean": Tensor.from_numpy(mean), "standardise.std": Tensor.from_numpy(std)}
    artifact = replace(artifact, tensors={**artifact.tensors, **scales})
    raw = rewritten(artifact, np.zeros(6, np.float32), np.ones(6, np.float32))
    x = _recording(artifact, 900)
    engines = [Reference(model, np.float64) for model in (artifact, raw)]
    states = [engine.new_state() for engine in engines]
    pairs = [[engine.step(state, v)[0] for engine, state in zip(engines, states, strict=True)] for v in x]
    np.testing.assert_allclose(*np.array(pairs).swapaxes(0, 1), rtol=0, atol=1e-5)

    ranges = calibrate(raw, [x[:500]])
    keep = {"standardise": "static-w8a8"}
    evened = quantize_artifact(raw, ranges, keep=keep)
    assert np.ptp(np.log2(evened.array("standardise.std"))) > 4
    noise = measure_signal_to_noise(raw, evened, [x[500:]])
    assert noise.model["standardise"] > 30
    assert noise.model["dense"] > 25
    report = quantization_report(raw, evened, ranges)
    assert all(tensor.relative_error < 0.02 for tensor in report.tensors)
    # Without: the small channels have no steps left.
    alike = replace(ranges, channels=[ranges.channels[0]] * 6)
    assert measure_signal_to_noise(raw, quantize_artifact(raw, alike, keep=keep), [x[500:]]).model["dense"] < 20


def test_standardised_inputs_stay_as_they_are() -> None:
    artifact = random_artifact(3, 12, (6,))
    quantized = _quantized(artifact)
    assert quantized.tensors["standardise.std"] == artifact.tensors["standardise.std"]


def test_sixteen_bits_side_by_side_leave_the_weights_as_they_are() -> None:
    """The pieces of a concatenation differ by magnitudes, and yet every weight is at the nearest level of its row."""
    artifact = mixed_artifact(3, 3, 6, head="identity")
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["standardise.std"] /= 50
    artifact = replace(artifact, tensors={name: Tensor.from_numpy(array) for name, array in arrays.items()})
    x = _recording(artifact, 200) * 50
    ranges = calibrate(artifact, [x])
    ranges = replace(ranges, moments={})  # nearest levels, to compare with
    wide = quantize_artifact(artifact, ranges, scheme="static-w8a16")
    rounded, _, _ = quantize_rows(artifact.array("hidden0.weight"), None, np.ones(6))
    assert wide.array("hidden0.weight").tolist() == rounded.tolist()
    narrow = quantize_artifact(artifact, ranges, keep={"standardise": "static-w8a8"})
    assert narrow.array("hidden0.weight").tolist() != rounded.tolist()


@pytest.mark.parametrize("keep", [{"gru0"}, {"standardise"}, {"gru0", "standardise"}])
def test_sixteen_bits_beside_eight_do_no_harm(keep: set[str]) -> None:
    """Both are pieces of one concatenation: the columns of the finer one must not be left without weights."""
    artifact = mixed_artifact(1, 3, 8, reset="before")
    x = _recording(artifact, 1000)
    ranges = calibrate(artifact, [x[:500]])
    kept = quantize_artifact(artifact, ranges, keep=dict.fromkeys(keep, "static-w8a16"))
    plain = quantize_artifact(artifact, ranges)
    with_16, with_8 = (measure_signal_to_noise(artifact, model, [x[500:]]).model["dense"] for model in (kept, plain))
    assert with_16 > with_8 - 0.5


def test_what_is_kept_has_the_other_width() -> None:
    artifact = mixed_artifact(3, 3, 6)
    ranges = calibrate(artifact, [_recording(artifact, 200)])
    plain = quantize_artifact(artifact, ranges)
    kept = quantize_artifact(artifact, ranges, keep={"gru0": "static-w8a16", "standardise": "static-w8a8"})
    assert kept.config.quantization is not None
    assert plain.config.quantization is not None
    assert kept.config.quantization.keep == {"gru0": "static-w8a16"}  # what the scheme is anyway needs no word
    assert kept.config.quantization.operand_scale["gru0"] == 2.0**-15
    for name in ("standardise", "gate"):
        assert kept.config.quantization.operand_scale[name] == plain.config.quantization.operand_scale[name]
    assert kept.config.identity != plain.config.identity
    whole = quantize_artifact(artifact, ranges, scheme="static-w8a16").config.quantization
    assert whole is not None
    ratio = plain.config.quantization.operand_scale["standardise"] / whole.operand_scale["standardise"]
    assert ratio == pytest.approx(32767 / 127 / HEADROOM[16])


def test_dynamic_weights_need_no_calibration() -> None:
    artifact = mixed_artifact(3, 3, 6)
    quantized = quantize_artifact(artifact, None, scheme="dynamic-w8", keep={"dense": "float32"})
    for node, kind in (("gru0", "weight_ih"), ("gru0", "weight_hh"), ("conv0", "weight"), ("gate", "weight")):
        assert quantized.tensors[f"{node}.{kind}"].dtype == "int8"
        assert 4 * len(quantized.tensors[f"{node}.{kind}"].data) == len(artifact.tensors[f"{node}.{kind}"].data)
    assert quantized.tensors["dense.weight"] == artifact.tensors["dense.weight"]
    assert quantized.tensors["gru0.bias_ih"] == artifact.tensors["gru0.bias_ih"]
    noise = measure_signal_to_noise(artifact, quantized, [_recording(artifact, 300)])
    assert noise.model["dense"] > 30
    with pytest.raises(CalibrationError, match="static-w8a8 has no calibration data, expected recordings"):
        quantize_artifact(artifact, None)


@pytest.mark.parametrize(
    ("scheme", "keep", "message"),
    [
        ("static-w8a8", {"dense": "static-w8a16"}, "'dense' has nothing to keep in static-w8a8, expected one of stand"),
        ("static-w8a8", {"gru7": "static-w8a16"}, "'gru7' is no node of the model in static-w8a8, expected one of"),
        ("static-w8a8", {"gru0": "float32"}, "gru0 cannot be kept at 'float32' in static-w8a8, expected stat"),
        ("dynamic-w8", {"gru0": "float32"}, "'gru0' has nothing to keep in dynamic-w8, expected one of dense"),
        ("dynamic-w8", {"dense": "static-w8a8"}, "dense cannot be kept at 'static-w8a8' in dynamic-w8, expected dyn"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(scheme: str, keep: dict[str, str], message: str) -> None:
    artifact = random_artifact(3, 2, (4,))
    ranges = calibrate(artifact, [_recording(artifact, 50)])
    with pytest.raises(QuantizationError, match=message):
        quantize_artifact(artifact, ranges, scheme=scheme, keep=keep)


def test_the_advice_is_one_sentence_and_only_where_8_bits_cost_much() -> None:
    noise = SignalToNoise({"dense": 40.0}, {"dense": 36.5}, ("dense",), 100)
    assert advice("static-w8a8", noise) == (
        "int8 values cost 3.5 dB on the calibration data (dense: 36.5 dB, 40.0 dB with int8 weights alone): "
        "--scheme static-w8a16 is recommended"
    )
    assert advice("static-w8a16", noise) is None
    assert advice("static-w8a8", replace(noise, model={"dense": 37.5})) is None


def test_clips_of_the_calibration_data_stay_in_the_file() -> None:
    artifact = random_artifact(3, 4, (6,))
    x = _recording(artifact, 15_000)
    x[7, 0] = artifact.array("standardise.mean")[0] + 40 * artifact.array("standardise.std")[0]
    saturating = quantize_artifact(artifact, calibrate(artifact, [x], "percentile"))
    assert saturating.config.quantization is not None
    share = saturating.config.quantization.clips["standardise"]
    limit = 127 * saturating.config.quantization.operand_scale["standardise"]
    z = (x - artifact.array("standardise.mean")) / artifact.array("standardise.std")
    assert 0 < share == pytest.approx(np.mean(np.abs(z) > limit), rel=0.3)
    plain = quantize_artifact(artifact, calibrate(artifact, [x])).config.quantization
    assert plain is not None
    assert plain.clips == {}


def test_the_report_of_every_scheme_names_every_integer_tensor() -> None:
    artifact = mixed_artifact(3, 3, 6, candidate="relu")
    ranges = calibrate(artifact, [_recording(artifact, 200)])
    for scheme in ("static-w8a8", "static-w8a16", "dynamic-w8"):
        quantized = quantize_artifact(artifact, ranges, scheme=scheme)
        report = quantization_report(artifact, quantized, ranges)
        integers = {name for name, tensor in quantized.tensors.items() if tensor.dtype != "float32"}
        assert {tensor.name for tensor in report.tensors} == integers
        assert all(0 < tensor.relative_error < 0.02 for tensor in report.tensors)
        operands = {"standardise", "conv0", "gru0", "hidden0", "sum", "gate", "product"} - {"hidden0"}
        assert {operand.name for operand in report.operands} == (operands if scheme != "dynamic-w8" else set())
