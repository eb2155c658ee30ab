"""What generated C takes on microcontrollers: flash, memory and instructions, measured under QEMU.

Models of random weights are quantized and exported, compiled with -Os and sections collected, and run on emulated
boards (``examples/cortex_m/boards.py``): every output must be the reference's, or there are no numbers. Flash is what
the linker kept, by whose it is; memory is the state and the deepest stack of a step, which holds the scratch memory;
instructions are counted by QEMU, the difference between one step a sample and two. They are no time.

    python benchmarks/microcontroller.py -o benchmarks/results/microcontroller.json
    python benchmarks/microcontroller.py --check    ends with 1 where a committed number rose by more than 1 %

Debian packages gcc-arm-none-eabi, libnewlib-arm-none-eabi, qemu-system-arm, gcc-riscv64-unknown-elf,
picolibc-riscv64-unknown-elf and qemu-system-misc.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgegru_export.c_decisions import decisions_in_c
from edgegru_export.c_engine import Conversion
from edgegru_export.c_export import COptions, c_folder, c_model
from edgegru_export.c_files import kernel_text
from edgegru_export.c_front_end import front_end_in_c
from edgegru_export.stimulus import gaussian_input
from edgegru_runtime import Model
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.model_config import DecisionConfig
from examples.cortex_m.boards import BOARDS, MODEL_FEED, Board, Program, build, emulate
from tests.builders import quantized, random_artifact, random_config, random_integers, with_log_mel

HERE = Path(__file__).resolve().parent
COMMITTED = HERE / "results" / "microcontroller.json"
STEPS = 50
ALLOWED_RISE = 1.01
PREFIX = "edgegru_model"
COUNTED = ("flash", "ram", "instructions")


class Case(NamedTuple):
    """A model, how it is exported, and the boards it runs on."""

    name: str
    input_size: int
    hidden_size: int
    classes: int
    options: COptions
    boards: tuple[str, ...]


INTEGERS = COptions(target="cortex-m", io="int")
CASES = (
    Case("classifier", 9, 78, 6, INTEGERS, ("cortex-m4", "cortex-m0", "cortex-m3", "cortex-m7", "cortex-m55")),
    Case("classifier, floats in and out", 9, 78, 6, COptions(target="cortex-m"), ("cortex-m4", "cortex-m0")),
    Case("classifier, portable", 9, 78, 6, COptions(io="int"), ("cortex-m0", "rv32imac")),
    Case("keyword", 20, 24, 6, COptions(io="int"), ("cortex-m0", "rv32imac")),
    Case("keyword, floats in and out", 20, 24, 6, COptions(), ("cortex-m0",)),
)
DECISION = DecisionConfig(0.6, 0.4, "mean:5", 10, trigger_level=2, minimum_on=0.5, refractory=1.0)
DECIDE = """\
#include "feed.h"
#include "model_decisions.h"
static model_decisions state;
void feed_begin(void) { model_decisions_reset(&state); }
void feed(const void *in, void *out) { *(unsigned *)out = model_decide(&state, in, (egru_event *)out + 1); }
"""
HEAR = """\
#include "feed.h"
#include "model_log_mel.h"
static model_log_mel_state state;
static int32_t work[MODEL_LOG_MEL_WORK];
void feed_begin(void) { }
void feed(const void *in, void *out) { model_log_mel(&state, in, work, out); }
"""


def artifact_of(case: Case) -> Artifact:
    return quantized(random_artifact(0, case.input_size, (case.hidden_size,), output_size=case.classes))


def write(folder: Path, texts: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)


def counted(
    board: Board, folder: Path, sources: Sequence[Path], feed: tuple[int, int], inputs: bytes
) -> dict[str, Any]:
    """Program, outputs, stack and instructions of a record."""
    counter = folder.parent / "counter.so"
    if not counter.exists():
        command = ["cc", "-shared", "-fPIC", "-O2", HERE / "instruction_counter.c", "-o", counter]
        subprocess.run(command, check=True)
    totals = []
    for repeat in (1, 2):
        program = build(board, folder / f"build{repeat}", sources, ["-Os"], feed=feed, repeat=repeat)
        totals.append(int(emulate(program, inputs, counter)[2].split()[-1]))
    once = Program(board, folder / "build1/program.elf", folder / "build1/program.map")
    outputs, stack, _ = emulate(once, inputs)
    records = len(inputs) // feed[0]
    return {"program": once, "outputs": outputs, "stack": stack, "instructions": (totals[1] - totals[0]) / records}


def flash_of(program: Program, objects: str) -> dict[str, int]:
    """Bytes by whose they are: constants and code of the objects, what the compiler's library adds, and the rest."""
    libraries = r"lib\w+\.a"
    return {
        "tables": program.bytes_of(objects, r"\.(rodata|srodata)"),
        "code": program.bytes_of(objects, r"\.text"),
        "library": program.bytes_of(libraries),
        "board": program.bytes_of("") - program.bytes_of(objects) - program.bytes_of(libraries),
    }


