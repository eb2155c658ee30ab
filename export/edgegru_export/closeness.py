"""How near a file that cannot be bit equal is to the integer reference: after one step, and in its decisions."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_export import tolerances
from edgegru_export.closed_loop import Trajectory, remember, state_format
from edgegru_export.dequantization import dequantize
from edgegru_export.metadata import output_names
from edgegru_export.stimulus import remembered_rows
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.engine import Engine
from edgegru_runtime.exported import ExportedFile
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import GruNode, ModelConfig
from edgegru_runtime.reference import Reference

NEAR = 2  # units in the last place that count as near


@dataclass(frozen=True)
class OneStep:
    """The errors of h after one step from a common state, in units in the last place of the file's states.

    ``bits``: of a state in the file; ``largest``: difference of a number from the integer reference's; ``near``: the
    share of numbers that differ by no more than ``NEAR``; ``rms``: of the file's errors against the float model of the
    dequantized weights; ``own_rms``: of the integer reference's, to which the file is held.
    """

    bits: int
    largest: float
    near: float
    rms: float
    own_rms: float

    @property
    def rms_tolerance(self) -> float:
        """What ``rms`` may be."""
        return tolerances.TFLITE_FACTOR * self.own_rms + tolerances.ONE_STEP_FLOOR

    @property
    def passed(self) -> bool:
        """Whether it is; not a number never is."""
        return self.rms <= self.rms_tolerance

    def __str__(self) -> str:
        return (
            f"after one step h off by rms {self.rms:.2g} units of {self.bits} bits from float "
            f"(allowed {self.rms_tolerance:.2g}), "
            f"{self.near:.1%} within {NEAR} units of the reference, at most {self.largest:.3g}"
        )


def measure_one_step(
    engine: Engine, exported: ExportedFile, artifact: Artifact, inputs: NDArray[np.float32]
) -> OneStep:
    """Run the exported file in its ``engine`` and the integer reference from one state at each step.

    It is the reference's, rounded to what the file holds. Values beyond the file's range count as at its end.
    """
    dequantized = dequantize(artifact)
    reference, real = IntegerReference(artifact), Reference(dequantized)
    state, own_state, real_state = engine.new_state(), reference.new_state(), real.new_state()
    bits = 8 * np.dtype(exported.state_dtype).itemsize
    limit = 2 ** (bits - 1)
    dtype, scales = state_format(artifact)
    grus = [place for place, node in enumerate(artifact.config.state_nodes) if isinstance(node, GruNode)]

    def units(values: list[NDArray[Any]]) -> NDArray[np.float64]:
        numbers = np.concatenate([values[place] / 2.0 ** exported.shifts[place] for place in grus])
        return np.clip(numbers, -limit, limit - 1)

    rows, given = [], remembered_rows(artifact, len(inputs))
    for step, sample in enumerate(inputs):
        remember(reference, own_state, artifact.config, given[step])
        engine.load_state(state, reference.state_arrays(own_state))
        before = engine.state_arrays(state)
        reference.load_state(own_state, before)
        reals = (np.frombuffer(blob, dtype) * scale for blob, scale in zip(before, scales, strict=True))
        real.load_state(real_state, [h.astype("<f4").tobytes() for h in reals])
        x = array("f", sample.tobytes())
        engine.step(state, x)
        reference.step(own_state, x)
        real.step(real_state, x)
        after = (engine.state_arrays(state), reference.state_arrays(own_state))
        integers = ([np.frombuffer(blob, dtype) for blob in blobs] for blobs in after)
        rows.append([*map(units, integers), units([h / s for h, s in zip(real_state, scales, strict=True)])])
    found, own, expected = np.moveaxis(np.array(rows), 1, 0)
    distance = np.abs(found - own)
    near = float(np.mean(distance <= NEAR))
    return OneStep(bits, float(np.max(distance)), near, _rms(found - expected), _rms(own - expected))


def other_decisions(config: ModelConfig, found: Trajectory, reference: Trajectory) -> float | None:
    """The share of steps at which an output decides otherwise than the reference; None where no output decides."""
    differs = None
    for name, output in zip(output_names(config), config.outputs, strict=True):
        kind = config.node(output.node).kind
        if kind in ("softmax", "log_softmax"):
            other = np.argmax(found[name], axis=1) != np.argmax(reference[name], axis=1)
        elif kind == "sigmoid":
            threshold = config.decision.threshold
            other = np.any((found[name] >= threshold) != (reference[name] >= threshold), axis=1)
        else:
            continue
        differs = other if differs is None else differs | other
    return None if differs is None else float(np.mean(differs))


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))
