"""Samples that an Industrial I/O device has captured into its buffer (docs/iio.md)."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from math import ceil

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Item, Record
from edgegru_runtime.sources.iio_device import (
    TIMESTAMP,
    Element,
    IioDevice,
    chosen,
    in_unit,
    number_reader,
    parse_type,
    scan_layout,
)
from edgegru_runtime.sources.source import SourceOptions, Warn

SCANS_AT_ONCE = 256
_LEAST_LENGTH = 128  # scans that a buffer holds at least, and two seconds of them
_RATE_TOLERANCE = 0.05


class IioBufferSource:
    """``iio-buffer:DEVICE[?device=/dev/iio:deviceN]``: scans as the device's trigger captured them.

    Channels that are needed are enabled, the time too, the buffer is made long enough and enabled; ``close`` puts back
    what was there. Raises InputError where that is not permitted and not already so.
    """

    unit = "sample"
    live = True
    keyed = False
    resumable = False

    def __init__(self, spec: str, config: ModelConfig, options: SourceOptions, warn: Warn) -> None:
        place, _, query = spec.removeprefix("iio-buffer:").partition("?")
        device = IioDevice(place)
        self.name = _character_device(device, query)
        self._time_unit = options.time_unit
        self._scans_at_once = 1 if options.chunk == 1 else SCANS_AT_ONCE
        self._rest = b""
        self._scans = 0
        self._changed: list[tuple[str, str]] = []  # files, and what they held
        buffer = _Buffer(device)
        values = _value_places(buffer)
        channels, targets = chosen(config, options, values, self.name)
        needed = {values[channel][0] for channel in (*channels, *targets)}
        rate = options.rate or config.input.rate
        _compare_rates(device, channels[0], rate, self.name, warn)
        self._descriptor = _opened(self.name)
        try:
            self._set_up(buffer, needed | buffer.elements.keys() & {TIMESTAMP}, rate)
            enabled = {name: element for name, element in buffer.elements.items() if buffer.enabled(name)}
            offsets, self._scan_bytes = scan_layout(enabled.values())
            self._values, self._targets = (
                [
                    _value_reader(device, enabled[name], offsets[name], place)
                    for name, place in (values[channel] for channel in some)
                ]
                for some in (channels, targets)
            )
            self._time: Callable[[bytes], int] | None = None
            if TIMESTAMP in enabled:
                self._time = number_reader(enabled[TIMESTAMP].type, offsets[TIMESTAMP])
        except InputError:
            self.close()
            raise

    def _set_up(self, buffer: _Buffer, wanted: set[str], rate: float | None) -> None:
        missing = sorted(name for name in wanted if not buffer.enabled(name))
        running = buffer.text("enable") != "0"
        if running and not missing:  # somebody has prepared it for us
            return
        length = max(_LEAST_LENGTH, ceil(2 * (rate or 0)))
        if running:
            self._change(buffer.path("enable"), "1", "0")
        for name in missing:
            self._change(buffer.enable_path(name), "0", "1")
        before = buffer.text("length")
        if not before.isdigit() or int(before) < length:
            self._change(buffer.path("length"), before, str(length))
        if buffer.lacks_trigger():
            raise InputError(f"{self.name}: has no trigger, expected the name of one in trigger/current_trigger")
        self._change(buffer.path("enable"), "0", "1")

    def _change(self, path: str, before: str, after: str) -> None:
        _write(path, after)
        self._changed.append((path, before))

    def fileno(self) -> int | None:
        """The device, which is readable once it has captured something."""
        return self._descriptor

    def due(self) -> float | None:
        """Only the device tells."""
        return None

    def read(self) -> list[Item] | None:
        """The scans that are there. Raises InputError where the device has gone."""
        try:
            data = os.read(self._descriptor, self._scan_bytes * self._scans_at_once - len(self._rest))
        except BlockingIOError:
            return []
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error.strerror}") from None
        if not data:
            return None
        data = self._rest + data
        size = self._scan_bytes
        whole = len(data) // size * size
        self._rest = data[whole:]
        items: list[Item] = []
        for start in range(0, whole, size):
            scan = data[start : start + size]
            t = None if self._time is None else in_unit(self._time(scan), self._time_unit)
            self._scans += 1
            x, target = [value(scan) for value in self._values], [value(scan) for value in self._targets]
            items.append(Record(x, t, "", self._scans, 0, target or None))
        return items

    def overflow(self) -> int:
        """What a full buffer has lost, the kernel does not say; times have gaps there."""
        return 0

    def resume(self, end: int, place: int) -> None:
        """A sensor cannot go back."""
        raise InputError(f"{self.name}: is a sensor and cannot be read again")

    def close(self) -> None:
        """Close the device and put its settings back, the last one first."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        while self._changed:
            with suppress(InputError):  # the device may have gone
                _write(*self._changed.pop())


