"""Samples as binary numbers, without anything between them: s16le (int16) and f32le (float32), little-endian."""

from __future__ import annotations

import sys
from array import array
from typing import Any

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Frame, Item, Record, Refusal
from edgegru_runtime.sources.source import SourceOptions

_TYPES = {"s16le": "h", "f32le": "f"}


class RawReader:
    """Frames of one sample for each of ``options.streams`` sensors, a number for each channel.

    A frame of one sensor is a Record, of several a Frame; float32 that need no scaling are not touched one by one.
    Raises InputError where the number of channels is not the model's.
    """

    unit = "frame"
    known = True

    def __init__(self, config: ModelConfig, options: SourceOptions) -> None:
        channels = config.input.size
        if options.channels not in (None, channels):
            raise InputError(f"the input has {options.channels} channels, expected {channels} as in the model")
        self.place = 0
        self._channels, self._streams, self._scale = channels, options.streams, options.scale
        self._type = _TYPES[options.format]
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
        numbers = self._numbers(memoryview(data)[: count * size])
        items = self._records(numbers, count) if self._streams == 1 else self._frames(numbers, count)
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

    def _records(self, numbers: memoryview[float], count: int) -> list[Item]:
        values, size, step = numbers.tolist(), self._channels, self._sample_bytes
        first, end, new = self.place + 1, self._end, tuple.__new__
        return [
            new(Record, (values[at * size : (at + 1) * size], None, "", first + at, end + (at + 1) * step, None))
            for at in range(count)
        ]

    def _frames(self, numbers: memoryview[float], count: int) -> list[Item]:
        rows: Any = numbers.cast("B").cast("f", (count * self._streams, self._channels))
        first, end = self.place + 1, self._end
        return [
            Frame(rows[at * self._streams : (at + 1) * self._streams], first + at, end + (at + 1) * self._frame_bytes)
            for at in range(count)
        ]
