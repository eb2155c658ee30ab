"""What an exported file says about itself, and the names of its inputs and outputs: one rule for all formats.

The metadata is one JSON string under the key ``edgegru``: the artifact's configuration, plus a section ``export``
(docs/export.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgegru_runtime.artifact import Artifact
from edgegru_runtime.config_json import config_to_json, dump_json
from edgegru_runtime.container import METADATA_KEY
from edgegru_runtime.front_end import behind_front_end
from edgegru_runtime.log_mel_tables import table_tensors
from edgegru_runtime.model_config import GruNode, ModelConfig, StandardiseNode

__all__ = [
    "METADATA_KEY",
    "export_section",
    "metadata_json",
    "output_names",
    "state_input_names",
    "state_output_names",
]


def state_input_names(config: ModelConfig) -> tuple[str, ...]:
    """``h0``, ``h1``, …: the states that go in, one a state node, in execution order."""
    return tuple(f"h{index}" for index in range(len(config.state_nodes)))


def state_output_names(config: ModelConfig) -> tuple[str, ...]:
    """``h0_next``, ``h1_next``, …: the states that come out, in the same order."""
    return tuple(f"{name}_next" for name in state_input_names(config))


def output_names(config: ModelConfig) -> tuple[str, ...]:
    """``y``, then ``y1``, ``y2``, …: the outputs in declared order."""
    return tuple("y" if index == 0 else f"y{index}" for index in range(len(config.outputs)))


def export_section(
    artifact: Artifact,
    *,
    format: str,
    form: str = "step",
    state: str = "io",
    state_dtype: str,
    shifts: Sequence[int] | None = None,
) -> dict[str, Any]:
    """How the file is to be driven.

    ``format``: "onnx" or "tflite"; ``form``: "step" or "sequence"; ``state``: "io" (inputs and outputs) or "variables"
    (inside the file); ``state_dtype``: "float32", "int32" (as in the integer reference), "int16" or "int8"; ``shifts``:
    by how many bits the numbers of each state are coarser than the reference's. The shape of a state is that of one
    stream, and ``initial`` what it begins with, in the numbers of a saved state, where a GRU has an h0. Mean and std
    are written down for readers: the standardisation itself happens inside the graph. A front end does not: its tables
    are here for whoever drives the file, whose input is the feature.
    """
    config = behind_front_end(artifact.config)
    names = zip(config.state_nodes, state_input_names(config), state_output_names(config), strict=True)
    first = config.nodes[0]
    section: dict[str, Any] = {
        "format": format,
        "form": form,
        "state": state,
        "state_dtype": state_dtype,
        "states": [
            {"input": before, "output": after, "node": node.name, "shape": [1, node.state_size]}
            for node, before, after in names
        ],
    }
    for entry, shift in zip(section["states"], shifts or (), strict=shifts is not None):
        entry["shift"] = shift
    for entry, node in zip(section["states"], config.state_nodes, strict=True):
        if isinstance(node, GruNode) and node.initial_state:
            entry["initial"] = artifact.initial_state(node).tolist()
    front_end = artifact.config.front_end
    if front_end is not None:
        section["front_end"] = {
            name: artifact.array(f"{front_end.name}.{name}").tolist()
            for name in table_tensors(front_end, artifact.config.static)
        }
    if isinstance(first, StandardiseNode):
        section["standardise"] = {field: artifact.array(f"{first.name}.{field}").tolist() for field in ("mean", "std")}
    return section


def metadata_json(artifact: Artifact, section: dict[str, Any]) -> str:
    """The compact JSON string to embed: same model, same bytes. ``section``: from ``export_section``."""
    document = {**config_to_json(artifact.config), "export": section}
    return dump_json(document)
