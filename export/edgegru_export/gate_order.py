"""The one place where the parameters of foreign GRUs become ours, and the rows of the three gates change places.

EdgeGRU and PyTorch store reset, update, candidate (``rzn``). ONNX stores update, reset, hidden (``zrh``), Keras update,
reset, candidate; their "h" and our "n" are the same candidate, written ``n`` here. docs/gates.md has the equations of
every source side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

EDGEGRU = "rzn"
ONNX = "zrn"
KERAS = "zrn"

Array = NDArray[Any]


@dataclass(frozen=True)
class GruWeights:
    """Ours: (3H, input_size), (3H, H), (3H,), (3H,); rows in the order r, z, n; both biases or none."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None = None
    bias_hh: Array | None = None


def reorder_gates(rows: Array, source: str, target: str) -> Array:
    """The gates of ``rows`` (3H, …) or (3H,), stored in order ``source``, as a new array in order ``target``."""
    gates = dict(zip(source, np.split(rows, 3), strict=True))
    return np.concatenate([gates[gate] for gate in target])


def _ours(order: str, w: Array, r: Array, b_ih: Array | None, b_hh: Array | None) -> GruWeights:
    """Matrices and biases of our shapes, their gates in another order."""
    w, r = (reorder_gates(rows, order, EDGEGRU) for rows in (w, r))
    biases = (None if rows is None else reorder_gates(rows, order, EDGEGRU) for rows in (b_ih, b_hh))
    return GruWeights(w, r, *biases)


def from_onnx(w: Array, r: Array, b: Array | None) -> GruWeights:
    """One direction of an ONNX GRU node: W (3H, input_size), R (3H, H), B (6H,) = [Wb, Rb]; gates z, r, h."""
    b_ih, b_hh = (None, None) if b is None else np.split(b, 2)
    return _ours(ONNX, w, r, b_ih, b_hh)


def from_keras(kernel: Array, recurrent_kernel: Array, bias: Array | None) -> GruWeights:
    """Keras: kernel (input_size, 3H), recurrent_kernel (H, 3H), bias (2, 3H) of reset after, (3H,) of reset before."""
    b_ih, b_hh = (None, None) if bias is None else (bias, np.zeros_like(bias)) if bias.ndim == 1 else bias
    return _ours(KERAS, kernel.T, recurrent_kernel.T, b_ih, b_hh)


def from_keras_cudnn(kernel: Array, recurrent_kernel: Array, bias: Array) -> GruWeights:
    """Keras's CuDNNGRU: shapes (input_size, 3H), (H, 3H), (6H,), but the numbers of each gate's matrix lie in memory as
    cuDNN has them, (H, input_size) and (H, H); reset is applied after the product.
    """
    h, size = len(recurrent_kernel), len(kernel)
    w, r = (
        np.concatenate([gate.reshape(h, width) for gate in np.split(matrix, 3, axis=1)])
        for matrix, width in ((kernel, size), (recurrent_kernel, h))
    )
    return _ours(KERAS, w, r, *np.split(bias, 2))


def from_lasagne(inputs: dict[str, Array], hidden: dict[str, Array], bias: dict[str, Array]) -> GruWeights:
    """Lasagne's GRULayer, by our gate letters: W_in (input_size, H), W_hid (H, H), b (H,).

    Its update gate blends the other way, h' = (1 − u) ⊙ h + u ⊙ n, so u = 1 − z: rows of z change their sign, since
    σ(−a) = 1 − σ(a). Reset is applied after the product, which has no bias of its own.
    """
    sign = {"r": 1, "z": -1, "n": 1}
    w, r, b = (np.concatenate([sign[gate] * part[gate].T for gate in EDGEGRU]) for part in (inputs, hidden, bias))
    return GruWeights(w, r, b, np.zeros_like(b))


def from_dl4mt(w: Array, u: Array, b: Array, wx: Array, ux: Array, bx: Array) -> GruWeights:
    """The dl4mt tutorial's gru_layer: W (input_size, 2H), U (H, 2H), b (2H,) of the gates r, u; Wx (input_size, H), Ux
    (H, H), bx (H,) of the candidate.

    h' = u ⊙ h + (1 − u) ⊙ n, so u is our z; reset is applied after the product, which has no bias of its own.
    """
    weight_ih, weight_hh = (np.concatenate([gates.T, candidate.T]) for gates, candidate in ((w, wx), (u, ux)))
    bias = np.concatenate([b, bx])
    return GruWeights(weight_ih, weight_hh, bias, np.zeros_like(bias))


def from_torch(
    weight_ih: Array, weight_hh: Array, bias_ih: Array | None = None, bias_hh: Array | None = None
) -> GruWeights:
    """A layer of nn.GRU or nn.GRUCell: (3H, input_size), (3H, H), (3H,), (3H,); its rows and reset after are ours."""
    return GruWeights(weight_ih, weight_hh, bias_ih, bias_hh)
