"""GRU, LSTM and tanh RNN by ``edgegru compare`` with the recipes of the examples: docs/gru-vs-lstm.md.

    python benchmarks/gru_vs_lstm.py activity --data har_watch_phone -o results/gru_vs_lstm_activity.json
    python benchmarks/gru_vs_lstm.py forecasting --data ett/ETTh1.csv -o results/gru_vs_lstm_forecasting.json
    python benchmarks/gru_vs_lstm.py chorales --data polymusic/JSB_Chorales.mat -o results/gru_vs_lstm_chorales.json

activity: trained on subjects s01–s10, chosen on s11 and s12, reported on s13–s16. forecasting: 24 hours of ETTh1 ahead,
the usual months, each cell beside the linear map of the recipe. chorales: the publisher's parts.

The recipes were chosen for the GRU, so every cell at every size keeps the learning rate, of five around the recipe's,
that is best on the validation part.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from forecasting import MONTH, PARTS

import edgegru
from edgegru.configuration import NetworkConfig, TrainConfig, load_config

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FACTORS = (1 / 9, 1 / 3, 1, 3, 9)  # of the recipe's learning rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--data", type=Path, required=True, help="the public set, as published")
    parser.add_argument("--seeds", type=int, default=5, help="models of each kind to train (default: 5)")
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = TASKS[arguments.task](arguments.data, Path(folder))
        rates = [float(f"{factor * config.training.learning_rate:.2g}") for factor in FACTORS]
        comparison = edgegru.compare(config, seeds=arguments.seeds, learning_rates=rates)
    print(comparison)
    if arguments.output:
        arguments.output.write_text(json.dumps(comparison.to_dict(), indent=1) + "\n")


def chorales(data: Path, folder: Path) -> TrainConfig:
    """46 units, as Chung et al. 2014 have."""
    config = load_config(EXAMPLES / "polyphonic_music" / "config_jsb.toml")
    return replace(config, data=replace(config.data, path=str(data)))


def hours_ahead(data: Path, folder: Path) -> TrainConfig:
    """The three parts of ETTh1 in one file, standardised by the first, which is cut into its months."""
    with open(data, newline="") as source:
        header, *lines = csv.reader(source)
    values = np.array([line[1:] for line in lines], np.float64)
    start, stop = PARTS["train"]
    values = (values - values[start:stop].mean(axis=0)) / values[start:stop].std(axis=0)
    file = folder / "hours.csv"
    with open(file, "w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["recording", *header[1:]])
        for part, hours in PARTS.items():
            for index, hour in enumerate(range(*hours)):
                recording = f"train{index // MONTH}" if part == "train" else part
                writer.writerow([recording, *values[hour].tolist()])
    config = load_config(EXAMPLES / "forecasting" / "config_h24.toml")
    return replace(config, data=replace(config.data, path=str(file), test_groups=("test",)))


def activity(data: Path, folder: Path) -> TrainConfig:
    """The recipe without its convolution, 32 units, half the epochs."""
    config = load_config(EXAMPLES / "har_watch_phone" / "config.toml")
    parts = {"validation_groups": ("s11", "s12"), "test_groups": ("s13", "s14", "s15", "s16")}
    return replace(
        config,
        data=replace(config.data, path=str(data), **parts),
        model=NetworkConfig(hidden_size=32),
        training=replace(config.training, epochs=30),
    )


TASKS = {"activity": activity, "forecasting": hours_ahead, "chorales": chorales}

if __name__ == "__main__":
    main()
