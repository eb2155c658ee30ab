"""Ranges of the values that become integers, found by streaming recordings through the float model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegru.front_ends import LogMelFeatures
from edgegru.observers import OBSERVERS, Observer, new_observer
from edgegru_runtime.artifact import Artifact, is_offset
from edgegru_runtime.errors import CalibrationError
from edgegru_runtime.log_mel_tables import table_tensors
from edgegru_runtime.model_config import (
    UNBOUNDED,
    AttentionNode,
    ConvolutionNode,
    GruNode,
    HeadNode,
    LinearNode,
    ModelConfig,
    StandardiseNode,
)
from edgegru_runtime.operands import expected_operands, has_full_scale
from edgegru_runtime.reference import Reference

ROWS = 512  # steps that are collected before observers see them: they are slow to call


@dataclass(frozen=True)
class Ranges:
    """What was seen: an observer of every operand by value name; ``units``: one of every number of a node that has a
    full scale, by node; ``channels``: one of every number that is standardised, about its mean ``centre`` (size,), in
    standardised units; the largest magnitudes ``output`` (output_size,) by the node an identity head reads, without
    the bias where that is in ``offsets``; ``moments``: of what matrices multiply, v vᵀ on average (size, size).
    ``steps``: how many samples were streamed, of ``recordings``.
    """

    observer: str
    operand: dict[str, Observer]
    units: dict[str, list[Observer]]
    channels: list[Observer]
    centre: NDArray[np.float64]
    output: dict[str, NDArray[np.float64]]
    offsets: frozenset[str]
    moments: dict[str, NDArray[np.float64]]
    recordings: int
    steps: int


def value_outputs(config: ModelConfig) -> tuple[str, ...]:
    """The linear and convolution nodes whose values an identity head gives out in their own unit."""
    names = [node.inputs[0] for node in config.nodes if isinstance(node, HeadNode) and node.kind == "identity"]
    return tuple(
        dict.fromkeys(
            name
            for name in names
            if isinstance(node := config.node(name), (LinearNode, ConvolutionNode)) and node.activation in UNBOUNDED
        )
    )


class _Collector:
    """Values step by step on their way to observers, one for all numbers of a value or one for each or none, and into
    ``moment``, where matrices multiply them: the sum of their outer products (size, size).
    """

    def __init__(self, observers: list[Observer], multiplied: bool) -> None:
        self.observers = observers
        self.moment: NDArray[np.float64] | float | None = 0.0 if multiplied else None
        self._rows: list[NDArray[np.generic]] = []

    def take(self, value: NDArray[np.generic]) -> None:
        self._rows.append(value)
        if len(self._rows) == ROWS:
            self.flush()

    def flush(self) -> None:
        """Show the observers what they have not seen yet."""
        if self._rows:
            values = np.array(self._rows, np.float64)
            self._rows = []
            if self.moment is not None:
                self.moment = self.moment + values.T @ values
            if not self.observers:
                return
            magnitudes = np.abs(values)
            columns = magnitudes.T if len(self.observers) > 1 else [magnitudes.reshape(-1)]
            for observer, column in zip(self.observers, columns, strict=True):
                observer.observe(column)


def calibrate(
    artifact: Artifact,
    recordings: Iterable[NDArray[np.float32]],
    observer: str = "minmax",
    rows: Sequence[NDArray[np.float32]] | None = None,
) -> Ranges:
    """Stream recordings (T, input_size), in raw units, each from a reset state, and observe every operand.

    ``observer``: one of ``observers.OBSERVERS``. ``rows``: what attention remembers in each recording, (n, row_size).
    Raises CalibrationError for any other, and where the data is empty,
    constant, not finite or has another number of channels.
    """
    if observer not in OBSERVERS:
        raise CalibrationError(f"unknown observer {observer!r}, expected one of {', '.join(OBSERVERS)}")
    config = artifact.config
    checked = checked_recordings(list(recordings), config.input.step_size)
    operands = {name: new_observer(observer) for name in expected_operands(config)}
    units = {
        node.name: [new_observer(observer) for _ in range(node.output_size)]
        for node in config.nodes
        if has_full_scale(config, node)
    }
    outputs = {name: np.zeros(config.node(name).output_size) for name in value_outputs(config)}
    offsets = {name: artifact.array(f"{name}.bias").astype(np.float64) for name in outputs if is_offset(config, name)}
    multiplied = multiplied_values(config)
    names = dict.fromkeys((*operands, *units, *multiplied))
    collectors = {
        name: _Collector([operands[name]] if name in operands else units.get(name, []), name in multiplied)
        for name in names
        if config.attention is None or name != config.attention.name  # whose rows are looked at, not their means
    }

    def observe(name: str, value: NDArray[np.generic]) -> None:
        if name in collectors:
            collectors[name].take(value)
        if name in outputs:
            moved = np.abs(value - offsets[name] if name in offsets else value)
            np.maximum(outputs[name], moved, out=outputs[name])

    channels, centre = _channels(artifact, checked, observer)
    reference = Reference(artifact, trace=observe)
    for index, x in enumerate(checked):
        state = reference.new_state()
        if config.attention is not None and rows is not None:
            state[config.state_nodes.index(config.attention)] = _with_rows(config.attention, rows[index])
            observe_rows = np.abs(rows[index][:, : config.attention.output_size]).astype(np.float64)
            operands[config.attention.name].observe(observe_rows.reshape(-1))
        for node, h in zip(config.state_nodes, state, strict=True):
            if isinstance(node, GruNode) and node.initial_state:
                observe(node.name, h)
        for sample in x:
            reference.step(state, sample)
    for collector in collectors.values():
        collector.flush()
    steps = sum(len(x) for x in checked)
    return Ranges(
        observer=observer,
        operand=operands,
        units=units,
        channels=channels,
        centre=centre,
        output=outputs,
        offsets=frozenset(offsets),
        moments={name: np.asarray(collectors[name].moment) / steps for name in multiplied},
        recordings=len(checked),
        steps=steps,
    )


def _with_rows(node: AttentionNode, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The state of attention that remembers ``rows``."""
    state = np.zeros(node.state_size, np.float32)
    state[0], state[1 : 1 + rows.size] = len(rows), rows.reshape(-1)
    return state


