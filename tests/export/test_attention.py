"""Attention in ONNX and TFLite files: verified while rows come in, and a file that leaves something out is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegru.calibration import calibrate
from edgegru.quantization import quantize_artifact
from edgegru_export import onnx_fixed_point, onnx_float, onnx_graph, tflite_attention
from edgegru_export.exporting import export
from edgegru_export.stimulus import gaussian_input, remembered_rows
from edgegru_runtime import Model, StateError, load
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError, VerificationError
from tests.builders import attending_config, random_floats, random_integers, remember, rows_for

FLOAT = random_floats(attending_config(), 1)
SIZES = (1, 2, 8, 17)


def quantized(artifact: Artifact, scheme: str) -> Artifact:
    inputs = [gaussian_input(artifact, 60) for _ in range(4)]
    rows = [rows_for(artifact, count, count) for count in (9, 4, 7, 9)]
    ranges = None if scheme == "dynamic-w8" else calibrate(artifact, inputs, rows=rows)
    return quantize_artifact(artifact, ranges, scheme=scheme)


@pytest.mark.parametrize("size", SIZES)
def test_onnx_of_integers_equals_the_reference(size: int, tmp_path: Path) -> None:
    reset = "before" if size % 2 else "after"
    config = attending_config(size, size + 1, max(1, size - 2), length=size % 5 + 1, reset=reset)
    for scheme in ("static-w8a8", "static-w8a16"):
        report = export(random_integers(config, size, scheme), tmp_path / "m.onnx", format="onnx", force=True)
        assert report.passed and max(deviation.largest for deviation in report.deviations) == 0


@pytest.mark.parametrize("format", ["onnx", "tflite", "plan"])
@pytest.mark.parametrize("scheme", ["float32", "dynamic-w8", "static-w8a8", "static-w8a16"])
@pytest.mark.parametrize("reset", ["after", "before"])
def test_every_scheme_and_format(format: str, scheme: str, reset: str, tmp_path: Path) -> None:
    artifact = random_floats(attending_config(12, 16, 20, reset=reset), 3)
    artifact = artifact if scheme == "float32" else quantized(artifact, scheme)
    assert export(artifact, tmp_path / f"m.{format}", format=format).passed


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_floats_of_every_size(format: str, size: int, tmp_path: Path) -> None:
    artifact = random_floats(attending_config(size, size + 1, size, length=size % 7 + 1), size)
    assert export(artifact, tmp_path / f"m.{format}", format=format).passed


@pytest.mark.parametrize("format", ["onnx", "tflite"])
@pytest.mark.parametrize("scheme", ["float32", "static-w8a8"])
def test_streams_of_a_file_remember(format: str, scheme: str, tmp_path: Path) -> None:
    """Rows, copies and saved states as with an artifact, and a state goes from one to the other."""
    artifact = FLOAT if scheme == "float32" else quantized(FLOAT, scheme)
    export(artifact, tmp_path / f"m.{format}", format=format)
    rows, tolerance = rows_for(artifact, 5), 1e-5 if scheme == "float32" else 0.2 if format == "tflite" else 0
    model, own = load(tmp_path / f"m.{format}"), remember(Model(artifact, "reference").stream(), rows)
    stream, copy, moved = remember(model.stream(), rows), model.stream(), model.stream()
    copy.copy_state(stream)
    moved.state = own.state
    for token in (3, 1, 4, 1):
        expected = own.step([token])
        for each in (stream, copy, moved):
            np.testing.assert_allclose(each.step([token]), expected, rtol=0, atol=tolerance)
    stream.reset()
    assert stream.state == model.stream().state
    with pytest.raises(StateError, match="of another model"):
        stream.copy_state(Model(artifact, "reference").stream())


def test_rows_come_in_while_a_file_is_verified() -> None:
    """None at the first step, all that there is room for at last: so none, some and all are masked."""
    given = remembered_rows(FLOAT, 40)
    counts = np.cumsum([len(rows) for rows in given])
    assert counts[0] == 0 and counts[-1] == 9
    assert {*counts} == {*range(10)}


def _leave_out(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Builders that forget something."""
    add = onnx_graph.Graph.add

    def forgetful(self: Any, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        if what == "mask" and operator == "Where" and self.scope == "attention":
            return inputs[1]
        if what == "key" and operator == "Add" and self.scope == "attention":
            return add(self, "Add", inputs[1], inputs[1], name=name)
        if what == "tanh" and operator == "Tanh" and self.scope == "attention":
            return inputs[0]
        return add(self, operator, *inputs, name=name, **attributes)

    monkeypatch.setattr(onnx_graph.Graph, "add", forgetful)


@pytest.mark.parametrize("what", ["mask", "key", "tanh"])
def test_an_onnx_file_that_leaves_something_out_is_refused(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave_out(monkeypatch, what)
    with pytest.raises(VerificationError, match="does not compute what its model computes"):
        export(FLOAT, tmp_path / "m.onnx", format="onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_a_file_without_its_mask_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_float, "_NOWHERE", 0.0)
    with pytest.raises(VerificationError, match="y off by"):
        export(FLOAT, tmp_path / "m.onnx", format="onnx")
    softmax = onnx_fixed_point.FixedPointGraph.softmax
    monkeypatch.setattr(onnx_fixed_point.FixedPointGraph, "softmax", lambda self, v, there="": softmax(self, v))
    with pytest.raises(VerificationError, match="y off by"):
        export(random_integers(attending_config(), 1), tmp_path / "m.onnx", format="onnx")
    monkeypatch.setattr(tflite_attention, "FAR", 0.0)
    with pytest.raises(VerificationError, match="y off by"):
        export(FLOAT, tmp_path / "m.tflite", format="tflite")
    assert list(tmp_path.iterdir()) == []


def test_what_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="which has rows by the step, expected no sequence"):
        export(FLOAT, tmp_path / "m.onnx", format="onnx", sequence=True)
    with pytest.raises(ExportError, match="nobody could give its rows to a state in variables, expected io"):
        export(FLOAT, tmp_path / "m.tflite", format="tflite", state="variables")
    with pytest.raises(ExportError, match="keys of attention have 16 bits"):
        export(random_integers(attending_config(), 1), tmp_path / "m.tflite", format="tflite", allow_int8_state=True)
