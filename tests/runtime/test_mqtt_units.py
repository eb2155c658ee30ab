"""MQTT without a broker: addresses, messages, and what happens while nobody can be reached."""

from __future__ import annotations

import builtins
import json
import select
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime.errors import EngineError, InputError
from edgegru_runtime.model_config import DecisionConfig, ModelConfig
from edgegru_runtime.mqtt_address import PASSWORD_VARIABLE, check_filter, check_topic, parse_address, topic_level
from edgegru_runtime.record import Control, Item, Record, Refusal
from edgegru_runtime.result import Event, Result
from edgegru_runtime.sinks.mqtt import MqttSink
from edgegru_runtime.sources.mqtt import MqttSource
from edgegru_runtime.sources.source import SourceOptions
from tests.builders import random_config

CONFIG = random_config(3)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening, so that connections are refused
        yield f"mqtt://127.0.0.1:{taken.getsockname()[1]}"


def test_an_address_in_full() -> None:
    address = parse_address("mqtts://me%40home:pa%3Ass@broker.local:1884/a/+/b%3F/#?qos=1&client_id=x%26y&more=1&more=2",
                            ("more",))  # fmt: skip
    assert (address.host, address.port, address.tls, address.topic) == ("broker.local", 1884, True, "a/+/b?/#")
    assert (address.user, address.password) == ("me@home", "pa:ss")
    assert address.option("client_id") == "x&y" and address.number("qos", 0, 0, 1) == 1
    assert address.options["more"] == ("1", "2")
    assert address.name == "mqtts://broker.local:1884/a/+/b?/#"


@pytest.mark.parametrize(
    ("spec", "host", "port", "topic"),
    [
        ("mqtt://h/t", "h", 1883, "t"),
        ("mqtts://h/t", "h", 8883, "t"),
        ("mqtt://[::1]:5/t", "::1", 5, "t"),
        ("mqtt://h//t/", "h", 1883, "/t/"),
        ("mqtt://h", "h", 1883, ""),
    ],
)
def test_addresses_in_short(spec: str, host: str, port: int, topic: str) -> None:
    address = parse_address(spec, ())
    assert (address.host, address.port, address.topic, address.user) == (host, port, topic, None)


def test_a_password_may_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    assert parse_address("mqtt://me@h/t", ()).password == "secret"
    assert parse_address("mqtt://me:other@h/t", ()).password == "other"
    assert parse_address("mqtt://h/t", ()).password is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mqtt:h/t", "cannot be read, expected mqtt://"),
        ("mqtt://me:secret@/t", "cannot be read, expected mqtt://"),
        ("mqtt://me:secret@h:0/t", "the port is 0, expected 1 to 65535"),
        ("mqtt://me:secret@h:70000/t", "the port is 70000, expected 1 to 65535"),
        ("mqtt://me:secret@h..h/t", "'h..h' is no name of a host"),
        ("mqtt://me:secret@h/t?qos=1&size=5", "'size=5' is no option, expected client_id=…, qos=…, buffer=…"),
        ("mqtt://me:secret@h/t?ca=f", "'ca=f' is no option"),
        ("mqtt://me:secret@h/t?qos", "'qos' is no option"),
    ],
)
def test_bad_addresses_are_named_without_the_password(spec: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_address(spec, ("buffer",))
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["2", "-1", "x", "１"])
def test_bad_numbers_of_options_are_named(value: str) -> None:
    with pytest.raises(InputError, match=r"option qos is .*, expected an integer from 0 to 1"):
        parse_address(f"mqtt://h/t?qos={value}", ()).number("qos", 0, 0, 1)


def test_an_option_is_there_once() -> None:
    with pytest.raises(InputError, match="option qos is there 2 times, expected it once"):
        parse_address("mqtt://h/t?qos=1&qos=0", ()).number("qos", 0, 0, 1)


@pytest.mark.parametrize("topic", ["a", "a/b", "+", "#", "a/#", "+/b/+", "/", "$SYS/#", "a b/é"])
def test_filters(topic: str) -> None:
    check_filter(topic, "here")


@pytest.mark.parametrize("topic", ["", "a+", "a/b#", "#/a", "a/#/b", "a\0b", "x" * 65536])
def test_what_is_no_filter(topic: str) -> None:
    with pytest.raises(InputError, match="here: .* is no filter of topics"):
        check_filter(topic, "here")


@pytest.mark.parametrize("topic", ["", "a/+", "#", "$SYS/a", "a\0b"])
def test_what_is_no_topic(topic: str) -> None:
    with pytest.raises(InputError, match="here: .* is no topic to publish at"):
        check_topic(topic, "here")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), st.text(max_size=20))
