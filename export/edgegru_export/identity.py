"""The identity of a model: SHA-256 over everything that decides its numbers, and nothing else.

Two artifacts with the same identity compute the same outputs from the same inputs and may exchange states. Labels,
names of channels, decisions, data and provenance do not count. docs/format.md describes the bytes that are hashed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from edgegru_runtime.artifact import Artifact
from edgegru_runtime.config_json import dump_json, node_to_json
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.tensor import Tensor


def compute_identity(config: ModelConfig, tensors: Mapping[str, Tensor]) -> str:
    """The identity as 64 lower-case hexadecimal digits; the field ``config.identity`` itself is not looked at."""
    names = sorted(tensors)
    header = {
        "input_size": config.input.step_size,
        "keep": {} if config.quantization is None else config.quantization.keep,
        "nodes": [node_to_json(node) for node in config.nodes],
        "operand_scale": _scales(config),
        "scheme": config.scheme,
        "tensors": [[name, tensors[name].dtype, list(tensors[name].shape)] for name in names],
    }
    digest = hashlib.sha256(b"edgegru\n" + dump_json(header).encode() + b"\n")
    for name in names:
        digest.update(tensors[name].data)
    return digest.hexdigest()


def verify_identity(artifact: Artifact) -> None:
    """Raise ``ArtifactError`` unless an artifact's identity is that of its contents."""
    computed = compute_identity(artifact.config, artifact.tensors)
    if artifact.config.identity != computed:
        raise ArtifactError(
            f"identity is {artifact.config.identity[:12]}…; expected {computed[:12]}… from the model's contents"
        )


def _scales(config: ModelConfig) -> dict[str, float]:
    if config.quantization is None:
        return {}
    return {name: float(scale) for name, scale in config.quantization.operand_scale.items()}
