"""Fields of a JSON object, taken one by one: each is checked by type and range, and refused with its place.

All of them raise ArtifactError; ``at`` says where a value is.
"""

from __future__ import annotations

from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.strict_json import shown

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeGuard

MAX_SIZE = 16384  # channels, units of a layer, numbers of an output
MAX_TEXT = 200  # characters of a name, unit or label
MIN_SCALE, MAX_SCALE = 2.0**-100, 2.0**100  # so that float32 holds a scale and its inverse
LETTERS, DIGITS = "abcdefghijklmnopqrstuvwxyz", "0123456789"


def take_fields(value: object, at: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """The object itself, which has all ``required`` fields and none but those and the ``optional`` ones."""
    if not isinstance(value, dict):
        raise ArtifactError(f"{at} is {shown(value)}; expected an object")
    known = (*required, *optional)
    for name in value:
        if name not in known:
            raise ArtifactError(f"{at} has an unknown field {shown(name)}; expected only {', '.join(known)}")
    for name in required:
        if name not in value:
            raise ArtifactError(f"{at} has no field {name!r}; expected {', '.join(required)}")
    return value


def take_list(value: object, at: str, shortest: int, longest: int) -> list[Any]:
    """A list of ``shortest`` to ``longest`` items."""
    if not isinstance(value, list) or not shortest <= len(value) <= longest:
        count = str(shortest) if shortest == longest else f"{shortest} to {longest}"
        raise ArtifactError(f"{at} is {shown(value)}; expected a list of {count}")
    return value


def take_texts(value: object, at: str, count: int | None) -> tuple[str, ...]:
    """``count`` printable texts, or any number but none."""
    texts = take_list(value, at, *((1, MAX_SIZE) if count is None else (count, count)))
    for text in texts:
        if not isinstance(text, str) or len(text) > MAX_TEXT or has_control(text):
            raise ArtifactError(
                f"{at} holds {shown(text)}; expected text of at most {MAX_TEXT} characters, none a control character"
            )
    return tuple(texts)


def take_matching(value: object, at: str, fits: Callable[[str], bool], expected: str) -> str:
    """A text that ``fits``, which is ``expected``."""
    if not isinstance(value, str) or not fits(value):
        raise ArtifactError(f"{at} is {shown(value)}; expected {expected}")
    return value


def is_node_name(text: str, besides: str = "_") -> bool:
    """A lower-case letter, then up to 63 letters, digits and characters of ``besides``."""
    return 0 < len(text) <= 64 and text[0] in LETTERS and not text.strip(LETTERS + DIGITS + besides)


def is_value_name(text: str) -> bool:
    """The name of a node, or ``NAME.rh``."""
    return is_node_name(text.removesuffix(".rh"))


def is_observer(text: str) -> bool:
    """The name of an observer of ranges."""
    return is_node_name(text, "_.:-")


def is_identity(text: str) -> bool:
    """A SHA-256 in lower-case hexadecimal digits."""
    return len(text) == 64 and not text.strip(DIGITS + "abcdef")


def has_control(text: str) -> bool:
    """Whether a character would corrupt a terminal, or is none at all (half a surrogate pair)."""
    if text.isascii() and text.isprintable():
        return False
    return any(c < " " or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" for c in text)


def take_choice(value: object, at: str, choices: tuple[str, ...]) -> str:
    """One of ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise ArtifactError(f"{at} is {shown(value)}; expected one of {', '.join(choices)}")
    return value


def take_flag(value: object, at: str) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ArtifactError(f"{at} is {shown(value)}; expected true or false")
    return value


def take_integer(value: object, at: str, lowest: int, highest: int) -> int:
    """An integer from ``lowest`` to ``highest``."""
    if type(value) is not int or not lowest <= value <= highest:  # True is an int to isinstance
        raise ArtifactError(f"{at} is {shown(value)}; expected an integer from {lowest} to {highest}")
    return value


def take_size(fields: dict[str, Any], name: str, at: str) -> int:
    """The field ``name``: a number of channels, units or outputs."""
    return take_integer(fields[name], f"{at}.{name}", 1, MAX_SIZE)


def take_number(value: object, at: str, lowest: float, highest: float) -> float:
    """A number from ``lowest`` to ``highest``."""
    if not _is_number(value) or not lowest <= value <= highest:  # also false for NaN
        raise ArtifactError(f"{at} is {shown(value)}; expected a number from {lowest:g} to {highest:g}")
    return float(value)


def take_positive(value: object, at: str) -> float:
    """A number that float32 and its inverse can hold."""
    if not _is_number(value) or not MIN_SCALE <= value <= MAX_SCALE:
        raise ArtifactError(f"{at} is {shown(value)}; expected a number from 2^-100 to 2^100")
    return float(value)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