class _Buffer:
    """The settings of a device's first buffer, which before Linux 5.11 were in ``buffer`` and ``scan_elements``."""

    def __init__(self, device: IioDevice) -> None:
        self._device = device
        new = os.path.isdir(device.path("buffer0"))
        self._folder, self._elements_folder = ("buffer0", "buffer0") if new else ("buffer", "scan_elements")
        try:
            files = os.listdir(device.path(self._elements_folder))
        except OSError:
            raise InputError(
                f"{device.folder}: has no buffer, expected a device that captures, or iio:{device.folder} to poll it"
            ) from None
        self.elements: dict[str, Element] = {}
        for file in files:
            if file.startswith("in_") and file.endswith("_en"):
                name = file.removeprefix("in_").removesuffix("_en")
                self.elements[name] = self._element(name)

    def _element(self, name: str) -> Element:
        stem = f"in_{name}"
        index = self._device.text(self._elements_folder, f"{stem}_index")
        if not index.isdecimal():
            raise InputError(f"{self._device.path(self._elements_folder, stem)}_index: expected a number")
        try:
            kind = parse_type(self._device.text(self._elements_folder, f"{stem}_type"))
        except InputError as error:
            raise InputError(f"{self._device.path(self._elements_folder, stem)}_type: {error}") from None
        return Element(name, int(index), kind)

    def path(self, name: str) -> str:
        """A file of the buffer itself."""
        return self._device.path(self._folder, name)

    def text(self, name: str) -> str:
        """What it says."""
        return self._device.text(self._folder, name)

    def lacks_trigger(self) -> bool:
        """Whether the device waits for a trigger and has none."""
        path = ("trigger", "current_trigger")
        return os.path.exists(self._device.path(*path)) and not self._device.text(*path)

    def enable_path(self, channel: str) -> str:
        """The file that lets a channel into the buffer."""
        return self._device.path(self._elements_folder, f"in_{channel}_en")

    def enabled(self, channel: str) -> bool:
        """Whether it is let in."""
        return self._device.text(self._elements_folder, f"in_{channel}_en") != "0"


def _value_places(buffer: _Buffer) -> dict[str, tuple[str, int]]:
    """The values of a buffer: channel and place in it. Of a channel that repeats they are called NAME_0, NAME_1, …."""
    places = {}
    for name, element in buffer.elements.items():
        if name == TIMESTAMP:
            continue
        for place in range(element.type.repeat):
            places[name if element.type.repeat == 1 else f"{name}_{place}"] = (name, place)
    return places


def _value_reader(device: IioDevice, element: Element, start: int, place: int) -> Callable[[bytes], float]:
    offset, scale = device.conversion(element.channel)
    number = number_reader(element.type, start + place * element.type.storage_bits // 8)
    return lambda scan: (number(scan) + offset) * scale


def _compare_rates(device: IioDevice, channel: str, rate: float | None, name: str, warn: Warn) -> None:
    """A buffer is filled at the device's own rate, or its trigger's."""
    file = device.attribute(channel, "sampling_frequency")
    if file is None or rate is None:
        return
    try:
        found = device.number(file)
    except InputError:  # nothing that a run should end for
        return
    if abs(found - rate) > _RATE_TOLERANCE * rate:
        warn(f"{name}: {file} is {found:g} Hz, expected {rate:g} Hz as the model's")


def _character_device(device: IioDevice, query: str) -> str:
    if not query:
        return os.path.join("/dev", os.path.basename(os.path.normpath(device.folder)))
    name, _, path = query.partition("=")
    if name != "device" or not path:
        raise InputError(f"iio-buffer:{device.folder}?{query}: expected ?device=/dev/iio:deviceN or nothing behind it")
    return path


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from None


def _write(path: str, value: str) -> None:
    try:
        with open(path, "wb", buffering=0) as file:
            file.write(value.encode())
    except OSError as error:
        raise InputError(
            f"{path}: {value} cannot be written: {error.strerror}; expected permission, or a buffer that already runs"
        ) from None
