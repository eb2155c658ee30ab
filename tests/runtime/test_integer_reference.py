"""The integer reference against docs/quantization.md written a second time, in plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru_export.stimulus import gaussian_input, jumping_input
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import QuantizationConfig
from tests.builders import (
    TOKENS,
    changed,
    from_arrays,
    mixed_artifact,
    mixed_config,
    quantized,
    random_integer_artifact,
    random_integers,
    with_full_scale,
)
from tests.runtime.document_arithmetic import Document


def _inputs(steps: int, size: int, spread: float = 8.0) -> np.ndarray:
    return np.random.default_rng(7).normal(0, spread, (steps, size)).astype(np.float32)


def _trajectory(artifact: Artifact, x: np.ndarray) -> tuple[list, list, int]:
    """Every output, every state, and the number of clipped inputs."""
    engine = IntegerReference(artifact)
    state = engine.new_state()
    outputs, states = [], []
    for sample in x:
        outputs.append(engine.step(state, sample))
        states.append([numbers.tolist() for numbers in state.numbers])
    return outputs, states, engine.clipped(state)


def _document(artifact: Artifact, x: np.ndarray, flip_reset: bool = False) -> tuple[list, list, int]:
    document = Document(artifact, flip_reset)
    outputs, states = [], []
    for sample in x:
        outputs.append(document.step(sample.tolist()))
        states.append([document.state[node.name] for node in artifact.config.state_nodes])
    return outputs, states, document.clipped


_SCHEMES = st.sampled_from(["static-w8a8", "static-w8a16"])
_SIGMOIDS = ("sigmoid", "hard_sigmoid_5", "hard_sigmoid_6")
_GATES = st.sampled_from(_SIGMOIDS)
_CANDIDATES = st.sampled_from(["tanh", "relu", "linear", *_SIGMOIDS])
_RESETS = st.sampled_from(["after", "before"])
_HEADS = st.sampled_from(["softmax", "sigmoid", "identity"])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    sizes=st.tuples(st.integers(1, 13), st.integers(1, 17)),
    scheme=_SCHEMES,
    gates=_GATES,
    candidate=_CANDIDATES,
    reset=_RESETS,
    bias=st.booleans(),
    head=_HEADS,
    spread=st.sampled_from([1.0, 8.0, 1e6]),
)
def test_every_bit_of_a_gru_equals_the_document(
    seed: int,
    sizes: tuple[int, int],
    scheme: str,
    gates: str,
    candidate: str,
    reset: str,
    bias: bool,
    head: str,
    spread: float,
) -> None:
    input_size, hidden_size = sizes
    shape = {"reset": reset, "bias": bias, "gates": gates, "candidate": candidate, "head": head}
    artifact = random_integer_artifact(seed, input_size, (hidden_size,), scheme=scheme, **shape)
    x = _inputs(10, input_size, spread)
    assert _trajectory(artifact, x) == _document(artifact, x)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    scheme=_SCHEMES,
    kept=st.sets(st.sampled_from(["conv0", "gru0", "hidden0", "first", "sum", "gate"])),
    gates=_GATES,
    candidate=_CANDIDATES,
    reset=_RESETS,
    head=_HEADS,
    embedding=st.booleans(),
    tokens=st.booleans(),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    convolution=st.sampled_from(["linear", "relu", "tanh", *_SIGMOIDS]),
)
def test_every_bit_of_every_kind_of_node_equals_the_document(
    seed: int,
    scheme: str,
    kept: set[str],
    gates: str,
    candidate: str,
    reset: str,
    head: str,
    embedding: bool,
    tokens: bool,
    kernel: tuple[int, int],
    convolution: str,
) -> None:
    config = mixed_config(
        3,
        5,
        reset=reset,
        gates=gates,
        candidate=candidate,
        kernel_size=kernel[0],
        dilation=kernel[1],
        convolution=convolution,
        **(TOKENS if embedding and tokens else {"head": head, "embedding": embedding}),
    )
    other = {"static-w8a8": "static-w8a16", "static-w8a16": "static-w8a8"}[scheme]
    keep = {config.nodes[0].name if name == "first" else name: other for name in kept}
    artifact = random_integers(config, seed, scheme, keep)
    x = _inputs(10, config.input.size)
    assert _trajectory(artifact, x) == _document(artifact, x)


@pytest.mark.parametrize("scheme", ["static-w8a8", "static-w8a16"])
@pytest.mark.parametrize("candidate", ["tanh", "relu", "linear"])
@pytest.mark.parametrize("reset", ["after", "before"])
def test_the_comparison_can_tell_the_formulations_apart(reset: str, candidate: str, scheme: str) -> None:
    shape = {"reset": reset, "bias": False, "candidate": candidate}
    artifact = random_integer_artifact(3, 4, (9,), scheme=scheme, **shape)
    x = _inputs(12, 4)
    assert _trajectory(artifact, x)[1] != _document(artifact, x, flip_reset=True)[1]


@pytest.mark.parametrize("scheme", ["static-w8a8", "static-w8a16"])
def test_quantized_models_equal_the_document_far_outside_their_range(scheme: str) -> None:
    for index, candidate in enumerate(("tanh", "relu", "linear")):
        artifact = quantized(mixed_artifact(index, candidate=candidate, head="identity"), scheme)
        x = np.concatenate([gaussian_input(artifact, 20), jumping_input(artifact, 30)])
        found = _trajectory(artifact, x)
        assert found == _document(artifact, x)
        assert found[2] > 0


@pytest.mark.parametrize("candidate", ["relu", "linear"])
@pytest.mark.parametrize("reset", ["after", "before"])
def test_an_unbounded_state_saturates_at_64_times_its_full_scale(reset: str, candidate: str) -> None:
    artifact = random_integer_artifact(5, 6, (16,), reset=reset, candidate=candidate)
    engine = IntegerReference(with_full_scale(artifact, 1e-3))
    state = engine.new_state()
    for sample in _inputs(300, 6, 1e6):
        engine.step(state, sample)
    assert np.max(np.abs(state.numbers[0])) == 2**30


@pytest.mark.parametrize("reset", ["after", "before"])
def test_the_state_stays_in_range_under_saturation(reset: str) -> None:
    artifact = random_integer_artifact(5, 6, (16,), reset=reset)
    engine = IntegerReference(artifact)
    state = engine.new_state()
    for sample in _inputs(300, 6, 1e6):
        outputs = engine.step(state, sample)
        assert np.max(np.abs(state.numbers[0])) <= 2**24
        assert np.all(np.isfinite(outputs[0]))
    assert engine.clipped(state) > 0


def test_inputs_beyond_float32_products_saturate_without_a_warning() -> None:
    engine = IntegerReference(random_integer_artifact(1, 2))
    state = engine.new_state()
    engine.step(state, np.array([3e38, -3e38], np.float32))
    assert engine.clipped(state) == 2


def test_state_bytes_round_trip() -> None:
    engine = IntegerReference(random_integer_artifact(2, 3, (4, 5)))
    state, other = engine.new_state(), engine.new_state()
    for sample in _inputs(20, 3):
        engine.step(state, sample)
    engine.load_state(other, engine.state_arrays(state))
    assert [h.tolist() for h in other.numbers] == [h.tolist() for h in state.numbers]


@pytest.mark.parametrize("target", [1.0, 0.5, 0.1, 0.0, -0.1, -0.5, -1.0])
@pytest.mark.parametrize("time_constant", [16, 128, 512])
def test_slow_units_reach_their_target(target: float, time_constant: int) -> None:
    """A unit with 1 − z = 1/τ, n = the target: ends within .002 of full scale (15 bits stop .008 short)."""
    logit = float(np.log(time_constant - 1))
    candidate = float(np.arctanh(np.clip(target, -0.99999, 0.99999)))
    artifact = random_integer_artifact(0, 1, (1,), output_size=1, head="identity")
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    for name in ("gru0.weight_ih", "gru0.weight_hh", "gru0.bias_hn"):
        arrays[name][...] = 0
    arrays["gru0.weight_ih_scale"][...] = 2.0**-20
    scale = 4 / 127 * 2.0**-20
    arrays["gru0.bias_ih"][...] = [0, round(logit / scale), round(candidate / scale)]
    arrays["gru0.bias_ih"] = arrays["gru0.bias_ih"].astype(np.int32)
    slow = from_arrays(
        changed(artifact.config, quantization=QuantizationConfig({"standardise": 4 / 127, "gru0": 1 / 127})), arrays
    )
    engine = IntegerReference(slow)
    state = engine.new_state()
    state.numbers[0][...] = -(2**23) if target > 0 else 2**23
    for _ in range(8 * time_constant):
        engine.step(state, np.zeros(1, np.float32))
    assert abs(state.numbers[0][0] / 2**24 - target) < 0.002


def test_scales_beyond_the_arithmetic_are_refused_by_name() -> None:
    artifact = random_integer_artifact(0)
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["gru0.weight_ih_scale"][...] = 1e20
    with pytest.raises(ArtifactError, match="gru0"):
        IntegerReference(from_arrays(artifact.config, arrays))
