"""The front end of sound in C for one model: docs/front-ends.md in integers, with its tables as constants.

The arithmetic is that of ``c_kernel/egru_log_mel.h``, which is the C library's own; what is written here are the
tables, the samples that a stream keeps, and ``NAME_log_mel``, which makes of sound what ``NAME_step`` takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgegru_export.c_text import array, wrapped
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.derivation import Derivation
from edgegru_runtime.errors import ExportError
from edgegru_runtime.fixed_point import LOG2_BITS, OPERAND_LIMIT, log_mel_floor
from edgegru_runtime.model_config import LogMelNode
from edgegru_runtime.operands import operand_limit

_SOURCES = ("egru_arithmetic.h", "egru_log_mel.h", "egru_logarithm.h")
_GUARD_BITS = 14  # below the last bit of a product: what is added there and smaller only breaks ties
_LARGEST_SHIFT = 38  # of a mantissa of 24 bits, which stays below 2^62


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


def front_end_in_c(artifact: Artifact, name: str, *, integers: bool) -> CFrontEnd | None:
    """The front end of ``artifact`` as C with the prefix ``name``; None for a model that has none.

    ``NAME_log_mel`` takes int16 samples, of which 32768 is full scale, and gives what the reference has in every bit.
    ``integers``: the operands that the standardise node makes of the features, int8 or int16, without floating point;
    else the features, float32. Raises ExportError for a model of a float scheme.
    """
    node = artifact.config.front_end
    if node is None:
        return None
    if not artifact.config.static:
        found = f"the model has the front end {node.name!r} and the scheme {artifact.config.scheme}"
        raise ExportError(f"{found}; in C front ends are integers, expected static-w8a8 or static-w8a16")
    return _Writer(artifact, node, name, integers).files()


class _Writer:
    """Both files of one node."""

    def __init__(self, artifact: Artifact, node: LogMelNode, name: str, integers: bool) -> None:
        self._artifact, self._node, self._name, self._integers = artifact, node, name, integers
        self._kept = max(node.frame_length - node.input_size, 0)
        entry = artifact.config.entry.name
        self._limit = operand_limit(artifact.config, entry)
        self._type = "float" if not integers else "int8_t" if self._limit == OPERAND_LIMIT[8] else "int16_t"
        self._coefficients = Derivation(artifact).coefficients[entry]

    def files(self) -> CFrontEnd:
        node, bands = self._node, self._node.output_size
        tables = 4 * (node.frame_length + node.fft_size // 4 + 1) + 2 * (bands + 2) + 2 * (node.fft_size // 2 + 1)
        if self._integers:
            tables += (4 + 8 + 1) * bands
        return CFrontEnd(
            header=self._header(),
            source=self._source(),
            sources=(*_SOURCES, *(("egru_feature.h",) if self._integers else ())),
            table_bytes=tables,
            state_bytes=2 * max(self._kept, 1),
            scratch_bytes=4 * node.fft_size,
        )

    def _signature(self) -> str:
        name = self._name
        samples = "const int16_t *samples, int32_t *work"
        return f"uint32_t {name}_log_mel({name}_log_mel_state *state, {samples}, {self._type} *x)"

    def _header(self) -> str:
        node, name, upper = self._node, self._name, self._name.upper()
        given = "features" if not self._integers else f"operands, saturated to {self._limit},"
        return f"""\
/* The front end of {name}: sound to logarithms of energies in mel bands. Made by edgegru export. */
#ifndef {upper}_LOG_MEL_H
#define {upper}_LOG_MEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_LOG_MEL_SAMPLES {node.input_size} /* of a step */
#define {upper}_LOG_MEL_BANDS {node.output_size}
#define {upper}_LOG_MEL_WORK {node.fft_size} /* numbers that a step works with; they may hold anything between two */

/* The samples that the next steps still cover. At the beginning, and whenever the model is reset, all are 0. */
typedef struct {{
    int16_t past[{max(self._kept, 1)}];
}} {name}_log_mel_state;

/* The {given} that the network takes ({upper}_LOG_MEL_BANDS) from the samples of a step, of which 32768 is full scale.
 * Returns how many numbers were saturated: samples of -32768{", and operands" if self._integers else ""}. */
{self._signature()};

