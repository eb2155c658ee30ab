"""Results as line protocol, read back by a reader written from its specification."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime import EdgegruError, InputError
from edgegru_runtime.model_config import DecisionConfig, ModelConfig
from edgegru_runtime.result import Event, Result
from edgegru_runtime.sinks.influx import Datagrams, InfluxLines, nanoseconds
from tests.runtime.sink_results import label_sets, labelled, of_tokens, result, results, two_outputs

PLAIN = DecisionConfig()


@dataclass(frozen=True)
class Point:
    measurement: str
    tags: dict[str, str]
    fields: dict[str, object]
    time: int | None


def split(text: str, at: str) -> list[str]:
    """Cut at each ``at`` that is neither behind a backslash nor, in a field's value, inside double quotes."""
    parts, quoted, escaped = [""], False, False
    for character in text:
        if character == at and not quoted and not escaped:
            parts.append("")
            continue
        if character == '"' and not escaped and (quoted or parts[-1].endswith("=")):
            quoted = not quoted
        escaped = character == "\\" and not escaped
        parts[-1] += character
    assert not quoted and not escaped
    return parts


def unescaped(text: str, characters: str) -> str:
    for character in characters:
        text = text.replace("\\" + character, character)
    return text


def name_of(text: str) -> str:
    assert text and not text.startswith("_")
    return unescaped(text, ",= ")


def value_of(text: str) -> object:
    if text.startswith('"'):
        assert text.endswith('"') and len(text) > 1
        return unescaped(text[1:-1].replace("\\\\", "\0"), '"').replace("\0", "\\")
    return int(text.removesuffix("i")) if text.endswith("i") else float(text)


def pairs(texts: list[str]) -> list[tuple[str, str]]:
    found = []
    for text in texts:
        parts = re.fullmatch(r"((?:[^\\=]|\\.)+)=(.+)", text)
        assert parts is not None
        found.append((name_of(parts[1]), parts[2]))
    assert len(dict(found)) == len(found)
    return found


def point(line: str) -> Point:
    """One line, as "Line protocol" in InfluxDB's reference describes it."""
    assert line and line[0] not in "#_" and len(line.encode()) < 64000
    start, fields, *time = split(line, " ")
    measurement, *tags = split(start, ",")
    assert len(time) <= 1 and all(abs(int(stamp)) < 2**63 - 1 for stamp in time)
    found = {name: unescaped(value, ",= ") for name, value in pairs(tags)}
    assert sorted(found) == list(found)
    values = {name: value_of(value) for name, value in pairs(split(fields, ","))}
    return Point(unescaped(measurement, ", "), found, values, int(time[0]) if time else None)


def points(config: ModelConfig, found: Result, emit: str = "all", **options: str) -> list[Point]:
    lines = InfluxLines(config, PLAIN, emit, **options).lines(found)
    assert lines.endswith("\n") or not lines
    return [point(line) for line in lines.split("\n")[:-1]]


def test_classes() -> None:
    found = result(key="pump 1", t=1700000000.25, on=(("sit",),))
    assert points(labelled(("sit", "walk, slowly", "a=b", "c")), found) == [
        Point(
            "edgegru",
            {"label": "walk, slowly", "stream": "pump 1"},
            {
                "i": 7,
                "p": 0.699999988,
                "probs.sit": 0.125,
                "probs.walk, slowly": 0.699999988,
                "probs.a=b": 0.100000001,
                "probs.c": 0.075000003,
                "on": "sit",
            },
            1700000000_250000000,
        )
    ]


def test_tokens() -> None:
    (found,) = points(of_tokens(), result(outputs=([-8.0] * 7 + [-0.25] + [-2.5] * 4,)))
    assert (found.tags, found.fields) == ({}, {"i": 7, "token": 7, "log_p": -0.25, "on": ""})
    assert type(found.fields["token"]) is int


def test_several_outputs() -> None:
    found = result(
        outputs=([0.0, 1.0, 0.0, 0.0], [0.0, 0.25, 0.5, 0.75, 1.0]),
        on=((), ("h3", "h4")),
        events=(Event(True, 'the "stairs"', 0.75, 0), Event(False, "h1", 0.125, 1)),
        score=1.5,
        step_us=2.5,
    )
    (one,) = points(two_outputs(), found)
    assert one.tags == {"output.label": "walk, slowly"} and one.time is None
    expected = {"output.p": 1.0, "state.labels": "h2;h3;h4", "state.probs.h1": 0.25, "score": 1.5, "step_us": 2.5}
    assert one.fields.items() >= expected.items()
    assert one.fields["events"] == 'on:output.the "stairs";off:state.h1'
    assert points(two_outputs(), found, "events", measurement="gait, left") == [
        Point(
            "gait, left",
            {"label": 'the "stairs"', "output": "output"},
            {"i": 7, "event": "on", "p": 0.75},
            None,
        ),
        Point("gait, left", {"label": "h1", "output": "state"}, {"i": 7, "event": "off", "p": 0.125}, None),
    ]


