"""Train an example with several seeds, quantize each model, and stream the test part through both: mean ± sd.

    python benchmarks/accuracy.py examples/japanese_vowels/config.toml --data FILE --seeds 5 -o accuracy.json

``--test`` scores another folder of the same layout (all its recordings) in place of the official test part. Calibration
uses the training recordings. Prints a table; ``-o`` writes every number as JSON.
"""

from __future__ import annotations

import argparse
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
    parser.add_argument("--test", type=Path, help="recordings to score (default: the test part of --data)")
    parser.add_argument("--seeds", type=int, default=5, help="models to train: seeds 0, 1, … (default: 5)")
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    data, test = arguments.data, arguments.test or arguments.data
    part = "all" if arguments.test else "test"
    runs = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure(arguments.config, data, test, part, seed, Path(folder)))
        print(runs[-1], file=sys.stderr, flush=True)
    summary = summarise(runs)
    for name, values in summary.items():
        digits = 0 if name.endswith("bytes") else 4
        print(f"{name:<24} {values['mean']:.{digits}f} ± {values['sd']:.{digits}f}")
    if arguments.output:
        result = {"config": str(arguments.config), "edgegru": edgegru.__version__, "runs": runs, "summary": summary}
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


def measure(config: Path, data: Path, test: Path, part: str, seed: int, folder: Path) -> dict[str, Any]:
    """Metrics and file sizes of one seed's float and int8 model, and how long training took."""
    started = time.monotonic()
    float_model = edgegru.train(config, data=data, seed=seed, output=folder)
    seconds = time.monotonic() - started
    int8_model = folder / "int8.safetensors"
    edgegru.quantize(float_model, data, int8_model)
    result: dict[str, Any] = {"seed": seed, "training_seconds": round(seconds, 1)}
    for precision, model in (("float", float_model), ("int8", int8_model)):
        evaluation = edgegru.evaluate(model, test, part=part)
        result |= {f"{precision}_{name}": value for name, value in evaluation.metrics.items()}
        result[f"{precision}_bytes"] = model.stat().st_size
    return result


def summarise(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation of every measured number but the seed."""
    summary = {}
    for name in [name for name in runs[0] if name != "seed"]:
        values = [run[name] for run in runs]
        summary[name] = {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(runs) > 1 else 0.0}
    return summary


if __name__ == "__main__":
    main()
