"""Write docs/performance.md: what a step costs, from the numbers in benchmarks/results.

    python docs/make_performance.py
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
SCHEMES = {"float32": "float32", "static-w8a8": "int8"}  # and the weights that are read
DEFAULT = "avx512"  # the first of these instruction sets, which a model takes by itself
PROCESS_SIZE = "6 → 32"  # of step.py
RATIO_FLOAT = "float32: fastest of ONNX Runtime and LiteRT over EdgeGRU"  # titles of step.py
RATIO_INT8 = "int8: LiteRT dynamic int8 over EdgeGRU"
BASE = "python3"  # a process that does nothing

INTRODUCTION = """\
# What a step costs

One GRU layer and a linear layer of four outputs, one stream, one thread, the state carried from step to step, every
output read. Columns are input size → hidden size. Best of many short chunks, all contestants in turn in one process
that is pinned to one processor; each is first compared with the float reference over {checked} steps. Measured by
`benchmarks/step.py` and `benchmarks/instructions.py`; every run is in [`benchmarks/results/`](../benchmarks/results).
Written by `python docs/make_performance.py`.

{machine}
These numbers are of kernels before six changes: AVX2 takes cheaper instructions for int8, and reads tables and other
constants; AVX-512 packs float32 in panels of which the last is in the first cache still when the next step begins, and
inputs of 16 bits six blocks at a time; in both, candidates are packed as they are computed; the way to the kernels is
shorter. What is said of a machine [without AVX-512](#without-avx-512) was measured with them.

Times on other machines differ, and ratios too. On one machine they differ between runs: the same binary, copied to
another place in memory, takes visibly more or less for a small float step, and so do the other runtimes; this is one
run, not the best of several. No Arm machine has been measured: [instructions](#on-arm) are counted.

![Microseconds of a step from Python, by size and runtime](step.png)
"""

FROM_PYTHON = """
## From Python

"""

CONTESTANTS = """\
Microseconds of a step; with `streams(64)`, of one stream's step. LiteRT "variables": the state stays in the
interpreter. LiteRT "int16" is what `edgegru export` writes; "full int8" has a state of 8 bits and is off by up to
{litert} of the spread of its outputs, EdgeGRU by up to {edgegru}."""

IN_C = """
## In C

Nanoseconds of a step for every instruction set, and of only reading the weights from the caches, by a loop of the
widest loads.

"""

TOGETHER = """
The same for one of 64 streams that step together:

"""

RATIOS = """
## Ratios

How many times as long the first takes as the second: from Python the fastest call of a library, EdgeGRU by
`step(x, out)`; in C the fastest instruction set.

"""

WITHOUT_AVX512 = """
## Without AVX-512

The same on another machine, {machine}: ratios, and nanoseconds in C of the instruction set
that is taken there, of only reading the weights, of only multiplying and adding as often, nothing being read, and of
only what follows the products of the GRU: gates, activations, the new state.

"""

PROCESS = f"""
## In a process of its own

A float32 model of {PROCESS_SIZE}: what a process takes to import, to load and to its first result, and the memory that
is resident after a thousand steps; the last two above a Python that does nothing. Installed: with all dependencies.

"""

FIELD = """
## The whole way

Records per second through `run`, from the bytes of a log to JSON lines, on one processor of a {processor}: an int8
model of 6 → 32 with 4 classes, and beside it a straightforward loop over the csv module, ONNX Runtime (float32) and the
json module. "changes" writes the steps at which something is switched, "all" every step. Measured by
`benchmarks/field.py`, the best of {rounds} runs of each.

"""

ON_ARM = """
## On Arm

Instructions of a step for each multiply–add of its matrices, counted by QEMU
({made_with}):

"""

ESTIMATES = """
The innermost loops alone, and what {estimated_with} estimates for them, for each multiply–add:

"""


def page() -> str:
    """The whole page."""
    steps, arm, field = _read("step"), _read("instructions"), _read("field")
    other = _read("step_avx2")
    parts = [
        INTRODUCTION.format(checked=steps["checked_steps"], machine=_machine(steps["machine"])),
        FROM_PYTHON,
        _contestants(steps["sizes"]),
        *_from_python(steps["sizes"]),
        IN_C,
        *_in_c(steps["sizes"], "step_ns"),
        *_floors(steps["sizes"]),
        TOGETHER,
        *_in_c(steps["sizes"], "many_ns"),
        RATIOS,
        *_ratios(steps["sizes"]),
        WITHOUT_AVX512.format(machine=_processor(other["machine"])),
        *_ratios(other["sizes"]),
        "\n",
        *_alone_and_together(other["sizes"]),
        PROCESS,
        *_processes(steps["processes"]),
        FIELD.format(processor=field["machine"]["processor"], rounds=field["rounds"]),
        *_field(field),
        ON_ARM.format(made_with=", ".join(re.sub(r" \(.*?\)| version", "", line) for line in arm["made_with"])),
        *_instructions(arm["instructions"]),
        ESTIMATES.format(estimated_with=arm["estimated_with"].replace("Debian LLVM version", "llvm-mca")),
        *_estimates(arm["estimates"]),
        "\n## What bounds a step\n\n",
        *_bounds(steps["sizes"], other["sizes"], arm["instructions"]),
    ]
    return "".join(parts)


def summary() -> str:
    """The sentence of the README."""
    steps = _read("step")
    found = steps["sizes"]["8 → 64"]
    float32, int8 = (_python(found, scheme) for scheme in SCHEMES)
    others = {name: _fastest(found, part) for name, part in (("float", "LiteRT float32"), ("int8", "LiteRT dynamic"))}
    return (
        f"A step of 8 inputs and 64 units takes {_significant(int8)} µs from Python with int8 weights and"
        f" {_significant(float32)} µs in float32, where LiteRT takes {_significant(others['int8'])} µs"
        f" (dynamic int8) and {_significant(others['float'])} µs (one thread of an {steps['machine']['cpu']};"
        " [every number](docs/performance.md))."
    )


def _machine(machine: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    return _wrapped(
        f"The machine: {_processor(machine)}, Python {machine['python']}, {packages}, compiler {machine['compiler']}."
    )


def _processor(machine: dict[str, Any]) -> str:
    return f"{machine['cpu']} ({', '.join(machine['instruction_sets'])})"


def _contestants(sizes: dict[str, Any]) -> str:
    names = ("LiteRT full int8", "EdgeGRU static-w8a8, step(x, out)")
    litert, edgegru = (_percent(max(found["steps"][name]["error"] for found in sizes.values())) for name in names)
    return _wrapped(CONTESTANTS.format(litert=litert, edgegru=edgegru)) + "\n\n"


def _from_python(sizes: dict[str, Any]) -> Iterator[str]:
    names = [name for name in next(iter(sizes.values()))["steps"] if not name.startswith(("reading", "multiplying"))]
    yield _head("µs", sizes)
    for name in names:
        yield _row(name, [_significant(found["steps"][name]["best_us"]) for found in sizes.values()])


def _in_c(sizes: dict[str, Any], quantity: str) -> Iterator[str]:
    yield _head("ns", sizes)
    for scheme in SCHEMES:
        for kernel in next(iter(sizes.values()))["native"][scheme]["kernels"]:
            yield _row(f"{scheme}, {kernel}", [_significant(_c(f, scheme, kernel, quantity)) for f in sizes.values()])


def _alone_and_together(sizes: dict[str, Any]) -> Iterator[str]:
    """Of the instruction set that a model takes by itself where there is no AVX-512."""
    yield _head("ns", sizes)
    for scheme in SCHEMES:
        for title, quantity in (("", "step_ns"), (", one of 64 streams", "many_ns")):
            cells = [_significant(_c(found, scheme, "avx2", quantity)) for found in sizes.values()]
            yield _row(f"{scheme}, avx2{title}", cells)
    yield from _floors(sizes)
    for scheme in SCHEMES:
        yield _row(f"{scheme}, what follows the products", [_significant(_gates(f, scheme)) for f in sizes.values()])


def _floors(sizes: dict[str, Any]) -> Iterator[str]:
    for scheme, weights in SCHEMES.items():
        yield _row(f"reading {weights} weights", [_significant(_floor(found, scheme)) for found in sizes.values()])
        if f"multiplying {weights} weights" in next(iter(sizes.values()))["steps"]:
            cells = [_significant(_floor(found, scheme, "multiplying")) for found in sizes.values()]
            yield _row(f"multiplying {weights} weights", cells)


def _ratios(sizes: dict[str, Any]) -> Iterator[str]:
    yield _head("", sizes)
    for title in next(iter(sizes.values()))["ratios"]:
        yield _row(title, [f"{found['ratios'][title]:.1f}" for found in sizes.values()])

    def row(title: str, ratio: Callable[[Any], float]) -> str:
        return _row(title, [f"{ratio(found):.1f}" for found in sizes.values()])

    yield row("Python: float32 over static-w8a8", lambda f: _python(f, "float32") / _python(f, "static-w8a8"))
    yield row("C: float32 over static-w8a8", lambda f: _best(f, "float32") / _best(f, "static-w8a8"))
    for scheme in SCHEMES:
        title = f"{scheme}: 64 calls over one call of 64 streams"
        yield row(f"{title}, Python", lambda f, s=scheme: _gain_in_python(f, s))  # type: ignore[misc]  # s is bound
        yield row(f"{title}, C", lambda f, s=scheme: _best(f, s) / _best(f, s, "many_ns"))  # type: ignore[misc]


def _processes(processes: dict[str, dict[str, float]]) -> Iterator[str]:
    yield _head("", ("import, ms", "load, ms", "first result, ms", "memory, MB", "installed, MB"))
    base = processes[BASE]
    for name, found in processes.items():
        if name != BASE:
            cells = [found["import_ms"], found["load_ms"], found["first_result_ms"] - base["first_result_ms"]]
            cells.append((found["resident_bytes"] - base["resident_bytes"]) / 1e6)
            yield _row(name, [_significant(cell) for cell in (*cells, found["installed_bytes"] / 1e6)])
    yield (
        f"\nPython alone: {_significant(base['first_result_ms'])} ms from its start and"
        f" {_significant(base['resident_bytes'] / 1e6)} MB.\n"
    )


def _field(field: dict[str, Any]) -> Iterator[str]:
    rates, ratios = field["records_per_second"], field["edgegru_over_onnx_runtime"]
    yield _head("", ("EdgeGRU", "ONNX Runtime loop", "times as fast"))
    for kind, ratio in ratios.items():
        ours, theirs = (f"{rates[f'{name}, {kind}']:,}" for name in ("EdgeGRU", "ONNX Runtime"))
        yield _row(kind, [ours, theirs, f"{ratio:.1f}"])
    needed = field["times_what_10000_sensors_need"]
    yield _paragraph(
        f"10,000 sensors in one process take {rates['EdgeGRU, 10,000 streams, f32le']:,} records per second as raw"
        f" float32 frames, {needed['f32le']:.2f} times what they send at 50 Hz, and"
        f" {rates['EdgeGRU, 10,000 streams, csv']:,} as CSV with a column that names the sensor,"
        f" {needed['csv']:.2f} times what they send at 10 Hz."
    )


def _paragraph(text: str) -> str:
    return "\n" + "\n".join(wrap(text, 120)) + "\n"


def _instructions(processors: dict[str, Any]) -> Iterator[str]:
    sizes = [size.replace(",", " → ") for size in next(iter(processors.values()))["float32"]]
    yield _head("", sizes)
    for processor, schemes in processors.items():
        for scheme, found in schemes.items():
            yield _row(f"{processor}, {scheme}", [f"{values['multiply_add']:.2f}" for values in found.values()])


def _estimates(processors: dict[str, Any]) -> Iterator[str]:
    yield _head("", ("instructions", "cycles, estimated"))
    for processor, loops in processors.items():
        for loop, found in loops.items():
            yield _row(f"{processor}, {loop}", [f"{found[name]:.3f}" for name in ("instructions", "cycles")])


def _bounds(sizes: dict[str, Any], other: dict[str, Any], arm: dict[str, Any]) -> Iterator[str]:
    small, middle, large, largest = (sizes[size] for size in ("1 → 16", "8 → 64", "64 → 128", "128 → 256"))
    int8 = "static-w8a8"
    calls = [1e3 * _python(f, s) - _c(f, s) for f in (small, sizes["6 → 32"], middle) for s in SCHEMES]
    share = 1 - _c(small, int8) / (1e3 * _python(small, int8))
    yield _item(
        f"A call from Python adds {min(calls):.0f} to {max(calls):.0f} ns at up to 64 units: {_percent(share)} of an"
        " int8 step at 1 → 16."
    )
    yield _item(
        "The larger the layer, the smaller the advantage: what others spend on a call does not grow with it, and all"
        f" read the same weights. In float32 they take {small['ratios'][RATIO_FLOAT]:.1f} times as long at 1 → 16 and"
        f" {largest['ratios'][RATIO_FLOAT]:.1f} times at 128 → 256."
    )
    for scheme, size, peer in (("float32", "8 → 64", RATIO_FLOAT), ("static-w8a8", "128 → 256", RATIO_INT8)):
        found, others = sizes[size], [results[size]["ratios"][peer] for results in (sizes, other)]
        yield _item(
            f"{scheme} at {size} takes {1e3 * _python(found, scheme):.0f} ns from Python, {_best(found, scheme):.0f} in"
            f" C, and reading its weights {_floor(found, scheme):.0f}. Others take {others[0]:.2f} times as long, and"
            f" {others[1]:.2f} times on the machine without AVX-512."
        )
    over_floor = [_best(found, "float32") / _floor(found, "float32") for found in (large, largest)]
    yield _item(
        f"float32 at 64 → 128 takes {over_floor[0]:.2f} times as long as reading the weights, which bounds it. At"
        f" 128 → 256 it takes {over_floor[1]:.2f} times as long: there the loop that only reads is not the fastest way"
        " to read, and no bound."
    )
    step, floor = _c(middle, int8), _floor(middle, int8)
    yield _item(
        f"int8 at 8 → 64 takes {step:.0f} ns, of which reading the weights is {floor:.0f}; products, gates and"
        " activations are done for each stream. So 64 streams in one call are only"
        f" {_gain(middle, int8):.1f} times as fast as 64 calls in C, {_gain_in_python(middle, int8):.1f} times from"
        f" Python; if reading took no time it would be {step / (step - floor):.1f} times in C. float32 at 64 → 128,"
        f" bound by reading, gains {_gain(large, 'float32'):.2f} times, and"
        f" {_gain(other['64 → 128'], 'float32', 'avx2'):.2f} times on the machine without AVX-512."
    )
    yield from _bounds_of_avx2(other)
    here, there = (
        [_c(found, "float32", "portable") / _c(found, int8, "portable") for found in results.values()]
        for results in (sizes, other)
    )
    yield _item(
        "The portable kernel multiplies one number after another: float32 takes"
        f" {min(here):.2f} to {max(here):.2f} times as long as int8, on the machine without AVX-512 {min(there):.2f} to"
        f" {max(there):.2f} times."
    )
    for scheme in SCHEMES:
        for size, found in sizes.items():
            if _c(found, scheme, "avx2") < _c(found, scheme):
                yield _item(
                    f"{scheme} at {size} is faster with avx2 ({_c(found, scheme, 'avx2'):.0f} ns) than with {DEFAULT}"
                    f" ({_c(found, scheme):.0f} ns), which a model takes by itself."
                )
    a53, a7 = arm["cortex-a53"][int8]["64,128"], [arm["cortex-a7"][scheme]["1,16"]["step"] for scheme in SCHEMES]
    yield _item(
        "On Arm, int8 streams that step together save few instructions or none (cortex-a53, 64 → 128:"
        f" {a53['step_of_four_streams']:,.0f} for a step of one of four, {a53['step']:,.0f} alone), and on a cortex-a7"
        f" the smallest layer takes {a7[1]:,.0f} in int8 and {a7[0]:,.0f} in float32."
    )


def _bounds_of_avx2(sizes: dict[str, Any]) -> Iterator[str]:
    """What int8 is bounded by on the machine without AVX-512: what it cannot do without, and streams do not share."""
    int8, bounded = "static-w8a8", ("8 → 64", "64 → 128", "128 → 256")
    middle, large, largest = (sizes[size] for size in bounded)
    parts = [
        f"{_floor(sizes[size], int8, 'multiplying'):.0f} + {_gates(sizes[size], int8):.0f} of the"
        f" {_best(sizes[size], int8):.0f} ns of a step at {size}"
        for size in bounded
    ]
    yield _item(
        "AVX2 without VNNI has no dot product of bytes: four instructions for 32 products of int8, as many as float32"
        " needs with FMA. On the machine without AVX-512 these alone, and what follows the products alone (gates,"
        f" activations, the new state), take {parts[0]}, {parts[1]} and {parts[2]}. Were there nothing else, a step"
        f" would take {_needed(large, int8) / _floor(large, int8):.2f} and"
        f" {_needed(largest, int8) / _floor(largest, int8):.2f} times as long as reading the weights at 64 → 128 and"
        f" 128 → 256, and it takes {_best(large, int8) / _floor(large, int8):.2f} and"
        f" {_best(largest, int8) / _floor(largest, int8):.2f} times; float32 would take"
        f" {_best(middle, 'float32') / _needed(middle, int8):.2f} times as long as int8 at 8 → 64, and it takes"
        f" {_best(middle, 'float32') / _best(middle, int8):.2f} times."
    )
    pairs = (("int8", int8, middle, "8 → 64"), ("int8", int8, large, "64 → 128"), ("float32", "float32", large, ""))
    shared = [
        f"{_best(found, scheme) / _needed(found, scheme):.2f} for {name}{' at ' + size if size else ''}"
        f" ({_gain(found, scheme, 'avx2'):.2f} measured)"
        for name, scheme, found, size in pairs
    ]
    yield _item(
        "Streams that step together share neither. There 64 of them in one call could be no more times as fast as 64"
        f" calls than {shared[0]}, {shared[1]} and {shared[2]}; from Python, int8 at 8 → 64,"
        f" {1e3 * _python(middle, int8) / _needed(middle, int8):.2f} ({_gain_in_python(middle, int8):.2f} measured)."
    )
    reading, behind = _floor(large, "float32"), _gates(large, "float32")
    yield _item(
        f"float32 at 64 → 128 takes {_best(large, 'float32') / reading:.2f} times as long there as reading its weights,"
        f" and would take {(reading + behind) / reading:.2f} times with nothing but what follows the products."
    )
    first = sizes["1 → 16"]
    yield _item(
        f"At 1 → 16 there, int8 takes {_best(first, int8):.0f} ns and float32 {_best(first, 'float32'):.0f}:"
        f" {_gates(first, int8):.0f} and {_gates(first, 'float32'):.0f} of them behind the products, which are few."
    )


def _gates(found: Any, scheme: str) -> float:
    """Nanoseconds of what follows the products of the GRU, with AVX2."""
    return _c(found, scheme, "avx2", "gates_ns")


def _needed(found: Any, scheme: str) -> float:
    """Nanoseconds of multiplying and of what follows the products."""
    return _floor(found, scheme, "multiplying") + _gates(found, scheme)


def _python(found: Any, scheme: str) -> float:
    """Microseconds of ``step(x, out)``."""
    return float(found["steps"][f"EdgeGRU {scheme}, step(x, out)"]["best_us"])


def _fastest(found: Any, part: str) -> float:
    """Microseconds of the fastest contestant with ``part`` in its name."""
    return min(float(result["best_us"]) for name, result in found["steps"].items() if part in name)


def _c(found: Any, scheme: str, kernel: str = DEFAULT, quantity: str = "step_ns") -> float:
    """Nanoseconds in C."""
    return float(found["native"][scheme]["kernels"][kernel][quantity])


def _best(found: Any, scheme: str, quantity: str = "step_ns") -> float:
    """Nanoseconds in C with the fastest instruction set."""
    return min(float(times[quantity]) for times in found["native"][scheme]["kernels"].values())


def _floor(found: Any, scheme: str, what: str = "reading") -> float:
    """Nanoseconds of reading the weights, or of multiplying as many numbers."""
    return 1e3 * float(found["steps"][f"{what} {SCHEMES[scheme]} weights"]["best_us"])


def _gain(found: Any, scheme: str, kernel: str = DEFAULT) -> float:
    """How many times as fast 64 streams are together, in C."""
    return _c(found, scheme, kernel) / _c(found, scheme, kernel, "many_ns")


def _gain_in_python(found: Any, scheme: str) -> float:
    """The same from Python."""
    return _python(found, scheme) / float(found["steps"][f"EdgeGRU {scheme}, streams(64)"]["best_us"])


def _head(title: str, columns: Sequence[str] | dict[str, Any]) -> str:
    return f"| {title} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}\n"


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |\n"


def _item(text: str) -> str:
    return _wrapped(f"- {text}", "  ") + "\n"


def _wrapped(text: str, indent: str = "") -> str:
    return "\n".join(wrap(text, 120, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False))


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"


def _significant(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.{max(2 - math.floor(math.log10(value)), 0)}f}"


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    (DOCS / "performance.md").write_text(page(), encoding="utf-8")
