"""Integer ONNX files against the integer reference, step after step, every bit: the result is one JSON object.

Models of any kind and of sizes around the edges of vectors, in both static schemes and mixes of them; quantized from
float models, or of random integers whose scales are spread over powers of two so that values saturate. Each begins in a
random state, takes a walk inside the range of its input, then jumps far outside. Scales that leave the arithmetic's
range, and values that are always zero, are refused when a model is made; such models are counted and take no steps.

    python benchmarks/integer_soak.py --steps 1000000 --seed 0
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgegru_export import onnx_integer
from edgegru_export.metadata import output_names, state_input_names
from edgegru_export.stimulus import gaussian_input, jumping_input
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ArtifactError, QuantizationError
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model import load
from edgegru_runtime.model_config import STATIC_SCHEMES
from tests.builders import drawn_config, drawn_keep, quantized, random_floats, random_integers
from tests.export.onnx_file import random_states

STEPS_A_MODEL = 1000
OCTAVES = (0, 4, 8)  # how far the scales of random integers are spread


def drawn_model(rng: np.random.Generator, seed: int) -> Artifact:
    """One model in three is quantized from a float model."""
    config, scheme = drawn_config(rng), str(rng.choice(STATIC_SCHEMES))
    keep, octaves = drawn_keep(rng, config, scheme), int(rng.choice(OCTAVES))
    if seed % 3 == 0:
        return quantized(random_floats(config, seed), scheme, keep)
    return random_integers(config, seed, scheme, keep, octaves)


def differences(artifact: Artifact, steps: int, seed: int, folder: Path) -> list[str]:
    """Which outputs and states of the file are not the reference's, after each of ``steps`` steps."""
    path = folder / "model.onnx"
    path.write_bytes(onnx_integer.build(artifact))
    engines = (IntegerReference(artifact), load(path).engine)
    states = [engine.new_state() for engine in engines]
    begin = [h.astype("<i4").tobytes() for h in random_states(artifact, 1, seed)]
    for engine, state in zip(engines, states, strict=True):
        engine.load_state(state, begin)
    names = (*output_names(artifact.config), *state_input_names(artifact.config))
    found = []
    walk = gaussian_input(artifact, steps - steps // 2), jumping_input(artifact, max(steps // 2, 1))
    for step, sample in enumerate(np.concatenate(walk)[:steps]):
        expected, actual = (
            [np.array(y, np.float32).tobytes() for y in engine.step(state, array("f", sample.tobytes()))]
            for engine, state in zip(engines, states, strict=True)
        )
        for after, engine, state in zip((expected, actual), engines, states, strict=True):
            after += engine.state_arrays(state)
        found += [f"{name} in step {step}" for name, a, b in zip(names, expected, actual, strict=True) if a != b]
    return found


def soak(steps: int, seed: int) -> dict[str, Any]:
    """What ``main`` prints."""
    counts: Counter[str] = Counter()
    first = None
    with tempfile.TemporaryDirectory() as folder:
        while counts["steps"] < steps:
            model = seed * 1_000_000 + counts["models"] + counts["refused"]
            try:
                artifact = drawn_model(np.random.default_rng(model), model)
                here = min(STEPS_A_MODEL, steps - counts["steps"])
                found = differences(artifact, here, model, Path(folder))
            except (ArtifactError, QuantizationError):
                counts["refused"] += 1
                continue
            counts += Counter({"models": 1, "steps": here, "differences": len(found)})
            assert artifact.config.quantization is not None
            counts["of mixed widths" if artifact.config.quantization.keep else artifact.config.scheme] += 1
            if found and first is None:
                first = f"model {model}: {found[0]}"
    return {"seed": seed, **counts, "differences": counts["differences"], "first_difference": first}


def main() -> None:
    """Print the result; exit 1 where anything differed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000, help="in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = soak(arguments.steps, arguments.seed)
    print(json.dumps(result, indent=2))
    sys.exit(result["differences"] > 0)


if __name__ == "__main__":
    main()
