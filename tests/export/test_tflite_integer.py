"""Integer TFLite files: as close to the integer reference as 16-bit activations are, and refused where they lie."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru.quantization import HEADROOM
from edgegru_export import tflite_integer
from edgegru_export.closed_loop import run_steps
from edgegru_export.dequantization import dequantize
from edgegru_export.exporting import export
from edgegru_export.stimulus import gaussian_input
from edgegru_export.tflite_model import Model
from edgegru_export.tflite_ranges import INT16, INT16_BY_ROOM
from edgegru_export.verification import verify
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError, VerificationError
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model import load
from edgegru_runtime.model_config import (
    ACTIVATIONS,
    CANDIDATE_ACTIVATIONS,
    GATE_ACTIVATIONS,
    RESETS,
    STATIC_SCHEMES,
    GruNode,
    LinearNode,
    QuantizationConfig,
)
from edgegru_runtime.reference import Reference
from tests.builders import (
    SIZES,
    TOKENS,
    changed,
    drawn_config,
    drawn_keep,
    from_arrays,
    mixed_artifact,
    quantized,
    random_artifact,
    random_floats,
)
from tests.export.onnx_file import SHAPES, quantized_artifact
from tests.export.tflite_file import (
    change_constant,
    change_scales,
    constant,
    swap_halves,
    tensor,
    unpacked,
    with_metadata_of,
    with_second_head,
)

STATES = pytest.mark.parametrize("state", ["io", "variables"])


def errors(file: Path, artifact: Artifact, steps: int) -> dict[str, np.ndarray]:
    """Differences from the float model of the dequantized weights, by output and state."""
    inputs = gaussian_input(artifact, steps)
    model = dequantize(artifact)
    expected = run_steps(Reference(model, np.float64), model, inputs)
    found = run_steps(load(file).engine, artifact, inputs)
    return {name: found[name] - expected[name] for name in found}


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


@given(
    artifact=st.builds(
        quantized_artifact,
        st.integers(0, 99),
        **SHAPES,
        candidate=st.sampled_from(CANDIDATE_ACTIVATIONS),
        scheme=st.sampled_from(STATIC_SCHEMES),
    ),
    state=st.sampled_from(["io", "variables"]),
)
@settings(max_examples=8)
def test_models_of_any_size_and_kind(artifact: Artifact, state: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("tflite") / "model.tflite"
    path.write_bytes(tflite_integer.build(artifact, state))
    report = verify(path, artifact, steps=1000)
    assert {deviation.name[0] for deviation in report.deviations} == ({"y", "h"} if state == "io" else {"y"})


@pytest.mark.parametrize("seed", range(8))
def test_nodes_of_every_kind_and_mixed_widths(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    config, scheme = drawn_config(rng, SIZES[2:]), STATIC_SCHEMES[seed % 2]
    artifact = quantized(random_floats(config, seed), scheme, drawn_keep(rng, config, scheme))
    assert export(artifact, tmp_path / "model.tflite", format="tflite", state=("io", "variables")[seed % 3 == 0]).passed


@pytest.mark.parametrize("scheme", STATIC_SCHEMES)
@pytest.mark.parametrize("factor", [1, 20])
def test_logarithms_of_tokens(factor: float, scheme: str, tmp_path: Path) -> None:
    """Those of improbable tokens too, far beyond where probabilities saturate."""
    model = mixed_artifact(3, 3, 9, **TOKENS)
    arrays = {name: model.array(name) for name in model.tensors}
    arrays["dense.weight"] = arrays["dense.weight"] * np.float32(factor)
    artifact = quantized(from_arrays(model.config, arrays), scheme)
    report = export(artifact, tmp_path / "model.tflite", format="tflite")
    assert report.other_decisions is not None and report.other_decisions < 0.05


@pytest.mark.parametrize("scheme", STATIC_SCHEMES)
@pytest.mark.parametrize("gates", GATE_ACTIVATIONS)
@pytest.mark.parametrize("candidate", CANDIDATE_ACTIVATIONS)
@pytest.mark.parametrize("reset", RESETS)
def test_every_kind_of_node_comes_close(reset: str, candidate: str, gates: str, scheme: str, tmp_path: Path) -> None:
    """Closer to the float model than the reference with 8-bit operands; with 16 bits about as close, or by less than
    half a unit in the last place farther at a step.
    """
    model = mixed_artifact(3, 4, 9, reset=reset, candidate=candidate, gates=gates, embedding=reset == "before")
    report = export(quantized(model, scheme), tmp_path / "model.tflite", format="tflite")
    assert report.one_step is not None
    assert report.one_step.rms < report.one_step.own_rms + 0.5
    if scheme == "static-w8a8":
        assert report.rms_ratio is not None
        assert report.rms_ratio <= 1.001  # that of what the convolution keeps, which are the reference's operands


@pytest.mark.parametrize("reset", RESETS)
def test_sixteen_bits_add_next_to_nothing_to_the_error_of_the_weights(reset: str, tmp_path: Path) -> None:
    """The integer reference's own rms error, from int8 operands, is about 1e-3 here."""
    artifact = quantized_artifact(2, 6, (32,), reset=reset)
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_integer.build(artifact))
    found = errors(path, artifact, 1000)
    assert rms(found["h0"]) < 1.2e-4
    assert rms(found["y"]) < 4e-5


