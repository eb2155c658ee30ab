"""The three commands that are the device package's own, as functions: ``run``, ``info`` and ``bench``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from edgegru_runtime.description import describe
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.exported import EXPORTED_SUFFIXES, read_exported
from edgegru_runtime.measurement import Measurement
from edgegru_runtime.measurement import bench as measure_each
from edgegru_runtime.model import read_source
from edgegru_runtime.running import run as stream_lines

StrPath = str | os.PathLike[str]


def run(
    model: StrPath,
    input: StrPath = "-",
    *,
    format: str = "auto",
    engine: str = "auto",
    state_file: StrPath | None = None,
    output: StrPath | None = None,
    force: bool = False,
) -> None:
    """Stream the lines of ``input`` ("-": standard input) through a model, one JSON line a step on standard output.

    ``format``: "csv", "jsonl" or "auto". ``state_file``: where the state is taken from and left. ``output``: a file in
    place of standard output, replaced only with ``force``. Raises ArtifactError, EngineError, InputError, StateError.
    """
    stream_lines(
        os.fspath(model),
        os.fspath(input),
        line_format=format,
        engine=_engine(engine),
        state_file=None if state_file is None else os.fspath(state_file),
        output=None if output is None else os.fspath(output),
        force=force,
    )


def info(model: StrPath) -> dict[str, Any]:
    """What a model file is, as plain data: layers, sizes, scheme, labels, provenance; of an .onnx or .tflite file that
    EdgeGRU did not write, its inputs, states, operators and GRUs. Raises ArtifactError.
    """
    return foreign_info(model) or describe(os.fspath(model), read_source(model))


def foreign_info(model: StrPath) -> dict[str, Any] | None:
    """What ``info`` says of an .onnx or .tflite file of another maker, None for all else. Raises ArtifactError."""
    path = os.fspath(model)
    if os.path.splitext(path)[1].lower() not in EXPORTED_SUFFIXES:
        return None
    try:
        read_exported(path)
    except ArtifactError:
        from edgegru_export.foreign_description import describe_foreign

        return describe_foreign(path)
    return None


def bench(model: StrPath | Sequence[StrPath], *, engine: str = "auto", steps: int = 2000) -> list[Measurement]:
    """Time ``steps`` single steps of each model file, and its memory, in a process of its own.

    Raises ArtifactError and EngineError.
    """
    files = [model] if isinstance(model, str | os.PathLike) else model
    return measure_each([os.fspath(file) for file in files], _engine(engine), steps)


def _engine(name: str) -> str | None:
    return None if name == "auto" else name
