"""A PyTorch module, or a program of torch.export, as layers, and torch itself as their source."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils import _pytree as pytree

from edgegru.imports.source import ForeignModel
from edgegru.imports.torch_example import derived_example
from edgegru.imports.torch_graph import InputAxes, Reading, read_program
from edgegru.imports.torch_value import RightAxesError, WrongAxisError
from edgegru_runtime.errors import ImportModelError

TRACED_LENGTH = 11  # steps of the sequence that is traced, where the module takes any number
_OTHER_LENGTHS = (1, 2)  # which a module that takes any number must take too
# What the axes of an input can mean, by how many there are; the likeliest first. Operators along time decide.
_SUPPOSITIONS = {
    0: (InputAxes(None, None),),
    1: (InputAxes(None, 0), InputAxes(0, None), InputAxes(None, None)),
    2: (InputAxes(None, 0), InputAxes(0, None), InputAxes(None, 1), InputAxes(0, 1), InputAxes(1, 0)),
    3: (InputAxes(0, 1), InputAxes(1, 0), InputAxes(0, 2), InputAxes(0, None)),
    4: (InputAxes(0, 1), InputAxes(0, 2), InputAxes(0, 3), InputAxes(1, 0)),
}


def read_module(module: nn.Module | torch.export.ExportedProgram, example: Any) -> ForeignModel:
    """Layers of ``module``; ``example``: a tensor or a tuple of arguments, None where the first layer tells.

    A copy of the module is read, in eval mode and float32; the module is left as it is. Raises ImportModelError.
    """
    if isinstance(module, torch.export.ExportedProgram):
        copied, example = _of_program(module, example)
        format = f"torch.export, PyTorch {torch.__version__}"
    else:
        copied = _of_module(module)
        example = derived_example(copied) if example is None else example
        format = f"{type(module).__name__}, PyTorch {torch.__version__}"
    arguments = example if isinstance(example, tuple) else (example,)
    leaves, structure = pytree.tree_flatten(arguments)
    leaves = [leaf.float() if _is_float(leaf) else leaf for leaf in leaves]
    arguments = pytree.tree_unflatten(leaves, structure)
    _run(copied, arguments, "the example")
    return _read(copied, leaves, structure, format)


def _of_program(program: torch.export.ExportedProgram, example: Any) -> tuple[nn.Module, Any]:
    if example is None:
        if program.example_inputs is None or program.example_inputs[1]:
            raise ImportModelError("the program holds no positional example inputs, expected an example")
        example = tuple(program.example_inputs[0])
    return program.module(), example


def _of_module(module: nn.Module) -> nn.Module:
    """A copy in eval mode, on the CPU, in float32."""
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    if isinstance(module, torch.jit.ScriptModule):
        raise ImportModelError("a TorchScript module was given, expected the nn.Module that it was made from")
    if not isinstance(module, nn.Module):
        raise ImportModelError(
            f"{type(module).__name__} is no module, expected an nn.Module or a program of torch.export"
        )
    memo: dict[int, Any] = {}
    for part in module.modules():  # results of earlier calls kept in attributes, which deepcopy would refuse
        for tensor in pytree.tree_leaves(vars(part)):
            if isinstance(tensor, torch.Tensor) and not tensor.is_leaf:
                memo[id(tensor)] = tensor.detach().clone()
    with _quiet():
        try:
            return copy.deepcopy(module, memo).cpu().float().eval()
        except Exception as error:
            raise ImportModelError(f"the module cannot be copied: {_first_line(error)}") from None


def _read(module: nn.Module, leaves: list[Any], structure: Any, format: str) -> ForeignModel:
    """By the first supposition about the axes that holds; a wrong one is stopped at a GRU at the latest."""
    problems: list[ImportModelError] = []
    for leaf, tensor in enumerate(leaves):
        if not isinstance(tensor, torch.Tensor):
            continue
        for axes in _SUPPOSITIONS.get(tensor.ndim, ()):
            try:
                caller = _caller(module, _Arguments(leaves, structure, leaf, axes))
                program, names = _exported(module, caller)
                reading = read_program(program, leaf, axes, names)
            except RightAxesError:
                raise
            except ImportModelError as error:
                problems.append(error)
            else:
                return ForeignModel(format, reading.layers, _Source(module, caller, reading))
    if not problems:
        raise ImportModelError("the example has no tensor of at most 4 axes, expected (batch, T, channels) or the like")
    for problem in problems:
        if not isinstance(problem, WrongAxisError):
            raise problem
    hint = ""
    if isinstance(module, torch.fx.GraphModule):
        hint = "; expected a program exported with batch 1"
    elif sum(isinstance(leaf, torch.Tensor) for leaf in leaves) > 1:
        hint = "; expected one input, and besides it only states that GRUs begin with"
    raise ImportModelError(f"{problems[0]}{hint}")


@dataclass(frozen=True)
class _Arguments:
    """What forward is called with, for any number of steps: batch 1, states of zeros."""

    leaves: list[Any]
    structure: Any
    leaf: int  # which is the input
    axes: InputAxes
    steps: int | None = None  # the one number of steps that the module takes

    @property
    def channels(self) -> list[int]:
        """The input's axes that are neither batch nor time."""
        shape = self.leaves[self.leaf].shape
        return [size for axis, size in enumerate(shape) if axis not in (self.axes.batch, self.axes.time)]

    def call(self, xs: torch.Tensor, states: dict[int, Any] | None = None) -> Any:
        """All arguments, for xs (T, channels) or, without a time axis, (1, channels)."""
        placed = xs.reshape(len(xs), *self.channels)
        if self.axes.time is None:
            placed = placed[0]
        elif self.axes.batch is None:
            placed = placed.movedim(0, self.axes.time)
        if self.axes.batch is not None:
            time = self.axes.time
            placed = placed.unsqueeze(0)
            if time is not None:
                placed = placed.movedim((0, 1), (self.axes.batch, time))
            else:
                placed = placed.movedim(0, self.axes.batch)
        leaves = [self._state(leaf, xs.dtype) for leaf in self.leaves]
        for index, state in (states or {}).items():
            leaves[index] = state
        given = self.leaves[self.leaf]
        leaves[self.leaf] = placed.contiguous().to(xs.dtype if given.is_floating_point() else given.dtype)
        return pytree.tree_unflatten(leaves, self.structure)

    def _state(self, leaf: Any, dtype: torch.dtype) -> Any:
        """Zeros of batch 1: (layers, batch, H) or (batch, H)."""
        if not isinstance(leaf, torch.Tensor):
            return leaf
        shape = list(leaf.shape)
        if self.axes.batch is not None and 1 < leaf.ndim < 4:
            shape[leaf.ndim - 2] = 1
        return torch.zeros(shape, dtype=dtype if leaf.is_floating_point() else leaf.dtype)

    def drawn(self, length: int) -> Any:
        """Arguments to try: a seeded input of ``length`` steps."""
        size = int(np.prod(self.channels))
        if not self.leaves[self.leaf].is_floating_point():
            return self.call(torch.zeros(length, size))
        return self.call(torch.randn(length, size, generator=torch.Generator().manual_seed(0)))


