"""The state of a run as bytes: of every sensor, the counters, and how far the input was read."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from edgegru_runtime.errors import StateError
from edgegru_runtime.lane import Lane

_LENGTH = struct.Struct("<I")


class Session(NamedTuple):
    """What ``packed`` put together."""

    lanes: Sequence[tuple[str, bytes, Any, Any, Any]]  # key, the stream's state, conditions, decisions, block
    counters: Any
    input: dict[str, Any] | None  # what ``Position`` wrote; None where the input cannot be read again


def packed(lanes: Iterable[Lane], counters: Any, input: dict[str, Any] | None) -> bytes:
    """A session as bytes: the length of its JSON (u32), the JSON, and the streams' states one after another."""
    lanes = list(lanes)
    described = {"counters": counters, "input": input, "lanes": [lane.saved() for lane in lanes]}
    text = json.dumps(described, separators=(",", ":"), allow_nan=False).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *(lane.stream.state for lane in lanes)])


def unpacked(content: bytes, state_bytes: int) -> Session:
    """The session in ``content``; a stream's state takes ``state_bytes``. Raises StateError where it is none."""
    try:
        (length,) = _LENGTH.unpack_from(content)
        described = json.loads(content[4 : 4 + length])
        states = content[4 + length :]
        lanes: list[tuple[str, bytes, Any, Any, Any]] = []
        for place, (key, conditioning, decisions, *others) in enumerate(described["lanes"]):
            (block,) = others or ([],)  # saved by a version that knew no blocks
            state = states[place * state_bytes : (place + 1) * state_bytes]
            lanes.append((str(key), state, conditioning, decisions, block))
        session = Session(lanes, described["counters"], described["input"])
    except (struct.error, ValueError, TypeError, KeyError, RecursionError):
        raise StateError("the saved session is damaged") from None
    if len(states) != len(lanes) * state_bytes or not isinstance(session.input, dict | None):
        raise StateError("the saved session is damaged")
    return session
