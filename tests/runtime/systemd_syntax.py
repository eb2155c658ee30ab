"""How systemd reads a command in a unit: systemd.syntax(7), systemd.service(5) and systemd.unit(5)."""

from __future__ import annotations

import re

ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34, "'": 39, "s": 32}
WIDTHS = {"x": 2, "u": 4, "U": 8}


def words(line: str) -> list[str]:
    """The words of a command line, quotes and escapes undone."""
    found, index = [], 0
    while index < len(line):
        if line[index] in " \t\n\r":
            index += 1
            continue
        word, index = _word(line, index)
        found.append(word)
    return found


def _word(line: str, index: int) -> tuple[str, int]:
    word, quote = bytearray(), ""
    while index < len(line):
        character = line[index]
        if character == "\\":
            value, index = _escape(line, index + 1)
            word += value
            continue
        index += 1
        if quote:
            if character == quote:
                quote = ""
                continue
        elif character in "\"'":
            quote = character
            continue
        elif character in " \t\n\r":
            break
        word += character.encode()
    assert not quote, f"an open quote in {line}"
    return word.decode(), index


def _escape(line: str, index: int) -> tuple[bytes, int]:
    kind = line[index]
    if kind in ESCAPES:
        return bytes([ESCAPES[kind]]), index + 1
    if kind in WIDTHS:
        digits = line[index + 1 : index + 1 + WIDTHS[kind]]
        value = int(digits, 16)
        return bytes([value]) if kind == "x" else chr(value).encode(), index + 1 + WIDTHS[kind]
    digits = line[index : index + 3]
    return bytes([int(digits, 8)]), index + 3


def specifiers(word: str) -> str:
    """Percent signs undone; no other specifier is expected."""
    assert not re.search(r"%[^%]", word.replace("%%", "")), word
    return word.replace("%%", "%")


def variables(word: str) -> str:
    """Dollar signs undone; no variable is expected."""
    rest = word.replace("$$", "")
    assert "$" not in rest, word
    return word.replace("$$", "$")


def command(line: str) -> list[str]:
    """The arguments that a program started by ``line`` gets, with its own path before them."""
    return [variables(specifiers(word)) for word in words(line)]
