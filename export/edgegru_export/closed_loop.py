"""Running a model step after step with its own state, and writing down every value."""

from __future__ import annotations

from array import array
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_export.metadata import output_names, state_input_names
from edgegru_export.stimulus import remembered_rows
from edgegru_export.tolerances import FLOAT_TOLERANCE
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.engine import Engine
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.exported import ExportedFile
from edgegru_runtime.fixed_point import SAMPLE_BITS, STATE_BITS, TANH_ARGUMENT_BITS
from edgegru_runtime.foreign import first_line
from edgegru_runtime.memory import with_row
from edgegru_runtime.model_config import AttentionNode, ConvolutionNode, LogMelNode, ModelConfig
from edgegru_runtime.operands import operand_scales

Trajectory = dict[str, NDArray[np.float64]]  # "y", "y1", …, then "h0", "h1", … → real values (steps, size)


def state_format(artifact: Artifact) -> tuple[str, list[NDArray[np.float64]]]:
    """How ``Engine.state_arrays`` stores the states of a model: their NumPy type, and what one unit of each number is
    worth, (state_size,) for every state node.
    """
    config = artifact.config
    if not config.static:
        return "<f4", [np.ones(node.state_size) for node in config.state_nodes]
    units = []
    for node in config.state_nodes:
        if isinstance(node, LogMelNode):
            units.append(np.full(node.state_size, node.full_scale * 2.0**-SAMPLE_BITS))
        elif isinstance(node, ConvolutionNode):
            units.append(np.tile(operand_scales(artifact, node.inputs[0]), node.frames))
        elif isinstance(node, AttentionNode):
            value, key = operand_scales(artifact, node.name), [2.0**-TANH_ARGUMENT_BITS] * node.size
            units.append(np.array([1.0, *node.length * [*value, *key]]))
        elif node.unbounded:
            units.append(artifact.array(f"{node.name}.full_scale").astype(np.float64) * 2.0**-STATE_BITS)
        else:
            units.append(np.full(node.state_size, 2.0**-STATE_BITS))
    return "<i4", units


def run_steps(
    engine: Engine,
    artifact: Artifact,
    inputs: NDArray[np.float32],
    *,
    states: bool = True,
    state: Any = None,
    along: Trajectory | None = None,
) -> Trajectory:
    """All outputs and, unless the engine keeps them to itself, all ``states`` after each row of ``inputs``.

    ``artifact``: what the engine computes, or the file it runs was exported from: it tells how states are stored.
    ``state``: the engine's, where the run begins and which it advances; by default a new one. ``along``: another run
    with states, whose state is taken over after a step that left it by more than rounding: the next steps do not
    inherit the difference.
    """
    config = artifact.config
    dtype, units = state_format(artifact)
    names = (*output_names(config), *(state_input_names(config) if states else ()))
    columns: dict[str, list[Any]] = {name: [] for name in names}
    state, given = engine.new_state() if state is None else state, remembered_rows(artifact, len(inputs))
    for step, sample in enumerate(inputs):
        remember(engine, state, config, given[step])
        values: list[Any] = list(engine.step(state, array("f", sample.tobytes())))
        if states:
            blobs = engine.state_arrays(state)
            values += [np.frombuffer(blob, dtype) * unit for blob, unit in zip(blobs, units, strict=True)]
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
        if along is not None:
            there = [along[name][step] for name in state_input_names(config)]
            if any(map(_differ, values[-len(units) :], there)):
                blobs = [(h / unit).astype(dtype).tobytes() for h, unit in zip(there, units, strict=True)]
                engine.load_state(state, blobs)
    return {name: np.array(column, np.float64) for name, column in columns.items()}


def remember(engine: Engine, state: Any, config: ModelConfig, rows: NDArray[np.float32]) -> None:
    """Give the state of an engine these rows (n, row_size) for attention."""
    node = config.attention
    if node is None or not len(rows):
        return
    blobs, place = engine.state_arrays(state), config.state_nodes.index(node)
    for row in rows:
        blobs[place], _ = with_row(config, node, blobs[place], array("f", row.tobytes()))
    engine.load_state(state, blobs)


def _differ(found: NDArray[np.float64], there: NDArray[np.float64]) -> bool:
    largest = max(1.0, float(np.max(np.abs(there))))
    return bool(np.max(np.abs(found - there)) > FLOAT_TOLERANCE * largest)


def run_parts(exported: ExportedFile, inputs: NDArray[np.float32], cuts: tuple[int, ...]) -> Trajectory:
    """Run an ONNX file of the sequence form on whole parts of ``inputs``, states carried from part to part.

    ``cuts``: the first step of each part. Outputs come for all steps, states only for the last step of each part.
    """
    import onnxruntime  # a quarter of a second, for this form alone

    config = exported.inner
    try:
        session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"], enable_fallback=0)
        wanted = [*output_names(config), *(after for _, after in exported.states)]
        h = {
            before: np.frombuffer(initial, "<f4").astype(np.float32)[None]
            for (before, _), initial in zip(exported.states, exported.initial, strict=True)
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
