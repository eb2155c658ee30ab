"""What 8 bits of one node's value cost a model's outputs: which nodes are worth 16."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegru.calibration import Ranges
from edgegru.quantization import quantize_artifact
from edgegru.signal_to_noise import compare, first_steps, output_values, trace
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.operands import operand_names

NARROW, WIDE = "static-w8a8", "static-w8a16"
LEAST_GAIN = 0.1  # dB
STEPS = 2_000  # of the recordings, at most: two models a node are streamed


@dataclass(frozen=True)
class NodeSensitivity:
    """dB at the output that feels it most; None where a model of these widths would leave the arithmetic's range.

    ``alone``: what 8 bits of this node cost where all other values have 16. ``gain``: what 16 bits of this node bring
    the model as it is; None too where it has them already.
    """

    name: str
    alone: float | None
    gain: float | None


@dataclass(frozen=True)
class Sensitivity:
    """``nodes``: the costliest first. ``steps``: how many were compared."""

    nodes: tuple[NodeSensitivity, ...]
    steps: int

    @property
    def most_gained(self) -> NodeSensitivity | None:
        """The node whose 16 bits would bring the model most, None where none brings anything."""
        gains = [node for node in self.nodes if node.gain is not None and node.gain >= LEAST_GAIN]
        return max(gains, key=lambda node: node.gain or 0.0, default=None)


def measure_sensitivity(
    before: Artifact,
    after: Artifact,
    ranges: Ranges,
    recordings: Iterable[NDArray[np.float32]],
    steps: int = STEPS,
) -> Sensitivity:
    """Quantize the float32 artifact ``before`` with each node at 8 bits alone, and with each at 16 in ``after``.

    ``after``: what became of it in a static scheme. Compares over the first ``steps`` steps of recordings
    (T, input_size), each from a reset state.
    """
    config, quantization = after.config, after.config.quantization
    assert config.static and quantization is not None
    chosen = first_steps(recordings, steps)
    real = trace(before, chosen)
    outputs = output_values(before.config)

    def noise(scheme: str, keep: dict[str, str]) -> NDArray[np.float64] | None:
        """dB at every output."""
        try:
            artifact = quantize_artifact(before, ranges, scheme=scheme, margin=quantization.margin, keep=keep)
        except ArtifactError:  # sums of 16-bit products do not fit everywhere
            return None
        found = compare(before.config, real, trace(artifact, chosen))
        return np.array([found[name] for name in outputs])

    names = operand_names(config)
    chosen_widths = {name: config.scheme_of(name) for name in names}  # all, so that no default decides
    widest, present = noise(WIDE, {}), noise(config.scheme, chosen_widths)
    nodes = []
    for name in names:
        alone = _largest_difference(widest, noise(WIDE, {name: NARROW}))
        gain = None
        if config.scheme_of(name) == NARROW:
            gain = _largest_difference(noise(config.scheme, {**chosen_widths, name: WIDE}), present)
        nodes.append(NodeSensitivity(name, alone, gain))
    nodes.sort(key=lambda node: -np.inf if node.alone is None else node.alone, reverse=True)
    return Sensitivity(tuple(nodes), sum(map(len, chosen)))


def _largest_difference(better: NDArray[np.float64] | None, worse: NDArray[np.float64] | None) -> float | None:
    return None if better is None or worse is None else float(np.max(better - worse))
