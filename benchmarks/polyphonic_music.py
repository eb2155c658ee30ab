"""Train a GRU of 46 units on each set of polyphonic music with several seeds, quantize it, and score what streams.

    python benchmarks/polyphonic_music.py --data FOLDER --seeds 5 -o polyphonic_music.json

FOLDER holds JSB_Chorales.mat and Nottingham.mat. The negative log-likelihood ("nll") is in nats, summed over 88 keys
and averaged over all frames of the official validation or test part but the first one of each piece. Calibration uses
the training part. Prints a table; ``-o`` writes every number as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from accuracy import summarise  # the script beside this one

import edgegru
from edgegru_runtime import read_artifact

RECIPES = Path(__file__).parent.parent / "examples" / "polyphonic_music"
SETS = {"JSB_Chorales": RECIPES / "config_jsb.toml", "Nottingham": RECIPES / "config_nottingham.toml"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with JSB_Chorales.mat and Nottingham.mat")
    parser.add_argument("--set", choices=SETS, action="append", dest="sets", help="one set only (default: both)")
    parser.add_argument("--seeds", type=int, default=5, help="models to train: seeds 0, 1, … (default: 5)")
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.sets or SETS:
        runs = []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                runs.append(measure(SETS[name], arguments.data / f"{name}.mat", seed, Path(folder)))
            print(name, runs[-1], file=sys.stderr, flush=True)
        results[name] = {"runs": runs, "summary": summarise(runs)}
        for metric, values in results[name]["summary"].items():
            digits = 4 if metric.endswith(("nll", "f1")) else 0
            print(f"{name:<14} {metric:<26} {values['mean']:.{digits}f} ± {values['sd']:.{digits}f}")
    if arguments.output:
        result = {"edgegru": edgegru.__version__, **results}
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


def measure(config: Path, data: Path, seed: int, folder: Path) -> dict[str, Any]:
    """Size, training time, and the metrics of one seed's float and int8 model on both parts that it never trains on."""
    started = time.monotonic()
    float_model = edgegru.train(config, data=data, seed=seed, output=folder)
    seconds = time.monotonic() - started
    int8_model = folder / "int8.safetensors"
    edgegru.quantize(float_model, data, int8_model)
    artifact = read_artifact(float_model)
    result: dict[str, Any] = {
        "seed": seed,
        "epoch": artifact.config.provenance["epoch"],
        "training_seconds": round(seconds, 1),
        "parameters": sum(
            math.prod(tensor.shape) for name, tensor in artifact.tensors.items() if not name.startswith("standardise.")
        ),
    }
    for precision, model in (("float", float_model), ("int8", int8_model)):
        result[f"{precision}_bytes"] = model.stat().st_size
        for part in ("validation", "test"):
            evaluation = edgegru.evaluate(model, data, part=part)
            result |= {f"{precision}_{part}_{name}": value for name, value in evaluation.metrics.items()}
    return result


if __name__ == "__main__":
    main()
