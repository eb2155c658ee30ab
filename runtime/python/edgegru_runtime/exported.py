"""What an exported ``.onnx`` or ``.tflite`` file says about itself, read without its runtime.

Both formats carry our metadata, one JSON text under the key ``edgegru``: the model's configuration, and how the file is
driven (docs/export.md). It is found by a walk over the file that checks every offset and length and reads nothing else;
what the graph computes is for the runtime that runs it. LiteRT crashes on some damaged graphs, so the metadata of a
TFLite file begins with a checksum of the whole file.
"""

from __future__ import annotations

import os
import stat
import struct

from edgegru_runtime.config_json import parse_config
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.fixed_point import STATE_BITS
from edgegru_runtime.graph import check_graph
from edgegru_runtime.model_config import GruNode, ModelConfig
from edgegru_runtime.plain_data import dataclass
from edgegru_runtime.strict_json import parse_json, shown

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator
    from typing import Any

    from edgegru_runtime.model_config import StateNode
    from edgegru_runtime.tensor import Tensor

METADATA_KEY = b"edgegru"
EXPORTED_SUFFIXES = {".onnx": "onnx", ".tflite": "tflite"}
STATE_DTYPES = ("float32", "int32", "int16", "int8")
CHECKSUM_START = b'{"crc32":"'  # of the metadata of a TFLite file
CHECKSUM_DIGITS = 8

_ENGINES = {"onnx": "onnxruntime", "tflite": "litert"}
_MAX_METADATA_BYTES = 2**20
_UINT32 = struct.Struct("<I")
_INT32 = struct.Struct("<i")
_UINT16 = struct.Struct("<H")


@dataclass(frozen=True)
class ExportedFile:
    """An exported file whose metadata has been checked.

    ``format``: "onnx" or "tflite"; ``form``: "step" or "sequence"; ``state``: "io" (inputs and outputs ``states``) or
    "variables" (inside the file); ``state_dtype``: "float32", "int32" (as the integer reference holds them), "int16" or
    "int8"; ``states``: the names of the input and the output of every state, in execution order; ``shifts``: how many
    bits the numbers of each are coarser than the reference's; ``initial``: what a stream begins with, the bytes of a
    saved state; ``front_end``: the tables of the model's front end, which is not in the file.
    """

    path: str
    config: ModelConfig
    format: str
    form: str
    state: str
    state_dtype: str
    states: tuple[tuple[str, str], ...]
    shifts: tuple[int, ...]
    initial: tuple[bytes, ...]
    front_end: dict[str, Tensor] | None = None

    @property
    def inner(self) -> ModelConfig:
        """The model that is in the file: its input is the feature, where there is a front end."""
        if self.front_end is None:
            return self.config
        from edgegru_runtime.front_end import behind_front_end  # as below: few models have one

        return behind_front_end(self.config)

    @property
    def engine(self) -> str:
        """The name of the engine that runs it."""
        return _ENGINES[self.format]


def file_checksum(data: bytes | mmap.mmap, place: int) -> bytes:
    """What belongs into the digits at ``place`` of a TFLite file: the CRC-32 of the whole file with zeros there."""
    from zlib import crc32

    with memoryview(data) as view:
        before = crc32(b"0" * CHECKSUM_DIGITS, crc32(view[:place]))
        return b"%08x" % crc32(view[place + CHECKSUM_DIGITS :], before)


def read_exported(path: str | os.PathLike[str]) -> ExportedFile:
    """The metadata of an exported file.

    Raises ArtifactError (FormatVersionError for another format version), with the path in front, for a file that cannot
    be read, is broken, or was not exported by EdgeGRU.
    """
    name = os.fspath(path)
    file_format = EXPORTED_SUFFIXES[os.path.splitext(name)[1].lower()]
    try:
        text = _metadata(name, file_format)
        document = parse_json(text, "the metadata")
        if not isinstance(document, dict):
            raise ArtifactError(f"the metadata is {shown(document)}; expected an object")
        if file_format == "tflite":
            del document["crc32"]  # _metadata has checked it
        section = document.pop("export", None)
        config = parse_config(document)
        check_graph(config)
        return _exported(name, file_format, config, section)
    except ArtifactError as error:
        raise type(error)(f"{name}: {error}") from None


