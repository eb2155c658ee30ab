"""Samples from a file, a named pipe, a device file or standard input."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections import deque

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Item
from edgegru_runtime.sources.reader import Intake
from edgegru_runtime.sources.source import CHUNK_BYTES, SourceOptions

STANDARD_INPUT = "-"


class FileSource:
    """The file at ``path``, or standard input, until it ends. Raises InputError where it cannot be opened.

    A named pipe is waited for until somebody writes to it.
    """

    live = False

    def __init__(self, path: str, config: ModelConfig, options: SourceOptions) -> None:
        self.name = "standard input" if path == STANDARD_INPUT else path
        self._intake = Intake(config, options)
        self.unit = self._intake.reader.unit
        self._owned = path != STANDARD_INPUT
        self._file = self._opened(path)
        mode = os.fstat(self._file).st_mode
        if stat.S_ISDIR(mode):
            self.close()
            raise InputError(f"{path}: is a folder, expected a file")
        self._regular = stat.S_ISREG(mode)
        self.resumable = self._regular and self._owned
        self.keyed = options.streams_by is not None or options.streams > 1
        self._ended = False
        self._journal = None if self._regular else options.journal
        self._pipe = os.fstat(self._file).st_ino if stat.S_ISFIFO(mode) else 0
        self._joins = self._journal is not None
        self._one_by_one = self.resumable and options.chunk == 1
        if self._one_by_one:  # what was read ahead is still there when the file is opened again
            self._intake.chunk = CHUNK_BYTES
        self._ahead: deque[Item] = deque()
        self._arrival = select.poll()
        self._arrival.register(self._file, select.POLLIN)

    def fileno(self) -> int | None:
        return None if self._regular else self._file

    def due(self) -> float | None:
        return 0.0 if self._regular else None

    def overflow(self) -> int:
        return 0

    def read(self) -> list[Item] | None:
        if self._ahead:
            return [self._ahead.popleft()]
        if self._ended:
            return None
        items = self._arrived()
        if self._one_by_one and len(items) > 1:
            self._ahead.extend(items[1:])
            return items[:1]
        return items

    def resume(self, end: int, place: int) -> None:
        if not self.resumable:
            raise InputError(f"{self.name}: cannot be read from byte {end}, expected a regular file")
        try:
            size = os.fstat(self._file).st_size
            if size < end:
                raise InputError(f"{self.name}: has {size} bytes, expected at least the {end} that were read before")
            reader, known_at = self._intake.reader, 0
            while not reader.known and known_at < end:
                data = os.pread(self._file, min(CHUNK_BYTES, end - known_at), known_at)
                known_at += len(data)
                reader.feed(data)
            reader.resumed(end, place)
            os.lseek(self._file, end, os.SEEK_SET)
        except InputError as error:
            raise self._located(error) from None
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error.strerror}") from None

    def close(self) -> None:
        if self._owned:
            self._owned = False
            os.close(self._file)

    def _arrived(self) -> list[Item]:
        """What can be read at once, or the rest where that is nothing."""
        try:
            if self._joins:
                self._join()
            items = self._intake.take(self._receive)
            if items is None:
                self._ended = True
                items = self._intake.finish(complete=True)
            if self._journal is not None:
                self._journal.hold(self._intake.reader.held())
        except InputError as error:
            raise self._located(error) from None
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error.strerror}") from None
        return items

    def _located(self, error: InputError) -> InputError:
        """With the name of the input, and the place, where any was reached."""
        place = self._intake.reader.place
        return InputError(f"{self.name}, {self.unit} {place}: {error}" if place else f"{self.name}: {error}")

    def _opened(self, path: str) -> int:
        if path != STANDARD_INPUT:
            try:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from None
        if sys.stdin is None:
            raise InputError("standard input is closed, expected samples")
        return sys.stdin.fileno()

    def _join(self) -> None:
        """Before the first read: the process before may have left half a record in the pipe."""
        assert self._journal is not None
        self._joins = False
        if held := self._journal.pipe(self._pipe):
            self._intake.reader.joined(held)

    def _receive(self, size: int) -> bytes | None:
        """Bytes that are there. Standard input may block, and stays so: others may have it open, too."""
        if not self._regular and not self._arrival.poll(0):
            return None
        try:
            return os.read(self._file, size) if self._journal is None else self._journal.receive(self._file, size)
        except BlockingIOError:
            return None
