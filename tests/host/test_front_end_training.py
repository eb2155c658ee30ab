"""Models of sound from recordings to integers, and what a configuration of a front end is refused for."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgegru.configuration import FrontEndConfig, NetworkConfig, TrainConfig, TrainingConfig
from edgegru.data import DataConfig, Dataset, LabelledSequence, calibration_sequences, labelled_sequences, prepare
from edgegru.evaluation import evaluate
from edgegru.front_ends import integer_tables
from edgegru.integer_torch import softmax_q15
from edgegru.network_input import NetworkInput, front_end_of
from edgegru.quantization import quantize
from edgegru.quantized_trainer import QuantizedTrainer
from edgegru.trainer import Trainer
from edgegru.training import train
from edgegru_runtime import fixed_point as fx
from edgegru_runtime import load
from edgegru_runtime.artifact import read_artifact
from edgegru_runtime.errors import ConfigError, DataError
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.reference import Reference
from tests.training_data import random_dataset

torch.set_num_threads(1)
RATE, HOP = 8000.0, 80
FRONT_END = FrontEndConfig(kind="log-mel", frame_length=200, fft_size=256, bands=12)


def write_tones(path: Path, recordings: int = 24) -> Path:
    """An NPZ file of one channel: tones of 400 Hz or of 1500 Hz in noise, 0.15 to 0.3 seconds, loud and quiet."""
    generator, x, y, lengths = np.random.default_rng(0), [], [], []
    for index in range(recordings):
        length = int(generator.integers(1200, 2400))
        tone = np.sin(2 * np.pi * (400, 1500)[index % 2] / RATE * np.arange(length) + generator.uniform(0, 6))
        sound = (tone + 0.5 * generator.normal(0, 1, length)) * 2.0 ** generator.uniform(7, 12)
        x.append(np.round(sound).astype(np.float32)[:, np.newaxis])
        y.append(("low", "high")[index % 2])
        lengths.append(length)
    np.savez(path, x=np.concatenate(x), y=np.array(y), lengths=np.array(lengths))
    return path


def config_for(data: Path, **training: Any) -> TrainConfig:
    settings: dict[str, Any] = {"epochs": 3, "qat_epochs": 2, "lanes": 4, "learning_rate": 0.02}
    return TrainConfig(
        DataConfig(path=str(data), target="recording_label", samples_per_step=HOP, rate=RATE),
        front_end=FRONT_END,
        model=NetworkConfig(hidden_size=8),
        training=TrainingConfig(**{**settings, **training}),
    )


def history(folder: Path) -> list[dict[str, float]]:
    with open(folder / "history.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_tones_are_told_apart_from_training_to_integers(tmp_path: Path) -> None:
    data = write_tones(tmp_path / "tones.npz")
    path = train(config_for(data), output=tmp_path / "trained")
    config = load(path).config
    node = config.front_end
    assert node is not None
    assert (node.input_size, node.output_size, node.frame_length, node.fft_size) == (HOP, 12, 200, 256)
    assert (config.input.size, config.input.samples_per_step, config.input.rate) == (1, HOP, RATE)
    assert {one.x.shape[1] for one in labelled_sequences(config, data, "all")} == {HOP}
    assert {x.shape[1] for x in calibration_sequences(config, data)} == {HOP}
    for scheme in ("static-w8a8", "dynamic-w8"):
        report = quantize(path, data, tmp_path / f"{scheme}.safetensors", scheme=scheme)
        assert report.scheme == scheme
        assert evaluate(tmp_path / f"{scheme}.safetensors", data, part="all").metrics["accuracy"] >= 0.9
    assert evaluate(path, data, part="all").metrics["accuracy"] >= 0.9
    best = max(history(tmp_path / "trained"), key=lambda row: row["validation_accuracy"])
    found = evaluate(path, data, part="validation").metrics["accuracy"]
    assert found == pytest.approx(best["validation_accuracy"])


def test_training_sees_the_features_that_stream(tmp_path: Path) -> None:
    """Network and artifact agree from the samples on: in floats closely, in integers in every bit."""
    config = config_for(write_tones(tmp_path / "tones.npz"))
    dataset = prepare(config.data)
    sequences = dataset.validation
    trainer = Trainer(config, dataset, torch.device("cpu"))
    (artifact,) = trainer.artifacts({}).values()
    for sequence in sequences:
        x = torch.from_numpy(trainer.input.sequence(sequence).x).unsqueeze(0)
        with torch.no_grad():
            outputs, _ = trainer.network(x, trainer.network.zero_state(1))
        engine = Reference(artifact)
        state, steps = engine.new_state(), sequence.x[: x.shape[1] * HOP].reshape(-1, HOP)
        found = np.array([engine.step(state, block)[0] for block in steps])
        np.testing.assert_allclose(found, torch.softmax(outputs[0], dim=1).numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("scheme", ["static-w8a8", "static-w8a16"])
def test_quantization_aware_training_is_the_integer_engine_in_every_bit(scheme: str, tmp_path: Path) -> None:
    data = write_tones(tmp_path / "tones.npz")
    config = config_for(data)
    path = train(config, qat=scheme, output=tmp_path / "trained")
    artifact, dataset = read_artifact(path), prepare(config.data)
    start = read_artifact(tmp_path / "trained" / "float" / "model.safetensors")
    tables = {name: start.array(f"log_mel.{name}") for name in ("window", "twiddles", "edges", "rising")}
    node = start.config.front_end
    assert node is not None
    for name, expected in integer_tables(node, tables).items():
        np.testing.assert_array_equal(artifact.array(f"log_mel.{name}"), expected)
    trainer = QuantizedTrainer(config, dataset, torch.device("cpu"), scheme, start)
    network = trainer.network.eval()
    engine = IntegerReference(network.integer_artifact())
    for sequence in dataset.validation:
        x = torch.from_numpy(trainer.input.sequence(sequence).x).unsqueeze(0)
        with torch.no_grad():
            outputs, _ = network(x, network.zero_state(1))
        state, steps = engine.new_state(), sequence.x[: x.shape[1] * HOP].reshape(-1, HOP)
        found = np.array([engine.step(state, block)[0] for block in steps])
        expected = softmax_q15((outputs[0] * 2.0**fx.SOFTMAX_ARGUMENT_BITS).long()).numpy()
        np.testing.assert_array_equal(found, expected * 2.0**-fx.PROBABILITY_BITS)
    best = history(tmp_path / "trained")[artifact.config.provenance["epoch"] - 1]
    assert evaluate(path, data, part="validation").metrics["accuracy"] == best["validation_accuracy"]


# What the network is given --------------------------------------------------------------------------------------------


def dataset_of(rate: float | None = RATE, channels: int = 1, length: int = 400) -> Dataset:
    x = np.random.default_rng(0).normal(0, 1000, (length, channels)).astype(np.float32)
    sequence = LabelledSequence("r", "g", x, np.zeros(length, np.int64), np.arange(length) == length - 1)
    return replace(random_dataset("recording_label", channels, 2, (sequence,)), rate=rate)


def config_with(hop: int = HOP, **front_end: Any) -> TrainConfig:
    return TrainConfig(DataConfig(samples_per_step=hop), front_end=replace(FRONT_END, **front_end))


def test_scales_are_those_of_the_features_of_the_training_part() -> None:
    dataset = dataset_of()
    given = NetworkInput(config_with(), dataset)
    assert given.front_end is not None
    features = given.sequence(dataset.train[0])
    assert features.x.shape == (5, 12) and features.mask.tolist() == [False] * 4 + [True]
    np.testing.assert_allclose(given.mean, features.x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(given.std, features.x.std(axis=0), rtol=1e-4)
    assert set(given.front_end.tensors) == {f"log_mel.{name}" for name in given.front_end.tables}
    integers = NetworkInput(config_with(), dataset, integer=True)
    np.testing.assert_array_equal(integers.mean, given.mean)  # those of the float32 model, where integers start
    (other,) = integers.sequences(dataset.train)
    assert 0 < np.abs(other.x - features.x).max() < 0.05


def test_without_a_front_end_there_is_none() -> None:
    assert front_end_of(config_with(kind="none"), dataset_of(rate=None, channels=3)) is None


def test_the_highest_band_ends_at_half_the_rate_unless_it_is_said() -> None:
    ends = [front_end_of(config_with(high=high), dataset_of()) for high in (0.0, 4000.0, 2000.0)]
    first, same, lower = (end.tables["edges"][-1] for end in ends if end is not None)
    assert (first, same, lower) == (128, 128, 64)


BAND_LIMITS = "expected low < high, and at most half the rate of 8000 Hz"


@pytest.mark.parametrize(
    ("settings", "data", "message"),
    [
        ({}, {"channels": 2}, "front_end.kind is 'log-mel', but there are 2 channels: expected one, of sound"),
        ({}, {"rate": None}, "front_end.kind is 'log-mel', but the rate is not known: expected data.rate in Hz"),
        ({"low": 3000.0, "high": 2000.0}, {}, f"front_end.low is 3000 Hz and front_end.high 2000 Hz: {BAND_LIMITS}"),
        ({"low": 2000.0, "high": 2000.0}, {}, f"front_end.low is 2000 Hz and front_end.high 2000 Hz: {BAND_LIMITS}"),
        ({"low": 4000.0}, {}, f"front_end.low is 4000 Hz and front_end.high 4000 Hz: {BAND_LIMITS}"),
        ({"high": 4001.0}, {}, f"front_end.low is 60 Hz and front_end.high 4001 Hz: {BAND_LIMITS}"),
        ({"hop": 201}, {}, "front_end.frame_length is 200, expected at least the 201 of data.samples_per_step"),
        (
            {"bands": 1, "low": 1001.0, "high": 1030.0}, {},
            "band 0 of log_mel, 1001 to 1030 Hz, holds no bin of 31.25 Hz, expected fewer bands or a larger spectrum",
        ),
    ],
)  # fmt: skip
def test_a_front_end_that_does_not_fit_the_data_is_refused(
    settings: dict[str, Any], data: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        NetworkInput(config_with(**settings), dataset_of(**data))
    assert str(caught.value) == message


def test_a_recording_shorter_than_a_step_is_refused() -> None:
    dataset = dataset_of()
    short = replace(dataset.train[0], x=dataset.train[0].x[:79], target=dataset.train[0].target[:79])
    with pytest.raises(DataError, match="recording 'r' has 79 samples, fewer than the 80 of a step"):
        NetworkInput(config_with(), dataset).sequence(replace(short, mask=np.ones(79, np.bool_)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fft_size": 300}, "front_end.fft_size is 300, expected a power of two of at least the frame_length 200"),
        ({"fft_size": 128}, "front_end.fft_size is 128, expected a power of two of at least the frame_length 200"),
        ({"kind": "mfcc"}, "front_end.kind is 'mfcc'"),
        ({"floor": 0.0}, "front_end.floor is 0"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_with(**settings)
