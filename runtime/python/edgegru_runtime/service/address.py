"""Where the page is shown: "PORT" and ":PORT" mean this machine alone, "HOST:PORT" and "[IPV6]:PORT" what they say."""

from __future__ import annotations

from edgegru_runtime.errors import InputError


def parse_address(address: str) -> tuple[str, int]:
    """Host and port. Raises InputError."""
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not (port.isascii() and port.isdecimal() and int(port) < 65536) or (":" in host and not bracketed):
        raise InputError(f"{address!r} is no address for the page, expected PORT, HOST:PORT or [IPV6]:PORT")
    return (host[1:-1] if bracketed else host) or "127.0.0.1", int(port)


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address, is this machine as only it can call itself."""
    name = host.lower().rstrip(".")
    numbers = name.split(".")
    loopback = len(numbers) == 4 and numbers[0] == "127" and all(number.isdecimal() for number in numbers)
    return loopback or name in ("localhost", "::1")
