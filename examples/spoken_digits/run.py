"""Spoken digits, one speaker left out at a time: ``python run.py [--data recordings] [--seeds 3]``.

Trains by ``config.toml`` on all speakers but one, quantizes to int8, exports to ONNX and TFLite, and streams the
recordings of the speaker who was left out. Without ``--data`` the digits are dialled, not spoken: tones of a telephone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from baseline import accuracy
from dialled import write_dialled

import edgegru
from edgegru.configuration import load_config
from edgegru.data import read_recordings
from edgegru.recipe import FILES, build, costs_text
from edgegru_runtime.errors import DataError, EdgegruError

CONFIG = Path(__file__).resolve().parent / "config.toml"
DIALLED = {"epochs": 12, "lanes": 8}  # few recordings, soon learned; stretching would change which tone it is


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder recordings of the Free Spoken Digit Dataset")
    parser.add_argument("--seeds", type=int, default=1, help="trainings for every speaker left out (default: 1)")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output/spoken_digits"), help="folder")
    parser.add_argument("--results", type=Path, help="where to write what was measured, as JSON")
    options = parser.parse_args(arguments)
    folder = options.data or write_dialled(options.output / "dialled")
    settings = {} if options.data else DIALLED
    files = sorted(folder.glob("**/*.wav"))
    speakers = sorted({file.stem.split("_")[1] for file in files if file.stem.count("_") == 2})
    if len(speakers) < 2:
        raise DataError(f"{folder} has recordings of {len(speakers)} speakers, expected two or more: 0_name_0.wav")
    runs = []
    for speaker in speakers:
        parts = {part: options.output / speaker / part for part in ("train", "test")}
        for part, place in parts.items():
            link([file for file in files if (file.stem.split("_")[1] == speaker) == (part == "test")], place)
        baseline = baseline_accuracy(parts["train"], parts["test"])
        for seed in range(options.seeds):
            run = measure(parts["train"], parts["test"], options.output / speaker / f"seed{seed}", seed, settings)
            runs.append({"speaker": speaker, "seed": seed, "baseline": baseline, **run})
            print(runs[-1], file=sys.stderr, flush=True)
    if options.results is not None:
        options.results.write_text(json.dumps({"runs": runs}, indent=1) + "\n", encoding="utf-8")
    print(table(runs, speakers))
    model = options.output / speakers[0] / "seed0" / FILES["int8"]
    print(f"\nOn a device:\npython {CONFIG.parent / 'listen.py'} {model} {files[0]}")


def link(files: Sequence[Path], folder: Path) -> None:
    """A folder of links to these files."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file.resolve())


def measure(train: Path, test: Path, folder: Path, seed: int, settings: dict[str, int]) -> dict[str, Any]:
    """Train and quantize a model, export it, and stream ``test`` through every file; ``settings``: other ones."""
    config = load_config(CONFIG)
    config = replace(config, data=replace(config.data, path=str(train)))
    if settings:
        augmentation = replace(config.augmentation, time_stretch=0.0)
        config = replace(config, training=replace(config.training, **settings), augmentation=augmentation)
    costs = build(config, train, folder, seed)
    evaluations = {name: edgegru.evaluate(folder / file, test, part="all") for name, file in FILES.items()}
    return {name: evaluation.metrics["accuracy"] for name, evaluation in evaluations.items()} | costs


def baseline_accuracy(train: Path, test: Path) -> float:
    """MFCC statistics and logistic regression."""
    sets = [read_recordings(path, load_config(CONFIG).data) for path in (train, test)]
    sounds = [[recording.x[:, 0] / 32768 for recording in one.recordings] for one in sets]
    labels = [np.array([int(str(recording.y)) for recording in one.recordings]) for one in sets]
    assert sets[0].rate is not None
    return accuracy(sounds[0], labels[0], sounds[1], labels[1], sets[0].rate)


def table(runs: Sequence[dict[str, Any]], speakers: Sequence[str]) -> str:
    """A row for each file, a column for each speaker left out; then the costs."""
    lines = ["| | " + " | ".join(speakers) + " | mean |", "|---" * (2 + len(speakers)) + "|"]
    for name in ("baseline", *FILES):
        means = [statistics.mean(run[name] for run in runs if run["speaker"] == speaker) for speaker in speakers]
        seeds = sorted({run["seed"] for run in runs})
        over = [statistics.mean(run[name] for run in runs if run["seed"] == seed) for seed in seeds]
        spread = f" ± {statistics.stdev(over):.3f}" if len(over) > 1 and name != "baseline" else ""
        cells = [*(f"{mean:.3f}" for mean in means), f"{statistics.mean(over):.3f}{spread}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", costs_text(runs)])


if __name__ == "__main__":
    try:
        main()
    except EdgegruError as error:
        sys.exit(f"error: {error}")
