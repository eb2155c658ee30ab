"""Make the committed integer vectors: small quantized artifacts, inputs, and every state and output they give.

Run from the repository's root: ``python -m tests.golden.make_integer_vectors``. The files change only with the
arithmetic, and then every engine changes with them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgegru.calibration import calibrate
from edgegru.quantization import quantize_artifact
from edgegru_export.saving import save_artifact
from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.integer_reference import IntegerReference
from tests.builders import random_artifact

FOLDER = Path(__file__).parent / "integer"
STEPS = 40
CASES = {
    "after_softmax": {"input_size": 6, "hidden_sizes": (9,), "reset": "after", "head": "softmax"},
    "before_softmax": {"input_size": 3, "hidden_sizes": (8,), "reset": "before", "head": "softmax"},
    "two_layers_sigmoid": {"input_size": 1, "hidden_sizes": (5, 7), "reset": "after", "head": "sigmoid"},
    "linear_identity": {
        "input_size": 4,
        "hidden_sizes": (6,),
        "reset": "before",
        "head": "identity",
        "bias": False,
        "input_linear": (5, "relu"),
        "hidden_linear": (3, "tanh"),
    },
    "values_with_offset": {"input_size": 2, "hidden_sizes": (7,), "reset": "after", "head": "identity"},
}


def inputs(artifact: Artifact, seed: int) -> np.ndarray:
    """Samples (STEPS, input_size) like the data, the last of them far outside the calibrated range."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(0, 0.3, (STEPS, artifact.config.input.size)), axis=0)
    x[-5:] *= 50
    return (x * artifact.array("standardise.std") + artifact.array("standardise.mean")).astype(np.float32)


def vector(artifact: Artifact, x: np.ndarray) -> dict[str, object]:
    """The inputs and what the reference gives: states as integers, outputs as exact decimal floats."""
    engine = IntegerReference(artifact)
    state = engine.new_state()
    states, outputs = [], []
    for sample in x:
        outputs.append(engine.step(state, sample)[0])
        states.append([int(value) for h in state.h for value in h])
    return {
        "x": [[float(value) for value in sample] for sample in x],
        "states": states,
        "outputs": outputs,
        "clipped": engine.clipped(state),
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for seed, (name, shape) in enumerate(CASES.items()):
        source = random_artifact(seed, **shape)
        x = inputs(source, seed)
        save_artifact(quantize_artifact(source, calibrate(source, [x[:-5]])), FOLDER / f"{name}.safetensors")
        content = vector(read_artifact(FOLDER / f"{name}.safetensors"), x)
        (FOLDER / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
