"""``edgegru translator``: its three commands, in the order of the pipeline."""

from __future__ import annotations

from pathlib import Path

import click

import edgegru
from edgegru.command_options import force_option, json_option, print_result, require
from edgegru_runtime.engine import ENGINES
from edgegru_runtime.model_config import SCHEMES


@click.group()
def translator() -> None:
    """Make an encoder and a decoder with attention.

    \b
    edgegru translator train --config config.toml --data pairs -o trained
    edgegru translator quantize trained --calibration pairs -o int8
    edgegru translate int8 < sentences.txt
    """


@translator.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="TOML file: data, model, training.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of pairs, in place of the configuration's.")
@click.option("--seed", type=click.IntRange(0), help="Seed, in place of the configuration's.")
@click.option("--device", default="cpu", show_default=True, help="Where torch computes: cpu, cuda, cuda:1 …")
@click.option("--resume", is_flag=True, help="Continue from the checkpoint in the output folder.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for both models.")
def train(config: Path, data: Path | None, seed: int | None, device: str, resume: bool, output: Path) -> None:
    """Train a translator from a TOML configuration."""
    require("torch", "training")
    click.echo(edgegru.train_translator(config, data=data, seed=seed, device=device, resume=resume, output=output))


@translator.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--calibration", type=click.Path(path_type=Path), required=True, help="Folder of pairs; its training part is used."
)
@click.option("--scheme", type=click.Choice(SCHEMES[1:]), default="static-w8a8", show_default=True)
@click.option("--pairs", type=click.IntRange(1), default=300, show_default=True, help="How many are looked at.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for both models.")
@force_option
def quantize(folder: Path, calibration: Path, scheme: str, pairs: int, output: Path, force: bool) -> None:
    """Turn the float translator in FOLDER into integers."""
    click.echo(edgegru.quantize_translator(folder, calibration, output, scheme=scheme, pairs=pairs, force=force))


@translator.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of pairs.")
@click.option("--part", type=click.Choice(("train", "validation", "test")), default="test", show_default=True)
@click.option("--engine", type=click.Choice(("auto", *ENGINES)), default="auto", show_default=True)
@click.option("--beam", type=click.IntRange(1), default=4, show_default=True, help="Hypotheses kept; 1: greedy.")
@click.option("--most", type=click.IntRange(1), help="Only so many pairs, the first ones.")
@json_option
def evaluate(
    folder: Path, data: Path, part: str, engine: str, beam: int, most: int | None, as_json: bool
) -> None:
    """Score what the translator in FOLDER says (BLEU)."""
    name = None if engine == "auto" else engine
    print_result(edgegru.evaluate_translator(folder, data, part=part, engine=name, beam=beam, most=most), as_json)
