"""Streaming lines: each sample that arrives is answered by a line, until the input ends or a signal asks to stop."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import BinaryIO

from edgegru_runtime.errors import EdgegruError, InputError, StateError
from edgegru_runtime.model import load
from edgegru_runtime.records import MAX_LINE_BYTES, read_records, result_line
from edgegru_runtime.replaced_file import replaced_file
from edgegru_runtime.standard_output import ReaderGone, print_line
from edgegru_runtime.state import state_size
from edgegru_runtime.stream import Stream

STANDARD_INPUT = "-"


class _Stopped(Exception):
    """A signal asked to stop."""


class _StopSignals:
    """SIGTERM and SIGINT end the stream between two lines, not within a step."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._waiting = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals inside the block."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        listened = [number for number, handler in before.items() if handler != signal.SIG_IGN]  # ignored: keep it so
        for number in listened:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number in listened:
                signal.signal(number, before[number])

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.received = self.received is not None, signal.Signals(number)
        if self._waiting or again:  # a second signal does not wait: perhaps nobody reads what is being written
            raise _Stopped

    def readline(self, file: BinaryIO) -> bytes:
        """The next line; _Stopped where a signal came before or comes meanwhile."""
        self._waiting = True
        try:
            if self.received is not None:
                raise _Stopped
            return file.readline(MAX_LINE_BYTES + 1)
        except OSError as error:
            raise InputError(f"the input cannot be read: {error.strerror}") from None
        finally:
            self._waiting = False


def run(
    model: str,
    input: str = STANDARD_INPUT,
    *,
    line_format: str = "auto",
    engine: str | None = None,
    state_file: str | None = None,
    output: str | None = None,
    force: bool = False,
) -> None:
    """Stream the lines of ``input`` ("-": standard input) through the model; one JSON line a step, flushed.

    The state begins as ``state_file`` has it, where that exists, and is saved there at the end: of the input, at
    SIGTERM, SIGINT or a reader that has gone, and also where a bad line ends the run. ``output`` appears only once the
    input has ended well or a signal came, and replaces an existing file only with ``force``.

    Raises ArtifactError, EngineError, InputError (with file and line), StateError (a state of another model; its file
    is left alone), EdgegruError (a file that cannot be written).
    """
    loaded = load(model, engine)
    stream = loaded.stream()
    if state_file is not None and os.path.lexists(state_file):
        _restore(stream, state_file)
    if output is not None and state_file is not None and os.path.realpath(output) == os.path.realpath(state_file):
        raise EdgegruError(f"{output}: is to hold the results and the state, expected two files")
    if output is not None and os.path.lexists(output) and not force:
        raise EdgegruError(f"{output}: exists, expected a new name or --force")
    signals = _StopSignals()
    with ExitStack() as stack:
        source = _opened(input, stack)
        write = print_line if output is None else _line_writer(stack.enter_context(replaced_file(output)))
        if state_file is not None:
            _save(stream, state_file)  # what makes saving impossible shows before anything is lost
            stack.callback(_save, stream, state_file)  # also where a line is bad
        stack.enter_context(signals.handled())
        name = "standard input" if input == STANDARD_INPUT else input
        try:
            for record in read_records(lambda: signals.readline(source), name, loaded.config, line_format):
                index = stream.steps
                try:
                    result = stream.step(record.x)
                except InputError as error:
                    raise InputError(f"{name}, line {record.line}: {error}") from None
                outputs = result if isinstance(result, tuple) else (result,)
                write(result_line(loaded.config, index, record.t, outputs))
        except _Stopped:
            print(f"stopped by {signals.received.name if signals.received else ''}", file=sys.stderr)
        except ReaderGone:
            pass
    if stream.clipped:
        print(f"{stream.clipped} input values were saturated", file=sys.stderr)


def _line_writer(file: BinaryIO) -> Callable[[str], None]:
    def write(line: str) -> None:
        file.write(line.encode() + b"\n")

    return write


def _opened(path: str, stack: ExitStack) -> BinaryIO:
    if path == STANDARD_INPUT:
        if sys.stdin is None:
            raise InputError("standard input is closed, expected lines")
        return sys.stdin.buffer
    try:
        return stack.enter_context(open(path, "rb"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from None


def _restore(stream: Stream, path: str) -> None:
    try:
        with open(path, "rb") as file:
            data = file.read(state_size(stream.model.config) + 1)  # one byte more tells a longer file
        stream.state = data
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror}") from None
    except StateError as error:
        raise StateError(f"{path}: {error}") from None


def _save(stream: Stream, path: str) -> None:
    with replaced_file(path) as file:
        file.write(stream.state)
