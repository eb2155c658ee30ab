"""The error of integer TFLite files beside that of the integer reference: docs/export-tflite.md and docs/export.md.

Random models of trained magnitude, 1,000 closed-loop steps of the calibration distribution, against the float model of
the dequantized weights; then one layer of slow units whose input is the mean (operands are exactly 0) until it has
settled: what is left is the state's own doing; then the floors that verification must grant such files, and what a
wrong file would need.

    python benchmarks/tflite_error.py
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgegru.calibration import calibrate
from edgegru.quantization import quantize_artifact
from edgegru_export import tflite_integer
from edgegru_export.closed_loop import Trajectory, run_steps
from edgegru_export.dequantization import dequantize
from edgegru_export.gate_order import reorder_gates
from edgegru_export.stimulus import gaussian_input
from edgegru_export.tflite_model import operator_count
from edgegru_export.tolerances import TFLITE_FACTOR, VERIFY_STEPS
from edgegru_export.verification import measures_by_name
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.engine import Engine
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model import load
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.reference import Reference
from edgegru_runtime.tensor import Tensor
from tests.builders import from_arrays, random_artifact

MODELS = {
    "6 → 32 → softmax 4": {"input_size": 6, "hidden_sizes": (32,)},
    "6 → 32 → softmax 4, reset before": {"input_size": 6, "hidden_sizes": (32,), "reset": "before"},
    "9 → 64 → 64 → softmax 4": {"input_size": 9, "hidden_sizes": (64, 64)},
    "13 → 17 → 65 → 3 → identity 4, no bias": {
        "input_size": 13,
        "hidden_sizes": (17, 65, 3),
        "head": "identity",
        "bias": False,
    },
}
TIME_CONSTANTS = (16, 64, 512)
RANDOM_MODELS = 60


def engines(artifact: Artifact, folder: Path) -> dict[str, Engine]:
    """The integer reference and both TFLite forms of a model."""
    found: dict[str, Engine] = {"reference": IntegerReference(artifact)}
    for name, allow_int8_state in (("int16", False), ("int8", True)):
        path = folder / f"{name}.tflite"
        path.write_bytes(tflite_integer.build(artifact, allow_int8_state=allow_int8_state))
        found[name] = load(path).engine
    return found


def rms(values: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def oracle(artifact: Artifact, inputs: np.ndarray) -> Trajectory:
    """What the artifact's weights give in float64."""
    model = dequantize(artifact)
    return run_steps(Reference(model, np.float64), model.config, inputs)


def slow_layer(time_constant: int) -> Artifact:
    """One layer whose gate z and, for a constant input, n are constant: h' = h + (n - h) / time_constant."""
    model = random_artifact(5, 2, (16,))
    arrays = {name: model.array(name).copy() for name in model.tensors}
    z = slice(16, 32)
    arrays["gru0.weight_ih"][z] = arrays["gru0.bias_hh"][z] = 0
    arrays["gru0.weight_hh"][:] = 0
    arrays["gru0.bias_ih"][z] = np.log(time_constant - 1)
    return from_arrays(model.config, arrays)


def random_model(seed: int) -> Artifact:
    """A quantized model of any kind: 1 to 13 inputs, one to three layers of 3 to 65 units, both formulations, any head,
    linear layers before and after or none.
    """
    rng = np.random.default_rng(seed)
    linear = (None, (8, "linear"), (8, "relu"), (8, "tanh"), (8, "sigmoid"))
    model = random_artifact(
        seed,
        int(rng.integers(1, 14)),
        tuple(int(size) for size in rng.integers(3, 66, rng.integers(1, 4))),
        reset=("after", "before")[rng.integers(2)],
        bias=bool(rng.integers(2)),
        head=("softmax", "sigmoid", "identity")[rng.integers(3)],
        input_linear=linear[rng.integers(5)],
        hidden_linear=linear[rng.integers(5)],
    )
    return quantize_artifact(model, calibrate(model, [gaussian_input(model, 1000)]))


