"""docs/format.md is true: its example is a configuration, its identity is right, its reader reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from edgegru_export.saving import save_artifact
from edgegru_runtime import config_json, container
from edgegru_runtime.artifact import Artifact, check, expected_tensors
from edgegru_runtime.config_json import config_to_json, parse_config
from edgegru_runtime.model_config import ACTIVATIONS, GATE_ACTIVATIONS, SCHEMES, TARGETS
from tests.builders import from_arrays, random_integer_artifact

TEXT = (Path(__file__).parents[2] / "docs" / "format.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def example() -> dict[str, Any]:
    return next(value for value in map(json.loads, blocks("json")) if "format_version" in value)


def example_artifact() -> Artifact:
    config = parse_config(example())
    arrays = {
        name: (np.ones if name == "standardise.std" else np.zeros)(shape, dtype)
        for name, (dtype, shape) in expected_tensors(config).items()
    }
    return from_arrays(config, arrays)


def test_example_is_a_valid_configuration() -> None:
    artifact = example_artifact()
    check(artifact.config, artifact.tensors)
    assert config_to_json(artifact.config) == example()


def test_identity_of_the_example() -> None:
    assert re.findall(r"[0-9a-f]{64}", TEXT) == [example_artifact().config.identity] * 2


def test_limits_and_choices() -> None:
    for number in (container.MAX_FILE_BYTES, container.MAX_HEADER_BYTES):
        assert f"{number:,} bytes" in TEXT or f"at most {number:,}" in TEXT
    assert f"from 1 to {config_json.MAX_SIZE}" in TEXT
    assert f"1 to {config_json.MAX_NODES} nodes" in TEXT
    assert f"1 to {config_json.MAX_OUTPUTS} outputs" in TEXT
    assert f"at most {config_json.MAX_TEXT} characters" in TEXT
    assert f"at most {config_json.MAX_DEPTH} levels" in TEXT
    for choice in (*SCHEMES, *ACTIVATIONS, *GATE_ACTIVATIONS, *TARGETS, *config_json.HEAD_KINDS):
        assert f"`{choice}`" in TEXT


def test_the_reader_reads(tmp_path: Path) -> None:
    artifact = random_integer_artifact(0, 2, (3,), head="identity")
    save_artifact(artifact, tmp_path / "m")
    names: dict[str, Any] = {}
    exec(blocks("python")[0], names)
    config, tensors = names["read"](tmp_path / "m")
    assert parse_config(config) == artifact.config
    assert set(tensors) == set(artifact.tensors)
    for name, (shape, values) in tensors.items():
        np.testing.assert_array_equal(np.reshape(values, shape), artifact.array(name))
