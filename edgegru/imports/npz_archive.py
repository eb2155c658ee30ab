"""Arrays of an .npz file: headers first, then the bytes of what is asked for. No path leads to a pickle."""

from __future__ import annotations

import lzma
import math
import re
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.strict_json import shown

LARGEST_READ = 2**29  # bytes in all: float64 for every number of the largest artifact
LARGEST_HEADER = 10_000  # characters of one array's
MOST_ARRAYS = 10_000
_UNREADABLE = (
    OSError, ValueError, EOFError, KeyError, MemoryError, RuntimeError, SyntaxError, TypeError, OverflowError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError,
)  # fmt: skip


class Archive:
    """What an .npz file has, by name: ``shapes``. Raises ImportModelError for a damaged file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.dtypes: dict[str, np.dtype[Any]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        with _Damage("the file"), zipfile.ZipFile(path) as file:
            members = file.infolist()
            if len(members) > MOST_ARRAYS:
                raise ImportModelError(f"has {len(members)} arrays, expected at most {MOST_ARRAYS}")
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name in self.shapes:
                    raise ImportModelError(f"has two arrays called {shown(name)}")
                with _Damage(f"array {shown(name)}"), file.open(member) as stream:
                    self.shapes[name], _, self.dtypes[name] = _header(stream)

    def refuse_objects(self, unread: Collection[str] = ()) -> None:
        """Raise ImportModelError for an array of Python objects, except those called ``unread``."""
        for name, dtype in self.dtypes.items():
            if dtype.hasobject and name not in unread:
                raise ImportModelError(
                    f"array {shown(name)} holds Python objects, a pickle, which can run any code when it is read and "
                    "is never opened; expected numbers alone (np.savez(file, *values): one array each, with the star)"
                )

    def read(self, names: Collection[str]) -> dict[str, NDArray[Any]]:
        """The numbers of these arrays. Raises ImportModelError for other contents, and for more than fits a model."""
        sizes = [math.prod(self.shapes[name]) * self.dtypes[name].itemsize for name in names]
        if sum(sizes) > LARGEST_READ:
            raise ImportModelError(f"its weights have {sum(sizes):,} bytes, expected at most {LARGEST_READ:,}")
        with zipfile.ZipFile(self._path) as file:
            return {name: self._read(file, name, size) for name, size in zip(names, sizes, strict=True)}

    def _read(self, file: zipfile.ZipFile, name: str, size: int) -> NDArray[Any]:
        dtype = self.dtypes[name]
        if dtype.kind not in "fiu" or dtype.itemsize > 8:
            raise ImportModelError(f"array {shown(name)} is {dtype}, expected numbers")
        with _Damage(f"array {shown(name)}"), file.open(f"{name}.npy") as stream:
            shape, fortran, _ = _header(stream)
            data = stream.read(size)
            if len(data) != size or stream.read(1):
                raise ImportModelError(f"array {shown(name)} is cut short or longer than {shape} numbers")
            array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
        if not np.isfinite(array).all():
            raise ImportModelError(f"array {shown(name)} has numbers that are not finite")
        return array


def in_order(prefixes: Collection[str]) -> list[str]:
    """Prefixes of the names of GRUs, which differ in a number alone, by that number.

    Raises ImportModelError, naming them, for others.
    """
    numbers = {prefix: tuple(int(number) for number in re.findall(r"[0-9]{1,9}", prefix)) for prefix in prefixes}
    words = {re.sub(r"_?[0-9]{1,9}", "", prefix) for prefix in prefixes}
    if len(words) > 1 or len(set(numbers.values())) < len(numbers):
        names = ", ".join(shown(prefix.rstrip("_.")) for prefix in prefixes)
        raise ImportModelError(f"several GRUs are in the file: {names}; expected one, or one stack, numbered")
    return sorted(prefixes, key=numbers.__getitem__)


class _Damage:
    """Turns whatever zipfile and NumPy raise over a damaged file into one sentence."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _UNREADABLE):
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise ImportModelError(f"{self._what} is damaged: {reason}") from None


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether Fortran's order, dtype."""
    npy: Any = np.lib.format  # typed in part
    version = npy.read_magic(stream)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    readers[3, 0] = readers[2, 0]  # differs in the names of fields alone, which numbers do not have
    if version not in readers:
        raise ValueError(f"version {version} of .npy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Python 2's "3L" needs, it says, additional parsing
        shape, fortran, dtype = readers[version](stream, max_header_size=LARGEST_HEADER)
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {shape}")
    return shape, fortran, dtype
