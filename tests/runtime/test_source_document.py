"""docs/sources.md: its commands and its Python run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from edgegru_export.saving import save_artifact
from edgegru_runtime.sources.opening import _KINDS
from edgegru_runtime.sources.sockets import CONNECT_SECONDS, MAX_PEERS
from edgegru_runtime.sources.source import Waits
from tests.builders import (
    TOKENS,
    changed,
    in_blocks,
    mixed_config,
    random_artifact,
    random_config,
    random_floats,
    with_tokenizer,
)

DOCUMENT = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
COMMANDS = re.findall(r"^\$ (.*)$", DOCUMENT, re.MULTILINE)


@pytest.fixture(autouse=True)
def _model_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_artifact(random_artifact(0, 3, (5,)), tmp_path / "model.safetensors")
    text = changed(with_tokenizer(mixed_config(**TOKENS)))
    save_artifact(random_floats(text, 0), tmp_path / "text.safetensors")
    sound = in_blocks(random_config(160, rate=8000), 160)
    save_artifact(random_floats(sound, 0), tmp_path / "sound.safetensors")
    with wave.open(str(tmp_path / "hello.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 200))
    monkeypatch.chdir(tmp_path)


def test_there_are_commands() -> None:
    assert len(COMMANDS) == 9


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_in_the_document_run(command: str) -> None:
    command = command.replace("python", sys.executable)
    finished = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert [json.loads(line)["i"] for line in finished.stdout.splitlines()] == [0]


def test_python_in_the_document_runs(capsys: pytest.CaptureFixture[str]) -> None:
    Path("log.csv").write_text("c0,c1,c2\n1,2,3\n")
    (block,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    exec(block, {})
    assert capsys.readouterr().out.startswith("2 Record(x=[1.0, 2.0, 3.0], t=None")


def test_every_kind_of_input_is_in_the_table() -> None:
    table = DOCUMENT.partition("## Lines")[0]
    assert [kind for kind in _KINDS if f"`{kind}" not in table] == []


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"up to {MAX_PEERS} clients" in DOCUMENT
    assert f"does not answer within {CONNECT_SECONDS:g} s" in DOCUMENT
    assert f"after {Waits.FIRST:g} s, then after twice as long\n  each time, up to {Waits.LONGEST:g} s" in DOCUMENT
