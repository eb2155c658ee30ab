"""From normal rows of a machine to a detector that streams on a device: ``python run.py [--data NAB]``.

Trains a small GRU for each file of the Numenta Anomaly Benchmark, on the file's probation alone, quantizes it to int8,
exports it to ONNX and TFLite, streams the file through all of them, and scores the alarms beside those of the windowed
Gaussian. Without ``--data`` it does the same with three machines that it makes up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from machines import write_machines
from nab_scoring import PROFILES, Labels, best_threshold, score, windows_of
from numpy.typing import NDArray
from windowed_gaussian import windowed_gaussian

import edgegru
from edgegru.calibration import calibrate
from edgegru.configuration import load_config
from edgegru.data import prepare, read_recordings
from edgegru.quantization import quantize_artifact
from edgegru.recipe import FILES, costs, export, mean_text
from edgegru_export.saving import save_artifact
from edgegru_runtime import load, read_artifact
from edgegru_runtime.decisions import scores
from edgegru_runtime.errors import EdgegruError
from edgegru_runtime.model_config import ModelConfig, ResidualConfig
from edgegru_runtime.smoothing import UNIT, RecentPeak, fixed, make_smoothing

CONFIG = Path(__file__).resolve().parent / "config.toml"
MEMORY = 2000  # rows in which a peak of the score fades to a third
FALSE_ALARMS = 1 / 1000  # of the rows that set a threshold without labels: the second half of each probation
REACH = 8.0  # standard deviations that the integers of the input have to reach, whatever the probation shows
SMALLEST_RESIDUAL = 1e-3  # standard deviations, taken as usual where a signal repeats exactly
WAYS = {"labels": "by the labels", "probation": "by the probations"}  # how the one threshold for all files is found

Samples = NDArray[np.float32]  # (rows, 1) of one file
Scores = NDArray[np.float64]  # (rows,) of one file


@dataclass(frozen=True)
class File:
    """One file of the benchmark: where it is, its values, and where its windows are."""

    name: str
    path: Path
    x: Samples
    labels: Labels

    @property
    def normal(self) -> Samples:
        """The values of its probation."""
        return self.x[: self.labels.probation]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the benchmark; left out: three made-up machines")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of every model (default: 1)")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output/anomalies"), help="folder of the models")
    parser.add_argument("--results", type=Path, help="where to write what was measured, as JSON")
    options = parser.parse_args(arguments)
    files = read_files(options.data or write_machines(options.output / "machines"))
    runs = [run(files, options.output / f"seed{seed}", seed) for seed in range(options.seeds)]
    model = options.output / "seed0" / files[-1].name / FILES["int8"]
    config = load(model).config
    results = {f"GRU, {name}": [one[name] for one in runs] for name in FILES} | {
        "last value": [judge(files, [last_value_scores(config, file) for file in files])],
        "windowed Gaussian": [judge(files, [windowed_gaussian(file.x[:, 0]) for file in files])],
    }
    taken = [one["costs"] for one in runs]
    if options.results is not None:
        found = {"files": len(files), "costs": taken} | results
        options.results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{table(results)}\n\n{costs_text(len(files), taken)}\n\nOn a device:")
    print(f"python {CONFIG.parent / 'detect.py'} {model} {files[-1].path}")


def read_files(folder: Path) -> list[File]:
    """The files of the benchmark with their windows. Raises DataError."""
    recordings = read_recordings(folder, load_config(CONFIG).data).recordings
    files = []
    for whole in (recording for recording in recordings if recording.part == "test"):
        labels = Labels(len(whole.x), windows_of(tuple(whole.y or ())))
        files.append(File(whole.name, folder / "data" / f"{whole.name}.csv", whole.x, labels))
    return files


def run(files: Sequence[File], folder: Path, seed: int) -> dict[str, Any]:
    """Train and judge a model for each file, and give it the threshold that needs no labels."""
    started = time.monotonic()
    for file in files:
        train(file, folder / file.name, seed)
    seconds = time.monotonic() - started
    judged = {}
    for name, model in FILES.items():
        paths = [folder / file.name / model for file in files]
        pairs = zip(files, paths, strict=True)
        found = [relative_scores(load(path).config, file.x, forecasts(path, file.x)) for file, path in pairs]
        judged[name] = judge(files, found)
    paths = [folder / file.name / FILES["int8"] for file in files]
    threshold = judged["int8"]["probation"]["threshold"]
    for path in paths:
        change_decision(path, threshold=threshold, threshold_off=threshold)
    size = statistics.mean(path.stat().st_size for path in paths)
    return judged | {"costs": costs(paths[0]) | {"bytes": size, "seconds": round(seconds)}}


def train(file: File, folder: Path, seed: int) -> None:
    """The models of a file, trained and calibrated on its probation, which also says how large a residual is."""
    model = edgegru.train(CONFIG, data=file.path, seed=seed, output=folder)
    data = prepare(load_config(CONFIG).data, file.path)
    extremes = data.mean + data.std * np.linspace(-REACH, REACH, 33, dtype=np.float32)[:, np.newaxis]
    int8, artifact = folder / FILES["int8"], read_artifact(model)
    save_artifact(quantize_artifact(artifact, calibrate(artifact, (file.normal, extremes))), int8)
    for path in (model, int8):
        change_decision(path, residual=usual_residual(file, forecasts(path, file.normal)))
    export(folder)


def forecasts(model: Path, x: Samples) -> Samples:
    """What the model expects after each row, (rows, 1), streamed from a new state."""
    return np.asarray(load(model).stream().run(x))


def usual_residual(file: File, expected: Samples) -> ResidualConfig:
    """The root mean square of the probation's residuals. ``expected``: (rows, 1), after each of its rows."""
    residuals = file.normal[1:] - expected[:-1]
    smallest = SMALLEST_RESIDUAL * (float(file.normal.std()) or 1.0)
    return ResidualConfig("output", (max(float(np.sqrt(np.mean(residuals**2))), smallest),), MEMORY)