@pytest.mark.parametrize("scheme", ["static-w8a8", "static-w8a16"])
@pytest.mark.parametrize("gate", ["rz", "n"])
def test_large_products_of_opposite_signs_add_up(
    gate: str, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight units stay near 1; what they add to the arguments of eight others is as large as those units' biases."""
    model = random_artifact(2, 6, (16,))
    arrays = {name: model.array(name).copy() for name in model.tensors}
    recurrent, bias = arrays["gru0.weight_hh"].reshape(3, 16, 16), arrays["gru0.bias_ih"].reshape(3, 16)
    bias[2, :8] += 5
    opposite = {"rz": (slice(0, 2), 14), "n": (slice(2, 3), 8)}[gate]
    recurrent[opposite[0], 8:, :8] -= opposite[1] / 8
    bias[opposite[0], 8:] += opposite[1]
    artifact = quantized(from_arrays(model.config, arrays), scheme)
    assert export(artifact, tmp_path / "model.tflite", format="tflite").passed
    monkeypatch.setattr(tflite_integer, "INT16_BY_ROOM", INT16_BY_ROOM[:1] * 2)
    with pytest.raises(VerificationError, match="h0 off by at most"):
        export(artifact, tmp_path / "other.tflite", format="tflite")


@pytest.mark.parametrize("reset", RESETS)
def test_with_16_bit_operands_the_reference_is_no_nearer(reset: str, tmp_path: Path) -> None:
    artifact = quantized_artifact(2, 6, (32,), reset=reset, scheme="static-w8a16")
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_integer.build(artifact))
    report = verify(path, artifact, steps=2000)
    assert report.rms_ratio is not None
    assert report.rms_ratio < 1.25
    assert report.other_decisions is not None
    assert report.other_decisions <= 0.001
    assert report.one_step is not None
    assert report.one_step.near > 0.75
    assert report.one_step.largest < 25


def test_headroom_is_that_of_quantization() -> None:
    assert tflite_integer.OPERAND_HEADROOM == HEADROOM
    assert INT16.headroom == HEADROOM[16]  # so that 16-bit operands are the reference's own


def test_argument_scales_make_the_tables_exact() -> None:
    """Within two units of the real functions, for every argument: at 2^-12 and 2^-11 LiteRT is off by twelve."""
    every = np.arange(-(2**15), 2**15, dtype=np.int16)
    for operator, kind, function in (
        ("TANH", INT16.tanh_argument, np.tanh),
        ("LOGISTIC", INT16.sigmoid_argument, lambda v: 0.5 + 0.5 * np.tanh(v / 2)),
    ):
        model = Model()
        graph = model.add_subgraph("step")
        argument = graph.input("argument", (1, len(every)), kind)
        value = graph.add(operator, [argument], "value", argument.shape, INT16.fraction)
        model.add_signature("step", graph, {"argument": argument}, {"value": value})
        interpreter = Interpreter(model_content=model.to_bytes('{"a":1}'), num_threads=1)
        found = interpreter.get_signature_runner("step")(argument=every[np.newaxis])["value"][0]
        assert kind.scale is not None
        error = found - np.minimum(function(every.astype(np.float64) * kind.scale) * 2.0**15, 2**15 - 1)
        assert np.max(np.abs(error)) < 2


@pytest.mark.parametrize("candidate", CANDIDATE_ACTIVATIONS)
@pytest.mark.parametrize(
    ("scheme", "int8_state"), [("static-w8a8", False), ("static-w8a8", True), ("static-w8a16", False)]
)
def test_states_move_between_engines(candidate: str, scheme: str, int8_state: bool, tmp_path: Path) -> None:
    """What the file holds is restored unchanged, and the reference goes on from there."""
    artifact = quantized(mixed_artifact(4, 3, 8, candidate=candidate), scheme)
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_integer.build(artifact, allow_int8_state=int8_state))
    x = gaussian_input(artifact, 60)
    engine, reference = load(path).engine, IntegerReference(artifact)
    state, other, third = engine.new_state(), engine.new_state(), reference.new_state()
    for sample in x[:30]:
        engine.step(state, array("f", sample.tobytes()))
    blobs = engine.state_arrays(state)
    engine.load_state(other, blobs)
    reference.load_state(third, blobs)
    assert engine.state_arrays(other) == blobs
    tolerance = 0.3 if int8_state else 0.05
    for sample in x[30:]:
        steps = ((engine, state), (engine, other), (reference, third))
        (y,), (y_other,), (y_third,) = (runner.step(s, array("f", sample.tobytes())) for runner, s in steps)
        assert y == y_other
        np.testing.assert_allclose(y, y_third, atol=tolerance)


@STATES
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_linear_layers(activation: str, state: str, tmp_path: Path) -> None:
    bias = state == "io"
    artifact = quantized_artifact(1, 5, (9,), input_linear=(7, activation), hidden_linear=(4, activation), bias=bias)
    assert export(artifact, tmp_path / "model.tflite", format="tflite", state=state).passed


@STATES
def test_several_outputs_of_one_value(state: str, tmp_path: Path) -> None:
    artifact = quantized(with_second_head(random_artifact(5, 2, (4,), head="identity"), "sigmoid"))
    report = export(artifact, tmp_path / "model.tflite", format="tflite", state=state)
    assert [deviation.name for deviation in report.deviations][:2] == ["y", "y1"]


def test_outputs_of_very_different_size_keep_their_own_precision(tmp_path: Path) -> None:
    model = random_artifact(4, 3, (16,), output_size=3, head="identity")
    sizes = np.array([1e-3, 1, 1e4], np.float32)
    arrays = {name: model.array(name) for name in model.tensors}
    arrays |= {"dense.weight": arrays["dense.weight"] * sizes[:, None], "dense.bias": arrays["dense.bias"] * sizes}
    artifact = quantized(from_arrays(model.config, arrays))
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_integer.build(artifact))
    for column, size in zip(errors(path, artifact, 300)["y"].T, sizes, strict=True):
        assert rms(column) < 1e-3 * size


def test_an_output_may_leave_its_calibrated_range(tmp_path: Path) -> None:
    artifact = quantized_artifact(4, 3, (16,), head="identity")
    arrays = {name: artifact.array(name) for name in artifact.tensors}
    arrays["dense.output_scale"] = arrays["dense.output_scale"] / np.float32(3)
    narrow = from_arrays(changed(artifact.config), arrays)
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_integer.build(narrow))
    assert rms(errors(path, narrow, 300)["y"]) < 1e-3