def test_names_of_sensors_fit_into_topics(name: str, other: str) -> None:
    check_topic(f"base/{topic_level(name)}/result", "here")
    assert (topic_level(name) == topic_level(other)) == (name == other)


def test_the_package_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refusing(name: str, *rest: Any) -> Any:
        if name.startswith("paho"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refusing)
    for make in (
        lambda: MqttSource("mqtt://h/t", CONFIG, SourceOptions(), print),
        lambda: MqttSink("mqtt://h/t", CONFIG, DecisionConfig(), "all", print, print),
    ):
        with pytest.raises(EngineError, match=r'pip install "edgegru-runtime\[mqtt\]"'):
            make()


def test_certificates_that_cannot_be_read_are_named() -> None:
    with pytest.raises(InputError, match="the certificates cannot be used: No such file"):
        MqttSource("mqtts://h/t?ca=/nowhere/ca.pem", CONFIG, SourceOptions(), print)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("mqtt://h", {}, "'' is no filter of topics"),
        ("mqtt://h/a?topic=b%23", {}, "'b#' is no filter of topics"),
        ("mqtt://h/a?control=b/%2B", {}, "'b/\\+' is no topic to publish at"),
        ("mqtt://h/a", {"format": "s16le"}, "raw numbers are not read from messages, expected csv or jsonl"),
        ("mqtt://h/a?queue=0", {}, "option queue is '0', expected an integer from 1"),
    ],
)
def test_bad_sources_are_refused(spec: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MqttSource(spec, CONFIG, SourceOptions(**options), print)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mqtt://h", "'' is no topic to publish at"),
        ("mqtt://h/a/%23", "'a/#' is no topic to publish at"),
        ("mqtt://h/a?discovery=%2B", "is no topic to publish at"),
        ("mqtt://h/a?buffer=0", "option buffer is '0', expected an integer from 1"),
    ],
)
def test_bad_sinks_are_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MqttSink(spec, CONFIG, DecisionConfig(), "all", print, print)


class Fed:
    """A source that gets its messages from the test."""

    def __init__(self, address: str, query: str = "", config: ModelConfig = CONFIG, **options: Any) -> None:
        self.warnings: list[str] = []
        self.source = MqttSource(f"{address}/{query}", config, SourceOptions(**options), self.warnings.append)

    def __enter__(self) -> Fed:
        return self

    def __exit__(self, *error: object) -> None:
        self.source.close()

    def take(self, *messages: tuple[str, str | bytes]) -> list[Item]:
        for topic, payload in messages:
            data = payload if isinstance(payload, bytes) else payload.encode()
            self.source.message(topic, data, retained=False)
        items = self.source.read()
        assert items is not None
        return items


def test_messages_are_lines(nobody: str) -> None:
    with Fed(nobody, "a") as fed:
        assert fed.take(("a", "1,2,3"), ("a", "4,5,6\n"), ("a", "")) == [
            Record([1, 2, 3], None, "", 1), Record([4, 5, 6], None, "", 2),
        ]  # fmt: skip
    with Fed(nobody, "a") as fed:
        text = '{"c0": 1,\n "c1": 2,\n "c2": 3, "t": 7}'
        assert fed.take(("a", text), ("a", "[1,2,3]")) == [Record([1, 2, 3], 7, "", 1), Record([1, 2, 3], None, "", 2)]
    with Fed(nobody, "a", columns=("t", "c2", "c1", "c0")) as fed:
        assert fed.take(("a", "9,3,2,1")) == [Record([1, 2, 3], 9, "", 1)]


def test_a_message_does_not_depend_on_those_before_it(nobody: str) -> None:
    with Fed(nobody, "a") as fed:
        items = fed.take(
            ("a", "1,2,3"), ("a", "c2,c1,c0"), ("a", "[4,5,6]"), ("a", "7,8,9"), ("a", '{"c1": 2, "c2": 3, "c0": 1}'),
            ("a", "c0,c1,c2"), ("a", "4,5,6"),
        )  # fmt: skip
    refusals = [item.place for item in items if isinstance(item, Refusal)]
    samples = [item.x for item in items if isinstance(item, Record)]
    assert samples == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 2, 3], [4, 5, 6]]
    assert 2 in refusals and set(refusals) <= {2, 6}


