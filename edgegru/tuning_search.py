"""Which settings are tried, and a quick count of what each of them would switch on.

The count follows the deciders of ``edgegru_runtime.decisions`` from one change to the next instead of from step to
step. It only sorts out what is not worth a look: what is reported comes from the deciders themselves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import floor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgegru.tuning_data import Stretch
from edgegru.tuning_events import Score, SwitchedOn, TrueEvent, runs, score
from edgegru.tuning_judge import Judge
from edgegru_runtime.config_json import MAX_SCORE
from edgegru_runtime.decisions import steps_of
from edgegru_runtime.model_config import DecisionConfig
from edgegru_runtime.smoothing import UNIT, fixed, fixed_values, make_smoothing

LONGEST = 9998  # steps that are smoothed over
LENGTHS = 4  # of smoothing that are tried, from 2 steps to the median event
TRIGGER_LEVELS = 3  # besides 1, up to half of the median event
THRESHOLDS = 8  # from what the events reach, as many from what the rest reaches, and as many between
FINER = 8  # thresholds on the way from one to the next but one, around the settings that look good
GAPS = (0.6, 1.0)  # threshold_off, as a share of the threshold
MOST_REPEATS = 3  # for each event: a setting that switches on more often is not followed to its end

_Integers = NDArray[np.int64]
_Runs = tuple[list[int], list[int]]  # the first step of each, and the one behind its last


class Tried(NamedTuple):
    """A setting and how it did, on what it was tuned on and, where that is known, elsewhere."""

    decision: DecisionConfig
    score: Score
    tested: Score | None = None


@dataclass(frozen=True)
class _Steps:
    """The times of a setting in steps."""

    minimum_on: int
    minimum_off: int
    refractory: int


class Search:
    """The settings that are tried on recordings, with a quick score of each.

    ``decision``: what is not searched stays as it is there. ``most_alarms``: what has more false alarms is left out.
    There must be an event.
    """

    def __init__(
        self, judge: Judge, stretches: Sequence[Stretch], decision: DecisionConfig, most_alarms: int
    ) -> None:
        self._judge, self._decision, self._most_alarms = judge, decision, most_alarms
        self._stretches = [_tuned_steps(stretch) for stretch in stretches]
        self.usual = usual_length(stretches)
        self._times = hold_times(self.usual, judge.rate)
        longest = max(steps_of(time, judge.rate) for times in self._times for time in times.values())
        self._gap = longest + judge.tolerance + 2
        self._events = _joined_events(self._stretches, self._gap)
        self._judged = _joined([stretch.judged for stretch in self._stretches], self._gap, False)
        # How few false alarms have been seen with so many events found, or more.
        self._fewest = [most_alarms] * (len(self._events) + 1)
        self._thresholds: dict[str, list[float]] = {}  # that were tried, by smoothing

    def everywhere(self) -> Iterator[Tried]:
        """The whole grid, but for settings that others clearly beat."""
        levels = trigger_levels(self.usual)
        for smoothing in smoothings(self.usual):
            values, track = self._followed(smoothing)
            self._thresholds[smoothing] = _thresholds(self._judge, self._stretches, values)
            for threshold, trigger_level in product(self._thresholds[smoothing], levels):
                reach = track.within_reach(self._events, self._judge.tolerance, fixed(threshold), trigger_level)
                shape = replace(self._decision, threshold=threshold, smoothing=smoothing, trigger_level=trigger_level)
                for share, times in product(GAPS, self._times):
                    setting = replace(shape, threshold_off=rounded(threshold * share), **times)
                    tried = self._tried(track, setting, self._fewest[reach])
                    if tried is not None:
                        yield tried
                    elif (share, times) == (GAPS[0], self._times[0]):
                        break  # what holds for less time switches on more often still

    def between(self, settings: Sequence[DecisionConfig]) -> Iterator[Tried]:
        """These settings with other thresholds, up to the next ones of the grid."""
        for smoothing in dict.fromkeys(setting.smoothing for setting in settings):
            _, track = self._followed(smoothing)
            grid = self._thresholds[smoothing]
            for setting in settings:
                if setting.smoothing != smoothing:
                    continue
                share = GAPS[-1] if setting.threshold_off == setting.threshold else GAPS[0]
                place = grid.index(setting.threshold)
                low, high = grid[max(place - 1, 0)], grid[min(place + 1, len(grid) - 1)]
                for threshold in map(rounded, np.linspace(low, high, FINER + 2)[1:-1].tolist()):
                    finer = replace(setting, threshold=threshold, threshold_off=rounded(threshold * share))
                    tried = self._tried(track, finer, self._most_alarms)
                    if tried is not None:
                        yield tried

    def _followed(self, smoothing: str) -> tuple[list[_Integers], _LabelTracks]:
        values = [_smoothed(stretch, smoothing, self._decision.warm_up) for stretch in self._stretches]
        tracks = _ClassTracks if self._judge.kind == "softmax" else _LabelTracks
        return values, tracks(_joined(values, self._gap, -1), self._judge.labels, self._judge.silent)

    def _tried(self, track: _LabelTracks, setting: DecisionConfig, most_alarms: int) -> Tried | None:
        """A setting's score; None where it need not be known."""
        most = most_alarms + MOST_REPEATS * len(self._events)
        on = track.switched_on(setting, self._judge.rate, most)
        if len(on) > most:
            return None
        found = score(on, self._events, self._judged, self._judge.tolerance)
        for count in range(found.found + 1):
            self._fewest[count] = min(self._fewest[count], found.false_alarms)
        return Tried(setting, found) if found.false_alarms <= self._most_alarms else None


