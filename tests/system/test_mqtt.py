"""MQTT with a real broker on this machine: order, restarts, what is lost and who says so, and the last will."""

from __future__ import annotations

import getpass
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edgegru_export.saving import save_artifact
from edgegru_runtime.model_config import DecisionConfig
from edgegru_runtime.record import Record
from edgegru_runtime.result import Event, Result
from edgegru_runtime.sinks.mqtt import MqttSink
from edgegru_runtime.sources.mqtt import MqttSource
from edgegru_runtime.sources.source import SourceOptions
from tests.builders import random_artifact, random_config

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="Debian package mosquitto")

CONFIG = replace(random_config(3), identity="0123456789abcdef" * 4)
DEADLINE = 30.0  # seconds, for what takes far less


def until(done: Callable[[], Any], what: str) -> None:
    """Wait for a condition that others bring about."""
    deadline = time.monotonic() + DEADLINE
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class Broker:
    def __init__(self, folder: Path, *settings: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"mqtt://127.0.0.1:{self.port}"
        self.file = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "persistence false", f"user {getpass.getuser()}"]
        lines.append("max_queued_messages 0")  # no limit: the watcher may be slower than what it watches
        lines += settings or ["allow_anonymous true"]
        self.file.write_text("\n".join(lines) + "\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([str(MOSQUITTO), "-c", self.file], stderr=subprocess.DEVNULL)
        until(self.listens, "the broker does not listen")

    def listens(self) -> bool:
        assert self.process is not None and self.process.poll() is None
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


class Watcher:
    """A client that keeps all it sees, and publishes."""

    def __init__(self, broker: Broker, topic: str = "#") -> None:
        self.seen: list[tuple[str, Any, bool]] = []
        ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda client, data, message: self.seen.append(
            (message.topic, decoded(message.payload), message.retain)
        )
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.connect("127.0.0.1", broker.port)
        self.client.subscribe(topic, 1)
        self.client.loop_start()
        assert ready.wait(DEADLINE)

    def publish(self, topic: str, payload: str, **options: Any) -> None:
        self.client.publish(topic, payload, qos=1, **options).wait_for_publish(DEADLINE)

    def at(self, topic: str) -> list[Any]:
        return [payload for at, payload, _ in list(self.seen) if at == topic]

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def decoded(payload: bytes) -> Any:
    return json.loads(payload) if payload[:1] in (b"{", b"[") else payload.decode()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


@pytest.fixture
def watcher(broker: Broker) -> Iterator[Watcher]:
    watcher = Watcher(broker)
    yield watcher
    watcher.stop()


class Samples:
    """A source, and what it has given."""

    def __init__(self, address: str, **options: Any) -> None:
        self.warnings: list[str] = []
        self.items: list[Any] = []
        self.source = MqttSource(address, CONFIG, SourceOptions(**options), self.warnings.append)

    def __enter__(self) -> Samples:
        return self

    def __exit__(self, *error: object) -> None:
        self.source.close()

    def read(self, seconds: float) -> None:
        """As the main loop waits."""
        poll = select.poll()
        poll.register(self.source.fileno(), select.POLLIN)
        if poll.poll(1000 * seconds):
            self.items += self.source.read() or []

    def until(self, count: int) -> None:
        deadline = time.monotonic() + DEADLINE
        while len(self.items) < count:
            assert time.monotonic() < deadline, f"{len(self.items)} of {count} records came"
            self.read(0.1)

    def listen(self, watcher: Watcher, topic: str) -> None:
        """Until the subscription stands: one message comes through, and those like it are forgotten."""
        deadline = time.monotonic() + DEADLINE
        while not self.items:
            assert time.monotonic() < deadline, "no message came through"
            watcher.publish(topic, "-1,0,0")
            self.read(0.1)
        watcher.publish(topic, "-2,0,0")
        while self.items[-1].x != [-2, 0, 0]:
            assert time.monotonic() < deadline, "the last message did not come through"
            self.read(0.1)
        self.items.clear()

    @property
    def numbers(self) -> list[float]:
        assert all(isinstance(item, Record) for item in self.items)
        return [item.x[0] for item in self.items]


class Results:
    """A sink, and what it said."""

    def __init__(self, address: str, emit: str = "all", **options: Any) -> None:
        self.warnings: list[str] = []
        self.lost = 0
        self.sink = MqttSink(address, CONFIG, DecisionConfig(), emit, self.warnings.append, self._count, **options)

    def _count(self, dropped: int) -> None:
        self.lost += dropped

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *error: object) -> None:
        self.sink.close()

    def write(self, index: int, *on: str, key: str = "") -> None:
        events = [Event(True, label, 0.75) for label in on]
        self.sink.write(Result(key, index, None, ([0.25, 0.75, 0, 0],), (on,), events))


