"""Lines on standard output, written one by one, also when nobody reads them any more."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
from collections.abc import Callable
from contextlib import suppress

from edgegru_runtime.errors import EdgegruError


class ReaderGone(Exception):
    """Whoever read what was written has gone; nothing more needs to be written."""


def print_line(text: str) -> None:
    """Write and flush ``text`` and a line's end. Raises ReaderGone, or EdgegruError where the disk is full or such."""
    if sys.stdout is None:
        raise EdgegruError("standard output is closed")
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _silence()
        raise ReaderGone from None
    except OSError as error:
        _silence()
        raise EdgegruError(f"standard output cannot be written: {error.strerror}") from None


def standard_output_writer() -> Callable[[bytes], None]:
    """What writes whole lines of UTF-8 on standard output, each call in one go as ``write_whole`` does.

    Where a program has put something else in place of ``sys.stdout``, they go there. Raises EdgegruError where it is
    closed.
    """
    if sys.stdout is None:
        raise EdgegruError("standard output is closed")
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, io.UnsupportedOperation):
        return lambda lines: print_line(lines.decode().removesuffix("\n"))
    sys.stdout.flush()  # what was printed before comes before
    return lambda lines: write_whole(descriptor, lines, "standard output")


def write_whole(descriptor: int, data: bytes, name: str) -> None:
    """Write all of ``data``, waiting for a slow reader, or nothing: what a full disk cut off is taken back.

    Of what cannot be taken back, such as a part sent into a pipe before a signal's handler raised, the rest is missing.
    Raises ReaderGone where nobody reads, and EdgegruError, which calls the target ``name``, where it cannot be written.
    """
    written = 0
    try:
        while True:
            try:
                written += os.write(descriptor, data[written:] if written else data)
                if written == len(data):
                    return
            except BlockingIOError:  # another program has set the terminal or pipe so
                poll = select.poll()
                poll.register(descriptor, select.POLLOUT)
                poll.poll()
    except BrokenPipeError:
        raise ReaderGone from None
    except OSError as error:
        _take_back(descriptor, written)
        raise EdgegruError(f"{name} cannot be written: {error.strerror}") from None


def _take_back(descriptor: int, count: int) -> None:
    """Cut off the ``count`` bytes written last to a file's end; from a pipe nothing can be taken back."""
    with suppress(OSError):
        found = os.fstat(descriptor)
        if count and stat.S_ISREG(found.st_mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == found.st_size:
            os.ftruncate(descriptor, os.lseek(descriptor, -count, os.SEEK_CUR))


def _silence() -> None:
    """Let Python's own flush at exit find nothing to complain about."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
