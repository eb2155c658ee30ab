"""Whole runs on each kind of input, and on inputs that misbehave: every record accounted for, memory bounded."""

from __future__ import annotations

import json
import os
import pty
import random
import signal
import socket
import struct
import subprocess
import tty
from pathlib import Path
from typing import IO, Any

import pytest

from edgegru_export.saving import save_artifact
from edgegru_runtime.counters import FATES
from tests.builders import random_integer_artifact
from tests.runtime.iio_folder import Device
from tests.runtime.processes import COMMAND, DEADLINE, running, said_until, until

SAMPLES = [[0.25 * i, -0.5, 1.0] for i in range(5)]
LINES = [",".join(map(str, x)) + "\n" for x in SAMPLES]


@pytest.fixture(autouse=True)
def expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """The probabilities of SAMPLES, with the model in the folder that is entered."""
    monkeypatch.chdir(tmp_path)
    save_artifact(random_integer_artifact(0, 3, (8,)), "model.safetensors")
    finished = subprocess.run(COMMAND, input="".join(LINES), capture_output=True, text=True, check=True)
    return [json.loads(line)["probs"] for line in finished.stdout.splitlines()]


def answers(process: subprocess.Popen[str], count: int) -> list[list[float]]:
    assert process.stdout is not None
    return [json.loads(process.stdout.readline())["probs"] for _ in range(count)]


def stopped(process: subprocess.Popen[str]) -> dict[str, int]:
    """The counters of a run that is stopped."""
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    return accounted(said)


def accounted(said: str) -> dict[str, int]:
    counters: dict[str, int] = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert counters["read"] == sum(counters[fate] for fate in FATES)
    return counters


def catches(process: subprocess.Popen[Any], number: signal.Signals) -> bool:
    """Whether the process has a handler of the signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return bool(1 << (number - 1) & next(int(line.split()[1], 16) for line in status.splitlines() if "SigCgt" in line))


def most_memory(process: subprocess.Popen[Any]) -> int:
    """Bytes that the process has had in memory at most."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def test_a_serial_line(expected: list[list[float]]) -> None:
    controlling, port = pty.openpty()
    tty.setraw(port)
    with running(f"serial:{os.ttyname(port)}", "--counters") as process:
        until(lambda: catches(process, signal.SIGUSR1))  # a run's signals: the line is open by then, and emptied
        os.write(controlling, b"ets Jun  8 2016 00:22:57\r\nrst:0x1 (POWERON_RESET),boot:0x13\r\n")
        for line, probabilities in zip(LINES, expected, strict=True):
            os.write(controlling, line.encode())
            assert answers(process, 1) == [probabilities]
        counters = stopped(process)
        assert (counters["processed"], counters["refused"]) == (5, 2)
    os.close(controlling)
    os.close(port)


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_socket_that_is_connected_to(family: str, expected: list[list[float]]) -> None:
    kind = socket.AF_INET if family == "tcp" else socket.AF_UNIX
    with socket.socket(kind) as listener:
        listener.bind(("127.0.0.1", 0) if family == "tcp" else "there")
        listener.listen()
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}" if family == "tcp" else "unix:there"
        with running(address, "--counters") as process:
            for lines, part in (([*LINES[:2], "0.5,"], expected[:2]), (LINES[2:], expected[2:])):  # it connects again
                listener.settimeout(DEADLINE)
                peer, _ = listener.accept()
                with peer:
                    peer.sendall("".join(lines).encode())
                    assert answers(process, len(part)) == part
            counters = stopped(process)
        assert counters["processed"] == 5
        assert counters["refused"] == 1, "half a line at the end of the first connection"


def test_clients_of_a_socket(expected: list[list[float]]) -> None:
    with running("unix-listen:here", "--streams-by", "name", "--counters") as process:
        clients = []
        for name in ("a", "b"):
            client = socket.socket(socket.AF_UNIX)
            while client.connect_ex("here"):
                assert process.poll() is None
            clients.append((name, client))
        assert process.stdout is not None
        for x, probabilities in zip(SAMPLES, expected, strict=True):
            for name, client in clients:
                client.sendall(json.dumps({"name": name, "x": x}).encode() + b"\n")
                result = json.loads(process.stdout.readline())
                assert (result["stream"], result["probs"]) == (name, probabilities)
        for _, client in clients:
            client.close()
        assert stopped(process)["processed"] == 10


