"""From recordings to a Cortex-M4: ``python run.py``. Trains, quantizes, exports C, and streams recordings through it.

The firmware is compiled for the processor and emulated by QEMU where Debian's packages are there (``boards.py``), else
for this machine. Its events must be those that ``edgegru_runtime`` decides.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from boards import BOARDS, HOST, Program, build, emulate

import edgegru
from edgegru.data import labelled_sequences
from edgegru_runtime import load
from edgegru_runtime.decisions import Decisions

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "har_watch_phone"))
from motions import write_motions  # noqa: E402

BOARD = BOARDS["cortex-m4"]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output/cortex_m"), help="folder")
    output = parser.parse_args(arguments).output
    folders = write_motions(output / "motions")
    model, int8 = edgegru.train(HERE / "config.toml", data=folders["train"], output=output), output / "int8.safetensors"
    edgegru.quantize(model, folders["train"], int8, force=True)
    report = edgegru.export(int8, output / "motion", format="c", target="cortex-m", force=True)
    print(str(report).splitlines()[0])
    accuracy = edgegru.evaluate(int8, folders["test"], part="all").metrics["accuracy"]
    print(f"accuracy {accuracy:.3f} on other wearers")
    stream(int8, output, folders["test"])


def stream(int8: Path, output: Path, data: Path) -> None:
    """Run every recording on the processor; print the first one's events, and what the firmware takes."""
    config = load(int8).config
    labels, rate = config.outputs[0].labels, config.input.rate
    assert rate is not None
    board = BOARD
    if BOARD.missing is not None:
        print(f"compiled for this machine: the Cortex-M4 needs the Debian package {BOARD.missing}")
        board = HOST
    sources = [output / "motion" / name for name in ("edgegru_motion.c", "edgegru_motion_decisions.c")]
    options = ["-Os", f"-I{output / 'motion'}"]
    feed = 4 * config.input.size, 4 * 2
    program = build(board, output / "firmware", [*sources, HERE / "firmware.c"], options, feed=feed)
    total, steps, stack = 0, 0, 0
    for number, sequence in enumerate(labelled_sequences(config, data, "all")):
        found, deepest, _ = emulate(program, sequence.x.astype("<f4").tobytes())
        events = [
            (step, labels[abs(label) - 1], label > 0)
            for step, switched in enumerate(np.frombuffer(found, "<i4").reshape(-1, 2).tolist())
            for label in switched
            if label
        ]
        if events != events_of(int8, sequence.x):
            sys.exit(f"recording {number}: other events than edgegru_runtime decides")
        for step, label, on in events if number == 0 else []:
            print(f"{step / rate:8.1f} s  {label:10} {'on' if on else 'off'}")
        total, steps, stack = total + len(events), steps + len(sequence.x), max(stack, deepest)
    print(f"{board.processor}: {total} events in {steps} steps, those of edgegru_runtime")
    if board is BOARD:
        print(taken(program, stack))


def events_of(int8: Path, x: np.ndarray) -> list[tuple[int, str, bool]]:
    """(step, label, on) as the runtime decides."""
    model = load(int8)
    stream, decisions = model.stream(), Decisions(model.config, model.config.decision)
    return [
        (step, event.label, event.on)
        for step, sample in enumerate(x)
        for event in decisions.step(step, sample, None, (stream.step(sample),))
    ]


def taken(program: Program, stack: int) -> str:
    """Flash and memory in words."""
    flash = program.bytes_of(r"motion|lib\w+\.a")
    state = program.bytes_of("firmware", r"\.bss")
    return f"flash {flash} bytes, memory {state + stack} bytes: {state} between steps, {stack} of stack in a step"


if __name__ == "__main__":
    main()
