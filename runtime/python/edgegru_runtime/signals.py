"""Signals of a run: to stop, to reload the model, to dump the counters. Each is seen between two records."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class StoppedAtOnce(Exception):
    """A second signal asked to stop: perhaps nobody reads what is being written."""


class Signals:
    """What was asked for since the block was entered; ``fileno`` is readable once something was.

    Outside the main thread, which alone receives signals, nothing is ever asked for.
    """

    def __init__(self) -> None:
        self.stop: signal.Signals | None = None
        self.reload = self.dump = False

    def __enter__(self) -> Signals:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        self._before = {}
        self._receiving = threading.current_thread() is threading.main_thread()
        if self._receiving:
            for number in _HANDLED:
                handler = signal.getsignal(number)
                if handler != signal.SIG_IGN:  # ignored, as by nohup: so it stays
                    self._before[number] = handler
                    signal.signal(number, self._handle)
            self._woken = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._receiving:
            signal.set_wakeup_fd(self._woken)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._reading)
        os.close(self._writing)

    def fileno(self) -> int:
        """To be polled for reading."""
        return self._reading

    def clear(self) -> None:
        """Make ``fileno`` wait for the next signal."""
        with suppress(BlockingIOError):
            os.read(self._reading, 4096)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.reload = True
        elif number == signal.SIGUSR1:
            self.dump = True
        elif self.stop is not None:
            raise StoppedAtOnce
        else:
            self.stop = signal.Signals(number)