def measure_model(case: Case, board: Board, folder: Path) -> dict[str, Any]:
    """A model on a board, its outputs compared with the reference."""
    artifact = artifact_of(case)
    model = c_model(artifact, case.options)
    write(folder, c_folder(artifact, "model", case.options))
    write(folder, {"feed_model.c": MODEL_FEED.format(prefix=PREFIX)})
    inputs = gaussian_input(artifact, STEPS)
    stream = Model(artifact, "reference").stream()
    expected = np.array([stream.step(x) for x in inputs], np.float32)
    conversion = Conversion(model) if case.options.io == "int" else None
    records = inputs.astype("<f4")
    if conversion is not None:
        narrow = model.flags["EGRU_INPUT"] == "int8_t"
        records = np.array([conversion.take(x) for x in inputs]).astype("<i1" if narrow else "<i2")
    sizes = records.dtype.itemsize * records.shape[1], 4 * case.classes
    sources = [folder / f"{PREFIX}.c", folder / "feed_model.c"]
    found = counted(board, folder, sources, sizes, records.tobytes())
    outputs = np.frombuffer(found["outputs"], "<f4" if conversion is None else "<i4").reshape(STEPS, -1)
    if conversion is not None:
        outputs = conversion.give(outputs)
    if outputs.tobytes() != expected.tobytes():
        sys.exit(f"{case.name} on {board.processor}: other bits than the reference's")
    flash = flash_of(found["program"], f"{PREFIX}\\.o")
    multiply_adds = model.program.multiply_adds
    return {
        "multiply_adds": multiply_adds,
        "flash": flash["tables"] + flash["code"] + flash["library"],
        "flash_of": flash,
        "ram": model.state_bytes + found["stack"],
        "ram_of": {"state": model.state_bytes, "stack": found["stack"], "scratch_in_stack": model.scratch_bytes},
        "instructions": found["instructions"],
        "instructions_of_a_multiply_add": round(found["instructions"] / multiply_adds, 3),
    }


def measure_part(
    board: Board, folder: Path, part: str, texts: dict[str, str], sources: Sequence[str], feed: tuple[int, int],
    inputs: bytes, state_bytes: int, more_bytes: int = 0,
) -> dict[str, Any]:
    """What a part beside the model takes."""
    write(folder, texts | {name: kernel_text(name) for name in sources})
    found = counted(board, folder, [folder / name for name in texts if name.endswith(".c")], feed, inputs)
    flash = flash_of(found["program"], f"model_{part}\\.o")
    return {
        "flash": flash["tables"] + flash["code"] + flash["library"],
        "flash_of": flash,
        "ram": state_bytes + found["stack"] + more_bytes,
        "ram_of": {"state": state_bytes, "stack": found["stack"], "work": more_bytes},
        "instructions": found["instructions"],
    }


