"""The tables of a log_mel node: which tensors it has, and what they must hold (docs/front-ends.md).

Standard library only: an artifact is checked without NumPy.
"""

from __future__ import annotations

import math

from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.fixed_point import FILTER_BITS, LOG_MEL_LIMIT, TWIDDLE_BITS, log_mel_floor

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgegru_runtime.model_config import LogMelNode


def table_tensors(node: LogMelNode, static: bool) -> dict[str, tuple[str, tuple[int, ...]]]:
    """dtype and shape of every tensor of the node, by its name behind the dot."""
    exact, coarse = ("int32", "int16") if static else ("float32", "float32")
    return {
        "window": (exact, (node.frame_length,)),
        "twiddles": (exact, (node.fft_size // 4 + 1,)),
        "edges": ("int32", (node.output_size + 2,)),
        "rising": (coarse, (node.fft_size // 2 + 1,)),
    }


def check_tables(node: LogMelNode, tables: Mapping[str, Sequence[float]], static: bool) -> None:
    """Raise ``ArtifactError`` unless the tables keep every sum of the node in its range, whatever the samples are.

    ``tables``: the finite numbers of every tensor, by its name behind the dot.
    """
    at, last = f"tensor '{node.name}", node.fft_size // 2 + 1
    edges = tables["edges"]
    for index, edge in enumerate(edges):
        if not (edges[index - 1] if index else 0) <= edge <= last:
            found = f"{at}.edges' holds {edge} at index {index}"
            raise ArtifactError(f"{found}; expected bins from 0 to {last} that never fall")
    one = 2.0**FILTER_BITS if static else 1.0
    for index, weight in enumerate(tables["rising"]):
        if not 0 <= weight <= one:
            raise ArtifactError(f"{at}.rising' holds {weight:g} at index {index}; expected numbers from 0 to {one:g}")
    one = 2.0**TWIDDLE_BITS if static else 1.0
    for index, weight in enumerate(tables["window"]):
        if not -one <= weight <= one:
            found = f"{at}.window' holds {weight:.12g} at index {index}"
            raise ArtifactError(f"{found}; expected numbers from {-one:.12g} to {one:.12g}")
    twiddles = tables["twiddles"]
    for index, (cosine, sine) in enumerate(zip(twiddles, reversed(twiddles), strict=True)):
        if cosine**2 + sine**2 > one**2 * (1 + 2.0**-21):  # as float32 rounds them
            raise ArtifactError(f"{at}.twiddles' has a pair beyond 1 at index {index}; expected cosines and sines")
    if static and not 1 <= log_mel_floor(node.floor, node.fft_size) <= LOG_MEL_LIMIT:
        unit = 2.0 ** (2 * math.log2(node.fft_size) - 60)
        found = f"node {node.name!r} has floor {node.floor:g}, which is no number of 2^-60 · {node.fft_size}²"
        raise ArtifactError(f"{found}; expected one from {unit:.3g} to {unit * LOG_MEL_LIMIT:.3g} in a static scheme")
