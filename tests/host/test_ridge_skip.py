"""The closed-form skip of a forecast, and differences in place of a convolution."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgegru.configuration import NetworkConfig, TrainConfig, TrainingConfig
from edgegru.data import DataConfig, labelled_sequences, prepare
from edgegru.evaluation import evaluate
from edgegru.network import differences
from edgegru.quantization import quantize
from edgegru.ridge_skip import fit_ridge_skip
from edgegru.trainer import Trainer
from edgegru.training import train
from edgegru_runtime import load
from edgegru_runtime.errors import ConfigError, DataError
from edgegru_runtime.model_config import OutputConfig

LAGS = 5


def write_series(path: Path) -> Path:
    """Two channels, each a linear map of its own last steps and a little noise, in recordings of one series."""
    generator = np.random.default_rng(0)
    x = np.zeros((900, 2))
    for t in range(3, 900):
        noise = generator.normal(0, (1.0, 2.0))
        x[t] = (0.5, 0.9) * x[t - 1] + (0.3, -0.4) * x[t - 3] + noise
    np.savez(path, x=(x * (2, 3) + (10, -5)).astype(np.float32), lengths=np.array([300, 300, 300]))
    return path


def config(path: Path, **model: object) -> TrainConfig:
    return TrainConfig(
        data=DataConfig(path=str(path), horizon=2, history=LAGS - 1),
        model=NetworkConfig(hidden_size=6, skip_steps=LAGS, **model),  # type: ignore[arg-type] # a test's arguments
        training=TrainingConfig(epochs=2, lanes=3, random_reset=0.0),
    )


def test_the_fit_is_the_least_squares_of_every_channel(tmp_path: Path) -> None:
    dataset = prepare(config(write_series(tmp_path / "x.npz")).data)
    fit = fit_ridge_skip(dataset.train, dataset, dataset.mean, dataset.std, LAGS, strength=1e-9)
    for channel in range(2):
        rows, ahead = [], []
        for sequence in dataset.train:
            for t in np.flatnonzero(sequence.mask):
                past = sequence.x[t - LAGS + 1 : t + 1, channel]
                rows.append([*((past - dataset.mean[channel]) / dataset.std[channel]), 1])
                ahead.append((sequence.target[t] - dataset.target_mean) / dataset.target_std)
        expected = np.linalg.lstsq(np.array(rows), np.array(ahead)[:, channel::2], rcond=None)[0]
        for horizon in range(2):
            output = 2 * horizon + channel
            np.testing.assert_allclose(fit.weight[output, channel], expected[:-1, horizon], atol=1e-4)
            np.testing.assert_allclose(fit.bias[output], expected[-1, horizon], atol=1e-4)
            assert not fit.weight[output, 1 - channel].any()


def test_a_strong_ridge_makes_channels_alike(tmp_path: Path) -> None:
    dataset = prepare(config(write_series(tmp_path / "x.npz")).data)
    weak, strong = (
        fit_ridge_skip(dataset.train, dataset, dataset.mean, dataset.std, LAGS, strength) for strength in (1.0, 1e9)
    )
    apart = [np.abs(fit.weight[0, 0] - fit.weight[1, 1]).max() for fit in (weak, strong)]
    assert apart[0] > 0.1 and apart[1] < 1e-3


def test_training_begins_at_the_fit_and_keeps_it(tmp_path: Path) -> None:
    made = config(write_series(tmp_path / "x.npz"), skip_ridge=10.0, differences=(1, 3))
    dataset = prepare(made.data)
    trainer = Trainer(made, dataset, torch.device("cpu"))
    assert trainer.ridge_skip is not None
    first = trainer.network.skip.weight.clone()
    np.testing.assert_allclose(first.detach().numpy(), trainer.ridge_skip.weight, rtol=1e-6)
    sequence = trainer.validation_sequences[0]
    with torch.no_grad():
        outputs, _ = trainer.network(torch.from_numpy(sequence.x)[None], trainer.network.zero_state(1))
    x = (sequence.x - dataset.mean) / dataset.std
    t = len(x) // 2
    expected = np.einsum("ock,kc->o", trainer.ridge_skip.weight, x[t - LAGS + 1 : t + 1]) + trainer.ridge_skip.bias
    np.testing.assert_allclose(outputs[0, t].numpy(), expected, atol=1e-5)
    trainer.run_epoch()
    assert torch.equal(trainer.network.skip.weight, first)
    assert trainer.network.dense.weight.abs().max() > 0


def test_such_a_model_goes_all_the_way_to_integers(tmp_path: Path) -> None:
    data = write_series(tmp_path / "x.npz")
    made = config(data, skip_ridge=10.0, differences=(1, 3))
    path = train(made, output=tmp_path / "trained")
    assert [node.name for node in load(path).config.nodes] == [
        "standardise", "convolution", "gru0", "dense", "skip", "sum", "output",
    ]  # fmt: skip
    (first, *_) = labelled_sequences(load(path).config, data, "all")
    assert not first.mask[: LAGS - 1].any() and first.mask[LAGS - 1]  # history is kept in the model
    wide = dict.fromkeys(("standardise", "convolution"), "static-w8a16")
    quantize(path, data, tmp_path / "int8.safetensors", keep=wide)
    aware = train(made, qat="static-w8a8", from_model=path, output=tmp_path / "aware")
    errors = [evaluate(file, data, part="all").metrics["mse"] for file in (path, tmp_path / "int8.safetensors", aware)]
    assert errors[1] == pytest.approx(errors[0], rel=0.02) and errors[2] == pytest.approx(errors[0], rel=0.05)


def test_differences_are_what_changed() -> None:
    layer = differences(2, (1, 4))
    x = torch.randn(1, 12, 2, generator=torch.Generator().manual_seed(0))
    values, _ = layer(x, torch.zeros(1, layer.state_size), None)
    for t in range(4, 12):
        expected = torch.cat([x[0, t] - x[0, t - 1], x[0, t] - x[0, t - 4]])
        torch.testing.assert_close(values[0, t], expected, rtol=0, atol=1e-6)


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="model.differences is in place of a convolution"):
        NetworkConfig(differences=(1,), convolution_size=4)
    with pytest.raises(ConfigError, match=r"model.skip_ridge is 1, but model.skip_steps is 0: expected some steps"):
        NetworkConfig(skip_ridge=1.0)
    with pytest.raises(ConfigError, match="data.history is -1, expected 0 samples or more"):
        DataConfig(history=-1)
    made = config(write_series(tmp_path / "x.npz"), skip_ridge=1.0)
    dataset = prepare(made.data)
    output = OutputConfig("output", "step_value", dataset.labels)
    with pytest.raises(ConfigError, match="model.skip_ridge is for a forecast of all channels"):
        Trainer(made, replace(dataset, outputs=(output,)), torch.device("cpu"))
    with pytest.raises(DataError, match="no step of the training part has 800 inputs up to it and a target"):
        fit_ridge_skip(dataset.train, dataset, dataset.mean, dataset.std, 800, 1.0)
