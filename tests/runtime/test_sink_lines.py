"""Lines on standard output and at the ends of files: whole or not there, whatever happens to disk and reader."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from edgegru_runtime import EdgegruError, InputError
from edgegru_runtime.model_config import DecisionConfig
from edgegru_runtime.result import Event, Result
from edgegru_runtime.sinks.csv_lines import CsvLines
from edgegru_runtime.sinks.jsonl import JsonLines
from edgegru_runtime.sinks.lines import MAX_TAIL_BYTES
from edgegru_runtime.sinks.opening import open_sink
from edgegru_runtime.sinks.sink import Sink
from edgegru_runtime.standard_output import ReaderGone, write_whole
from tests.runtime.sink_results import labelled, result

PLAIN = DecisionConfig()
CONFIG = labelled()
JSON, CSV = JsonLines(CONFIG, PLAIN, "all"), CsvLines(CONFIG, PLAIN, "all")


def opened(spec: str, warnings: list[str] | None = None, emit: str = "all") -> Sink:
    return open_sink(spec, CONFIG, PLAIN, emit, [].append if warnings is None else warnings.append, [].append)


def write(spec: str, *found: Result, warnings: list[str] | None = None, emit: str = "all") -> None:
    sink = opened(spec, warnings, emit)
    try:
        for one in found:
            sink.write(one)
    finally:
        sink.close()
        sink.close()  # a second time does nothing


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """As on a full disk: the write that reaches the limit is cut there, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_grows_from_run_to_run(tmp_path: Path) -> None:
    for form, lines in (("jsonl", JSON), ("csv", CSV)):
        path = tmp_path / form
        write(f"{form}:{path}", result(index=0), result(index=1))
        write(f"{form}:{path}", result(index=2))
        rows = "".join(lines.lines(result(index=index)) for index in range(3))
        assert path.read_text() == lines.header + rows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["csv", "jsonl"]


def test_lines_are_there_before_the_file_is_closed(tmp_path: Path) -> None:
    sink = opened(f"jsonl:{tmp_path / 'log'}")
    sink.write(result())
    assert (tmp_path / "log").read_text() == JSON.lines(result())
    sink.close()


def test_events_alone(tmp_path: Path) -> None:
    events = (Event(True, "sit", 0.75), Event(False, "walk, slowly", 0.25))
    write(f"csv:{tmp_path / 'log'}", result(), result(events=events), emit="events")
    rows = ['stream,i,t,event,label,p', ',7,,on,sit,0.75', ',7,,off,"walk, slowly",0.25']
    assert (tmp_path / "log").read_text().splitlines() == rows
    write(f"jsonl:{tmp_path / 'none'}", result(), emit="events")
    assert (tmp_path / "none").read_text() == ""


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("cut", [1, 20])
def test_half_a_last_line_is_moved_aside(form: str, cut: int, tmp_path: Path) -> None:
    path, warnings = tmp_path / "log", list[str]()
    write(f"{form}:{path}", result(index=0), result(index=1))
    whole = path.read_text()
    path.write_text(whole[:-cut])
    write(f"{form}:{path}", result(index=1), warnings=warnings)
    assert path.read_text() == whole
    aside = tmp_path / "log.partial"
    last = whole.splitlines()[-1] + "\n"
    assert aside.read_text() == last[:-cut] + "\n"
    moved = len(last.encode()) - cut
    assert warnings == [f"{path}: the last line had no end, its {moved} bytes were moved to {aside}"]

    path.write_text(whole + "half")
    write(f"{form}:{path}")
    assert aside.read_text() == last[:-cut] + "\nhalf\n"


def test_half_a_header_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(CSV.header[:10])
    write(f"csv:{path}", result())
    assert path.read_text() == CSV.header + CSV.lines(result())


