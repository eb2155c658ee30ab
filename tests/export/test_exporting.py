"""Exporting keeps a file that verification passed, or none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from edgegru_export import onnx_float
from edgegru_export.exporting import export
from edgegru_export.saving import save_artifact
from edgegru_export.verification import verify
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ArtifactError, ExportError, VerificationError
from edgegru_runtime.model import load
from tests.builders import mixed_artifact, quantized, random_artifact
from tests.export.onnx_file import quantized_artifact

FLOAT = random_artifact(1, 3, (5,))
INTEGER = quantized_artifact(1, 3, (5,))
WIDE = quantized(mixed_artifact(1, candidate="relu"), "static-w8a16")
DYNAMIC = quantized(mixed_artifact(1), "dynamic-w8")


@pytest.mark.parametrize(
    ("artifact", "name", "options"),
    [
        (FLOAT, "model.onnx", {}),
        (FLOAT, "model.ONNX", {"sequence": True}),
        (INTEGER, "model.onnx", {}),
        (WIDE, "model.onnx", {}),
        (DYNAMIC, "model.onnx", {}),
        (FLOAT, "model.tflite", {}),
        (FLOAT, "model.tflite", {"state": "variables"}),
    ],
)
def test_a_file_is_written_verified_and_streams(
    artifact: Artifact, name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    source, target = tmp_path / "model.safetensors", tmp_path / name
    save_artifact(artifact, source)
    report = export(source, target, format=target.suffix[1:].lower(), **options)
    assert (report.passed, report.file, report.steps) == (True, str(target), 500)
    assert sorted(os.listdir(tmp_path)) == sorted([source.name, name])
    assert target.stat().st_mode & 0o777 == source.stat().st_mode & 0o777
    assert verify(target, source).deviations == report.deviations
    assert len(load(target).stream().step([0.1, 0.2, 0.3])) == 4  # type: ignore[arg-type]  # one output: a list


@pytest.mark.parametrize("force", [False, True])
def test_a_file_that_computes_something_else_is_not_kept(
    force: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model.onnx"
    if force:
        target.write_bytes(b"what was there before")
    monkeypatch.setattr(onnx_float, "reorder_gates", lambda rows, source, target: rows)
    with pytest.raises(VerificationError, match=r"/model\.onnx does not compute .*off by at most.*; no file was kept"):
        export(FLOAT, target, format="onnx", force=force)
    assert os.listdir(tmp_path) == (["model.onnx"] if force else [])
    if force:
        assert target.read_bytes() == b"what was there before"


def test_an_existing_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"what was there before")
    with pytest.raises(ExportError, match=r"model\.onnx exists already"):
        export(FLOAT, target, format="onnx")
    assert target.read_bytes() == b"what was there before"
    export(FLOAT, target, format="onnx", force=True)
    assert verify(target, FLOAT).passed
    assert os.listdir(tmp_path) == ["model.onnx"]


@pytest.mark.parametrize(
    ("artifact", "name", "format", "options", "message"),
    [
        (FLOAT, "missing/model.onnx", "onnx", {}, "folder .*missing does not exist"),
        (FLOAT, "model.bin", "onnx", {}, "'model.bin', expected a name that ends in .onnx"),
        (FLOAT, "model.onnx", "tflite", {}, "expected a name that ends in .tflite"),
        (FLOAT, "folder.onnx", "onnx", {"force": True}, "not a regular file"),
        (FLOAT, "model.onnx", "coreml", {}, "'coreml', expected onnx or tflite"),
        (FLOAT, "model.tflite", "tflite", {"state": "file"}, "'file', expected io or variables"),
        (FLOAT, "model.tflite", "tflite", {"sequence": True}, "no form for whole sequences"),
        (FLOAT, "model.onnx", "onnx", {"state": "variables"}, "cannot hold its state in variables"),
        (FLOAT, "model.onnx", "onnx", {"allow_int8_state": True}, "int8 state.*onnx"),
        (FLOAT, "model.tflite", "tflite", {"allow_int8_state": True}, "int8 state.*float32"),
        (INTEGER, "model.onnx", "onnx", {"sequence": True}, "static-w8a8.*only float32"),
        (DYNAMIC, "model.onnx", "onnx", {"sequence": True}, "dynamic-w8.*only float32"),
    ],
)
def test_what_cannot_be_written_is_refused(
    artifact: Artifact, name: str, format: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ExportError, match=message):
        export(artifact, tmp_path / name, format=format, **options)
    assert os.listdir(tmp_path) == ["folder.onnx"]


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nothing"):
        export(tmp_path / "nothing", tmp_path / "model.onnx", format="onnx")
    assert os.listdir(tmp_path) == []


def test_a_name_too_long_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot be written"):
        export(FLOAT, tmp_path / ("n" * 260 + ".onnx"), format="onnx")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("scheme", ["float32", "static-w8a8", "static-w8a16", "dynamic-w8"])
def test_a_plan_is_verified_with_the_kernel(scheme: str, tmp_path: Path) -> None:
    artifact = mixed_artifact()
    if scheme != "float32":
        artifact = quantized(artifact, scheme)
    report = export(artifact, tmp_path / "model.plan", format="plan")
    assert (report.engine, report.passed) == ("kernel", True)
    assert all(deviation.exact for deviation in report.deviations) == artifact.config.static
    data = (tmp_path / "model.plan").read_bytes()
    (tmp_path / "broken.plan").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(VerificationError, match=f"differs from byte {len(data) - 1} on"):
        verify(tmp_path / "broken.plan", artifact)
    with pytest.raises(VerificationError, match="is not the plan of this model"):
        verify(tmp_path / "model.plan", mixed_artifact(seed=1))