def measure_decisions(board: Board, folder: Path) -> dict[str, Any]:
    artifact = random_artifact(0, 9, (2,), output_size=6)
    made = decisions_in_c(artifact, "model", integers=True, decision=DECISION)
    assert made is not None
    levels = np.random.default_rng(0).dirichlet(np.full(6, 0.2), STEPS) * 2**15
    texts = {"model_decisions.h": made.header, "model_decisions.c": made.source, "decide.c": DECIDE}
    feed = 24, 24 * (made.max_events + 1)
    return measure_part(
        board, folder, "decisions", texts, made.sources, feed, levels.astype("<i4").tobytes(), made.state_bytes
    )


def measure_front_end(board: Board, folder: Path) -> dict[str, Any]:
    """8 kHz, 25 ms every 10 ms, 20 bands."""
    artifact = random_integers(with_log_mel(random_config(20), 80, 200, 256, 32768.0), 0)
    made = front_end_in_c(artifact, "model", integers=True)
    assert made is not None
    sound = np.random.default_rng(0).normal(0, 3000, (STEPS, 80)).astype("<i2")
    texts = {"model_log_mel.h": made.header, "model_log_mel.c": made.source, "hear.c": HEAR}
    return measure_part(
        board, folder, "log_mel", texts, made.sources, (160, 40), sound.tobytes(), made.state_bytes, made.scratch_bytes
    )


def measure(folder: Path) -> dict[str, dict[str, Any]]:
    """Everything, by what it is and by processor."""
    results: dict[str, dict[str, Any]] = {}
    for number, case in enumerate(CASES):
        results[case.name] = {
            name: measure_model(case, BOARDS[name], folder / f"{number}-{name}") for name in case.boards
        }
    for part, measured in (("decisions", measure_decisions), ("front end", measure_front_end)):
        results[part] = {
            name: measured(BOARDS[name], folder / f"{part}-{name}") for name in ("cortex-m0", "cortex-m4", "rv32imac")
        }
    return results


def table(results: dict[str, dict[str, Any]]) -> str:
    """What docs/microcontrollers.md has: flash by whose it is, memory, instructions."""
    columns = ("", "processor", "flash", "tables", "code", "library", "RAM", "state", "stack", "instructions", "each")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, boards in results.items():
        for board, found in boards.items():
            flash, ram, each = found["flash_of"], found["ram_of"], found.get("instructions_of_a_multiply_add")
            numbers = [found["flash"], flash["tables"], flash["code"], flash["library"], found["ram"]]
            numbers += [ram["state"], ram["stack"], round(found["instructions"])]
            cells = [f"{number:,}" for number in numbers] + ["–" if each is None else f"{each:.2f}"]
            lines.append(f"| {name} | {board} | {' | '.join(cells)} |")
    return "\n".join(lines)


def risen(results: dict[str, dict[str, Any]], committed: dict[str, dict[str, Any]]) -> list[str]:
    """Which numbers are higher than committed, and by how much."""
    return [
        f"{name}, {board}: {quantity} {found[quantity]:.0f} → {results[name][board][quantity]:.0f}"
        for name, boards in committed.items()
        for board, found in boards.items()
        for quantity in COUNTED
        if results[name][board][quantity] > ALLOWED_RISE * found[quantity]
    ]


def first_line(program: str) -> str:
    """What a program says about itself."""
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    return said.splitlines()[0]


def main() -> None:
    """Print the table, and write or compare it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="a JSON file for the results")
    parser.add_argument("--check", action="store_true", help=f"compare with {COMMITTED.relative_to(HERE.parent)}")
    arguments = parser.parse_args()
    for board in BOARDS.values():
        if board.missing is not None:
            sys.exit(f"Debian package {board.missing} is needed")
    with tempfile.TemporaryDirectory() as name:
        results = measure(Path(name))
    print(table(results))
    if arguments.output:
        programs = dict.fromkeys(program for board in BOARDS.values() for program in (board.compiler, board.emulator))
        content = {"made_with": [first_line(program) for program in programs], "measured": results}
        arguments.output.write_text(json.dumps(content, indent=2) + "\n")
    if arguments.check:
        found = risen(results, json.loads(COMMITTED.read_text())["measured"])
        print("\n" + "\n".join(found or ["no number rose by more than 1 %"]))
        sys.exit(len(found) > 0)


if __name__ == "__main__":
    main()
