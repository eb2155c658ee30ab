"""From piano rolls to a piece that goes on: ``python run.py [--data FOLDER] [--seeds 5]``, beside a Markov chain a key.

Trains by ``config_jsb.toml`` and ``config_nottingham.toml`` on the official training parts, chooses the epoch on the
validation parts, quantizes to int8, exports to ONNX and TFLite, and streams the test parts through every file. Without
``--data`` on chorales that are made up (chorales.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import midi
import numpy as np
from chorales import write_chorales
from markov import nll

import edgegru
from edgegru.configuration import load_config
from edgegru.data import labelled_sequences
from edgegru.recipe import FILES, costs, costs_text, scores, scores_text, train
from edgegru_runtime import load
from edgegru_runtime.errors import EdgegruError

HERE = Path(__file__).resolve().parent
SETS = {"JSB_Chorales": HERE / "config_jsb.toml", "Nottingham": HERE / "config_nottingham.toml"}
MADE_UP = "made up"
FEW = {"training": {"epochs": 30, "averaging": 0.98}}  # pieces


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of JSB_Chorales.mat and Nottingham.mat")
    parser.add_argument("--sets", nargs="+", choices=SETS, help="some of them (default: both)")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each: seeds 0, 1, … (default: 1)")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output/polyphonic_music"), help="folder")
    parser.add_argument("--results", type=Path, help="where to write what was measured, as JSON")
    options = parser.parse_args(arguments)
    if options.data is None:
        files = {MADE_UP: write_chorales(options.output / "chorales.mat")}
    else:
        files = {name: options.data / f"{name}.mat" for name in options.sets or SETS}
    results = {}
    for name, file in files.items():
        folder, runs = options.output / file.stem, []
        for seed in range(options.seeds):
            runs.append(measure(name, file, folder / f"seed{seed}", seed))
            print(name, runs[-1], file=sys.stderr, flush=True)
        results[name] = {"baseline": baseline(folder / "seed0" / FILES["float"], file), "runs": runs}
        if options.results is not None:  # also where a later training is interrupted
            options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(table(name, **results[name]), flush=True)
        write_beginning(folder / "seed0" / FILES["float"], file, folder / "beginning.mid")
    model, beginning = folder / "seed0" / FILES["int8"], folder / "beginning.mid"
    print(f"\nOn a device:\npython {HERE / 'compose.py'} {model} {beginning} -o whole.mid")


def measure(name: str, file: Path, folder: Path, seed: int) -> dict[str, Any]:
    """Train and quantize a model, export it, and stream the test part through every file: nats a frame.

    None for an export whose verification refuses it.
    """
    config = load_config(SETS.get(name, SETS["JSB_Chorales"]))
    if name == MADE_UP:
        config = replace(config, **{part: replace(getattr(config, part), **values) for part, values in FEW.items()})
    seconds = train(config, file, folder, seed)
    found = scores(folder, lambda model: edgegru.evaluate(model, file, part="test").metrics["nll"])
    validation = edgegru.evaluate(folder / FILES["float"], file, part="validation").metrics["nll"]
    return {"seed": seed, "validation": validation, **found, **costs(folder / FILES["int8"]), "train_seconds": seconds}


def baseline(model: Path, file: Path) -> float:
    """Nats a frame of the test part, of the Markov chains. ``model`` says how the file is read."""
    config = load(model).config
    return nll(*(labelled_sequences(config, file, part) for part in ("train", "test")))


def write_beginning(model: Path, file: Path, target: Path) -> None:
    """The first piece of the test part as a MIDI file, for the device to go on with."""
    config = load(model).config
    keys = [int(name.removeprefix("note")) for name in config.input.channels]
    piece = labelled_sequences(config, file, "test")[0].x
    midi.write(target, [{keys[place] for place in np.flatnonzero(frame)} for frame in piece], quarters=1.0)


def table(name: str, baseline: float, runs: Sequence[dict[str, Any]]) -> str:
    """A row for each method, then the costs."""
    lines = [f"\n| {name.replace('_', ' ')} | nats a frame |", "|---|---|"]
    lines.append(f"| Markov chain of each key | {baseline:.3f} |")
    lines += [f"| GRU, {kind} | {scores_text(runs, kind, 3)} |" for kind in FILES]
    return "\n".join([*lines, "", costs_text(runs)])


if __name__ == "__main__":
    try:
        main()
    except EdgegruError as error:
        sys.exit(f"error: {error}")
