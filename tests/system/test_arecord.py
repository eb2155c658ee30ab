"""Sound through arecord's pipe: ALSA plays a file in place of a microphone, and the model hears what the file has."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from edgegru_export.saving import save_artifact
from tests.builders import random_config, random_integers, with_log_mel

pytestmark = pytest.mark.skipif(shutil.which("arecord") is None, reason="Debian package alsa-utils")

LISTEN = Path(__file__).resolve().parents[2] / "examples" / "spoken_digits" / "listen.py"
SOURCE = "pcm.played {{ type file slave.pcm null file /dev/null infile {} format raw }}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.safetensors, sound.wav, and asound.conf that gives the sound to who records from ``played``."""
    folder = tmp_path_factory.mktemp("sound")
    noise = (np.random.default_rng(0).standard_normal(8000) * np.linspace(0, 8000, 8000)).astype("<i2").tobytes()
    (folder / "sound.raw").write_bytes(noise)
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(noise)
    (folder / "asound.conf").write_text(SOURCE.format(folder / "sound.raw"))
    config = with_log_mel(random_config(5), 100, 200, 256, 32768.0)
    save_artifact(random_integers(config, 0), folder / "model.safetensors")
    return folder


def recorded(folder: Path, kind: str, command: list[str]) -> str:
    """What a command prints that reads a second of sound from arecord."""
    settings = {"ALSA_CONFIG_PATH": f"/usr/share/alsa/alsa.conf:{folder / 'asound.conf'}"}
    arecord = ["arecord", "-q", "-D", "played", "-t", kind, "-f", "S16_LE", "-r", "8000", "-d", "1", "-"]
    with subprocess.Popen(arecord, stdout=subprocess.PIPE, env=settings) as microphone:
        finished = subprocess.run(command, stdin=microphone.stdout, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize(("kind", "format"), [("wav", "wav"), ("raw", "s16le")])
def test_a_run_hears_what_the_file_has(folder: Path, kind: str, format: str) -> None:
    run = [sys.executable, "-m", "edgegru_runtime", "run", str(folder / "model.safetensors")]
    expected = subprocess.run([*run, str(folder / "sound.wav")], capture_output=True, text=True, check=True).stdout
    steps = [json.loads(line)["probs"] for line in expected.splitlines()]
    heard = recorded(folder, kind, [*run, "-", "--format", format])  # a raw pipe tells no rate, so its steps no time
    assert [json.loads(line)["probs"] for line in heard.splitlines()] == steps and len(steps) == 80


def test_the_program_of_the_digits_hears_what_the_file_has(folder: Path) -> None:
    listen = [sys.executable, str(LISTEN), str(folder / "model.safetensors")]
    expected = subprocess.run([*listen, str(folder / "sound.wav")], capture_output=True, text=True, check=True).stdout
    assert expected and recorded(folder, "wav", [*listen, "-"]) == expected
