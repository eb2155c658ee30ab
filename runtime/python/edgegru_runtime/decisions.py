"""Decisions on a stream: what the outputs of successive steps switch on and off (docs/deciding.md).

All of it is integer arithmetic on probabilities, or scores of residuals, with 15 fractional bits, so that a program in
another language decides the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

from edgegru_runtime.config_json import decision_to_json, parse_decision, residual_to_json
from edgegru_runtime.errors import ArtifactError, InputError, StateError
from edgegru_runtime.model_config import DecisionConfig, ModelConfig, ResidualConfig
from edgegru_runtime.residuals import Residuals, check_residual, score
from edgegru_runtime.result import Event
from edgegru_runtime.smoothing import UNIT, RecentPeak, fixed, fixed_values, make_smoothing

ANOMALY = "anomaly"  # the label of a score
_MAX_STEPS = 2**31 - 1  # that a time can last
_MAX_SAVED = 2**63 - 1
_INFINITE = float("inf")
_ABOVE_ALL = 2.0  # every probability is below

_Values = Sequence[float]
_Outputs = Sequence[_Values]
_Events = Sequence[Event]
_Step = Callable[[int, _Values, _Values | None, _Outputs], _Events]


def changed_decision(decision: DecisionConfig, changes: Mapping[str, Any]) -> DecisionConfig:
    """The decision with other settings: ``changes`` by field, as JSON has them in a model file.

    A ``threshold`` alone takes ``threshold_off`` along where the two were equal, or where it would lie above.
    Raises InputError for a field that does not exist, or is out of the range that model files are held to.
    """
    fields = decision_to_json(decision) | dict(changes)
    if isinstance(fields.get("residual"), ResidualConfig):
        fields["residual"] = residual_to_json(fields["residual"])
    threshold = fields["threshold"]
    if "threshold_off" not in changes and type(threshold) in (int, float):
        were_equal = decision.threshold_off == decision.threshold
        fields["threshold_off"] = threshold if were_equal else min(decision.threshold_off, threshold)
    try:
        return parse_decision(fields)
    except ArtifactError as error:
        raise InputError(str(error)) from None


def target_names(config: ModelConfig, decision: DecisionConfig) -> tuple[str, ...]:
    """What records must bring besides the channels: the labels of a value whose residuals are scored, else none."""
    if decision.residual is None:
        return ()
    outputs = [output for output in config.outputs if output.node == decision.residual.output]
    return outputs[0].labels if outputs and outputs[0].target == "step_value" else ()


def steps_of(time: float, rate: float | None) -> int:
    """The steps that last for ``time`` at least: seconds at ``rate``, or steps where there is none.

    A millionth of a step makes no other: 0.07 s at 100 Hz are 7 steps, whatever their product is in binary.
    """
    return min(max(ceil(time * (rate or 1.0) - 1e-6), 0), _MAX_STEPS)


class _Decider(ABC):
    """Of one output: what is on, and what it takes to change that. One integer for each label in every list."""

    step: _Step

    def __init__(self, config: ModelConfig, decision: DecisionConfig, place: int, labels: Sequence[str]) -> None:
        rate = config.input.step_rate
        self._place, self._labels = place, labels
        self._threshold, self._threshold_off = fixed(decision.threshold), fixed(decision.threshold_off)
        self._warm_up, self._trigger_level = decision.warm_up, decision.trigger_level
        self._minimum_on = steps_of(decision.minimum_on, rate)
        self._minimum_off = steps_of(decision.minimum_off, rate)
        self._refractory = steps_of(decision.refractory, rate)
        self._smoothing = make_smoothing(decision.smoothing, len(labels))
        self._no_rows = [0] * len(labels)
        self.step = self._step if self._smoothing is None else self._smoothed_step
        self.reset()

    @abstractmethod
    def switch(self, index: int, values: Sequence[int]) -> _Events:
        """What the smoothed ``values``, one a label, switch at the step ``index``."""

    @abstractmethod
    def _step(self, index: int, x: _Values, target: _Values | None, outputs: _Outputs) -> _Events:
        """A step without smoothing; quick where nothing changes."""

    def _smoothed_step(self, index: int, x: _Values, target: _Values | None, outputs: _Outputs) -> _Events:
        return self.decide(index, fixed_values(outputs[self._place]))

    def decide(self, index: int, values: list[int]) -> _Events:
        """What the ``values``, one a label, switch at the step ``index``."""
        if index < self._warm_up:
            return ()
        events = self.switch(index, values if self._smoothing is None else self._smoothing.add(values))
        if events:
            self._changed()
        return events

    def _turn_on(self, index: int, label: int, value: int) -> Event:
        self._is_on[label], self._in_a_row[label] = 1, 0
        self._may_off[label], self._may_on[label] = index + self._minimum_on, index + self._refractory
        return Event(True, self._labels[label], value / UNIT, self._place)

    def _turn_off(self, index: int, label: int, value: int) -> Event:
        self._is_on[label] = 0
        self._may_on[label] = max(self._may_on[label], index + self._minimum_off)
        return Event(False, self._labels[label], value / UNIT, self._place)

    def _changed(self) -> None:
        """``on`` and what makes steps quick, from what is on."""
        self.on = tuple(label for label, is_on in zip(self._labels, self._is_on, strict=True) if is_on)

    def reset(self) -> None:
        """Nothing is on and nothing remembered."""
        self._is_on, self._in_a_row, self._may_off, self._may_on = ([0] * len(self._labels) for _ in range(4))
        if self._smoothing is not None:
            self._smoothing.reset()
        self._changed()

    def saved(self) -> list[list[int]]:
        switches = [self._is_on, self._in_a_row, self._may_off, self._may_on]
        return [*map(list, switches), [] if self._smoothing is None else self._smoothing.saved()]

    def restore(self, value: Any) -> None:
        """Take back what ``saved`` gave. Raises StateError where it does not fit."""
        size = len(self._labels)
        if not (isinstance(value, list) and len(value) == 5 and all(map(_is_saved_list, value))):
            raise StateError("the saved decisions are no five lists of integers")
        *switches, smoothing = value
        if any(len(numbers) != size for numbers in switches) or max(switches[0]) > 1:
            raise StateError(f"the saved decisions do not fit, expected {size} labels that are on or off")
        if self._smoothing is not None:
            self._smoothing.restore(smoothing)
        elif smoothing:
            raise StateError("the saved decisions have smoothed values, expected none")
        self._is_on, self._in_a_row, self._may_off, self._may_on = map(list, switches)
        self._changed()


class _ClassDecider(_Decider):
    """Of classes, a softmax output: at most one label is on."""

    def _step(self, index: int, x: _Values, target: _Values | None, outputs: _Outputs) -> _Events:
        values = outputs[self._place]
        p = max(values)
        if p < self._stays_off or (values[self._label] == p and self._stays_on <= p < _ABOVE_ALL):
            self._in_a_row = self._no_rows[:]
            return ()
        return self.decide(index, fixed_values(values))

    def switch(self, index: int, values: Sequence[int]) -> _Events:
        before = self._label if self.on else None
        largest = max(values)
        candidate = values.index(largest) if before is None or values[before] != largest else before
        in_a_row = self._in_a_row[candidate] + 1 if largest >= self._threshold and candidate != before else 0
        self._in_a_row = self._no_rows[:]
        self._in_a_row[candidate] = in_a_row
        if candidate != before and in_a_row >= self._trigger_level and index >= self._may_on[candidate]:
            if before is None:
                return (self._turn_on(index, candidate, largest),)
            if index >= self._may_off[before]:
                off = self._turn_off(index, before, values[before])
                return (off, self._turn_on(index, candidate, largest))
        if before is not None and values[before] < self._threshold_off and index >= self._may_off[before]:
            return (self._turn_off(index, before, values[before]),)
        return ()

    def _changed(self) -> None:
        super()._changed()
        self._label = self._is_on.index(1) if self.on else 0
        # Without smoothing nothing changes where the label that is on has a largest probability from here on, or where
        # none is on and all are below.
        self._stays_on = (self._threshold_off - 0.5) / UNIT if self.on else _INFINITE
        self._stays_off = -_INFINITE if self.on else _all_below(self._threshold)

    def restore(self, value: Any) -> None:
        if isinstance(value, list) and value and isinstance(value[0], list) and value[0].count(1) > 1:
            raise StateError(f"the saved decisions have {value[0].count(1)} classes on, expected at most one")
        super().restore(value)


class _LabelDecider(_Decider):
    """Of independent labels, a sigmoid output: each is on or off by itself."""

    def _step(self, index: int, x: _Values, target: _Values | None, outputs: _Outputs) -> _Events:
        values = outputs[self._place]
        if max(values) < self._stays_off:
            self._in_a_row = self._no_rows[:]
            return ()
        return self.decide(index, fixed_values(values))

    def switch(self, index: int, values: Sequence[int]) -> _Events:
        events = []
        is_on, in_a_row, threshold, threshold_off = self._is_on, self._in_a_row, self._threshold, self._threshold_off
        for label, value in enumerate(values):
            if is_on[label]:
                if value < threshold_off and index >= self._may_off[label]:
                    events.append(self._turn_off(index, label, value))
            elif value < threshold:
                in_a_row[label] = 0
            else:
                in_a_row[label] += 1
                if in_a_row[label] >= self._trigger_level and index >= self._may_on[label]:
                    events.append(self._turn_on(index, label, value))
        return events

    def _changed(self) -> None:
        super()._changed()
        # Without smoothing nothing changes where none is on and all are below.
        self._stays_off = -_INFINITE if self.on else _all_below(self._threshold)


class _AnomalyDecider(_LabelDecider):
    """Of residuals: their score is on or off like one label's probability."""

    def __init__(self, config: ModelConfig, decision: DecisionConfig, residual: ResidualConfig) -> None:
        self._residuals = Residuals(config, residual.output, decision.warm_up)
        self._scale = residual.scale
        memory = steps_of(residual.memory, config.input.step_rate)
        self._peak = RecentPeak(memory) if memory else None
        self.score: float | None = None
        super().__init__(config, decision, self._residuals.place, (ANOMALY,))
        self.step = self._score_step

    def _score_step(self, index: int, x: _Values, target: _Values | None, outputs: _Outputs) -> _Events:
        residuals = self._residuals.step(index, x, target, outputs)
        if residuals is None:
            self.score = None
            return ()
        self.score = score(residuals, self._scale)
        return self.decide(index, [fixed(self.score)])

    def switch(self, index: int, values: Sequence[int]) -> _Events:
        return super().switch(index, values if self._peak is None else [self._peak.add(value) for value in values])

    def reset(self) -> None:
        super().reset()
        self._residuals.reset()
        if self._peak is not None:
            self._peak.reset()
        self.score = None

    def saved(self) -> list[Any]:
        peak = [] if self._peak is None else [self._peak.peak]
        return [super().saved(), self._residuals.saved(), self.score, *peak]

    def restore(self, value: Any) -> None:
        size = 3 if self._peak is None else 4
        if not (isinstance(value, list) and len(value) == size and type(value[2]) in (int, float, type(None))):
            raise StateError(f"the saved decisions of a score are no list of {size}")
        if self._peak is not None:
            if type(value[3]) is not int:
                raise StateError("the saved peak of the scores is no integer")
            self._peak.restore(value[3])
        super().restore(value[0])
        self._residuals.restore(value[1])
        self.score = value[2]


