"""What systemd hears, over a real datagram socket."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgegru_runtime.service.notify import Notifier


def no_warning(sentence: str) -> None:
    raise AssertionError(sentence)


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"@edgegru-{os.getpid()}-{time.monotonic_ns()}"


@pytest.fixture
def systemd(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + address[1:] if address.startswith("@") else address)
        listening.settimeout(10)
        yield listening


def heard(systemd: socket.socket) -> list[str]:
    """All messages so far; a datagram that was sent is there."""
    systemd.setblocking(False)
    found = []
    try:
        while True:
            found.append(systemd.recv(4096).decode())
    except BlockingIOError:
        return found


def test_the_life_of_a_service(systemd: socket.socket, address: str) -> None:
    notifier = Notifier.from_environment(no_warning, {"NOTIFY_SOCKET": address})
    notifier.ready()
    notifier.status("walk is on,\n 3 sensors\n")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    notifier.ready()
    notifier.stopping()
    notifier.close()
    notifier.status("nobody hears this")
    ready, status, reloading, again, stopping = heard(systemd)
    assert (ready, status, again, stopping) == ("READY=1", "STATUS=walk is on, 3 sensors", "READY=1", "STOPPING=1")
    found = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", reloading)
    assert found is not None
    assert before <= int(found[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_the_watchdog_is_fed_at_half_of_its_time(systemd: socket.socket, address: str) -> None:
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier.from_environment(no_warning, environment)
    now = time.monotonic()
    fed = []
    for tenth in range(600):
        notifier.sample()
        notifier.beat(now + tenth / 10)
        fed += [tenth] * len(heard(systemd))
    assert fed == [0, 100, 200, 300, 400, 500]
    notifier.close()


def test_the_watchdog_starves_where_no_samples_flow(systemd: socket.socket, address: str) -> None:
    notifier = Notifier.from_environment(no_warning, {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000000"})
    now = time.monotonic()
    assert notifier.due() is None
    notifier.beat(now + 1)
    assert heard(systemd) == []
    notifier.sample()
    due = notifier.due()
    assert due is not None and due <= now + 1
    notifier.beat(now + 1)
    assert heard(systemd) == ["WATCHDOG=1"]
    notifier.beat(now + 100)
    assert notifier.due() is None and heard(systemd) == []
    notifier.sample()  # late, and therefore told at once
    assert notifier.due() == now + 11
    notifier.beat(now + 101)
    assert heard(systemd) == ["WATCHDOG=1"]
    notifier.close()


@pytest.mark.parametrize("extra", [{}, {"WATCHDOG_USEC": "20", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}])
def test_no_watchdog_of_ours(extra: dict[str, str], systemd: socket.socket, address: str) -> None:
    notifier = Notifier.from_environment(no_warning, {"NOTIFY_SOCKET": address, **extra})
    notifier.sample()
    assert notifier.due() is None
    notifier.beat(time.monotonic() + 1e9)
    notifier.close()
    assert heard(systemd) == []


def test_outside_of_systemd_nothing_is_told() -> None:
    notifier = Notifier.from_environment(no_warning, {"WATCHDOG_USEC": "1000000"})
    for call in (notifier.ready, notifier.reloading, notifier.stopping, notifier.sample, notifier.close):
        call()
    assert notifier.due() is None


def test_children_do_not_inherit_the_socket(address: str) -> None:
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    Notifier.from_environment(no_warning, environment).close()
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("/nowhere/notify", "/nowhere/notify: systemd cannot be told READY: No such file or directory"),
        ("/" + 200 * "x", f"/{200 * 'x'}: systemd cannot be told READY: AF_UNIX path too long"),
        ("vsock:2:1234", "NOTIFY_SOCKET is 'vsock:2:1234', expected a path or @name: nothing is told to it"),
    ],
)
def test_one_warning_where_nobody_listens(address: str, sentence: str) -> None:
    warnings: list[str] = []
    notifier = Notifier.from_environment(warnings.append, {"NOTIFY_SOCKET": address})
    notifier.ready()
    notifier.stopping()
    notifier.close()
    assert warnings == [sentence]
