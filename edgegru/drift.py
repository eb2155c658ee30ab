"""Does an integer model stay with its float model, however long they run? docs/drift.md explains the measurement.

Both run closed loop beside each other on two inputs that never end, a recording that is repeated and a single sample
that is held; then units that move slowly are asked whether they arrive. What may be found is in the constants below.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise, zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.slow_units import SlowUnit, settle_slow_units
from edgegru_export.closed_loop import run_steps
from edgegru_export.identity import verify_identity
from edgegru_export.metadata import output_names, state_input_names
from edgegru_export.stimulus import gaussian_input
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.engine import build_engine
from edgegru_runtime.errors import VerificationError
from edgegru_runtime.model_config import HeadNode, ModelConfig

DRIFT_STEPS = 100_000  # of each input, unless asked otherwise
FEWEST_STEPS = 10_000  # below, a slow unit's way to its target cannot be told from drift
LOOP_STEPS = 1_000  # length of the recording that is repeated
WINDOWS = 50  # divergence is told for as many equal parts of the run
TENTH = WINDOWS // 10  # the first tenth is warm-up; the second and the last are compared
GROWTH_FACTOR = 1.2  # rms of the last tenth ≤ this × that of the second …
GROWTH_FLOOR = 0.01  # … plus this × the value's scale, its rms in the float model on the looped input
DEPARTURE = 0.5  # rms of the last tenth ≤ this × the scale: beyond, it is another signal
SLOW_TOLERANCE = 0.002  # of full scale: how far from its target a slow unit may end
SECONDS_BETWEEN_NEWS = 10.0  # of progress; short runs end without a word


@dataclass(frozen=True)
class Divergence:
    """How far one output ("y") or state ("h0") of the integer model was from the float model's, window by window.

    ``scale``: what the value is measured by, its rms in the float model on the looped input (of values given
    out, about their mean). ``flips``: for outputs that decide, the share of steps with another decision; ``flipped``
    the same over all steps.
    """

    input: str  # "looped" or "constant"
    name: str
    scale: float
    rms: tuple[float, ...]  # (WINDOWS,)
    largest: tuple[float, ...]  # (WINDOWS,) of a single value
    flips: tuple[float, ...] | None  # (WINDOWS,)
    flipped: float | None

    @property
    def early(self) -> float:
        """rms of the second tenth of the run, the first after warm-up."""
        return _rms(self.rms[TENTH : 2 * TENTH])

    @property
    def late(self) -> float:
        """rms of the last tenth."""
        return _rms(self.rms[-TENTH:])

    @property
    def allowed(self) -> float:
        """What ``late`` may be: no more than a little above ``early``, and never another signal."""
        return min(GROWTH_FACTOR * self.early + GROWTH_FLOOR * self.scale, DEPARTURE * self.scale)

    @property
    def passed(self) -> bool:
        """Whether the last tenth is within what is allowed."""
        return self.late <= self.allowed

    def __str__(self) -> str:
        change = f"from {self.early:.2g} to {self.late:.2g} (allowed {self.allowed:.2g})"
        return f"on {self.input} input the rms error of {self.name} went {change}"


@dataclass(frozen=True)
class DriftReport:
    """What a drift check found; ``str()`` gives a table, or one sentence where the model drifts."""

    file: str
    against: str
    scheme: str
    steps: int  # of each input
    seconds: float  # both models, both inputs
    window_ends: tuple[int, ...]  # (WINDOWS,) the step after the last of each window
    divergences: tuple[Divergence, ...]  # looped, then constant: outputs in declared order, states in execution order
    slow_units: tuple[SlowUnit, ...]

    @property
    def farthest(self) -> SlowUnit:
        """The slow unit that ended farthest from its target."""
        return max(self.slow_units, key=lambda unit: unit.error)

    @property
    def slowest(self) -> tuple[SlowUnit, ...]:
        """Of each candidate and time constant the unit that ended farthest from its target."""
        worst: dict[tuple[str, int], SlowUnit] = {}
        for unit in self.slow_units:
            key = unit.candidate, unit.time_constant
            worst[key] = max(unit, worst.get(key, unit), key=lambda unit: unit.error)
        return tuple(worst.values())

    @property
    def passed(self) -> bool:
        """Whether nothing drifts and every slow unit arrives."""
        return all(found.passed for found in self.divergences) and self.farthest.error <= SLOW_TOLERANCE

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON, with what was compared and allowed."""
        divergences = [
            {**asdict(d), "early": d.early, "late": d.late, "allowed": d.allowed, "passed": d.passed}
            for d in self.divergences
        ]
        return {**asdict(self), "divergences": divergences, "slow_tolerance": SLOW_TOLERANCE, "passed": self.passed}

    def __str__(self) -> str:
        pair = f"{self.file} {'stays with' if self.passed else 'drifts from'} {self.against}"
        over = f"over {self.steps} closed-loop steps of each input"
        slow = f"{self.farthest} (allowed {SLOW_TOLERANCE:g})"
        if not self.passed:
            causes = [str(found) for found in self.divergences if not found.passed]
            if self.farthest.error > SLOW_TOLERANCE:
                causes.append(slow)
            return f"{pair} {over}: {'; '.join(causes)}"
        lines = [f"{pair} {over} ({self.seconds:.0f} s)", "", _row("input", "value", *_COLUMNS)]
        for found in self.divergences:
            numbers = (found.early, found.late, found.allowed, max(found.largest))
            flipped = "–" if found.flipped is None else f"{found.flipped:.3%}"
            lines.append(_row(found.input, found.name, *(f"{number:.2g}" for number in numbers), flipped))
        return "\n".join([*lines, "", f"farthest of {len(self.slow_units)}: {slow}"])


