"""The graph of torch.export, operator by operator, as layers.

Graphs and not module types are read, since only they say what forward does between its modules: a skip connection, a
slice, an activation called as a function. ``run_decompositions({})`` of torch 2.13 makes them functional (no operator
changes a tensor in place) and still leaves nn.GRU, Linear and the like one operator each.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument
from torch.utils import _pytree as pytree

from edgegru.imports import torch_operators, torch_shapes
from edgegru.imports.layers import Layer, Layers
from edgegru.imports.torch_value import STATE, Call, RightAxesError, State, Trace, Value, WrongAxisError
from edgegru_runtime.errors import ImportModelError

_OPERATORS = {**torch_shapes.OPERATORS, **torch_operators.OPERATORS}
_BY_SHAPE = (
    "zeros_like",
    "ones_like",
    "full_like",
    "new_zeros",
    "new_ones",
    "new_full",
)  # constants, whatever is in it
_GIVEN_BY_CALLS = "lifted_tensor"  # how export calls a constant that stands in forward's text


@dataclass(frozen=True)
class InputAxes:
    """What the axes of the input mean: which is the batch (of 1), which is time; None: there is none. The others are
    channels.
    """

    batch: int | None
    time: int | None


@dataclass(frozen=True)
class Reading:
    """The layers of a program, and where its source finds its outputs: (leaf of what forward returns, axis of time).

    ``next_states``, of a module of one step: a leaf of its arguments → the leaf of its result that is its next value.
    """

    layers: Layers
    outputs: list[tuple[int, int | None]]
    next_states: dict[int, int]


def read_program(program: ExportedProgram, leaf: int, axes: InputAxes, names: Sequence[str | None]) -> Reading:
    """``leaf``: which of forward's arguments is the input; ``names`` of what it returns. Raises ImportModelError."""
    walk = _Walk(program, leaf, axes)
    try:
        return walk.read(names)
    except ImportModelError as error:
        if walk.met_gru and not isinstance(error, WrongAxisError):
            raise RightAxesError(str(error)) from None
        raise