def test_all_messages_come_in_order(broker: Broker, watcher: Watcher) -> None:
    with Samples(f"{broker.address}/sensors/a?qos=1") as samples:
        samples.listen(watcher, "sensors/a")
        for number in range(500):
            watcher.client.publish("sensors/a", f"{number},0,0", qos=1)
        samples.until(500)
        assert samples.numbers == list(range(500))
    assert samples.warnings == []


def test_sensors_of_a_wildcard_are_told_apart(broker: Broker, watcher: Watcher) -> None:
    with Samples(f"{broker.address}/sensors/+/accel?topic=more") as samples:
        samples.listen(watcher, "sensors/x/accel")
        for topic in ("sensors/a/accel", "sensors/b/accel", "sensors/a/gyro", "more"):
            watcher.publish(topic, '{"x": [1, 2, 3]}')
        samples.until(3)
        assert [item.key for item in samples.items] == ["sensors/a/accel", "sensors/b/accel", "more"]


def test_what_the_broker_retained_is_of_the_past(broker: Broker, watcher: Watcher) -> None:
    watcher.publish("a", "9,9,9", retain=True)
    with Samples(f"{broker.address}/a?qos=1") as samples:
        samples.listen(watcher, "a")
        watcher.publish("a", "1,2,3")
        samples.until(1)
        assert samples.numbers == [1]


def test_a_source_survives_its_broker(broker: Broker) -> None:
    watcher = Watcher(broker)
    with Samples(f"{broker.address}/a?qos=1") as samples:
        samples.listen(watcher, "a")
        watcher.publish("a", "1,0,0")
        samples.until(1)
        watcher.stop()
        broker.kill()
        until(lambda: len(samples.warnings) >= 2, "the source does not miss the broker")
        broker.start()
        until(lambda: len(samples.warnings) >= 3, "the source does not come back")
        watcher = Watcher(broker)
        samples.items.clear()
        samples.listen(watcher, "a")
        watcher.publish("a", "2,0,0")
        samples.until(1)
        assert samples.numbers == [2]
        watcher.stop()
    assert [text.removeprefix(f"{broker.address}/a: ") for text in samples.warnings[:2]] == [
        "the connection was lost; trying again",
        "cannot be reached: Connection refused; trying again",
    ]
    assert samples.warnings[2].startswith(f"{broker.address}/a: connected again after ")


def test_a_source_with_a_name_misses_nothing_while_it_is_away(broker: Broker, watcher: Watcher) -> None:
    address = f"{broker.address}/a?qos=1&client_id=gateway"
    with Samples(address) as samples:
        samples.listen(watcher, "a")
    for number in range(20):
        watcher.publish("a", f"{number},0,0")
    with Samples(address) as samples:
        samples.until(20)
        assert samples.numbers == list(range(20))


def test_a_source_may_be_there_before_its_broker(broker: Broker) -> None:
    broker.kill()
    with Samples(f"{broker.address}/a") as samples:
        until(lambda: samples.warnings, "the source says nothing")
        broker.start()
        watcher = Watcher(broker)
        samples.listen(watcher, "a")
        watcher.stop()
    assert samples.warnings == [
        f"{broker.address}/a: cannot be reached: Connection refused; trying again",
        f"{broker.address}/a: connected",
    ]


def test_a_refusal_is_told(tmp_path: Path) -> None:
    broker = Broker(tmp_path, "allow_anonymous false")
    with Samples(f"mqtt://me:secret@127.0.0.1:{broker.port}/a") as samples:
        until(lambda: samples.warnings, "the source says nothing")
    broker.kill()
    assert samples.warnings == [f"{broker.address}/a: refuses the connection: Not authorized; trying again"]


