"""A replaced file is the old one or the new one, never something between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgegru_runtime import EdgegruError
from edgegru_runtime.replaced_file import replaced_file


def test_the_new_content_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replaced_file(str(path)) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_failure_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half() -> None:
        with replaced_file(str(path)) as file:
            file.write(b"new")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_killed_process_left_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / f"file.{os.getpid()}.tmp").write_bytes(b"half")
    with replaced_file(str(tmp_path / "file")) as file:
        file.write(b"new")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["folder", "pipe", "dangling"])
def test_only_files_are_replaced(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(EdgegruError, match="is not a regular file"), replaced_file(str(tmp_path / name)):
        pass
    assert sorted(os.listdir(tmp_path)) == ["dangling", "folder", "pipe"]
