"""The learning rate, and AdamW's first momentum, as a function of how much of training is done."""

from __future__ import annotations

import math

from edgegru.configuration import TrainingConfig

MOMENTUM = 0.9  # AdamW's first beta outside of "one-cycle"
_START, _END = 1 / 25, 1e-4  # of "one-cycle", in shares of the highest rate
_HIGH, _LOW = 0.95, 0.85  # momentum of "one-cycle" at its ends and at its highest rate


def rate_and_momentum(config: TrainingConfig, progress: float) -> tuple[float, float]:
    """Learning rate and first beta after the share ``progress`` in [0, 1) of all training.

    "constant": as configured. "cosine": a straight rise over ``warm_up``, then half a cosine down to 0. "one-cycle"
    (Smith & Topin 2017, arXiv:1708.07120): half a cosine up, half a cosine down, the momentum the other way round.
    """
    if config.schedule == "constant":
        return config.learning_rate, MOMENTUM
    if config.schedule == "cosine":
        return config.learning_rate * cosine(config.warm_up, progress), MOMENTUM
    rising = progress < config.warm_up
    share = _share(config.warm_up, progress)
    start, end, high = config.learning_rate * _START, config.learning_rate * _END, config.learning_rate
    if rising:
        return _between(start, high, share), _between(_HIGH, _LOW, share)
    return _between(high, end, share), _between(_LOW, _HIGH, share)


def cosine(warm_up: float, progress: float) -> float:
    """A straight rise to 1 over the share ``warm_up``, then half a cosine down to 0."""
    share = _share(warm_up, progress)
    return share if progress < warm_up else _between(1.0, 0.0, share)


def _share(warm_up: float, progress: float) -> float:
    """How much of the rise, or of what follows it, is done."""
    return progress / warm_up if progress < warm_up else (progress - warm_up) / (1.0 - warm_up)


def _between(first: float, last: float, share: float) -> float:
    """From ``first`` to ``last`` along half a cosine."""
    return last + (first - last) * (1.0 + math.cos(math.pi * share)) / 2.0