def multiplied_values(config: ModelConfig) -> tuple[str, ...]:
    """Names of what matrices multiply: nodes, ``NAME.rh`` of GRUs with reset before, ``NAME.taps`` of convolutions."""
    names = []
    for node in config.nodes:
        if isinstance(node, ConvolutionNode):
            names.append(f"{node.name}.taps")
        elif isinstance(node, LinearNode):
            names.append(node.inputs[0])
        elif isinstance(node, GruNode):
            names += [node.inputs[0], node.name, *([f"{node.name}.rh"] if node.reset == "before" else [])]
    return tuple(dict.fromkeys(names))


def _channels(
    artifact: Artifact, recordings: Sequence[NDArray[np.float32]], observer: str
) -> tuple[list[Observer], NDArray[np.float64]]:
    """An observer of every number that is standardised about its mean, and the means; none for a model that reads rows
    of a table.
    """
    first, front_end = artifact.config.entry, artifact.config.front_end
    if not isinstance(first, StandardiseNode):
        return [], np.zeros(0)
    if front_end is not None:
        tables = {name: artifact.array(f"{front_end.name}.{name}") for name in table_tensors(front_end, static=False)}
        features = LogMelFeatures(front_end, tables)
        recordings = [features(x.reshape(-1)) for x in recordings]
    mean, std = (artifact.array(f"{first.name}.{name}").astype(np.float64) for name in ("mean", "std"))
    observers = [new_observer(observer) for _ in range(first.size)]
    steps = sum(len(x) for x in recordings)
    centre = np.sum([np.sum((x - mean) / std, axis=0) for x in recordings], axis=0) / steps
    for x in recordings:
        for one, column in zip(observers, np.abs((x - mean) / std - centre).T, strict=True):
            if len(column):
                one.observe(column)
    return observers, np.asarray(centre)


def checked_recordings(
    recordings: Sequence[NDArray[np.float32]], input_size: int
) -> Sequence[NDArray[np.float32]]:
    """The recordings, all of the right shape, finite and not constant; CalibrationError for others."""
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
