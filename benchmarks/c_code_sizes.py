"""What the code of exported C models takes on each processor, part by part: ``edgegru_export/c_code_sizes.json``.

    python -m benchmarks.c_code_sizes

Models of all kinds are exported, compiled with -Os and, but for Linux, linked with --gc-sections; the least sizes of
the parts are found under which no model's code is larger than the sum of its parts (a linear program). Stack frames
come from the compiler's own account of them (-fcallgraph-info). Debian packages: gcc, gcc-arm-none-eabi,
gcc-riscv64-unknown-elf, picolibc-riscv64-unknown-elf, gcc-arm-linux-gnueabihf, gcc-aarch64-linux-gnu.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog

from edgegru_export.c_export import COptions, c_model, c_words
from edgegru_export.c_files import folder
from edgegru_export.c_parts import CParts
from edgegru_export.c_sizes import PROCESSORS, arithmetic, features
from edgegru_export.c_writer import CModel
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import EdgegruError
from tests.builders import drawn_config, drawn_float_config, drawn_keep, quantized, random_floats, random_integers

RESULT = Path(__file__).resolve().parent.parent / "export" / "edgegru_export" / "c_code_sizes.json"
SIZES = (1, 2, 3, 5, 8)  # of layers: code does not depend on them
NO_PARTS = CParts({}, (), (), "")  # front ends and decisions say what they take themselves
LIBRARY_FRAMES = 48  # bytes of stack of the compiler's routines, of which it gives no account


class Compiler(NamedTuple):
    """How to compile for a processor."""

    name: str
    flags: tuple[str, ...]

    def tool(self, name: str) -> str:
        """Of the compiler's family."""
        return self.name.removesuffix("gcc") + name


_NONE_EABI = ("-mthumb", "--specs=nano.specs", "-nostartfiles")
COMPILERS = {
    "cortex-m0": Compiler("arm-none-eabi-gcc", ("-mcpu=cortex-m0", *_NONE_EABI)),
    "cortex-m4": Compiler(
        "arm-none-eabi-gcc", ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", *_NONE_EABI)
    ),
    "rv32imac": Compiler(
        "riscv64-unknown-elf-gcc", ("-march=rv32imac", "-mabi=ilp32", "--specs=picolibc.specs", "-nostartfiles")
    ),
    "cortex-a7": Compiler(
        "arm-linux-gnueabihf-gcc", ("-march=armv7-a", "-mfpu=neon", "-mfloat-abi=hard", "-c")
    ),
    "cortex-a53": Compiler("aarch64-linux-gnu-gcc", ("-c",)),
    "x86-64": Compiler("gcc", ("-c",)),
}


def version(compiler: Compiler) -> str:
    """What a compiler says about itself."""
    command = [compiler.name, "--version"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]


def drawn(seed: int) -> tuple[Artifact, str]:
    """A model of any kind, and what goes in and out."""
    rng = np.random.default_rng(seed)
    if seed % 3 == 0:
        return random_floats(drawn_float_config(rng, SIZES), seed), "float"
    config, scheme = drawn_config(rng, SIZES), str(rng.choice(["static-w8a8", "static-w8a16"]))
    io = ("float", "int")[seed % 3 - 1]
    if rng.integers(2):
        return quantized(random_floats(config, seed), scheme), io
    return random_integers(config, seed, scheme, drawn_keep(rng, config, scheme), float(rng.choice([0, 6]))), io


def measure(compiler: Compiler, folder: Path, tables: int) -> tuple[int, int]:
    """Bytes of code, and of stack in the deepest chain of calls."""
    program = folder / "program"
    source = next(path for path in folder.glob("edgegru_*.c") if not path.stem.endswith("_selftest"))
    linking = f"-Wl,--gc-sections,-e,{source.stem}_step,-u,{source.stem}_init"
    options = ["-std=c99", "-Os", "-ffunction-sections", "-fdata-sections", "-fcallgraph-info=su"]
    if "-c" not in compiler.flags:  # on Linux the libraries are there anyway
        options.append(linking)
    command = [compiler.name, *compiler.flags, *options, f"-I{folder}", source, "-o", program]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    listing = subprocess.run([compiler.tool("size"), "-A", program], check=True, capture_output=True, text=True).stdout
    sections = re.findall(r"^(\.(?:text|rodata|data|sdata|srodata)\S*)\s+(\d+)", listing, re.MULTILINE)
    graph = next(folder.glob("*.ci")).read_text()
    return sum(int(size) for _, size in sections) - tables, _deepest(graph, f"{source.stem}_step")


def _deepest(graph: str, first: str) -> int:
    """Bytes of stack of the deepest chain of calls, by the compiler's call graph."""
    nodes = re.findall(r'node: \{ title: "([^"]+)" label: "[^"]*?(?:(\d+) bytes[^"]*)?"', graph)
    frames = {title: int(size) if size else LIBRARY_FRAMES for title, size in nodes}
    calls: dict[str, list[str]] = {}
    for caller, callee in re.findall(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', graph):
        calls.setdefault(caller, []).append(callee)

    def depth(title: str) -> int:
        return frames.get(title, LIBRARY_FRAMES) + max((depth(callee) for callee in calls.get(title, [])), default=0)

    return depth(next(title for title in frames if title.endswith(first)))


def parts(models: list[CModel], measured: list[int]) -> dict[str, int]:
    """The least sizes of parts whose sums are no smaller than what was measured of each model."""
    counts = [features(model) for model in models]
    names = sorted({name for count in counts for name in count})
    matrix = np.array([[count.get(name, 0) for name in names] for count in counts], float)
    found = linprog(matrix.sum(axis=0), A_ub=-matrix, b_ub=-np.array(measured, float), bounds=(0, None), method="highs")
    return {name: math.ceil(size) for name, size in zip(names, found.x, strict=True) if math.ceil(size - 1e-6)}


def on_processor(target: str, processor: str, count: int) -> dict[str, dict[str, dict[str, int]]]:
    """Of all drawn models: code and frames of the stack by parts, for each arithmetic."""
    by_kind: dict[str, list[tuple[CModel, int, int]]] = {}
    for seed in range(count):
        try:
            artifact, io = drawn(seed)
            options = COptions(target, io)
            model = c_model(artifact, options)
        except EdgegruError:  # scales beyond the arithmetic, a value that is always zero
            continue
        with tempfile.TemporaryDirectory() as temporary:
            for path, text in folder(model, c_words("m", options), options.layout, True, "", NO_PARTS).items():
                Path(temporary, path).write_text(text)
            code, stack = measure(COMPILERS[processor], Path(temporary), model.table_bytes)
        by_kind.setdefault(arithmetic(model), []).append((model, code, stack - model.scratch_bytes))
    return {
        kind: {
            "code": parts([model for model, _, _ in rows], [code for _, code, _ in rows]),
            "stack": parts([model for model, _, _ in rows], [frames for _, _, frames in rows]),
        }
        for kind, rows in by_kind.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=90)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    pairs = [(target, processor) for target, processors in PROCESSORS.items() for processor in processors]
    with ProcessPoolExecutor(given.workers) as pool:
        results = pool.map(on_processor, *zip(*pairs, strict=True), [given.models] * len(pairs))
        result = {f"{processor} {target}": found for (target, processor), found in zip(pairs, results, strict=True)}
    compilers = {processor: version(compiler) for processor, compiler in COMPILERS.items()}
    found = {"compilers": compilers, "models": given.models, "parts": result}
    RESULT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
