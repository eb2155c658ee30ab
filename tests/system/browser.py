"""Chromium without a window, steered over a pipe by the DevTools protocol."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import time
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds


class Browser:
    """One page; ``requests`` are the addresses that it asked for, ``errors`` what its console complained about."""

    def __init__(self, program: str, profile: Path) -> None:
        self._reading, write_there = os.pipe()
        read_there, self._writing = os.pipe()
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += ["--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        # The protocol wants descriptors 3 and 4; what is put there comes from numbers that do not get in the way.
        theirs = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in (read_there, write_there)]
        actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_DUP2, theirs[0], 3), (os.POSIX_SPAWN_DUP2, theirs[1], 4)]
        actions.append((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0))
        self._process = os.posix_spawn(program, command, os.environ, file_actions=actions)
        for descriptor in (read_there, write_there, *theirs):
            os.close(descriptor)
        self._rest, self._number = b"", 0
        self._session: str | None = None
        self.requests: list[str] = []
        self.errors: list[str] = []
        (target,) = [found for found in self._call("Target.getTargets")["targetInfos"] if found["type"] == "page"]
        attached = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def close(self) -> None:
        self._session = None
        self._call("Browser.close")
        os.waitpid(self._process, 0)
        os.close(self._reading)
        os.close(self._writing)

    def open(self, address: str, width: int, height: int = 900, scheme: str = "light") -> None:
        """Show ``address`` in a window of that size, with colours for a "light" or "dark" room."""
        phone = width < 600
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1 + phone, mobile=phone
        )
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._call("Page.navigate", url=address)
        self.wait(f"location.href === {json.dumps(address)} && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The value of ``expression`` as soon as it is true."""
        deadline = time.monotonic() + PATIENCE
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"{expression} is still {value!r}"
            self._read(0.05)
        return value

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        found = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for answer in self._read(1.0):
                if answer.get("id") == self._number:
                    assert "error" not in answer, answer
                    return answer["result"]
        raise AssertionError(f"the browser does not answer {method}")

    def _read(self, seconds: float) -> list[dict[str, Any]]:
        """The messages that arrive within ``seconds``."""
        if not select.select([self._reading], [], [], seconds)[0]:
            return []
        received = os.read(self._reading, 2**20)
        assert received, "the browser has gone"
        self._rest += received
        *messages, self._rest = self._rest.split(b"\0")
        found = [json.loads(message) for message in messages]
        for message in found:
            parameters = message.get("params", {})
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                self.errors.append(parameters["entry"]["text"])
            elif message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(parameters["exceptionDetails"]))
        return found
