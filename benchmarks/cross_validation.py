"""Judge a training recipe inside the training part alone: k folds of its groups, last epoch, several seeds.

    python benchmarks/cross_validation.py examples/japanese_vowels/config.toml --data FILE --folds 5 --seeds 3

The test part is never scored, so that a recipe chosen by this number is not tuned on it. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from edgegru.configuration import TrainConfig, load_config
from edgegru.data import LabelledSequence, prepare
from edgegru.training import Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="training configuration (TOML)")
    parser.add_argument("--data", type=Path, required=True, help="recordings")
    parser.add_argument("--folds", type=int, default=5, help="parts the groups are dealt into (default: 5)")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions, each with other folds (default: 3)")
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    config = replace(config, data=replace(config.data, path=str(arguments.data), validation_fraction=0.0))
    whole = prepare(config.data).train
    results = []
    for seed in range(arguments.seeds):
        for fold in deal(whole, arguments.folds, seed):
            results.append(validate(config, fold, seed))
            print(f"seed {seed}, {len(fold)} groups held out: {results[-1]}", file=sys.stderr, flush=True)
    summary = {
        name: {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}
        for name in results[0]
        for values in [[result[name] for result in results]]
    }
    print(json.dumps({"folds": arguments.folds, "seeds": arguments.seeds, **summary}))


def deal(sequences: tuple[LabelledSequence, ...], folds: int, seed: int) -> list[tuple[str, ...]]:
    """The groups of sequences in ``folds`` parts of nearly the same size and mix of last targets."""
    groups = sorted({(str(sequence.target[-1]), sequence.group) for sequence in sequences})
    order = np.random.default_rng(seed).permutation(len(groups))
    by_target = sorted((groups[index] for index in order), key=lambda group: group[0])
    names = list(dict.fromkeys(group for _, group in by_target))
    return [tuple(names[start::folds]) for start in range(folds)]


def validate(config: TrainConfig, fold: tuple[str, ...], seed: int) -> dict[str, float]:
    """The validation metrics after the last epoch, trained on all groups but those in ``fold``."""
    config = replace(
        config,
        data=replace(config.data, validation_groups=fold),
        training=replace(config.training, seed=seed, patience=0),
    )
    trainer = Trainer(config, prepare(config.data, seed=seed), torch.device("cpu"))
    while not trainer.done:
        row = trainer.run_epoch()
    return {name: value for name, value in row.items() if name.startswith("validation_")}


if __name__ == "__main__":
    main()
