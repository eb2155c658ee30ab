"""Ranges of the values that become integers, found by streaming recordings through the float model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.artifact import Artifact, expected_operands
from edgegru_runtime.errors import CalibrationError
from edgegru_runtime.model_config import HeadNode, LinearNode, ModelConfig
from edgegru_runtime.reference import Reference


@dataclass(frozen=True)
class Ranges:
    """Largest magnitudes seen: ``operand`` by value name; ``output`` (output_size,) by the linear node an identity
    head reads. ``steps``: how many samples were streamed.
    """

    operand: dict[str, float]
    output: dict[str, NDArray[np.float64]]
    steps: int


def value_outputs(config: ModelConfig) -> tuple[str, ...]:
    """The linear nodes whose values an identity head gives out in their own unit."""
    names = [node.inputs[0] for node in config.nodes if isinstance(node, HeadNode) and node.kind == "identity"]
    return tuple(
        dict.fromkeys(
            name
            for name in names
            if isinstance(node := config.node(name), LinearNode) and node.activation in ("linear", "relu")
        )
    )


def calibrate(artifact: Artifact, recordings: Iterable[NDArray[np.float32]]) -> Ranges:
    """Stream recordings (T, input_size), in raw units, each from a zero state, and observe every operand.

    Raises CalibrationError where the data is empty, constant, not finite or has another number of channels.
    """
    checked = _checked(list(recordings), artifact.config.input.size)
    largest: dict[str, NDArray[np.float64]] = {}

    def observe(name: str, value: NDArray[np.generic]) -> None:
        magnitude = np.abs(value, dtype=np.float64)
        largest[name] = np.maximum(largest[name], magnitude) if name in largest else magnitude

    reference = Reference(artifact, trace=observe)
    for x in checked:
        state = reference.new_state()
        for sample in x:
            reference.step(state, sample)
    return Ranges(
        operand={name: float(np.max(largest[name])) for name in expected_operands(artifact.config)},
        output={name: largest[name] for name in value_outputs(artifact.config)},
        steps=sum(len(x) for x in checked),
    )


def _checked(recordings: Sequence[NDArray[np.float32]], input_size: int) -> Sequence[NDArray[np.float32]]:
    if not any(len(x) for x in recordings):
        raise CalibrationError("the calibration data has no samples, expected at least one recording")
    for index, x in enumerate(recordings):
        if x.ndim != 2 or x.shape[1] != input_size:
            raise CalibrationError(f"calibration recording {index} has shape {x.shape}, expected (steps, {input_size})")
        if not np.all(np.isfinite(x)):
            step = int(np.argwhere(~np.isfinite(x))[0, 0])
            raise CalibrationError(f"calibration recording {index} is not finite at step {step}, expected numbers only")
    first = next(x for x in recordings if len(x))[0]
    if all(np.all(x == first) for x in recordings):
        raise CalibrationError("every sample of the calibration data is the same, expected data like the device's")
    return recordings
