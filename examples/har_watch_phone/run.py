"""From recordings of a smartwatch to a model that streams on it: ``python run.py [--data DIR --test DIR] [--seeds 3]``.

Trains by ``config.toml`` on everybody in ``--data``, quantizes to int8, exports to ONNX and TFLite, and streams the
recordings of other people, ``--test``, through every file. Without the two, on recordings that come with a package.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import baseline
from motions import write_motions

import edgegru
from edgegru.data import labelled_sequences
from edgegru.data.har_watch_phone import recording_files
from edgegru.recipe import FILES, build, costs_text, mean_text
from edgegru_runtime import load
from edgegru_runtime.errors import EdgegruError

CONFIG = Path(__file__).resolve().parent / "config.toml"
METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1"}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of recordings to train on")
    parser.add_argument("--test", type=Path, help="folder of recordings of other people, to score")
    parser.add_argument("--seeds", type=int, default=1, help="trainings: seeds 0, 1, … (default: 1)")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output/har_watch_phone"), help="folder")
    parser.add_argument("--results", type=Path, help="where to write what was measured, as JSON")
    options = parser.parse_args(arguments)
    if (options.data is None) != (options.test is None):
        parser.error("--data and --test go together: recordings to train on, and of other people to score")
    data, test = options.data, options.test
    if data is None:
        folders = write_motions(options.output / "motions")
        data, test = folders["train"], folders["test"]
    runs = []
    for seed in range(options.seeds):
        runs.append(measure(data, test, options.output / f"seed{seed}", seed))
        print(runs[-1], file=sys.stderr, flush=True)
    int8 = options.output / "seed0" / FILES["int8"]
    config = load(int8).config
    parts = [labelled_sequences(config, folder, "all") for folder in (data, test)]
    simple = baseline.scores(*parts, config.input.size)
    if options.results is not None:
        options.results.write_text(json.dumps({"baseline": simple, "runs": runs}, indent=1) + "\n", encoding="utf-8")
    print(table(simple, runs))
    recording = recording_files(test, "watch")[0]
    print(f"\nOn a watch:\npython {CONFIG.parent / 'watch.py'} {int8} {recording}")


def measure(data: Path, test: Path, folder: Path, seed: int) -> dict[str, Any]:
    """Train and quantize a model, export it, and stream ``test`` through every file."""
    costs = build(CONFIG, data, folder, seed)
    scores = {name: edgegru.evaluate(folder / file, test, part="all").metrics for name, file in FILES.items()}
    return {"seed": seed, **scores, **costs}


def table(simple: dict[str, float], runs: Sequence[dict[str, Any]]) -> str:
    """A row for each method, then the costs."""
    lines = [f"| | {' | '.join(METRICS.values())} |", "|---" * (1 + len(METRICS)) + "|"]
    scores = {"baseline": [simple]} | {name: [run[name] for run in runs] for name in FILES}
    for name, found in scores.items():
        lines += [f"| {name} | {' | '.join(mean_text([each[metric] for each in found]) for metric in METRICS)} |"]
    return "\n".join([*lines, "", costs_text(runs)])


if __name__ == "__main__":
    try:
        main()
    except EdgegruError as error:
        sys.exit(f"error: {error}")
