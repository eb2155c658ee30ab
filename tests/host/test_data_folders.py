"""Which files are found below a folder."""

from __future__ import annotations

from pathlib import Path

from edgegru.data.folders import files_below


def test_links_to_folders_are_followed_once_and_hidden_files_left_out(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "s01").mkdir(parents=True)
    (tmp_path / "elsewhere" / "s01" / "a.csv").touch()
    (tmp_path / "elsewhere" / "s01" / ".hidden.csv").touch()
    (tmp_path / "chosen").mkdir()
    (tmp_path / "chosen" / "s01").symlink_to(tmp_path / "elsewhere" / "s01")
    (tmp_path / "elsewhere" / "s01" / "back").symlink_to(tmp_path / "chosen")
    assert list(files_below(tmp_path / "chosen")) == [tmp_path / "chosen" / "s01" / "a.csv"]
