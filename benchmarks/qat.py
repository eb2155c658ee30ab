"""Train a configuration with several seeds and compare float, quantized afterwards, and quantization-aware training.

    python benchmarks/qat.py examples/japanese_vowels/config.toml --data FILE --seeds 5 -o qat.json

Each seed's float model is quantized with the training recordings, and quantization-aware training starts from it too;
all three are streamed over the part ``--part`` of the recordings, or over all of ``--test``. Prints mean and standard
error of every metric, of the seconds an epoch takes, and of how much better than quantizing afterwards training is,
seed by seed; ``-o`` writes every number as JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import edgegru


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="training configuration (TOML)")
    parser.add_argument("--data", type=Path, required=True, help="recordings to train on")
    parser.add_argument("--calibration", type=Path, help="recordings to quantize with (default: --data)")
    parser.add_argument("--test", type=Path, help="recordings to score, all of them (default: --part of --data)")
    parser.add_argument("--part", default="test", help="part of --data to score (default: test)")
    parser.add_argument("--scheme", default="static-w8a8", help="of both integer models (default: static-w8a8)")
    parser.add_argument("--seeds", type=int, default=5, help="models to train: seeds 0, 1, … (default: 5)")
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    runs = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure(arguments, seed, Path(folder)))
        print(runs[-1], file=sys.stderr, flush=True)
    summary = summarise(runs)
    for name, values in summary.items():
        print(f"{name:<24} {values['mean']:.4f} ± {values['error']:.4f}")
    if arguments.output:
        result = {
            "config": str(arguments.config),
            "scheme": arguments.scheme,
            "edgegru": edgegru.__version__,
            "runs": runs,
            "summary": summary,
        }
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


def measure(arguments: argparse.Namespace, seed: int, folder: Path) -> dict[str, Any]:
    """Metrics of one seed's three models, and how long an epoch of both trainings took."""
    config, data, scheme = arguments.config, arguments.data, arguments.scheme
    started = time.monotonic()
    float_model = edgegru.train(config, data=data, seed=seed, output=folder)
    trained = time.monotonic()
    aware = edgegru.train(config, data=data, seed=seed, qat=scheme, from_model=float_model, output=folder / "qat")
    result: dict[str, Any] = {
        "seed": seed,
        "float_epoch_seconds": round((trained - started) / len(history(folder)), 3),
        "qat_epoch_seconds": round(float(np.mean([float(row["seconds"]) for row in history(folder / "qat")])), 3),
    }
    afterwards = folder / "afterwards.safetensors"
    edgegru.quantize(float_model, arguments.calibration or data, afterwards, scheme=scheme)
    test, part = (arguments.test, "all") if arguments.test else (data, arguments.part)
    for name, model in (("float", float_model), ("afterwards", afterwards), ("qat", aware)):
        metrics = edgegru.evaluate(model, test, part=part).metrics
        result |= {f"{name}_{metric}": value for metric, value in metrics.items()}
    for metric in metrics:
        result[f"gain_{metric}"] = result[f"qat_{metric}"] - result[f"afterwards_{metric}"]
    return result


def history(folder: Path) -> list[dict[str, str]]:
    """The rows of a training's history.csv."""
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def summarise(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and its standard error of every measured number but the seed."""
    summary = {}
    for name in [name for name in runs[0] if name != "seed"]:
        values = [run[name] for run in runs]
        error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(runs) > 1 else 0.0
        summary[name] = {"mean": float(np.mean(values)), "error": error}
    return summary


if __name__ == "__main__":
    main()
