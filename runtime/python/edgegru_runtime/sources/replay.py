"""A recorded file at the speed at which it was recorded, or a multiple of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from math import inf

from edgegru_runtime.errors import InputError
from edgegru_runtime.record import Control, Item, Record, Refusal
from edgegru_runtime.sources.source import Source
from edgegru_runtime.timeline import TIME_UNITS


class ReplaySource:
    """The items of ``source``, each at its time: ``speed`` times as fast as their times in ``unit`` say.

    Records without a time are ``rate`` apart. What has neither ends the replay with InputError. What is no record, or
    has a time that is none or lies before the last one's, follows at once on what came before it.
    """

    def __init__(
        self, source: Source, speed: float, unit: str, rate: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source, self._speed, self._clock = source, speed, clock
        self._second = TIME_UNITS[unit] * 1e-9
        self._period = None if rate is None else 1 / (rate * speed)
        self.name, self.unit, self.live = source.name, source.unit, source.live
        self.keyed, self.resumable = source.keyed, source.resumable
        self._waiting: deque[tuple[float, Item]] = deque()
        self._origin: tuple[float, float] | None = None  # a time in the file in seconds, and that on the clock
        self._time = 0.0  # of the last record that has one, in seconds
        self._last = -inf  # when the last item is due

    def fileno(self) -> int | None:
        return None if self._waiting else self._source.fileno()

    def due(self) -> float | None:
        return self._waiting[0][0] if self._waiting else self._source.due()

    def overflow(self) -> int:
        return self._source.overflow()

    def read(self) -> list[Item] | None:
        if not self._waiting:
            items = self._source.read()
            if items is None:
                return None
            if items and self._last == -inf:
                self._last = self._clock()
            self._waiting.extend((self._due_of(item), item) for item in items)
        now = self._clock()
        due: list[Item] = []
        while self._waiting and self._waiting[0][0] <= now:
            due.append(self._waiting.popleft()[1])
        return due

    def resume(self, end: int, place: int) -> None:
        self._source.resume(end, place)

    def close(self) -> None:
        self._source.close()

    def _due_of(self, item: Item) -> float:
        """When an item is due, never before the one before it."""
        if isinstance(item, (Refusal, Control)):
            return self._last
        t = item.t if isinstance(item, Record) else None
        if t is None:
            if self._period is None:
                raise InputError(
                    f"{self.name}, {self.unit} {item.place}: has no time, and nothing says how many come in a second; "
                    "expected a time, or a rate"
                )
            self._last += self._period
            return self._last
        seconds = self._seconds(t)
        if seconds is None:
            return self._last
        if self._origin is None or seconds < self._time:  # the recording begins, or its clock was set back
            self._origin = (seconds, self._last)
        self._time = seconds
        self._last = max(self._last, self._origin[1] + (seconds - self._origin[0]) / self._speed)
        return self._last

    def _seconds(self, t: float | str) -> float | None:
        """A time in seconds from any beginning; None for text that is none, which is not for a replay to refuse."""
        if not isinstance(t, str):
            return t * self._second
        from edgegru_runtime.iso_time import nanoseconds

        try:
            return nanoseconds(t) * 1e-9
        except InputError:
            return None
