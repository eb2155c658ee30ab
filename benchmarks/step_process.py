"""What a process costs that steps a model: time to import, to load and to the first result, memory, bytes installed.

Each subject runs alone in a new process, several times. The child imports what its subject imports and nothing else:

    python benchmarks/step_process.py SUBJECT FILE INPUT_SIZE HIDDEN_SIZE          prints one line of JSON
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from step_models import Case

STEPS = 1000  # after which memory is read
RUNS = 10  # of which the best counts, for each number

Steps = Iterator[None]  # stops after the imports, after loading, then after every step


def bare_python(path: str, input_size: int, hidden_size: int) -> Steps:
    """No model at all."""
    while True:
        yield


def edgegru(path: str, input_size: int, hidden_size: int) -> Steps:
    """An artifact on the kernel."""
    import edgegru_runtime

    yield
    stream = edgegru_runtime.load(path, engine="kernel").stream()
    sample = [0.5] * input_size
    yield
    while True:
        stream.step(sample)
        yield


def numpy_alone(path: str, input_size: int, hidden_size: int) -> Steps:
    """Weights from an .npz file, the equations as they are written."""
    import numpy as np

    yield
    with np.load(path) as file:
        w_ih, w_hh, b_ih, b_hh, w, b = (
            file[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight", "bias")
        )
    x, h = np.full(input_size, 0.5, np.float32), np.zeros(hidden_size, np.float32)
    yield
    while True:
        over_x, over_h = w_ih @ x + b_ih, w_hh @ h + b_hh
        r, z = (0.5 + 0.5 * np.tanh(0.5 * gate) for gate in np.split((over_x + over_h)[: 2 * hidden_size], 2))
        n = np.tanh(over_x[2 * hidden_size :] + r * over_h[2 * hidden_size :])
        h = n + z * (h - n)
        (w @ h + b).tolist()
        yield


def onnxruntime_session(path: str, input_size: int, hidden_size: int) -> Steps:
    """An exported ONNX file, one thread."""
    import numpy as np
    import onnxruntime

    yield
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x, h = np.full((1, input_size), 0.5, np.float32), np.zeros((1, hidden_size), np.float32)
    yield
    while True:
        y, h = session.run(["y", "h0_next"], {"x": x, "h0": h})
        y.tolist()
        yield


def litert_interpreter(path: str, input_size: int, hidden_size: int) -> Steps:
    """An exported TFLite file, one thread."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    yield
    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    x_place, h_place = (detail["index"] for detail in interpreter.get_input_details())
    y_place, next_place = (detail["index"] for detail in interpreter.get_output_details())
    x, h = np.full((1, input_size), 0.5, np.float32), np.zeros((1, hidden_size), np.float32)
    yield
    while True:
        interpreter.set_tensor(x_place, x)
        interpreter.set_tensor(h_place, h)
        interpreter.invoke()
        interpreter.get_tensor(y_place).tolist()
        h = interpreter.get_tensor(next_place)
        yield


SUBJECTS: dict[str, tuple[Callable[[str, int, int], Steps], str | None]] = {  # and what has to be installed
    "python3": (bare_python, None),
    "EdgeGRU": (edgegru, "edgegru-runtime"),
    "NumPy": (numpy_alone, "numpy"),
    "ONNX Runtime": (onnxruntime_session, "onnxruntime"),
    "LiteRT": (litert_interpreter, "ai-edge-litert"),
}


def measure_here(subject: str, path: str, input_size: int, hidden_size: int) -> dict[str, float]:
    """Milliseconds of each stage in this process, when the first result was there (on the clock of all processes), and
    the resident memory after ``STEPS`` steps.
    """
    started = perf_counter()
    steps = SUBJECTS[subject][0](path, input_size, hidden_size)
    moments = [started]
    for _ in range(3):
        next(steps)
        moments.append(perf_counter())
    for _ in range(STEPS - 1):
        next(steps)
    with open("/proc/self/status") as status:
        resident = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))
    milliseconds = [1e3 * (after - before) for before, after in pairwise(moments)]
    stages = dict(zip(("import_ms", "load_ms", "first_step_ms"), milliseconds, strict=True))
    return {**stages, "first_result_at": moments[-1], "resident_bytes": resident}


def measure_processes(case: Case) -> dict[str, dict[str, float]]:
    """By subject: the best of what ``measure_here`` finds, the time from the start of the process to its first result,
    and the bytes that are installed. A subject that is not installed, or fails, is left out with a line that says so.
    """
    import json
    import os
    import subprocess

    results: dict[str, dict[str, float]] = {}
    paths = _files(case)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # the first run compiles, as an installation does
    runs: dict[str, list[dict[str, float]]] = {subject: [] for subject in SUBJECTS}
    for _ in range(RUNS):  # all in turn: a machine is slower for a while than it was before
        for subject in list(runs):
            command = [sys.executable, __file__, subject, paths[subject], str(case.input_size), str(case.hidden_size)]
            started = perf_counter()
            try:
                finished = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            except subprocess.CalledProcessError as error:
                print(f"{subject}: not available ({error.stderr.strip().splitlines()[-1]})")
                del runs[subject]
                continue
            run = json.loads(finished.stdout.splitlines()[-1])
            run["first_result_ms"] = 1e3 * (run.pop("first_result_at") - started)
            runs[subject].append(run)
    for subject, found in runs.items():
        distribution = SUBJECTS[subject][1]
        results[subject] = {name: min(run[name] for run in found) for name in found[0]}
        results[subject]["installed_bytes"] = sum(_installed(distribution).values()) if distribution else 0
    return results


def _files(case: Case) -> dict[str, str]:
    """The model of a case as each subject reads it."""
    import io

    import numpy as np

    from edgegru_export import onnx_float, tflite_float

    arrays = io.BytesIO()
    np.savez(arrays, **case.weights)
    paths = {
        "python3": "",
        "EdgeGRU": case.artifact_path("float32"),
        "NumPy": case.write("model.npz", arrays.getvalue()),
        "ONNX Runtime": case.write("model.onnx", onnx_float.build(case.float32)),
        "LiteRT": case.write("model.tflite", tflite_float.build(case.float32)),
    }
    return {subject: str(path) for subject, path in paths.items()}


def _installed(name: str, found: dict[str, int] | None = None) -> dict[str, int]:
    """The bytes on disk of a distribution and of all that it requires, by name, compiled caches not counted."""
    from importlib.metadata import distribution
    from importlib.util import find_spec
    from pathlib import Path

    from packaging.requirements import Requirement

    found = {} if found is None else found
    if name in found:
        return found
    if name == "edgegru-runtime":  # may be installed from the working tree, which lists no files
        spec: Any = find_spec("edgegru_runtime")
        files = [path for path in Path(spec.submodule_search_locations[0]).rglob("*") if path.is_file()]
    else:
        files = [Path(str(path.locate())) for path in distribution(name).files or ()]
    found[name] = sum(path.stat().st_size for path in files if path.exists() and "__pycache__" not in path.parts)
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            _installed(requirement.name, found)
    return found


def main() -> None:
    """Measure one subject in this process."""
    subject, path, *sizes = sys.argv[1:]
    measured: Any = measure_here(subject, path, *map(int, sizes))
    import json  # not before anything has been measured

    print(json.dumps(measured))


if __name__ == "__main__":
    main()
