"""Decisions in C for one model: docs/deciding.md in integers, with the settings as constants.

The functions are those of ``c_kernel/egru_deciding.h`` and, where residuals are scored, ``egru_scoring.h``; what is
written here is the state, which the caller owns, and ``NAME_decide``, which calls them for the outputs of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgegru_export.c_text import comment_text
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.decisions import ANOMALY, steps_of
from edgegru_runtime.derivation import Derivation, HeadParameters
from edgegru_runtime.errors import ArtifactError, ExportError
from edgegru_runtime.model_config import DecisionConfig, OutputConfig, ResidualConfig
from edgegru_runtime.residuals import check_residual, scored_channels, scored_labels
from edgegru_runtime.smoothing import UNIT, fixed


@dataclass(frozen=True)
class CDecisions:
    """Two files of a generated model, ``NAME_decisions.h`` and ``NAME_decisions.c``.

    ``sources``: the files of ``c_kernel`` that go with them. ``state_bytes``: of ``NAME_decisions``, on processors that
    align 64-bit integers to 8 bytes. ``max_events``: the most that one step can switch. ``measured``: what
    ``NAME_decide`` needs beside the outputs: "" nothing, "x" the sample, "measured" the values measured with it.
    """

    header: str
    source: str
    sources: tuple[str, ...]
    state_bytes: int
    max_events: int
    measured: str


@dataclass(frozen=True)
class _Member:
    """Of the state: a declaration, the bytes of one number or the largest of them, and those of all."""

    text: str
    alignment: int
    size: int


@dataclass(frozen=True)
class _Output:
    """What decides on one output, in C."""

    kind: str  # "classes", "labels" or "score"
    place: int  # among the outputs
    start: int  # of its numbers among those of all outputs
    labels: tuple[str, ...]


def decisions_in_c(
    artifact: Artifact, name: str, *, integers: bool, decision: DecisionConfig | None = None
) -> CDecisions | None:
    """The decisions of ``artifact`` as C; None where it decides nothing.

    ``name``: the prefix of all names. ``integers``: ``NAME_decide`` is given what the heads compute as int32 (Q15 of
    softmax, Q16 of sigmoid, the integers of values) in place of float32. ``decision``: in place of the artifact's.
    Raises ExportError where the settings ask for residuals that the model cannot have.
    """
    if decision is None:
        decision = artifact.config.decision
    if decision.residual is not None:
        try:
            check_residual(artifact.config, decision.residual)
        except ArtifactError as error:
            raise ExportError(f"{error}") from None
    outputs = _deciding(artifact, decision)
    if not outputs:
        return None
    return _Writer(artifact, name, integers, decision, outputs).files()


def _deciding(artifact: Artifact, decision: DecisionConfig) -> list[_Output]:
    found, start = [], 0
    for place, output in enumerate(artifact.config.outputs):
        node = artifact.config.node(output.node)
        if node.kind in ("softmax", "sigmoid"):
            kind = "classes" if node.kind == "softmax" else "labels"
            found.append(_Output(kind, place, start, output.labels))
        elif decision.residual is not None and decision.residual.output == output.node:
            found.append(_Output("score", place, start, (ANOMALY,)))
        start += node.output_size
    return found


class _Writer:
    """Both files, from what decides."""

    def __init__(
        self, artifact: Artifact, name: str, integers: bool, decision: DecisionConfig, outputs: Sequence[_Output]
    ) -> None:
        self._artifact, self._config, self._name, self._integers = artifact, artifact.config, name, integers
        self._decision, self._outputs = decision, outputs
        rate = self._config.input.step_rate
        self._minimum_on = steps_of(decision.minimum_on, rate)
        self._minimum_off = steps_of(decision.minimum_off, rate)
        self._refractory = steps_of(decision.refractory, rate)
        self._waits = bool(self._minimum_off or self._refractory)
        self._scores = any(output.kind == "score" for output in outputs)
        self._level, self._sum = ("uint32_t", "uint64_t") if self._scores else ("uint16_t", "uint32_t")
        self._memory = 0 if decision.residual is None else steps_of(decision.residual.memory, rate)
        self._smoothing, self._length = _smoothing(decision.smoothing)
        self._measured = ""
        if self._scores:
            self._measured = "x" if self._scored_output().target == "forecast" else "measured"

    def files(self) -> CDecisions:
        members = sorted(self._members(), key=lambda member: -member.alignment)
        size = _struct_size(members)
        events = sum(2 if output.kind == "classes" else len(output.labels) for output in self._outputs)
        scoring = ("egru_scoring.h",) if self._scores else ()
        sources = ("egru_arithmetic.h", "egru_decisions.h", "egru_deciding.h", *scoring)
        return CDecisions(self._header(members, size, events), self._source(), sources, size, events, self._measured)

    def _scored_output(self) -> OutputConfig:
        place = next(output.place for output in self._outputs if output.kind == "score")
        return self._config.outputs[place]

    def _residual(self) -> ResidualConfig:
        assert self._decision.residual is not None
        return self._decision.residual

    def _members(self) -> list[_Member]:
        level, total = (4, 8) if self._scores else (2, 4)
        members = [_Member("uint64_t step; /* counted from 0 at the reset */", 8, 8)]
        for output in self._outputs:
            at, count = output.place, len(output.labels)
            if output.kind == "classes":
                members.append(_Member(f"egru_classes switch{at}; /* {_what(output)} */", 4, 12))
            else:
                members.append(
                    _Member(f"egru_label switch{at}[{count}]; /* {_what(output)} */", 4, 8 * count)
                )
            if self._waits:
                text = f"uint32_t until_on{at}[{count}]; /* steps before each may be switched on */"
                members.append(_Member(text, 4, 4 * count))
            if self._smoothing == "SHARE":
                members.append(_Member(f"{self._sum} past{at}[{count}];", total, total * count))
            elif self._smoothing:
                numbers = count * self._length
                members.append(_Member(f"{self._level} past{at}[{numbers}];", level, level * numbers))
            if self._smoothing:
                members.append(_Member(f"egru_window window{at};", 2, 4))
        if self._measured == "x":
            count = len(self._residual().scale)
            members.append(_Member(f"float predicted[{count}]; /* for the next step */", 4, 4 * count))
            members.append(_Member("uint32_t predicts; /* 1: there is a prediction */", 4, 4))
        if self._scores and self._memory:
            members.append(_Member("uint64_t peak; /* of scores, with 31 fractional bits */", 8, 8))
        return members

    def _parameters(self) -> str:
        measured = f"const float *{self._measured}, " if self._measured else ""
        values = "const int32_t *y" if self._integers else "const float *y"
        return f"{self._name}_decisions *state, {values}, {measured}egru_event *events"

    def _header(self, members: Sequence[_Member], size: int, events: int) -> str:
        name, upper = self._name, self._name.upper()
        fields = "\n".join(f"    {member.text}" for member in members)
        beside = {
            "": "",
            "x": " `x`: the sample of the step, of a block the last one.",
            "measured": " `measured`: the values measured at the step, NULL where there are none.",
        }[self._measured]
        given = "the integers of its heads" if self._integers else "float32"
        return f"""\
