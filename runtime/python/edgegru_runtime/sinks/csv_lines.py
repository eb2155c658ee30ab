"""Results as lines of CSV (RFC 4180, with lines that end in LF)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isfinite

from edgegru_runtime.model_config import DecisionConfig, ModelConfig, OutputConfig
from edgegru_runtime.record import Time
from edgegru_runtime.result import Result
from edgegru_runtime.sinks.readings import events_text, kind_of, likeliest, number, path, unique_labels

_Cells = Callable[[Sequence[float]], list[str]]


class CsvLines:
    """Writes results as rows whose columns depend on model and ``emit`` alone; what a result lacks is left empty."""

    header: str

    def __init__(self, config: ModelConfig, decision: DecisionConfig, emit: str) -> None:
        self._config = config
        self._emit_events = emit == "events"
        self._cells: list[_Cells] = []
        self._of_text = config.input.tokenizer is not None
        columns = ["stream", "i", "t", *(["text"] if self._of_text else [])]
        if self._emit_events:
            columns += ["event", "label", "p"] + (["output"] if len(config.outputs) > 1 else [])
        else:
            for output in config.outputs:
                names, cells = _output(config, output, decision.threshold)
                columns += [path(config, output, name) for name in (*names, "on")]
                self._cells.append(cells)
            columns += ["score", "events", "step_us"]
        self.header = _row(map(_field, columns))

    def lines(self, result: Result) -> str:
        """The row of a result, or the rows of its events, each with its end."""
        start = [_field(result.key), str(result.index), _time(result.t)]
        if self._of_text:
            start.append(_field(result.text or ""))
        if self._emit_events:
            return "".join([_row(start + self._event(*event)) for event in result.events])
        cells = start
        for of_output, values, on in zip(self._cells, result.outputs, result.on, strict=True):
            cells += of_output(values)
            cells.append(_field(";".join(on)))
        cells += [_cell(result.score), _field(events_text(self._config, result.events)), _cell(result.step_us)]
        return _row(cells)

    def _event(self, on: bool, label: str, p: float, output: int) -> list[str]:
        cells = ["on" if on else "off", _field(label), _cell(p)]
        return cells if len(self._config.outputs) == 1 else [*cells, self._config.outputs[output].node]


def _output(config: ModelConfig, output: OutputConfig, threshold: float) -> tuple[list[str], _Cells]:
    """The columns of an output, and what fills them."""
    names, labels = unique_labels(output.labels), [_field(label) for label in output.labels]
    kind = kind_of(config, output)
    if kind == "identity":
        return [f"y.{name}" for name in names], lambda values: [_cell(value) for value in values]
    if kind == "log_softmax":

        def token(values: Sequence[float]) -> list[str]:
            best = likeliest(values)
            return [str(best), _cell(values[best])]

        return ["token", "log_p"], token
    probabilities = [f"probs.{name}" for name in names]
    if kind == "softmax":

        def classes(values: Sequence[float]) -> list[str]:
            cells = [_cell(value) for value in values]
            best = likeliest(values)
            return [labels[best], cells[best], *cells]

        return ["label", "p", *probabilities], classes

    def independent(values: Sequence[float]) -> list[str]:
        reached = [label for label, p in zip(output.labels, values, strict=True) if p >= threshold]
        return [_field(";".join(reached)), *[_cell(value) for value in values]]

    return ["labels", *probabilities], independent


def _row(cells: Sequence[str] | map[str]) -> str:
    return ",".join(cells) + "\n"


def _cell(value: float | None) -> str:
    return number(value) if value is not None and isfinite(value) else ""


def _time(t: Time) -> str:
    if isinstance(t, str):
        return _field(t)
    return repr(t) if t is not None and abs(t) < inf else ""


def _field(text: str) -> str:
    if "," in text or '"' in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text
