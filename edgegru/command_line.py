"""The ``edgegru`` command: one function of the package behind each name, in the order of the pipeline.

Results go to standard output, progress and warnings to standard error. Exit status: 0 done, 1 failed (one sentence on
standard error), 2 wrong usage, 130 interrupted. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

import edgegru
from edgegru.command_options import c_options, force_option, json_option, kept, label_lists, names, rates
from edgegru_runtime.engine import ENGINES
from edgegru_runtime.errors import EdgegruError
from edgegru_runtime.model_config import SCHEMES

INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C
INT8_STATE_WARNING = (
    "the state has 8 bits: a unit that moves by less than 1/256 a step stands still short of its target, "
    "so slow units are wrong; without --allow-int8-state it has 16"
)
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _RuntimeCommand(click.Command):
    """A command whose arguments, options and help are those of ``python -m edgegru_runtime``, untouched by click."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return []

    def invoke(self, ctx: click.Context) -> int:
        from edgegru_runtime.command_line import main as runtime_main

        return runtime_main([str(self.name), *ctx.args], prog="edgegru")


class _InfoCommand(_RuntimeCommand):
    """The device's own, which leaves files of other makers to the host, and what a model takes as C."""

    def invoke(self, ctx: click.Context) -> int:
        if any(argument.split("=")[0] == "--target" for argument in ctx.args):
            return self._in_c(ctx)
        files = [argument for argument in ctx.args if argument != "--json"]
        if len(files) == 1 and not files[0].startswith("-"):
            from edgegru.on_device import foreign_info

            if (description := foreign_info(files[0])) is not None:
                from edgegru_export.foreign_description import foreign_text

                click.echo(json.dumps(description) if "--json" in ctx.args else foreign_text(description))
                return 0
        return super().invoke(ctx)

    def _in_c(self, ctx: click.Context) -> int:
        """``info MODEL --target TARGET [--io IO]``: what exporting it as C would take."""
        from edgegru.command_options import info_c_command
        from edgegru_export.c_export import c_sizes

        given = info_c_command.make_context(f"edgegru {self.name}", ctx.args).params
        found = c_sizes(given["model"], given["target"], given["io"])
        shown = {"sizes": [size.to_dict() for size in found]}
        click.echo(json.dumps(shown) if given["as_json"] else "\n".join(map(str, found)))
        return 0


class _Pipeline(click.Group):
    """Lists commands in the order they are used, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Pipeline, context_settings=_CONTEXT)
@click.version_option(edgegru.__version__, prog_name="edgegru")
def cli() -> None:
    """Compact GRUs from training to a device: train, quantize, export, stream.

    \b
    edgegru train --config config.toml -o trained
    edgegru quantize trained/model.safetensors --calibration data -o int8.safetensors
    edgegru export int8.safetensors --format tflite -o model.tflite
    edgegru run model.tflite recording.csv
    """


@cli.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="TOML file with everything else.")
@click.option("--data", type=click.Path(path_type=Path), help="Recordings, in place of the configuration's data.path.")
@click.option("--seed", type=click.IntRange(0), help="Seed, in place of the configuration's.")
@click.option("--device", default="cpu", show_default=True, help="Where torch computes: cpu, cuda, cuda:1 …")
@click.option(
    "--qat",
    type=click.Choice(("static-w8a8", "static-w8a16")),
    help="Train in the integers of this scheme: quantization-aware training.",
)
@click.option(
    "--from",
    "from_model",
    type=click.Path(path_type=Path),
    help="Float model that --qat starts from; without it one is trained first.",
)
@click.option("--resume", is_flag=True, help="Continue from the checkpoint in the output folder.")
@click.option("--print-config", is_flag=True, help="Print the configuration with all its defaults, and stop.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the model, checkpoint and history.")
def train(
    config: Path,
    data: Path | None,
    seed: int | None,
    device: str,
    qat: str | None,
    from_model: Path | None,
    resume: bool,
    print_config: bool,
    output: Path | None,
) -> None:
    """Train a GRU from a TOML configuration."""
    if print_config:
        from edgegru.configuration import config_to_toml, load_config

        click.echo(config_to_toml(load_config(config)), nl=False)
        return
    if output is None:
        raise click.UsageError("Missing option '-o' / '--output'.")
    _require("torch", "training")
    path = edgegru.train(
        config, data=data, seed=seed, device=device, qat=qat, from_model=from_model, resume=resume, output=output
    )
    click.echo(path)


@cli.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="TOML file of a training.")
@click.option("--data", type=click.Path(path_type=Path), help="Recordings, in place of the configuration's data.path.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="How often each is trained: with seeds 0, 1 and so on.",
)
@click.option(
    "--learning-rates",
    callback=rates,
    metavar="RATE,...",
    help="Each cell keeps the one that is best on the validation part; without it all learn at the configuration's.",
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the metric of each cell and size as a PNG.")
@json_option
def compare(
    config: Path,
    data: Path | None,
    seeds: int,
    learning_rates: list[float] | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Train a GRU, an LSTM and a tanh RNN alike, and compare them.

    By one configuration, at equal hidden size and at equal number of parameters: metric, time of an epoch and of a
    step, memory.
    """
    _require("torch", "training")
    _print(edgegru.compare(config, data=data, seeds=seeds, learning_rates=learning_rates, plot=plot), as_json)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Labelled recordings.")
