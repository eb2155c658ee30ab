"""Tensors of an ONNX graph as tables of cells: which number of which layer stands where.

A cell is an integer. 0 is the number 0; every other cell is one number of one layer's value, maybe some steps ago, or
one number of a state input. Whatever only moves numbers (Transpose, Reshape, Slice, Concat …) moves cells, in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.imports.layers import Layer, Layers
from edgegru.imports.onnx_graph import Node
from edgegru_runtime.errors import ImportModelError

Array = NDArray[Any]
Cells = NDArray[np.int64]
ZERO = 0  # the cell of the number 0
LARGEST_MATRIX = 2**26  # numbers of one matrix made here


@dataclass(frozen=True)
class Signal:
    """A tensor that depends on x, or is a state. ``cells`` has its shape, but length 1 along ``time`` and ``batch``.

    Along ``time`` stand all steps, with ``lead`` zeros (or, of a state, ``cache``) before them and ``trail`` values
    after them that no step needs; None: one step alone, or, ``last``, the last one of a sequence. Along ``batch`` stand
    samples that do not know of each other; None: there is one. ``row``: the numbers are row numbers of a table, below
    ``rows`` where that is known.
    """

    cells: Cells
    time: int | None = None
    batch: int | None = None
    last: bool = False
    lead: int = 0
    trail: int = 0
    cache: Cells | None = None  # as cells, but with ``lead`` steps along time
    row: bool = False
    rows: int | None = None

    @property
    def rank(self) -> int:
        return self.cells.ndim

    def moved(self, cells: Cells, time: int | None, batch: int | None, **changes: Any) -> Signal:
        """The same numbers in other places."""
        return replace(self, cells=cells, time=time, batch=batch, **changes)


Value = Array | Signal  # constants are arrays


class AxesError(ImportModelError):
    """A reading of the input in which time or batch turn up where they cannot be; another reading may do."""


def integers(node: Node, inputs: Sequence[Value | None], place: int, attribute: str) -> list[int] | None:
    """Axes, sizes or bounds: an input since some opset, an attribute before it; None where they are left out."""
    if place < len(inputs) and inputs[place] is not None:
        value = inputs[place]
        if isinstance(value, Signal):
            raise ImportModelError(f"{node}: {attribute} depends on the model's input, expected constants")
        assert value is not None
        return [int(number) for number in value.reshape(-1)]
    return node.integers(attribute)


def axis_of(node: Node, axis: int, rank: int) -> int:
    """``axis`` counted from 0."""
    if not -rank <= axis < rank:
        raise ImportModelError(f"{node}: axis {axis} of a value with {rank} axes")
    return axis % rank


def moved_signal(node: Node, inputs: Sequence[Value | None]) -> Signal:
    """The value that is moved."""
    value = inputs[0] if inputs else None
    if not isinstance(value, Signal):
        raise ImportModelError(f"{node} takes numbers of a constant by the model's input, expected constants")
    return value


@dataclass(frozen=True)
class _Block:
    """Cells from ``base`` on: the numbers of ``layer``, ``delay`` steps ago, or those of the input ``state``."""

    base: int
    size: int
    layer: Layer | None
    delay: int = 0
    state: str | None = None


class CellTable:
    """All cells of a model, and the layers that hold what they name."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self._blocks = [_Block(0, 1, None)]
        self._bases = [0]
        self._known: dict[tuple[int, int] | str, _Block] = {}
        self._gathered: dict[bytes, Layer] = {}

    def of_layer(self, layer: Layer, shape: Sequence[int], delay: int = 0) -> Cells:
        """The cells of all numbers of ``layer``, in its order."""
        block = self._block((id(layer), delay), layer.size, layer, delay, None)
        return (block.base + np.arange(block.size)).reshape(tuple(shape))

    def of_state(self, name: str, shape: Sequence[int]) -> Cells:
        """The cells of a state input."""
        block = self._block(name, int(np.prod(shape, dtype=np.int64)), None, 0, name)
        return (block.base + np.arange(block.size)).reshape(tuple(shape))

    def _block(self, key: Any, size: int, layer: Layer | None, delay: int, state: str | None) -> _Block:
        if key not in self._known:
            last = self._blocks[-1]
            self._known[key] = _Block(last.base + last.size, size, layer, delay, state)
            self._blocks.append(self._known[key])
            self._bases.append(self._known[key].base)
        return self._known[key]

    def runs(self, cells: Cells) -> list[tuple[_Block, Cells]]:
        """Neighbours of one block together: the block and their indices in it."""
        flat = cells.reshape(-1)
        places = np.searchsorted(self._bases, flat, side="right") - 1
        cuts = np.flatnonzero(np.diff(places)) + 1
        return [
            (block, part - block.base)
            for block, part in (
                (self._blocks[places[start]], flat[start:end])
                for start, end in zip([0, *cuts], [*cuts, len(flat)], strict=True)
                if end > start
            )
        ]

    def states(self, cells: Cells) -> set[str]:
        """The state inputs that ``cells`` are of."""
        return {block.state for block, _ in self.runs(cells) if block.state is not None}

    def delayed(self, cells: Cells, steps: int) -> Cells:
        """What stood there ``steps`` steps ago: 0 before the first."""
        if steps == 0:
            return cells
        parts = []
        for block, indices in self.runs(cells):
            if block.layer is None:
                if block.state is not None:
                    raise ImportModelError(f"a past value of the state {block.state} is read, expected its last one")
                parts.append(np.zeros(len(indices), np.int64))
            else:
                parts.append(self.of_layer(block.layer, (-1,), block.delay + steps)[indices])
        return np.concatenate(parts).reshape(cells.shape)

    def layer(self, cells: Cells) -> Layer:
        """One layer with the numbers that ``cells`` name, in their order."""
        key = cells.tobytes()
        if key not in self._gathered:
            self._gathered[key] = self._gather(cells)
        return self._gathered[key]

    def _gather(self, cells: Cells) -> Layer:
        runs = self.runs(cells)
        if any(block.layer is None or block.delay for block, _ in runs):
            return self._weighted(cells.reshape(-1), np.eye(cells.size), None)
        parts = []
        for block, indices in runs:
            assert block.layer is not None
            whole = np.array_equal(indices, np.arange(block.size))
            parts.append(block.layer if whole else self.layers.select(block.layer, indices.tolist()))
        return self.layers.concatenate(parts)

    def weighted(self, rows: Cells, weight: NDArray[Any], bias: NDArray[Any] | None, what: object) -> Cells:
        """``weight`` (M, K) times every row of ``rows`` (P, K), plus ``bias`` (M,): cells (P, M)."""
        places, outputs = len(rows), len(weight)
        if places > 1:
            cells, columns = np.unique(rows, return_inverse=True)
            columns = columns.reshape(rows.shape)
            if places * outputs * len(cells) > LARGEST_MATRIX:
                found = f"is a matrix of {places * outputs}×{len(cells)} numbers"
                raise ImportModelError(f"{what} {found}, expected at most {LARGEST_MATRIX:,}")
            matrix = np.zeros((places, outputs, len(cells)))
            for place in range(places):
                np.add.at(matrix[place].T, columns[place], np.asarray(weight, np.float64).T)
            rows, weight = cells, matrix.reshape(places * outputs, -1)
            bias = None if bias is None else np.tile(bias, places)
        layer = self._weighted(rows.reshape(-1), weight, bias)
        return self.of_layer(layer, (places, outputs))

    def _weighted(self, cells: Cells, weight: NDArray[Any], bias: NDArray[Any] | None) -> Layer:
        """A linear layer, or a convolution where cells of earlier steps are among them."""
        kept = cells != ZERO
        if not kept.any():
            raise ImportModelError("a layer reads nothing but zeros, expected values that depend on the input")
        if not kept.all():
            cells, weight = cells[kept], weight[:, kept]
        runs = self.runs(cells)
        for block, _ in runs:
            if block.state is not None:
                raise ImportModelError(f"the state {block.state} is read by a layer, expected a GRU's initial_h")
        if not any(block.delay for block, _ in runs):
            return self.layers.linear(self.layer(cells), weight, bias)
        delays = np.concatenate([np.full(len(indices), block.delay) for block, indices in runs])
        present = np.concatenate([self.of_layer(block.layer, (-1,))[indices] for block, indices in runs if block.layer])
        sources, columns = np.unique(present, return_inverse=True)
        dilation = int(np.gcd.reduce(delays))
        taps = int(delays.max()) // dilation + 1
        if taps * len(weight) * len(sources) > LARGEST_MATRIX:
            raise ImportModelError(f"a convolution over {taps} steps has more than {LARGEST_MATRIX:,} weights")
        kernel = np.zeros((taps, len(sources), len(weight)))
        np.add.at(kernel, (taps - 1 - delays // dilation, columns.reshape(-1)), np.asarray(weight, np.float64).T)
        return self.layers.convolution(self.layer(sources), kernel.transpose(2, 0, 1), bias, dilation)
