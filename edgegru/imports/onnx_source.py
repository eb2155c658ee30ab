"""An ONNX file run by ONNX Runtime, or, where that refuses it, by ONNX's own reference, which also takes doubles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops.op_gru import GRU as ReferenceGru

from edgegru.imports.onnx_graph import Node, OnnxGraph
from edgegru.imports.onnx_gru import form
from edgegru.imports.onnx_walk import Axes
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.foreign import first_line

Array = NDArray[Any]
_FATAL = 4  # the least that ONNX Runtime can be told to log; what it raises is reported by us
_OLDEST_IR = 4  # since when initializers need not be inputs too
_EXACT = {  # what ONNX's reference computes in double where it is given doubles, and fast enough
    *(
        "Add",
        "Concat",
        "Constant",
        "Div",
        "Expand",
        "Flatten",
        "GRU",
        "Gather",
        "Gemm",
        "Identity",
        "MatMul",
        "Mul",
        "Neg",
    ),
    *(
        "Relu",
        "Reshape",
        "Shape",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Split",
        "Squeeze",
        "Sub",
        "Tanh",
        "Transpose",
        "Unsqueeze",
    ),
}
_LARGEST_EXACT = 2**24  # numbers of all initializers


@dataclass(frozen=True)
class StateFeed:
    """A state input, what it is at first, and the output that hands it on, "" where a sequence is run in one call."""

    name: str
    start: Array
    next_name: str


@dataclass(frozen=True)
class OutputTake:
    """An output and its axes of time and batch."""

    name: str
    time: int | None
    batch: int | None


@dataclass(frozen=True)
class Call:
    """How the model is called for a sequence."""

    x: str
    dtype: np.dtype[Any]
    axes: Axes
    states: Sequence[StateFeed]
    outputs: Sequence[OutputTake]


def pruned(graph: OnnxGraph, call: Call) -> onnx.ModelProto:
    """The part of a model that a call needs, with external data in it, so that nothing else is ever run."""
    names = [*(output.name for output in call.outputs), *(state.next_name for state in call.states)]
    names = list(dict.fromkeys(filter(None, names)))
    indices = graph.needed(names)
    read = {name for index in indices for name in graph.nodes[index].inputs} | set(names)
    for name in read & set(graph.initializers):
        graph.initializer(name)
    outputs = {value.name: value for value in graph.model.graph.output}
    model = onnx.ModelProto(ir_version=max(graph.model.ir_version, _OLDEST_IR))
    model.opset_import.extend(entry for entry in graph.model.opset_import if entry.domain in ("", "ai.onnx"))
    if not model.opset_import:
        model.opset_import.append(helper.make_opsetid("", graph.opset))
    model.graph.name = "source"
    model.graph.node.extend(graph.nodes[index].proto for index in indices)
    model.graph.initializer.extend(tensor for name, tensor in graph.initializers.items() if name in read)
    model.graph.input.extend(value.proto for value in graph.inputs if value.name in read)
    model.graph.output.extend(outputs[name] for name in names)
    return model


class OnnxSource:
    """A model as its caller runs it: a sequence in one call, or a step in each, its states handed on."""

    def __init__(self, graph: OnnxGraph, call: Call) -> None:
        """Raises ImportModelError where neither ONNX Runtime nor ONNX's reference can run the model."""
        model = pruned(graph, call)
        self._call = call
        self._inputs = {value.name for value in model.graph.input}
        self._run, self.name = _runner(model, doubles=call.dtype == np.float64)
        self.steps = None if call.axes.time is None or call.axes.open_ended else call.axes.shape[call.axes.time]
        count = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
        operators = {node.op_type for node in model.graph.node}
        self.precise = call.dtype == np.float32 and operators <= _EXACT and count <= _LARGEST_EXACT
        self._exact = _Reference(_doubled(model)) if self.precise else None

    def run(self, xs: Array) -> list[Array]:
        """Every output, (T, size) or (size,), of xs (T, channels)."""
        exact = self._exact is not None and xs.dtype == np.float64
        run = self._exact if exact and self._exact is not None else self._run
        dtype = np.dtype(np.float64) if exact else self._call.dtype
        call = self._call
        values = np.rint(xs).astype(dtype) if dtype.kind == "i" else xs.astype(dtype)
        kind = np.float64 if exact else np.float32 if call.dtype.kind == "i" else call.dtype
        states = {state.name: state.start.astype(kind) for state in call.states}
        try:
            if call.axes.time is not None:
                return self._taken(run, self._arranged(values), states, len(xs))[0]
            steps = []
            for x in values:
                outputs, states = self._taken(run, x.reshape(call.axes.shape), states, 1)
                steps.append(outputs)
        except Exception as error:  # ONNX Runtime's and NumPy's have no common base of their own
            raise ImportModelError(f"{self.name} cannot run the model: {first_line(error)}") from error
        return [np.stack(column) for column in zip(*steps, strict=True)]

    def _arranged(self, values: Array) -> Array:
        """(T, channels) with time and batch where the model wants them, every sample the same."""
        axes = self._call.axes
        assert axes.time is not None
        sizes = [size for axis, size in enumerate(axes.shape) if axis not in (axes.time, axes.batch)]
        place = axes.time - (axes.batch is not None and axes.batch < axes.time)
        x = np.moveaxis(values.reshape(len(values), *sizes), 0, place)
        if axes.batch is not None:
            x = np.repeat(np.expand_dims(x, axes.batch), axes.shape[axes.batch], axes.batch)
        return np.ascontiguousarray(x)

    def _taken(self, run: Any, x: Array, states: dict[str, Array], steps: int) -> tuple[list[Array], dict[str, Array]]:
        """Outputs of one call without batch, time first, and the next states."""
        call = self._call
        feeds = {name: array for name, array in {call.x: x, **states}.items() if name in self._inputs}
        results = run(feeds)
        outputs = []
        for output in call.outputs:
            array = np.asarray(results[output.name])
            time = output.time
            if output.batch is not None:
                array = array.take(0, output.batch)
                time = None if time is None else time - (output.batch < time)
            outputs.append(array.reshape(-1) if time is None else np.moveaxis(array, time, 0).reshape(steps, -1))
        following = {
            state.name: np.asarray(results[state.next_name]).reshape(state.start.shape)
            for state in call.states
            if state.next_name
        }
        return outputs, following


