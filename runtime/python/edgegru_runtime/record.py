"""What a source gives: samples, lines that are none, and messages that steer the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Time = float | str | None  # as the input writes it: a number or ISO 8601; None where it has none


class Record(NamedTuple):
    """One sample of one sensor."""

    x: Sequence[float]  # in the order of the model's channels; NaN and infinities are for conditioning to look at
    t: Time = None
    key: str = ""  # the sensor's name, where one process serves many
    place: int = 0  # its line, frame or message, counted from 1, for errors
    end: int = 0  # bytes of the input up to and with this record, where the input is a file
    target: Sequence[float] | None = None  # measured values of what the model predicts, for residuals


class Refusal(NamedTuple):
    """What arrived in place of a record and is none."""

    reason: str  # found and expected, to stand behind the name of the input and the place
    place: int = 0
    end: int = 0


class Control(NamedTuple):
    """A message in the input that is no sample: "reset" a sensor's stream, or "dump" the counters."""

    action: str
    key: str | None = None  # None: all sensors
    place: int = 0
    end: int = 0


class Frame(NamedTuple):
    """A sample of each of n sensors, whose names are "0", "1", …."""

    xs: memoryview  # float32 (n, input_size)
    place: int = 0
    end: int = 0


class Block(NamedTuple):
    """Samples of one sensor in a row, at most those of a step; all are finite, and nobody looks at them one by one."""

    xs: memoryview[float]  # or int16; the numbers of one sample behind those of another
    samples: int
    place: int = 0  # of the last one
    end: int = 0
    rate: float | None = None  # samples in a unit of time, from the first one of the input; None: they have no times

    def sample(self, number: int) -> Record:
        """One of them, counted from 0."""
        size = len(self.xs) // self.samples
        place = self.place - self.samples + 1 + number
        t = None if self.rate is None else time_of(place, self.rate)
        return Record(self.xs[number * size : (number + 1) * size], t, "", place)


class Word(NamedTuple):
    """A word that is several tokens: all of them or none are behind what was read, so that none is taken twice."""

    records: tuple[Record, ...]
    place: int = 0
    end: int = 0


class Mark(NamedTuple):
    """What there is in a text besides tokens: the end of a "recording", or bytes that are "malformed"."""

    what: str
    place: int = 0
    end: int = 0


Item = Record | Refusal | Control | Frame | Block | Word | Mark


def time_of(place: int, rate: float) -> float:
    """The time of the sample at ``place``, counted from 1, where the first one is at 0."""
    return (place - 1) / rate
