"""Running and damaging ONNX files, and the models they are made of, for several tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper

from edgegru_runtime import fixed_point as fx
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.model_config import ACTIVATIONS, GATE_ACTIVATIONS, ConvolutionNode
from edgegru_runtime.operands import operand_limit
from tests.builders import quantized, random_artifact

LINEAR = st.none() | st.tuples(st.integers(1, 17), st.sampled_from(ACTIVATIONS))
SHAPES: dict[str, st.SearchStrategy[Any]] = {
    "input_size": st.integers(1, 13),
    "hidden_sizes": st.lists(st.integers(3, 65), min_size=1, max_size=3).map(tuple),
    "output_size": st.integers(1, 9),
    "reset": st.sampled_from(["after", "before"]),
    "bias": st.booleans(),
    "gates": st.sampled_from(GATE_ACTIVATIONS),
    "head": st.sampled_from(["softmax", "sigmoid", "identity"]),
    "input_linear": LINEAR,
    "hidden_linear": LINEAR,
}


def quantized_artifact(
    seed: int = 0,
    input_size: int = 3,
    hidden_sizes: tuple[int, ...] = (5,),
    *,
    scheme: str = "static-w8a8",
    **shape: Any,
) -> Artifact:
    """``random_artifact``, quantized."""
    return quantized(random_artifact(seed, input_size, hidden_sizes, **shape), scheme)


def session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def feeds(x: NDArray[np.float32], states: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {"x": x, **{f"h{index}": h for index, h in enumerate(states)}}


def random_states(artifact: Artifact, batch: int, seed: int = 0) -> list[NDArray[Any]]:
    """The states (batch, state_size) in the artifact's own format, integers over their whole range."""
    generator = np.random.default_rng(seed)
    states: list[NDArray[Any]] = []
    for node in artifact.config.state_nodes:
        shape = (batch, node.state_size)
        if not artifact.config.static:
            states.append(generator.uniform(-1, 1, shape).astype(np.float32))
            continue
        limit = 2**24
        if isinstance(node, ConvolutionNode):
            limit = operand_limit(artifact.config, node.inputs[0])
        elif node.unbounded:
            limit = fx.VALUE_LIMIT
        states.append(generator.integers(-limit, limit + 1, shape).astype(np.int32))
    return states


def change_constant(path: Path, name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """Rewrite one constant of a file."""
    model = onnx.load(path)
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))
    onnx.save(model, path)


def flip_formulation(path: Path) -> None:
    """The other ``linear_before_reset`` in every GRU operator."""
    model = onnx.load(path)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "linear_before_reset":
                attribute.i = 1 - attribute.i
    onnx.save(model, path)


def swap_first_gates(axis: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Exchange the first two thirds along ``axis``."""

    def swap(rows: NDArray[Any]) -> NDArray[Any]:
        first, second, third = np.split(rows, 3, axis)
        return np.concatenate([second, first, third], axis)

    return swap
