"""The front end of sound in C for one model: docs/front-ends.md in integers, with its tables as constants.

The arithmetic is that of ``c_kernel/egru_log_mel.h``, which is the C library's own; what is written here are the
tables, the samples that a stream keeps, and ``NAME_log_mel``, which makes the features of a step.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.fixed_point import log_mel_floor
from edgegru_runtime.model_config import LogMelNode

_LINE = 120
# A rounding shift, and the logarithm of what c_kernel shares with the C library.
_ROUND = """\
/* v / 2^shift, rounded half up. */
static inline int64_t egru_round(int64_t v, uint32_t shift) {
    v += (int64_t)1 << (shift - 1);
    return v < 0 ? ~(~v >> shift) : v >> shift;
}

static int32_t egru_log2_q16(uint64_t v);
"""


@dataclass(frozen=True)
class CFrontEnd:
    """Two files of a generated model, ``NAME_log_mel.h`` and ``NAME_log_mel.c``.

    ``sources``: the files of ``c_kernel`` that go with them. Bytes of ``tables`` (constants), of the state of a stream
    and of the memory that a step works in, which may hold anything else between two steps.
    """

    header: str
    source: str
    sources: tuple[str, ...]
    table_bytes: int
    state_bytes: int
    scratch_bytes: int


def front_end_in_c(artifact: Artifact, name: str) -> CFrontEnd | None:
    """The front end of ``artifact`` as C with the prefix ``name``; None for a model that has none.

    ``NAME_log_mel`` takes int16 samples, of which 32768 is full scale, and gives features as int32 with 16 fractional
    bits, the same in every bit as the reference. Raises ExportError for a model of a float scheme.
    """
    node = artifact.config.front_end
    if node is None:
        return None
    if not artifact.config.static:
        found = f"the model has the front end {node.name!r} and the scheme {artifact.config.scheme}"
        raise ExportError(f"{found}; in C front ends are integers, expected static-w8a8 or static-w8a16")
    bands, kept = node.output_size, max(node.frame_length - node.input_size, 0)
    table_bytes = 4 * (node.frame_length + node.fft_size // 4 + 1) + 2 * (bands + 2) + 2 * (node.fft_size // 2 + 1)
    return CFrontEnd(
        header=_header(node, name, kept),
        source=_source(artifact, node, name, kept),
        sources=("egru_log_mel.h", "egru_logarithm.h"),
        table_bytes=table_bytes,
        state_bytes=2 * max(kept, 1),
        scratch_bytes=4 * node.fft_size,
    )


def _header(node: LogMelNode, name: str, kept: int) -> str:
    upper = name.upper()
    return f"""\
/* The front end of {name}: sound to logarithms of energies in mel bands. Made by edgegru export. */
#ifndef {upper}_LOG_MEL_H
#define {upper}_LOG_MEL_H

#include <stdint.h>

#define {upper}_LOG_MEL_SAMPLES {node.input_size} /* of a step */
#define {upper}_LOG_MEL_BANDS {node.output_size}
#define {upper}_LOG_MEL_WORK {node.fft_size} /* numbers that a step works with */

/* The samples that the next steps still cover. At the beginning, and whenever the model is reset, all are 0. */
typedef struct {{
    int16_t past[{max(kept, 1)}];
}} {name}_log_mel_state;

/* The features of a step ({upper}_LOG_MEL_BANDS, 16 fractional bits) from its samples, of which 32768 is full scale.
 * Returns how many samples were saturated: those of -32768. */
uint32_t {name}_log_mel({name}_log_mel_state *state, const int16_t *samples, int32_t *work, int32_t *features);
#endif
"""


def _source(artifact: Artifact, node: LogMelNode, name: str, kept: int) -> str:
    upper, hop = name.upper(), node.input_size
    types = {"window": "int32_t", "twiddles": "int32_t", "edges": "uint16_t", "rising": "int16_t"}
    tables = "".join(
        _table(ctype, table, artifact.numbers(f"{node.name}.{table}")) for table, ctype in types.items()
    )
    floor = log_mel_floor(node.floor, node.fft_size)
    new = min(hop, node.frame_length)  # samples of a step inside its frame
    first = f"samples + {hop - new}" if hop > new else "samples"
    weigh_past = ""
    if kept:
        weigh_past = f"    egru_weigh(window, {upper}_LOG_MEL_WORK, 0, {kept}, state->past, &place, work);\n"
    if kept > hop:
        keep = f"""\
    memmove(state->past, state->past + {hop}, {kept - hop} * sizeof *samples);
    memcpy(state->past + {kept - hop}, samples, {hop} * sizeof *samples);
"""
    elif kept:
        keep = f"    memcpy(state->past, samples + {hop - kept}, {kept} * sizeof *samples);\n"
    else:
        keep = "    (void)state;\n"
    return f"""\
/* The tables of the front end of {name}, and how a step uses them. Made by edgegru export; the arithmetic is in
 * egru_log_mel.h. */
#include "{name}_log_mel.h"

#include <string.h>

{_ROUND}
#include "egru_log_mel.h"
#include "egru_logarithm.h"

{tables}
uint32_t {name}_log_mel({name}_log_mel_state *state, const int16_t *samples, int32_t *work, int32_t *features) {{
    uint32_t place = 0, saturated = 0;
    uint64_t falls = 0;
    memset(work, 0, {upper}_LOG_MEL_WORK * sizeof *work);
{weigh_past}    egru_weigh(window, {upper}_LOG_MEL_WORK, {kept}, {node.frame_length}, {first}, &place, work);
    egru_transform(twiddles, work, {upper}_LOG_MEL_WORK);
    for (uint32_t band = 0; band <= {upper}_LOG_MEL_BANDS; band++) {{
        int32_t before = egru_next_band(twiddles, work, {upper}_LOG_MEL_WORK, edges[band], edges[band + 1], rising,
                                        UINT64_C({floor}), &falls);
        if (band)
            features[band - 1] = before;
    }}
    for (uint32_t i = 0; i < {upper}_LOG_MEL_SAMPLES; i++)
        saturated += samples[i] == INT16_MIN;
{keep}    return saturated;
}}
"""


def _table(ctype: str, name: str, numbers: Iterable[float]) -> str:
    lines = textwrap.wrap(", ".join(str(int(number)) for number in numbers), _LINE - 4)
    return f"static const {ctype} {name}[] = {{\n" + "".join(f"    {line}\n" for line in lines) + "};\n"