class Decisions:
    """The decisions on one stream, for all outputs of its model; of values only their residuals decide.

    ``step(index, x, target, outputs)`` returns what a step switches on and off. ``index`` counts the steps since the
    reset; ``x``: the sample (channels,), of a block the last one; ``target``: the measured values that ``target_names``
    asks for, None where there are none; ``outputs``: what the step gave, a sequence for each output.

    Raises InputError where ``decision`` asks for residuals that the model cannot have.
    """

    def __init__(self, config: ModelConfig, decision: DecisionConfig) -> None:
        if decision.residual is not None:
            _fitting_residual(config, decision)
        self._deciders = [_decider(config, decision, place) for place in range(len(config.outputs))]
        self._deciding = [decider for decider in self._deciders if decider is not None]
        self._scored = next((decider for decider in self._deciding if isinstance(decider, _AnomalyDecider)), None)
        self._settings = decision_to_json(decision) | {"rate": config.input.step_rate}
        del self._settings["reset"]  # says when ``reset`` is called, not what is decided
        self.active = bool(self._deciding)  # whether anything is decided at all
        self.step: _Step = self._deciding[0].step if len(self._deciding) == 1 else self._step  # with one call less

    def _step(self, index: int, x: _Values, target: _Values | None, outputs: _Outputs) -> _Events:
        return [event for decider in self._deciding for event in decider.step(index, x, target, outputs)]

    @property
    def on(self) -> tuple[tuple[str, ...], ...]:
        """The labels that are on now, by output."""
        return tuple(() if decider is None else decider.on for decider in self._deciders)

    @property
    def score(self) -> float | None:
        """The score of the last step's residuals; None where it had none."""
        return None if self._scored is None else self._scored.score

    def reset(self) -> None:
        """Nothing is on and nothing remembered, as at the beginning."""
        for decider in self._deciding:
            decider.reset()

    def saved(self) -> dict[str, Any]:
        """All that is remembered, and the settings, as JSON."""
        return {"settings": self._settings, "deciders": [decider.saved() for decider in self._deciding]}

    def restore(self, value: Any) -> None:
        """Take back what ``saved`` gave. Raises StateError, and changes nothing, where it does not fit."""
        if not (isinstance(value, dict) and value.keys() == {"settings", "deciders"}):
            raise StateError("the saved decisions are no settings and deciders")
        if value["settings"] != self._settings:
            raise StateError(f"the decisions were saved {_difference(value['settings'], self._settings)}")
        deciders, before = value["deciders"], self.saved()["deciders"]
        if not isinstance(deciders, list) or len(deciders) != len(before):
            raise StateError(f"the saved decisions do not fit, expected those of {len(before)} outputs")
        try:
            self._restore(deciders)
        except StateError:
            self._restore(before)
            raise

    def _restore(self, saved: Sequence[Any]) -> None:
        for decider, value in zip(self._deciding, saved, strict=True):
            decider.restore(value)