def test_what_influx_cannot_store_is_left_out_or_replaced() -> None:
    config = labelled(("a\\", "b"), "identity")
    (one,) = points(config, result(key="x\ny\\", outputs=([float("nan"), 1.0],)))
    assert one.fields == {"i": 7, "y.b": 1.0, "on": ""} and one.tags == {"stream": "x y/"}
    (one,) = points(config, result(outputs=([2.0, float("inf")],)))
    assert one.fields == {"i": 7, "y.a/": 2.0, "on": ""}


@pytest.mark.parametrize(
    ("t", "unit", "expected"),
    [
        (None, "s", None),
        (17, "s", 17_000_000_000),
        (-0.5, "s", -500_000_000),
        (1700000000.123456, "s", 1700000000_123456000),  # in binary a product would end in ...123456001
        (1700000000123, "ms", 1700000000_123000000),
        (1700000000123.5, "ms", 1700000000_123500000),
        (5, "us", 5000),
        (1700000000_123456789, "ns", 1700000000_123456789),
        (2.5, "ns", 2),
        (1e-05, "s", 10_000),
        (1e300, "s", None),
        (10**400, "ns", None),
        (float("nan"), "s", None),
        (float("-inf"), "s", None),
        (2**63, "ns", None),
        ("1970-01-01T00:00:01Z", "ms", 1_000_000_000),
        ("1970-01-01T01:00:01.000001+01:00", "s", 1_000_001_000),
        ("2024-05-01T12:00:00.123456789Z", "s", 1714564800_123456789),
        ("1970-01-02", "s", 86400_000_000_000),
        ("9999-01-01T00:00:00Z", "s", None),
        ("noon", "s", None),
    ],
)
def test_times(t: float | str | None, unit: str, expected: int | None) -> None:
    assert nanoseconds(t, {"s": 9, "ms": 6, "us": 3, "ns": 0}[unit]) == expected
    assert points(labelled(), result(t=t), time_unit=unit)[0].time == expected


@pytest.mark.parametrize("name", ["", "_internal", "#note", "a\nb", "a\\"])
def test_measurements_that_influx_refuses(name: str) -> None:
    with pytest.raises(InputError, match="the measurement is "):
        InfluxLines(labelled(), PLAIN, "all", name)


@given(data=st.data(), names=label_sets, emit=st.sampled_from(["all", "events"]))
def test_any_text_gives_points(data: st.DataObject, names: tuple[str, ...], emit: str) -> None:
    found = data.draw(results(names))
    read = points(labelled(names), found, emit)
    assert len(read) == (1 if emit == "all" else len(found.events))
    for one in read:
        assert one.measurement == "edgegru" and one.fields["i"] == found.index
        assert one.tags.get("stream", "") == stored(found.key)
        assert one.tags.get("label", "") in set(map(stored, names))
    if emit == "events":
        assert [one.tags.get("label", "") for one in read] == [stored(event.label) for event in found.events]


def stored(text: str) -> str:
    return "".join(" " if ord(character) < 32 or ord(character) == 127 else character for character in text).replace(
        "\\", "/"
    )


def test_datagrams_arrive_one_for_each_result() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        sink = Datagrams(f"127.0.0.1:{receiver.getsockname()[1]}", InfluxLines(labelled(), PLAIN, "all"), fail, fail)
        for index in range(3):
            sink.write(result(index=index))
        received = [point(receiver.recv(65536).decode().removesuffix("\n")).fields["i"] for _ in range(3)]
    assert received == [0, 1, 2]
    sink.close()


def fail(found: object) -> None:
    raise AssertionError(found)


def test_datagrams_that_nobody_takes_are_counted_and_told_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    warnings: list[str] = []
    lost: list[int] = []
    sink = Datagrams(address, InfluxLines(labelled(), PLAIN, "all"), warnings.append, lost.append)
    for _ in range(6):  # the refusal of one datagram is told at the next
        sink.write(result())
    sink.close()
    assert set(lost) == {1} and len(lost) >= 3
    assert warnings == [f"{address}: results are lost: Connection refused"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("localhost", "expected HOST:PORT"),
        (":1", "expected HOST:PORT"),
        ("127.0.0.1:99999", "expected HOST:PORT"),
        ("a..b:1", "cannot be reached"),
    ],
)
def test_bad_addresses(address: str, message: str) -> None:
    with pytest.raises(EdgegruError, match=message):
        Datagrams(address, InfluxLines(labelled(), PLAIN, "all"), fail, fail)
