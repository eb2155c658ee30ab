"""Write docs/gru-vs-lstm.md and its picture from the numbers in benchmarks/results.

    python docs/make_gru_vs_lstm.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from edgegru.comparison import Compared, Comparison, Run
from edgegru.comparison_plot import draw_comparison
from edgegru.comparison_text import HEADINGS, comparison_rows
from edgegru.evaluation_plots import save_figure

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
TASKS = {
    "activity": "har_watch_phone",
    "forecasting": "ETTh1",
    "chorales": "JSB Chorales",
    "folk-tunes": "Nottingham",
}


def page() -> str:
    """The whole page."""
    text = (DOCS / "gru-vs-lstm.in.md").read_text(encoding="utf-8")
    return text.replace("TABLE\n", "\n".join(table()) + "\n")


def table() -> Iterator[str]:
    """Every task, cell and size."""
    headings = ("data", "cell", "metric", *HEADINGS)
    yield f"| {' | '.join(headings)} |"
    yield "|---" * len(headings) + "|"
    for task, title in TASKS.items():
        comparison = read(task)
        for row, model in zip(comparison_rows(comparison), comparison.models, strict=True):
            shown = [title, row[0], f"{comparison.metric} {row[1]}", *row[2:]]
            yield f"| {' | '.join(shown)} |" if model.equal else f"| {' | '.join(f'**{cell}**' for cell in shown)} |"


def read(task: str) -> Comparison:
    """What ``edgegru compare --json`` has written."""
    values = json.loads((RESULTS / f"gru_vs_lstm_{task}.json").read_text(encoding="utf-8"))
    models = [Compared(**{**model, "runs": tuple(Run(**run) for run in model["runs"])}) for model in values["models"]]
    return Comparison(**{**values, "models": tuple(models)})


def draw(path: Path) -> None:
    """The four tasks side by side."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    for axes, (task, title) in zip(figure.subplots(2, 2).flat, TASKS.items(), strict=True):
        draw_comparison(axes, read(task))
        axes.set_title(title)
    save_figure(figure, path)


if __name__ == "__main__":
    (DOCS / "gru-vs-lstm.md").write_text(page(), encoding="utf-8")
    draw(DOCS / "gru-vs-lstm.png")
