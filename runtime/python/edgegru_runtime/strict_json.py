"""JSON as this project accepts it: UTF-8, no name twice, no NaN or infinity; all else is ``ArtifactError``."""

from __future__ import annotations

from edgegru_runtime.errors import ArtifactError

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from typing import Any, NoReturn


def parse_json(data: bytes, what: str) -> Any:
    """The value written in ``data``; ``what`` names the text in the sentence of an ``ArtifactError``."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{what} is not UTF-8 at byte {error.start}") from None
    found = _scanned(text)
    return _parsed(text, what) if found is None else found[0]


def _scanned(text: str) -> tuple[Any] | None:
    """The value written in ``text``; None where something is wrong, for ``json`` to say what.

    The scanner is the one inside ``json``, without the regular expressions that importing ``json`` brings: those cost
    more than everything else on the way from a file to a model.
    """
    try:
        from _json import make_scanner
    except ImportError:  # another Python than CPython
        return None
    text = text.strip(" \t\n\r")
    try:
        value, end = make_scanner(_Scanning)(text, 0)  # type: ignore[arg-type]  # it looks at these six names
    except (StopIteration, ValueError, RecursionError, NotAccepted):
        return None
    return (value,) if end == len(text) else None


def _parsed(text: str, what: str) -> Any:
    import json

    try:
        return json.loads(text, object_pairs_hook=unique_names, parse_constant=_constant)
    except NotAccepted as error:
        raise ArtifactError(f"{what} {error}") from None
    except RecursionError:
        raise ArtifactError(f"{what} is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ArtifactError(f"{what} is not JSON: {error.msg} at character {error.pos}") from None
    except ValueError:  # an integer of more digits than Python converts
        raise ArtifactError(f"{what} holds a number with too many digits") from None


def shown(value: object) -> str:
    """A value as an error message may quote it: printable, on one line, never long."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:60]}…"


class NotAccepted(Exception):
    """What the hooks below found, to stand behind the name of the text."""


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs, as ``object_pairs_hook``. Raises NotAccepted where a name stands twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise NotAccepted(f"has the name {shown(name)} twice in one object")
            seen.add(name)
    return found


def _constant(name: str) -> NoReturn:
    raise NotAccepted(f"holds {name}, which is no finite number")


class _Scanning:
    """How the scanner reads, as ``json`` would call it."""

    strict, object_hook, object_pairs_hook = True, None, staticmethod(unique_names)
    parse_float, parse_int, parse_constant = float, int, staticmethod(_constant)
