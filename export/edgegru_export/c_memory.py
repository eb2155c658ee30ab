"""Scratch memory of a step in C: every vector gets a place that is free again once it has been read last.

Numbers of each type have an array of their own, so that no memory is ever read as another type than it was written.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ITEM_BYTES = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "uint32_t": 4, "float": 4}


@dataclass
class Pool:
    """First fit in one array; ``step``: places and sizes are multiples of it."""

    step: int = 1
    length: int = 0  # the most that was ever taken
    taken: dict[int, tuple[int, int]] = field(default_factory=dict)  # by vector: place and size

    def take(self, vector: int, size: int) -> int:
        """The place of ``size`` numbers."""
        size += -size % self.step
        place = 0
        for start, length in sorted(self.taken.values()):
            if place + size <= start:
                break
            place = max(place, start + length)
        self.taken[vector] = place, size
        self.length = max(self.length, place + size)
        return place

    def free(self, vector: int) -> None:
        """The numbers of a vector are not needed any more."""
        self.taken.pop(vector, None)


@dataclass(frozen=True)
class Member:
    """An array, or a single number. ``node``: whose state it is, ``role``: what of it, "h", "ring" or "oldest"."""

    kind: str
    name: str
    count: int = 0  # 0: one number, no array
    node: str = ""
    role: str = ""

    @property
    def bytes_(self) -> int:
        """Bytes of it."""
        return ITEM_BYTES[self.kind] * max(self.count, 1)

    @property
    def declaration(self) -> str:
        """As in a structure."""
        return f"{self.kind} {self.name}[{self.count}];" if self.count else f"{self.kind} {self.name};"


def padded(members: list[Member]) -> list[Member]:
    """The members, the widest first, with bytes behind them up to a multiple of four: the same layout everywhere."""
    ordered = sorted(members, key=lambda member: -ITEM_BYTES[member.kind])
    rest = -sum(member.bytes_ for member in ordered) % 4
    return [*ordered, Member("int8_t", "unused", rest)] if rest else ordered


def offsets(members: list[Member]) -> dict[str, int]:
    """Where members begin, in bytes."""
    result, place = {}, 0
    for member in members:
        result[member.name] = place
        place += member.bytes_
    return result
