"""Saving: what is written is read back equal, the same content gives the same bytes, nothing is half written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_export.identity import compute_identity, verify_identity
from edgegru_export.saving import artifact_bytes, save_artifact, with_identity, write_atomically
from edgegru_runtime.artifact import Artifact, parse_artifact, read_artifact
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.model_config import DecisionConfig, InputConfig, QuantizationConfig
from edgegru_runtime.tensor import Tensor
from tests.builders import changed, from_arrays, random_artifact, random_integer_artifact

SHAPES = {
    "input_size": st.integers(1, 6),
    "hidden_sizes": st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple),
    "output_size": st.integers(1, 5),
    "reset": st.sampled_from(["after", "before"]),
    "bias": st.booleans(),
    "head": st.sampled_from(["softmax", "sigmoid", "identity"]),
    "input_linear": st.none() | st.tuples(st.integers(1, 5), st.sampled_from(["linear", "relu", "tanh", "sigmoid"])),
    "hidden_linear": st.none() | st.tuples(st.integers(1, 5), st.sampled_from(["linear", "relu", "tanh", "sigmoid"])),
    "rate": st.none() | st.floats(0.01, 1e5),
}
ARTIFACTS = st.builds(random_artifact, st.integers(0, 9), **SHAPES) | st.builds(
    random_integer_artifact, st.integers(0, 9), **SHAPES
)


def content(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (tensor.dtype, tuple(tensor.shape), bytes(tensor.data)) for name, tensor in tensors.items()}


@given(ARTIFACTS)
def test_round_trip(artifact: Artifact) -> None:
    data = artifact_bytes(artifact)
    back = parse_artifact(data)
    assert back.config == artifact.config
    assert content(back.tensors) == content(artifact.tensors)
    assert artifact_bytes(back) == data
    verify_identity(back)


def test_same_content_same_bytes() -> None:
    first = random_artifact(3)
    shuffled = dict(reversed(list(first.tensors.items())))
    second = changed(
        first.config, input=replace(first.config.input, rate=50), provenance={"b": 1, "a": {"d": 1, "c": 2}}
    )
    third = changed(first.config, provenance={"a": {"c": 2, "d": 1}, "b": 1})
    assert artifact_bytes(Artifact(second, shuffled)) == artifact_bytes(Artifact(third, first.tensors))


def test_identity_counts_what_decides_the_numbers() -> None:
    artifact = random_integer_artifact()
    config, tensors = artifact.config, artifact.tensors
    assert config.quantization is not None
    scales = config.quantization.operand_scale
    arrays = {name: np.array(artifact.array(name)) for name in tensors}
    arrays["gru0.weight_hh"][0, 0] ^= 1
    nodes = tuple(replace(node, reset="before") if node.kind == "gru" else node for node in config.nodes)  # type: ignore[call-arg]  # a gru
    others = [
        from_arrays(config, arrays),
        Artifact(changed(config, nodes=nodes), tensors),
        Artifact(changed(config, scheme="float32"), tensors),
        Artifact(changed(config, quantization=QuantizationConfig(scales | {"gru0": 0.5})), tensors),
        Artifact(changed(config, quantization=None), tensors),
    ]
    identities = {compute_identity(other.config, other.tensors) for other in others}
    assert len(identities) == len(others)
    assert config.identity not in identities


def test_identity_ignores_names_and_descriptions() -> None:
    artifact = random_integer_artifact()
    config = artifact.config
    assert config.quantization is not None
    other = changed(
        config,
        input=InputConfig(3, ("a", "b", "c"), ("g", "g", "g"), 10.0),
        outputs=(replace(config.outputs[0], labels=("w", "x", "y", "z")),),
        decision=DecisionConfig(warm_up=5),
        quantization=replace(config.quantization, observer="percentile", margin=2.0),
        data={"format": "csv"},
        provenance={"seed": 4},
    )
    assert compute_identity(other, artifact.tensors) == config.identity


def test_an_empty_identity_is_filled_in(tmp_path: Path) -> None:
    artifact = random_artifact()
    unnamed = replace(artifact, config=replace(artifact.config, identity=""))
    save_artifact(unnamed, tmp_path / "m")
    assert read_artifact(tmp_path / "m").config.identity == artifact.config.identity
    assert with_identity(unnamed).config == artifact.config


def test_a_foreign_identity_is_refused(tmp_path: Path) -> None:
    artifact = random_artifact(0)
    foreign = replace(artifact, config=replace(artifact.config, identity=random_artifact(1).config.identity))
    with pytest.raises(ArtifactError, match=r"identity is [0-9a-f]{12}…; expected none or [0-9a-f]{12}…"):
        save_artifact(foreign, tmp_path / "m")
    with pytest.raises(ArtifactError, match=r"expected .* from the model's contents"):
        verify_identity(foreign)
    assert not list(tmp_path.iterdir())


def invalid_artifacts() -> dict[str, tuple[Artifact, str]]:
    artifact = random_artifact()
    config = artifact.config
    arrays = {name: artifact.array(name) for name in artifact.tensors}
    nan = np.full((4,), np.nan, np.float32)
    return {
        "missing tensor": (from_arrays(config, {"standardise.mean": nan}), "has no tensor"),
        "NaN": (from_arrays(config, arrays | {"dense.bias": nan}), "holds nan at index 0"),
        "NumPy number": (
            from_arrays(changed(config, provenance={"f1": np.float32(1)}), arrays),
            "cannot be written as JSON",
        ),
        "NaN metric": (
            from_arrays(changed(config, provenance={"loss": float("nan")}), arrays),
            "cannot be written as JSON",
        ),
        "control character": (from_arrays(changed(config, provenance={"by": "a\nb"}), arrays), "provenance.by is 'a"),
        "wrong label count": (
            from_arrays(changed(config, outputs=(replace(config.outputs[0], labels=("a",)),)), arrays),
            "has 1 labels; expected the 4",
        ),
        "header too large": (
            from_arrays(changed(config, provenance={"text": "a" * 2**20}), arrays),
            "announces a header of",
        ),
    }


@pytest.mark.parametrize("what", invalid_artifacts())
def test_an_invalid_artifact_is_not_written(what: str, tmp_path: Path) -> None:
    artifact, fragment = invalid_artifacts()[what]
    path = tmp_path / "m"
    path.write_bytes(b"before")
    with pytest.raises(ArtifactError) as caught:
        save_artifact(artifact, path)
    assert str(caught.value).startswith(f"{path}: ")
    assert fragment in str(caught.value)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "m"
    save_artifact(random_artifact(0), path)
    save_artifact(random_artifact(1), path)
    assert path.read_bytes() == artifact_bytes(random_artifact(1))
    assert list(tmp_path.iterdir()) == [path]


def test_failure_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match="m: cannot be written: No space left on device"):
        save_artifact(random_artifact(), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_interruption_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "m", b"data")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "fragment"),
    [("nowhere/m", "No such file or directory"), (".", "not a regular file"), ("/dev/null", "not a regular file")],
)
def test_places_that_cannot_be_written(path: str, fragment: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"cannot be written: .*{fragment}"):
        save_artifact(random_artifact(), tmp_path / path)


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "m", b"data")
    finally:
        os.umask(before)
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o640
