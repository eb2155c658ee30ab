"""What one step of a streaming GRU costs, beside other runtimes.

One GRU layer and a linear layer of four outputs, one stream, the state carried from step to step, every output read.
All contestants run in this process, pinned to one CPU, in short chunks in turn; the best and the median of the chunks
count. Each is first compared with the float reference over 128 closed-loop steps, and one that is wrong ends the run.
MNN and ncnn take part where they can be imported, the C kernel after `make -C runtime/c bench`.

Printed: microseconds of a step from Python, of each contestant and size (of ``streams(64)``: of one stream's step);
nanoseconds of a step in C, of only its products, of only what follows them, of only reading the weights, of only
multiplying as often, and of both; ratios; what a process costs that does nothing else.

    python benchmarks/step.py -o step.json --plot step.png          about two minutes
    python benchmarks/step.py --sizes 6,32 --chunks 50 --only EdgeGRU --only MNN
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # read when NumPy and torch are imported

from step_handmade import HANDMADE_PEERS
from step_models import CHECKED_STEPS, Case, Floats
from step_native import BENCH, Floor, Multiplying, compile_floor, compiler_version, measure_bench
from step_peers import FILE_PEERS
from step_plot import plot_steps
from step_process import measure_processes

from edgegru_runtime.errors import EngineError

SIZES = ("1,16", "6,32", "8,64", "64,128", "128,256")
PROCESS_SIZE = (6, 32)
CHUNK_SECONDS = 1e-3  # shorter than a turn of the scheduler, so that some chunks are undisturbed
FLOORS = {"reading float32 weights": 4, "reading int8 weights": 1}  # bytes of a weight
MULTIPLYING = {
    f"{what} {numbers} weights": (numbers, what != "multiplying")
    for what in ("multiplying", "reading and multiplying")
    for numbers in ("float32", "int8")
}
PACKAGES = ("ai-edge-litert", "edgegru-runtime", "MNN", "ncnn", "numpy", "onnxruntime", "torch")
BENCH_SCHEMES = ("float32", "static-w8a8")
INSTRUCTION_SETS = ("sse2", "avx2", "fma", "avx512", "avx_vnni", "amx", "neon", "asimd", "sve", "i8mm", "bf16")
# Ours, and the names of which the fastest is divided by ours.
RATIOS: dict[str, tuple[str, tuple[str, ...]]] = {
    "float32: fastest of ONNX Runtime and LiteRT over EdgeGRU": ("float32", ("ONNX Runtime float32", "LiteRT float32")),
    "float32: MNN over EdgeGRU": ("float32", ("MNN",)),
    "int8: LiteRT dynamic int8 over EdgeGRU": ("static-w8a8", ("LiteRT dynamic int8",)),
    "int8: LiteRT full int8 over EdgeGRU": ("static-w8a8", ("LiteRT full int8",)),
}

Results = dict[str, dict[str, Any]]


class Contestant(Protocol):
    """What ``step_peers.Peer`` and the floors of ``step_native`` have in common."""

    tolerance: float
    streams: int

    def samples(self, inputs: Floats) -> list[Any]: ...

    def run(self, samples: Sequence[Any]) -> object: ...

    def largest_error(self, case: Case) -> float: ...


def is_selected(name: str, only: Sequence[str]) -> bool:
    """Whether a contestant's name contains one of ``only``, or there is no such choice."""
    return not only or any(part in name for part in only)


@cache
def print_once(line: str) -> None:
    """Print what is the same for every size."""
    print(line, flush=True)


def contestants_of(case: Case, only: Sequence[str], floor: ctypes.CDLL | None) -> dict[str, Contestant]:
    """Those that are selected and can be had here; the others of the selected get a line each."""
    found: dict[str, Contestant] = {}
    for name, build in {**FILE_PEERS, **HANDMADE_PEERS}.items():
        if is_selected(name, only):
            try:
                found[name] = build(case)
            except (ImportError, EngineError) as error:
                print_once(f"{name}: not available ({error})")
    for name, size in FLOORS.items():
        if floor is not None and is_selected(name, only):
            found[name] = Floor(case, size, floor)
    for name, (numbers, read) in MULTIPLYING.items():
        if floor is not None and is_selected(name, only):
            try:
                found[name] = Multiplying(case, numbers, floor, read=read)
            except EngineError as error:
                print_once(f"{name}: not available ({error})")
    return found


