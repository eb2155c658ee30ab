"""Reading the layout of the UCI activity data from made-up files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgegru.data import DataConfig, prepare, read_recordings
from edgegru_runtime.errors import ConfigError, DataError

CHANNELS = tuple(f"{signal}_{axis}" for signal in ("body_acc", "body_gyro", "total_acc") for axis in "xyz")
ACTIVITIES = "1 WALKING\n2 WALKING_UPSTAIRS\n5 STANDING\n"
PARTS = {"train": ((5, 1), (5, 1), (1, 3), (2, 3)), "test": ((1, 2), (5, 2))}  # label and subject of each window


def windows(part: str) -> np.ndarray:
    """(windows, 128, channels), as written."""
    rng = np.random.default_rng(len(part))
    return rng.normal(0, 1, (len(PARTS[part]), 128, len(CHANNELS))).astype(np.float32).astype(np.float64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in the publisher's layout: numbers like ``  1.8085150e-004`` in columns of 16."""
    (tmp_path / "activity_labels.txt").write_text(ACTIVITIES)
    for part, rows in PARTS.items():
        signals = tmp_path / part / "Inertial Signals"
        signals.mkdir(parents=True)
        (tmp_path / part / f"y_{part}.txt").write_text("".join(f"{label}\n" for label, _ in rows))
        (tmp_path / part / f"subject_{part}.txt").write_text("".join(f"{subject}\n" for _, subject in rows))
        for column, channel in enumerate(CHANNELS):
            lines = ("".join(f"{value:16.8e}" for value in window) for window in windows(part)[:, :, column])
            (signals / f"{channel}_{part}.txt").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def test_every_window_is_a_recording(folder: Path) -> None:
    found = read_recordings(folder, DataConfig())
    assert [(r.name, r.group, r.y, r.part) for r in found.recordings] == [
        ("train/0001", "1", "STANDING", "train"), ("train/0002", "1", "STANDING", "train"),
        ("train/0003", "3", "WALKING", "train"), ("train/0004", "3", "WALKING_UPSTAIRS", "train"),
        ("test/0001", "2", "WALKING", "test"), ("test/0002", "2", "STANDING", "test"),
    ]  # fmt: skip
    assert (found.channels, found.rate) == (CHANNELS, 50)
    assert found.units == ("g",) * 3 + ("rad/s",) * 3 + ("g",) * 3
    assert found.labels == ("WALKING", "WALKING_UPSTAIRS", "STANDING")
    x = np.stack([recording.x for recording in found.recordings])
    np.testing.assert_allclose(x, np.concatenate([windows("train"), windows("test")]), rtol=1e-6)


def test_channels_and_rate(folder: Path) -> None:
    found = read_recordings(folder, DataConfig(channels=("total_acc_z", "body_gyro_x"), rate=25.0))
    assert (found.channels, found.units, found.rate) == (("total_acc_z", "body_gyro_x"), ("g", "rad/s"), 25)
    np.testing.assert_allclose(found.recordings[2].x, windows("train")[2, ::2][:, [8, 3]], rtol=1e-6)


def test_the_official_parts(folder: Path) -> None:
    data = prepare(DataConfig(validation_fraction=0.0), folder)
    assert ([s.name for s in data.test], len(data.train), data.target) == (
        ["test/0001", "test/0002"], 4, "recording_label",
    )  # fmt: skip
    assert [int(sequence.mask.sum()) for sequence in data.train] == [1] * 4


def change(folder: Path, name: str, line: int, text: str | None) -> None:
    """Put ``text`` in the place of a line, or leave the line out."""
    lines = (folder / name).read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    (folder / name).write_text("".join(f"{text}\n" for text in lines))


SIGNAL = "test/Inertial Signals/body_gyro_y_test.txt"


@pytest.mark.parametrize(
    ("name", "line", "text", "words"),
    [
        ("activity_labels.txt", 2, "2", "labels.txt, line 2: expected another number and name like 1 WALKING"),
        ("activity_labels.txt", 2, "1 SITTING", "labels.txt, line 2: expected another number and name"),
        ("activity_labels.txt", 2, "4 WALKING", "labels.txt, line 2: expected another number and name"),
        ("train/y_train.txt", 3, "6", "y_train.txt, line 3: '6' is not in activity_labels.txt"),
        ("train/y_train.txt", 3, None, "subject_train.txt has 4 lines, y_train.txt has 3"),
        ("train/subject_train.txt", 1, "", "line 1: expected the number of a subject, found ''"),
        (SIGNAL, 2, None, "body_gyro_y_test.txt has 1 lines, y_test.txt has 2"),
        (SIGNAL, 2, " 1.0" * 127, "body_gyro_y_test.txt, line 2: 127 numbers, expected a window of 128"),
        (SIGNAL, 1, " 1.0" * 127 + " 1,0", "line 1: expected 128 finite numbers"),
        (SIGNAL, 1, " 1.0" * 127 + " nan", "line 1: expected 128 finite numbers"),
    ],
)
def test_refusals(folder: Path, name: str, line: int, text: str | None, words: str) -> None:
    change(folder, name, line, text)
    with pytest.raises(DataError, match=words):
        read_recordings(folder, DataConfig())


def test_what_is_not_there(folder: Path) -> None:
    with pytest.raises(DataError, match="no channel 'gravity', the channels are body_acc_x"):
        read_recordings(folder, DataConfig(channels=("gravity",)))
    with pytest.raises(ConfigError, match="timestamp_unit is 'ms', format 'uci_har' has its own"):
        read_recordings(folder, DataConfig(timestamp_unit="ms"))
    (folder / "train" / "y_train.txt").write_text("")
    with pytest.raises(DataError, match="y_train.txt is empty"):
        read_recordings(folder, DataConfig())
    (folder / SIGNAL).unlink()
    (folder / "train" / "y_train.txt").write_text("1\n" * 4)
    with pytest.raises(DataError, match=r"cannot read .*body_gyro_y_test.txt: No such file"):
        read_recordings(folder, DataConfig())
    with pytest.raises(DataError, match="is a file, format 'uci_har' does not read it"):
        read_recordings(folder / "activity_labels.txt", DataConfig(format="uci_har"))
