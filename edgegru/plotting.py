"""The training curve as a PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgegru_export.saving import write_atomically


def plot_history(history: Sequence[dict[str, float]], best_epoch: int, path: Path) -> None:
    """Draw loss and metrics over epochs and mark the epoch that was kept. OSError where it cannot be written.

    ``history``: a row an epoch, as in history.csv: "train_loss", "validation_accuracy" … The first curve of each panel
    is of the training part, the others of the validation part.
    """
    epochs = [row["epoch"] for row in history]
    names = [name.removeprefix("train_") for name in history[0] if name.startswith("train_")]
    figure = Figure(figsize=(3 * max(3, len(names)), 3.6), layout="constrained")
    marker = "o" if len(history) == 1 else None  # a single point has no line
    for axes, metric in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for part, colour in (("train", "tab:gray"), ("validation", "tab:blue")):
            if f"{part}_{metric}" in history[0]:
                values = [row[f"{part}_{metric}"] for row in history]
                axes.plot(epochs, values, label=part, color=colour, linewidth=1.5, marker=marker)
        axes.axvline(best_epoch, color="tab:orange", linestyle="--", linewidth=1, label=f"kept: epoch {best_epoch}")
        axes.set(xlabel="epoch", title=metric.replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # the same curve, the same bytes
    write_atomically(path, buffer.getvalue())
