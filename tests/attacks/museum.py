"""Broken artifacts, made in code from a good one: each exhibit is wrong in one way and has its named error."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgegru_export.saving import artifact_bytes
from edgegru_runtime.errors import ArtifactError
from tests.builders import (
    TOKENS,
    mixed_artifact,
    mixed_config,
    normalised,
    quantized,
    random_artifact,
    random_config,
    random_floats,
    random_integer_artifact,
    random_integers,
    with_initial_states,
    with_log_mel,
    with_tokenizer,
)

GOOD_FLOAT = artifact_bytes(random_artifact(0, 2, (3, 2), output_size=3, hidden_linear=(4, "relu")))
GOOD_INTEGER = artifact_bytes(
    random_integer_artifact(0, 2, (3,), output_size=3, reset="before", input_linear=(4, "tanh"))
)
GOOD_INTEGER_AFTER = artifact_bytes(random_integer_artifact(0, 2, (3,), output_size=3, head="identity"))
_MIXED = mixed_artifact(0, candidate="relu")
GOOD_MIXED = artifact_bytes(quantized(_MIXED, keep={"gru0": "static-w8a16"}))
GOOD_DYNAMIC = artifact_bytes(quantized(_MIXED, "dynamic-w8"))
GOOD_EMBEDDING = artifact_bytes(quantized(mixed_artifact(0, embedding=True)))
GOOD_TEXT = artifact_bytes(random_floats(with_tokenizer(mixed_config(3, embedding=True)), 0))
GOOD_TOKENS = artifact_bytes(mixed_artifact(0, **TOKENS))
GOOD_INITIAL_STATE = artifact_bytes(random_floats(with_initial_states(random_config(2, (3,))), 0))
GOOD_NORMALISED = artifact_bytes(quantized(random_floats(normalised(random_config(2, (3,))), 0), "dynamic-w8"))
GOOD_SOUND = artifact_bytes(random_floats(with_log_mel(random_config(3, (4,))), 0))
GOOD_INTEGER_SOUND = artifact_bytes(random_integers(with_log_mel(random_config(3, (4,))), 0))
GOOD_WIDE = artifact_bytes(quantized(random_artifact(0, 2, (3,), hidden_linear=(600, "tanh")), "static-w8a16"))


class Parts:
    """A good file taken apart: change anything, then ``pack``."""

    def __init__(self, data: bytes) -> None:
        (length,) = struct.unpack_from("<Q", data)
        self.header: dict[str, Any] = json.loads(data[8 : 8 + length])
        self.config: Any = json.loads(self.header["__metadata__"]["edgegru"])
        self.body = bytearray(data[8 + length :])

    def pack(self) -> bytes:
        self.header["__metadata__"]["edgegru"] = json.dumps(self.config)
        return self.pack_header()

    def pack_header(self) -> bytes:
        return container(json.dumps(self.header).encode(), bytes(self.body))

    def node(self, name: str) -> dict[str, Any]:
        return next(node for node in self.config["nodes"] if node["name"] == name)

    def write(self, tensor: str, index: int, value: float) -> None:
        """Overwrite one number of a tensor."""
        entry = self.header[tensor]
        code = {"F32": "<f", "I8": "<b", "I16": "<h", "I32": "<i"}[entry["dtype"]]
        struct.pack_into(code, self.body, entry["data_offsets"][0] + index * struct.calcsize(code), value)

    def add_tensor(self, name: str, dtype: str, shape: list[int], size: int) -> None:
        self.header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(self.body), len(self.body) + size]}
        self.body += bytes(size)

    def remove_tensor(self, name: str) -> None:
        """Take a tensor out and close the gap."""
        begin, end = self.header.pop(name)["data_offsets"]
        del self.body[begin:end]
        for entry in self.header.values():
            if "data_offsets" in entry and entry["data_offsets"][0] >= end:
                entry["data_offsets"] = [at - (end - begin) for at in entry["data_offsets"]]


def container(header: bytes, body: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + body


@dataclass(frozen=True)
class Exhibit:
    """One broken file: how it is made from a good one, and the error and the words it must give."""

    name: str
    make: Callable[[Parts], bytes | None]  # None: pack the parts as they are after the change
    fragment: str
    error: type[ArtifactError] = ArtifactError
    good: bytes = field(default=GOOD_FLOAT, repr=False)

    def data(self) -> bytes:
        parts = Parts(self.good)
        made = self.make(parts)
        return parts.pack() if made is None else made


EXHIBITS: list[Exhibit] = []


def exhibit(
    fragment: str, good: bytes = GOOD_FLOAT, error: type[ArtifactError] = ArtifactError
) -> Callable[[Callable[[Parts], bytes | None]], None]:
    """Put the function, which breaks the parts of ``good``, into the museum under its own name."""

    def register(make: Callable[[Parts], bytes | None]) -> None:
        name = make.__name__.replace("_", " ").strip()
        EXHIBITS.append(Exhibit(name, make, fragment, error, good))

    return register


def setting(
    name: str,
    path: str,
    value: object,
    fragment: str,
    good: bytes = GOOD_FLOAT,
    error: type[ArtifactError] = ArtifactError,
) -> None:
    """An exhibit whose configuration has ``value`` at ``path`` ("nodes.3.bias")."""

    def make(parts: Parts) -> None:
        *outer, last = path.split(".")
        place = parts.config
        for step in outer:
            place = place[int(step)] if step.isdigit() else place[step]
        place[int(last) if last.isdigit() else last] = value

    EXHIBITS.append(Exhibit(name, make, fragment, error, good))


def without(path: str, fragment: str, good: bytes = GOOD_FLOAT) -> None:
    """An exhibit whose configuration has no field at ``path``."""

    def make(parts: Parts) -> None:
        *outer, last = path.split(".")
        place = parts.config
        for step in outer:
            place = place[int(step)] if step.isdigit() else place[step]
        del place[last]

    EXHIBITS.append(Exhibit(f"missing {path}", make, fragment, ArtifactError, good))


def entry(name: str, value: object, fragment: str, tensor: str = "gru0.weight_ih") -> None:
    """An exhibit with another header entry for a tensor; a dict changes some of its fields."""

    def make(parts: Parts) -> bytes:
        parts.header[tensor] = {**parts.header[tensor], **value} if isinstance(value, dict) else value
        return parts.pack()

    EXHIBITS.append(Exhibit(name, make, fragment))
