"""The recipe of the next word: its baseline, its table, and its program on the device."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from math import exp, log, log2
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgegru_export.saving import save_artifact
from edgegru_runtime import load
from edgegru_runtime.choosing import Sampler
from edgegru_runtime.model_config import TokenizerConfig
from tests.builders import TOKENS, changed, mixed_config, random_artifact, random_floats

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "text_predictor"
MODULES = ("run", "ngram", "predict")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, Path]:
    """The recipe, run small, and where it left everything."""
    folder = tmp_path_factory.mktemp("predictor")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        import run

        patch.setattr(run, "TOPICS_LENGTH", 8_000)
        training = {"epochs": 3, "lanes": 4, "bptt_steps": 32, "learning_rate": 0.02, "averaging": 0.9}
        patch.setattr(run, "FEW", {"training": training, "model": {"hidden_size": 32, "dropout": 0.0}})
        arguments = ["--tokens", "characters", "pieces", "-o", str(folder), "--results", str(folder / "results.json")]
        run.main(arguments)
    for name in MODULES:
        sys.modules.pop(name, None)
    return run, folder


def predicted(model: Path, *arguments: str, text: str = "") -> str:
    command = [sys.executable, str(EXAMPLE / "predict.py"), str(model), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def test_a_text_is_learned_and_costs_bits_per_character(trained: tuple[ModuleType, Path]) -> None:
    run, folder = trained
    results = json.loads((folder / "results.json").read_text())
    assert [*results] == ["characters", "pieces"]
    for tokens, found in results.items():
        (one,) = found["runs"]
        assert one["ONNX"] == pytest.approx(one["int8"], rel=1e-9) and one["state_bytes"] > 0
        assert one["int8"] == pytest.approx(one["float"], abs=0.02) and one["int8"] < 4.5
        assert f"| GRU, int8 | {one['int8']:.3f} |" in run.table(tokens, **found)
    train, test = run.parts(folder / "topics.txt", 0.1)
    assert (len(train), len(test)) == (7_200, 800)

    model = load(folder / "pieces" / "seed0" / "int8.safetensors")
    numbers = model.tokenizer.encode(test)
    rows = model.stream().run([[number] for number in numbers])
    nats = -sum(row[token] for row, token in zip(rows, numbers[1:], strict=False))
    characters = len(test) - len(model.tokenizer.decode(numbers[:1]))
    assert results["pieces"]["runs"][0]["int8"] == pytest.approx(nats / log(2) / characters, rel=1e-5)


def test_the_n_gram_is_a_distribution_and_counts_what_it_says(example: None) -> None:
    from ngram import NGram

    text, alphabet = "abracadabra abracadabra", "abcdr z"
    model = NGram(text, 2, len(alphabet))
    for history in ("", "a", "ab", "ra", "zz", "za", "cadab"):
        assert sum(model.probability(history, character) for character in alphabet) == pytest.approx(1.0)
    empty = (text.count("b") + 6 / 7) / (len(text) + 6)  # 6 characters occur, of 7
    behind_a = (4 + 4 * empty) / (9 + 4)  # of 9 that follow an a, 4 are b; they are b, c, d and a space
    assert model.probability("a", "b") == model.probability("xa", "b") == pytest.approx(behind_a)
    assert model.probability("ra", "b") == pytest.approx((0 + 2 * behind_a) / (3 + 2))
    assert model.bits("abr") == pytest.approx(-(log2(model.probability("a", "b") * model.probability("ab", "r"))) / 2)


def test_the_same_seed_writes_the_same_text_on_every_integer_engine(trained: tuple[ModuleType, Path]) -> None:
    _, folder = trained
    for tokens in ("characters", "pieces"):
        model = folder / tokens / "seed0" / "int8.safetensors"
        arguments = ("--generate", "60", "--seed", "7", "--prime", "The cla")
        texts = [predicted(model, *arguments, "--engine", engine) for engine in ("kernel", "reference")]
        assert texts[0] == texts[1] != predicted(model, *arguments[:3], "8", *arguments[4:])
        assert texts[0].startswith("The cla") and len(texts[0]) > 60 and "<unknown>" not in texts[0]


def test_words_are_suggested_for_every_line(trained: tuple[ModuleType, Path]) -> None:
    _, folder = trained
    for tokens in ("characters", "pieces"):
        said = predicted(folder / tokens / "seed0" / "int8.safetensors", "--words", "2", text="the s\n\nof th\n")
        lines = [line.partition(" … ") for line in said.splitlines()]
        assert [line for line, _, _ in lines] == ["the s", "", "of th"]
        words = [found.split()[::2] for _, _, found in lines]
        assert all(word.startswith("s") for word in words[0]) and all(word.startswith("th") for word in words[2])
        assert [*map(len, words)] == [2, 2, 2]


def test_tab_takes_the_first_word(trained: tuple[ModuleType, Path]) -> None:
    _, folder = trained
    model = folder / "characters" / "seed0" / "int8.safetensors"
    first = predicted(model, "--words", "1", text="of th\n").partition(" … ")[2].split()[0]
    controller, terminal = pty.openpty()
    command = [sys.executable, str(EXAMPLE / "predict.py"), str(model)]
    shown = ""
    with subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for number, key in enumerate(("o", "f", " ", "t", "x", "\x7f", "h", "\t", "\n", "\x04"), start=1):
            while shown.count("\x1b8") < number:  # the words below the line are there
                shown += process.stdout.read(1)
            os.write(controller, key.encode())
        shown += process.stdout.read()
        assert process.wait(20) == 0
    os.close(controller)
    os.close(terminal)
    assert f"\x1b[Jof {first} \n" in shown


@pytest.mark.parametrize(
    ("kind", "tokens", "typed"),
    [
        ("characters", tuple("ab' .,;:!?\n-"), "b a"),
        ("characters", tuple("ab' .,;:!?\n-"), "a, "),
        ("pieces", ("?", "▁", "▁a", "▁b", "a", "b", "ab", "▁ab", "c", "▁c", "ba", "."), "c a"),
        ("pieces", ("?", "▁", "▁a", "▁b", "a", "b", "ab", "▁ab", "c", "▁c", "ba", "."), "c "),
        ("words", ("?", "a", "b", "ab", "abc", "c", "ca", "cb", "cc", "d", "e", "f"), "c a"),
    ],
)
def test_the_words_found_are_the_best_of_all(
    example: None, monkeypatch: pytest.MonkeyPatch, kind: str, tokens: tuple[str, ...], typed: str
) -> None:
    import predict

    monkeypatch.setattr(predict, "WIDTH", 1000)
    monkeypatch.setattr(predict, "LONGEST", 4)
    unknown = None if kind == "characters" else 0
    split = "punctuation" if kind == "characters" else "spaces"
    base = mixed_config(**TOKENS)
    tokenizer = TokenizerConfig(kind, tokens, split=split, unknown=unknown)
    model = load_of(changed(base, input=type(base.input)(1, base.input.channels, ("",), None, tokenizer=tokenizer)))
    writer = predict.Writer(model)
    writer.write(typed)
    found = writer.words(3)

    before, word = typed[: typed.rindex(" ") + 1], typed[typed.rindex(" ") + 1 :]
    stream = model.stream()
    reader = model.tokenizer.reader()
    rows = [stream.step([number]) for number in model.tokenizer.encode(predict.BEFORE) or [0]]
    rows += [stream.step([number]) for number in reader.feed(before)]
    every: dict[str, float] = {}

    def begins(token: str) -> bool:
        return kind == "words" or (kind == "pieces" and token.startswith("▁"))

    def search(text: str, nats: float, state: bytes, row: list[float], depth: int) -> None:
        if depth and text:
            ends = [value for token, value in zip(tokens, row, strict=True)
                    if (token not in "ab'" if kind == "characters" else token != "?" and begins(token))]  # fmt: skip
            if text.startswith(word):
                every[text] = max(every.get(text, 0.0), exp(nats) * sum(map(exp, ends)))
        if depth == 3:
            return
        for number, token in enumerate(tokens):
            longer = text + token.removeprefix("▁")
            fits = longer.startswith(word) or word.startswith(longer)
            right = token in "ab'" if kind == "characters" else token != "?" and begins(token) == (depth == 0)
            if fits and right:
                following = model.stream()
                following.state = state
                values = following.step([number])
                search(longer, nats + row[number], following.state, values, depth + 1)

    search("", 0.0, stream.state, rows[-1], 0)
    best = sorted(every, key=every.__getitem__, reverse=True)[:3]
    assert [text for text, _ in found] == best
    shares = [share for _, share in found]
    assert shares == sorted(shares, reverse=True)
    for (one, other), (first, second) in zip(pairwise(shares), pairwise(best), strict=True):
        assert one / other == pytest.approx(every[first] / every[second], rel=1e-3)


def test_what_has_no_end_is_written_on(example: None) -> None:
    """A word that was begun is part of what goes on, and no unknown token is written."""
    import predict

    base = mixed_config(**TOKENS)
    tokenizer = TokenizerConfig("characters", ("?", *"abcdefgh .x"), unknown=0)
    model = load_of(changed(base, input=type(base.input)(1, base.input.channels, ("",), None, tokenizer=tokenizer)))
    writer = predict.Writer(model)
    writer.write("ab a")
    text = "".join(writer.generate(200, Sampler(1, 2.0)))
    stream, sampler, expected = model.stream(), Sampler(1, 2.0), ""
    for number in model.tokenizer.encode(predict.BEFORE + "ab a"):
        row = stream.step([number])
    for _ in range(200):
        row[0] = -float("inf")
        token = sampler.choose(row)
        expected += tokenizer.tokens[token]
        row = stream.step([token])
    assert text == expected and len(text) == 200


def test_a_model_that_says_no_next_token_is_refused(tmp_path: Path) -> None:
    save_artifact(random_artifact(0, 3, (5,)), tmp_path / "model")
    command = [sys.executable, str(EXAMPLE / "predict.py"), str(tmp_path / "model")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert finished.stderr.endswith("says no next token, expected a model of text that does\n")


def load_of(config: Any) -> Any:
    from edgegru_runtime.model import Model

    return Model(random_floats(config, 0), None)
