"""A command at every event: what it is told, in which order, and that nothing it does holds up the stream."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edgegru_runtime import InputError
from edgegru_runtime.result import Event
from edgegru_runtime.sinks import event_hook
from edgegru_runtime.sinks.event_hook import EventHook
from tests.runtime.sink_results import labelled, result, two_outputs

ON, OFF = Event(True, "sit", 0.75), Event(False, "sit", 0.25)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


class Recorder:
    """Hooks and what they said."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.warnings, self.lost = folder, list[str](), list[int]()
        self.hooks: list[EventHook] = []

    def hook(self, command: str, closing_seconds: float = 30, outputs: int = 1) -> EventHook:
        config = labelled() if outputs == 1 else two_outputs()
        hook = EventHook(command, config, self.warnings.append, self.lost.append, closing_seconds=closing_seconds)
        self.hooks.append(hook)
        return hook

    def shell(self, script: str, closing_seconds: float = 30) -> EventHook:
        """A hook that runs a script in the folder."""
        return self.hook(f"sh -c {shlex.quote(f'cd {shlex.quote(str(self.folder))}; {script}')}", closing_seconds)

    def text(self, name: str) -> str:
        return (self.folder / name).read_text() if (self.folder / name).exists() else ""

    def release(self) -> None:
        """Let those go on that wait to read the pipe "gate"."""
        with suppress(OSError):  # nobody waits
            os.close(os.open(self.folder / "gate", os.O_WRONLY | os.O_NONBLOCK))


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    os.mkfifo(tmp_path / "gate")
    found = Recorder(tmp_path)
    yield found

    def finished() -> bool:
        found.release()
        return all(not hook._running for hook in found.hooks)

    for hook in found.hooks:
        hook._closing_seconds = 0
        hook.close()
    until(finished)


