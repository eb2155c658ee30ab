"""The contestants of step.py that run files of this project, from Python: on the kernel, ONNX Runtime and LiteRT.

Each is a class whose ``run`` is the loop of a program. A sample comes in the form that the contestant takes fastest;
the state goes from step to step; of every output one number is read as a Python float. Where a library documents
several ways to call it, the fastest one is here, or each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from step_models import OUTPUT_SIZE, BareOnnx, BareTflite, Case, Floats

import edgegru_runtime
from edgegru_export import tflite_dynamic, tflite_integer

# Largest errors that are no mistake: of the value, or of the spread of the outputs.
FLOAT_TOLERANCE = 1e-5
INT8_TOLERANCE = 0.06  # int8 weights, values of 8 or 16 bits
INT8_STATE_TOLERANCE = 0.3  # a state of 7 fractional bits
STREAMS = 64


class Peer(ABC):
    """One way to compute a step."""

    tolerance = FLOAT_TOLERANCE
    streams = 1  # that one step advances

    def samples(self, inputs: Floats) -> list[Any]:
        """Rows of inputs (T, input_size) as ``run`` takes them."""
        return list(inputs)

    @abstractmethod
    def run(self, samples: Sequence[Any]) -> NDArray[Any]:
        """Step by step, each output read; the last ones (4,), or (streams, 4)."""

    def largest_error(self, case: Case) -> float:
        """Over the checked steps, closed loop from a zero state; in ``tolerance``'s terms."""
        samples = self.samples(case.inputs[: len(case.expected)])
        found = np.array([self.run([sample]).reshape(-1, OUTPUT_SIZE) for sample in samples], np.float64)
        error = float(np.max(np.abs(found - case.expected[:, np.newaxis])))
        return error if self.tolerance == FLOAT_TOLERANCE else error / case.spread


class KernelStep(Peer):
    """``stream.step(x, out)`` on float32 buffers."""

    def __init__(self, case: Case, scheme: str) -> None:
        """Raises EngineError where the kernel is not installed."""
        self.tolerance = FLOAT_TOLERANCE if scheme == "float32" else INT8_TOLERANCE
        self.model = edgegru_runtime.load(case.artifact_path(scheme), engine="kernel")
        self.stream = self.model.stream()
        self.out = array("f", bytes(4 * OUTPUT_SIZE))

    def samples(self, inputs: Floats) -> list[Any]:
        return [array("f", x.tobytes()) for x in inputs]

    def run(self, samples: Sequence[Any]) -> NDArray[Any]:
        step, out = self.stream.step, self.out
        for x in samples:
            step(x, out)
            out[0]
        return np.array(out)


class KernelLists(KernelStep):
    """``stream.step(x)``: lists in, lists out."""

    def samples(self, inputs: Floats) -> list[Any]:
        result: list[Any] = inputs.tolist()
        return result

    def run(self, samples: Sequence[Any]) -> NDArray[Any]:
        step = self.stream.step
        y: Any = None
        for x in samples:
            y = step(x)
            y[0]
        return np.array(y)


class KernelStreams(KernelStep):
    """``streams.step(xs, out)``: each of 64 streams by a sample."""

    streams = STREAMS

    def __init__(self, case: Case, scheme: str) -> None:
        super().__init__(case, scheme)
        self.many = self.model.streams(STREAMS)
        self.outs = np.zeros((STREAMS, OUTPUT_SIZE), np.float32)

    def samples(self, inputs: Floats) -> list[Any]:
        return [np.tile(x, (STREAMS, 1)) for x in inputs]

    def run(self, samples: Sequence[Any]) -> NDArray[Any]:
        step, outs = self.many.step, self.outs
        for xs in samples:
            step(xs, outs)
            outs.item(0)
        return outs.copy()


class OnnxRuntime(Peer):
    """``session.run`` of the GRU operator: one thread, sequential, nothing that spins, no arena."""

    def __init__(self, case: Case) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = False
        data = BareOnnx(case.float32).to_bytes()
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.h = np.zeros((1, case.hidden_size), np.float32)

    def samples(self, inputs: Floats) -> list[Any]:
        return list(inputs[:, np.newaxis])

    def run(self, samples: Sequence[Any]) -> NDArray[Any]:
        run, names, h, y = self.session.run, ["y", "h0_next"], self.h, self.h
        for x in samples:
            y, h = run(names, {"x": x, "h0": h})
            y.item(0)
        self.h = h
        return np.array(y)


