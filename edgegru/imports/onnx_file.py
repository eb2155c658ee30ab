"""ONNX: a graph of GRU nodes and what exporters put around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from edgegru.imports.onnx_graph import Node, OnnxGraph
from edgegru.imports.onnx_gru import form
from edgegru.imports.onnx_loading import Tensors, load_model
from edgegru.imports.onnx_node import single_node
from edgegru.imports.onnx_patterns import recognised
from edgegru.imports.onnx_roles import Roles, find_roles
from edgegru.imports.onnx_source import Call, OnnxSource, OutputTake, StateFeed
from edgegru.imports.onnx_values import AxesError, Signal
from edgegru.imports.onnx_walk import OPEN_LENGTH, Axes, Walk
from edgegru.imports.source import ForeignModel, Options
from edgegru_export.metadata import METADATA_KEY
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.exported import read_exported

_LARGEST_INPUT = 2**20  # numbers of x in one call, with OPEN_LENGTH steps
_REFUSED = {
    "LSTM": "is an LSTM, expected GRU",
    "RNN": "is a plain recurrent layer, expected GRU",
    "Loop": "is a loop over an inner graph, expected GRU nodes",
    "Scan": "is a loop over an inner graph, expected GRU nodes",
    "If": "chooses between inner graphs, expected one graph without a choice",
}


def read(path: Path, options: Options) -> ForeignModel:
    """The model in ``path``, or, with ``options.node``, one GRU of it. Raises ImportModelError."""
    model, tensors = load_model(path), Tensors(path.parent)
    graph = OnnxGraph(model, tensors)
    producer = " ".join(filter(None, (model.producer_name, model.producer_version)))[:60]
    if options.node is not None:
        graph = OnnxGraph(single_node(graph, options.node), tensors)
    walk, roles = _walked(recognised(graph), _own_starts(path, model))
    call = _call(graph, roles, walk)
    parts = [f"ONNX opset {graph.opset}", producer, f"node {options.node}" if options.node else ""]
    return ForeignModel(", ".join(filter(None, parts)), walk.layers, OnnxSource(graph, call))


def _own_starts(path: Path, model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """What the states of a file that we exported begin with, by its metadata. ONNX itself has no word for it."""
    if not any(entry.key == METADATA_KEY for entry in model.metadata_props):
        return {}
    exported = read_exported(path)
    if exported.state_dtype != "float32":
        return {}
    return {names[0]: np.frombuffer(blob, "<f4") for names, blob in zip(exported.states, exported.initial, strict=True)}


def _walked(graph: OnnxGraph, starts: Mapping[str, np.ndarray]) -> tuple[Walk, Roles]:
    """The first reading of the input's axes with which the whole graph makes sense."""
    if not graph.outputs:
        raise ImportModelError("the graph has no outputs, expected one or more")
    needed = graph.needed(graph.outputs)
    nodes = [graph.nodes[index] for index in needed]
    for node in nodes:
        if node.operator in _REFUSED and not node.domain:
            raise ImportModelError(f"{node} {_REFUSED[node.operator]}")
    grus = [node for node in nodes if node.operator == "GRU" and not node.domain]
    if not grus:
        kinds = ", ".join(sorted({f"{node.domain}:{node.operator}".lstrip(":") for node in nodes}))
        raise ImportModelError(f"the graph has no node of type GRU, but {kinds[:200]}")
    for node in grus:
        form(node)
    roles = find_roles(graph, grus, needed, starts)
    failures: list[tuple[tuple[bool, int], ImportModelError]] = []
    constants: dict[int, list[np.ndarray]] = {}
    for axes in _readings(graph, roles, grus):
        done: set[int] = set()
        try:
            walk = Walk(graph, roles, axes, constants, done)
            walk.compute(graph.outputs)
            _call(graph, roles, walk)
        except ImportModelError as error:
            failures.append(((not isinstance(error, AxesError), len(done)), error))
        else:
            return walk, roles
    raise max(failures, key=lambda failure: failure[0])[1]  # the reading that went furthest is the one that was meant


