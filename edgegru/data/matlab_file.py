"""Lists of matrices out of MATLAB 5 files, the format of MATLAB's ``save -v6`` and ``-v7``.

They are read here because ``scipy.io.loadmat`` follows cells into cells as deep as a file says: a megabyte of them ends
the process. Here nothing nests, nothing is executed, and sizes are checked before memory is taken.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.errors import DataError

MAX_BYTES = 1 << 28  # of one variable, decompressed
_MATLAB_5, _MATLAB_7_3 = b"\x00\x01IM", b"\x00\x02IM"  # version and byte order
_ARRAY, _COMPRESSED = 14, 15  # types of elements, beside those of numbers:
_NUMBERS = {
    1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8",
}  # fmt: skip
_CELL, _NUMERIC = 1, range(6, 16)  # classes of arrays
_COMPLEX = 0x800
_Element = tuple[int, memoryview]  # type and content


@dataclass(frozen=True)
class _Array:
    """``content``: the elements of a cell array, or the numbers of a matrix."""

    array_class: int
    complex: bool
    sizes: tuple[int, ...]
    name: str
    content: Iterator[_Element]


def read_cells(path: Path, names: Collection[str]) -> dict[str, list[NDArray[np.generic]]]:
    """The cell arrays called ``names``, each as a list of real matrices; one that the file lacks is not in the result.

    Other variables are passed over. Raises DataError for a file that is damaged or of another format, and for anything
    but real matrices in these cell arrays.
    """
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    version = bytes(content[124:128])
    if version == _MATLAB_7_3:
        raise DataError(f"{path} is a MATLAB 7.3 file (HDF5), expected MATLAB 5, as save -v7 writes it")
    if version != _MATLAB_5:
        raise DataError(f"{path} is no MATLAB 5 file")
    cells = {}
    try:
        for element in _elements(content[128:]):
            array = _array(_inflated(element))
            if array.name in names:
                cells[array.name] = _matrices(array)
    except (StopIteration, struct.error, zlib.error) as error:
        raise DataError(f"{path} is a damaged MATLAB 5 file") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    return cells


def _inflated(element: _Element) -> _Element:
    kind, data = element
    if kind != _COMPRESSED:
        return element
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(data, MAX_BYTES)
    if not inflater.eof:
        raise ValueError(f"a variable is cut off, or larger than {MAX_BYTES} bytes")
    return next(_elements(memoryview(inflated)))


def _elements(data: memoryview) -> Iterator[_Element]:
    position = 0
    while position < len(data):
        kind, size = struct.unpack_from("<II", data, position)
        if kind >> 16:  # a small element: type and size in four bytes, the content in the next four
            kind, size, start, end = kind & 0xFFFF, kind >> 16, position + 4, position + 8
        else:
            start, end = position + 8, len(data)
        if size > end - start:
            raise ValueError(f"an element of {size} bytes where {end - start} are left, the file is damaged")
        yield kind, data[start : start + size]
        padded = size if kind == _COMPRESSED else size + -size % 8
        position = end if start < position + 8 else start + padded


def _array(element: _Element) -> _Array:
    kind, data = element
    if kind != _ARRAY:
        raise ValueError(f"an element of type {kind} where an array should be, the file is damaged")
    parts = _elements(data)
    (_, flags), (_, sizes), (_, name) = next(parts), next(parts), next(parts)
    (bits, _) = struct.unpack("<II", flags)
    return _Array(
        array_class=bits & 0xFF,
        complex=bool(bits & _COMPLEX),
        sizes=tuple(size for (size,) in struct.iter_unpack("<i", sizes)),
        name=bytes(name).decode("latin-1"),
        content=parts,
    )


def _matrices(cells: _Array) -> list[NDArray[np.generic]]:
    if cells.array_class != _CELL:
        raise ValueError(f"{cells.name!r} is no cell array, expected one of real matrices")
    matrices = []
    for number, element in enumerate(cells.content, start=1):
        cell = _array(element)
        if cell.array_class not in _NUMERIC or cell.complex or len(cell.sizes) != 2:
            raise ValueError(f"cell {number} of {cells.name!r} is no real matrix")
        numbers = _numbers(next(cell.content))
        if min(cell.sizes) < 0 or math.prod(cell.sizes) != len(numbers):
            raise ValueError(f"cell {number} of {cells.name!r} has {len(numbers)} numbers for sizes {cell.sizes}")
        matrices.append(numbers.reshape(cell.sizes, order="F"))
    return matrices


def _numbers(element: _Element) -> NDArray[np.generic]:
    kind, data = element
    number = np.dtype(_NUMBERS.get(kind, "V1"))
    if number.kind == "V" or len(data) % number.itemsize:
        raise ValueError(f"{len(data)} bytes of type {kind} where numbers should be, the file is damaged")
    return np.frombuffer(data, number)
