"""Integer TFLite files: as close to the integer reference as 16-bit activations are, and refused where they lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru_export import tflite_integer
from edgegru_export.closed_loop import run_steps
from edgegru_export.dequantization import dequantize
from edgegru_export.exporting import export
from edgegru_export.stimulus import gaussian_input
from edgegru_export.verification import verify
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError, VerificationError
from edgegru_runtime.model import load
from edgegru_runtime.model_config import GruNode, LinearNode, QuantizationConfig
from edgegru_runtime.reference import Reference
from tests.builders import changed, from_arrays, random_artifact
from tests.export.onnx_file import ACTIVATIONS, SHAPES, quantized, quantized_artifact
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
    expected = run_steps(Reference(model, np.float64), model.config, inputs)
    found = run_steps(load(file).engine, artifact.config, inputs)
    return {name: found[name] - expected[name] for name in found}


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


@given(artifact=st.builds(quantized_artifact, st.integers(0, 99), **SHAPES), state=st.sampled_from(["io", "variables"]))
@settings(max_examples=8)
def test_models_of_any_size_and_kind(artifact: Artifact, state: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("tflite") / "model.tflite"
    path.write_bytes(tflite_integer.build(artifact, state))
    report = verify(path, artifact, steps=1000)
    assert {deviation.name[0] for deviation in report.deviations} == ({"y", "h"} if state == "io" else {"y"})


@pytest.mark.parametrize("reset", ["after", "before"])
def test_sixteen_bits_add_next_to_nothing_to_the_error_of_the_weights(reset: str, tmp_path: Path) -> None:
    """The integer reference's own rms error, from int8 operands, is about 5e-3 here."""
    artifact = quantized_artifact(2, 6, (32,), reset=reset)
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_integer.build(artifact))
    found = errors(path, artifact, 1000)
    assert rms(found["h0"]) < 3e-4
    assert rms(found["y"]) < 1e-4


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
    expected = run_steps(Reference(float_model), float_model.config, inputs)["h0"][-1]
    found = run_steps(load(path).engine, artifact.config, inputs)["h0"][-1]
    assert np.max(np.abs(found - expected)) < 1.25 * time_constant * 2.0**-15
    assert rms(found - expected) < 0.75 * time_constant * 2.0**-15


def test_weights_and_scales_enter_unchanged() -> None:
    artifact = quantized_artifact(6, 3, (5,))
    model = unpacked(tflite_integer.build(artifact))
    parts = [("gru0.rz_x", "gru0.n_x"), ("gru0.rz_h", "gru0.n_h"), ("dense",)]
    for name, pieces in zip(("gru0.weight_ih", "gru0.weight_hh", "dense.weight"), parts, strict=True):
        stored = np.concatenate([constant(model, f"{piece}.weight") for piece in pieces])
        scales = np.concatenate([tensor(model, f"{piece}.weight").quantization.scale for piece in pieces])
        np.testing.assert_array_equal(stored.reshape(artifact.array(name).shape), artifact.array(name))
        np.testing.assert_array_equal(scales, artifact.array(f"{name}_scale"))
    assert constant(model, "gru0.n_h.bias").dtype == np.int64


@pytest.mark.parametrize("reset", ["after", "before"])
def test_the_other_formulation_is_detected(reset: str, tmp_path: Path) -> None:
    artifact = quantized_artifact(7, 4, (12,), reset=reset, bias=False)
    other = "before" if reset == "after" else "after"
    nodes = tuple(replace(n, reset=other) if isinstance(n, GruNode) else n for n in artifact.config.nodes)
    flipped = replace(artifact, config=replace(artifact.config, nodes=nodes))
    path = tmp_path / "model.tflite"
    path.write_bytes(with_metadata_of(tflite_integer.build(flipped), tflite_integer.build(artifact)))
    with pytest.raises(VerificationError, match="does not compute what its model computes"):
        verify(path, artifact)


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
    name: str, change: Callable[..., None], how: Callable[[Any], Any], tmp_path: Path
) -> None:
    artifact = quantized_artifact(8, 4, (12,))
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_integer.build(artifact))
    change(path, name, lambda values: values)
    assert verify(path, artifact).passed
    change(path, name, how)
    with pytest.raises(VerificationError, match="does not compute what its model computes"):
        verify(path, artifact)


@pytest.mark.parametrize("reset", ["after", "before"])
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
    artifact = quantized_artifact(hidden_linear=(4, "tanh"))
    for kind, field in ((GruNode, "candidate_activation"), (LinearNode, "activation")):
        nodes = tuple(replace(n, **{field: "swish"}) if isinstance(n, kind) else n for n in artifact.config.nodes)
        with pytest.raises(ExportError, match=r"swish.*TFLite export knows"):
            tflite_integer.build(replace(artifact, config=replace(artifact.config, nodes=nodes)))


def test_scales_beyond_the_kernels_are_refused() -> None:
    artifact = quantized_artifact()
    assert artifact.config.quantization is not None
    arrays = {name: artifact.array(name) for name in artifact.tensors}
    huge = from_arrays(
        artifact.config, arrays | {"gru0.weight_ih_scale": arrays["gru0.weight_ih_scale"] * np.float32(1e6)}
    )
    with pytest.raises(ExportError, match=r"gru0.rz_x.*weight scale"):
        tflite_integer.build(huge)
    scales = artifact.config.quantization.operand_scale
    wide = changed(artifact.config, quantization=QuantizationConfig({**scales, "gru0": scales["gru0"] * 1e6}))
    arrays["gru0.bias_hn"] = np.full_like(arrays["gru0.bias_hn"], 2**28)
    with pytest.raises(ExportError, match=r"gru0.n_h.*bias"):
        tflite_integer.build(from_arrays(wide, arrays))
