"""docs/field.md: its Python runs, its command runs, its options and signals are those of the command."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edgegru_export.saving import save_artifact
from edgegru_runtime.running import SYNCHRONISED_EVERY
from tests.builders import random_artifact

DOCUMENT = (Path(__file__).parents[2] / "docs" / "field.md").read_text()


@pytest.fixture(autouse=True)
def _model_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_artifact(random_artifact(0, 3, (5,)), tmp_path / "model.safetensors")
    (tmp_path / "pump.csv").write_text("c0,c1,c2\n1,2,3\n4,5,6\n")
    monkeypatch.chdir(tmp_path)


def test_python_in_the_document_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    exec(block, {})


def test_the_command_in_the_document_runs() -> None:
    (command,) = re.findall(r"^\$ python (.*)$", DOCUMENT, re.MULTILINE)
    finished = subprocess.run([sys.executable, *shlex.split(command)], capture_output=True, text=True, check=True)
    assert len(finished.stdout.splitlines()) == 2
    assert Path("state").exists()


def test_options_exist() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "edgegru_runtime", "run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    named = set(re.findall(r"`(?:[^`]* )?(--[a-z-]+)", DOCUMENT))
    assert len(named) > 20
    for option in named:
        assert re.search(rf"{option}\b", shown), option


def test_numbers_in_words() -> None:
    assert f"every {SYNCHRONISED_EVERY:g} seconds" in DOCUMENT
