"""Results to an MQTT broker, and what Home Assistant needs to show them (docs/mqtt.md)."""

from __future__ import annotations

import json
import re
import socket
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from edgegru_runtime.model_config import DecisionConfig, ModelConfig
from edgegru_runtime.mqtt_address import MqttAddress, check_topic, parse_address, topic_level
from edgegru_runtime.mqtt_connection import MqttConnection, Peer
from edgegru_runtime.result import Result
from edgegru_runtime.sinks.home_assistant import HomeAssistant, has_labels
from edgegru_runtime.sinks.jsonl import JsonLines
from edgegru_runtime.sinks.readings import number
from edgegru_runtime.sinks.sink import Dropped, Warn

if TYPE_CHECKING:
    from paho.mqtt.client import Client

BUFFERED_MESSAGES = 1000
CLOSING_SECONDS = 5.0
_ON_ITS_WAY = 64  # messages at once; all others can still be dropped, and are not lost with a connection
_MAX_KEY_BYTES = 1000  # in a topic


class _Message(NamedTuple):
    topic: str
    payload: str
    qos: int
    retain: bool


class Topics(NamedTuple):
    """Where a sensor's results go."""

    result: str
    event: str
    state: str


class MqttSink(Peer):
    """``mqtt://HOST/BASE[?qos=0|1&client_id=NAME&buffer=N&discovery=PREFIX]``.

    Results go to BASE/result, events to BASE/event, the labels that are on to BASE/state, retained; of a named sensor
    to BASE/KEY/result and so on; BASE/availability is "online" or "offline", retained.

    ``write`` never waits: messages are buffered for the connection's thread, and while the broker is away for longer
    than the buffer lasts, the oldest are dropped: ``dropped`` is told at once, ``warn`` when the broker is back.
    ``keyed``: results are of many sensors, told apart by their key.
    """

    def __init__(
        self,
        spec: str,
        config: ModelConfig,
        decision: DecisionConfig,
        emit: str,
        warn: Warn,
        dropped: Dropped,
        *,
        keyed: bool = False,
    ) -> None:
        address = parse_address(spec, ("buffer", "discovery"))
        self.name = address.name
        self._base = address.topic.rstrip("/")
        check_topic(self._base, self.name)
        self._qos = address.number("qos", 0, 0, 1)
        self._limit = address.number("buffer", BUFFERED_MESSAGES, 1, 10_000_000)
        client_id = address.option("client_id") or _client_id(address, config)
        prefix = address.option("discovery")
        self._discovery = None
        if prefix is not None:
            check_topic(prefix, self.name)
            self._discovery = HomeAssistant(
                config, decision, emit, prefix=prefix, name=self._base, client_id=client_id
            )
            self.subscriptions = [(self._discovery.birth_topic, 1)]
        self._results = None if emit == "events" else JsonLines(config, decision, "all").lines
        self._events = JsonLines(config, decision, "events").lines
        self._nodes = [output.node for output in config.outputs]
        self._labelled = has_labels(config, decision)
        self._warn, self._dropped = warn, dropped
        self._topics: dict[str, Topics] = {}
        self._on: dict[str, tuple[tuple[str, ...], ...]] = {}  # by sensor, as they were published
        self._probabilities: dict[str, dict[tuple[int, str], float]] = {}  # of what is on, when it was switched on
        self._lock = Lock()  # for what follows
        self._outbox: deque[_Message] = deque()
        self._retained: dict[str, str] = {}  # payloads by topic
        self._unsaid: dict[str, None] = {}  # topics whose payloads the broker does not have
        self._on_its_way: dict[int, _Message] = {}
        self._lost = 0  # messages of this outage
        self._availability = f"{self._base}/availability"
        self._connection = MqttConnection(address, client_id, self, warn, will=(self._availability, "offline"))
        if not keyed:
            self._topics_of("")
        self._connection.start()

    def write(self, result: Result) -> None:
        """Buffer the messages of a result."""
        key = result.key
        topics = self._topics.get(key) or self._topics_of(key)
        messages = []
        if self._results is not None:
            messages.append(_Message(topics.result, self._results(result).rstrip(), self._qos, False))
        if result.events:
            lines = self._events(result).splitlines()
            messages += [_Message(topics.event, line, self._qos, False) for line in lines]
        state = None
        if self._labelled and result.on != self._on.get(key):
            state = self._state(result)
            self._on[key] = result.on
        with self._lock:
            idle = not self._outbox and not self._unsaid
            self._outbox += messages
            if state is not None:
                self._retain(topics.state, state)
            excess = self._drop_oldest()
        if excess:
            self._dropped(excess)
        if idle:
            self._connection.wake()

    def close(self) -> None:
        """Publish what is buffered within some seconds, say that we are offline, and disconnect."""
        self._connection.stop(CLOSING_SECONDS)
        with self._lock:
            left = len(self._outbox) + len(self._on_its_way)
            self._outbox.clear()
            self._on_its_way.clear()
        if left:
            self._dropped(left)
            self._warn(f"{self.name}: {left} messages could not be published before the end")

    def _topics_of(self, key: str) -> Topics:
        """The topics of a sensor that was not heard of before; it is made known."""
        level = topic_level(key)
        if len(level.encode()) > _MAX_KEY_BYTES:
            level = f"{level[:50]}-{crc32(key.encode()):08x}"
        start = f"{self._base}/{level}" if key else self._base
        topics = self._topics[key] = Topics(f"{start}/result", f"{start}/event", f"{start}/state")
        if self._discovery is not None:
            known = self._discovery.entities(key, topics.result, topics.state, self._availability)
            with self._lock:
                for topic, payload in known.items():
                    self._retain(topic, json.dumps(payload, separators=(",", ":")))
        return topics

    def _state(self, result: Result) -> str:
        """What is on, as JSON; with the probability or score at which it was switched on, where that is known."""
        probabilities = self._probabilities.setdefault(result.key, {})
        for event in result.events:
            if event.on:
                probabilities[event.output, event.label] = float(number(event.p))
        parts = []
        for place, on in enumerate(result.on):
            known = {label: probabilities[place, label] for label in on if (place, label) in probabilities}
            parts.append({"on": on, "p": known})
        state: dict[str, Any] = {} if result.t is None else {"t": result.t}
        state |= parts[0] if len(parts) == 1 else {"outputs": dict(zip(self._nodes, parts, strict=True))}
        return json.dumps(state, separators=(",", ":"))

    def _retain(self, topic: str, payload: str) -> None:
        """With the lock: have this payload retained, whenever the broker can be reached."""
        self._retained[topic] = payload
        self._unsaid[topic] = None

    def _drop_oldest(self) -> int:
        """With the lock: keep the buffer within its bound; returns how many did not fit."""
        excess = max(0, len(self._outbox) - self._limit)
        for _ in range(excess):
            self._outbox.popleft()
        self._lost += excess
        return excess

    # What follows is called by the connection's thread.

    def connected(self) -> None:
        """Say everything that is to be retained: the broker may have forgotten it, and Home Assistant too."""
        with self._lock:
            self._unsaid = {self._availability: None, **dict.fromkeys(self._retained)}
            self._retained[self._availability] = "online"

    def message(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Home Assistant has begun, and asks who is there."""
        if payload == b"online" and self._discovery is not None:
            with self._lock:
                self._unsaid |= dict.fromkeys(filter(self._discovery.is_entity, self._retained))

    def lost(self) -> None:
        """What QoS 0 had not written is to be written again; QoS 1 is repeated by the client itself."""
        with self._lock:
            for number, message in reversed(list(self._on_its_way.items())):
                if message.qos == 0:
                    self._outbox.appendleft(message)
                    del self._on_its_way[number]
            excess = self._drop_oldest()
        if excess:
            self._dropped(excess)

    def outage(self) -> str:
        """How many messages were dropped."""
        with self._lock:
            lost, self._lost = self._lost, 0
        return f"{lost} messages were dropped, the oldest of more than {self._limit}" if lost else ""

    def pending(self) -> bool:
        """Whether there are messages that the broker does not have.

        What is to be retained alone does not count before the first connection: there may never be a broker.
        """
        with self._lock:
            unsaid = self._unsaid and self._availability in self._retained
            return bool(self._outbox or self._on_its_way or unsaid)

    def publish(self, client: Client) -> None:
        """Hand messages to the client, what is retained first, until enough are on their way."""
        while len(self._on_its_way) < _ON_ITS_WAY:
            with self._lock:
                message = self._next()
            if message is None:
                return
            info = client.publish(message.topic, message.payload, message.qos, message.retain)
            if info.rc and message.qos == 0:  # the connection has just gone
                with self._lock:
                    self._outbox.appendleft(message)
                return
            if info.rc or not info.is_published():
                self._on_its_way[info.mid] = message

    def _next(self) -> _Message | None:
        if self._unsaid:
            topic = next(iter(self._unsaid))
            del self._unsaid[topic]
            return _Message(topic, self._retained[topic], 1, True)
        return self._outbox.popleft() if self._outbox else None

    def published(self, number: int) -> None:
        """Make room for another one."""
        self._on_its_way.pop(number, None)


def _client_id(address: MqttAddress, config: ModelConfig) -> str:
    """A name that stays the same over restarts, and is another one for another model, base or device."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:40]
    return f"edgegru-{host}-{crc32(f'{config.identity} {address.topic}'.encode()):08x}"
