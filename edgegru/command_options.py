"""What several commands share: options, how their values are read, and how results are printed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from typing import Any

import click

from edgegru_runtime.errors import EdgegruError

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
force_option = click.option("--force", is_flag=True, help="Replace the output if it exists.")


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
