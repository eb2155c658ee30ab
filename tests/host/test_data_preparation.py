"""From recordings to sequences: all six targets, scales from the training part, and what a model keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.data import (
    DataConfig,
    Dataset,
    Recording,
    calibration_sequences,
    data_section,
    labelled_sequences,
    prepare,
)
from edgegru.data.targets import forecast_labels, label_sequence
from edgegru_runtime.errors import ArtifactError, ConfigError, DataError
from edgegru_runtime.model_config import InputConfig, ModelConfig

LABELS = ("u", "v")


def recording(y: Any, length: int = 4) -> Recording:
    x = np.arange(length * 2, dtype=np.float32).reshape(length, 2)
    return Recording("r", None, x, y, "g")


def model_for(config: DataConfig, data: Dataset) -> ModelConfig:
    """What training writes into a model, as far as data are concerned."""
    return ModelConfig(
        scheme="float32",
        identity="0" * 64,
        input=InputConfig(len(data.channels), data.channels, data.units, data.rate),
        nodes=(),
        outputs=data.outputs,
        data=json.loads(json.dumps(data_section(config, data))),
    )


@pytest.mark.parametrize(
    ("y", "target", "classes", "mask"),
    [
        (("u", "v", "", "u"), "step_label", [0, 1, None, 0], [1, 1, 0, 1]),
        ("v", "step_label", [1, 1, 1, 1], [1, 1, 1, 1]),
        ("v", "recording_label", [None, None, None, 1], [0, 0, 0, 1]),
        (("v", "v", "", ""), "recording_label", [None, None, None, 1], [0, 0, 0, 1]),
        ("", "recording_label", [None] * 4, [0, 0, 0, 0]),
    ],
)
def test_labels(y: Any, target: str, classes: list[int | None], mask: list[int]) -> None:
    sequence = label_sequence(recording(y), target, LABELS)
    assert sequence.mask.tolist() == [bool(step) for step in mask]
    assert sequence.target.dtype == np.int64
    assert sequence.target[sequence.mask].tolist() == [
        number for number, counts in zip(classes, mask, strict=True) if counts
    ]
    assert sequence.target.min() >= 0


@pytest.mark.parametrize(
    ("y", "target", "values", "mask"),
    [
        ([[1], [2], [np.nan], [4]], "step_value", [[1], [2], [4]], [1, 1, 0, 1]),
        ([7, 8], "step_value", [[7, 8]] * 4, [1, 1, 1, 1]),
        ([7, 8], "recording_value", [[7, 8]], [0, 0, 0, 1]),
        ([[5], [5], [5], [5]], "recording_value", [[5]], [0, 0, 0, 1]),
        ([np.nan], "recording_value", [], [0, 0, 0, 0]),
    ],
)
def test_values(y: Any, target: str, values: list[list[float]], mask: list[int]) -> None:
    sequence = label_sequence(recording(np.array(y, np.float64)), target, ())
    assert sequence.mask.tolist() == [bool(step) for step in mask]
    assert sequence.target.dtype == np.float32
    assert sequence.target[sequence.mask].tolist() == values
    assert np.isfinite(sequence.target).all()


def test_labels_of_which_any_number_holds() -> None:
    y = np.array([[1, 0], [np.nan, 1], [0, 0], [1, 1]])
    sequence = label_sequence(recording(y), "step_labels", LABELS)
    assert sequence.mask.tolist() == [True, False, True, True]
    assert sequence.target.dtype == np.float32
    assert sequence.target[sequence.mask].tolist() == [[1, 0], [0, 0], [1, 1]]
    assert label_sequence(recording(np.array([1.0, 0.0])), "step_labels", LABELS).target.tolist() == [[1, 0]] * 4


def test_a_label_that_half_holds_is_refused() -> None:
    y = np.array([[1, 0], [0, 1], [0, 0.5], [2, 1]])
    found = "recording 'r' has 0.5 for the label 'v' at step 2, target 'step_labels' needs 0 or 1"
    with pytest.raises(DataError, match=found):
        label_sequence(recording(y), "step_labels", LABELS)
    with pytest.raises(DataError, match="recording 'r' has no target values, but the target is step_labels"):
        label_sequence(recording(("u",) * 4), "step_labels", LABELS)


@given(st.integers(1, 12), st.integers(1, 5), st.lists(st.integers(0, 1), min_size=1, max_size=2, unique=True))
def test_forecast_is_what_comes_next(length: int, horizon: int, columns: list[int]) -> None:
    sequence = label_sequence(recording(None, length), "forecast", (), columns, horizon)
    assert sequence.mask.tolist() == [step + horizon < length for step in range(length)]
    labels = forecast_labels([f"c{column}" for column in columns], horizon)
    assert sequence.target.shape == (length, len(labels))
    for step in np.flatnonzero(sequence.mask):
        for output, label in enumerate(labels):
            column, ahead = label[1:].split("+")
            assert sequence.target[step, output] == sequence.x[step + int(ahead), int(column)]


@pytest.mark.parametrize(
    ("y", "target", "words"),
    [
        (("u", "v", "u", "u"), "recording_label", "recording 'r' has the labels u, v"),
        ("w", "step_label", "has the label 'w', expected one of u, v"),
        (None, "step_label", "has no labels"),
        (np.zeros(1), "recording_label", "has no labels"),
        ("u", "step_value", "has no target values"),
        (np.array([[1.0], [2.0], [1.0], [1.0]]), "recording_value", "has several target values"),
        (np.array([1e39]), "recording_value", "beyond the range of float32"),
    ],
)
def test_targets_that_do_not_fit(y: Any, target: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        label_sequence(recording(y), target, LABELS)


def write_subjects(folder: Path, subjects: int = 5, columns: str = "t,a,b,hot,wet,dark,label") -> Path:
    """Two recordings of 20 samples at 10 Hz for each subject; a grows with the subject, b is constant."""
    for subject in range(subjects):
        for take in range(2):
            rows = [
                {"t": str(step * 100), "a": f"{subject + step / 10}", "b": "3", "hot": f"{subject * 10}",
                 "wet": f"{step % 2}", "dark": f"{subject % 2}", "label": "down" if step < 10 else "up"}
                for step in range(20)
            ]  # fmt: skip
            path = folder / f"s{subject}" / f"{take}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            names = columns.split(",")
            path.write_text("\n".join([columns, *(",".join(row[name] for name in names) for row in rows)]))
    return folder


def test_scales_come_from_the_training_part_only(tmp_path: Path) -> None:
    config = DataConfig(channels=("a", "b"), validation_groups=("s4",), rate=10.0)
    data = prepare(config, write_subjects(tmp_path))
    rows = np.concatenate([sequence.x for sequence in data.train]).astype(np.float64)
    assert len(rows) == 160
    np.testing.assert_allclose(data.mean, [rows[:, 0].mean(), 3], rtol=1e-6)
    np.testing.assert_allclose(data.std, [rows[:, 0].std(), 1], rtol=1e-6)
    assert data.mean.dtype == data.std.dtype == np.float32
    assert (data.labels, data.target, data.rate) == (("down", "up"), "step_label", 10.0)
    assert data.target_mean.shape == (0,)
    assert {sequence.group for sequence in data.validation} == {"s4"}


@pytest.mark.parametrize("offset", [0.0, 1e-30, 1e5, -3e38])
def test_constant_channels_get_scale_one(tmp_path: Path, offset: float) -> None:
    np.savez(tmp_path / "d.npz", x=np.full((9, 5, 1), offset, np.float32), y=np.zeros(9))
    data = prepare(DataConfig(), tmp_path / "d.npz")
    assert data.std.tolist() == [1.0]
    assert data.target_std.tolist() == [1.0]


@pytest.mark.parametrize(
    ("options", "target", "labels", "units"),
    [
        ({}, "step_label", ("down", "up"), ()),
        ({"target_columns": ("hot",), "target_units": ("K",)}, "step_value", ("hot",), ("K",)),
        ({"target_columns": ("wet", "dark"), "target": "step_labels"}, "step_labels", ("wet", "dark"), ()),
        ({"target_columns": ("hot",), "target": "recording_value"}, "recording_value", ("hot",), ("",)),
        ({"horizon": 2, "units": ("m", "s")}, "forecast", ("a+1", "b+1", "a+2", "b+2"), ("m", "s", "m", "s")),
        ({"horizon": 1, "target_columns": ("b",)}, "forecast", ("b+1",), ("",)),
    ],
)
def test_a_model_reads_other_folders_as_it_was_trained(
    tmp_path: Path, options: dict[str, Any], target: str, labels: tuple[str, ...], units: tuple[str, ...]
) -> None:
    config = DataConfig(channels=("a", "b"), rate=20.0, validation_groups=("s1",), timestamp_unit="ms", **options)
    folder = write_subjects(tmp_path)
    data = prepare(config, folder)
    assert (data.target, data.labels, data.outputs[0].units) == (target, labels, units)
    model = model_for(config, data)
    for part in ("train", "validation"):
        expected = getattr(data, part)
        found = labelled_sequences(model, folder, part)
        assert [sequence.name for sequence in found] == [sequence.name for sequence in expected]
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a.x, b.x)
            np.testing.assert_array_equal(a.target, b.target)
            np.testing.assert_array_equal(a.mask, b.mask)
    assert len(labelled_sequences(model, folder)) == len(labelled_sequences(model, folder, "all")) == 10
    with pytest.raises(DataError, match="has no test part"):
        labelled_sequences(model, folder, "test")
    with pytest.raises(DataError, match="no part 'half'"):
        labelled_sequences(model, folder, "half")


def test_a_drawn_split_is_drawn_again(tmp_path: Path) -> None:
    config = DataConfig(channels=("a",), validation_fraction=0.4, test_fraction=0.2)
    folder = write_subjects(tmp_path)
    data = prepare(config, folder, seed=5)
    model = model_for(config, data)
    for part in ("train", "validation", "test"):
        assert [s.name for s in labelled_sequences(model, folder, part)] == [s.name for s in getattr(data, part)]


def test_official_test_part_is_what_is_evaluated(tmp_path: Path) -> None:
    for part, value in (("TRAIN", 1), ("TEST", 5)):
        rows = "".join(f"{value},{value}:{label}\n" for label in "uvuv")
        (tmp_path / f"P_{part}.ts").write_text(f"@classLabel true u v\n@data\n{rows}")
    data = prepare(DataConfig(), tmp_path)
    model = model_for(DataConfig(), data)
    assert [s.name for s in labelled_sequences(model, tmp_path)] == [s.name for s in data.test]
    assert len(labelled_sequences(model, tmp_path / "P_TEST.ts")) == 4
    assert [float(x[0, 0]) for x in calibration_sequences(model, tmp_path)] == [1] * 4


def test_calibration_needs_no_labels(tmp_path: Path) -> None:
    config = DataConfig(channels=("a", "b"), rate=20.0, label_column="label")
    model = model_for(config, prepare(config, write_subjects(tmp_path / "labelled")))
    bare = write_subjects(tmp_path / "bare", columns="b,a,t")
    found = calibration_sequences(model, bare)
    assert len(found) == 10
    assert found[0].shape == (39, 2)
    np.testing.assert_array_equal(found[0][:, 1], 3)
    with pytest.raises(DataError, match="no column 'label'"):
        labelled_sequences(model, bare)


def test_folders_that_do_not_fit_the_model(tmp_path: Path) -> None:
    config = DataConfig(channels=("a", "b"))
    model = model_for(config, prepare(config, write_subjects(tmp_path / "first")))
    with pytest.raises(DataError, match="no column 'b'"):
        labelled_sequences(model, write_subjects(tmp_path / "second", columns="a,label"))
    other = tmp_path / "third" / "x.csv"
    other.parent.mkdir()
    other.write_text("a,b,label\n1,2,sideways\n")
    with pytest.raises(DataError, match="recording 'x' has the label 'sideways', expected one of down, up"):
        labelled_sequences(model, other)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"format": "xls"}, "data.format is 'xls'"),
        ({"format": ["csv"]}, "data.format"),
        ({"options": 3}, "options that are no object"),
        ({"options": {"colour": "red"}}, "invalid option 'colour'"),
        ({"options": {"path": "/etc"}}, "invalid option 'path'"),
        ({"options": {"missing": 3}}, "invalid option 'missing'"),
        ({"options": {"test_groups": [1]}}, "invalid option 'test_groups'"),
        ({"options": {"test_fraction": True}}, "invalid option 'test_fraction'"),
        ({"options": {"test_fraction": 7}}, "data.test_fraction is 7"),
        ({"options": {"seed": -1}}, "seed -1"),
    ],
)
def test_hostile_data_sections(tmp_path: Path, section: dict[str, Any], words: str) -> None:
    config = DataConfig(channels=("a", "b"))
    folder = write_subjects(tmp_path)
    model = replace(model_for(config, prepare(config, folder)), data=section)
    with pytest.raises(ArtifactError, match=words):
        labelled_sequences(model, folder)


def test_a_model_without_data_section_reads_by_defaults(tmp_path: Path) -> None:
    config = DataConfig(channels=("a", "b"))
    folder = write_subjects(tmp_path)
    model = replace(model_for(config, prepare(config, folder)), data={})
    assert len(labelled_sequences(model, folder)) == 10


def test_no_paths_in_the_data_section(tmp_path: Path) -> None:
    config = DataConfig(path=str(write_subjects(tmp_path)), channels=("a", "b"))
    section = data_section(config, prepare(config, seed=3))
    assert section == {"format": "auto", "options": {"seed": 3}}


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        (DataConfig(channels=("a",), horizon=1, target_columns=("b",)), DataError, "'b' is no channel"),
        (DataConfig(channels=("a",), horizon=30), DataError, "no step of the training part has a target"),
        (DataConfig(channels=("a",), horizon=1, target_units=("m", "s")), ConfigError, "2 units for 1 targets: a"),
        (DataConfig(channels=("a",), target="recording_label"), DataError, "has the labels down, up"),
        (DataConfig(channels=("a",), target="step_value"), DataError, "has no target values"),
    ],
)
def test_targets_that_cannot_be(tmp_path: Path, config: DataConfig, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        prepare(config, write_subjects(tmp_path))


def test_data_without_targets_or_path(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n2\n")
    with pytest.raises(DataError, match="no labels and no target values"):
        prepare(DataConfig(), tmp_path)
    with pytest.raises(ConfigError, match="no data: give data.path"):
        prepare(DataConfig())
    (tmp_path / "a.csv").write_text("x,label\n1,u\n2,u\n")
    with pytest.raises(DataError, match="1 classes"):
        prepare(DataConfig(), tmp_path)


def test_classes_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,label\n1,10\n2,9\n3,-1\n")
    assert prepare(DataConfig(), tmp_path).labels == ("-1", "9", "10")
