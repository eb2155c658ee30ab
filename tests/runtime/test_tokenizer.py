"""Text to tokens: however it is cut, whatever it holds, the same after a way through a file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.vocabulary import learn_tokenizer
from edgegru_export.exporting import export
from edgegru_export.saving import save_artifact
from edgegru_runtime import load
from edgegru_runtime.description import describe, description_text
from edgegru_runtime.model import read_source
from edgegru_runtime.model_config import TokenizerConfig
from edgegru_runtime.tokenizer import (
    KINDS,
    LONGEST_WORD,
    MARK,
    Tokenizer,
    parse_tokenizer,
    tokenizer_to_json,
)
from tests.builders import changed, mixed_config, random_floats, with_tokenizer

TEXTS = st.text(st.characters(exclude_categories=("Cs",)))  # all of Unicode but halves of surrogate pairs
WORDY = st.text(st.sampled_from("aabbcé' \n\t-.Σςßİ" + MARK + "̈ड़"))  # letters, ends of words and their traps
ALL_TEXTS = TEXTS | WORDY
TOKENIZERS = st.builds(
    learn_tokenizer,
    st.lists(ALL_TEXTS, min_size=1, max_size=5),
    st.sampled_from(KINDS),
    st.sampled_from((0, 2, 5, 30)),
    st.booleans(),
    st.sampled_from(("punctuation", "spaces")),
    st.sampled_from((1, 2)),
)


@given(TOKENIZERS, ALL_TEXTS, st.lists(st.integers(0, 40)))
def test_any_cut_of_a_text_gives_the_same_tokens(config: TokenizerConfig, text: str, cuts: list[int]) -> None:
    reader, found, start = Tokenizer(config).reader(), [], 0
    for length in cuts:
        found += reader.feed(text[start : start + length])
        start += length
    found += reader.feed(text[start:]) + reader.finish()
    assert found == Tokenizer(config).encode(text)
    assert all(0 <= number < len(config.tokens) for number in found)


@given(TOKENIZERS)
def test_a_file_gives_the_tokenizer_back(config: TokenizerConfig) -> None:
    assert parse_tokenizer(tokenizer_to_json(config), "at") == replace(
        config, split="punctuation" if config.kind == "characters" else config.split
    )


@given(st.lists(ALL_TEXTS, min_size=1, max_size=3), st.booleans())
def test_known_characters_are_read_back(texts: list[str], lower: bool) -> None:
    tokenizer = Tokenizer(learn_tokenizer(texts, "characters", lower=lower))
    for text in texts:
        expected = "".join(character.lower() for character in text) if lower else text
        assert tokenizer.decode(tokenizer.encode(text)) == expected


@given(st.lists(ALL_TEXTS, min_size=1, max_size=3), st.sampled_from(("words", "pieces")), st.integers(0, 60))
def test_known_words_are_read_back_with_a_space_between_them(texts: list[str], kind: str, size: int) -> None:
    tokenizer = Tokenizer(learn_tokenizer(texts, kind, size if kind == "pieces" else 0, split="spaces"))
    for text in texts:
        words = text.replace(MARK, " ").split()
        known = tokenizer.config.unknown not in tokenizer.encode(text)  # a small vocabulary has not all characters
        if known and all(len(word) < LONGEST_WORD for word in words):
            assert tokenizer.decode(tokenizer.encode(text)) == " ".join(words)


def plain_pieces(config: TokenizerConfig, word: str) -> list[str]:
    """Byte-pair encoding as its paper has it: the joints one after the other, everywhere in the word."""
    parts = [MARK, *word]
    for token in config.tokens[1:]:
        index = 0
        while index + 1 < len(parts):
            if parts[index] + parts[index + 1] == token:
                parts[index : index + 2] = [token]
            index += 1
    return [part if part in config.tokens[1:] else config.tokens[0] for part in parts]


ABC = st.text("abc", min_size=1, max_size=9)


@given(st.lists(ABC, min_size=1, max_size=20), st.text("abcd", min_size=1, max_size=12))
def test_pieces_are_those_of_byte_pair_encoding(words: list[str], word: str) -> None:
    config = learn_tokenizer([" ".join(words)] * 2, "pieces", 40)
    assert [config.tokens[number] for number in Tokenizer(config).encode(word)] == plain_pieces(config, word)


def plain_joints(words: list[str], size: int) -> list[str]:
    """Learned as the paper has it: all pairs counted anew for every joint."""
    parts = [[MARK, *word] for word in words]
    tokens: list[str] = []
    known = {part for word in parts for part in word}
    while len(tokens) < size:
        counts: dict[tuple[str, str], int] = {}
        for word in parts:
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < 2:
            break
        for word in parts:
            index = 0
            while index + 1 < len(word):
                if (word[index], word[index + 1]) == best:
                    word[index : index + 2] = ["".join(best)]
                index += 1
        if "".join(best) not in known:
            known.add("".join(best))
            tokens.append("".join(best))
    return tokens


@given(st.lists(ABC, min_size=1, max_size=30))
def test_joints_are_learned_by_how_often_they_occur(words: list[str]) -> None:
    config = learn_tokenizer([" ".join(words)], "pieces", 25)
    single = {character for word in words for character in MARK + word}
    assert list(config.tokens[1 + len(single) :]) == plain_joints(words, 24 - len(single))


def test_words_end_at_spaces_or_at_punctuation() -> None:
    text = "Don't panic, naïve  Élan-vital_x 3.5 हिन्दी!"
    words = learn_tokenizer([text], "words")
    assert Tokenizer(words).decode(Tokenizer(words).encode(text)) == (
        "Don ' t panic , naïve Élan - vital_x 3 . 5 हिन्दी !"
    )
    words = learn_tokenizer([text], "words", split="spaces", lower=True)
    assert Tokenizer(words).decode(Tokenizer(words).encode(text)) == "don't panic, naïve élan-vital_x 3.5 हिन्दी!"


def test_what_is_not_known_is_said_or_left_out() -> None:
    known = learn_tokenizer(["a b a c c c"], "words", 3)
    assert known.tokens == ("<unknown>", "c", "a")
    assert Tokenizer(known).encode("a b <unknown> c") == [2, 0, 0, 0, 0, 1]  # brackets are words of their own
    spaces = replace(known, split="spaces")
    assert Tokenizer(spaces).encode("<unknown> c") == [0, 1]
    silent = replace(known, tokens=("c", "a"), unknown=None)
    assert Tokenizer(silent).encode("a b c d") == [1, 0]


def test_a_long_word_is_cut_where_it_is() -> None:
    reader = Tokenizer(learn_tokenizer(["a"], "words")).reader()
    assert reader.feed("b" * (LONGEST_WORD - 1)) == []
    assert reader.feed("b") == [0]
    assert reader.feed("a ") == [1]


def test_the_tokenizer_is_in_every_file(tmp_path: Path) -> None:
    artifact = random_floats(with_tokenizer(mixed_config(3, embedding=True)), 0)
    save_artifact(artifact, tmp_path / "model.safetensors")
    without = random_floats(mixed_config(3, embedding=True), 0)
    save_artifact(without, tmp_path / "without.safetensors")
    plain = load(tmp_path / "without.safetensors")
    assert plain.tokenizer is None and load(tmp_path / "model.safetensors").config.identity == plain.config.identity
    for file, format in (("model.onnx", "onnx"), ("model.tflite", "tflite")):
        export(artifact, tmp_path / file, format=format)
    for file in ("model.safetensors", "model.onnx", "model.tflite"):
        model = load(tmp_path / file)
        assert model.tokenizer is not None and model.tokenizer.encode("cab?l") == [2, 0, 1, 11]  # no token for "?"
        outputs = [model.stream().step([number]) for number in model.tokenizer.encode("c")]
        assert len(outputs) == 1


def test_what_info_says(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_artifact(random_floats(with_tokenizer(mixed_config(3, embedding=True)), 0), path)
    description = json.loads(json.dumps(describe(str(path), read_source(path))))
    letters = {"kind": "characters", "tokens": 12, "lower": False, "split": "punctuation", "unknown": None, "end": None}
    assert description["input"]["tokenizer"] == letters
    assert "tokens      12 characters\n" in description_text(description)
    description["input"]["tokenizer"] |= {"kind": "words", "lower": True}
    assert "tokens      12 words, split at punctuation, lower-cased\n" in description_text(description)


def test_only_models_of_text_pay_for_it(tmp_path: Path) -> None:
    save_artifact(random_floats(mixed_config(3, embedding=True), 0), tmp_path / "model.safetensors")
    script = (
        "import sys; from edgegru_runtime import load; load(sys.argv[1]); "
        "print('edgegru_runtime.tokenizer' in sys.modules, 're' in sys.modules)"
    )
    command = [sys.executable, "-S", "-c", script, str(tmp_path / "model.safetensors")]
    runtime = str(Path(sys.modules["edgegru_runtime"].__file__ or "").parents[1])
    found = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": runtime})
    assert found.stdout.split()[0] == "False"


def test_the_page_runs(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "tokenizers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    config = mixed_config(3, embedding=True)
    words = TokenizerConfig("words", ("?", "a", "good", "film", ",", "but", *"bcdefg"), unknown=0)
    config = changed(config, input=replace(config.input, tokenizer=words))
    save_artifact(random_floats(config, 0), tmp_path / "model.safetensors")
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert [line.split()[0] for line in said.splitlines()] == ["a", "good", "film", ",", "but"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_of_the_unknown_token_is_no_token(kind: str) -> None:
    config = learn_tokenizer(["<unknown> a <unknown>"], kind, 30, split="spaces")
    assert parse_tokenizer(tokenizer_to_json(config), "at") == replace(
        config, split="punctuation" if kind == "characters" else "spaces"
    )
    assert config.tokens.count("<unknown>") == 1


@given(st.lists(ALL_TEXTS, max_size=4), st.sampled_from(KINDS), st.integers(1, 12))
def test_there_are_no_more_tokens_than_were_asked_for(texts: list[str], kind: str, size: int) -> None:
    assert len(learn_tokenizer(texts, kind, size).tokens) <= size


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_tokens(kind: str) -> None:
    texts = ["b a c", "a b", "the the then"]
    assert learn_tokenizer(texts, kind, 12) == learn_tokenizer(texts[::-1], kind, 12)
