"""Exported files of small random models, written without verification."""

from __future__ import annotations

from pathlib import Path

from edgegru_export import onnx_float, tflite_float
from edgegru_runtime.artifact import Artifact

FORMS = ("onnx", "onnx sequence", "tflite", "tflite variables")


def write_export(artifact: Artifact, form: str, folder: Path) -> Path:
    """The float export of ``artifact`` in one of ``FORMS``."""
    file_format, _, variant = form.partition(" ")
    path = folder / f"model.{file_format}"
    if file_format == "onnx":
        path.write_bytes(onnx_float.build(artifact, sequence=variant == "sequence"))
    else:
        path.write_bytes(tflite_float.build(artifact, state=variant or "io"))
    return path