def decide(
    config: ModelConfig, decision: DecisionConfig, probabilities: Sequence[Sequence[float]], output: int = 0
) -> list[tuple[int, Event]]:
    """What is switched in a whole recording, with the steps: ``probabilities`` (steps, labels) of one output."""
    decider = _decider(config, decision, output)
    if decider is None or isinstance(decider, _AnomalyDecider):
        raise InputError(f"output {config.outputs[output].node!r} has no probabilities; expected a softmax or sigmoid")
    outputs: list[Sequence[float]] = [()] * len(config.outputs)
    events = []
    for index, values in enumerate(probabilities):
        outputs[output] = values
        events += [(index, event) for event in decider.step(index, (), None, outputs)]
    return events


def scores(
    config: ModelConfig,
    decision: DecisionConfig,
    samples: Sequence[Sequence[float]],
    targets: Sequence[Sequence[float]] | None,
    predictions: Sequence[Sequence[float]],
) -> list[float | None]:
    """The score of every step of a recording, None where there is none.

    ``samples`` (steps, channels), the last ones of blocks; ``targets`` (steps, labels), where ``target_names`` asks for
    them; ``predictions`` (steps, labels) of the output that is scored.
    """
    residual = _fitting_residual(config, decision)
    residuals = Residuals(config, residual.output, decision.warm_up)
    outputs: list[Sequence[float]] = [()] * len(config.outputs)
    found: list[float | None] = []
    for index, (x, values) in enumerate(zip(samples, predictions, strict=True)):
        outputs[residuals.place] = values
        step = residuals.step(index, x, None if targets is None else targets[index], outputs)
        found.append(None if step is None else score(step, residual.scale))
    return found


def decide_scores(
    config: ModelConfig, decision: DecisionConfig, scored: Sequence[float | None]
) -> list[tuple[int, Event]]:
    """What the ``scores`` of a whole recording switch, with the steps."""
    decider = _AnomalyDecider(config, decision, _fitting_residual(config, decision))
    events = []
    for index, value in enumerate(scored):
        if value is not None:
            events += [(index, event) for event in decider.decide(index, [fixed(value)])]
    return events


def _decider(config: ModelConfig, decision: DecisionConfig, place: int) -> _Decider | None:
    output = config.outputs[place]
    kind = config.node(output.node).kind
    if kind == "softmax":
        return _ClassDecider(config, decision, place, output.labels)
    if kind == "sigmoid":
        return _LabelDecider(config, decision, place, output.labels)
    if decision.residual is not None and decision.residual.output == output.node:
        return _AnomalyDecider(config, decision, decision.residual)
    return None


def _fitting_residual(config: ModelConfig, decision: DecisionConfig) -> ResidualConfig:
    if decision.residual is None:
        raise InputError("the decision has no residual; expected decision.residual with output and scale")
    try:
        check_residual(config, decision.residual)
    except ArtifactError as error:
        raise InputError(str(error)) from None
    return decision.residual


def _all_below(threshold: int) -> float:
    """Whatever is below surely rounds to less than the integer ``threshold``."""
    return (threshold - 0.5) / UNIT * (1 - 2**-50) if threshold else -_INFINITE


def _is_saved_list(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and 0 <= number <= _MAX_SAVED for number in value)


def _difference(saved: Any, settings: Mapping[str, Any]) -> str:
    """The first setting in which they differ, in words."""
    if not isinstance(saved, dict):
        return "without settings"
    usual = decision_to_json(DecisionConfig()) | vars(DecisionConfig())
    name = next(name for name in (*settings, *saved) if saved.get(name, None) != settings.get(name, None))
    found, expected = (values.get(name, usual.get(name)) for values in (saved, settings))
    return f"with {name} {found}; expected {expected}, as it is now"
