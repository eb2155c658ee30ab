"""Times written as ISO 8601, to the nanosecond; those without a zone are taken as UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from edgegru_runtime.errors import InputError
from edgegru_runtime.strict_json import shown

_EPOCH, _EPOCH_WITHOUT_ZONE = datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1)
_BEYOND_MICROSECONDS = re.compile(r".{10}[^+-]*[.,]\d{6}(\d{1,3})")  # digits that datetime cuts off


def nanoseconds(text: str) -> int:
    """Nanoseconds from 1970. Raises InputError for text that is no date, or one beyond the years 1678 to 2261."""
    given = _datetime(text)
    if not 1677 < given.year < 2262:
        raise InputError(f"the time is {shown(text)}, expected one of the years 1678 to 2261")
    since = given - (_EPOCH_WITHOUT_ZONE if given.tzinfo is None else _EPOCH)
    whole = (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000
    if len(text) > 21 and (beyond := _BEYOND_MICROSECONDS.match(text)) is not None:
        return whole + int(beyond[1].ljust(3, "0"))
    return whole


def moved(text: str, microseconds: int) -> str:
    """A time some microseconds after that of ``text``, in its zone."""
    return (_datetime(text) + timedelta(microseconds=microseconds)).isoformat()


def _datetime(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"the time is {shown(text)}, expected a number or ISO 8601") from None
