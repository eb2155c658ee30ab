"""A GRU against an LSTM and a tanh RNN: the cells, the counts, and what ``compare`` reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru.command_line import cli
from edgegru.comparison import compare
from edgegru.comparison_cells import (
    TRAINERS,
    LSTMNetwork,
    TanhNetwork,
    int8_bytes,
    matching_size,
    multiply_adds,
    parameter_count,
    state_bytes,
)
from edgegru.comparison_steps import OnnxSteps, onnx_model
from edgegru.configuration import NetworkConfig, TrainConfig, TrainingConfig, config_to_toml
from edgegru.data import DataConfig, prepare
from edgegru.network import Network
from edgegru_runtime.errors import ConfigError, DataError, EdgegruError
from tests.training_data import write_recordings

torch.set_num_threads(1)
NETWORKS = {"gru": Network, "lstm": LSTMNetwork, "rnn": TanhNetwork}


def network(cell: str, inputs: int = 3, **config: object) -> Network:
    made = NETWORKS[cell](NetworkConfig(**config), torch.zeros(inputs), torch.ones(inputs), 4, 0)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return made.eval()


def equations(cell: str, layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The textbook, a step at a time: x (T, I) → h (T, H)."""
    w, u, b, c_bias = (parameter.detach() for parameter in layer.parameters())
    size = u.shape[1]
    h, c, outputs = torch.zeros(size), torch.zeros(size), []
    for step in x:
        rows = w @ step + b + u @ h + c_bias
        if cell == "rnn":
            h = torch.tanh(rows)
        else:
            i, f, g, o = rows.split(size)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs)


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_cells_follow_their_equations(cell: str) -> None:
    model = network(cell, hidden_size=5)
    x = torch.randn(1, 20, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs, _ = model(x, model.zero_state(1))
        h = equations(cell, model.gru_layers[0], x[0])
    torch.testing.assert_close(outputs[0], h @ model.dense.weight.t() + model.dense.bias, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", NETWORKS)
def test_state_goes_on_and_padding_does_not_touch_it(cell: str) -> None:
    model = network(cell, hidden_size=5, num_layers=2)
    x = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(0))
    state = [torch.randn(h.shape, generator=torch.Generator().manual_seed(2)) for h in model.zero_state(4)]
    with torch.no_grad():
        outputs, padded = model(x, state, torch.tensor([9, 4, 1, 0]))
        for lane, length in ((0, 9), (1, 4), (2, 1)):
            own = [h[lane : lane + 1] for h in state]
            first, middle = model(x[lane : lane + 1, : length // 2], own) if length > 1 else (outputs[:1, :0], own)
            second, after = model(x[lane : lane + 1, length // 2 : length], middle)
            joined = torch.cat([first, second], dim=1)[0]
            torch.testing.assert_close(joined, outputs[lane, :length], rtol=0, atol=1e-5)
            for found, expected in zip(padded, after, strict=True):
                torch.testing.assert_close(found[lane], expected[0], rtol=0, atol=1e-5)
    for found, before in zip(padded, state, strict=True):
        torch.testing.assert_close(found[3], before[3], rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
@given(st.integers(4, 60), st.integers(1, 3))
@settings(deadline=None, max_examples=10)
def test_the_matching_size_is_the_nearest(cell: str, hidden_size: int, layers: int) -> None:
    like = network("gru", hidden_size=hidden_size, num_layers=layers)
    size = matching_size(NETWORKS[cell], like)
    distances = [
        abs(parameter_count(network(cell, hidden_size=each, num_layers=layers)) - parameter_count(like))
        for each in (max(1, size - 1), size, size + 1)
    ]
    assert distances[1] == min(distances)


def test_counts_of_known_cells() -> None:
    """Three inputs, five units, four outputs: a gate has 5 · (3 + 5) weights and 2 · 5 biases."""
    for cell, gates in (("gru", 3), ("lstm", 4), ("rnn", 1)):
        model = network(cell, hidden_size=5)
        assert parameter_count(model) == gates * (5 * 8 + 10) + 4 * 6
        assert multiply_adds(model) == gates * 5 * 8 + 4 * 5
        rows, biases = 2 * gates * 5 + 4, gates * 5 + 4 + (5 if cell == "gru" else 0)
        assert int8_bytes(model) == multiply_adds(model) + 4 * (rows + biases)
        assert state_bytes(model) == (40 if cell == "lstm" else 20)


@pytest.mark.parametrize("cell", NETWORKS)
def test_the_onnx_step_is_the_cell(cell: str) -> None:
    model = network(cell, hidden_size=5, num_layers=2)
    layers = [[rows.detach().numpy() for rows in layer.parameters()] for layer in model.gru_layers]
    steps = OnnxSteps(onnx_model(cell, layers))
    x = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
    with torch.no_grad():
        outputs, _ = model(torch.from_numpy(x)[None], model.zero_state(1))
    h = np.array([steps.step(row[None, None])[0, 0] for row in x])
    found = h @ model.dense.weight.detach().numpy().T + model.dense.bias.detach().numpy()
    np.testing.assert_allclose(found, outputs[0].numpy(), atol=1e-5)


def config(path: Path, **data: object) -> TrainConfig:
    wanted = DataConfig(path=str(path), **data)  # type: ignore[arg-type] # a test's keyword arguments
    return TrainConfig(wanted, model=NetworkConfig(hidden_size=6), training=TrainingConfig(epochs=2, lanes=4))


def test_the_three_are_compared(tmp_path: Path) -> None:
    data = write_recordings(tmp_path / "data.npz", "step_label")
    made = config(data, test_fraction=0.25)
    found = compare(made, seeds=2, learning_rates=[0.003, 0.01], plot=tmp_path / "plot.png")
    assert [(model.cell, model.equal) for model in found.models] == [
        ("gru", ""), ("lstm", "hidden size"), ("rnn", "hidden size"), ("lstm", "parameters"), ("rnn", "parameters"),
    ]  # fmt: skip
    assert (found.metric, found.part, found.seeds, found.epochs) == ("accuracy", "test", 2, 2)
    gru = found.models[0]
    assert {model.hidden_size for model in found.models[:3]} == {6}
    assert all(abs(model.parameters - gru.parameters) < 0.2 * gru.parameters for model in found.models[3:])
    for model in found.models:
        assert [run.seed for run in model.runs] == [0, 1] and set(model.rates) == {"0.003", "0.01"}
        assert model.rates[f"{model.learning_rate:g}"] == max(model.rates.values())
        assert all(0 <= score <= 1 for score in model.scores("test", "accuracy"))
        assert model.step_us > 0 and model.seconds_per_epoch > 0
    assert set(found.kernel_us) == {"float32", "static-w8a8"}
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    text = str(found)
    assert "accuracy on the test part" in text and "LSTM, equal parameters" in text and "±" in text


def test_a_gru_compared_is_the_gru_that_train_trains(tmp_path: Path) -> None:
    data = write_recordings(tmp_path / "data.npz", "step_value")
    made = config(data)
    trainer = TRAINERS["gru"](made, prepare(made.data, seed=0), torch.device("cpu"))
    rows = [trainer.run_epoch() for _ in range(2)]
    found = compare(made, seeds=1)
    assert found.part == "validation"
    assert found.models[0].runs[0].validation["mse"] == min(row["validation_mse"] for row in rows)


def test_the_command_prints_one_object(tmp_path: Path) -> None:
    data = write_recordings(tmp_path / "data.npz", "step_label")
    (tmp_path / "config.toml").write_text(config_to_toml(config(data)))
    arguments = ["compare", "--config", str(tmp_path / "config.toml"), "--seeds", "1", "--json"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["models"]) == 5


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    data = write_recordings(tmp_path / "data.npz", "step_label")
    made = config(data)
    with pytest.raises(ConfigError, match="seeds is 0, expected 1 or more"):
        compare(made, seeds=0)
    with pytest.raises(EdgegruError, match="missing is no folder, expected one to write plot.png in"):
        compare(made, plot=tmp_path / "missing" / "plot.png")
    nothing = replace(made, data=replace(made.data, validation_fraction=0.0))
    with pytest.raises(DataError, match="no step of a test or validation part has a target, expected such a part"):
        compare(nothing)
    alone = replace(made, data=replace(made.data, validation_fraction=0.0, test_fraction=0.3))
    with pytest.raises(ConfigError, match="there is no validation part to choose a learning rate by"):
        compare(alone, learning_rates=[0.01, 0.02])
