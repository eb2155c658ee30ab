"""The page about the comparison shows what its script measured, and its example runs."""

import importlib.util
import re
from pathlib import Path

from click.testing import CliRunner

from edgegru.command_line import cli
from tests.training_data import write_recordings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "gru-vs-lstm.md"
PAGE = DOCUMENT.read_text(encoding="utf-8")


def maker():
    """The script that writes the page."""
    specification = importlib.util.spec_from_file_location("make_gru_vs_lstm", ROOT / "docs" / "make_gru_vs_lstm.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_page_tells_the_numbers_that_were_measured():
    assert maker().page() == PAGE, "stale: run python docs/make_gru_vs_lstm.py"


def test_the_picture_can_be_drawn_again(tmp_path):
    maker().draw(tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")
    assert "](gru-vs-lstm.png)" in PAGE


def test_what_is_compared_is_what_the_page_says():
    for task in maker().TASKS:
        comparison = maker().read(task)
        gru, *others = comparison.models
        assert comparison.part == "test" and comparison.seeds == 5
        assert all(len(model.rates) == 5 for model in comparison.models)
        assert all(model.hidden_size == gru.hidden_size for model in others[:2])
        assert all(abs(model.parameters / gru.parameters - 1) < 0.01 for model in others[2:])


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_recordings(tmp_path / "recordings.npz", "step_label")
    (tmp_path / "config.toml").write_text("[model]\nhidden_size = 4\n[training]\nepochs = 1\n")
    (command,) = re.findall(r"^    edgegru (compare .*)$", PAGE, re.MULTILINE)
    result = CliRunner().invoke(cli, command.split())
    assert result.exit_code == 0, result.output
    assert re.search(r"^tanh RNN, equal parameters +\d", result.stdout, re.MULTILINE)
    assert (tmp_path / "compared.png").is_file()
