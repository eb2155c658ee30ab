"""Quantization-aware training: what is trained is the integer model, in every bit, from the first step to the file."""

from __future__ import annotations

import csv
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgegru.calibration import calibrate
from edgegru.checkpoint import load_checkpoint
from edgegru.configuration import NetworkConfig, TrainConfig, TrainingConfig
from edgegru.data import DataConfig, prepare
from edgegru.evaluation import evaluate
from edgegru.freezing import freeze
from edgegru.integer_torch import GruTrace, run_gru, sigmoid_q16, softmax_q15
from edgegru.network import Network
from edgegru.quantization import default_keep, initial_scales, quantize_artifact
from edgegru.quantized_gradients import dequantized, exactly, gru
from edgegru.quantized_network import QuantizedNetwork
from edgegru.quantized_trainer import QuantizedTrainer
from edgegru.trainer import Trainer
from edgegru.training import TrainingInterrupted, train
from edgegru_export.saving import artifact_bytes, with_identity
from edgegru_runtime import fixed_point as fx
from edgegru_runtime.artifact import read_artifact
from edgegru_runtime.derivation import Derivation
from edgegru_runtime.errors import ConfigError
from edgegru_runtime.integer_layers import Gru
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import GruNode, QuantizationConfig
from tests.training_data import TARGETS, random_dataset, write_recordings

torch.set_num_threads(1)
SHAPES = {
    "plain": ("step_label", {"hidden_size": 12}),
    "one unit": ("step_label", {"hidden_size": 1}),
    "no bias": ("step_label", {"hidden_size": 9, "bias": False}),
    "before": ("step_label", {"hidden_size": 9, "reset": "before"}),
    "before, no bias": ("recording_label", {"hidden_size": 5, "reset": "before", "bias": False, "num_layers": 2}),
    "stacked": ("step_label", {"hidden_size": 8, "num_layers": 3}),
    "relu in front": ("step_label", {"hidden_size": 8, "input_layers": (7, 5), "input_activation": "relu"}),
    "linear in front": ("forecast", {"hidden_size": 8, "input_layers": (6,), "input_activation": "linear"}),
    "tanh around": (
        "step_labels",
        {"hidden_size": 8, "input_layers": (6,), "input_activation": "tanh", "output_layers": (5,),
         "output_activation": "tanh"},
    ),
    "sigmoid around": (
        "step_value",
        {"hidden_size": 8, "input_layers": (6,), "input_activation": "sigmoid", "output_layers": (5, 4),
         "output_activation": "sigmoid"},
    ),
    "relu behind": ("recording_value", {"hidden_size": 8, "output_layers": (6,), "num_layers": 2, "reset": "before"}),
    "as they are": ("step_value", {"hidden_size": 8, "standardise": False}),
    "convolution": ("step_label", {"hidden_size": 8, "convolution_size": 6, "convolution_kernel": 4}),
    "convolution of tanh": (
        "step_labels",
        {"hidden_size": 8, "convolution_size": 6, "convolution_kernel": 3, "convolution_activation": "tanh",
         "input_layers": (5,)},
    ),
    "skip": ("forecast", {"hidden_size": 8, "skip_steps": 9}),
    "convolution and skip": ("step_value", {"hidden_size": 8, "convolution_size": 5, "skip_steps": 3}),
}  # fmt: skip
SCHEMES = ("static-w8a8", "static-w8a16", "8 bits throughout")  # the first one's narrow input has 16 bits


def recordings(count: int = 3, steps: int = 40) -> list[NDArray[np.float32]]:
    dataset, generator = random_dataset(), np.random.default_rng(5)
    drawn = [generator.standard_normal((steps + 7 * index, 3)) for index in range(count)]
    return [(x * 1.5 * dataset.std + dataset.mean).astype(np.float32) for x in drawn]


