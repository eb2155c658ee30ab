"""The recipes of activities, spoken digits and forecasts, run small: their tables, and their programs on the device."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgegru.data import DataConfig, read_recordings
from edgegru_runtime import load

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
Recipe = Callable[[str], ModuleType]
MODULES = ("run", "baseline", "baselines", "commands", "dates", "dialled", "hours", "motions", "naive_bayes", "nearest")


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recipe]:
    def imported(task: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(EXAMPLES / task))
        import run

        return run

    yield imported
    for name in MODULES:
        sys.modules.pop(name, None)


def shortened(config: Path, target: Path, **changes: str) -> Path:
    """The configuration of an example with other lines."""
    lines = config.read_text().splitlines()
    for key, value in changes.items():
        (place,) = (index for index, line in enumerate(lines) if line.startswith(f"{key} = "))
        lines[place] = f"{key} = {value}"
    target.write_text("\n".join(lines))
    return target


def test_changes_of_activity_are_shown_on_the_watch(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = recipe("har_watch_phone")
    changes = {"epochs": "4", "hidden_size": "16", "convolution_size": "8"}
    monkeypatch.setattr(run, "CONFIG", shortened(run.CONFIG, tmp_path / "config.toml", **changes))
    run.main(["-o", str(tmp_path / "out"), "--results", str(tmp_path / "results.json")])
    results = json.loads((tmp_path / "results.json").read_text())
    (measured,) = results["runs"]
    assert measured["ONNX"] == measured["int8"] and measured["state_bytes"] > 0
    assert measured["int8"]["accuracy"] == pytest.approx(measured["float"]["accuracy"], abs=0.02)
    assert min(results["baseline"]["accuracy"], measured["float"]["accuracy"]) > 0.5
    assert f"| baseline | {results['baseline']['accuracy']:.4f} |" in capsys.readouterr().out

    model, file = tmp_path / "out" / "seed0" / "int8.safetensors", next((tmp_path / "out").glob("**/test/s03/*.csv"))
    watch = [sys.executable, str(EXAMPLES / "har_watch_phone" / "watch.py"), str(model), str(file)]
    shown = subprocess.run(watch, capture_output=True, text=True, check=True).stdout.splitlines()
    options = ["--time-unit", "ms", "--resample", "--emit", "events"]
    command = [sys.executable, "-m", "edgegru_runtime", "run", str(model), str(file), *options]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    events = [event for event in map(json.loads, lines) if event["event"] == "on"]
    assert [line.split("s  ")[1] for line in shown] == [event["label"] for event in events]
    for line, event in zip(shown, events, strict=True):  # one at the end of the step, the other at its beginning
        assert float(line.split()[0]) == pytest.approx(event["i"] / 25 + 0.02, abs=0.006)


def test_recordings_and_other_people_go_together(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        recipe("har_watch_phone").main(["--data", "somewhere"])
    assert "--data and --test go together" in capsys.readouterr().err


def test_the_baseline_sees_the_last_second_and_no_more(recipe: Recipe) -> None:
    recipe("har_watch_phone")
    import baseline

    samples = np.random.default_rng(0).standard_normal((140, 3)).astype(np.float32)
    found = baseline.statistics(samples.reshape(70, 6), 3)
    assert found.shape == (70, 24)
    last = samples[40:90].astype(np.float64)  # a step has two samples: 88 and 89 are of step 44
    last = np.concatenate([last, np.sqrt(np.square(last).sum(axis=1, keepdims=True))], axis=1)
    expected = [last.mean(axis=0), last.std(axis=0), last.min(axis=0), last.max(axis=0)]
    expected += [np.abs(last[1:] - last[:-1]).mean(axis=0), last[25:].mean(axis=0) - last[:25].mean(axis=0)]
    np.testing.assert_allclose(found[44], np.concatenate(expected), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[0, :3], (49 * samples[0] + samples[1]).astype(np.float64) / 50, rtol=1e-6)


@pytest.mark.parametrize(
    ("task", "results", "shown"),
    [
        ("har_watch_phone", "activity", lambda run, found: run.table(found["baseline"], found["runs"])),
        ("sentiment", "sentiment", lambda run, found: run.table(found["baseline"], found["runs"])),
        ("intent_slots", "intent_slots", lambda run, found: run.table(found["baseline"], found["runs"])),
        ("spoken_digits", "spoken_digits", lambda run, found: run.table(found["runs"], speakers(found["runs"]))),
    ],
)
def test_the_page_of_a_classifier_tells_the_numbers_that_were_measured(
    recipe: Recipe, task: str, results: str, shown: Callable[[ModuleType, dict[str, Any]], str]
) -> None:
    run = recipe(task)
    found = json.loads((ROOT / "benchmarks" / "results" / f"{results}.json").read_text(encoding="utf-8"))
    assert len({one["seed"] for one in found["runs"]}) >= 3
    assert shown(run, found) in (EXAMPLES / task / "README.md").read_text(encoding="utf-8")


def test_the_page_of_the_coming_hours_tells_the_numbers_that_were_measured(recipe: Recipe) -> None:
    run = recipe("forecasting")
    found = json.loads((ROOT / "benchmarks" / "results" / "forecasting_recipe.json").read_text(encoding="utf-8"))
    page = (EXAMPLES / "forecasting" / "README.md").read_text(encoding="utf-8")
    assert [*found] == ["1", "24", "96"]
    for horizon, measured in found.items():
        assert len(measured["runs"]) >= 3
        assert run.table(int(horizon), measured["baselines"], measured["runs"]).strip() in page


def speakers(runs: list[dict[str, Any]]) -> list[str]:
    return sorted({run["speaker"] for run in runs})


def test_a_verdict_follows_every_word_on_the_device(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = recipe("sentiment")
    run.main(["-o", str(tmp_path / "out"), "--results", str(tmp_path / "results.json")])
    results = json.loads((tmp_path / "results.json").read_text())
    (measured,) = results["runs"]
    assert measured["ONNX"] == measured["int8"] == pytest.approx(measured["float"], abs=0.03)
    assert min(results["baseline"], measured["int8"]) > 0.7
    assert f"| naive Bayes | {results['baseline']:.4f} |" in capsys.readouterr().out
    parts = {file.suffix: file.read_text().splitlines() for file in (tmp_path / "out" / "reviews").iterdir()}
    reviews = (EXAMPLES / "sentiment" / "reviews.txt").read_text().splitlines()
    assert sorted(line for lines in parts.values() for line in lines) == sorted(reviews)
    assert all(sum(line[0] == "1" for line in lines) == len(lines) / 2 for lines in parts.values())

    model = tmp_path / "out" / "seed0" / "int8.safetensors"
    command = [sys.executable, str(EXAMPLES / "sentiment" / "verdict.py"), str(model)]
    text = "Terrible, it broke.\nI love it, great\n"
    said = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.split("\n\n")
    words = [[line.split()[0] for line in sentence.splitlines()] for sentence in said if sentence.strip()]
    assert words == [["terrible", ",", "it", "broke", "<unknown>"], ["i", "<unknown>", "it", ",", "great"]]
    verdicts = [sentence.splitlines()[-1].split() for sentence in said[:2]]
    assert [verdict[1] for verdict in verdicts] == ["negative", "positive"]
    assert float(verdicts[1][-1]) > 0.7


def test_a_command_is_understood_word_by_word_on_the_device(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = recipe("intent_slots")
    run.main(["-o", str(tmp_path / "out"), "--results", str(tmp_path / "results.json")])
    results = json.loads((tmp_path / "results.json").read_text())
    (measured,) = results["runs"]
    assert measured["ONNX"] == measured["int8"] == pytest.approx(measured["float"], abs=0.02)
    assert min(measured["int8"].values()) > 0.95 and 0.9 < results["baseline"]["slots"] < measured["int8"]["slots"]
    assert f"| baseline | {results['baseline']['intent']:.4f} |" in capsys.readouterr().out

    model = tmp_path / "out" / "seed0" / "int8.safetensors"
    command = [sys.executable, str(EXAMPLES / "intent_slots" / "understand.py"), str(model)]
    text = "play some hip hop music\n\nturn the light in the living room off\n"
    said = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[:2] for line in said[:4]] == [
        ["play", "O"], ["some", "O"], ["hip", "B-genre"], ["hop", "I-genre"]
    ]  # fmt: skip
    results_shown = [line for line in said if line.startswith("→")]
    assert results_shown == ["→ PlayMusic: genre = hip hop", "→ SwitchLight: room = living room, state = off"]
    assert said[3].split()[2] == "PlayMusic" and float(said[3].split()[-1]) > 0.9


def test_commands_are_made_up_alike_each_time(recipe: Recipe, tmp_path: Path) -> None:
    recipe("intent_slots")
    import commands

    first, again = (commands.write_commands(tmp_path / name) for name in ("first", "again"))
    for part, count in commands.PARTS.items():
        columns = [(first / part / name).read_text().splitlines() for name in ("seq.in", "seq.out", "label")]
        assert {*map(len, columns)} == {count} and {*columns[2]} == {*commands.TEMPLATES}
        assert all(len(words.split()) == len(tags.split()) for words, tags, _ in zip(*columns, strict=True))
        assert columns[0] == (again / part / "seq.in").read_text().splitlines()


def test_the_baseline_of_commands_by_hand(recipe: Recipe) -> None:
    recipe("intent_slots")
    import baseline

    weights = baseline.inverse_document_frequency([np.array([0, 1, 1]), np.array([1, 2])], 4)
    np.testing.assert_allclose(weights, np.log([3 / 2, 3 / 3, 3 / 2, 3 / 1]) + 1)
    (row,) = baseline.tf_idf([np.array([1, 1, 3])], weights)
    np.testing.assert_allclose(row, np.array([0, 2, 0, weights[3]]) / np.hypot(2, weights[3]))
    assert baseline.pairs(np.array([4, 5])) == [(-1, 4), (4, 5)]
    table = baseline.TagTable([(np.array([1, 2, 2]), np.array([0, 3, 3])), (np.array([3, 2]), np.array([0, 1]))])
    assert [table((1, 2)), table((3, 2)), table((9, 2)), table((9, 9))] == [3, 1, 3, 0]


def test_dialled_digits_are_heard_on_the_device(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = recipe("spoken_digits")
    import dialled

    monkeypatch.setattr(dialled, "LINES", ("north", "south"))
    folder = dialled.write_dialled(tmp_path / "dialled", recordings=1)
    recordings = read_recordings(folder, DataConfig(format="fsdd")).recordings
    assert sorted(str(one.y) for one in recordings) == sorted("0123456789" * 2)
    assert {one.group for one in recordings} == {"north", "south"}

    changes = {"hidden_size": "16", "convolution_size": "8", "threshold": "0.05", "threshold_off": "0.0"}
    changes |= {"trigger_level": "1", "warm_up": "0"}  # one of ten is always that likely
    monkeypatch.setattr(run, "CONFIG", shortened(run.CONFIG, tmp_path / "config.toml", **changes))
    monkeypatch.setattr(run, "DIALLED", {"epochs": 1, "lanes": 4})
    monkeypatch.setattr(run, "write_dialled", lambda _: folder)
    run.main(["-o", str(tmp_path / "out"), "--results", str(tmp_path / "results.json")])
    (first, second) = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert (first["speaker"], second["speaker"]) == ("north", "south")
    assert first["ONNX"] == first["int8"] and first["state_bytes"] > 0
    assert "| baseline |" in capsys.readouterr().out

    model = tmp_path / "out" / "north" / "seed0" / "int8.safetensors"
    listen = EXAMPLES / "spoken_digits" / "listen.py"
    command = [sys.executable, str(listen), str(model), str(folder / "0_north_0.wav")]
    heard = subprocess.run(command, capture_output=True, text=True, check=True)
    times, _, digits = zip(*(line.split() for line in heard.stdout.splitlines()), strict=True)
    assert {*digits} <= {*"0123456789"} and float(times[0]) == pytest.approx(0.016, abs=0.01)


def test_the_coming_hours_are_drawn_on_the_device(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = recipe("forecasting")
    parts = {"train": (0, 600), "validation": (600, 800), "test": (800, 1000)}
    for module in ("run", "baselines"):
        monkeypatch.setattr(sys.modules[module], "PARTS", parts)
    shortened(EXAMPLES / "forecasting" / "config_h24.toml", tmp_path / "config_h24.toml", epochs="2", hidden_size="8")
    monkeypatch.setattr(run, "HERE", tmp_path)
    run.main(["-o", str(tmp_path / "out"), "--results", str(tmp_path / "results.json")])
    results = json.loads((tmp_path / "results.json").read_text())["24"]
    (measured,) = results["runs"]
    assert measured["ONNX"] == measured["int8"]
    assert measured["int8"]["mse"] == pytest.approx(measured["float"]["mse"], rel=0.02)
    assert measured["int8"]["mse"] < results["baselines"]["persistence"]["test_mse"]
    assert "| ridge, one a channel |" in capsys.readouterr().out

    model = tmp_path / "out" / "h24" / "seed0" / "int8.safetensors"
    _, values = run.read_hours(tmp_path / "out" / "hours.csv")
    lines = [",".join(map(str, row)) for row in values[:200].tolist()]
    command = [sys.executable, str(EXAMPLES / "forecasting" / "forecast.py"), str(model)]
    drawn = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True).stdout
    expected = np.asarray(load(model).stream().run(values[:200].astype(np.float32)))[-1, ::3]
    last = drawn.splitlines()[-1].split()
    assert len(drawn.splitlines()) == 200 and len(last[-1]) == 24
    assert float(last[1]) == pytest.approx(expected.min(), abs=1e-3)
    assert (last[-1][expected.argmin()], last[-1][expected.argmax()]) == ("▁", "█")


def test_dates_are_translated_on_the_device(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = recipe("translator")
    import dates

    monkeypatch.setattr(dates, "PARTS", {"train": 500, "val": 10, "test": 12})
    monkeypatch.setattr(dates, "DAYS", 1000)
    config = shortened(run.HERE / "config_dates.toml", tmp_path / "config_dates.toml", epochs="4", hidden_size="32")
    monkeypatch.setattr(run, "HERE", config.parent)
    run.main(["-o", str(tmp_path / "out"), "--results", str(tmp_path / "results.json")])
    (measured,) = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert measured["ONNX"]["exact"] == measured["int8"]["exact"]
    assert measured["float"]["bleu"] > 0 and measured["sentences"] == 12
    assert "| nearest sentence |" in capsys.readouterr().out

    say = [sys.executable, str(EXAMPLES / "translator" / "say.py"), str(tmp_path / "out" / "seed0" / "int8")]
    said = subprocess.run(say, input="3. Mai 1971\n4 mai 1971\n", capture_output=True, text=True, check=True).stdout
    assert [line.split("    [")[0][:2] for line in said.splitlines()] == ["19", "19"]
    monkeypatch.syspath_prepend(str(EXAMPLES / "translator"))
    import attention_map

    read, told, shares = attention_map.shares(tmp_path / "out" / "seed0" / "int8", "3. Mai 1971")
    assert shares.shape == (len(told), len(read)) and len(read) == len("3. Mai 1971")
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-3)
    attention_map.draw(tmp_path / "out" / "seed0" / "int8", "3. Mai 1971", tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_no_date_is_in_two_parts(recipe: Recipe, tmp_path: Path) -> None:
    recipe("translator")
    import dates

    folder = dates.write_dates(tmp_path)
    days = [line for part in dates.PARTS for line in (folder / f"{part}.iso").read_text().splitlines()]
    assert len(days) == len(set(days)) == sum(dates.PARTS.values())
    assert (folder / "train.any").read_text() == (dates.write_dates(tmp_path / "again") / "train.any").read_text()


def test_the_nearest_sentence_is_found(recipe: Recipe) -> None:
    recipe("translator")
    import nearest

    memory = nearest.NearestSentence(["ein hund rennt", "ein mann rennt", "zwei"], ["dog", "man", "two"])
    assert [memory.translate(text) for text in ("Der Hund.", "ein Mann", "zwei hunde", "nichts")] == [
        "dog", "man", "two", "dog",
    ]  # fmt: skip


def test_the_page_of_the_translator_tells_the_numbers_that_were_measured(recipe: Recipe) -> None:
    run = recipe("translator")
    found = json.loads((ROOT / "benchmarks" / "results" / "translator.json").read_text(encoding="utf-8"))
    page = (EXAMPLES / "translator" / "README.md").read_text(encoding="utf-8")
    assert run.table(found["baseline"], found["runs"]) in page
    assert ("One training so far" in page) == (len(found["runs"]) == 1)