#ifdef __cplusplus
}}
#endif
#endif
"""

    def _source(self) -> str:
        node, name, upper, hop, kept = self._node, self._name, self._name.upper(), self._node.input_size, self._kept
        types = {"window": "int32_t", "twiddles": "int32_t", "edges": "uint16_t", "rising": "int16_t"}
        tables = "".join(
            array(ctype, table, self._artifact.numbers(f"{node.name}.{table}")) for table, ctype in types.items()
        )
        new = min(hop, node.frame_length)  # samples of a step inside its frame
        first = f"samples + {hop - new}" if hop > new else "samples"
        weigh_past = ""
        if kept:
            weigh_past = f"    egru_weigh(window, {upper}_LOG_MEL_WORK, 0, {kept}, state->past, &place, work);\n"
        give = "x[band - 1] = (float)before * (1.0f / 65536.0f);"
        if self._integers:
            tables += self._operand_tables()
            operand = "before, slope[band - 1], offset[band - 1], shift[band - 1]"
            give = f"x[band - 1] = ({self._type})egru_feature_operand({operand}, {self._limit}, &saturated);"
        feature = '#include "egru_feature.h"\n' if self._integers else ""
        return f"""\
/* The tables of the front end of {name}, and how a step uses them. Made by edgegru export; the arithmetic is in
 * egru_log_mel.h. */
#include "{name}_log_mel.h"

#include <string.h>

#define EGRU_WIDE 1
#include "egru_logarithm.h"
#define egru_round egru_rounded
#include "egru_log_mel.h"
{feature}
{tables}
{self._signature()} {{
    uint32_t place = 0, saturated = 0;
    uint64_t falls = 0;
    memset(work, 0, {upper}_LOG_MEL_WORK * sizeof *work);
{weigh_past}    egru_weigh(window, {upper}_LOG_MEL_WORK, {kept}, {node.frame_length}, {first}, &place, work);
    egru_transform(twiddles, work, {upper}_LOG_MEL_WORK);
    for (uint32_t band = 0; band <= {upper}_LOG_MEL_BANDS; band++) {{
        int32_t before = egru_next_band(twiddles, work, {upper}_LOG_MEL_WORK, edges[band], edges[band + 1], rising,
                                        UINT64_C({log_mel_floor(node.floor, node.fft_size)}), &falls);
        if (band)
            {give}
    }}
    for (uint32_t i = 0; i < {upper}_LOG_MEL_SAMPLES; i++)
        saturated += samples[i] == INT16_MIN;
{self._keep()}    return saturated;
}}
"""

    def _keep(self) -> str:
        hop, kept = self._node.input_size, self._kept
        if kept > hop:
            return f"""\
    memmove(state->past, state->past + {hop}, {kept - hop} * sizeof *samples);
    memcpy(state->past + {kept - hop}, samples, {hop} * sizeof *samples);
"""
        if kept:
            return f"    memcpy(state->past, samples + {hop - kept}, {kept} * sizeof *samples);\n"
        return "    (void)state;\n"

    def _operand_tables(self) -> str:
        """a and b of each band as integers, for ``egru_feature_operand``."""
        pairs = zip(*self._coefficients, strict=True)
        slopes, offsets, shifts = zip(*(integer_coefficients(a, b) for a, b in pairs), strict=True)
        wide = wrapped(f"INT64_C({number})" for number in offsets)
        return (
            array("int32_t", "slope", slopes)
            + f"static const int64_t offset[{len(offsets)}] = {{\n{wide}}};\n"
            + array("uint8_t", "shift", shifts)
        )


def integer_coefficients(a: float, b: float) -> tuple[int, int, int]:
    """Slope, offset and shift of ``egru_feature_operand``: ``⌊a · v + b⌋`` of float32 numbers in integers.

    Raises ExportError for coefficients beyond its 64 bits.
    """
    slope, exponent = _mantissa(a)
    exponent -= LOG2_BITS + _GUARD_BITS  # of a unit of the sum
    mantissa, place = _mantissa(b)
    if (mantissa and place - exponent > _LARGEST_SHIFT) or not 0 < -exponent < 64:
        raise ExportError(f"a band has the coefficients {a:g} and {b:g}, beyond what a front end of integers holds")
    return slope, _shifted(mantissa, place - exponent), -exponent


def _mantissa(value: float) -> tuple[int, int]:
    """A float32 as an integer of 24 bits and the exponent of its last bit."""
    fraction, exponent = math.frexp(value)
    return int(fraction * 2**24), exponent - 24


def _shifted(mantissa: int, places: int) -> int:
    """``mantissa · 2^places``. Where bits fall off, the last one is set: no number it is added to ends anywhere near,
    so it decides nothing but on which side of a tie, or of zero, the sum lies.
    """
    if places >= 0:
        return mantissa << places
    magnitude = abs(mantissa) >> -places
    if abs(mantissa) != magnitude << -places:
        magnitude |= 1
    return magnitude if mantissa > 0 else -magnitude
