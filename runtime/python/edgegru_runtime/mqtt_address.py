"""Where a broker is and which topic is meant: ``mqtt://[user[:password]@]host[:port]/topic[?option=value&…]``."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from urllib.parse import unquote

from edgegru_runtime.errors import InputError
from edgegru_runtime.plain_data import dataclass, field
from edgegru_runtime.strict_json import shown

PASSWORD_VARIABLE = "EDGEGRU_MQTT_PASSWORD"
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_COMMON_OPTIONS = ("client_id", "qos")
_TLS_OPTIONS = ("ca", "cert", "key")
_ADDRESS = re.compile(
    r"(?P<scheme>mqtts?)://(?:(?P<user>[^@/:]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<host>[^@/:?\[\]]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?(?:/(?P<topic>[^?]*))?(?:\?(?P<query>.*))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class MqttAddress:
    """A broker and a topic, or a filter of topics."""

    name: str  # for errors: without user and password
    host: str
    port: int
    tls: bool
    topic: str
    user: str | None = None
    password: str | None = None
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)  # an option may be there several times

    def option(self, name: str) -> str | None:
        """The value of an option that may be there once. Raises InputError where it is there more often."""
        values = self.options.get(name, ())
        if len(values) > 1:
            raise InputError(f"{self.name}: option {name} is there {len(values)} times, expected it once")
        return values[0] if values else None

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """An option that is an integer from ``low`` to ``high``. Raises InputError where it is not."""
        text = self.option(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
            raise InputError(f"{self.name}: option {name} is {shown(text)}, expected an integer from {low} to {high}")
        return int(text)


def parse_address(spec: str, options: Collection[str]) -> MqttAddress:
    """The address that ``spec`` writes; ``options`` may stand in it besides those of every connection.

    Characters can be written as %XX. A user's password is in the address or in the environment's
    EDGEGRU_MQTT_PASSWORD. Raises InputError, without showing the password.
    """
    match = _ADDRESS.fullmatch(spec)
    if match is None:
        raise InputError("the MQTT address cannot be read, expected mqtt://[user:password@]host[:port]/topic")
    scheme, host = match["scheme"], match["host"].strip("[]")
    topic = unquote(match["topic"] or "")
    port = int(match["port"] or _PORTS[scheme])
    name = f"{scheme}://{match['host']}:{port}/{topic}"
    if not 1 <= port <= 65535:
        raise InputError(f"{name}: the port is {port}, expected 1 to 65535")
    try:
        host.encode("idna")
    except UnicodeError:
        raise InputError(f"{name}: {shown(host)} is no name of a host") from None
    user, password = match["user"], match["password"]
    known = (*_COMMON_OPTIONS, *(_TLS_OPTIONS if scheme == "mqtts" else ()), *options)
    return MqttAddress(
        name,
        host,
        port,
        scheme == "mqtts",
        topic,
        unquote(user) if user else None,
        unquote(password) if password is not None else os.environ.get(PASSWORD_VARIABLE) if user else None,
        _options(match["query"] or "", known, name),
    )


def check_filter(topic: str, name: str) -> None:
    """Raises InputError where ``topic`` is no filter of topics: + is a whole level, # is one and the last."""
    levels = topic.split("/")
    wrong = any(("+" in level or "#" in level) and len(level) > 1 for level in levels) or "#" in levels[:-1]
    if wrong or not _encodable(topic):
        raise InputError(f"{name}: {shown(topic)} is no filter of topics, expected + for a level or # at the end")


def check_topic(topic: str, name: str) -> None:
    """Raises InputError where nothing can be published at ``topic``."""
    if "+" in topic or "#" in topic or topic.startswith("$") or not _encodable(topic):
        raise InputError(f"{name}: {shown(topic)} is no topic to publish at, expected one without +, # and $")


def topic_level(name: str) -> str:
    """A sensor's name as a part of a topic; what has a meaning in topics as %XX, / stays."""
    return re.sub(r"[\x00-\x1f\x7f%+#]", lambda match: f"%{ord(match[0]):02X}", name)


def _encodable(topic: str) -> bool:
    try:
        return 0 < len(topic.encode()) <= 65535 and "\0" not in topic
    except UnicodeEncodeError:
        return False


def _options(query: str, known: Collection[str], name: str) -> dict[str, tuple[str, ...]]:
    options: dict[str, tuple[str, ...]] = {}
    for part in query.split("&") if query else ():
        option, equals, value = part.partition("=")
        if option not in known or not equals or not value:
            raise InputError(f"{name}: {shown(part)} is no option, expected {', '.join(f'{one}=…' for one in known)}")
        options[option] = (*options.get(option, ()), unquote(value))
    return options
