"""The trained network against its equations, in both formulations."""

from __future__ import annotations

import pytest
import torch

from edgegru.configuration import NetworkConfig
from edgegru.network import Network, ResetBeforeGRU

torch.set_num_threads(1)


def network(seed: int = 0, **settings: object) -> Network:
    config = NetworkConfig(**settings)  # type: ignore[arg-type] # a test's keyword arguments
    return Network(config, torch.tensor([1.0, -2.0, 0.5]), torch.tensor([2.0, 0.5, 1.0]), 4, seed).double()


def equations(x: torch.Tensor, layer: torch.nn.Module, reset: str) -> torch.Tensor:
    """The GRU of the textbook, a step at a time: x (T, I) → h (T, H)."""
    w_ih, w_hh, b_ih, b_hh = (
        getattr(layer, f"{name}_l0").detach().chunk(3) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    h, outputs = torch.zeros(w_hh[0].shape[0], dtype=x.dtype), []
    for step in x:
        r = torch.sigmoid(w_ih[0] @ step + b_ih[0] + w_hh[0] @ h + b_hh[0])
        z = torch.sigmoid(w_ih[1] @ step + b_ih[1] + w_hh[1] @ h + b_hh[1])
        if reset == "after":
            n = torch.tanh(w_ih[2] @ step + b_ih[2] + r * (w_hh[2] @ h + b_hh[2]))
        else:
            n = torch.tanh(w_ih[2] @ step + b_ih[2] + w_hh[2] @ (r * h) + b_hh[2])
        h = (1 - z) * n + z * h
        outputs.append(h)
    return torch.stack(outputs)


def randomise(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.7, generator=generator)


@pytest.mark.parametrize("reset", ["after", "before"])
def test_gru_layer_follows_the_equations_of_its_formulation(reset: str) -> None:
    model = network(reset=reset, hidden_size=7)
    randomise(model)
    layer = model.gru_layers[0]
    x = torch.randn(1, 40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h, last = layer(x, torch.zeros(1, 1, 7, dtype=torch.float64))
    torch.testing.assert_close(h[0], equations(x[0], layer, reset), rtol=0, atol=1e-12)
    torch.testing.assert_close(last[0, 0], h[0, -1], rtol=0, atol=0)
    other = {"after": "before", "before": "after"}[reset]
    assert (h[0] - equations(x[0], layer, other)).abs().max() > 0.1


def test_reset_before_learns_by_the_same_gradients_as_its_equations() -> None:
    layer = ResetBeforeGRU(2, 3, bias=True).double()
    randomise(layer)
    x = torch.randn(1, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    h0 = torch.zeros(1, 1, 3, dtype=torch.float64)
    parameters = tuple(layer.parameters())

    def outputs(*values: torch.Tensor) -> torch.Tensor:
        names = [name for name, _ in layer.named_parameters()]
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x, h0))[0]

    assert torch.autograd.gradcheck(outputs, parameters)


FORMS = {
    "after": {"reset": "after"},
    "before": {"reset": "before"},
    "convolution": {"convolution_size": 5, "convolution_kernel": 3},
    "convolution of one step": {"convolution_size": 5, "convolution_kernel": 1},
    "skip": {"skip_steps": 6},
    "all": {"convolution_size": 5, "convolution_kernel": 2, "skip_steps": 7},
}


@pytest.mark.parametrize("form", FORMS)
def test_state_goes_on_where_it_stood(form: str) -> None:
    model = network(num_layers=2, input_layers=(5,), output_layers=(6,), hidden_size=4, **FORMS[form])
    randomise(model)
    x = torch.randn(2, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole, last = model(x, model.zero_state(2))
    assert whole.shape == (2, 9, 4)
    first, state = model(x[:, :4], model.zero_state(2))
    second, end = model(x[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(end, last, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_padding_does_not_touch_the_state(form: str) -> None:
    model = network(num_layers=2, hidden_size=4, **FORMS[form])
    randomise(model)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 6, 3, dtype=torch.float64, generator=generator)
    state = [torch.randn(h.shape, dtype=torch.float64, generator=generator) for h in model.zero_state(3)]
    _, padded = model(x, state, torch.tensor([6, 2, 0]))
    for lane, length in ((0, 6), (1, 2)):
        _, alone = model(x[lane : lane + 1, :length], [h[lane : lane + 1] for h in state])
        for h, expected in zip(padded, alone, strict=True):
            torch.testing.assert_close(h[lane], expected[0], rtol=0, atol=1e-12)
    for h, before in zip(padded, state, strict=True):
        torch.testing.assert_close(h[2], before[2], rtol=0, atol=0)


def test_convolution_and_skip_see_the_latest_steps_alone() -> None:
    """Against sums written out; the GRU's share of the output is taken out by weights of zero."""
    model = network(convolution_size=4, convolution_kernel=3, convolution_activation="relu", skip_steps=5)
    randomise(model)
    x = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seen, standardised = [], (x - model.mean) / model.std
    model.gru_layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0][0]))
    with torch.no_grad():
        model.dense.weight.zero_()
        outputs, _ = model(x.unsqueeze(0), model.zero_state(1))
    for t in range(9):
        value, added = model.convolution.bias.clone(), model.dense.bias.clone()
        for k in range(3):
            if t - k >= 0:
                value = value + model.convolution.weight[:, :, 2 - k] @ standardised[t - k]
        for k in range(5):
            if t - k >= 0:
                added = added + model.skip.weight[:, :, 4 - k] @ standardised[t - k]
        torch.testing.assert_close(seen[0][t], value.relu(), rtol=0, atol=1e-12)
        torch.testing.assert_close(outputs[0, t], added, rtol=0, atol=1e-12)


def test_the_skip_adds_nothing_at_first() -> None:
    plain, skipping = network(), network(skip_steps=5)
    x = torch.randn(1, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outputs = [model(x, model.zero_state(1))[0] for model in (plain, skipping)]
    torch.testing.assert_close(*outputs, rtol=0, atol=0)


def test_inputs_are_standardised() -> None:
    model = network()
    raw = torch.randn(1, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = Network(model.config, torch.zeros(3), torch.ones(3), 4, 0).double()
    expected, _ = plain((raw - model.mean) / model.std, plain.zero_state(1))
    torch.testing.assert_close(model(raw, model.zero_state(1))[0], expected, rtol=0, atol=1e-12)


def test_inputs_are_left_as_they_are_where_wanted() -> None:
    config, mean, std = NetworkConfig(hidden_size=5, standardise=False), torch.full((3,), 7.0), torch.full((3,), 0.01)
    left, plain = Network(config, mean, std, 4, 0), Network(config, torch.zeros(3), torch.ones(3), 4, 0)
    raw = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(left(raw, left.zero_state(1))[0], plain(raw, plain.zero_state(1))[0], rtol=0, atol=0)
    assert (left.mean.tolist(), left.std.tolist()) == ([0.0] * 3, [1.0] * 3)


def test_initial_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = network(seed=3).state_dict()
    torch.manual_seed(2)
    again, other = network(seed=3).state_dict(), network(seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["dense.weight"], other["dense.weight"])


@pytest.mark.parametrize("reset", ["after", "before"])
def test_initial_units_are_quick_and_slow(reset: str) -> None:
    model = network(reset=reset, hidden_size=200, time_constant=50.0)
    layer = model.gru_layers[0]
    constants = 1 + torch.exp(layer.bias_ih_l0[200:400])
    assert 2.0 <= constants.min() < 8.0 and 40.0 < constants.max() <= 50.0
    for gate in layer.weight_hh_l0.chunk(3):
        torch.testing.assert_close(gate @ gate.t(), torch.eye(200, dtype=torch.float64), rtol=0, atol=1e-5)


def test_dropout_is_for_training_only() -> None:
    model = network(dropout=0.5)
    x = torch.randn(1, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model.eval()
    assert torch.equal(model(x, model.zero_state(1))[0], model(x, model.zero_state(1))[0])
    model.train()
    assert not torch.equal(model(x, model.zero_state(1))[0], model(x, model.zero_state(1))[0])


def test_no_biases_where_none_are_wanted() -> None:
    for reset in ("after", "before"):
        model = network(reset=reset, bias=False)
        assert not any("bias" in name for name, _ in model.gru_layers.named_parameters())
        assert model(torch.zeros(1, 3, 3, dtype=torch.float64), model.zero_state(1))[0].shape == (1, 3, 4)
