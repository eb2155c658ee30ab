"""Engine for exported ``.onnx`` files: ONNX Runtime, one thread, buffers bound once per stream."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgegru_runtime.errors import ArtifactError, EngineError
from edgegru_runtime.exported import ExportedFile
from edgegru_runtime.foreign import check_finite, first_line

_DTYPES = {"float32": ("tensor(float)", np.float32), "int32": ("tensor(int32)", np.int32)}
_Signature = dict[str, tuple[str, tuple[Any, ...]]]  # type and shape by name
_FATAL = 4  # the least that ONNX Runtime can be told to log; what it raises is reported by us


class OnnxState:
    """The buffers of one stream: h twice, because a step reads the one and writes the other."""

    def __init__(self, engine: OnnxRuntimeEngine) -> None:
        self.x = np.zeros(engine.x_shape, np.float32)
        self.outputs = [np.zeros(shape, np.float32) for shape in engine.output_shapes]
        self.h = [[np.zeros((1, size), engine.state_dtype) for size in engine.state_sizes] for _ in range(2)]
        self.current = 0  # which of the two is the state
        self.bindings = [engine.bind(self, reads, 1 - reads) for reads in range(2)]


class OnnxRuntimeEngine:
    """Runs an exported file of either form; a sequence is driven one step at a time."""

    name = "onnxruntime"

    def __init__(self, source: ExportedFile) -> None:
        """Raises ArtifactError where the file is no ONNX model, or not the one its metadata describes."""
        self._source = source
        config = source.inner
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _FATAL
        try:
            # Without enable_fallback=0 it prints, and tries the same again.
            session = onnxruntime.InferenceSession(
                source.path, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            inputs, outputs = _signature(session.get_inputs()), _signature(session.get_outputs())
        except Exception as error:  # its exception classes have no common base of their own
            raise ArtifactError(f"{source.path}: ONNX Runtime refuses it: {first_line(error)}") from error
        self._session = session
        if source.state_dtype not in _DTYPES or source.state != "io":
            raise ArtifactError(f"{source.path}: a state of {source.state_dtype} in {source.state} is not ONNX's")
        type_name, self.state_dtype = _DTYPES[source.state_dtype]
        time = (1,) if source.form == "sequence" else ()
        sizes = [config.node(output.node).output_size for output in config.outputs]
        self.x_shape = (*time, 1, config.input.step_size)
        self.output_shapes = [(*time, 1, size) for size in sizes]
        self.output_names = ["y" if index == 0 else f"y{index}" for index in range(len(sizes))]
        self.state_sizes = [node.state_size for node in config.state_nodes]

        state_shapes = [(1, size) for size in self.state_sizes]
        floats = {"x": ("tensor(float)", self.x_shape)}
        states_in = {names[0]: (type_name, shape) for names, shape in zip(source.states, state_shapes, strict=True)}
        states_out = {names[1]: (type_name, shape) for names, shape in zip(source.states, state_shapes, strict=True)}
        declared = zip(self.output_names, self.output_shapes, strict=True)
        self._check("inputs", inputs, floats | states_in)
        self._check("outputs", outputs, {name: ("tensor(float)", shape) for name, shape in declared} | states_out)

    def _check(self, what: str, actual: _Signature, expected: _Signature) -> None:
        """Names, types and the fixed dimensions must be those of the metadata; batch and time are names there."""
        if actual.keys() == expected.keys() and all(
            kind == actual[name][0] and _fits(actual[name][1], shape) for name, (kind, shape) in expected.items()
        ):
            return
        raise ArtifactError(f"{self._source.path}: has the {what} {actual}, expected {expected} from its metadata")

    def bind(self, state: OnnxState, reads: int, writes: int) -> Any:
        """A step of ``state`` with all its buffers in place."""
        binding = self._session.io_binding()

        def place(name: str, buffer: NDArray[Any], bind: Any) -> None:
            bind(name, "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)

        place("x", state.x, binding.bind_input)
        for name, output in zip(self.output_names, state.outputs, strict=True):
            place(name, output, binding.bind_output)
        for index, (name, next_name) in enumerate(self._source.states):
            place(name, state.h[reads][index], binding.bind_input)
            place(next_name, state.h[writes][index], binding.bind_output)
        return binding

    def new_state(self) -> OnnxState:
        """The state that a stream begins with: zeros, or what the metadata say."""
        state = OnnxState(self)
        self.load_state(state, self._source.initial)
        return state

    def step(self, state: OnnxState, x: array[float]) -> list[list[float]]:
        """Advance ``state`` by one sample; EngineError, and no step, where the result is not finite."""
        state.x.reshape(-1)[:] = x
        try:
            self._session.run_with_iobinding(state.bindings[state.current])
        except Exception as error:  # as above
            raise EngineError(f"{self._source.path}: ONNX Runtime failed: {first_line(error)}") from error
        check_finite([*state.outputs, *state.h[1 - state.current]])
        state.current = 1 - state.current
        return [output.reshape(-1).tolist() for output in state.outputs]

    def state_arrays(self, state: OnnxState) -> list[bytes]:
        """The states as the file holds them: float32, or int32 with 24 fractional bits."""
        return [h.astype(h.dtype.newbyteorder("<")).tobytes() for h in state.h[state.current]]

    def load_state(self, state: OnnxState, blobs: Sequence[bytes]) -> None:
        """Take over states written by ``state_arrays`` of any engine of this model."""
        for h, blob in zip(state.h[state.current], blobs, strict=True):
            h[0] = np.frombuffer(blob, h.dtype.newbyteorder("<"))

    def clipped(self, state: OnnxState) -> int:
        """Always 0: what saturates inside the file is not counted there."""
        return 0


def _signature(values: Sequence[Any]) -> _Signature:
    return {value.name: (value.type, tuple(value.shape)) for value in values}


def _fits(actual: tuple[object, ...], expected: tuple[int, ...]) -> bool:
    """A dimension of the file is the expected size, or a name and so free."""
    return len(actual) == len(expected) and all(
        size == dimension or (size == 1 and (dimension is None or isinstance(dimension, str)))
        for dimension, size in zip(actual, expected, strict=True)
    )