def test_the_command_gets_the_event(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EDGEGRU_")]:  # of whoever runs the tests
        monkeypatch.delenv(name)
    hook = recorder.shell("cat > input; env | grep ^EDGEGRU_ | LC_ALL=C sort > variables; echo printed")
    hook.write(result())  # nothing happened
    hook.write(result(key='pump "1"', t="noon", events=(Event(True, "größe=1 \\", 0.1 + 0.2),)))
    hook.close()
    expected = {"stream": 'pump "1"', "i": 7, "t": "noon", "event": "on", "label": "größe=1 \\", "p": 0.3}
    assert json.loads(recorder.text("input")) == expected
    assert recorder.text("variables").splitlines() == [
        "EDGEGRU_EVENT=on",
        "EDGEGRU_I=7",
        "EDGEGRU_LABEL=größe=1 \\",
        "EDGEGRU_P=0.3",
        'EDGEGRU_STREAM=pump "1"',
        "EDGEGRU_T=noon",
    ]
    assert not recorder.warnings and not recorder.lost


def test_what_it_prints_goes_to_standard_error(recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    hook = recorder.shell("echo printed")
    hook.write(result(events=(ON,)))
    hook.close()
    assert capfd.readouterr() == ("", "printed\n")


def test_the_output_is_named_where_there_are_several(recorder: Recorder) -> None:
    hook = recorder.hook(f"tee {shlex.quote(str(recorder.folder / 'input'))}", outputs=2)
    hook.write(result(key="\ud800\0", events=(Event(False, "h1", 0.5, 1),)))  # JSON can hold such names
    hook.close()
    assert json.loads(recorder.text("input")) == {
        "stream": "\ud800\0",
        "i": 7,
        "event": "off",
        "label": "h1",
        "p": 0.5,
        "output": "state",
    }
    assert not recorder.warnings


def test_no_shell_reads_the_command(recorder: Recorder) -> None:
    hook = recorder.hook(f"touch {shlex.quote(str(recorder.folder / 'a;b $(c) *'))}")
    hook.write(result(events=(ON,)))
    hook.close()
    assert sorted(path.name for path in recorder.folder.iterdir()) == ["a;b $(c) *", "gate"]


def test_a_command_need_not_read_its_input(recorder: Recorder) -> None:
    hook = recorder.hook("true")
    hook.write(result(key="x" * 1_000_000, events=()))
    for _ in range(3):
        hook.write(result(t="x" * 100_000, events=(ON,)))  # more than a pipe holds
    hook.close()
    assert not recorder.warnings and not recorder.lost


def test_eight_run_side_by_side(recorder: Recorder) -> None:
    hook = recorder.shell("echo start >> log; read line < gate; echo end >> log")
    for index in range(12):
        hook.write(result(key=f"sensor {index}", events=(ON,)))
    until(lambda: recorder.text("log") == "start\n" * 8)

    def finished() -> bool:
        recorder.release()
        return recorder.text("log").count("end") == 12

    until(finished)
    running = most = 0
    for line in recorder.text("log").split():
        running += 1 if line == "start" else -1
        most = max(most, running)
    assert (most, running) == (8, 0)
    assert not recorder.warnings and not recorder.lost


def test_off_does_not_overtake_on(recorder: Recorder) -> None:
    script = 'echo "$EDGEGRU_LABEL $EDGEGRU_EVENT" >> log; test "$EDGEGRU_LABEL" != sit || read line < gate'
    hook = recorder.shell(script)
    hook.write(result(events=(ON, OFF)))
    hook.write(result(events=(ON, Event(True, "walk, slowly", 0.5))))
    until(lambda: sorted(recorder.text("log").splitlines()) == ["sit on", "walk, slowly on"])

    def finished() -> bool:
        recorder.release()
        return recorder.text("log").count("sit") == 3

    until(finished)
    assert [line for line in recorder.text("log").splitlines() if "sit" in line] == ["sit on", "sit off", "sit on"]


def test_beyond_a_thousand_waiting_events_are_dropped(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert event_hook.MAX_WAITING == 1000
    monkeypatch.setattr(event_hook, "MAX_WAITING", 3)
    hook = recorder.shell("echo $EDGEGRU_I >> log; read line < gate")
    hook.write(result(index=0, events=(ON,)))
    until(lambda: recorder.text("log") == "0\n")
    for index in range(1, 6):
        hook.write(result(index=index, events=(ON,)))
    assert recorder.lost == [1, 1]
    (warning,) = recorder.warnings
    assert warning.endswith("sh: 3 events wait for it, further ones are dropped")

    def finished() -> bool:
        recorder.release()
        return recorder.text("log") == "0\n1\n2\n3\n"

    until(finished)


def test_a_failure_is_told_once_for_each_status(recorder: Recorder) -> None:
    hook = recorder.shell('case $EDGEGRU_I in 1|2) exit 3;; 3) exit 4;; 4) kill -9 $$;; esac')
    for index in range(5):
        hook.write(result(index=index, events=(ON,)))
    hook.close()
    event = '{"i":1,"event":"on","label":"sit","p":0.75}'
    assert [warning.split(": ", 1)[1] for warning in recorder.warnings] == [
        f"ended with status 3 at the event {event}; this is said once",
        f"ended with status 4 at the event {event.replace('1', '3')}; this is said once",
        f"was ended by signal 9 at the event {event.replace('1', '4')}; this is said once",
    ]


def test_a_command_that_vanishes_is_told(recorder: Recorder) -> None:
    program = recorder.folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    hook = recorder.hook(shlex.quote(str(program)))
    program.unlink()
    hook.write(result(events=(ON, OFF)))
    hook.close()
    assert recorder.warnings == [f"{program}: cannot be run: No such file or directory"]


def test_closing_waits_for_what_was_begun(recorder: Recorder) -> None:
    hook = recorder.shell("echo $EDGEGRU_EVENT >> log")
    hook.write(result(events=(ON, OFF)))
    hook.close()
    assert recorder.text("log") == "on\noff\n"


def test_closing_does_not_wait_for_ever(recorder: Recorder) -> None:
    hook = recorder.shell("echo $EDGEGRU_EVENT >> log; read line < gate", closing_seconds=0)
    hook.write(result(events=(ON,)))
    until(lambda: recorder.text("log") == "on\n")
    hook.write(result(events=(OFF, ON)))
    hook.close()
    assert recorder.lost == [2]
    (warning,) = recorder.warnings
    assert warning.endswith("sh: 1 still running; 2 waiting events were dropped")
    hook.close()
    assert recorder.lost == [2] and len(recorder.warnings) == 1


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "the command to run at events is empty"),
        ("echo 'a", "the command \"echo 'a\" cannot be split into words: No closing quotation"),
        ("/no/such/program now", "there is no program '/no/such/program' that can be run"),
        ("/dev/null", "there is no program '/dev/null' that can be run"),
    ],
)
def test_commands_that_cannot_be_run(command: str, message: str, recorder: Recorder) -> None:
    with pytest.raises(InputError, match=message):
        recorder.hook(command)
