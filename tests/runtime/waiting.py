"""Sources waited for as ``run`` waits for them."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from edgegru_runtime.record import Item
from edgegru_runtime.sources.source import Source

DEADLINE = 20.0


def wait(source: Source, longest: float = DEADLINE) -> bool:
    """Wait as the source says; False where it says nothing for so long."""
    poll = select.poll()
    descriptor, due = source.fileno(), source.due()
    if descriptor is not None:
        poll.register(descriptor, select.POLLIN)
    left = longest if due is None else min(longest, max(0.0, due - time.monotonic()))
    return bool(poll.poll(1000 * left + 1)) or due is not None


def read_until(source: Source, enough: Callable[[list[Item]], bool]) -> list[Item]:
    """What the source gives until that is enough; fails where it never is."""
    items: list[Item] = []
    deadline = time.monotonic() + DEADLINE
    while not enough(items):
        assert time.monotonic() < deadline, items
        wait(source, 1.0)
        items += source.read() or []
    return items


def read_some(source: Source, count: int) -> list[Item]:
    """At least so many items."""
    return read_until(source, lambda items: len(items) >= count)
