"""Text in: the tokens of the tokenizer, in whatever pieces the bytes arrive, from wherever they are read again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.vocabulary import learn_tokenizer
from edgegru_export.saving import save_artifact
from edgegru_runtime import load
from edgegru_runtime.command_line import main
from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig, TokenizerConfig
from edgegru_runtime.record import Item, Mark, Record, Word
from edgegru_runtime.sources.opening import SourceOptions, open_source
from edgegru_runtime.sources.typed import REPLACEMENT, TypedReader
from edgegru_runtime.tokenizer import KINDS, Tokenizer
from tests.builders import TOKENS, changed, mixed_config, random_config, random_floats, with_tokenizer

BASE = with_tokenizer(mixed_config(**TOKENS))
TEXTS = st.text(st.sampled_from("aabbcé' \n\r\t-.Σςßİ▁̈ड़" + REPLACEMENT))
BYTES = st.lists(TEXTS.map(str.encode) | st.binary(max_size=4)).map(b"".join)
TOKENIZERS = st.builds(
    learn_tokenizer,
    st.lists(TEXTS, min_size=1, max_size=3),
    st.sampled_from(KINDS),
    st.sampled_from((0, 4, 30)),
    st.booleans(),
    st.sampled_from(("punctuation", "spaces")),
)
RESETS = st.sampled_from(("recording", "never"))


def of_text(tokenizer: TokenizerConfig, reset: str) -> ModelConfig:
    return replace(BASE, input=replace(BASE.input, tokenizer=tokenizer), decision=replace(BASE.decision, reset=reset))


def read(config: ModelConfig, *pieces: bytes) -> list[Item]:
    reader = TypedReader(config)
    return [item for piece in pieces for item in reader.feed(piece)] + reader.finish(complete=True)


def numbers(items: list[Item]) -> list[int]:
    records = [one for item in items for one in (item.records if isinstance(item, Word) else (item,))]
    return [int(record.x[0]) for record in records if isinstance(record, Record)]


@given(TOKENIZERS, RESETS, BYTES, st.lists(st.integers(1, 9)))
def test_any_cut_of_the_bytes_gives_the_same(
    tokenizer: TokenizerConfig, reset: str, data: bytes, lengths: list[int]
) -> None:
    config = of_text(tokenizer, reset)
    edges = [0, *accumulate(lengths), max(len(data), sum(lengths))]
    whole = read(config, data)
    assert read(config, *(data[start:stop] for start, stop in pairwise(edges))) == whole
    assert read(config, *(data[at : at + 1] for at in range(len(data)))) == whole


@given(TOKENIZERS, BYTES)
def test_a_whole_text_is_what_the_tokenizer_makes_of_it(tokenizer: TokenizerConfig, data: bytes) -> None:
    found, text = read(of_text(tokenizer, "never"), data), data.decode(errors="replace")
    assert numbers(found) == Tokenizer(tokenizer).encode(text)
    malformed = [item for item in found if isinstance(item, Mark)]
    assert {mark.what for mark in malformed} <= {"malformed"}
    assert len(malformed) == text.count(REPLACEMENT) - data.count(REPLACEMENT.encode())


@given(TOKENIZERS, BYTES)
def test_every_line_is_a_recording(tokenizer: TokenizerConfig, data: bytes) -> None:
    found = read(of_text(tokenizer, "recording"), data)
    ends = [index for index, item in enumerate(found) if isinstance(item, Mark) and item.what == "recording"]
    lines = [found[start:stop] for start, stop in pairwise([0, *ends, len(found)])]
    texts = data.decode(errors="replace").split("\n")
    texts[:-1] = [line.removesuffix("\r") for line in texts[:-1]]
    assert [numbers(line) for line in lines] == [Tokenizer(tokenizer).encode(text) for text in texts]
    assert all(item.place == number for number, line in enumerate(lines, start=1) for item in line)


@given(TOKENIZERS, RESETS, BYTES, st.data())
def test_a_text_is_read_on_behind_any_item(
    tokenizer: TokenizerConfig, reset: str, data: bytes, drawn: st.DataObject
) -> None:
    config = of_text(tokenizer, reset)
    whole = [item for item in read(config, data) if not isinstance(item, Mark) or item.what == "recording"]
    if whole:
        behind = drawn.draw(st.integers(1, len(whole)))
        reader = TypedReader(config)
        reader.resumed(whole[behind - 1].end, whole[behind - 1].place)
        rest = reader.feed(data[whole[behind - 1].end :]) + reader.finish(complete=True)
        rest = [item for item in rest if not isinstance(item, Mark) or item.what == "recording"]
        assert numbers(rest) == numbers(whole[behind:])
        assert [item.end for item in rest] == [item.end for item in whole[behind:]]


@pytest.mark.parametrize(
    ("kind", "before", "after", "texts"),
    [
        ("characters", "a\N{EURO SIGN}".encode()[:-1], b"\xacbc", ["b", "c"]),
        ("words", b"ab a", b"b c ", ["c"]),
        ("words", b"ab ", b"c ", ["c"]),
        ("words", b"ab ab", b" c ", ["c"]),
        ("words", "ab \N{EURO SIGN}".encode()[:-2], b"\x82", []),
    ],
)
def test_what_remains_of_a_token_whose_front_is_lost_is_none(
    kind: str, before: bytes, after: bytes, texts: list[str]
) -> None:
    config = of_text(learn_tokenizer(["ab c a b"], kind), "never")
    reader = TypedReader(config)
    reader.feed(before)
    held, reader = reader.held(), TypedReader(config)
    if held:
        reader.joined(held)
    found = numbers(reader.feed(after[:1]) + reader.feed(after[1:]))
    assert [config.input.tokenizer.tokens[number] for number in found] == texts


def test_a_peer_that_leaves_ends_its_line() -> None:
    reader = TypedReader(of_text(learn_tokenizer(["ab c"], "words"), "recording"))
    found = reader.feed(b"ab c") + reader.finish(complete=False)
    reader.reconnected()
    assert [item.__class__ for item in found + reader.feed(b"c ")] == [Record, Record, Mark, Record]


@pytest.mark.parametrize(
    ("config", "spec", "options", "said"),
    [
        (random_config(3), "-", {"format": "text"}, "the format is text and the model reads numbers"),
        (BASE, "-", {"format": "s16le"}, "the format is s16le and the model reads tokens, expected text, or csv"),
        (BASE, "speech.wav", {}, "the format is wav and the model reads tokens"),
        (BASE, "serial:/dev/ttyS0", {"format": "text"}, "expected a file, a pipe or a socket"),
        (BASE, "mqtt://host/topic", {"format": "text"}, "expected a file, a pipe or a socket"),
        (BASE, "-", {"format": "text", "stamp": True}, "stamp is given and the format is text"),
        (BASE, "-", {"format": "text", "columns": ("a",)}, "columns is given and the format is text"),
        (BASE, "-", {"streams_by": "pump"}, "streams_by is given and the format is text, expected CSV or JSONL"),
    ],
)
def test_what_does_not_fit_is_refused(config: ModelConfig, spec: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        open_source(spec, config, SourceOptions(**options), pytest.fail)


@pytest.fixture(params=["recording", "never"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    tokenizer = TokenizerConfig("pieces", ("?", "▁", *"abcdefg", "▁a", "\n", "h"), split="spaces", unknown=0)
    config = changed(of_text(tokenizer, request.param))
    save_artifact(random_floats(config, 0), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def ran(*arguments: object, text: bytes = b"") -> tuple[list[dict[str, Any]], str]:
    command = [sys.executable, "-m", "edgegru_runtime", "run", *map(str, arguments)]
    finished = subprocess.run(command, input=text, capture_output=True, check=True)
    return [json.loads(line) for line in finished.stdout.splitlines()], finished.stderr.decode()


def test_a_run_answers_every_token_and_says_what_it_read(model: Path) -> None:
    loaded = load(model)
    found, said = ran(model, "--counters", text=b"ab ba\r\nb\xffa\n")
    stream = loaded.stream()
    expected = []
    for line in ("ab ba", f"b{REPLACEMENT}a"):
        if loaded.config.decision.reset == "recording":
            stream.reset()
        for number in loaded.tokenizer.encode(line):
            index, row = stream.steps, stream.step([number])
            best = max(range(len(row)), key=row.__getitem__)
            text = loaded.tokenizer.config.tokens[number]
            expected.append({"i": index, "text": text, "token": best, "log_p": pytest.approx(row[best])})
    assert found == expected
    counters = json.loads(said)
    assert counters["read"] == counters["processed"] == counters["steps"] == len(found) == 9
    assert (counters["malformed"], counters["resets"], counters["controls"]) == (1, 0, 0)


def test_a_file_is_continued_within_a_line_and_a_log_gives_the_same(model: Path, tmp_path: Path) -> None:
    text, log, state = tmp_path / "text", tmp_path / "log.jsonl", tmp_path / "state"
    text.write_bytes(b"ab ba abc")
    first, _ = ran(model, text, "--state-file", state)
    text.write_bytes(b"ab ba abc c\nba")
    second, said = ran(model, text, "--state-file", state, "--state-every", 1)
    assert "continues behind line 1" in said
    whole, _ = ran(model, text, "--record", log)
    assert first + second == whole
    assert ran(model, log, "--format", "jsonl")[0] == whole


def test_rows_of_csv_have_the_token(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_bytes(b"a b")
    assert main(["run", str(model), str(tmp_path / "text"), "--sink", "csv"]) == 0
    header, *rows = (line.split(",") for line in capsys.readouterr().out.splitlines())
    assert header[:4] == ["stream", "i", "t", "text"]
    assert [row[3] for row in rows] == ["▁a", "▁", "b"]
