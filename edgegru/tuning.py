"""``edgegru tune``: decision settings from a labelled long recording, by events. docs/tuning.md explains the rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgegru.tuning_data import Parts, chosen_background, residual_scale, scored, streamed_parts
from edgegru.tuning_events import Score
from edgegru.tuning_judge import STEPS_WITHOUT_RATE, Judge
from edgegru.tuning_search import Search, Tried, effort, rounded
from edgegru_export.saving import save_artifact
from edgegru_runtime import Model, read_artifact
from edgegru_runtime.config_json import MAX_SCORE, decision_to_json
from edgegru_runtime.errors import DataError, EdgegruError
from edgegru_runtime.model_config import DecisionConfig, ResidualConfig
from edgegru_runtime.residuals import RESIDUAL_TARGETS

USUAL_LIMIT = 1.0  # false alarms an hour, or every 1,000 steps, unless asked otherwise
MOST_ALARMS = 10  # times as many false alarms as are allowed, or as there are events, are still looked at
FEWEST_ALARMS = 20  # that are looked at in any case
SHOWN = 12  # settings between few false alarms and high recall
ABOVE_LARGEST = 1.1  # normal score: the highest threshold that is looked at without labels
GRAIN = 0.1  # of the median event: latencies that differ by less are as good as equal


@dataclass(frozen=True)
class Outcome:
    """How settings did on one part of the recordings.

    ``duration``: what was judged, in hours; ``alarm_rate``: false alarms an hour; ``latency``: median seconds from an
    event's start until it was found. For a model without a rate these are thousands of steps, false alarms every 1,000
    steps, and steps. None where there was no event.
    """

    events: int
    found: int
    missed: int
    recall: float | None
    false_alarms: int
    alarm_rate: float
    repeats: int
    latency: float | None
    duration: float


@dataclass(frozen=True)
class Setting:
    """Decision settings, and how they did where they were tuned and where they were not."""

    decision: DecisionConfig
    tuned: Outcome
    tested: Outcome | None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        outcomes = {name: found and vars(found) for name, found in (("tuned", self.tuned), ("tested", self.tested))}
        return {"decision": decision_to_json(self.decision), **outcomes}


@dataclass(frozen=True)
class TuningReport:
    """What was chosen, and what else could have been.

    ``chosen`` is what was written, ``before`` what the model had (None where it decided nothing), ``front`` settings
    that no other beats, by their false alarms. ``limit``: of the alarm rate; None where only a recall was asked for.
    """

    file: str
    output: str
    tuned_on: str
    tested_on: str | None
    background: str | None
    tolerance: float  # in seconds, or steps
    limit: float | None
    min_recall: float | None
    rate: float | None
    searched: int  # settings that were looked at
    chosen: Setting
    before: Setting | None
    front: tuple[Setting, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        settings = {"chosen": self.chosen.to_dict(), "before": self.before and self.before.to_dict()}
        return {**vars(self), **settings, "front": [setting.to_dict() for setting in self.front]}

    def __str__(self) -> str:
        from edgegru.tuning_text import tuning_text

        return tuning_text(self)


class Wish(NamedTuple):
    """What is asked for: at most so many false alarms an hour (every 1,000 steps), at least that recall."""

    limit: float | None
    min_recall: float | None


def tune(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    background: str | None = None,
    tolerance: float = 0.0,
    max_false_alarms_per_hour: float | None = None,
    min_recall: float | None = None,
    part: str = "auto",
    test_part: str = "auto",
    plot: str | Path | None = None,
    force: bool = False,
) -> TuningReport:
    """Choose threshold, smoothing, trigger level and times of an artifact, and write it with them to ``output``.

    ``data``: recordings in the layout the model was trained on, with labels. ``background``: the class that is no
    event; of a model of values that of normal steps (without it all are taken as normal). ``tolerance``: seconds (steps
    where the model has no rate) behind an event within which it may still be found. ``max_false_alarms_per_hour`` (by
    default 1, unless a recall is asked for), ``min_recall``: what is asked for. ``part``: what to tune on: "train",
    "validation", "all" or "auto", the first of validation and train that there is. ``test_part``: what to report on
    besides: also "test", "time" (the end of the recordings themselves, which is not tuned on then), "none" or "auto",
    the first of test and time that there is. ``plot``: where to draw false alarms against recall as a PNG.

    Raises DataError where the recordings have no labels or events, or nothing does what is asked for; ArtifactError
    for a broken file; EdgegruError where something is not to be replaced.
    """
    _check_files(Path(output), plot, force)
    artifact = read_artifact(model)
    config = artifact.config
    rate = config.input.step_rate
    wish = _wish(max_false_alarms_per_hour, min_recall, rate)
    if tolerance < 0:
        raise DataError(f"the tolerance is {tolerance:g}, expected 0 or more")
    if len(config.outputs) > 1:
        raise DataError(f"{model} has {len(config.outputs)} outputs, decisions are tuned for one")
    judge = Judge(config, chosen_background(config.outputs[0], background), round(tolerance * (rate or 1.0)))
    parts = streamed_parts(
        Model(artifact), data, part=part, test_part=test_part, background=judge.background, tolerance=judge.tolerance
    )
    start, decides = config.decision, config.outputs[0].target not in RESIDUAL_TARGETS
    if not decides:
        scale = residual_scale(parts.tuned, judge.tolerance)
        parts = scored(parts, scale)
        start = replace(start, residual=ResidualConfig(config.outputs[0].node, scale))
    if any(stretch.events for stretch in parts.tuned):
        chosen, front, looked_at = _by_events(judge, parts, start, wish)
    elif min_recall is None:
        chosen, front, looked_at = _by_alarms(judge, parts, start, wish)
    else:
        raise DataError(f"no step of {data} is known to be an anomaly, which a recall needs; expected --background")
    settings = [_setting(judge, tried) for tried in front]
    report = TuningReport(
        file=str(model),
        output=str(output),
        tuned_on=parts.tuned_on,
        tested_on=parts.tested_on,
        background=judge.background,
        tolerance=tolerance,
        limit=wish.limit,
        min_recall=min_recall,
        rate=rate,
        searched=looked_at,
        chosen=settings[front.index(chosen)],
        before=_setting(judge, _exact(judge, config.decision, parts)) if decides else None,
        front=tuple(settings),
    )
    save_artifact(replace(artifact, config=replace(config, decision=chosen.decision)), output)
    if plot is not None:
        from edgegru.tuning_plot import plot_tuning  # matplotlib only where a picture is wanted

        plot_tuning(report, plot)
    return report


def _by_events(
    judge: Judge, parts: Parts, start: DecisionConfig, wish: Wish
) -> tuple[Tried, list[Tried], int]:
    """The setting that fits best, some of those that no other beats, and how many were looked at."""
    events = sum(len(stretch.events) for stretch in parts.tuned)
    most = MOST_ALARMS * events
    if wish.limit is not None:
        steps = sum(int(np.count_nonzero(stretch.judged)) for stretch in parts.tuned)
        most = max(events, FEWEST_ALARMS, round(MOST_ALARMS * wish.limit * judge.duration(steps)))
    search = Search(judge, parts.tuned, start, most)
    grain = max(GRAIN * search.usual, 1.0)
    tried = list(search.everywhere())
    tried += search.between([each.decision for each in front_of(tried, grain)])
    candidates = front_of(tried, grain)
    wanted = fitting(judge, candidates, wish)
    # What is reported is what the deciders themselves do.
    exact = [_exact(judge, each.decision, parts) for each in _thinned(candidates, wanted)]
    front = front_of(exact, grain)
    chosen = fitting(judge, front, wish)
    if chosen is None:
        raise DataError(f"none of {len(tried)} settings {_wanted(judge, wish)}; {_nearest(judge, front, wish)}")
    return chosen, front, len(tried)


def front_of(tried: Iterable[Tried], grain: float) -> list[Tried]:
    """The settings that no other beats in false alarms and events found: more of both from one to the next.

    Of those that are equal in both the one with the fewest repeats, then the least latency (to within ``grain`` steps),
    then the simplest, then the one whose threshold is in the middle.
    """
    cells: dict[tuple[int, int], list[Tried]] = {}
    for each in tried:
        cells.setdefault((each.score.false_alarms, -each.score.found), []).append(each)
    front: list[Tried] = []
    for cell in sorted(cells):
        if not front or -cell[1] > front[-1].score.found:
            front.append(_best_of(cells[cell], grain))
    return front


def _best_of(cell: Sequence[Tried], grain: float) -> Tried:
    def order(each: Tried) -> tuple[float, ...]:
        latency = 0 if each.score.latency is None else each.score.latency
        return (each.score.repeats, latency // grain, effort(each.decision))

    lowest = min(map(order, cell))
    best = [each for each in cell if order(each) == lowest]

    def others(each: Tried) -> DecisionConfig:
        gap = each.decision.threshold_off / each.decision.threshold
        return replace(each.decision, threshold=1.0, threshold_off=round(gap, 1))

    alike = [each for each in best if others(each) == others(best[0])]
    return sorted(alike, key=lambda each: each.decision.threshold)[len(alike) // 2]


def fitting(judge: Judge, front: Sequence[Tried], wish: Wish) -> Tried | None:
    """The setting with the highest recall within the limit; without one, with the fewest false alarms at the recall.

    None where no setting does what is asked for, or finds anything at all.
    """
    allowed = [each for each in front if each.score.found and _allowed(judge, each, wish)]
    return None if not allowed else allowed[0] if wish.limit is None else allowed[-1]


def _allowed(judge: Judge, tried: Tried, wish: Wish) -> bool:
    within = wish.limit is None or judge.alarm_rate(tried.score) <= wish.limit
    return within and (wish.min_recall is None or tried.score.recall >= wish.min_recall)


def _thinned(front: Sequence[Tried], wanted: Tried | None) -> list[Tried]:
    """Not more than ``SHOWN`` of them, from first to last, and the one that is wanted."""
    places = np.linspace(0, len(front) - 1, min(SHOWN, len(front))).round().astype(int).tolist()
    return [each for place, each in enumerate(front) if place in places or each is wanted]


def _wanted(judge: Judge, wish: Wish) -> str:
    """What is asked for, in a sentence about settings."""
    parts = [] if wish.min_recall is None else [f"finds {wish.min_recall:.4g} of the events"]
    parts += [] if wish.limit is None else [f"stays within {_alarms(judge, wish.limit)}"]
    return " and ".join(parts)


def _nearest(judge: Judge, front: Sequence[Tried], wish: Wish) -> str:
    """What is possible instead, as the end of a sentence."""
    if not front:
        return "expected more to be allowed"
    within = [each for each in front if wish.limit is None or judge.alarm_rate(each.score) <= wish.limit]
    best = max(within or front[:1], key=lambda each: each.score.recall)
    found = f"{best.score.found} of {best.score.events} with {_alarms(judge, judge.alarm_rate(best.score))}"
    return f"expected less to be asked for, since one finds {found}"


def _alarms(judge: Judge, count: float) -> str:
    unit = "an hour" if judge.rate is not None else f"every {STEPS_WITHOUT_RATE} steps"
    return f"{count:.3g} false alarms {unit}"


def _by_alarms(
    judge: Judge, parts: Parts, start: DecisionConfig, wish: Wish
) -> tuple[Tried, list[Tried], int]:
    """The lowest threshold from which on upwards false alarms on normal data are within the limit, and others.

    What is not the threshold stays as it is: without events nothing tells what it costs.
    """
    values = np.concatenate([stretch.values[stretch.judged, 0] for stretch in parts.tuned])
    tail = np.quantile(values, 1 - np.geomspace(0.1, 1 / len(values), SHOWN - 1))
    highest = [*tail.tolist(), ABOVE_LARGEST * float(values.max())]
    thresholds = sorted({rounded(min(value, MAX_SCORE)) for value in highest} - {0.0}, reverse=True)
    exact = []
    for threshold in thresholds:
        decision = replace(start, threshold=threshold, threshold_off=threshold)
        exact.append(_exact(judge, decision, parts))
    quiet = list(takewhile(lambda each: _allowed(judge, each, wish), exact))
    if not quiet:
        raise DataError(f"none of {len(exact)} thresholds {_wanted(judge, wish)}")
    return quiet[-1], exact, len(exact)


def _exact(judge: Judge, decision: DecisionConfig, parts: Parts) -> Tried:
    """A setting with what the deciders of the device make of it."""
    tuned, tested = judge.scores(decision, parts.tuned, parts.tested)
    return Tried(decision, tuned, tested if parts.tested else None)


def _setting(judge: Judge, tried: Tried) -> Setting:
    tested = None if tried.tested is None else _outcome(judge, tried.tested)
    return Setting(tried.decision, _outcome(judge, tried.score), tested)


def _outcome(judge: Judge, found: Score) -> Outcome:
    return Outcome(
        events=found.events,
        found=found.found,
        missed=found.missed,
        recall=found.recall if found.events else None,
        false_alarms=found.false_alarms,
        alarm_rate=judge.alarm_rate(found),
        repeats=found.repeats,
        latency=None if found.latency is None else judge.seconds(found.latency),
        duration=judge.duration(found.steps),
    )


def _wish(limit: float | None, min_recall: float | None, rate: float | None) -> Wish:
    if limit is not None and rate is None:
        found = "the model declares no rate, so false alarms an hour cannot be told"
        raise DataError(f"{found}; expected --min-recall, or a model with a rate")
    if limit is not None and not 0 <= limit < float("inf"):
        raise DataError(f"{limit:g} false alarms an hour were asked for, expected 0 or more")
    if min_recall is not None and not 0 < min_recall <= 1:
        raise DataError(f"a recall of {min_recall:g} was asked for, expected more than 0 and at most 1")
    return Wish(USUAL_LIMIT if limit is None and min_recall is None else limit, min_recall)


def _check_files(output: Path, plot: str | Path | None, force: bool) -> None:
    if output.exists() and not force:
        raise EdgegruError(f"{output}: exists, expected a new name or --force")
    for path in (output, *(() if plot is None else (Path(plot),))):  # not after minutes of computing
        if not path.parent.is_dir():
            raise EdgegruError(f"{path.parent} is no folder, expected one to write {path.name} in")
    if plot is not None and Path(plot).resolve() == output.resolve():
        raise EdgegruError(f"{output}: is to hold the model and the picture, expected two files")
