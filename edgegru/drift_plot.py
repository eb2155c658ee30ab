"""A drift report as a picture: errors over time for each input, and where slow units ended."""

from __future__ import annotations

import os

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgegru.drift import SLOW_TOLERANCE, TENTH, DriftReport
from edgegru.evaluation_plots import save_figure


def plot_drift(report: DriftReport, path: str | os.PathLike[str]) -> None:
    """Write the picture as a PNG. Raises EdgegruError where it cannot be written."""
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    looped, constant, slow = figure.subplots(1, 3, width_ratios=(3, 3, 2))
    constant.sharey(looped)
    _draw_divergence(looped, report, "looped")
    _draw_divergence(constant, report, "constant")
    looped.set_ylabel("error: rms (solid), largest (dotted)")
    _draw_slow_units(slow, report)
    verdict = "stays with" if report.passed else "drifts from"
    files = f"{os.path.basename(report.file)} {verdict} {os.path.basename(report.against)}"
    # A dollar sign in a file's name is a dollar sign.
    figure.suptitle(f"{files} ({report.scheme}, {report.steps} steps)", parse_math=False)
    save_figure(figure, os.fspath(path))


def _draw_divergence(axes: Axes, report: DriftReport, input: str) -> None:
    """rms and largest error of every output and state over time."""
    for index, found in enumerate(d for d in report.divergences if d.input == input):
        label = found.name if found.flipped is None else f"{found.name} ({found.flipped:.2%} of decisions flipped)"
        rms, largest = (np.where(values, values, np.nan) for values in (np.array(found.rms), np.array(found.largest)))
        axes.plot(report.window_ends, rms, color=f"C{index}", linewidth=1.6, label=label)
        axes.plot(report.window_ends, largest, color=f"C{index}", linewidth=1, linestyle=":")
    axes.axvspan(0, report.window_ends[TENTH - 1], color="0.93", zorder=0)
    axes.set(yscale="log", xlabel="step (grey: warm-up)", xlim=(0, report.steps))
    axes.set_title(f"{input} input", loc="left")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4)


def _draw_slow_units(axes: Axes, report: DriftReport) -> None:
    """The farthest that a unit of each time constant ended from its target, and how far it may be."""
    worst: dict[int, float] = {}
    for unit in report.slow_units:
        worst[unit.time_constant] = max(unit.error, worst.get(unit.time_constant, 0.0))
    colours = ["tab:blue" if error <= SLOW_TOLERANCE else "tab:red" for error in worst.values()]
    axes.bar([str(constant) for constant in worst], list(worst.values()), color=colours)
    axes.axhline(SLOW_TOLERANCE, color="tab:orange", linestyle="--", label=f"allowed: {SLOW_TOLERANCE:g}")
    axes.set(yscale="log", ylim=(1e-5, 3), xlabel="time constant, steps", ylabel="largest distance from the target")
    axes.set_title("slow units", loc="left")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14))
