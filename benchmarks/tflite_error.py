"""The error of rounded TFLite files beside that of the reference: docs/export-tflite.md and docs/export.md.

Random models of trained magnitude on the inputs of a verification: after one step from a common state; what each
operator adds to the error of a step; over closed loops, against the float model of the dequantized weights, with the
decisions that come out otherwise; one layer of slow units whose input is the mean (operands are exactly 0) until it has
settled: what is left is the state's own doing; what the kernels of TANH and LOGISTIC give for scales of their
arguments; then the floors that verification must grant such files, and what a wrong file would need.

    python benchmarks/tflite_error.py          about ten minutes
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ai_edge_litert.interpreter import Interpreter

from edgegru_export import tflite_dynamic, tflite_integer
from edgegru_export.closed_loop import Trajectory, run_steps
from edgegru_export.closeness import OneStep, measure_one_step, other_decisions
from edgegru_export.dequantization import dequantize
from edgegru_export.gate_order import reorder_gates
from edgegru_export.stimulus import gaussian_input
from edgegru_export.tflite_model import Model, TensorKind, operator_count
from edgegru_export.tflite_ranges import INT16
from edgegru_export.tolerances import TFLITE_FACTOR, VERIFY_STEPS
from edgegru_export.verification import measures_by_name
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.engine import Engine
from edgegru_runtime.errors import EdgegruError
from edgegru_runtime.exported import ExportedFile
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model import load
from edgegru_runtime.model_config import GruNode, ModelConfig
from edgegru_runtime.reference import Reference
from edgegru_runtime.tensor import Tensor
from tests.builders import drawn_config, from_arrays, mixed_artifact, quantized, random_artifact, random_floats
from tests.export.tflite_file import unpacked

MODELS: dict[str, Callable[[], Artifact]] = {
    "6 → 32": lambda: random_artifact(3, 6, (32,)),
    "6 → 32, reset before": lambda: random_artifact(3, 6, (32,), reset="before"),
    "9 → 64 → 64": lambda: random_artifact(3, 9, (64, 64)),
    "every kind of node, 32": lambda: mixed_artifact(3, 6, 32),
    "6 → 32, relu": lambda: random_artifact(3, 6, (32,), candidate="relu"),
    "6 → 32, linear": lambda: random_artifact(3, 6, (32,), candidate="linear"),
}
FORMS = {  # the scheme, and how it is built
    "int16, static-w8a8": ("static-w8a8", tflite_integer.build),
    "int16, static-w8a16": ("static-w8a16", tflite_integer.build),
    "int8": ("static-w8a8", lambda artifact: tflite_integer.build(artifact, allow_int8_state=True)),
    "dynamic-w8": ("dynamic-w8", tflite_dynamic.build),
}
LONG = 10_000
TIME_CONSTANTS = (16, 64, 512)
RANDOM_MODELS = 60


def run_of(data: bytes, folder: Path) -> tuple[Engine, ExportedFile]:
    """The engine that runs a TFLite file, and what the file says about itself."""
    path = folder / f"{len(list(folder.iterdir()))}.tflite"  # never one that an engine still reads
    path.write_bytes(data)
    model = load(path)
    assert isinstance(model.source, ExportedFile)
    return model.engine, model.source


def reference_of(artifact: Artifact) -> Engine:
    """What the file of an artifact is held against."""
    return IntegerReference(artifact) if artifact.config.static else Reference(artifact)


def rms(values: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def oracle(artifact: Artifact, inputs: np.ndarray) -> Trajectory:
    """What the artifact's weights give in float64."""
    model = dequantize(artifact)
    return run_steps(Reference(model, np.float64), model, inputs)


def print_row(cells: Sequence[object]) -> None:
    """One line of a Markdown table."""
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def print_head(cells: Sequence[object]) -> None:
    """The first lines of a Markdown table."""
    print_row(cells)
    print_row(["---"] * len(cells))


def print_one_step(folder: Path) -> None:
    """After one step from a common state: units in the last place of 16 bits."""
    print_head(["static-w8a16 model", "within 2 of the reference", "largest", "rms, file", "rms, reference"])
    for title, model in MODELS.items():
        artifact = quantized(model(), "static-w8a16")
        engine, exported = run_of(tflite_integer.build(artifact), folder)
        found: OneStep = measure_one_step(engine, exported, artifact, gaussian_input(artifact, 1000))
        print_row([title, f"{found.near:.1%}", *(f"{v:.2f}" for v in (found.largest, found.rms, found.own_rms))])


