"""Models like the ones that others publish, trained with plain torch: nothing here comes from ``edgegru``.

Amplifiers in the manner of GuitarML and RTNeural: audio → GRU → dense → audio, with or without the input added to the
output, reset after the recurrent product as in PyTorch. Denoisers in the manner of RNNoise 0.1: features → dense tanh →
GRUs that read one another's values side by side → sigmoid gains and voice activity, reset before the product, relu
candidates, weights clipped to ±0.499.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from foreign_signals import BANDS, FEATURES, Amplifier, frame_features, guitar, noisy_speech, speech_clips
from numpy.typing import NDArray
from torch import Tensor, nn

Arrays = dict[str, NDArray[Any]]  # float32
INPUT = "standardise"  # what the first node is called

AMPLIFIER_SECONDS = 10.0
AMPLIFIER_STREAMS = 40  # parts of the signal that are trained on side by side
DENOISER_STREAMS = 48
DENOISER_FRAMES = 2000  # a stream
CALIBRATION_AUDIO = slice(20_000, 40_000)  # steps of the guitar that is held out: up to ±1, as a level check would be
SCORED_AUDIO = {"loud": slice(130_000, 140_000), "quiet": slice(100_000, 110_000)}  # peaks of 0.96 and 0.29
CALIBRATION_FRAMES, SCORED_FRAMES = 6_000, 8_000  # steps


@dataclass(frozen=True)
class AmplifierModel:
    """A GRU that imitates an amplifier; ``skip``: it gives what is to be added to its input."""

    name: str
    hidden_size: int
    skip: bool
    amplifier: Amplifier


@dataclass(frozen=True)
class GruLayer:
    """A GRU with reset before, which reads the values of the named layers side by side."""

    name: str
    inputs: tuple[str, ...]
    hidden_size: int
    candidate: str


@dataclass(frozen=True)
class DenoiserModel:
    """A first dense layer, GRUs, and dense sigmoid heads (name, what it reads, size): "gains" first, then "voice".

    ``standardised``: features at mean 0 and deviation 1, or else as they are. ``clip``: largest magnitude of a weight.
    """

    name: str
    dense_size: int
    layers: tuple[GruLayer, ...]
    heads: tuple[tuple[str, str, int], ...]
    standardised: bool = True
    clip: float = np.inf


ForeignModel = AmplifierModel | DenoiserModel


def rnnoise(name: str, candidates: tuple[str, str, str], standardised: bool, clip: float = np.inf) -> DenoiserModel:
    """The graph of RNNoise 0.1."""
    return DenoiserModel(
        name,
        24,
        (
            GruLayer("voice_gru", ("dense",), 24, candidates[0]),
            GruLayer("noise_gru", ("dense", "voice_gru", INPUT), 48, candidates[1]),
            GruLayer("denoise_gru", ("voice_gru", "noise_gru", INPUT), 96, candidates[2]),
        ),
        (("gains", "denoise_gru", BANDS), ("voice", "voice_gru", 1)),
        standardised,
        clip,
    )


def one_gru(name: str, dense_size: int, hidden_size: int, candidate: str) -> DenoiserModel:
    """A small denoiser: dense → GRU → gains."""
    return DenoiserModel(
        name, dense_size, (GruLayer("gru", ("dense",), hidden_size, candidate),), (("gains", "gru", BANDS),)
    )


MODELS: tuple[ForeignModel, ...] = (
    AmplifierModel("amp4-skip", 4, True, Amplifier(gain=4, second_gain=1.2, sag=0.2, charge=0.2)),
    AmplifierModel("amp8-skip", 8, True, Amplifier(gain=12, second_gain=1.5, bias=0.1, tight=400, tone=3000)),
    AmplifierModel("amp16", 16, False, Amplifier(gain=60, second_gain=5, bias=0.4, charge=1.0, tone=6000)),
    AmplifierModel("amp20-skip", 20, True, Amplifier(gain=8, bias=0.3, sag=1.5, charge=0.6)),
    AmplifierModel("amp32-skip", 32, True, Amplifier(gain=40, second_gain=4, sag=0.8, tight=200)),
    AmplifierModel("amp40", 40, False, Amplifier(gain=100, second_gain=4, bias=0.3, sag=0.5, tone=4000)),
    AmplifierModel("amp64-skip", 64, True, Amplifier(gain=25, second_gain=3, bias=0.3, sag=1.0, charge=0.8)),
    rnnoise("rnnoise-raw", ("relu", "relu", "relu"), standardised=False, clip=0.499),
    rnnoise("rnnoise-mixed", ("tanh", "relu", "tanh"), standardised=True),
    one_gru("denoiser-relu", 32, 48, "relu"),
    one_gru("denoiser-linear", 24, 32, "linear"),
)


def train_model(model: ForeignModel, minutes: float) -> Arrays:
    """Tensors by the names of the artifact's nodes, and the signals and the quality of the model.

    "calibration" and one or more "scored.PART": inputs (steps, channels). "torch.PART.OUTPUT", "target.PART.OUTPUT":
    what the network gives for a part from a zero state, and what it should, (steps, size). "quality": (). Training
    stops after so many minutes.
    """
    torch.manual_seed(0)
    train = _train_amplifier if isinstance(model, AmplifierModel) else _train_denoiser
    arrays = train(model, 60 * minutes)  # type: ignore[arg-type]  # mypy does not follow which of the two it is
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


class _AmplifierNetwork(nn.Module):
    def __init__(self, model: AmplifierModel) -> None:
        super().__init__()
        self.skip = model.skip
        self.gru = nn.GRU(1, model.hidden_size)
        self.dense = nn.Linear(model.hidden_size, 1)

    def forward(self, x: Tensor, h: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """X (steps, streams, 1) and a state (1, streams, hidden) → the same shapes."""
        y, last = self.gru(x, None if h is None else h[0])
        y = self.dense(y)
        return (y + x if self.skip else y), [last]


def _train_amplifier(model: AmplifierModel, seconds: float) -> dict[str, Any]:
    x = guitar(AMPLIFIER_SECONDS, seed=1)
    streams = [
        torch.tensor(signal, dtype=torch.float32).reshape(AMPLIFIER_STREAMS, -1).T[:, :, None]
        for signal in (x, model.amplifier.play(x))
    ]
    network = _AmplifierNetwork(model)

    def loss(got: Tensor, target: Tensor) -> Tensor:
        error = target - got
        sharp_error, sharp_target = (signal[1:] - 0.85 * signal[:-1] for signal in (error, target))
        offset = error.mean(0).square().mean() / target.square().mean()
        return sharp_error.square().sum() / (sharp_target.square().sum() + 1e-5) + offset

    # The first 1,000 steps only fill the state: every stream begins in the middle of a sound.
    _fit(network, streams, loss, seconds, rate=8e-3, chunk=320, warm_up=1000)
    tensors = {f"gru.{name}": network.gru.get_parameter(f"{name}_l0").detach() for name in _GRU_TENSORS}
    tensors |= {"dense.weight": network.dense.weight.detach(), "dense.bias": network.dense.bias.detach()}
    return {f"{INPUT}.mean": np.zeros(1), f"{INPUT}.std": np.ones(1), **tensors, **_play(network, model.amplifier)}


def _play(network: _AmplifierNetwork, amplifier: Amplifier) -> dict[str, Any]:
    """The signals and the quality of ``train_model``."""
    held_out = guitar(4.0, seed=2)
    target = amplifier.play(held_out)

    def output(x: NDArray[Any]) -> NDArray[Any]:
        with torch.no_grad():
            y: NDArray[Any] = network(torch.tensor(x, dtype=torch.float32)[:, None, None])[0][:, 0].numpy()
        return y

    arrays: dict[str, Any] = {"calibration": held_out[CALIBRATION_AUDIO, None]}
    for part, steps in SCORED_AUDIO.items():
        arrays[f"scored.{part}"] = held_out[steps, None]
        arrays[f"torch.{part}.audio"] = output(held_out[steps])
        arrays[f"target.{part}.audio"] = target[steps, None]
    # The error-to-signal ratio of the whole signal.
    arrays["quality"] = np.square(output(held_out)[:, 0] - target).sum() / np.square(target).sum()
    return arrays


_GRU_TENSORS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_CANDIDATES: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu, "linear": lambda v: v}


class _ResetBeforeGru(nn.Module):
    """n = act(W_in x + b_in + W_hn (r ⊙ h)), h' = (1 − z) ⊙ n + z ⊙ h; rows in the order r, z, n."""

    def __init__(self, input_size: int, hidden_size: int, candidate: str) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(3 * hidden_size))
        self.size, self.candidate = hidden_size, _CANDIDATES[candidate]
        nn.init.xavier_uniform_(self.weight_ih)
        for gate in self.weight_hh.split(hidden_size):
            nn.init.orthogonal_(gate, 1.0 if candidate == "tanh" else 0.5)  # unbounded candidates begin contracting

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """X (steps, streams, input_size), h (streams, hidden) → every h (steps, streams, hidden), and the last."""
        of_gates, of_candidate = self.weight_hh.T.split([2 * self.size, self.size], dim=1)
        all_h = []
        for step in nn.functional.linear(x, self.weight_ih, self.bias_ih).unbind():
            ih_gates, ih_candidate = step.split([2 * self.size, self.size], dim=1)
            r, z = torch.sigmoid(torch.addmm(ih_gates, h, of_gates)).chunk(2, dim=1)
            n = self.candidate(torch.addmm(ih_candidate, r * h, of_candidate))
            h = torch.lerp(n, h, z)
            all_h.append(h)
        return torch.stack(all_h), h


