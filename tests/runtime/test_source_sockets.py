"""Peers over TCP and Unix sockets: connecting and connecting again, and many clients at once."""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edgegru_runtime.errors import InputError
from edgegru_runtime.record import Control, Item, Record, Refusal
from edgegru_runtime.sources import sockets
from edgegru_runtime.sources.opening import SourceOptions, open_source
from edgegru_runtime.sources.source import Source, Waits
from tests.builders import random_config
from tests.runtime.waiting import read_some, read_until, wait

CONFIG = random_config(3)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Waits, "FIRST", 0.01)


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """What to connect to, and the socket that listens there."""
    if request.param == "tcp":
        listener = socket.create_server(("127.0.0.1", 0))
        spec = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        spec = f"unix:{tmp_path}/socket"
    listener.settimeout(20)
    with listener:
        yield spec, listener


@pytest.fixture(params=["tcp", "unix"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "tcp-listen://127.0.0.1:0" if request.param == "tcp" else f"unix-listen:{tmp_path}/socket"


def opened(spec: str, said: list[str] | None = None, **options: Any) -> Source:
    return open_source(spec, CONFIG, SourceOptions(**options), [].append if said is None else said.append)


def client_of(source: Source) -> socket.socket:
    """A client of what listens."""
    kind, _, rest = source.name.partition(":")
    if kind == "unix-listen":
        client = socket.socket(socket.AF_UNIX)
        client.connect(rest)
        return client
    host, _, port = rest.removeprefix("//").rpartition(":")
    return socket.create_connection((host, int(port)))


def connected(source: Source, listener: socket.socket) -> socket.socket:
    """The other end of a source's connection."""
    source.read()
    return listener.accept()[0]


def values(items: list[Item]) -> list[object]:
    return [item.x if isinstance(item, Record) else item for item in items]


def test_a_peer_is_read(server: tuple[str, socket.socket]) -> None:
    spec, listener = server
    said: list[str] = []
    source = opened(spec, said)
    assert (source.name, source.unit, source.live, source.resumable) == (spec, "line", True, False)
    assert source.overflow() == 0
    with connected(source, listener) as peer:
        peer.sendall(b"[1,2,3]\n[4,5")
        assert values(read_some(source, 1)) == [[1, 2, 3]]
        assert source.due() is None
        assert not wait(source, 0.01)
        assert source.read() == []
        peer.sendall(b',6]\n{"control":"dump"}\nx\n')
        assert read_some(source, 3) == [
            Record([4, 5, 6], place=2, end=16),
            Control("dump", None, 3, 35),
            Refusal("the line is not JSON: Expecting value at character 0", 4, 37),
        ]
    with pytest.raises(InputError, match="expected a regular file"):
        source.resume(1, 1)
    source.close()
    source.close()
    assert said == []


def test_a_peer_that_left_is_connected_to_again(server: tuple[str, socket.socket]) -> None:
    spec, listener = server
    said: list[str] = []
    source = opened(spec, said)
    with connected(source, listener) as peer:
        peer.sendall(b"c1,c0,c2\n2,1,3\n4,5")
        assert values(read_some(source, 1)) == [[1, 2, 3]]
    assert read_some(source, 1) == [Refusal("the input ends within a line of 3 bytes", 3, 18)]
    assert said == [f"{spec}: is not there (it closed the connection) and is waited for"]
    read_until(source, lambda items: source.due() is None)
    with listener.accept()[0] as peer:
        peer.sendall(b"5,4,6\n")
        assert read_some(source, 1) == [Record([4, 5, 6], place=4, end=24)]
    assert said[1:] == [f"{spec}: is there again"]
    source.close()


def test_a_peer_that_is_not_there_yet_is_waited_for(server: tuple[str, socket.socket]) -> None:
    spec, listener = server
    path = spec.removeprefix("unix:")
    family, address = listener.family, listener.getsockname()
    listener.close()
    if family == socket.AF_UNIX:
        os.unlink(path)
    said: list[str] = []
    source = opened(spec, said)
    dues: list[float] = []
    while len(dues) < 4:
        wait(source, 1.0)
        assert source.read() == []
        due = source.due()
        assert due is not None
        if said and due not in dues:
            dues.append(due)
    assert len(said) == 1
    assert re.search(r"is not there \((Connection refused|No such file or directory)\) and is waited for$", said[0])
    waits = [later - earlier for earlier, later in pairwise(dues[1:])]
    assert waits == sorted(waits)
    with socket.socket(family) as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(address)
        again.listen()
        read_until(source, lambda items: source.due() is None)
        with again.accept()[0] as peer:
            peer.sendall(b"1,2,3\n")
            assert values(read_some(source, 1)) == [[1, 2, 3]]
    source.close()


def test_a_peer_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "CONNECT_SECONDS", 0.05)
    said: list[str] = []
    with socket.socket() as full:  # nobody accepts: connections beyond the queue hang as to a host that is off
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            source = opened(f"tcp://127.0.0.1:{full.getsockname()[1]}", said)
            read_until(source, lambda items: bool(said))
            source.close()
    assert said == [f"{source.name}: is not there (Connection timed out) and is waited for"]


def test_a_name_that_nobody_knows_is_waited_for() -> None:
    said: list[str] = []
    source = opened("tcp://" + "a" * 70 + ":1", said)
    assert source.read() == []
    assert len(said) == 1
    source.close()


def test_a_connection_that_is_reset(server: tuple[str, socket.socket]) -> None:
    spec, listener = server
    said: list[str] = []
    source = opened(spec, said)
    peer = connected(source, listener)
    peer.sendall(b"1,2,3\n4")
    read_some(source, 1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    assert len(read_some(source, 1)) == 1
    assert len(said) == 1
    source.close()


def test_a_wrong_header_ends_it_at_the_start(server: tuple[str, socket.socket]) -> None:
    source = opened(server[0])
    with connected(source, server[1]) as peer:
        peer.sendall(b"a,b\n")
        with pytest.raises(InputError) as caught:
            read_some(source, 1)
    assert str(caught.value) == f"{server[0]}, line 1: the header has no c0, c1, c2; expected c0, c1, c2"
    source.close()


def test_nothing_is_read_ahead_of_a_peer(server: tuple[str, socket.socket]) -> None:
    source = opened(server[0], chunk=1)
    with connected(source, server[1]) as peer:
        peer.sendall(b"1,2,3\n4,5,6\n7")
        assert values(read_some(source, 1)) == [[1, 2, 3]]
        assert values(read_some(source, 1)) == [[4, 5, 6]]
    source.close()


def test_raw_numbers_of_a_peer(server: tuple[str, socket.socket]) -> None:
    source = opened(server[0], format="s16le")
    with connected(source, server[1]) as peer:
        peer.sendall(struct.pack("<4h", 1, 2, 3, 4))
        assert values(read_some(source, 1)) == [[1, 2, 3]]
    (refusal,) = read_some(source, 1)
    assert isinstance(refusal, Refusal)
    read_until(source, lambda items: source.due() is None)
    with server[1].accept()[0] as peer:
        peer.sendall(struct.pack("<3h", 5, 6, 7))
        assert values(read_some(source, 1)) == [[5, 6, 7]]  # frames begin anew
    source.close()


def test_many_clients_at_once(listening: str) -> None:
    source = opened(listening, streams_by="k")
    clients = [client_of(source) for _ in range(20)]
    for index, client in enumerate(clients):
        client.sendall(f'{{"x":[{index},0,0],"k":"{index}"}}\n{{"x":[1,'.encode())  # and half a line
    items = read_some(source, 20)
    assert sorted(int(item.key) for item in items if isinstance(item, Record)) == list(range(20))
    assert not wait(source, 0.01)
    for client in reversed(clients):
        client.sendall(b'2,3],"k":"a"}\n')
    assert values(read_some(source, 20)) == [[1, 2, 3]] * 20
    for client in clients:
        client.close()
    read_until(source, lambda items: not source._peers)  # type: ignore[attr-defined]
    source.close()
    source.close()


def test_each_client_has_its_own_columns(listening: str) -> None:
    source = opened(listening)
    with client_of(source) as one, client_of(source) as other:
        one.sendall(b"c2,c1,c0\n")
        other.sendall(b"1,2,3\n")
        assert values(read_some(source, 1)) == [[1, 2, 3]]
        one.sendall(b"1,2,3\n")
        assert values(read_some(source, 1)) == [[3, 2, 1]]
    source.close()


def test_what_is_wrong_with_a_client_is_told_and_ends_only_that_one(listening: str) -> None:
    source = opened(listening)
    with client_of(source) as good, client_of(source) as wrong:
        good.sendall(b"[1,2,3]\n[1]\n")
        record, refusal = read_some(source, 2)
        assert values([record]) == [[1, 2, 3]]
        assert isinstance(refusal, Refusal)
        assert re.fullmatch(
            r"from (client 1|127\.0\.0\.1 port \d+): 1 values arrived, expected 3: c0, c1, c2", refusal.reason
        )
        wrong.sendall(b"\na,b\n")
        (refusal,) = read_some(source, 1)
        assert isinstance(refusal, Refusal)
        assert refusal.reason.endswith(": the header has no c0, c1, c2; expected c0, c1, c2")
        assert refusal.place == 2
        wrong.settimeout(20)
        assert wrong.recv(1) == b""
        good.sendall(b"[4,5,6]\n[7")
        assert values(read_some(source, 1)) == [[4, 5, 6]]
    (refusal,) = read_some(source, 1)
    assert isinstance(refusal, Refusal)
    assert refusal.reason.endswith(": the input ends within a line of 2 bytes")
    source.close()


def test_a_client_that_is_reset_ends_only_that_one() -> None:
    source = opened("tcp-listen://127.0.0.1:0")
    client = client_of(source)
    client.sendall(b"1,2,3\n4")
    read_some(source, 1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    (refusal,) = read_some(source, 1)
    assert isinstance(refusal, Refusal)
    source.close()


def test_nothing_is_read_ahead_of_clients(listening: str) -> None:
    source = opened(listening, chunk=1)
    with client_of(source) as one, client_of(source) as other:
        for client in (one, other):
            client.sendall(b"1,2,3\n4,5,6\n")
        found = []
        for _ in range(4):
            items = read_some(source, 1)
            assert len(items) == 1
            found += values(items)
        assert sorted(found) == [[1, 2, 3]] * 2 + [[4, 5, 6]] * 2  # type: ignore[type-var]
        assert found[0] == found[1] == [1, 2, 3]  # they take turns
    source.close()


def test_no_more_clients_than_can_be(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_PEERS", 1)
    source = opened(listening)
    with client_of(source) as first, client_of(source) as second:
        (refusal,) = read_some(source, 1)
        assert isinstance(refusal, Refusal) and refusal.reason.endswith(": 1 clients are there already")
        second.settimeout(20)
        assert second.recv(1) == b""
        first.sendall(b"1,2,3\n")
        assert values(read_some(source, 1)) == [[1, 2, 3]]
    source.close()


def test_without_descriptors_clients_wait_without_a_busy_loop(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "ACCEPT_AGAIN_SECONDS", 0.02)
    said: list[str] = []
    source = opened(listening, said)
    listener = source._listener  # type: ignore[attr-defined]

    class Exhausted:
        def accept(self) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        def fileno(self) -> int:
            return int(listener.fileno())

    with client_of(source) as client:
        source._listener = Exhausted()  # type: ignore[attr-defined]
        client.sendall(b"1,2,3\n")
        wait(source)
        assert source.read() == []
        assert said == [f"{source.name}: a client cannot be accepted now: Too many open files"]
        poll = select.poll()
        poll.register(source.fileno() or -1, select.POLLIN)
        assert poll.poll(0) == []
        assert source.due() is not None
        source._listener = listener  # type: ignore[attr-defined]
        assert values(read_some(source, 1)) == [[1, 2, 3]]
    source.close()


def test_a_stale_socket_file_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
        killed.listen()
    assert path.is_socket()
    source = opened(f"unix-listen:{path}")
    with pytest.raises(InputError, match="cannot be listened on: Address already in use"):
        opened(f"unix-listen:{path}")
    with client_of(source) as client:
        client.sendall(b"1,2,3\n")
        assert values(read_some(source, 1)) == [[1, 2, 3]]
    source.close()
    assert not path.exists()
    path.write_text("precious")
    with pytest.raises(InputError, match="cannot be listened on: a file is there that is no socket"):
        opened(f"unix-listen:{path}")
    assert path.read_text() == "precious"


def test_the_socket_file_of_a_successor_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    source = opened(f"unix-listen:{path}")
    os.rename(path, tmp_path / "old")
    successor = opened(f"unix-listen:{path}")
    source.close()
    assert path.is_socket()
    successor.close()


@pytest.mark.parametrize(
    "spec",
    ["tcp://host", "tcp://:1", "tcp://host:x", "tcp://host:99999", "tcp-listen://1", "unix:", f"unix:{'a' * 108}"],
)
def test_what_is_no_address(spec: str) -> None:
    with pytest.raises(InputError, match="names no (address|socket), expected"):
        opened(spec)


def test_where_nobody_can_listen(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for spec in (f"tcp-listen://127.0.0.1:{taken.getsockname()[1]}", f"unix-listen:{tmp_path}/missing/socket"):
            with pytest.raises(InputError, match="cannot be listened on: "):
                opened(spec)


def test_ipv6() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        listener.settimeout(20)
        source = opened(f"tcp://[::1]:{listener.getsockname()[1]}")
        with connected(source, listener) as peer:
            peer.sendall(b"1,2,3\n")
            assert values(read_some(source, 1)) == [[1, 2, 3]]
        source.close()
