"""Text as the numbers of tokens, the input of a model that begins with an embedding. docs/tokenizers.md.

The same code makes the tokens that a model is trained on and those of the device.
"""

from __future__ import annotations

from itertools import pairwise

from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.json_fields import MAX_TEXT, take_choice, take_fields, take_flag, take_integer, take_list
from edgegru_runtime.model_config import TokenizerConfig
from edgegru_runtime.strict_json import shown

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

KINDS = ("characters", "words", "pieces")
SPLITS = ("punctuation", "spaces")
MARK = "▁"  # in front of the pieces of a word
LONGEST_WORD = 100  # characters; a longer one is cut, so that nobody waits for its end
MAX_TOKENS = 65536


class Tokenizer:
    """What a ``TokenizerConfig`` says, ready to be used by any number of readers."""

    def __init__(self, config: TokenizerConfig) -> None:
        self.config = config
        silent = (config.unknown, config.end)  # their texts never give them
        self._numbers = {token: number for number, token in enumerate(config.tokens) if number not in silent}

    def encode(self, text: str) -> list[int]:
        """The numbers of the tokens of a whole text."""
        reader = self.reader()
        return reader.feed(text) + reader.finish()

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of tokens: characters as they were, words with a space between any two, nothing of the end."""
        texts = [self.config.tokens[number] for number in numbers if number != self.config.end]
        if self.config.kind == "words":
            return " ".join(texts)
        text = "".join(texts)
        return text.replace(MARK, " ").removeprefix(" ") if self.config.kind == "pieces" else text

    def reader(self) -> TokenReader:
        """Reads a text that comes piece by piece."""
        return TokenReader(self)

    def numbers(self, part: str) -> list[int]:
        """The tokens of one character or word of a text, as ``Splitter`` gives them."""
        return self._pieces(part) if self.config.kind == "pieces" else self._number(part)

    def _number(self, text: str) -> list[int]:
        """A token's own number, or that of the unknown one, or none."""
        number = self._numbers.get(text, self.config.unknown)
        return [] if number is None else [number]

    def _pieces(self, word: str) -> list[int]:
        """Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909): of all neighbours whose joined text is a token,
        those of the lowest number are joined, the leftmost first.
        """
        parts, numbers = [MARK, *word], self._numbers
        while True:
            pairs = [numbers.get(first + second, MAX_TOKENS) for first, second in pairwise(parts)]
            lowest = min(pairs, default=MAX_TOKENS)
            if lowest == MAX_TOKENS:
                return [number for part in parts for number in self._number(part)]
            place = pairs.index(lowest)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]


class TokenReader:
    """Text in pieces as they come → numbers of tokens, the same however the text is cut."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._numbers, self._splitter = tokenizer.numbers, Splitter(tokenizer.config)

    def feed(self, text: str) -> list[int]:
        """The tokens that are complete now. A word is when something follows that is no part of it."""
        return [number for part in self._splitter.feed(text) for number in self._numbers(part)]

    def finish(self) -> list[int]:
        """The tokens of the word that was begun; the text ends here."""
        return [number for part in self._splitter.finish() for number in self._numbers(part)]


class Splitter:
    """Text in pieces as they come → its characters or words, whatever the tokens are."""

    def __init__(self, config: TokenizerConfig) -> None:
        self._config = config
        self._word = ""  # begun, not yet ended

    def feed(self, text: str) -> list[str]:
        """The characters or words that are complete now."""
        if self._config.lower:
            text = "".join(map(str.lower, text))  # each by itself: what is a sigma shall not depend on what follows
        if self._config.kind == "characters":
            return list(text)
        found = []
        for character in text:
            if character.isspace() or character == MARK:
                found += self.finish()
            elif self._config.split == "punctuation" and not _is_of_word(character):
                found += [*self.finish(), character]
            else:
                self._word += character
                if len(self._word) == LONGEST_WORD:
                    found += self.finish()
        return found

    @property
    def begun(self) -> str:
        """The word that was begun and is not complete, "" where none was."""
        return self._word

    def finish(self) -> list[str]:
        """The word that was begun, if one was."""
        word, self._word = self._word, ""
        return [word] if word else []


def _is_of_word(character: str) -> bool:
    """Letters, digits and the marks upon them, and what else an identifier may hold."""
    return character.isalnum() or ("a" + character).isidentifier()


def _is_utf8(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def tokenizer_to_json(config: TokenizerConfig) -> dict[str, Any]:
    """The JSON object of a tokenizer; the inverse of ``parse_tokenizer``."""
    result: dict[str, Any] = {"kind": config.kind, "tokens": list(config.tokens)}
    if config.lower:
        result["lower"] = True
    if config.kind != "characters":
        result["split"] = config.split
    for name in ("unknown", "end"):
        if getattr(config, name) is not None:
            result[name] = getattr(config, name)
    return result


def parse_tokenizer(value: object, at: str) -> TokenizerConfig:
    """The tokenizer that a JSON value describes. Raises ArtifactError with the place."""
    fields = take_fields(value, at, ("kind", "tokens"), ("lower", "split", "unknown", "end"))
    kind = take_choice(fields["kind"], f"{at}.kind", KINDS)
    if (kind == "characters") == ("split" in fields):
        expected = "none for characters, one for words and pieces"
        found = f"{at} of kind {kind!r} has {'a' if 'split' in fields else 'no'} split"
        raise ArtifactError(f"{found}; expected {expected}")
    tokens, unknown = take_list(fields["tokens"], f"{at}.tokens", 1, MAX_TOKENS), fields.get("unknown")
    end = fields.get("end")
    for name in ("unknown", "end"):
        if fields.get(name) is not None:
            take_integer(fields[name], f"{at}.{name}", 0, len(tokens) - 1)
    if end is not None and end == unknown:
        raise ArtifactError(f"{at}.end is {end}, the unknown token; expected another one")
    for number, token in enumerate(tokens):
        if not isinstance(token, str) or not 0 < len(token) <= MAX_TEXT or not _is_utf8(token):
            found = f"{at}.tokens[{number}] is {shown(token)}"
            raise ArtifactError(f"{found}; expected text of 1 to {MAX_TEXT} characters, none half a surrogate pair")
        if kind == "characters" and len(token) != 1 and number not in (unknown, end):
            raise ArtifactError(f"{at}.tokens[{number}] is {shown(token)}; expected one character")
    seen: set[str] = set()
    for token in tokens:
        if token in seen:
            raise ArtifactError(f"{at}.tokens holds {shown(token)} twice; expected different tokens")
        seen.add(token)
    return TokenizerConfig(
        kind,
        tuple(tokens),
        take_flag(fields.get("lower", False), f"{at}.lower"),
        take_choice(fields.get("split", SPLITS[0]), f"{at}.split", SPLITS),
        unknown,
        end,
    )