def change_decision(model: Path, **settings: Any) -> None:
    """Write other decision settings into a model file."""
    artifact = read_artifact(model)
    decision = replace(artifact.config.decision, **settings)
    save_artifact(replace(artifact, config=replace(artifact.config, decision=decision)), model)


def relative_scores(config: ModelConfig, x: Samples, expected: Samples) -> Scores:
    """What the decisions of ``config`` compare with their threshold at each row, in every bit; 0 at the first row.

    ``expected``: (rows, 1), after each row.
    """
    decision = config.decision
    smoothing = make_smoothing(decision.smoothing, 1)
    assert smoothing is not None and decision.residual is not None
    peak = RecentPeak(int(decision.residual.memory))
    found = scores(config, decision, x.tolist(), None, expected.tolist())
    return np.array([0.0 if each is None else peak.add(*smoothing.add([fixed(each)])) / UNIT for each in found])


def last_value_scores(config: ModelConfig, file: File) -> Scores:
    """The same decisions on the simplest forecast there is: the next value is the last one."""
    decision = replace(config.decision, residual=usual_residual(file, file.normal))
    return relative_scores(replace(config, decision=decision), file.x, file.x)


def judge(files: Sequence[File], found: Sequence[Scores]) -> dict[str, Any]:
    """The score in each profile: with the best threshold for it, and with one that no label was needed for."""
    labels = [file.labels for file in files]
    threshold = probation_threshold(labels, found)
    detections = [each >= threshold for each in found]
    best = {name: best_threshold(labels, found, profile) for name, profile in PROFILES.items()}
    return {
        "labels": {name: value for name, (_, value) in best.items()} | {"threshold": best["standard"][0]},
        "probation": {name: score(labels, detections, profile) for name, profile in PROFILES.items()}
        | {"threshold": threshold},
    }


def probation_threshold(labels: Sequence[Labels], found: Sequence[Scores]) -> float:
    """The score that ``FALSE_ALARMS`` of the rows exceed, of the second halves of all probations together."""
    halves = [each[file.probation // 2 : file.probation] for file, each in zip(labels, found, strict=True)]
    ordered = np.sort(np.concatenate(halves))[::-1]
    return float(ordered[int(FALSE_ALARMS * len(ordered))])


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    lines = ["| detector | threshold | " + " | ".join(PROFILES) + " |", "|---" * (2 + len(PROFILES)) + "|"]
    for detector, runs in results.items():
        for way, words in WAYS.items():
            cells = [mean_text([run[way][name] for run in runs], 1) for name in PROFILES]
            lines.append(f"| {detector} | {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def costs_text(files: int, taken: Sequence[dict[str, Any]]) -> str:
    """What the int8 models take; all are of one shape."""
    size, longest = statistics.mean(each["bytes"] for each in taken), max(each["seconds"] for each in taken)
    a_step = f"{taken[0]['multiply_adds']} multiply–adds and {taken[0]['step_us']:.2f} µs a step"
    state = f"{taken[0]['state_bytes']} bytes of state"
    return f"int8: {files} models of {size:.0f} bytes, {state}, {a_step}; trained and exported in {longest} s at most"


if __name__ == "__main__":
    try:
        main()
    except EdgegruError as error:
        sys.exit(f"error: {error}")
