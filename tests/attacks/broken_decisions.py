"""Exhibits whose decision defaults are not sound."""

from __future__ import annotations

from tests.attacks.museum import GOOD_INTEGER_AFTER, Parts, exhibit, setting, without

setting("threshold above one", "decision.threshold", 1.5, "decision.threshold is 1.5; expected a number from 0 to 1")
setting("threshold is true", "decision.threshold", True, "decision.threshold is true")
setting(
    "off above on", "decision.threshold_off", 0.75, "decision.threshold_off is 0.75; expected a number from 0 to 0.5"
)
setting("unknown smoothing", "decision.smoothing", "magic", "decision.smoothing is 'magic'")
setting("smoothing over nothing", "decision.smoothing", "mean:0", "decision.smoothing is 'mean:0'")
setting("smoothing over too much", "decision.smoothing", "median:10000", "decision.smoothing is 'median:10000'")
setting("smoothing that never moves", "decision.smoothing", "ema:0.0", "decision.smoothing is 'ema:0.0'")
setting("smoothing that overshoots", "decision.smoothing", "ema:1.5", "decision.smoothing is 'ema:1.5'")
setting("negative warm-up", "decision.warm_up", -1, "decision.warm_up is -1; expected an integer from 0")
setting("unknown reset", "decision.reset", "daily", "decision.reset is 'daily'; expected one of recording, never")
without("decision.warm_up", "decision has no field 'warm_up'")
setting("no step triggers", "decision.trigger_level", 0, "decision.trigger_level is 0; expected an integer from 1")
setting("triggered by a fraction", "decision.trigger_level", 1.5, "decision.trigger_level is 1.5")
setting("on for less than nothing", "decision.minimum_on", -0.5, "decision.minimum_on is -0.5; expected a number")
setting("off for centuries", "decision.minimum_off", 1e10, "decision.minimum_off is 10000000000.0")
setting("refractory is text", "decision.refractory", "2 s", "decision.refractory is '2 s'")
setting("unknown rule of a decision", "decision.patience", 3, "decision has an unknown field 'patience'")
setting("residual is a list", "decision.residual", [1], "decision.residual is a list of 1; expected an object")
setting("residual without a scale", "decision.residual", {"output": "output"}, "decision.residual has no field 'scale'")
setting(
    "residual of nothing", "decision.residual", {"output": "y", "scale": [1.0]}, "decision.residual.output is 'y'"
)
setting(
    "residual of a class",
    "decision.residual",
    {"output": "output", "scale": [1.0]},
    "with target step_label; expected one with target forecast or step_value",
)
setting(
    "residual of a name that is none",
    "decision.residual",
    {"output": 3, "scale": [1.0]},
    "decision.residual.output is 3; expected the name of a head",
)
setting(
    "scale of zero",
    "decision.residual",
    {"output": "output", "scale": [1.0, 0.0, 1.0]},
    "decision.residual.scale[1] is 0.0; expected a number from 2^-100",
    GOOD_INTEGER_AFTER,
)
setting(
    "too many scales",
    "decision.residual",
    {"output": "output", "scale": [1.0] * 4},
    "decision.residual.scale has 4 numbers; expected 3, one a label",
    GOOD_INTEGER_AFTER,
)


@exhibit("decision.threshold is 32768.0; expected a number from 0 to 32767", GOOD_INTEGER_AFTER)
def _threshold_beyond_every_score(parts: Parts) -> None:
    residual = {"output": "output", "scale": [1.0] * 3}
    parts.config["decision"] |= {"residual": residual, "threshold": 32768.0}
