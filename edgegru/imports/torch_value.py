"""What a tensor of a traced PyTorch module holds, and the layers that grow while its graph is read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgegru.imports.layers import Floats, Layer, Layers
from edgegru_runtime.errors import ImportModelError

STATE = "state"  # kind of the layer that stands for a state before the first step


class WrongAxisError(ImportModelError):
    """The axes of the input mean something else than was supposed: another supposition may be right."""


class RightAxesError(ImportModelError):
    """Refused for a reason that other suppositions about the axes would not change."""


@dataclass(frozen=True)
class Value:
    """A tensor as numbers of layers: permuting, cutting or joining tensors changes ``numbers`` and makes no layer.

    ``numbers``: of the tensor's shape, but of length 1 along ``time``; entry n is number n of the values of ``layers``
    side by side. ``steps``: which the time axis covers, beginning before 0 or ending after the last where it is padded,
    with zeros there if ``zeros``. ``last``: no time axis any more, only the last step.
    """

    layers: tuple[Layer, ...]
    numbers: NDArray[np.intp]
    time: int | None = None
    steps: range = range(0)
    last: bool = False
    zeros: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return tuple(len(self.steps) if axis == self.time else size for axis, size in enumerate(self.numbers.shape))

    @property
    def is_state(self) -> bool:
        """Whether it is, or contains, a state before the first step."""
        return any(layer.kind == STATE for layer in self.layers)

    def axis(self, index: int) -> int:
        """An axis counted from the front."""
        return index % max(1, self.numbers.ndim)

    def elements(self) -> list[tuple[int, int]]:
        """Every element as its layer's id and which of its numbers."""
        owners, places = self.owners(self.numbers.ravel())
        return [(id(self.layers[owner]), int(place)) for owner, place in zip(owners, places, strict=True)]

    def owners(self, numbers: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """For each of ``numbers`` which layer it belongs to, and which of that layer's numbers it is."""
        begins = np.cumsum([0, *(layer.size for layer in self.layers[:-1])])
        owners = np.searchsorted(begins, numbers, side="right") - 1
        return owners, numbers - begins[owners]


@dataclass
class State:
    """A state that comes from outside: an argument of forward or a buffer. ``first``: before the first step."""

    layer: Layer
    name: str
    shape: tuple[int, ...]
    first: Floats
    leaf: int | None  # which input of forward it is; None: a buffer
    units: list[tuple[int, int] | None] = field(default_factory=list)  # for each number: id of the GRU, its unit

    def __post_init__(self) -> None:
        self.units = [None] * self.layer.size


@dataclass(frozen=True)
class Call:
    """One operator of the graph: its arguments by their names in its schema, and the shape of its result."""

    name: str  # such as "conv1d"
    overload: str
    path: str  # of the submodule it belongs to
    arguments: dict[str, Any]
    shape: tuple[int, ...]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument that not every overload has."""
        return self.arguments.get(name, default)

    def refuse(self, text: str) -> NoReturn:
        """Raise the one sentence about this operator."""
        raise ImportModelError(f"{self.path}: {text}")

    def wrong_axis(self, text: str) -> NoReturn:
        """As ``refuse``, where other axes of the input may be the right ones."""
        raise WrongAxisError(f"{self.path}: {text}")


class Trace:
    """Layers, growing. ``length``: steps of the traced sequence; None where one call of the module is one step."""

    def __init__(self, layers: Layers, length: int | None) -> None:
        self.layers, self.length = layers, length
        self.states: list[State] = []
        self._known: dict[tuple[tuple[int, ...], bytes], Layer] = {}

    def layer(self, call: Call, value: Value) -> Layer:
        """One layer that gives the numbers of ``value`` in their order."""
        if value.is_state:
            names = [state.name for state in self.states if any(state.layer is layer for layer in value.layers)]
            call.wrong_axis(f"{call.name} reads {names[0]}, expected one input, and others only as states of GRUs")
        flat = value.numbers.ravel()
        key = (tuple(id(layer) for layer in value.layers), flat.tobytes())
        if key not in self._known:
            self._known[key] = self._gather(value, flat)
        return self._known[key]

    def _gather(self, value: Value, flat: NDArray[np.intp]) -> Layer:
        owners, places = value.owners(flat)
        ends = [*np.flatnonzero(np.diff(owners)) + 1, len(flat)]
        runs = list(itertools.pairwise([0, *ends]))
        used = sorted({int(owner) for owner in owners})
        if len(runs) > len(used):  # numbers of several layers between each other
            whole = self.layers.concatenate([value.layers[owner] for owner in used])
            begins = dict(zip(used, np.cumsum([0, *(value.layers[owner].size for owner in used)]), strict=False))
            return self.layers.select(whole, [begins[int(o)] + int(p) for o, p in zip(owners, places, strict=True)])
        return self.layers.concatenate([self._part(value.layers[int(owners[a])], places[a:b]) for a, b in runs])

    def _part(self, layer: Layer, places: NDArray[np.intp]) -> Layer:
        whole = len(places) == layer.size and bool((places == np.arange(layer.size)).all())
        return layer if whole else self.layers.select(layer, [int(place) for place in places])

    def fresh(self, value: Value, layer: Layer, shape: Sequence[int] | None = None) -> Value:
        """The value of a new layer, at the steps of ``value``; ``shape``: of its numbers, if not those of ``value``."""
        shape = value.numbers.shape if shape is None else shape
        return replace(value, layers=(layer,), numbers=np.arange(layer.size).reshape(shape), zeros=False)

    def pointwise(self, call: Call, value: Value, function: Callable[[Layer], Layer]) -> Value:
        """``function`` of every number."""
        return self.fresh(value, function(self.layer(call, value)))

    def combine(self, call: Call, left: Value, right: Value, function: Callable[[Layer, Layer], Layer]) -> Value:
        """``function`` of two values, broadcast as torch does."""
        if left.last != right.last:
            call.refuse(f"{call.name} takes the last step and every step together, expected the same steps")
        from_end = [None if v.time is None else v.time - v.numbers.ndim for v in (left, right)]
        if from_end[0] != from_end[1]:
            call.wrong_axis(f"{call.name} takes the steps of one value for the channels of another")
        if left.steps != right.steps:
            call.refuse(
                f"{call.name} takes steps {_shown(left.steps)} and {_shown(right.steps)}, expected the same steps"
            )
        shape = np.broadcast_shapes(left.numbers.shape, right.numbers.shape)
        left, right = broadcast(left, shape), broadcast(right, shape)
        return self.fresh(left, function(self.layer(call, left), self.layer(call, right)))

    def affine(self, call: Call, value: Value, scale: Any, shift: Any) -> Value:
        """scale ⊙ value + shift, for constants that broadcast as torch does."""
        scale, shift = (_at_every_step(call, value, constant) for constant in (scale, shift))
        value = broadcast(value, np.broadcast_shapes(value.numbers.shape, scale.shape, shift.shape))
        scale, shift = (np.broadcast_to(constant, value.numbers.shape).ravel() for constant in (scale, shift))
        return self.pointwise(call, value, lambda layer: self.layers.affine(layer, scale, shift))

    def aligned(self, call: Call, value: Value) -> Value:
        """``value``, if its time axis has exactly the steps of the input."""
        if value.time is not None and self.length is not None and value.steps != range(self.length):
            ahead, behind = value.steps.start, value.steps.stop - self.length
            if ahead > 0 and behind > 0:
                call.refuse(f"step t needs step t + {ahead}, a look ahead, expected convolutions padded in front")
            found = f"steps {_shown(value.steps)} where the input has {_shown(range(self.length))}"
            call.refuse(f"reads {found}, expected convolutions padded in front and no other cut or shift in time")
        return value


def broadcast(value: Value, shape: Sequence[int]) -> Value:
    """``value`` with the numbers' shape ``shape``, axes added in front and those of length 1 repeated."""
    time = None if value.time is None else value.time + len(shape) - value.numbers.ndim
    return replace(value, numbers=np.broadcast_to(value.numbers, shape), time=time)


def _at_every_step(call: Call, value: Value, constant: Any) -> Floats:
    """A constant, if it is the same at every step: of length 1 along time."""
    array = np.asarray(constant, np.float64)
    axis = -1 if value.time is None else array.ndim + value.time - value.numbers.ndim
    if axis < 0 or array.shape[axis] == 1:
        return array
    first = array.take([0], axis)
    if not (array == first).all():
        call.refuse(f"{call.name} takes a constant that differs from step to step, expected one for all steps")
    return first


def _shown(steps: range) -> str:
    return f"{steps.start} to {steps.stop - 1}"
