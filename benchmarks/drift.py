"""Drift of integer models over a long run, and where slow units stop for states of several widths: docs/drift.md.

Random models of trained magnitude, quantized with data like the data they are then run on.

    python benchmarks/drift.py --steps 1000000 --plot drift.png
    python benchmarks/drift.py --scheme static-w8a16 --candidate relu
    python benchmarks/drift.py --table
    python benchmarks/drift.py --widths
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import edgegru_runtime.integer_reference
from edgegru.calibration import calibrate
from edgegru.drift import DriftReport, measure_drift
from edgegru.drift_plot import plot_drift
from edgegru.quantization import QUANTIZED_SCHEMES, quantize_artifact
from edgegru.slow_units import CANDIDATES, TIME_CONSTANTS, settle_slow_units
from edgegru_export.stimulus import gaussian_input
from edgegru_runtime.integer_arithmetic import rounding_shift
from edgegru_runtime.integer_reference import IntegerReference, IntegerState
from edgegru_runtime.model_config import CANDIDATE_ACTIVATIONS
from tests.builders import mixed_config, random_config, random_floats

WIDTHS = (24, 20, 15, 8)


class NarrowState(IntegerReference):
    """The integer engine with a state rounded to fewer fractional bits after every step."""

    bits = 24

    def step(self, state: IntegerState, x: object) -> list[list[float]]:
        """As the engine, then round."""
        outputs = super().step(state, np.asarray(x))
        if self.bits < 24:
            state.numbers = [rounding_shift(h, 24 - self.bits) << (24 - self.bits) for h in state.numbers]
        return outputs


@dataclass(frozen=True)
class Case:
    """One random model in one scheme: 6 inputs → GRU → softmax of 4, or every kind of node."""

    scheme: str = "static-w8a8"
    hidden: int = 32
    candidate: str = "tanh"
    reset: str = "after"
    mixed: bool = False
    steps: int = 100_000

    def __str__(self) -> str:
        nodes = "every kind of node" if self.mixed else "GRU"
        return f"{self.scheme}, {nodes}, {self.hidden} units, {self.candidate}, reset {self.reset}"

    def measure(self) -> DriftReport:
        """Calibrate, quantize and run."""
        form = {"reset": self.reset, "candidate": self.candidate}
        config = mixed_config(6, self.hidden, **form) if self.mixed else random_config(6, (self.hidden,), **form)
        model = random_floats(config, seed=3)
        integer = quantize_artifact(model, calibrate(model, [gaussian_input(model, 1000)]), scheme=self.scheme)
        return measure_drift(integer, model, self.steps, names=(str(self), "its float model"))


TABLE = (
    Case(),
    Case("static-w8a16"),
    Case("dynamic-w8"),
    Case(reset="before"),
    Case(candidate="relu"),
    Case(candidate="linear"),
    Case("static-w8a16", candidate="relu"),
    Case(hidden=16, mixed=True),
    Case(hidden=128, steps=20_000),
    Case(steps=1_000_000),
)


def print_table() -> None:
    """The rows of docs/drift.md, as they are measured."""
    print("| model | steps | input | output | state | decisions flipped |\n|---|---|---|---|---|---|", flush=True)
    for case in TABLE:
        report = case.measure()
        for input, name, steps in (("looped", str(case), f"{case.steps:,}"), ("constant", "", "")):
            output, *states = (found for found in report.divergences if found.input == input)
            ways = [f"{found.early:.2g} → {found.late:.2g}" for found in (output, *states)]
            flipped = f"{output.flipped:.2%}" if output.flipped else "0"
            print(f"| {name} | {steps} | {input} | {ways[0]} | {', '.join(ways[1:])} | {flipped} |", flush=True)
        if not report.passed:
            print(report, file=sys.stderr)


def print_widths() -> None:
    """How far from its target the worst unit of each time constant stops, for each width of the state."""
    print(f"| candidate | fractional bits | {' | '.join(f'τ = {constant}' for constant in TIME_CONSTANTS)} |")
    edgegru_runtime.integer_reference.IntegerReference = NarrowState  # type: ignore[misc]  # what engines are built of
    for NarrowState.bits in WIDTHS:
        units = settle_slow_units("static-w8a8")
        for candidate in CANDIDATES:
            worst = [
                max(unit.error for unit in units if (unit.candidate, unit.time_constant) == (candidate, constant))
                for constant in TIME_CONSTANTS
            ]
            print(f"| {candidate} | {NarrowState.bits} | {' | '.join(f'{error:.1e}' for error in worst)} |")


def main() -> None:
    """Print what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--scheme", choices=QUANTIZED_SCHEMES, default="static-w8a8")
    parser.add_argument("--candidate", choices=CANDIDATE_ACTIVATIONS, default="tanh")
    parser.add_argument("--mixed", action="store_true", help="a model with every kind of node in place of one GRU")
    parser.add_argument("--reset", choices=("after", "before"), default="after")
    parser.add_argument("--plot", help="PNG of the model")
    parser.add_argument("--table", action="store_true", help="the table of docs/drift.md; its last row takes longest")
    parser.add_argument("--widths", action="store_true", help="only the slow units, for states of several widths")
    arguments = parser.parse_args()
    if arguments.widths:
        print_widths()
    elif arguments.table:
        print_table()
    else:
        report = Case(**{field.name: getattr(arguments, field.name) for field in fields(Case)}).measure()
        print(report)
        if arguments.plot is not None:
            plot_drift(report, arguments.plot)


if __name__ == "__main__":
    main()
