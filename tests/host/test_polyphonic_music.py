"""The recipe of music: its baseline, its MIDI files, its table, and the program that goes on with a piece."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from math import log
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.data import LabelledSequence, prepare
from edgegru.data.config import DataConfig
from edgegru_export.saving import save_artifact
from edgegru_runtime import load
from edgegru_runtime.errors import VerificationError
from tests.builders import random_artifact

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "polyphonic_music"
MODULES = ("run", "chorales", "compose", "markov", "midi")
FRAMES = st.lists(st.sets(st.integers(0, 127), max_size=5), max_size=12)


@pytest.fixture(scope="module")
def music() -> Iterator[dict[str, ModuleType]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        import chorales
        import compose
        import markov
        import midi
        import run

        yield {"run": run, "chorales": chorales, "compose": compose, "markov": markov, "midi": midi}
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("midi") / "piece.mid"


def composed(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE / "compose.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@given(frames=FRAMES, quarters=st.sampled_from((0.25, 0.5, 1.0, 2.0)))
def test_a_piece_is_read_back(
    music: dict[str, ModuleType], file: Path, frames: list[set[int]], quarters: float
) -> None:
    music["midi"].write(file, frames, quarters)
    assert music["midi"].read(file, quarters) == frames


def test_the_bytes_are_those_of_the_standard(music: dict[str, ModuleType], tmp_path: Path) -> None:
    music["midi"].write(tmp_path / "piece.mid", [{60, 64}, {64}, set()], quarters=1.0, tempo=120.0)
    track = (
        "00 ff5103 07a120"  # a quarter note is 500,000 µs
        "00 903c40 00 904040"  # C and E
        "8360 803c40"  # 480 ticks later C ends
        "8360 804040"
        "8360 ff2f00"
    )
    data = bytes.fromhex(track)
    head = b"MThd" + bytes.fromhex("00000006 0000 0001 01e0")
    assert (tmp_path / "piece.mid").read_bytes() == head + b"MTrk" + len(data).to_bytes(4, "big") + data


def test_files_of_others_are_read(music: dict[str, ModuleType], tmp_path: Path) -> None:
    """Two tracks, running status, notes that end with velocity 0, other messages, and one that never ends."""
    first = bytes.fromhex("00 ff2f00")
    second = bytes.fromhex("00 c005 00 903c40 60 4040 60 3c00 00 b07b00 00 f00143 8140 904000 00 433f 60 ff2f00")
    tracks = b"".join(b"MTrk" + len(track).to_bytes(4, "big") + track for track in (first, second))
    (tmp_path / "piece.mid").write_bytes(b"MThd" + bytes.fromhex("00000006 0001 0002 0060") + tracks)
    assert music["midi"].read(tmp_path / "piece.mid", 1.0) == [{60}, {60, 64}, {64}, {64}, {67}]


@pytest.mark.parametrize("content", [b"", b"MThd", b"RIFF" + bytes(20), b"MThd\0\0\0\x06\0\0\0\x01\x7f\xff"])
def test_what_is_no_midi_file_is_refused(music: dict[str, ModuleType], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "piece.mid").write_bytes(content)
    with pytest.raises(music["midi"].MidiError):
        music["midi"].read(tmp_path / "piece.mid", 1.0)


@given(content=st.binary(max_size=60))
def test_damaged_tracks_end_in_frames_or_an_error(music: dict[str, ModuleType], file: Path, content: bytes) -> None:
    head = b"MThd" + bytes.fromhex("00000006 0000 0001 0060") + b"MTrk" + len(content).to_bytes(4, "big")
    file.write_bytes(head + content)
    try:
        frames = music["midi"].read(file, 1.0)
    except music["midi"].MidiError:
        return
    assert all(0 <= key <= 255 for frame in frames for key in frame)


def test_the_chain_of_a_key_is_counted(music: dict[str, ModuleType]) -> None:
    piece = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    mask = np.array([True, True, True, False])
    following = np.vstack([piece[1:], piece[-1:]])
    sequence = LabelledSequence("piece", "piece", piece, following, mask)
    # The first key goes on in 1 of 2 frames, and does not begin in 1 of 1; the second begins in 1 of 2, goes on in 1.
    both = [log((1 + 1) / (2 + 2)) * 2 + log((1 + 1) / (1 + 2)), log((1 + 1) / (2 + 2)) * 2 + log((1 + 1) / (1 + 2))]
    assert music["markov"].nll([sequence], [sequence]) == pytest.approx(-sum(both) / 3)


def test_a_chorale_goes_on(
    music: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, midi = music["run"], music["midi"]
    monkeypatch.setattr(music["chorales"], "PIECES", {"traindata": 12, "validdata": 2, "testdata": 2})
    monkeypatch.setattr(run, "FEW", {"training": {"epochs": 3}})
    run.main(["-o", str(tmp_path), "--results", str(tmp_path / "results.json")])
    (found,) = json.loads((tmp_path / "results.json").read_text()).values()
    (one,) = found["runs"]
    assert one["ONNX"] == one["int8"] == pytest.approx(one["float"], abs=0.1) and one["state_bytes"] == 4 * 46
    assert f"| Markov chain of each key | {found['baseline']:.3f} |" in capsys.readouterr().out

    data = prepare(DataConfig(format="polymusic"), tmp_path / "chorales.mat")
    piece = [{21 + int(key) for key in np.flatnonzero(frame)} for frame in data.test[0].x]
    assert all(len(frame) in (2, 3, 4) for frame in piece)
    beginning, model = tmp_path / "chorales" / "beginning.mid", tmp_path / "chorales" / "seed0" / "int8.safetensors"
    assert midi.read(beginning, 1.0) == piece
    whole = {}
    for name, options in {"one": (), "reference": ("--engine", "reference"), "other": ("--seed", "1")}.items():
        target = tmp_path / f"{name}.mid"
        assert composed(model, beginning, "-o", target, "--prime", 8, "--frames", 20, *options).returncode == 0
        whole[name] = midi.read(target, 1.0)
    assert whole["one"] == whole["reference"] != whole["other"]

    stream = load(model).stream()
    said = [stream.step([float(key in frame) for key in range(21, 109)]) for frame in whole["one"]]
    assert whole["one"][:8] == piece[:8] and len(whole["one"]) == 28
    for frame, probabilities in zip(whole["one"][8:], said[7:], strict=False):
        assert all(probabilities[key - 21] >= 0.05 for key in frame)
    assert any(whole["one"][8:])


def test_an_export_that_is_refused_is_said_to_be(
    music: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = music["run"]
    monkeypatch.setattr(music["chorales"], "PIECES", {"traindata": 4, "validdata": 1, "testdata": 1})
    monkeypatch.setattr(run, "FEW", {"training": {"epochs": 1}})
    exported = run.edgegru.export

    def refusing(model, target, *, format, force):
        if format == "tflite":
            raise VerificationError("it computes something else")
        return exported(model, target, format=format, force=force)

    monkeypatch.setattr(run.edgegru, "export", refusing)
    found = run.measure(run.MADE_UP, run.write_chorales(tmp_path / "chorales.mat"), tmp_path, 0)
    assert found["TFLite"] is None and found["ONNX"] == found["int8"]
    assert "| GRU, TFLite | 1 of 1 refused by verification |" in run.table("made up", 1.0, [found])


def test_compose_says_what_it_cannot_use(music: dict[str, ModuleType], tmp_path: Path) -> None:
    save_artifact(random_artifact(0, 3, (5,)), tmp_path / "model")
    music["midi"].write(tmp_path / "piece.mid", [{60}], 1.0)
    said = composed(tmp_path / "model", tmp_path / "piece.mid", "-o", tmp_path / "whole.mid")
    assert (said.returncode, (tmp_path / "whole.mid").exists()) == (1, False)
    assert "does not say which keys sound next" in said.stderr


def test_the_page_tells_the_numbers_that_were_measured(music: dict[str, ModuleType]) -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "polyphonic_recipe.json").read_text(encoding="utf-8"))
    page = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    assert [*found] == ["JSB_Chorales", "Nottingham"]
    for name, measured in found.items():
        assert len(measured["runs"]) >= 5
        assert music["run"].table(name, **measured).strip() in page
