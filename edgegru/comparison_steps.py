"""What a step of each cell costs in one engine: its recurrent layers as ONNX Runtime's GRU, LSTM and RNN operators.

The kernel of the device knows GRUs only, so this is where the three can be timed side by side; it is timed with them,
to show what the step of the GRU costs there.
"""

from __future__ import annotations

import statistics
import time
from array import array
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgegru.calibration import calibrate
from edgegru.quantization import quantize_artifact
from edgegru_export.gate_order import EDGEGRU, ONNX
from edgegru_export.onnx_float import LINEAR_BEFORE_RESET
from edgegru_export.onnx_graph import IR_VERSION, OPSET
from edgegru_export.stimulus import gaussian_input
from edgegru_runtime import Artifact, Model
from edgegru_runtime.errors import EngineError, QuantizationError

Floats = NDArray[np.float32]
# weight_ih (G·H, I), weight_hh (G·H, H) and, if there are any, bias_ih, bias_hh (G·H,), G gates under each other
Layer = Sequence[Floats]

# The operator of a cell, and its gates in the order in which torch stores them and in which ONNX does.
OPERATORS = {"gru": ("GRU", EDGEGRU, ONNX), "lstm": ("LSTM", "ifgo", "iofg"), "rnn": ("RNN", "h", "h")}
STRETCH = 20  # steps that are timed in one go
_ROUNDS = 200  # turns that each contestant has
_CALIBRATION_STEPS = 1000


def onnx_model(cell: str, layers: Sequence[Layer], reset: str = "after") -> bytes:
    """Layers as torch stores them, one behind the other, as an ONNX file of one step.

    x (1, 1, I), the states h0, h1, … and of an LSTM c0, c1, … (1, 1, H) → the same states, ``_next`` behind their
    names; the last h is the output. ``cell``: "gru", "lstm" or "rnn"; ``reset``: of a GRU, "after" or "before".
    """
    operator, stored, wanted = OPERATORS[cell]
    states = "hc" if cell == "lstm" else "h"
    attributes = {"linear_before_reset": LINEAR_BEFORE_RESET[reset]} if cell == "gru" else {}
    nodes, constants, inputs, outputs, source = [], [], [], [], "x"
    for index, layer in enumerate(layers):
        size = layer[1].shape[1]
        w, r, *biases = (_reordered(rows, stored, wanted) for rows in layer)
        tensors = {"w": w, "r": r, **({"b": np.concatenate(biases, axis=1)} if biases else {})}
        constants += [numpy_helper.from_array(tensor, f"{name}{index}") for name, tensor in tensors.items()]
        before = [f"{state}{index}" for state in states]
        after = [f"{name}_next" for name in before]
        bias = f"b{index}" if "b" in tensors else ""
        operands = (source, f"w{index}", f"r{index}", bias, "", *before)
        nodes.append(helper.make_node(operator, operands, ["", *after], hidden_size=size, **attributes))
        inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 1, size)) for name in before]
        outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 1, size)) for name in after]
        source = after[0]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, layers[0][0].shape[1]))
    graph = helper.make_graph(nodes, "cells", [x, *inputs], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class OnnxSteps:
    """A file of ``onnx_model`` in ONNX Runtime, one thread, the state carried from step to step."""

    def __init__(self, data: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        x, *states = self.session.get_inputs()
        self.x = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
        self.names = [state.name for state in states]
        self.state = [np.zeros(state.shape, np.float32) for state in states]

    def step(self, x: Floats) -> Floats:
        """x (1, 1, I) → h of the last layer (1, 1, H)."""
        self.state = self.session.run(None, {"x": x, **dict(zip(self.names, self.state, strict=True))})
        return self.state[max(index for index, name in enumerate(self.names) if name.startswith("h"))]

    def work(self) -> None:
        """A stretch of steps as a program would make them."""
        run, names, x, state = self.session.run, self.names, self.x, self.state
        for _ in range(STRETCH):
            state = run(None, {"x": x, **dict(zip(names, state, strict=True))})
        self.state = state


class KernelSteps:
    """The artifact of a GRU, whole, in the C kernel. Raises EngineError where the kernel is not installed."""

    def __init__(self, artifact: Artifact) -> None:
        self.stream = Model(artifact, "kernel").stream()
        self.samples = [array("f", x.tobytes()) for x in gaussian_input(artifact, STRETCH)]
        buffers = tuple(array("f", bytes(4 * size)) for size in self.stream.model.output_sizes)
        self.out = buffers if len(buffers) > 1 else buffers[0]

    def work(self) -> None:
        """A stretch of steps as a program would make them."""
        step, out = self.stream.step, self.out
        for x in self.samples:
            step(x, out)


def kernel_steps(artifact: Artifact) -> dict[str, KernelSteps]:
    """A float32 artifact and its integers, by scheme; {} where there is no kernel, or the model cannot be quantized."""
    try:
        ranges = calibrate(artifact, [gaussian_input(artifact, _CALIBRATION_STEPS)])
        integers = quantize_artifact(artifact, ranges, scheme="static-w8a8")
        return {each.config.scheme: KernelSteps(each) for each in (artifact, integers)}
    except (EngineError, QuantizationError):
        return {}


def microseconds(contestants: Mapping[str, OnnxSteps | KernelSteps]) -> dict[str, float]:
    """The median time of a step of each, all of them in turn so that a busy machine disturbs all alike."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(_ROUNDS):
        for name, contestant in contestants.items():
            started = time.perf_counter()
            contestant.work()
            taken[name].append(1e6 * (time.perf_counter() - started) / STRETCH)
    return {name: statistics.median(times) for name, times in taken.items()}


def _reordered(rows: Floats, stored: str, wanted: str) -> Floats:
    """The gates of rows (G·H, …) in another order, and the axis of directions in front that ONNX has."""
    gates = dict(zip(stored, np.split(rows, len(stored)), strict=True))
    return np.concatenate([gates[gate] for gate in wanted])[np.newaxis]