def with_exchanged_gates(artifact: Artifact) -> Artifact:
    """The recurrent weights of r and z exchanged in the last layer: what a wrong exporter would write."""
    name = f"{artifact.config.gru_nodes[-1].name}.weight_hh"
    exchanged = {
        field: Tensor.from_numpy(reorder_gates(artifact.array(field), "rzn", "zrn"))
        for field in (name, f"{name}_scale")
    }
    return replace(artifact, tensors={**artifact.tensors, **exchanged})


def needed_floors(
    config: ModelConfig, found: Trajectory, own: Trajectory, expected: Trajectory
) -> tuple[float, float, float]:
    """The floors (largest error, rms) with which a file would just pass; and its rms error over the reference's own,
    the median of all outputs and states.
    """
    largest, mean_square, ratios = [], [], []
    for name, measure in measures_by_name(config, expected).items():
        error, error_rms = measure.errors(found[name], expected[name])
        allowed, allowed_rms = measure.errors(own[name], expected[name])
        largest.append((error - TFLITE_FACTOR * allowed - measure.resolution) / measure.magnitude)
        mean_square.append((error_rms - TFLITE_FACTOR * allowed_rms - measure.resolution) / measure.magnitude)
        ratios.append(error_rms / allowed_rms)
    return float(max(largest)), float(max(mean_square)), float(np.median(ratios))


def print_floors(folder: Path) -> None:
    """What verification's floors for integer TFLite files have to be, and what they must not be."""
    floors: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(RANDOM_MODELS):
        artifact = random_model(seed)
        inputs = gaussian_input(artifact, VERIFY_STEPS)
        expected = oracle(artifact, inputs)
        own = run_steps(IntegerReference(artifact), artifact.config, inputs)
        for kind, model in (("", artifact), (", gates exchanged", with_exchanged_gates(artifact))):
            for name, engine in list(engines(model, folder).items())[1:]:
                found = run_steps(engine, artifact.config, inputs)
                floors.setdefault(name + kind, []).append(needed_floors(artifact.config, found, own, expected))
    print_row([f"{RANDOM_MODELS} random models", "floor needed: largest error", "rms", "rms / reference's, median"])
    print_row(["---"] * 4)
    for title, values in floors.items():
        largest, mean_square, ratio = np.transpose(values)
        ends = (f"{v.min():.4f} … {v.max():.4f}" for v in (largest, mean_square))
        print_row([title, *ends, f"{np.median(ratio):.3f}"])


def print_row(cells: Sequence[object]) -> None:
    """One line of a Markdown table."""
    print(f"| {' | '.join(str(cell) for cell in cells)} |")


def main() -> None:
    """Print the three tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print_row(["model", "operators", "integer reference", "int16 file", "int8 file"])
        print_row(["---"] * 5)
        for title, shape in MODELS.items():
            model = random_artifact(3, **shape)
            inputs = gaussian_input(model, 1000)
            artifact = quantize_artifact(model, calibrate(model, [inputs]))
            expected = oracle(artifact, inputs)
            cells = []
            for engine in engines(artifact, folder).values():
                found = run_steps(engine, artifact.config, inputs)
                states = max(rms(found[key] - expected[key]) for key in found if key.startswith("h"))
                cells.append(f"{states:.1e} / {rms(found['y'] - expected['y']):.1e}")
            print_row([title, operator_count((folder / "int16.tflite").read_bytes()), *cells])
        print()
        print_row(["time constant, steps", "integer reference", "int16 file", "int8 file"])
        print_row(["---"] * 4)
        for time_constant in TIME_CONSTANTS:
            model = slow_layer(time_constant)
            artifact = quantize_artifact(model, calibrate(model, [gaussian_input(model, 1000)]))
            inputs = np.repeat(artifact.array("standardise.mean")[None], 12 * time_constant, axis=0)
            expected = oracle(artifact, inputs)
            cells = []
            for engine in engines(artifact, folder).values():
                found = run_steps(engine, artifact.config, inputs)
                cells.append(f"{np.max(np.abs(found['h0'][-1] - expected['h0'][-1])):.1e}")
            print_row([time_constant, *cells])
        print()
        print_floors(folder)


if __name__ == "__main__":
    main()
