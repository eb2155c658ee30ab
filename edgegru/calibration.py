"""Ranges of the values that become integers, found by streaming recordings through the float model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegru.observers import OBSERVERS, Observer, new_observer
from edgegru_runtime.artifact import Artifact, expected_operands, is_offset
from edgegru_runtime.errors import CalibrationError
from edgegru_runtime.model_config import HeadNode, LinearNode, ModelConfig
from edgegru_runtime.reference import Reference


@dataclass(frozen=True)
class Ranges:
    """What was seen: an observer of every operand by value name; the largest magnitudes ``output`` (output_size,) by
    the linear node an identity head reads, without the bias where that is in ``offsets``. ``steps``: how many samples
    were streamed.
    """

    observer: str
    operand: dict[str, Observer]
    output: dict[str, NDArray[np.float64]]
    offsets: frozenset[str]
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


def calibrate(artifact: Artifact, recordings: Iterable[NDArray[np.float32]], observer: str = "minmax") -> Ranges:
    """Stream recordings (T, input_size), in raw units, each from a zero state, and observe every operand.

    ``observer``: one of ``observers.OBSERVERS``. Raises CalibrationError for any other, and where the data is empty,
    constant, not finite or has another number of channels.
    """
    if observer not in OBSERVERS:
        raise CalibrationError(f"unknown observer {observer!r}, expected one of {', '.join(OBSERVERS)}")
    checked = _checked(list(recordings), artifact.config.input.size)
    operands = {name: new_observer(observer) for name in expected_operands(artifact.config)}
    nodes = [artifact.config.node(name) for name in value_outputs(artifact.config)]
    outputs = {node.name: np.zeros(node.output_size) for node in nodes}
    offsets = {
        name: artifact.array(f"{name}.bias").astype(np.float64) for name in outputs if is_offset(artifact.config, name)
    }

    def observe(name: str, value: NDArray[np.generic]) -> None:
        if name in operands or name in outputs:
            magnitudes = np.abs(value, dtype=np.float64)
            if name in operands:
                operands[name].observe(magnitudes)
            if name in outputs:
                moved = np.abs(value - offsets[name]) if name in offsets else magnitudes
                np.maximum(outputs[name], moved, out=outputs[name])

    reference = Reference(artifact, trace=observe)
    for x in checked:
        state = reference.new_state()
        for sample in x:
            reference.step(state, sample)
    return Ranges(observer, operands, outputs, frozenset(offsets), steps=sum(len(x) for x in checked))


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