def measure_steps(case: Case, contestants: dict[str, Contestant], chunks: int) -> Results:
    """Best and median time of a step and stream in microseconds, by contestant. SystemExit where one is wrong."""
    results: Results = {}
    work: dict[str, list[Any]] = {}
    for name, contestant in contestants.items():
        error = contestant.largest_error(case)
        if not error <= contestant.tolerance:
            sys.exit(f"{case}, {name}: off by {error:.2g}, allowed {contestant.tolerance:g}")
        results[name] = {"error": error, "error_allowed": contestant.tolerance, "chunks_us": []}
        work[name] = chunk_of(contestant, contestant.samples(case.inputs))
    gc.collect()
    gc.disable()
    for _ in range(chunks):
        for name, contestant in contestants.items():
            samples = work[name]
            started = time.perf_counter()
            contestant.run(samples)
            taken = time.perf_counter() - started
            results[name]["chunks_us"].append(1e6 * taken / (len(samples) * contestant.streams))
    gc.enable()
    for name, result in results.items():
        taken_us = result.pop("chunks_us")
        result.update(best_us=min(taken_us), median_us=statistics.median(taken_us), steps=chunks * len(work[name]))
    return results


def chunk_of(contestant: Contestant, samples: Sequence[Any]) -> list[Any]:
    """As many samples, again and again in their order, as take ``CHUNK_SECONDS``; at least eight."""
    contestant.run(samples)
    started = time.perf_counter()
    contestant.run(samples)
    count = round(len(samples) * CHUNK_SECONDS / (time.perf_counter() - started))
    return list(islice(cycle(samples), max(count, 8)))


def fastest(results: Results, part: str) -> float | None:
    """The best time, in microseconds, of the contestants whose name contains ``part``."""
    times = [result["best_us"] for name, result in results.items() if part in name]
    return min(times, default=None)


def ratios(steps: Results, native: dict[str, Any]) -> dict[str, float]:
    """How many times as long as ours the others take, and ours as the floor, where both were measured."""
    found: dict[str, float] = {}
    for title, (scheme, others) in RATIOS.items():
        own = fastest(steps, f"EdgeGRU {scheme}, step(x, out)")
        times = [value for value in (fastest(steps, other) for other in others) if value is not None]
        if own is not None and times:
            found[title] = min(times) / own
    for scheme, floor in zip(BENCH_SCHEMES, FLOORS, strict=True):
        floor_us = fastest(steps, floor)
        if scheme in native and floor_us is not None:
            best = min(kernel["step_ns"] for kernel in native[scheme]["kernels"].values())
            found[f"{scheme}: EdgeGRU in C over reading its weights"] = best / (1e3 * floor_us)
    return found


def machine() -> dict[str, Any]:
    """The processor and the software that the numbers belong to."""
    information: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        field, _, value = line.partition(":")
        information.setdefault(field.strip(), value.strip())
    flags = information.get("flags", information.get("Features", "")).split()
    packages: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = None
    return {
        "cpu": information.get("model name", platform.machine()),
        "family_and_model": [information[name] for name in ("cpu family", "model") if name in information],
        "instruction_sets": [flag for flag in flags if flag.startswith(INSTRUCTION_SETS)],
        "pinned_to": sorted(os.sched_getaffinity(0)),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "packages": packages,
        "compiler": compiler_version(),
    }


def significant(value: float) -> str:
    """Three digits, without an exponent."""
    decimals = 2 - math.floor(math.log10(value)) if value > 0 else 2
    return f"{value:.{min(max(decimals, 0), 5)}f}"


