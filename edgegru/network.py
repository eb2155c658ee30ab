"""The network that is trained: standardise → convolution → linear layers → GRU layers → linear layers → dense (+ skip).

An embedding stands in place of the standardisation where the input is a token of text.

Its layers are those of the artifact, under the same names, so that freezing is a copy. Shapes: B lanes, T steps,
I inputs, H hidden units, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edgegru.configuration import NetworkConfig
from edgegru_runtime.errors import ConfigError

ACTIVATIONS = {"linear": nn.Identity(), "relu": nn.ReLU(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid()}
EMBEDDING_DEVIATION = 0.1  # at first
State = list[Tensor]  # (B, numbers kept) of the convolution, every GRU layer, the skip: those that there are


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


class CausalConvolution(nn.Module):
    """A convolution over the latest ``kernel_size`` steps. ``weight``: (out, in, kernel_size), the oldest first."""

    def __init__(self, input_size: int, output_size: int, kernel_size: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(output_size, input_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(output_size)) if bias else None
        self.frames = kernel_size - 1

    @property
    def state_size(self) -> int:
        """Numbers kept between steps: (frames, I), the oldest first."""
        return self.frames * self.weight.shape[1]

    def forward(self, x: Tensor, state: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """x (B, T, I), state (B, frames · I) → (B, T, O) and the state behind the last of each lane's ``lengths``."""
        kept = torch.cat([state.view(len(x), self.frames, x.shape[2]), x], dim=1)
        values = nn.functional.conv1d(kept.transpose(1, 2), self.weight, self.bias).transpose(1, 2)
        if lengths is None:
            return values, kept[:, x.shape[1] :].flatten(1)
        last = lengths.unsqueeze(1) + torch.arange(self.frames, device=x.device)
        return values, kept.gather(1, last.unsqueeze(2).expand(-1, -1, x.shape[2])).flatten(1)


class SeveralLinear(nn.ModuleDict):
    """Linear layers that read the same, by name; their outputs are one behind the other: (…, I) → (…, sum of O)."""

    def __init__(self, input_size: int, output_sizes: Mapping[str, int]) -> None:
        super().__init__({name: nn.Linear(input_size, size) for name, size in output_sizes.items()})

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([layer(x) for layer in self.values()], dim=-1)


class Network(nn.Module):
    """What is trained. ``mean``, ``std``: (I,) of the training part; ``output_size``: classes, values or tokens, of
    several outputs those of each by name.

    ``tokens``: how many there are, where the input is the number of one and an embedding stands in place of the
    standardisation; 0 where it is numbers. ``seed`` draws the initial weights (``initialise`` says how), whatever
    torch's global generator holds.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        config: NetworkConfig,
        mean: Tensor,
        std: Tensor,
        output_size: int | Mapping[str, int],
        seed: int,
        tokens: int = 0,
    ) -> None:
        super().__init__()
        self.config, self.output_size = config, output_size
        if not config.standardise:
            mean, std = torch.zeros_like(mean), torch.ones_like(std)
        self.register_buffer("mean", mean.to(torch.float32))
        self.register_buffer("std", std.to(torch.float32))
        size = len(mean)
        self.tokens = tokens
        self.embedding = self.convolution = self.skip = None
        if tokens:
            size = config.embedding_size
            self.embedding = nn.Embedding(tokens, size)
        if config.skip_steps:
            if not isinstance(output_size, int):
                raise ConfigError(f"model.skip_steps is {config.skip_steps}, expected 0 with several outputs")
            self.skip = CausalConvolution(size, output_size, config.skip_steps, bias=False)
        if config.differences:
            self.convolution = differences(size, config.differences)
            size *= len(config.differences)
        if config.convolution_size:
            self.convolution = CausalConvolution(size, config.convolution_size, config.convolution_kernel, bias=True)
            size = config.convolution_size
        self.input_layers = nn.ModuleList()
        for layer_size in config.input_layers:
            self.input_layers.append(nn.Linear(size, layer_size))
            size = layer_size
        self.gru_layers = nn.ModuleList()
        for _ in range(config.num_layers):
            self.gru_layers.append(self.recurrent_layer(size))
            size = config.hidden_size
        self.output_layers = nn.ModuleList()
        for layer_size in config.output_layers:
            self.output_layers.append(nn.Linear(size, layer_size))
            size = layer_size
        several = not isinstance(output_size, int)
        self.dense = SeveralLinear(size, output_size) if several else nn.Linear(size, output_size)
        self.convolution_activation = ACTIVATIONS[convolution_activation(config)]
        self.input_activation = ACTIVATIONS[config.input_activation]
        self.output_activation = ACTIVATIONS[config.output_activation]
        self.dropout = nn.Dropout(config.dropout)
        initialise(self, torch.Generator().manual_seed(seed))

    def zero_state(self, lanes: int) -> State:
        """Zeros for whatever keeps something: (lanes, its numbers) each."""
        sizes = [self.recurrent_state_size] * len(self.gru_layers)
        if self.convolution is not None:
            sizes.insert(0, self.convolution.state_size)
        if self.skip is not None:
            sizes.append(self.skip.state_size)
        return [self.mean.new_zeros(lanes, size) for size in sizes]

    def forward(self, x: Tensor, state: Sequence[Tensor], lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """x (B, T, I) in raw units, the state → outputs (B, T, O) and the state after the last step.

        ``lengths`` (B,): how many steps of each lane are real; the state is then the one after the last real step (or
        the state given, where there is none), and outputs behind it mean nothing.
        """
        if self.embedding is not None:
            values = entry = self.dropout(self.embedding(x[:, :, 0].long()))
        else:
            values = entry = (x - self.mean) / self.std
        before, new_state = iter(state), []
        if self.convolution is not None:
            values, last = self.convolution(values, next(before), lengths)
            values = self.convolution_activation(values)
            new_state.append(last)
        for layer in self.input_layers:
            values = self.input_activation(layer(values))
        for layer in self.gru_layers:
            values, last = self.advance(layer, values, next(before), lengths)
            new_state.append(last)
            values = self.dropout(values)
        for layer in self.output_layers:
            values = self.output_activation(layer(values))
        values = self.dense(values)
        if self.skip is not None:
            added, last = self.skip(entry, next(before), lengths)
            values = values + added
            new_state.append(last)
        return values, new_state

    # What edgegru.comparison_cells replaces by other recurrent layers.

    @property
    def recurrent_state_size(self) -> int:
        """Numbers that a GRU layer keeps between steps."""
        return self.config.hidden_size

    def recurrent_layer(self, input_size: int) -> nn.Module:
        """A GRU layer."""
        if self.config.reset == "after":
            return nn.GRU(input_size, self.config.hidden_size, bias=self.config.bias, batch_first=True)
        return ResetBeforeGRU(input_size, self.config.hidden_size, self.config.bias)

    def advance(self, layer: nn.Module, x: Tensor, h0: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """A GRU layer over x (B, T, I) from h0 (B, H) → every h (B, T, H), and the state as ``forward`` has it."""
        outputs, last = layer(x, h0.unsqueeze(0))
        return outputs, last[0] if lengths is None else state_at(outputs, h0, lengths)

    def initialise_gates(self, layer: nn.Module, generator: torch.Generator) -> None:
        """Draw the biases that make some units of a GRU layer slow, as ``initialise`` says."""
        size = self.config.hidden_size
        update = layer.bias_ih_l0[size : 2 * size]
        update.uniform_(1.0, self.config.time_constant - 1.0, generator=generator).log_()


def differences(size: int, lags: Sequence[int]) -> CausalConvolution:
    """x_t − x_(t − lag) of every input, lag after lag: (T, I) → (T, lags · I). Its weights are not learned."""
    layer = CausalConvolution(size, len(lags) * size, max(lags) + 1, bias=False)
    layer.weight.requires_grad_(False).zero_()
    for index, lag in enumerate(lags):
        rows = layer.weight[index * size : (index + 1) * size]
        rows[:, :, -1], rows[:, :, -1 - lag] = torch.eye(size), -torch.eye(size)
    return layer


def convolution_activation(config: NetworkConfig) -> str:
    """What follows the convolution in front; nothing follows differences."""
    return "linear" if config.differences else config.convolution_activation


def state_at(outputs: Tensor, h0: Tensor, lengths: Tensor) -> Tensor:
    """The last of each lane's ``lengths`` (B,) outputs (B, T, H), or h0 (B, H) where a lane has none."""
    last = (lengths - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, outputs.shape[2])
    return torch.where((lengths > 0).unsqueeze(1), outputs.gather(1, last).squeeze(1), h0)


