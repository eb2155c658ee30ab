"""What every source of samples can do, and what all of them are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from edgegru_runtime.plain_data import dataclass
from edgegru_runtime.record import Item, Record

TEXT_FORMATS = ("auto", "csv", "jsonl")
RAW_FORMATS = ("s16le", "f32le")
STEADY_FORMATS = (*RAW_FORMATS, "wav")  # binary numbers at a steady rate
FORMATS = (*TEXT_FORMATS, *STEADY_FORMATS, "text")
CHUNK_BYTES = 2**14  # what comes of them stays in a processor's cache

Warn = Callable[[str], None]  # takes one sentence for whoever watches the run


class PipeJournal(Protocol):
    """What is taken from a pipe, noted where it outlives the process (``SessionFile``)."""

    def pipe(self, pipe: int) -> int:
        """This pipe is read; how many bytes of its next record the process before had read."""

    def receive(self, descriptor: int, size: int) -> bytes:
        """Read from it."""

    def hold(self, held: int) -> None:
        """So many bytes of an unfinished record were read."""


@dataclass(frozen=True)
class SourceOptions:
    """How to read the input; what does not apply to a kind of input is refused by ``open_source``."""

    format: str = "auto"  # one of FORMATS
    columns: tuple[str, ...] = ()  # of CSV without a header, or of IIO
    channels: int | None = None  # of a raw sample; None: the model's
    streams: int = 1  # sensors in a raw frame
    scale: float = 1.0  # raw numbers are multiplied by it
    streams_by: str | None = None  # the column or field that names the sensor
    targets: tuple[str, ...] = ()  # columns or fields with measured values of what the model predicts
    rate: float | None = None  # samples per second, for replaying records that have no time
    samples_at_once: int = 1  # of binary numbers: handed out in blocks of as many samples
    chunk: int = CHUNK_BYTES  # bytes read at once; 1: nothing behind a record is taken before the next read()
    replay_speed: float | None = None  # of a file: N times as fast as it was recorded; None: as fast as possible
    stamp: bool = False  # records without a time get the time of their arrival
    time_unit: str = "s"  # of times that are numbers: "s", "ms", "us" or "ns"
    journal: PipeJournal | None = None  # of a pipe


class Source(Protocol):
    """Samples as they arrive, waited for by the caller: in poll() on ``fileno``, or until ``due``."""

    @property
    def name(self) -> str:
        """As errors name it: "standard input", "log.csv", "serial /dev/ttyACM0"."""

    @property
    def unit(self) -> str:
        """What ``place`` counts: "line", "frame", "message" or "sample"."""

    @property
    def live(self) -> bool:
        """Whether it is a sensor or a peer, whose bad lines should not end the run."""

    @property
    def keyed(self) -> bool:
        """Whether it brings the samples of several sensors, by ``Record.key`` or in frames."""

    @property
    def resumable(self) -> bool:
        """Whether it is a regular file, which can be read again from a byte offset."""

    def fileno(self) -> int | None:
        """What to poll for reading, asked anew before each wait; None: only ``due`` tells."""

    def due(self) -> float | None:
        """The time.monotonic() at which ``read`` has something to do though no descriptor says so; None: never."""

    def read(self) -> list[Item] | None:
        """What is there now, maybe nothing; None once the input has ended. Never blocks.

        Raises InputError, naming the input, where it cannot be read at all.
        """

    def overflow(self) -> int:
        """Records that were lost since this was last asked, because they arrived faster than they were read."""

    def resume(self, end: int, place: int) -> None:
        """Before the first ``read``: continue behind the item with this ``end`` and ``place``.

        Raises InputError where the input is not ``resumable``, or is not the one that item came from.
        """

    def close(self) -> None:
        """Give back what is open; once is enough, twice does no harm."""


def stamped(items: Sequence[Item], unit: str) -> list[Item]:
    """The items that arrived together, records without a time with the time of now since 1970 in ``unit``.

    They are a microsecond apart, so that each is later than the one before it.
    """
    found: list[Item] = []
    microseconds = time.time_ns() // 1000
    for item in items:
        if isinstance(item, Record) and item.t is None:
            stamps = {"s": microseconds / 1e6, "ms": microseconds / 1e3, "us": microseconds, "ns": 1000 * microseconds}
            item = item._replace(t=stamps[unit])
            microseconds += 1
        found.append(item)
    return found


class Absence:
    """A device or a peer that comes and goes: told once when it is lost and once when it is back."""

    def __init__(self, name: str, warn: Warn) -> None:
        self._name, self._warn, self._waits = name, warn, Waits()
        self._told = False

    def lost(self, reason: str) -> float:
        """The time.monotonic() of the next attempt to find it."""
        if not self._told:
            self._told = True
            self._warn(f"{self._name}: is not there ({reason}) and is waited for")
        return self._waits.after_failure()

    def found(self) -> None:
        """It has sent something."""
        self._waits.worked()
        if self._told:
            self._told = False
            self._warn(f"{self._name}: is there again")


class Waits:
    """How long to wait before trying again what failed: longer each time, up to ten seconds."""

    FIRST, LONGEST = 0.1, 10.0  # seconds

    def __init__(self) -> None:
        self._next = self.FIRST

    def after_failure(self) -> float:
        """The time.monotonic() of the next attempt."""
        wait, self._next = self._next, min(2 * self._next, self.LONGEST)
        return time.monotonic() + wait

    def worked(self) -> None:
        """The next failure is a first one again."""
        self._next = self.FIRST
