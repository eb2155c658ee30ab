"""Header and source of an exported model: ``edgegru_NAME.h`` and ``edgegru_NAME.c``."""

from __future__ import annotations

from dataclasses import dataclass

from edgegru_export.c_memory import Member
from edgegru_export.c_text import comment_text, float_literal
from edgegru_export.c_writer import CModel
from edgegru_runtime.derivation import Derivation
from edgegru_runtime.model_config import ModelConfig


@dataclass(frozen=True)
class Words:
    """What the texts of one export are filled with."""

    prefix: str  # edgegru_name
    float_io: bool
    target: str
    parts: tuple[str, ...] = ()  # sources beside its own: of a front end, of decisions

    @property
    def sources(self) -> tuple[str, ...]:
        """All that a build compiles."""
        return (f"{self.prefix}.c", *self.parts, f"{self.prefix}_selftest.c")

    @property
    def macro(self) -> str:
        """The prefix of its macros."""
        return self.prefix.upper()


def input_type(model: CModel, words: Words) -> str:
    """Of the numbers of a sample."""
    return "float" if words.float_io else str(model.flags["EGRU_INPUT"])


def output_type(words: Words) -> str:
    """Of the numbers given out."""
    return "float" if words.float_io else "int32_t"


def header(model: CModel, words: Words) -> str:
    """The interface."""
    config, macro, prefix = model.program.artifact.config, words.macro, words.prefix
    members = "\n".join(f"    {member.declaration}" for member in model.state)
    sizes = {
        "INPUT_SIZE": config.input.step_size,
        "OUTPUT_SIZE": model.program.output_size,
        "STATE_BYTES": model.state_bytes,
        "SCRATCH_BYTES": model.scratch_bytes,
        "TABLE_BYTES": model.table_bytes,
        "MULTIPLY_ADDS": model.program.multiply_adds,
    }
    comments = {
        "INPUT_SIZE": "numbers of a sample",
        "OUTPUT_SIZE": "numbers given out",
        "STATE_BYTES": "of a stream, which outlive a step",
        "SCRATCH_BYTES": "on the stack while a step runs",
        "TABLE_BYTES": "weights and other constants, in flash",
        "MULTIPLY_ADDS": "of a step",
    }
    defines = "\n".join(f"#define {macro}_{name} {value} /* {comments[name]} */" for name, value in sizes.items())
    scales = "" if words.float_io else _scales(model, words)
    return f"""/* Written by edgegru export; scheme {config.scheme}, weights laid out for {words.target}. README.md says
 * how to use it.
 */
#ifndef {macro}_H
#define {macro}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {macro}_IDENTITY "{config.identity}"
{defines}

#define {macro}_OK 0
#define {macro}_INPUT 1 /* a number of the sample is not finite; nothing has changed */
#define {macro}_RANGE 2 /* a value would leave the range of float; nothing has changed (float32 models alone) */

/* Inputs:
{_inputs(config)}
 * Outputs:
{_outputs(config)}
 */
{scales}
/* What a stream remembers between steps. `clipped` counts numbers of samples beyond what the model distinguishes. */
typedef struct {{
{members}
}} {prefix}_state;

/* A new stream, and one that begins again: the same. */
void {prefix}_init({prefix}_state *state);
void {prefix}_reset({prefix}_state *state);

/* One step: x ({macro}_INPUT_SIZE), y ({macro}_OUTPUT_SIZE). Returns {macro}_OK or what is wrong. */
int {prefix}_step({prefix}_state *state, const {input_type(model, words)} x[], {output_type(words)} y[]);

/* In {prefix}_selftest.c: 0 where this build computes golden steps as it should, else the first that it does not. */
int {prefix}_selftest(void);

#ifdef __cplusplus
}}
#endif
#endif
"""


def _inputs(config: ModelConfig) -> str:
    units = config.input.units
    lines = []
    for place, name in enumerate(config.input.number_names[:64]):
        unit = units[place % config.input.size]
        lines.append(f" *   x[{place}] {comment_text(name)}{f' in {comment_text(unit)}' if unit else ''}")
    if config.input.step_size > len(lines):
        lines.append(f" *   … and so on, {config.input.step_size} in all".replace("…", "..."))
    return "\n".join(lines)