def print_contributions() -> None:
    """What the rounding of each operator alone does to h in one step of the first model, in units of 2^-15 (rms)."""
    artifact = quantized(next(iter(MODELS.values()))(), "static-w8a16")
    file = unpacked(tflite_integer.build(artifact))
    scales = {t.name.decode(): float(t.quantization.scale[0]) for t in file.subgraphs[0].tensors if has_scale(t)}
    model, inputs = dequantize(artifact), gaussian_input(artifact, 1000)
    states = run_steps(Reference(model, np.float64), model, inputs)["h0"][:-1]
    x = (inputs[1:] - model.array("standardise.mean")) / model.array("standardise.std")
    print_head(["operators of gru0", "steps of the result", "rms error of h"])
    exact = rounded_step(model, x, states, {})
    for title, names in (
        ("CONV_2D, r and z", ("rz_x", "rz_h")),
        ("ADD, r and z", ("rz_sum",)),
        ("LOGISTIC", ("rz",)),
        ("CONV_2D, n", ("n_x", "n_h")),
        ("MUL, r ⊙ (…)", ("n_rh",)),
        ("ADD, n", ("n_sum",)),
        ("TANH", ("n",)),
        ("MUL, MUL of the mix", ("n_part", "h_part")),
    ):
        steps = {name: scales[f"gru0.{name}"] for name in names}
        error = rounded_step(model, x, states, steps) - exact
        print_row([title, ", ".join(f"2^{np.log2(v):.1f}" for v in steps.values()), f"{rms(error) * 2**15:.2f}"])
    steps = {"rz_sum": 2.0**-11, "n_x": 2.0**-12, "n_h": 2.0**-12, "n_rh": 2.0**-12}
    error = rounded_step(model, x, states, steps) - exact
    print_row(["the reference's arguments", "2^-11, 2^-12", f"{rms(error) * 2**15:.2f}"])


