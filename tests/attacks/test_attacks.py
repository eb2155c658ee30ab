"""Every way an artifact can be wrong gives its named error, one sentence, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tests.attacks.broken_decisions
import tests.attacks.broken_models
import tests.attacks.broken_shells
import tests.attacks.broken_sound
import tests.attacks.broken_text  # noqa: F401  # all fill the museum
from edgegru_export.identity import verify_identity
from edgegru_runtime.artifact import parse_artifact, read_artifact
from edgegru_runtime.container import MAX_FILE_BYTES
from edgegru_runtime.errors import ArtifactError, EdgegruError
from tests.attacks.museum import EXHIBITS, GOOD_FLOAT, GOOD_INTEGER, GOOD_INTEGER_AFTER, Exhibit, Parts, container

GOOD = [GOOD_FLOAT, GOOD_INTEGER, GOOD_INTEGER_AFTER]


@pytest.mark.parametrize("data", GOOD)
def test_the_files_that_exhibits_are_made_of_are_good(data: bytes) -> None:
    verify_identity(parse_artifact(data))
    verify_identity(parse_artifact(Parts(data).pack()))


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.name)
def test_exhibit(exhibit: Exhibit, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(exhibit.data())
    with pytest.raises(EdgegruError) as caught:
        read_artifact(path)
    message = str(caught.value)
    assert type(caught.value) is exhibit.error
    assert exhibit.fragment in message
    assert message.startswith(f"{path}: ")
    assert len(message) < len(str(path)) + 300
    assert message.isprintable()


def test_exhibits_have_names_of_their_own() -> None:
    assert len({exhibit.name for exhibit in EXHIBITS}) == len(EXHIBITS)


@pytest.mark.parametrize("data", GOOD)
def test_truncated_at_every_byte(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(ArtifactError):
            parse_artifact(data[:length])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nothing: cannot be read: No such file or directory"):
        read_artifact(tmp_path / "nothing")


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a regular file"):
        read_artifact(tmp_path)


def test_device_and_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe"):
        with pytest.raises(ArtifactError, match="is not a regular file"):
            read_artifact(path)


def test_impossible_file_name() -> None:
    with pytest.raises(ArtifactError, match="is not a possible file name"):
        read_artifact("a\0b")


def test_oversized_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ArtifactError, match=f"expected at most {MAX_FILE_BYTES}"):
        read_artifact(path)


def test_identity_of_other_contents_is_found() -> None:
    parts = Parts(GOOD_FLOAT)
    parts.write("gru0.weight_hh", 0, 0.25)
    artifact = parse_artifact(parts.pack())  # the device only compares identities
    with pytest.raises(
        ArtifactError, match=r"identity is [0-9a-f]{12}…; expected [0-9a-f]{12}… from the model's contents"
    ):
        verify_identity(artifact)


def test_a_name_repeated_among_many_is_found_quickly() -> None:
    names = ",".join(f'"{i}":0' for i in [*range(90_000), 89_999])
    start = time.perf_counter()
    with pytest.raises(ArtifactError, match="header has the name '89999' twice"):
        parse_artifact(container(f"{{{names}}}".encode(), b""))
    assert time.perf_counter() - start < 10  # a comparison of all pairs takes minutes


def complaint(data: bytes) -> str:
    """What the reader says against a file, "" where it is valid; any other exception passes through."""
    try:
        parse_artifact(data)
    except EdgegruError as error:
        return str(error)
    return ""


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A good file after a few bit flips, cuts, splices and overwritten numbers."""
    data = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        what = draw(st.sampled_from(["flip", "cut", "splice", "insert", "text"]))
        if what == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "cut":
            del data[at : at + draw(st.integers(1, 64))]
        elif what == "splice":
            other = draw(st.sampled_from(GOOD))
            start = draw(st.integers(0, len(other)))
            data[at : at + 32] = other[start : start + 32]
        elif what == "insert":
            data[at:at] = draw(st.binary(max_size=16))
        else:  # stays near valid JSON
            replacement = draw(
                st.sampled_from([b"0", b"9", b"-", b"[", b"}", b'"', b"e", b".", b"null", b"true", b"NaN"])
            )
            data[at : at + len(replacement)] = replacement
    return bytes(data)


@given(mutations())
@settings(max_examples=600, deadline=None)
def test_a_mutated_file_is_valid_or_refused(data: bytes) -> None:
    assert complaint(data).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_any_json_in_place_of_any_value(data: st.DataObject) -> None:
    parts = Parts(data.draw(st.sampled_from(GOOD)))
    place = parts.config
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
        if not (isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    assert complaint(parts.pack()).isprintable()