def dense_layers(network: Network) -> dict[str, nn.Linear]:
    """The layer that each output's head reads, by the name of its node."""
    if isinstance(network.dense, SeveralLinear):
        return {f"dense_{name}": layer for name, layer in network.dense.items()}
    return {"dense": network.dense}


def layers_by_name(network: Network) -> dict[str, nn.Module]:
    """The layers with weights, by the names of their nodes in an artifact."""
    groups = {"input": network.input_layers, "gru": network.gru_layers, "hidden": network.output_layers}
    layers = {f"{name}{index}": layer for name, group in groups.items() for index, layer in enumerate(group)}
    layers |= dense_layers(network)
    for name in ("embedding", "convolution", "skip"):
        if getattr(network, name) is not None:
            layers[name] = getattr(network, name)
    return layers


def initialise(network: Network, generator: torch.Generator) -> None:
    """Draw all weights.

    Embeddings: N(0, 0.1). Linear and convolution weights, each gate's W_i: Glorot uniform. Each gate's W_h: orthogonal,
    so that a state neither grows nor fades through it. The skip adds nothing at first. Biases 0, except the update
    gate's: log u with u uniform in [1, time_constant − 1], which gives a unit a time constant of about 1 + u steps
    (Tallec & Ollivier 2018, arXiv:1804.11188): some units start quick, some slow, as sensor signals are.
    """
    config = network.config
    with torch.no_grad():
        if network.embedding is not None:
            nn.init.normal_(network.embedding.weight, std=EMBEDDING_DEVIATION, generator=generator)
        for layer in [*network.input_layers, *network.output_layers, *dense_layers(network).values()]:
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
        for layer in network.gru_layers:
            for weight in layer.weight_ih_l0.split(config.hidden_size):
                nn.init.xavier_uniform_(weight, generator=generator)
            for weight in layer.weight_hh_l0.split(config.hidden_size):
                nn.init.orthogonal_(weight, generator=generator)
            if config.bias:
                nn.init.zeros_(layer.bias_ih_l0)
                nn.init.zeros_(layer.bias_hh_l0)
                network.initialise_gates(layer, generator)
        if network.convolution is not None and not config.differences:
            nn.init.xavier_uniform_(network.convolution.weight.flatten(1), generator=generator)
            nn.init.zeros_(network.convolution.bias)
        if network.skip is not None:
            nn.init.zeros_(network.skip.weight)
