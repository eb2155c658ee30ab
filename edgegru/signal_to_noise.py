"""How much noise quantization adds to a model's values: signal-to-noise ratios in dB, closed loop on recordings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgegru.calibration import value_outputs
from edgegru.equalization import as_standardised_in
from edgegru.integer_tensors import dynamic_tensors
from edgegru_export.dequantization import dequantize
from edgegru_runtime.artifact import Artifact, is_offset
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import HeadNode, ModelConfig, QuantizationConfig
from edgegru_runtime.reference import Reference
from edgegru_runtime.tensor import Tensor

STEPS = 20_000  # of the recordings, at most: each costs three engines a step
LARGEST = 200.0  # dB; equal values have no noise to divide by

Trace = dict[str, NDArray[np.float64]]  # by name: a node's value at every step (T, size)


@dataclass(frozen=True)
class SignalToNoise:
    """dB by node. ``weights``: of a model whose weights alone are int8; ``model``: of the whole integer model.

    ``outputs``: the nodes that decide, see ``output_values``. ``steps``: how many were compared.
    """

    weights: dict[str, float]
    model: dict[str, float]
    outputs: tuple[str, ...]
    steps: int

    @property
    def worst(self) -> str:
        """The output that integer values cost most."""
        return max(self.outputs, key=lambda name: self.weights[name] - self.model[name])

    @property
    def cost(self) -> float:
        """What integer values cost that output on top of int8 weights, in dB."""
        return self.weights[self.worst] - self.model[self.worst]


def measure_signal_to_noise(
    before: Artifact, after: Artifact, recordings: Iterable[NDArray[np.float32]], steps: int = STEPS
) -> SignalToNoise:
    """Stream the first ``steps`` steps of recordings (T, input_size), each from a reset state, through a float32
    artifact, the integer artifact made of it and one whose weights alone are int8, a scale a row and nothing else.
    """
    chosen = first_steps(recordings, steps)
    real = trace(as_standardised_in(before, after), chosen)
    weights = compare(before.config, real, trace(as_standardised_in(weights_alone(before), after), chosen))
    model = compare(before.config, real, trace(after, chosen))
    return SignalToNoise(weights, model, output_values(before.config), sum(map(len, chosen)))


def weights_alone(artifact: Artifact) -> Artifact:
    """The float32 artifact with every weight at the nearest of 255 levels of its row."""
    config = replace(artifact.config, scheme="dynamic-w8", quantization=QuantizationConfig(observer="none"))
    tensors: dict[str, Tensor] = {}
    for node in config.nodes:
        tensors |= dynamic_tensors(artifact, node)
    return dequantize(Artifact(config, tensors))


def output_values(config: ModelConfig) -> tuple[str, ...]:
    """Identity heads, and what other heads read: probabilities hide how far their arguments are off."""
    heads = [node for node in config.nodes if isinstance(node, HeadNode)]
    return tuple(dict.fromkeys(head.name if head.kind == "identity" else head.inputs[0] for head in heads))


def first_steps(recordings: Iterable[NDArray[np.float32]], steps: int) -> list[NDArray[np.float32]]:
    """The first ``steps`` steps of recordings, cut in the last one."""
    chosen: list[NDArray[np.float32]] = []
    for x in recordings:
        chosen.append(x[:steps])
        steps -= len(chosen[-1])
        if steps <= 0:
            break
    return chosen


def trace(artifact: Artifact, recordings: Iterable[NDArray[np.float32]]) -> Trace:
    """The real value of every node at every step, the state reset where a recording begins; of float models also
    ``NAME.rh``, r ⊙ h of a GRU with reset before.
    """
    rows: defaultdict[str, list[NDArray[np.float64]]] = defaultdict(list)

    def keep(name: str, value: NDArray[np.generic]) -> None:
        rows[name].append(np.array(value, np.float64))

    engine = (IntegerReference if artifact.config.static else Reference)(artifact, trace=keep)
    for x in recordings:
        state = engine.new_state()
        for sample in x:
            engine.step(state, sample)
    return {name: np.array(values) for name, values in rows.items()}


def compare(config: ModelConfig, real: Trace, found: Trace) -> dict[str, float]:
    """dB by node, but for those whose bias is added after the integers: their head has the value.

    Values that are given out in a unit of their own count about their mean: an offset is no signal.
    """
    given_out = value_outputs(config)
    result = {}
    for node in config.nodes:
        if not is_offset(config, node.name):
            moves = isinstance(node, HeadNode) and node.kind == "identity" and node.inputs[0] in given_out
            signal = real[node.name] - (np.mean(real[node.name], axis=0) if moves else 0.0)
            result[node.name] = decibels(signal, found[node.name] - real[node.name])
    return result


def decibels(signal: NDArray[np.float64], noise: NDArray[np.float64]) -> float:
    """``10 log10(Σ signal² / Σ noise²)``, within ±``LARGEST``."""
    powers = np.maximum([np.sum(signal**2), np.sum(noise**2)], 1e-300)
    return float(np.clip(10 * np.log10(powers[0] / powers[1]), -LARGEST, LARGEST))
