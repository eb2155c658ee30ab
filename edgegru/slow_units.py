"""Units that move slowly towards a target: the first to stand still where a state has too few bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegru.calibration import calibrate
from edgegru.quantization import quantize_artifact
from edgegru_export.closed_loop import run_steps, state_format
from edgegru_export.saving import with_identity
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.engine import build_engine
from edgegru_runtime.model_config import (
    GruNode,
    HeadNode,
    InputConfig,
    LinearNode,
    ModelConfig,
    OutputConfig,
    StandardiseNode,
)
from edgegru_runtime.tensor import Tensor

CANDIDATES = ("tanh", "linear")  # a state of fixed format, and one whose full scale is calibrated for every unit
TIME_CONSTANTS = (8, 64, 512)  # steps
TARGETS = (1.0, 0.5, 0.1, 0.0, -0.1, -0.5, -1.0)
STARTS = (-1.0, 1.0)  # every target is approached from below and from above
SETTLING = 8  # times the longest time constant: what an exact unit then still lacks, 2 e^-8, is .0007
_LARGEST_CANDIDATE = 0.99999  # tanh never is 1


@dataclass(frozen=True)
class SlowUnit:
    """Where a unit that moves by 1/``time_constant`` of its distance each step ended, as its error: |h − target|.

    ``candidate``: one of ``CANDIDATES``, what its layer has for n.
    """

    candidate: str
    time_constant: int
    target: float
    start: float
    error: float

    def __str__(self) -> str:
        way = f"from {self.start:g} to {self.target:g} with a time constant of {self.time_constant} steps"
        return f"a slow {self.candidate} unit on its way {way} ended {self.error:.2g} from its target"


def settle_slow_units(scheme: str) -> tuple[SlowUnit, ...]:
    """Every time constant with every target from every start, as units of one layer a candidate, in ``scheme``.

    The gates of the layer have no weights: z and n are constant, as for a unit that holds on to what it has seen.
    """
    return tuple(unit for candidate in CANDIDATES for unit in _settle(scheme, candidate))


def _settle(scheme: str, candidate: str) -> list[SlowUnit]:
    units = [(constant, target, start) for constant in TIME_CONSTANTS for target in TARGETS for start in STARTS]
    constants, targets, starts = np.array(units).T
    floats = _layer(candidate, constants, targets)
    steps = SETTLING * max(TIME_CONSTANTS)
    varied = np.linspace(-1, 1, steps, dtype=np.float32)[:, None]  # as long as units need to show how far they go
    integers = quantize_artifact(floats, calibrate(floats, [varied]), scheme=scheme)
    engine = build_engine(integers, "reference")
    dtype, (worth,) = state_format(integers)
    state = engine.new_state()
    engine.load_state(state, [np.round(starts / worth).astype(dtype).tobytes()])
    reached = run_steps(engine, integers, np.zeros((steps, 1), np.float32), state=state)["h0"][-1]
    return [
        SlowUnit(candidate, constant, target, start, abs(float(h) - target))
        for (constant, target, start), h in zip(units, reached, strict=True)
    ]


def _layer(candidate: str, constants: NDArray[np.float64], targets: NDArray[np.float64]) -> Artifact:
    """The float32 model: 1 − z = 1/constant and n = target for each unit, whatever the input and the state."""
    size = len(constants)
    config = ModelConfig(
        scheme="float32",
        identity="",
        input=InputConfig(1, ("x",), ("",), None),
        nodes=(
            StandardiseNode("standardise", ("x",), 1),
            GruNode("gru0", ("standardise",), 1, size, candidate_activation=candidate),
            LinearNode("dense", ("gru0",), size, 1),
            HeadNode("output", ("dense",), 1, "identity"),
        ),
        outputs=(OutputConfig("output", "step_value", ("first",)),),
    )
    if candidate == "tanh":
        candidates = np.arctanh(np.clip(targets, -_LARGEST_CANDIDATE, _LARGEST_CANDIDATE))
    else:
        candidates = targets
    arrays = {
        "standardise.mean": np.zeros(1),
        "standardise.std": np.ones(1),
        "gru0.weight_ih": np.zeros((3 * size, 1)),
        "gru0.weight_hh": np.zeros((3 * size, size)),
        "gru0.bias_ih": np.concatenate([np.zeros(size), np.log(constants - 1), candidates]),
        "gru0.bias_hh": np.zeros(3 * size),
        "dense.weight": np.eye(1, size),
        "dense.bias": np.zeros(1),
    }
    tensors = {name: Tensor.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    return with_identity(Artifact(config, tensors))
