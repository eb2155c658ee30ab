"""Samples as lines of CSV or JSONL, and results as lines of JSON.

Each line is parsed when it arrives and nothing is read ahead, so that a stream from a sensor is answered line by line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from edgegru_runtime.errors import ArtifactError, InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.samples import shortened
from edgegru_runtime.strict_json import parse_json, shown

FORMATS = ("auto", "csv", "jsonl")
TIME_NAMES = ("t", "timestamp")
MAX_LINE_BYTES = 2**20

Time = float | str | None
_Parse = Callable[[str], tuple[Time, list[float]]]


@dataclass(frozen=True)
class Record:
    """One sample: the number of its line, its time where the input has one, and its values in the model's order."""

    line: int
    t: Time
    x: list[float]


def read_records(
    readline: Callable[[], bytes], name: str, config: ModelConfig, line_format: str = "auto"
) -> Iterator[Record]:
    """The samples in the lines that ``readline`` gives, until it gives none; ``name`` names the input in errors.

    CSV has a header that names the channels in any order, among other columns, or no header and exactly the model's
    columns. A line of JSONL is an object with a number for each channel, an object ``{"x": [...]}``, or a list. A
    column or field ``t`` or ``timestamp`` is the sample's time. "auto" tells the two by the first character.

    Raises InputError with input and line for whatever does not fit.
    """
    parse: _Parse | None = None
    for number, raw in enumerate(iter(readline, b""), 1):
        try:
            text = _text(raw, first=number == 1)
            if not text.strip():
                continue
            if parse is None:
                is_csv = line_format == "csv" or (line_format == "auto" and text.lstrip()[0] not in "{[")
                columns = _fields(text) if is_csv else []
                parse = _csv_parser(columns, config) if is_csv else _jsonl_parser(config)
                if is_csv and _is_header(columns, config):
                    continue
            yield Record(number, *parse(text))
        except InputError as error:
            raise InputError(f"{name}, line {number}: {error}") from None


def result_line(config: ModelConfig, index: int, t: Time, outputs: Sequence[Sequence[float]]) -> str:
    """One result as JSON, without the line's end; ``index`` counts the steps since the state was zero.

    Classes (softmax) give ``label``, its probability ``p`` and all ``probs``; independent labels (sigmoid) the
    ``labels`` that reach the model's threshold and all ``probs``; values ``y``. Several outputs are in ``outputs``, by
    the names of their nodes. Numbers have the nine digits that give the same float32 back.
    """
    result: dict[str, Any] = {"i": index}
    if t is not None:
        result["t"] = t
    named = {
        output.node: _meaning(config, config.node(output.node).kind, output.labels, values)
        for output, values in zip(config.outputs, outputs, strict=True)
    }
    result |= next(iter(named.values())) if len(named) == 1 else {"outputs": named}
    return json.dumps(result, separators=(",", ":"))


def _meaning(config: ModelConfig, kind: str, labels: Sequence[str], values: Sequence[float]) -> dict[str, Any]:
    numbers = [_shortest(value) for value in values]
    if kind == "identity":
        return {"y": numbers}
    if kind == "sigmoid":
        pairs = zip(labels, values, strict=True)
        return {"labels": [label for label, p in pairs if p >= config.decision.threshold], "probs": numbers}
    best = max(range(len(values)), key=values.__getitem__)
    return {"label": labels[best], "p": numbers[best], "probs": numbers}


def _shortest(value: float) -> float | None:
    """A float32 in nine digits, which are enough to give it back; JSON has no infinity."""
    return float(f"{value:.9g}") if isfinite(value) else None


def _text(raw: bytes, *, first: bool) -> str:
    if len(raw) > MAX_LINE_BYTES:
        raise InputError(f"the line is longer than {MAX_LINE_BYTES} bytes")
    try:
        return raw.decode("utf-8-sig" if first else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} is not UTF-8") from None


def _fields(text: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([text], strict=True))]
    except csv.Error as error:
        raise InputError(f"the line is not CSV: {error}") from None


def _is_header(columns: list[str], config: ModelConfig) -> bool:
    """Whether a first line names columns: channels may be called 0, 1, 2, so numbers alone do not decide."""
    return set(config.input.channels) <= set(columns) or any(_as_number(field) is None for field in columns)


def _csv_parser(columns: list[str], config: ModelConfig) -> _Parse:
    channels = config.input.channels
    if not _is_header(columns, config):
        if len(columns) != len(channels):
            expected = f"{len(channels)}, or a header with {shortened(channels)}"
            raise InputError(f"{len(columns)} columns arrived without a header, expected {expected}")
        columns = list(channels)
    missing = tuple(channel for channel in channels if channel not in columns)
    if missing:
        raise InputError(f"the header has no {shortened(missing)}; expected {shortened(channels)}")
    repeated = [channel for channel in channels if columns.count(channel) > 1]
    if repeated:
        raise InputError(f"column {repeated[0]} is there {columns.count(repeated[0])} times, expected it once")
    places = [(channel, columns.index(channel)) for channel in channels]
    time = next((columns.index(name) for name in TIME_NAMES if name in columns and name not in channels), None)

    def parse(text: str) -> tuple[Time, list[float]]:
        fields = _fields(text)
        if len(fields) != len(columns):
            raise InputError(f"{len(fields)} columns arrived, expected {len(columns)} as in the first line")
        return None if time is None else _time(fields[time]), [_number(fields[at], name) for name, at in places]

    return parse


def _as_number(field: str) -> float | None:
    try:
        return None if "_" in field else float(field)  # Python's own digit separator is no number elsewhere
    except ValueError:
        return None


def _number(field: str, channel: str) -> float:
    number = _as_number(field)
    if number is None:
        raise InputError(f"channel {channel} is {shown(field) if field else 'empty'}, expected a number")
    return number


def _time(field: str) -> Time:
    number = _as_number(field)
    if number is None or not isfinite(number):
        return field or None
    return int(number) if field.lstrip("+-").isdigit() and abs(number) < 2**53 else number


def _jsonl_parser(config: ModelConfig) -> _Parse:
    channels = config.input.channels

    def parse(text: str) -> tuple[Time, list[float]]:
        try:
            value = parse_json(text.encode(), "the line")
        except ArtifactError as error:  # the one strict JSON reader of this package speaks for artifacts
            raise InputError(str(error)) from None
        if isinstance(value, list):
            return None, _numbers(value, channels)
        if not isinstance(value, dict):
            raise InputError(f"the line is {shown(value)}, expected an object or a list")
        t = next((value[name] for name in TIME_NAMES if name in value and name not in channels), None)
        if t is not None and (isinstance(t, bool) or not isinstance(t, (int, float, str))):
            raise InputError(f"the time is {shown(t)}, expected a number or text")
        if isinstance(value.get("x"), list):
            return t, _numbers(value["x"], channels)
        missing = tuple(channel for channel in channels if channel not in value)
        if missing:
            raise InputError(f'the object has no {shortened(missing)}; expected {shortened(channels)}, or "x"')
        return t, _numbers([value[channel] for channel in channels], channels)

    return parse


def _numbers(values: list[Any], channels: tuple[str, ...]) -> list[float]:
    if len(values) != len(channels):
        raise InputError(f"{len(values)} values arrived, expected {len(channels)}: {shortened(channels)}")
    for value, channel in zip(values, channels, strict=True):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InputError(f"channel {channel} is {shown(value)}, expected a number")
    return values