class _Walk:
    def __init__(self, program: ExportedProgram, leaf: int, axes: InputAxes) -> None:
        self._program, self._leaf, self._axes = program, leaf, axes
        self._mutated = set(program.graph_signature.buffers_to_mutate.values())
        self._values: dict[torch.fx.Node, Any] = {}
        self.met_gru = False  # whose time was that of the input
        self._left_over: dict[torch.fx.Node, str] = {}  # tensors that are neither parameters nor buffers

    def read(self, names: Sequence[str | None]) -> Reading:
        nodes = list(self._program.graph.nodes)
        placeholders = [node for node in nodes if node.op == "placeholder"]
        user_inputs = [
            node
            for node, spec in zip(placeholders, self._program.graph_signature.input_specs, strict=True)
            if spec.kind.name == "USER_INPUT"
        ]
        shape = list(user_inputs[self._leaf].meta["val"].shape)
        length = None if self._axes.time is None else shape[self._axes.time]
        if self._axes.time is not None:
            shape[self._axes.time] = 1
        numbers = np.arange(int(np.prod(shape))).reshape(shape)
        self._trace = Trace(Layers(numbers.size), length)
        x = Value((self._trace.layers.x,), numbers, self._axes.time, range(length or 0))
        for node, spec in zip(placeholders, self._program.graph_signature.input_specs, strict=True):
            is_x = node is user_inputs[self._leaf]
            self._values[node] = x if is_x else self._given(node, spec, user_inputs)
        for node in nodes:
            if node.op == "call_function":
                self._values[node] = self._computed(node)
            elif node.op == "get_attr":
                self._values[node] = None  # a subgraph, whose caller is refused
        return self._outputs(nodes[-1].args[0], names)

    def _given(self, node: torch.fx.Node, spec: Any, user_inputs: list[torch.fx.Node]) -> Any:
        """A parameter or other constant, or a state that comes from outside."""
        if spec.kind.name == "USER_INPUT":
            if isinstance(spec.arg, ConstantArgument):
                return spec.arg.value
            tensor = node.meta["val"]
            return self._state(node.name, np.zeros(tuple(tensor.shape)), user_inputs.index(node))
        known = self._program.state_dict
        tensor = known[spec.target] if spec.target in known else self._program.constants[spec.target]
        if not isinstance(tensor, torch.Tensor):
            raise ImportModelError(f"{spec.target} is a {type(tensor).__name__}, expected tensors alone")
        if spec.target in self._mutated and not spec.target.endswith("num_batches_tracked"):  # counts in training mode
            return self._state(spec.target, tensor.detach().cpu().double().numpy(), None)
        if spec.kind.name == "CONSTANT_TENSOR" and not spec.target.split(".")[-1].startswith(_GIVEN_BY_CALLS):
            self._left_over[node] = spec.target
        return tensor.detach().clone()

    def _state(self, name: str, first: Any, leaf: int | None) -> Value:
        layer = Layer(STATE, [], first.size)
        self._trace.states.append(State(layer, name, first.shape, first.ravel(), leaf))
        return Value((layer,), np.arange(first.size).reshape(first.shape))

    def _computed(self, node: torch.fx.Node) -> Any:
        target: Any = node.target
        given: Any = torch.fx.node.map_arg((node.args, node.kwargs), self._values.__getitem__)
        args, kwargs = given
        if target is operator.getitem:
            return args[0][args[1]]
        name, overload = _name(target)
        path = _path(node)
        if not any(isinstance(leaf, Value) for leaf in pytree.tree_leaves((args, kwargs))):
            if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
                raise ImportModelError(f"{path}: {name} draws random numbers, expected the same result at every call")
            return target(*args, **kwargs)
        if name in torch_operators.REFUSED:
            raise ImportModelError(f"{path}: {torch_operators.REFUSED[name]}")
        if name.startswith("_assert"):
            return None
        if name in _BY_SHAPE:
            args = pytree.tree_map_only(Value, lambda value: torch.zeros(value.shape), args)
            return target(*args, **kwargs)
        handler = _OPERATORS.get(name)
        if handler is None:
            expected = "layers and arithmetic of docs/import-pytorch.md"
            raise ImportModelError(f"{path}: computes {name}, which has no equal in a stream, expected {expected}")
        call = Call(name, overload, path, _bound(target, args, kwargs), _shape(node))
        if name in ("gru", "gru_cell"):
            self._check_start(node, call)
        result = handler(self._trace, call)
        self.met_gru = self.met_gru or name in ("gru", "gru_cell")
        if isinstance(result, Value) and result.shape != call.shape:
            call.refuse(f"{name} gives {list(call.shape)}, but was understood as giving {list(result.shape)}")
        return result

    def _check_start(self, node: torch.fx.Node, call: Call) -> None:
        """A GRU must not begin with what an earlier call left in an attribute, such as self.hidden."""
        pending = [node.args[1]]
        while pending:
            source = pending.pop()
            if not isinstance(source, torch.fx.Node):
                continue
            if source in self._left_over and np.any(np.asarray(self._values[source])):
                name = self._left_over[source]
                call.refuse(
                    f"begins with {name}, which an earlier call left in the module, expected None there, or zeros"
                )
            if not isinstance(self._values[source], Value):
                pending.extend(source.all_input_nodes)

    def _outputs(self, arguments: Any, names: Sequence[str | None]) -> Reading:
        trace, values, buffers = self._trace, [], {}
        signature = self._program.graph_signature.output_specs
        for spec, argument in zip(signature, arguments, strict=True):
            value = self._values[argument] if isinstance(argument, torch.fx.Node) else argument
            if spec.kind.name == "USER_OUTPUT":
                values.append(value)
            elif spec.kind.name == "BUFFER_MUTATION":
                buffers[spec.target] = value
            else:
                raise ImportModelError(f"forward changes its argument {spec.target}, expected it to change nothing")
        handed: dict[int, int] = {}  # leaf of the result → of the arguments
        for state in trace.states:
            if state.leaf is None:
                if not self._follows(state, buffers[state.name]):
                    raise ImportModelError(f"buffer {state.name} becomes something else than the last h of a GRU")
                continue
            leaves = [i for i, value in enumerate(values) if i not in handed and self._follows(state, value)]
            if leaves:
                handed[leaves[0]] = state.leaf
            elif trace.length is None and any(state.units):
                raise ImportModelError(f"forward does not return the next {state.name}, expected the new h of its GRU")
        kept = [
            i for i, value in enumerate(values) if value is not None and (i not in handed or len(handed) == len(values))
        ]
        places = []
        for leaf in kept:
            value, call = values[leaf], Call("output", "", f"output {leaf}", {}, ())
            if not isinstance(value, Value):
                call.refuse("does not depend on the input, expected what the model computes")
            layer = trace.layer(call, trace.aligned(call, value))
            trace.layers.output(layer, recording=value.last, name=names[leaf])
            places.append((leaf, value.time))
        return Reading(trace.layers, places, {state: leaf for leaf, state in handed.items()})

    def _follows(self, state: State, value: Any) -> bool:
        """Whether ``value`` is what the state becomes: the last h of every unit, in its place."""
        if not isinstance(value, Value) or value.shape != state.shape or not any(state.units):
            return False
        if not value.last and self._trace.length is not None:
            return False
        return all(unit in (None, element) for unit, element in zip(state.units, value.elements(), strict=True))


def _name(target: Any) -> tuple[str, str]:
    """Of an ATen operator and its overload, or of any other function."""
    if isinstance(target, torch._ops.OpOverload):
        return target._overloadpacket.__name__, target._overloadname
    return getattr(target, "__name__", str(target)), ""


def _bound(target: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name, defaults included."""
    arguments = target._schema.arguments
    given = {argument.name: argument.default_value for argument in arguments}
    given.update({argument.name: value for argument, value in zip(arguments, args, strict=False)})
    return {**given, **kwargs}


def _shape(node: torch.fx.Node) -> tuple[int, ...]:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def _path(node: torch.fx.Node) -> str:
    """The submodule an operator belongs to, such as encoder.gru; forward for what stands in the outermost forward."""
    stack = list((node.meta.get("nn_module_stack") or {"": ("", "")}).values())
    name, kind = stack[-1]
    kind = kind if isinstance(kind, str) else kind.__name__
    return name or (kind.rpartition(".")[2] if kind.startswith("torch.nn.") else "forward")