@click.option(
    "--engine",
    type=click.Choice(("auto", *ENGINES)),
    default="auto",
    show_default=True,
    help="What computes; auto: the one that fits the file.",
)
@click.option(
    "--part",
    type=click.Choice(("auto", "train", "validation", "test", "all")),
    default="auto",
    show_default=True,
    help="Which recordings; auto: the official test part where there is one, else all.",
)
@click.option("--plot", type=click.Path(path_type=Path), help="Write the confusion matrix as a PNG.")
@json_option
def evaluate(model: Path, data: Path, engine: str, part: str, plot: Path | None, as_json: bool) -> None:
    """Score MODEL on labelled recordings, streamed.

    Every recording is streamed step by step on the engine named, the state reset at its start.
    """
    if plot is not None:
        _require("matplotlib", "a plot")
    _print(edgegru.evaluate(model, data, engine=engine, part=part, plot=plot), as_json)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--background", metavar="LABEL", help="Label that is no event; of a model of values: that is normal.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="How long behind its end an event may still be found: seconds, or steps where there is no rate.",
)
@click.option(
    "--max-false-alarms-per-hour",
    type=click.FloatRange(min=0),
    help="Find as much as possible within this limit; without it and --min-recall: 1.",
)
@click.option(
    "--min-recall",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="Share of the events to find; alone: with as few false alarms as possible.",
)
@click.option(
    "--part",
    type=click.Choice(("auto", "train", "validation", "all")),
    default="auto",
    show_default=True,
    help="Recordings to tune on; auto: the validation part where there is one, else train.",
)
@click.option(
    "--test-part",
    type=click.Choice(("auto", "train", "validation", "test", "time", "none")),
    default="auto",
    show_default=True,
    help="Recordings to report on; time: the last 30% of --part; auto: test where there is one, else time.",
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw false alarms against recall as a PNG.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Where to write the model.")
@force_option
@json_option
def tune(
    model: Path,
    data: Path,
    background: str | None,
    tolerance: float,
    max_false_alarms_per_hour: float | None,
    min_recall: float | None,
    part: str,
    test_part: str,
    plot: Path | None,
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Choose the decision settings of MODEL by the events in DATA.

    Threshold, smoothing, trigger level and times: those that find most events of a long labelled recording with few
    false alarms an hour. MODEL is written with them; what it computes stays as it is.
    """
    if plot is not None:
        _require("matplotlib", "a plot")
    result = edgegru.tune(
        model,
        data,
        output,
        background=background,
        tolerance=tolerance,
        max_false_alarms_per_hour=max_false_alarms_per_hour,
        min_recall=min_recall,
        part=part,
        test_part=test_part,
        plot=plot,
        force=force,
    )
    _print(result, as_json)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Recordings that show the ranges; only dynamic-w8 needs none.",
)
@click.option(
    "--scheme",
    type=click.Choice(SCHEMES[1:]),
    default="static-w8a8",
    show_default=True,
    help="Int8 weights, and values of 8 bits, of 16, or float.",
)
@click.option(
    "--keep",
    multiple=True,
    callback=kept,
    metavar="NODE=SCHEME",
    help="Another scheme for one node: a width of its value, or float32 in dynamic-w8. May be repeated.",
)
@click.option("--data", type=click.Path(path_type=Path), help="Labelled recordings: metric before and after.")
@click.option(
    "--margin",
    type=click.FloatRange(1.0),
    default=1.1,
    show_default=True,
    help="Factor by which calibrated ranges are widened.",
)
@click.option(
    "--observer",
    type=click.Choice(("minmax", "percentile", "mse")),
    default="minmax",
    show_default=True,
    help="How ranges are found.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Write an HTML page: ranges, noise, drift, advice.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Where to write the model.")
@force_option
@json_option
def quantize(
    model: Path,
    calibration: Path | None,
    scheme: str,
    keep: dict[str, str] | None,
    data: Path | None,
    margin: float,
    observer: str,
    report: Path | None,
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Turn the float MODEL into one that computes in integers."""
    if report is not None:
        _require("matplotlib", "a report")
    result = edgegru.quantize(
        model,
        calibration,
        output,
        scheme=scheme,
        keep=keep,
        data=data,
        margin=margin,
        observer=observer,
        report=report,
        force=force,
    )
    from edgegru.quantization_text import quantization_text

    _print(result, as_json, quantization_text)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--format", type=click.Choice(("onnx", "tflite", "plan", "c")), required=True, help="Format of the file.")
@click.option("--sequence", is_flag=True, help="ONNX, float: whole sequences instead of one step.")
@click.option(
    "--state",
    type=click.Choice(("io", "variables")),
    default="io",
    show_default=True,
    help="TFLite: state as input and output, or as variables with a reset signature.",
)
@click.option("--allow-int8-state", is_flag=True, help="TFLite: full int8 with an int8 state, which slow units lose.")
@c_options
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Where to write it.")
@force_option
@json_option
def export(model: Path, output: Path, as_json: bool, **options: Any) -> None:
    """Write MODEL for another runtime, and verify it.

    The file is run in that runtime against the model, and kept only if it computes the same. A plan is for the C
    runtime; C is a folder for any build, which is compiled for this machine to verify it.
    """
    report = edgegru.export(model, output, **options)
    if options["allow_int8_state"]:
        click.echo(f"warning: {INT8_STATE_WARNING}", err=True)
    _print(report, as_json)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--against", type=click.Path(path_type=Path), required=True, help="The artifact it was made from.")
@click.option(
    "--steps",
    type=click.IntRange(500),
    help="Closed-loop steps; without it 500 for an exported file, 100000 for an artifact.",
)
@click.option("--plot", type=click.Path(path_type=Path), help="Of an artifact: draw its drift as a PNG.")
@json_option
def verify(file: Path, against: Path, steps: int | None, plot: Path | None, as_json: bool) -> None:
    """Compare FILE with the model it was made from.

    An exported file is run in its own runtime, and every step compared with its artifact. An integer artifact is run
    beside its float model for very long, on inputs that repeat, to see that it does not drift away.
    """
    if plot is not None:
        _require("matplotlib", "a plot")
    _print(edgegru.verify(file, against, steps=steps, plot=plot), as_json)


for _name, _help in (
    ("run", "Stream CSV or JSONL through a model, one JSON line a step."),
    ("info", "Show what a model is."),
    ("bench", "Time one step and measure memory."),
):
    _command = _InfoCommand if _name == "info" else _RuntimeCommand
    cli.add_command(_command(_name, help=_help, add_help_option=False))


@cli.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Where to write the model.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Samples a second of the input.")
@click.option("--channels", callback=names, metavar="NAME,...", help="Names of the input's channels.")
@click.option("--units", callback=names, metavar="UNIT,...", help="Their units.")
@click.option(
    "--labels",
    multiple=True,
    callback=label_lists,
    metavar="NAME,...",
    help="Names of an output's numbers; once for each output.",
)
@click.option("--layout", type=click.Choice(("lasagne", "dl4mt")), help="Of an .npz file: whose names it uses.")
@click.option("--node", help="Of an ONNX file: this GRU alone, by the name of its node.")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Of a Keras architecture in JSON: the file with its weights."
)
@force_option
@json_option
def import_(
    file: Path,
    output: Path,
    rate: float | None,
    channels: list[str] | None,
    units: list[str] | None,
    labels: list[list[str]] | None,
    layout: str | None,
    node: str | None,
    weights: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Turn a GRU trained elsewhere into a model.

    FILE: Keras (.keras, .h5, SavedModel), ONNX, a PyTorch state dict, .safetensors or .npz, told from its content. The
    model is kept only if it computes what FILE computes.
    """
    report = edgegru.import_model(
        file,
        output,
        rate=rate,
        channels=channels,
        units=units,
        labels=labels,
        layout=layout,
        node=node,
        weights=weights,
        force=force,
    )
    _print(report, as_json)


def _print(result: Any, as_json: bool, text: Callable[[Any], str] = str) -> None:
    click.echo(json.dumps(result.to_dict(), ensure_ascii=False, allow_nan=False) if as_json else text(result))


def _require(module: str, purpose: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise EdgegruError(f'{purpose} needs {module}, which is not installed: pip install "edgegru[train]"')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``edgegru`` with these arguments (the process's own by default) and return the exit status."""
    try:
        status = cli.main(arguments, prog_name="edgegru", standalone_mode=False)
        sys.stdout.flush()
        return int(status or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except EdgegruError as error:
        return _fail(str(error), INTERRUPTED if isinstance(error.__cause__, KeyboardInterrupt) else 1)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader has left: nothing more to say, also not when Python flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        return _fail("there is not enough memory", 1)
    except OSError as error:
        reason = error.strerror or str(error)
        return _fail(f"{error.filename}: {reason}" if error.filename else reason, 1)


def _fail(sentence: str, status: int) -> int:
    click.echo(f"error: {sentence}", err=True)
    return status
