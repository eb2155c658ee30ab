"""How many instructions a step takes on Arm processors, counted by QEMU: the same numbers in every run.

The C library, as its Makefile builds it, and ``runtime/c/bench/instructions.c`` are cross-compiled and emulated; the
difference between two numbers of steps counts. One GRU layer and a linear layer of four outputs with softmax, the whole
of ``egru_step``; multiply–adds are those of the matrices. Instructions are no time: ``--mca`` prints what llvm-mca
estimates for the loops that take most of it.

Printed: instructions of a step and of a multiply–add for each processor, scheme and size (input, hidden), and of a step
of one of four streams together. With ``--mca``: instructions and estimated cycles of the inner loops.

    python benchmarks/instructions.py -o benchmarks/results/instructions.json --mca
    python benchmarks/instructions.py --check       ends with 1 where a committed number rose by more than 1 %

Debian packages gcc-aarch64-linux-gnu, gcc-arm-linux-gnueabihf, qemu-user and, for ``--mca``, llvm-19.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import which
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgegru_runtime.artifact import Artifact
from edgegru_runtime.plan import make_plan
from tests.builders import quantized, random_artifact

HERE = Path(__file__).resolve().parent
C = HERE.parent / "runtime" / "c"
COMMITTED = HERE / "results" / "instructions.json"
SIZES = ((1, 16), (6, 32), (8, 64), (64, 128), (128, 256))
SCHEMES = ("float32", "static-w8a8", "static-w8a16")
OUTPUTS = 4
TOGETHER = 4  # streams
STEPS = (10, 30)
ALLOWED_RISE = 1.01


class Target(NamedTuple):
    """A compiler and its emulator."""

    triple: str
    flags: tuple[str, ...]
    emulator: str

    @property
    def compiler(self) -> list[str]:
        return [f"{self.triple}-gcc", *self.flags]


AARCH64 = Target("aarch64-linux-gnu", ("-static",), "qemu-aarch64")
ARMV7 = Target("arm-linux-gnueabihf", ("-static", "-march=armv7-a", "-mfpu=neon", "-mfloat-abi=hard"), "qemu-arm")
ARMV6 = Target("arm-linux-gnueabihf", ("-static", "-march=armv6+fp", "-mfloat-abi=hard", "-marm"), "qemu-arm")


class Processor(NamedTuple):
    """What code for a processor is made with, its instruction set in the library, and QEMU's name of what runs it."""

    target: Target
    kernel: str
    emulated: str


PROCESSORS = {
    "cortex-a53": Processor(AARCH64, "neon", "cortex-a53"),
    "cortex-a76": Processor(AARCH64, "dotprod", "cortex-a76"),
    "cortex-a7": Processor(ARMV7, "neon", "cortex-a7"),
    "arm1176": Processor(ARMV6, "portable", "cortex-a7"),  # Debian's C library, around ours, is for ARMv7
}
# Of a file and a function: the multiply–adds of an instruction in its longest loop.
LOOPS = {
    ("neon", "q8_single"): {"smull": 8, "smlal2": 8},
    ("neon", "q16_single"): {"smlal": 4, "smlal2": 4},
    ("neon", "float_single"): {"fmla": 4},
    ("dotprod", "q8_single"): {"sdot": 16},
    ("dotprod", "q16_single"): {"sdot": 8},
}
MCA = next(filter(which, ("llvm-mca-19", "llvm-mca")), "llvm-mca-19")  # LLVM 14 knows no Neoverse N1
MCA_PROCESSORS = {"cortex-a53": ("neon",), "neoverse-n1": ("neon", "dotprod")}
MCA_ITERATIONS = 100
LANGUAGE = ("-std=c99", "-ffp-contract=off", "-O2")  # as in runtime/c/Makefile

TABLES = (
    ("instructions of a step", "step", ".0f"),
    ("of a multiply–add", "multiply_add", ".3f"),
    ("of a step, four streams together", "step_of_four_streams", ".0f"),
)

Results = dict[str, dict[str, dict[str, dict[str, float]]]]  # processor, scheme, size, quantity


