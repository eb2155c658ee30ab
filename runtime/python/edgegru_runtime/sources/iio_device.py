"""A device of Linux' Industrial I/O in sysfs: its channels, how raw numbers become values, how a buffer lays them out.

https://www.kernel.org/doc/Documentation/ABI/testing/sysfs-bus-iio, https://docs.kernel.org/iio/iio_devbuf.html
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.samples import shortened
from edgegru_runtime.sources.source import SourceOptions
from edgegru_runtime.strict_json import shown

DEVICES = "/sys/bus/iio/devices"
TIMESTAMP = "timestamp"  # the channel that holds a scan's time in nanoseconds

_TYPE = re.compile(r"(be|le):([su])(\d{1,3})/(\d{1,3})(?:X(\d{1,3}))?(?:>>(\d{1,3}))?", re.ASCII)
_KIND = re.compile(r"([a-z]+)\d*(?:-([a-z]+)\d*)?")  # voltage0-voltage1: voltage-voltage
_NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000}


def in_unit(nanoseconds: int, unit: str) -> float:
    """A time in ``unit``: an exact integer in "ns", else a number."""
    return nanoseconds if unit == "ns" else nanoseconds / _NANOSECONDS[unit]


class ElementType(NamedTuple):
    """How a channel's numbers stand in a buffer."""

    big_endian: bool
    signed: bool
    bits: int  # that count
    storage_bits: int  # that they take
    repeat: int  # numbers of the channel, one after another
    shift: int  # to the right, before the bits that count are taken

    @property
    def size(self) -> int:
        """Bytes of the whole channel, which is aligned to as many."""
        return self.storage_bits // 8 * self.repeat


class Element(NamedTuple):
    """A channel in a buffer."""

    channel: str  # "accel_x"
    rank: int  # its _index: where it stands among the others
    type: ElementType


def parse_type(text: str) -> ElementType:
    """``[be|le]:[s|u]bits/storagebits[Xrepeat][>>shift]``. Raises InputError for anything else."""
    match = _TYPE.fullmatch(text.strip())
    if match is not None:
        order, sign, *numbers = match.groups()
        bits, storage_bits, repeat, shift = (
            int(number or default) for number, default in zip(numbers, "0010", strict=True)
        )
        if storage_bits in (8, 16, 24, 32, 64, 128) and 1 <= bits <= storage_bits - shift and repeat >= 1:
            return ElementType(order == "be", sign == "s", bits, storage_bits, repeat, shift)
    raise InputError(f"the type is {shown(text.strip())}, expected such as le:s12/16>>4")


