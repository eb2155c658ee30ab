"""Engine for exported ``.tflite`` files: LiteRT, or the older tflite-runtime where only that is installed."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.errors import ArtifactError, EngineError, StateError
from edgegru_runtime.exported import ExportedFile
from edgegru_runtime.fixed_point import ARGUMENT_LIMIT, STATE_BITS, VALUE_LIMIT
from edgegru_runtime.foreign import check_finite, first_line
from edgegru_runtime.integer_arithmetic import coarser
from edgegru_runtime.model_config import AttentionNode, GruNode, ModelConfig, StateNode
from edgegru_runtime.operands import operand_limit

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:  # 32-bit Raspberry Pis have only this one; its ImportError names it
    from tflite_runtime.interpreter import Interpreter

STEP, RESET = "step", "reset"  # the file's signatures


class _Session:
    """One interpreter, with the places of the tensors of one step."""

    def __init__(self, source: ExportedFile) -> None:
        self.path = source.path
        config = source.inner
        outputs = [config.node(output.node).output_size for output in config.outputs]
        sizes = [node.state_size for node in config.state_nodes]
        floats = np.dtype(np.float32)
        expected_in = {"x": (config.input.step_size, floats)}
        expected_out = {"y" if index == 0 else f"y{index}": (size, floats) for index, size in enumerate(outputs)}
        if source.state == "io":
            state_dtype = np.dtype(source.state_dtype)
            expected_in |= {before: (n, state_dtype) for (before, _), n in zip(source.states, sizes, strict=True)}
            expected_out |= {after: (n, state_dtype) for (_, after), n in zip(source.states, sizes, strict=True)}
        try:
            self.interpreter = Interpreter(model_path=source.path, num_threads=1)
            self.interpreter.allocate_tensors()
            step = self.interpreter.get_signature_runner(STEP)
            found_in, found_out = step.get_input_details(), step.get_output_details()
            if source.state == "variables":
                self.interpreter.get_signature_runner(RESET)()
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"{source.path}: LiteRT refuses it: {first_line(error)}") from error
        self.x, *self.states = self._places("inputs", found_in, expected_in)
        places = self._places("outputs", found_out, expected_out)
        self.outputs, self.next_states = places[: len(outputs)], places[len(outputs) :]

    def _places(self, what: str, found: dict[str, Any], expected: dict[str, tuple[int, np.dtype[Any]]]) -> list[int]:
        actual = {name: (tuple(value["shape"]), np.dtype(value["dtype"])) for name, value in found.items()}
        if actual != {name: ((1, size), dtype) for name, (size, dtype) in expected.items()}:
            seen = {name: f"{dtype} {shape}" for name, (shape, dtype) in actual.items()}
            wanted = {name: f"{dtype} (1, {size})" for name, (size, dtype) in expected.items()}
            raise ArtifactError(f"{self.path}: has the {what} {seen}, expected {wanted} from its metadata")
        return [found[name]["index"] for name in expected]

    def run(self, x: array[float], h: list[NDArray[Any]]) -> tuple[list[list[float]], list[NDArray[Any]]]:
        """Outputs and next states, (1, H) each; none where the file holds the states itself."""
        interpreter = self.interpreter
        try:
            interpreter.set_tensor(self.x, np.array(x, np.float32)[None])
            for place, value in zip(self.states, h, strict=True):
                interpreter.set_tensor(place, value)
            interpreter.invoke()
            outputs = [interpreter.get_tensor(place)[0].tolist() for place in self.outputs]
            return outputs, [interpreter.get_tensor(place) for place in self.next_states]
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"{self.path}: LiteRT failed: {first_line(error)}") from error


class LitertState:
    """h of one stream, (1, H) each; or, for a file that holds them as variables, the stream's own interpreter."""

    def __init__(self, h: list[NDArray[Any]], session: _Session) -> None:
        self.h, self.session = h, session


class LitertEngine:
    """Runs an exported file with its states as inputs and outputs, or as variables.

    An interpreter works for one caller at a time, so streams with their states outside take turns at a common one.
    """

    name = "litert"

    def __init__(self, source: ExportedFile) -> None:
        """Raises ArtifactError where the file is no TFLite model, or not the one its metadata describes."""
        self._source = source
        self._turn = Lock()
        self._limits = [_saved_limit(source.inner, node) for node in source.inner.state_nodes if source.inner.static]
        try:
            self._session = _Session(source)
        except ImportError as error:  # tflite-runtime with a NumPy that it was not built for says so only here
            raise EngineError(f"engine litert cannot start: {error}") from error

    def new_state(self) -> LitertState:
        """The state that a stream begins with: zeros, or what the metadata say; variables hold it themselves."""
        if self._source.state == "variables":
            return LitertState([], _Session(self._source))
        state = LitertState([], self._session)
        self.load_state(state, self._source.initial)
        return state

    def step(self, state: LitertState, x: array[float]) -> list[list[float]]:
        """Advance ``state`` by one sample; EngineError, and no step, where the next state is not finite."""
        with self._turn:
            outputs, h = state.session.run(x, state.h)
        check_finite(h)
        state.h = h
        return outputs

    def state_arrays(self, state: LitertState) -> list[bytes]:
        """The states as every engine writes them; StateError where the file keeps them to itself."""
        self._check_reachable()
        if self._source.state_dtype == "float32":
            return [h.astype("<f4").tobytes() for h in state.h]
        forms = zip(state.h, self._source.shifts, self._limits, strict=True)
        return [np.clip(h.astype("<i4") << shift, -limit, limit).tobytes() for h, shift, limit in forms]

    def load_state(self, state: LitertState, blobs: Sequence[bytes]) -> None:
        """Take over states of any engine of this model, rounded to what the file holds."""
        self._check_reachable()
        if self._source.state_dtype == "float32":
            state.h = [np.frombuffer(blob, "<f4").astype(np.float32)[None] for blob in blobs]
            return
        dtype = np.dtype(self._source.state_dtype)
        stored = []
        for blob, shift in zip(blobs, self._source.shifts, strict=True):
            stored.append(coarser(np.frombuffer(blob, "<i4"), shift, dtype)[None])
        state.h = stored

    def clipped(self, state: LitertState) -> int:
        """Always 0: what saturates inside the file is not counted there."""
        return 0

    def _check_reachable(self) -> None:
        if self._source.state == "variables":
            raise StateError(
                f"{self._source.path} keeps its state in variables, which cannot be read or set; "
                "expected a file exported with its state as inputs and outputs"
            )


def _saved_limit(config: ModelConfig, node: StateNode) -> int:
    """Where the numbers of a saved state saturate."""
    if isinstance(node, GruNode):
        return VALUE_LIMIT if node.unbounded else 1 << STATE_BITS
    if isinstance(node, AttentionNode):
        return ARGUMENT_LIMIT  # rows are what they are in every file
    return operand_limit(config, node.inputs[0])  # a convolution keeps operands
