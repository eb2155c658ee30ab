"""Forecasts of an hourly table: ``python run.py [--data ETTh1.csv] [--seeds 3]``, beside ridge regressions.

Trains by ``config_h1.toml``, ``config_h24.toml`` and ``config_h96.toml`` on 12 months, chooses the epoch on 4, streams
the next 4 hour by hour. Every method sees the same windows (baselines.py). Without ``--data`` the hours are made up,
and only the next day is forecast.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from baselines import LAGS, PARTS, Values, baselines, windows
from hours import write_hours

from edgegru.configuration import load_config
from edgegru.recipe import FILES, build, costs_text, mean_text
from edgegru_runtime import load
from edgegru_runtime.errors import DataError, EdgegruError

HERE = Path(__file__).resolve().parent
TRAIN_RECORDINGS = 24  # side by side, each with the 95 hours in front of it as history
KEEP = {"standardise": "static-w8a16", "convolution": "static-w8a16"}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="ETTh1.csv as published, or another table of hours")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each model (default: 1)")
    parser.add_argument("--horizons", type=int, nargs="+", choices=(1, 24, 96), help="hours (default: all or 24)")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output/forecasting"), help="folder")
    parser.add_argument("--results", type=Path, help="where to write what was measured, as JSON")
    options = parser.parse_args(arguments)
    header, values = read_hours(options.data or write_hours(options.output / "hours.csv"))
    start, stop = PARTS["train"]
    mean, std = values[start:stop].mean(axis=0), values[start:stop].std(axis=0)
    results = {}
    for horizon in options.horizons or ((1, 24, 96) if options.data else (24,)):
        folder = options.output / f"h{horizon}"
        file = write_recordings(folder, header, values, horizon)
        runs = [measure(file, values, std, horizon, folder / f"seed{seed}", seed) for seed in range(options.seeds)]
        results[horizon] = {"baselines": baselines((values - mean) / std, horizon), "runs": runs}
        print(table(horizon, **results[horizon]), flush=True)
    if options.results is not None:
        options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\nOn a device:\npython {HERE / 'forecast.py'} {folder / 'seed0' / FILES['int8']} < hours.csv")


def read_hours(file: Path) -> tuple[list[str], Values]:
    """Names of the channels, and (hours, channels). Raises DataError for fewer hours than the parts have."""
    with open(file, newline="") as source:
        header, *lines = csv.reader(source)
    needed = PARTS["test"][1]
    if len(lines) < needed:
        raise DataError(f"{file} has {len(lines)} hours, expected {needed}: 12 months, 4 and 4")
    return header[1:], np.array([line[1:] for line in lines[:needed]], np.float64)


def write_recordings(folder: Path, header: Sequence[str], values: Values, horizon: int) -> Path:
    """The training part in recordings side by side and the validation part, each with its history in front."""
    folder.mkdir(parents=True, exist_ok=True)
    spans = {"validation": PARTS["validation"]}
    edges = np.linspace(LAGS - 1, PARTS["train"][1] - horizon, TRAIN_RECORDINGS + 1).astype(int)
    for index in range(TRAIN_RECORDINGS):  # a step that counts is in one recording, with the hours it forecasts
        spans[f"train{index}"] = (int(edges[index]), int(edges[index + 1]) + horizon)
    file = folder / "recordings.csv"
    with open(file, "w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["recording", *header])
        for name, (start, stop) in spans.items():
            first = max(start, LAGS) - LAGS + (1 if name != "validation" else 0)
            writer.writerows([name, *row] for row in values[first:stop].tolist())
    return file


def measure(file: Path, values: Values, std: Values, horizon: int, folder: Path, seed: int) -> dict[str, Any]:
    """Train, quantize and export a model, and stream the test months through every file."""
    config = load_config(HERE / f"config_h{horizon}.toml")
    config = replace(config, data=replace(config.data, path=str(file)))
    costs = build(config, file, folder, seed, keep=KEEP)
    return {name: errors(folder / file_name, values, std, horizon) for name, file_name in FILES.items()} | costs


def errors(file: Path, values: Values, std: Values, horizon: int) -> dict[str, float]:
    """Mean squared and mean absolute error over the windows of baselines.py, in standard deviations of training."""
    known, future = windows(values, "test", horizon)
    first = PARTS["test"][0] - LAGS
    x = np.concatenate([known[0], values[PARTS["test"][0] : PARTS["test"][0] + len(known) - 1]])
    assert np.array_equal(x, values[first : first + len(x)])
    outputs = np.asarray(load(file).stream().run(x.astype(np.float32)))[LAGS - 1 :]
    difference = (outputs.reshape(future.shape) - future) / std
    return {"mse": float(np.square(difference).mean()), "mae": float(np.abs(difference).mean())}


def table(horizon: int, baselines: dict[str, dict[str, float]], runs: Sequence[dict[str, Any]]) -> str:
    """A row for each method: errors on the test months."""
    lines = [f"\n| {horizon} hours ahead | MSE | MAE |", "|---|---|---|"]
    lines += [f"| {name} | {one['test_mse']:.4f} | {one['test_mae']:.4f} |" for name, one in baselines.items()]
    for name in FILES:
        cells = [mean_text([run[name][metric] for run in runs]) for metric in ("mse", "mae")]
        lines.append(f"| skip and GRU, {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", costs_text(runs)])


if __name__ == "__main__":
    try:
        main()
    except EdgegruError as error:
        sys.exit(f"error: {error}")
