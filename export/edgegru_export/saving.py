"""Writing artifacts: the same content gives the same bytes, and a file is there complete or not at all."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from pathlib import Path

import safetensors.numpy

from edgegru_export.identity import compute_identity
from edgegru_runtime.artifact import Artifact, parse_artifact
from edgegru_runtime.config_json import config_to_json, dump_json, parse_config_text
from edgegru_runtime.container import METADATA_KEY
from edgegru_runtime.errors import ArtifactError


def with_identity(artifact: Artifact) -> Artifact:
    """The same artifact with the identity of its contents."""
    identity = compute_identity(artifact.config, artifact.tensors)
    return replace(artifact, config=replace(artifact.config, identity=identity))


def artifact_bytes(artifact: Artifact) -> bytes:
    """The file of an artifact; an empty identity is filled in.

    Raises ``ArtifactError`` for an artifact that the reader would refuse, or whose identity is not that of its
    contents.
    """
    complete = with_identity(artifact)
    if artifact.config.identity not in ("", complete.config.identity):
        raise ArtifactError(
            f"identity is {artifact.config.identity[:12]}…; expected none or {complete.config.identity[:12]}…"
        )
    # Through the parser once: an invalid field is named, and equal numbers (50 and 50.0) become the same text.
    config = parse_config_text(dump_json(config_to_json(complete.config)))
    arrays = {name: tensor.to_numpy() for name, tensor in artifact.tensors.items()}
    data = safetensors.numpy.save(arrays, {METADATA_KEY: dump_json(config_to_json(config))})
    parse_artifact(data)  # what is written is what can be read
    return data


def save_artifact(artifact: Artifact, path: str | os.PathLike[str]) -> None:
    """Write an artifact, replacing a file of that name; a failure leaves what was there before.

    Raises ``ArtifactError`` like ``artifact_bytes``, and where nothing can be written.
    """
    try:
        write_atomically(path, artifact_bytes(artifact))
    except ArtifactError as error:
        raise ArtifactError(f"{os.fspath(path)}: {error}") from None
    except OSError as error:
        raise ArtifactError(f"{os.fspath(path)}: cannot be written: {error.strerror}") from None


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` beside ``path`` and rename it into place; OSError leaves no trace."""
    target = Path(path)
    if target.exists() and not target.is_file():  # never replace /dev/null or a folder by a file
        raise FileExistsError(17, "exists and is not a regular file", str(target))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:  # an interruption too
        temporary.unlink(missing_ok=True)
        raise