def rounded_step(model: Artifact, x: np.ndarray, h: np.ndarray, steps: dict[str, float]) -> np.ndarray:
    """The next h (T, H) of a float GRU with reset after, what ``steps`` names rounded to multiples of that."""

    def at(name: str, value: np.ndarray) -> np.ndarray:
        return np.round(value / steps[name]) * steps[name] if name in steps else value

    size = h.shape[1]
    rz, n_rows = slice(0, 2 * size), slice(2 * size, None)
    w_ih, w_hh, b_ih, b_hh = (
        model.array(f"gru0.{name}").astype(np.float64) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    products = at("rz_x", x @ w_ih[rz].T + b_ih[rz]) + at("rz_h", h @ w_hh[rz].T + b_hh[rz])
    r, z = np.split(at("rz", 0.5 + 0.5 * np.tanh(at("rz_sum", products) / 2)), 2, axis=1)
    kept = at("n_rh", r * at("n_h", h @ w_hh[n_rows].T + b_hh[n_rows]))
    n = at("n", np.tanh(at("n_sum", at("n_x", x @ w_ih[n_rows].T + b_ih[n_rows]) + kept)))
    return at("n_part", (1 - z) * n) + at("h_part", z * h)


def has_scale(tensor: Any) -> bool:
    """Whether a tensor of a file has a scale."""
    return tensor.quantization is not None and tensor.quantization.scale is not None


def print_closed_loop(folder: Path) -> None:
    """Over ``LONG`` steps: rms errors of h and y over the reference's own, and decisions that differ."""
    print_head(["model", "scheme", "operators", "own rms of h, y", "h, y of the file over it", "other decisions"])
    for title, model in MODELS.items():
        for form in ("int16, static-w8a16", "int16, static-w8a8", "dynamic-w8"):
            scheme, build = FORMS[form]
            artifact = quantized(model(), scheme)
            data = build(artifact)
            inputs = gaussian_input(artifact, LONG if scheme == "static-w8a16" else 1000)
            expected, own = oracle(artifact, inputs), run_steps(reference_of(artifact), artifact, inputs)
            found = run_steps(run_of(data, folder)[0], artifact, inputs)
            grus = [f"h{i}" for i, node in enumerate(artifact.config.state_nodes) if isinstance(node, GruNode)]
            own_rms = {name: rms(own[name] - expected[name]) for name in (*grus, "y")}
            ratio = {name: rms(found[name] - expected[name]) / value for name, value in own_rms.items()}
            cells = (f"{max(v[h] for h in grus):{f}}, {v['y']:{f}}" for v, f in ((own_rms, ".1e"), (ratio, ".2f")))
            print_row(
                [title, scheme, operator_count(data), *cells, f"{other_decisions(artifact.config, found, own):.3%}"]
            )


def slow_layer(time_constant: int) -> Artifact:
    """One layer whose gate z and, for a constant input, n are constant: h' = h + (n - h) / time_constant."""
    model = random_artifact(5, 2, (16,))
    arrays = {name: model.array(name).copy() for name in model.tensors}
    z = slice(16, 32)
    arrays["gru0.weight_ih"][z] = arrays["gru0.bias_hh"][z] = 0
    arrays["gru0.weight_hh"][:] = 0
    arrays["gru0.bias_ih"][z] = np.log(time_constant - 1)
    return from_arrays(model.config, arrays)


def print_slow_units(folder: Path) -> None:
    """The largest distance of a settled unit from its target."""
    print_head(["time constant, steps", "integer reference", "int16 file", "int8 file"])
    for time_constant in TIME_CONSTANTS:
        artifact = quantized(slow_layer(time_constant))
        inputs = np.repeat(artifact.array("standardise.mean")[None], 12 * time_constant, axis=0)
        expected = oracle(artifact, inputs)
        engines = [IntegerReference(artifact)]
        engines += [run_of(FORMS[form][1](artifact), folder)[0] for form in ("int16, static-w8a8", "int8")]
        last = (run_steps(engine, artifact, inputs)["h0"][-1] for engine in engines)
        print_row([time_constant, *(f"{np.max(np.abs(h - expected['h0'][-1])):.1e}" for h in last)])


def print_kernels() -> None:
    """The largest error of TANH and LOGISTIC over all arguments, in units in the last place."""
    print_head(["operator", "scale of the argument", "largest error", "rms"])
    every = np.arange(-(2**15), 2**15, dtype=np.int16)
    for operator, own in (("TANH", INT16.tanh_argument), ("LOGISTIC", INT16.sigmoid_argument)):
        for name, kind in (
            ("2^-12", TensorKind("int16", 2.0**-12)),
            ("2^-11", TensorKind("int16", 2.0**-11)),
            (f"1/{1 / (own.scale or 1):.0f}", own),
        ):
            model = Model()
            graph = model.add_subgraph("step")
            argument = graph.input("argument", (1, len(every)), kind)
            value = graph.add(operator, [argument], "value", argument.shape, INT16.fraction)
            model.add_signature("step", graph, {"argument": argument}, {"value": value})
            interpreter = Interpreter(model_content=model.to_bytes('{"a":1}'), num_threads=1)
            found = interpreter.get_signature_runner("step")(argument=every[np.newaxis])["value"][0]
            real = every.astype(np.float64) * (kind.scale or 1)
            expected = np.tanh(real) if operator == "TANH" else 0.5 + 0.5 * np.tanh(real / 2)
            error = found - np.minimum(expected * 2.0**15, 2**15 - 1)
            print_row([operator, name, f"{np.max(np.abs(error)):.1f}", f"{rms(error):.2f}"])


def with_exchanged_gates(artifact: Artifact) -> Artifact:
    """The recurrent weights of r and z exchanged in the last layer: what a wrong exporter would write."""
    name = [f"{node.name}.weight_hh" for node in artifact.config.nodes if isinstance(node, GruNode)][-1]
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
        if allowed_rms > 0:  # a convolution may keep rows of a table, which are exact
            ratios.append(error_rms / allowed_rms)
    return float(max(largest)), float(max(mean_square)), float(np.median(ratios))


def print_floors(folder: Path) -> None:
    """What verification's floors for rounded TFLite files have to be, and what they must not be."""
    floors: dict[str, list[tuple[float, float, float]]] = {}
    steps: dict[str, list[float]] = {}
    for seed in range(RANDOM_MODELS):
        model = random_floats(drawn_config(np.random.default_rng(seed), (3, 8, 17, 33, 65)), seed)
        for form, (scheme, build) in FORMS.items():
            try:
                artifact = quantized(model, scheme)
                files = {"": build(artifact), ", gates exchanged": build(with_exchanged_gates(artifact))}
            except EdgegruError as error:
                print(f"seed {seed}, {form}: {error}", file=sys.stderr)
                continue
            inputs = gaussian_input(artifact, VERIFY_STEPS)
            expected, own = oracle(artifact, inputs), run_steps(reference_of(artifact), artifact, inputs)
            for kind, data in files.items():
                engine, exported = run_of(data, folder)
                found = run_steps(engine, artifact, inputs)
                floors.setdefault(form + kind, []).append(needed_floors(artifact.config, found, own, expected))
                if artifact.config.static:
                    step = measure_one_step(engine, exported, artifact, inputs[:200])
                    steps.setdefault(form + kind, []).append(step.rms - TFLITE_FACTOR * step.own_rms)
    print_head(["file", "floor needed: largest error", "rms", "rms after one step", "rms / reference's, median"])
    for title, values in floors.items():
        largest, mean_square, ratio = np.transpose(values)
        ends = [
            " … ".join(f"{end:.4f}" if end < 1e4 else f"{end:.0e}" for end in (v.min(), v.max()))
            for v in (largest, mean_square)
        ]
        one = f"{min(steps[title]):.1f} … {max(steps[title]):.1f}" if title in steps else "–"
        print_row([f"{title} ({len(values)})", *ends, one, f"{np.median(ratio):.3f}"])


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print_one_step(folder)
        print()
        print_contributions()
        print()
        print_closed_loop(folder)
        print()
        print_slow_units(folder)
        print()
        print_kernels()
        print()
        print_floors(folder)


if __name__ == "__main__":
    main()
