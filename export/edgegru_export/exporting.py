"""From an artifact to a file for another runtime, which is kept only if it computes what the model computes."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from edgegru_export.verification import VerificationReport, verify
from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.errors import EdgegruError, ExportError
from edgegru_runtime.plan import make_plan

FORMATS = ("onnx", "tflite", "plan")
STATES = ("io", "variables")


def export(
    model: Artifact | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    format: str,  # the name of the command's option
    sequence: bool = False,
    state: str = "io",
    allow_int8_state: bool = False,
    force: bool = False,
) -> VerificationReport:
    """Write ``model`` as ``output`` in ``format`` ("onnx", "tflite", or "plan" for the C runtime), verified; the
    artifact's scheme decides the precision.

    ``sequence``: whole sequences instead of steps (float ONNX); ``state``: "io" (states are inputs and outputs) or
    "variables" (inside the file; TFLite); ``allow_int8_state``: full int8 with a coarse int8 state instead of int16
    (integer TFLite). Raises ExportError for what the format cannot express and for an output that cannot be written or,
    without ``force``, exists; VerificationError for a file that computes something else. No file is left then, and one
    that was there before is untouched.
    """
    target = Path(output)
    _check_options(format, sequence, state, allow_int8_state)
    try:
        _check_target(target, format, force)
        artifact = model if isinstance(model, Artifact) else read_artifact(model)
        data = _build(artifact, format, sequence, state, allow_int8_state)
        with tempfile.TemporaryDirectory(prefix=".edgegru-", dir=target.parent) as folder:
            written = Path(folder, target.name)
            with open(written, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            report = _verify_written(written, artifact, target)
            os.replace(written, target)
    except OSError as error:
        raise ExportError(f"{target}: cannot be written: {error.strerror}") from error
    return replace(report, file=os.fspath(target))


def _verify_written(written: Path, artifact: Artifact, target: Path) -> VerificationReport:
    """``verify``, whose errors speak of the file that was asked for."""
    try:
        return verify(written, artifact)
    except EdgegruError as error:
        message = str(error).replace(os.fspath(written), os.fspath(target))
        raise type(error)(f"{message}; no file was kept") from error


def _check_options(format: str, sequence: bool, state: str, allow_int8_state: bool) -> None:
    for name, value, known in (("format", format, FORMATS), ("state", state, STATES)):
        if value not in known:
            raise ExportError(f"the {name} is {value!r}, expected {' or '.join(known)}")
    if sequence and format != "onnx":
        raise ExportError(f"the format {format} has no form for whole sequences, expected onnx")
    if state == "variables" and format != "tflite":
        raise ExportError(f"the format {format} cannot hold its state in variables, expected tflite")
    if allow_int8_state and format != "tflite":
        raise ExportError(f"an int8 state was allowed for the format {format}, expected tflite")


def _check_target(target: Path, format: str, force: bool) -> None:
    if target.suffix.lower() != f".{format}":
        raise ExportError(f"the output is called {target.name!r}, expected a name that ends in .{format}")
    if not target.parent.is_dir():
        raise ExportError(f"the output's folder {target.parent} does not exist, expected an existing one")
    if target.exists() and not target.is_file():
        raise ExportError(f"the output {target} is not a regular file")
    if target.exists() and not force:
        raise ExportError(f"the output {target} exists already, expected a new name or force")


def _build(artifact: Artifact, format: str, sequence: bool, state: str, allow_int8_state: bool) -> bytes:
    """The file in bytes. Each format's packages are imported only when it is written."""
    floating = artifact.config.scheme == "float32"
    if format == "plan":
        return make_plan(artifact)
    if format == "onnx":
        if floating:
            from edgegru_export import onnx_float

            return onnx_float.build(artifact, sequence)
        if sequence:
            raise ExportError(f"the model's scheme is {artifact.config.scheme}, and only float32 has a sequence form")
        if not artifact.config.static:
            from edgegru_export import onnx_dynamic

            return onnx_dynamic.build(artifact)
        from edgegru_export import onnx_integer

        return onnx_integer.build(artifact)
    if not artifact.config.static:
        if allow_int8_state:
            raise ExportError(f"an int8 state was allowed for a {artifact.config.scheme} model, expected static-w8a8")
        if floating:
            from edgegru_export import tflite_float

            return tflite_float.build(artifact, state)
        from edgegru_export import tflite_dynamic

        return tflite_dynamic.build(artifact, state)
    from edgegru_export import tflite_integer

    return tflite_integer.build(artifact, state, allow_int8_state)
