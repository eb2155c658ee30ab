"""What dynamic-w8 ONNX files and wrong ones need of their tolerances: the table in docs/export.md.

Random models of every kind, the steps of a verification. Errors are counted over what rounding values to int8 does to
the model itself: the factors with which a file would just pass, the largest of its outputs and states.

    python benchmarks/onnx_dynamic_error.py
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgegru_export import onnx_dynamic
from edgegru_export.closed_loop import run_steps
from edgegru_export.dequantization import dequantize
from edgegru_export.gate_order import reorder_gates
from edgegru_export.saving import with_identity
from edgegru_export.stimulus import gaussian_input
from edgegru_export.tolerances import DYNAMIC_LARGEST_FACTOR, DYNAMIC_RMS_FACTOR, FLOAT_TOLERANCE, VERIFY_STEPS
from edgegru_export.verification import measures_by_name
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.engine import Engine
from edgegru_runtime.model import load
from edgegru_runtime.model_config import GruNode
from edgegru_runtime.reference import Reference
from tests.builders import drawn_config, from_arrays, quantized, random_floats

RANDOM_MODELS = 100
FACTORS = (DYNAMIC_LARGEST_FACTOR, DYNAMIC_RMS_FACTOR)


def wrong_models(artifact: Artifact, rng: np.random.Generator) -> Iterator[tuple[str, Artifact]]:
    """What files of wrong exporters would compute."""
    arrays = {name: artifact.array(name) for name in artifact.tensors}
    name = str(rng.choice([name for name in arrays if name.endswith("_scale")]))
    off = {**arrays, name: arrays[name] * np.float32(1.03)}
    yield "scales of one matrix 3 % off", from_arrays(artifact.config, off)
    grus = [node for node in artifact.config.nodes if isinstance(node, GruNode)]
    exchanged = {
        field: reorder_gates(arrays[field], "rzn", "zrn")
        for field in (f"{grus[-1].name}.weight_hh", f"{grus[-1].name}.weight_hh_scale")
    }
    yield "recurrent weights of r and z exchanged", from_arrays(artifact.config, {**arrays, **exchanged})
    if max(node.hidden_size for node in grus) > 1:  # of one unit without bias both are the same model
        flipped = tuple(
            replace(node, reset="before" if node.reset == "after" else "after") if node in grus else node
            for node in artifact.config.nodes
        )
        yield "the other formulation", with_identity(replace(artifact, config=replace(artifact.config, nodes=flipped)))


def needed_factors(artifact: Artifact, engines: dict[str, Engine]) -> dict[str, tuple[float, float]]:
    """Of every engine: the factors of the largest error and of the rms error."""
    inputs = gaussian_input(artifact, VERIFY_STEPS)
    expected = run_steps(Reference(artifact), artifact, inputs)
    dequantized = dequantize(artifact)
    unrounded = run_steps(Reference(dequantized), dequantized, inputs, along=expected)
    factors = {}
    for title, engine in engines.items():
        found, needed = run_steps(engine, artifact, inputs, along=expected), np.zeros(2)
        for name, measure in measures_by_name(artifact.config, expected).items():
            floor = FLOAT_TOLERANCE * measure.magnitude + measure.resolution
            rounding = np.maximum(measure.errors(unrounded[name], expected[name]), floor)
            needed = np.maximum(needed, (np.array(measure.errors(found[name], expected[name])) - floor) / rounding)
        factors[title] = (float(needed[0]), float(needed[1]))
    return factors


def main() -> None:
    """Print the table."""
    factors: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        for seed in range(RANDOM_MODELS):
            rng = np.random.default_rng(seed)
            artifact = quantized(random_floats(drawn_config(rng), seed), "dynamic-w8")
            path.write_bytes(onnx_dynamic.build(artifact))
            engines: dict[str, Engine] = {"ONNX file": load(path).engine}
            engines |= {title: Reference(model) for title, model in wrong_models(artifact, rng)}
            for title, needed in needed_factors(artifact, engines).items():
                factors.setdefault(title, []).append(needed)
    print(f"| {RANDOM_MODELS} random models | largest error: factor needed | rms: factor needed | refused |")
    print("|---|---|---|---|")
    for title, values in factors.items():
        refused = np.count_nonzero(np.any(np.array(values) > FACTORS, axis=1))
        ends = [f"{c.min():.2g} … {c.max():.2g} (median {np.median(c):.2g})" for c in np.transpose(values)]
        print(f"| {' | '.join((title, *ends))} | {refused} of {len(values)} |")


if __name__ == "__main__":
    main()