def print_table(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """A Markdown table, if there is anything in it."""
    if not rows:
        return
    print(f"\n| {title} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def transposed(by_size: dict[str, Results], cell: Callable[[dict[str, Any]], str]) -> dict[str, Sequence[str]]:
    """Rows by contestant from results by size."""
    names = dict.fromkeys(name for results in by_size.values() for name in results)
    return {name: [cell(r[name]) if name in r else "–" for r in by_size.values()] for name in names}


def print_steps(report: dict[str, Any]) -> None:
    """Everything that was measured of steps."""
    sizes, columns = report["sizes"], list(report["sizes"])
    steps = {
        size: {name: result for name, result in found["steps"].items() if name not in (*FLOORS, *MULTIPLYING)}
        for size, found in sizes.items()
    }
    cells = transposed(steps, lambda result: f"{significant(result['best_us'])} ({significant(result['median_us'])})")
    print_table("µs a step from Python, best (median)", columns, cells)
    native: dict[str, Results] = {}
    for size, found in sizes.items():
        native[size] = {}
        for scheme, measured in found["native"].items():
            for kernel, times in measured["kernels"].items():
                native[size][f"{scheme}, {kernel}"] = {"ns": times["step_ns"]}
                native[size][f"{scheme}, {kernel}, one of 64 streams"] = {"ns": times["many_ns"]}
                native[size][f"{scheme}, {kernel}, products"] = {"ns": times["products_ns"]}
                native[size][f"{scheme}, {kernel}, what follows them"] = {"ns": times["gates_ns"]}
        for name in (*FLOORS, *MULTIPLYING):
            if name in found["steps"]:
                native[size][name] = {"ns": 1e3 * found["steps"][name]["best_us"]}
    print_table("ns a step in C, best", columns, transposed(native, lambda result: significant(result["ns"])))
    compared = {size: {k: {"x": v} for k, v in found["ratios"].items()} for size, found in sizes.items()}
    print_table("how many times as long", columns, transposed(compared, lambda result: f"{result['x']:.1f}"))


def print_processes(case: Case, processes: dict[str, dict[str, float]]) -> None:
    """A row a subject."""
    units = {"_ms": ("ms", 1.0), "_bytes": ("MB", 1e-6)}
    columns: list[str] = []
    rows: dict[str, list[str]] = {name: [] for name in processes}
    for field in next(iter(processes.values()), {}):
        unit, scale = units[field[field.rindex("_") :]]
        columns.append(f"{field[: field.rindex('_')].replace('_', ' ')}, {unit}")
        for name, measured in processes.items():
            rows[name].append(significant(scale * measured[field]))
    print_table(f"a process of its own, {case} float32", columns, rows)


def main() -> None:
    """Measure, print, and write what the arguments ask for; exit 1 where a contestant is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="INPUT,HIDDEN", help="default: %(default)s")
    parser.add_argument("--chunks", type=int, default=300, help="of each contestant and size (default: %(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a part of contestants' names")
    parser.add_argument("--plot", help="PNG of the times")
    parser.add_argument("-o", "--output", help="JSON of everything")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    report: dict[str, Any] = {"machine": machine(), "checked_steps": CHECKED_STEPS, "sizes": {}}
    print(json.dumps(report["machine"], indent=2))
    if not BENCH.exists():
        print("C kernel: not available (make -C runtime/c bench)")
    with tempfile.TemporaryDirectory() as folder:
        floor = compile_floor(Path(folder))
        for size in arguments.sizes:
            input_size, hidden_size = map(int, size.split(","))
            case = Case(input_size, hidden_size, Path(folder))
            contestants = contestants_of(case, arguments.only, floor)
            steps = measure_steps(case, contestants, arguments.chunks)
            schemes = [scheme for scheme in BENCH_SCHEMES if is_selected(f"EdgeGRU {scheme}", arguments.only)]
            native = {scheme: measure_bench(case, scheme) for scheme in schemes if BENCH.exists()}
            report["sizes"][str(case)] = {"steps": steps, "native": native, "ratios": ratios(steps, native)}
        print_steps(report)
        if not arguments.only:
            case = Case(*PROCESS_SIZE, Path(folder))
            report["processes"] = measure_processes(case)
            print_processes(case, report["processes"])
    if arguments.output is not None:
        Path(arguments.output).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    if arguments.plot is not None:
        plot_steps(report, arguments.plot)


if __name__ == "__main__":
    main()
