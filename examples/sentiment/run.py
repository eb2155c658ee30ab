"""From labelled sentences to a verdict after every word on a device: ``python run.py [--data SST2] [--seeds 3]``.

Trains by ``config.toml`` on the official training part, quantizes to int8, exports to ONNX and TFLite, and streams the
test part through every file. Without ``--data`` on the reviews that were written for this example.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import naive_bayes

import edgegru
from edgegru.configuration import load_config
from edgegru.data import labelled_sequences
from edgegru.recipe import FILES, build, costs_text, mean_text
from edgegru_runtime import load
from edgegru_runtime.errors import EdgegruError

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "config.toml"
FEW = {  # sentences: more and larger updates, less that is left out
    "training": {"epochs": 30, "lanes": 8, "learning_rate": 0.02},
    "model": {"dropout": 0.3},
    "augmentation": {"token_dropout": 0.1},
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of stsa.binary.train, .dev and .test")
    parser.add_argument("--seeds", type=int, default=1, help="trainings: seeds 0, 1, … (default: 1)")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output/sentiment"), help="folder")
    parser.add_argument("--results", type=Path, help="where to write what was measured, as JSON")
    options = parser.parse_args(arguments)
    data = options.data or write_reviews(options.output / "reviews")
    runs = []
    for seed in range(options.seeds):
        runs.append(measure(data, options.output / f"seed{seed}", seed, {} if options.data else FEW))
        print(runs[-1], file=sys.stderr, flush=True)
    int8 = options.output / "seed0" / FILES["int8"]
    config = load(int8).config
    assert config.input.tokenizer is not None
    parts = [labelled_sequences(config, data, part) for part in ("train", "test")]
    simple = naive_bayes.accuracy(*parts, len(config.input.tokenizer.tokens))
    if options.results is not None:
        options.results.write_text(json.dumps({"baseline": simple, "runs": runs}, indent=1) + "\n", encoding="utf-8")
    print(table(simple, runs))
    print(f"\nOn a device:\necho 'a good start , but then it gets worse' | python {HERE / 'verdict.py'} {int8}")


def write_reviews(folder: Path) -> Path:
    """The reviews in the layout of the public set: of ten pairs seven to train on, one to choose by, two to test."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (HERE / "reviews.txt").read_text(encoding="utf-8").splitlines()
    places = {"train": (0, 1, 2, 4, 5, 6, 8), "dev": (9,), "test": (3, 7)}
    for part, chosen in places.items():
        text = "".join(f"{line}\n" for index, line in enumerate(lines) if index // 2 % 10 in chosen)
        (folder / f"stsa.binary.{part}").write_text(text, encoding="utf-8")
    return folder


def measure(data: Path, folder: Path, seed: int, settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Train and quantize a model, export it, and stream the test part through every file; ``settings``: other ones."""
    config = load_config(CONFIG)
    config = replace(config, **{name: replace(getattr(config, name), **values) for name, values in settings.items()})
    costs = build(config, data, folder, seed)
    evaluations = {name: edgegru.evaluate(folder / file, data, part="test") for name, file in FILES.items()}
    accuracies = {name: evaluation.metrics["accuracy"] for name, evaluation in evaluations.items()}
    return {"seed": seed, **accuracies, **costs}


def table(simple: float, runs: Sequence[dict[str, Any]]) -> str:
    """A row for each method, then the costs."""
    lines = ["| | accuracy |", "|---|---|", f"| naive Bayes | {simple:.4f} |"]
    lines += [f"| {name} | {mean_text([run[name] for run in runs])} |" for name in FILES]
    return "\n".join([*lines, "", costs_text(runs)])


if __name__ == "__main__":
    try:
        main()
    except EdgegruError as error:
        sys.exit(f"error: {error}")
