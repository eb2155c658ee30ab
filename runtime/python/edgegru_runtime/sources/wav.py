"""Sound in a WAV file or pipe: a header, and samples of 16 bits behind it.

The format is that of "Multimedia Programming Interface and Data Specifications 1.0" (IBM and Microsoft, 1991). It is
not read by the standard library's ``wave``, which needs a whole file, and believes what a pipe says about its length.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.plain_data import dataclass
from edgegru_runtime.record import Item
from edgegru_runtime.sources.raw import RawReader
from edgegru_runtime.sources.source import SourceOptions
from edgegru_runtime.timeline import TIME_UNITS

MAX_HEADER_BYTES = 2**20
_ENDLESS = 0x7FFF_F000  # a length from here on is that of a writer who did not know it, and so is 0
_PCM, _EXTENSIBLE = 1, 0xFFFE
_FORMATS = {_PCM: "PCM", 3: "floating-point numbers", 6: "A-law", 7: "mu-law"}
_CHUNK = struct.Struct("<4sI")  # name and length
_FORMAT = struct.Struct("<HHIIHH")  # format, channels, samples a second, bytes a second, bytes a sample, bits
_EXTENSION = struct.Struct("<HHIH")  # its length, bits that are used, loudspeakers, format


@dataclass(frozen=True)
class Header:
    """What stands before the samples."""

    format: int
    channels: int
    rate: int  # samples a second
    bits: int  # of a number
    start: int  # bytes before the samples
    length: int | None  # bytes of samples, None where nobody knew


class WavReader:
    """Samples as the integers that they are, with times from 0 on; what stands behind them is passed over.

    Raises InputError, once the header has come, for what is no sound of 16 bits with the model's channels and rate.
    """

    unit = "sample"

    def __init__(self, config: ModelConfig, options: SourceOptions) -> None:
        self.place = 0
        self._config, self._options = config, options
        self._head = bytearray()
        self._header: Header | None = None
        self._samples: RawReader | None = None
        self._left: int | None = None  # bytes of samples to come, None where nobody knows

    @property
    def known(self) -> bool:
        return self._samples is not None

    def feed(self, data: bytes) -> list[Item]:
        if self._samples is None:
            self._head += data
            self._header = read_header(self._head)
            if self._header is None:
                return []
            self._samples = self._reader(self._header)
            self.resumed(self._header.start, 0)
            data = bytes(self._head[self._header.start :])
            self._head.clear()
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        items = self._samples.feed(data)
        self.place = self._samples.place
        return items

    def finish(self, *, complete: bool) -> list[Item]:
        if self._samples is None:
            raise InputError(f"the input ends after {len(self._head)} bytes, within the header of a WAV")
        items = self._samples.finish(complete=complete)
        self.place = self._samples.place
        return items

    def missing(self) -> int:
        return 1 if self._samples is None else self._samples.missing()

    def held(self) -> int:
        return 0 if self._samples is None else self._samples.held()

    def joined(self, held: int) -> None:
        """The header went by before, and what comes shows that it is none."""

    def reconnected(self) -> None:
        """Files and pipes come once."""

    def resumed(self, end: int, place: int) -> None:
        header, samples = self._header, self._samples
        assert header is not None and samples is not None
        samples.resumed(end, place)
        self.place = place
        self._left = None if header.length is None else max(0, header.start + header.length - end)

    def _reader(self, header: Header) -> RawReader:
        """What reads the samples behind the header."""
        if (header.format, header.bits) != (_PCM, 16):
            found = _FORMATS.get(header.format, f"of format {header.format}")
            raise InputError(f"the samples are {found} of {header.bits} bits, expected PCM of 16 bits")
        channels, rate = self._config.input.size, self._config.input.rate
        if header.channels != channels:
            raise InputError(f"the sound has {header.channels} channels, expected {channels} as in the model")
        if header.rate != (rate or header.rate):
            raise InputError(f"the sound has {header.rate} samples per second, expected {rate:g} as the model")
        options = replace(self._options, format="s16le")
        return RawReader(self._config, options, header.rate * TIME_UNITS[options.time_unit] / TIME_UNITS["s"])


def read_header(head: bytes | bytearray) -> Header | None:
    """The header that these bytes begin with; None where more of it is to come. Raises InputError where it is none."""
    if len(head) < 12:
        return None
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        raise InputError(f"the input begins with {bytes(head[:12])!r}, expected a WAV: RIFF, a length, WAVE")
    described: tuple[int, int, int, int] | None = None
    at = 12
    while at + _CHUNK.size <= len(head):
        name, length = _CHUNK.unpack_from(head, at)
        at += _CHUNK.size
        if name == b"data":
            if described is None:
                raise InputError("samples come before their format, expected a chunk 'fmt ' first")
            return Header(*described, at, None if length == 0 or length >= _ENDLESS else length)
        if name == b"fmt " and at + length <= len(head):
            described = _described(head[at : at + length])
        at += length + length % 2  # the next one begins at an even place
    if len(head) > MAX_HEADER_BYTES or at > MAX_HEADER_BYTES:
        raise InputError(f"no samples come within {MAX_HEADER_BYTES} bytes, expected a chunk 'data'")
    return None


def _described(chunk: bytes | bytearray) -> tuple[int, int, int, int]:
    """Format, channels, rate and bits."""
    try:
        format, channels, rate, _, _, bits = _FORMAT.unpack_from(chunk)
        if format == _EXTENSIBLE:
            *_, format = _EXTENSION.unpack_from(chunk, _FORMAT.size)
    except struct.error:
        raise InputError(f"the format of the samples has {len(chunk)} bytes, expected at least 16") from None
    return format, channels, rate, bits
