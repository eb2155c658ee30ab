"""Piano rolls as Standard MIDI Files (MIDI Manufacturers Association 1996, RP-001), written and read.

A frame is the set of keys that sound, as MIDI numbers. A key that sounds in frames that follow one another is one note.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from pathlib import Path

TICKS = 480  # a quarter note
MAX_FRAMES = 65536
VELOCITY = 64
_NOTE_OFF, _NOTE_ON, _END = 0x80, 0x90, b"\xff\x2f\x00"
_DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}  # of messages, by their upper four bits


class MidiError(Exception):
    """A file is no Standard MIDI File, or one that has no frames."""


def write(path: Path, frames: Sequence[Collection[int]], quarters: float, tempo: float = 90.0) -> None:
    """A file of format 0. ``quarters``: quarter notes that a frame lasts; ``tempo``: quarter notes in a minute."""
    step, events = round(TICKS * quarters), bytearray()
    events += b"\0\xff\x51\x03" + round(60e6 / tempo).to_bytes(3, "big")
    sounding: set[int] = set()
    waited = 0  # ticks since the last event
    for frame in [*frames, ()]:
        changes = [(_NOTE_OFF, key) for key in sorted(sounding.difference(frame))]
        changes += [(_NOTE_ON, key) for key in sorted(set(frame) - sounding)]
        for status, key in changes:
            events += _length(waited) + bytes((status, key, VELOCITY))
            waited = 0
        sounding, waited = set(frame), waited + step
    events += _length(max(0, waited - step)) + _END
    head = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, TICKS)
    path.write_bytes(head + struct.pack(">4sI", b"MTrk", len(events)) + events)


def read(path: Path, quarters: float) -> list[set[int]]:
    """The frames of a file, all tracks and channels together; a key sounds in a frame where it does at its middle.

    Raises MidiError for what is none, OSError where it cannot be read.
    """
    data = path.read_bytes()
    try:
        kind, size, _, count, division = struct.unpack_from(">4sIHHH", data)
        if kind != b"MThd" or division >= 0x8000 or division == 0:
            raise MidiError(f"{path} is no MIDI file in ticks of a quarter note")
        notes, end, at = [], 0, 8 + size
        for _ in range(count):
            kind, size = struct.unpack_from(">4sI", data, at)
            if kind != b"MTrk" or at + 8 + size > len(data):
                raise MidiError(f"{path} is cut off, expected {count} tracks")
            found, last = _notes(data[at + 8 : at + 8 + size])
            notes, end, at = notes + found, max(end, last), at + 8 + size
    except (IndexError, struct.error):
        raise MidiError(f"{path} is no MIDI file, or a damaged one") from None
    step = division * quarters
    if end > MAX_FRAMES * step:
        raise MidiError(f"{path} is longer than {MAX_FRAMES} frames")
    frames: list[set[int]] = [set() for _ in range(round(end / step))]
    for start, stop, key in notes:
        for number in range(max(0, round(start / step)), min(len(frames), round(stop / step))):
            frames[number].add(key)
    return frames


def _notes(track: bytes) -> tuple[list[tuple[int, int, int]], int]:
    """Start, stop and key of each note of a track, in ticks, and where the track ends."""
    notes, begun, now, at, status = [], {}, 0, 0, 0
    while at < len(track):
        delta, at = _number(track, at)
        now += delta
        if track[at] >= 0x80:
            status, at = track[at], at + 1
        if status in (0xFF, 0xF0, 0xF7):  # a meta event has its kind before its length
            size, at = _number(track, at + (status == 0xFF))
            at += size
            continue
        kind, voice = status & 0xF0, status & 0x0F
        first, second = track[at], track[at + 1] if _DATA_BYTES.get(kind) == 2 else 0
        at += _DATA_BYTES.get(kind, len(track))
        if kind == _NOTE_ON and second and (voice, first) not in begun:
            begun[voice, first] = now
        elif (kind == _NOTE_OFF or (kind == _NOTE_ON and not second)) and (voice, first) in begun:
            notes.append((begun.pop((voice, first)), now, first))
    return notes + [(start, now, key) for (_, key), start in begun.items()], now


def _length(number: int) -> bytes:
    """A number in sevens of bits, all but the last with the eighth set."""
    found = [number & 0x7F]
    while number := number >> 7:
        found.append(number & 0x7F | 0x80)
    return bytes(reversed(found))


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The number that ``_length`` wrote at a place, and where it ends."""
    number = 0
    while True:
        number, at = number << 7 | data[at] & 0x7F, at + 1
        if data[at - 1] < 0x80:
            return number, at
