"""A drift report as a picture: errors over time for each input, and where slow units ended."""

from __future__ import annotations

import os

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgegru.drift import SLOW_TOLERANCE, TENTH, DriftReport
from edgegru.evaluation_plots import figure_png, save_figure

_FIGURE_SIZE = (10.0, 7.4)  # inches: still read on a page of half a screen


def plot_drift(report: DriftReport, path: str | os.PathLike[str]) -> None:
    """Write the picture as a PNG. Raises EdgegruError where it cannot be written."""
    figure = _draw(report)
    verdict = "stays with" if report.passed else "drifts from"
    files = f"{os.path.basename(report.file)} {verdict} {os.path.basename(report.against)}"
    # A dollar sign in a file's name is a dollar sign.
    figure.suptitle(f"{files} ({report.scheme}, {report.steps} steps)", parse_math=False)
    save_figure(figure, os.fspath(path))


def drift_png(report: DriftReport) -> bytes:
    """The picture without its title, as a PNG to embed."""
    return figure_png(_draw(report))


def _draw(report: DriftReport) -> Figure:
    figure = Figure(figsize=_FIGURE_SIZE, layout="constrained")
    panels = figure.subplot_mosaic([["looped", "constant"], ["slow", "slow"]], height_ratios=(3, 2))
    panels["constant"].sharey(panels["looped"])
    for input in ("looped", "constant"):
        _draw_divergence(panels[input], report, input)
    panels["looped"].set_ylabel("error: rms (solid), largest (dotted)")
    _draw_slow_units(panels["slow"], report)
    return figure


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
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=4)


def _draw_slow_units(axes: Axes, report: DriftReport) -> None:
    """The farthest that a unit of each kind ended from its target, and how far it may be."""
    errors = [unit.error for unit in report.slowest]
    labels = [f"{unit.candidate}, {unit.time_constant}" for unit in report.slowest]
    axes.barh(labels, errors, color=["tab:blue" if error <= SLOW_TOLERANCE else "tab:red" for error in errors])
    axes.axvline(SLOW_TOLERANCE, color="tab:orange", linestyle="--", label=f"allowed: {SLOW_TOLERANCE:g}")
    axes.invert_yaxis()
    axes.set(xscale="log", xlim=(1e-8, 3), xlabel="largest distance from the target", ylabel="time constant, steps")
    axes.set_title("slow units", loc="left")
    axes.legend(frameon=False, fontsize=8, loc="upper right")
