"""The last part of docs/performance.md: what bounds a step, from what was measured of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from performance_results import (
    RATIO_FLOAT,
    RATIO_INT8,
    SCHEMES,
    best_in_c,
    floor,
    from_python,
    gain,
    gain_in_python,
    gates,
    in_c,
    needed,
    own_kernel,
    products,
)


def bounds(
    sizes: dict[str, Any], other: dict[str, Any], older: dict[str, Any], arm: dict[str, Any]
) -> Iterator[str]:
    """The items of a list, from the results by size of three machines, and the instructions on Arm."""
    small, middle, largest = (sizes[size] for size in ("1 → 16", "8 → 64", "128 → 256"))
    int8 = "static-w8a8"
    calls = [1e3 * from_python(f, s) - in_c(f, s) for f in (small, sizes["6 → 32"], middle) for s in SCHEMES]
    share = 1 - in_c(small, int8) / (1e3 * from_python(small, int8))
    yield item(
        f"A call from Python adds {min(calls):.0f} to {max(calls):.0f} ns at up to 64 units: {percent(share)} of an"
        " int8 step at 1 → 16."
    )
    yield item(
        "The larger the layer, the smaller the advantage: what others spend on a call does not grow with it, and all"
        f" read the same weights. In float32 they take {small['ratios'][RATIO_FLOAT]:.1f} times as long at 1 → 16 and"
        f" {largest['ratios'][RATIO_FLOAT]:.1f} times at 128 → 256."
    )
    for scheme, size, peer in (("float32", "8 → 64", RATIO_FLOAT), ("static-w8a8", "128 → 256", RATIO_INT8)):
        found, others = sizes[size], [results[size]["ratios"][peer] for results in (sizes, other)]
        yield item(
            f"{scheme} at {size} takes {1e3 * from_python(found, scheme):.0f} ns from Python,"
            f" {best_in_c(found, scheme):.0f} in C, and reading its weights {floor(found, scheme):.0f}. Others take"
            f" {others[0]:.2f} times as long, and {others[1]:.2f} times on the machine with AVX-512."
        )
    yield from _bounds_of_int8(sizes)
    yield from _bounds_of_float(sizes)
    multiplying = [floor(small, scheme, "multiplying") for scheme in SCHEMES]
    behind = [gates(small, scheme) for scheme in SCHEMES]
    yield item(
        f"At 1 → 16, int8 takes {in_c(small, int8):.0f} ns and float32 {in_c(small, 'float32'):.0f}. Multiplying takes"
        f" at least {multiplying[1]:.0f} and {multiplying[0]:.0f} of them, what follows the products, which is the same"
        f" in every bit on every machine only in int8, {behind[1]:.0f} and {behind[0]:.0f}: int8 has"
        f" {multiplying[0] - multiplying[1]:.0f} ns to win by multiplying and loses {behind[1] - behind[0]:.0f} there."
    )
    here, there = (
        [in_c(found, "float32", "portable") / in_c(found, int8, "portable") for found in results.values()]
        for results in (sizes, other)
    )
    yield item(
        "The portable kernel multiplies one number after another: float32 takes"
        f" {min(here):.2f} to {max(here):.2f} times as long as int8, on the machine with AVX-512 {min(there):.2f} to"
        f" {max(there):.2f} times."
    )
    yield from _bounds_of_avx512(other)
    yield _bound_of_older(older["64 → 128"], sizes["64 → 128"])
    a53, a7 = arm["cortex-a53"][int8]["64,128"], [arm["cortex-a7"][scheme]["1,16"]["step"] for scheme in SCHEMES]
    yield item(
        "On Arm, int8 streams that step together save few instructions or none (cortex-a53, 64 → 128:"
        f" {a53['step_of_four_streams']:,.0f} for a step of one of four, {a53['step']:,.0f} alone), and on a cortex-a7"
        f" the smallest layer takes {a7[1]:,.0f} in int8 and {a7[0]:,.0f} in float32."
    )


def _bounds_of_int8(sizes: dict[str, Any]) -> Iterator[str]:
    """What it cannot do without, and streams do not share, where there is no VNNI."""
    int8, bounded = "static-w8a8", ("8 → 64", "64 → 128", "128 → 256")
    middle, large, largest = (sizes[size] for size in bounded)
    parts = [
        f"{floor(sizes[size], int8, 'multiplying'):.0f} + {gates(sizes[size], int8):.0f} of the"
        f" {in_c(sizes[size], int8):.0f} ns of a step at {size}"
        for size in bounded
    ]
    yield item(
        "AVX2 without VNNI has no dot product of bytes: four instructions for 32 products of int8, as many as float32"
        " needs with FMA. These alone, and what follows the products alone (gates, activations, the new state), take"
        f" {parts[0]}, {parts[1]} and {parts[2]}. Were there nothing else, a step would take"
        f" {needed(large, int8) / floor(large, int8):.2f} and"
        f" {needed(largest, int8) / floor(largest, int8):.2f} times as long as reading the weights at 64 → 128 and"
        f" 128 → 256, and it takes {in_c(large, int8) / floor(large, int8):.2f} and"
        f" {in_c(largest, int8) / floor(largest, int8):.2f} times; float32 would take"
        f" {in_c(middle, 'float32') / needed(middle, int8):.2f} and"
        f" {in_c(large, 'float32') / needed(large, int8):.2f} times as long as int8 at 8 → 64 and 64 → 128, and it"
        f" takes {in_c(middle, 'float32') / in_c(middle, int8):.2f} and"
        f" {in_c(large, 'float32') / in_c(large, int8):.2f} times."
    )
    shared = [
        f"{in_c(found, int8) / needed(found, int8):.2f} at {size} ({gain(found, int8):.2f} measured)"
        for found, size in ((middle, "8 → 64"), (large, "64 → 128"))
    ]
    yield item(
        "Streams that step together share neither: 64 of them in one call could be no more times as fast as 64"
        f" calls than {shared[0]} and {shared[1]}; from Python at 8 → 64,"
        f" {1e3 * from_python(middle, int8) / needed(middle, int8):.2f} ({gain_in_python(middle, int8):.2f} measured)."
    )


def _bounds_of_float(sizes: dict[str, Any]) -> Iterator[str]:
    small, large, largest = (sizes[size] for size in ("1 → 16", "64 → 128", "128 → 256"))
    reading, behind, step = floor(large, "float32"), gates(large, "float32"), in_c(large, "float32")
    rest = in_c(small, "float32") - gates(small, "float32") - floor(small, "float32")
    yield item(
        f"float32 at 64 → 128 takes {step / reading:.2f} times as long as reading its weights, which bounds it, and"
        f" would take {(reading + behind) / reading:.2f} times with nothing but what follows the products,"
        f" {(reading + behind + rest) / reading:.2f} with what else a step of 1 → 16 takes. At 128 → 256 it takes"
        f" {in_c(largest, 'float32') / floor(largest, 'float32'):.2f} times as long: there the loop that only reads is"
        " not the fastest way to read, and no bound."
    )
    multiplying = needed(large, "float32")
    yield item(
        "64 streams of it read the weights once for four, and then multiplying bounds them: in one call they take"
        f" {in_c(large, 'float32', quantity='many_ns'):.0f} ns each, {multiplying:.0f} with nothing but that and what"
        f" follows. They could be {step / multiplying:.2f} times as fast as 64 calls, or"
        f" {1.1 * reading / multiplying:.2f} if a step took 1.1 times as long as reading, and are"
        f" {gain(large, 'float32'):.2f} times."
    )


def _bounds_of_avx512(sizes: dict[str, Any]) -> Iterator[str]:
    """Of the other machine, and of earlier kernels."""
    int8 = "static-w8a8"
    middle, large, largest = (sizes[size] for size in ("8 → 64", "64 → 128", "128 → 256"))
    over = {
        scheme: " and ".join(f"{in_c(found, scheme) / floor(found, scheme):.2f}" for found in (large, largest))
        for scheme in SCHEMES
    }
    yield item(
        f"On the machine with AVX-512, int8 takes {over[int8]} times as long as reading its weights at 64 → 128 and"
        f" 128 → 256, float32 {over['float32']} times; float32 at 8 → 64"
        f" {in_c(middle, 'float32') / in_c(middle, int8):.2f} times as long as int8."
    )
    step, reading = in_c(middle, int8), floor(middle, int8)
    yield item(
        f"There int8 at 8 → 64 takes {step:.0f} ns, of which reading the weights is {reading:.0f}; products, gates and"
        " activations are done for each stream. So 64 streams in one call are only"
        f" {gain(middle, int8):.2f} times as fast as 64 calls in C, {gain_in_python(middle, int8):.2f} times from"
        f" Python; if reading took no time it would be {step / (step - reading):.2f} times in C. At 64 → 128 int8 gains"
        f" {gain(large, int8):.2f} times and float32, bound by reading, {gain(large, 'float32'):.2f} times."
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
    float32, int8 = SCHEMES
    return item(
        f"On the older machine, multiplying alone takes {multiplying[float32]:.0f} ns in float32 at 64 → 128 and"
        f" {multiplying[int8]:.0f} in int8, {longer[0]:.1f} and {longer[1]:.1f} times as long as on the first, and"
        f" reading the weights {floor(found, float32):.0f} and {floor(found, int8):.0f}. The products, which do both,"
        f" and what follows them are {parts[0]} of a step in float32 and {parts[1]} in int8. Were int8 to multiply and"
        f" do what follows and nothing else, float32 would take {in_c(found, float32) / needed(found, int8):.2f} times"
        f" as long, and it takes {in_c(found, float32) / in_c(found, int8):.2f} times."
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
