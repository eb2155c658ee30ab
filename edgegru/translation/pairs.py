"""Pairs of sentences in the layout of Multi30k: two files a part, a file a language, gzipped or not."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgegru.translation.config import PairsConfig
from edgegru.vocabulary import learn_tokenizer
from edgegru_runtime.errors import DataError
from edgegru_runtime.model_config import TokenizerConfig
from edgegru_runtime.tokenizer import Tokenizer

PARTS = {"train": "train", "validation": "val", "test": "test"}  # how the names of their files begin
END = "<end>"  # the token of where a sentence ends


@dataclass(frozen=True)
class Pair:
    """A sentence and what it is in the other language."""

    source: str
    target: str


@dataclass(frozen=True)
class TokenPair:
    """The same in tokens: those of the source, and those of the target without its end."""

    source: tuple[int, ...]
    target: tuple[int, ...]


def read_pairs(folder: Path, part: str, source: str, target: str) -> tuple[Pair, ...]:
    """The pairs of a part, one of ``PARTS``; () where the folder has no file of it.

    The file of a part begins as ``PARTS`` says and ends in the language: ``test_2016_flickr.de``, or with .gz behind
    it. Raises DataError where only one of the two is there, where they have not the same number of lines, and for an
    empty line.
    """
    files = [_file(folder, PARTS[part], language) for language in (source, target)]
    if files == [None, None]:
        return ()
    for file, language in zip(files, (source, target), strict=True):
        if file is None:
            other = next(file for file in files if file is not None)
            raise DataError(f"{folder} has {other.name} and no {PARTS[part]}*.{language}, expected a file of each")
    sources, targets = (_lines(file) for file in files if file is not None)
    if len(sources) != len(targets):
        names = " and ".join(file.name for file in files if file is not None)
        raise DataError(f"{names} in {folder} have {len(sources)} and {len(targets)} lines, expected as many")
    return tuple(Pair(*both) for both in zip(sources, targets, strict=True))


def learned_tokenizers(pairs: Sequence[Pair], config: PairsConfig) -> tuple[TokenizerConfig, TokenizerConfig]:
    """The tokenizers of both languages, of what is most frequent; that of the target has a token for the end."""
    kinds = config.tokenizer, config.vocabulary, config.lower, "punctuation", config.minimum_count
    source = learn_tokenizer([pair.source for pair in pairs], *kinds)
    kinds = config.tokenizer, config.vocabulary - 1, config.lower, "punctuation", config.minimum_count
    target = learn_tokenizer([pair.target for pair in pairs], *kinds)
    if END in target.tokens:
        raise DataError(f"{END} is a token of the sentences, expected it nowhere in them")
    return source, replace(target, tokens=(*target.tokens, END), end=len(target.tokens))


def in_tokens(
    pairs: Sequence[Pair], source: TokenizerConfig, target: TokenizerConfig, length: int
) -> tuple[TokenPair, ...]:
    """The pairs whose source has 1 to ``length`` tokens and whose target has at least one."""
    encode_source, encode_target = Tokenizer(source).encode, Tokenizer(target).encode
    both = (TokenPair(tuple(encode_source(pair.source)), tuple(encode_target(pair.target))) for pair in pairs)
    return tuple(pair for pair in both if 0 < len(pair.source) <= length and pair.target)


def digest(*parts: Sequence[Pair]) -> str:
    """SHA-256 over pairs."""
    result = hashlib.sha256()
    for part in parts:
        result.update(f"{len(part)}\n".encode())
        for pair in part:
            result.update(f"{pair.source}\n{pair.target}\n".encode())
    return result.hexdigest()


def _file(folder: Path, start: str, language: str) -> Path | None:
    """The one file of a part and language. Raises DataError for several, and where there is no such folder."""
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}")
    endings = (f".{language}", f".{language}.gz")
    found = sorted(file for file in folder.iterdir() if file.name.startswith(start) and file.name.endswith(endings))
    if len(found) > 1:
        raise DataError(f"{folder} has {found[0].name} and {found[1].name}, expected one file {start}*.{language}")
    return found[0] if found else None


def _lines(file: Path) -> list[str]:
    try:
        data = file.read_bytes()
        text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode()
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        raise DataError(f"{file}, line {line}: byte {error.object[error.start]:#04x} is no UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {error}") from None
    lines = [line.strip() for line in text.removesuffix("\n").split("\n")]
    for number, line in enumerate(lines, start=1):
        if not line:
            raise DataError(f"{file}, line {number} is empty, expected a sentence")
    return lines
