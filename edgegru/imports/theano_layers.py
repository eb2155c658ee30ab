"""Layers of Theano's time in NumPy, each as its source writes it: what an import is compared with.

A stage takes a sequence (T, size in) and gives one (T, size out), in the dtype of its input. Weights are as they are
in the file; nothing here is shared with the functions that convert them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Stage = Callable[[Array], Array]


class Equations:
    """A chain of stages as a ``Source``."""

    steps: int | None = None
    precise: bool = True

    def __init__(self, name: str, stages: Sequence[Stage]) -> None:
        self.name = name
        self._stages = stages

    def run(self, xs: Array) -> list[Array]:
        """The one output, (T, size)."""
        for stage in self._stages:
            xs = stage(xs)
        return [xs]


def embedding(table: Array) -> Stage:
    """Rows of ``table`` (rows, size); the input has row numbers as floats, (T, 1)."""
    return lambda xs: table[xs[:, 0].astype(np.int64)].astype(xs.dtype)


def dense(w: Array, b: Array | None) -> Stage:
    """x W + b with W (size in, size out)."""
    return lambda xs: xs @ w.astype(xs.dtype) + (0 if b is None else b.astype(xs.dtype))


def lasagne_gru(weights: Mapping[str, Array]) -> Stage:
    """Lasagne's GRULayer: reset after the product, and h' = (1 − u) ⊙ h + u ⊙ c.

    ``weights`` by Lasagne's names; ``hid_init`` (1, H) may be missing.
    """

    def run(xs: Array) -> Array:
        p = {name: array.astype(xs.dtype) for name, array in weights.items()}
        h = p["hid_init"][0] if "hid_init" in p else np.zeros(len(p["b_updategate"]), xs.dtype)
        hs = []
        for x in xs:
            r = _sigmoid(x @ p["W_in_to_resetgate"] + h @ p["W_hid_to_resetgate"] + p["b_resetgate"])
            u = _sigmoid(x @ p["W_in_to_updategate"] + h @ p["W_hid_to_updategate"] + p["b_updategate"])
            before = x @ p["W_in_to_hidden_update"] + p["b_hidden_update"]
            c = np.tanh(before + r * (h @ p["W_hid_to_hidden_update"]))
            h = (1 - u) * h + u * c
            hs.append(h)
        return np.array(hs)

    return run


def dl4mt_gru(weights: Mapping[str, Array]) -> Stage:
    """gru_layer of the dl4mt tutorial: reset after the product, and h' = u ⊙ h + (1 − u) ⊙ n; gates in the order r, u.

    ``weights`` by the tutorial's names without their prefix.
    """

    def run(xs: Array) -> Array:
        p = {name: array.astype(xs.dtype) for name, array in weights.items()}
        h = np.zeros(len(p["bx"]), xs.dtype)
        hs = []
        for x in xs:
            r, u = np.split(_sigmoid(h @ p["U"] + x @ p["W"] + p["b"]), 2)
            n = np.tanh((h @ p["Ux"]) * r + x @ p["Wx"] + p["bx"])
            h = u * h + (1 - u) * n
            hs.append(h)
        return np.array(hs)

    return run


def _sigmoid(a: Array) -> Array:
    return np.asarray(np.exp(-np.logaddexp(0, -a)), a.dtype)