@pytest.mark.parametrize("time_constant", [64, 512])
def test_a_slow_unit_comes_close_to_its_target(time_constant: int, tmp_path: Path) -> None:
    """A constant input until all has settled: what is left is half a step of the state times the time constant."""
    model = random_artifact(5, 2, (16,))
    arrays = {name: model.array(name).copy() for name in model.tensors}
    z = slice(16, 32)
    for name in ("gru0.weight_ih", "gru0.weight_hh", "gru0.bias_hh"):
        arrays[name][z] = 0
    arrays["gru0.weight_hh"][32:] = 0
    arrays["gru0.bias_ih"][z] = np.log(time_constant - 1)
    artifact = quantized(from_arrays(model.config, arrays))
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_integer.build(artifact))
    inputs = np.repeat(gaussian_input(artifact, 1), 12 * time_constant, axis=0)
    float_model = dequantize(artifact)
    expected = run_steps(Reference(float_model), float_model, inputs)["h0"][-1]
    found = run_steps(load(path).engine, artifact, inputs)["h0"][-1]
    assert np.max(np.abs(found - expected)) < 1.25 * time_constant * 2.0**-15
    assert rms(found - expected) < 0.75 * time_constant * 2.0**-15


@pytest.mark.parametrize("scheme", STATIC_SCHEMES)
def test_weights_and_biases_enter_unchanged(scheme: str) -> None:
    """The scales of rows that multiply h too. Of 16 bits the operands are the reference's own, and so are the
    accumulators; the input of 8 bits is finer, by eight bits less that of its headroom.
    """
    artifact = quantized_artifact(6, 3, (5,), scheme=scheme)
    model = unpacked(tflite_integer.build(artifact))
    parts = [("gru0.rz_x", "gru0.n_x"), ("gru0.rz_h", "gru0.n_h"), ("dense",)]
    for name, pieces in zip(("gru0.weight_ih", "gru0.weight_hh", "dense.weight"), parts, strict=True):
        stored = np.concatenate([constant(model, f"{piece}.weight") for piece in pieces])
        scales = np.concatenate([tensor(model, f"{piece}.weight").quantization.scale for piece in pieces])
        np.testing.assert_array_equal(stored.reshape(artifact.array(name).shape), artifact.array(name))
        if name != "gru0.weight_ih":
            np.testing.assert_array_equal(scales, artifact.array(f"{name}_scale"))
    biases = [constant(model, f"{piece}.bias") for piece in ("gru0.rz_x", "gru0.n_x", "gru0.n_h")]
    assert {bias.dtype for bias in biases} == {np.dtype(np.int64)}
    finer = 1 if scheme == "static-w8a16" else 2**7
    np.testing.assert_array_equal(np.concatenate(biases[:2]), artifact.array("gru0.bias_ih").astype(np.int64) * finer)
    if scheme == "static-w8a16":
        np.testing.assert_array_equal(biases[2], artifact.array("gru0.bias_hn"))


@pytest.mark.parametrize("scheme", STATIC_SCHEMES)
@pytest.mark.parametrize("reset", RESETS)
def test_the_other_formulation_is_detected(reset: str, scheme: str, tmp_path: Path) -> None:
    artifact = quantized_artifact(7, 4, (12,), reset=reset, bias=False, scheme=scheme)
    other = "before" if reset == "after" else "after"
    nodes = tuple(replace(n, reset=other) if isinstance(n, GruNode) else n for n in artifact.config.nodes)
    assert artifact.config.quantization is not None
    scales = artifact.config.quantization.operand_scale
    quantization = replace(artifact.config.quantization, operand_scale={"gru0.rh": scales["gru0"], **scales})
    flipped = replace(artifact, config=replace(artifact.config, nodes=nodes, quantization=quantization))
    path = tmp_path / "model.tflite"
    path.write_bytes(with_metadata_of(tflite_integer.build(flipped), tflite_integer.build(artifact)))
    with pytest.raises(VerificationError, match="does not compute what its model computes"):
        verify(path, artifact)


