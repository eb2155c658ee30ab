"""Inputs for verification: drawn like the data the model was made for, always the same for the same model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.artifact import Artifact
from edgegru_runtime.model_config import EmbeddingNode, LogMelNode, StandardiseNode
from edgegru_runtime.operands import operand_limit

CORRELATION = 0.9  # of one step with the next: sensor streams are smooth, and memory is exercised
LEVELS = (0.0, 0.5, 1.0, 2.0, 4.0, 100.0, 1e6)  # in standard deviations; an int8 operand saturates above a few
LONGEST_HOLD = 24  # steps a level is held: long enough for a state to settle near it
LOUDNESS = 1 / 16  # standard deviation of sound, of full scale
SEED = 20240


def gaussian_input(artifact: Artifact, steps: int) -> NDArray[np.float32]:
    """(steps, input_size) in raw units: AR(1), each channel with the mean and standard deviation of the training data.

    In static schemes the values stay inside the range of their operand, as the data's own do; those of an embedding are
    row numbers of its table, in every scheme.
    """
    generator = np.random.default_rng(SEED)
    noise = generator.standard_normal((steps, artifact.config.input.step_size))
    walk = np.empty_like(noise)
    walk[0] = noise[0]
    for step in range(1, steps):
        walk[step] = CORRELATION * walk[step - 1] + np.sqrt(1 - CORRELATION**2) * noise[step]
    return _raw(artifact, walk, inside=True)


def jumping_input(artifact: Artifact, steps: int) -> NDArray[np.float32]:
    """(steps, input_size) in raw units: levels held and left abruptly, on each channel for itself, up to far outside
    the calibrated range, so that integers saturate and every gate is driven to both ends; or beyond the table.
    """
    generator = np.random.default_rng(SEED)
    values = np.empty((steps, artifact.config.input.step_size))
    for channel in range(values.shape[1]):
        step = 0
        while step < steps:
            held = int(generator.integers(1, LONGEST_HOLD + 1))
            values[step : step + held, channel] = generator.choice(LEVELS) * generator.choice((-1.0, 1.0))
            step += held
    return _raw(artifact, values, inside=False)


def remembered_rows(artifact: Artifact, steps: int) -> list[NDArray[np.float32]]:
    """What attention is given to remember before each step, (n, row_size) each: nothing before the first, one row after
    another until half of the steps are done, when there is room for no more. () a step in models without attention.

    Values are drawn like states of an encoder, in static schemes inside the range of their operand; keys from N(0, 1).
    """
    node, config = artifact.config.attention, artifact.config
    if node is None:
        return [np.empty((0, 0), np.float32)] * steps
    generator = np.random.default_rng(SEED)
    reach = 1.0
    if config.static and config.quantization is not None:
        reach = operand_limit(config, node.name) * config.quantization.operand_scale[node.name]
    values = generator.uniform(-reach, reach, (node.length, node.output_size))
    rows = np.concatenate([values, generator.standard_normal((node.length, node.size))], axis=1).astype(np.float32)
    ends = [min(node.length, node.length * 2 * step // max(steps, 1)) for step in range(steps)]
    return [rows[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _raw(artifact: Artifact, values: NDArray[np.float64], *, inside: bool) -> NDArray[np.float32]:
    """Standard deviations in the units of the model's input, ``inside``: kept in the range that it distinguishes."""
    first, quantization = artifact.config.nodes[0], artifact.config.quantization
    if isinstance(first, LogMelNode):  # a usual loudness, and with the largest levels far beyond full scale
        return (values * (first.full_scale * LOUDNESS)).astype(np.float32)
    if isinstance(first, EmbeddingNode):  # a table's middle counts as its mean, a quarter of it as a deviation
        last = first.num_embeddings - 1
        rows = last / 2 + values * (first.num_embeddings / 4)
        return (np.round(np.clip(rows, 0, last)) if inside else rows).astype(np.float32)
    assert isinstance(first, StandardiseNode)
    if inside and artifact.config.static and quantization is not None:
        limit = operand_limit(artifact.config, first.name) * quantization.operand_scale[first.name]
        values = np.clip(values, -limit, limit)
    mean, std = (artifact.array(f"{first.name}.{field}").astype(np.float64) for field in ("mean", "std"))
    largest = np.finfo(np.float32).max
    return np.clip(values * std + mean, -largest, largest).astype(np.float32)
