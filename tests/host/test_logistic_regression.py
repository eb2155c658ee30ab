"""The baseline is the minimum that it says it is."""

from __future__ import annotations

import numpy as np
import pytest

from edgegru.logistic_regression import LogisticRegression, logistic_regression


def loss(found: LogisticRegression, features: np.ndarray, labels: np.ndarray, strength: float) -> float:
    """Σ cross-entropy + strength / 2 · ‖W‖², in float64."""
    logits = (features - found.mean) / found.std @ found.weight.T + found.bias
    logits -= logits.max(axis=1, keepdims=True)
    entropy = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return float(entropy.sum() + strength / 2 * np.square(found.weight).sum())


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0])
def test_nothing_near_it_is_better(strength: float, standardise: bool) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    units = [1, 100, 0.01, 0] if standardise else [1, 2, 0.5, 0]
    features = generator.standard_normal((200, 4)) * units + np.outer(labels, [1, 50, 0.001, 0]) + 5 * standardise
    found = logistic_regression(features, labels, strength, standardise)
    assert np.array_equal(found.mean, np.zeros(4)) != standardise
    least = loss(found, features, labels, strength)
    for _ in range(50):
        weight, bias = (generator.standard_normal(part.shape) * 0.01 for part in (found.weight, found.bias))
        moved = found._replace(weight=found.weight + weight, bias=found.bias + bias)
        assert loss(moved, features, labels, strength) > least
    assert np.mean(found.classes(features) == labels) > 0.5
    np.testing.assert_array_equal(found.weight[:, 3], 0.0)  # a feature that is always the same says nothing
