"""Files, pipes and standard input: nothing read ahead where that is asked for, resumed in any place, never blocking."""

from __future__ import annotations

import io
import os
import pty
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgegru_runtime.errors import InputError
from edgegru_runtime.record import Item, Record, Refusal
from edgegru_runtime.sources.opening import _KINDS, SourceOptions, open_source
from edgegru_runtime.sources.reader import Intake
from edgegru_runtime.sources.source import Source
from tests.builders import random_config

CONFIG = random_config(3)
LINES = b"t,c2,c0,c1\n0.5,3,1,2\n\n!reset\n1.5,3,1\n2.5,6,4,5"
ITEMS = 4


def opened(spec: str | Path, **options: Any) -> Source:
    def warn(sentence: str) -> None:
        raise AssertionError(sentence)

    return open_source(str(spec), CONFIG, SourceOptions(**options), warn)


def read_all(source: Source) -> list[Item]:
    items: list[Item] = []
    while (found := source.read()) is not None:
        items += found
    assert source.read() is None
    source.close()
    source.close()
    return items


@pytest.fixture
def standard_input(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where to write what standard input gives."""
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as file, open(writing, "wb", buffering=0) as other:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        yield other.fileno()


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(LINES)
    source = opened(tmp_path / "log.csv")
    assert (source.name, source.unit, source.live, source.resumable) == (str(tmp_path / "log.csv"), "line", False, True)
    assert (source.fileno(), source.due(), source.overflow()) == (None, 0.0, 0)
    items = read_all(source)
    assert items[0] == Record([1, 2, 3], 0.5, place=2, end=21)
    assert items[2] == Refusal("3 columns arrived, expected 4", 5, 37)
    assert items[3] == Record([4, 5, 6], 2.5, place=6, end=46)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunk=st.integers(1, 60))
def test_any_chunk_gives_the_same(tmp_path: Path, chunk: int) -> None:
    (tmp_path / "log.csv").write_bytes(LINES)
    assert read_all(opened(tmp_path / "log.csv", chunk=chunk)) == read_all(opened(tmp_path / "log.csv"))


@pytest.mark.parametrize("format", ["auto", "csv"])
@pytest.mark.parametrize("chunk", [1, 2**16])
def test_a_file_is_continued_behind_any_item(tmp_path: Path, format: str, chunk: int) -> None:
    (tmp_path / "log.csv").write_bytes(b"\xef\xbb\xbf" + LINES)
    whole = read_all(opened(tmp_path / "log.csv", format=format))
    assert len(whole) == ITEMS
    for count in range(1, ITEMS + 1):
        source = opened(tmp_path / "log.csv", format=format, chunk=chunk)
        source.resume(whole[count - 1].end, whole[count - 1].place)
        assert read_all(source) == whole[count:]


def test_json_and_raw_files_are_continued(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"x":[1,2,3]}\n[4,5,6]\n')
    source = opened(tmp_path / "log")
    source.resume(14, 1)
    assert read_all(source) == [Record([4, 5, 6], place=2, end=22)]
    (tmp_path / "log").write_bytes(struct.pack("<6h", 1, 2, 3, 4, 5, 6))
    source = opened(tmp_path / "log", format="s16le", channels=3)
    source.resume(6, 1)
    assert read_all(source) == [Record([4, 5, 6], place=2, end=12)]


def test_what_cannot_be_continued(tmp_path: Path, standard_input: int) -> None:
    (tmp_path / "log").write_bytes(b"1,2,3\n")
    source = opened(tmp_path / "log")
    with pytest.raises(InputError, match=r"log: has 6 bytes, expected at least the 7 that were read before$"):
        source.resume(7, 1)
    source.close()
    (tmp_path / "log").write_bytes(b"\nc0,c1\n1,2\n")
    source = opened(tmp_path / "log")
    with pytest.raises(InputError, match=r"log, line 2: the header has no c2"):
        source.resume(11, 3)
    source.close()
    source = opened("-")
    with pytest.raises(InputError, match=r"^standard input: cannot be read from byte 6, expected a regular file$"):
        source.resume(6, 1)


def test_standard_input_is_read_as_it_comes(standard_input: int) -> None:
    source = opened("-")
    assert (source.name, source.live, source.resumable, source.due()) == ("standard input", False, False, None)
    assert source.fileno() == sys.stdin.fileno()
    assert source.read() == []
    os.write(standard_input, b"1,2,3\n4,5")
    assert source.read() == [Record([1, 2, 3], place=1, end=6)]
    assert source.read() == []
    os.write(standard_input, b",6")
    assert source.read() == []
    os.close(os.dup(standard_input))
    assert os.get_blocking(sys.stdin.fileno())
    source.close()
    os.fstat(sys.stdin.fileno())  # is not ours to close


def test_a_last_line_may_lack_its_newline(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"1,2,3\n4,5,6")
    os.close(writing)
    assert [item.end for item in read_all(opened(f"/dev/fd/{reading}"))] == [6, 11]
    os.close(reading)


@pytest.mark.parametrize(
    ("format", "data", "rest"),
    [
        ("auto", b"c0,c1,c2\n1,2,3\n4,5,6\n7", b"4,5,6\n7"),
        ("s16le", struct.pack("<6h", 1, 2, 3, 4, 5, 6), struct.pack("<3h", 4, 5, 6)),
    ],
)
def test_nothing_is_read_ahead(standard_input: int, format: str, data: bytes, rest: bytes) -> None:
    source = opened("-", chunk=1, format=format)
    os.write(standard_input, data)
    (item,) = source.read() or []
    assert isinstance(item, Record)
    assert item.x == [1, 2, 3]
    assert os.read(sys.stdin.fileno(), 100) == rest


def test_one_item_at_a_time_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(LINES)
    source = opened(tmp_path / "log.csv", chunk=1)
    found = [source.read() or [] for _ in range(ITEMS)]
    assert [len(items) for items in found] == [1] * ITEMS
    assert [item for items in found for item in items] == read_all(opened(tmp_path / "log.csv"))
    source.close()


def test_nothing_is_read_ahead_of_a_file_that_others_may_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.csv").write_bytes(b"1,2,3\n4,5,6\n")
    with open(tmp_path / "log.csv", "rb", buffering=0) as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert opened("-", chunk=1).read() == [Record([1, 2, 3], place=1, end=6)]
        assert file.read() == b"4,5,6\n"


def test_a_line_without_end_leaves_signals_their_turn() -> None:
    pieces = iter([b"1"] * 10**6)
    assert Intake(CONFIG, SourceOptions(chunk=1)).take(lambda size: next(pieces)) == []
    assert next(pieces) == b"1"


def test_what_cannot_be_read_is_named() -> None:
    source = opened("/proc/self/mem")  # nothing is at address 0
    with pytest.raises(InputError, match=r"^/proc/self/mem: cannot be read: Input/output error$"):
        source.read()
    source.close()


def test_a_named_pipe_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    source = opened(tmp_path / "pipe")
    assert (source.read(), source.resumable) == ([], False)
    with open(tmp_path / "pipe", "wb", buffering=0) as writer:
        assert source.read() == []
        writer.write(b"1,2,3\n")
        assert source.read() == [Record([1, 2, 3], place=1, end=6)]
    assert read_all(source) == []


def test_a_terminal_is_read() -> None:
    master, slave = pty.openpty()
    source = opened(os.ttyname(slave))
    assert source.read() == []
    os.write(master, b"1,2,3\n")
    assert source.read() == [Record([1, 2, 3], place=1, end=6)]
    os.close(slave)
    os.close(master)
    assert read_all(source) == []


def test_arrival_is_the_time_of_what_has_none(standard_input: int) -> None:
    source = opened("-", stamp=True, time_unit="ns")
    os.write(standard_input, b"c0,c1,c2,t\n1,2,3,\n1,2,3,5\n1,2,3,\n")
    first, second, third = source.read() or []
    assert isinstance(first, Record) and isinstance(second, Record) and isinstance(third, Record)
    assert isinstance(first.t, int) and isinstance(third.t, int)
    assert first.t > 1_700_000_000_000_000_000
    assert second.t == 5
    assert third.t == first.t + 1000


@pytest.mark.parametrize(("unit", "seconds"), [("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)])
def test_arrival_is_told_in_the_units_of_times(
    tmp_path: Path, unit: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_750_000_000_123_456_789)
    (tmp_path / "log").write_bytes(b"[1,2,3]\n")
    (record,) = read_all(opened(tmp_path / "log", stamp=True, time_unit=unit))
    assert isinstance(record, Record) and not isinstance(record.t, (str, type(None)))
    assert record.t * seconds == pytest.approx(1_750_000_000.123456, abs=1e-9)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("missing.csv", "missing.csv: cannot be read: No such file or directory"),
        (".", ".: is a folder, expected a file"),
        ("a\0b", "a\0b: cannot be read: embedded null byte"),
        ("", ": cannot be read: No such file or directory"),
        ("udp://host:1", f"udp://host:1: is no known kind of input, expected a file, -, or one of {', '.join(_KINDS)}"),
    ],
)
def test_what_cannot_be_opened(spec: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        opened(spec)
    assert str(caught.value) == message


def test_a_closed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match=r"^standard input is closed, expected samples$"):
        opened("-")


def test_a_wrong_header_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\n\nc0,c1\n")
    source = opened(tmp_path / "log")
    with pytest.raises(InputError, match=r"log, line 3: the header has no c2; expected c0, c1, c2$"):
        source.read()
    source.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "mp3"}, "format is 'mp3', expected one of auto, csv, jsonl, s16le, f32le, wav, text"),
        ({"channels": 3}, "channels is given and the format is auto, expected s16le or f32le"),
        ({"scale": 2.0}, "scale is given and the format is auto, expected s16le, f32le or wav"),
        ({"channels": 1, "format": "wav"}, "channels is given and the format is wav, expected s16le or f32le"),
        ({"targets": ("a",), "format": "wav"}, "targets is given and the format is wav, expected CSV or JSONL"),
        ({"streams": 2, "format": "csv"}, "streams is given and the format is csv, expected s16le or f32le"),
        ({"columns": ("a",), "format": "s16le"}, "columns is given and the format is s16le, expected CSV or JSONL"),
        ({"columns": ("a",), "format": "jsonl"}, "columns is given and the format is jsonl, expected CSV"),
        ({"streams_by": "a", "format": "f32le"}, "streams_by is given and the format is f32le, expected CSV or JSONL"),
        ({"targets": ("a",), "format": "f32le"}, "targets is given and the format is f32le, expected CSV or JSONL"),
        ({"streams": 0, "format": "f32le"}, "streams is 0, expected at least 1"),
        ({"chunk": 0}, "chunk is 0, expected at least 1"),
        ({"replay_speed": 0.0}, "replay_speed is 0, expected more than 0"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        opened("/dev/null", **options)
    assert str(caught.value) == message


def test_nothing_is_in_nothing() -> None:
    assert read_all(opened("/dev/null")) == []