def run(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    """The finished command. SystemExit, with what it said, where it fails or is not there."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, command))}: {error.stderr}")


def first_line(program: str) -> str:
    """What a program says about itself."""
    return run([program, "--version"]).stdout.splitlines()[0]


def multiply_adds(input_size: int, hidden_size: int) -> int:
    """Of the three matrices of a step."""
    return 3 * hidden_size * (input_size + hidden_size) + OUTPUTS * hidden_size


def compile_driver(target: Target, folder: Path) -> Path:
    """The driver with the library, for that target, in a folder of their own."""
    library, driver = folder / "libegru.a", folder / "instructions"
    variables = [f"CC={' '.join(target.compiler)}", f"AR={target.triple}-ar", f"BUILD={library.parent}"]
    run(["make", "-s", "-C", C, library, *variables])
    run([*target.compiler, *LANGUAGE, f"-I{C / 'include'}", C / "bench" / "instructions.c", library, "-o", driver])
    return driver


def artifacts() -> dict[tuple[str, int, int], Artifact]:
    """The model of every scheme and size."""
    found = {}
    for input_size, hidden_size in SIZES:
        model = random_artifact(0, input_size, (hidden_size,), output_size=OUTPUTS)
        for scheme in SCHEMES:
            found[scheme, input_size, hidden_size] = model if scheme == "float32" else quantized(model, scheme)
    return found


def measure(folder: Path) -> Results:
    """Instructions of everything."""
    counter = folder / "counter.so"
    run(["cc", "-shared", "-fPIC", "-O2", HERE / "instruction_counter.c", "-o", counter])
    plan = folder / "model.plan"
    drivers = {name: compile_driver(processor.target, folder / name) for name, processor in PROCESSORS.items()}

    def instructions(name: str, steps: int, streams: int) -> int:
        target, kernel, emulated = PROCESSORS[name]
        emulator = [target.emulator, "-cpu", emulated, "-plugin", counter, "-d", "plugin"]
        return int(run([*emulator, drivers[name], plan, kernel, str(steps), str(streams)]).stderr)

    def of_a_step(processor: str, streams: int) -> float:
        few, many = (instructions(processor, steps, streams) for steps in STEPS)
        return (many - few) / (STEPS[1] - STEPS[0]) / streams

    results: Results = {processor: {scheme: {} for scheme in SCHEMES} for processor in PROCESSORS}
    for (scheme, input_size, hidden_size), artifact in artifacts().items():
        plan.write_bytes(make_plan(artifact))
        for processor in PROCESSORS:
            step = of_a_step(processor, 1)
            results[processor][scheme][f"{input_size},{hidden_size}"] = {
                "step": step,
                "multiply_add": round(step / multiply_adds(input_size, hidden_size), 4),
                "step_of_four_streams": of_a_step(processor, TOGETHER),
            }
    return results


def print_results(results: Results) -> None:
    """A line for every processor and scheme, a column for every size."""
    for title, quantity, form in TABLES:
        print(f"\n{title:34}" + "".join(f"{size:>10}" for size in results["cortex-a53"]["float32"]))
        for processor, schemes in results.items():
            for scheme, sizes in schemes.items():
                name = f"{processor} {PROCESSORS[processor].kernel}, {scheme}"
                print(f"{name:34}" + "".join(f"{values[quantity]:>10{form}}" for values in sizes.values()))


def risen(results: Results, committed: Results) -> list[str]:
    """Which counts are higher than committed, and by how much."""
    found = []
    for processor, schemes in committed.items():
        for scheme, sizes in schemes.items():
            for size, values in sizes.items():
                for quantity in ("step", "step_of_four_streams"):
                    now, before = results[processor][scheme][size][quantity], values[quantity]
                    if now > ALLOWED_RISE * before:
                        found.append(f"{processor}, {scheme}, {size}: {quantity} {before:.0f} → {now:.0f}")
    return found


def loops_of(assembly: str, function: str) -> list[list[str]]:
    """The instructions of the loops of a function that have no jump inside but the last."""
    found: list[list[str]] = []
    start, body = None, []
    for line in assembly.partition(f"\n{function}:\n")[2].partition("\n\t.size")[0].splitlines():
        if label := re.match(r"(\.L\w+):", line):
            start, body = label[1], []
        elif line.startswith("\t") and not line.startswith("\t."):
            body.append(line)
            if start is not None and re.fullmatch(rf"\t(b\.?\w+|cbn?z)\t.*{re.escape(start)}", line):
                found.append(body)
    return found


def estimate(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """What llvm-mca says of the product loops: by processor and loop, instructions and cycles of a multiply–add."""
    results: dict[str, dict[str, dict[str, float]]] = {processor: {} for processor in MCA_PROCESSORS}
    for (file, function), weights in LOOPS.items():
        assembly = folder / f"{file}.s"
        source = C / "src" / f"{file}.c"
        run([f"{AARCH64.triple}-gcc", *LANGUAGE, f"-I{C / 'include'}", "-S", source, "-o", assembly])
        body = max(loops_of(assembly.read_text(), function), key=len)
        count = sum(weights.get(line.split()[0], 0) for line in body)
        loop = folder / "loop.s"
        loop.write_text("\n".join(body) + "\n")
        for processor, files in MCA_PROCESSORS.items():
            if file in files:
                options = ["-mtriple=aarch64", f"-mcpu={processor}", f"-iterations={MCA_ITERATIONS}"]
                said = run([MCA, *options, loop]).stdout
                cycles = re.search(r"Total Cycles:\s+(\d+)", said)
                assert cycles is not None, said
                results[processor][f"{file} {function.partition('_')[0]}"] = {
                    "instructions": round(len(body) / count, 4),
                    "cycles": round(int(cycles[1]) / MCA_ITERATIONS / count, 4),
                }
    return results


def print_estimates(estimates: dict[str, dict[str, dict[str, float]]]) -> None:
    """A line for every loop."""
    print("\ninner loops, of a multiply–add        instructions   cycles (llvm-mca)")
    for processor, loops in estimates.items():
        for loop, values in loops.items():
            print(f"{processor + ', ' + loop:38}{values['instructions']:>12.3f}{values['cycles']:>20.3f}")


def main() -> None:
    """Print the tables, and write or compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="a JSON file for the results")
    parser.add_argument("--check", action="store_true", help=f"compare with {COMMITTED.relative_to(HERE.parent)}")
    parser.add_argument("--mca", action="store_true", help="estimate the cycles of the inner loops")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        results = measure(Path(name))
        print_results(results)
        estimates = estimate(Path(name)) if arguments.mca else None
    if estimates is not None:
        print_estimates(estimates)
    if arguments.output:
        programs = [f"{target.triple}-gcc" for target in (AARCH64, ARMV7)]
        content: dict[str, Any] = {
            "made_with": [first_line(program) for program in (*programs, AARCH64.emulator)],
            "instructions": results,
        }
        if estimates is not None:
            content |= {"estimated_with": first_line(MCA), "estimates": estimates}
        arguments.output.write_text(json.dumps(content, indent=2) + "\n")
    if arguments.check:
        found = risen(results, json.loads(COMMITTED.read_text())["instructions"])
        print("\n" + "\n".join(found or ["no count rose by more than 1 %"]))
        sys.exit(len(found) > 0)


if __name__ == "__main__":
    main()