def _metadata(path: str, file_format: str) -> bytes:
    import mmap

    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # before opening: a pipe would block
            raise ArtifactError("is not a regular file")
        if status.st_size == 0:
            raise ArtifactError("is empty")
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = list((_onnx_metadata if file_format == "onnx" else _tflite_metadata)(data))
            if len(found) != 1:
                raise ArtifactError(f'has {len(found)} metadata entries "edgegru"; expected 1, as EdgeGRU writes it')
            ((start, length),) = found
            text = _slice(data, start, length)
            if file_format == "tflite":
                _check_checksum(data, start, text)
            return text
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}") from None
    except (struct.error, _OutOfBounds):
        raise ArtifactError(f"is no whole {file_format} file: an offset or length points outside of it") from None


def _check_checksum(data: mmap.mmap, start: int, text: bytes) -> None:
    """``text``: the metadata of a TFLite file, which is at ``start``."""
    digits = slice(len(CHECKSUM_START), len(CHECKSUM_START) + CHECKSUM_DIGITS)
    if not text.startswith(CHECKSUM_START):
        raise ArtifactError("has metadata that does not begin with a checksum, as EdgeGRU writes it; export it again")
    if text[digits] != file_checksum(data, start + digits.start):
        raise ArtifactError("is damaged or was changed after its export: its checksum is not that of its bytes")


class _OutOfBounds(Exception):
    """An offset or length in the file points outside of it."""


def _slice(data: mmap.mmap, start: int, length: int) -> bytes:
    if start + length > len(data):
        raise _OutOfBounds
    if length > _MAX_METADATA_BYTES:
        raise ArtifactError(f"has metadata of {length} bytes; expected at most {_MAX_METADATA_BYTES}")
    return data[start : start + length]


# ONNX is a protocol buffer: fields, each a key (number << 3 | wire type) and a value.

_MODEL_METADATA_PROPS, _ENTRY_KEY, _ENTRY_VALUE = 14, 1, 2  # onnx.proto: ModelProto, StringStringEntryProto
_FIXED_LENGTHS = {1: 8, 5: 4}  # wire types of fixed width


