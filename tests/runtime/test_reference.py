"""The float reference against torch, and against the equations written out once more in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import EngineError
from edgegru_runtime.model_config import ConvolutionNode, EmbeddingNode, GruNode
from edgegru_runtime.reference import Reference, log_softmax, sigmoid, softmax
from edgegru_runtime.tensor import Tensor
from tests.builders import TOKENS, changed, mixed_artifact, quantized, random_artifact

STEPS = 300
SIGMOIDS = {
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "hard_sigmoid_5": lambda v: np.minimum(np.maximum(0.2 * v + 0.5, 0), 1),
    "hard_sigmoid_6": lambda v: np.minimum(np.maximum(v + 3, 0), 6) / 6,
}


def stream_states(artifact: Artifact, x: np.ndarray, dtype: type = np.float32) -> tuple[np.ndarray, list[np.ndarray]]:
    """Outputs (T, output_size) and the states after each step, (T, H) a layer."""
    engine = Reference(artifact, dtype)
    state = engine.new_state()
    outputs, states = [], []
    for sample in x:
        outputs.append(engine.step(state, sample)[0])
        states.append([h.copy() for h in state])
    return np.array(outputs), [np.array(layer) for layer in zip(*states, strict=True)]


def inputs(artifact: Artifact, steps: int = STEPS) -> np.ndarray:
    rng = np.random.default_rng(7)
    mean, std = artifact.array("standardise.mean"), artifact.array("standardise.std")
    return (rng.normal(0, 1.5, (steps, len(mean))) * std + mean).astype(np.float32)


def torch_gru(artifact: Artifact) -> torch.nn.GRU:
    nodes = artifact.config.state_nodes
    gru = torch.nn.GRU(nodes[0].input_size, nodes[0].hidden_size, len(nodes), bias=nodes[0].bias)
    with torch.no_grad():
        for layer, node in enumerate(nodes):
            for name in ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if node.bias else ())):
                getattr(gru, f"{name}_l{layer}").copy_(torch.from_numpy(artifact.array(f"{node.name}.{name}").copy()))
    return gru


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("input_size", "hidden_size"), [(1, 3), (2, 9), (5, 16), (13, 65)])
def test_equals_torch(input_size: int, hidden_size: int, layers: int, bias: bool) -> None:
    artifact = random_artifact(layers, input_size, (hidden_size,) * layers, bias=bias)
    x = inputs(artifact)
    outputs, states = stream_states(artifact, x)
    standardised = (x - artifact.array("standardise.mean")) / artifact.array("standardise.std")
    with torch.no_grad():
        h, _ = torch_gru(artifact)(torch.from_numpy(standardised))
        bias_values = torch.from_numpy(artifact.array("dense.bias").copy()) if bias else None
        y = torch.softmax(torch.nn.functional.linear(h, torch.tensor(artifact.array("dense.weight")), bias_values), -1)
    np.testing.assert_allclose(states[-1], h.numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(outputs, y.numpy(), rtol=0, atol=1e-6)


CANDIDATES = {"tanh": np.tanh, "relu": lambda v: np.maximum(v, 0), "linear": lambda v: v, **SIGMOIDS}


def gru_by_hand(p: dict[str, np.ndarray], node: GruNode, reset: str, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """One step, gate by gate, in float64; ``p``: W_ir, b_ir, W_hr, b_hr, … as in the equations."""
    gate, candidate = SIGMOIDS[node.gate_activation], CANDIDATES[node.candidate_activation]
    r = gate(p["W_ir"] @ x + p["b_ir"] + p["W_hr"] @ h + p["b_hr"])
    z = gate(p["W_iz"] @ x + p["b_iz"] + p["W_hz"] @ h + p["b_hz"])
    if reset == "after":
        n = candidate(p["W_in"] @ x + p["b_in"] + r * (p["W_hn"] @ h + p["b_hn"]))
    else:
        n = candidate(p["W_in"] @ x + p["b_in"] + p["W_hn"] @ (r * h) + p["b_hn"])
    return (1 - z) * n + z * h


def states_by_hand(artifact: Artifact, x: np.ndarray, reset: str) -> list[np.ndarray]:
    values = (x.astype(np.float64) - artifact.array("standardise.mean")) / artifact.array("standardise.std")
    layers = []
    for node in artifact.config.state_nodes:
        p = {}
        for side, letter in (("ih", "i"), ("hh", "h")):
            weight = artifact.array(f"{node.name}.weight_{side}").astype(np.float64)
            bias = artifact.array(f"{node.name}.bias_{side}").astype(np.float64) if node.bias else np.zeros(len(weight))
            for gate, rows, offsets in zip("rzn", np.split(weight, 3), np.split(bias, 3), strict=True):
                p[f"W_{letter}{gate}"], p[f"b_{letter}{gate}"] = rows, offsets
        h = np.zeros(node.hidden_size)
        sequence = []
        for sample in values:
            h = gru_by_hand(p, node, reset, sample, h)
            sequence.append(h)
        values = np.array(sequence)
        layers.append(values)
    return layers


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gates", SIGMOIDS)
@pytest.mark.parametrize("candidate", CANDIDATES)
@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize(("input_size", "hidden_sizes"), [(1, (3,)), (4, (17,)), (13, (5, 33)), (3, (7, 4, 9))])
def test_equals_the_equations(
    input_size: int, hidden_sizes: tuple[int, ...], reset: str, candidate: str, gates: str, bias: bool
) -> None:
    artifact = random_artifact(3, input_size, hidden_sizes, reset=reset, candidate=candidate, gates=gates, bias=bias)
    x = inputs(artifact)
    by_hand = states_by_hand(artifact, x, reset)
    for found, expected in zip(stream_states(artifact, x, np.float64)[1], by_hand, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * max(1, np.abs(expected).max()))
    moved = states_by_hand(artifact, x * (1 + 2.0**-23), reset)  # what tanh would damp goes on through the state
    for found, expected, other in zip(stream_states(artifact, x)[1], by_hand, moved, strict=True):
        assert found.dtype == np.float32
        atol = 1e-6 * max(1, np.abs(expected).max())
        if candidate != "tanh":  # as often as there are roundings of that size in a step
            atol = max(atol, 8 * np.abs(other - expected).max())
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("candidate", CANDIDATES)
@pytest.mark.parametrize("reset", ["after", "before"])
def test_these_models_tell_the_formulations_apart(reset: str, candidate: str) -> None:
    artifact = random_artifact(3, 4, (17,), reset=reset, candidate=candidate)
    x = inputs(artifact)
    flipped = states_by_hand(artifact, x, "before" if reset == "after" else "after")
    assert np.abs(stream_states(artifact, x)[1][0] - flipped[0]).max() > 0.01


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh", *SIGMOIDS])
@pytest.mark.parametrize("head", ["softmax", "sigmoid", "identity"])
def test_linear_layers_and_heads(activation: str, head: str) -> None:
    shape = {"input_linear": (6, activation), "hidden_linear": (5, activation), "head": head}
    artifact = random_artifact(1, 3, (8,), **shape)
    seen: dict[str, np.ndarray] = {}
    engine = Reference(artifact, np.float64, trace=seen.__setitem__)
    y = engine.step(engine.new_state(), inputs(artifact, 1)[0])[0]

    functions = {"linear": lambda v: v, "relu": lambda v: v * (v > 0), "tanh": np.tanh, **SIGMOIDS}
    for name, source in (("input0", "standardise"), ("hidden0", "gru0")):
        weight, bias = (artifact.array(f"{name}.{kind}").astype(np.float64) for kind in ("weight", "bias"))
        np.testing.assert_allclose(seen[name], functions[activation](weight @ seen[source] + bias), rtol=0, atol=1e-12)
    heads = {"softmax": lambda v: np.exp(v) / np.exp(v).sum(), "sigmoid": SIGMOIDS["sigmoid"], "identity": lambda v: v}
    np.testing.assert_allclose(y, heads[head](seen["dense"]), rtol=0, atol=1e-12)


def test_a_model_of_tokens_equals_torch() -> None:
    artifact = mixed_artifact(1, 3, 8, **TOKENS)
    seen: dict[str, np.ndarray] = {}
    engine = Reference(artifact, np.float64, trace=seen.__setitem__)
    y = engine.step(engine.new_state(), [3.0])[0]
    np.testing.assert_allclose(y, torch.log_softmax(torch.from_numpy(seen["dense"]), -1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.exp(y).sum(), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (2, 1), (3, 2), (4, 3)])
def test_a_convolution_equals_torch_over_the_sequence(kernel_size: int, dilation: int) -> None:
    artifact = mixed_artifact(2, 3, 5, kernel_size=kernel_size, dilation=dilation, convolution="tanh")
    node = artifact.config.node("conv0")
    assert isinstance(node, ConvolutionNode)
    x, seen = inputs(artifact, 30), []
    engine = Reference(artifact, trace=lambda name, value: seen.append(value) if name == "conv0" else None)
    state = engine.new_state()
    for sample in x:
        engine.step(state, sample)
    layer = torch.nn.Conv1d(3, 5, kernel_size, dilation=dilation)
    standardised = (x - artifact.array("standardise.mean")) / artifact.array("standardise.std")
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(artifact.array("conv0.weight").transpose(0, 2, 1).copy()))
        layer.bias.copy_(torch.from_numpy(artifact.array("conv0.bias").copy()))
        past = torch.nn.functional.pad(torch.from_numpy(standardised.T.copy()), (node.frames, 0))
        expected = torch.tanh(layer(past[None])[0].T)
    np.testing.assert_allclose(np.array(seen), expected.numpy(), rtol=0, atol=1e-6)


def test_an_embedding_gives_rows_of_its_table_and_the_nearest_beyond() -> None:
    artifact = mixed_artifact(2, 3, 5, embedding=True)
    node = artifact.config.node("embedding")
    assert isinstance(node, EmbeddingNode)
    table, seen = artifact.array("embedding.weight"), []
    engine = Reference(artifact, trace=lambda name, value: seen.append(value) if name == "embedding" else None)
    state = engine.new_state()
    wanted = {0.0: 0, 0.49: 0, 0.5: 1, 7.0: 7, -3.0: 0, 1e9: node.num_embeddings - 1}
    for x in wanted:
        engine.step(state, [x])
    assert [value.tolist() for value in seen] == [table[row].tolist() for row in wanted.values()]


def test_sums_products_and_concatenations() -> None:
    artifact = mixed_artifact(4)
    seen: dict[str, np.ndarray] = {}
    engine = Reference(artifact, np.float64, trace=seen.__setitem__)
    engine.step(engine.new_state(), inputs(artifact, 1)[0])
    assert seen["both"].tolist() == [*seen["gru0"], *seen["standardise"]]
    np.testing.assert_array_equal(seen["sum"], seen["hidden0"] + seen["gru0"])
    np.testing.assert_array_equal(seen["product"], seen["sum"] * seen["gate"])


@pytest.mark.parametrize("reset", ["after", "before"])
def test_dynamic_products_are_those_of_rounded_vectors(reset: str) -> None:
    """Every product of dynamic-w8 by hand: a vector's largest magnitude becomes 127."""
    artifact = quantized(random_artifact(1, 3, (7,), reset=reset, head="identity"), "dynamic-w8")
    scales = {m: artifact.array(f"{m}_scale").astype(np.float64) for m in ("gru0.weight_ih", "gru0.weight_hh")}

    def product(matrix: str, v: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
        step = np.max(np.abs(v)) / 127 or 1.0
        weight = artifact.array(matrix).astype(np.float64) * scales[matrix][:, None]
        return weight[rows] @ (np.rint(v / step) * step)

    seen: dict[str, np.ndarray] = {}
    engine = Reference(artifact, np.float64, trace=seen.__setitem__)
    state, h = engine.new_state(), np.zeros(7)
    b_ih, b_hh = artifact.array("gru0.bias_ih"), artifact.array("gru0.bias_hh")
    for x in inputs(artifact, 20):
        engine.step(state, x)
        ih = product("gru0.weight_ih", seen["standardise"]) + b_ih
        r, z = SIGMOIDS["sigmoid"](ih[:14] + product("gru0.weight_hh", h, slice(0, 14)) + b_hh[:14]).reshape(2, 7)
        inner = h if reset == "after" else r * h
        hn = product("gru0.weight_hh", inner, slice(14, None)) + b_hh[14:]
        n = np.tanh(ih[14:] + (r * hn if reset == "after" else hn))
        h = (1 - z) * n + z * h
        np.testing.assert_allclose(state[0], h, rtol=0, atol=1e-10)


def test_trace_sees_every_node_and_the_reset_state() -> None:
    artifact = random_artifact(0, 3, (5, 4), reset="before")
    seen: list[tuple[str, int]] = []
    engine = Reference(artifact, trace=lambda name, value: seen.append((name, len(value))))
    engine.step(engine.new_state(), [0.0, 0.0, 0.0])
    nodes = ("gru0.rh", 5), ("gru0", 5), ("gru1.rh", 4), ("gru1", 4)
    assert seen == [("standardise", 3), *nodes, ("dense", 4), ("output", 4)]


def test_traced_reset_state_is_r_times_h() -> None:
    artifact = random_artifact(0, 3, (5,), reset="before")
    seen: dict[str, np.ndarray] = {}
    engine = Reference(artifact, np.float64, trace=seen.__setitem__)
    state = engine.new_state()
    for x in inputs(artifact, 3):
        h = state[0].copy()
        engine.step(state, x)
    rows = slice(0, 5)
    ih = artifact.array("gru0.weight_ih")[rows] @ seen["standardise"] + artifact.array("gru0.bias_ih")[rows]
    hh = artifact.array("gru0.weight_hh")[rows] @ h + artifact.array("gru0.bias_hh")[rows]
    np.testing.assert_allclose(seen["gru0.rh"], SIGMOIDS["sigmoid"](ih + hh) * h, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_and_softmax_do_not_overflow(dtype: type) -> None:
    value = np.array([-1e30, -200, 0, 200, 1e30], dtype)
    assert sigmoid(value).tolist() == [0, 0, 0.5, 1, 1]
    assert softmax(value).tolist() == [0, 0, 0, 0, 1]
    assert log_softmax(value[-2:]).tolist() == [value[-2] - value[-1], 0]


def test_values_outside_float32_are_refused_and_the_state_kept() -> None:
    artifact = random_artifact(0, 3, (5,))
    huge = np.full((15, 3), 3e38, np.float32)
    huge[:, 1] = -3e38
    tensors = {**artifact.tensors, "gru0.weight_ih": Tensor.from_numpy(huge)}
    engine = Reference(Artifact(changed(artifact.config), tensors))
    state = engine.new_state()
    with pytest.raises(EngineError, match="gru0: a value left the range of float32"):
        engine.step(state, [1e9, 1e9, 0])
    assert not state[0].any()