def _runner(model: onnx.ModelProto, *, doubles: bool) -> tuple[Any, str]:
    """Something that is called with inputs by name and gives outputs by name, and what it is."""
    if doubles:  # which ONNX Runtime's GRU does not take
        return _Reference(model), "onnx.reference"
    try:
        return _Session(model), "onnxruntime"
    except Exception as refusal:  # as above
        try:
            return _Reference(model), "onnx.reference"
        except Exception:
            raise ImportModelError(f"onnxruntime cannot load the model: {first_line(refusal)}") from refusal


class _Session:
    """ONNX Runtime, one thread."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, feeds: dict[str, Array]) -> dict[str, Array]:
        return dict(zip(self._names, self._session.run(None, feeds), strict=True))


class _Reference:
    """ONNX's reference, whose GRU learns the activations that a node names."""

    def __init__(self, model: onnx.ModelProto) -> None:
        named = onnx.ModelProto()
        named.CopyFrom(model)
        for index, node in enumerate(named.graph.node):  # it takes an output without a name for what is left out later
            names = [name or f"unnamed {index} {place}" for place, name in enumerate(node.output)]
            del node.output[:]
            node.output.extend(names)
        self._evaluator = ReferenceEvaluator(named, new_ops=[GRU])

    def __call__(self, feeds: dict[str, Array]) -> dict[str, Array]:
        with np.errstate(all="ignore"):  # exp(-x) of a large x is what its sigmoid means; NaN is found by who compares
            results = self._evaluator.run(None, feeds)
        return dict(zip(self._evaluator.output_names, results, strict=True))


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid_5": lambda x: np.clip(x / 5 + 0.5, 0, 1),
    "hard_sigmoid_6": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
}


class GRU(ReferenceGru):
    """The reference of onnx, which leaves activations out; the name is the operator's."""

    op_domain = ""

    def __init__(self, node: onnx.NodeProto, run_params: Any) -> None:
        super().__init__(node, run_params)  # type: ignore[no-untyped-call]  # onnx has no types for it
        self._form = form(Node(node))

    def f(self, x: Array) -> Array:
        """Of the gates."""
        return _FUNCTIONS[self._form.gate_activation](x)

    def g(self, x: Array) -> Array:
        """Of the candidate."""
        return _FUNCTIONS[self._form.candidate_activation](x)


def _doubled(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with every float a double."""
    double = onnx.ModelProto()
    double.CopyFrom(model)
    for tensor in double.graph.initializer:
        _widen(tensor)
    for node in double.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen(attribute.t)
    for value in (*double.graph.input, *double.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return double


def _widen(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
