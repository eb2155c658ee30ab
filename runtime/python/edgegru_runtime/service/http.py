"""As much of HTTP/1.1 as showing a page takes: the head of a GET or HEAD request, and responses without surprises.

The standard library's server would bring TLS and with it 7 MB of memory to every process that shows a page.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import NamedTuple

LONGEST_REQUEST = 8192  # bytes
REQUEST_SECONDS = 10.0  # that a client has to send it
_LINGER, _UNREAD = 1.0, 2**20  # seconds and bytes for the rest of a request that has been refused


class Request(NamedTuple):
    """What is asked for."""

    method: str
    path: str  # without its query
    host: str | None  # as the client calls us, without port


class BadRequest(Exception):
    """What arrived is no request that is answered; ``status`` says why."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def read_request(connection: socket.socket) -> Request | None:
    """The request's head; None where the client left. Raises BadRequest, or OSError where the connection broke."""
    head = b""
    deadline = time.monotonic() + REQUEST_SECONDS
    while b"\r\n\r\n" not in head:
        left = deadline - time.monotonic()
        if left <= 0:
            raise BadRequest(HTTPStatus.REQUEST_TIMEOUT)
        if len(head) >= LONGEST_REQUEST:
            raise BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        connection.settimeout(left)
        try:
            received = connection.recv(LONGEST_REQUEST - len(head))
        except TimeoutError:
            continue
        if not received:
            return None
        head += received
    return _parsed(head.partition(b"\r\n\r\n")[0].decode("latin-1"))


def hang_up(connection: socket.socket) -> None:
    """End a response to a request that was not read to its end: what is unread would take the response with it."""
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(_LINGER)
    for _ in range(_UNREAD // LONGEST_REQUEST):
        if not connection.recv(LONGEST_REQUEST):
            return


def _parsed(head: str) -> Request:
    first, *fields = head.split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise BadRequest(HTTPStatus.BAD_REQUEST)
    hosts = [value.strip() for name, _, value in (field.partition(":") for field in fields) if name.lower() == "host"]
    if len(hosts) > 1:
        raise BadRequest(HTTPStatus.BAD_REQUEST)
    method, path = words[0], words[1].partition("?")[0]
    if method not in ("GET", "HEAD"):
        raise BadRequest(HTTPStatus.METHOD_NOT_ALLOWED)
    return Request(method, path, _without_port(hosts[0]) if hosts else None)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def head(status: HTTPStatus, content_type: str, length: int | None, more: Sequence[tuple[str, str]] = ()) -> bytes:
    """Status line and header of a response; ``length``: of its body in bytes, None where it goes on and on."""
    fields = [
        ("Content-Type", content_type),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        *more,
    ]
    if length is not None:
        fields.append(("Content-Length", str(length)))
    if "Content-Security-Policy" not in (name for name, _ in more):
        fields.append(("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"))
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