def usual_length(stretches: Sequence[Stretch]) -> int:
    """The median length of the events, in steps."""
    return int(np.median([event.stop - event.start for stretch in stretches for event in stretch.events]))


def smoothings(usual: int) -> tuple[str, ...]:
    """What is tried for events of ``usual`` steps: none, and means, medians and exponential means up to that length."""
    lengths = _spread(2, min(usual, LONGEST), LENGTHS)
    means = [f"mean:{n}" for n in lengths]
    medians = [f"median:{n + 1 - n % 2}" for n in lengths[:2]]
    exponential = [f"ema:{2 / (n + 1):.3g}" for n in lengths]  # as old, on average, as the mean of n
    return ("none", *means, *medians, *exponential)


def trigger_levels(usual: int) -> tuple[int, ...]:
    """What is tried for events of ``usual`` steps."""
    return (1, *_spread(2, usual // 2, TRIGGER_LEVELS))


def hold_times(usual: int, rate: float | None) -> tuple[dict[str, float], ...]:
    """Minimum times and refractory times that are tried, in the units of a decision, from much to nothing."""
    half, whole, double = (_time(steps, rate) for steps in (max(usual // 2, 1), usual, 2 * usual))
    nothing = {"minimum_on": 0.0, "minimum_off": 0.0, "refractory": 0.0}
    return (
        nothing | {"refractory": double},
        nothing | {"refractory": whole},
        nothing | {"minimum_on": half, "minimum_off": half},
        nothing | {"minimum_on": half},
        nothing | {"minimum_off": half},
        nothing,
    )


def effort(decision: DecisionConfig) -> int:
    """How many settings are not at their simplest."""
    times = (decision.minimum_on, decision.minimum_off, decision.refractory)
    used = (decision.smoothing != "none", decision.trigger_level > 1, decision.threshold_off != decision.threshold)
    return sum(used) + sum(time > 0 for time in times)


def _tuned_steps(stretch: Stretch) -> Stretch:
    """A recording up to the last step that is judged."""
    length = int(np.flatnonzero(stretch.judged)[-1]) + 1 if stretch.judged.any() else 0
    length = max([length, *(event.stop for event in stretch.events)])
    return replace(stretch, values=stretch.values[:length], judged=stretch.judged[:length])


def _smoothed(stretch: Stretch, smoothing: str, warm_up: int) -> _Integers:
    """The smoothed values (T, labels) as integers: −1 before the first one, else the last one."""
    length, size = stretch.values.shape
    decided = np.isfinite(stretch.values).all(axis=1) & (np.arange(length) >= warm_up)
    if not decided.any():
        return np.full((length, size), -1)
    rows = [fixed_values(row) for row in stretch.values[decided].tolist()]
    method = make_smoothing(smoothing, size)
    found = np.array(rows if method is None else [method.add(row) for row in rows], np.int64)
    last = np.cumsum(decided) - 1
    return np.where((last >= 0)[:, None], found[last], -1)


def _thresholds(judge: Judge, stretches: Sequence[Stretch], smoothed: Sequence[_Integers]) -> list[float]:
    """Quantiles of what the events reach at most and of what the rest reaches, and even steps from first to last."""
    numbers = {label: number for number, label in enumerate(judge.labels)}
    watched = [number for label, number in numbers.items() if label != judge.silent]
    peaks, rest = [], [np.zeros(1, np.int64)]
    for stretch, values in zip(stretches, smoothed, strict=True):
        outside = stretch.judged.copy()
        for event in stretch.events:
            window = slice(event.start, event.stop + judge.tolerance)
            peaks.append(values[window, numbers[event.label]].max())
            outside[window] = False
        rest.append(values[outside][:, watched].max(axis=1, initial=0))
    others = np.concatenate(rest)
    tail = 1 - np.geomspace(0.5, 1 / max(len(others), 2), THRESHOLDS)
    found = np.concatenate([np.quantile(peaks, np.linspace(0, 1, THRESHOLDS)), np.quantile(others, tail)]) / UNIT
    found = np.concatenate([found, np.linspace(found.min(), found.max(), THRESHOLDS)])
    highest = MAX_SCORE if judge.kind == "identity" else 1.0
    lowest = 1 / len(judge.labels) if judge.kind == "softmax" else 0.0  # the leading class has as much in any case
    return sorted({rounded(value) for value in np.clip(found, lowest, highest).tolist()} - {0.0})


def _joined(arrays: Sequence[NDArray[Any]], gap: int, between: int | bool) -> NDArray[Any]:
    """Recordings one after another, with so much of nothing between them that each begins as if it were alone."""
    size = (gap, *arrays[0].shape[1:])
    return np.concatenate([part for array in arrays for part in (array, np.full(size, between, array.dtype))])


def _joined_events(stretches: Sequence[Stretch], gap: int) -> list[TrueEvent]:
    """The events in recordings that are joined so."""
    ends = np.cumsum([0, *(len(stretch.judged) + gap for stretch in stretches)]).tolist()
    return [
        TrueEvent(event.start + offset, event.stop + offset, event.label)
        for stretch, offset in zip(stretches, ends, strict=False)
        for event in stretch.events
    ]


class _LabelTracks:
    """What a decider of independent labels switches on, from smoothed values (T, labels)."""

    def __init__(self, values: _Integers, labels: Sequence[str], silent: str | None) -> None:
        self._values, self._labels, self._silent = values, labels, silent
        self._ready = cache(self._runs_ready)
        self._low = cache(self._runs_low)

    def within_reach(self, events: Sequence[TrueEvent], tolerance: int, threshold: int, trigger_level: int) -> int:
        """How many events have a step in which their label might be switched on."""
        ready = {label: self._ready(number, threshold, trigger_level) for number, label in enumerate(self._labels)}
        firsts = (_first(*ready[event.label], event.start) for event in events)
        pairs = zip(firsts, events, strict=True)
        return sum(first is not None and first < event.stop + tolerance for first, event in pairs)

    def switched_on(self, setting: DecisionConfig, rate: float | None, most: int) -> list[SwitchedOn]:
        """In order of steps; cut off behind ``most``, there are then more."""
        steps = _in_steps(setting, rate)
        on: list[SwitchedOn] = []
        for number, label in enumerate(self._labels):
            on += (SwitchedOn(step, label) for step in self._label_on(number, setting, steps, most))
        return sorted(on)

    def _label_on(self, label: int, setting: DecisionConfig, steps: _Steps, most: int) -> list[int]:
        low = self._low(label, fixed(setting.threshold_off))
        on: list[int] = []
        free = 0
        for ready, stop in zip(*self._ready(label, fixed(setting.threshold), setting.trigger_level), strict=True):
            while (step := max(ready, free)) < stop:
                on.append(step)
                if len(on) > most:
                    return on
                off = _first(*low, step + max(steps.minimum_on, 1))
                if off is None:
                    return on
                free = max(off + max(steps.minimum_off, 1), step + steps.refractory)
        return on

    def _runs_ready(self, label: int, threshold: int, trigger_level: int) -> _Runs:
        """Where the threshold has been reached for ``trigger_level`` steps."""
        return _late(runs(self._values[:, label] >= threshold), trigger_level)

    def _runs_low(self, label: int, threshold_off: int) -> _Runs:
        return _late(runs(self._values[:, label] < threshold_off), 1)


class _ClassTracks(_LabelTracks):
    """The same of classes, of which at most one is on. Where two lead alike, the first one does."""

    def __init__(self, values: _Integers, labels: Sequence[str], silent: str | None) -> None:
        super().__init__(values, labels, silent)
        self._largest, self._leading = values.max(axis=1), values.argmax(axis=1)
        self._all_ready = cache(self._all_runs_ready)

    def switched_on(self, setting: DecisionConfig, rate: float | None, most: int) -> list[SwitchedOn]:
        steps = _in_steps(setting, rate)
        threshold_off = fixed(setting.threshold_off)
        lows = [self._low(number, threshold_off) for number in range(len(self._labels))]
        silent = self._labels.index(self._silent) if self._silent is not None else -1
        may_on = [0] * len(self._labels)
        on: list[SwitchedOn] = []
        current, free, may_off = -1, 0, 0  # free: the first step at which anything may be switched
        off: int | None = None  # where what is on goes off, if nothing takes its place before
        nothing_held = steps == _Steps(0, 0, 0)
        for ready, stop, label in self._all_ready(fixed(setting.threshold), setting.trigger_level):
            if label == silent and current < 0 and nothing_held:
                continue  # it would go on and off without a trace
            if current >= 0 and off is not None and off < ready:
                may_on[current] = max(may_on[current], off + steps.minimum_off)
                current, free = -1, off + 1
            if label == current:
                continue
            step = max(ready, free, may_on[label])
            if current >= 0:
                step = max(step, may_off)
                if off is not None and off < min(step, stop):
                    may_on[current] = max(may_on[current], off + steps.minimum_off)
                    current, free = -1, off + 1
                    step = max(ready, free, may_on[label])
            if step >= stop:
                continue
            if current >= 0:
                may_on[current] = max(may_on[current], step + steps.minimum_off)
            if label != silent:
                on.append(SwitchedOn(step, self._labels[label]))
                if len(on) > most:
                    break
            current, free, may_off, may_on[label] = label, step + 1, step + steps.minimum_on, step + steps.refractory
            off = _first(*lows[label], max(free, may_off))
        return on

    def _runs_ready(self, label: int, threshold: int, trigger_level: int) -> _Runs:
        all_ready = self._all_ready(threshold, trigger_level)
        return _late([(start, stop) for start, stop, leading in all_ready if leading == label], 1)

    def _all_runs_ready(self, threshold: int, trigger_level: int) -> list[tuple[int, int, int]]:
        """Where one class has led, at the threshold, for ``trigger_level`` steps; and which."""
        leading = np.where(self._largest >= threshold, self._leading, -1)
        bounds = np.concatenate([[0], np.flatnonzero(np.diff(leading)) + 1, [len(leading)]])
        starts, stops = bounds[:-1], bounds[1:]
        long = (leading[starts] >= 0) & (stops - starts >= trigger_level)
        ready = (starts[long] + trigger_level - 1, stops[long], leading[starts[long]])
        return list(zip(*(numbers.tolist() for numbers in ready), strict=True))


def _late(found: Sequence[tuple[int, int]], trigger_level: int) -> _Runs:
    """Runs from the step on at which they have lasted for ``trigger_level``; shorter ones are none."""
    lasting = [(start + trigger_level - 1, stop) for start, stop in found if stop - start >= trigger_level]
    return [start for start, _ in lasting], [stop for _, stop in lasting]


def _first(starts: Sequence[int], stops: Sequence[int], step: int) -> int | None:
    """The first step from ``step`` on that lies in one of the runs."""
    run = bisect_right(stops, step)
    return max(starts[run], step) if run < len(starts) else None


def _in_steps(setting: DecisionConfig, rate: float | None) -> _Steps:
    times = (steps_of(time, rate) for time in (setting.minimum_on, setting.minimum_off, setting.refractory))
    return _Steps(*times)


def _spread(low: int, high: int, count: int) -> list[int]:
    """Up to ``count`` whole numbers from ``low`` to ``high``, at even ratios; none where ``high`` is less."""
    return sorted({round(n) for n in np.geomspace(low, high, count).tolist()}) if high >= low else []


def _time(steps: int, rate: float | None) -> float:
    """Steps in the unit of a decision, in two digits where these are seconds."""
    return float(steps) if rate is None else float(f"{steps / rate:.2g}")


def rounded(value: float) -> float:
    """Four digits, rounded down: behind the point up to 1, of all above. What has no more stays what it is."""
    digits = 4 if value <= 1 else 4 - len(str(int(value)))
    return floor(value * 10.0**digits + 1e-9) / 10.0**digits
