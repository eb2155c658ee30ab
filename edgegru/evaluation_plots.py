"""Two pictures of how a model does: its confusion matrix, and its class probabilities along one recording."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from edgegru_export.saving import write_atomically
from edgegru_runtime.errors import EdgegruError

_DPI = 150
_LABELLED_LINES = 10  # beyond as many classes, lines of classes that never lead get no colour and no name


@rc_context({"text.parse_math": False})  # a dollar sign in a label is a dollar sign
def plot_confusion(confusion: NDArray[np.int64], labels: Sequence[str], title: str, path: str | Path) -> None:
    """Write a confusion matrix as a PNG: counts in the cells, shaded by the share of their true class.

    ``confusion``: (classes, classes) from ``metrics.confusion_matrix``. Raises EdgegruError where it cannot be written.
    """
    size = 2.6 + 0.55 * len(labels)
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axes = figure.add_subplot()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)  # a class that never occurs has no row
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, labels)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    for row, column in np.argwhere(confusion):
        shade = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=shade, fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    save_figure(figure, path)


@rc_context({"text.parse_math": False})
def plot_probabilities(
    times: ArrayLike, probabilities: ArrayLike, labels: Sequence[str], *, title: str, time_label: str, path: str | Path
) -> None:
    """Write the class probabilities of one recording over time as a PNG.

    ``times``: (T,), ``probabilities``: (T, classes) in [0, 1], ``time_label``: what the horizontal axis shows, with its
    unit. Raises EdgegruError where it cannot be written.
    """
    moments, values = np.asarray(times), np.asarray(probabilities)
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    leading = np.argsort(-values.max(axis=0))[:_LABELLED_LINES].tolist()
    for column, label in enumerate(labels):
        if column in leading:
            axes.plot(moments, values[:, column], label=label, marker="o", markersize=3, linewidth=1.6)
        else:
            axes.plot(moments, values[:, column], color="0.8", linewidth=0.8, zorder=1)
    axes.set(xlabel=time_label, ylabel="probability", title=title, ylim=(-0.02, 1.02))
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    save_figure(figure, path)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG. Raises EdgegruError where it cannot be written."""
    try:
        write_atomically(Path(path), figure_png(figure))
    except OSError as error:
        raise EdgegruError(f"cannot write the picture {path}: {error.strerror}") from error


def figure_png(figure: Figure) -> bytes:
    """A figure as a PNG: the same numbers, the same bytes."""
    FigureCanvasAgg(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI, metadata={"Software": None})
    return picture.getvalue()
