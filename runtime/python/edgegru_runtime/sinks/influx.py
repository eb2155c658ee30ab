"""Results as InfluxDB's line protocol (https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from math import isfinite

from edgegru_runtime import iso_time
from edgegru_runtime.errors import EdgegruError, InputError
from edgegru_runtime.model_config import DecisionConfig, ModelConfig, OutputConfig
from edgegru_runtime.record import Time
from edgegru_runtime.result import Result
from edgegru_runtime.sinks.lines import Lines, encoded
from edgegru_runtime.sinks.readings import events_text, kind_of, likeliest, number, path, unique_labels
from edgegru_runtime.sinks.sink import Dropped, Warn
from edgegru_runtime.timeline import TIME_UNITS

MEASUREMENT = "edgegru"
_MAX_TIME = 2**63 - 2
# Line protocol has no line's end in names and texts. How a reader takes a backslash before a comma or at the end of a
# name differs between versions of InfluxDB, so names have none.
_CONTROL = [chr(code) for code in (*range(32), 127)]
_NAME = str.maketrans(dict.fromkeys([" ", *_CONTROL], "\\ ") | {",": "\\,", "=": "\\=", "\\": "/"})
_MEASUREMENT = str.maketrans({" ": "\\ ", ",": "\\,"})
_TEXT = str.maketrans(dict.fromkeys(_CONTROL, " ") | {'"': '\\"', "\\": "\\\\"})

_Reading = Callable[[Sequence[float]], tuple[str, list[str]]]  # numbers to the tag "label", or "", and fields


class InfluxLines:
    """Writes results as points: a point for each step or, with ``emit`` "events", for each event.

    Tags are ``label`` (of classes and events), ``stream`` and ``output`` (of events); everything else is a field. The
    timestamp is the sample's time, a number in ``time_unit`` since 1970 or ISO 8601, and missing where that is missing.

    Raises InputError where ``measurement`` is no name that InfluxDB takes.
    """

    header = ""

    def __init__(
        self,
        config: ModelConfig,
        decision: DecisionConfig,
        emit: str,
        measurement: str = MEASUREMENT,
        time_unit: str = "s",
    ) -> None:
        if not measurement or measurement[0] in "_#" or not measurement.isprintable() or "\\" in measurement:
            expected = "a name that begins with neither _ nor # and has no backslash"
            raise InputError(f"the measurement is {measurement!r}, expected {expected}")
        self._config = config
        self._emit_events = emit == "events"
        self._measurement = measurement.translate(_MEASUREMENT)
        self._digits = len(str(TIME_UNITS[time_unit])) - 1  # of a fraction, down to nanoseconds
        self._readings = [_reading(config, output, decision.threshold) for output in config.outputs]
        self._labels = [path(config, output, "label").translate(_NAME) for output in config.outputs]
        self._on = [path(config, output, "on").translate(_NAME) for output in config.outputs]

    def lines(self, result: Result) -> str:
        """The points of a result, each a line with its end."""
        stamp = nanoseconds(result.t, self._digits)
        end = "\n" if stamp is None else f" {stamp}\n"
        if self._emit_events:
            return "".join([self._event(result, *event) + end for event in result.events])
        tags, fields = {"stream": result.key}, [f"i={result.index}i"]
        for reading, label, name, values, on in zip(
            self._readings, self._labels, self._on, result.outputs, result.on, strict=True
        ):
            tags[label], more = reading(values)
            fields += more
            fields.append(f"{name}={_text(';'.join(on))}")
        if result.score is not None:
            fields += _field("score", result.score)
        if result.events:
            fields.append(f"events={_text(events_text(self._config, result.events))}")
        if result.step_us is not None:
            fields += _field("step_us", result.step_us)
        return f"{self._point(tags)} {','.join(fields)}{end}"

    def _event(self, result: Result, on: bool, label: str, p: float, output: int) -> str:
        tags = {"stream": result.key, "label": label}
        if len(self._config.outputs) > 1:
            tags["output"] = self._config.outputs[output].node
        fields = [f"i={result.index}i", f'event="{"on" if on else "off"}"', *_field("p", p)]
        return f"{self._point(tags)} {','.join(fields)}"

    def _point(self, tags: dict[str, str]) -> str:
        """Measurement and tags, those that are not empty, in the order that InfluxDB likes best."""
        pairs = [f",{name}={tags[name].translate(_NAME)}" for name in sorted(tags) if tags[name]]
        return self._measurement + "".join(pairs)


class Datagrams:
    """A sink of lines as UDP datagrams, one for each result; those that cannot be sent are lost and counted.

    Raises InputError where the address is none ("host:port"), EdgegruError where the host is unknown.
    """

    def __init__(self, address: str, formatter: Lines, warn: Warn, dropped: Dropped) -> None:
        self._address, self._lines, self._warn, self._dropped = address, formatter.lines, warn, dropped
        self._warned: set[int | None] = set()
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise InputError(f"{address}: is no address, expected HOST:PORT")
        try:
            family, kind, _, _, peer = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        except (OSError, UnicodeError) as error:  # a name with parts that are empty or too long
            raise EdgegruError(f"{address}: cannot be reached: {getattr(error, 'strerror', error)}") from None
        self._socket = socket.socket(family, kind)
        self._socket.setblocking(False)
        try:
            self._socket.connect(peer)  # so that a refusal comes back
        except OSError as error:
            self._socket.close()
            raise EdgegruError(f"{address}: cannot be reached: {error.strerror}") from None

    def write(self, result: Result) -> None:
        text = self._lines(result)
        if text:
            data = encoded(text)
            refused = self._send(data)
            if refused:  # an earlier one, in whose place this one was not sent
                self._send(data)

    def _send(self, data: bytes) -> bool:
        """Whether the peer has refused a datagram."""
        try:
            self._socket.send(data)
            return False
        except OSError as error:
            self._dropped(1)
            if error.errno not in self._warned:
                self._warned.add(error.errno)
                self._warn(f"{self._address}: results are lost: {error.strerror}")
            return isinstance(error, ConnectionRefusedError)

    def close(self) -> None:
        self._socket.close()


def nanoseconds(t: Time, digits: int) -> int | None:
    """A time in nanoseconds since 1970; a number has a fraction of ``digits`` digits down to them.

    None for what is no time, or none that InfluxDB can store.
    """
    if isinstance(t, str):
        try:
            return iso_time.nanoseconds(t)
        except InputError:
            return None
    if t is None or not abs(t) <= _MAX_TIME:
        return None
    whole, _, fraction = repr(t).partition(".")
    if "e" in whole + fraction:
        stamp = round(t * 10**digits)
    else:  # the decimal digits that were written, which a product in binary would round
        stamp = int(whole + fraction[:digits].ljust(digits, "0"))
    return stamp if abs(stamp) <= _MAX_TIME else None


def _reading(config: ModelConfig, output: OutputConfig, threshold: float) -> _Reading:
    """What gives an output's tag and fields."""

    def named(name: str) -> str:
        return path(config, output, name).translate(_NAME)

    kind, labels = kind_of(config, output), output.labels
    prefix = "y." if kind == "identity" else "probs."
    names = [named(prefix + label) for label in unique_labels(labels)]

    def fields(values: Sequence[float]) -> list[str]:
        pairs = zip(names, values, strict=True)
        return [f"{name}={number(value)}" for name, value in pairs if isfinite(value)]

    if kind == "identity":
        return lambda values: ("", fields(values))
    if kind == "log_softmax":
        place, log_p = named("token"), named("log_p")

        def token(values: Sequence[float]) -> tuple[str, list[str]]:
            best = likeliest(values)
            return "", [f"{place}={best}i", *_field(log_p, values[best])]

        return token
    if kind == "softmax":
        p = named("p")

        def classes(values: Sequence[float]) -> tuple[str, list[str]]:
            best = likeliest(values)
            return labels[best], _field(p, values[best]) + fields(values)

        return classes
    together = named("labels")

    def independent(values: Sequence[float]) -> tuple[str, list[str]]:
        reached = [label for label, p in zip(labels, values, strict=True) if p >= threshold]
        return "", [f"{together}={_text(';'.join(reached))}", *fields(values)]

    return independent


def _field(name: str, value: float) -> list[str]:
    return [f"{name}={number(value)}"] if isfinite(value) else []  # InfluxDB stores no others


def _text(text: str) -> str:
    return f'"{text.translate(_TEXT)}"'