/* What the outputs of {name} switch on and off. Made by edgegru export. */
#ifndef {upper}_DECISIONS_H
#define {upper}_DECISIONS_H

#include "egru_decisions.h"

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_DECISIONS_BYTES {size}
#define {upper}_MAX_EVENTS {events} /* of a step */

/* Between two steps. It has no pointers: copied, it goes on from where it was. */
typedef struct {{
{fields}
}} {name}_decisions;

/* Nothing is on and nothing remembered: at the beginning, and whenever the model is reset. */
void {name}_decisions_reset({name}_decisions *state);

/* Once after every step of the model: the events ({upper}_MAX_EVENTS at most) that its outputs `y` cause; returns how
 * many. `y`: {given}, all outputs one after another.{beside} */
unsigned {name}_decide({self._parameters()});

#ifdef __cplusplus
}}
#endif
#endif
"""

    def _source(self) -> str:
        decision = self._decision
        kinds = {output.kind for output in self._outputs}
        settings: dict[str, object] = {
            "WIDE": 1,
            "LEVEL": self._level,
            "SUM": self._sum,
            "THRESHOLD": f"{fixed(decision.threshold)}u",
            "THRESHOLD_OFF": f"{fixed(decision.threshold_off)}u",
            "TRIGGER_LEVEL": f"{decision.trigger_level}u",
            "MINIMUM_ON": f"{self._minimum_on}u",
            "MINIMUM_OFF": f"{self._minimum_off}u",
            "REFRACTORY": f"{self._refractory}u",
            "CLASSES": int("classes" in kinds),
            "LABELS": int("labels" in kinds),
            "SCORE": int(self._scores),
            "FLOATS": int(not self._integers),
        }
        if self._smoothing:
            settings[self._smoothing] = self._length
        if self._scores:
            settings["MEMORY"] = f"{self._memory}u"
        defines = "\n".join(f"#define EGRU_{key} {value}" for key, value in settings.items())
        headers = ["egru_deciding.h", *(["egru_scoring.h"] if self._scores else [])]
        includes = "\n".join(f'#include "{header}"' for header in headers)
        peak = "    state->peak = EGRU_LEAST_PEAK;\n" if self._scores and self._memory else ""
        longest = max(len(output.labels) for output in self._outputs)
        body = "".join(self._output(output) for output in self._outputs)
        return f"""\
/* What the outputs of {self._name} switch on and off: its settings, and the order in which they apply. Made by edgegru
 * export; the arithmetic is in egru_deciding.h. */
#include "{self._name}_decisions.h"

#include <string.h>

{defines}

{includes}

{self._tables()}void {self._name}_decisions_reset({self._name}_decisions *state) {{
    memset(state, 0, sizeof *state);
{peak}}}

