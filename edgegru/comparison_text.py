"""What a comparison found, for people: one table, and what its numbers are of."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgegru.comparison import Compared, Comparison

CELL_NAMES = {"gru": "GRU", "lstm": "LSTM", "rnn": "tanh RNN"}
HEADINGS = ("units", "parameters", "s/epoch", "multiply-adds", "µs/step", "ratio", "weights", "int8", "state", "rate")


def comparison_text(comparison: Comparison) -> str:
    """A row for each cell and size, the GRU first."""
    kept = "the last one kept" if comparison.kept_by is None else f"the one with the best {comparison.kept_by} kept"
    part = f"the {comparison.part} part ({comparison.recordings} recordings)"
    lines = [f"{comparison.target}: {comparison.metric} on {part} after {comparison.epochs} epochs, {kept}"]
    lines += ["", *_columns([("", comparison.metric, *HEADINGS), *map(tuple, comparison_rows(comparison))]), ""]
    if comparison.seeds > 1:
        lines.append(f"{comparison.metric}: mean ± standard deviation over {comparison.seeds} seeds")
    lines.append("multiply-adds of a step; weights as float32 and as int8, and the state, in bytes")
    lines.append("µs/step: the recurrent layers alone in ONNX Runtime, a call a step on one thread; ratio to the GRU's")
    if comparison.kernel_us:
        times = ", ".join(f"{time:.2f} µs in {scheme}" for scheme, time in comparison.kernel_us.items())
        lines.append(f"a step of the whole GRU model in EdgeGRU's kernel: {times}")
    return "\n".join(lines)


def comparison_rows(comparison: Comparison) -> list[list[str]]:
    """The cells of the table: name, metric, and what ``HEADINGS`` says."""
    gru = comparison.models[0]
    return [
        [
            model_name(model),
            score_text(model.scores(comparison.part, comparison.metric)),
            str(model.hidden_size),
            f"{model.parameters:,}",
            f"{model.seconds_per_epoch:.2f}",
            f"{model.multiply_adds:,}",
            f"{model.step_us:.2f}",
            f"{model.step_us / gru.step_us:.2f}",
            f"{model.float_bytes:,}",
            f"{model.int8_bytes:,}",
            f"{model.state_bytes:,}",
            f"{model.learning_rate:g}",
        ]
        for model in comparison.models
    ]


def model_name(model: Compared) -> str:
    """The cell, and what it has in common with the GRU."""
    return CELL_NAMES[model.cell] + (f", equal {model.equal}" if model.equal else "")


def score_text(scores: Sequence[float]) -> str:
    """Mean and sample standard deviation, which a single score has not."""
    mean = f"{statistics.fmean(scores):.4f}"
    return mean if len(scores) == 1 else f"{mean} ± {statistics.stdev(scores):.4f}"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    cells = [[cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)] for row in rows]
    return ["  ".join([row[0].ljust(widths[0]), *line]).rstrip() for row, line in zip(rows, cells, strict=True)]