@pytest.mark.parametrize("content", ["stream,i,t\n,0,1\n", "a\n", CSV.header.replace("label", "Label"), "\n"])
def test_another_header_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(content)
    with pytest.raises(EdgegruError, match=r"log: begins with another line than 'stream,i,t,label,.* that header"):
        opened(f"csv:{path}")
    assert path.read_text() == content


def test_a_file_without_lines_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\n" + bytes(MAX_TAIL_BYTES))
    with pytest.raises(EdgegruError, match="its last 1048576 bytes hold no line's end"):
        opened(f"jsonl:{path}")
    assert path.stat().st_size == MAX_TAIL_BYTES + 1
    path.write_bytes(b"\n" + bytes(MAX_TAIL_BYTES - 1))
    write(f"jsonl:{path}")
    assert path.read_bytes() == b"\n"


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "log"
    first = opened(f"jsonl:{path}")
    with pytest.raises(EdgegruError, match="log: is being written by another program"):
        opened(f"jsonl:{path}")
    first.close()
    write(f"jsonl:{path}", result())
    assert path.read_text() == JSON.lines(result())


def test_what_does_not_fit_on_the_disk_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = opened(f"jsonl:{path}")
    sink.write(result())
    size = path.stat().st_size
    for room in (1, size - 1, 0):
        with files_limited_to(size + room), pytest.raises(EdgegruError, match="log cannot be written: File too large"):
            sink.write(result())
        assert path.read_text() == JSON.lines(result())
    sink.write(result())  # there is room again
    sink.close()
    assert path.read_text() == JSON.lines(result()) * 2


def test_a_header_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with files_limited_to(5), pytest.raises(EdgegruError, match="cannot be written"):
        opened(f"csv:{path}")
    assert path.read_text() == ""
    write(f"csv:{path}")
    assert path.read_text() == CSV.header


