"""A stream's input under conditions: what each record asks of the stream, and what is counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edgegru_runtime.conditioning import Conditioning, Conditions
from edgegru_runtime.counters import Counters
from edgegru_runtime.model_config import InputConfig
from edgegru_runtime.record import Record, Time

Taken = tuple[bool, list[Record]]


class Conditioned:
    """Records of ``size`` channels for a model of that rate, under ``Conditions``."""

    def __init__(self, rate: float | None = 10.0, size: int = 1, /, **conditions: Any) -> None:
        self.counters = Counters()
        self.warnings: list[str] = []
        names = tuple(f"c{index}" for index in range(size))
        self.conditioning = Conditioning(
            InputConfig(size, names, ("",) * size, rate),
            Conditions(**conditions),
            self.counters,
            self.warnings.append,
        )

    def take(self, record: Record) -> Taken:
        self.counters.read += 1
        reset, samples = self.conditioning.take(record)
        taken = list(samples)
        self.counters.resets += reset
        self.counters.steps += len(taken)
        return reset, taken

    def times(self, times: Iterable[Time]) -> list[list[Time]]:
        """The times of the steps that each record gives, "reset" before them where the stream is reset."""
        found: list[list[Time]] = []
        for place, t in enumerate(times, 1):
            reset, samples = self.take(Record([float(place)], t, place=place))
            found.append((["reset"] if reset else []) + [sample.t for sample in samples])
        return found

    def values(self, values: Iterable[float | Sequence[float]], period: float | None = None) -> list[list[list[float]]]:
        """The values of the steps that each record gives, of records without time or this many seconds apart."""
        found = []
        for place, value in enumerate(values):
            x = [value] if isinstance(value, (int, float)) else value
            record = Record(x, None if period is None else place * period)
            found.append([list(sample.x) for sample in self.take(record)[1]])
        return found

    @property
    def counted(self) -> dict[str, int]:
        """What was counted and is not zero, besides steps, resets and records read."""
        usual = ("read", "steps", "resets")
        return {name: count for name, count in self.counters.to_dict().items() if count and name not in usual}
