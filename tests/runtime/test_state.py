"""Saved states: what is written comes back, and nothing else is taken for it."""

from __future__ import annotations

import struct
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime import Model, StateError
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.state import SavedState, pack_state, state_size, unpack_state
from tests.builders import mixed_artifact, quantized, random_artifact, random_integer_artifact

FLOAT = random_artifact(0, 3, (5, 4))
INTEGER = random_integer_artifact(0, 3, (5, 4))
HEADER = 64


def some_state(artifact: Artifact) -> bytes:
    stream = Model(artifact).stream()
    stream.run(np.random.default_rng(0).normal(0, 3, (20, 3)))
    return stream.state


def sealed(body: bytes) -> bytes:
    return body + struct.pack("<I", crc32(body))


@pytest.mark.parametrize("artifact", [FLOAT, INTEGER], ids=["float32", "static-w8a8"])
def test_layout_is_the_documented_one(artifact: Artifact) -> None:
    stream = Model(artifact).stream()
    stream.run([[1e30, 0, 0], [0, 0, 0]])
    data = stream.state
    assert len(data) == state_size(artifact.config) == HEADER + 4 * 9 + 4
    magic, version, length, identity, steps, clipped = struct.unpack_from("<8sII32sQQ", data)
    assert (magic, version, length, steps) == (b"EGRUSTAT", 1, 36, 2)
    assert identity.hex() == artifact.config.identity
    assert clipped == stream.clipped >= 1
    h = np.frombuffer(data[HEADER:-4], "<f4" if artifact is FLOAT else "<i4")
    assert len(h) == 9
    assert h.any()
    assert sealed(data[:-4]) == data


@given(
    st.lists(st.floats(-1, 1, width=32), min_size=9, max_size=9),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
)
def test_round_trip(values: list[float], steps: int, clipped: int) -> None:
    saved = SavedState([struct.pack("<5f", *values[:5]), struct.pack("<4f", *values[5:])], steps, clipped)
    assert unpack_state(FLOAT.config, pack_state(FLOAT.config, saved)) == saved


@pytest.mark.parametrize("artifact", [FLOAT, INTEGER], ids=["float32", "static-w8a8"])
@given(data=st.data())
def test_no_damage_goes_unnoticed(artifact: Artifact, data: st.DataObject) -> None:
    good = some_state(artifact)
    kind = data.draw(st.sampled_from(["flip", "cut", "longer", "noise"]))
    if kind == "flip":
        bad = bytearray(good)
        bad[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        bad = bytearray(good[: data.draw(st.integers(0, len(good) - 1))])
    elif kind == "longer":
        bad = bytearray(good + data.draw(st.binary(min_size=1, max_size=64)))
    else:
        bad = bytearray(data.draw(st.binary(max_size=200)))
    with pytest.raises(StateError):
        unpack_state(artifact.config, bytes(bad))


@pytest.mark.parametrize(
    ("artifact", "value"),
    [(FLOAT, v) for v in (float("nan"), float("inf"), -float("inf"), 1.001, -3e38)]
    + [(INTEGER, v) for v in (2**24 + 1, -(2**24) - 1, -(2**31), 2**31 - 1)],
)
def test_values_that_no_stream_reaches(artifact: Artifact, value: float) -> None:
    data = some_state(artifact)
    forged = data[:HEADER] + struct.pack("<f" if artifact is FLOAT else "<i", value) + data[HEADER + 4 : -4]
    with pytest.raises(StateError, match=r"gru0 has a value that is not in \[-1, 1\]"):
        unpack_state(artifact.config, sealed(forged))


@pytest.mark.parametrize("scheme", ["float32", "static-w8a8", "static-w8a16", "dynamic-w8"])
def test_states_of_convolutions_and_unbounded_units(scheme: str) -> None:
    real = mixed_artifact(3, candidate="relu", kernel_size=3, dilation=2)
    artifact = real if scheme == "float32" else quantized(real, scheme)
    x = np.random.default_rng(1).normal(0, 4, (40, 3))
    whole, first, second = (Model(artifact).stream() for _ in range(3))
    expected = np.asarray(whole.run(x))
    first.run(x[:17])
    second.state = first.state
    assert np.asarray(second.run(x[17:])).tobytes() == expected[17:].tobytes()
    assert second.state == whole.state
    assert len(whole.state) == HEADER + 4 * (4 * 3 + 5) + 4
    if scheme.startswith("static"):
        limit = 127 if scheme == "static-w8a8" else 32767
        for place, beyond in ((0, limit + 1), (12, 2**30 + 1)):
            at = HEADER + 4 * place
            forged = whole.state[:at] + struct.pack("<i", beyond) + whole.state[at + 4 : -4]
            with pytest.raises(StateError, match=rf"has a value that is not in \[-{beyond - 1}, {beyond - 1}\]"):
                unpack_state(artifact.config, sealed(forged))


def test_each_refusal_says_why() -> None:
    good, config = some_state(FLOAT), FLOAT.config
    with pytest.raises(StateError, match="are no saved state, expected 104"):
        unpack_state(config, b"")
    with pytest.raises(StateError, match="has version 2, expected 1"):
        unpack_state(config, sealed(good[:8] + struct.pack("<I", 2) + good[12:-4]))
    with pytest.raises(StateError, match=f"belongs to the model {INTEGER.config.identity[:12]}"):
        unpack_state(config, some_state(INTEGER))
    with pytest.raises(StateError, match="has 103 bytes, expected 104: it is torn"):
        unpack_state(config, good[:-1])
    with pytest.raises(StateError, match="does not have the checksum"):
        unpack_state(config, good[:-1] + bytes([good[-1] ^ 1]))


@pytest.mark.parametrize("artifact", [FLOAT, INTEGER], ids=["float32", "static-w8a8"])
def test_a_refused_state_changes_nothing(artifact: Artifact) -> None:
    stream = Model(artifact).stream()
    stream.run([[1, 2, 3], [2e20, 0, 1]])
    before = stream.state
    for bad in (b"", before[:-1], some_state(INTEGER if artifact is FLOAT else FLOAT)):
        with pytest.raises(StateError):
            stream.state = bad
        assert stream.state == before
        assert (stream.steps, stream.clipped) == (2, struct.unpack_from("<Q", before, 56)[0])


@pytest.mark.parametrize("artifact", [FLOAT, INTEGER], ids=["float32", "static-w8a8"])
def test_a_restored_stream_goes_on_in_every_bit(artifact: Artifact) -> None:
    x = np.random.default_rng(1).normal(0, 4, (40, 3))
    whole, first, second = (Model(artifact).stream() for _ in range(3))
    expected = np.asarray(whole.run(x))
    first.run(x[:17])
    second.state = first.state
    assert np.asarray(second.run(x[17:])).tobytes() == expected[17:].tobytes()
    assert second.state == whole.state
    assert (second.steps, second.clipped) == (40, whole.clipped)
