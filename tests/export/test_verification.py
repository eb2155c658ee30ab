"""Verification passes a true file and catches every small lie."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgegru.calibration import calibrate
from edgegru.quantization import quantize_artifact
from edgegru_export import onnx_float, onnx_integer, tflite_float, tflite_integer, tolerances, verification
from edgegru_export.closeness import other_decisions
from edgegru_export.gate_order import reorder_gates
from edgegru_export.saving import save_artifact, with_identity
from edgegru_export.stimulus import gaussian_input, jumping_input
from edgegru_export.verification import Deviation, verify
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ArtifactError, EdgegruError, EngineError, VerificationError
from edgegru_runtime.tensor import Tensor
from tests.builders import from_arrays, random_artifact
from tests.export.onnx_file import change_constant, flip_formulation, quantized_artifact, swap_first_gates

Change = Callable[[np.ndarray], np.ndarray]


def float_file(folder: Path, sequence: bool = False, **shape: Any) -> tuple[Path, Artifact]:
    artifact = random_artifact(7, 4, (8, 5), **shape)
    path = folder / "float.onnx"
    path.write_bytes(onnx_float.build(artifact, sequence))
    return path, artifact


def integer_file(folder: Path, **shape: Any) -> tuple[Path, Artifact]:
    artifact = quantized_artifact(7, 4, (8, 5), **shape)
    path = folder / "integer.onnx"
    path.write_bytes(onnx_integer.build(artifact))
    return path, artifact


@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_flipped_formulation_fails(
    reset: str, bias: bool, sequence: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, artifact = float_file(tmp_path, sequence, reset=reset, bias=bias)
    assert verify(path, artifact).passed
    flip_formulation(path)
    with pytest.raises(VerificationError, match="gru0 has linear_before_reset"):
        verify(path, artifact)
    monkeypatch.setattr(verification, "_check_formulation", lambda exported, artifact: None)
    with pytest.raises(VerificationError, match="h0 off by at most"):  # the numbers alone tell it too
        verify(path, artifact)


def scaled(factor: float, row: int = 0) -> Change:
    def change(values: np.ndarray) -> np.ndarray:
        values.reshape(-1, values.shape[-1])[row] *= values.dtype.type(factor)
        return values

    return change


def one_bit(weight: np.ndarray) -> np.ndarray:
    weight.reshape(-1)[5] ^= 1
    return weight


@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize(
    ("constant", "change"),
    [
        ("gru0.weight_ih_zrn", scaled(1.001)),
        ("gru1.weight_hh_zrn", scaled(1.001)),
        ("gru0.weight_ih_zrn", swap_first_gates(1)),
        ("gru1.weight_hh_zrn", swap_first_gates(1)),
        ("gru0.bias_zrn", lambda bias: np.roll(bias, 1)),
        ("standardise.std", lambda std: std * np.float32(1.001)),
        ("standardise.mean", lambda mean: mean + np.float32(0.001)),
        ("dense.weight", lambda weight: -weight),
        ("dense.bias", lambda bias: bias[::-1].copy()),
        (
            "gru0.weight_ih_zrn",
            lambda weight: np.where(np.arange(weight.size).reshape(weight.shape) == 3, np.nan, weight),
        ),
    ],
)
def test_a_float_file_with_a_wrong_number_fails(constant: str, change: Change, sequence: bool, tmp_path: Path) -> None:
    path, artifact = float_file(tmp_path, sequence)
    change_constant(path, constant, change)
    with pytest.raises((VerificationError, EngineError)):
        verify(path, artifact)


@pytest.mark.parametrize(
    ("constant", "change"),
    [
        ("gru0.weight_hh", swap_first_gates(1)),
        ("gru1.weight_ih", swap_first_gates(1)),
        (
            "gru0.weight_ih",
            lambda weight: weight ^ (np.arange(weight.size).reshape(weight.shape) == 5).astype(np.uint8),
        ),
        ("standardise.a", lambda a: a * np.float32(1.01)),
        ("output.scale", lambda scale: scale * np.float32(1.0001)),
        ("tanh.c0", lambda c0: c0 + (np.arange(64) == 3)),
    ],
)
def test_an_integer_file_with_a_wrong_number_fails(constant: str, change: Change, tmp_path: Path) -> None:
    path, artifact = integer_file(tmp_path)
    assert verify(path, artifact).largest_error == 0
    change_constant(path, constant, change)
    with pytest.raises(VerificationError, match=r"integer\.onnx does not compute .* off by at most"):
        verify(path, artifact)


def test_a_shifted_scale_of_an_integer_file_fails(tmp_path: Path) -> None:
    """Each vector of multipliers and of biases, its entries a hundredth larger."""
    artifact = quantized_artifact(7, 4, (8,))
    genuine = onnx_integer.build(artifact)
    path = tmp_path / "integer.onnx"
    path.write_bytes(genuine)
    vectors = [t.name for t in onnx.load(path).graph.initializer if ".constant" in t.name and t.dims and t.dims[0] > 1]
    assert len(vectors) == 9  # multipliers of both products of gates and of candidates, four biases, the softmax
    for name in vectors:
        path.write_bytes(genuine)
        change_constant(path, name, lambda values: values + np.sign(values) * (np.abs(values) // 100 + 3))
        with pytest.raises(VerificationError, match="off by at most"):
            verify(path, artifact)


def test_a_file_of_another_model_fails(tmp_path: Path) -> None:
    path, _ = float_file(tmp_path)
    with pytest.raises(VerificationError, match="another model"):
        verify(path, random_artifact(8, 4, (8, 5)))


def test_a_file_that_describes_its_model_otherwise_fails(tmp_path: Path) -> None:
    path, artifact = float_file(tmp_path)
    (output,) = artifact.config.outputs
    renamed = replace(artifact.config, outputs=(replace(output, labels=tuple(reversed(output.labels))),))
    with pytest.raises(VerificationError, match="differ in outputs"):
        verify(path, replace(artifact, config=renamed))


def test_an_artifact_whose_identity_is_not_its_own_fails(tmp_path: Path) -> None:
    path, artifact = float_file(tmp_path)
    other = random_artifact(8, 4, (8, 5))
    with pytest.raises(ArtifactError, match="identity"):
        verify(path, replace(artifact, tensors=other.tensors))


def test_files_that_are_no_exports_fail(tmp_path: Path) -> None:
    path, artifact = float_file(tmp_path)
    saved = tmp_path / "model.safetensors"
    save_artifact(artifact, saved)
    assert verify(path, saved).passed
    with pytest.raises(VerificationError, match="no exported file"):
        verify(saved, artifact)
    with pytest.raises(ArtifactError, match="cannot be read"):
        verify(tmp_path / "missing.onnx", artifact)
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises((ArtifactError, VerificationError)):
            verify(path, artifact)


def test_a_broken_graph_with_good_metadata_fails(tmp_path: Path) -> None:
    path, artifact = float_file(tmp_path)
    data = path.read_bytes()
    for position in range(0, len(data), 211):
        path.write_bytes(data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :])
        with contextlib.suppress(EdgegruError):  # a sentence; what passes computes the same within the tolerance
            verify(path, artifact)


def test_few_steps_are_not_enough(tmp_path: Path) -> None:
    path, artifact = float_file(tmp_path)
    with pytest.raises(VerificationError, match="499 steps.*at least 500"):
        verify(path, artifact, steps=499)


def test_a_model_that_magnifies_rounding_is_held_to_its_own_error(tmp_path: Path) -> None:
    artifact = random_artifact(11, 4, (20,), reset="before")
    tensors = {name: artifact.array(name) for name in artifact.tensors}
    steep = from_arrays(artifact.config, {**tensors, "dense.weight": tensors["dense.weight"] * np.float32(3000)})
    path = tmp_path / "steep.onnx"
    path.write_bytes(onnx_float.build(steep))
    y, h = verify(path, steep).deviations
    assert y.largest_tolerance > y.largest > 1e-5
    assert h.largest_tolerance == 1e-5


def test_the_largest_rounding_error_may_come_later(tmp_path: Path) -> None:
    """Weights so large that the states are chaotic by turns: 500 steps may not meet what rounding does to them."""
    artifact = random_artifact(37, 2, (33, 9))
    arrays = {name: artifact.array(name) for name in artifact.tensors}
    strong = from_arrays(artifact.config, {n: a * np.float32(2.5) if "weight" in n else a for n, a in arrays.items()})
    path = tmp_path / "strong.onnx"
    path.write_bytes(onnx_float.build(strong))
    assert verify(path, strong).passed


def test_the_report_reads_and_is_data(tmp_path: Path) -> None:
    report = verify(*integer_file(tmp_path))
    assert str(report).endswith("over 500 closed-loop steps: y, h0, h1 equal in every bit")
    data = json.loads(json.dumps(report.to_dict()))
    assert (data["passed"], data["engine"], data["largest_error"]) == (True, "onnxruntime", 0)
    assert [entry["name"] for entry in data["deviations"]] == ["y", "h0", "h1"]


def test_not_a_number_never_passes() -> None:
    assert not Deviation("y", float("nan"), 1.0, 0.0, None).passed
    assert not Deviation("y", 0.0, 1.0, float("nan"), 1.0).passed
    assert not Deviation("y", 0.5, 1.0, 0.5, 0.4).passed
    assert Deviation("y", 0.5, 1.0, 0.5, 0.5).passed


@pytest.mark.parametrize("state", ["io", "variables"])
def test_float_tflite_files(state: str, tmp_path: Path) -> None:
    artifact = random_artifact(9, 4, (8, 5))
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_float.build(artifact, state))
    report = verify(path, artifact)
    assert (report.engine, report.passed) == ("litert", True)
    assert [d.name for d in report.deviations] == (["y", "h0", "h1"] if state == "io" else ["y"])


@pytest.mark.parametrize(
    ("scheme", "state", "int8_state"),
    [
        ("static-w8a8", "io", False),
        ("static-w8a8", "variables", False),
        ("static-w8a8", "io", True),
        ("static-w8a16", "io", False),
        ("static-w8a16", "variables", False),
    ],
)
@pytest.mark.parametrize("reset", ["after", "before"])
def test_integer_tflite_files_and_what_they_must_not_be(
    scheme: str, state: str, int8_state: bool, reset: str, tmp_path: Path
) -> None:
    artifact = quantized_artifact(9, 4, (12, 7), reset=reset, scheme=scheme)
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_integer.build(artifact, state, int8_state))
    report = verify(path, artifact)
    assert all(deviation.rms_tolerance is not None for deviation in report.deviations)
    assert report.largest_error > 0
    path.write_bytes(tflite_integer.build(with_swapped_gates(artifact, "gru1.weight_hh"), state, int8_state))
    with pytest.raises(VerificationError, match="off by at most"):
        verify(path, artifact)


@pytest.mark.parametrize(("scheme", "factor"), [("static-w8a8", 1.1), ("static-w8a16", 1.002)])
def test_a_shifted_scale_of_an_integer_tflite_file_fails(scheme: str, factor: float, tmp_path: Path) -> None:
    artifact = quantized_artifact(9, 4, (12, 7), scheme=scheme)
    scales = artifact.array("gru0.weight_ih_scale") * np.float32(factor)
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_integer.build(with_tensor(artifact, "gru0.weight_ih_scale", scales), "io", False))
    with pytest.raises(VerificationError, match="after one step h off by"):
        verify(path, artifact)


def test_a_report_says_how_near_a_tflite_file_is(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    wide, float_model = quantized_artifact(9, 4, (12,), scheme="static-w8a16"), random_artifact(9, 4, (12,))
    path.write_bytes(tflite_integer.build(wide))
    data = verify(path, wide).to_dict()
    assert 0.3 < data["rms_ratio"] < 1.25
    assert (data["one_step"]["bits"], data["operators"]) == (16, 23)
    assert 0.5 < data["one_step"]["near"] <= 1
    assert 0 < data["one_step"]["own_rms"] < data["one_step"]["largest"]
    assert 0 <= data["other_decisions"] < 0.02
    text = str(verify(path, wide))
    for part in ("units of 16 bits", "times the reference's own", "another decision", "23 operators a step"):
        assert part in text
    path.write_bytes(tflite_integer.build(wide, "variables"))
    assert verify(path, wide).one_step is None
    path.write_bytes(tflite_float.build(float_model))
    data = verify(path, float_model).to_dict()
    assert (data["operators"], data["one_step"], data["rms_ratio"], data["other_decisions"]) == (16, None, None, None)


def test_one_step_finds_what_a_long_run_forgives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = quantized_artifact(9, 4, (12,), scheme="static-w8a16")
    path = tmp_path / "model.tflite"
    wrong = with_tensor(artifact, "gru0.weight_hh_scale", artifact.array("gru0.weight_hh_scale") * np.float32(1.001))
    path.write_bytes(tflite_integer.build(wrong))
    with pytest.raises(VerificationError, match=r": after one step h off by rms [^;]*$"):
        verify(path, artifact)
    monkeypatch.setattr(tolerances, "ONE_STEP_FLOOR", 50.0)
    assert verify(path, artifact).passed


def test_decisions_that_differ_are_counted() -> None:
    labels = random_artifact(1, 3, (4,), output_size=2).config
    found = {"y": np.array([[0.6, 0.4], [0.4, 0.6], [0.1, 0.9], [0.7, 0.3]])}
    reference = {"y": np.array([[0.7, 0.3], [0.6, 0.4], [0.2, 0.8], [0.8, 0.2]])}
    assert other_decisions(labels, found, reference) == 0.25
    several = random_artifact(1, 3, (4,), output_size=2, head="sigmoid").config
    assert other_decisions(several, found, {"y": reference["y"] - 0.15}) == 0.25
    assert other_decisions(random_artifact(1, 3, (4,), head="identity").config, found, reference) is None


@pytest.mark.parametrize(("offset", "unit"), [(0.0, 1.0), (1e5, 1.0), (1e5, 100.0), (0.0, 1e-4), (-1e-3, 1e-6)])
@pytest.mark.parametrize("kind", ["float.onnx", "float.tflite", "integer.tflite"])
def test_values_of_any_unit_and_offset_are_verified(kind: str, offset: float, unit: float, tmp_path: Path) -> None:
    artifact = random_artifact(5, 3, (8,), output_size=2, head="identity")
    artifact = with_tensor(artifact, "dense.weight", artifact.array("dense.weight") * np.float32(unit))
    artifact = with_identity(with_tensor(artifact, "dense.bias", np.array([offset, offset + unit], np.float32)))
    name = "dense.weight"
    if kind == "integer.tflite":
        artifact = quantize_artifact(artifact, calibrate(artifact, [gaussian_input(artifact, 500)]))
        name = "dense.weight_scale"
    build = {"float.onnx": onnx_float.build, "float.tflite": tflite_float.build, "integer.tflite": tflite_integer.build}
    path = tmp_path / kind
    path.write_bytes(build[kind](artifact))
    assert verify(path, artifact).passed
    path.write_bytes(build[kind](with_tensor(artifact, name, artifact.array(name) * np.float32(1.25))))
    with pytest.raises(VerificationError, match="y off by at most .* of its spread"):
        verify(path, artifact)


def with_tensor(artifact: Artifact, name: str, values: np.ndarray) -> Artifact:
    """Another tensor under the same identity: what a wrong exporter would make of the artifact."""
    return replace(artifact, tensors={**artifact.tensors, name: Tensor.from_numpy(values)})


def with_swapped_gates(artifact: Artifact, name: str) -> Artifact:
    swapped = with_tensor(artifact, name, reorder_gates(artifact.array(name), "rzn", "zrn"))
    scale = f"{name}_scale"
    return with_tensor(swapped, scale, reorder_gates(artifact.array(scale), "rzn", "zrn"))


def test_every_tolerance_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    constants = {name: value for name, value in vars(tolerances).items() if name.isupper()}
    assert len(constants) == 16
    for name, value in constants.items():
        assert f"`{name}` | {value:g} |" in text


def test_the_inputs_are_like_the_data_and_leave_its_range_when_told() -> None:
    artifact = quantized_artifact(1, 3, (4,))
    mean, std = artifact.array("standardise.mean"), artifact.array("standardise.std")
    walk = (gaussian_input(artifact, 20_000) - mean) / std
    np.testing.assert_allclose(walk.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(walk.std(0), 1, atol=0.1)
    assert np.corrcoef(walk[1:, 0], walk[:-1, 0])[0, 1] == pytest.approx(0.9, abs=0.02)
    assert np.abs(jumping_input(artifact, 500) - mean).max() > 1e5
    assert np.isfinite(jumping_input(artifact, 500)).all()
    assert gaussian_input(artifact, 10).dtype == np.float32
