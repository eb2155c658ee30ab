"""Between a record and the stream: values that are no numbers, times that are late, missing samples, other rates.

``Conditioning.take`` says what the stream has to do for a record; it steps nothing itself (docs/time-and-gaps.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf, isfinite

from edgegru_runtime.counters import Counters
from edgegru_runtime.errors import InputError, StateError
from edgegru_runtime.model_config import InputConfig
from edgegru_runtime.plain_data import dataclass
from edgegru_runtime.record import Record
from edgegru_runtime.samples import read_sample
from edgegru_runtime.timeline import TIME_UNITS, Timeline

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from typing import Any

ON_NAN = ("error", "hold", "zero", "skip", "reset")
ON_GAP = ("reset", "hold", "zero", "continue")


@dataclass(frozen=True)
class Conditions:
    """What is done about the time and the values of records; the default does nothing. Seconds and hertz.

    Times are looked at where ``max_gap``, ``resample``, ``rate`` or ``time_unit`` is given. Raises InputError for
    values that do not fit together.
    """

    on_nan: str = "error"  # one of ON_NAN
    max_gap: float | None = None  # two times further apart are a gap
    on_gap: str | None = None  # one of ON_GAP; None with max_gap: reset
    resample: bool = False  # to the model's rate, linearly
    rate: float | None = None  # of records that have no time; None: the model's
    time_unit: str | None = None  # of times that are numbers, one of TIME_UNITS; None: s

    def __post_init__(self) -> None:
        for name, value, known in (
            ("on_nan", self.on_nan, ON_NAN),
            ("on_gap", self.on_gap or "reset", ON_GAP),
            ("time_unit", self.time_unit or "s", tuple(TIME_UNITS)),
        ):
            if value not in known:
                raise InputError(f"{name} is {value!r}, expected {', '.join(known[:-1])} or {known[-1]}")
        for name, number in (("max_gap", self.max_gap), ("rate", self.rate)):
            if number is not None and not 1e-9 <= number <= 1e9:
                raise InputError(f"{name} is {number}, expected a number from 1e-9 to 1e9")
        if self.on_gap is not None and self.max_gap is None:
            raise InputError(f"on_gap is {self.on_gap!r} without max_gap, expected the seconds that make a gap")

    @property
    def timed(self) -> bool:
        """Whether the times of records are looked at."""
        return self.max_gap is not None or self.resample or self.rate is not None or self.time_unit is not None

    def at_steady_rate(self, rate: float | None) -> Conditions:
        """What is left to do about samples that come at the model's ``rate`` by themselves, such as sound."""
        if self.resample or self.max_gap is not None or self.rate not in (None, rate):
            return self
        return Conditions(on_nan=self.on_nan)

    @property
    def trivial(self) -> bool:
        """Whether every record with finite values is a step and nothing else, so that nobody needs to ask."""
        return self.on_nan == "error" and not self.timed


class Conditioning:
    """Conditions at work on the records of one stream, in the order in which they arrive.

    ``warn`` is called with a sentence where the input is not at the model's rate, once for all that share ``counters``.
    Raises InputError where the conditions need a rate that the model does not declare, or do not fit it.
    """

    def __init__(
        self, input: InputConfig, conditions: Conditions, counters: Counters, warn: Callable[[str], None]
    ) -> None:
        self.trivial = conditions.trivial
        self._channels = input.channels
        self._on_nan = conditions.on_nan
        self._counters = counters
        self._last: Record | None = None  # the newest that entered the stream; None: the stream begins
        self._timeline: Timeline | None = None
        if conditions.timed:
            self._timeline = Timeline(
                input.rate,
                counters,
                warn,
                unit=conditions.time_unit or "s",
                untimed_rate=conditions.rate,
                max_gap=conditions.max_gap,
                on_gap=conditions.on_gap or "reset",
                resample=conditions.resample,
            )

    def take(self, record: Record) -> tuple[bool, Iterable[Record]]:
        """What the stream has to do: whether to reset first, and the samples to step with, none where it is left out.

        Exhaust the samples before the next call: where many are missing they are made one by one. Counts what became
        of the record, but neither ``read`` nor resets nor steps. Raises InputError, and has counted and changed
        nothing, where a value is not finite (on_nan "error") or the time is no time.
        """
        fate = None
        if not _are_finite(record.x):
            fate = self._fate_of_bad_values(record)
        timeline = self._timeline
        if timeline is not None:
            dropped = timeline.dropped(record.t)
            if dropped is not None:
                self._counters.count(dropped)
                return False, ()
        if fate is not None:
            return self._take_repaired(record, fate)
        last, self._last = self._last, record
        self._counters.processed += 1
        return (False, (record,)) if timeline is None else timeline.place(record, last)

    def forget(self) -> None:
        """The stream was reset from outside: what comes is a beginning, whatever its time."""
        self._last = None
        if self._timeline is not None:
            self._timeline.forget()

    def saved(self) -> list[Any]:
        """What is remembered between two records as a value for JSON, for ``restore``."""
        last = None
        if self._last is not None:
            target = self._last.target
            last = [list(self._last.x), list(target) if target is not None and _are_finite(target) else None]
        return [last, None if self._timeline is None else self._timeline.saved()]

    def restore(self, value: object) -> None:
        """Go on from a saved value. Raises StateError, and changes nothing, where it does not fit these conditions."""
        if not isinstance(value, list) or len(value) != 2:
            raise StateError("what was saved of the input is damaged, expected a list of two")
        last, times = value
        if last is not None and not _is_saved_sample(last, len(self._channels)):
            raise StateError(f"the last sample saved is damaged, expected {len(self._channels)} finite numbers")
        if (times is None) != (self._timeline is None):
            looked = "were not" if times is None else "were"
            raise StateError(f"the times of records {looked} looked at when the state was saved, expected the same now")
        if self._timeline is not None:
            self._timeline.restore(times)
        self._last = None if last is None else Record(last[0], target=last[1])

    def _fate_of_bad_values(self, record: Record) -> str:
        if self._on_nan == "error":
            read_sample(record.x, self._channels)  # raises, and says which value it is
        if self._on_nan == "zero":
            return "zeroed"
        return "held" if self._on_nan == "hold" and self._last is not None else "skipped"

    def _take_repaired(self, record: Record, fate: str) -> tuple[bool, Iterable[Record]]:
        last = self._last
        if fate == "skipped":
            self._counters.skipped += 1
            if self._on_nan == "reset":
                self._last = None
            return self._on_nan == "reset", ()
        instead = last.x if fate == "held" and last is not None else (0.0,) * len(record.x)
        values = [new if abs(new) < inf else old for new, old in zip(record.x, instead, strict=True)]
        repaired = record._replace(x=values)
        reset = False
        samples: Iterable[Record] = (repaired,)
        if self._timeline is not None:
            reset, samples = self._timeline.place(repaired, last)
        if reset and fate == "held":  # the stream begins with this record: there is nothing that it could repeat
            self._last = None
            self._counters.skipped += 1
            return True, ()
        self._last = repaired
        self._counters.count(fate)
        return reset, samples


def _are_finite(values: Sequence[float]) -> bool:
    try:
        if isfinite(sum(values)):  # one look for all of them
            return True
    except OverflowError:  # an integer beyond float64 is finite
        pass
    return all(abs(value) < inf for value in values)


def _is_saved_sample(value: object, size: int) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    x, target = value
    return _are_numbers(x) and len(x) == size and (target is None or _are_numbers(target))


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and all(type(v) in (int, float) for v in values) and _are_finite(values)
