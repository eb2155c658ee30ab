"""False alarms against recall as a picture: the settings that no other beats, and the one that was written."""

from __future__ import annotations

import os

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from edgegru.evaluation_plots import save_figure
from edgegru.tuning import Outcome, Setting, TuningReport
from edgegru.tuning_judge import STEPS_WITHOUT_RATE
from edgegru.tuning_text import settings_text

_TUNED, _TESTED, _CHOSEN = "tab:blue", "tab:orange", "black"


@rc_context({"text.parse_math": False})  # a dollar sign in a file's name is a dollar sign
def plot_tuning(report: TuningReport, path: str | os.PathLike[str]) -> None:
    """Write the picture as a PNG. Raises EdgegruError where it cannot be written."""
    figure = Figure(figsize=(8.2, 5.4), layout="constrained")
    axes = figure.add_subplot()
    unit = f"{STEPS_WITHOUT_RATE} steps" if report.rate is None else "hour"
    axes.set_xlabel(f"false alarms per {unit}")
    if report.chosen.tuned.events:
        _draw_recall(axes, report, unit)
    else:
        _draw_thresholds(axes, report, unit)
    if report.limit is not None:
        axes.axvline(report.limit, color="tab:red", linestyle="--", linewidth=1, label=f"limit: {report.limit:g}")
    # Straight up to 1, then by factors: few false alarms are what it is about, and there may be none.
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_xlim(-0.06, 1.4 * max(axes.dataLim.x1, 1.0))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    figure.suptitle(f"{os.path.basename(report.file)}: {settings_text(report.chosen.decision)}", fontsize=11)
    figure.legend(loc="outside lower center", frameon=False, fontsize=9, ncols=2)
    save_figure(figure, os.fspath(path))


def _draw_recall(axes: Axes, report: TuningReport, unit: str) -> None:
    """Recall over false alarms; both parts, with what was chosen in each."""
    parts: list[tuple[str, str, str]] = [("tuned", f"tuned on {report.tuned_on}", _TUNED)]
    if report.chosen.tested is not None:
        parts.append(("tested", f"reported on {report.tested_on}", _TESTED))
    for name, label, colour in parts:
        outcomes: list[Outcome] = [getattr(setting, name) for setting in report.front]
        chosen: Outcome = getattr(report.chosen, name)
        label = f"{label}: {chosen.events} events"
        style = {"marker": "o", "markersize": 4, "color": colour}
        if name == "tuned":
            axes.plot(*_points(outcomes), drawstyle="steps-post", linewidth=1.6, label=label, **style)
        else:  # the same settings elsewhere: no step of theirs is the best there
            axes.plot(*_points(outcomes), linewidth=0.8, linestyle=":", label=label, **style)
        x, y = _points([chosen])
        found = f"chosen: {chosen.found} of {chosen.events} found, {chosen.alarm_rate:.3g} false alarms per {unit}"
        size = 20 if name == "tuned" else 11  # both are seen where they coincide
        axes.plot(x, y, "*", color=colour, markeredgecolor=_CHOSEN, markersize=size, zorder=4, label=found)
    if report.before is not None and _worth_drawing(report.before, report.front):
        axes.plot(*_points([report.before.tuned]), "X", color="0.4", markersize=9, label="before, where tuned")
    if report.min_recall is not None:
        axes.axhline(report.min_recall, color="tab:green", linestyle="--", linewidth=1, label="recall asked for")
    axes.set(ylabel="recall: share of events found", ylim=(-0.02, 1.04))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _draw_thresholds(axes: Axes, report: TuningReport, unit: str) -> None:
    """Without events: false alarms over the threshold on the score."""
    thresholds = [setting.decision.threshold for setting in report.front]
    for name, label, colour in (("tuned", report.tuned_on, _TUNED), ("tested", report.tested_on, _TESTED)):
        if getattr(report.chosen, name) is not None:
            rates = [getattr(setting, name).alarm_rate for setting in report.front]
            axes.plot(rates, thresholds, marker="o", markersize=4, color=colour, label=f"{label}, all normal")
            rate = getattr(report.chosen, name).alarm_rate
            size = 20 if name == "tuned" else 11
            style = {"color": colour, "markeredgecolor": _CHOSEN, "markersize": size, "zorder": 4}
            label = f"chosen: {rate:.3g} false alarms per {unit}"
            axes.plot([rate], [report.chosen.decision.threshold], "*", label=label, **style)
    axes.set_ylabel("threshold on the score (1: a usual residual)")


def _points(outcomes: list[Outcome]) -> tuple[list[float], list[float]]:
    return [outcome.alarm_rate for outcome in outcomes], [outcome.recall or 0.0 for outcome in outcomes]


def _worth_drawing(before: Setting, front: tuple[Setting, ...]) -> bool:
    """Whether what the model had is near enough not to push everything else to the edge."""
    return before.tuned.alarm_rate <= 10 * max(1.0, *(setting.tuned.alarm_rate for setting in front))