def make(target: str, settings: dict[str, Any], scheme: str = "static-w8a8") -> QuantizedNetwork:
    """A quantized network of random weights, with scales that no longer are the calibrated ones."""
    config, dataset = TrainConfig(model=NetworkConfig(**settings)), random_dataset(target)
    network = Network(config.model, torch.from_numpy(dataset.mean), torch.from_numpy(dataset.std), 4, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    artifact = freeze(network, config, dataset, {})
    keep = {} if scheme == "8 bits throughout" else default_keep(artifact.config, scheme)
    quantization = QuantizationConfig(keep=keep)
    name = "static-w8a8" if scheme == "8 bits throughout" else scheme
    model_config = replace(artifact.config, scheme=name, quantization=quantization)
    scales = initial_scales(artifact, model_config, calibrate(artifact, recordings()), 1.1)
    quantized = QuantizedNetwork(network, model_config, scales, dataset)
    with torch.no_grad():
        quantized.scale_factor.mul_(torch.rand(quantized.scale_factor.shape, generator=generator) * 0.5 + 0.6)
    return quantized.eval()


def streamed(quantized: QuantizedNetwork, x: NDArray[np.float32]) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """Outputs (T, O) and the last states of the integer engine."""
    engine = IntegerReference(quantized.integer_artifact())
    state = engine.new_state()
    outputs = np.array([engine.step(state, sample)[0] for sample in x])
    return outputs, state.numbers


def given_out(outputs: torch.Tensor, target: str) -> NDArray[np.float64]:
    """What the head makes of a quantized network's outputs."""
    if target == "step_labels":
        return sigmoid_q16((outputs * 2.0**fx.SIGMOID_ARGUMENT_BITS).long()).numpy() * 2.0**-fx.GATE_BITS
    if target.endswith("label"):
        return softmax_q15((outputs * 2.0**fx.SOFTMAX_ARGUMENT_BITS).long()).numpy() * 2.0**-fx.PROBABILITY_BITS
    return outputs.detach().numpy()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_is_the_integer_engine_in_every_bit(shape: str, scheme: str) -> None:
    target, settings = SHAPES[shape]
    quantized, some = make(target, settings, scheme), recordings()
    lengths = torch.tensor([len(x) for x in some])
    padded = np.zeros((len(some), max(map(len, some)), 3), np.float32)
    for lane, x in enumerate(some):
        padded[lane, : len(x)] = x
    x = torch.from_numpy(padded)
    with torch.no_grad():
        first, state = quantized(x[:, :15], quantized.zero_state(3))  # the state goes on from chunk to chunk
        second, state = quantized(x[:, 15:], state, lengths - 15)
    outputs = given_out(torch.cat([first, second], dim=1), target)
    for lane, sequence in enumerate(some):
        expected, numbers = streamed(quantized, sequence)
        np.testing.assert_array_equal(outputs[lane, : len(sequence)], expected)
        kept = zip(quantized.model_config.state_nodes, state, numbers, strict=True)
        for node, found, h in kept:
            gru = isinstance(node, GruNode)
            assert np.abs(h).max() > (2**18 if gru else 0)
            np.testing.assert_array_equal(found[lane].double().numpy() * (2.0**fx.STATE_BITS if gru else 1.0), h)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_integer_artifact_is_a_file(shape: str) -> None:
    artifact = make(*SHAPES[shape]).integer_artifact()
    assert artifact_bytes(with_identity(artifact))


def test_untouched_scales_give_what_quantize_gives() -> None:
    quantized = make("step_value", {"hidden_size": 8, "input_layers": (5,), "reset": "before"})
    with torch.no_grad():
        quantized.scale_factor.fill_(1.0)
    artifact = freeze(quantized.network, TrainConfig(), random_dataset("step_value"), {})
    expected = quantize_artifact(artifact, replace(calibrate(artifact, recordings()), moments={}))  # nearest levels
    found = quantized.integer_artifact()
    assert found.config.quantization is not None and expected.config.quantization is not None
    assert found.config.quantization.operand_scale == expected.config.quantization.operand_scale
    assert set(found.tensors) == set(expected.tensors)
    for name, tensor in expected.tensors.items():
        np.testing.assert_array_equal(found.array(name), tensor.to_numpy())


def test_scales_of_bounded_values_stay_in_bounds() -> None:
    quantized = make("step_label", {"hidden_size": 8, "reset": "before", "input_layers": (5,)}, "8 bits throughout")
    before = quantized.scales()
    with torch.no_grad():
        quantized.scale_factor.fill_(100.0)
    scales = quantized.scales()
    assert scales.operand["gru0"] == scales.operand["gru0.rh"] == np.float32(1 / 127)
    assert scales.operand["standardise"] > 7 * before.operand["standardise"]
    assert (scales.full["input0"] > 7 * before.full["input0"]).all()
    with torch.no_grad():
        quantized.scale_factor.fill_(-1.0)
    assert min(quantized.scales().operand.values()) > 0
    quantized.bound_scales()
    assert quantized.scale_factor.unique().tolist() == [0.125]
    assert artifact_bytes(with_identity(quantized.integer_artifact()))


# Gradients ------------------------------------------------------------------------------------------------------------


def test_an_operand_passes_gradients_inside_its_range_and_teaches_its_scale() -> None:
    value = torch.tensor([0.26, -0.74, 5.0, -9.0], requires_grad=True)
    scale = torch.tensor([0.5], requires_grad=True)
    real = dequantized(value, torch.tensor([1.0, -1.0, 2.0, -2.0]), scale, 2)
    assert real.tolist() == [0.5, -0.5, 1.0, -1.0]
    real.backward(torch.tensor([1.0, 10.0, 100.0, 1000.0]))
    assert value.grad is not None and scale.grad is not None
    assert value.grad.tolist() == [1.0, 10.0, 0.0, 0.0]
    assert scale.grad.item() == pytest.approx((1 - 0.52) + 10 * (-1 + 1.48) + 100 * 2 - 1000 * 2)


def stepwise(
    products: torch.Tensor,
    weight: torch.Tensor,
    bias_hn: torch.Tensor | None,
    scale: torch.Tensor,
    rh_scale: torch.Tensor | None,
    trace: GruTrace,
    limit: int,
) -> torch.Tensor:
    """``gru`` as torch differentiates it, a step at a time, every value where the trace has it."""
    size = weight.shape[1]
    h, outputs = trace.h[0].double() * 2.0**-24, []
    for t in range(len(products)):
        q = dequantized(h, trace.operand[t], scale, limit)
        gates = products[t, :, : 2 * size] + q @ weight[: 2 * size].t()
        exact = torch.cat([trace.r[t], trace.z[t]], dim=1).double() * 2.0**-16
        r, z = exactly(gates * exact * (1 - exact), exact).split(size, dim=1)
        if rh_scale is None:
            hn = q @ weight[2 * size :].t() + (0 if bias_hn is None else bias_hn)
            inner = r * exactly(hn, trace.inner[t].double() * 2.0**-12)
        else:
            rh = exactly(r * h, trace.inner[t].double() * 2.0**-24)
            assert trace.rh_operand is not None
            inner = dequantized(rh, trace.rh_operand[t], rh_scale, limit) @ weight[2 * size :].t()
        exact = trace.n[t].double() * 2.0**-24
        n = exactly((products[t, :, 2 * size :] + inner) * (1 - exact**2), exact)
        h = exactly((1 - z) * n + z * h, trace.h[t + 1].double() * 2.0**-24)
        outputs.append(h)
    return torch.stack(outputs)


@pytest.mark.parametrize(("reset", "bias"), [("after", True), ("after", False), ("before", True)])
def test_gradients_of_a_layer_are_those_of_its_steps(reset: str, bias: bool) -> None:
    quantized = make("step_label", {"hidden_size": 6, "reset": reset, "bias": bias}, "8 bits throughout")
    with torch.no_grad():  # h and r ⊙ h saturate now and then
        quantized.scale_factor.mul_(0.5)
    artifact = quantized.integer_artifact()
    node = artifact.config.node("gru0")
    assert isinstance(node, GruNode)
    generator = torch.Generator().manual_seed(2)
    q_x = torch.randint(-127, 128, (20, 4, 3), generator=generator).float()
    state = torch.randint(-(2**24), 2**24, (4, 6), generator=generator)
    trace = run_gru(Gru(artifact, node, Derivation(artifact)), q_x, state, 127)
    assert 0.02 < (trace.operand.abs() == 127).double().mean() < 0.9
    scales = quantized.scales().operand
    shapes = {"products": (20, 4, 18), "weight": (18, 6), "bias": (6,)}
    inputs = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    inputs |= {"scale": torch.tensor([scales["gru0"]]), "rh": torch.tensor([scales.get("gru0.rh", 1.0)])}
    weights = torch.randn(20, 4, 6, generator=generator)
    found, expected = [], []
    for function, dtype, gradients in ((gru, torch.float32, found), (stepwise, torch.float64, expected)):
        given = {name: tensor.to(dtype, copy=True).requires_grad_() for name, tensor in inputs.items()}
        used = [given["products"], given["weight"], given["bias"] if reset == "after" and bias else None]
        used += [given["scale"], given["rh"] if reset == "before" else None]
        h = function(*used, trace, 127)
        assert torch.equal(h.double(), trace.h[1:].double() * 2.0**-24)
        (h * weights.to(dtype)).sum().backward()
        gradients += [tensor.grad for tensor in used if tensor is not None]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4 * other.abs().max().item())


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_with_fine_steps_are_those_of_the_float_network(shape: str) -> None:
    """With 16 bits and weights that int8 can hold, values are almost those of the float network."""
    target, settings = SHAPES[shape]
    quantized = make(target, settings, "static-w8a16")
    with torch.no_grad():
        quantized.scale_factor.fill_(1.0)
        for layer in quantized.network.modules():
            for name, parameter in layer.named_parameters(recurse=False):
                if name.startswith("weight") and not isinstance(layer, Network):
                    largest = parameter.abs().amax(dim=tuple(range(1, parameter.ndim)), keepdim=True)
                    parameter.copy_((parameter / largest * 127).round() / 127 * largest)
    real = deepcopy(quantized.network)
    x = torch.from_numpy(recordings()[0]).unsqueeze(0)
    numeric = random_dataset(target)
    weights = torch.randn(1, x.shape[1], 4, generator=torch.Generator().manual_seed(0))
    expected, _ = real(x, real.zero_state(1))
    (expected * weights).sum().backward()
    found, _ = quantized(x, quantized.zero_state(1))
    if len(numeric.target_std):
        found = (found - torch.from_numpy(numeric.target_mean)) / torch.from_numpy(numeric.target_std)
    (found * weights).sum().backward()
    assert float((found - expected).detach().abs().max()) < 0.02
    gradients = dict(quantized.network.named_parameters())
    for name, parameter in real.named_parameters():
        gradient, wanted = gradients[name].grad, parameter.grad
        assert gradient is not None and wanted is not None
        assert float((gradient - wanted).norm()) < 0.02 * float(wanted.norm()) + 1e-6, name
    assert quantized.scale_factor.grad is None  # 16 bits are not learned


