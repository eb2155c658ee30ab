"""What is written about the commands is what they say and do."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from edgegru.command_line import cli

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def words(page: str) -> list[str]:
    """Words without line breaks and columns, which differ between versions of Python's argparse."""
    return re.sub(r"(-\w) ([A-Z]+), (--[\w-]+) \2", r"\1, \3 \2", page).split()  # Python 3.13 names FILE once


def made_by(script: str, part: str = "page") -> str:
    """What a script of docs/ makes of its page, or another part."""
    specification = importlib.util.spec_from_file_location(script, DOCS / f"{script}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return getattr(module, part)()


def test_the_page_of_commands_is_what_help_prints():
    written = (DOCS / "command-line.md").read_text(encoding="utf-8")
    assert words(written) == words(made_by("make_command_line")), "stale: run python docs/make_command_line.py"


def test_the_page_of_accuracy_tells_the_numbers_that_were_measured():
    written = (DOCS / "accuracy.md").read_text(encoding="utf-8")
    assert written == made_by("make_accuracy"), "stale: run python docs/make_accuracy.py"


def test_the_page_of_microcontrollers_tells_the_numbers_that_were_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import microcontroller

    measured = json.loads(microcontroller.COMMITTED.read_text(encoding="utf-8"))["measured"]
    written = (DOCS / "microcontrollers.md").read_text(encoding="utf-8")
    assert microcontroller.table(measured) in written, "stale: run python benchmarks/microcontroller.py"


def test_the_page_of_performance_tells_the_numbers_that_were_measured():
    written = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert written == made_by("make_performance"), "stale: run python docs/make_performance.py"


def test_the_readme_tells_the_times_that_were_measured():
    written = (ROOT / "README.md").read_text(encoding="utf-8").split()
    assert made_by("make_performance", "summary") in " ".join(written), "stale: see docs/make_performance.py"


def test_the_readme_tells_what_the_recipes_reach():
    written = (ROOT / "README.md").read_text(encoding="utf-8")
    assert made_by("make_recipes", "table") in written, "stale: run python docs/make_recipes.py"


def test_every_option_is_explained():
    for name, command in cli.commands.items():
        assert command.help, name
        for option in command.params:
            assert option.param_type_name == "argument" or option.help, f"{name} {option.name}"


@pytest.mark.parametrize("example", ["japanese_vowels", "har_watch_phone"])
def test_the_example_tells_the_numbers_that_were_measured(example: str):
    page = (ROOT / "examples" / example / "README.md").read_text(encoding="utf-8")
    summary = json.loads((ROOT / "benchmarks" / "results" / f"{example}.json").read_text())["summary"]
    for precision, name in (("float", "float32"), ("int8", "int8 (`static-w8a8`)")):
        accuracy, f1 = (summary[f"{precision}_{metric}"] for metric in ("accuracy", "macro_f1"))
        numbers = (f"{score['mean']:.4f} ± {score['sd']:.4f}" for score in (accuracy, f1))
        assert f"| {name} | {' | '.join(numbers)} | {summary[f'{precision}_bytes']['mean']:.0f} |" in page


def test_the_example_of_music_tells_the_numbers_that_were_measured():
    page = (ROOT / "examples" / "polyphonic_music" / "README.md").read_text(encoding="utf-8")
    results = json.loads((ROOT / "benchmarks" / "results" / "polyphonic_music.json").read_text())
    for file, title in (("JSB_Chorales", "JSB Chorales"), ("Nottingham", "Nottingham")):
        summary, seeds = results[file]["summary"], len(results[file]["runs"])
        for precision, name in (("float", "float32"), ("int8", "int8 (`static-w8a8`)")):
            scores = [summary[f"{precision}_{metric}"] for metric in ("validation_nll", "test_nll", "test_micro_f1")]
            numbers = " | ".join(f"{score['mean']:.4f} ± {score['sd']:.4f}" for score in scores)
            size = f"{summary[f'{precision}_bytes']['mean']:.0f}"
            assert f"| {title} | {seeds} | {name} | {numbers} | {size} |" in page
        assert f"{summary['parameters']['mean']:,.0f} parameters" in page