@pytest.mark.parametrize("qos", [0, 1])
def test_all_results_come_in_order(broker: Broker, watcher: Watcher, qos: int) -> None:
    with Results(f"{broker.address}/pump?qos={qos}&buffer=5000") as results:
        for index in range(3000):
            results.write(index)
    # Closing has waited for the broker to have them.
    until(lambda: watcher.at("pump/availability") == ["online", "offline"], "the sink does not say that it ends")
    assert [payload["i"] for payload in watcher.at("pump/result")] == list(range(3000))
    assert (results.lost, results.warnings) == (0, [])


def test_topics_of_named_sensors(broker: Broker, watcher: Watcher) -> None:
    with Results(f"{broker.address}/pump", keyed=True) as results:
        results.write(0, "class 1", key="sensors/+")
        results.write(1, "class 1", key="b")
    until(lambda: len(watcher.at("pump/availability")) == 2, "the sink does not say that it ends")
    assert {topic for topic, _, _ in watcher.seen} == {
        "pump/availability",
        *(f"pump/{key}/{kind}" for key in ("sensors/%2B", "b") for kind in ("result", "event", "state")),
    }


def test_a_sink_survives_its_broker(broker: Broker) -> None:
    watcher = Watcher(broker)
    with Results(f"{broker.address}/pump?buffer=5&qos=1") as results:
        results.write(0, "class 1")
        until(lambda: watcher.at("pump/result"), "the first result does not come")
        watcher.stop()
        broker.kill()
        until(lambda: len(results.warnings) >= 2, "the sink does not miss the broker")
        for index in range(1, 13):
            results.write(index, "class 1") if index == 12 else results.sink.write(
                Result("", index, None, ([0.25, 0.75, 0, 0],), (("class 1",),), ())
            )
        assert results.lost == 8  # of twelve results and one event
        broker.start()
        watcher = Watcher(broker)
        until(lambda: watcher.at("pump/event"), "the last event does not come")
        # The broker forgot what was retained, and has it again.
        assert watcher.at("pump/state")[-1] == {"on": ["class 1"], "p": {"class 1": 0.75}}
        assert watcher.at("pump/availability")[-1] == "online"
        assert [payload["i"] for payload in watcher.at("pump/result")] == [9, 10, 11, 12]
        assert [text for text in results.warnings if "dropped" in text] == results.warnings[2:]
        assert results.warnings[2].endswith("; 8 messages were dropped, the oldest of more than 5")
        watcher.stop()
    assert results.lost == 8


def test_a_sink_that_never_finds_a_broker_ends_all_the_same(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgegru_runtime.sinks.mqtt.CLOSING_SECONDS", 0.2)
    broker.kill()
    with Results(f"{broker.address}/pump?discovery=homeassistant") as results:
        results.write(0)
        until(lambda: results.warnings, "the sink says nothing")
    assert results.lost == 1
    assert results.warnings[-1] == f"{broker.address}/pump: 1 messages could not be published before the end"


def test_the_last_will_of_a_killed_process(broker: Broker, watcher: Watcher) -> None:
    program = (
        "import sys, time\n"
        "from tests.system.test_mqtt import Results\n"
        "results = Results(sys.argv[1])\n"
        "results.write(0, 'class 1')\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", program, f"{broker.address}/pump"]
    process = subprocess.Popen(command, cwd=root)
    until(lambda: watcher.at("pump/result"), "the process publishes nothing")
    assert watcher.at("pump/availability") == ["online"]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: watcher.at("pump/availability") == ["online", "offline"], "the will does not come")
    late = Watcher(broker)  # who comes later knows it too
    until(lambda: late.at("pump/availability") == ["offline"] and late.at("pump/state"), "nothing was retained")
    assert {topic for topic, _, retained in late.seen if retained} == {"pump/availability", "pump/state"}
    late.stop()


def test_home_assistant_is_told_whenever_it_begins(broker: Broker, watcher: Watcher) -> None:
    with Results(f"{broker.address}/pump?discovery=homeassistant&client_id=pump-1", emit="changes") as results:
        topic = "homeassistant/sensor/edgegru_0123456789ab_pump-1_output/config"
        until(lambda: watcher.at(topic), "Home Assistant is not told")
        watcher.publish("homeassistant/status", "offline")
        watcher.publish("homeassistant/status", "online")
        until(lambda: len(watcher.at(topic)) == 2, "Home Assistant is not told again")
        results.write(3, "class 1")
        until(lambda: watcher.at("pump/state"), "no state comes")
    first, second = watcher.at(topic)
    assert first == second
    assert first["options"] == ["class 0", "class 1", "class 2", "class 3", "none"]
    assert first["state_topic"] == "pump/state" and first["availability_topic"] == "pump/availability"
    assert first["unique_id"] == "edgegru_0123456789ab_pump-1_output"
    late = Watcher(broker)
    until(lambda: late.at(topic), "the configuration is not retained")
    late.stop()


