"""Checkpoints: plain data only, refused when they belong to another run, broken ones named."""

from __future__ import annotations

import io
import os
import pickle
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgegru.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgegru.configuration import AugmentationConfig, NetworkConfig, TrainConfig, TrainingConfig
from edgegru.data import DataConfig
from edgegru.trainer import Trainer
from edgegru_runtime.errors import ArtifactError, ConfigError
from tests.training_data import random_dataset, random_sequences

torch.set_num_threads(1)
CPU = torch.device("cpu")
CONFIG = TrainConfig(
    model=NetworkConfig(hidden_size=4),
    training=TrainingConfig(epochs=3, lanes=2, bptt_steps=8, averaging=0.9),
)


def trainer(config: TrainConfig = CONFIG, seed: int = 0) -> Trainer:
    sequences = random_sequences([20 + seed, 30], input_size=3)
    return Trainer(config, random_dataset(outputs=3, train=sequences), CPU)


def written(path: Path, epochs: int = 1) -> Checkpoint:
    started = trainer()
    for _ in range(epochs):
        started.run_epoch()
    save_checkpoint(started.checkpoint(), path)
    return load_checkpoint(path, CPU)


def test_everything_comes_back(tmp_path: Path) -> None:
    checkpoint = written(tmp_path / "checkpoint.pt", epochs=2)
    original = trainer()
    original.run_epoch()
    original.run_epoch()
    resumed = trainer()
    resumed.restore(checkpoint, tmp_path)
    assert resumed.epoch == 2
    assert resumed.history == original.history
    for one in (resumed, original):
        one.run_epoch()
    for name, tensor in original.average.state_dict().items():
        assert torch.equal(resumed.average.state_dict()[name], tensor)
    assert resumed.history == original.history


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": NetworkConfig(hidden_size=5)}, "model.hidden_size = 4, now it is 5"),
        ({"training": replace(CONFIG.training, epochs=4)}, "training.epochs = 3, now it is 4"),
        ({"training": replace(CONFIG.training, seed=1)}, "training.seed = 0, now it is 1"),
        ({"augmentation": AugmentationConfig(noise=0.1)}, "augmentation.noise = 0.0, now it is 0.1"),
        ({"data": DataConfig(rate=20.0)}, "data.rate = 0.0, now it is 20.0"),
    ],
)
def test_another_configuration_is_refused_by_name(tmp_path: Path, change: dict[str, object], message: str) -> None:
    checkpoint = written(tmp_path / "checkpoint.pt")
    with pytest.raises(ConfigError, match=message):
        trainer(replace(CONFIG, **change)).restore(checkpoint, tmp_path)  # type: ignore[arg-type] # sections by name


def test_data_may_lie_elsewhere_but_not_differ(tmp_path: Path) -> None:
    checkpoint = written(tmp_path / "checkpoint.pt")
    trainer(replace(CONFIG, data=DataConfig(path="elsewhere"))).restore(checkpoint, tmp_path)
    with pytest.raises(ConfigError, match="trained on other data"):
        trainer(seed=1).restore(checkpoint, tmp_path)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to resume: there is no"):
        load_checkpoint(tmp_path / "checkpoint.pt", CPU)


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (os.environ["EVIL_FOLDER"],)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVIL_FOLDER", str(tmp_path / "evil"))
    for name, save in (("plain", pickle.dumps), ("zip", torch_bytes)):
        (tmp_path / name).write_bytes(save({"config": Evil()}))
        with pytest.raises(ArtifactError, match="no checkpoint"):
            load_checkpoint(tmp_path / name, CPU)
    assert not (tmp_path / "evil").exists()


def torch_bytes(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_broken_files_are_named(tmp_path: Path) -> None:
    good = tmp_path / "good.pt"
    written(good)
    data = good.read_bytes()
    broken = {
        "empty": b"",
        "text": b"not a checkpoint at all",
        "half": data[: len(data) // 2],
        "list": torch_bytes([1, 2]),
        "other": torch_bytes({"weights": torch.zeros(2)}),
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ArtifactError, match=name):
            load_checkpoint(tmp_path / name, CPU)
    with pytest.raises(ArtifactError):
        load_checkpoint(tmp_path, CPU)


def test_every_damaged_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    good = written(path)
    data = path.read_bytes()
    generator = random.Random(0)
    refused = 0
    for _ in range(300):
        position = generator.randrange(len(data))
        path.write_bytes(data[:position] + bytes([data[position] ^ 1 << generator.randrange(8)]) + data[position + 1 :])
        try:
            found = load_checkpoint(path, CPU)
        except ArtifactError:
            refused += 1
        else:
            assert (found.history, found.config) == (good.history, good.config)
            assert all(torch.equal(found.network[name], good.network[name]) for name in good.network)
    assert refused > 100


@pytest.mark.parametrize(
    "change",
    [
        {"network": {"dense.weight": torch.zeros(1)}},
        {"average": {}},
        {"best": 3},
        {"optimiser": {"state": {}}},
        {"history": 7},
        {"config": None},
        {"config": {"model": 3}},
        {"epoch": "two"},
        {"best_epoch": 9},
        {"updates": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_inconsistent_content_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    checkpoint = replace(written(tmp_path / "checkpoint.pt"), **change)  # type: ignore[arg-type] # wrong on purpose
    save_checkpoint(checkpoint, tmp_path / "checkpoint.pt")
    with pytest.raises((ArtifactError, ConfigError), match=r"checkpoint\.pt"):
        trainer().restore(load_checkpoint(tmp_path / "checkpoint.pt", CPU), tmp_path / "checkpoint.pt")
