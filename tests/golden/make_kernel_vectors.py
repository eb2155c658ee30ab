"""Write runtime/c/tests/golden: plans with samples, outputs and saved states of the reference, for the C tests.

    python -m tests.golden.make_kernel_vectors

A file holds two words (bytes of the plan, steps), the plan, samples, outputs, and the state after the last step.
"""

from __future__ import annotations

import struct
from array import array
from pathlib import Path

import numpy as np

from edgegru_export.stimulus import gaussian_input, jumping_input
from edgegru_runtime import Model
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.plan import make_plan
from tests.builders import (
    TOKENS,
    attending_config,
    mixed_artifact,
    mixed_config,
    normalised,
    quantized,
    random_artifact,
    random_config,
    random_floats,
    random_integer_artifact,
    random_integers,
    with_full_scale,
    with_initial_states,
    with_log_mel,
)

FOLDER = Path(__file__).resolve().parents[2] / "runtime" / "c" / "tests" / "golden"
STEPS = 24


def models() -> dict[str, Artifact]:
    """Both schemes, formulations, all gates, all candidates, every kind of node, sizes around those of vectors.

    Narrow: candidates without bounds whose numbers fit the 32 bits of vectors. Far: those of some samples do not.
    """
    return {
        "int8": random_integer_artifact(0, 3, (17,)),
        "int8_before_two_layers": random_integer_artifact(1, 5, (9, 7), reset="before", head="sigmoid"),
        "int8_relu": random_integer_artifact(2, 2, (16,), candidate="relu", head="identity"),
        "int8_extreme": random_integer_artifact(3, 3, (15,), candidate="linear", octaves=4, hidden_linear=(8, "tanh")),
        "int16": random_integer_artifact(4, 3, (33,), scheme="static-w8a16"),
        "int16_before": random_integer_artifact(5, 3, (8,), scheme="static-w8a16", reset="before", candidate="relu"),
        "int16_narrow_relu": quantized(random_artifact(3, 3, (17,), candidate="relu", head="identity"), "static-w8a16"),
        "int16_narrow_linear_before": quantized(
            random_artifact(4, 3, (33,), candidate="linear", reset="before"), "static-w8a16"
        ),
        "int8_far_relu": with_full_scale(random_integer_artifact(5, 6, (17,), candidate="relu", head="identity"), 0.05),
        "int16_far_linear_before": with_full_scale(
            random_integer_artifact(5, 6, (33,), scheme="static-w8a16", reset="before", candidate="linear"), 0.02
        ),
        "int8_hard": random_integer_artifact(6, 3, (17,), gates="hard_sigmoid_5", hidden_linear=(8, "hard_sigmoid_6")),
        "int16_hard_before": random_integer_artifact(
            7, 3, (9,), scheme="static-w8a16", reset="before", gates="hard_sigmoid_6", candidate="relu"
        ),
        "int8_sigmoids": random_integer_artifact(8, 3, (17,), gates="hard_sigmoid_6", candidate="sigmoid"),
        "int8_hard_candidate": random_integer_artifact(9, 3, (9,), reset="before", candidate="hard_sigmoid_5"),
        "int8_every_node": random_integers(mixed_config(hidden_size=9), 19),
        "int8_embedding": random_integers(mixed_config(embedding=True, reset="before", head="identity"), 20),
        "int16_every_node": random_integers(mixed_config(hidden_size=7), 21, "static-w8a16"),
        "int8_initial_state": random_integers(with_initial_states(random_config(3, (17,))), 6),
        "int16_initial_state": random_integers(with_initial_states(mixed_config(candidate="relu")), 7, "static-w8a16"),
        "float": random_artifact(0, 3, (17,)),
        "float_before": random_artifact(1, 3, (9, 7), reset="before", candidate="linear", head="identity"),
        "float_every_node": mixed_artifact(hidden_size=9),
        "float_initial_state": random_floats(with_initial_states(random_config(3, (9, 7), reset="before")), 8),
        "float_hard": random_artifact(2, 3, (17,), gates="hard_sigmoid_6", hidden_linear=(8, "hard_sigmoid_5")),
        "float_every_node_hard": mixed_artifact(
            reset="before", gates="hard_sigmoid_5", candidate="hard_sigmoid_6", convolution="hard_sigmoid_6"
        ),
        "float_normalised": random_floats(normalised(mixed_config(hidden_size=9)), 9),
        "int8_log_mel": random_integers(with_log_mel(random_config(4, (9,)), 6, 20, 32), 10),
        "int16_log_mel_alone": random_integers(
            with_log_mel(random_config(3, (5,)), 8, 8, 8, 32768.0), 11, "static-w8a16"
        ),
        "float_log_mel": random_floats(with_log_mel(random_config(4, (9,)), 6, 20, 32), 12),
        "int8_tokens": random_integers(mixed_config(**TOKENS), 22),
        "int16_tokens": random_integers(mixed_config(**TOKENS), 14, "static-w8a16", octaves=4),
        "float_tokens": mixed_artifact(15, **TOKENS),
        "int8_attention": random_integers(attending_config(), 16),
        "int16_attention": random_integers(attending_config(17, 9, reset="before"), 17, "static-w8a16"),
        "float_attention": random_floats(attending_config(8, 16), 18),
        "dynamic": quantized(mixed_artifact(hidden_size=17), "dynamic-w8"),
    }


def contents(artifact: Artifact) -> bytes:
    """A file, from the reference engine."""
    samples = gaussian_input(artifact, STEPS)
    if artifact.config.static:
        samples = np.concatenate([samples[: STEPS // 2], jumping_input(artifact, STEPS - STEPS // 2)])
    stream, plan = Model(artifact, "reference").stream(), make_plan(artifact)
    node = artifact.config.attention
    for row in range(0 if node is None else 3):  # as golden.h has them
        numbers = [(row * 37 + i * 11) % 17 / 8 - 1 for i in range(node.row_size)]
        stream.remember(numbers[: node.output_size], numbers[node.output_size :])
    outputs = b"".join(array("f", stream.step(sample)).tobytes() for sample in samples)
    return struct.pack("<II", len(plan), STEPS) + plan + samples.astype("<f4").tobytes() + outputs + stream.state


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, artifact in models().items():
        (FOLDER / f"{name}.golden").write_bytes(contents(artifact))


if __name__ == "__main__":
    main()
