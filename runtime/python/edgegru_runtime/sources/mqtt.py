"""Samples from an MQTT broker, one in each message (docs/mqtt.md)."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import replace
from threading import Lock

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.mqtt_address import check_filter, check_topic, parse_address
from edgegru_runtime.mqtt_connection import MqttConnection, Peer
from edgegru_runtime.record import Control, Item, Record, Refusal
from edgegru_runtime.sources.fields import CONTROLS
from edgegru_runtime.sources.source import RAW_FORMATS, SourceOptions, Warn, stamped
from edgegru_runtime.sources.text import MAX_LINE_BYTES, TextReader

QUEUED_MESSAGES = 10_000
_QUEUED_BYTES = 2**24
_MESSAGES_AT_ONCE = 512


class MqttSource(Peer):
    """``mqtt://HOST/FILTER[?topic=FILTER&control=TOPIC&qos=0|1&client_id=NAME&queue=N]``.

    A message is a line of CSV or JSON. Where the filters match many topics, a record's key is its topic, unless a field
    names the sensor. Messages wait in a queue; when that is full the oldest are dropped and counted by ``overflow``, so
    that what is read stays new. Messages that the broker had retained are of the past, and ignored.
    """

    unit = "message"
    live = True
    resumable = False

    def __init__(self, spec: str, config: ModelConfig, options: SourceOptions, warn: Warn) -> None:
        address = parse_address(spec, ("topic", "control", "queue"))
        self.name = address.name
        filters = (address.topic, *address.options.get("topic", ()))
        self._control = address.option("control")
        for topic in filters:
            check_filter(topic, self.name)
        if self._control is not None:
            check_topic(self._control, self.name)
        if options.format in RAW_FORMATS:
            raise InputError(f"{self.name}: raw numbers are not read from messages, expected csv or jsonl")
        several = len(filters) > 1 or any(level in ("+", "#") for level in filters[0].split("/"))
        self._keyed_by_topic = several and options.streams_by is None
        self.keyed = self._keyed_by_topic or options.streams_by is not None
        qos = address.number("qos", 0, 0, 1)
        self._limit = address.number("queue", QUEUED_MESSAGES, 1, 10_000_000)
        self._warn = warn
        self._stamp_unit = options.time_unit if options.stamp else None
        self._at_once = 1 if options.chunk == 1 else _MESSAGES_AT_ONCE
        self._readers = _Readers(config, options)
        self._lock = Lock()
        self._queue: deque[tuple[str, bytes]] = deque()
        self._queued_bytes = 0
        self._dropped = self._untold = 0  # since ``overflow`` was asked, and since the queue was last empty
        self._messages = 0
        self._closed = False
        self.subscriptions = [(topic, qos) for topic in filters]
        if self._control is not None:
            self.subscriptions.append((self._control, 1))
        given = address.option("client_id")
        client_id = given or f"edgegru-{os.urandom(6).hex()}"
        self._connection = MqttConnection(
            address, client_id, self, warn, keep_session=given is not None and qos == 1
        )
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # readable while messages are queued
        self._connection.start()

    def fileno(self) -> int | None:
        """Readable while messages wait."""
        return self._event

    def due(self) -> float | None:
        """Only messages tell."""
        return None

    def read(self) -> list[Item] | None:
        """What is in the messages that wait, at most some hundreds. A broker that is away is waited for."""
        with self._lock:
            messages = [self._queue.popleft() for _ in range(min(len(self._queue), self._at_once))]
            self._queued_bytes -= sum(len(payload) for _, payload in messages)
            untold = 0
            if not self._queue:
                if messages:
                    os.eventfd_read(self._event)
                untold, self._untold = self._untold, 0
        if untold:
            self._warn(f"{self.name}: {untold} messages were dropped, the oldest of more than can wait")
        items = []
        for topic, payload in messages:
            item = self._item(topic, payload)
            if item is not None:
                items.append(item)
        return items if self._stamp_unit is None else stamped(items, self._stamp_unit)

    def overflow(self) -> int:
        """Messages dropped since this was last asked."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        return dropped

    def _item(self, topic: str, payload: bytes) -> Item | None:
        self._messages += 1
        if topic == self._control:
            action = payload.strip().decode(errors="replace")
            if action in CONTROLS:
                return Control(action, None, self._messages)
        if len(payload) > MAX_LINE_BYTES:
            return Refusal(f"the message is longer than {MAX_LINE_BYTES} bytes", self._messages)
        try:
            items = self._readers.read(payload)
        except InputError as error:  # nothing that anybody publishes ends the run
            return Refusal(str(error), self._messages)
        if not items:  # it was blank, or names columns
            return None
        item = items[0]._replace(place=self._messages, end=0)
        if topic == self._control:
            if isinstance(item, Control):
                return item
            return Refusal(f"a message to {topic} is no control, expected {' or '.join(CONTROLS)}", self._messages)
        if self._keyed_by_topic and (isinstance(item, Record) or (isinstance(item, Control) and item.key is None)):
            return item._replace(key=topic)
        return item

    def resume(self, end: int, place: int) -> None:
        """A broker cannot be read again."""
        raise InputError(f"{self.name}: is a broker and cannot be read again")

    def close(self) -> None:
        """Disconnect."""
        if not self._closed:
            self._closed = True
            self._connection.stop(0.0)
            os.close(self._event)

    def message(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Queue a message."""
        if retained:
            return
        with self._lock:
            if self._closed:
                return
            if not self._queue:
                os.eventfd_write(self._event, 1)
            self._queue.append((topic, payload))
            self._queued_bytes += len(payload)
            while len(self._queue) > self._limit or (self._queued_bytes > _QUEUED_BYTES and len(self._queue) > 1):
                self._queued_bytes -= len(self._queue.popleft()[1])
                self._dropped += 1
                self._untold += 1


class _Readers:
    """Messages read one by one: none depends on those before it, which may be lost, or of another sensor.

    Raises InputError where the listed columns are not what is needed.
    """

    def __init__(self, config: ModelConfig, options: SourceOptions) -> None:
        channels = config.input.channels
        self._json = self._csv = None
        if options.format != "csv" and not options.columns:
            self._json = TextReader(config, replace(options, format="jsonl"), joins=True)
        named = options.targets or options.streams_by
        if options.format != "jsonl" and (options.columns or not named):
            columns = options.columns or channels
            self._csv = TextReader(config, replace(options, format="csv", columns=columns), joins=True)

    def read(self, payload: bytes) -> list[Item]:
        """What is in a message: one item, or none. Raises InputError where it is nothing that was expected."""
        is_json = payload.lstrip()[:1] in (b"{", b"[")
        reader = self._json if is_json else self._csv
        if reader is None:
            found, expected = ("JSON", "CSV") if is_json else ("CSV", "JSON")
            raise InputError(f"the message is {found}, expected {expected}")
        return reader.feed(payload.replace(b"\n", b" ") + b"\n")  # JSON may stand on many lines
