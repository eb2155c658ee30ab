"""A connection to an MQTT broker, in a thread of its own that connects again whenever it is lost."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgegru_runtime.errors import EngineError, InputError
from edgegru_runtime.mqtt_address import MqttAddress
from edgegru_runtime.sources.source import Waits, Warn

if TYPE_CHECKING:
    from paho.mqtt.client import Client

KEEP_ALIVE = 30  # seconds; a broker that is not heard of for longer is lost, and it thinks the same of us
_MISCELLANEOUS = 1.0  # seconds between two looks at the time that keeps a connection alive
_FAREWELL = 1.0  # seconds that the last message may take
_CONNECTING = 5.0  # seconds that a broker may take to answer
_STABLE = 10.0  # seconds; after a shorter connection waits go on growing: two clients of one name put each other out


class Peer:
    """Who uses a connection: what it subscribes to, gets and publishes. The connection's thread calls all of this."""

    subscriptions: Sequence[tuple[str, int]] = ()  # filters of topics with their QoS

    def message(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """A message to one of the subscriptions; ``retained``: the broker had kept it."""

    def connected(self) -> None:
        """The broker has accepted us."""

    def lost(self) -> None:
        """The connection is gone, with what was on its way in it."""

    def publish(self, client: Client) -> None:
        """Hand over what is to be published, as long as not too much is on its way."""

    def published(self, number: int) -> None:
        """The message that has this number has been written, or with QoS 1 acknowledged."""

    def pending(self) -> bool:
        """Whether something is still to be published before the connection is closed."""
        return False

    def outage(self) -> str:
        """What the time without a connection has cost; "" for nothing."""
        return ""


class MqttConnection:
    """The thread and its client. ``will``: topic and payload that the broker keeps for us, published when we vanish.

    Only the thread touches the client, so that nothing in it needs a lock; ``wake`` makes it look for work. ``warn`` is
    called by the thread.

    Raises EngineError where paho-mqtt is missing, InputError for certificates that cannot be read.
    """

    def __init__(
        self,
        address: MqttAddress,
        client_id: str,
        peer: Peer,
        warn: Warn,
        *,
        keep_session: bool = False,
        will: tuple[str, str] | None = None,
    ) -> None:
        self._address, self._peer, self._warn, self._will = address, peer, warn, will
        self._client = _new_client(address, client_id, keep_session)
        if will is not None:
            self._client.will_set(*will, qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_message = lambda client, data, message: peer.message(
            message.topic, bytes(message.payload), retained=message.retain
        )
        self._client.on_publish = lambda client, data, number, reason, properties: peer.published(number)
        self._client.on_subscribe = self._on_subscribe
        self._connected = self._fresh = False
        self._refused: str | None = None
        self._complaints: set[str] = set()  # that were made about this outage
        self._since: float | None = None  # when the connection came, or went
        self._deadline: float | None = None  # once it is to stop
        self._waits = Waits()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="MQTT", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def wake(self) -> None:
        """Let the thread look for work."""
        os.eventfd_write(self._event, 1)

    def stop(self, seconds: float) -> None:
        """Publish what is pending, for ``seconds`` at most, then the will's topic as it says, and disconnect."""
        if self._deadline is not None:
            return
        self._deadline = time.monotonic() + seconds
        self.wake()
        self._thread.join(seconds + 2 * _FAREWELL)
        if not self._thread.is_alive():  # else it hangs in a name server or a handshake, and ends with the process
            os.close(self._event)

    def _run(self) -> None:
        while not self._finished():
            self._attempt()
            if self._finished():
                return
            again = self._waits.after_failure()
            while not self._finished() and (left := again - time.monotonic()) > 0:
                self._wait(None, left)

    def _finished(self) -> bool:
        """Whether there is nothing more to do for which a broker that is away would have to come back."""
        return self._deadline is not None and (time.monotonic() >= self._deadline or not self._peer.pending())

    def _attempt(self) -> None:
        """Connect, and stay connected as long as it lasts."""
        try:
            self._client.connect(self._address.host, self._address.port, KEEP_ALIVE)
            self._serve()
            complaint = self._refused or "the connection was lost"
        except OSError as error:
            complaint = f"cannot be reached: {error.strerror or error}"
        except Exception as error:  # what a broken broker sends must not end the thread
            complaint = f"does not speak MQTT: {error!r}"
        self._refused = None
        if self._connected:
            self._connected, now = False, time.monotonic()
            if self._since is not None and now - self._since > _STABLE:
                self._waits.worked()
            self._since = now
            self._peer.lost()
        if complaint not in self._complaints and self._deadline is None:
            self._complaints.add(complaint)
            self._warn(f"{self._address.name}: {complaint}; trying again")

    def _serve(self) -> None:
        client = self._client
        answer_by = time.monotonic() + _CONNECTING
        while (sock := client.socket()) is not None:
            ready = self._wait(sock, _MISCELLANEOUS)
            if ready & (select.POLLIN | select.POLLHUP | select.POLLERR):
                client.loop_read()
                while (sock := client.socket()) is not None and getattr(sock, "pending", int)():
                    client.loop_read()  # TLS has decrypted more than was asked for
            if ready & select.POLLOUT:
                client.loop_write()
            client.loop_misc()
            if self._fresh:
                self._fresh = False
                self._begin()
            if self._connected:
                self._peer.publish(client)
            if self._finished():
                if self._connected:
                    self._leave()
                return
            if not self._connected and time.monotonic() > answer_by:
                raise TimeoutError(None, "it accepts connections and does not answer")

    def _begin(self) -> None:
        for topic, qos in self._peer.subscriptions:
            self._client.subscribe(topic, qos)
        self._peer.connected()
        now = time.monotonic()
        outage, since, self._since = self._peer.outage(), self._since, now
        if self._complaints or outage:
            after = "" if since is None else f" again after {now - since:.0f} s"
            self._warn(f"{self._address.name}: connected{after}{outage and f'; {outage}'}")
        self._complaints.clear()

    def _leave(self) -> None:
        """Say that we go, which is what the will says when we cannot, and disconnect."""
        client, until = self._client, time.monotonic() + _FAREWELL
        if self._will is not None:
            said = client.publish(*self._will, qos=1, retain=True)
            while not said.is_published() and self._step_until(until):
                pass
        client.disconnect()
        while client.want_write() and self._step_until(until):
            pass

    def _step_until(self, until: float) -> bool:
        """Move what is ready; whether there is time and a connection left for more."""
        sock, left = self._client.socket(), until - time.monotonic()
        if sock is None or left <= 0:
            return False
        ready = self._wait(sock, left)
        if ready & ~select.POLLOUT:
            self._client.loop_read()
        if ready & select.POLLOUT:
            self._client.loop_write()
        return True

    def _wait(self, sock: Any, seconds: float) -> int:
        """Until the socket is ready, somebody calls ``wake``, or time is over: for what the socket is ready."""
        if self._deadline is not None:
            seconds = min(seconds, max(0.05, self._deadline - time.monotonic()))
        poll = select.poll()
        poll.register(self._event, select.POLLIN)
        if sock is not None:
            poll.register(sock, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        ready = dict(poll.poll(max(0.0, seconds) * 1000))
        if ready.pop(self._event, 0):
            os.eventfd_read(self._event)
        return next(iter(ready.values()), 0)

    def _on_connect(self, client: Client, data: object, flags: object, reason: Any, properties: object) -> None:
        if reason.is_failure:
            self._refused = f"refuses the connection: {reason}"
        else:
            self._connected = self._fresh = True

    def _on_subscribe(self, client: Client, data: object, number: int, reasons: Any, properties: object) -> None:
        for reason in reasons:
            if reason.is_failure:
                self._warn(f"{self._address.name}: the broker refuses the subscription: {reason}")


def _new_client(address: MqttAddress, client_id: str, keep_session: bool) -> Client:
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise EngineError(
            f'{address.name}: needs paho-mqtt 2, expected it after pip install "edgegru-runtime[mqtt]"'
        ) from None
    client = Client(
        CallbackAPIVersion.VERSION2, client_id, clean_session=not keep_session, reconnect_on_failure=False
    )
    if address.user is not None:
        client.username_pw_set(address.user, address.password)
    if address.tls:
        try:
            client.tls_set(address.option("ca"), address.option("cert"), address.option("key"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{address.name}: the certificates cannot be used: {reason}") from None
    return client