@pytest.mark.parametrize(
    ("options", "good", "bad", "message"),
    [
        ({"format": "csv"}, "1,2,3", "[1,2,3]", "the message is JSON, expected CSV"),
        ({"format": "jsonl"}, "[1,2,3]", "1,2,3", "the message is CSV, expected JSON"),
        ({"columns": ("c0", "c1", "c2")}, "1,2,3", "[1,2,3]", "the message is JSON, expected CSV"),
        ({"streams_by": "w"}, '{"x":[1,2,3],"w":"k"}', "1,2,3", "the message is CSV, expected JSON"),
    ],
)
def test_the_format_may_be_known(nobody: str, options: dict[str, Any], good: str, bad: str, message: str) -> None:
    with Fed(nobody, "a", **options) as fed:
        items = fed.take(("a", good), ("a", bad))
    assert isinstance(items[0], Record) and items[0].x == [1, 2, 3]
    assert items[1] == Refusal(message, 2)


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="the list of columns has no c2"):
        MqttSource("mqtt://h/a", CONFIG, SourceOptions(columns=("c0", "c1")), print)


def test_what_is_no_sample_is_refused_and_never_ends_the_run(nobody: str) -> None:
    with Fed(nobody, "a") as fed:
        items = fed.take(
            ("a", "garbage"), ("a", b"\xff\xfe"), ("a", "also garbage"), ("a", b"1," * 2**20), ("a", "1,2,3\n4,5,6"),
            ("a", "1,2"), ("a", "1,2,3"),
        )  # fmt: skip
    assert [type(item) for item in items] == [Refusal] * 6 + [Record]
    assert [item.place for item in items] == [1, 2, 3, 4, 5, 6, 7]
    assert isinstance(items[3], Refusal) and items[3].reason == "the message is longer than 1048576 bytes"


@pytest.mark.parametrize(("query", "by_topic"), [("a/+", True), ("#", True), ("a?topic=b", True), ("a", False)])
def test_a_sensor_is_called_by_its_topic_where_there_are_many(nobody: str, query: str, by_topic: bool) -> None:
    with Fed(nobody, query) as fed:
        assert fed.source.keyed is by_topic
        items = fed.take(("a/1", "1,2,3"), ("b", "!reset"))
    keys = ("a/1", "b") if by_topic else ("", None)
    assert items == [Record([1, 2, 3], None, keys[0], 1), Control("reset", keys[1], 2)]


def test_a_field_may_name_the_sensor(nobody: str) -> None:
    with Fed(nobody, "a/#", streams_by="who") as fed:
        assert fed.source.keyed
        assert fed.take(("a/1", '{"x": [1, 2, 3], "who": "left"}')) == [Record([1, 2, 3], None, "left", 1)]


def test_messages_that_steer(nobody: str) -> None:
    with Fed(nobody, "a?control=steer") as fed:
        assert fed.take(("steer", "reset")) == [Control("reset", None, 1)]
        assert fed.take(("steer", "dump\n")) == [Control("dump", None, 2)]
        assert fed.take(("steer", '{"control": "reset", "stream": "left"}')) == [Control("reset", "left", 3)]
        assert fed.take(("a", '{"control": "reset"}')) == [Control("reset", None, 4)]
        (refusal,) = fed.take(("steer", "[1,2,3]"))
        assert refusal == Refusal("a message to steer is no control, expected reset or dump", 5)


def test_retained_messages_are_ignored(nobody: str) -> None:
    with Fed(nobody, "a") as fed:
        fed.source.message("a", b"1,2,3", retained=True)
        assert fed.source.read() == []


def test_a_full_queue_drops_the_oldest(nobody: str) -> None:
    with Fed(nobody, "a?queue=3") as fed:
        items = fed.take(*(("a", f"{number},0,0") for number in range(8)))
        assert [item.x[0] for item in items if isinstance(item, Record)] == [5, 6, 7]
        assert [fed.source.overflow(), fed.source.overflow()] == [5, 0]
        assert [text for text in fed.warnings if "dropped" in text] == [
            f"{nobody}/a: 5 messages were dropped, the oldest of more than can wait"
        ]


def test_the_queue_is_bounded_in_bytes_too(nobody: str) -> None:
    with Fed(nobody, "a") as fed:
        fed.take(*(("a", b"1" * 2**20) for _ in range(20)))
        assert fed.source.overflow() == 4


def test_messages_wait_where_poll_sees_them(nobody: str) -> None:
    with Fed(nobody, "a", chunk=1) as fed:
        poll = select.poll()
        poll.register(fed.source.fileno(), select.POLLIN)
        assert poll.poll(0) == []
        for number in range(3):
            fed.source.message("a", f"{number},0,0".encode(), retained=False)
        for number in range(3):
            assert len(poll.poll(0)) == 1
            assert fed.source.read() == [Record([number, 0, 0], None, "", number + 1)]
        assert poll.poll(0) == []


def test_a_broker_cannot_be_resumed(nobody: str) -> None:
    with Fed(nobody, "a") as fed, pytest.raises(InputError, match="is a broker and cannot be read again"):
        fed.source.resume(0, 0)


