"""Lines on standard output, flushed one by one, also when nobody reads them any more."""

from __future__ import annotations

import os
import sys

from edgegru_runtime.errors import EdgegruError


class ReaderGone(Exception):
    """Whoever read standard output has gone; nothing more needs to be written."""


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


def _silence() -> None:
    """Let Python's own flush at exit find nothing to complain about."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
