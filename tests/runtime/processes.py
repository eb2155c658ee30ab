"""``run`` as a process that waits for lines, in a folder with a model.safetensors."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

COMMAND = [sys.executable, "-m", "edgegru_runtime", "run", "model.safetensors"]
DEADLINE = 30.0  # seconds


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A run with pipes at all ends, which is killed at the end of the block."""
    pipe = subprocess.PIPE
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGINT)}
    try:  # whoever started the tests may ignore them, as nohup does
        process = subprocess.Popen([*COMMAND, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    with process:
        deadline = threading.Timer(DEADLINE, process.kill)  # whoever reads from it then sees its end
        deadline.start()
        try:
            yield process
        finally:
            deadline.cancel()
            process.kill()


def said_until(process: subprocess.Popen[str], wanted: str) -> str:
    """The first line on standard error that holds ``wanted``."""
    assert process.stderr is not None
    while line := process.stderr.readline():
        if wanted in line:
            return line
    raise AssertionError(f"nothing said {wanted!r}")


def until(reached: Callable[[], object]) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + DEADLINE
    while not reached():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)