def result(index: int, on: Sequence[str] = (), events: Sequence[Event] = (), key: str = "") -> Result:
    return Result(key, index, index / 50, ([0.25, 0.75, 0, 0],), (tuple(on),), events)


class Sink:
    """A sink whose broker is the test."""

    def __init__(self, spec: str, config: ModelConfig = CONFIG, emit: str = "all", **options: Any) -> None:
        self.warnings: list[str] = []
        self.dropped: list[int] = []
        self.sink = MqttSink(
            spec, config, DecisionConfig(), emit, self.warnings.append, self.dropped.append, **options
        )

    def taken(self) -> list[tuple[str, Any]]:
        """What a client that takes everything at once gets, with JSON read."""
        client = Client()
        self.sink.connected()
        self.sink.publish(client)
        while client.taken and self.sink._on_its_way:
            for number in list(self.sink._on_its_way):
                self.sink.published(number)
            self.sink.publish(client)
        return client.taken


class Client:
    def __init__(self, failing: bool = False) -> None:
        self.taken: list[tuple[str, Any]] = []
        self.retained: list[str] = []
        self.failing = failing

    def publish(self, topic: str, payload: str, qos: int, retain: bool) -> Any:
        number = len(self.taken) + 1
        if not self.failing:
            self.taken.append((topic, json.loads(payload) if payload[0] in "[{" else payload))
            self.retained += [topic] * retain
        return type("Info", (), {"rc": int(self.failing), "mid": number, "is_published": lambda self: False})()


def test_the_oldest_results_are_dropped_while_nobody_listens(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgegru_runtime.sinks.mqtt.CLOSING_SECONDS", 0.01)
    sink = Sink(f"{nobody}/base?buffer=3")
    for index in range(5):
        sink.sink.write(result(index))
    assert sink.dropped == [1, 1]
    assert sink.sink.outage() == "2 messages were dropped, the oldest of more than 3"
    assert sink.sink.outage() == ""  # it was told
    assert [message.payload[:6] for message in sink.sink._outbox] == ['{"i":2', '{"i":3', '{"i":4']
    sink.sink.close()
    sink.sink.close()
    assert sink.dropped == [1, 1, 3]
    assert sink.warnings[-1] == f"{nobody}/base: 3 messages could not be published before the end"


def test_what_is_published(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgegru_runtime.sinks.mqtt.CLOSING_SECONDS", 0.01)
    sink = Sink(f"{nobody}/base/")
    sink.sink.write(result(0))
    sink.sink.write(result(1, ["class 1"], [Event(True, "class 1", 0.75)]))
    sink.sink.write(result(2, ["class 1"]))
    reading = {"label": "class 1", "p": 0.75, "probs": [0.25, 0.75, 0, 0]}
    event = {"event": "on", "label": "class 1", "p": 0.75}
    assert sink.taken() == [
        ("base/availability", "online"),
        ("base/state", {"t": 0.02, "on": ["class 1"], "p": {"class 1": 0.75}}),
        ("base/result", {"i": 0, "t": 0.0, **reading}),
        ("base/result", {"i": 1, "t": 0.02, **reading, "events": [event]}),
        ("base/event", {"i": 1, "t": 0.02, **event}),
        ("base/result", {"i": 2, "t": 0.04, **reading}),
    ]
    sink.sink.close()


@pytest.mark.parametrize(("emit", "topics"), [("changes", ["k/result", "k/event"]), ("events", ["k/event"])])
def test_less_is_published_of_named_sensors(
    nobody: str, emit: str, topics: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgegru_runtime.sinks.mqtt.CLOSING_SECONDS", 0.01)
    sink = Sink(f"{nobody}/base", emit=emit, keyed=True)
    sink.sink.write(result(1, ["class 1"], [Event(True, "class 1", 0.75)], key="k"))
    sink.sink.write(result(1, [], [Event(False, "class 1", 0.25)], key="k"))
    assert [topic.removeprefix("base/") for topic, _ in sink.taken()] == ["availability", "k/state", *topics * 2]
    sink.sink.close()


def test_what_was_on_its_way_is_published_again(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgegru_runtime.sinks.mqtt.CLOSING_SECONDS", 0.01)
    sink = Sink(f"{nobody}/base?buffer=70", emit="all")
    for index in range(70):
        sink.sink.write(result(index))
    client = Client()
    sink.sink.publish(client)  # the state, and 63 results
    assert len(client.taken) == 64
    for number in (1, 2):
        sink.sink.published(number)  # the state and the result 0
    sink.sink.lost()
    sink.sink.publish(Client(failing=True))
    indices = [payload["i"] for topic, payload in sink.taken() if topic == "base/result"]
    assert indices == list(range(1, 70)) and sink.dropped == []
    sink.sink.close()
