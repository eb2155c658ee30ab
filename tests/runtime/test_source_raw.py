"""Binary samples: numbers in, records and frames out, in whatever pieces the bytes arrive."""

from __future__ import annotations

import struct
from array import array
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime.errors import InputError
from edgegru_runtime.record import Block, Frame, Item, Record, Refusal
from edgegru_runtime.sources.raw import RawReader
from edgegru_runtime.sources.source import SourceOptions
from tests.builders import random_config

CONFIG = random_config(3)
INTEGERS = struct.pack("<6h", 1, -2, 3, 32767, -32768, 0)
FLOATS = struct.pack("<6f", 0.5, -2, 1e30, float("inf"), -0.0, 7)


def reader(format: str, **options: Any) -> RawReader:
    return RawReader(CONFIG, SourceOptions(format=format, **options))


def comparable(items: list[Item]) -> list[object]:
    """A view's format and bytes stand for it."""
    return [
        (item.xs.format, item.xs.shape, item.xs.tobytes(), item.place, item.end) if isinstance(item, Frame) else item
        for item in items
    ]


def test_integers_become_records() -> None:
    assert reader("s16le", channels=3).feed(INTEGERS) == [
        Record([1, -2, 3], place=1, end=6),
        Record([32767, -32768, 0], place=2, end=12),
    ]
    assert reader("s16le", scale=2.0**-15).feed(INTEGERS)[1] == Record([32767 / 32768, -1, 0], place=2, end=12)


def test_floats_become_records() -> None:
    found = reader("f32le").feed(FLOATS)
    assert found[0] == Record([0.5, -2, struct.unpack("f", struct.pack("f", 1e30))[0]], place=1, end=12)
    assert repr(found[1].x if isinstance(found[1], Record) else None) == "[inf, -0.0, 7.0]"
    (scaled,) = reader("f32le", scale=1e30).feed(struct.pack("<3f", 1e30, -1e30, 0))
    assert scaled == Record([float("inf"), float("-inf"), 0], place=1, end=12)


def test_frames_lie_where_the_bytes_were_read() -> None:
    data = FLOATS * 2
    first, second = reader("f32le", streams=2).feed(data)
    assert isinstance(first, Frame) and isinstance(second, Frame)
    assert (first.xs.format, first.xs.shape, first.place, first.end) == ("f", (2, 3), 1, 24)
    assert (second.xs.tobytes(), second.place, second.end) == (FLOATS, 2, 48)
    assert first.xs.obj is data  # no copy


def test_frames_of_integers() -> None:
    (frame,) = reader("s16le", streams=2, scale=0.5).feed(INTEGERS)
    assert isinstance(frame, Frame)
    assert frame.xs.tolist() == [[0.5, -1, 1.5], [16383.5, -16384, 0]]
    assert frame.xs.format == "f"


def test_the_channels_are_the_models() -> None:
    with pytest.raises(InputError, match=r"^the input has 2 channels, expected 3 as in the model$"):
        reader("s16le", channels=2)


def test_a_torn_last_frame_is_a_refusal() -> None:
    raw = reader("s16le")
    raw.feed(INTEGERS + b"abc")
    assert raw.finish(complete=True) == [Refusal("the input ends 3 bytes into a frame, expected 6", 3, 15)]
    assert raw.finish(complete=True) == []
    raw.reconnected()
    assert raw.feed(INTEGERS)[0] == Record([1, -2, 3], place=4, end=21)


def test_no_more_is_taken_than_one_record_needs() -> None:
    raw = reader("s16le", streams=2)
    assert raw.missing() == 12
    raw.feed(b"12345")
    assert raw.missing() == 7


@given(
    numbers=st.lists(st.integers(0, 255), max_size=100).map(bytes),
    format=st.sampled_from(["s16le", "f32le"]),
    streams=st.integers(1, 3),
    scale=st.sampled_from([1.0, 0.25]),
    data=st.data(),
)
def test_any_pieces_give_the_same(numbers: bytes, format: str, streams: int, scale: float, data: st.DataObject) -> None:
    def outcome(pieces: list[bytes]) -> list[object]:
        raw = reader(format, streams=streams, scale=scale)
        items = [item for piece in pieces for item in raw.feed(piece)] + raw.finish(complete=True)
        assert [item.place for item in items] == list(range(1, len(items) + 1))
        assert not items or items[-1].end == len(numbers)
        return [str(item) for item in comparable(items)]

    cuts = sorted({0, len(numbers), *data.draw(st.lists(st.integers(0, len(numbers)), max_size=20))})
    whole = outcome([numbers])
    assert outcome([numbers[start:stop] for start, stop in pairwise(cuts)]) == whole
    assert outcome([bytes([byte]) for byte in numbers]) == whole


@given(
    numbers=st.lists(st.integers(0, 255), max_size=200).map(bytes),
    format=st.sampled_from(["s16le", "f32le"]),
    scale=st.sampled_from([1.0, 0.25]),
    at_once=st.integers(2, 5),
    begun=st.integers(0, 7),
    data=st.data(),
)
def test_samples_at_once_are_those_one_by_one(
    numbers: bytes, format: str, scale: float, at_once: int, begun: int, data: st.DataObject
) -> None:
    def outcome(pieces: list[bytes], at_once: int) -> list[str]:
        raw = reader(format, scale=scale, samples_at_once=at_once)
        raw.resumed(1000, begun)
        found: list[object] = []
        for item in [item for piece in pieces for item in raw.feed(piece)] + raw.finish(complete=True):
            if not isinstance(item, Block):
                found.append(item)
                continue
            assert (item.place - item.samples) // at_once == (item.place - 1) // at_once, "it reaches over a step"
            size = (item.end - 1000) // (item.place - begun)
            for number in range(item.samples):
                record = item.sample(number)
                end = item.end - (item.samples - 1 - number) * size
                found.append(record._replace(x=[float(value) for value in record.x], end=end))
        return [str(item) for item in found]

    whole = outcome([numbers], 1)
    cuts = sorted({0, len(numbers), *data.draw(st.lists(st.integers(0, len(numbers)), max_size=20))})
    assert outcome([numbers[start:stop] for start, stop in pairwise(cuts)], at_once) == whole
    assert outcome([bytes([byte]) for byte in numbers], at_once) == whole


def test_samples_at_once_lie_where_the_bytes_were_read() -> None:
    data = INTEGERS * 2
    first, second = reader("s16le", samples_at_once=2).feed(data)
    assert isinstance(first, Block) and isinstance(second, Block)
    assert (first.samples, first.place, first.end, first.xs.obj is data) == (2, 2, 12, True)
    assert first.xs.tolist() == second.xs.tolist() == [1, -2, 3, 32767, -32768, 0]
    (one, two) = reader("f32le", samples_at_once=2).feed(FLOATS)
    assert isinstance(one, Record) and isinstance(two, Record), "what is not finite is looked at one by one"


@given(st.lists(st.floats(width=32), min_size=6, max_size=6))
def test_frames_hold_the_bits_that_came(values: list[float]) -> None:
    (frame,) = reader("f32le", streams=2).feed(struct.pack("<6f", *values))
    assert isinstance(frame, Frame)
    assert frame.xs.tobytes() == array("f", values).tobytes()
