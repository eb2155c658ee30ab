"""One walk through an ONNX graph, with axes of the input taken for time and batch: constants are computed, signals
become layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.imports.layers import Layers
from edgegru.imports.onnx_constants import fold
from edgegru.imports.onnx_graph import Node, OnnxGraph
from edgegru.imports.onnx_loading import LARGEST_TENSOR
from edgegru.imports.onnx_movement import MOVEMENTS
from edgegru.imports.onnx_operators import OPERATORS
from edgegru.imports.onnx_roles import Roles
from edgegru.imports.onnx_selection import SELECTIONS
from edgegru.imports.onnx_values import ZERO, AxesError, Cells, CellTable, Signal, Value
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.foreign import first_line

Array = NDArray[Any]
_LONGEST_CACHE = 4096  # steps
OPEN_LENGTH = 1009  # stands for the length of a sequence that may have any: a prime, so that no other axis is like it


@dataclass(frozen=True)
class Axes:
    """A reading of the input: ``shape`` of x with a number for every axis; ``time`` None: a step at a time."""

    shape: tuple[int, ...]
    time: int | None
    batch: int | None
    open_ended: bool  # whether sequences of any length are taken


class Walk:
    """Values by name, as far as they were needed."""

    largest = 2**20  # cells of one signal

    def __init__(
        self, graph: OnnxGraph, roles: Roles, axes: Axes, constants: dict[int, list[Array]], done: set[int]
    ) -> None:
        """``constants``: of nodes that no reading of the input changes, shared by walks; ``done``: nodes, grows."""
        self.graph, self.roles, self.axes = graph, roles, axes
        self.steps = 1 if axes.time is None else axes.shape[axes.time]
        self.batch = 1 if axes.batch is None else axes.shape[axes.batch]
        self.open_ended = axes.open_ended
        self.opset = graph.opset
        cells = [1 if axis in (axes.time, axes.batch) else size for axis, size in enumerate(axes.shape)]
        self.layers = Layers(int(np.prod(cells)))
        self.table = CellTable(self.layers)
        self.values: dict[str, Value] = {}
        self.begins: dict[int, list[int]] = {}  # a state's cell → cells of the GRUs that begin with it
        self.done = done
        self._running: set[int] = set()
        self._constants = constants
        self._folded_size = 0  # numbers of all constants that were made
        x = roles.x
        row = x.dtype is not None and x.dtype.kind == "i"
        self.values[x.name] = Signal(self.table.of_layer(self.layers.x, cells), axes.time, axes.batch, row=row)
        self.starts: dict[int, float] = {}  # a state's cell → what it is at first, where the file says so
        for name in roles.states:
            state = self.values[name] = self._state(name)
            if name in roles.starts:
                start = np.resize(roles.starts[name], state.cells.size).tolist()
                self.starts.update(zip(state.cells.reshape(-1).tolist(), start, strict=True))

    def _state(self, name: str) -> Signal:
        """A state input; its batch is where a GRU's is, or the one axis of that size."""
        shape = list(self.roles.state_shape(name, self.batch))
        batch = None
        if self.batch > 1:
            likely = [axis for axis in (1, 0, 2) if axis < len(shape) and shape[axis] == self.batch]
            if not likely:
                raise AxesError(f"the state {name} has no axis for a batch of {self.batch}")
            batch = likely[0]
            shape[batch] = 1
        return Signal(self.table.of_state(name, shape), None, batch)

    def compute(self, names: Iterable[str]) -> None:
        """The values called ``names``."""
        for index in self.graph.needed(names):
            if index in self.done:
                continue
            node = self.graph.nodes[index]
            if index in self._running:
                raise ImportModelError(f"{node} needs its own last value, expected feedback within GRU nodes alone")
            self._running.add(index)
            inputs = [self._value(name) for name in node.inputs]
            outputs = self._outputs(index, node, inputs)
            for name, value in zip(node.outputs, outputs, strict=False):
                if name:
                    self.values[name] = value
            self._running.discard(index)
            self.done.add(index)

    def _value(self, name: str) -> Value | None:
        if not name:
            return None
        if name not in self.values:
            self.values[name] = self.graph.initializer(name)
        return self.values[name]

    def _outputs(self, index: int, node: Node, inputs: Sequence[Value | None]) -> Sequence[Value]:
        signals = [value for value in inputs if isinstance(value, Signal)]
        if node.operator == "Constant" and not node.domain:
            if index not in self._constants:
                self._constants[index] = [self.graph.constant(node)]
            return self._constants[index]
        if not signals and node.operator != "GRU":
            return self._folded(index, node, inputs)
        if node.domain:
            raise ImportModelError(f"{node} is of the domain {node.domain}, expected ONNX's own operators")
        if node.operator in ("Shape", "Size"):
            return [self._shape_value(node, signals[0])]
        operator = _KNOWN.get(node.operator)
        if operator is None:
            reason = _WHY_NOT.get(node.operator, "is no operator that the import knows")
            raise ImportModelError(f"{node}: {reason}")
        try:
            return operator(self, node, inputs)
        except ImportModelError as error:
            if str(error).startswith("node "):
                raise
            raise ImportModelError(f"{node}: {error}") from None
        except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
            # Inputs that are missing, or of shapes that do not fit.
            raise ImportModelError(f"{node} does not fit its inputs: {first_line(error)}") from None

    def _folded(self, index: int, node: Node, inputs: Sequence[Value | None]) -> Sequence[Value]:
        """What depends on no shape is computed once for all walks."""
        fixed = all(not name or self._is_fixed(name) for name in node.inputs)
        if fixed and index in self._constants:
            return self._constants[index]
        arrays = [value for value in inputs if not isinstance(value, Signal)]
        results = fold(node, arrays, self.opset)
        self._folded_size += sum(array.size for array in results)
        if self._folded_size > LARGEST_TENSOR:
            raise ImportModelError(
                f"{node}: constants of {self._folded_size:,} numbers, at most {LARGEST_TENSOR:,} expected"
            )
        if fixed:
            self._constants[index] = results
        return results

    def _is_fixed(self, name: str) -> bool:
        return name in self.graph.initializers or self.graph.makers.get(name, -1) in self._constants

    def _shape_value(self, node: Node, signal: Signal) -> Array:
        shape = self.shape(signal)
        if node.operator == "Size":
            return np.array(np.prod(shape), np.int64)
        start, end = node.integer("start", 0), node.integer("end", len(shape))
        return np.array(shape[start:end], np.int64)

    def shape(self, signal: Signal) -> list[int]:
        """The tensor's shape at run time; time of any length counts as ``OPEN_LENGTH``."""
        shape = list(signal.cells.shape)
        if signal.time is not None:
            shape[signal.time] = signal.lead + self.steps + signal.trail
        if signal.batch is not None:
            shape[signal.batch] = self.batch
        return shape

    def shape_text(self, signal: Signal) -> str:
        """The shape for people."""
        names = {signal.time: "time", signal.batch: "batch"}
        parts = [names.get(axis, str(size)) for axis, size in enumerate(self.shape(signal))]
        return f"({', '.join(parts)})"

    @property
    def steps_text(self) -> str:
        return "any number" if self.open_ended else str(self.steps)

    def together(self, node: Node, signals: Sequence[Signal]) -> Signal:
        """A signal with the axes that all of ``signals``, of one rank, have; ImportModelError where they differ."""
        model = signals[0]
        for other in signals[1:]:
            if (model.time, model.last) != (other.time, other.last):
                kinds = {_kind(model), _kind(other)}
                found = "values with different time axes" if len(kinds) == 1 else " and ".join(sorted(kinds))
                raise ImportModelError(f"{node}: combines {found}, expected values of the same step")
            if (model.batch, model.lead, model.trail) != (other.batch, other.lead, other.trail):
                raise ImportModelError(f"{node}: combines {self.shape_text(model)} and {self.shape_text(other)}")
        if any(signal.cache is not None for signal in signals):
            raise ImportModelError(f"{node}: combines values kept from earlier calls, expected a convolution of them")
        return replace(model, row=False, rows=None)

    def constant_cells(self, node: Node, array: Array, like: Signal) -> Cells:
        """A constant, of the rank of ``like``, among cells: the same at every step and in every sample."""
        kept = self.reduced(node, array, like)
        if not np.any(kept):
            return np.full(kept.shape, ZERO)
        x = self.layers.x
        layer = self.layers.linear(x, np.zeros((kept.size, x.size)), kept.reshape(-1))
        return self.table.of_layer(layer, kept.shape)

    def reduced(self, node: Node, array: Array, like: Signal) -> Array:
        """A constant with length 1 along time and batch. Raises ImportModelError where it differs along them."""
        for axis, what in ((like.time, "time"), (like.batch, "batch")):
            if axis is not None and array.ndim == like.rank:
                first = array.take([0], axis)
                if array.shape[axis] > 1 and not np.array_equal(np.broadcast_to(first, array.shape), array):
                    raise ImportModelError(f"{node}: a constant differs along {what}, expected the same at every step")
                array = first
        return array

    def settled(self, node: Node, signal: Signal) -> Signal:
        """``signal``, if nothing stands before its first step."""
        if signal.lead:
            raise ImportModelError(f"{node}: reads values before the first step, expected a convolution that does")
        return signal

    def resolved(self, cells: Cells) -> Cells:
        """``cells`` with those of states replaced by what earlier steps handed on: a layer's value some steps ago."""
        flat = cells.reshape(-1).copy()
        delays = np.zeros(flat.shape, np.int64)
        for _ in range(_LONGEST_CACHE + 1):
            left = False
            for name in sorted(self.table.states(flat)):
                signal, value = self._handed_on(name)
                base = int(signal.cells.reshape(-1)[0])
                of_state = (flat >= base) & (flat < base + signal.cells.size)
                flat[of_state] = value.cells.reshape(-1)[flat[of_state] - base]
                delays[of_state] += 1
                left = True
            if not left:
                break
        else:
            raise ImportModelError(f"the state {name} is never written, or keeps more than {_LONGEST_CACHE} steps")
        for delay in np.unique(delays):
            flat[delays == delay] = self.table.delayed(flat[delays == delay], int(delay))
        return flat.reshape(cells.shape)

    def _handed_on(self, state: str) -> tuple[Signal, Signal]:
        """A state input, and its next value."""
        output = self.roles.next_states.get(state)
        if output is None:
            raise ImportModelError(f"no output hands the state {state} on to the next step")
        self.compute([output])
        signal, value = self.values[state], self.values[output]
        assert isinstance(signal, Signal)
        if not isinstance(value, Signal) or value.cells.size != signal.cells.size or value.time is not None:
            raise ImportModelError(f"output {output} does not hand the state {state} on, expected its next value")
        return signal, value


_KNOWN = {**MOVEMENTS, **SELECTIONS, **OPERATORS}
_WHY_NOT = {
    "ReverseSequence": "reverses time, expected every step in order",
    "InstanceNormalization": "normalises over time, expected over channels",
    "GlobalAveragePool": "pools over time, expected values of one step",
    "GlobalMaxPool": "pools over time, expected values of one step",
    "MaxPool": "pools values, expected layers and GRUs",
    "AveragePool": "pools values, expected layers and GRUs",
    "ConvTranspose": "is a transposed convolution, expected Conv",
}


def _kind(signal: Signal) -> str:
    if signal.time is not None:
        return "every step"
    return "the last step" if signal.last else "a state"
