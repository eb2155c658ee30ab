"""The picture of step.py: a group of bars for each size, one for the best call of each library and precision."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from edgegru.evaluation_plots import save_figure

# Label, what the names of its contestants contain, colour.
BARS = (
    ("EdgeGRU int8", "EdgeGRU static-w8a8, step(x, out)", "#0b3c6f"),
    ("EdgeGRU float32", "EdgeGRU float32, step(x, out)", "#3f8fd2"),
    ("LiteRT full int8", "LiteRT full int8", "#8a3b12"),
    ("LiteRT dynamic int8", "LiteRT dynamic int8", "#d1622b"),
    ("LiteRT int16", "LiteRT int16", "#e89a66"),
    ("LiteRT float32", "LiteRT float32", "#f5cba7"),
    ("MNN float32", "MNN float32", "#2e7d4f"),
    ("ONNX Runtime float32", "ONNX Runtime float32", "#7d5ba6"),
    ("NumPy float32", "NumPy float32", "#b8a02a"),
    ("ncnn float32", "ncnn float32", "#6fb58a"),
    ("torch float32", "torch float32", "#999999"),
)
FLOORS: tuple[tuple[str, Any], ...] = (("reading int8 weights", ":"), ("reading float32 weights", "--"))
_FIGURE_SIZE = (12.0, 5.6)  # inches


def plot_steps(report: dict[str, Any], path: str) -> None:
    """Write the picture as a PNG: best times in microseconds on a logarithmic scale, floors as lines."""
    figure = Figure(figsize=_FIGURE_SIZE, layout="constrained")
    axes = figure.add_subplot()
    sizes = report["sizes"]
    steps = [found["steps"] for found in sizes.values()]
    present = [bar for bar in BARS if any(bar[1] in name for found in steps for name in found)]
    width = 0.86 / max(len(present), 1)
    for index, (label, part, colour) in enumerate(present):
        places, heights = [], []
        for group, found in enumerate(steps):
            times = [result["best_us"] for name, result in found.items() if part in name]
            if times:
                places.append(group + (index - (len(present) - 1) / 2) * width)
                heights.append(min(times))
        axes.bar(places, heights, 0.92 * width, color=colour, label=label, zorder=2)
        for place, height in zip(places, heights, strict=True):
            number = f"{height:#.2g}" if height < 9.95 else f"{height:.0f}"
            axes.annotate(
                number,
                (place, height),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                va="bottom",
                rotation=90,
                fontsize=7.5,
            )
    for name, style in FLOORS:
        groups = [group for group, found in enumerate(steps) if name in found]
        times = [steps[group][name]["best_us"] for group in groups]
        ends = [group - 0.45 for group in groups], [group + 0.45 for group in groups]
        axes.hlines(times, *ends, colors="black", linestyles=style, linewidth=1.2, label=name, zorder=3)
    axes.set(yscale="log", ylabel="µs a step, from Python", xlabel="input size → hidden size")
    axes.set_xticks(range(len(sizes)), list(sizes))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.01, y=0.08)
    axes.set_title(f"{report['machine']['cpu']}, one thread, one stream", loc="left")
    axes.grid(axis="y", alpha=0.3, zorder=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    save_figure(figure, path)
