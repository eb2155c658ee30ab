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
from tests.builders import (
    TOKENS,
    mixed_artifact,
    random_artifact,
    random_config,
    random_floats,
    with_initial_states,
    with_log_mel,
)

FOLDER = Path(__file__).parent / "integer"
STEPS = 40
W8A8, W8A16 = "static-w8a8", "static-w8a16"
CASES: dict[str, tuple[Artifact, str, dict[str, str]]] = {  # the float model, the scheme, and what is kept at another
    "after_softmax": (random_artifact(0, 6, (9,)), W8A8, {}),
    "before_softmax": (random_artifact(1, 3, (8,), reset="before"), W8A8, {}),
    "two_layers_sigmoid": (random_artifact(2, 1, (5, 7), head="sigmoid"), W8A8, {}),
    "linear_identity": (
        random_artifact(
            3, 4, (6,), reset="before", head="identity", bias=False, input_linear=(5, "relu"), hidden_linear=(3, "tanh")
        ),
        W8A8,
        {},
    ),
    "values_with_offset": (random_artifact(4, 2, (7,), head="identity"), W8A8, {}),
    "sixteen_bits_after": (random_artifact(5, 6, (9,)), W8A16, {}),
    "sixteen_bits_before": (random_artifact(6, 3, (8,), reset="before", head="identity"), W8A16, {}),
    "relu_after": (random_artifact(7, 3, (8,), candidate="relu", head="identity"), W8A8, {}),
    "relu_before": (random_artifact(8, 3, (8,), candidate="relu", reset="before"), W8A16, {}),
    "linear_after": (random_artifact(9, 3, (8,), candidate="linear"), W8A16, {}),
    "linear_before": (random_artifact(10, 3, (8,), candidate="linear", reset="before", head="sigmoid"), W8A8, {}),
    "every_node": (mixed_artifact(11, head="identity"), W8A8, {}),
    "every_node_at_sixteen_bits": (mixed_artifact(12, reset="before", candidate="relu"), W8A16, {}),
    "every_node_kept_apart": (mixed_artifact(13, convolution="tanh"), W8A8, {"gru0": W8A16, "conv0": W8A16}),
    "embedding": (mixed_artifact(14, embedding=True, head="sigmoid"), W8A8, {"embedding": W8A16}),
    "initial_state": (random_floats(with_initial_states(random_config(3, (6, 5), candidate="linear")), 15), W8A8, {}),
    "hard_gates_after": (
        random_artifact(
            15, 3, (8,), gates="hard_sigmoid_6", candidate="hard_sigmoid_5", hidden_linear=(4, "hard_sigmoid_5")
        ),
        W8A8,
        {},
    ),
    "every_node_hard": (
        mixed_artifact(16, reset="before", gates="hard_sigmoid_5", candidate="linear", convolution="hard_sigmoid_6"),
        W8A16,
        {"conv0": W8A8},
    ),
    "sigmoid_candidate": (random_artifact(17, 3, (8,), reset="before", candidate="sigmoid"), W8A8, {}),
    "log_mel": (random_floats(with_log_mel(random_config(5, (8,)), 20, 50, 64), 18), W8A8, {"standardise": W8A16}),
    "log_mel_without_overlap": (
        random_floats(with_log_mel(random_config(4, (7,)), 33, 31, 32, 32768.0), 19), W8A16, {},
    ),
    "tokens": (mixed_artifact(20, **TOKENS), W8A8, {}),
}


def inputs(artifact: Artifact, seed: int) -> np.ndarray:
    """Samples (STEPS, input_size) like the data, the last of them far outside the calibrated range."""
    rng = np.random.default_rng(seed)
    front_end = artifact.config.front_end
    if front_end is not None:  # sound, louder and quieter, at last far beyond full scale
        loudness = front_end.full_scale * 2.0 ** rng.uniform(-14, -3, (STEPS, 1))
        loudness[-5:] *= 1e4
        return (rng.normal(0, 1, (STEPS, front_end.input_size)) * loudness).astype(np.float32)
    if "standardise.mean" not in artifact.tensors:  # an embedding: rows of its table, then beyond it
        return np.concatenate([rng.integers(0, 12, (STEPS - 5, 1)), [[-1], [12], [-1e9], [1e9], [3.4]]]).astype("f4")
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
        states.append([int(value) for numbers in state.numbers for value in numbers])
    return {
        "x": [[float(value) for value in sample] for sample in x],
        "states": states,
        "outputs": outputs,
        "clipped": engine.clipped(state),
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for seed, (name, (source, scheme, keep)) in enumerate(CASES.items()):
        x = inputs(source, seed)
        quantized = quantize_artifact(source, calibrate(source, [x[:-5]]), scheme=scheme, keep=keep)
        save_artifact(quantized, FOLDER / f"{name}.safetensors")
        content = vector(read_artifact(FOLDER / f"{name}.safetensors"), x)
        (FOLDER / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
