"""Plans are what docs/plan.md says: read back here by that page alone."""

import struct
from typing import Any

import numpy as np
import pytest

from edgegru_runtime.artifact import Artifact
from edgegru_runtime.plan import make_plan
from tests.builders import (
    TOKENS,
    mixed_artifact,
    normalised,
    quantized,
    random_artifact,
    random_config,
    random_floats,
    random_integer_artifact,
    random_integers,
    with_log_mel,
)

NONE = 0xFFFFFFFF
NAMES = (
    *("standardise", "embedding", "operand", "linear", "taps", "gru"),
    *("add", "multiply", "copy", "softmax", "sigmoid", "identity", "layer_normalisation", "log_mel", "log_softmax"),
)

CODES = ("linear", "relu", "tanh", "sigmoid", "hard_sigmoid_5", "hard_sigmoid_6")  # of activations


def read(plan: bytes) -> tuple[dict[str, Any], list[tuple[int, int]], list[tuple[str, tuple[int, ...]]], bytes]:
    """Header, vectors (kind, size), operations (name, words) and data of a plan."""
    magic, version, total = struct.unpack_from("<8sII", plan)
    assert (magic, version, total) == (b"EGRUPLAN", 1, len(plan))
    fields = ("input_size", "output_size", "scheme", "vectors", "operations", "data")
    header = dict(zip(fields, struct.unpack_from("<6I", plan, 48), strict=True))
    header["identity"] = plan[16:48].hex()
    vectors = [struct.unpack_from("<II", plan, 72 + 8 * i) for i in range(header["vectors"])]
    operations, place = [], 72 + 8 * header["vectors"]
    for i in range(header["operations"]):
        code, *words = struct.unpack_from("<20I", plan, place + 80 * i)
        operations.append((NAMES[code - 1], tuple(words)))
    assert place + 80 * header["operations"] == header["data"]
    return header, vectors, operations, plan[header["data"] :]


def models() -> list[Artifact]:
    mixed = mixed_artifact(hidden_size=6)
    return [
        random_artifact(),
        mixed,
        random_floats(normalised(mixed.config), 0),
        quantized(mixed, "dynamic-w8"),
        quantized(mixed),
        random_floats(with_log_mel(random_config()), 0),
        random_integers(with_log_mel(random_config()), 0),
        random_integers(with_log_mel(random_config(), 20, 20), 0, "static-w8a16"),
        quantized(mixed, "static-w8a16"),
        mixed_artifact(**TOKENS),
        quantized(mixed_artifact(**TOKENS)),
        quantized(mixed_artifact(embedding=True, reset="before", candidate="relu", head="identity")),
        random_integer_artifact(hidden_sizes=(4, 5), hidden_linear=(3, "tanh"), head="sigmoid", octaves=4),
    ]


@pytest.mark.parametrize("model", models(), ids=lambda artifact: artifact.config.scheme)
def test_a_plan_has_the_form_of_the_document(model: Artifact) -> None:
    plan = make_plan(model)
    header, vectors, operations, data = read(plan)
    config = model.config
    assert header["identity"] == config.identity
    assert (header["input_size"], header["scheme"]) == (
        config.input.step_size,
        {"float32": 0, "dynamic-w8": 2}.get(config.scheme, 1),
    )
    assert vectors[0] == (0, config.input.step_size)
    features = {words[1] for name, words in operations if name == "log_mel"}
    floats = {0, *features} if config.static else set(range(len(vectors)))
    assert {index for index, (kind, _) in enumerate(vectors) if kind == 0} == floats
    kinds = [name for name, _ in operations]
    for kind in NAMES:
        if kind in ("operand", "taps", "copy"):
            continue
        expected = sum(node.kind == kind or (kind == "linear" and node.kind == "convolution") for node in config.nodes)
        if kind == "standardise":
            expected += config.static * len(features)  # which makes integers of samples
        assert kinds.count(kind) == expected
    assert len(data) % 4 == 0
    assert plan == make_plan(model)


@pytest.mark.parametrize("model", models(), ids=lambda artifact: artifact.config.scheme)
def test_vectors_are_written_once_before_they_are_read(model: Artifact) -> None:
    _, vectors, operations, _ = read(make_plan(model))
    filled = [0] * len(vectors)
    filled[0] = vectors[0][1]
    for name, words in operations:
        others = {"standardise": words[3:4], "embedding": (), "add": words[:2], "multiply": words[:2]}
        reads = others.get(name, words[:1])
        assert all(filled[vector] == vectors[vector][1] for vector in reads)
        if name == "copy":
            assert filled[words[1]] == words[2]
            filled[words[1]] += vectors[words[0]][1]
        elif name == "gru":
            written = [vector for vector in words[1:3] if vector != NONE]
            assert not any(filled[vector] for vector in written)
            for vector in written:
                filled[vector] = vectors[vector][1]
        elif name == "log_mel":
            assert not any(filled[vector] for vector in words[1:3])
            for vector in words[1:3]:
                filled[vector] = vectors[vector][1]
        elif name not in ("softmax", "log_softmax", "sigmoid", "identity"):
            written = {"standardise": 0, "embedding": 0, "add": 2, "multiply": 2}.get(name, 1)
            assert not filled[words[written]]
            filled[words[written]] = vectors[words[written]][1]
    assert filled == [size for _, size in vectors]


@pytest.mark.parametrize("candidate", CODES)
@pytest.mark.parametrize("gates", CODES[3:])
def test_activations_have_the_codes_of_the_document(gates: str, candidate: str) -> None:
    _, _, operations, _ = read(make_plan(random_artifact(gates=gates, candidate=candidate, hidden_linear=(3, gates))))
    words = dict(operations[:-2])  # the last linear node and the head come after the one that has an activation
    assert words["gru"][4] == CODES.index(candidate) + 8 * (CODES.index(gates) - 3)
    assert words["linear"][2] == CODES.index(gates)


def test_weights_and_biases_are_those_of_the_artifact() -> None:
    model = random_integer_artifact(input_size=3, hidden_sizes=(5,))
    _, _, operations, data = read(make_plan(model))
    words = next(words for name, words in operations if name == "gru")
    weight_ih = np.frombuffer(data, np.int8, 15 * 3, words[5]).reshape(15, 3)
    weight_hh = np.frombuffer(data, np.int8, 15 * 5, words[6]).reshape(15, 5)
    np.testing.assert_array_equal(weight_ih, model.array("gru0.weight_ih"))
    np.testing.assert_array_equal(weight_hh, model.array("gru0.weight_hh"))
    bias_hh = np.frombuffer(data, "<i4", 15, words[8])
    np.testing.assert_array_equal(bias_hh, [*[0] * 10, *model.array("gru0.bias_hn")])
