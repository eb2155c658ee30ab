"""The times of records: their order, the gaps between them, and steps at the model's rate.

Times are counted in whole ticks, of which a nanosecond, the period of the model and that of records without time are
whole multiples. So no error adds up: step a million lies exactly where it would as the first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from math import inf, lcm, log

from edgegru_runtime.counters import Counters
from edgegru_runtime.errors import InputError, StateError
from edgegru_runtime.iso_time import moved, nanoseconds
from edgegru_runtime.record import Record, Time
from edgegru_runtime.strict_json import shown

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from typing import Any

TIME_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}  # in nanoseconds
STRAYS_BELIEVED = 16  # records since the last one taken that are late or lack a time: then the clock is another
MAX_FILLED = 100_000  # steps made between two records; a longer gap resets the stream
RATE_INTERVALS = 32  # looked at to know the rate of the input
RATE_TOLERANCE = 0.05
_SECOND = 10**9
_MAX_TIME = 2**63  # nanoseconds from 1970 or another beginning, 292 years


class Timeline:
    """Where each record of one stream lies in time. ``rate``: the model's, in hertz; all else as in ``Conditions``.

    ``dropped`` is to be asked of every record, then ``place`` of each that is to enter the stream. Records without time
    are ``untimed_rate`` apart (None: the model's rate). Raises InputError where a rate is needed and unknown, or where
    ``max_gap`` is shorter than a step.
    """

    def __init__(
        self,
        rate: float | None,
        counters: Counters,
        warn: Callable[[str], None],
        *,
        unit: str,
        untimed_rate: float | None,
        max_gap: float | None,
        on_gap: str,
        resample: bool,
    ) -> None:
        self._filling = on_gap if max_gap is not None and on_gap in ("hold", "zero") else None
        if rate is None and (resample or self._filling is not None):
            what = "resampling" if resample else f"on_gap {on_gap!r}"
            raise InputError(f"the model declares no rate, which {what} needs; expected a model with one")
        self._counters, self._warn = counters, warn
        self._rate, self._unit = rate, TIME_UNITS[unit]
        self._on_gap, self._resample = on_gap, resample
        self._base = [resample, rate, untimed_rate]  # what the ticks depend on
        self._unpaced = untimed_rate is None and rate is None  # nobody knows how far records without time are apart
        over, under = (rate or 1.0).as_integer_ratio()
        untimed_over, untimed_under = (untimed_rate or rate or 1.0).as_integer_ratio()
        self._scale = lcm(over, untimed_over)  # ticks in a nanosecond
        self._unit_ticks = self._unit * self._scale
        self._max_time = _MAX_TIME // self._unit
        self._period = under * _SECOND * (self._scale // over)
        self._untimed_period = untimed_under * _SECOND * (self._scale // untimed_over)
        self._max_gap: float = inf
        if max_gap is not None:
            over, under = max_gap.as_integer_ratio()
            self._max_gap = _nearest(over * _SECOND * self._scale, under)
        for hertz, period in ((None if resample else rate, self._period), (untimed_rate, self._untimed_period)):
            if hertz is not None and self._max_gap < period:
                raise InputError(f"max_gap is {max_gap:g} s, expected at least the {1 / hertz:g} s between two samples")
        self._timed: bool | None = None  # whether the newest record had a time; None: any that comes begins
        self._now: int | None = None  # the time of the newest record
        self._at: int | None = None  # of the one that ``dropped`` was asked about
        self._index = 0  # of a record without time
        self._strays = 0
        self._next = 0  # the next step when resampling
        self._intervals: list[int] | None = [] if rate is not None and not resample else None

    def forget(self) -> None:
        """Take the next record as a beginning, whatever its time."""
        self._timed = self._now = None

    def dropped(self, t: Time) -> str | None:
        """Why a record of that time is left out, as ``Counters`` names it; None: it is not. Once for each record.

        Raises InputError, and has changed nothing, for what is no time.
        """
        if t is None:
            if self._timed:
                self._strays += 1
                if self._strays < STRAYS_BELIEVED:
                    return "dropped_untimed"
            self._at = None if self._unpaced else self._index * self._untimed_period
            self._index += 1
            return None
        self._at = at = self._ticks(t)
        now = self._now
        if now is None or at > now or not self._timed or now - at > self._max_gap:
            return None
        if at == now:
            return "dropped_duplicate"
        self._strays += 1
        return "dropped_late" if self._strays < STRAYS_BELIEVED else None

    def place(self, record: Record, last: Record | None) -> tuple[bool, Iterable[Record]]:
        """Whether to reset the stream first, and the samples to step with, for a record that is not ``dropped``.

        ``last``: the one that entered before it; None: the stream begins. The samples are made one by one, and are to
        be exhausted before the next call.
        """
        before, now = self._now, self._at
        timed, was_timed = record.t is not None, self._timed
        self._now, self._timed, self._strays = now, timed, 0
        if was_timed is None:
            return self._begin(record)
        if timed is not was_timed or (now is not None and before is not None and now <= before):
            self._counters.clock_steps += 1
            return self._begin(record, reset=last is not None and self._on_gap != "continue")
        if now is None or before is None or last is None:
            return self._begin(record)
        interval = now - before
        if interval <= self._max_gap:
            if self._intervals is not None:
                self._look_at_rate(interval)
            return self._interpolated(before, now, last, record) if self._resample else (False, (record,))
        self._counters.gaps += 1
        if self._on_gap == "reset":
            return self._begin(record, reset=True)
        if self._filling is not None:
            return self._filled(before, now, last, record)
        return self._interpolated(before, now, last, record) if self._resample else (False, (record,))

    def saved(self) -> list[Any]:
        """What is remembered between two records as a value for JSON, for ``restore``."""
        ahead = self._next - self._now if self._resample and self._now is not None else None
        return [self._base, self._timed, self._now, self._index, self._strays, ahead, self._intervals]

    def restore(self, value: object) -> None:
        """Go on from a saved value. Raises StateError, and changes nothing, where it does not fit."""
        if not isinstance(value, list) or len(value) != 7:
            raise StateError("the time that was saved is damaged, expected a list of seven")
        base, timed, now, index, strays, ahead, intervals = value
        if base != self._base:
            raise StateError("the state was saved with another rate or other resampling, expected the same options")
        on_grid = self._resample and now is not None
        looking = self._intervals is not None and isinstance(intervals, list) and len(intervals) < RATE_INTERVALS
        fits = (
            (timed is None or isinstance(timed, bool))
            and (now is None or (type(now) is int and timed is not None))
            and _are_whole((index, strays), 0)
            and (_are_whole((ahead,), 1) and ahead <= self._period if on_grid else ahead is None)
            and (intervals is None or (looking and _are_whole(intervals, 1)))
        )
        if not fits:
            raise StateError("the time that was saved is damaged, expected whole numbers that fit together")
        self._timed, self._now, self._index, self._strays = timed, now, index, strays
        self._next = now + ahead if on_grid else 0
        self._intervals = None if intervals is None else list(intervals)

    def _begin(self, record: Record, *, reset: bool = False) -> tuple[bool, Iterable[Record]]:
        """A record that is a step of its own, from which the steps at the model's rate are counted."""
        if self._resample and self._now is not None:
            self._next = self._now + self._period
        return reset, (record,)

    def _interpolated(self, before: int, now: int, last: Record, record: Record) -> tuple[bool, Iterable[Record]]:
        """The steps after ``before`` until ``now``, on straight lines from sample to sample."""
        first, count = self._next, (now - self._next) // self._period + 1
        if count == 0:
            return False, ()
        if count > MAX_FILLED:
            self._counters.long_gaps += 1
            return self._begin(record, reset=True)
        self._next = first + count * self._period
        return False, self._made(
            first, count, now, record, lambda tick: _between(last, record, (tick - before) / (now - before))
        )

    def _filled(self, before: int, now: int, last: Record, record: Record) -> tuple[bool, Iterable[Record]]:
        """A gap's steps, all with the values of ``last`` or with zeros, and the record itself."""
        if self._resample:
            first, count = self._next, (now - self._next) // self._period + 1
        else:
            first, count = before + self._period, _nearest(now - before, self._period) - 1
        if count > MAX_FILLED:
            self._counters.long_gaps += 1
            return self._begin(record, reset=True)
        end = first + count * self._period
        self._counters.filled += count - (count > 0 and end - self._period == now)  # the record itself fills nothing
        held = last.x if self._filling == "hold" else (0.0,) * len(last.x)
        made = self._made(first, count, now, record, lambda tick: (held, None))
        if not self._resample:
            return False, chain(made, (record,))
        self._next = end
        return False, made

    def _made(self, first: int, count: int, now: int, record: Record, sample: _Sample) -> Iterator[Record]:
        """``count`` steps from ``first``, as records; at the time of ``record`` itself, ``now``, that one."""
        t, period = record.t, self._period
        for tick in range(first, first + count * period, period):
            if tick == now:
                yield record
                continue
            x, target = sample(tick)
            yield Record(x, self._shown(tick, t), record.key, record.place, record.end, target)

    def _ticks(self, t: float | str) -> int:
        """A time in ticks; from a number to the nearest nanosecond. Raises InputError for what is none."""
        if isinstance(t, str):
            return nanoseconds(t) * self._scale
        if not -self._max_time <= t <= self._max_time:
            raise InputError(f"the time is {shown(t)}, expected a number of at most {self._max_time} or ISO 8601")
        if type(t) is int:
            return t * self._unit_ticks
        whole = int(t)
        return (whole * self._unit + round((t - whole) * self._unit)) * self._scale

    def _shown(self, tick: int, t: Time) -> Time:
        """The time of a step that no record has, written as the input writes its time ``t``."""
        if t is None:
            return None
        if isinstance(t, str):
            return moved(t, _nearest(tick - self._ticks(t), self._scale * 1000))
        if isinstance(t, int) and (self._unit == 1 or tick % self._unit_ticks == 0):
            return _nearest(tick, self._unit_ticks)
        return tick / self._unit_ticks

    def _look_at_rate(self, interval: int) -> None:
        """Warn once where neither the mean nor the median of the first intervals is the model's.

        Lost samples spoil the mean, and samples that arrive in bursts the median.
        """
        assert self._intervals is not None and self._rate is not None
        self._intervals.append(interval)
        if len(self._intervals) < RATE_INTERVALS:
            return
        second = _SECOND * self._scale
        rates = (second * RATE_INTERVALS / sum(self._intervals), second / sorted(self._intervals)[RATE_INTERVALS // 2])
        self._intervals = None
        expected = self._rate
        found = min(rates, key=lambda rate: abs(log(rate / expected)))
        if abs(found / expected - 1) > RATE_TOLERANCE:
            self._counters.rate_mismatches += 1
            if self._counters.rate_mismatches > 1:  # of another sensor, of which there may be thousands
                return
            unit = next(name for name, length in TIME_UNITS.items() if length == self._unit)
            times = f" by its times in {unit}" if self._timed else ""
            self._warn(f"the input has {found:.4g} samples per second{times}, expected {expected:g} as the model")


_Sample = Callable[[int], tuple[Sequence[float], Sequence[float] | None]]  # values and targets at a tick


def _between(old: Record, new: Record, share: float) -> tuple[list[float], list[float] | None]:
    """Values and targets on the straight line between two samples; targets where both have finite ones."""
    x = _line(old.x, new.x, share)
    if old.target is None or new.target is None:
        return x, None
    target = _line(old.target, new.target, share)
    return x, target if all(abs(value) < inf for value in target) else None


def _line(old: Sequence[float], new: Sequence[float], share: float) -> list[float]:
    """Values between two lists of them, finite where both are."""
    rest = 1 - share
    try:
        return [a if a == b else a * rest + b * share for a, b in zip(old, new, strict=True)]
    except OverflowError:  # an integer beyond float64: the stream saturates it, and counts that
        return [_float(a) * rest + _float(b) * share for a, b in zip(old, new, strict=True)]


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return sys.float_info.max if value > 0 else -sys.float_info.max


def _nearest(over: int, under: int) -> int:
    """over / under, rounded to the nearest integer and ties up."""
    return (2 * over + under) // (2 * under)


def _are_whole(values: Iterable[object], least: int) -> bool:
    return all(type(value) is int and value >= least for value in values)
