"""The page's server: what it answers, what it refuses, and that nobody can hold it up."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from edgegru_runtime import EdgegruError, InputError
from edgegru_runtime.service import http as http_module
from edgegru_runtime.service import server as module
from edgegru_runtime.service.address import is_loopback, parse_address
from edgegru_runtime.service.board import Board
from edgegru_runtime.service.metrics import CONTENT_TYPE, Snapshot, StepTimes
from edgegru_runtime.service.server import MOST_CONNECTIONS, MOST_VIEWERS, Server
from tests.builders import random_config
from tests.runtime.exposition import NAME, read_metrics

CONFIG = random_config(3)
PATIENCE = 20.0


def no_warning(sentence: str) -> None:
    raise AssertionError(sentence)


def snapshot(silence: float = 0.0, steps: int = 7) -> Snapshot:
    now = time.monotonic()
    return Snapshot(now - 60, now - silence, 1, {"steps": steps}, StepTimes())


@pytest.fixture
def board() -> Board:
    return Board(CONFIG, "gait.safetensors", snapshot())


@pytest.fixture
def server(board: Board) -> Iterator[Server]:
    server = Server("127.0.0.1:0", board, warn=no_warning, longest_silence=30)
    yield server
    server.close()


def connected(server: Server) -> socket.socket:
    host, port = parse_address(server.address)
    return socket.create_connection((host, port), timeout=PATIENCE)


def answer(server: Server, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, header and body of the response to ``request``, until the server hangs up."""
    with connected(server) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    found = re.fullmatch(r"HTTP/1\.1 (\d{3}) [A-Za-z ]+", status)
    assert found is not None, received
    return int(found[1]), dict(field.split(": ", 1) for field in fields), body


def get(
    server: Server, path: str = "/", method: str = "GET", host: str = "localhost"
) -> tuple[int, dict[str, str], bytes]:
    return answer(server, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Viewer:
    """One that reads /events."""

    def __init__(self, server: Server) -> None:
        self.connection = connected(server)
        self.connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.file = self.connection.makefile("rb")
        self.status = self.file.readline()
        self.fields = list(iter(self.file.readline, b"\r\n"))

    def message(self) -> dict[str, Any]:
        line = self.file.readline()
        assert line.startswith(b"data: ") and self.file.readline() == b"\n"
        found: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
        return found

    def close(self) -> None:
        self.file.close()
        self.connection.close()


def test_the_page_comes_from_nowhere_else(server: Server) -> None:
    status, fields, body = get(server)
    page = body.decode()
    assert status == 200 and fields["Content-Type"] == "text/html; charset=utf-8"
    assert int(fields["Content-Length"]) == len(body) < 40_000
    assert re.findall(r"(?:https?:)?//[a-z]", re.sub(r"^ *//.*$", "", page, flags=re.MULTILINE)) == []
    nonces = re.findall(r'nonce="([0-9a-f]{32})"', page)
    policy = fields["Content-Security-Policy"]
    assert len(nonces) == 2 and set(nonces) == set(re.findall(r"'nonce-(\w+)'", policy))
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "unsafe" not in policy
    assert get(server)[1]["Content-Security-Policy"] != policy  # a nonce is used once


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/nothing", "/events"])
def test_headers_keep_the_content_to_ourselves(path: str, server: Server) -> None:
    _, fields, _ = get(server, path, "HEAD")
    assert fields["X-Content-Type-Options"] == "nosniff" and fields["X-Frame-Options"] == "DENY"
    assert fields["Cross-Origin-Resource-Policy"] == "same-origin" and fields["Cache-Control"] == "no-store"
    assert fields["Content-Security-Policy"].startswith("default-src 'none'")
    assert not any(name.startswith("Access-Control") for name in fields)


def test_metrics_are_prometheus_text(server: Server, board: Board) -> None:
    board.snapshot(snapshot(steps=11))
    status, fields, body = get(server, "/metrics?ignored=1")
    assert (status, fields["Content-Type"]) == (200, CONTENT_TYPE)
    found = read_metrics(body.decode())
    assert found["edgegru_steps_total", frozenset()] == 11
    assert all(re.fullmatch(NAME, name) for name, _ in found)


def test_health_is_that_samples_flow(server: Server, board: Board) -> None:
    status, _, body = get(server, "/healthz")
    assert status == 200 and json.loads(body)["status"] == "ok" and json.loads(body)["input_age"] < 30
    board.snapshot(snapshot(silence=45))
    status, _, body = get(server, "/healthz")
    found = json.loads(body)
    assert status == 503 and found["status"] == "failing"
    assert re.fullmatch(r"no sample for 4\d\.\d s, expected one within 30 s", found["why"])
    board.snapshot(snapshot()._replace(last_sample=None))
    assert "no sample since the start for 6" in json.loads(get(server, "/healthz")[2])["why"]


def test_head_is_a_get_without_a_body(server: Server) -> None:
    for path in ("/", "/healthz", "/metrics"):
        status, fields, body = get(server, path, "HEAD")
        assert status == 200 and body == b"" and int(fields["Content-Length"]) > 10
    assert get(server, "/events", "HEAD")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get"])
def test_nothing_can_be_changed(method: str, server: Server) -> None:
    status, fields, body = get(server, "/", method)
    assert (status, fields["Allow"], body) == (405, "GET, HEAD", b"Method Not Allowed\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz?x=/../etc HTTP/1.1\r\nhost:localhost:99\r\n\r\n", 200),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"GET http://localhost/ HTTP/1.1\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\xff\xfe \x00 HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + 9000 * b"x", 431),
        (b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + 100_000 * b"x", 405),
    ],
)
def test_requests_are_read_strictly(request_: bytes, status: int, server: Server) -> None:
    assert answer(server, request_)[0] == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost.:8080", 200),
        ("127.0.0.1:1", 200),
        ("127.8.9.1", 200),
        ("[::1]:8080", 200),
        ("evil.example", 421),
        ("evil.example:8080", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("127.evil", 421),
        ("", 421),
    ],
)
def test_another_name_for_this_machine_is_refused(host: str, status: int, server: Server) -> None:
    assert get(server, "/", host=host)[0] == status
    assert get(server, "/metrics", host=host)[0] == status


