"""Reading NPZ: padded and concatenated recordings, every kind of y, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.data import DataConfig, RecordingSet, prepare, read_recordings
from edgegru_runtime.errors import DataError

PADDED = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
ROWS = np.arange(15, dtype=np.float32).reshape(5, 3)


def read(folder: Path, config: DataConfig | None = None, **arrays: Any) -> RecordingSet:
    np.savez(folder / "d.npz", **arrays)
    return read_recordings(folder / "d.npz", config or DataConfig())


def test_padded(tmp_path: Path) -> None:
    found = read(tmp_path, x=PADDED, lengths=np.array([4, 2]), y=np.array(["u", "v"]), groups=np.array([7, 8]))
    first, second = found.recordings
    np.testing.assert_array_equal(first.x, PADDED[0])
    np.testing.assert_array_equal(second.x, PADDED[1, :2])
    assert (first.name, first.group, first.y, second.group, second.y) == ("d/0001", "7", "u", "8", "v")
    assert found.channels == ("channel0", "channel1", "channel2")


def test_one_after_another(tmp_path: Path) -> None:
    found = read(tmp_path, x=ROWS, lengths=np.array([2, 3]), y=np.array([0, 0, 1, 1, 0]))
    first, second = found.recordings
    np.testing.assert_array_equal(second.x, ROWS[2:])
    assert (first.y, second.y) == (("0", "0"), ("1", "1", "0"))
    assert second.group == second.name


def test_one_recording(tmp_path: Path) -> None:
    (only,) = read(tmp_path, x=ROWS).recordings
    np.testing.assert_array_equal(only.x, ROWS)
    assert only.y is None


@pytest.mark.parametrize(
    ("x", "lengths", "y", "target", "shape"),
    [
        (PADDED, [4, 2], np.zeros(2), "recording_value", (1,)),
        (PADDED, [4, 2], np.zeros((2, 3)), "recording_value", (3,)),
        (PADDED, [4, 2], np.zeros((2, 4)), "step_value", (2, 1)),
        (PADDED, [4, 2], np.zeros((2, 4, 5)), "step_value", (2, 5)),
        (ROWS, [3, 2], np.zeros(5), "step_value", (2, 1)),
        (ROWS, [3, 2], np.zeros((5, 2)), "step_value", (2, 2)),
        (ROWS, [3, 2], np.zeros((2, 5)), "recording_value", (5,)),
    ],
)
def test_shapes_of_values(
    tmp_path: Path, x: np.ndarray, lengths: list[int], y: np.ndarray, target: str, shape: tuple[int, ...]
) -> None:
    found = read(tmp_path, x=x, lengths=np.array(lengths), y=y)
    assert isinstance(found.recordings[1].y, np.ndarray)
    assert found.recordings[1].y.shape == shape
    assert found.targets == tuple(f"value{index}" for index in range(shape[-1]))
    assert prepare(DataConfig(), tmp_path / "d.npz").target == target


@pytest.mark.parametrize(
    ("y", "target"),
    [
        (np.array([7, 9]), "recording_value"),
        (np.arange(16).reshape(2, 4, 2), "step_value"),
        (np.arange(24).reshape(2, 4, 3) % 2 == 0, "step_labels"),
    ],
)
def test_whole_numbers_are_values_where_the_target_says_so(tmp_path: Path, y: np.ndarray, target: str) -> None:
    found = read(tmp_path, DataConfig(target=target), x=PADDED, y=y)
    np.testing.assert_array_equal(found.recordings[1].y, np.atleast_1d(y[1]))


def test_the_target_decides_where_both_shapes_fit(tmp_path: Path) -> None:
    found = read(tmp_path, DataConfig(target="recording_value"), x=PADDED, y=np.zeros((2, 4)))
    assert found.targets == ("value0", "value1", "value2", "value3")
    found = read(tmp_path, x=PADDED, y=np.zeros((2, 4)))
    assert found.targets == ("value0",)


def test_names_for_channels_and_values(tmp_path: Path) -> None:
    config = DataConfig(channels=("a", "b", "c"), target_columns=("hot",), target_units=("K",), validation_fraction=0)
    np.savez(tmp_path / "d.npz", x=PADDED, y=np.zeros(2))
    data = prepare(config, tmp_path / "d.npz")
    assert (data.channels, data.labels, data.outputs[0].units) == (("a", "b", "c"), ("hot",), ("K",))


def test_missing_values(tmp_path: Path) -> None:
    x = PADDED.copy()
    x[0, 1, 2] = np.nan
    found = read(tmp_path, x=x, y=np.array([np.nan, 1.0]))
    assert found.counts == {"missing values": 1, "missing target values": 1}
    assert found.recordings[0].x[1, 2] == x[0, 0, 2]
    with pytest.raises(DataError, match=r"d.npz, recording 'd/0001', sample 1: no value in channel 'channel2'"):
        read(tmp_path, DataConfig(missing="error"), x=x)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": np.zeros(3)}, "has no array 'x'"),
        ({"x": ROWS, "z": ROWS}, "unknown array 'z', known are x, y, lengths, groups"),
        ({"x": np.zeros(3)}, "array 'x' is float64 (3,)"),
        ({"x": np.zeros((2, 0, 3))}, "array 'x' is float64 (2, 0, 3)"),
        ({"x": np.full((2, 2), "a")}, "array 'x' is <U1 (2, 2)"),
        ({"x": ROWS, "lengths": np.array([2.0, 3.0])}, "array 'lengths' is float64"),
        ({"x": ROWS, "lengths": np.array([2, 2])}, "adds up to 4, but 'x' has 5 samples"),
        ({"x": ROWS, "lengths": np.array([7, -2])}, "a recording of -2 samples"),
        ({"x": PADDED, "lengths": np.array([4, 5])}, "must be 2 numbers up to 4"),
        ({"x": PADDED, "lengths": np.array([4])}, "must be 2 numbers up to 4"),
        ({"x": PADDED, "y": np.zeros(3)}, "array 'y' is float64 (3,), expected an entry for each of 2 recordings"),
        ({"x": PADDED, "y": np.zeros(2, complex)}, "array 'y' is complex128"),
        ({"x": PADDED, "groups": np.zeros(2)}, "array 'groups' is float64 (2,)"),
        ({"x": PADDED, "groups": np.zeros(3, int)}, "array 'groups' is int64 (3,)"),
        ({"x": PADDED, "y": np.array([{}, {}], object)}, "object arrays are not read"),
        ({"x": np.full((2, 2), 1e300)}, "is beyond the range of float32"),
        ({"x": np.full((2, 2), np.inf)}, "is beyond the range of float32"),
    ],
)
def test_refusals(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as error:
        read(tmp_path, **arrays)
    assert words in str(error.value)
    assert str(tmp_path / "d.npz") in str(error.value)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "npy", "flipped"])
def test_damaged_files(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=np.arange(3000, dtype=np.float32).reshape(1000, 3))
    raw = path.read_bytes()
    if damage == "npy":
        with path.open("wb") as file:
            np.save(file, ROWS)
    else:
        middle = len(raw) // 2
        path.write_bytes(
            {
                "empty": b"",
                "text": b"x,y\n1,2\n",
                "cut": raw[:middle],
                "flipped": raw[:middle] + bytes([raw[middle] ^ 255]) + raw[middle + 1 :],
            }[damage]
        )
    with pytest.raises(DataError, match="d.npz: not an NPZ file"):
        read_recordings(path, DataConfig())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_padded_and_concatenated_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("npz")
    rows = [np.random.default_rng(seed).standard_normal((length, 2)).astype(np.float32) for length in lengths]
    padded = np.full((len(rows), max(lengths), 2), np.nan, np.float32)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    first = read(folder, x=padded, lengths=np.array(lengths)).recordings
    second = read(folder, x=np.concatenate(rows), lengths=np.array(lengths)).recordings
    for row, a, b in zip(rows, first, second, strict=True):
        np.testing.assert_array_equal(a.x, row)
        np.testing.assert_array_equal(b.x, row)
