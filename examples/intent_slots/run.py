"""From tagged commands to a device that understands them word by word: ``python run.py [--data SNIPS] [--seeds 3]``.

Trains by ``config.toml`` on the official training part, quantizes to int8, exports to ONNX and TFLite, and streams the
test part through every file. Without ``--data`` on commands that templates make, for this example.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import baseline
from commands import write_commands

import edgegru
from edgegru.configuration import load_config
from edgegru.data import labelled_sequences
from edgegru.recipe import FILES, costs, costs_text, scores, scores_text, train
from edgegru_runtime import load
from edgegru_runtime.errors import EdgegruError

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "config.toml"
FEW = {  # commands: a smaller model, larger updates
    "training": {"epochs": 12, "lanes": 16, "learning_rate": 0.02},
    "model": {"embedding_size": 16, "hidden_size": 32, "dropout": 0.2},
}
METRICS = {
    "intent": ("intent accuracy", "recording_label_accuracy"),
    "slots": ("slot F1", "step_label_chunk_f1"),
    "words": ("accuracy of words", "step_label_accuracy"),
}
EXAMPLE = "play something by the quiet hours in the kitchen"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of train, valid, test, each with seq.in, seq.out, label")
    parser.add_argument("--seeds", type=int, default=1, help="trainings: seeds 0, 1, … (default: 1)")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output/intent_slots"), help="folder")
    parser.add_argument("--results", type=Path, help="where to write what was measured, as JSON")
    options = parser.parse_args(arguments)
    data = options.data or write_commands(options.output / "commands")
    runs = []
    for seed in range(options.seeds):
        runs.append(measure(data, options.output / f"seed{seed}", seed, {} if options.data else FEW))
        print(runs[-1], file=sys.stderr, flush=True)
    int8 = options.output / "seed0" / FILES["int8"]
    config = load(int8).config
    assert config.input.tokenizer is not None
    parts = [labelled_sequences(config, data, part) for part in ("train", "test")]
    simple = baseline.scores(*parts, len(config.input.tokenizer.tokens), config.outputs[0].labels)
    if options.results is not None:
        options.results.write_text(json.dumps({"baseline": simple, "runs": runs}, indent=1) + "\n", encoding="utf-8")
    print(table(simple, runs))
    print(f"\nOn a device:\necho '{EXAMPLE}' | python {HERE / 'understand.py'} {int8}")


def measure(data: Path, folder: Path, seed: int, settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Train and quantize a model, export it, and stream the test part through every file; ``settings``: other ones."""
    config = load_config(CONFIG)
    config = replace(config, **{name: replace(getattr(config, name), **values) for name, values in settings.items()})
    seconds = train(config, data, folder, seed)

    def score(file: Path) -> dict[str, float]:
        found = edgegru.evaluate(file, data, part="test").metrics
        return {key: found[metric] for key, (_, metric) in METRICS.items()}

    found = scores(folder, score)
    return {"seed": seed, **found, **costs(folder / FILES["int8"]), "train_seconds": seconds}


def table(simple: dict[str, float], runs: Sequence[dict[str, Any]]) -> str:
    """A row for each method, then the costs."""
    lines = [f"| | {' | '.join(title for title, _ in METRICS.values())} |", "|---" * (1 + len(METRICS)) + "|"]
    for name, found in ({"baseline": [simple]} | {name: [run[name] for run in runs] for name in FILES}).items():
        columns = [
            scores_text([{metric: None if each is None else each[metric]} for each in found], metric, 4)
            for metric in METRICS
        ]
        lines.append(f"| {name} | {' | '.join(columns)} |")
    return "\n".join([*lines, "", costs_text(runs)])


if __name__ == "__main__":
    try:
        main()
    except EdgegruError as error:
        sys.exit(f"error: {error}")
