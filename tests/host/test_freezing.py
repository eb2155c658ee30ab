"""Freezing: what streams from the artifact is what the torch network computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgegru.configuration import NetworkConfig, TrainConfig
from edgegru.data import DataConfig
from edgegru.freezing import freeze
from edgegru.network import Network
from edgegru.network_input import NetworkInput
from edgegru_export.saving import save_artifact
from edgegru_runtime import Model, load
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.model_config import GruNode
from tests.training_data import random_dataset

torch.set_num_threads(1)
TOLERANCE = 1e-6  # times max(1, max|h|, max|y|)
SHAPES = [
    {"hidden_size": 1},
    {"hidden_size": 32, "num_layers": 3},
    {"hidden_size": 65, "bias": False},
    {"hidden_size": 15, "input_layers": (7, 5), "input_activation": "tanh"},
    {"hidden_size": 9, "num_layers": 2, "output_layers": (8,), "output_activation": "relu"},
    {"hidden_size": 6, "convolution_size": 5, "convolution_kernel": 4, "input_layers": (7,)},
    {"hidden_size": 6, "convolution_size": 5, "convolution_kernel": 1, "convolution_activation": "tanh"},
    {"hidden_size": 6, "skip_steps": 9},
    {"hidden_size": 6, "skip_steps": 1, "convolution_size": 3, "num_layers": 2},
]


def make(target: str, **settings: object) -> tuple[Network, Artifact]:
    config = TrainConfig(model=NetworkConfig(**settings))  # type: ignore[arg-type] # a test's keyword arguments
    dataset = random_dataset(target)
    mean, std = torch.from_numpy(dataset.mean), torch.from_numpy(dataset.std)
    network = Network(config.model, mean, std, 4, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return network, freeze(network, config, dataset, {"seed": 0})


def expected(network: Network, x: NDArray[np.float32], target: str) -> NDArray[np.float64]:
    """What the network says, in the artifact's units: (T, 4)."""
    with torch.no_grad():
        outputs, _ = network(torch.from_numpy(x).unsqueeze(0), network.zero_state(1))
    if target == "step_labels":
        return torch.sigmoid(outputs[0]).double().numpy()
    if target.endswith("label"):
        return torch.softmax(outputs[0], dim=1).double().numpy()
    dataset = random_dataset(target)
    return outputs[0].double().numpy() * dataset.target_std + dataset.target_mean


def inputs(steps: int = 300) -> NDArray[np.float32]:
    dataset = random_dataset()
    return (np.random.default_rng(2).standard_normal((steps, 3)) * dataset.std + dataset.mean).astype(np.float32)


def streamed(artifact: Artifact, path: Path, x: NDArray[np.float32]) -> NDArray[np.float64]:
    save_artifact(artifact, path)
    stream = load(path).stream()
    return np.array([stream.step(row) for row in x])


@pytest.mark.parametrize("target", ["step_label", "step_labels", "recording_value"])
@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_stream_equals_network(tmp_path: Path, shape: dict[str, object], reset: str, target: str) -> None:
    network, artifact = make(target, reset=reset, **shape)
    x = inputs()
    outputs, wanted = streamed(artifact, tmp_path / "model.safetensors", x), expected(network, x, target)
    bound = TOLERANCE * max(1.0, np.abs(wanted).max())
    assert np.abs(outputs - wanted).max() <= bound
    whole = load(tmp_path / "model.safetensors").stream().run(x)
    np.testing.assert_array_equal(np.asarray(whole), outputs.astype(np.float32))


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_the_other_formulation_is_told_apart(tmp_path: Path, shape: dict[str, object], reset: str) -> None:
    network, artifact = make("step_label", reset=reset, **shape)
    other = {"after": "before", "before": "after"}[reset]
    nodes = tuple(replace(node, reset=other) if isinstance(node, GruNode) else node for node in artifact.config.nodes)
    flipped = replace(artifact, config=replace(artifact.config, nodes=nodes, identity=""))
    x = inputs()
    difference = np.abs(streamed(flipped, tmp_path / "model.safetensors", x) - expected(network, x, "step_label"))
    assert difference.max() > 1000 * TOLERANCE


def test_artifact_says_what_the_data_are(tmp_path: Path) -> None:
    _, artifact = make("recording_value", num_layers=2, input_layers=(5,), output_layers=(6,))
    config, dataset = artifact.config, random_dataset("recording_value")
    assert [node.name for node in config.nodes] == [
        "standardise", "input0", "gru0", "gru1", "hidden0", "dense", "output",
    ]  # fmt: skip
    assert config.nodes[-1].kind == "identity"
    assert config.input.channels == dataset.channels and config.input.rate == 50.0
    (output,) = config.outputs
    assert (output.target, output.labels, output.units) == ("recording_value", dataset.labels, ("V",) * 4)
    assert config.data["format"] == "auto"
    assert config.provenance == {"seed": 0}
    np.testing.assert_array_equal(artifact.array("standardise.mean"), dataset.mean)


def test_convolution_and_skip_read_the_standardised_input() -> None:
    _, artifact = make("forecast", convolution_size=5, convolution_kernel=4, skip_steps=9)
    nodes = {node.name: node for node in artifact.config.nodes}
    assert [*nodes] == ["standardise", "convolution", "gru0", "dense", "skip", "sum", "output"]
    assert nodes["convolution"].inputs == nodes["skip"].inputs == ("standardise",)
    assert nodes["sum"].inputs == ("dense", "skip") and nodes["output"].inputs == ("sum",)
    assert (artifact.array("skip.weight").shape, "skip.bias" in artifact.tensors) == ((4, 9, 3), False)


def test_steps_of_several_samples_have_the_scale_of_their_channels() -> None:
    config = TrainConfig(data=DataConfig(samples_per_step=2), model=NetworkConfig(hidden_size=5))
    dataset = random_dataset()
    given = NetworkInput(config, dataset)
    network = Network(config.model, torch.from_numpy(given.mean), torch.from_numpy(given.std), 4, seed=0)
    artifact = freeze(network, config, dataset, {})
    assert (artifact.config.input.size, artifact.config.input.samples_per_step, given.mean.shape) == (3, 2, (6,))
    np.testing.assert_array_equal(artifact.array("standardise.mean"), np.tile(dataset.mean, 2))
    x = inputs(8).reshape(4, 6)
    with torch.no_grad():
        outputs, _ = network(torch.from_numpy(x).unsqueeze(0), network.zero_state(1))
    found = np.asarray(Model(artifact).stream().run(x))
    np.testing.assert_allclose(found, torch.softmax(outputs[0], dim=1).numpy(), atol=TOLERANCE)


def test_label_targets_end_in_softmax_and_forecasts_carry_their_horizon() -> None:
    assert make("step_label")[1].config.nodes[-1].kind == "softmax"
    assert make("forecast")[1].config.outputs[0].horizon == 4


def test_same_network_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_artifact(make("step_label", num_layers=2)[1], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