@pytest.mark.parametrize("scheme", STATIC_SCHEMES)
@pytest.mark.parametrize(
    ("name", "change", "how"),
    [
        ("gru0.rz_x.weight", change_constant, swap_halves),
        ("gru0.rz_h.weight", change_constant, swap_halves),
        ("gru0.n_x.weight", change_scales, lambda scales: np.roll(scales, 1)),
        ("gru0.n_h.weight", change_scales, lambda scales: scales * 1.1),
        ("dense.weight", change_scales, lambda scales: scales * 1.1),
        ("gru0.n_x.bias", change_constant, np.zeros_like),
    ],
)
def test_a_damaged_file_is_detected(
    name: str, change: Callable[..., None], how: Callable[[Any], Any], scheme: str, tmp_path: Path
) -> None:
    artifact = quantized_artifact(8, 4, (12,), scheme=scheme)
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_integer.build(artifact))
    change(path, name, lambda values: values)
    assert verify(path, artifact).passed
    change(path, name, how)
    with pytest.raises(VerificationError, match="does not compute what its model computes"):
        verify(path, artifact)


@pytest.mark.parametrize(
    ("name", "change", "how"),
    [
        ("gru0.n_h.weight", change_scales, lambda scales: scales * 1.01),
        ("conv0.weight", change_constant, lambda weight: weight[:, ::-1]),
        ("embedding.weight", change_constant, lambda table: table[::-1]),
        ("sum.b.weight", change_scales, lambda scales: scales * 1.1),
        ("product.a.weight", change_scales, lambda scales: scales * 1.1),
        ("gru0.n_x.bias", change_constant, np.zeros_like),
    ],
)
def test_a_damaged_file_of_other_nodes_is_detected(
    name: str, change: Callable[..., None], how: Callable[[Any], Any], tmp_path: Path
) -> None:
    artifact = quantized(mixed_artifact(8, 4, 9, candidate="relu", embedding=True), "static-w8a16")
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_integer.build(artifact))
    change(path, name, lambda values: values)
    assert verify(path, artifact).passed
    change(path, name, how)
    with pytest.raises(VerificationError, match="does not compute what its model computes"):
        verify(path, artifact)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("head", ["softmax", "identity"])
def test_all_int8_is_coarse_but_the_same_model(reset: str, head: str, tmp_path: Path) -> None:
    artifact = quantized_artifact(2, 6, (32,), reset=reset, head=head)
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_integer.build(artifact, allow_int8_state=True))
    found = errors(path, artifact, 1000)
    assert 5e-3 < rms(found["h0"]) < 3e-2
    assert rms(found["y"]) < (3e-2 if head == "identity" else 1e-2)


def test_what_the_format_cannot_hold_is_refused() -> None:
    with pytest.raises(ExportError, match=r"float32.*static-w8a8"):
        tflite_integer.build(random_artifact())
    with pytest.raises(ExportError, match="int8 state was allowed for a static-w8a16 model"):
        tflite_integer.build(quantized_artifact(scheme="static-w8a16"), allow_int8_state=True)
    kept = quantized(mixed_artifact(), "static-w8a8", {"gru0": "static-w8a16"})
    with pytest.raises(ExportError, match="gru0 is kept at 16 bits"):
        tflite_integer.build(kept, allow_int8_state=True)
    artifact = quantized_artifact(hidden_linear=(4, "tanh"))
    for kind, field in ((GruNode, "candidate_activation"), (LinearNode, "activation")):
        nodes = tuple(replace(n, **{field: "swish"}) if isinstance(n, kind) else n for n in artifact.config.nodes)
        with pytest.raises(ExportError, match=r"swish.*TFLite export knows"):
            tflite_integer.build(replace(artifact, config=replace(artifact.config, nodes=nodes)))


def test_scales_beyond_the_kernels_are_refused() -> None:
    artifact = quantized_artifact(head="identity")
    assert artifact.config.quantization is not None
    arrays = {name: artifact.array(name) for name in artifact.tensors}
    small = {"dense.output_scale": arrays["dense.output_scale"] * np.float32(1e-8)}
    with pytest.raises(ExportError, match=r"dense.*weight scale"):
        tflite_integer.build(from_arrays(artifact.config, arrays | small))
    scales = artifact.config.quantization.operand_scale
    wide = changed(artifact.config, quantization=QuantizationConfig({**scales, "gru0": scales["gru0"] * 1e6}))
    arrays["gru0.bias_hn"] = np.full_like(arrays["gru0.bias_hn"], 2**28)
    with pytest.raises(ExportError, match=r"gru0.n_h.*bias"):
        tflite_integer.build(from_arrays(wide, arrays))
