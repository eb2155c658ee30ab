"""What the inputs and outputs of an ONNX graph are for: the input x, states, and the outputs that hand states on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.imports.onnx_graph import GraphInput, Node, OnnxGraph
from edgegru_runtime.errors import ImportModelError

# Operators that only move numbers.
MOVING = [
    "Concat",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Cast",
    "Dropout",
]
_DIRECTIONS = {"in", "input", "out", "output", "next", "new", "prev", "old", "cur", "current", "last", "n", "0"}
_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h")

Dims = tuple[int | None, ...]


@dataclass(frozen=True)
class Roles:
    """``states``: by name, in order; ``next_states``: the output that seems to hand a state on, by names and shapes;
    ``starts``: what a state begins with where a file of our own says so, all others with zeros.
    """

    x: GraphInput
    states: dict[str, GraphInput]
    next_states: dict[str, str]
    starts: Mapping[str, NDArray[Any]]

    def state_shape(self, name: str, batch: int) -> tuple[int, ...]:
        """The shape of a state input; dynamic axes count as ``batch``."""
        dims = self.states[name].dims
        if dims is None:
            raise ImportModelError(f"the input {name} has no shape, expected that of a state")
        return tuple(batch if size is None else size for size in dims)

    def state_start(self, name: str, batch: int) -> NDArray[Any]:
        """What a state input is at first, the same in every sample."""
        shape = self.state_shape(name, batch)
        if name not in self.starts:
            return np.zeros(shape)
        return np.resize(self.starts[name], shape)  # our files have the batch first: row after row the same


def find_roles(
    graph: OnnxGraph, grus: Sequence[Node], needed: Sequence[int], starts: Mapping[str, NDArray[Any]]
) -> Roles:
    """Raises ImportModelError where weights are inputs, or where more than one input is no state."""
    inputs = {value.name: value for value in graph.inputs}
    beginnings: set[str] = set()
    for node in grus:
        for place, name in enumerate(node.inputs[:6]):
            if not name or place == 0:
                continue
            found = sorted(_sources(graph, name, moving=place == 5))
            if place == 5:
                beginnings.update(found)
            elif found:
                what = _INPUTS[place]
                which = f"is the graph input {found[0]}" if name in found else f"depends on the graph input {found[0]}"
                raise ImportModelError(f"{node}: its {what} {which}, expected a constant")
    read = {name for index in needed for name in graph.nodes[index].inputs}
    others = [value for value in graph.inputs if value.name in read and value.name not in beginnings]
    if not others:
        raise ImportModelError("the graph has no input but states, expected x")
    states = [value for value in graph.inputs if value.name in beginnings]
    pairs = _pairs(graph, [*states, *others])
    unpaired = [value for value in others if value.name not in pairs]
    x = unpaired[0] if len(unpaired) == 1 else others[0]
    kept = {value.name: value for value in graph.inputs if value in states or (value in others and value is not x)}
    pairs = _pairs(graph, list(kept.values()))
    for value in others:
        if value is not x and value.name not in pairs:
            names = " and ".join(other.name for other in others)
            raise ImportModelError(f"the graph has the inputs {names}, expected one and states that an output hands on")
    assert x.name in inputs
    return Roles(x, kept, pairs, starts)


def _sources(graph: OnnxGraph, name: str, *, moving: bool) -> set[str]:
    """The graph inputs whose numbers (not only their shapes) ``name`` depends on; ``moving``: only by moving them."""
    inputs = {value.name for value in graph.inputs}
    found, seen, stack = set(), set(), [name]
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in inputs:
            found.add(name)
        if name not in graph.makers:
            continue
        node = graph.nodes[graph.makers[name]]
        if node.operator in ("Shape", "Size") or (moving and node.operator not in MOVING):
            continue
        stack.extend(node.inputs if node.operator == "Concat" or not moving else node.inputs[:1])
    return found


def _pairs(graph: OnnxGraph, states: Sequence[GraphInput]) -> dict[str, str]:
    """For each state the output that hands it on: one of the same name but for its direction, or of the same shape, in
    order, the last ones where there are more.
    """
    pairs: dict[str, str] = {}
    free = list(graph.outputs)
    for state in states:
        for output in free:
            if _stem(output) == _stem(state.name) and _alike(state.dims, graph.output_dims[output]):
                pairs[state.name] = output
                free.remove(output)
                break
    rest = [state for state in states if state.name not in pairs]
    for state in reversed(rest):
        fitting = [output for output in free if _alike(state.dims, graph.output_dims[output])]
        if fitting:
            pairs[state.name] = fitting[-1]
            free.remove(fitting[-1])
    return pairs


def _stem(name: str) -> tuple[str, ...]:
    """``h0``, ``h0_next``; ``hidden_in``, ``hidden_out``: the same words but for the direction."""
    words = re.findall(r"[a-z]+|[0-9]+", name.lower())
    return tuple(word for word in words if word not in _DIRECTIONS) or tuple(words)


def _alike(dims: Dims | None, other: Dims | None) -> bool:
    if dims is None or other is None:
        return True
    return len(dims) == len(other) and all(a == b or a is None or b is None for a, b in zip(dims, other, strict=True))