class _DenoiserNetwork(nn.Module):
    def __init__(self, model: DenoiserModel, mean: NDArray[Any], std: NDArray[Any]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        sizes = {INPUT: FEATURES, "dense": model.dense_size}
        self.parts = nn.ModuleDict({"dense": nn.Linear(FEATURES, model.dense_size)})
        for layer in model.layers:
            width = sum(sizes[name] for name in layer.inputs)
            self.parts[layer.name] = _ResetBeforeGru(width, layer.hidden_size, layer.candidate)
            sizes[layer.name] = layer.hidden_size
        for name, source, size in model.heads:
            self.parts[name] = nn.Linear(sizes[source], size)

    def forward(self, x: Tensor, h: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Features (steps, streams, 42) and states → logits of all heads side by side (steps, streams, size)."""
        if h is None:
            h = [torch.zeros(x.shape[1], layer.hidden_size) for layer in self.model.layers]
        values = {INPUT: (x - self.mean) / self.std}
        values["dense"] = torch.tanh(self.parts["dense"](values[INPUT]))
        last = []
        for layer, start in zip(self.model.layers, h, strict=True):
            read = torch.cat([values[name] for name in layer.inputs], dim=2)
            values[layer.name], end = self.parts[layer.name](read, start)
            last.append(end)
        return torch.cat([self.parts[name](values[source]) for name, source, _ in self.model.heads], dim=2), last


def _train_denoiser(model: DenoiserModel, seconds: float) -> dict[str, Any]:
    clips = speech_clips()
    order = np.random.default_rng(5).permutation(len(clips))
    clips, held_out = ([clips[i] for i in part] for part in np.split(order, [len(clips) * 4 // 5]))
    pairs = [frame_features(*noisy_speech(clips, DENOISER_FRAMES, seed)) for seed in range(DENOISER_STREAMS)]
    streams = [
        torch.tensor(np.stack([pair[i][:DENOISER_FRAMES] for pair in pairs], axis=1), dtype=torch.float32)
        for i in range(2)
    ]
    flat = streams[0].numpy().reshape(-1, FEATURES)
    mean, std = (flat.mean(0), flat.std(0)) if model.standardised else (np.zeros(FEATURES), np.ones(FEATURES))
    network = _DenoiserNetwork(model, mean, std)
    size = sum(size for _, _, size in model.heads)

    def loss(got: Tensor, target: Tensor) -> Tensor:
        target = target[:, :, :size]
        entropy = nn.functional.binary_cross_entropy_with_logits(got, target, reduction="none")
        error = torch.sigmoid(got[:, :, :BANDS]).sqrt() - target[:, :, :BANDS].sqrt()
        gains = (10 * error**4 + error**2 + 0.01 * entropy[:, :, :BANDS]).mean()
        return 10 * gains + 0.5 * entropy[:, :, BANDS:].sum() / got[:, :, 0].numel()

    _fit(network, streams, loss, seconds, rate=3e-3, chunk=80, clip=model.clip)
    frames = CALIBRATION_FRAMES + SCORED_FRAMES
    features, target = (part[:frames] for part in frame_features(*noisy_speech(held_out, frames, 1000)))
    calibration, scored = np.split(features, [CALIBRATION_FRAMES])
    with torch.no_grad():
        y = torch.sigmoid(network(torch.tensor(scored, dtype=torch.float32)[:, None])[0][:, 0])
    arrays: dict[str, Any] = {f"{INPUT}.mean": mean, f"{INPUT}.std": std}
    arrays |= {f"{name.removeprefix('parts.')}": value.detach() for name, value in network.named_parameters()}
    arrays |= {f"{layer.name}.bias_hh": np.zeros(3 * layer.hidden_size) for layer in model.layers}
    target = target[CALIBRATION_FRAMES:]
    column = 0
    for name, _, width in model.heads:
        columns = slice(column, column + width)
        arrays |= {f"torch.speech.{name}": y[:, columns], f"target.speech.{name}": target[:, columns]}
        column += width
    got, wanted = y[:, :BANDS].numpy(), target[:, :BANDS]
    # The share of the gains' variance that is left: 1 for always giving the mean gain of each band.
    arrays["quality"] = np.square(got - wanted).sum() / np.square(wanted - wanted.mean(0)).sum()
    return {**arrays, "calibration": calibration, "scored.speech": scored}


def _fit(
    network: nn.Module,
    streams: list[Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    seconds: float,
    *,
    rate: float,
    chunk: int,
    warm_up: int = 0,
    clip: float = np.inf,
) -> None:
    """Truncated backpropagation with Adam: an update a chunk, the state carried from chunk to chunk of the streams
    x and target (steps, streams, size). The learning rate falls with the time that is spent.
    """
    x, target = streams
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    started = time.monotonic()
    losses: list[float] = []
    while True:
        h = None
        if warm_up:
            with torch.no_grad():
                h = network(x[:warm_up])[1]
        for start in range(warm_up, len(x), chunk):
            spent = (time.monotonic() - started) / seconds
            if spent >= 1:
                print(f"{len(losses)} updates, loss {np.mean(losses[-50:]):.4f}", file=sys.stderr, flush=True)
                return
            optimizer.param_groups[0]["lr"] = rate * (0.02 + 0.98 * np.cos(np.pi / 2 * spent) ** 2)
            got, h = network(x[start : start + chunk], h)
            value = loss(got, target[start : start + chunk])
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.clamp_(-clip, clip)
            h = [state.detach() for state in h]
            losses.append(value.item())
