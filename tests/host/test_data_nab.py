"""Reading the layout of the Numenta Anomaly Benchmark: made-up files, wrong ones, and the real folder where it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegru.data import DataConfig, calibration_sequences, data_section, labelled_sequences, prepare, read_recordings
from edgegru_runtime.errors import ConfigError, DataError
from edgegru_runtime.model_config import InputConfig, ModelConfig
from tests.public_data import public_data

FORECAST = DataConfig(format="nab", horizon=1, validation_fraction=0.0)
TIMES = tuple(f"2014-07-01 00:{minute:02}:00" for minute in range(20))


def write(
    root: Path, windows: Any = None, times: tuple[str, ...] = TIMES, name: str = "realKnownCause/machine.csv"
) -> Path:
    """One file of values 0, 1, … and, where given, the windows in it, or whatever is to be in place of all windows."""
    path = root / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("timestamp,value\n" + "".join(f"{time},{value}\n" for value, time in enumerate(times)))
    (root / "labels").mkdir(exist_ok=True)
    document = {name: windows or []} if windows is None or isinstance(windows, list) else windows
    (root / "labels" / "combined_windows.json").write_text(json.dumps(document))
    return path


def window(first: str, last: str) -> list[str]:
    return [f"{first}.000000", f"{last}.000000"]


def test_a_file_is_its_probation_and_the_whole_of_it(tmp_path: Path) -> None:
    path = write(tmp_path, [window(TIMES[5], TIMES[7]), window(TIMES[19], TIMES[19])])
    found = read_recordings(tmp_path, DataConfig())
    assert (found.channels, found.labels, found.rate) == (("value",), ("normal", "anomaly"), None)
    probation, whole = found.recordings
    assert (probation.name, probation.part) == ("realKnownCause/machine/probation", "train")
    assert (whole.name, whole.part, whole.t) == ("realKnownCause/machine", "test", None)
    np.testing.assert_array_equal(probation.x, [[0], [1], [2]])
    np.testing.assert_array_equal(whole.x[:, 0], range(20))
    assert isinstance(whole.y, tuple) and probation.y == ("normal",) * 3
    assert [row for row, label in enumerate(whole.y) if label == "anomaly"] == [5, 6, 7, 19]
    alone = read_recordings(path, DataConfig(format="nab"))
    assert [recording.name for recording in alone.recordings] == [probation.name, whole.name]


def test_rows_count_whatever_their_times_are(tmp_path: Path) -> None:
    times = (*TIMES[:8], TIMES[7], TIMES[3], *TIMES[4:14])  # stands still, then goes back
    write(tmp_path, [window(TIMES[4], TIMES[7])], times)
    whole = read_recordings(tmp_path, DataConfig()).recordings[1]
    np.testing.assert_array_equal(whole.x[:, 0], range(20))
    assert isinstance(whole.y, tuple)
    assert [row for row, label in enumerate(whole.y) if label == "anomaly"] == [4, 5, 6, 7]


def test_forecasts_are_trained_on_the_probation_and_evaluated_on_the_whole(tmp_path: Path) -> None:
    write(tmp_path)
    data = prepare(FORECAST, tmp_path)
    assert (data.target, data.labels) == ("forecast", ("value+1",))
    ((train,), (test,)) = data.train, data.test
    assert (len(train.x), int(train.mask.sum()), len(test.x), int(test.mask.sum())) == (3, 2, 20, 19)
    assert data.mean.tolist() == [1]
    model = ModelConfig(
        scheme="float32",
        identity="",
        input=InputConfig(1, data.channels, data.units, None),
        nodes=(),
        outputs=data.outputs,
        data=data_section(FORECAST, data),
    )
    assert [sequence.name for sequence in labelled_sequences(model, tmp_path)] == ["realKnownCause/machine"]
    assert [len(x) for x in calibration_sequences(model, tmp_path)] == [3]


@pytest.mark.parametrize(
    ("windows", "words"),
    [
        ({}, "combined_windows.json has no file 'realKnownCause/machine.csv', expected the windows of every file"),
        ({"realKnownCause/machine.csv": 3}, "realKnownCause/machine.csv: 3, expected a list of windows"),
        ([[TIMES[0]]], r"realKnownCause/machine.csv: window \['2014-07-01 00:00:00'\], expected two timestamps"),
        ([[1, 2]], r"window \[1, 2\], expected two timestamps"),
        ([["noon", TIMES[1]]], "window .*noon.*, expected two timestamps"),
        ([window(TIMES[3], "2014-07-02 00:00:00")], "no row at 2014-07-02 00:00:00, where labels/.* begins or ends"),
        (3.5, "holds no object, expected a list of windows for each file"),
    ],
)
def test_windows_that_fit_no_file(tmp_path: Path, windows: Any, words: str) -> None:
    write(tmp_path, windows)
    with pytest.raises(DataError, match=words):
        read_recordings(tmp_path, DataConfig(format="nab"))


def test_refusals(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(DataError, match="no channel 'x', the only one is value"):
        read_recordings(tmp_path, DataConfig(channels=("x",)))
    with pytest.raises(ConfigError, match="label_column is for CSV files"):
        read_recordings(tmp_path, DataConfig(label_column="label"))
    path.write_text("timestamp,value\nsoon,1\n")
    with pytest.raises(DataError, match="line 2: 'soon', expected a timestamp like"):
        read_recordings(tmp_path, DataConfig())
    path.write_text("timestamp,value\n2014-07-01 00:00:00,1\n")
    with pytest.raises(DataError, match="has 1 rows, expected 7 or more"):
        read_recordings(tmp_path, DataConfig())
    path.write_text("time,value\n0,1\n")
    with pytest.raises(DataError, match="no column 'timestamp'"):
        read_recordings(tmp_path, DataConfig())
    path.unlink()
    with pytest.raises(DataError, match="has no files like data/realKnownCause/nyc_taxi.csv"):
        read_recordings(tmp_path, DataConfig())
    (tmp_path / "labels" / "combined_windows.json").write_text("{")
    write(tmp_path / "other")
    (tmp_path / "other" / "labels" / "combined_windows.json").write_text("{")
    with pytest.raises(DataError, match="combined_windows.json is no JSON"):
        read_recordings(tmp_path / "other", DataConfig())
    (tmp_path / "other" / "labels" / "combined_windows.json").unlink()
    with pytest.raises(DataError, match="cannot read .*combined_windows.json"):
        read_recordings(tmp_path / "other", DataConfig(format="nab"))


def test_the_real_files() -> None:
    folder = public_data("nab")
    recordings = read_recordings(folder, DataConfig()).recordings
    whole = {recording.name: recording for recording in recordings if recording.part == "test"}
    assert len(recordings) == 2 * len(whole) == 2 * len(list((folder / "data").rglob("*.csv")))
    assert all(set(recording.y or ()) == {"normal"} for recording in recordings if recording.part == "train")
    taxi = whole["realKnownCause/nyc_taxi"]
    assert isinstance(taxi.y, tuple) and taxi.y.count("anomaly") == 1035  # as the benchmark's results count them
    assert len(whole["realKnownCause/machine_temperature_system_failure"].x) == 22695  # whose clock goes back once