def measure_drift(
    integer: Artifact, real: Artifact, steps: int = DRIFT_STEPS, *, names: tuple[str, str] = ("the model", "its source")
) -> DriftReport:
    """Run an integer artifact beside the float32 one that it was quantized from for ``steps`` steps of each input.

    ``names``: what the two are called in messages. Says on standard error how far it is, when it takes long. Raises
    VerificationError where the two do not belong together or ``steps`` is below ``FEWEST_STEPS``; drift itself is in
    the report.
    """
    if steps < FEWEST_STEPS:
        raise VerificationError(f"{steps} steps were asked for, expected at least {FEWEST_STEPS} to tell drift")
    _check_pair(integer, real, names)
    began = time.monotonic()
    advance = _progress(2 * steps)
    recording = gaussian_input(integer, LOOP_STEPS)
    looped = _follow("looped", integer, real, recording, steps, advance)
    scales = {found.name: found.scale for found in looped}
    constant = _follow("constant", integer, real, recording[-1:], steps, advance, scales)
    return DriftReport(
        file=names[0],
        against=names[1],
        scheme=integer.config.scheme,
        steps=steps,
        seconds=time.monotonic() - began,
        window_ends=_bounds(steps)[1:],
        divergences=(*looped, *constant),
        slow_units=settle_slow_units(integer.config.scheme),
    )


def _follow(
    input: str,
    integer: Artifact,
    real: Artifact,
    recording: NDArray[np.float32],
    steps: int,
    advance: Callable[[int], None],
    scales: dict[str, float] | None = None,
) -> tuple[Divergence, ...]:
    """Both models on ``recording`` (T, input_size) repeated up to ``steps`` steps; every output and state.

    ``scales``: of the values, by name; without them they are measured here.
    """
    config, bounds = integer.config, _bounds(steps)
    engine, reference = build_engine(integer, "reference"), build_engine(real, "reference")
    state, reference_state = engine.new_state(), reference.new_state()
    decisions = _decisions(config)
    names = (*output_names(config), *state_input_names(config))
    squares, largest, flips = ({name: np.zeros(WINDOWS) for name in names} for _ in range(3))
    energy, total = ({name: np.zeros(1) for name in names} for _ in range(2))  # of the float model: Σ value², Σ value
    for window, (start, stop) in enumerate(pairwise(bounds)):
        for begin in range(start, stop, LOOP_STEPS):  # in parts, so that a long window needs no memory
            end = min(begin + LOOP_STEPS, stop)
            inputs = recording[np.arange(begin, end) % len(recording)]
            found = run_steps(engine, integer, inputs, state=state)
            expected = run_steps(reference, real, inputs, state=reference_state)
            for name in names:
                error = np.abs(found[name] - expected[name])
                squares[name][window] += np.sum(np.mean(error**2, axis=1))
                largest[name][window] = max(largest[name][window], np.max(error))
                energy[name] = energy[name] + np.sum(expected[name] ** 2, axis=0)
                total[name] = total[name] + np.sum(expected[name], axis=0)
                if name in decisions:
                    changed = decisions[name](found[name]) != decisions[name](expected[name])
                    flips[name][window] += np.count_nonzero(np.any(changed, axis=1))
            advance(end - begin)
    lengths = np.diff(bounds)
    return tuple(
        Divergence(
            input=input,
            name=name,
            scale=_scale(config, name, energy[name] / steps, total[name] / steps) if scales is None else scales[name],
            rms=tuple(np.sqrt(squares[name] / lengths).tolist()),
            largest=tuple(largest[name].tolist()),
            flips=tuple((flips[name] / lengths).tolist()) if name in decisions else None,
            flipped=float(np.sum(flips[name])) / steps if name in decisions else None,
        )
        for name in names
    )


