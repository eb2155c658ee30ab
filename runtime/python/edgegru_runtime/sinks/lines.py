"""Results as lines of text, on standard output or at the end of a file."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import Protocol

from edgegru_runtime.errors import EdgegruError
from edgegru_runtime.result import Result
from edgegru_runtime.sinks.sink import Warn
from edgegru_runtime.standard_output import ReaderGone, standard_output_writer, write_whole

MAX_TAIL_BYTES = 2**20  # of a file's last line, where it has no end


class Lines(Protocol):
    """What writes a result as text."""

    header: str  # the first line, with its end; "" where there is none

    def lines(self, result: Result) -> str:
        """The lines of a result, each with its end; "" where it has none."""


class StandardOutput:
    """A sink of lines of UTF-8 on standard output, each result written in one go."""

    def __init__(self, formatter: Lines) -> None:
        self._lines = formatter.lines
        self._write = standard_output_writer()
        if formatter.header:
            self._write(encoded(formatter.header))

    def write(self, result: Result) -> None:
        text = self._lines(result)
        if text:
            self._write(encoded(text))

    def close(self) -> None:
        """Nothing is held back."""


class AppendedFile:
    """A sink of lines of UTF-8 at the end of a file, which is made where it does not exist.

    The file is locked: two that append to one would cut each other's lines. A last line without an end, as a power cut
    leaves it, is moved to ``PATH.partial``, for a number that lost its last digits looks whole; ``warn`` is told. A
    file that begins with another header is refused. Where a line does not fit on the disk, none of it stays.

    Raises EdgegruError for all of these.
    """

    def __init__(self, path: str, formatter: Lines, warn: Warn) -> None:
        self._path = path
        self._lines = formatter.lines
        self._descriptor = _opened(path)
        self._regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        try:
            if (not self._regular or self._continued(formatter.header, warn)) and formatter.header:
                write_whole(self._descriptor, encoded(formatter.header), path)
        except OSError as error:
            self.close()
            raise EdgegruError(f"{path}: cannot be written: {error.strerror}") from None
        except (EdgegruError, ReaderGone):
            self.close()
            raise

    def write(self, result: Result) -> None:
        text = self._lines(result)
        if text:
            write_whole(self._descriptor, encoded(text), self._path)

    def close(self) -> None:
        """Synchronise the file to the disk, and leave it to others."""
        if self._descriptor < 0:
            return
        try:
            if self._regular:
                os.fsync(self._descriptor)
        except OSError as error:
            raise EdgegruError(f"{self._path}: cannot be written: {error.strerror}") from None
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def _continued(self, header: str, warn: Warn) -> bool:
        """Whether the file holds nothing yet, once it is ours and ends with a whole line."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EdgegruError(f"{self._path}: is being written by another program") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):  # file systems that have no locks
                raise
        size = os.fstat(self._descriptor).st_size
        start = max(0, size - MAX_TAIL_BYTES)
        ending = os.pread(self._descriptor, MAX_TAIL_BYTES, start)
        tail = ending[ending.rfind(b"\n") + 1 :]
        if len(tail) == MAX_TAIL_BYTES:
            raise EdgegruError(f"{self._path}: its last {MAX_TAIL_BYTES} bytes hold no line's end, expected lines")
        kept = size - len(tail)
        expected = encoded(header)
        if kept and os.pread(self._descriptor, len(expected), 0) != expected:
            raise EdgegruError(f"{self._path}: begins with another line than {header.rstrip()!r}, expected that header")
        if tail:
            self._move_aside(tail, kept, warn)
        return kept == 0

    def _move_aside(self, tail: bytes, kept: int, warn: Warn) -> None:
        aside = f"{self._path}.partial"
        with open(aside, "ab") as file:
            file.write(tail + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.ftruncate(self._descriptor, kept)
        warn(f"{self._path}: the last line had no end, its {len(tail)} bytes were moved to {aside}")


def _opened(path: str) -> int:
    """A descriptor that appends: to a file, which can also be read, or to a device or named pipe."""
    try:
        regular = not os.path.exists(path) or os.path.isfile(path)
        return os.open(path, os.O_APPEND | os.O_CLOEXEC | (os.O_RDWR | os.O_CREAT if regular else os.O_WRONLY), 0o666)
    except (OSError, ValueError) as error:
        raise EdgegruError(f"{path}: cannot be written: {getattr(error, 'strerror', error)}") from None


def encoded(text: str) -> bytes:
    """Text as UTF-8; what JSON allows in a name and UTF-8 does not, half a surrogate pair, as its number."""
    return text.encode("utf-8", "backslashreplace")
