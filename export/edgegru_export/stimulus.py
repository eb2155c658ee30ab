"""Inputs for verification: drawn like the data the model was made for, always the same for the same model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.artifact import Artifact
from edgegru_runtime.model_config import StandardiseNode

CORRELATION = 0.9  # of one step with the next: sensor streams are smooth, and memory is exercised
LEVELS = (0.0, 0.5, 1.0, 2.0, 4.0, 100.0, 1e6)  # in standard deviations; an int8 operand saturates above a few
LONGEST_HOLD = 24  # steps a level is held: long enough for a state to settle near it
SEED = 20240


def gaussian_input(artifact: Artifact, steps: int) -> NDArray[np.float32]:
    """(steps, input_size) in raw units: AR(1), each channel with the mean and standard deviation of the training data.

    For integer schemes the values stay inside the calibrated range, as the data's own do.
    """
    generator = np.random.default_rng(SEED)
    noise = generator.standard_normal((steps, artifact.config.input.size))
    walk = np.empty_like(noise)
    walk[0] = noise[0]
    for step in range(1, steps):
        walk[step] = CORRELATION * walk[step - 1] + np.sqrt(1 - CORRELATION**2) * noise[step]
    if artifact.config.quantization is not None:
        limit = 127 * artifact.config.quantization.operand_scale[_standardise(artifact).name]
        walk = np.clip(walk, -limit, limit)
    return _raw(artifact, walk)


def jumping_input(artifact: Artifact, steps: int) -> NDArray[np.float32]:
    """(steps, input_size) in raw units: levels held and left abruptly, on each channel for itself, up to far outside
    the calibrated range, so that integers saturate and every gate is driven to both ends.
    """
    generator = np.random.default_rng(SEED)
    values = np.empty((steps, artifact.config.input.size))
    for channel in range(values.shape[1]):
        step = 0
        while step < steps:
            held = int(generator.integers(1, LONGEST_HOLD + 1))
            values[step : step + held, channel] = generator.choice(LEVELS) * generator.choice((-1.0, 1.0))
            step += held
    return _raw(artifact, values)


def _standardise(artifact: Artifact) -> StandardiseNode:
    return next(node for node in artifact.config.nodes if isinstance(node, StandardiseNode))


def _raw(artifact: Artifact, standardised: NDArray[np.float64]) -> NDArray[np.float32]:
    name = _standardise(artifact).name
    mean, std = (artifact.array(f"{name}.{field}").astype(np.float64) for field in ("mean", "std"))
    largest = np.finfo(np.float32).max
    return np.clip(standardised * std + mean, -largest, largest).astype(np.float32)
