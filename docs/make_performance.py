"""Write docs/performance.md: what a step costs, from the numbers in benchmarks/results.

    python docs/make_performance.py
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from performance_bounds import bounds, percent, wrapped
from performance_results import (
    READING_AND_MULTIPLYING,
    SCHEMES,
    best_in_c,
    fastest,
    floor,
    from_python,
    gain_in_python,
    gates,
    in_c,
    own_kernel,
    products,
)

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
PROCESS_SIZE = "6 → 32"  # of step.py
BASE = "python3"  # a process that does nothing

INTRODUCTION = """\
# What a step costs

One GRU layer and a linear layer of four outputs, one stream, one thread, the state carried from step to step, every
output read. Columns are input size → hidden size. Best of many short chunks, all contestants in turn in one process
that is pinned to one processor; each is first compared with the float reference over {checked} steps. Measured by
`benchmarks/step.py` and `benchmarks/instructions.py`; every run is in [`benchmarks/results/`](../benchmarks/results).
Written by `python docs/make_performance.py`.

{machine}

Times on other machines differ, and ratios too: one [with AVX-512](#with-avx-512) was measured before, and
[an older one](#on-an-older-machine) since, when int8 rounded with fewer instructions and the portable kernel took four
rows at a time. On one machine they differ between runs: the same binary, copied to another place in memory, takes
visibly more or less for a small float step, and so do the other runtimes; this is one run, not the best of several. No
Arm machine has been measured: [instructions](#on-arm) are counted.

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

Nanoseconds of a step for every instruction set; of only reading the weights from the caches, by a loop of the widest
loads; of only multiplying and adding as often, nothing being read; and, with the instruction set that a model takes by
itself, of only what follows the products of the GRU: gates, activations, the new state.

"""

TOGETHER = """
The same for one of 64 streams that step together:

"""

RATIOS = """
## Ratios

How many times as long the first takes as the second: from Python the fastest call of a library, EdgeGRU by
`step(x, out)`; in C the fastest instruction set.

"""

WITH_AVX512 = """\
The same on another machine, {machine}, of kernels before seven changes: AVX-512 now packs float32 in panels of
which the last is in the first cache still when the next step begins, and takes inputs of 16 bits six blocks at a
time; with AVX2, int8 takes cheaper instructions, tables and other constants are read; in both, candidates are
packed as they are computed; the way to the kernels is shorter; int8 rounds with fewer instructions. The loops that
multiply int8 there are the same. Ratios, and nanoseconds in C of the instruction set that is taken there and of only
reading the weights."""

OLDER = """\
The same of today's kernel on an older machine, {machine}, where [multiplying](#what-bounds-a-step) takes longest; and
nanoseconds of multiplying numbers as they are read."""

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
({made_with}).
arm1176 is the Raspberry Pi Zero's processor, which takes the portable kernel; the others have NEON, cortex-a76 dot
products too.

"""

ESTIMATES = """
The innermost loops alone, and what {estimated_with} estimates for them, for each multiply–add:

"""


def page() -> str:
    """The whole page."""
    steps, arm, field = _read("step"), _read("instructions"), _read("field")
    other, older = _read("step_avx512"), _read("step_older")
    parts = [
        INTRODUCTION.format(checked=steps["checked_steps"], machine=_machine(steps["machine"])),
        FROM_PYTHON,
        _contestants(steps["sizes"]),
        *_from_python(steps["sizes"]),
        IN_C,
        *_in_c(steps["sizes"], "step_ns"),
        *_floors(steps["sizes"]),
        *_parts(steps["sizes"]),
        TOGETHER,
        *_in_c(steps["sizes"], "many_ns"),
        RATIOS,
        *_ratios(steps["sizes"]),
        "\n## With AVX-512\n\n",
        wrapped(WITH_AVX512.format(machine=_processor(other["machine"])).replace("\n", " ")) + "\n\n",
        *_ratios(other["sizes"]),
        "\n",
        *_alone_and_together(other["sizes"]),
        "\n## On an older machine\n\n",
        wrapped(OLDER.format(machine=_processor(older["machine"])).replace("\n", " ")) + "\n\n",
        *_ratios(older["sizes"]),
        "\n",
        *_alone_and_together(older["sizes"]),
        *_parts(older["sizes"]),
        PROCESS,
        *_processes(steps["processes"]),
        FIELD.format(processor=field["machine"]["processor"], rounds=field["rounds"]),
        *_field(field),
        ON_ARM.format(made_with=", ".join(re.sub(r" \(.*?\)| version", "", line) for line in arm["made_with"])),
        *_instructions(arm["instructions"]),
        ESTIMATES.format(estimated_with=arm["estimated_with"].replace("Debian LLVM version", "llvm-mca")),
        *_estimates(arm["estimates"]),
        "\n## What bounds a step\n\n",
        *bounds(steps["sizes"], other["sizes"], older["sizes"], arm["instructions"]),
    ]
    return "".join(parts)


def summary() -> str:
    """The sentence of the README."""
    steps = _read("step")
    found = steps["sizes"]["8 → 64"]
    float32, int8 = (from_python(found, scheme) for scheme in SCHEMES)
    others = {name: fastest(found, part) for name, part in (("float", "LiteRT float32"), ("int8", "LiteRT dynamic"))}
    return (
        f"A step of 8 inputs and 64 units takes {_significant(int8)} µs from Python with int8 weights and"
        f" {_significant(float32)} µs in float32, where LiteRT takes {_significant(others['int8'])} µs"
        f" (dynamic int8) and {_significant(others['float'])} µs (one thread of an {steps['machine']['cpu']};"
        " [every number](docs/performance.md))."
    )


def _machine(machine: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    return wrapped(
        f"The machine: {_processor(machine)}, Python {machine['python']}, {packages}, compiler {machine['compiler']}."
    )


def _processor(machine: dict[str, Any]) -> str:
    numbers = zip(("family", "model"), machine.get("family_and_model", ()), strict=False)  # missing in older results
    return f"{machine['cpu']} ({', '.join([*map(' '.join, numbers), *machine['instruction_sets']])})"


def _contestants(sizes: dict[str, Any]) -> str:
    names = ("LiteRT full int8", "EdgeGRU static-w8a8, step(x, out)")
    litert, edgegru = (percent(max(found["steps"][name]["error"] for found in sizes.values())) for name in names)
    return wrapped(CONTESTANTS.format(litert=litert, edgegru=edgegru)) + "\n\n"


def _from_python(sizes: dict[str, Any]) -> Iterator[str]:
    names = [name for name in next(iter(sizes.values()))["steps"] if not name.startswith(("reading", "multiplying"))]
    yield _head("µs", sizes)
    for name in names:
        yield _row(name, [_significant(found["steps"][name]["best_us"]) for found in sizes.values()])


def _in_c(sizes: dict[str, Any], quantity: str) -> Iterator[str]:
    yield _head("ns", sizes)
    for scheme in SCHEMES:
        for kernel in next(iter(sizes.values()))["native"][scheme]["kernels"]:
            yield _row(f"{scheme}, {kernel}", [_significant(in_c(f, scheme, kernel, quantity)) for f in sizes.values()])


def _alone_and_together(sizes: dict[str, Any]) -> Iterator[str]:
    """Of the instruction set that a model takes by itself."""
    yield _head("ns", sizes)
    for scheme in SCHEMES:
        kernel = own_kernel(next(iter(sizes.values())), scheme)
        for title, quantity in (("", "step_ns"), (", one of 64 streams", "many_ns")):
            cells = [_significant(in_c(found, scheme, kernel, quantity)) for found in sizes.values()]
            yield _row(f"{scheme}, {kernel}{title}", cells)
    yield from _floors(sizes)


def _parts(sizes: dict[str, Any]) -> Iterator[str]:
    for scheme in SCHEMES:
        if "products_ns" in next(iter(next(iter(sizes.values()))["native"][scheme]["kernels"].values())):
            yield _row(f"{scheme}, products", [_significant(products(found, scheme)) for found in sizes.values()])
        yield _row(f"{scheme}, what follows the products", [_significant(gates(f, scheme)) for f in sizes.values()])


def _floors(sizes: dict[str, Any]) -> Iterator[str]:
    measured = next(iter(sizes.values()))["steps"]
    for scheme, weights in SCHEMES.items():
        for what in ("reading", "multiplying", READING_AND_MULTIPLYING):
            if f"{what} {weights} weights" in measured:  # older results lack some
                cells = [_significant(floor(found, scheme, what)) for found in sizes.values()]
                yield _row(f"{what} {weights} weights", cells)


def _ratios(sizes: dict[str, Any]) -> Iterator[str]:
    yield _head("", sizes)
    for title in next(iter(sizes.values()))["ratios"]:
        yield _row(title, [f"{found['ratios'][title]:.1f}" for found in sizes.values()])

    def row(title: str, ratio: Callable[[Any], float]) -> str:
        return _row(title, [f"{ratio(found):.1f}" for found in sizes.values()])

    yield row("Python: float32 over static-w8a8", lambda f: from_python(f, "float32") / from_python(f, "static-w8a8"))
    yield row("C: float32 over static-w8a8", lambda f: best_in_c(f, "float32") / best_in_c(f, "static-w8a8"))
    for scheme in SCHEMES:
        title = f"{scheme}: 64 calls over one call of 64 streams"
        yield row(f"{title}, Python", lambda f, s=scheme: gain_in_python(f, s))  # type: ignore[misc]  # s is bound
        yield row(f"{title}, C", lambda f, s=scheme: best_in_c(f, s) / best_in_c(f, s, "many_ns"))  # type: ignore[misc]


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


def _head(title: str, columns: Sequence[str] | dict[str, Any]) -> str:
    return f"| {title} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}\n"


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |\n"


def _significant(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.{max(2 - math.floor(math.log10(value)), 0)}f}"


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    (DOCS / "performance.md").write_text(page(), encoding="utf-8")
