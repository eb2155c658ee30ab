"""Samples from peers in the network or on the same machine: connecting to one, or accepting many."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import time
from contextlib import suppress
from typing import NamedTuple

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Item, Refusal
from edgegru_runtime.sources.reader import Intake
from edgegru_runtime.sources.source import Absence, SourceOptions, Warn

MAX_PEERS = 256
CONNECT_SECONDS = 10.0
ACCEPT_AGAIN_SECONDS = 1.0  # after there was no descriptor left for a peer
_ALIVE = {  # a peer whose power was cut says nothing: asked after 30 s of silence, given up after a minute
    socket.SO_KEEPALIVE: (socket.SOL_SOCKET, 1),
    socket.TCP_KEEPIDLE: (socket.IPPROTO_TCP, 30),
    socket.TCP_KEEPINTVL: (socket.IPPROTO_TCP, 10),
    socket.TCP_KEEPCNT: (socket.IPPROTO_TCP, 3),
}


class _Peers:
    """What both kinds of sources have in common: an epoll object, which can itself be polled."""

    live = True
    resumable = False

    def __init__(self, spec: str) -> None:
        self.name = spec
        self._address = _Address.of(spec)
        self._events = select.epoll()

    def fileno(self) -> int | None:
        return self._events.fileno()

    def overflow(self) -> int:
        return 0

    def resume(self, end: int, place: int) -> None:
        raise InputError(f"{self.name}: cannot be read from byte {end}, expected a regular file")


class ConnectSource(_Peers):
    """The peer at ``tcp://HOST:PORT`` or ``unix:PATH``, connected to again whenever the connection is lost.

    Raises InputError where the address is none.
    """

    def __init__(self, spec: str, config: ModelConfig, options: SourceOptions, warn: Warn) -> None:
        super().__init__(spec)
        self._intake = Intake(config, options)
        self.unit, self.keyed = self._intake.reader.unit, options.streams_by is not None
        self._absence = Absence(self.name, warn)
        self._socket: socket.socket | None = None
        self._connected = False
        self._due = 0.0  # of the next attempt, or of the end of this one
        self._attempts = 0

    def due(self) -> float | None:
        return None if self._connected else self._due

    def read(self) -> list[Item] | None:
        if not self._connected and not self._connect():
            return []
        try:
            items = self._intake.take(self._receive)
            reason = "it closed the connection"
        except InputError as error:
            raise InputError(f"{self.name}, {self.unit} {self._intake.reader.place}: {error}") from None
        except OSError as error:
            items, reason = None, str(error.strerror)
        if items is None:
            self._lost(reason)
            items = self._intake.finish(complete=False)
            self._intake.reader.reconnected()
        return items

    def close(self) -> None:
        self._disconnect()
        self._events.close()

    def _connect(self) -> bool:
        """Whether the connection stands; if not, what can be done for it at this moment was done."""
        try:
            if self._socket is not None:
                if self._events.poll(0):
                    self._finish(self._socket)
                elif time.monotonic() >= self._due:
                    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            elif time.monotonic() >= self._due:
                self._begin()
        except OSError as error:
            self._lost(str(error.strerror))
        return self._connected

    def _begin(self) -> None:
        family, address = self._address.to_connect(self._attempts)
        self._attempts += 1
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._due = time.monotonic() + CONNECT_SECONDS
        code = self._socket.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        self._events.register(self._socket, select.EPOLLOUT)

    def _finish(self, connection: socket.socket) -> None:
        code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        _keep_alive(connection)
        self._events.modify(connection, select.EPOLLIN)
        self._connected = True

    def _receive(self, size: int) -> bytes | None:
        assert self._socket is not None
        data = _received(self._socket, size)
        if data:
            self._absence.found()
        return data

    def _lost(self, reason: str) -> None:
        self._disconnect()
        self._due = self._absence.lost(reason)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()  # which takes it out of the epoll object
        self._socket, self._connected = None, False


class _Peer(NamedTuple):
    """A client."""

    connection: socket.socket
    name: str
    intake: Intake


class ListenSource(_Peers):
    """Many clients at once of ``tcp-listen://HOST:PORT`` or ``unix-listen:PATH``, each with lines or frames of its own.

    Port 0 is one that is free, which ``name`` then tells. A client whose header does not fit the model is sent away.
    Raises InputError where nobody can listen there.
    """

    def __init__(self, spec: str, config: ModelConfig, options: SourceOptions, warn: Warn) -> None:
        super().__init__(spec)
        self._config, self._options, self._warn = config, options, warn
        self.unit = Intake(config, options).reader.unit  # also refuses at once what does not fit the model
        self.keyed = options.streams_by is not None
        self._peers: dict[int, _Peer] = {}
        self._count = 0  # of the clients that have come so far
        self._accept_at: float | None = None  # while no descriptor is left for a client
        try:
            self._listener = self._address.listening()
        except OSError as error:
            self._events.close()
            raise InputError(f"{self.name}: cannot be listened on: {error.strerror or error}") from None
        if self._address.path is None:
            self.name = f"{spec.rpartition(':')[0]}:{self._listener.getsockname()[1]}"
        else:
            self._inode = os.stat(self._address.path).st_ino
        self._events.register(self._listener, select.EPOLLIN)

    def due(self) -> float | None:
        return self._accept_at

    def read(self) -> list[Item] | None:
        if self._accept_at is not None and time.monotonic() >= self._accept_at:
            self._accept_at = None
            self._events.register(self._listener, select.EPOLLIN)
        items: list[Item] = []
        one_by_one = self._options.chunk == 1
        for descriptor, _ in self._events.poll(0, 1 if one_by_one else -1):  # of one, another one each time
            peer = self._peers.get(descriptor)
            items += self._accept() if peer is None else self._read(peer)
        return items

    def close(self) -> None:
        for peer in self._peers.values():
            peer.connection.close()
        self._peers.clear()
        if self._listener.fileno() >= 0 and self._address.path is not None:
            with suppress(FileNotFoundError):
                if os.stat(self._address.path).st_ino == self._inode:  # not that of somebody who came later
                    os.unlink(self._address.path)
        self._listener.close()
        self._events.close()

    def _read(self, peer: _Peer) -> list[Item]:
        intake = peer.intake
        try:
            items = intake.take(lambda size: _received(peer.connection, size))
            if items is None:
                self._send_away(peer)
                items = intake.finish(complete=False)
        except InputError as error:
            self._send_away(peer)
            items = [Refusal(str(error), intake.reader.place)]
        except OSError:
            self._send_away(peer)
            items = intake.finish(complete=False)
        return [
            item._replace(reason=f"from {peer.name}: {item.reason}") if item.__class__ is Refusal else item
            for item in items
        ]

    def _accept(self) -> list[Item]:
        try:
            connection, address = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return []
        except OSError as error:
            self._warn(f"{self.name}: a client cannot be accepted now: {error.strerror}")
            self._events.unregister(self._listener)
            self._accept_at = time.monotonic() + ACCEPT_AGAIN_SECONDS
            return []
        self._count += 1
        name = f"client {self._count}" if self._address.path is not None else f"{address[0]} port {address[1]}"
        if len(self._peers) >= MAX_PEERS:
            connection.close()
            return [Refusal(f"from {name}: {MAX_PEERS} clients are there already")]
        connection.setblocking(False)
        _keep_alive(connection)
        self._peers[connection.fileno()] = _Peer(connection, name, Intake(self._config, self._options))
        self._events.register(connection, select.EPOLLIN)
        return []

    def _send_away(self, peer: _Peer) -> None:
        del self._peers[peer.connection.fileno()]
        peer.connection.close()


class _Address(NamedTuple):
    """Where a peer is: a path, or a host and a port."""

    path: str | None
    host: str = ""
    port: int = 0

    @classmethod
    def of(cls, spec: str) -> _Address:
        """What a specification names. Raises InputError where it names nothing."""
        kind, _, rest = spec.partition(":")
        if kind.startswith("unix"):
            if not rest or "\0" in rest or len(os.fsencode(rest)) > 107:  # as long as the kernel takes it
                raise InputError(f"{spec}: names no socket, expected {kind}:PATH with at most 107 bytes of path")
            return cls(rest)
        host, _, port = rest.removeprefix("//").rpartition(":")
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host  # IPv6
        if not host or not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 2**16):
            raise InputError(f"{spec}: names no address, expected {kind}://HOST:PORT")
        return cls(None, host, int(port))

    def to_connect(self, attempt: int) -> tuple[socket.AddressFamily, str | tuple[str | int, ...]]:
        """A name can have several addresses, which have their turns. Raises OSError where it has none."""
        if self.path is not None:
            return socket.AF_UNIX, self.path
        found = self._resolved()
        family, _, _, _, address = found[attempt % len(found)]
        return family, address

    def listening(self) -> socket.socket:
        """A socket that listens there. Raises OSError, InputError where somebody else does."""
        if self.path is not None:
            self._remove_stale(self.path)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            address: str | tuple[str | int, ...] = self.path
        else:
            family, _, _, _, address = self._resolved()[0]
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(128)
        except OSError:
            listener.close()
            raise
        listener.setblocking(False)
        return listener

    def _resolved(self) -> list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str | int, ...]]]:
        try:
            return socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)  # type: ignore[return-value]
        except UnicodeError:  # no name that could be looked up
            raise OSError(errno.EADDRNOTAVAIL, "its name is none") from None

    def _remove_stale(self, path: str) -> None:
        """Take away the socket file of a process that was killed."""
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise OSError(errno.EEXIST, "a file is there that is no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
            visitor.setblocking(False)
            code = visitor.connect_ex(path)
        if code != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        os.unlink(path)


def _received(connection: socket.socket, size: int) -> bytes | None:
    """What has arrived, at most ``size`` bytes; None where nothing has."""
    try:
        return connection.recv(size)
    except BlockingIOError:
        return None


def _keep_alive(connection: socket.socket) -> None:
    if connection.family != socket.AF_UNIX:
        for option, (level, value) in _ALIVE.items():
            connection.setsockopt(level, option, value)
