"""The last part of docs/performance.md: what bounds a step, from what was measured of its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from textwrap import wrap
from typing import Any

from performance_results import (
    RATIO_FLOAT,
    RATIO_INT8,
    READING_AND_MULTIPLYING,
    SCHEMES,
    best_in_c,
    floor,
    from_python,
    gain,
    gain_in_python,
    gates,
    in_c,
    least,
    own_kernel,
    products,
    shared_by_none,
)

FLOAT, INT8 = SCHEMES
AT_BEST = (
    'What was measured and, "at best", what would be if a step did only what it cannot do without: read its weights and'
    " multiply at the same time, as a bare loop of both does, or of the slower where no such loop was measured; then"
    " what follows the products (gates, activations, the new state), as fast as now. Streams that step together share"
    " the reading, and nothing else. The first machine and the one with AVX-512 were measured with earlier kernels, the"
    " latter not in parts."
)
Ratio = Callable[[Any], float]  # of the results of a size


def _over_reading(scheme: str) -> tuple[Ratio, Ratio]:
    return (
        lambda found: in_c(found, scheme) / floor(found, scheme),
        lambda found: least(found, scheme) / floor(found, scheme),
    )


def _together(scheme: str) -> tuple[Ratio, Ratio]:
    return lambda found: gain(found, scheme), lambda found: in_c(found, scheme) / shared_by_none(found, scheme)


_TOGETHER_IN_PYTHON = (
    lambda found: gain_in_python(found, INT8),
    lambda found: 1e3 * from_python(found, INT8) / shared_by_none(found, INT8),
)
_FLOAT_OVER_INT8 = (
    lambda found: in_c(found, FLOAT) / in_c(found, INT8),
    lambda found: in_c(found, FLOAT) / least(found, INT8),
)
_OVER_LITERT = (
    lambda found: found["ratios"][RATIO_INT8],
    lambda found: found["ratios"][RATIO_INT8] * 1e3 * from_python(found, INT8) / least(found, INT8),
)
# Of a size: what was measured, and the bound.
_BOUNDED: tuple[tuple[str, tuple[str, ...], tuple[Ratio, Ratio]], ...] = (
    ("float32 in C over reading its weights", ("64 → 128",), _over_reading(FLOAT)),
    ("static-w8a8 in C over reading its weights", ("64 → 128", "128 → 256"), _over_reading(INT8)),
    ("C: float32 over static-w8a8", ("8 → 64", "64 → 128", "128 → 256"), _FLOAT_OVER_INT8),
    ("Python: LiteRT dynamic int8 over static-w8a8", ("64 → 128", "128 → 256"), _OVER_LITERT),
    ("static-w8a8: 64 calls over one call of 64 streams, C", ("8 → 64", "64 → 128"), _together(INT8)),
    ("static-w8a8: 64 calls over one call of 64 streams, Python", ("8 → 64",), _TOGETHER_IN_PYTHON),
    ("float32: 64 calls over one call of 64 streams, C", ("64 → 128",), _together(FLOAT)),
)


def bounds(
    sizes: dict[str, Any], other: dict[str, Any], older: dict[str, Any], arm: dict[str, Any]
) -> Iterator[str]:
    """A table and a list, from the results by size of three machines, and the instructions on Arm."""
    yield wrapped(AT_BEST) + "\n\n"
    yield from _table(sizes, other, older)
    yield "\n"
    small, middle, largest = (sizes[size] for size in ("1 → 16", "8 → 64", "128 → 256"))
    calls = [1e3 * from_python(f, s) - in_c(f, s) for f in (small, sizes["6 → 32"], middle) for s in SCHEMES]
    share = 1 - in_c(small, INT8) / (1e3 * from_python(small, INT8))
    yield item(
        f"A call from Python adds {min(calls):.0f} to {max(calls):.0f} ns at up to 64 units: {percent(share)} of an"
        " int8 step at 1 → 16."
    )
    yield item(
        "The larger the layer, the smaller the advantage: what others spend on a call does not grow with it, and all"
        f" read the same weights. In float32 they take {small['ratios'][RATIO_FLOAT]:.1f} times as long at 1 → 16 and"
        f" {largest['ratios'][RATIO_FLOAT]:.1f} times at 128 → 256."
    )
    for scheme, size, peer in ((FLOAT, "8 → 64", RATIO_FLOAT), (INT8, "128 → 256", RATIO_INT8)):
        found, others = sizes[size], [results[size]["ratios"][peer] for results in (sizes, other)]
        yield item(
            f"{scheme} at {size} takes {1e3 * from_python(found, scheme):.0f} ns from Python,"
            f" {best_in_c(found, scheme):.0f} in C, and reading its weights {floor(found, scheme):.0f}. Others take"
            f" {others[0]:.2f} times as long, and {others[1]:.2f} times on the machine with AVX-512."
        )
    yield _multiplying_bytes(sizes)
    yield from _bounds_of_float(sizes)
    yield _smallest(small, older["1 → 16"])
    ratios = [in_c(found, FLOAT, "portable") / in_c(found, INT8, "portable") for found in older.values()]
    yield item(
        "The portable kernel multiplies one number after another, four rows at a time: on the older machine float32"
        f" takes {min(ratios):.2f} to {max(ratios):.2f} times as long as int8. Above, and with AVX-512, it took one row"
        " at a time."
    )
    yield from _bounds_of_avx512(other)
    yield _bound_of_older(older["64 → 128"], sizes["64 → 128"])
    a53, a7 = arm["cortex-a53"][INT8]["64,128"], [arm["cortex-a7"][scheme]["1,16"]["step"] for scheme in SCHEMES]
    yield item(
        "On Arm, int8 streams that step together save few instructions or none (cortex-a53, 64 → 128:"
        f" {a53['step_of_four_streams']:,.0f} for a step of one of four, {a53['step']:,.0f} alone), and on a cortex-a7"
        f" the smallest layer takes {a7[1]:,.0f} in int8 and {a7[0]:,.0f} in float32."
    )


def _table(sizes: dict[str, Any], other: dict[str, Any], older: dict[str, Any]) -> Iterator[str]:
    heads = ("", "first machine", "at best", "older", "at best", "with AVX-512")
    yield f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n"
    for title, at, (measured, best) in _BOUNDED:
        for size in at:
            cells = [f"{ratio(results[size]):.2f}" for results in (sizes, older) for ratio in (measured, best)]
            yield f"| {title}, {size} | {' | '.join(cells)} | {measured(other[size]):.2f} |\n"


def _multiplying_bytes(sizes: dict[str, Any]) -> str:
    """What int8 cannot do without where there is no VNNI."""
    parts = [
        f"{floor(sizes[size], INT8, 'multiplying'):.0f} + {gates(sizes[size], INT8):.0f} of the"
        f" {in_c(sizes[size], INT8):.0f} ns of a step at {size}"
        for size in ("8 → 64", "64 → 128", "128 → 256")
    ]
    return item(
        "AVX2 without VNNI has no dot product of bytes: four instructions for 32 products of int8, as many as float32"
        f" needs with FMA. These alone, and what follows the products alone, take {parts[0]}, {parts[1]} and"
        f" {parts[2]}."
    )


def _bounds_of_float(sizes: dict[str, Any]) -> Iterator[str]:
    small, large, largest = (sizes[size] for size in ("1 → 16", "64 → 128", "128 → 256"))
    reading, behind, step = floor(large, FLOAT), gates(large, FLOAT), in_c(large, FLOAT)
    rest = in_c(small, FLOAT) - gates(small, FLOAT) - floor(small, FLOAT)
    yield item(
        f"float32 at 64 → 128 takes {step / reading:.2f} times as long as reading its weights, which bounds it, and"
        f" would take {(reading + behind + rest) / reading:.2f} times with nothing but what follows the products and"
        " what else a step of 1 → 16 takes. At 128 → 256 it takes"
        f" {in_c(largest, FLOAT) / floor(largest, FLOAT):.2f} times as long: there the loop that only reads is not the"
        " fastest way to read, and no bound."
    )
    multiplying = shared_by_none(large, FLOAT)
    yield item(
        "64 streams of it read the weights once for four, and then multiplying bounds them: in one call they take"
        f" {in_c(large, FLOAT, quantity='many_ns'):.0f} ns each, {multiplying:.0f} with nothing but that and what"
        f" follows. They could be {step / multiplying:.2f} times as fast as 64 calls, or"
        f" {1.1 * reading / multiplying:.2f} if a step took 1.1 times as long as reading, and are"
        f" {gain(large, FLOAT):.2f} times."
    )


def _smallest(found: Any, older: Any) -> str:
    multiplying = [floor(found, scheme, "multiplying") for scheme in SCHEMES]
    behind, in_older = ([gates(results, scheme) for scheme in SCHEMES] for results in (found, older))
    return item(
        f"At 1 → 16, int8 takes {in_c(found, INT8):.0f} ns and float32 {in_c(found, FLOAT):.0f}. Multiplying takes at"
        f" least {multiplying[1]:.0f} and {multiplying[0]:.0f} of them, what follows the products, which is the same in"
        f" every bit on every machine only in int8, {behind[1]:.0f} and {behind[0]:.0f}: int8 has"
        f" {multiplying[0] - multiplying[1]:.0f} ns to win by multiplying and loses {behind[1] - behind[0]:.0f} there."
        f" On the older machine it takes {in_c(older, INT8):.0f} and float32 {in_c(older, FLOAT):.0f}, and what"
        f" follows {in_older[1]:.0f} and {in_older[0]:.0f} of them."
    )


def _bounds_of_avx512(sizes: dict[str, Any]) -> Iterator[str]:
    """Of the other machine, and of earlier kernels."""
    middle, large = (sizes[size] for size in ("8 → 64", "64 → 128"))
    step, reading = in_c(middle, INT8), floor(middle, INT8)
    called = 1e3 * from_python(middle, INT8)
    yield item(
        f"On the machine with AVX-512, int8 at 8 → 64 takes {step:.0f} ns, of which reading the weights is"
        f" {reading:.0f}; products, gates and activations are done for each stream. So 64 streams in one call are only"
        f" {gain(middle, INT8):.2f} times as fast as 64 calls in C, {gain_in_python(middle, INT8):.2f} times from"
        f" Python; if reading took no time it would be {step / (step - reading):.2f} times in C, and from Python, calls"
        f" taking none either, {called / (step - reading):.2f}. At 64 → 128 int8 gains {gain(large, INT8):.2f} times"
        f" and float32, bound by reading, {gain(large, FLOAT):.2f} times."
    )
    for scheme in SCHEMES:
        for size, found in sizes.items():
            if in_c(found, scheme, "avx2") < in_c(found, scheme):
                yield item(
                    f"{scheme} at {size} is faster there with avx2 ({in_c(found, scheme, 'avx2'):.0f} ns) than with"
                    f" {own_kernel(found, scheme)} ({in_c(found, scheme):.0f} ns), which a model takes by itself."
                )


def _bound_of_older(found: Any, first: Any) -> str:
    multiplying = {scheme: floor(found, scheme, "multiplying") for scheme in SCHEMES}
    longer = [value / floor(first, scheme, "multiplying") for scheme, value in multiplying.items()]
    parts = [
        f"{products(found, scheme):.0f} + {gates(found, scheme):.0f} of the {in_c(found, scheme):.0f} ns"
        for scheme in SCHEMES
    ]
    both = floor(found, FLOAT, READING_AND_MULTIPLYING)
    return item(
        f"On the older machine, multiplying alone takes {multiplying[FLOAT]:.0f} ns in float32 at 64 → 128 and"
        f" {multiplying[INT8]:.0f} in int8, {longer[0]:.1f} and {longer[1]:.1f} times as long as on the first; reading"
        f" the weights takes {floor(found, FLOAT):.0f} and {floor(found, INT8):.0f}, and multiplying float32 as it is"
        f" read {both:.0f}, longer than either. The products, and what follows them, are {parts[0]} of a step in"
        f" float32 and {parts[1]} in int8."
    )


def item(text: str) -> str:
    """An item of a list, in Markdown."""
    return wrapped(f"- {text}", "  ") + "\n"


def wrapped(text: str, indent: str = "") -> str:
    """Lines of up to 120 characters, from the second on behind ``indent``."""
    return "\n".join(wrap(text, 120, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False))


def percent(part: float) -> str:
    """Of a part of 1."""
    return f"{100 * part:.0f} %"
