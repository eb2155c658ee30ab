"""The file that keeps the state of a run: whole after any end of its process, whatever was being written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime.errors import EdgegruError, StateError
from edgegru_runtime.session_file import SessionFile, set_aside

IDENTITY = "ab" * 32
SAVES = st.lists(st.tuples(st.binary(max_size=9000), st.booleans()), min_size=1, max_size=12)


def reopened(path: Path, identity: str = IDENTITY) -> tuple[bytes | None, int]:
    file = SessionFile(str(path), identity)
    file.close()
    return file.content, file.taken


def saved(path: Path, *contents: bytes, synchronised: bool = False) -> None:
    file = SessionFile(str(path), IDENTITY)
    for number, content in enumerate(contents, 1):
        file.count(number)
        file.save(content, synchronised=synchronised)
    file.close()


@given(saves=SAVES)
def test_the_last_save_is_read_again(tmp_path_factory: pytest.TempPathFactory, saves: list[tuple[bytes, bool]]) -> None:
    path = tmp_path_factory.mktemp("session") / "state"
    file = SessionFile(str(path), IDENTITY)
    assert file.content is None
    for number, (content, synchronised) in enumerate(saves, 1):
        file.save(content, synchronised=synchronised)
        if number % 4 == 0:
            file.close()
            file = SessionFile(str(path), IDENTITY)
            assert file.content == content
    file.count(12345)
    file.close()
    assert reopened(path) == (saves[-1][0], 12345)


def test_a_save_that_was_cut_off_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for synchronised in (False, True):
        path.unlink(missing_ok=True)
        saved(path, b"older" * 100, b"newer" * 100, synchronised=synchronised)
        data = bytearray(path.read_bytes())
        at = data.index(b"newer")
        for torn in (at - 10, at, at + 250, at + 499):  # in the slot's head, and anywhere in its content
            path.write_bytes(data[:torn] + bytes([data[torn] ^ 1]) + data[torn + 1 :])
            assert reopened(path)[0] == b"older" * 100


def test_a_synchronised_save_survives_what_is_torn_later(tmp_path: Path) -> None:
    path = tmp_path / "state"
    file = SessionFile(str(path), IDENTITY)
    file.save(b"on the disk", synchronised=True)
    for number in range(5):
        file.save(b"in memory %d" % number)
    file.close()
    data = path.read_bytes()
    for number in (3, 4):
        data = data.replace(b"in memory %d" % number, b"in nobody %d" % number)
    path.write_bytes(data)
    assert reopened(path)[0] == b"on the disk"


def test_a_file_grows_with_what_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "state"
    saved(path, b"small", b"large" * 100_000, b"small again")
    assert reopened(path) == (b"small again", 3)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda data: b"", "is no state file"),
        (lambda data: b"EGRUSTAT" + data[8:], "is no state file"),
        (lambda data: data[:8] + b"\x09" + data[9:], "has version 9, expected 1"),
        (lambda data: data[:12] + b"\1" + data[13:], "which none is"),
        (lambda data: data[:-4096], "bytes, expected"),
        (lambda data: data.replace(b"content", b"CONTENT"), "is torn: no save in it is whole"),
    ],
)
def test_a_torn_or_foreign_file_is_told(tmp_path: Path, damage: object, sentence: str) -> None:
    path = tmp_path / "state"
    saved(path, b"content", synchronised=True)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]  # a function of bytes
    before = path.read_bytes()
    with pytest.raises(StateError, match=sentence):
        SessionFile(str(path), IDENTITY)
    assert path.read_bytes() == before
    path.unlink()


def test_a_file_of_another_model_is_told(tmp_path: Path) -> None:
    saved(tmp_path / "state", b"content")
    with pytest.raises(StateError, match="is of another model"):
        SessionFile(str(tmp_path / "state"), "cd" * 32)


def test_one_process_holds_the_file(tmp_path: Path) -> None:
    file = SessionFile(str(tmp_path / "state"), IDENTITY)
    with pytest.raises(EdgegruError, match="is in use by another process"):
        SessionFile(str(tmp_path / "state"), IDENTITY)
    file.close()
    reopened(tmp_path / "state")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(EdgegruError, match="is not a regular file"):
            SessionFile(str(path), IDENTITY)
    with pytest.raises(EdgegruError, match="cannot be written: No such file"):
        SessionFile(str(tmp_path / "no" / "state"), IDENTITY)


def test_setting_aside_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for content in ("first", "second"):
        path.write_text(content)
        set_aside(str(path))
    assert (tmp_path / "state.aside-1").read_text() == "first"
    assert (tmp_path / "state.aside-2").read_text() == "second"
    assert not path.exists()


def test_a_record_is_in_flight_until_it_is_counted(tmp_path: Path) -> None:
    path, (reading, writing) = str(tmp_path / "state"), os.pipe()
    inode = os.fstat(reading).st_ino
    file = SessionFile(path, IDENTITY)
    assert file.pipe(inode) == 0
    os.write(writing, b"1,2\n3,")
    steps = [(b"1", True, 1), (b",", True, 1), (b"2", True, 1), (b"\n", True, 0)]  # a whole line is in flight, too
    for byte, in_flight, held in steps:
        assert file.receive(reading, 1) == byte
        file.close()
        file = SessionFile(path, IDENTITY)
        assert (file.in_flight, file.taken) == (in_flight, 0)
        assert file.pipe(inode) == held
    file.count(1)
    file.close()
    file = SessionFile(path, IDENTITY)
    assert (file.in_flight, file.taken) == (False, 1)
    file.pipe(inode)
    assert file.receive(reading, 100) == b"3,"
    file.hold(2)
    file.count(1)
    file.close()
    file = SessionFile(path, IDENTITY)
    assert (file.in_flight, file.taken) == (True, 1)
    assert file.pipe(inode) == 2
    file.hold(2)
    file.close()
    file = SessionFile(path, IDENTITY)
    assert file.pipe(inode + 1) == 0, "of another pipe nothing was read"
    file.close()
    os.close(writing)
    file = SessionFile(path, IDENTITY)
    assert file.receive(reading, 1) == b""
    file.close()
    os.close(reading)
