"""Reading the layout of the Free Spoken Digit Dataset: made-up files, and the real folder where it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgegru.data import DataConfig, prepare, read_recordings
from edgegru_runtime.errors import DataError
from tests.host.sounds_on_disk import write_wav
from tests.public_data import public_data


def write(folder: Path, *names: str) -> Path:
    for index, name in enumerate(names):
        write_wav(folder / f"{name}.wav", np.arange(5 + index, dtype=np.int16) - 3)
    return folder


def test_digit_speaker_and_rate(tmp_path: Path) -> None:
    write(tmp_path / "recordings", "7_ann_12", "0_ben_0")
    (tmp_path / "README.md").write_text("spoken digits")
    for path in (tmp_path, tmp_path / "recordings"):
        found = read_recordings(path, DataConfig())
        assert (found.channels, found.units, found.rate) == (("sound",), ("",), 8000)
        facts = [(r.name, r.y, r.group, r.part, r.t) for r in found.recordings]
        assert facts == [("0_ben_0", "0", "ben", None, None), ("7_ann_12", "7", "ann", None, None)]
        np.testing.assert_array_equal(found.recordings[1].x, np.arange(-3, 2, dtype=np.float32)[:, np.newaxis])


def test_the_digits_of_one_speaker_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "0_ann_0", "1_ann_0", "0_ben_0", "1_ben_0", "1_eve_0", "0_eve_0")
    data = prepare(DataConfig(test_groups=("ben",), validation_fraction=0.0), tmp_path)
    assert (data.target, data.labels, data.rate) == ("recording_label", ("0", "1"), 8000)
    assert {sequence.group for sequence in data.train} == {"ann", "eve"}
    assert [sequence.name for sequence in data.test] == ["0_ben_0", "1_ben_0"]


def test_refusals(tmp_path: Path) -> None:
    write(tmp_path, "10_ann_0", "ann_0", "1_ann_0_2")
    with pytest.raises(DataError, match="has no files named like recordings/0_jackson_0.wav"):
        read_recordings(tmp_path, DataConfig(format="fsdd"))
    with pytest.raises(DataError, match="has no recordings: neither .csv nor .ts files, nor .wav files of a known"):
        read_recordings(tmp_path, DataConfig())
    write(tmp_path, "1_ann_0")
    with pytest.raises(DataError, match="is a file, format 'fsdd' does not read it"):
        read_recordings(tmp_path / "1_ann_0.wav", DataConfig(format="fsdd"))


def test_real_recordings() -> None:
    found = read_recordings(public_data("fsdd"), DataConfig())
    assert found.rate == 8000
    digits = Counter((recording.group, recording.y) for recording in found.recordings)
    speakers = {recording.group for recording in found.recordings}
    assert digits == {(speaker, str(digit)): 50 for speaker in speakers for digit in range(10)}
    assert all(0.1 < len(recording.x) / 8000 < 2.5 for recording in found.recordings)