def _readings(graph: OnnxGraph, roles: Roles, grus: Sequence[Node]) -> Iterator[Axes]:
    """Which axes of x may be time and batch, the likely ones first: dynamic time, a step at a time, fixed time."""
    x = roles.x
    if x.dtype is None:
        raise ImportModelError(f"the input {x.name} is of a type other than float32, float64, int64 and int32")
    if not x.dims:
        raise ImportModelError(f"the input {x.name} has no shape, expected one with axes for time and channels")
    dims = x.dims
    dynamic = [axis for axis, size in enumerate(dims) if size is None]
    fixed = [axis for axis, size in enumerate(dims) if size is not None]
    times = [*dynamic, None, *sorted(fixed, key=lambda axis: dims[axis] == 1)]
    for time in times:
        length = 1 if time is None else dims[time] or OPEN_LENGTH
        for shape in _shapes(graph, roles, grus, time, length):
            if np.prod([float(size) for size in shape]) > _LARGEST_INPUT * length:
                raise ImportModelError(f"the input {x.name} has more than {_LARGEST_INPUT:,} numbers a step")
            batches = [axis for axis in fixed if axis != time and shape[axis] > 1]
            for batch in (None, *batches):
                yield Axes(shape, time, batch, time is not None and dims[time] is None)


def _shapes(
    graph: OnnxGraph, roles: Roles, grus: Sequence[Node], time: int | None, length: int
) -> Iterator[tuple[int, ...]]:
    """Dynamic axes are a batch of 1, or, where no other axis is, the features that the first GRU takes."""
    dims = roles.x.dims or ()
    shape = [length if axis == time else size or 1 for axis, size in enumerate(dims)]
    yield tuple(shape)
    w = graph.initializers.get(grus[0].inputs[1]) if len(grus[0].inputs) > 1 else None
    if w is None or len(w.dims) != 3 or any(size > 1 for axis, size in enumerate(shape) if axis != time):
        return
    for axis in reversed(range(len(dims))):
        if axis != time and dims[axis] is None:
            yield tuple(int(w.dims[2]) if place == axis else size for place, size in enumerate(shape))


def _call(graph: OnnxGraph, roles: Roles, walk: Walk) -> Call:
    """Outputs declared, states left out, and how the file is run. Raises ImportModelError for outputs of no step."""
    step = walk.axes.time is None
    handed_on = {name: _next_state(graph, roles, walk, name) for name in roles.states}
    read = {name for index in walk.done for name in graph.nodes[index].inputs}
    lost = next((name for name, output in handed_on.items() if step and not output and name in read), None)
    if lost is not None:
        raise ImportModelError(f"no output hands the state {lost} on to the next step")
    kept = [name for name in graph.outputs if name not in handed_on.values()] or graph.outputs
    takes = []
    walk.layers.outputs.clear()
    for name in kept:
        signal = walk.values[name]
        if not isinstance(signal, Signal) or signal.row or signal.lead or signal.trail:
            raise ImportModelError(f"output {name} is no value of the steps, expected what layers compute")
        cells = walk.resolved(signal.cells) if step else signal.cells
        walk.layers.output(walk.table.layer(cells), recording=signal.last, name=name)
        takes.append(OutputTake(name, signal.time, signal.batch))
    states = [
        StateFeed(name, roles.state_start(name, walk.batch), handed_on[name] or "" if step else "")
        for name in roles.states
        if name in read
    ]
    assert roles.x.dtype is not None
    return Call(roles.x.name, roles.x.dtype, walk.axes, states, takes)


def _next_state(graph: OnnxGraph, roles: Roles, walk: Walk, state: str) -> str | None:
    """The output that hands a state on: what the GRUs that begin with it end with, or else by its name and shape."""
    signal = walk.values[state]
    assert isinstance(signal, Signal)
    cells = signal.cells.reshape(-1).tolist()
    likely = roles.next_states.get(state)
    if not any(cell in walk.begins for cell in cells):
        return likely
    for name in sorted(graph.outputs, key=lambda name: name != likely):
        value = walk.values.get(name)
        if not isinstance(value, Signal) or value.time is not None or value.cells.size != len(cells):
            continue
        ends = value.cells.reshape(-1).tolist()
        if all(set(walk.begins.get(cell, ())) == {end} for cell, end in zip(cells, ends, strict=True)):
            return str(name)
    return None
