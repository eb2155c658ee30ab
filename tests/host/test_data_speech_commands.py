"""Reading the layout of Speech Commands: words, speakers, and the parts that two lists make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgegru.data import DataConfig, prepare, read_recordings
from edgegru_runtime.errors import DataError
from tests.host.sounds_on_disk import write_wav

NAMES = ("yes/0a_nohash_0", "yes/0a_nohash_1", "no/1b_nohash_0", "yes/2c_nohash_0", "no/2c_nohash_3")


def write(folder: Path, *names: str) -> Path:
    for name in names:
        write_wav(folder / f"{name}.wav", np.array([1, -2, 3], np.int16), 16_000)
    write_wav(folder / "_background_noise_" / "running_tap.wav", np.zeros(99, np.int16), 16_000)
    return folder


def test_words_speakers_and_parts(tmp_path: Path) -> None:
    write(tmp_path, *NAMES)
    (tmp_path / "validation_list.txt").write_text("no/1b_nohash_0.wav\nleft/9_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text("yes/2c_nohash_0.wav\nno/2c_nohash_3.wav\n")
    found = read_recordings(tmp_path, DataConfig())
    assert (found.channels, found.units, found.rate) == (("sound",), ("",), 16_000)
    assert {(r.name, r.y, r.group, r.part) for r in found.recordings} == {
        ("yes/0a_nohash_0", "yes", "0a", "train"),
        ("yes/0a_nohash_1", "yes", "0a", "train"),
        ("no/1b_nohash_0", "no", "1b", "validation"),
        ("yes/2c_nohash_0", "yes", "2c", "test"),
        ("no/2c_nohash_3", "no", "2c", "test"),
    }
    data = prepare(DataConfig(), tmp_path)
    assert (data.target, data.labels) == ("recording_label", ("no", "yes"))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [2, 1, 2]


def test_without_lists_speakers_are_split_as_the_options_say(tmp_path: Path) -> None:
    write(tmp_path, *NAMES)
    assert {recording.part for recording in read_recordings(tmp_path, DataConfig()).recordings} == {None}
    data = prepare(DataConfig(test_groups=("2c",), validation_groups=("1b",)), tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [2, 1, 2]


def test_a_selection_of_words_is_a_folder_of_links(tmp_path: Path) -> None:
    write(tmp_path / "all", *NAMES)
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "yes").symlink_to(tmp_path / "all" / "yes")
    assert {recording.y for recording in read_recordings(tmp_path / "some", DataConfig()).recordings} == {"yes"}


def test_refusals(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match="has no files named like yes/0a7c2a8d_nohash_0.wav"):
        read_recordings(tmp_path, DataConfig(format="speech_commands"))
    write(tmp_path, *NAMES)
    (tmp_path / "validation_list.txt").write_text("no/1b_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text("no/1b_nohash_0.wav\n")
    with pytest.raises(DataError, match=r"no/1b_nohash_0.wav is in validation_list.txt and in testing_list.txt of"):
        read_recordings(tmp_path, DataConfig())
    (tmp_path / "testing_list.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="testing_list.txt is no readable list of files"):
        read_recordings(tmp_path, DataConfig())