def test_devices_and_named_pipes(tmp_path: Path) -> None:
    with pytest.raises(EdgegruError, match="/dev/full cannot be written: No space left on device"):
        write("jsonl:/dev/full", result())
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    sink = opened(f"csv:{pipe}")
    sink.write(result())
    assert os.read(reader, 1000).decode() == CSV.header + CSV.lines(result())
    os.close(reader)
    with pytest.raises(ReaderGone):
        sink.write(result())
    sink.close()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("jsonl:{}/no/log", "no/log: cannot be written: No such file or directory"),
        ("jsonl:{}", "cannot be written: Is a directory"),
        ("jsonl:a\0b", "cannot be written: embedded null byte"),
    ],
)
def test_files_that_cannot_be_opened(spec: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(EdgegruError, match=message):
        opened(spec.format(tmp_path))


@pytest.mark.parametrize("spec", ["", "json", "jsonl:", "csv:", "influx:", "influx:?measurement=a", "a/log", "log.csv"])
def test_names_that_are_no_sinks(spec: str) -> None:
    with pytest.raises(InputError, match="^the sink is "):
        opened(spec)


def test_influx_has_a_measurement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(f"influx:{tmp_path / 'log'}?measurement=gait left", result())
    assert (tmp_path / "log").read_text().startswith("gait\\ left,label=walk\\,\\ slowly i=7i,")
    write("influx?measurement=x", result())
    write("influx", result())
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == ["x", "edgegru"]


@pytest.mark.parametrize("spec", ["csv", "csv:-"])
def test_standard_output_may_have_been_replaced(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(spec, result(key="größe"))
    assert capsys.readouterr().out == CSV.header + CSV.lines(result(key="größe"))


def test_standard_output_may_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(EdgegruError, match="standard output is closed"):
        opened("jsonl")


def test_what_was_printed_before_comes_before(capfd: pytest.CaptureFixture[str]) -> None:
    sys.stdout.write("before\n")
    write("jsonl", result(key="größe"))
    assert capfd.readouterr().out == "before\n" + JSON.lines(result(key="größe"))


WRITER = """
import os, resource, signal, sys
from edgegru_runtime.sinks.opening import open_sink
from edgegru_runtime.errors import EdgegruError
from edgegru_runtime.standard_output import ReaderGone
from edgegru_runtime.model_config import DecisionConfig
from tests.runtime.sink_results import labelled, result

class Stopped(Exception): pass
received = []
def stop(number, frame):
    received.append(number)
    os.write(2, b"signal\\n")
    if len(received) > 1:
        raise Stopped
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
form, count, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sink = open_sink(form, labelled(), DecisionConfig(), "all", print, print)
sink.write(result(index=0))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    for index in range(1, count):
        sink.write(result(index=index))
except (Stopped, ReaderGone, EdgegruError) as error:
    sys.exit(f"{type(error).__name__} {error}")
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
os.write(2, b"%d KiB" % grown)
"""


def writer(stdout: int, count: int, limit: int = 0, form: str = "jsonl") -> subprocess.Popen[bytes]:
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", WRITER, form, str(count), str(limit)]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, cwd=root)


@contextmanager
def small_pipe() -> Iterator[tuple[int, int]]:
    reader, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    try:
        yield reader, writing
    finally:
        os.close(reader)


def filled(reader: int) -> bool:
    """Whether the pipe holds all that it can, so that who writes has to wait."""
    waiting = fcntl.ioctl(reader, termios.FIONREAD, bytes(4))
    return int.from_bytes(waiting, sys.byteorder) > 4096 - len(JSON.lines(result(index=1000)))


def test_a_slow_reader_loses_nothing_and_costs_no_memory() -> None:
    count = 20_000
    with small_pipe() as (reader, writing), writer(writing, count) as process:
        os.close(writing)
        until(lambda: filled(reader))
        received = []
        while part := os.read(reader, 1000):
            received.append(part)
        assert process.stderr is not None
        grown = process.stderr.read()
    assert process.returncode == 0
    assert b"".join(received).decode() == "".join(JSON.lines(result(index=index)) for index in range(count))
    assert int(grown.split()[0]) < 1000  # of 2 MB written


def test_a_second_signal_ends_a_write_that_nobody_reads() -> None:
    with small_pipe() as (reader, writing), writer(writing, 1000) as process:
        os.close(writing)
        until(lambda: filled(reader))
        assert process.stderr is not None
        process.send_signal(signal.SIGTERM)
        assert process.stderr.readline() == b"signal\n"  # and the write goes on
        line = os.read(reader, 4096)
        until(lambda: filled(reader))
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read() == b"signal\nStopped \n"
        lines = (line + os.read(reader, 8192)).decode().splitlines(keepends=True)
    assert process.returncode == 1
    assert lines[:-1] == [JSON.lines(result(index=index)) for index in range(len(lines) - 1)]


def test_a_reader_that_goes_is_told() -> None:
    reader, writing = os.pipe()
    with writer(writing, 10**9) as process:
        os.close(writing)
        os.read(reader, 100)
        os.close(reader)
        assert process.stderr is not None
        assert process.stderr.read() == b"ReaderGone \n"


def test_standard_output_into_a_file_on_a_full_disk(tmp_path: Path) -> None:
    path, line = tmp_path / "log", len(JSON.lines(result(index=1)))
    for flags in (os.O_TRUNC, os.O_APPEND):
        out = os.open(path, os.O_WRONLY | os.O_CREAT | flags)
        limit = path.stat().st_size + 5 * line + 10
        with writer(out, 100, limit) as process:
            os.close(out)
            assert process.stderr is not None
            assert process.stderr.read() == b"EdgegruError standard output cannot be written: File too large\n"
    assert path.read_text() == "".join(JSON.lines(result(index=index)) for index in range(5)) * 2


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    data = os.urandom(200_000)
    received = bytearray()
    with small_pipe() as (reader, writing):
        os.set_blocking(writing, False)

        def read() -> None:
            while part := os.read(reader, 10_000):
                received.extend(part)

        thread = Thread(target=read)
        thread.start()
        write_whole(writing, data, "the pipe")
        os.close(writing)
        thread.join()
    assert received == data
