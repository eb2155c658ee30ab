"""The page over HTTP: GET / is the page, /events what it shows, /metrics for Prometheus, /healthz for a supervisor.

Nothing can be asked for or changed besides: no other method, no query, no body.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from edgegru_runtime.errors import EdgegruError
from edgegru_runtime.service.address import is_loopback, parse_address
from edgegru_runtime.service.board import Board, News
from edgegru_runtime.service.http import BadRequest, Request, hang_up, head, read_request
from edgegru_runtime.service.metrics import CONTENT_TYPE, Snapshot, metrics_text
from edgegru_runtime.service.page import page_html

MOST_CONNECTIONS, MOST_VIEWERS = 32, 8  # at a time; viewers keep /events open
_SLOWEST_CLIENT = 5.0  # seconds that a client may not read what it asked for
_PACE = 0.1  # seconds between two messages to a viewer, at least
_HEARTBEAT = 10.0  # seconds after which a viewer hears that nothing has happened
_TEXT, _HTML, _JSON = "text/plain; charset=utf-8", "text/html; charset=utf-8", "application/json"


class Server:
    """Shows ``board`` to whoever can reach ``address``, in threads of its own, until ``close``.

    ``address``: "PORT" or ":PORT" of the loopback interface, or "HOST:PORT", "[IPV6]:PORT"; port 0 is a free one.
    ``longest_silence``: seconds without a sample after which /healthz complains. ``warn`` is called with a sentence
    where others than this machine can look on. Raises InputError for an address that is none, EdgegruError for one that
    is in use or cannot be had.
    """

    def __init__(
        self, address: str, board: Board, *, warn: Callable[[str], None], longest_silence: float = 10.0
    ) -> None:
        self._board, self._longest_silence = board, longest_silence
        self._closing = False
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._viewers = threading.BoundedSemaphore(MOST_VIEWERS)
        self._listener = _listening(address)
        host, port = self._listener.getsockname()[:2]
        self._loopback = is_loopback(host)
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if not self._loopback:
            warn(f"{self.address} shows this stream to whoever can reach it, without a password")
        self._accepting = threading.Thread(target=self._accept, name="page", daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Stop listening, and hang up on whoever looks on."""
        with self._lock:
            self._closing = True
            connections = list(self._connections)
        for connection in (self._listener, *connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes who waits for it
        self._board.close()
        self._accepting.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed, or a client that left before it was let in, or no more descriptors
                if self._closing:
                    return
                time.sleep(_PACE)
                continue
            with self._lock:
                welcome = not self._closing and len(self._connections) < MOST_CONNECTIONS
                if welcome:
                    self._connections.add(connection)
            if welcome:
                threading.Thread(target=self._serve, args=(connection,), name="page viewer", daemon=True).start()
            else:
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # a client that has gone is no news
            try:
                request = read_request(connection)
                connection.settimeout(_SLOWEST_CLIENT)
                if request is not None:
                    self._answer(connection, request)
            except BadRequest as error:
                connection.settimeout(_SLOWEST_CLIENT)
                more = [("Allow", "GET, HEAD")] if error.status is HTTPStatus.METHOD_NOT_ALLOWED else []
                _send(connection, "GET", error.status, _TEXT, f"{error.status.phrase}\n", more)
                hang_up(connection)
        with self._lock:
            self._connections.discard(connection)

    def _answer(self, connection: socket.socket, request: Request) -> None:
        if self._loopback and request.host is not None and not is_loopback(request.host):
            raise BadRequest(HTTPStatus.MISDIRECTED_REQUEST)  # another site's name, made to lead here
        if request.path == "/":
            nonce = os.urandom(16).hex()
            policy = _policy(nonce)
            _send(connection, request.method, HTTPStatus.OK, _HTML, page_html(nonce), [policy])
        elif request.path == "/events":
            self._show(connection, request.method)
        elif request.path == "/metrics":
            text = metrics_text(self._board.latest, time.monotonic())
            _send(connection, request.method, HTTPStatus.OK, CONTENT_TYPE, text)
        elif request.path == "/healthz":
            status, found = self._health()
            _send(connection, request.method, status, _JSON, json.dumps(found) + "\n")
        else:
            raise BadRequest(HTTPStatus.NOT_FOUND)

    def _health(self) -> tuple[HTTPStatus, dict[str, Any]]:
        snapshot = self._board.latest
        age = snapshot.input_age(time.monotonic())
        found: dict[str, Any] = {"status": "ok", "input_age": round(age, 3)}
        if age <= self._longest_silence:
            return HTTPStatus.OK, found
        what = "no sample since the start" if snapshot.last_sample is None else "no sample"
        why = f"{what} for {age:.1f} s, expected one within {self._longest_silence:g} s"
        return HTTPStatus.SERVICE_UNAVAILABLE, {**found, "status": "failing", "why": why}

    def _show(self, connection: socket.socket, method: str) -> None:
        """Everything on the board, and then what happens, as server-sent events."""
        if not self._viewers.acquire(blocking=False):
            raise BadRequest(HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            connection.sendall(head(HTTPStatus.OK, "text/event-stream", None))
            upto = 0
            while method == "GET" and (news := self._board.news(upto, _HEARTBEAT)) is not None:
                connection.sendall(_message(news, time.monotonic(), self._longest_silence))
                upto = news.upto
                time.sleep(_PACE)
        finally:
            self._viewers.release()


def _listening(address: str) -> socket.socket:
    host, port = parse_address(address)
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise EdgegruError(f"{address}: is no address of this machine: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(name)
        listener.listen(MOST_CONNECTIONS)
    except OSError as error:
        listener.close()
        raise EdgegruError(f"{address}: the page cannot be shown there: {error.strerror}") from None
    return listener


def _policy(nonce: str) -> tuple[str, str]:
    allowed = f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:"
    forbidden = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return "Content-Security-Policy", f"{forbidden}; {allowed}"


def _send(
    connection: socket.socket,
    method: str,
    status: HTTPStatus,
    content_type: str,
    text: str,
    more: Sequence[tuple[str, str]] = (),
) -> None:
    body = text.encode("utf-8", "replace")
    connection.sendall(head(status, content_type, len(body), more) + (b"" if method == "HEAD" else body))


def _message(news: News, now: float, longest_silence: float) -> bytes:
    """One server-sent event; a comment where there is nothing to say."""
    if not news:
        return b": nothing new\n\n"
    content: dict[str, Any] = {"now": time.time()}
    if news.model is not None:
        content["model"] = news.model
    if news.samples:
        content["samples"] = news.samples
    if news.events:
        content["events"] = news.events
    if news.snapshot is not None:
        content["counters"] = {**_counters(news.snapshot, now), "silence": longest_silence}
    return b"data: " + json.dumps(content, separators=(",", ":"), allow_nan=False).encode() + b"\n\n"


def _counters(snapshot: Snapshot, now: float) -> dict[str, Any]:
    return {
        "counters": snapshot.counters,
        "sensors": snapshot.sensors,
        "p50": snapshot.step_times.quantile(0.5),
        "p99": snapshot.step_times.quantile(0.99),
        "age": None if snapshot.last_sample is None else snapshot.input_age(now),
        "uptime": now - snapshot.started,
        "streams": snapshot.streams,
        "resident": snapshot.resident,
        "info": snapshot.info,
    }
