"""Running a model step after step with its own state, and writing down every value."""

from __future__ import annotations

from array import array
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_export.metadata import output_names, state_input_names
from edgegru_runtime.engine import Engine
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.exported import ExportedFile
from edgegru_runtime.fixed_point import STATE_BITS
from edgegru_runtime.foreign import first_line
from edgegru_runtime.model_config import ModelConfig

Trajectory = dict[str, NDArray[np.float64]]  # "y", "y1", …, then "h0", "h1", … → real values (steps, size)


def state_format(config: ModelConfig) -> tuple[str, float]:
    """How ``Engine.state_arrays`` stores the states of this scheme: their NumPy type, and what one unit is worth."""
    return ("<f4", 1.0) if config.scheme == "float32" else ("<i4", 2.0**-STATE_BITS)


def run_steps(
    engine: Engine, config: ModelConfig, inputs: NDArray[np.float32], *, states: bool = True, state: Any = None
) -> Trajectory:
    """All outputs and, unless the engine keeps them to itself, all ``states`` after each row of ``inputs``.

    ``config``: of the model that the engine was built from; its scheme tells how states are stored. ``state``: the
    engine's, where the run begins and which it advances; by default a zero state.
    """
    dtype, unit = state_format(config)
    names = (*output_names(config), *(state_input_names(config) if states else ()))
    columns: dict[str, list[Any]] = {name: [] for name in names}
    state = engine.new_state() if state is None else state
    for sample in inputs:
        values: list[Any] = list(engine.step(state, array("f", sample.tobytes())))
        if states:
            values += [np.frombuffer(blob, dtype) * unit for blob in engine.state_arrays(state)]
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return {name: np.array(column, np.float64) for name, column in columns.items()}


def run_parts(exported: ExportedFile, inputs: NDArray[np.float32], cuts: tuple[int, ...]) -> Trajectory:
    """Run an ONNX file of the sequence form on whole parts of ``inputs``, states carried from part to part.

    ``cuts``: the first step of each part. Outputs come for all steps, states only for the last step of each part.
    """
    import onnxruntime  # a quarter of a second, for this form alone

    config = exported.config
    try:
        session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"], enable_fallback=0)
        wanted = [*output_names(config), *(after for _, after in exported.states)]
        h = {
            before: np.zeros((1, node.hidden_size), np.float32)
            for (before, _), node in zip(exported.states, config.gru_nodes, strict=True)
        }
        parts: list[list[NDArray[Any]]] = []
        for start, stop in pairwise((*cuts, len(inputs))):
            results = session.run(wanted, {"x": inputs[start:stop, None], **h})  # x (time, batch 1, input_size)
            h = dict(zip(h, results[len(config.outputs) :], strict=True))
            parts.append([result.reshape(-1, result.shape[-1]) for result in results])
    except Exception as error:  # ONNX Runtime's exception classes have no common base of their own
        raise ArtifactError(f"{exported.path}: ONNX Runtime refuses it: {first_line(error)}") from error
    names = (*output_names(config), *state_input_names(config))
    columns = zip(*parts, strict=True)
    return {name: np.concatenate(column).astype(np.float64) for name, column in zip(names, columns, strict=True)}
