"""The outer shell of an artifact: a plain safetensors file, read with the standard library alone.

Layout (docs/format.md): eight bytes, the length N of the header as an unsigned little-endian integer; N bytes of JSON,
one object that gives every tensor its dtype, shape and place; then the tensors' bytes, without holes or overlap, to the
very end of the file. Here only the shell is checked: what the tensors must be is for ``artifact.py``.
"""

from __future__ import annotations

import math
import os
import stat

from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.strict_json import parse_json, shown
from edgegru_runtime.tensor import ITEM_SIZES, Tensor

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from typing import Any

MAX_FILE_BYTES = 256 * 2**20  # a compact GRU has a thousandth of it; a device must not be made to read more
MAX_HEADER_BYTES = 2**20
METADATA_KEY = "edgegru"

_MAX = MAX_FILE_BYTES  # no size or place in a file can be larger
_LENGTH_BYTES = 8
_DTYPES = {"F32": "float32", "I8": "int8", "I16": "int16", "I32": "int32"}


def read_file(path: str | os.PathLike[str]) -> bytes:
    """All bytes of a regular file of at most ``MAX_FILE_BYTES``; ``ArtifactError`` for anything else."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # before opening: a pipe would block, a device would never end
            raise ArtifactError("is not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise ArtifactError(f"has {status.st_size} bytes; expected at most {MAX_FILE_BYTES}")
        with open(path, "rb") as file:
            return file.read(status.st_size)  # a read without a size, or with a larger one, takes memory for more
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}") from None
    except ValueError:  # a null character in the path
        raise ArtifactError("is not a possible file name") from None


def split_container(data: bytes) -> tuple[str, dict[str, Tensor]]:
    """The string under the metadata key "edgegru", and the tensors by name as views on ``data``.

    Raises ``ArtifactError`` unless every byte of the file has its place.
    """
    header, body = _split_header(data)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or set(metadata) != {METADATA_KEY}:
        found = shown(metadata) if not isinstance(metadata, dict) else ", ".join(map(shown, metadata)) or "none"
        raise ArtifactError(f'has metadata {found}; expected exactly one key "{METADATA_KEY}"')
    text = metadata[METADATA_KEY]
    if not isinstance(text, str):
        raise ArtifactError(f'metadata "{METADATA_KEY}" is {shown(text)}; expected a string')

    places = {name: _place(name, entry) for name, entry in header.items()}
    position = 0
    for name, (_, _, begin, end) in sorted(places.items(), key=lambda item: item[1][2:]):
        if begin != position:
            what = "overlaps the tensor before it" if begin < position else "leaves a hole before it"
            raise ArtifactError(f"tensor {shown(name)} begins at byte {begin} and {what}; expected byte {position}")
        position = end
    if position != len(body):
        raise ArtifactError(f"has {len(body)} bytes of tensors; expected {position} from its header")
    return text, {name: Tensor(dtype, shape, body[begin:end]) for name, (dtype, shape, begin, end) in places.items()}


def _split_header(data: bytes) -> tuple[dict[str, Any], memoryview]:
    if len(data) < _LENGTH_BYTES:
        raise ArtifactError(f"has {len(data)} bytes; expected a safetensors file")
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise ArtifactError(
            f"announces a header of {length} bytes; expected an EdgeGRU artifact, with at most {MAX_HEADER_BYTES}"
        )
    end = _LENGTH_BYTES + length
    if end > len(data):
        raise ArtifactError(f"ends at byte {len(data)} inside its header; expected {end} bytes or more")
    if data[_LENGTH_BYTES : _LENGTH_BYTES + 1] != b"{":
        raise ArtifactError("header does not begin with '{'; expected a safetensors file")
    return parse_json(data[_LENGTH_BYTES:end], "header"), memoryview(data)[end:]


def _place(name: str, entry: object) -> tuple[str, tuple[int, ...], int, int]:
    """dtype, shape, first byte and byte after the last of one tensor, from its header entry."""
    label = f"tensor {shown(name)}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ArtifactError(f"{label} has a malformed header entry; expected dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _DTYPES:
        raise ArtifactError(f"{label} has dtype {shown(code)}; expected one of {', '.join(_DTYPES)}")
    if not isinstance(shape, list) or len(shape) > 8 or not all(map(_is_extent, shape)):
        raise ArtifactError(f"{label} has a malformed shape; expected a list of at most 8 integers from 0 to {_MAX}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_extent, offsets)):
        raise ArtifactError(f"{label} has malformed data_offsets; expected two integers from 0 to {_MAX}")
    begin, end = offsets
    size = math.prod(shape) * ITEM_SIZES[_DTYPES[code]]  # Python integers: no overflow
    if end - begin != size:
        raise ArtifactError(f"{label} has {end - begin} bytes; expected {size} from its shape and dtype")
    return _DTYPES[code], tuple(shape), begin, end


def _is_extent(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX
