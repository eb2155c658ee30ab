"""The network that is trained: standardise → linear layers → GRU layers → linear layers → dense.

Its layers are those of the artifact, under the same names, so that freezing is a copy. Shapes: B lanes, T steps,
I inputs, H hidden units, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgegru.configuration import NetworkConfig

ACTIVATIONS = {"linear": nn.Identity(), "relu": nn.ReLU(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid()}
State = list[Tensor]  # one (B, H) a GRU layer


class ResetBeforeGRU(nn.Module):
    """A GRU layer as Cho et al. 2014 (arXiv:1406.1078) write it, with the parameter names of ``nn.GRU``.

    n = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn): the reset gate comes before the recurrent product, which ``nn.GRU``
    cannot express.
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(3 * hidden_size)) if bias else None
        self.bias_hh_l0 = nn.Parameter(torch.empty(3 * hidden_size)) if bias else None

    def forward(self, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, I), h0 (1, B, H) → every h (B, T, H), the last h (1, B, H); as ``nn.GRU(batch_first=True)``."""
        gates, size = 2 * self.hidden_size, self.hidden_size
        bias = None if self.bias_ih_l0 is None else self.bias_ih_l0 + self.bias_hh_l0
        products = nn.functional.linear(x, self.weight_ih_l0, bias).unbind(1)  # T × (B, 3H)
        weight_gates, weight_candidate = self.weight_hh_l0[:gates].t(), self.weight_hh_l0[gates:].t()
        h, outputs = h0[0], []
        for product in products:
            r, z = torch.sigmoid(torch.addmm(product[:, :gates], h, weight_gates)).split(size, dim=1)
            n = torch.tanh(torch.addmm(product[:, gates:], r * h, weight_candidate))
            h = n + z * (h - n)  # (1 − z) ⊙ n + z ⊙ h
            outputs.append(h)
        return torch.stack(outputs, dim=1), h.unsqueeze(0)


class Network(nn.Module):
    """What is trained. ``mean``, ``std``: (I,) of the training part; ``output_size``: classes or values.

    ``seed`` draws the initial weights (``initialise`` says how), whatever torch's global generator holds.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig, mean: Tensor, std: Tensor, output_size: int, seed: int) -> None:
        super().__init__()
        self.config = config
        if not config.standardise:
            mean, std = torch.zeros_like(mean), torch.ones_like(std)
        self.register_buffer("mean", mean.to(torch.float32))
        self.register_buffer("std", std.to(torch.float32))
        size = len(mean)
        self.input_layers = nn.ModuleList()
        for layer_size in config.input_layers:
            self.input_layers.append(nn.Linear(size, layer_size))
            size = layer_size
        self.gru_layers = nn.ModuleList()
        for _ in range(config.num_layers):
            self.gru_layers.append(_gru_layer(config, size))
            size = config.hidden_size
        self.output_layers = nn.ModuleList()
        for layer_size in config.output_layers:
            self.output_layers.append(nn.Linear(size, layer_size))
            size = layer_size
        self.dense = nn.Linear(size, output_size)
        self.input_activation = ACTIVATIONS[config.input_activation]
        self.output_activation = ACTIVATIONS[config.output_activation]
        self.dropout = nn.Dropout(config.dropout)
        initialise(self, torch.Generator().manual_seed(seed))

    def zero_state(self, lanes: int) -> State:
        """h = 0 for every GRU layer: (lanes, H) each."""
        return [self.mean.new_zeros(lanes, self.config.hidden_size) for _ in self.gru_layers]

    def forward(self, x: Tensor, state: Sequence[Tensor], lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """x (B, T, I) in raw units, state (B, H) a layer → dense outputs (B, T, O) and the state after the last step.

        ``lengths`` (B,): how many steps of each lane are real; the state is then the one after the last real step (or
        the state given, where there is none), and outputs behind it mean nothing.
        """
        values = (x - self.mean) / self.std
        for layer in self.input_layers:
            values = self.input_activation(layer(values))
        new_state = []
        for layer, h0 in zip(self.gru_layers, state, strict=True):
            values, last = layer(values, h0.unsqueeze(0))
            new_state.append(last[0] if lengths is None else state_at(values, h0, lengths))
            values = self.dropout(values)
        for layer in self.output_layers:
            values = self.output_activation(layer(values))
        return self.dense(values), new_state


def _gru_layer(config: NetworkConfig, input_size: int) -> nn.Module:
    if config.reset == "after":
        return nn.GRU(input_size, config.hidden_size, bias=config.bias, batch_first=True)
    return ResetBeforeGRU(input_size, config.hidden_size, config.bias)


def state_at(outputs: Tensor, h0: Tensor, lengths: Tensor) -> Tensor:
    """The last of each lane's ``lengths`` (B,) outputs (B, T, H), or h0 (B, H) where a lane has none."""
    last = (lengths - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, outputs.shape[2])
    return torch.where((lengths > 0).unsqueeze(1), outputs.gather(1, last).squeeze(1), h0)


def layers_by_name(network: Network) -> dict[str, nn.Module]:
    """The layers with weights, by the names of their nodes in an artifact."""
    groups = {"input": network.input_layers, "gru": network.gru_layers, "hidden": network.output_layers}
    layers = {f"{name}{index}": layer for name, group in groups.items() for index, layer in enumerate(group)}
    return {**layers, "dense": network.dense}


def initialise(network: Network, generator: torch.Generator) -> None:
    """Draw all weights.

    Linear weights and each gate's W_i: Glorot uniform. Each gate's W_h: orthogonal, so that a state neither grows nor
    fades through it. Biases 0, except the update gate's: log u with u uniform in [1, time_constant − 1], which gives a
    unit a time constant of about 1 + u steps (Tallec & Ollivier 2018, arXiv:1804.11188): some units start quick, some
    slow, as sensor signals are.
    """
    config = network.config
    with torch.no_grad():
        for layer in [*network.input_layers, *network.output_layers, network.dense]:
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
        for layer in network.gru_layers:
            for weight in layer.weight_ih_l0.chunk(3):
                nn.init.xavier_uniform_(weight, generator=generator)
            for weight in layer.weight_hh_l0.chunk(3):
                nn.init.orthogonal_(weight, generator=generator)
            if config.bias:
                nn.init.zeros_(layer.bias_ih_l0)
                nn.init.zeros_(layer.bias_hh_l0)
                update = layer.bias_ih_l0[config.hidden_size : 2 * config.hidden_size]
                update.uniform_(1.0, config.time_constant - 1.0, generator=generator).log_()
