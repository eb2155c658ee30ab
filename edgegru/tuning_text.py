"""What tuning found, for people: a line on what was judged, and false alarms against recall as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgegru.tuning_judge import STEPS_WITHOUT_RATE

if TYPE_CHECKING:
    from edgegru.tuning import Outcome, Setting, TuningReport
    from edgegru_runtime.model_config import DecisionConfig


def tuning_text(report: TuningReport) -> str:
    """What was tuned and reported on, then a row for each setting; ``*`` marks the one that was written."""
    chosen = report.chosen
    lines = [f"tuned on    {_judged(report, report.tuned_on, chosen.tuned)}"]
    if chosen.tested is not None:
        lines.append(f"reported on {_judged(report, str(report.tested_on), chosen.tested)}")
    headings = ("", "threshold", "off", "smoothing", "trigger", "times")
    scores = ("found", "recall", alarm_unit(report.rate), "repeats", f"latency {time_unit(report.rate)}")
    elsewhere = ("| found", *scores[1:3]) if chosen.tested is not None else ()
    rows = [(*headings, *scores, *elsewhere)]
    rows += [_row("*" if setting is chosen else "", setting) for setting in report.front]
    if report.before is not None:
        rows.append(_row("before", report.before))
    lines += ["", *_columns(rows), ""]
    unit = time_unit(report.rate)
    lines.append(f"times: minimum on / minimum off / refractory, in {unit}; | where it was not tuned")
    lines.append(f"{report.searched} settings were tried; * was written to {report.output}")
    if chosen.decision.residual is not None:
        scale = ", ".join(f"{value:.4g}" for value in chosen.decision.residual.scale)
        lines.append(f"a residual's usual size: {scale}")
    if report.limit is not None and 0 < report.limit * chosen.tuned.duration < 1:
        one = 1 / chosen.tuned.duration
        short = f"one false alarm in it is {one:.3g} {alarm_unit(report.rate)}"
        lines.append(f"the recording is short for a limit of {report.limit:g}: {short}")
    return "\n".join(lines)


def alarm_unit(rate: float | None) -> str:
    """What false alarms are counted per, short enough for a table."""
    return f"alarms/{STEPS_WITHOUT_RATE} steps" if rate is None else "alarms/h"


def time_unit(rate: float | None) -> str:
    """The unit of times in a decision."""
    return "steps" if rate is None else "s"


def settings_text(decision: DecisionConfig) -> str:
    """A decision in one line: what is not at its simplest, and the thresholds."""
    levels = f"{decision.threshold:g}"
    if decision.threshold_off != decision.threshold:
        levels += f", off {decision.threshold_off:g}"
    parts = [f"threshold {levels}"]
    parts += [decision.smoothing] if decision.smoothing != "none" else []
    parts += [f"trigger level {decision.trigger_level}"] if decision.trigger_level > 1 else []
    for name in ("minimum_on", "minimum_off", "refractory"):
        value = getattr(decision, name)
        parts += [f"{name.replace('_', ' ')} {value:g}"] if value else []
    return ", ".join(parts)


def _judged(report: TuningReport, part: str, outcome: Outcome) -> str:
    if report.rate is None:
        duration = f"{outcome.duration * STEPS_WITHOUT_RATE:.0f} steps"
    else:
        duration = f"{outcome.duration:.3g} h"
    return f"{part}: {outcome.events} events in {duration}"


def _row(mark: str, setting: Setting) -> tuple[str, ...]:
    decision, tuned, tested = setting.decision, setting.tuned, setting.tested
    times = (decision.minimum_on, decision.minimum_off, decision.refractory)
    return (
        mark,
        f"{decision.threshold:.4g}",
        f"{decision.threshold_off:.4g}",
        decision.smoothing,
        str(decision.trigger_level),
        "/".join(f"{time:g}" for time in times),
        *_scores(tuned),
        str(tuned.repeats),
        "–" if tuned.latency is None else f"{tuned.latency:.3g}",
        *(() if tested is None else (f"| {_scores(tested)[0]}", *_scores(tested)[1:])),
    )


def _scores(outcome: Outcome) -> tuple[str, str, str]:
    recall = "–" if outcome.recall is None else f"{outcome.recall:.1%}"
    return f"{outcome.found}/{outcome.events}", recall, f"{outcome.alarm_rate:.2f}"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    cells = [[cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)] for row in rows]
    return ["  ".join([row[0].ljust(widths[0]), *line]).rstrip() for row, line in zip(rows, cells, strict=True)]
