"""The one place where the rows of a GRU's three gates change places.

EdgeGRU and PyTorch store reset, update, candidate (``rzn``). ONNX stores update, reset, hidden (``zrh``), Keras update,
reset, candidate; their "h" and our "n" are the same candidate, written ``n`` here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EDGEGRU = "rzn"
ONNX = "zrn"
KERAS = "zrn"


def reorder_gates(rows: NDArray[Any], source: str, target: str) -> NDArray[Any]:
    """The gates of ``rows`` (3H, …) or (3H,), stored in order ``source``, as a new array in order ``target``."""
    gates = dict(zip(source, np.split(rows, 3), strict=True))
    return np.concatenate([gates[gate] for gate in target])
