"""The three commands that are the device package's own, as functions: ``run``, ``info`` and ``bench``."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from edgegru_runtime.description import describe
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.exported import EXPORTED_SUFFIXES, read_exported
from edgegru_runtime.measurement import Measurement
from edgegru_runtime.measurement import bench as measure_each
from edgegru_runtime.model import read_source
from edgegru_runtime.pipeline import Handling
from edgegru_runtime.run_options import DECISION_FIELDS, run_parameters, steps_or_seconds
from edgegru_runtime.running import run as stream_records
from edgegru_runtime.watching import Watching

StrPath = str | os.PathLike[str]


def run(
    model: StrPath,
    input: StrPath | None = None,
    *,
    engine: str = "auto",
    source: StrPath | None = None,
    format: str = "auto",
    columns: Sequence[str] = (),
    channels: int | None = None,
    streams: int = 1,
    scale: float = 1.0,
    streams_by: str | None = None,
    max_streams: int = Handling.max_streams,
    stamp: bool = False,
    record: StrPath | None = None,
    replay_speed: float | None = None,
    on_bad_record: str | None = None,
    time_unit: str | None = None,
    rate: float | None = None,
    resample: bool = False,
    max_gap: float | None = None,
    on_gap: str | None = None,
    reset_on_gap: float | None = None,
    on_nan: str = "error",
    smoothing: str | None = None,
    threshold: float | None = None,
    threshold_off: float | None = None,
    trigger_level: int | None = None,
    minimum_on: float | None = None,
    minimum_off: float | None = None,
    refractory_seconds: float | None = None,
    warm_up: int | None = None,
    emit: str = "all",
    sink: Sequence[str] = (),
    on_event: str | None = None,
    timing: bool = False,
    output: StrPath | None = None,
    force: bool = False,
    state_file: StrPath | None = None,
    state_every: int | str | None = None,
    reset_every: int | str | None = None,
    counters: bool = False,
    metrics_file: StrPath | None = None,
    serve: str | None = None,
    stale_after: float = Watching.stale_after,
) -> None:
    """Stream the records of ``input`` (None: standard input) through a model until it ends, one JSON line a step.

    The parameters are the command's options, as docs/field.md has them. ``state_every`` and ``reset_every`` are a
    number of records or steps, or a time such as "60s". Of the decision, None takes the model's setting.

    Raises ArtifactError, EngineError, InputError, StateError and EdgegruError.
    """
    given = dict(locals())
    options = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in given.items()}
    for name in ("state_every", "reset_every"):
        if options[name] is not None:
            options[name] = steps_or_seconds(str(options[name]))
    options["refractory"] = options.pop("refractory_seconds")
    for name in DECISION_FIELDS:
        if options[name] is None:
            del options[name]
    stream_records(**run_parameters(Namespace(**options)))


def info(model: StrPath, *, target: str | None = None, io: str = "float") -> dict[str, Any]:
    """What a model file is, as plain data: layers, sizes, scheme, labels, provenance; of an .onnx or .tflite file that
    EdgeGRU did not write, its inputs, states, operators and GRUs. With a ``target`` of exported C (docs/export-c.md)
    only ``sizes``: what that would take on each of its processors, with such an ``io``. Raises ArtifactError, and
    ExportError for what C cannot express.
    """
    if target is not None:
        from edgegru_export.c_export import c_sizes

        return {"sizes": [size.to_dict() for size in c_sizes(model, target, io)]}
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
