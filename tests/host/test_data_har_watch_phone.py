"""Reading the layout of the smartphone and smartwatch recordings: made-up files, and the real folder where it is."""

from __future__ import annotations

import csv
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from edgegru.data import DataConfig, prepare, read_recordings
from edgegru_runtime.errors import ConfigError, DataError
from tests.public_data import public_data

HEADER = "x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label"
AT_50_HZ = DataConfig(rate=50.0)


def write(path: Path, rows: list[tuple[int, float, str]], header: str = HEADER) -> None:
    """Rows of timestamp in ms, a value for all channels, label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *(",".join([str(x)] * 6 + [str(t), label]) for t, x, label in rows)]) + "\n")


def test_frames_at_50_hz(tmp_path: Path) -> None:
    start = 1657533977810
    rows = [(start, 0, "SEATED"), (start, 9, "X"), (start + 8, 8, "SEATED"), (start + 20, 20, "WALKING")]
    rows += [(start + 38, 38, "TURNING"), (start + 42, 42, "WALKING"), (start + 59, 59, "SEATED")]
    write(tmp_path / "s01" / "s01_01_sw.csv", rows)
    write(tmp_path / "s01" / "s01_01_sp.csv", rows[:1])
    (tmp_path / "subjects_info.csv").write_text("subject_id,age\ns01,54\n")
    found = read_recordings(tmp_path, AT_50_HZ)
    (recording,) = found.recordings
    assert (recording.name, recording.group, found.rate) == ("s01_01_sw", "s01", 50)
    assert found.counts == {"equal timestamps": 1}
    assert found.units == ("m/s^2",) * 3 + ("rad/s",) * 3
    np.testing.assert_allclose(recording.x[:, 0], [0, 20, 40], rtol=1e-6)
    assert recording.y == ("SEATED", "WALKING", "WALKING")


def test_device_and_channels(tmp_path: Path) -> None:
    write(tmp_path / "s02" / "s02_01_sp.csv", [(0, 1, "SEATED")])
    config = DataConfig(device="phone", channels=("z_gyro", "x_acc"))
    found = read_recordings(tmp_path, config)
    assert (found.channels, found.units) == (("z_gyro", "x_acc"), ("rad/s", "m/s^2"))
    assert read_recordings(tmp_path / "s02" / "s02_01_sp.csv", DataConfig(format="har_watch_phone")).channels
    with pytest.raises(DataError, match="no files named like s01/s01_01_sw.csv"):
        read_recordings(tmp_path, DataConfig(format="har_watch_phone"))


@pytest.mark.parametrize(
    ("header", "rows", "config", "words"),
    [
        (HEADER.replace("x_acc", "u_acc"), [(0, 1.0, "A")], DataConfig(), "line 1: unknown column 'u_acc'"),
        (HEADER, [(9, 1.0, "A"), (8, 1.0, "A")], DataConfig(), "line 3: timestamp 8 comes after 9"),
        (HEADER, [(0, 1.0, "A")], DataConfig(channels=("mag",)), "no channel 'mag'"),
    ],
)
def test_refusals(
    tmp_path: Path, header: str, rows: list[tuple[int, float, str]], config: DataConfig, words: str
) -> None:
    write(tmp_path / "s01" / "s01_01_sw.csv", rows, header)
    with pytest.raises(DataError, match=words):
        read_recordings(tmp_path, config)


def test_its_timestamps_are_milliseconds(tmp_path: Path) -> None:
    write(tmp_path / "s01" / "s01_01_sw.csv", [(0, 1, "A")])
    with pytest.raises(ConfigError, match="has milliseconds"):
        read_recordings(tmp_path, DataConfig(timestamp_unit="s"))


@pytest.fixture(scope="module")
def real() -> Path:
    return public_data("har_watch_phone")


def frames_of(path: Path) -> list[tuple[str, list[float]]]:
    """Label and channels of every 50 Hz frame of a recording, straight from the definition, in exact arithmetic."""
    samples: dict[int, tuple[list[float], str]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            samples.setdefault(
                int(row["timestamp"]), ([float(row[name]) for name in HEADER.split(",")[:6]], row["label"])
            )
    times = list(samples)
    frames, after = [], 0
    for now in range(times[0], times[-1] + 1, 20):
        while times[after] < now:
            after += 1
        x, label = samples[times[after]]
        if times[after] > now:
            before = samples[times[after - 1]][0]
            weight = float(Fraction(now - times[after - 1], times[after] - times[after - 1]))
            x = [a + (b - a) * weight for a, b in zip(before, x, strict=True)]
        frames.append((label, x))
    return frames


def test_real_recordings_follow_the_definition(real: Path) -> None:
    found = read_recordings(real, AT_50_HZ)
    files = sorted(real.glob("s*/s*_sw.csv"))
    assert [recording.name for recording in found.recordings] == [file.stem for file in files]
    for index in (0, len(files) // 2, len(files) - 1):
        frames = frames_of(files[index])
        assert found.recordings[index].y == tuple(label for label, _ in frames)
        np.testing.assert_allclose(found.recordings[index].x, [x for _, x in frames], rtol=1e-6, atol=1e-6)


def test_real_folder_is_split_by_subject(real: Path) -> None:
    data = prepare(AT_50_HZ, real)
    assert data.labels == ("SEATED", "SITTING_DOWN", "STANDING_UP", "TURNING", "WALKING")
    assert data.counts["equal timestamps"] > 0
    assert not {s.group for s in data.train} & {s.group for s in data.validation}
    steps = Counter(int(label) for s in data.train + data.validation for label in s.target)
    assert len(steps) == 5
