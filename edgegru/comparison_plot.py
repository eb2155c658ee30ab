"""A comparison as a picture: what each cell reaches, with which spread, on how many parameters."""

from __future__ import annotations

import statistics
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgegru.comparison import Comparison
from edgegru.comparison_text import model_name
from edgegru.evaluation_plots import save_figure

_COLOURS = {"gru": "tab:blue", "lstm": "tab:orange", "rnn": "tab:green"}


def plot_comparison(comparison: Comparison, path: str | Path) -> None:
    """Write the picture as a PNG. Raises EdgegruError where it cannot be written."""
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    draw_comparison(figure.add_subplot(), comparison)
    save_figure(figure, path)


def draw_comparison(axes: Axes, comparison: Comparison) -> None:
    """A row for each cell and size: every seed as a dot, their mean as a line, their standard deviation as a bar."""
    for row, model in enumerate(comparison.models):
        scores, colour = model.scores(comparison.part, comparison.metric), _COLOURS[model.cell]
        mean, spread = statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else 0.0
        axes.barh([row], [2 * spread], left=mean - spread, height=0.5, color=colour, alpha=0.3)
        axes.vlines(mean, row - 0.25, row + 0.25, color=colour, linewidth=2)
        axes.plot(scores, [row] * len(scores), "o", color=colour, markersize=4)
    names = [f"{model_name(model)}\n{model.hidden_size} units, {model.parameters:,}" for model in comparison.models]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"{comparison.metric}, {comparison.part} part, {comparison.seeds} seeds")
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