def test_viewers_see_what_happens(server: Server, board: Board) -> None:
    viewers = [Viewer(server) for _ in range(3)]
    for viewer in viewers:
        assert viewer.status == b"HTTP/1.1 200 OK\r\n" and b"Content-Type: text/event-stream\r\n" in viewer.fields
        first = viewer.message()
        assert first["model"]["name"] == "gait.safetensors" and first["counters"]["counters"] == {"steps": 7}
        assert first["counters"]["p50"] is None and "samples" not in first
    board.sample("pump\n", 1.5, [1.0, float("nan"), 3.0], ([0.1, 0.2, 0.3, 0.4],), (("label3",),))
    for viewer in viewers:
        (sample,) = viewer.message()["samples"]
        assert sample[0] == "pump\n" and sample[2:] == [1.5, [1, None, 3], [[0.1, 0.2, 0.3, 0.4]], [["label3"]], None]
    board.event({"event": "on", "label": "label3"})
    for viewer in viewers:
        message = viewer.message()
        assert message["events"][0]["label"] == "label3" and "model" not in message
        viewer.close()


def test_the_number_of_viewers_is_limited(server: Server) -> None:
    with ExitStack() as stack:
        viewers = [Viewer(server) for _ in range(MOST_VIEWERS)]
        for viewer in viewers:
            stack.callback(viewer.close)
            viewer.message()
        assert get(server, "/events")[0] == 503
        assert get(server)[0] == 200
        stack.close()
        server._board.event({})  # a viewer that has left is noticed when there is something to say

        def free() -> bool:
            server._board.event({})
            return get(server, "/events", "HEAD")[0] == 200

        until(free)


def test_the_number_of_connections_is_limited(server: Server) -> None:
    idle = [connected(server) for _ in range(MOST_CONNECTIONS)]
    until(lambda: len(server._connections) == MOST_CONNECTIONS)
    with connected(server) as one_more:
        assert one_more.recv(1) == b""
    for connection in idle:
        connection.close()
    until(lambda: not server._connections)
    assert get(server)[0] == 200


def test_a_viewer_that_does_not_read_is_dropped(server: Server, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLOWEST_CLIENT", 0.2)
    monkeypatch.setattr(module, "_PACE", 0.0)
    slow = connected(server)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sendall(b"GET /events HTTP/1.1\r\n\r\n")

    def dropped() -> bool:
        board.event({"text": 100_000 * "x"})
        return not server._connections

    until(lambda: server._connections)
    until(dropped)
    slow.close()


def test_a_client_that_takes_its_time_is_sent_away(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "REQUEST_SECONDS", 0.1)
    assert answer(server, b"GET / HT")[0] == 408


def test_closing_hangs_up_and_leaves_nothing(board: Board) -> None:
    server = Server("127.0.0.1:0", board, warn=no_warning)
    viewer, idle = Viewer(server), connected(server)
    viewer.message()
    until(lambda: len(server._connections) == 2)
    server.close()
    assert viewer.file.read() == b"" and idle.recv(1) == b""
    viewer.close()
    idle.close()
    until(lambda: not any(thread.name.startswith("page") for thread in threading.enumerate()))
    again = Server(server.address, board, warn=no_warning)  # the port is free at once
    assert again.address == server.address
    again.close()


def test_an_address_in_use_is_one_sentence(server: Server, board: Board) -> None:
    sentence = f"^{server.address}: the page cannot be shown there: Address already in use$"
    with pytest.raises(EdgegruError, match=sentence):
        Server(server.address, board, warn=no_warning)


def test_only_loopback_goes_without_saying(board: Board) -> None:
    warnings: list[str] = []
    server = Server("0.0.0.0:0", board, warn=warnings.append)
    port = parse_address(server.address)[1]
    assert warnings == [f"0.0.0.0:{port} shows this stream to whoever can reach it, without a password"]
    assert get(server, host="pump.example")[0] == 200  # its own name is not known here
    server.close()
    for address in ("0", ":0", "localhost:0", "127.0.0.2:0"):
        server = Server(address, board, warn=no_warning)
        assert is_loopback(parse_address(server.address)[0])
        server.close()


def test_the_other_internet_protocol(board: Board) -> None:
    try:
        server = Server("[::1]:0", board, warn=no_warning)
    except EdgegruError:
        pytest.skip("this machine has no IPv6 loopback; .ci/run's has")
    assert server.address.startswith("[::1]:")
    assert get(server, host="[::1]")[0] == 200 and get(server, host="evil.example")[0] == 421
    server.close()


@pytest.mark.parametrize("address", ["", "localhost", "localhost:", "1:2:3", "::1:80", "a:65536", "a:-1", "a:http"])
def test_what_is_no_address(address: str, board: Board) -> None:
    with pytest.raises(InputError, match="is no address for the page, expected PORT, HOST:PORT or "):
        Server(address, board, warn=no_warning)


def test_an_address_of_another_machine(board: Board) -> None:
    with pytest.raises(EdgegruError, match=r"^192\.0\.2\.1:0: the page cannot be shown there: "):
        Server("192.0.2.1:0", board, warn=no_warning)
