"""The skip of a forecast in closed form: every channel from its own past, by ridge regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from edgegru.data import Dataset, LabelledSequence
from edgegru.network import Network
from edgegru_runtime.errors import ConfigError, DataError

Values = NDArray[np.float64]


class RidgeSkip(NamedTuple):
    """``weight``: (horizon · channels, channels, steps), the oldest step first; ``bias``: (horizon · channels,)."""

    weight: Values
    bias: Values

    def set_in(self, network: Network) -> None:
        """Make it the skip of a network, which keeps it; all else begins with adding nothing."""
        assert network.skip is not None
        with torch.no_grad():
            network.skip.weight.copy_(torch.from_numpy(self.weight))
            network.dense.weight.zero_()
            network.dense.bias.copy_(torch.from_numpy(self.bias))
        network.skip.weight.requires_grad_(False)


def fit_ridge_skip(
    sequences: Sequence[LabelledSequence],
    dataset: Dataset,
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    steps: int,
    strength: float,
) -> RidgeSkip:
    """Fitted to all steps that count and have ``steps`` inputs, in standard deviations of inputs and targets.

    ``sequences``: of the training part, as the network reads them; ``mean``, ``std``: (channels,) of its
    standardisation. First one map for all channels is fitted, then to each channel what it leaves: a strong ridge makes
    the channels alike, not the forecast small. Raises ConfigError unless all channels are forecast, DataError without
    such a step.
    """
    channels, horizon = len(dataset.channels), dataset.outputs[0].horizon
    if dataset.target != "forecast" or len(dataset.labels) != horizon * channels or len(mean) != channels:
        raise ConfigError("model.skip_ridge is for a forecast of all channels, a sample a step: expected such a target")
    known, future = [], []
    for sequence in sequences:
        x = (sequence.x - mean) / std
        chosen = np.flatnonzero(sequence.mask)
        chosen = chosen[chosen >= steps - 1]
        known.append(x[chosen[:, np.newaxis] + np.arange(1 - steps, 1)])
        future.append((sequence.target[chosen] - dataset.target_mean) / dataset.target_std)
    past = np.concatenate(known).astype(np.float64)  # (N, steps, channels)
    ahead = np.concatenate(future).astype(np.float64).reshape(len(past), horizon, channels)
    if not len(past):
        found = f"no step of the training part has {steps} inputs up to it and a target"
        raise DataError(f"{found}, expected longer recordings")
    shared, offset = ridge(*(values.swapaxes(1, 2).reshape(-1, values.shape[1]) for values in (past, ahead)), strength)
    weight, bias = np.zeros((horizon, channels, channels, steps)), np.zeros((horizon, channels))
    for channel in range(channels):
        own = past[..., channel]
        rest, rest_offset = ridge(own, ahead[..., channel] - own @ shared - offset, strength)
        weight[:, channel, channel], bias[:, channel] = (shared + rest).T, offset + rest_offset
    return RidgeSkip(weight.reshape(-1, channels, steps), bias.reshape(-1))


def ridge(known: Values, future: Values, strength: float) -> tuple[Values, Values]:
    """W (inputs, outputs) and b of the smallest |known W + b − future|² + strength |W|²; b is free."""
    mean, target = known.mean(axis=0), future.mean(axis=0)
    centred = known - mean
    gram = centred.T @ centred + strength * np.eye(known.shape[1])
    weight = np.linalg.solve(gram, centred.T @ (future - target))
    return weight, target - mean @ weight
