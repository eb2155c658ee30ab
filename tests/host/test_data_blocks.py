"""Samples into the steps of a model that takes several at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.configuration import NetworkConfig, TrainConfig, TrainingConfig
from edgegru.data import DataConfig, LabelledSequence, calibration_sequences, labelled_sequences, prepare
from edgegru.data.blocks import blocks, in_blocks
from edgegru.evaluation import evaluate
from edgegru.quantization import quantize
from edgegru.training import train
from edgegru_runtime import load
from edgegru_runtime.errors import ConfigError, DataError
from tests.training_data import write_recordings


def sequence(length: int, channels: int = 2) -> LabelledSequence:
    x = np.arange(length * channels, dtype=np.float32).reshape(length, channels)
    return LabelledSequence("r", "g", x, np.arange(length), np.arange(length) % 3 != 1)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 3))
def test_blocks_hold_the_samples_in_order(length: int, together: int, channels: int) -> None:
    x = sequence(length, channels).x
    found = blocks(x, together)
    assert found.shape == (length // together, together * channels)
    np.testing.assert_array_equal(found.reshape(-1, channels), x[: length // together * together])


@given(st.integers(2, 40), st.integers(2, 9))
def test_the_target_of_a_block_is_that_of_its_last_sample(length: int, together: int) -> None:
    whole = sequence(length)
    if length < together:
        with pytest.raises(DataError, match=f"recording 'r' has {length} samples, fewer than the {together} of a step"):
            in_blocks(whole, together)
        return
    found = in_blocks(whole, together)
    for step, target in enumerate(found.target):
        assert target == step * together + together - 1
        assert found.mask[step] == whole.mask[target]


def test_where_the_last_sample_alone_counts_the_last_block_does() -> None:
    found = in_blocks(replace(sequence(11), mask=np.arange(11) == 10), 4)
    assert found.mask.tolist() == [False, True]


@pytest.mark.parametrize("target", ["step_label", "recording_label", "forecast"])
def test_a_model_of_blocks_from_training_to_integers(tmp_path: Path, target: str) -> None:
    data = write_recordings(tmp_path / "data.npz", target)
    wanted = DataConfig(path=str(data), samples_per_step=3, target=target, horizon=2 * (target == "forecast"))
    model = NetworkConfig(hidden_size=8, convolution_size=6, convolution_kernel=2)
    config = TrainConfig(wanted, model=model, training=TrainingConfig(epochs=3, lanes=4))
    path = train(config, output=tmp_path / "trained")
    artifact = load(path)
    assert artifact.config.input.samples_per_step == 3 and artifact.config.input.step_size == 9
    read = labelled_sequences(artifact.config, data, "all")
    assert {one.x.shape[1] for one in read} == {9}
    assert [len(one.x) for one in read] == [len(x) for x in calibration_sequences(artifact.config, data)]
    integer = tmp_path / "int8.safetensors"
    quantize(path, data, integer)
    results = [evaluate(file, data, part="all").metrics for file in (path, integer)]
    name = "mse" if target == "forecast" else "accuracy"
    assert results[0][name] == pytest.approx(results[1][name], rel=0.05, abs=0.05)


def test_the_validation_part_is_scored_as_it_streams(tmp_path: Path) -> None:
    data = write_recordings(tmp_path / "data.npz", "step_label")
    config = TrainConfig(DataConfig(path=str(data), samples_per_step=4), training=TrainingConfig(epochs=2))
    path = train(config, output=tmp_path / "trained")
    row = (tmp_path / "trained" / "history.csv").read_text().splitlines()
    history = [dict(zip(row[0].split(","), map(float, line.split(",")), strict=True)) for line in row[1:]]
    assert evaluate(path, data, part="validation").metrics["accuracy"] in [
        pytest.approx(epoch["validation_accuracy"]) for epoch in history
    ]
    assert len(prepare(config.data).validation)


@pytest.mark.parametrize("number", [0, -1, 20_000])
def test_a_number_of_samples_that_is_none_is_refused(number: int) -> None:
    with pytest.raises(ConfigError, match=f"data.samples_per_step is {number}, expected 1 to 16384 samples"):
        DataConfig(samples_per_step=number)
