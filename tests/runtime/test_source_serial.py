"""Serial lines, on pseudo-terminals: half lines at first, unplugged and plugged in again."""

from __future__ import annotations

import os
import pty
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgegru_runtime.errors import EngineError, InputError
from edgegru_runtime.record import Control, Record, Refusal
from edgegru_runtime.sources.opening import SourceOptions, open_source
from edgegru_runtime.sources.serial_line import SerialSource
from edgegru_runtime.sources.source import Waits
from tests.builders import random_config
from tests.runtime.waiting import read_some, read_until, wait

pytest.importorskip("serial")
CONFIG = random_config(3)


class Board:
    """A device that can be plugged in at a path, and writes lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._master: int | None = None

    def plug_in(self) -> None:
        self._master, slave = pty.openpty()
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(slave))
        os.close(slave)

    def write(self, data: bytes) -> None:
        assert self._master is not None
        assert os.write(self._master, data) == len(data)

    def unplug(self) -> None:
        if self._master is not None:
            os.close(self._master)
            self.path.unlink()
        self._master = None


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    made = Board(tmp_path / "ttyACM0")
    yield made
    made.unplug()


def opened(board: Board, said: list[str], baud: str = "", **options: Any) -> SerialSource:
    source = open_source(f"serial:{board.path}{baud}", CONFIG, SourceOptions(**options), said.append)
    assert isinstance(source, SerialSource)
    return source


def test_lines_are_read(board: Board) -> None:
    board.plug_in()
    said: list[str] = []
    source = opened(board, said, ":9600", stamp=True)
    assert (source.name, source.unit, source.live, source.resumable) == (f"serial {board.path}", "line", True, False)
    assert source.due() is None
    assert source.read() == []
    before = time.time()
    board.write(b"1,2,3\r\n!reset a\r\n4,5\r\n")
    first, control, refusal = read_some(source, 3)
    assert isinstance(first, Record) and isinstance(first.t, float)
    assert first.x == [1, 2, 3] and before - 1 < first.t < time.time() + 1
    assert control == Control("reset", "a", 2, 17)
    assert refusal == Refusal("2 columns arrived, expected 3", 3, 22)
    assert source.read() == []
    with pytest.raises(InputError, match="expected a regular file"):
        source.resume(1, 1)
    source.close()
    source.close()
    assert said == []


def test_the_first_line_may_be_half_a_line(board: Board) -> None:
    board.plug_in()
    source = opened(board, [])
    board.write(b'5, "c2": 3}\r\n{"c0": 1, "c1": 2, "c2": 3}\r\n')
    items = read_some(source, 2)
    assert isinstance(items[0], Refusal)
    assert items[1] == Record([1, 2, 3], place=2, end=42)
    source.close()


def test_nothing_is_read_ahead(board: Board) -> None:
    board.plug_in()
    source = opened(board, [], chunk=1)
    board.write(b"1,2,3\n4,5,6\n")
    assert read_some(source, 1) == [Record([1, 2, 3], place=1, end=6)]
    assert read_some(source, 1) == [Record([4, 5, 6], place=2, end=12)]
    source.close()


def test_a_device_that_is_unplugged_is_opened_again(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Waits, "FIRST", 0.02)
    board.plug_in()
    said: list[str] = []
    source = opened(board, said)
    board.write(b"c2,c1,c0\n1,2,3\n1,2")
    assert [item.place for item in read_some(source, 1)] == [2]
    board.unplug()
    (torn,) = read_until(source, lambda items: source.fileno() is None and bool(said))
    assert torn == Refusal("the input ends within a line of 3 bytes", 3, 18)
    waits = []
    for _ in range(4):  # each attempt waits longer for the next one
        due = source.due()
        assert due is not None
        while time.monotonic() < due:
            assert wait(source)
        began = time.monotonic()
        assert source.read() == []
        again = source.due()
        assert again is not None and again > began
        waits.append(again - began)
    assert waits == pytest.approx([waits[0] * 2**attempt for attempt in range(4)], abs=0.015)
    board.plug_in()
    read_until(source, lambda items: source.fileno() is not None)
    board.write(b"6,5,4\n")
    assert read_some(source, 1) == [Record([4, 5, 6], place=4, end=24)]
    name = source.name
    assert [sentence.partition(" (")[0] for sentence in said] == [f"{name}: is not there", f"{name}: is there again"]
    source.close()


def test_a_device_that_is_not_there_yet_is_waited_for(board: Board) -> None:
    said: list[str] = []
    source = opened(board, said)
    assert said == [f"serial {board.path}: is not there (No such file or directory) and is waited for"]
    assert source.fileno() is None
    board.plug_in()
    read_until(source, lambda items: source.fileno() is not None)
    board.write(b"1,2,3\n")
    assert len(read_some(source, 1)) == 1
    source.close()


def test_what_is_no_serial_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1,2,3\n")
    for spec, message in (
        (f"serial:{tmp_path}/file", "cannot be opened: "),
        ("serial:", "names no serial line, expected serial:DEVICE or serial:DEVICE:BAUD"),
        ("serial::9600", "names no serial line"),
    ):
        with pytest.raises(InputError, match=message):
            open_source(spec, CONFIG, SourceOptions(), lambda sentence: None)
    with pytest.raises(InputError, match="sends no s16le"):
        open_source("serial:/dev/ttyACM0", CONFIG, SourceOptions(format="s16le"), lambda sentence: None)


def test_two_do_not_share_a_device(board: Board) -> None:
    board.plug_in()
    source = opened(board, [])
    with pytest.raises(InputError, match="cannot be opened"):
        opened(board, [])
    source.close()


def test_colons_in_the_name_of_a_device(tmp_path: Path) -> None:
    name = "pci-0000:00:14.0-usb-0:1:1.0-port0"
    board = Board(tmp_path / name)
    board.plug_in()
    source = opened(board, [])
    assert source.name == f"serial {tmp_path / name}"
    source.close()
    board.unplug()


def test_without_pyserial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(EngineError, match=r'^a serial line needs pyserial: pip install "edgegru-runtime\[serial\]"$'):
        open_source("serial:/dev/ttyACM0", CONFIG, SourceOptions(), lambda sentence: None)


def test_a_wrong_header_is_named(board: Board) -> None:
    board.plug_in()
    source = opened(board, [])
    board.write(b"2,3\n1,2\n")
    with pytest.raises(InputError, match=rf"^serial {board.path}, line 2: 2 columns arrived without a header"):
        read_until(source, lambda items: False)
    source.close()