def _caller(module: nn.Module, arguments: _Arguments) -> _Arguments:
    """``arguments`` with the steps that the module takes. Raises WrongAxisError where it takes none."""
    if arguments.axes.time is None:
        _run(module, arguments.drawn(1), "an input of one step")
        return arguments
    try:
        for length in (*_OTHER_LENGTHS, TRACED_LENGTH):
            _run(module, arguments.drawn(length), f"{length} steps")
    except WrongAxisError:
        steps = arguments.leaves[arguments.leaf].shape[arguments.axes.time]
        if steps == 1:  # a module of one step is read as one, with its state
            raise
        _run(module, arguments.drawn(steps), f"{steps} steps and batch 1")
        return _Arguments(arguments.leaves, arguments.structure, arguments.leaf, arguments.axes, steps)
    return arguments


def _exported(module: nn.Module, arguments: _Arguments) -> tuple[torch.export.ExportedProgram, list[str | None]]:
    """The program, and for every leaf of the module's result the name that a dict or named tuple gives it."""
    length = 1 if arguments.axes.time is None else arguments.steps or TRACED_LENGTH
    given = arguments.drawn(length)
    result = _run(module, given, "an input of batch 1")
    names = [_key(path) for path, _ in pytree.tree_flatten_with_path(result)[0]]
    with _quiet(), torch.no_grad():
        copied = copy.deepcopy(module)
        try:
            return torch.export.export(copied, given, strict=False).run_decompositions({}), names
        except Exception as error:
            raise RightAxesError(_why_not(copied, error)) from None


