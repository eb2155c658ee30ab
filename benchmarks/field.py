"""What the whole way from bytes to decisions costs: records a second through `run`, beside ONNX Runtime in a loop.

One stream: a log of 6 channels in CSV goes through a GRU of 32 units with 4 classes (int8), and JSON lines come out: of
changes, or of every step. Beside it a straightforward loop does the same with the csv module, ONNX Runtime (its GRU
operator in float32, one thread, the state carried by hand) and the json module. Many streams: 10,000 sensors through
one process, as raw float32 frames and as CSV with a column that names the sensor.

Each contestant is a process of its own, pinned to one CPU, and they run in turn; the best of the rounds counts. Time is
from the start of the process to its end, with that of the same command on an empty log taken off; output goes to files.

    python benchmarks/field.py -o field.json           about two minutes
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

INPUT_SIZE, HIDDEN_SIZE = 6, 32
STREAMS = 10_000
RATES = {"f32le": 50, "csv": 10}  # samples per second that each of the sensors has
ROUNDS = 3
TARGETS = {"changes": 150_000, "all": 60_000}


def onnx_loop(model: str, log: str, output: str, emit: str) -> None:
    """The loop that one writes: a row, a step, a line."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x_name, state_name = (value.name for value in session.get_inputs())
    state = np.zeros((1, HIDDEN_SIZE), np.float32)
    labels = [f"class{i}" for i in range(4)]
    before = None
    with open(log, newline="") as rows, open(output, "w") as lines:
        reader = csv.reader(rows)
        next(reader)
        for index, row in enumerate(reader):
            x = np.array([row], np.float32)
            probabilities, state = session.run(None, {x_name: x, state_name: state})
            values = probabilities.ravel().tolist()
            best = max(range(4), key=values.__getitem__)
            if emit == "all" or best != before:
                before = best
                result = {"i": index, "label": labels[best], "p": values[best], "probs": values}
                lines.write(json.dumps(result) + "\n")
                lines.flush()


def make_inputs(folder: Path, records: int) -> None:
    """Models and logs, of seeds that never change."""
    import numpy as np

    from edgegru_export.exporting import export
    from edgegru_export.saving import save_artifact
    from tests.builders import quantized, random_artifact

    artifact = random_artifact(0, INPUT_SIZE, (HIDDEN_SIZE,))
    save_artifact(artifact, folder / "float32.safetensors")
    save_artifact(quantized(artifact, "static-w8a8"), folder / "int8.safetensors")
    export(folder / "float32.safetensors", folder / "float32.onnx", format="onnx")
    channels = artifact.config.input.channels
    rng = np.random.default_rng(1)
    walk = slow(rng, (records, INPUT_SIZE))
    with (folder / "log.csv").open("w") as log:
        log.write(",".join(channels) + "\n")
        log.writelines(",".join([f"{value:.4f}" for value in row]) + "\n" for row in walk.tolist())
    (folder / "empty.csv").write_text(",".join(channels) + "\n")
    frames = slow(rng, (100, STREAMS, INPUT_SIZE))
    (folder / "frames.f32").write_bytes(frames.tobytes())
    (folder / "empty.f32").write_bytes(frames[:1].tobytes())
    for name, count in (("many.csv", 20), ("empty_many.csv", 1)):
        with (folder / name).open("w") as log:
            log.write("sensor," + ",".join(channels) + "\n")
            for frame in frames[:count].tolist():
                log.writelines(
                    f"s{place}," + ",".join([f"{value:.4f}" for value in row]) + "\n" for place, row in enumerate(frame)
                )


def slow(rng: Any, shape: tuple[int, ...]) -> Any:
    """Noise that changes slowly along the first axis, as sensors' readings do."""
    noise = rng.normal(size=shape) * 0.14
    for before, now in pairwise(noise):
        now += 0.99 * before
    return noise.astype("<f4")


def seconds(command: list[str], cpu: int) -> float:
    """The time of a process on one CPU; SystemExit where it fails."""
    began = time.perf_counter()
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, preexec_fn=lambda: os.sched_setaffinity(0, {cpu})
    )
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}: {result.stderr}")
    return time.perf_counter() - began


def commands(folder: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Of each contestant: what is timed, and the same on next to nothing."""
    found = {}
    runtime = [sys.executable, "-m", "edgegru_runtime", "run", str(folder / "int8.safetensors")]
    for emit in TARGETS:
        ours = [*runtime, "--emit", emit, "--sink", f"jsonl:{folder / 'ours.jsonl'}"]
        found[f"EdgeGRU, one stream, emit {emit}"] = tuple(
            [*ours, str(folder / log)] for log in ("log.csv", "empty.csv")
        )
        theirs = [
            sys.executable,
            __file__,
            "--onnx-loop",
            str(folder / "float32.onnx"),
            emit,
            str(folder / "theirs.jsonl"),
        ]
        found[f"ONNX Runtime, one stream, emit {emit}"] = tuple(
            [*theirs, str(folder / log)] for log in ("log.csv", "empty.csv")
        )
    many = [*runtime, "--emit", "changes", "--sink", f"jsonl:{folder / 'many.jsonl'}"]
    raw = [*many, "--format", "f32le", "--streams", str(STREAMS)]
    found["EdgeGRU, 10,000 streams, f32le"] = tuple([*raw, str(folder / log)] for log in ("frames.f32", "empty.f32"))
    keyed = [*many, "--streams-by", "sensor"]
    found["EdgeGRU, 10,000 streams, csv"] = tuple([*keyed, str(folder / log)] for log in ("many.csv", "empty_many.csv"))
    return found


def measure(folder: Path, records: int, rounds: int) -> dict[str, Any]:
    """Records a second of each contestant."""
    counts = {"f32le": 99 * STREAMS, "csv": 19 * STREAMS}
    cpu = max(os.sched_getaffinity(0))
    timed = commands(folder)
    best: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, (command, empty) in timed.items():
            for old in folder.glob("*.jsonl"):
                old.unlink()
            overhead = seconds(empty, cpu)
            for old in folder.glob("*.jsonl"):
                old.unlink()
            best[name].append(seconds(command, cpu) - overhead)
    rates = {}
    for name, times in best.items():
        kind = name.rpartition(", ")[2]
        rates[name] = round(counts.get(kind, records) / min(times))
    return rates


def processor_name() -> str:
    """As Linux names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--onnx-loop", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.onnx_loop:
        model, emit, output, log = arguments.onnx_loop
        onnx_loop(model, log, output, emit)
        return
    with tempfile.TemporaryDirectory() as folder:
        make_inputs(Path(folder), arguments.records)
        rates = measure(Path(folder), arguments.records, arguments.rounds)
    ratios = {
        f"one stream, emit {emit}": round(
            rates[f"EdgeGRU, one stream, emit {emit}"] / rates[f"ONNX Runtime, one stream, emit {emit}"], 2
        )
        for emit in TARGETS
    }
    sustained = {
        kind: round(rates[f"EdgeGRU, 10,000 streams, {kind}"] / (STREAMS * rate), 2) for kind, rate in RATES.items()
    }
    results = {
        "machine": {"processor": processor_name(), "python": platform.python_version()},
        "rounds": arguments.rounds,
        "versions": {name: version(name) for name in ("edgegru-runtime", "onnxruntime")},
        "records_per_second": rates,
        "edgegru_over_onnx_runtime": ratios,
        "times_what_10000_sensors_need": sustained,
    }
    print(json.dumps(results, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
