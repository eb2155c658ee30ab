"""Drift of integer models over a long run, and where slow units stop for states of several widths: docs/drift.md.

Random models of trained magnitude, quantized with data like the data they are then run on.

    python benchmarks/drift.py --steps 1000000 --hidden 32 --plot drift.png
    python benchmarks/drift.py --widths
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import edgegru_runtime.integer_reference
from edgegru.calibration import calibrate
from edgegru.drift import measure_drift
from edgegru.drift_plot import plot_drift
from edgegru.quantization import quantize_artifact
from edgegru.slow_units import TIME_CONSTANTS, settle_slow_units
from edgegru_export.stimulus import gaussian_input
from edgegru_runtime.integer_reference import IntegerReference, IntegerState, rounding_shift
from tests.builders import random_artifact

WIDTHS = (24, 20, 15, 8)


class NarrowState(IntegerReference):
    """The integer engine with a state rounded to fewer fractional bits after every step."""

    bits = 24

    def step(self, state: IntegerState, x: object) -> list[list[float]]:
        """As the engine, then round."""
        outputs = super().step(state, np.asarray(x))
        if self.bits < 24:
            state.h = [rounding_shift(h, 24 - self.bits) << (24 - self.bits) for h in state.h]
        return outputs


def print_drift(hidden: int, reset: str, steps: int, plot: str | None) -> None:
    """The table of one model, 6 inputs → GRU → softmax of 4."""
    model = random_artifact(3, 6, (hidden,), reset=reset)
    integer = quantize_artifact(model, calibrate(model, [gaussian_input(model, 1000)]))
    report = measure_drift(integer, model, steps, names=(f"6 → {hidden} → softmax 4, reset {reset}", "its float model"))
    print(f"{report}\n")
    if plot is not None:
        plot_drift(report, plot)


def print_widths() -> None:
    """How far from its target the worst unit of each time constant stops, for each width of the state."""
    print(f"| fractional bits | {' | '.join(f'τ = {constant}' for constant in TIME_CONSTANTS)} |")
    edgegru_runtime.integer_reference.IntegerReference = NarrowState  # type: ignore[misc]  # what engines are built of
    for NarrowState.bits in WIDTHS:
        units = settle_slow_units("static-w8a8")
        worst = [max(unit.error for unit in units if unit.time_constant == constant) for constant in TIME_CONSTANTS]
        print(f"| {NarrowState.bits} | {' | '.join(f'{error:.1e}' for error in worst)} |")


def main() -> None:
    """Print what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--reset", choices=("after", "before"), default="after")
    parser.add_argument("--plot", help="PNG of the last model")
    parser.add_argument("--widths", action="store_true", help="only the slow units, for states of several widths")
    arguments = parser.parse_args()
    if arguments.widths:
        print_widths()
    else:
        print_drift(arguments.hidden, arguments.reset, arguments.steps, arguments.plot)


if __name__ == "__main__":
    main()
