"""Results as lines of JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from json.encoder import encode_basestring_ascii as quoted
from math import inf

from edgegru_runtime.model_config import DecisionConfig, ModelConfig, OutputConfig
from edgegru_runtime.record import Time
from edgegru_runtime.result import Event, Result
from edgegru_runtime.sinks.readings import kind_of, likeliest, number, on_says_more

_Reading = Callable[[Sequence[float]], str]


class JsonLines:
    """Writes results as JSON in ASCII, a line for each step or, with ``emit`` "events", for each event.

    Each line is assembled from parts that are quoted once: a JSON encoder takes five times as long.
    """

    header = ""

    def __init__(self, config: ModelConfig, decision: DecisionConfig, emit: str) -> None:
        self._readings = [_reading(config, output, decision) for output in config.outputs]
        self._names = [quoted(output.node) for output in config.outputs]
        self._says_more = [on_says_more(config, output, decision) for output in config.outputs]
        self._plain = self._readings[0] if len(config.outputs) == 1 and not self._says_more[0] else None
        self._emit_events = emit == "events"

    def lines(self, result: Result) -> str:
        """The lines of a result, each with its end; none where only events are wanted and there is none."""
        key, index, t, outputs, _, events, score, step_us, read = result
        start = f'{{"stream":{quoted(key)},"i":{index}' if key else f'{{"i":{index}'
        if t is not None:
            start += f',"t":{_time(t)}'
        if read is not None:
            start += f',"text":{quoted(read)}'
        if self._emit_events:
            return "".join([f"{start},{self._event(event)}}}\n" for event in events])
        if self._plain is not None and not events and score is None and step_us is None:  # nearly all are like this
            return f"{start},{self._plain(outputs[0])}}}\n"
        parts = [start, self._meaning(result)]
        if score is not None:
            parts.append(f'"score":{number(score)}')
        if events:
            parts.append(f'"events":[{",".join([f"{{{self._event(event)}}}" for event in events])}]')
        if step_us is not None:
            parts.append(f'"step_us":{number(step_us)}')
        return ",".join(parts) + "}\n"

    def _meaning(self, result: Result) -> str:
        texts = []
        of_outputs = zip(self._readings, self._says_more, result.outputs, result.on, strict=True)
        for reading, says_more, values, on in of_outputs:
            text = reading(values)
            if says_more:
                text += f',"on":[{",".join(map(quoted, on))}]'
            texts.append(text)
        if len(texts) == 1:
            return texts[0]
        named = ",".join([f"{name}:{{{text}}}" for name, text in zip(self._names, texts, strict=True)])
        return f'"outputs":{{{named}}}'

    def _event(self, event: Event) -> str:
        on, label, p, output = event
        text = f'"event":"{"on" if on else "off"}","label":{quoted(label)},"p":{number(p)}'
        return text if len(self._names) == 1 else f'{text},"output":{self._names[output]}'


def _time(t: Time) -> str:
    if isinstance(t, str):
        return quoted(t)
    return repr(t) if t is not None and abs(t) < inf else "null"


def _reading(config: ModelConfig, output: OutputConfig, decision: DecisionConfig) -> _Reading:
    """What writes one output's numbers as the fields of a JSON object."""
    kind = kind_of(config, output)
    if kind == "identity":
        return lambda values: f'"y":[{",".join(map(number, values))}]'
    if kind == "log_softmax":
        return _token
    names = [quoted(label) for label in output.labels]
    if kind == "softmax":
        return _classes(names)
    threshold = decision.threshold

    def labels(values: Sequence[float]) -> str:
        reached = [name for name, p in zip(names, values, strict=True) if p >= threshold]
        return f'"labels":[{",".join(reached)}],"probs":[{",".join(map(number, values))}]'

    return labels


def _token(values: Sequence[float]) -> str:
    best = likeliest(values)
    return f'"token":{best},"log_p":{number(values[best])}'


def _classes(names: Sequence[str]) -> _Reading:
    starts = [f'"label":{name},"p":' for name in names]
    layout = '%.9g,"probs":[' + ",".join(["%.9g"] * len(names)) + "]"

    def classes(values: Sequence[float]) -> str:
        numbers = tuple(values)
        best = max(numbers)
        start = starts[numbers.index(best)]
        # Between 0 and 1 printf's nine digits are what ``number`` gives; the text of NaN holds an n.
        if min(numbers) > 0.0 and best < 0.9999999995:
            text = layout % (best, *numbers)
            if "nan" not in text:
                return start + text
        return f'{start}{number(best)},"probs":[{",".join(map(number, numbers))}]'

    return classes
