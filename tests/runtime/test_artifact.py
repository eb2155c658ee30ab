"""Reading artifacts: what a good file gives, and what reading needs. What is refused is in tests/attacks."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgegru_export.saving import artifact_bytes, save_artifact
from edgegru_runtime.artifact import (
    Artifact,
    check,
    expected_tensors,
    parse_artifact,
    read_artifact,
)
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.model_config import GruNode, HeadNode, LinearNode, OutputConfig
from edgegru_runtime.operands import expected_operands, operand_names
from tests.builders import changed, from_arrays, random_artifact, random_config, random_integer_artifact


def test_expected_tensors_of_a_float_model() -> None:
    config = random_config(2, (3,), 4, hidden_linear=(5, "relu"))
    assert expected_tensors(config) == {
        "standardise.mean": ("float32", (2,)),
        "standardise.std": ("float32", (2,)),
        "gru0.weight_ih": ("float32", (9, 2)),
        "gru0.weight_hh": ("float32", (9, 3)),
        "gru0.bias_ih": ("float32", (9,)),
        "gru0.bias_hh": ("float32", (9,)),
        "hidden0.weight": ("float32", (5, 3)),
        "hidden0.bias": ("float32", (5,)),
        "dense.weight": ("float32", (4, 5)),
        "dense.bias": ("float32", (4,)),
    }


INTEGER_GRU = {
    "gru0.weight_ih": ("int8", (9, 2)),
    "gru0.weight_hh": ("int8", (9, 3)),
    "gru0.weight_ih_scale": ("float32", (9,)),
    "gru0.weight_hh_scale": ("float32", (9,)),
}


@pytest.mark.parametrize(
    ("reset", "bias", "extra"),
    [
        ("after", True, {"gru0.bias_ih": ("int32", (9,)), "gru0.bias_hn": ("int32", (3,))}),
        ("before", True, {"gru0.bias_ih": ("int32", (9,))}),
        ("after", False, {}),
        ("before", False, {}),
    ],
)
def test_expected_tensors_of_an_integer_gru(reset: str, bias: bool, extra: dict[str, object]) -> None:
    config = random_integer_artifact(0, 2, (3,), reset=reset, bias=bias).config
    found = {name: what for name, what in expected_tensors(config).items() if name.startswith("gru0.")}
    assert found == INTEGER_GRU | extra


@pytest.mark.parametrize(
    ("head", "activation", "needed"),
    [
        ("identity", "linear", True),
        ("identity", "relu", True),
        ("identity", "tanh", False),
        ("softmax", "linear", False),
    ],
)
def test_only_unbounded_values_that_are_given_out_need_an_output_scale(
    head: str, activation: str, needed: bool
) -> None:
    config = changed(random_config(head=head), scheme="static-w8a8")
    dense = config.node("dense")
    assert isinstance(dense, LinearNode)
    config = replace(config, nodes=(*config.nodes[:-2], replace(dense, activation=activation), config.nodes[-1]))
    assert ("dense.output_scale" in expected_tensors(config)) is needed


def test_expected_operands() -> None:
    after = random_config(2, (3, 3), input_linear=(4, "relu"), hidden_linear=(5, "relu"))
    assert expected_operands(after) == ("standardise", "gru0", "gru1")
    assert operand_names(after) == ("standardise", "input0", "gru0", "gru1", "hidden0")
    bounded = random_config(2, (3, 3), input_linear=(4, "tanh"), hidden_linear=(5, "sigmoid"))
    assert expected_operands(bounded) == ("standardise", "input0", "gru0", "gru1", "hidden0")
    before = random_config(2, (3, 3), reset="before")
    assert expected_operands(before) == ("standardise", "gru0", "gru0.rh", "gru1", "gru1.rh")


def test_several_outputs_from_a_shared_trunk() -> None:
    config = random_config(2, (3,), 4)
    nodes = (
        *config.nodes,
        GruNode("second", ("gru0",), 3, 2),
        LinearNode("line", ("second",), 2, 1),
        HeadNode("value", ("line",), 1, "identity"),
    )
    outputs = (OutputConfig("value", "forecast", ("t+1",), ("V",), 1), *config.outputs)
    config = changed(config, nodes=nodes, outputs=outputs)
    arrays = {name: np.full(shape, 0.5, np.float32) for name, (_, shape) in expected_tensors(config).items()}
    artifact = from_arrays(config, arrays)
    back = parse_artifact(artifact_bytes(artifact))
    assert back.config == artifact.config
    assert [node.name for node in back.config.state_nodes] == ["gru0", "second"]


def test_array_is_a_read_only_view(tmp_path: Path) -> None:
    artifact = random_artifact()
    save_artifact(artifact, tmp_path / "m")
    weights = read_artifact(tmp_path / "m").array("gru0.weight_hh")
    assert weights.shape == (15, 5)
    assert not weights.flags.writeable
    np.testing.assert_array_equal(weights, artifact.array("gru0.weight_hh"))


def test_check_finds_a_tensor_that_does_not_fit_in_memory_too() -> None:
    artifact = random_artifact()
    broken = {name: tensor for name, tensor in artifact.tensors.items() if name != "dense.bias"}
    with pytest.raises(ArtifactError, match=r"has no tensor 'dense\.bias'"):
        check(artifact.config, broken)


def test_largest_bias_that_an_accumulator_takes() -> None:
    artifact = random_integer_artifact(0, 2, (3,), bias=True)
    arrays = {name: np.array(artifact.array(name)) for name in artifact.tensors}
    weights = np.abs(arrays["gru0.weight_ih"].astype(np.int64)).sum(axis=1)
    largest = 2**31 - 1 - 127 * int(weights[4])
    arrays["gru0.bias_ih"][4] = -largest
    check(artifact.config, from_arrays(artifact.config, arrays).tensors)
    arrays["gru0.bias_ih"][4] = -largest - 1
    with pytest.raises(
        ArtifactError, match=r"row 4 of 'gru0\.weight_ih' lets an accumulator reach 2147483648; expected less"
    ):
        check(artifact.config, from_arrays(artifact.config, arrays).tensors)


def test_reading_needs_the_standard_library_only(tmp_path: Path) -> None:
    save_artifact(random_artifact(), tmp_path / "float")
    save_artifact(random_integer_artifact(), tmp_path / "integer")
    code = """
import sys
from edgegru_runtime.artifact import read_artifact
for path in sys.argv[1:]:
    read_artifact(path)
assert not {"numpy", "hashlib", "_hashlib", "safetensors"} & set(sys.modules), sys.modules.keys()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "float"), str(tmp_path / "integer")]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == ""


@pytest.mark.parametrize("make", [random_artifact, random_integer_artifact])
def test_a_large_model_is_checked_quickly(make: type) -> None:
    artifact: Artifact = make(0, 8, (576,))  # a million weights
    data = artifact_bytes(artifact)
    start = time.perf_counter()
    parse_artifact(data)
    assert time.perf_counter() - start < 1  # 15 ms where nothing else runs
