"""What systemd is told: ready, reloading, stopping, how it goes, and that samples still flow (sd_notify(3)).

The watchdog is fed only while samples flow, so that a sensor that has died restarts the service like a process that
hangs. Outside of systemd nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping

_LONGEST_SEND = 1.0  # seconds that a message may wait for systemd


class Notifier:
    """Messages to ``address``: a socket's path, or "@name" in the abstract namespace; None: there is nobody to tell.

    ``watchdog``: seconds within which the service must be heard of, None where nobody waits for it. ``warn`` is called
    with one sentence, once, where messages do not arrive: the stream is worth more than what is said about it.
    """

    def __init__(self, address: str | None, watchdog: float | None, warn: Callable[[str], None]) -> None:
        self._address = address
        self._half = None if watchdog is None or address is None else watchdog / 2
        self._warn: Callable[[str], None] | None = warn
        self._socket = None if address is None else socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._flowed = False  # a sample came since the watchdog was fed
        self._next = time.monotonic()  # when it may be fed again
        if self._socket is not None:
            self._socket.settimeout(_LONGEST_SEND)

    @classmethod
    def from_environment(
        cls, warn: Callable[[str], None], environment: MutableMapping[str, str] = os.environ
    ) -> Notifier:
        """As systemd has set it up; takes the variables out of ``environment``, for they are not for our children."""
        address = environment.pop("NOTIFY_SOCKET", "") or None
        interval, process = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        watchdog = None
        if interval.isdecimal() and int(interval) > 0 and process in ("", str(os.getpid())):
            watchdog = int(interval) / 1e6
        if address is not None and not address.startswith(("/", "@")):
            warn(f"NOTIFY_SOCKET is {address!r}, expected a path or @name: nothing is told to it")
            address = None
        return cls(address, watchdog, warn)

    def ready(self) -> None:
        """The stream is set up, or again after ``reloading``: systemd starts what waits for it."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The model is being read again; ``ready`` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The stream ends, and its state is being saved."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(f"STATUS={' '.join(text.split())}")

    def sample(self) -> None:
        """Samples came: to be called once for each batch of them."""
        self._flowed = True

    def due(self) -> float | None:
        """The ``time.monotonic()`` of the next ``beat``; None where there is none to come before the next sample."""
        return self._next if self._flowed and self._half is not None else None

    def beat(self, now: float) -> None:
        """Feed the watchdog, where samples have come and half of its time is over at ``now`` (``time.monotonic()``)."""
        if self._half is not None and self._flowed and now >= self._next:
            self._flowed = False
            self._next = now + self._half
            self._send("WATCHDOG=1")

    def close(self) -> None:
        """Nothing is sent any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None or self._address is None:
            return
        name = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            self._socket.sendto(message.encode("utf-8", "replace"), name)
        except OSError as error:
            if self._warn is not None:
                what, reason = message.partition("=")[0], error.strerror or error
                self._warn(f"{self._address}: systemd cannot be told {what}: {reason}")
                self._warn = None
