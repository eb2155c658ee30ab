"""How far a file was read, so that a later run goes on from there."""

from __future__ import annotations

import os
from typing import Any
from zlib import crc32

from edgegru_runtime.errors import InputError

_COMPARED = 4096  # bytes before the position, which tell another file from the same one with more in it


class InputPosition:
    """Places in the file at ``path``, as they are saved and found again. Raises InputError where it cannot be read."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115  # closed by close
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from None

    def saved(self, place: int, end: int) -> dict[str, Any]:
        """The position behind record ``place``, ``end`` bytes from the beginning."""
        return {"place": place, "end": end, "check": self._check(end)}

    def found(self, saved: dict[str, Any]) -> tuple[int, int] | None:
        """``place`` and ``end`` of a saved position, None where the file is another one."""
        place, end = saved.get("place"), saved.get("end")
        if not isinstance(place, int) or not isinstance(end, int) or min(place, end) < 0:
            return None
        if os.fstat(self._file.fileno()).st_size < end or self._check(end) != saved.get("check"):
            return None
        return place, end

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _check(self, end: int) -> int:
        length = min(end, _COMPARED)
        try:
            return crc32(os.pread(self._file.fileno(), length, end - length))
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror}") from None
