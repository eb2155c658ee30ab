"""docs/time-and-gaps.md: its commands give what it shows, and it names every counter and constant as the code does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgegru_export.saving import save_artifact
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.conditioning import ON_GAP, ON_NAN
from edgegru_runtime.counters import NAMES
from edgegru_runtime.model_config import (
    ElementwiseNode,
    GruNode,
    HeadNode,
    InputConfig,
    LinearNode,
    ModelConfig,
    OutputConfig,
    StandardiseNode,
)
from edgegru_runtime.timeline import MAX_FILLED, RATE_INTERVALS, RATE_TOLERANCE, STRAYS_BELIEVED, TIME_UNITS
from tests.builders import from_arrays

DOCUMENT = (Path(__file__).parents[2] / "docs" / "time-and-gaps.md").read_text()
EXAMPLES = re.findall(r"```console\n\$ (.*)\n((?:.*\n)*?)```\n(?:\n```json\n(.*)\n```)?", DOCUMENT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``model.safetensors`` and ``blocks.safetensors`` give back their one channel, at 10 Hz."""
    made = tmp_path_factory.mktemp("document")
    save_artifact(giving_back(1), made / "model.safetensors")
    save_artifact(giving_back(3), made / "blocks.safetensors")
    return made


def giving_back(samples: int) -> Artifact:
    """A model that gives back the samples of its step."""
    nodes = (
        StandardiseNode("standardise", ("x",), samples),
        GruNode("gru", ("standardise",), samples, samples),  # all its weights are 0, and so is its h
        ElementwiseNode("sum", ("standardise", "gru"), samples, "add"),
        LinearNode("dense", ("sum",), samples, samples),
        HeadNode("output", ("dense",), samples, "identity"),
    )
    output = OutputConfig("output", "step_value", tuple(f"sample {i}" for i in range(samples)))
    config = ModelConfig("float32", "", InputConfig(1, ("c0",), ("",), 10.0, samples), nodes, (output,))
    wide = (3 * samples, samples)
    shapes = {"weight_ih": wide, "weight_hh": wide, "bias_ih": 3 * samples, "bias_hh": 3 * samples}
    arrays = {f"gru.{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    arrays |= {"standardise.mean": np.zeros(samples, np.float32), "standardise.std": np.ones(samples, np.float32)}
    arrays |= {"dense.weight": np.eye(samples, dtype=np.float32), "dense.bias": np.zeros(samples, np.float32)}
    return from_arrays(config, arrays)


@pytest.mark.parametrize(("command", "output", "counted"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_commands_give_what_is_shown(folder: Path, command: str, output: str, counted: str) -> None:
    command = command.replace("python", sys.executable)
    finished = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, cwd=folder)
    assert finished.stdout == output
    if counted:
        (line,) = finished.stderr.splitlines()
        found = {name: count for name, count in json.loads(line).items() if count}
        assert json.dumps(found) == counted
    else:
        assert finished.stderr == ""


def test_every_option_has_an_example() -> None:
    commands = " ".join(command for command, _, _ in EXAMPLES)
    for option in ("--max-gap", "--on-gap", "--on-nan", "--resample", "--rate", "--time-unit", "--counters"):
        assert f" {option}" in commands
    assert len(EXAMPLES) == len(re.findall("```console", DOCUMENT))


def test_the_tables_name_everything_in_order() -> None:
    rows = re.findall(r"^\| `(\w+)`(?: \(default\))? \| .* \|$", DOCUMENT, re.MULTILINE)
    assert rows == [*ON_GAP, *ON_NAN, *NAMES]
    assert all(f"`{unit}`" in DOCUMENT for unit in TIME_UNITS)


def test_constants_are_those_of_the_code() -> None:
    assert DOCUMENT.count(f"{MAX_FILLED:,} steps") == 2
    assert f"first {RATE_INTERVALS} distances" in DOCUMENT
    assert f"more than {RATE_TOLERANCE:.0%}\noff" in DOCUMENT
    assert (STRAYS_BELIEVED, "the sixteenth record" in DOCUMENT) == (16, True)
