"""From a text to the next word on a device: ``python run.py [--data input.txt] [--seeds 3]``, beside an n-gram.

Trains by ``config.toml`` (characters) and ``config_words.toml`` (pieces of words) on the first 90 % of the text,
quantizes to int8, exports to ONNX and TFLite, and streams the last 10 % through every file.
Without ``--data`` on what Python says about itself (``pydoc_data.topics``), in characters, with a smaller model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from ngram import NGram

import edgegru
from edgegru.configuration import load_config
from edgegru.data import labelled_sequences
from edgegru.recipe import FILES, costs, costs_text, scores, scores_text, train
from edgegru_runtime import load
from edgegru_runtime.errors import EdgegruError

HERE = Path(__file__).resolve().parent
CONFIGS = {"characters": HERE / "config.toml", "pieces": HERE / "config_words.toml"}
ORDERS = (4, 5)  # characters of history of the n-grams
TOPICS_LENGTH = 100_000  # characters
FEW = {  # characters of text: a model that is trained in a minute
    "training": {"epochs": 6, "lanes": 16, "bptt_steps": 48, "learning_rate": 0.01, "averaging": 0.99},
    "model": {"hidden_size": 64, "dropout": 0.1},
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a text, UTF-8")
    parser.add_argument("--tokens", nargs="+", choices=CONFIGS, help="models to train (default: all or characters)")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each: seeds 0, 1, … (default: 1)")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output/text_predictor"), help="folder")
    parser.add_argument("--results", type=Path, help="where to write what was measured, as JSON")
    options = parser.parse_args(arguments)
    data = options.data or write_topics(options.output / "topics.txt")
    results = {}
    for tokens in options.tokens or (CONFIGS if options.data else ("characters",)):
        runs = []
        for seed in range(options.seeds):
            folder = options.output / tokens / f"seed{seed}"
            runs.append(measure(CONFIGS[tokens], data, folder, seed, {} if options.data else FEW))
            print(tokens, runs[-1], file=sys.stderr, flush=True)
        results[tokens] = {"baselines": baselines(data, CONFIGS[tokens]), "runs": runs}
        if options.results is not None:  # also where a later training is interrupted
            options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(table(tokens, **results[tokens]), flush=True)
    int8 = options.output / tokens / "seed0" / FILES["int8"]
    print(f"\nOn a device:\npython {HERE / 'predict.py'} {int8}")


def write_topics(file: Path) -> Path:
    """What ``help()`` knows about the language, topic after topic. Every version of Python has a text of its own."""
    text = "\n".join(topics[name] for name in sorted(topics))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text[:TOPICS_LENGTH], encoding="utf-8")
    return file


def measure(
    config_file: Path, data: Path, folder: Path, seed: int, settings: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Train and quantize a model, export it, and stream the test part through every file; ``settings``: other ones."""
    config = load_config(config_file)
    config = replace(config, **{name: replace(getattr(config, name), **values) for name, values in settings.items()})
    seconds = train(config, data, folder, seed)
    found = scores(folder, lambda model: bits_per_character(model, data))
    return {"seed": seed, **found, **costs(folder / FILES["int8"]), "train_seconds": seconds}


def bits_per_character(model_file: Path, data: Path) -> float:
    """Of the test part. Its first token is not scored, because nothing came before it."""
    model = load(model_file)
    assert model.tokenizer is not None
    (sequence,) = labelled_sequences(model.config, data, "test")
    first = model.tokenizer.decode([int(sequence.x[0, 0])])
    _, test = parts(data, model.config.data["options"]["test_fraction"])
    found = edgegru.evaluate(model, data, part="test")
    return found.metrics["nll"] * found.scored / log(2) / (len(test) - len(first))


def parts(data: Path, test_fraction: float) -> tuple[str, str]:
    """The text that is trained on, and the text that is a test."""
    text = data.read_bytes().decode()
    place = round(len(text) * (1.0 - test_fraction))
    return text[:place], text[place:]


def baselines(data: Path, config_file: Path) -> dict[str, float]:
    """Bits per character of n-grams by their order, counted over the same text."""
    known, test = parts(data, load_config(config_file).data.test_fraction)
    alphabet = len({*known, *test})
    return {str(order): NGram(known, order, alphabet).bits(test) for order in ORDERS}


def table(tokens: str, baselines: dict[str, float], runs: Sequence[dict[str, Any]]) -> str:
    """A row for each method, then the costs."""
    lines = [f"\n| {tokens} | bits per character |", "|---|---|"]
    lines += [f"| n-gram, {order} characters of history | {bits:.3f} |" for order, bits in baselines.items()]
    lines += [f"| GRU, {name} | {scores_text(runs, name, 3)} |" for name in FILES]
    return "\n".join([*lines, "", costs_text(runs)])


if __name__ == "__main__":
    try:
        main()
    except EdgegruError as error:
        sys.exit(f"error: {error}")
