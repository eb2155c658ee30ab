"""The front end of an exported file, whose own input is the feature: what its metadata says about it.

It has the node and its tables (docs/front-ends.md); ``front_end_engine`` puts both together again.
"""

from __future__ import annotations

import struct

from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.log_mel_tables import check_tables, table_tensors
from edgegru_runtime.model_config import InputConfig, LogMelNode, ModelConfig, StandardiseNode
from edgegru_runtime.strict_json import shown
from edgegru_runtime.tensor import Tensor

OUTSIDE = "a front end stays outside of what is exported"
_FORMATS = {"float32": "f", "int16": "h", "int32": "i"}


def behind_front_end(config: ModelConfig) -> ModelConfig:
    """The model whose input is the feature; a model without a front end itself."""
    front_end = config.front_end
    if front_end is None:
        return config
    from dataclasses import replace  # slow to import, and few models have a front end

    bands = tuple(f"{front_end.name}[{band}]" for band in range(front_end.output_size))
    entry = config.entry
    assert isinstance(entry, StandardiseNode)
    return replace(
        config,
        input=InputConfig(len(bands), bands, ("",) * len(bands), config.input.step_rate),
        nodes=(replace(entry, inputs=("x",)), *config.nodes[2:]),
    )


def parse_tables(node: LogMelNode, static: bool, tables: object) -> dict[str, Tensor]:
    """The tensors of a node, by name behind the dot, from lists of numbers in the metadata. Raises ArtifactError."""
    expected = table_tensors(node, static)
    if not isinstance(tables, dict) or tables.keys() != expected.keys():
        raise ArtifactError(f"the metadata's export.front_end is {shown(tables)}; expected {', '.join(expected)}")
    result = {}
    for name, (dtype, shape) in expected.items():
        numbers = tables[name]
        if not isinstance(numbers, list) or len(numbers) != shape[0]:
            raise ArtifactError(f"the metadata's export.front_end.{name} has not the {shape[0]} numbers of its node")
        kinds = (int, float) if dtype == "float32" else int
        if not all(isinstance(number, kinds) and not isinstance(number, bool) for number in numbers):
            raise ArtifactError(f"the metadata's export.front_end.{name} holds more than numbers of {dtype}")
        try:
            result[name] = Tensor(dtype, shape, struct.pack(f"<{len(numbers)}{_FORMATS[dtype]}", *numbers))
        except (struct.error, OverflowError):
            raise ArtifactError(f"the metadata's export.front_end.{name} holds a number beyond {dtype}") from None
    check_tables(node, tables, static)
    return result