def _outputs(config: ModelConfig) -> str:
    lines, place = [], 0
    for output in config.outputs:
        node = config.node(output.node)
        lines.append(f" *   y[{place}] to y[{place + node.output_size - 1}]: {node.kind} ({output.target})")
        for i, label in enumerate(output.labels[:64]):
            lines.append(f" *     y[{place + i}] {comment_text(label)}")
        place += node.output_size
    return "\n".join(lines)


def _scales(model: CModel, words: Words) -> str:
    """How integers are made of measured values, and what those given out are worth."""
    artifact = model.program.artifact
    derived, config, macro = Derivation(artifact), artifact.config, words.macro
    lines = []
    if config.entry.name in derived.coefficients:
        a, b = derived.coefficients[config.entry.name]
        limit = 127 if model.flags["EGRU_INPUT"] == "int8_t" else 32767
        lines += [
            f"/* x = floor(slope * measured + offset), both roundings in float, saturated to {limit}; zero point 0. */",
            f"#define {macro}_INPUT_LIMIT {limit}",
            f"#define {macro}_INPUT_SLOPE {{{', '.join(map(float_literal, a))}}}",
            f"#define {macro}_INPUT_OFFSET {{{', '.join(map(float_literal, b))}}}",
        ]
    else:
        lines.append("/* x[0] is the number of a row. */")
    scale, offset = [], []
    for output in config.outputs:
        head = derived.head[output.node]
        scale += list(head.scale)
        offset += list(head.offset or [0.0] * len(head.scale))
    lines += [
        "/* What y is worth: scale * y + offset, both roundings in float; zero point 0. */",
        f"#define {macro}_OUTPUT_SCALE {{{', '.join(map(float_literal, scale))}}}",
        f"#define {macro}_OUTPUT_OFFSET {{{', '.join(map(float_literal, offset))}}}",
    ]
    return "\n".join(lines) + "\n"


def source(model: CModel, words: Words) -> str:
    """Tables and the step."""
    prefix, macro, config = words.prefix, words.macro, model.program.artifact.config
    flags = "\n".join(f"#define {name} {value}" for name, value in sorted(model.flags.items()))
    headers = "\n".join(f'#include "{name}"' for name in model.headers)
    check = f"    if (!egru_finite(x, {macro}_INPUT_SIZE))\n        return {macro}_INPUT;\n" if words.float_io else ""
    body = "\n".join(f"    {line}" for line in model.body)
    clipped = "" if config.static else "    uint32_t clipped = 0;\n"
    begin = "".join(f"    {line}\n" for line in model.begin)
    return f"""/* Written by edgegru export: the tables of a model and its step. */
#include "{prefix}.h"

#include <string.h>

{flags}
{headers}

#if defined(__cplusplus)
#define EGRU_ASSERT(name, condition) static_assert(condition, #name)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define EGRU_ASSERT(name, condition) _Static_assert(condition, #name)
#else
#define EGRU_ASSERT(name, condition) typedef char egru_assert_##name[(condition) ? 1 : -1]
#endif

{model.tables}
EGRU_ASSERT(table_bytes, {_sizes(model)} == {macro}_TABLE_BYTES);
EGRU_ASSERT(state_bytes, sizeof({prefix}_state) == {macro}_STATE_BYTES);

{_scratch(model.scratch, macro)}
void {prefix}_init({prefix}_state *state) {{
    memset(state, 0, sizeof *state);
{begin}}}

void {prefix}_reset({prefix}_state *state) {{
    {prefix}_init(state);
}}

int {prefix}_step({prefix}_state *state, const {input_type(model, words)} x[], {output_type(words)} y[]) {{
    egru_scratch s;
{clipped}{check}{body}
    return {macro}_OK;
}}
"""


def _sizes(model: CModel) -> str:
    """The sum of the sizes of all tables, in C."""
    return " + ".join(f"sizeof {name}" for name in model.table_names)


def _scratch(members: tuple[Member, ...], macro: str) -> str:
    declared = "\n".join(f"    {member.declaration}" for member in members)
    return f"""typedef struct {{
{declared}
}} egru_scratch;

EGRU_ASSERT(scratch_bytes, sizeof(egru_scratch) == {macro}_SCRATCH_BYTES);
"""
