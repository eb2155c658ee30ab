"""Reading UEA/UCR .ts files: headers, every kind of data line, refusals with file and line, and a real set."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.data import DataConfig, prepare, read_recordings
from edgegru_runtime.errors import ConfigError, DataError

TS = DataConfig()
CLASSES = "@problemName P\n@timeStamps false\n@missing false\n@univariate false\n@classLabel true up down\n@data\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def aeon_data() -> Path:
    """The data folder of the installed package aeon, which is not imported."""
    spec = importlib.util.find_spec("aeon")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data"


def test_channels_values_and_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "P.ts", "# c\n%c\n" + CLASSES + "1,2,3:4,5,6:up\n\n7:8:down\n")
    found = read_recordings(path, TS)
    first, second = found.recordings
    assert found.channels == ("channel0", "channel1")
    assert found.labels == ("up", "down")
    assert (first.name, second.name) == ("P/0001", "P/0002")
    np.testing.assert_array_equal(first.x, [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(second.x, [[7, 8]])
    assert (first.y, second.y, first.t, first.part) == ("up", "down", None, None)
    assert first.group == first.name


def test_channels_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "P.ts", CLASSES + "1:4:up\n")
    assert read_recordings(path, DataConfig(channels=("a", "b"))).channels == ("a", "b")
    with pytest.raises(DataError, match="has 2 channels, but 1 names are given: a"):
        read_recordings(path, DataConfig(channels=("a",)))


def test_target_values_and_no_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "P.ts", "@targetlabel true\n@data\n1,2:0.5\n3:?\n")
    found = read_recordings(path, TS)
    assert found.targets == ("value0",)
    np.testing.assert_array_equal([r.y for r in found.recordings], [[0.5], [np.nan]])
    path = write(tmp_path / "Q.ts", "@classLabel false\n@data\n1,2:3,4\n")
    assert read_recordings(path, TS).recordings[0].y is None
    assert read_recordings(path, TS).channels == ("channel0", "channel1")


def test_missing_values_are_held_and_padding_is_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "P.ts", CLASSES + "1,?,3,NaN,?:4,5,6,7,nan:up\n")
    found = read_recordings(path, TS)
    np.testing.assert_array_equal(found.recordings[0].x, [[1, 4], [1, 5], [3, 6], [3, 7]])
    assert found.counts == {"missing values": 2}


def test_timestamps_as_numbers_and_dates(tmp_path: Path) -> None:
    path = write(
        tmp_path / "P.ts",
        "@timestamps true\n@classLabel true a b\n@data\n"
        "(2007-01-01 00:00:00,241.97),(2007-01-01 00:01:00,241.75):(2007-01-01 00:00:00,1),(2007-01-01 00:01:00,2):a\n",
    )
    (recording,) = read_recordings(path, TS).recordings
    np.testing.assert_array_equal(recording.t, [0, 60])
    np.testing.assert_allclose(recording.x, [[241.97, 1], [241.75, 2]], rtol=1e-7)
    path = write(tmp_path / "Q.ts", "@timestamps true\n@classLabel true a b\n@data\n(0,1),(10,2),(20,3):b\n")
    (recording,) = read_recordings(path, DataConfig(rate=50.0)).recordings
    np.testing.assert_array_equal(recording.x[:, 0], [1, 3])
    assert recording.y == "b"


HEADER_LINES = 6  # of CLASSES


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no line @data"),
        (CLASSES, "has no recordings"),
        ("hello\n@data\n1:a\n", "line 1: expected a header line"),
        ("@\n@data\n", "line 1: unknown header @,"),
        ("@colour blue\n@data\n", "line 1: unknown header @colour"),
        ("@timestamps maybe\n@data\n", "line 1: @timestamps must be true or false"),
        ("@dimensions x\n@data\n", "line 1: @dimensions must be a whole number"),
        ("@seriesLength 0\n@data\n", "line 1: @serieslength must be a whole number above 0"),
        ("@classLabel true a\n@targetlabel true\n@data\n", "line 2: @classLabel and @targetLabel"),
        (CLASSES + "1,2:3,4:up\n1,2:up\n", f"line {HEADER_LINES + 2}: 1 channels, expected 2"),
        (CLASSES + "1,2:3:up\n", f"line {HEADER_LINES + 1}: channels of different lengths, 1 to 2"),
        (CLASSES + "1,x:3,4:up\n", f"line {HEADER_LINES + 1}: 'x' is no finite number"),
        (CLASSES + "1,:3,4:up\n", f"line {HEADER_LINES + 1}: '' is no finite number"),
        (CLASSES + "1,inf:3,4:up\n", "'inf' is no finite number"),
        (CLASSES + "1,2:3,4:left\n", "class 'left' is not among those of @classLabel: up, down"),
        (CLASSES + "?,?:?,?:up\n", f"line {HEADER_LINES + 1}: no values"),
        (CLASSES + "up\n", f"line {HEADER_LINES + 1}: no channels before the label"),
        ("@univariate true\n@classLabel true a\n@data\n1:2:a\n", "line 4: 2 channels, expected 1"),
        ("@seriesLength 3\n@classLabel true a\n@data\n1,2:a\n", "2 values a channel, @seriesLength says 3"),
        ("@targetlabel true\n@data\n1:much\n", "line 3: 'much' is no target value"),
        ("@timestamps true\n@classLabel true a\n@data\n1,2:a\n", "expected (time,value) pairs, found '1,2'"),
        ("@timestamps true\n@classLabel true a\n@data\n(1),(2):a\n", "timestamps must be numbers or dates"),
        ("@timestamps true\n@classLabel true a\n@data\n(noon,2):a\n", "timestamps must be numbers or dates"),
        ("@timestamps true\n@classLabel true a\n@data\n(0,1):(1,1):a\n", "channels with different timestamps"),
        ("@timestamps true\n@classLabel true a\n@data\n(2,1),(1,1):a\n", "line 4, sample 1: timestamp 1 comes after 2"),
    ],
)
def test_refusals(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path / "bad.ts", text)
    with pytest.raises(DataError) as error:
        read_recordings(path, TS)
    assert words in str(error.value)
    assert str(path) in str(error.value)


def test_training_file_brings_its_test_file(tmp_path: Path) -> None:
    train = write(tmp_path / "P_TRAIN.ts", CLASSES + "1:2:up\n3:4:down\n")
    test = write(tmp_path / "P_TEST.ts", CLASSES + "5:6:up\n")
    for path in (train, tmp_path):
        assert [r.part for r in read_recordings(path, TS).recordings] == ["train", "train", "test"]
    assert [r.name for r in read_recordings(test, TS).recordings] == ["P_TEST/0001"]


def test_parts_must_have_the_same_channels(tmp_path: Path) -> None:
    write(tmp_path / "P_TRAIN.ts", CLASSES + "1:2:up\n")
    write(tmp_path / "P_TEST.ts", CLASSES + "1:up\n")
    with pytest.raises(DataError, match=r"P_TEST.ts has 1 channels, .*P_TRAIN.ts has 2"):
        read_recordings(tmp_path, TS)


def test_folder_of_several_problems(tmp_path: Path) -> None:
    folder = tmp_path / "P"
    for name in ("P_TRAIN", "P_TEST", "P_eq_TRAIN"):
        write(folder / f"{name}.ts", CLASSES + "1:2:up\n")
    assert {r.name for r in read_recordings(folder, TS).recordings} == {"P_TRAIN/0001", "P_TEST/0001"}
    folder.rename(tmp_path / "other")
    with pytest.raises(DataError, match="has several problems, name the file of one: P, P_eq"):
        read_recordings(tmp_path / "other", TS)


def test_column_options_are_for_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "P.ts", CLASSES + "1:2:up\n")
    with pytest.raises(ConfigError, match="data.label_column is for CSV files, the format here is 'ts'"):
        read_recordings(path, DataConfig(label_column="class"))


NUMBER = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    st.lists(
        st.tuples(
            st.lists(
                st.tuples(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-9, 9)), min_size=1
            ),
            st.sampled_from(["up", "down"]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_recordings_come_back_equal(
    tmp_path_factory: pytest.TempPathFactory, recordings: list[tuple[list[tuple[float, int]], str]]
) -> None:
    lines = [
        ":".join([*(",".join(repr(row[channel]) for row in rows) for channel in (0, 1)), label])
        for rows, label in recordings
    ]
    path = write(tmp_path_factory.mktemp("ts") / "P.ts", CLASSES + "\n".join(lines))
    for (rows, label), found in zip(recordings, read_recordings(path, TS).recordings, strict=True):
        np.testing.assert_array_equal(found.x, np.array(rows, np.float32))
        assert found.y == label


def test_japanese_vowels() -> None:
    data = prepare(TS, aeon_data() / "JapaneseVowels")
    assert (len(data.train), len(data.validation), len(data.test)) == (216, 54, 370)
    assert data.labels == tuple("123456789")
    assert (data.target, data.rate, len(data.channels)) == ("recording_label", None, 12)
    assert Counter(int(s.target[-1]) for s in data.validation) == dict.fromkeys(range(9), 6)
    assert Counter(int(s.target[-1]) for s in data.test) == dict(enumerate([31, 35, 88, 44, 29, 24, 40, 50, 29]))
    lengths = [len(s.x) for s in data.train + data.validation]
    assert (min(lengths), max(lengths)) == (7, 26)
    first = next(s for s in data.train + data.validation if s.name == "JapaneseVowels_TRAIN/0001")
    np.testing.assert_array_equal(first.x[:2, 0], np.array([1.860936, 1.891651], np.float32))
    assert first.mask.tolist() == [False] * 19 + [True]


def test_timestamped_file_of_the_archive() -> None:
    found = read_recordings(aeon_data() / "UnitTest" / "UnitTestTimeStamps_TRAIN.ts", TS)
    assert [r.y for r in found.recordings] == ["1", "1", "2", "2"]
    np.testing.assert_array_equal(found.recordings[0].t, [0, 60, 120, 180])


def test_regression_file_of_the_archive() -> None:
    data = prepare(TS, aeon_data() / "Covid3Month")
    assert (data.target, data.labels, data.target_mean.shape) == ("recording_value", ("value0",), (1,))
    assert (len(data.train) + len(data.validation), len(data.test)) == (140, 61)


def test_nothing_of_the_package_that_brings_the_files_is_imported() -> None:
    program = (
        "import sys; from edgegru.data import DataConfig, prepare; prepare(DataConfig(), sys.argv[1]);"
        "sys.exit(any(name.split('.')[0] in ('aeon', 'torch', 'pandas') for name in sys.modules))"
    )
    folder = aeon_data() / "BasicMotions"
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)