unsigned {self._name}_decide({self._parameters()}) {{
    egru_level v[{longest}];
    egru_event *event = events;
    const int warm = {f"state->step >= {decision.warm_up}u" if decision.warm_up else "1"};
{body}    state->step++;
    return (unsigned)(event - events);
}}
"""

    def _tables(self) -> str:
        if not self._scores:
            return ""
        output = self._scored_output()
        numbers = ", ".join(value.hex() for value in self._residual().scale)
        text = f"static const double usual[] = {{{numbers}}}; /* residuals */\n"
        if self._measured == "x":
            places = ", ".join(map(str, scored_channels(self._config, output)))
            text += f"static const uint16_t channel[] = {{{places}}};\n"
        if self._integers:
            count = len(scored_labels(output))
            head = self._head(output)
            offsets = [0.0] * count if head.offset is None else head.offset[:count]
            for name, values in (("unit", head.scale[:count]), ("offset", offsets)):
                text += f"static const float {name}[] = {{{', '.join(f'{value.hex()}f' for value in values)}}};\n"
        return text + "\n"

    def _head(self, output: OutputConfig) -> HeadParameters:
        return Derivation(self._artifact).head[output.node]

    def _output(self, output: _Output) -> str:
        if output.kind == "score":
            return self._score(output)
        at, count, start = output.place, len(output.labels), output.start
        read = f"y[{start} + k]" if start else "y[k]"
        if not self._integers:
            level = f"egru_level_of({read})"
        else:  # probabilities in Q15, or in Q16 to be rounded
            level = f"(egru_level){read}" if output.kind == "classes" else f"(egru_level)(({read} + 1) >> 1)"
        until_on = f"state->until_on{at}" if self._waits else "NULL"
        switch = f"egru_switch_{output.kind}({_address(output)}, {until_on}, v, {count}, event)"
        passing = f"        egru_pass_labels(state->switch{at}, {until_on}, {count});\n"
        if output.kind == "classes":
            passing = ""
        return f"""\
    if (warm) {{ /* {_what(output)} */
        for (unsigned k = 0; k < {count}; k++)
            v[k] = {level};
{self._smoothed(output)}{passing}        event = egru_date(event, {switch}, state->step, {at});
    }}
"""

    def _smoothed(self, output: _Output) -> str:
        at = output.place
        call = f"egru_smooth(&state->window{at}, state->past{at}, v, {len(output.labels)})"
        return f"        {call};\n" if self._smoothing else ""

    def _score(self, output: _Output) -> str:
        at, count, start = output.place, len(self._residual().scale), output.start
        until_on = f"state->until_on{at}" if self._waits else "NULL"
        predicted = "state->predicted" if self._measured == "x" else "predicted"
        real = f"egru_real(y[{start} + k], unit[k], offset[k])" if self._integers else f"y[{start} + k]"
        keep = f"""\
        for (unsigned k = 0; k < {count}; k++)
            {predicted}[k] = {real};
"""
        if self._measured == "x":
            compare = f"""\
        if (state->predicts)
            score = egru_score(x, channel, predicted, usual, {count});
        state->predicts = (uint32_t)warm;
{keep}"""
            compare = compare.replace(", predicted,", ", state->predicted,")
            declare = ""
        else:
            declare = f"        float predicted[{count}];\n"
            compare = f"""\
{keep}        if (warm && measured)
            score = egru_score(measured, NULL, predicted, usual, {count});
"""
        switch = f"egru_switch_labels(state->switch{at}, {until_on}, v, 1, event)"
        relative = "            v[0] = egru_relative(&state->peak, v[0]);\n" if self._memory else ""
        smoothed = "".join(f"    {line}" for line in self._smoothed(output).splitlines(keepends=True))
        return f"""\
    {{ /* {_what(output)} */
        int64_t score = -1;
{declare}{compare}        egru_pass_labels(state->switch{at}, {until_on}, 1);
        if (score >= 0) {{
            v[0] = (egru_level)score;
{smoothed}{relative}            event = egru_date(event, {switch}, state->step, {at});
        }}
    }}
"""


def _smoothing(text: str) -> tuple[str, int]:
    """Its macro, "" for none, and its number: a length, or a share in Q15."""
    kind, _, number = text.partition(":")
    if kind == "ema":
        share = max(fixed(float(number)), 1)
        return ("", 0) if share == UNIT else ("SHARE", share)
    return ("", 0) if kind == "none" or int(number) == 1 else (kind.upper(), int(number))


def _what(output: _Output) -> str:
    """The labels, for a comment."""
    shown = ", ".join(output.labels[:6]) + (", ..." if len(output.labels) > 6 else "")
    return comment_text(f"{output.kind}: {shown}")


def _address(output: _Output) -> str:
    return f"{'&' if output.kind == 'classes' else ''}state->switch{output.place}"


def _struct_size(members: Sequence[_Member]) -> int:
    """Bytes of members that are in descending order of their alignment."""
    size = sum(member.size for member in members)
    largest = members[0].alignment
    return -(-size // largest) * largest
