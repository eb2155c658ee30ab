"""Attention over remembered rows: the equation, the same bits on every engine, a state that is saved with its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru_runtime import ArtifactError, EngineError, InputError, Model, StateError
from edgegru_runtime._kernel import kernels
from edgegru_runtime.artifact import Artifact, check
from edgegru_runtime.config_json import config_to_json, parse_config
from edgegru_runtime.kernel_engine import KernelEngine
from edgegru_runtime.model_config import STATIC_SCHEMES, AttentionNode
from edgegru_runtime.plan import make_plan
from edgegru_runtime.reference import Reference
from tests.builders import (
    attending_config,
    changed,
    from_arrays,
    random_artifact,
    random_floats,
    random_integers,
    remember,
    rows_for,
)

FLOAT = random_floats(attending_config(), 1)
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65)
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]


def integers(seed: int = 0, scheme: str = "static-w8a8", octaves: float = 0, **shape: Any) -> Artifact:
    return random_integers(attending_config(**shape), seed, scheme, octaves=octaves)


def outputs(model: Model, rows: np.ndarray, tokens: list[int] = TOKENS) -> np.ndarray:
    stream = remember(model.stream(), rows)
    return np.array([stream.step([token]) for token in tokens])


def test_it_is_the_equation() -> None:
    """e = w · tanh(q + k), a = softmax(e), Σ a m, in float64 with nothing of ours."""
    artifact, rows = FLOAT, rows_for(FLOAT, 4)
    seen: dict[str, np.ndarray] = {}
    model = Model(artifact, "reference")
    model.engine = Reference(artifact, np.float64, trace=seen.__setitem__)
    remember(model.stream(), rows).step([2])
    node = artifact.config.attention
    assert node is not None
    values, keys = np.split(rows.astype(np.float64), [node.output_size], axis=1)
    scores = [float(np.dot(artifact.array("attention.weight"), np.tanh(seen["query"] + key))) for key in keys]
    shares = np.exp(scores) / np.sum(np.exp(scores))
    np.testing.assert_allclose(seen["attention.shares"], shares, rtol=1e-12)
    np.testing.assert_allclose(seen["attention"], shares @ values, rtol=1e-12)
    assert np.ptp(shares) > 0.02  # a uniform mean would not pass


def test_rows_that_are_not_there_have_no_share() -> None:
    """Zeros while nothing is remembered; each row only from when it is there; after a reset none."""
    model = Model(FLOAT)
    bare = outputs(model, rows_for(FLOAT, 0))
    assert np.all(np.abs(bare - outputs(model, rows_for(FLOAT, 3)))[:, 0] > 0)
    one = rows_for(FLOAT, 1)  # one row is the whole, whatever its key is
    other = one.copy()
    other[:, 6:] += 1
    np.testing.assert_array_equal(outputs(model, one), outputs(model, other))
    stream = remember(model.stream(), rows_for(FLOAT, 5))
    stream.reset()
    np.testing.assert_array_equal([stream.step([token]) for token in TOKENS], bare)


@pytest.mark.parametrize("instructions", kernels())
@pytest.mark.parametrize("size", SIZES)
def test_float_kernels_equal_the_reference(size: int, instructions: str) -> None:
    artifact = random_floats(attending_config(size, size + 1, size, reset="before" if size % 2 else "after"), size)
    rows = rows_for(artifact, min(size, 9))
    model = Model(artifact, "kernel")
    model.engine = KernelEngine(artifact, instructions)
    expected, found = outputs(Model(artifact, "reference"), rows), outputs(model, rows)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * max(1.0, float(np.max(np.abs(expected)))))


@pytest.mark.parametrize("instructions", kernels())
@pytest.mark.parametrize("scheme", STATIC_SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_integer_kernels_equal_the_reference_in_every_bit(size: int, scheme: str, instructions: str) -> None:
    shape = {"size": size, "values": size + 2, "hidden_size": max(1, size - 1), "length": 12}
    artifact = integers(size, scheme, octaves=size % 3, **shape)
    rows = 3 * rows_for(artifact, size % 12 + 1, size)  # some saturate
    model = Model(artifact, "kernel")
    model.engine = KernelEngine(artifact, instructions)
    streams = [remember(m.stream(), rows) for m in (Model(artifact, "reference"), model)]
    for token in TOKENS * 3:
        expected, found = (stream.step([token]) for stream in streams)
        assert expected == found
    assert streams[0].state == streams[1].state
    assert streams[0].clipped == streams[1].clipped > 0


@given(seed=st.integers(0, 2**32), scheme=st.sampled_from(STATIC_SCHEMES), octaves=st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_any_integers_are_the_same(seed: int, scheme: str, octaves: int) -> None:
    rng = np.random.default_rng(seed)
    shape = {name: int(rng.integers(1, 40)) for name in ("size", "values", "hidden_size", "length")}
    artifact = integers(seed, scheme, octaves, **shape)
    rows = rows_for(artifact, int(rng.integers(0, shape["length"] + 1)), seed) * 2.0 ** rng.integers(-9, 9)
    tokens = rng.integers(0, 12, 6).tolist()
    expected, found = (outputs(Model(artifact, engine), rows, tokens) for engine in ("reference", "kernel"))
    np.testing.assert_array_equal(expected, found)


@pytest.mark.parametrize(
    "artifact", [FLOAT, integers(), integers(scheme="static-w8a16")], ids=["float", "w8a8", "w8a16"]
)
def test_a_state_is_saved_with_its_rows(artifact: Artifact) -> None:
    """In the middle of a sentence, from engine to engine, and more rows can follow."""
    for first, second in (("kernel", "reference"), ("reference", "kernel")):
        stream = remember(Model(artifact, first).stream(), rows_for(artifact, 4))
        for token in TOKENS[:3]:
            stream.step([token])
        moved = Model(artifact, second).stream()
        moved.state = stream.state
        assert moved.state == stream.state
        assert moved.steps == 3
        more = rows_for(artifact, 2, seed=5)
        remember(stream, more)
        remember(moved, more)
        for token in TOKENS[3:]:
            tolerance = 0 if artifact.config.static else 2e-6
            np.testing.assert_allclose(stream.step([token]), moved.step([token]), rtol=0, atol=tolerance)


@pytest.mark.parametrize("engine", ["kernel", "reference"])
def test_streams_copy_each_other(engine: str) -> None:
    model = Model(integers(), engine)
    streams = model.streams(3)
    remember(streams[0], rows_for(integers(), 5))
    streams[0].step([1])
    streams[1].copy_state(streams[0])
    streams[2].copy_state(streams[1])
    streams[2].copy_state(streams[2])
    assert streams[0].state == streams[1].state == streams[2].state
    result = np.asarray(streams.step(np.array([[2.0], [2.0], [3.0]], np.float32)))
    np.testing.assert_array_equal(result[0], result[1])
    assert np.any(result[0] != result[2])
    with pytest.raises(StateError, match="the other stream is of another model; expected one of the same"):
        streams[0].copy_state(Model(integers(1), engine).stream())


@pytest.mark.parametrize("engine", ["kernel", "reference"])
def test_batches_equal_single_streams(engine: str) -> None:
    model = Model(integers(), engine)
    streams = model.streams(7)
    alone = [model.stream() for _ in range(7)]
    for index in range(7):
        for stream in (streams[index], alone[index]):
            remember(stream, rows_for(integers(), index, seed=index))
    for step in range(4):
        xs = [[float((step + index) % 12)] for index in range(7)]
        result = np.asarray(streams.step(xs))
        np.testing.assert_array_equal(result, np.array([s.step(x) for s, x in zip(alone, xs, strict=True)], np.float32))


@pytest.mark.parametrize("engine", ["kernel", "reference"])
def test_rows_that_do_not_fit_are_refused(engine: str) -> None:
    stream = remember(Model(integers(length=2), engine).stream(), rows_for(integers(length=2), 1))
    state = stream.state
    for value, key, message in (
        ([0.0] * 5, [0.0] * 5, "5 values arrived, expected 6"),
        ([0.0] * 6, [0.0] * 4, "4 values arrived, expected 5"),
        ([0.0] * 6, [0.0] * 4 + [float("nan")], r"key\[4\] is nan, expected a finite number"),
        ([float("inf")] + [0.0] * 5, [0.0] * 5, r"value\[0\] is inf, expected a finite number"),
        ("abcdef", [0.0] * 5, "a str arrived"),
    ):
        with pytest.raises(InputError, match=message):
            stream.remember(value, key)
        assert stream.state == state
    stream.remember([0.0] * 6, [0.0] * 5)
    with pytest.raises(InputError, match="remembers .* expected no more than that"):
        stream.remember([0.0] * 6, [0.0] * 5)
    with pytest.raises(InputError, match="the model has no attention, expected one whose streams remember rows"):
        Model(random_artifact(), engine).stream().remember([0.0], [0.0])


@pytest.mark.parametrize("artifact", [FLOAT, integers()], ids=["float", "w8a8"])
@pytest.mark.parametrize("engine", ["kernel", "reference"])
def test_a_saved_state_with_wrong_rows_is_refused(artifact: Artifact, engine: str) -> None:
    """More rows than there is room for, a broken number of rows, numbers behind the last one, a key out of range."""
    from edgegru_runtime.state import SavedState, pack_state

    stream = remember(Model(artifact, engine).stream(), rows_for(artifact, 2))
    numbers = np.frombuffer(stream.state[64:-4], "<i4" if artifact.config.static else "<f4").copy()
    first = 7  # behind h of the first GRU
    assert numbers[first] == 2
    changes = {first: 10, first + 1 + 2 * 11: 1, first + 1 + 6: 32768 if artifact.config.static else np.inf}
    if not artifact.config.static:
        changes[first] = 1.5
    for place, number in changes.items():
        wrong = numbers.copy()
        wrong[place] = number
        with pytest.raises(StateError, match="the saved state of attention has"):
            stream.state = pack_state(artifact.config, SavedState([wrong.tobytes()], 0, 0))
        with pytest.raises(StateError, match="no saved state of this model, or a damaged one"):  # what C says
            Model(artifact, "kernel").stream().load(pack_state(artifact.config, SavedState([wrong.tobytes()], 0, 0)))


def test_one_attention_and_an_encoder_only_with_it() -> None:
    nodes = list(attending_config().nodes)
    second = AttentionNode("more", ("query",), 5, 6)
    config = attending_config()
    with pytest.raises(ArtifactError, match="nodes hold 2 nodes of kind attention; expected one at most"):
        check(changed(config, nodes=(*nodes[:4], second, *nodes[4:])), {})
    bare = random_artifact()
    with pytest.raises(ArtifactError, match="has a field encoder and no attention node"):
        check(changed(bare.config, encoder="a" * 64), bare.tensors)
    huge = AttentionNode("attention", ("query",), 5, 2**12, 2**14)
    with pytest.raises(ArtifactError, match="remembers .* expected at most"):
        check(changed(config, nodes=(*nodes[:3], huge, *nodes[4:])), {})
    assert parse_config(config_to_json(changed(FLOAT.config, identity="b" * 64, encoder="a" * 64))).encoder == "a" * 64


def test_an_accumulator_that_could_overflow_is_refused() -> None:
    artifact = integers(size=600)
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["attention.weight"][:] = 127
    broken = from_arrays(artifact.config, arrays)
    with pytest.raises(ArtifactError, match=r"'attention.weight' lets an accumulator reach"):
        check(broken.config, broken.tensors)


def test_the_plan_is_checked_in_c() -> None:
    """Each word of the operation, made too large, is refused or leaves a model that can be stepped."""
    from edgegru_runtime import _kernel

    artifact = integers()
    plan = bytearray(make_plan(artifact))
    count = int.from_bytes(plan[60:64], "little")
    place = 72 + 8 * count
    while int.from_bytes(plan[place : place + 4], "little") != 16:
        place += 80
    refused = 0
    for word in range(1, 11):
        for number in (0, 2**31, 2**32 - 1, 2**24):
            broken = bytearray(plan)
            broken[place + 4 * word : place + 4 * word + 4] = number.to_bytes(4, "little")
            try:
                _kernel.Model(bytes(broken))
            except EngineError as error:
                refused += "plan" in str(error)
    assert refused > 30