def test_a_whole_run(broker: Broker, watcher: Watcher, tmp_path: Path) -> None:
    save_artifact(random_artifact(0, 3, (5,)), tmp_path / "model.safetensors")
    process = subprocess.Popen(
        [sys.executable, "-m", "edgegru_runtime", "run", tmp_path / "model.safetensors",
         f"{broker.address}/sensors/pump?qos=1", "--sink", f"{broker.address}/pump", "--threshold", "0.2"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: watcher.at("pump/availability"), "the run does not begin")
    deadline = time.monotonic() + DEADLINE
    while len(watcher.at("pump/result")) < 5:  # the first may come before the subscription stands
        assert time.monotonic() < deadline, "no results come"
        watcher.publish("sensors/pump", '{"x": [0.1, -0.2, 9.8], "t": 0.5}')
    process.terminate()
    _, said = process.communicate(timeout=DEADLINE)
    until(lambda: len(watcher.at("pump/availability")) == 2, "the run does not say that it ends")
    results = watcher.at("pump/result")
    assert (process.returncode, watcher.at("pump/availability")) == (0, ["online", "offline"]), said
    assert [result["i"] for result in results] == list(range(len(results)))
    assert {result["t"] for result in results} == {0.5}
    states, switched = watcher.at("pump/state"), iter(results)
    # In order; of states that the broker is late for, only the newest is said.
    assert all(any(result["on"] == state["on"] for result in switched) for state in states)
    assert states[-1]["on"] == results[-1]["on"]


def test_a_whole_run_of_many_sensors(broker: Broker, watcher: Watcher, tmp_path: Path) -> None:
    save_artifact(random_artifact(0, 3, (5,)), tmp_path / "model.safetensors")
    process = subprocess.Popen(
        [sys.executable, "-m", "edgegru_runtime", "run", tmp_path / "model.safetensors",
         f"{broker.address}/sensors/+?qos=1", "--sink", f"{broker.address}/out"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: watcher.at("out/availability"), "the run does not begin")
    deadline = time.monotonic() + DEADLINE

    def of(name: str) -> list[Any]:
        return [payload for topic, payload, _ in watcher.seen if topic.endswith("/result") and name in topic]

    while len(of("a")) < 4 or len(of("b")) < 4:
        assert time.monotonic() < deadline, "no results come"
        watcher.publish("sensors/a", "[0.1, -0.2, 9.8]")
        watcher.publish("sensors/b", "[0.1, -0.2, 9.8]")
    process.terminate()
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, said
    until(lambda: len(watcher.at("out/availability")) == 2, "the run does not say that it ends")
    a, b = of("a"), of("b")
    assert [result["i"] for result in a] == list(range(len(a)))
    assert [result["i"] for result in b] == list(range(len(b)))
    assert {result["stream"] for result in a} == {"sensors/a"}
    assert [result["probs"] for result in a[:4]] == [result["probs"] for result in b[:4]]  # a state each


# A socket whose handshake fails is left to the garbage collector by paho-mqtt.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_tls(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("Debian package openssl")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 1 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"], cwd=tmp_path, check=True, capture_output=True
    )
    files = (f"certfile {tmp_path / 'cert.pem'}", f"keyfile {tmp_path / 'key.pem'}")
    broker = Broker(tmp_path, "allow_anonymous true", *files)
    address = f"mqtts://127.0.0.1:{broker.port}/a?qos=1"
    trusted = f"{address}&ca={tmp_path / 'cert.pem'}"
    with Samples(trusted.replace("/a?", "/a/result?")) as samples, Results(trusted) as results:
        deadline = time.monotonic() + DEADLINE
        while not samples.items:  # what comes is no sample, but it comes
            assert time.monotonic() < deadline, "no message came through"
            results.write(0)
            samples.read(0.1)
    assert (results.lost, results.warnings, samples.warnings) == (0, [], [])
    with Samples(address) as samples:
        until(lambda: samples.warnings, "the source trusts a stranger")
    assert "certificate verify failed" in samples.warnings[0]
    broker.kill()
