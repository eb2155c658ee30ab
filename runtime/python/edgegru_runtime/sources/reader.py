"""From bytes to items: what every source of bytes hands its bytes to, whatever their format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Item
from edgegru_runtime.sources.source import CHUNK_BYTES, RAW_FORMATS, SourceOptions, stamped


class Reader(Protocol):
    """Items in bytes that arrive in pieces; the pieces' bounds make no difference.

    What raises InputError does not name the input and the place: "the header has no ay; …".
    """

    unit: str  # what it counts: "line", "frame" or "sample"
    place: int  # of the last one that was read

    @property
    def known(self) -> bool:
        """Whether the bytes have shown their format and columns."""

    def feed(self, data: bytes) -> list[Item]:
        """The items that end in ``data``. Raises InputError, but never once ``known``."""

    def finish(self, *, complete: bool) -> list[Item]:
        """What is left when the bytes end. ``complete``: the last line may lack its newline; otherwise it is torn."""

    def missing(self) -> int:
        """So many bytes can be read without taking any of the record after the next one."""

    def held(self) -> int:
        """Bytes of an unfinished record."""

    def joined(self, held: int) -> None:
        """The next bytes are the rest of a record of which so many bytes are lost; it is no item."""

    def reconnected(self) -> None:
        """After ``finish``: other bytes of the same kind follow; the first line may be half a line or a header."""

    def resumed(self, end: int, place: int) -> None:
        """The next bytes are those behind the item with this ``end`` and ``place``."""


def new_reader(config: ModelConfig, options: SourceOptions, *, joins: bool = False) -> Reader:
    """What reads the format of ``options``; ``joins``: the first line may be half a line."""
    if options.format in RAW_FORMATS:
        from edgegru_runtime.sources.raw import RawReader

        return RawReader(config, options)
    if options.format == "wav":
        from edgegru_runtime.sources.wav import WavReader

        return WavReader(config, options)
    if options.format == "text":
        from edgegru_runtime.sources.typed import TypedReader

        return TypedReader(config)
    from edgegru_runtime.sources.text import TextReader

    return TextReader(config, options, joins=joins)


class Intake:
    """A reader, and how many bytes it gets at once: ``chunk``, or at 1 no more than one item needs."""

    def __init__(self, config: ModelConfig, options: SourceOptions, *, joins: bool = False) -> None:
        self.reader = new_reader(config, options, joins=joins)
        self.chunk = options.chunk
        self._stamp_unit = options.time_unit if options.stamp else None

    def take(self, receive: Callable[[int], bytes | None]) -> list[Item] | None:
        """The items in what has arrived; None where the bytes have ended.

        ``receive`` gives at most so many bytes without waiting: none at the end, None where there are none yet. What it
        raises is passed on; nothing is lost then. Raises InputError as ``Reader.feed`` does.
        """
        for _ in range(CHUNK_BYTES if self.chunk == 1 else 1):  # signals and timers want their turn
            data = receive(self.reader.missing() if self.chunk == 1 else self.chunk)
            if data is None:
                break
            if not data:
                return None
            items = self.reader.feed(data)
            if items:
                return self._stamped(items)
        return []

    def finish(self, *, complete: bool) -> list[Item]:
        """As ``Reader.finish``."""
        return self._stamped(self.reader.finish(complete=complete))

    def _stamped(self, items: list[Item]) -> list[Item]:
        return items if self._stamp_unit is None else stamped(items, self._stamp_unit)
