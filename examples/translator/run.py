"""From pairs of sentences to a translator on a device: ``python run.py [--data MULTI30K] [--seeds 1]``.

Trains by ``config.toml``, quantizes to int8, exports encoder and decoder to ONNX and TFLite, and translates the test
part with every one of them. Without ``--data`` it is dates of eight languages (``dates.py``) and ``config_dates.toml``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dates import write_dates
from nearest import NearestSentence

import edgegru
from edgegru.recipe import costs, mean_text
from edgegru.translation.evaluation import bleu_of
from edgegru.translation.pairs import read_pairs
from edgegru_runtime.errors import EdgegruError

HERE = Path(__file__).resolve().parent
FOLDERS = {"float": "float", "int8": "int8", "int8, greedy": "int8", "ONNX": "onnx", "TFLite": "tflite"}
PARTS = ("encoder", "decoder")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of train.de, train.en, val.*, test*")
    parser.add_argument("--seeds", type=int, default=1, help="trainings: seeds 0, 1, … (default: 1)")
    parser.add_argument("--resume", action="store_true", help="go on with trainings that were interrupted")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output/translator"), help="folder")
    parser.add_argument("--results", type=Path, help="where to write what was measured, as JSON")
    options = parser.parse_args(arguments)
    data, config = options.data or write_dates(options.output / "dates"), HERE / "config.toml"
    languages = ("de", "en")
    if options.data is None:
        config, languages = HERE / "config_dates.toml", ("any", "iso")
    runs = []
    for seed in range(options.seeds):
        runs.append(measure(config, data, options.output / f"seed{seed}", seed, options.resume))
        print(runs[-1], file=sys.stderr, flush=True)
    simple = nearest(data, languages)
    if options.results is not None:
        options.results.write_text(json.dumps({"baseline": simple, "runs": runs}, indent=1) + "\n", encoding="utf-8")
    print(table(simple, runs))
    print(f"\nOn a device:\npython {HERE / 'say.py'} {options.output / 'seed0' / 'int8'} < sentences.txt")


def measure(config: Path, data: Path, folder: Path, seed: int, resume: bool) -> dict[str, Any]:
    """Train and quantize a translator, export it, and translate the test part with every one of them."""
    started, output = time.monotonic(), folder / "float"
    resume = resume and (output / "checkpoint.pt").exists()
    edgegru.train_translator(config, data=data, seed=seed, output=output, resume=resume)
    seconds = time.monotonic() - started
    edgegru.quantize_translator(folder / "float", data, folder / "int8", force=True)
    for format in ("onnx", "tflite"):
        (folder / format).mkdir(exist_ok=True)
        for part in PARTS:
            model = folder / "int8" / f"{part}.safetensors"
            edgegru.export(model, folder / format / f"{part}.{format}", format=format, force=True)
    result: dict[str, Any] = {"seed": seed, "train_seconds": None if resume else round(seconds)}  # all, or none
    for name, place in FOLDERS.items():
        found = edgegru.evaluate_translator(folder / place, data, beam=1 if "greedy" in name else 4)
        result[name] = {"bleu": found.bleu, "exact": found.exact, "sentences_per_second": found.sentences_per_second}
        result |= {"signature": found.signature, "sentences": found.sentences, "skipped": found.skipped}
    for part in PARTS:
        result[part] = costs(folder / "int8" / f"{part}.safetensors")
    return result


def nearest(data: Path, languages: tuple[str, str]) -> dict[str, float]:
    """BLEU and equal sentences of what the nearest sentence of the training part was translated to."""
    train, test = (read_pairs(data, part, *languages) for part in ("train", "test"))
    memory = NearestSentence([pair.source for pair in train], [pair.target for pair in train])
    found = [memory.translate(pair.source) for pair in test]
    equal = sum(one.lower() == pair.target.lower() for one, pair in zip(found, test, strict=True))
    return {"bleu": bleu_of(found, [pair.target for pair in test])[0], "exact": equal / len(test)}


def table(simple: dict[str, float], runs: Sequence[dict[str, Any]]) -> str:
    """A row for each method, then the costs."""
    lines = ["| | BLEU | equal sentences | sentences a second |", "|---|---|---|---|"]
    lines.append(f"| nearest sentence | {simple['bleu']:.2f} | {simple['exact']:.3f} | |")
    for name in FOLDERS:
        bleu, exact = mean_text([run[name]["bleu"] for run in runs], 2), [run[name]["exact"] for run in runs]
        speed = runs[0][name]["sentences_per_second"]
        lines.append(f"| {name} | {bleu} | {mean_text(exact, 3)} | {speed:.0f} |")
    lines += ["", f"BLEU: {runs[0]['signature']}; {runs[0]['sentences']} sentences, {runs[0]['skipped']} too long"]
    for part in PARTS:
        cost = runs[0][part]
        sizes = f"{cost['bytes']} bytes, {cost['state_bytes']} bytes of state, {cost['multiply_adds']} multiply–adds"
        lines.append(f"{part}, int8: {sizes} and {cost['step_us']:.1f} µs a step")
    seconds = [run["train_seconds"] for run in runs if run["train_seconds"] is not None]
    return "\n".join([*lines, f"trained in {max(seconds)} s at most"] if seconds else lines)


if __name__ == "__main__":
    try:
        main()
    except EdgegruError as error:
        sys.exit(f"error: {error}")
