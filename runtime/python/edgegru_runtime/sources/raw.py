"""Samples as binary numbers, without anything between them: s16le (int16) and f32le (float32), little-endian."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from itertools import repeat
from math import isfinite
from typing import Any

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Block, Frame, Item, Record, Refusal, Time, time_of
from edgegru_runtime.sources.source import SourceOptions

_TYPES = {"s16le": "h", "f32le": "f"}


class RawReader:
    """Frames of one sample for each of ``options.streams`` sensors, a number for each channel.

    A frame of one sensor is a Record, of several a Frame; float32 that need no scaling are not touched one by one.
    With ``options.samples_at_once`` those of one sensor come in Blocks, but for some that are not finite. ``rate``:
    samples in a unit of time, where they have times. Raises InputError where the number of channels is not the model's.
    """

    unit = "frame"
    known = True

    def __init__(self, config: ModelConfig, options: SourceOptions, rate: float | None = None) -> None:
        channels = config.input.size
        if options.channels not in (None, channels):
            raise InputError(f"the input has {options.channels} channels, expected {channels} as in the model")
        self.place = 0
        self._channels, self._streams, self._scale = channels, options.streams, options.scale
        self._type, self._rate, self._at_once = _TYPES[options.format], rate, options.samples_at_once
        self._sample_bytes = channels * array(self._type).itemsize
        self._frame_bytes = self._streams * self._sample_bytes
        self._end = 0
        self._rest = bytearray()  # of a frame that has not ended
        self._lost = 0  # bytes to come of a frame whose beginning is lost

    def feed(self, data: bytes) -> list[Item]:
        if self._lost:
            self._lost, data = max(0, self._lost - len(data)), data[self._lost :]
        size = self._frame_bytes
        if len(self._rest) + len(data) < size:
            self._rest += data
            return []
        if self._rest:
            data = bytes(self._rest + data)
        count = len(data) // size
        self._rest = bytearray(data[count * size :])
        frames = memoryview(data)[: count * size]
        if self._streams > 1:
            items = self._frames(self._numbers(frames), count)
        elif self._at_once > 1:
            items = self._blocks(frames, count)
        else:
            items = self._records(self._numbers(frames), self.place, self._end)
        self.place += count
        self._end += count * size
        return items

    def finish(self, *, complete: bool) -> list[Item]:
        if not self._rest:
            return []
        self.place += 1
        self._end += len(self._rest)
        reason = f"the input ends {len(self._rest)} bytes into a frame, expected {self._frame_bytes}"
        self._rest.clear()
        return [Refusal(reason, self.place, self._end)]

    def missing(self) -> int:
        return self._lost or self._frame_bytes - len(self._rest)

    def held(self) -> int:
        return len(self._rest)

    def joined(self, held: int) -> None:
        self._lost = max(0, self._frame_bytes - held)

    def reconnected(self) -> None:
        """The first frame begins at the first byte."""

    def resumed(self, end: int, place: int) -> None:
        self._rest.clear()
        self._end, self.place = end, place

    def _numbers(self, data: memoryview) -> memoryview[float]:
        """The numbers in whole frames: float32 where they were, all else as float32 of its own."""
        if self._type == "f" and self._scale == 1.0 and sys.byteorder == "little":
            return data.cast("f")
        numbers = array(self._type, data.tobytes())
        if sys.byteorder == "big":
            numbers.byteswap()
        scale = self._scale
        return memoryview(array("f", numbers if scale == 1.0 else [scale * number for number in numbers]))

    def _records(self, numbers: memoryview[float], place: int, end: int) -> list[Item]:
        """Samples that follow on ``place`` and ``end``."""
        values, size, step, new, rate = numbers.tolist(), self._channels, self._sample_bytes, tuple.__new__, self._rate
        samples = [values[at : at + size] for at in range(0, len(values), size)]
        places = range(place + 1, place + 1 + len(samples))
        ends = range(end + step, end + step + step * len(samples), step)
        times: Iterable[Time] = repeat(None) if rate is None else [time_of(place, rate) for place in places]
        rows = zip(samples, times, repeat(""), places, ends, repeat(None))
        return [new(Record, row) for row in rows]

    def _blocks(self, frames: memoryview, count: int) -> list[Item]:
        """Cut where a step of a stream that took every sample of the input is whole."""
        plain = sys.byteorder == "little" and self._scale == 1.0
        numbers = frames.cast(self._type) if plain else self._numbers(frames)  # type: ignore[call-overload]  # h or f
        items: list[Item] = []
        place, last, size = self.place, self.place + count, self._channels
        while place < last:
            samples = min(self._at_once - place % self._at_once, last - place)
            before = place - self.place
            xs: Any = numbers[before * size : (before + samples) * size]
            end = self._end + before * self._sample_bytes
            if numbers.format == "h" or isfinite(sum(xs)):
                items.append(Block(xs, samples, place + samples, end + samples * self._sample_bytes, self._rate))
            else:
                items += self._records(xs, place, end)
            place += samples
        return items

    def _frames(self, numbers: memoryview[float], count: int) -> list[Item]:
        rows: Any = numbers.cast("B").cast("f", (count * self._streams, self._channels))
        first, end = self.place + 1, self._end
        return [
            Frame(rows[at * self._streams : (at + 1) * self._streams], first + at, end + (at + 1) * self._frame_bytes)
            for at in range(count)
        ]