class OnnxRuntimeBinding(OnnxRuntime):
    """``session.run_with_iobinding``: all buffers bound once, two bindings in turn for the state."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.x, self.y = (np.zeros((1, size), np.float32) for size in (case.input_size, OUTPUT_SIZE))
        self.states = [np.zeros_like(self.h) for _ in range(2)]
        self.bindings = [self._bind(*self.states), self._bind(*self.states[::-1])]

    def _bind(self, h: Floats, h_next: Floats) -> Any:
        binding = self.session.io_binding()
        for name, buffer in (("x", self.x), ("h0", h)):
            binding.bind_input(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        for name, buffer in (("y", self.y), ("h0_next", h_next)):
            binding.bind_output(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        return binding

    def samples(self, inputs: Floats) -> list[Any]:
        return list(inputs)

    def run(self, samples: Sequence[Any]) -> NDArray[Any]:
        run, place, read = self.session.run_with_iobinding, self.x[0], self.y.item
        now, then = self.bindings
        for x in samples:
            place[:] = x
            run(now)
            read(0)
            now, then = then, now
        self.bindings = [now, then]
        return self.y.copy()


class LiteRt(Peer):
    """``set_tensor``, ``invoke``, ``get_tensor``: measured to be faster than tensor views and signature runners."""

    def __init__(self, data: bytes, tolerance: float) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.tolerance = tolerance
        self.interpreter = Interpreter(model_content=data, num_threads=1)
        self.interpreter.allocate_tensors()
        x, *states = self.interpreter.get_input_details()
        self.x, self.h = x["index"], [np.zeros(state["shape"], state["dtype"]) for state in states]
        self.places = [detail["index"] for detail in (*states, *self.interpreter.get_output_details())]

    def samples(self, inputs: Floats) -> list[Any]:
        return list(inputs[:, np.newaxis])

    def run(self, samples: Sequence[Any]) -> NDArray[Any]:
        put, invoke, get = self.interpreter.set_tensor, self.interpreter.invoke, self.interpreter.get_tensor
        x_place, (h_place, y_place, next_place), h = self.x, self.places, self.h[0]
        for x in samples:
            put(x_place, x)
            put(h_place, h)
            invoke()
            get(y_place).item(0)
            h = get(next_place)
        self.h = [h]
        return np.array(get(y_place))


class LiteRtVariables(LiteRt):
    """The same with the state in the file's variables: only x and y are copied, one interpreter a stream."""

    def run(self, samples: Sequence[Any]) -> NDArray[Any]:
        put, invoke, get = self.interpreter.set_tensor, self.interpreter.invoke, self.interpreter.get_tensor
        x_place, (y_place,) = self.x, self.places
        for x in samples:
            put(x_place, x)
            invoke()
            get(y_place).item(0)
        return np.array(get(y_place))


def _kernel_peers(scheme: str) -> dict[str, Callable[[Case], Peer]]:
    return {
        f"EdgeGRU {scheme}, step(x, out)": lambda case: KernelStep(case, scheme),
        f"EdgeGRU {scheme}, step(list)": lambda case: KernelLists(case, scheme),
        f"EdgeGRU {scheme}, streams({STREAMS})": lambda case: KernelStreams(case, scheme),
    }


def _litert_peers(
    name: str, tolerance: float, build: Callable[[Case, str], bytes]
) -> dict[str, Callable[[Case], Peer]]:
    return {
        f"LiteRT {name}": lambda case: LiteRt(build(case, "io"), tolerance),
        f"LiteRT {name}, variables": lambda case: LiteRtVariables(build(case, "variables"), tolerance),
    }


FILE_PEERS: dict[str, Callable[[Case], Peer]] = {
    **_kernel_peers("float32"),
    **_kernel_peers("static-w8a8"),
    **_litert_peers("float32", FLOAT_TOLERANCE, lambda case, state: BareTflite(case.float32).build(state)),
    **_litert_peers(
        "dynamic int8", INT8_TOLERANCE, lambda case, state: tflite_dynamic.build(case.artifact("dynamic-w8"), state)
    ),
    **_litert_peers(
        "full int8",
        INT8_STATE_TOLERANCE,
        lambda case, state: tflite_integer.build(case.artifact("static-w8a8"), state, allow_int8_state=True),
    ),
    **_litert_peers(
        "int16", INT8_TOLERANCE, lambda case, state: tflite_integer.build(case.artifact("static-w8a8"), state)
    ),
    "ONNX Runtime float32, run": OnnxRuntime,
    "ONNX Runtime float32, IO binding": OnnxRuntimeBinding,
}
