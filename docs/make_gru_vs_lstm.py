"""Write docs/gru-vs-lstm.md and its picture from the numbers in benchmarks/results.

    python docs/make_gru_vs_lstm.py
"""

from __future__ import annotations

import json
import statistics
import textwrap
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from edgegru.comparison import Compared, Comparison, Run
from edgegru.comparison_plot import draw_comparison
from edgegru.comparison_text import HEADINGS, comparison_rows
from edgegru.evaluation_plots import save_figure

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
TASKS = {"activity": "har_watch_phone", "forecasting": "ETTh1", "chorales": "JSB Chorales"}

INTRODUCTION = """\
# GRU, LSTM and tanh RNN

    edgegru compare --config config.toml --data recordings.npz --seeds 1 --plot compared.png

trains a GRU, an LSTM (Hochreiter and Schmidhuber 1997, with forget gates) and a plain tanh RNN (Elman 1990) by one
configuration, on the same recordings in the same order, each at the hidden size of the GRU and at its number of
parameters. It prints what each reaches, mean ± standard deviation over `--seeds`, and what each costs. With
`--learning-rates` every cell at every size keeps the rate that is best on the validation part: a recipe was often
chosen for the GRU.

Only the GRU goes on from there to integers and to the device. The comparison is for whoever asks whether the GRU is the
right cell for the task.

## Three tasks

Measured by `benchmarks/gru_vs_lstm.py`, which says what is trained on what; every run is in
[`benchmarks/results/`](../benchmarks/results). Five seeds; each row has the best of five learning rates. Written by
`python docs/make_gru_vs_lstm.py`.

- **har_watch_phone**: the [recipe](../examples/har_watch_phone) without its convolution, on subjects s13–s16.
- **ETTh1**: the [recipe](../examples/forecasting) for 24 hours ahead, every cell beside the same linear map, whose
  weights are most of the parameters and multiply–adds.
- **JSB Chorales**: the [recipe](../examples/polyphonic_music) of Chung et al. 2014
  ([arXiv:1412.3555](https://arxiv.org/abs/1412.3555)), negative log-likelihood of a frame in nats.

"""

COLUMNS = """
Parameters as torch counts them. Multiply–adds of a step, weights as float32 and as int8, and the state, in bytes.
µs/step: the recurrent layers alone in ONNX Runtime, a call a step on one thread, and its ratio to the GRU's: EdgeGRU's
kernel has no other cell to compare. s/epoch: training with PyTorch on one core, all cells in turn, other work beside
them.

![What each cell reaches on the three tasks](gru-vs-lstm.png)

## What it shows

"""


def page() -> str:
    """The whole page."""
    return INTRODUCTION + "\n".join(_table()) + "\n" + COLUMNS + "\n".join(map(_wrapped, _findings())) + "\n"


def _table() -> Iterator[str]:
    """Every task, cell and size."""
    yield f"| {' | '.join(('data', 'cell', 'metric', *HEADINGS))} |"
    yield "|---" * (3 + len(HEADINGS)) + "|"
    for task, title in TASKS.items():
        comparison = read(task)
        for row, model in zip(comparison_rows(comparison), comparison.models, strict=True):
            shown = [title, row[0], f"{comparison.metric} {row[1]}", *row[2:]]
            yield f"| {' | '.join(shown if model.equal else [f'**{cell}**' for cell in shown])} |"


def _findings() -> Iterator[str]:
    activity, hours, chorales = (read(task) for task in TASKS)
    plain = [_gap(activity, index) for index in (2, 4)]
    yield (
        f"- Activities: the GRU is {_points(_gap(activity, 1))} points of accuracy above an LSTM of its size, "
        f"{_points(_gap(activity, 3))} above one of its parameters, where the seeds spread by "
        f"{_points(_spread(activity))}; plain RNNs are {_points(min(plain))} and {_points(max(plain))} below it."
    )
    best = min(_mean(hours, index) for index in range(5))
    worst = max(_mean(hours, index) for index in range(5))
    yield (
        f"- Hours ahead: from {best:.4f} to {worst:.4f} for all five, with a spread of {_spread(hours):.4f} over the "
        "GRU's seeds: the linear map does the work, and the cell hardly matters."
    )
    yield (
        f"- Chorales: the GRU is {-_gap(chorales, 1):.2f} and {-_gap(chorales, 3):.2f} nats below the LSTMs and "
        f"{-_gap(chorales, 2):.2f} and {-_gap(chorales, 4):.2f} below the plain RNNs, with a spread of "
        f"{_spread(chorales):.2f}. Chung et al. publish 8.54, 8.67 and 9.10 for the three at equal parameters; here "
        "the plain RNN, with a learning rate of its own, is not the last of them."
    )
    ratios = [model.step_us / comparison.models[0].step_us for comparison in (activity, hours, chorales)
              for model in comparison.models if model.cell == "lstm"]  # fmt: skip
    yield (
        f"- An LSTM of the same hidden size keeps two numbers a unit and has a third more weights; its step takes "
        f"{min(ratios):.2f} to {max(ratios):.2f} times as long."
    )
    epochs = [model.seconds_per_epoch / comparison.models[0].seconds_per_epoch for comparison in (activity, chorales)
              for model in comparison.models if model.cell == "lstm"]  # fmt: skip
    yield (
        f"- Training is the other way round: on a processor PyTorch takes {min(epochs):.2f} to {max(epochs):.2f} times "
        "as long for an epoch of the LSTM as for one of the GRU."
    )


def _wrapped(finding: str) -> str:
    return textwrap.fill(finding, 120, subsequent_indent="  ", break_on_hyphens=False)


def _mean(comparison: Comparison, index: int) -> float:
    return statistics.fmean(comparison.models[index].scores(comparison.part, comparison.metric))


def _gap(comparison: Comparison, index: int) -> float:
    """How far the GRU is above another cell."""
    return _mean(comparison, 0) - _mean(comparison, index)


def _spread(comparison: Comparison) -> float:
    return statistics.stdev(comparison.models[0].scores(comparison.part, comparison.metric))


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def read(task: str) -> Comparison:
    """What ``edgegru compare --json`` has written."""
    values = json.loads((RESULTS / f"gru_vs_lstm_{task}.json").read_text(encoding="utf-8"))
    models = [Compared(**{**model, "runs": tuple(Run(**run) for run in model["runs"])}) for model in values["models"]]
    return Comparison(**{**values, "models": tuple(models)})


def draw(path: Path) -> None:
    """The tasks side by side."""
    figure = Figure(figsize=(15, 3.6), layout="constrained")
    for axes, (task, title) in zip(figure.subplots(1, len(TASKS)).flat, TASKS.items(), strict=True):
        draw_comparison(axes, read(task))
        axes.set_title(title)
    save_figure(figure, path)


if __name__ == "__main__":
    (DOCS / "gru-vs-lstm.md").write_text(page(), encoding="utf-8")
    draw(DOCS / "gru-vs-lstm.png")
