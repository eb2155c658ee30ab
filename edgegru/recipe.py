"""What every recipe of examples/ does: make a model and its exports, and say what it reaches and what it costs."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import edgegru
from edgegru.configuration import TrainConfig
from edgegru_runtime.errors import VerificationError

FILES = {"float": "model.safetensors", "int8": "int8.safetensors", "ONNX": "int8.onnx", "TFLite": "int8.tflite"}
EXPORTS = ("ONNX", "TFLite")
Score = TypeVar("Score")  # of a file: a number, or several by name


def build(
    config: TrainConfig | Path, data: Path, folder: Path, seed: int, keep: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Train into ``folder``, quantize to int8 and export the int8 model: ``FILES``. Returns its costs.

    ``keep``: nodes of another scheme, as ``edgegru.quantize`` takes them. Raises what train, quantize and export raise.
    """
    seconds = train(config, data, folder, seed, keep)
    export(folder)
    return costs(folder / FILES["int8"]) | {"train_seconds": seconds}


def train(
    config: TrainConfig | Path, data: Path, folder: Path, seed: int, keep: Mapping[str, str] | None = None
) -> int:
    """The part of ``build`` before the exports. Returns how many seconds training took."""
    started = time.monotonic()
    model = edgegru.train(config, data=data, seed=seed, output=folder)
    seconds = round(time.monotonic() - started)
    edgegru.quantize(model, data, folder / FILES["int8"], keep=keep, force=True)
    return seconds


def export(folder: Path, names: Sequence[str] = EXPORTS) -> None:
    """The int8 model in ``folder`` as ONNX and TFLite, verified."""
    for name in names:
        edgegru.export(folder / FILES["int8"], folder / FILES[name], format=name.lower(), force=True)


def scores(folder: Path, score: Callable[[Path], Score]) -> dict[str, Score | None]:
    """What ``score`` gives for each file of ``FILES``, of which those of ``EXPORTS`` are made here.

    None for an export that its verification refuses.
    """
    found: dict[str, Score | None] = {}
    for name, file in FILES.items():
        try:
            export(folder, [name] if name in EXPORTS else [])
            found[name] = score(folder / file)
        except VerificationError as error:
            print(error, file=sys.stderr)
            found[name] = None
    return found


def scores_text(runs: Sequence[Mapping[str, Any]], name: str, digits: int) -> str:
    """``mean_text`` of what ``scores`` gave, and how many exports were refused."""
    kept = [run[name] for run in runs if run[name] is not None]
    if len(kept) == len(runs):
        return mean_text(kept, digits)
    refused = f"{len(runs) - len(kept)} of {len(runs)} refused by verification"
    return f"{mean_text(kept, digits)}, {refused}" if kept else refused


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
