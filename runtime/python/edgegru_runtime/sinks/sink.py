"""What takes results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edgegru_runtime.result import Result

EMITS = ("all", "changes", "events")  # every step; the steps at which something switched; a message for each event

Warn = Callable[[str], None]  # takes one sentence for whoever operates the device; called from any thread
Dropped = Callable[[int], None]  # takes how many results or events were lost; called from any thread


class Sink(Protocol):
    """Takes the results that ``emit`` lets through, one after another."""

    def write(self, result: Result) -> None:
        """Take a result; what can be flushed is flushed when this returns.

        Raises EdgegruError where it cannot be written and ReaderGone where nobody reads any more.
        """

    def close(self) -> None:
        """Finish what was begun; nothing is written afterwards. A second call does nothing."""
