"""Writing a file so that a reader finds the old one or the new one, whole, whatever happens in between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from edgegru_runtime.errors import EdgegruError


@contextmanager
def replaced_file(path: str) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` when the block ends, and vanishes when it fails.

    Raises EdgegruError where something that is no file is there (a device, a folder), or nothing can be written there.
    """
    if os.path.lexists(path) and not os.path.isfile(path):
        raise EdgegruError(f"{path}: is not a regular file, expected a file or a new name")
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # of a process that was killed; in a container it may have had our number
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path)
    except OSError as error:
        raise EdgegruError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def _sync_folder(path: str) -> None:
    """The new name itself must survive a power cut."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
