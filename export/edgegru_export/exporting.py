"""From an artifact to a file for another runtime, which is kept only if it computes what the model computes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgegru_export.verification import VerificationReport, verify
from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.errors import EdgegruError, ExportError, VerificationError
from edgegru_runtime.plan import make_plan

if TYPE_CHECKING:
    from edgegru_export.c_export import COptions

FORMATS = ("onnx", "tflite", "plan", "c")
STATES = ("io", "variables")


def export(
    model: Artifact | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    format: str,  # the name of the command's option
    sequence: bool = False,
    state: str = "io",
    allow_int8_state: bool = False,
    name: str | None = None,
    target: str = "portable",
    io: str = "float",
    layout: str = "plain",
    with_kernel: bool = True,
    force: bool = False,
) -> VerificationReport:
    """Write ``model`` as ``output`` in ``format``, verified: "onnx", "tflite", "plan" for the C runtime, or "c", a
    folder of C for any build. The artifact's scheme decides the precision.

    ``sequence``: whole sequences instead of steps (float ONNX); ``state``: "io" (states are inputs and outputs) or
    "variables" (inside the file; TFLite); ``allow_int8_state``: full int8 with a coarse int8 state instead of int16
    (integer TFLite). Of C (docs/export-c.md) ``name``: the model in its identifiers, by default the folder's name;
    ``target``: whom weights are laid out for; ``io``: "float", or "int" for operands in and integers out; ``layout``:
    of the folder, for a build system; ``with_kernel``: the kernel's headers too.

    Raises ExportError for what the format cannot express and for an output that cannot be written or, without
    ``force``, exists; VerificationError for a file that computes something else. No file is left then, and one that was
    there before is untouched.
    """
    place = Path(output)
    _check_options(format, sequence, state, allow_int8_state)
    c_options = _c_options(format, name, target, io, layout, with_kernel)
    if c_options is not None:
        from edgegru_export.c_exporting import export_c

        return export_c(model, place, name, c_options, force)
    try:
        _check_target(place, format, force)
        artifact = model if isinstance(model, Artifact) else read_artifact(model)
        builds = _builds(artifact, format, sequence, state, allow_int8_state)
        with tempfile.TemporaryDirectory(prefix=".edgegru-", dir=place.parent) as folder:
            written = Path(folder, place.name)
            report = _write_first_right(builds, written, artifact, place)
            os.replace(written, place)
    except OSError as error:
        raise ExportError(f"{place}: cannot be written: {error.strerror}") from error
    return replace(report, file=os.fspath(place))


def _write_first_right(
    builds: Iterable[bytes], written: Path, artifact: Artifact, target: Path
) -> VerificationReport:
    """Write the first that passes ``verify``, on the disk for good. Raises the error of the last where none does."""
    for data in builds:
        with open(written, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            return _verify_written(written, artifact, target)
        except VerificationError as error:
            refused = error
    raise refused


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


def _c_options(
    format: str, name: str | None, target: str, io: str, layout: str, with_kernel: bool
) -> COptions | None:
    """How C is written; None for other formats, which have no such options."""
    from edgegru_export.c_export import COptions

    options = COptions(target, io, layout, with_kernel)
    if format == "c":
        return options
    if name is not None or options != COptions():
        raise ExportError(f"a name, target, io, layout or kernel was chosen for the format {format}, expected c")
    return None


def _check_target(target: Path, format: str, force: bool) -> None:
    if target.suffix.lower() != f".{format}":
        raise ExportError(f"the output is called {target.name!r}, expected a name that ends in .{format}")
    if not target.parent.is_dir():
        raise ExportError(f"the output's folder {target.parent} does not exist, expected an existing one")
    if target.exists() and not target.is_file():
        raise ExportError(f"the output {target} is not a regular file")
    if target.exists() and not force:
        raise ExportError(f"the output {target} exists already, expected a new name or force")


def _builds(
    artifact: Artifact, format: str, sequence: bool, state: str, allow_int8_state: bool
) -> Iterable[bytes]:
    """Files to try in turn."""
    if format == "tflite" and artifact.config.static:
        from edgegru_export import tflite_integer

        return tflite_integer.builds(artifact, state, allow_int8_state)
    return [_build(artifact, format, sequence, state, allow_int8_state)]


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
    if allow_int8_state:
        raise ExportError(f"an int8 state was allowed for a {artifact.config.scheme} model, expected static-w8a8")
    if floating:
        from edgegru_export import tflite_float

        return tflite_float.build(artifact, state)
    from edgegru_export import tflite_dynamic

    return tflite_dynamic.build(artifact, state)
