"""Samples of an Industrial I/O device that is asked for them at a steady rate through sysfs (docs/iio.md)."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from math import nan
from typing import NamedTuple

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Item, Record
from edgegru_runtime.sources.iio_device import TIMESTAMP, IioDevice, chosen, in_unit
from edgegru_runtime.sources.source import SourceOptions, Warn

_GONE = (errno.ENODEV, errno.ENXIO, errno.ENOENT)


class _Channel(NamedTuple):
    """A file that gives a channel's value."""

    file: str
    descriptor: int
    offset: float
    scale: float


class IioSource:
    """``iio:DEVICE``: every channel is read once for each sample, at ``options.rate`` or the model's.

    The k-th sample is due at start + k / rate, so that nothing adds up; samples whose time has passed are left out and
    counted by ``overflow``. A channel that cannot be read, or gives no number, is NaN in that sample.
    """

    unit = "sample"
    live = True
    keyed = False
    resumable = False

    def __init__(
        self,
        spec: str,
        config: ModelConfig,
        options: SourceOptions,
        warn: Warn,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        device = IioDevice(spec.removeprefix("iio:"))
        self.name = device.folder
        self._late = self._late_before = 0  # the second: when ``overflow`` was last asked
        self._warn, self._clock, self._time_unit = warn, clock, options.time_unit
        rate = options.rate or config.input.rate
        if rate is None:
            raise InputError(f"{self.name}: neither the model nor an option says how often to read, expected a rate")
        self._rate = rate
        self._failures: dict[str, int] = {}
        self._samples = 0
        self._scheduled = 0  # how many samples were due, the late ones too
        files = _value_files(device)
        channels, targets = chosen(config, options, files, self.name)
        self._size = len(channels)
        self._channels: list[_Channel] = []  # those of targets are the last
        try:
            for channel in (*channels, *targets):
                self._channels.append(_opened(device, channel, files[channel]))
        except InputError:
            self.close()
            raise
        self._start = self._due = clock()

    def fileno(self) -> int | None:
        """Nothing to poll: ``due`` tells."""
        return None

    def due(self) -> float | None:
        """When the next sample is."""
        return self._due

    def read(self) -> list[Item] | None:
        """The sample that is due, or nothing. Raises InputError where the device has gone."""
        now = self._clock()
        if now < self._due:
            return []
        self._scheduled += 1
        passed = int((now - self._start) * self._rate) + 1 - self._scheduled
        if passed > 0:
            self._late += passed
            self._scheduled += passed
        self._due = self._start + self._scheduled / self._rate
        self._samples += 1
        t = in_unit(time.time_ns() // 1000 * 1000, self._time_unit)
        values, size = [self._value(channel) for channel in self._channels], self._size
        return [Record(values[:size], t, "", self._samples, 0, values[size:] or None)]

    def _value(self, channel: _Channel) -> float:
        try:
            return (float(os.pread(channel.descriptor, 64, 0)) + channel.offset) * channel.scale
        except OSError as error:
            if error.errno in _GONE:
                raise InputError(f"{self.name}: {channel.file} has gone: {error.strerror}") from None
            reason = error.strerror
        except ValueError:
            reason = "is no number"
        if channel.file not in self._failures:
            self._failures[channel.file] = 0
            self._warn(f"{self.name}: {channel.file} cannot be read and is NaN meanwhile: {reason}")
        self._failures[channel.file] += 1
        return nan

    def overflow(self) -> int:
        """Samples that were late and left out since this was last asked."""
        late, self._late_before = self._late - self._late_before, self._late
        return late

    def resume(self, end: int, place: int) -> None:
        """A sensor cannot go back."""
        raise InputError(f"{self.name}: is a sensor and cannot be read again")

    def close(self) -> None:
        """Close the files, and say what was missed."""
        for channel in self._channels:
            os.close(channel.descriptor)
        self._channels = []
        if self._samples and (self._late or self._failures):
            failures = "".join(f"; {count} readings of {file} failed" for file, count in self._failures.items())
            self._warn(f"{self.name}: {self._late} samples of {self._scheduled} were late and left out{failures}")
            self._samples = 0


def _value_files(device: IioDevice) -> dict[str, str]:
    """The file of each channel: raw numbers, or values that the driver has converted."""
    files = {}
    for ending in ("_input", "_raw"):  # where there are both, raw ones
        for file in device.files:
            if file.startswith("in_") and file.endswith(ending):
                files[file.removeprefix("in_").removesuffix(ending)] = file
    files.pop(TIMESTAMP, None)
    return files


def _opened(device: IioDevice, channel: str, file: str) -> _Channel:
    offset, scale = device.conversion(channel) if file.endswith("_raw") else (0.0, 1.0)
    try:
        return _Channel(file, os.open(device.path(file), os.O_RDONLY | os.O_CLOEXEC), offset, scale)
    except OSError as error:
        raise InputError(f"{device.path(file)}: cannot be read: {error.strerror}") from None
