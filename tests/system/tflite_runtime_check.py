"""Streams exported files where only edgegru_runtime and tflite-runtime are installed. Run by test_tflite_runtime.py.

Argument: a folder with ``x.npy`` (T, input_size), and files ``NAME.tflite`` with what is expected of each in
``NAME.npy`` (T, output_size) and the tolerance of its largest error in ``NAME.txt``. Prints the error of each file, and
exits with 1 where one is out of tolerance.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import edgegru_runtime

OTHERS = ("ai_edge_litert", "edgegru", "edgegru_export", "onnx", "onnxruntime", "tensorflow", "torch")


def check(file: Path, x: np.ndarray) -> str:
    """What is wrong with a file, "" where nothing is."""
    model = edgegru_runtime.load(file)
    if model.engine_name != "litert":
        return f"engine {model.engine_name}"
    stream = model.stream()
    first = np.array(stream.run(x))
    largest = float(np.max(np.abs(first - np.load(file.with_suffix(".npy")))))
    print(f"{file.name}: largest error {largest:.3g}")
    if not largest <= float(file.with_suffix(".txt").read_text()):
        return f"largest error {largest}"
    stream.reset()
    half = len(x) // 2
    parts = [np.array(stream.run(x[:half]))]
    if "variables" not in file.name:
        saved, stream = stream.state, model.stream()
        stream.state = saved
    parts.append(np.array(stream.run(x[half:])))
    if not np.array_equal(np.concatenate(parts), first):
        return "two parts after a reset differ from the whole"
    return ""


def main(folder: Path) -> int:
    present = [name for name in OTHERS if find_spec(name) is not None]
    if present:
        print(f"{', '.join(present)} can be imported here, expected edgegru_runtime and tflite_runtime alone")
        return 1
    x = np.load(folder / "x.npy")
    failures = 0
    for file in sorted(folder.glob("*.tflite")):
        problem = check(file, x)
        if problem:
            failures += 1
            print(f"{file.name}: {problem}")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