def scan_layout(elements: Iterable[Element]) -> tuple[dict[str, int], int]:
    """The offset of each channel in a scan, and the bytes of a scan.

    In order of their ranks, each aligned to its own size; the scan to the largest, so that scans can follow each other.
    """
    offsets: dict[str, int] = {}
    end, largest = 0, 1
    for channel, _, kind in sorted(elements, key=lambda element: element.rank):
        offsets[channel] = start = -(-end // kind.size) * kind.size
        end, largest = start + kind.size, max(largest, kind.size)
    return offsets, -(-end // largest) * largest


def number_reader(kind: ElementType, start: int) -> Callable[[bytes], int]:
    """What takes the raw number at the offset ``start`` out of a scan."""
    end, order = start + kind.storage_bits // 8, "big" if kind.big_endian else "little"
    shift, mask, sign = kind.shift, (1 << kind.bits) - 1, (1 << kind.bits - 1) if kind.signed else 0
    from_bytes = int.from_bytes

    def read(scan: bytes) -> int:
        # Flipping the sign bit and taking its weight off again extends the sign; unsigned numbers have none.
        return ((from_bytes(scan[start:end], order) >> shift & mask) ^ sign) - sign  # type: ignore[arg-type]

    return read


class IioDevice:
    """A device by its folder, the folder's name ("iio:device0"), or the name that its driver gave it."""

    def __init__(self, place: str) -> None:
        self.folder = _found(place)
        try:
            self.files = frozenset(os.listdir(self.folder))
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be read: {error.strerror}") from None

    def path(self, *parts: str) -> str:
        """A file of the device."""
        return os.path.join(self.folder, *parts)

    def text(self, *parts: str) -> str:
        """What a file says, without spaces around it. Raises InputError where it cannot be read."""
        try:
            with open(self.path(*parts), encoding="ascii", errors="replace") as file:
                return file.read(4096).strip(" \n\0")
        except OSError as error:
            raise InputError(f"{self.path(*parts)}: cannot be read: {error.strerror}") from None

    def number(self, *parts: str) -> float:
        """The number in a file. Raises InputError where there is none."""
        text = self.text(*parts)
        try:
            return float(text)
        except ValueError:
            raise InputError(f"{self.path(*parts)}: holds {shown(text)}, expected a number") from None

    def attribute(self, channel: str, name: str) -> str | None:
        """The file that holds an attribute of a channel: its own, or one shared by its kind, all inputs, or all."""
        kind = _KIND.match(channel)
        shared = "" if kind is None else "-".join(filter(None, kind.groups()))
        for file in (f"in_{channel}_{name}", f"in_{shared}_{name}", f"in_{name}", name):
            if file in self.files:
                return file
        return None

    def conversion(self, channel: str) -> tuple[float, float]:
        """Offset and scale: a value in the unit of the kernel's ABI is (raw + offset) · scale."""
        offset, scale = self.attribute(channel, "offset"), self.attribute(channel, "scale")
        return 0.0 if offset is None else self.number(offset), 1.0 if scale is None else self.number(scale)


def chosen(
    config: ModelConfig, options: SourceOptions, available: Iterable[str], device: str
) -> tuple[list[str], list[str]]:
    """The device's channels in the model's order, and those that give targets.

    The former are called as the model's, or as ``options.columns`` lists them. Raises InputError where the device has
    no such channel.
    """
    there, columns = sorted(available), options.columns
    if columns and len(columns) != config.input.size:
        raise InputError(
            f"{device}: {len(columns)} columns are listed, expected {config.input.size}: "
            f"a channel of the device for each of {shortened(config.input.channels)}"
        )
    channels = [name.removeprefix("in_") for name in columns or config.input.channels]
    targets = [name.removeprefix("in_") for name in options.targets]
    missing = [name for name in (*channels, *targets) if name not in there]
    if missing:
        found = ", ".join(there) if there else "no channel that can be read so"
        raise InputError(f"{device}: has no channel {shortened(tuple(missing))}, expected of {found}")
    return channels, targets


def _found(place: str) -> str:
    if "/" in place:
        if not os.path.isdir(place):
            raise InputError(f"{place}: is not there, expected the folder of a device in {DEVICES}")
        return place
    try:
        folders = sorted(name for name in os.listdir(DEVICES) if name.startswith("iio:"))
    except OSError as error:
        raise InputError(f"{DEVICES}: cannot be read: {error.strerror}") from None
    for folder in (place, f"iio:{place}"):
        if folder in folders:
            return os.path.join(DEVICES, folder)
    names = {folder: _name(os.path.join(DEVICES, folder)) for folder in folders}
    called = [folder for folder, name in names.items() if name == place]
    if len(called) == 1:
        return os.path.join(DEVICES, called[0])
    there = ", ".join(f"{folder} ({name})" for folder, name in names.items()) or "no device"
    found = "no device is" if not called else f"{len(called)} devices are"
    raise InputError(f"{DEVICES}: {found} called {shown(place)}, expected one of {there}")


def _name(folder: str) -> str:
    try:
        with open(os.path.join(folder, "name"), encoding="utf-8", errors="replace") as file:
            return file.read(256).strip()
    except OSError:  # a device need not have a name
        return ""
