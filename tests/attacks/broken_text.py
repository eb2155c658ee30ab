"""Exhibits whose tokenizer is not sound."""

from __future__ import annotations

from typing import Any

from tests.attacks.museum import GOOD_FLOAT, GOOD_TEXT, Parts, exhibit, setting

# input.tokenizer: characters, of which the embedding has 12 rows


AT = "input.tokenizer"


def tokenizer(name: str, field: str, value: Any, error: str) -> None:
    setting(name, f"input.tokenizer.{field}", value, error, GOOD_TEXT)


setting("tokenizer of nothing", "input.tokenizer", None, "input.tokenizer is null; expected an object", GOOD_TEXT)
tokenizer("tokenizer of syllables", "kind", "syllables", f"{AT}.kind is 'syllables'; expected one of characters")
tokenizer("words that end nowhere", "kind", "words", "input.tokenizer of kind 'words' has no split; expected none for")
tokenizer("characters that are split", "split", "spaces", "of kind 'characters' has a split; expected none for")
tokenizer("no tokens", "tokens", [], "input.tokenizer.tokens is a list of 0; expected a list of 1 to")
tokenizer("fewer tokens than rows", "tokens", ["a"], "input.tokenizer has 1 tokens; expected the 12 rows of embedding")
tokenizer("a number as a token", "tokens", ["a", 1], "input.tokenizer.tokens[1] is 1; expected text of 1 to 200")
tokenizer("an empty token", "tokens", [""], "input.tokenizer.tokens[0] is ''; expected text of 1 to 200 characters")
tokenizer("a long token", "tokens", ["a" * 201], "expected text of 1 to 200 characters")
tokenizer("two characters as one", "tokens", ["a", "bc"], "input.tokenizer.tokens[1] is 'bc'; expected one character")
tokenizer("a token twice", "tokens", ["a", "b", "a"], f"{AT}.tokens holds 'a' twice; expected different")
tokenizer("unknown beyond the tokens", "unknown", 12, "input.tokenizer.unknown is 12; expected an integer from 0 to 11")
tokenizer("unknown as a text", "unknown", "a", "input.tokenizer.unknown is 'a'; expected an integer from 0 to 11")
tokenizer("lower by a number", "lower", 1, "input.tokenizer.lower is 1; expected true or false")
tokenizer("a field nobody knows", "merges", [], "input.tokenizer has an unknown field 'merges'; expected only kind")


@exhibit("input.tokenizer has 1 tokens; expected an embedding in the first place", GOOD_FLOAT)
def _text_without_an_embedding(parts: Parts) -> None:
    parts.config["input"] = {"size": 1, "channels": ["token"], "tokenizer": {"kind": "characters", "tokens": ["a"]}}
    parts.config["nodes"][0]["size"] = 1
