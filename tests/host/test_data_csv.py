"""Reading CSV: a folder with one recording a file, one long file, and every refusal with file and line."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.data import DataConfig, read_recordings
from edgegru_runtime.errors import ConfigError, DataError

CSV = DataConfig()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_one_recording_a_file(tmp_path: Path) -> None:
    write(tmp_path / "b.csv", "t,ax,ay,label\n0,1,2,walk\n0.5,3,4,walk\n1,5,6,run\n")
    write(tmp_path / "a.csv", "ay,ax,t,label\n8,7,0,run\n")
    found = read_recordings(tmp_path, CSV)
    first, second = found.recordings
    assert (first.name, second.name) == ("a", "b")
    assert found.channels == ("ay", "ax")
    assert found.units == ("", "")
    assert found.rate is None
    assert found.counts == {}
    np.testing.assert_array_equal(second.x, np.array([[2, 1], [4, 3], [6, 5]], np.float32))
    np.testing.assert_array_equal(second.t, [0, 0.5, 1])
    assert second.y == ("walk", "walk", "run")
    assert second.x.dtype == np.float32
    assert (second.group, second.part) == ("b", None)


def test_subfolders_are_groups_and_hidden_files_no_data(tmp_path: Path) -> None:
    write(tmp_path / "s1" / "walk.csv", "x\n1\n2\n")
    write(tmp_path / "s2" / "walk.CSV", "x\n1\n2\n")
    write(tmp_path / "s2" / "._walk.csv", "\0")
    found = read_recordings(tmp_path, CSV).recordings
    assert [(r.name, r.group, r.part, r.t, r.y) for r in found] == [
        ("s1/walk", "s1", None, None, None),
        ("s2/walk", "s2", None, None, None),
    ]


def test_part_folders_are_the_official_split(tmp_path: Path) -> None:
    write(tmp_path / "train" / "s1" / "a.csv", "x\n1\n")
    write(tmp_path / "test" / "b.csv", "x\n1\n")
    found = read_recordings(tmp_path, CSV).recordings
    assert [(r.name, r.group, r.part) for r in found] == [
        ("test/b", "test/b", "test"),
        ("train/s1/a", "s1", "train"),
    ]


def test_a_part_folder_among_others_is_a_group(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a.csv", "x\n1\n")
    write(tmp_path / "other" / "b.csv", "x\n1\n")
    assert [r.part for r in read_recordings(tmp_path, CSV).recordings] == [None, None]


def test_long_file_with_interleaved_recordings(tmp_path: Path) -> None:
    path = write(
        tmp_path / "all.csv",
        "recording,subject,t,x,label\nb,p,0,1,u\na,q,0,10,v\nb,p,1,2,\na,q,1,20,v\n\nb,p,2,3,u\n",
    )
    b, a = read_recordings(path, DataConfig(timestamp_unit="s")).recordings
    assert (b.name, b.group, b.y) == ("b", "p", ("u", "", "u"))
    assert (a.name, a.group, a.y) == ("a", "q", ("v", "v"))
    np.testing.assert_array_equal(b.x[:, 0], [1, 2, 3])
    np.testing.assert_array_equal(b.t, [0, 1, 2])


def test_long_file_without_recording_column_is_one_recording(tmp_path: Path) -> None:
    path = write(tmp_path / "plant.csv", "x\n1\n2\n")
    (only,) = read_recordings(path, CSV).recordings
    assert (only.name, only.group, only.x.shape) == ("plant", "plant", (2, 1))


def test_configured_columns_targets_and_channels(tmp_path: Path) -> None:
    path = write(tmp_path / "all.csv", "when,who,run,hot,a,b,note\n0,p,r1,7.5,1,2,x\n1,p,r1,,3,4,y\n")
    config = DataConfig(
        timestamp_column="when",
        group_column="who",
        recording_column="run",
        target_columns=("hot",),
        channels=("b", "a"),
        units=("m", "s"),
    )
    found = read_recordings(path, config)
    (recording,) = found.recordings
    assert (found.channels, found.units, found.targets) == (("b", "a"), ("m", "s"), ("hot",))
    assert found.counts == {"missing target values": 1}
    np.testing.assert_array_equal(recording.x, [[2, 1], [4, 3]])
    np.testing.assert_array_equal(recording.y, [[7.5], [np.nan]])


def test_usual_names_are_recognised_in_any_case(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "Timestamp,X,Label\n0,1,u\n10,2,v\n")
    found = read_recordings(path, CSV)
    assert found.channels == ("X",)
    assert found.recordings[0].y == ("u", "v")


def test_byte_order_mark_quotes_and_windows_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbf"x",label\r\n1,"u,v"\r\n2,w\r\n')
    (recording,) = read_recordings(path, CSV).recordings
    assert recording.y == ("u,v", "w")


def test_dates_are_timestamps(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "timestamp,x\n2024-02-28 23:59:59.5,1\n2024-02-29 00:00:01,2\n")
    (recording,) = read_recordings(path, CSV).recordings
    np.testing.assert_array_equal(recording.t, [0, 1.5])


@pytest.mark.parametrize(
    ("times", "unit", "expected"),
    [
        ("0 0.01 0.02", "auto", 0.01),
        ("0 10 20", "auto", 0.01),
        ("1657533977810 1657533977819 1657533977828", "auto", 0.009),
        ("1657533977 1657533987 1657533997", "auto", 10.0),
        ("0 0.5 1", "ms", 0.0005),
        ("0 60 120", "s", 60.0),
    ],
)
def test_unit_of_timestamps(tmp_path: Path, times: str, unit: str, expected: float) -> None:
    path = write(tmp_path / "a.csv", "t,x\n" + "".join(f"{time},1\n" for time in times.split()))
    (recording,) = read_recordings(path, DataConfig(timestamp_unit=unit)).recordings
    assert recording.t is not None
    assert recording.t[1] == expected


@pytest.mark.parametrize(
    ("times", "rate", "expected"),
    [
        ("0 1 2", 1.0, 1.0),  # once a second, in seconds
        ("0 1 2", 0.5, 1.0),
        ("0 1 2", 500.0, 0.001),
        ("0 20 40", 50.0, 0.02),
        ("0 0.02 0.04", 50.0, 0.02),
        ("0 0.5 1", 1000.0, 0.0005),  # in ms, faster than 1 kHz
        ("0 3600 7200", 1 / 3600, 3600.0),
        ("150000000 150000020 150000040", 50.0, 0.02),  # a device that counts ms and has been on for two days
    ],
)
def test_unit_of_timestamps_with_a_rate(tmp_path: Path, times: str, rate: float, expected: float) -> None:
    path = write(tmp_path / "a.csv", "t,x\n" + "".join(f"{time},1\n" for time in times.split()))
    (recording,) = read_recordings(path, DataConfig(rate=rate)).recordings
    assert recording.t is not None
    assert len(recording.t) == int(2 * expected * rate + 1e-4) + 1


def test_unit_that_neither_timestamps_nor_rate_tell(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "t,x\n0,1\n10,1\n20,1\n")
    with pytest.raises(DataError, match=r"a\.csv: timestamps step by 10, which is 0\.1 Hz in seconds and 100 Hz in m"):
        read_recordings(path, DataConfig(rate=3))
    assert len(read_recordings(path, DataConfig(rate=3, timestamp_unit="s")).recordings[0].x) == 61


@pytest.mark.parametrize(
    ("column", "config", "expected"),
    [
        ("t_s", CSV, 2.0),
        ("Time_ms", CSV, 0.002),
        ("timestamp_s", DataConfig(timestamp_unit="ms"), 0.002),
        ("clock_s", DataConfig(timestamp_column="clock_s"), 2.0),
    ],
)
def test_unit_in_the_name_of_the_column(tmp_path: Path, column: str, config: DataConfig, expected: float) -> None:
    path = write(tmp_path / "a.csv", f"{column},x\n0,1\n2,1\n")
    found = read_recordings(path, config)
    assert found.channels == ("x",)
    assert found.recordings[0].t is not None
    assert found.recordings[0].t[1] == expected


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [("t,x\n0,1\n", "x\n1\n", "has no timestamps"), ("x\n1\n", "t,x\n0,1\n", "has timestamps in column 't'")],
)
def test_timestamps_in_some_files_only(tmp_path: Path, first: str, second: str, found: str) -> None:
    write(tmp_path / "a.csv", first)
    write(tmp_path / "b.csv", second)
    with pytest.raises(DataError, match=rf"b\.csv, line 1: {found}"):
        read_recordings(tmp_path, CSV)


def test_one_unit_for_all_files_of_a_folder(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.csv", "t,x\n0,1\n10,1\n20,1\n")
    write(tmp_path / "d.csv", "t,x\n0,1\n0.5,1\n")
    assert [r.t[-1] for r in read_recordings(tmp_path, CSV).recordings if r.t is not None] == [0.02, 0.02, 0.02, 0.0005]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: empty"),
        ("x,label\n", "only a header"),
        ("1,2\n3,4\n", "line 1: numbers, expected the names"),
        ("x;label\n1;u\n", "line 1: columns must be separated by commas"),
        ("x,x\n1,2\n", "line 1: two columns are named 'x'"),
        ("x,,y\n1,2,3\n", "line 1: column 2 has no name"),
        ("x,y\n1,2\n\n3\n", "line 4: 1 cells, the header names 2"),
        ("x\n1\n\nfast\n", "line 4: 'fast' in column 'x' is no finite number"),
        ("x\n1\ninf\n", "line 3: 'inf' in column 'x' is no finite number"),
        ("x\n1\n1e999\n", "line 3: '1e999' in column 'x' is no finite number"),
        ("x\n1\n1_000\n", "line 3: '1_000' in column 'x' is no finite number"),
        ("x\n1\n1e39\n", "line 3: 1e+39 in channel 'x' is beyond the range of float32"),
        ('x\n1\n"2\n', "not CSV"),
        ("x,label\n?,u\n,u\n", "line 2: channel 'x' has no value in the whole recording"),
        ("t,x\n0,1\n2,1\n1,1\n", "line 4: timestamp 1 comes after 2"),
        ("t,x\n0,1\n,1\n", "line 3: no timestamp in column 't'"),
        ("t,x\n0,1\nnoon,1\n", "line 3: 'noon' in column 't' is no finite number"),
        ("t,x\nnoon,1\n1,1\n", "line 2: 'noon' in column 't' is no timestamp"),
        ("t,x\n2024-01-01,1\n2024-01-01T00:00:00Z,1\n", "line 3: '2024-01-01T00:00:00Z' in column 't' is no timestamp"),
        ("t,x\n1657533977810000,1\n1657533977819000,1\n", "expected seconds or milliseconds"),
        ("recording,x\na,1\n,2\n", "line 3: no value in column 'recording'"),
        ("recording,group,x\na,p,1\na,q,2\n", "line 3: group 'q' in a recording of group 'p'"),
        ("group,x\n,1\n", "line 2: no group"),
        ("t,label\n0,u\n", "line 1: no column is left to be a channel"),
    ],
)
def test_refusals(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(DataError) as error:
        read_recordings(path, CSV)
    assert words in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (DataConfig(channels=("z",)), "line 1: no column 'z', the columns are x, label"),
        (DataConfig(label_column="class"), "no column 'class'"),
        (DataConfig(timestamp_column="clock"), "no column 'clock'"),
        (DataConfig(group_column="who"), "no column 'who'"),
        (DataConfig(recording_column="run"), "no column 'run'"),
        (DataConfig(target_columns=("y",)), "no column 'y'"),
        (DataConfig(format="csv-directory"), "is a file, format 'csv-directory' does not read it"),
    ],
)
def test_unknown_columns_are_refused(tmp_path: Path, config: DataConfig, words: str) -> None:
    path = write(tmp_path / "a.csv", "x,label\n1,u\n")
    with pytest.raises(DataError, match=words):
        read_recordings(path, config)


def test_label_column_needed_for_label_targets(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x\n1\n")
    with pytest.raises(DataError, match="no column 'label'"):
        read_recordings(path, DataConfig(target="step_label"))


@pytest.mark.parametrize(("header", "words"), [("x,z\n1,2\n", "has an unknown column 'z'"), ("y\n1\n", "has no")])
def test_files_of_a_folder_must_agree(tmp_path: Path, header: str, words: str) -> None:
    write(tmp_path / "a.csv", "x\n1\n")
    odd = write(tmp_path / "b.csv", header)
    with pytest.raises(DataError) as error:
        read_recordings(tmp_path, CSV)
    assert f"{odd}, line 1: {words}" in str(error.value)


def test_not_text_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"x\n1\n\xff\n")
    with pytest.raises(DataError, match="line 3: not UTF-8"):
        read_recordings(path, CSV)


def test_paths_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        read_recordings(tmp_path / "none", CSV)
    with pytest.raises(DataError, match="has no recordings"):
        read_recordings(tmp_path, CSV)
    with pytest.raises(DataError, match="has no CSV files"):
        read_recordings(tmp_path, DataConfig(format="csv-directory"))
    with pytest.raises(DataError, match="is a folder, format 'csv'"):
        read_recordings(tmp_path, DataConfig(format="csv"))
    with pytest.raises(DataError, match="cannot tell its format"):
        read_recordings(write(tmp_path / "a.txt", "x\n1\n"), CSV)


def test_units_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 units, but there are 1 channels"):
        read_recordings(write(tmp_path / "a.csv", "x\n1\n"), DataConfig(units=("m", "s")))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_values_come_back_equal(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    write(path, "x\n" + "".join(f"{value!r}\n" for value in values))
    (recording,) = read_recordings(path, CSV).recordings
    np.testing.assert_array_equal(recording.x[:, 0], np.array(values, np.float32))


def test_reading_is_quick(tmp_path: Path) -> None:
    row = "0.3832031488418579,-3.5350489616394043,9.110654830932617,-0.0109,-0.07207208249,0.090408,{},SEATED\n"
    text = "a,b,c,d,e,f,timestamp,label\n" + "".join(row.format(1657533977810 + 9 * i) for i in range(20_000))
    path = write(tmp_path / "a.csv", text)
    start = time.process_time()
    with path.open(newline="") as file:
        columns = list(zip(*list(csv.reader(file))[1:], strict=True))
    for column in columns[:7]:
        list(map(float, column))
    plain = time.process_time() - start
    start = time.process_time()
    read_recordings(path, DataConfig(rate=50.0))
    assert time.process_time() - start < 10 * plain  # about 2: 360,000 rows take some seconds
