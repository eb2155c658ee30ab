"""Multinomial logistic regression: the simple baseline that a network on the same features has to beat."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray


class LogisticRegression(NamedTuple):
    """``weight`` (classes, F) and ``bias`` (classes,), of features that ``mean`` and ``std`` (F,) first standardise."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def classes(self, features: NDArray[np.float64]) -> NDArray[np.int64]:
        """The most probable class of each row: (N, F) → (N,)."""
        return np.argmax((features - self.mean) / self.std @ self.weight.T + self.bias, axis=1)


def logistic_regression(
    features: NDArray[np.float64], labels: NDArray[np.int64], strength: float = 1.0, standardise: bool = True
) -> LogisticRegression:
    """The minimum of  Σ cross-entropy + strength / 2 · ‖W‖², the bias free, found by L-BFGS: there is no seed.

    ``features``: (N, F) in any units; ``labels``: (N,), classes from 0. ``standardise``: false for features of one unit
    among which what is rare shall not become large, such as counts of words.
    """
    mean, std = np.zeros(features.shape[1]), np.ones(features.shape[1])
    if standardise:
        mean, std = features.mean(axis=0), features.std(axis=0)
        std[std == 0] = 1.0
    layer = torch.nn.Linear(features.shape[1], int(labels.max()) + 1, dtype=torch.float64)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    x, y = torch.from_numpy((features - mean) / std), torch.from_numpy(labels)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=1000, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(layer(x), y, reduction="sum")
        value = value + strength / 2 * layer.weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return LogisticRegression(mean, std, layer.weight.detach().numpy(), layer.bias.detach().numpy())
