"""Training from recordings to artifact: it learns, it streams what it learned, and it can be killed at any moment."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgegru.training
from edgegru.checkpoint import load_checkpoint
from edgegru.configuration import (
    AugmentationConfig,
    NetworkConfig,
    TrainConfig,
    TrainingConfig,
    config_to_toml,
    load_config,
)
from edgegru.data import DataConfig, prepare
from edgegru.starting_model import read_start
from edgegru.trainer import Trainer
from edgegru.training import TrainingInterrupted, train
from edgegru_export.saving import save_artifact
from edgegru_runtime import load, read_artifact
from edgegru_runtime.errors import ConfigError, DataError
from tests.builders import random_artifact, random_config
from tests.training_data import TARGETS, random_dataset, random_sequences, write_recordings

torch.set_num_threads(1)


def config_for(target: str, **training: Any) -> TrainConfig:
    settings: dict[str, Any] = {"epochs": 12, "lanes": 8, "bptt_steps": 20, "learning_rate": 0.03, **training}
    return TrainConfig(
        data=DataConfig(target=target, horizon=2 if target == "forecast" else 0),
        model=NetworkConfig(hidden_size=8, time_constant=8.0),
        training=TrainingConfig(**settings),
    )


def rows(folder: Path) -> list[dict[str, float]]:
    with open(folder / "history.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def write_csv(folder: Path, header: str, *lines: str) -> Path:
    """A folder of three recordings with these lines each."""
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.csv").write_text("\n".join((header, *lines, "")))
    return folder


def streamed_metric(model: Path, config: TrainConfig, data: Path) -> float:
    """Accuracy, likelihood or squared error of the validation part, a step at a time on the reference engine."""
    stream = load(model).stream()
    hits = []
    for sequence in prepare(config.data, data, seed=config.training.seed).validation:
        stream.reset()
        outputs = np.array([stream.step(row) for row in sequence.x])[sequence.mask]
        targets = sequence.target[sequence.mask]
        if config.data.target == "step_labels":
            hits.append(-np.log(np.where(targets == 1, outputs, 1 - outputs)).sum(axis=1))
        else:
            hits.append(outputs.argmax(axis=1) == targets if targets.ndim == 1 else (outputs - targets) ** 2)
    return float(np.concatenate(hits).mean())


@pytest.mark.parametrize(
    ("header", "line", "found"),
    [
        ("a,label", "2e38,y", "tensor 'standardise.std' holds"),
        ("a,label", f"2,{'y' * 300}", r"outputs\[0\]\.labels holds"),
    ],
)
def test_what_no_model_file_holds_is_refused_before_training(
    tmp_path: Path, header: str, line: str, found: str
) -> None:
    data = write_csv(tmp_path / "data", header, "1,x", line)
    with pytest.raises(ConfigError, match=f"no model file can hold these data and this configuration: .*{found}"):
        train(config_for("step_label"), data=data, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_targets_in_units_of_any_size(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data", "a,bytes", "1,1e20", "-1,3e20")
    config = TrainConfig(data=DataConfig(target_columns=("bytes",)), training=TrainingConfig(epochs=1))
    provenance = read_artifact(train(config, data=data, output=tmp_path / "out")).config.provenance
    assert provenance["metrics"]["validation_mse"] > 1e38


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_is_learned_and_streams_as_validated(tmp_path: Path, target: str) -> None:
    data, config = write_recordings(tmp_path / "data.npz", target, recordings=48), config_for(target)
    model = train(config, data=data, output=tmp_path / "out")
    history = rows(tmp_path / "out")
    assert len(history) == 12
    best = history[read_artifact(model).config.provenance["epoch"] - 1]
    streamed = streamed_metric(model, config, data)
    if target.endswith("label"):
        assert streamed == pytest.approx(best["validation_accuracy"], abs=1e-9)
        assert streamed == max(row["validation_accuracy"] for row in history)
        assert streamed >= 0.85
    elif target == "step_labels":
        assert streamed == pytest.approx(best["validation_nll"], rel=1e-4)
        assert best["validation_loss"] == min(row["validation_loss"] for row in history)
        assert best["validation_loss"] == pytest.approx(streamed, rel=1e-4)
        assert best["validation_micro_f1"] > 0.85
    else:
        variance = prepare(config.data, data).target_std.astype(float) ** 2
        assert streamed == pytest.approx(best["validation_mse"], rel=1e-4)
        assert best["validation_loss"] == min(row["validation_loss"] for row in history)
        assert streamed < 0.4 * variance.mean()


def test_output_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, config = write_recordings(tmp_path / "data.npz", "step_label"), config_for("step_label", epochs=2)
    model = train(config, data=data, seed=7, output=tmp_path / "new" / "out")
    folder = model.parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.pt", "config.toml", "history.csv", "model.safetensors", "training.png",
    ]  # fmt: skip
    used = load_config(folder / "config.toml")
    assert used.training == replace(config.training, seed=7)
    assert used.data.path == str(data)
    assert list(rows(folder)[0]) == [
        "epoch", "learning_rate", "train_loss", "train_accuracy", "train_macro_f1",
        "validation_loss", "validation_accuracy", "validation_macro_f1",
    ]  # fmt: skip
    assert (folder / "training.png").read_bytes().startswith(b"\x89PNG")
    provenance = read_artifact(model).config.provenance
    assert provenance["seed"] == 7
    assert str(tmp_path) not in str(provenance) + str(read_artifact(model).config.data)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "training" in captured.err and "train_loss" in captured.err


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    data, config = write_recordings(tmp_path / "data.npz", "step_label"), config_for("step_label", epochs=2)
    first, again, other = (
        train(config, data=data, seed=seed, output=tmp_path / name).read_bytes()
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first == again
    assert first != other


def test_surroundings_are_left_as_they_were(tmp_path: Path) -> None:
    data, config = write_recordings(tmp_path / "data.npz", "step_label"), config_for("step_label", epochs=1)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        train(config, data=data, output=tmp_path / "out")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert torch.equal(torch.get_rng_state(), before)


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the caller's shell ignores it
from edgegru.training import train
from edgegru_runtime.errors import EdgegruError
try:
    train(sys.argv[1], data=sys.argv[2], output=sys.argv[3])
except EdgegruError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
"""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data.npz, config.toml and the run ``whole`` that nothing stopped."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    data = write_recordings(folder / "data.npz", "step_label")
    (folder / "config.toml").write_text(config_to_toml(everything_random(epochs=15)))
    train(folder / "config.toml", data=data, output=folder / "whole")
    return folder


