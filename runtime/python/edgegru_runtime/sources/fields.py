"""What the fields of a line mean, whatever its format: numbers, times, and messages that steer the run."""

from __future__ import annotations

from math import isfinite, nan
from typing import TypeGuard

from edgegru_runtime.errors import InputError
from edgegru_runtime.record import Control, Refusal, Time
from edgegru_runtime.strict_json import shown

TIME_NAMES = ("t", "timestamp")
CONTROLS = ("reset", "dump")
INTEGER_DIGITS = 19  # integers up to here stay what they are: nanoseconds since 1970 among them


def as_number(field: str) -> float | None:
    """The number that a field writes, if it does; "nan" and "inf" are numbers, empty is not."""
    try:
        return float(field) if field.isascii() and "_" not in field else None  # as others than Python write numbers
    except ValueError:
        return None


def number(field: str, what: str) -> float:
    """The number in a field, NaN where it is empty. Raises InputError, which calls the field ``what``."""
    found = as_number(field)
    if found is None:
        if field:
            raise InputError(f"{what} is {shown(field)}, expected a number")
        return nan
    return found


def as_time(field: str) -> Time:
    """The time that a field writes: a number, other text as it stands, None where it is empty."""
    if ":" in field:
        return field
    digits = field[1:] if field[:1] in ("-", "+") else field
    if digits.isdigit() and digits.isascii() and len(digits) <= INTEGER_DIGITS:
        return int(field)
    found = as_number(field)
    return found if found is not None and isfinite(found) else field or None


def json_time(value: object) -> Time:
    """A time from JSON. Raises InputError where it is no finite number, text or null."""
    if isinstance(value, int) and abs(value) >= 10**INTEGER_DIGITS:
        value = json_float(value)
    if value is None or is_text(value):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise InputError(f"the time is {shown(value)}, expected a number or text")
    return value


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value from JSON is text that can be written again; halves of surrogate pairs cannot."""
    if not isinstance(value, str):
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def json_float(value: float) -> float:
    """A number from JSON as a float; like 1e999, an integer beyond all floats is infinite."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def control_line(line: bytes, place: int, end: int) -> Control | None:
    """The message of a line "!reset", "!reset KEY" or "!dump"; None where it is no such line."""
    if line[:1] != b"!":
        return None
    action, _, key = line[1:].decode(errors="replace").strip().partition(" ")
    return Control(action, key.strip() or None, place, end) if action in CONTROLS else None


def control_object(value: dict[str, object], key_name: str, place: int, end: int) -> Control | Refusal | None:
    """The message of an object with a "control" of text and perhaps a sensor's name; None where it is none."""
    action, key = value.get("control"), value.get(key_name)
    if not isinstance(action, str):
        return None
    if action not in CONTROLS:
        return Refusal(f"the control is {shown(action)}, expected {' or '.join(CONTROLS)}", place, end)
    if key is not None and not is_text(key):
        return Refusal(f"field {key_name} is {shown(key)}, expected the sensor's name", place, end)
    return Control(action, key, place, end)
