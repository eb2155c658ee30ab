"""The command of quantization-aware training, and what it refuses to start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgegru.calibration import calibrate
from edgegru.command_line import main
from edgegru.configuration import config_to_toml
from edgegru.data import prepare
from edgegru.quantization import quantize_artifact
from edgegru.quantized_trainer import QuantizedTrainer
from edgegru.training import train
from edgegru_export.saving import save_artifact, with_identity
from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.errors import ArtifactError, ConfigError
from tests.host.test_qat import config_for, recordings
from tests.training_data import write_recordings

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def float_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data.npz, config.toml and a float model."""
    folder = tmp_path_factory.mktemp("float")
    data = write_recordings(folder / "data.npz", "step_label")
    config = config_for("step_label", qat_epochs=1)
    (folder / "config.toml").write_text(config_to_toml(config))
    train(config, data=data, output=folder)
    return folder


def test_command(float_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, model = str(float_run / "config.toml"), str(float_run / "model.safetensors")
    arguments = ["train", "--config", config, "--data", str(float_run / "data.npz"), "-o", str(tmp_path)]
    assert main([*arguments, "--qat", "static-w8a16", "--from", model]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'quantized.safetensors'}\n"
    assert read_artifact(tmp_path / "quantized.safetensors").config.scheme == "static-w8a16"
    assert not (tmp_path / "float").exists()
    assert main([*arguments, "--from", model]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {model} is to start quantization-aware training, expected a scheme for it (--qat)"
    )
    assert main([*arguments, "--qat", "dynamic-w8"]) == 2


def changed_outputs(artifact: Artifact, **fields: Any) -> Artifact:
    (output,) = artifact.config.outputs
    return replace(artifact, config=replace(artifact.config, identity="", outputs=(replace(output, **fields),)))


def changed_channels(artifact: Artifact) -> Artifact:
    inputs = replace(artifact.config.input, channels=("a", "b", "c"))
    return replace(artifact, config=replace(artifact.config, identity="", input=inputs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed_channels, "has the channels a, b, c, but the data give channel0, channel1, channel2"),
        (lambda start: changed_outputs(start, labels=("p", "q")), "has the labels p, q, but the data give high, low"),
        (lambda start: changed_outputs(start, target="recording_label"), "has the target recording_label, but the"),
    ],
)
def test_starts_on_other_data_are_refused(float_run: Path, tmp_path: Path, change: Any, message: str) -> None:
    start = tmp_path / "start.safetensors"
    save_artifact(change(read_artifact(float_run / "model.safetensors")), start)
    with pytest.raises(ConfigError, match=message):
        train(
            float_run / "config.toml",
            data=float_run / "data.npz",
            qat="static-w8a8",
            from_model=start,
            output=tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"hidden_size": 9}, "node gru0 has hidden_size 8, but the configuration makes it 9"),
        ({"reset": "before"}, "node gru0 has reset after, but the configuration makes it before"),
        ({"num_layers": 2}, "has the linear node dense where the configuration makes the gru node gru1"),
        ({"input_layers": (3,)}, "has the gru node gru0 where the configuration makes the linear node input0"),
    ],
)
def test_starts_of_another_network_are_refused(
    float_run: Path, tmp_path: Path, network: dict[str, Any], message: str
) -> None:
    config, start = config_for("step_label"), float_run / "model.safetensors"
    config = replace(config, model=replace(config.model, **network))
    with pytest.raises(ConfigError, match=message):
        train(config, data=float_run / "data.npz", qat="static-w8a8", from_model=start, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_starts_are_refused(float_run: Path, tmp_path: Path) -> None:
    config, data = float_run / "config.toml", float_run / "data.npz"
    start = read_artifact(float_run / "model.safetensors")
    integer, hard = tmp_path / "int8.safetensors", tmp_path / "hard.safetensors"
    save_artifact(quantize_artifact(start, calibrate(start, recordings())), integer)
    nodes = tuple(replace(n, gate_activation="hard_sigmoid_5") if n.kind == "gru" else n for n in start.config.nodes)
    save_artifact(with_identity(Artifact(replace(start.config, nodes=nodes), start.tensors)), hard)
    refused: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ConfigError, "gru0 has gate_activation hard_sigmoid_5, but the configuration makes", {"from_model": hard}),
        (ConfigError, "is static-w8a8, expected a float32 model to start from", {"from_model": integer}),
        (ArtifactError, "data.npz: ", {"from_model": data}),
        (ConfigError, "qat is 'int4', expected one of static-w8a8, static-w8a16", {"qat": "int4"}),
        (ConfigError, "nothing to resume", {"resume": True}),
        (ConfigError, "cannot write to .*data.npz", {"output": data}),
    ]
    for error, message, options in refused:
        with pytest.raises(error, match=message):
            train(config, data=data, **{"qat": "static-w8a8", "output": tmp_path / "out", **options})
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="would be replaced by what is trained from it, expected another output"):
        train(config, data=data, qat="static-w8a8", from_model=float_run / "model.safetensors", output=float_run)
    assert data.is_file() and (float_run / "model.safetensors").exists()


def test_what_diverges_is_named(float_run: Path, tmp_path: Path) -> None:
    config, start = config_for("step_label"), read_artifact(float_run / "model.safetensors")
    trainer = QuantizedTrainer(
        config, prepare(config.data, float_run / "data.npz", seed=0), torch.device("cpu"), "static-w8a8", start
    )
    with torch.no_grad():
        trainer.network.network.dense.weight[0, 0] = torch.nan
    with pytest.raises(ConfigError, match=r"epoch 1 left the integers' range \(tensor 'dense.weight' is no longer fin"):
        trainer.run_epoch()
