"""ETTh1, hourly transformer temperatures: forecast 24 hours of all 7 channels; float, integers, QAT and their errors.

    python benchmarks/forecasting.py --data ett/ETTh1.csv --seeds 5 -o forecasting.json

The usual split: 8,640 hours to train on, 2,880 to choose the epoch by, 2,880 to test, every channel standardised by the
training part; the error is the mean square over all channels and hours. The training part is cut into twelve months, so
that they train side by side; the test part is streamed in one piece from a zero state.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from accuracy import summarise

import edgegru
from edgegru.configuration import NetworkConfig, TrainConfig, TrainingConfig
from edgegru.data import DataConfig

PARTS = {"train": (0, 8640), "validation": (8640, 11520), "test": (11520, 14400)}
MONTH = 720
HORIZON = 24
CONFIG = TrainConfig(
    data=DataConfig(
        horizon=HORIZON, recording_column="recording", group_column="group", validation_groups=("validation",)
    ),
    model=NetworkConfig(hidden_size=48, time_constant=48.0, dropout=0.2),
    training=TrainingConfig(
        epochs=40, lanes=12, bptt_steps=96, learning_rate=0.003, weight_decay=0.05, averaging=0.99, patience=12
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="ETTh1.csv as published")
    parser.add_argument("--seeds", type=int, default=5, help="models to train: seeds 0, 1, … (default: 5)")
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_parts(arguments.data, folder)
        for seed in range(arguments.seeds):
            runs.append(measure(folder, seed))
            print(runs[-1], file=sys.stderr, flush=True)
    summary = summarise(runs)
    for name, values in summary.items():
        print(f"{name:<24} {values['mean']:.4f} ± {values['sd']:.4f}")
    if arguments.output:
        arguments.output.write_text(json.dumps({"runs": runs, "summary": summary}, indent=1) + "\n")


def write_parts(file: Path, folder: Path) -> None:
    """The training and validation parts as one CSV file, the test part as another, standardised."""
    with open(file, newline="") as source:
        header, *lines = csv.reader(source)
    values = np.array([line[1:] for line in lines], np.float64)
    start, stop = PARTS["train"]
    values = (values - values[start:stop].mean(axis=0)) / values[start:stop].std(axis=0)
    for name, parts in (("train.csv", ("train", "validation")), ("test.csv", ("test",))):
        with open(folder / name, "w", newline="") as target:
            writer = csv.writer(target)
            writer.writerow(["recording", "group", *header[1:]])
            for part in parts:
                for hour in range(*PARTS[part]):
                    recording = f"{part}{(hour - start) // MONTH}" if part == "train" else part
                    writer.writerow([recording, recording, *values[hour].tolist()])


def measure(folder: Path, seed: int) -> dict[str, float]:
    """Errors and file sizes of one seed's float and integer models."""
    output = folder / f"seed{seed}"
    config = replace(CONFIG, data=replace(CONFIG.data, path=str(folder / "train.csv")))
    model = edgegru.train(config, seed=seed, output=output)
    result: dict[str, float] = {"seed": seed}
    files = {"float": model}
    for scheme in ("static-w8a8", "static-w8a16"):
        files[scheme] = output / f"{scheme}.safetensors"
        edgegru.quantize(model, folder / "train.csv", files[scheme], scheme=scheme)
    files["qat"] = edgegru.train(config, seed=seed, qat="static-w8a8", from_model=model, output=output / "qat")
    for name, file in files.items():
        metrics = edgegru.evaluate(file, folder / "test.csv", part="all").metrics
        result |= {f"{name}_{metric}": value for metric, value in metrics.items()}
        result[f"{name}_bytes"] = file.stat().st_size
    result["int8_excess"] = result["static-w8a8_mse"] / result["float_mse"] - 1
    result["qat_excess"] = result["qat_mse"] / result["static-w8a8_mse"] - 1
    return result


if __name__ == "__main__":
    main()
