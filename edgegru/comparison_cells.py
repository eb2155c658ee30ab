"""The LSTM and the plain tanh RNN that ``edgegru compare`` trains beside the GRU: the same network, other cells.

Only the recurrent layers differ from ``edgegru.network.Network``; nothing here can be frozen into an artifact, which
holds GRUs. Shapes: B lanes, T steps, I inputs, H hidden units.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from edgegru.configuration import NetworkConfig
from edgegru.network import Network, state_at
from edgegru.trainer import Trainer

_SATURATED = 1e4  # a pre-activation whose sigmoid is 1, and 0 with the other sign, in float32
_FLOAT_BYTES = 4


class LSTMNetwork(Network):
    """LSTM layers (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000) as ``nn.LSTM`` has them:

    i, f, o = σ(W x + U h + b), g = tanh(W_g x + U_g h + b_g), c' = f ⊙ c + i ⊙ g, h' = o ⊙ tanh(c'). A layer's state
    is h and c side by side: (B, 2H).
    """

    @property
    def recurrent_state_size(self) -> int:
        return 2 * self.config.hidden_size

    def recurrent_layer(self, input_size: int) -> nn.Module:
        return nn.LSTM(input_size, self.config.hidden_size, bias=self.config.bias, batch_first=True)

    def advance(self, layer: nn.Module, x: Tensor, state: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """x (B, T, I), state (B, 2H) → every h (B, T, H) and the state after each lane's last real step.

        torch gives c after the last step only, so it has to stay as it was through the padding: one more input, 1 in
        padding, opens all forget gates and closes all input gates. (Packed sequences do the same six times slower.)
        """
        h0, c0 = (part.contiguous() for part in state.unsqueeze(0).chunk(2, dim=2))
        weight_ih, weight_hh, *biases = layer.parameters()
        if lengths is not None:
            padding = torch.arange(x.shape[1], device=x.device) >= lengths.unsqueeze(1)
            x = torch.cat([x, padding.unsqueeze(2).to(x.dtype)], dim=2)
            hold = weight_ih.new_zeros(4, self.config.hidden_size, 1)  # gates i, f, g, o
            hold[0], hold[1] = -_SATURATED, _SATURATED
            weight_ih = torch.cat([weight_ih, hold.flatten(0, 1)], dim=1)
        weights = (weight_ih, weight_hh, *biases)
        outputs, h, c = torch.lstm(x, (h0, c0), weights, bool(biases), 1, 0.0, self.training, False, True)
        last = h[0] if lengths is None else state_at(outputs, h0[0], lengths)
        return outputs, torch.cat([last, c[0]], dim=1)

    def initialise_gates(self, layer: nn.Module, generator: torch.Generator) -> None:
        """The same time constants as a GRU's: b_f = log u, b_i = −b_f (Tallec & Ollivier 2018, arXiv:1804.11188)."""
        super().initialise_gates(layer, generator)  # the second gate is what keeps, in both
        size = self.config.hidden_size
        torch.neg(layer.bias_ih_l0[size : 2 * size], out=layer.bias_ih_l0[:size])


class TanhNetwork(Network):
    """Elman's recurrent layers: h' = tanh(W x + U h + b)."""

    def recurrent_layer(self, input_size: int) -> nn.Module:
        return nn.RNN(input_size, self.config.hidden_size, bias=self.config.bias, batch_first=True)

    def initialise_gates(self, layer: nn.Module, generator: torch.Generator) -> None:
        """There are no gates."""


class LSTMTrainer(Trainer):
    """Trains an LSTM as ``Trainer`` trains a GRU."""

    network_type = LSTMNetwork


class TanhTrainer(Trainer):
    """Trains a tanh RNN as ``Trainer`` trains a GRU."""

    network_type = TanhNetwork


TRAINERS: dict[str, type[Trainer]] = {"gru": Trainer, "lstm": LSTMTrainer, "rnn": TanhTrainer}


def parameter_count(network: Network) -> int:
    """All numbers that are trained, as torch counts them: of every gate both biases, of which one would do."""
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(network: Network) -> int:
    """Multiply–adds of one step in all matrix products; a row of an embedding is looked up."""
    return sum(matrix.numel() for matrix in _matrices(network)) - _table_size(network)


def int8_bytes(network: Network) -> int:
    """What the weights take in int8 as artifacts store them: a byte for each number of a matrix, four for the scale of
    each row and for each bias. The two biases of a gate are one, but for the candidate of a GRU with reset after.
    """
    matrices = _matrices(network)
    biases = sum(parameter.numel() for parameter in network.parameters() if parameter.ndim == 1)
    for layer in network.gru_layers:
        if network.config.bias:
            biases -= len(layer.bias_hh_l0)
            if isinstance(layer, nn.GRU):
                biases += layer.hidden_size
    numbers = sum(matrix.numel() for matrix in matrices)
    return numbers + _FLOAT_BYTES * (sum(map(len, matrices)) + biases)


def _matrices(network: Network) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.ndim > 1]


def _table_size(network: Network) -> int:
    return 0 if network.embedding is None else network.embedding.weight.numel()


def state_bytes(network: Network) -> int:
    """What one stream keeps between steps, 4 bytes a number in float32 and in integers."""
    return _FLOAT_BYTES * sum(kept.numel() for kept in network.zero_state(1))


def matching_size(network_type: type[Network], like: Network) -> int:
    """The hidden size that gives a network of another type the parameter count nearest to that of ``like``."""

    def count(size: int) -> int:
        config: NetworkConfig = replace(like.config, hidden_size=size)
        network = network_type(config, like.mean, like.std, like.output_size, seed=0, tokens=like.tokens)
        return parameter_count(network)

    # A quadratic in the size, known from three small networks.
    first, second, third = count(1), count(2), count(3)
    slope, bend = second - first, third - 2 * second + first
    wanted, size = parameter_count(like), 1

    def distance(size: int) -> int:
        return abs(first + slope * (size - 1) + bend * (size - 1) * (size - 2) // 2 - wanted)

    while distance(size + 1) < distance(size):
        size += 1
    return size