def test_a_stop_drains_what_was_sent(expected: list[list[float]]) -> None:
    with running("unix-listen:here", "--counters") as process, socket.socket(socket.AF_UNIX) as client:
        while client.connect_ex("here"):
            assert process.poll() is None
        client.sendall("".join(LINES[:2]).encode())
        assert answers(process, 2) == expected[:2]
        process.send_signal(signal.SIGSTOP)  # so that the lines and the signal to stop are there together
        client.sendall("".join(LINES[2:]).encode())
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        found, said = process.communicate(timeout=DEADLINE)
    assert [json.loads(line)["probs"] for line in found.splitlines()] == expected[2:]
    assert accounted(said)["processed"] == 5


def test_raw_numbers(expected: list[list[float]]) -> None:
    data = struct.pack("<15f", *(value for x in SAMPLES for value in x))
    command = [*COMMAND, "--format", "f32le", "--channels", "3", "--on-bad-record", "skip", "--counters"]
    finished = subprocess.run(command, input=data + b"\x01", capture_output=True, check=True)
    assert [json.loads(line)["probs"] for line in finished.stdout.splitlines()] == expected
    counters = accounted(finished.stderr.decode())
    assert (counters["processed"], counters["refused"]) == (5, 1)


def test_a_junk_line_of_a_hundred_megabytes() -> None:
    with running("--on-bad-record", "skip", "--counters") as process:
        assert process.stdin is not None
        junk: IO[bytes] = process.stdin.buffer
        junk.write(LINES[0].encode())
        junk.flush()
        answers(process, 1)
        before = most_memory(process)
        noise = random.Random(0).randbytes(2**20).replace(b"\n", b"\0")
        for _ in range(100):
            junk.write(noise)
        junk.write(b"\n" + LINES[1].encode())
        junk.flush()
        answers(process, 1)
        assert most_memory(process) < before + 8 * 2**20
        counters = stopped(process)
    assert (counters["processed"], counters["refused"]) == (2, 1)


def test_noise_is_refused_line_by_line() -> None:
    noise = random.Random(1).randbytes(200_000)
    data = LINES[0].encode() + noise + b"\n" + LINES[1].encode()
    command = [*COMMAND, "--on-bad-record", "skip", "--counters"]
    finished = subprocess.run(command, input=data, capture_output=True, check=True)
    counters = accounted(finished.stderr.decode())
    blank = sum(not line.strip() for line in noise.split(b"\n"))
    assert counters["refused"] == noise.count(b"\n") + 1 - blank
    assert counters["processed"] == 2


def test_ten_thousand_sensors(tmp_path: Path) -> None:
    count, frames = 10_000, 3
    chosen = random.Random(2)
    rows = [[[chosen.gauss(0, 0.5) for _ in range(3)] for _ in range(count)] for _ in range(frames)]
    data = struct.pack(f"<{frames * count * 3}f", *(v for frame in rows for x in frame for v in x))
    command = [*COMMAND, "--counters", "--state-file", "state"]
    raw = [*command, "--format", "f32le", "--streams", str(count)]
    framed = subprocess.run(raw, input=data, capture_output=True, check=True)
    text = "sensor,c0,c1,c2\n" + "".join(
        f"{place},{x[0]!r},{x[1]!r},{x[2]!r}\n" for frame in rows for place, x in enumerate(frame)
    )
    keyed = subprocess.run([*COMMAND, "--streams-by", "sensor"], input=text.encode(), capture_output=True, check=True)
    assert len(framed.stdout.splitlines()) == frames * count
    assert framed.stdout == keyed.stdout
    assert accounted(framed.stderr.decode())["processed"] == frames * count
    again = subprocess.run(raw, input=data[: count * 12], capture_output=True, check=True)
    assert {json.loads(line)["i"] for line in again.stdout.splitlines()} == {frames}


def test_a_sensor_of_the_kernel(tmp_path: Path, expected: list[list[float]]) -> None:
    device = Device(tmp_path)
    device.write(in_accel_x_raw=0, in_accel_y_raw=-1, in_accel_z_raw=2, in_accel_scale=0.5)
    columns = ",".join(f"in_accel_{axis}" for axis in "xyz")
    with running(f"iio:{device.folder}", "--columns", columns, "--rate", "50", "--counters") as process:
        assert answers(process, 1) == expected[:1]
        assert stopped(process)["processed"] >= 1


def test_the_page_shows_a_run() -> None:
    with running("--serve", "127.0.0.1:0") as process:
        address = said_until(process, "is shown on http://").split("http://")[1].rstrip("/\n").split(":")
        assert process.stdin is not None
        process.stdin.write(LINES[0])
        process.stdin.flush()
        answers(process, 1)
        for path, wanted in (("/", b"<html"), ("/metrics", b"edgegru_steps_total"), ("/healthz", b'"status": "ok"')):
            with socket.create_connection((address[0], int(address[1])), timeout=10) as client:
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                received = b""
                while piece := client.recv(65536):
                    received += piece
            assert received.startswith(b"HTTP/1.1 200"), received
            assert wanted in received
