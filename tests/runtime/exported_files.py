"""Exported files of small random models, written without verification."""

from __future__ import annotations

from pathlib import Path

from edgegru_export import onnx_float, onnx_integer, tflite_float, tflite_integer
from edgegru_runtime.artifact import Artifact

FORMS = ("onnx", "onnx sequence", "tflite", "tflite variables")
INTEGER_FORMS = ("onnx", "tflite", "tflite variables")


def write_export(artifact: Artifact, form: str, folder: Path) -> Path:
    """The export of ``artifact`` in one of the forms, of the artifact's precision."""
    file_format, _, variant = form.partition(" ")
    floating = artifact.config.scheme == "float32"
    path = folder / f"{artifact.config.scheme} {variant or 'io'}.{file_format}"
    if file_format == "tflite":
        data = (tflite_float if floating else tflite_integer).build(artifact, state=variant or "io")
    elif floating:
        data = onnx_float.build(artifact, sequence=variant == "sequence")
    else:
        data = onnx_integer.build(artifact)
    path.write_bytes(data)
    return path
