"""A command of the user's, run at every event."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections import deque
from threading import Condition, Thread
from typing import NamedTuple

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.result import Result
from edgegru_runtime.sinks.jsonl import JsonLines
from edgegru_runtime.sinks.sink import Dropped, Warn

MAX_RUNNING = 8
MAX_WAITING = 1000
CLOSING_SECONDS = 5.0
_STANDARD_ERROR = 2

_Switch = tuple[str, int, str]  # stream, output and label


class _Call(NamedTuple):
    switch: _Switch
    line: str  # the event as JSON


class EventHook:
    """A sink that runs a command for every event, without a shell and without holding up the stream.

    The command gets the event as a line of JSON on its standard input, as ``emit`` "events" writes it, and each field
    as a variable: EDGEGRU_EVENT, EDGEGRU_LABEL and so on. What it prints goes to standard error.

    Up to MAX_RUNNING run side by side, but those for one label of one stream one after another: "off" never overtakes
    "on". MAX_WAITING more wait; beyond that events are dropped. A failure is told once for each exit status. ``close``
    gives what runs and waits CLOSING_SECONDS to finish; it drops what has not begun by then and leaves alone what runs.

    Raises InputError where there is no such command.
    """

    def __init__(
        self,
        command: str,
        config: ModelConfig,
        warn: Warn,
        dropped: Dropped,
        *,
        closing_seconds: float = CLOSING_SECONDS,
    ) -> None:
        self._command = _words(command)
        self._lines = JsonLines(config, config.decision, "events").lines
        self._warn, self._dropped, self._closing_seconds = warn, dropped, closing_seconds
        self._changed = Condition()  # guards what follows
        self._waiting: deque[_Call] = deque()
        self._running: set[_Switch] = set()
        self._threads = 0
        self._closed = False
        self._told: set[int | str] = set()

    def write(self, result: Result) -> None:
        """Have the command run for each event of the result."""
        if result.events:
            for event, line in zip(result.events, self._lines(result).splitlines(), strict=True):
                self._call(_Call((result.key, event.output, event.label), line))

    def _call(self, call: _Call) -> None:
        with self._changed:
            full = len(self._waiting) >= MAX_WAITING
            if not full:
                self._waiting.append(call)
                if self._threads < min(MAX_RUNNING, len(self._waiting) + len(self._running)):
                    self._threads += 1
                    Thread(target=self._serve, name="event hook", daemon=True).start()
                self._changed.notify()
        if full:
            self._dropped(1)
            self._tell("full", f"{self._command[0]}: {MAX_WAITING} events wait for it, further ones are dropped")

    def close(self) -> None:
        with self._changed:
            if not self._closed:
                self._changed.wait_for(lambda: not self._waiting and not self._running, self._closing_seconds)
            self._closed = True
            lost, running = len(self._waiting), len(self._running)
            self._waiting.clear()
            self._changed.notify_all()
        if lost:
            self._dropped(lost)
        if running:
            self._tell("running", f"{self._command[0]}: {running} still running; {lost} waiting events were dropped")

    def _serve(self) -> None:
        """Run one call after another, until the end."""
        while (call := self._next()) is not None:
            try:
                self._run(call.line)
            finally:
                with self._changed:
                    self._running.remove(call.switch)
                    self._changed.notify_all()

    def _next(self) -> _Call | None:
        """The first call whose switch is not being served; None at the end."""
        with self._changed:
            while not self._closed:
                for call in self._waiting:
                    if call.switch not in self._running:
                        self._waiting.remove(call)
                        self._running.add(call.switch)
                        return call
                self._changed.wait()
            return None

    def _run(self, line: str) -> None:
        variables = {f"EDGEGRU_{name.upper()}": _variable(value) for name, value in json.loads(line).items()}
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=_STANDARD_ERROR,  # standard output may be full of results
                env=os.environ | variables,
                process_group=0,  # Ctrl-C ends the stream, not what it has begun
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._tell(reason, f"{self._command[0]}: cannot be run: {reason}")
            return
        process.communicate(line.encode() + b"\n")
        status = process.returncode
        if status:
            how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
            self._tell(status, f"{self._command[0]}: {how} at the event {line}; this is said once")

    def _tell(self, what: int | str, message: str) -> None:
        """Warn, once for each kind of trouble."""
        with self._changed:
            again = what in self._told
            self._told.add(what)
        if not again:
            self._warn(message)


def _variable(value: object) -> str:
    """A field as the environment can hold it."""
    return str(value).replace("\0", "").encode("utf-8", "backslashreplace").decode()


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"the command {command!r} cannot be split into words: {error}") from None
    if not words:
        raise InputError("the command to run at events is empty, expected a program and its arguments")
    program = shutil.which(words[0])
    if program is None:
        raise InputError(f"there is no program {words[0]!r} that can be run at events")
    return [program, *words[1:]]