def _onnx_metadata(data: mmap.mmap) -> Iterator[tuple[int, int]]:
    """The place and length of each metadata text."""
    for number, start, length in _fields(data, 0, len(data)):
        if number == _MODEL_METADATA_PROPS:
            entry = {inner: place for inner, *place in _fields(data, start, start + length)}
            key, value = entry.get(_ENTRY_KEY), entry.get(_ENTRY_VALUE)
            if key is None or value is None or key[1] != len(METADATA_KEY):
                continue
            if _slice(data, *key) == METADATA_KEY:
                yield value[0], value[1]


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, place and length of each field of the message from ``position`` to ``end``."""
    while position < end:
        key, position = _varint(data, position, end)
        wire_type = key & 7
        if wire_type == 0:
            start = position
            _, position = _varint(data, position, end)
        elif wire_type == 2:
            length, start = _varint(data, position, end)
            position = start + length
        elif wire_type in _FIXED_LENGTHS:
            start, position = position, position + _FIXED_LENGTHS[wire_type]
        else:
            raise _OutOfBounds
        if position > end:
            raise _OutOfBounds
        yield key >> 3, start, position - start


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise _OutOfBounds
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise _OutOfBounds


# TFLite is a flatbuffer: a table knows the places of its fields by a list of 16-bit offsets, its vtable.

_MODEL_BUFFERS, _MODEL_METADATA, _METADATA_NAME, _METADATA_BUFFER, _BUFFER_DATA = 4, 6, 0, 1, 0  # schema.fbs


def _tflite_metadata(data: mmap.mmap) -> Iterator[tuple[int, int]]:
    """The place and length of each metadata text."""
    if data[4:8] != b"TFL3":
        raise ArtifactError("does not begin as a TFLite file")
    model = _follow(data, 0)
    entries, buffers = _field(data, model, _MODEL_METADATA), _field(data, model, _MODEL_BUFFERS)
    if entries is None or buffers is None:
        return
    for entry in _tables(data, entries):
        name = _field(data, entry, _METADATA_NAME)
        if name is None or _slice(data, *_bytes(data, name)) != METADATA_KEY:
            continue
        index = _field(data, entry, _METADATA_BUFFER)
        tables = list(_tables(data, buffers))
        number = 0 if index is None else _UINT32.unpack_from(data, index)[0]
        if number >= len(tables):
            raise _OutOfBounds
        content = _field(data, tables[number], _BUFFER_DATA)
        if content is not None:
            yield _bytes(data, content)


def _follow(data: mmap.mmap, position: int) -> int:
    """Where the unsigned offset at ``position`` points."""
    target: int = position + _UINT32.unpack_from(data, position)[0]
    if target + 4 > len(data):
        raise _OutOfBounds
    return target


def _field(data: mmap.mmap, table: int, number: int) -> int | None:
    """The place of a field of the table at ``table``, None where the table does not have it."""
    vtable = table - _INT32.unpack_from(data, table)[0]
    if vtable < 0:
        raise _OutOfBounds
    slot = 4 + 2 * number
    if slot + 2 > _UINT16.unpack_from(data, vtable)[0]:
        return None
    offset: int = _UINT16.unpack_from(data, vtable + slot)[0]
    return table + offset if offset else None


def _tables(data: mmap.mmap, field: int) -> Iterator[int]:
    """The places of the tables in the vector that a field points to."""
    vector = _follow(data, field)
    (count,) = _UINT32.unpack_from(data, vector)
    if vector + 4 + 4 * count > len(data):
        raise _OutOfBounds
    for index in range(count):
        yield _follow(data, vector + 4 + 4 * index)


def _bytes(data: mmap.mmap, field: int) -> tuple[int, int]:
    """The place and length of the string or byte vector that a field points to."""
    vector = _follow(data, field)
    return vector + 4, _UINT32.unpack_from(data, vector)[0]


def _exported(path: str, file_format: str, config: ModelConfig, section: Any) -> ExportedFile:
    """Check the section ``export`` of the metadata against the configuration."""
    if not isinstance(section, dict):
        raise ArtifactError(f"the metadata's field export is {shown(section)}; expected an object")
    choices = {
        "format": (file_format,),
        "form": ("step", "sequence"),
        "state": ("io", "variables"),
        "state_dtype": STATE_DTYPES,
    }
    for field, values in choices.items():
        if section.get(field) not in values:
            expected = " or ".join(values)
            raise ArtifactError(f"the metadata's export.{field} is {shown(section.get(field))}; expected {expected}")
    floating = not config.static
    if floating != (section["state_dtype"] == "float32"):
        raise ArtifactError(f"the metadata has scheme {config.scheme} and a state of {section['state_dtype']}")
    front_end, inner = None, config
    if config.front_end is not None:
        from edgegru_runtime.front_end import behind_front_end, parse_tables

        front_end = parse_tables(config.front_end, config.static, section.get("front_end"))
        inner = behind_front_end(config)
    states = section.get("states")
    if not isinstance(states, list) or len(states) != len(inner.state_nodes):
        raise ArtifactError(f"the metadata's export.states is {shown(states)}; expected one for each state")
    names, shifts, initial = [], [], []
    coarse = section["state_dtype"] in ("int16", "int8")
    for state, node in zip(states, inner.state_nodes, strict=True):
        expected_shape = [1, node.state_size]
        if not isinstance(state, dict) or state.get("node") != node.name or state.get("shape") != expected_shape:
            raise ArtifactError(f"the metadata's export.states has no {node.name} {expected_shape} in its place")
        before, after = state.get("input"), state.get("output")
        if not isinstance(before, str) or not isinstance(after, str):
            raise ArtifactError(f"the metadata's export.states has {node.name} without an input or output name")
        names.append((before, after))
        shift = state.get("shift", None if coarse else 0)
        if type(shift) is not int or not 0 <= shift <= (STATE_BITS if coarse else 0):
            raise ArtifactError(f"the metadata's export.states has {node.name} with the shift {shown(shift)}")
        shifts.append(shift)
        initial.append(_initial_state(config, node, state.get("initial")))
    drive = (section["form"], section["state"], section["state_dtype"])
    return ExportedFile(path, config, file_format, *drive, tuple(names), tuple(shifts), tuple(initial), front_end)


def _initial_state(config: ModelConfig, node: StateNode, numbers: Any) -> bytes:
    """The bytes of ``numbers``, the entry initial of a state; zeros where its node has none."""
    if not (isinstance(node, GruNode) and node.initial_state):
        return bytes(4 * node.state_size)
    from edgegru_runtime.state import state_limit  # only here: few models need it to start

    limit, unit = state_limit(config, node)
    kinds = int if config.static else (int, float)
    if not isinstance(numbers, list) or len(numbers) != node.state_size:
        raise ArtifactError(f"the metadata's export.states has {node.name} without the {node.state_size} of its start")
    for number in numbers:
        if not isinstance(number, kinds) or isinstance(number, bool) or not -limit <= number <= limit:
            found = f"the metadata's export.states begins {node.name} at {shown(number)}"
            raise ArtifactError(f"{found}; expected a number from -{unit} to {unit}")
    return struct.pack(f"<{node.state_size}{'i' if config.static else 'f'}", *numbers)
