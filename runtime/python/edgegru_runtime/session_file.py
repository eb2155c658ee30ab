"""What a run remembers, in one file that survives the end of its process at any instant (docs/field.md).

The file is mapped into memory and has four slots. A save goes into the older of the first two and costs a copy: the
system keeps it when the process is killed, and a copy that was cut off leaves the other slot whole. A synchronised
save goes into the older of the last two, which nothing else touches, and waits for the disk: that is what a power cut
leaves. Reading takes the newest slot that is whole.

All numbers are little-endian. The header: ``EGRUSESS``, version (u32), bytes of a slot (u32), the model's identity (32
bytes), what is in flight (u8) and records taken in (u56), the pipe (u64), bytes held of its next record (u32). A slot:
number of the save (u64), bytes of its content (u32), CRC-32 of number, length and content (u32), the content.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from zlib import crc32

from edgegru_runtime.errors import EdgegruError, StateError
from edgegru_runtime.replaced_file import replaced_file

_MAGIC = b"EGRUSESS"
_VERSION = 1
_HEADER = struct.Struct("<8sII32sQQI")
_FLIGHT_AT, _PIPE_AT, _HELD_AT = 48, 56, 64  # in the header
_NOTHING, _PART, _WHOLE = 0, 1, ord("\n")  # of a record is in flight; any other byte is a part, too
_SLOT = struct.Struct("<QII")
_PAGE = 4096
_SLOTS = 4
_MAX_SLOT = 2**30


class SessionFile:
    """The file of one run, held by one process. ``content`` is the newest whole save, None where there is none yet."""

    def __init__(self, path: str, identity: str) -> None:
        """Open ``path``, which is made where it does not exist.

        Raises StateError where the file is no whole session of the model ``identity``, EdgegruError where it cannot be
        read or written or another process holds it.
        """
        self._path, self._identity = path, bytes.fromhex(identity)
        self.content: bytes | None = None
        self.taken = 0  # records that the process before had taken in when it ended
        self.in_flight = False  # that process had begun to take in one more
        self._pipe = self._held = 0
        self._number = 0
        self._next = [0, 2]  # the slots that the next saves go into: of the first two, of the last two
        if not os.path.lexists(path):
            self._make(_PAGE, None)
        elif not os.path.isfile(path):
            raise EdgegruError(f"{path}: is not a regular file, expected a state file or a new name")
        self._open()
        try:
            self._read()
        except BaseException:
            self._close()
            raise

    def save(self, content: bytes, *, synchronised: bool = False) -> None:
        """Keep ``content``. ``synchronised``: also on the disk, when this returns.

        Raises EdgegruError where the file has to grow and cannot, or the disk fails.
        """
        self._number += 1
        if _SLOT.size + len(content) > self._slot_bytes:
            self._close()
            self._make(_pages(2 * (_SLOT.size + len(content))), content)
            self._open()
            self._next = [0, 3]
            return
        self._write(self._next[synchronised], content)
        self._next[synchronised] ^= 1
        if synchronised:
            try:
                self._map.flush()
            except OSError as error:
                raise EdgegruError(f"{self._path}: cannot be written: {error.strerror}") from None

    def count(self, taken: int) -> None:
        """Note how many records were taken in, so that the next process knows how many of them were not saved.

        None of them is in flight any more.
        """
        self.taken = taken
        # One store: no instant at which a record is counted and in flight.
        struct.pack_into("<Q", self._map, _FLIGHT_AT, taken << 8 | (_PART if self._held else _NOTHING))

    def pipe(self, pipe: int) -> int:
        """From here on this pipe is read, by its inode; 0: something else is.

        Returns how many bytes of the pipe's next record the process before had read: what is left of it comes first.
        """
        held = self._held if pipe == self._pipe else 0
        self._pipe, self._held = pipe, 0
        struct.pack_into("<QI", self._map, _PIPE_AT, pipe, 0)
        return held

    def receive(self, descriptor: int, size: int) -> bytes:
        """Read from the pipe. A single byte, and so a record of text, is in flight from the instant it leaves the pipe.

        Raises OSError as ``os.read`` does.
        """
        if size == 1:
            with memoryview(self._map)[_FLIGHT_AT : _FLIGHT_AT + 1] as cell:
                return bytes(cell) if os.readv(descriptor, [cell]) else b""
        data = os.read(descriptor, size)
        if data:
            self._map[_FLIGHT_AT] = _WHOLE
        return data

    def hold(self, held: int) -> None:
        """Note how many bytes of an unfinished record were read."""
        if held != self._held:
            self._held = held
            struct.pack_into("<I", self._map, _HELD_AT, held)

    def set_aside(self, identity: str) -> str:
        """Rename the file, which cannot be used, and begin a new one for a model; returns the new name.

        Raises EdgegruError where the folder does not allow it.
        """
        self._close()
        aside = set_aside(self._path)
        self._identity, self.content, self.in_flight = bytes.fromhex(identity), None, False
        self.taken = self._number = 0
        self._next = [0, 2]
        self._make(_PAGE, None)
        self._open()
        return aside

    def close(self) -> None:
        """Give the file back; what was saved stays."""
        self._close()

    def _write(self, slot: int, content: bytes) -> None:
        at = _PAGE + slot * self._slot_bytes
        _SLOT.pack_into(self._map, at, self._number, len(content), _checksum(self._number, content))
        self._map[at + _SLOT.size : at + _SLOT.size + len(content)] = content

    def _make(self, slot_bytes: int, content: bytes | None) -> None:
        """A new file of that size, whole or not at all; every page has its place on the disk."""
        if slot_bytes > _MAX_SLOT:
            raise EdgegruError(f"{self._path}: would need slots of {slot_bytes} bytes, expected at most {_MAX_SLOT}")
        with replaced_file(self._path) as file:
            os.posix_fallocate(file.fileno(), 0, _PAGE + _SLOTS * slot_bytes)  # else a full disk kills by SIGBUS
            flight = self.taken << 8 | (_PART if self._held else _NOTHING)
            file.write(_HEADER.pack(_MAGIC, _VERSION, slot_bytes, self._identity, flight, self._pipe, self._held))
            if content is not None:
                file.seek(_PAGE + 2 * slot_bytes)
                file.write(_SLOT.pack(self._number, len(content), _checksum(self._number, content)))
                file.write(content)

    def _open(self) -> None:
        try:
            self._file = open(self._path, "r+b", buffering=0)  # noqa: SIM115  # closed by close
        except OSError as error:
            raise EdgegruError(f"{self._path}: cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            header = self._file.read(_HEADER.size)
            if len(header) != _HEADER.size or not header.startswith(_MAGIC):
                raise StateError(f"{self._path}: is no state file of a run")
            _, version, self._slot_bytes, identity, flight, self._pipe, self._held = _HEADER.unpack(header)
            self.taken, byte = flight >> 8, flight & 255
            self.in_flight = byte != _NOTHING
            if byte not in (_NOTHING, _WHOLE):
                self._held = max(self._held, 1)
            size = os.fstat(self._file.fileno()).st_size
            if version != _VERSION:
                raise StateError(f"{self._path}: has version {version}, expected {_VERSION}")
            if identity != self._identity:
                raise StateError(f"{self._path}: is of another model")
            if self._slot_bytes % _PAGE or not _PAGE <= self._slot_bytes <= _MAX_SLOT:
                raise StateError(f"{self._path}: has slots of {self._slot_bytes} bytes, which none is")
            if size != _PAGE + _SLOTS * self._slot_bytes:
                raise StateError(f"{self._path}: has {size} bytes, expected {_PAGE + _SLOTS * self._slot_bytes}")
            self._map = mmap.mmap(self._file.fileno(), size)
        except BlockingIOError:
            self._file.close()
            raise EdgegruError(
                f"{self._path}: is in use by another process, expected a state file of its own"
            ) from None
        except OSError as error:
            self._file.close()
            raise EdgegruError(f"{self._path}: cannot be read: {error.strerror}") from None
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> None:
        """The newest whole slot becomes the content."""
        written, newest = False, [0, 0, 0, 0]
        for slot in range(_SLOTS):
            at = _PAGE + slot * self._slot_bytes
            number, length, checksum = _SLOT.unpack_from(self._map, at)
            written = written or bool(number or length or checksum)
            if number == 0 or length > self._slot_bytes - _SLOT.size:
                continue
            content = self._map[at + _SLOT.size : at + _SLOT.size + length]
            if _checksum(number, content) != checksum:
                continue
            newest[slot] = number
            if number > self._number:
                self._number, self.content = number, content
        if written and self.content is None:
            raise StateError(f"{self._path}: is torn: no save in it is whole")
        self._next = [int(newest[1] < newest[0]), 2 + int(newest[3] < newest[2])]

    def _close(self) -> None:
        self._map.close()
        self._file.close()


def set_aside(path: str) -> str:
    """Rename a state file that cannot be used, so that nothing is lost, and return its new name.

    Raises EdgegruError where the folder does not allow it.
    """
    number = 1
    while os.path.lexists(aside := f"{path}.aside-{number}"):
        number += 1
    try:
        os.rename(path, aside)
    except OSError as error:
        raise EdgegruError(f"{path}: cannot be renamed to {aside}: {error.strerror}") from None
    return aside


def _checksum(number: int, content: bytes) -> int:
    return crc32(content, crc32(struct.pack("<QI", number, len(content))))


def _pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE
