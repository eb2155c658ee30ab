"""Names, numbers and arrays as C99 and C++17 read them."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable

LONGEST_NAME = 48  # of a model, in its identifiers; what is longer ends in digits of its hash
LINE = 118


def identifier(name: str) -> str:
    """What a model called ``name`` is called in C, with a prefix: ``[a-z0-9_]`` alone, never a word of the language.

    Letters become small, other characters of ASCII ``_``, those beyond it their number.
    """
    text = "".join(
        c.lower() if c.isascii() and c.isalnum() else "_" if c.isascii() else f"u{ord(c):x}" for c in name
    ).strip("_")
    text = re.sub("_+", "_", text) or "model"
    if len(text) > LONGEST_NAME:
        text = f"{text[: LONGEST_NAME - 9].rstrip('_')}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"edgegru_{text}"


def float_literal(value: float) -> str:
    """A float32 whose digits read back to the same bits: nine significant ones always do."""
    (single,) = struct.unpack("<f", struct.pack("<f", value))
    text = f"{single:.9g}"
    return f"{text}f" if any(c in text for c in ".en") else f"{text}.0f"


def array(kind: str, name: str, numbers: Iterable[float], shape: str = "") -> str:
    """The definition of a constant table; ``kind``: int8_t, int16_t, int32_t or float."""
    values = [float_literal(number) if kind == "float" else integer_literal(int(number)) for number in numbers]
    return f"static const {kind} {name}[{shape or len(values)}] = {{\n{wrapped(values)}}};\n"


def integer_literal(value: int) -> str:
    """An integer of 32 bits: the smallest has no literal of its own."""
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)


def wrapped(values: Iterable[str], indent: str = "    ") -> str:
    """Values with commas between them, in lines."""
    lines, line = [], indent
    for value in values:
        if len(line) + len(value) + 2 > LINE:
            lines.append(line.rstrip())
            line = indent
        line += f"{value}, "
    return "".join(f"{line}\n" for line in [*lines, line.rstrip()])


def comment_text(text: str) -> str:
    """Text that cannot end a comment, be read as a trigraph or go on in the next line: printable ASCII."""
    plain = "".join(c if 32 <= ord(c) < 127 and c != "\\" else "_" for c in text)
    return re.sub(r"\*(?=/)|/(?=\*)|\?(?=\?)", lambda found: f"{found[0]} ", plain)
