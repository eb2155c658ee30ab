"""What every recipe of examples/ does: make a model and its exports, and say what it reaches and what it costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import edgegru
from edgegru.configuration import TrainConfig

FILES = {"float": "model.safetensors", "int8": "int8.safetensors", "ONNX": "int8.onnx", "TFLite": "int8.tflite"}


def build(
    config: TrainConfig | Path, data: Path, folder: Path, seed: int, keep: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Train into ``folder``, quantize to int8 and export the int8 model: ``FILES``. Returns its costs.

    ``keep``: nodes of another scheme, as ``edgegru.quantize`` takes them. Raises what train, quantize and export raise.
    """
    started = time.monotonic()
    model = edgegru.train(config, data=data, seed=seed, output=folder)
    seconds = time.monotonic() - started
    edgegru.quantize(model, data, folder / FILES["int8"], keep=keep, force=True)
    export(folder)
    return costs(folder / FILES["int8"]) | {"train_seconds": round(seconds)}


def export(folder: Path) -> None:
    """The int8 model in ``folder`` as ONNX and TFLite, verified."""
    for name in ("ONNX", "TFLite"):
        edgegru.export(folder / FILES["int8"], folder / FILES[name], format=name.lower(), force=True)


def costs(model: Path) -> dict[str, Any]:
    """Bytes on disk and of a stream's state, and multiply–adds and microseconds (the median) of a step."""
    about = edgegru.info(model)
    return {
        "bytes": model.stat().st_size,
        "state_bytes": about["state_bytes"],
        "multiply_adds": about["multiply_adds"],
        "step_us": edgegru.bench(model)[0].median_us,
    }


def costs_text(runs: Sequence[Mapping[str, Any]]) -> str:
    """The costs of the first run, and the longest training of all."""
    run, longest = runs[0], max(run["train_seconds"] for run in runs)
    sizes = f"{run['bytes']} bytes, {run['state_bytes']} bytes of state, {run['multiply_adds']} multiply–adds"
    return f"int8: {sizes} and {run['step_us']:.2f} µs a step; trained in {longest} s at most"


def mean_text(values: Sequence[float], digits: int = 4) -> str:
    """Mean and, of several, their standard deviation."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean
