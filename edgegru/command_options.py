"""What several commands share: options, how their values are read, and how results are printed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgegru_runtime.errors import EdgegruError

C_TARGETS = ("portable", "cortex-m", "armv7", "aarch64", "x86")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
force_option = click.option("--force", is_flag=True, help="Replace the output if it exists.")

target_option = click.option(
    "--target", type=click.Choice(C_TARGETS), default="portable", show_default=True, help="C: whom it is laid out for."
)
io_option = click.option(
    "--io",
    type=click.Choice(("float", "int")),
    default="float",
    show_default=True,
    help="C: floats in and out, or operands in and integers out without floating point.",
)


def c_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of an export as C."""
    options = (
        click.option("--name", help="C: the model in its identifiers; without it the output's name."),
        target_option,
        io_option,
        click.option(
            "--layout",
            type=click.Choice(("plain", "arduino", "zephyr", "esp-idf")),
            default="plain",
            show_default=True,
            help="C: of the folder.",
        ),
        click.option(
            "--with-kernel/--without-kernel", default=True, show_default=True, help="C: the kernel's headers too."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@target_option
@io_option
@json_option
def info_c_command(**_: Any) -> None:
    """Read by ``info --target``; never run."""


def kept(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    """NODE=SCHEME, any number of times, by node."""
    keep: dict[str, str] = {}
    for value in values:
        node, _, scheme = value.partition("=")
        if not node or not scheme:
            raise click.BadParameter(f"{value!r} was given, expected NODE=SCHEME, for example gru0=static-w8a16.")
        if keep.setdefault(node, scheme) != scheme:
            raise click.BadParameter(f"node {node} was given {keep[node]} and {scheme}, expected one scheme.")
    return keep or None


def names(context: click.Context, option: click.Parameter, value: str | None) -> list[str] | None:
    """NAME,NAME,..."""
    return None if value is None else [name.strip() for name in value.split(",")]


def rates(context: click.Context, option: click.Parameter, value: str | None) -> list[float] | None:
    """RATE,RATE,..."""
    try:
        return None if value is None else [float(rate) for rate in value.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{value!r} was given, expected numbers, for example 0.003,0.01.") from error


def label_lists(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> list[list[str]] | None:
    """NAME,NAME,... for each output."""
    return [[name.strip() for name in value.split(",")] for value in values] or None


def print_result(result: Any, as_json: bool, text: Callable[[Any], str] = str) -> None:
    """A result as one JSON object, or as text."""
    click.echo(json.dumps(result.to_dict(), ensure_ascii=False, allow_nan=False) if as_json else text(result))


def require(module: str, purpose: str) -> None:
    """Raise EdgegruError, which says what to install, where a module of the extra ``train`` is missing."""
    if importlib.util.find_spec(module) is None:
        raise EdgegruError(f'{purpose} needs {module}, which is not installed: pip install "edgegru[train]"')
