"""docs/streaming.md: its Python runs, its command runs, and its table is the layout in the code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgegru_export.saving import save_artifact
from edgegru_runtime.state import _HEADER, _MAGIC, STATE_VERSION
from tests.builders import random_artifact

DOCUMENT = (Path(__file__).parents[2] / "docs" / "streaming.md").read_text()


@pytest.fixture(autouse=True)
def _model_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_artifact(random_artifact(0, 3, (5,)), tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)


def test_python_in_the_document_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(blocks) == 4
    exec("\n".join(blocks), {})


def test_the_command_in_the_document_runs() -> None:
    (command,) = re.findall(r"^\$ (.*)$", DOCUMENT, re.MULTILINE)
    command = command.replace("python", sys.executable)
    finished = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert [json.loads(line)["i"] for line in finished.stdout.splitlines()] == [0, 1]


def test_the_table_is_the_layout() -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+|4 · n) \| (.*) \|$", DOCUMENT, re.MULTILINE)
    offsets, sizes = [int(row[0]) for row in rows], [row[1] for row in rows]
    assert offsets == [sum(map(int, sizes[:index])) for index in range(len(rows))]
    assert offsets[-1] == _HEADER.size
    assert rows[0][2] == f"`{_MAGIC.decode()}`"
    assert rows[1][2] == f"version, unsigned: {STATE_VERSION}"
