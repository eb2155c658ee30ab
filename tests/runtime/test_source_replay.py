"""Replay: the same items as without it, each when its time has come."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from edgegru_runtime.errors import InputError
from edgegru_runtime.record import Item
from edgegru_runtime.sources.file import FileSource
from edgegru_runtime.sources.opening import open_source
from edgegru_runtime.sources.replay import ReplaySource
from edgegru_runtime.sources.source import Source, SourceOptions
from tests.builders import random_config

CONFIG = random_config(3, rate=None)


class Clock:
    """Time that passes only as far as the source waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def replayed(
    path: Path, text: str, speed: float = 1.0, unit: str = "s", rate: float | None = None, **options: Any
) -> list[tuple[float, Item]]:
    """The items and when they came."""
    path.write_text(text)
    clock = Clock()
    source: Source = ReplaySource(FileSource(str(path), CONFIG, SourceOptions(**options)), speed, unit, rate, clock)
    found: list[tuple[float, Item]] = []
    while (items := source.read()) is not None:
        found += [(clock.now - 1000.0, item) for item in items]
        due = source.due()
        assert due is not None
        assert items or due > clock.now or due == 0.0, "it is asked only when something is due"
        clock.now = max(clock.now, due)
    source.close()
    return found


def moments(found: list[tuple[float, Item]]) -> list[float]:
    return [round(moment, 9) for moment, _ in found]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.csv"


HEADER = "t,c0,c1,c2\n"


@pytest.mark.parametrize(
    ("speed", "unit", "step"), [(1.0, "s", 0.5), (4.0, "s", 2), (0.5, "ms", 250), (1.0, "ns", 500_000_000)]
)
@pytest.mark.parametrize("chunk", [1, 2**16])
def test_records_come_at_their_times(path: Path, speed: float, unit: str, step: float, chunk: int) -> None:
    text = HEADER + "".join(f"{100 + index * step},1,2,3\n" for index in range(4))
    found = replayed(path, text, speed, unit, chunk=chunk)
    assert moments(found) == [0, 0.5, 1.0, 1.5]
    source = FileSource(str(path), CONFIG, SourceOptions())
    assert [item for _, item in found] == source.read()
    source.close()


def test_text_times(path: Path) -> None:
    times = ("2026-01-02T03:04:05+01:00", "2026-01-02 02:04:06.25", "noon", "2026-01-02T02:04:07Z")
    text = HEADER + "".join(f"{t},1,2,3\n" for t in times)
    assert moments(replayed(path, text)) == [0, 1.25, 1.25, 2]


def test_records_without_times_come_at_the_rate(path: Path) -> None:
    assert moments(replayed(path, "1,2,3\n" * 3, 2.0, rate=5.0)) == [0.1, 0.2, 0.3]
    with pytest.raises(InputError, match=r"log.csv, line 2: has no time, and nothing says how many come in a second"):
        replayed(path, "c0,c1,c2\n1,2,3\n")


def test_a_clock_that_was_set_back_goes_on_from_there(path: Path) -> None:
    text = HEADER + "".join(f"{t},1,2,3\n" for t in (100, 101, 5, 6, 6, 8))
    assert moments(replayed(path, text)) == [0, 1, 1, 2, 2, 4]


def test_what_is_no_record_follows_at_once(path: Path) -> None:
    text = HEADER + "!dump\n1,1,2,3\nx\n!reset\n2,1,2,3\n"
    assert moments(replayed(path, text)) == [0, 0, 0, 0, 1]


def test_a_replay_is_continued(path: Path) -> None:
    path.write_text(HEADER + "1,1,2,3\n2,4,5,6\n")
    clock = Clock()
    source = ReplaySource(FileSource(str(path), CONFIG, SourceOptions()), 1.0, "s", None, clock)
    assert source.resumable
    source.resume(len(HEADER) + 8, 2)
    (item,) = source.read() or []
    assert item.place == 3
    source.close()


def test_only_files_are_replayed(path: Path) -> None:
    path.write_text(HEADER + "1,1,2,3\n1.01,4,5,6\n")
    source = open_source(str(path), CONFIG, SourceOptions(replay_speed=1.0), lambda sentence: None)
    assert len(source.read() or []) == 1
    due = source.due()
    assert due is not None and due > 0 and source.fileno() is None
    while time.monotonic() < due:
        time.sleep(due - time.monotonic() if due > time.monotonic() else 0)
    assert len(source.read() or []) == 1
    assert source.read() == [] and source.read() is None
    source.close()
    os.mkfifo(path.with_name("pipe"))
    with pytest.raises(InputError, match=r"pipe: cannot be replayed, expected a file$"):
        open_source(str(path.with_name("pipe")), CONFIG, SourceOptions(replay_speed=1.0), lambda sentence: None)
    with pytest.raises(InputError, match=r"^tcp://localhost:1: cannot be replayed, expected a file$"):
        open_source("tcp://localhost:1", CONFIG, SourceOptions(replay_speed=1.0), lambda sentence: None)