def everything_random(epochs: int) -> TrainConfig:
    config = config_for("step_label", epochs=epochs, averaging=0.9, class_weights="balanced", label_smoothing=0.1)
    augmentation = AugmentationConfig(scale=0.1, noise=0.1, time_stretch=0.1, channel_dropout=0.1, rotation=20.0)
    return replace(config, model=replace(config.model, num_layers=2, dropout=0.2), augmentation=augmentation)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_stopped_run_resumes_to_the_same_bits(uninterrupted: Path, tmp_path: Path, how: signal.Signals) -> None:
    config, data = uninterrupted / "config.toml", uninterrupted / "data.npz"
    stopped, whole = tmp_path / "stopped", uninterrupted / "whole"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, config, data, stopped], stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while not (stopped / "history.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.02)
        process.send_signal(how)
        _, log = process.communicate(timeout=120)
    done = load_checkpoint(stopped / "checkpoint.pt", torch.device("cpu")).epoch
    assert 0 < done < 15
    assert not (stopped / "model.safetensors").exists()
    if how == signal.SIGINT:
        assert process.returncode == 1
        assert "Traceback" not in log
        assert log.splitlines()[-1].startswith("interrupted after epoch")
        assert log.splitlines()[-1].endswith("checkpoint.pt can be resumed (--resume)")
        assert not [path for path in stopped.iterdir() if path.name.endswith(".tmp")]
    train(config, data=data, output=stopped, resume=True)
    for name in ("model.safetensors", "history.csv", "training.png", "config.toml"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()


def test_interruption_within_the_first_epoch_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, config = write_recordings(tmp_path / "data.npz", "step_label"), everything_random(epochs=2)
    update, calls = Trainer._update, []

    def interrupted(trainer: Trainer, loss: torch.Tensor, progress: float) -> None:
        calls.append(progress)
        if len(calls) == 3:
            raise KeyboardInterrupt
        update(trainer, loss, progress)

    monkeypatch.setattr(Trainer, "_update", interrupted)
    with pytest.raises(TrainingInterrupted, match="interrupted after epoch 0 of 2"):
        train(config, data=data, output=tmp_path / "stopped")
    monkeypatch.undo()
    resumed = train(config, data=data, output=tmp_path / "stopped", resume=True)
    assert resumed.read_bytes() == train(config, data=data, output=tmp_path / "whole").read_bytes()


def test_finished_run_resumes_to_itself_and_a_new_one_replaces_it(tmp_path: Path) -> None:
    data, config = write_recordings(tmp_path / "data.npz", "step_label"), config_for("step_label", epochs=2)
    model = train(config, data=data, output=tmp_path / "out")
    content = model.read_bytes()
    model.unlink()
    assert train(config, data=data, output=tmp_path / "out", resume=True).read_bytes() == content
    with pytest.raises(ConfigError, match=r"training\.seed = 0, now it is 5"):
        train(config, data=data, seed=5, output=tmp_path / "out", resume=True)
    assert model.read_bytes() == content
    assert train(config, data=data, seed=5, output=tmp_path / "out").read_bytes() != content


def test_patience_stops_and_the_best_epoch_is_kept(tmp_path: Path) -> None:
    data = write_recordings(tmp_path / "data.npz", "step_label", recordings=20)
    config = config_for("step_label", epochs=200, patience=4, schedule="constant", metric="loss", learning_rate=0.1)
    model = train(config, data=data, output=tmp_path / "out")
    history = rows(tmp_path / "out")
    losses = [row["validation_loss"] for row in history]
    best = losses.index(min(losses)) + 1
    assert len(history) == best + 4 < 200
    assert read_artifact(model).config.provenance["epoch"] == best
    assert streamed_metric(model, config, data) == pytest.approx(history[best - 1]["validation_accuracy"])


def test_without_validation_the_last_epoch_is_kept(tmp_path: Path) -> None:
    data, config = write_recordings(tmp_path / "data.npz", "step_label"), config_for("step_label", epochs=3)
    config = replace(config, data=replace(config.data, split="none", validation_fraction=0.0))
    model = train(config, data=data, output=tmp_path / "out")
    assert read_artifact(model).config.provenance["epoch"] == 3
    assert not any(name.startswith("validation") for name in rows(tmp_path / "out")[0])
    patient = replace(config, training=replace(config.training, patience=2))
    with pytest.raises(ConfigError, match=r"training\.patience is 2, but there is no validation part"):
        train(patient, data=data, output=tmp_path / "patient")
    assert not (tmp_path / "patient").exists()


def test_diverging_training_is_named(tmp_path: Path) -> None:
    data = write_recordings(tmp_path / "data.npz", "step_value")
    config = config_for("step_value", epochs=30, schedule="constant", gradient_clip=0.0, learning_rate=10.0)
    config = replace(config, model=replace(config.model, output_layers=(64, 64, 64)))
    dataset = prepare(config.data, data)
    huge = tuple(replace(sequence, target=sequence.target * 1e30) for sequence in dataset.train)
    trainer = Trainer(config, replace(dataset, train=huge), torch.device("cpu"))
    with pytest.raises(ConfigError, match=r"no longer finite in epoch 1: use a training\.learning_rate below 10"):
        trainer.run_epoch()


def test_averaged_weights_are_the_running_mean() -> None:
    config = config_for("step_label", averaging=0.5, epochs=1)
    trainer = Trainer(config, random_dataset(outputs=3, train=random_sequences([40, 50], 3)), torch.device("cpu"))
    means = [parameter.detach().clone().double() for parameter in trainer.average.parameters()]
    step = trainer.optimiser.step

    def recorded() -> None:
        step()
        decay = min(0.5, (2 + trainer.updates) / (11 + trainer.updates))  # updates are counted after the step
        for mean, parameter in zip(means, trainer.network.parameters(), strict=True):
            mean.mul_(decay).add_(parameter.detach().double(), alpha=1 - decay)

    trainer.optimiser.step = recorded  # type: ignore[method-assign, assignment] # watched, not changed
    trainer.run_epoch()
    for mean, parameter in zip(means, trainer.average.parameters(), strict=True):
        torch.testing.assert_close(parameter.detach().double(), mean, rtol=0, atol=1e-6)


def test_supervision_of_recordings_at_the_last_step_or_at_all() -> None:
    sequences = random_sequences([6, 9], 3)
    for sequence in sequences:
        sequence.mask[:-1] = False
    dataset = random_dataset("recording_label", outputs=3, train=sequences)
    counted = {
        supervision: [
            (sequence.mask.sum(), set(sequence.target[sequence.mask].tolist()))
            for sequence in Trainer(
                config_for("recording_label", supervision=supervision), dataset, torch.device("cpu")
            ).train_sequences
        ]
        for supervision in ("last", "all")
    }
    last = [{int(sequence.target[-1])} for sequence in sequences]
    assert counted == {"last": [(1, last[0]), (1, last[1])], "all": [(6, last[0]), (9, last[1])]}


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "device is 'gpu', expected cpu, cuda or cuda:N"),
        ("meta", "device is 'meta', expected cpu, cuda or cuda:N"),
        ("cuda:99", "device is 'cuda:99', but torch finds"),
    ],
)
def test_wrong_devices_are_refused(tmp_path: Path, device: str, message: str) -> None:
    data = write_recordings(tmp_path / "data.npz", "step_label")
    with pytest.raises(ConfigError, match=message):
        train(config_for("step_label"), data=data, device=device, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_places_are_refused(tmp_path: Path) -> None:
    data, config = write_recordings(tmp_path / "data.npz", "step_label"), config_for("step_label", epochs=1)
    with pytest.raises(ConfigError, match="cannot write to .*data.npz"):
        train(config, data=data, output=data)
    with pytest.raises(ConfigError, match="cannot write to .*data.npz"):
        train(config, data=data, output=data / "below")
    with pytest.raises(ConfigError, match="nothing to resume"):
        train(config, data=data, output=tmp_path / "out", resume=True)
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="none"):
        train(config, data=tmp_path / "none", output=tmp_path / "out")
    with pytest.raises(ConfigError, match="seed"):
        train(config, data=data, seed=-1, output=tmp_path / "out")


def test_it_does_not_go_on_from_gates_that_it_cannot_train(tmp_path: Path) -> None:
    save_artifact(random_artifact(gates="hard_sigmoid_5"), tmp_path / "model")
    with pytest.raises(ConfigError, match="gru0 has gate_activation hard_sigmoid_5, but the configuration makes"):
        read_start(tmp_path / "model", random_config())


def test_validation_without_targets_is_named() -> None:
    dataset = random_dataset(outputs=3, train=random_sequences([20], 3))
    (blank,) = random_sequences([5], 3)
    blank.mask[:] = False
    with pytest.raises(DataError, match="no step of the validation part has a target"):
        Trainer(config_for("step_label"), replace(dataset, validation=(blank,)), torch.device("cpu"))


def test_module_is_the_function_the_package_names() -> None:
    assert edgegru.train is edgegru.training.train