def _key(path: tuple[Any, ...]) -> str | None:
    if len(path) != 1:
        return None
    name = getattr(path[0], "key", getattr(path[0], "name", None))
    return name if isinstance(name, str) else None


def _why_not(module: nn.Module, error: Exception) -> str:
    """Why torch.export gave up, with the innermost submodule that it was in."""
    paths = {id(part): name for name, part in module.named_modules()}
    path, packed, trace = "", False, error.__traceback__
    while trace is not None:
        local = trace.tb_frame.f_locals
        path = paths.get(id(local.get("self")), path)
        packed = packed or local.get("batch_sizes") is not None
        trace = trace.tb_next
    where = path or "forward"
    if packed or "pack_padded_sequence" in str(error):
        return f"{where}: reads a packed sequence, expected a tensor of one sequence"
    if "data-dependent" in str(error):
        return f"{where}: branches on data, expected the same computation at every step"
    return f"{where}: torch.export cannot trace it: {_first_line(error)}"


def _run(module: nn.Module, arguments: Any, what: str) -> Any:
    """What a fresh copy gives: modules may keep their state in attributes. Raises WrongAxisError where it fails."""
    try:
        with _quiet(), torch.no_grad():
            return copy.deepcopy(module)(*arguments)
    except Exception as error:
        raise WrongAxisError(f"the module cannot be called with {what}: {_first_line(error)}") from None


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.is_floating_point()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings and logs of torch and of the module: what matters becomes an error."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(level)


class _Source:
    """The module, run by torch."""

    def __init__(self, module: nn.Module, arguments: _Arguments, reading: Reading) -> None:
        self.name = f"torch {torch.__version__}"
        self.steps = arguments.steps
        self._module, self._arguments, self._reading = module, arguments, reading
        self.precise = self._takes_double()

    def run(self, xs: NDArray[Any]) -> list[NDArray[Any]]:
        """Every output from a zero state, as ``Source`` says."""
        inputs = torch.from_numpy(xs)
        with _quiet(), torch.no_grad():
            module = copy.deepcopy(self._module)
            if inputs.dtype == torch.float64:
                module = module.double()
            try:
                if self._arguments.axes.time is None:
                    return self._stepped(module, inputs)
                leaves = pytree.tree_leaves(module(*self._arguments.call(inputs)))
            except Exception as error:
                what = f"{self.name} cannot run the module over {len(xs)} steps"
                raise ImportModelError(f"{what}: {_first_line(error)}") from None
        outputs = [(leaves[leaf], time) for leaf, time in self._reading.outputs]
        return [
            output.reshape(-1).numpy() if time is None else output.movedim(time, 0).reshape(len(xs), -1).numpy()
            for output, time in outputs
        ]

    def _stepped(self, module: nn.Module, inputs: torch.Tensor) -> list[NDArray[Any]]:
        """One call a step, each given the states that the last one returned."""
        states: dict[int, Any] = {}
        steps = []
        for x in inputs:
            leaves = pytree.tree_leaves(module(*self._arguments.call(x.unsqueeze(0), states)))
            states = {state: leaves[leaf] for state, leaf in self._reading.next_states.items()}
            steps.append([leaves[leaf].reshape(-1).numpy() for leaf, _ in self._reading.outputs])
        return [np.array(column) for column in zip(*steps, strict=True)]

    def _takes_double(self) -> bool:
        steps = 1 if self._arguments.axes.time is None else self.steps or TRACED_LENGTH
        xs = np.zeros((steps, int(np.prod(self._arguments.channels))))
        try:
            return all(output.dtype == np.float64 for output in self.run(xs))
        except ImportModelError:
            return False
