"""Samples that a microcontroller writes to a serial line as text, one line each."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress

from edgegru_runtime.errors import EngineError, InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Item
from edgegru_runtime.sources.reader import Intake
from edgegru_runtime.sources.source import Absence, SourceOptions, Warn

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from typing import Any

DEFAULT_BAUD = 115200
_NOT_THERE = (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EIO)  # yet, or no longer


class SerialSource:
    """The device of ``serial:DEVICE[:BAUD]``, which is waited for when it is not there, and opened again after it left.

    Raises EngineError without pyserial, InputError where the device cannot be a serial line or may not be opened.
    """

    unit = "line"
    live = True
    resumable = False

    def __init__(self, spec: str, config: ModelConfig, options: SourceOptions, warn: Warn) -> None:
        try:
            import serial  # type: ignore[import-untyped]
        except ImportError:
            raise EngineError('a serial line needs pyserial: pip install "edgegru-runtime[serial]"') from None
        self._serial = serial
        self._device, self._baud = _device_and_baud(spec)
        self.name = f"serial {self._device}"
        self._absence = Absence(self.name, warn)
        self._intake = Intake(config, options, joins=True)
        self._port: Any = None
        self.keyed = options.streams_by is not None
        self._due = 0.0  # of the next attempt
        self._open(first=True)

    def fileno(self) -> int | None:
        return None if self._port is None else int(self._port.fileno())

    def due(self) -> float | None:
        return self._due if self._port is None else None

    def overflow(self) -> int:
        return 0

    def read(self) -> list[Item] | None:
        if self._port is None:
            if time.monotonic() >= self._due:
                self._open(first=False)
            return []
        try:
            return self._intake.take(self._receive)
        except InputError as error:
            raise InputError(f"{self.name}, line {self._intake.reader.place}: {error}") from None
        except OSError as error:  # pyserial's are such
            self._lost(_reason(error))
            items = self._intake.finish(complete=False)
            self._intake.reader.reconnected()
            return items

    def resume(self, end: int, place: int) -> None:
        raise InputError(f"{self.name}: cannot be read from byte {end}, expected a regular file")

    def close(self) -> None:
        if self._port is not None:
            with suppress(OSError):
                self._port.close()
            self._port = None

    def _open(self, *, first: bool) -> None:
        try:
            self._port = self._serial.Serial(self._device, self._baud, timeout=0, exclusive=True)
        except ValueError:
            raise InputError(f"{self.name}: {self._baud} baud is no speed it can have") from None
        except OSError as error:
            if first and error.errno not in _NOT_THERE:
                raise InputError(f"{self.name}: cannot be opened: {_reason(error)}") from None
            self._lost(_reason(error))

    def _receive(self, size: int) -> bytes | None:
        data: bytes = self._port.read(size)
        if not data:
            return None
        self._absence.found()
        return data

    def _lost(self, reason: str) -> None:
        self.close()
        self._due = self._absence.lost(reason)


def _device_and_baud(spec: str) -> tuple[str, int]:
    """Names in /dev/serial/by-path hold colons, so only a number behind the last one is a speed."""
    given = spec.removeprefix("serial:")
    device, colon, baud = given.rpartition(":")
    if not (colon and baud.isascii() and baud.isdigit()):
        device, baud = given, str(DEFAULT_BAUD)
    if not device or len(baud) > 9:
        raise InputError(f"{spec}: names no serial line, expected serial:DEVICE or serial:DEVICE:BAUD")
    return device, int(baud)


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if isinstance(error.errno, int) else str(error)
