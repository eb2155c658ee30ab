"""What an ``.onnx`` or ``.tflite`` file of another maker is: its inputs, states, operators and GRUs, for ``info``.

Nothing is run and nothing outside of the file is read. A file is hostile: whatever its bytes are, it is described or
refused with one ArtifactError, and what is quoted from it can be printed.
"""

from __future__ import annotations

import os
from typing import Any

from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.exported import EXPORTED_SUFFIXES

LARGEST_FILE = 2**31  # bytes: what protobuf and flatbuffers can address
LONGEST_QUOTE = 200  # characters of a name or text
LONGEST_LIST = 12  # lines of one kind in the text; JSON has all


def describe_foreign(path: str) -> dict[str, Any] | None:
    """All of the above as plain data; None for a file with EdgeGRU's own metadata, or one that cannot be read, of which
    the device's reader says more. Raises ArtifactError, with the path in front, for a damaged file.
    """
    file_format = EXPORTED_SUFFIXES[os.path.splitext(path)[1].lower()]
    if not os.path.isfile(path):
        return None
    size = os.path.getsize(path)
    if size > LARGEST_FILE:
        raise ArtifactError(f"{path}: has {size:,} bytes; expected at most {LARGEST_FILE:,}")
    try:
        with open(path, "rb") as file:
            data = file.read(size)
    except OSError:
        return None
    if not data:
        return None
    try:
        if file_format == "onnx":
            from edgegru_export.onnx_description import describe_onnx as describe
        else:
            from edgegru_export.tflite_description import describe_tflite as describe
        found = describe(data)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
    return None if found is None else {"file": path, "kind": file_format, "written_by_edgegru": False, **found}


def quoted(text: str | bytes) -> str:
    """Text of a foreign file so that it can be printed on one line."""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    cut = text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in cut)


def foreign_text(description: dict[str, Any]) -> str:
    """The description for people to read."""
    lines = [
        f"{description['file']}: {description['kind']}, not written by EdgeGRU, {description['file_bytes']:,} bytes",
        *_field("producer", [description["producer"] or "not named"]),
        *_field("version", [", ".join(f"{name} {version}" for name, version in description["versions"].items())]),
        *_field("signature", [_signature(signature) for signature in description.get("signatures", ())]),
    ]
    for kind in ("input", "output"):
        lines += _field(kind, [_value(value) for value in description[f"{kind}s"]])
    lines += _field("state", [_state(state) for state in description["states"]] or ["none that is certain"])
    operators = description["operators"]
    counts = ", ".join(f"{count} {name}" for name, count in operators.items())
    lines += _field("operators", [f"{sum(operators.values()):,}: {counts}" if operators else "none"])
    lines += _field("gru", [_gru(node) for node in description["grus"]] or [description["without_gru"]])
    weights = description["weights"]
    types = ", ".join(f"{count} {dtype}" for dtype, count in weights["types"].items())
    elsewhere = f", {weights['external']} of them in other files" if weights.get("external") else ""
    lines += _field("weights", [f"{weights['bytes']:,} bytes in {weights['count']:,} tensors ({types}){elsewhere}"])
    return "\n".join(lines)


def _field(name: str, values: list[str]) -> list[str]:
    more = len(values) - LONGEST_LIST
    shown = values[:LONGEST_LIST] + ([f"… and {more} more"] if more > 0 else [])
    return [f"{'' if index else name:12}{value}" for index, value in enumerate(shown)]


def _value(value: dict[str, Any]) -> str:
    shape = "of unknown shape" if value["shape"] is None else f"({', '.join(map(str, value['shape']))})"
    quantization = value.get("quantization")
    scale = f", scale {quantization['scale']:g}, zero point {quantization['zero_point']}" if quantization else ""
    return f"{value['name'] or 'without a name'}: {value['dtype']} {shape}{scale}"


def _state(state: dict[str, Any]) -> str:
    return f"{_value(state)}, {state['held']}"


def _signature(signature: dict[str, Any]) -> str:
    return f"{signature['key']}: {', '.join(signature['inputs'])} → {', '.join(signature['outputs'])}"


def _gru(node: dict[str, Any]) -> str:
    fields = ", ".join(f"{name} {_shown(value)}" for name, value in node.items() if name != "name")
    return f"{node['name'] or 'without a name'}: {fields}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
