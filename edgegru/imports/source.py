"""What a reader gives: the layers of a foreign model, and a way to compute them that is not ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from edgegru.imports.layers import Layers


class Source(Protocol):
    """The foreign model, run by its own runtime where that is installed, else by its own equations in NumPy.

    ``name``: what computes, for people. ``steps``: the one sequence length that the model takes, or None. ``precise``:
    whether it also computes in float64.
    """

    name: str
    steps: int | None
    precise: bool

    def run(self, xs: NDArray[Any]) -> list[NDArray[Any]]:
        """Every output from a zero state (or the model's own h0), for xs (T, channels) of float32, or of float64 where
        ``precise``: (T, size) each, or (size,) where the model gives the last step only. With an embedding xs has the
        row numbers, as floats, (T, 1).
        """


@dataclass(frozen=True)
class Options:
    """What only one format takes: ``layout`` of an .npz file, ``node`` of ONNX, ``weights`` of a Keras JSON file."""

    layout: str | None = None
    node: str | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class ForeignModel:
    """A file that was understood."""

    format: str  # for people, such as "Keras 2.2.4, HDF5"
    layers: Layers
    source: Source