def _scale(config: ModelConfig, name: str, mean_square: NDArray[np.float64], mean: NDArray[np.float64]) -> float:
    """rms of a state or output over all its columns; of values that may stand beside an offset, about their mean."""
    heads = dict(zip(output_names(config), (config.node(output.node).kind for output in config.outputs), strict=True))
    squares = mean_square - mean**2 if heads.get(name) == "identity" else mean_square
    return float(np.sqrt(np.mean(np.maximum(squares, 0.0))))


def _decisions(config: ModelConfig) -> dict[str, Callable[[NDArray[np.float64]], NDArray[Any]]]:
    """What the outputs that decide make of their values (T, size): the likeliest class, or each above one half."""
    rules: dict[str, Callable[[NDArray[np.float64]], NDArray[Any]]] = {
        **dict.fromkeys(("softmax", "log_softmax"), lambda values: values.argmax(axis=1, keepdims=True)),
        "sigmoid": lambda values: values >= 0.5,
    }
    heads = zip(output_names(config), (config.node(output.node) for output in config.outputs), strict=True)
    return {name: rules[head.kind] for name, head in heads if isinstance(head, HeadNode) and head.kind in rules}


def _check_pair(integer: Artifact, real: Artifact, names: tuple[str, str]) -> None:
    """The integer artifact is one, and the other may be what it was quantized from."""
    file, against = names
    if integer.config.scheme == "float32":
        raise VerificationError(f"{file} is a float32 model, expected the integer model that is to be checked")
    if real.config.scheme != "float32":
        found = f"{against} is a {real.config.scheme} model"
        raise VerificationError(f"{found}, expected the float32 model that {file} was quantized from")
    verify_identity(integer)
    verify_identity(real)
    if integer.config.input.step_size != real.config.input.step_size:
        sizes = integer.config.input.step_size, real.config.input.step_size
        found = f"{file} takes {sizes[0]} input values and {against} {sizes[1]}"
        raise VerificationError(f"{found}, expected the model that it was quantized from")
    expected = "expected the model that it was quantized from"
    for node, other in zip_longest(integer.config.nodes, real.config.nodes):
        if node != other:
            raise VerificationError(f"node {(node or other).name} of {file} differs from {against}'s, {expected}")
    for part in ("input", "outputs"):
        if getattr(integer.config, part) != getattr(real.config, part):
            raise VerificationError(f"the {part} of {file} differ from those of {against}, {expected}")


def _progress(total: int) -> Callable[[int], None]:
    """What is called with every number of steps done, and says on standard error from time to time how many."""
    done, spoken = 0, time.monotonic()

    def advance(steps: int) -> None:
        nonlocal done, spoken
        done += steps
        if time.monotonic() - spoken >= SECONDS_BETWEEN_NEWS:
            spoken = time.monotonic()
            print(f"drift: {done} of {total} steps", file=sys.stderr, flush=True)

    return advance


def _bounds(steps: int) -> tuple[int, ...]:
    """Where windows begin, and where the last one ends: (WINDOWS + 1,)."""
    return tuple(steps * window // WINDOWS for window in range(WINDOWS + 1))


def _rms(windows: tuple[float, ...]) -> float:
    return float(np.sqrt(np.mean(np.square(windows))))


_COLUMNS = ("rms early", "rms late", "allowed", "largest", "flips")


def _row(*cells: str) -> str:
    return f"{cells[0]:<9}{cells[1]:<6}" + "".join(f"{cell:>10}" for cell in cells[2:])