# Training -------------------------------------------------------------------------------------------------------------


def config_for(target: str, **training: Any) -> TrainConfig:
    settings: dict[str, Any] = {"epochs": 2, "qat_epochs": 3, "lanes": 8, "bptt_steps": 20, "learning_rate": 0.03}
    return TrainConfig(
        data=DataConfig(target=target, horizon=2 if target == "forecast" else 0),
        model=NetworkConfig(hidden_size=8, time_constant=8.0, dropout=0.1),
        training=TrainingConfig(**{**settings, **training}),
    )


def history(folder: Path) -> list[dict[str, float]]:
    with open(folder / "history.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("target", TARGETS)
def test_the_best_epoch_is_the_file(tmp_path: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    data, config = write_recordings(tmp_path / "data.npz", target, recordings=20), config_for(target)
    path = train(config, data=data, qat="static-w8a8", output=tmp_path / "out")
    assert path == tmp_path / "out" / "quantized.safetensors"
    integer, real = read_artifact(path), read_artifact(tmp_path / "out" / "model.safetensors")
    start = read_artifact(tmp_path / "out" / "float" / "model.safetensors")
    assert (integer.config.scheme, real.config.scheme) == ("static-w8a8", "float32")
    for name, tensor in start.tensors.items():
        learned = not name.startswith("standardise")
        assert np.array_equal(real.array(name), tensor.to_numpy()) != learned
    rows, provenance = history(tmp_path / "out"), integer.config.provenance
    assert len(rows) == 3 and len(history(tmp_path / "out" / "float")) == 2
    assert all(row["seconds"] > 0 for row in rows)
    assert provenance == real.config.provenance
    assert (provenance["qat"], provenance["from"]) == ("static-w8a8", start.config.identity)
    best = rows[provenance["epoch"] - 1]
    if target.endswith("label"):
        assert best["validation_accuracy"] == max(row["validation_accuracy"] for row in rows)
    else:
        assert best["validation_loss"] == min(row["validation_loss"] for row in rows)
    for metric, value in evaluate(path, data, part="validation").metrics.items():
        # Values and probabilities are the same bits, but their mean is taken in another order.
        exact = metric in ("accuracy", "macro_f1")
        assert best[f"validation_{metric}"] == (value if exact else pytest.approx(value, rel=1e-12))
    assert capsys.readouterr().err.splitlines()[-1].startswith("an epoch takes ")


@pytest.mark.parametrize("scheme", ["static-w8a8", "static-w8a16"])
def test_training_learns_what_the_start_does_not_know(tmp_path: Path, scheme: str) -> None:
    data = write_recordings(tmp_path / "data.npz", "step_value", recordings=20)
    config = config_for("step_value", epochs=1, qat_epochs=10, qat_learning_rate=0.03, averaging=0.5)
    train(config, data=data, qat=scheme, output=tmp_path)
    losses = [row["validation_loss"] for row in history(tmp_path)]
    assert min(losses) < 0.5 * losses[0]


def test_scales_are_learned_where_they_have_8_bits(tmp_path: Path) -> None:
    data = write_recordings(tmp_path / "data.npz", "step_label")
    config = config_for("step_label", qat_learning_rate=0.003)
    config = replace(config, model=replace(config.model, hidden_size=4, output_layers=(5,), reset="before"))
    path = train(config, data=data, qat="static-w8a8", output=tmp_path)
    start = read_artifact(tmp_path / "float" / "model.safetensors")
    dataset = prepare(config.data, data, seed=0)
    afterwards = quantize_artifact(start, calibrate(start, [sequence.x for sequence in dataset.train]))
    learned, calibrated = read_artifact(path), afterwards
    scales = [artifact.config.quantization.operand_scale for artifact in (learned, calibrated)]  # type: ignore[union-attr]
    assert 0.9 * scales[1]["gru0"] < scales[0]["gru0"] <= np.float32(1 / 127)
    assert 0 < abs(scales[0]["gru0.rh"] / scales[1]["gru0.rh"] - 1) < 0.1
    moved = learned.array("hidden0.full_scale") / calibrated.array("hidden0.full_scale") - 1
    assert 0 < np.abs(moved).min() < np.abs(moved).max() < 0.1
    assert learned.config.quantization is not None and calibrated.config.quantization is not None
    assert learned.config.quantization.observer == "learned"
    assert learned.config.quantization.keep == calibrated.config.quantization.keep


def interrupt(monkeypatch: pytest.MonkeyPatch, trainer: type[Trainer], update: int) -> None:
    """Ctrl-C at the update of that number."""
    original, calls = trainer._update, []

    def interrupted(self: Trainer, loss: torch.Tensor, progress: float) -> None:
        calls.append(progress)
        if len(calls) == update:
            raise KeyboardInterrupt
        original(self, loss, progress)

    monkeypatch.setattr(trainer, "_update", interrupted)


def test_stopped_runs_resume_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, config = write_recordings(tmp_path / "data.npz", "step_label"), config_for("step_label", averaging=0.9)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(config, data=data, qat="static-w8a8", output=whole)
    updates = load_checkpoint(whole / "checkpoint.pt", torch.device("cpu")).updates // 3
    interrupt(monkeypatch, Trainer, updates + 2)
    with pytest.raises(TrainingInterrupted, match=r"interrupted after epoch 1 of 2: .*float/checkpoint\.pt can be"):
        train(config, data=data, qat="static-w8a8", output=stopped)
    monkeypatch.undo()
    interrupt(monkeypatch, QuantizedTrainer, 2 * updates + 2)
    with pytest.raises(TrainingInterrupted, match=r"interrupted after epoch 2 of 3: .*stopped/checkpoint\.pt can be"):
        train(config, data=data, qat="static-w8a8", output=stopped, resume=True)
    monkeypatch.undo()
    assert not (stopped / "quantized.safetensors").exists()
    train(config, data=data, qat="static-w8a8", output=stopped, resume=True)
    for name in ("model.safetensors", "quantized.safetensors", "float/model.safetensors", "config.toml"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()
    for row, expected in zip(history(stopped), history(whole), strict=True):
        assert {**row, "seconds": 0} == {**expected, "seconds": 0}
    for change, message in (
        ({"qat": "static-w8a16"}, "was trained with start.qat = 'static-w8a8', now it is 'static-w8a16'"),
        ({}, "was trained with start.qat = 'static-w8a8', now it is None"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(config, data=data, output=stopped, resume=True, **change)
    other = train(config, data=data, seed=1, output=tmp_path / "other")
    with pytest.raises(ConfigError, match=r"start\.from = '[0-9a-f]{64}', now it is"):
        train(config, data=data, qat="static-w8a8", from_model=other, output=stopped, resume=True)
