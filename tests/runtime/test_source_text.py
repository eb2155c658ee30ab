"""Lines in: what is read as a sample or a message, what is refused and where, in whatever pieces the bytes arrive."""

from __future__ import annotations

import struct
from itertools import pairwise
from math import inf, isnan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Control, Item, Record, Refusal
from edgegru_runtime.sources.csv_lines import CsvLines
from edgegru_runtime.sources.source import SourceOptions
from edgegru_runtime.sources.text import MAX_LINE_BYTES, TextReader
from tests.builders import changed, random_config

CONFIG = random_config(3)
TOO_LONG = f"the line is longer than {MAX_LINE_BYTES} bytes"


def named(*channels: str) -> ModelConfig:
    return changed(CONFIG, input=type(CONFIG.input)(len(channels), channels, ("",) * len(channels), None))


def encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def read(text: str | bytes, config: ModelConfig = CONFIG, **options: Any) -> list[Item]:
    reader = TextReader(config, SourceOptions(**options))
    return reader.feed(encoded(text)) + reader.finish(complete=True)


def records(text: str | bytes, config: ModelConfig = CONFIG, **options: Any) -> list[Record]:
    found = read(text, config, **options)
    assert all(isinstance(item, Record) for item in found), found
    return found  # type: ignore[return-value]


def comparable(items: list[Item]) -> list[Item]:
    """NaN is not equal to itself; its name is."""
    return [
        item._replace(x=list(map(repr, item.x)), target=item.target and list(map(repr, item.target)))
        if isinstance(item, Record)
        else item
        for item in items
    ]


@pytest.mark.parametrize(
    "text",
    [
        "c0,c1,c2\n1,2.5,-3e1\n",
        "c0,c1,c2\r\n1,2.5,-3e1\r\n",
        "c0,c1,c2\n1,2.5,-3e1",
        "\n\nc0,c1,c2\n\n1,2.5,-3e1\n\n",
        "\ufeffc0,c1,c2\n1,2.5,-3e1\n",
        ' c2 ,label,c0,"c1"\n -3e1 ,"walk, run",1,2.5\n',
        'c0,c1,c2\n1,"2.5",-3e1\n',
        "1,2.5,-30\n",
        "[1, 2.5, -30]\n",
        "\ufeff[1, 2.5, -30]\r\n",
        '{"x": [1, 2.5, -30]}\n',
        '{"c2": -30, "c0": 1, "c1": 2.5, "label": "a"}\n',
    ],
)
def test_the_same_sample_in_many_forms(text: str) -> None:
    found = records(text)
    assert [(record.t, record.x, record.key, record.target) for record in found] == [(None, [1, 2.5, -30], "", None)]
    assert all(type(value) is float for value in found[0].x)


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("t,c0,c1,c2\n0.5,1,2,3\n7,1,2,3\n,1,2,3\n-7,1,2,3\n", [0.5, 7, None, -7]),
        ("c0,c1,c2,timestamp\n1,2,3,1700000000123\n1,2,3,12:30:01\n", [1700000000123, "12:30:01"]),
        ("c0,c1,c2,t\r\n1,2,3,1700000000123456789\r\n1,2,3,1e999\r\n", [1700000000123456789, "1e999"]),
        ("c0,c1,c2,t\n1,2,3," + "9" * 30 + "\n", [1e30]),
        ('t,c0,c1,c2\n"2026-01-02 03:04:05",1,2,3\n', ["2026-01-02 03:04:05"]),
        ('{"x":[1,2,3],"t":0.25}\n{"c0":1,"c1":2,"c2":3,"timestamp":"noon"}\n[1,2,3]\n', [0.25, "noon", None]),
        ('{"x":[1,2,3],"t":null}\n{"x":[1,2,3],"t":' + "9" * 30 + "}", [None, 1e30]),
    ],
)
def test_times_are_passed_on(text: str, times: list[object]) -> None:
    assert [record.t for record in records(text)] == times
    assert all(type(record.t) is type(t) for record, t in zip(records(text), times, strict=True))


def test_missing_values_are_for_others_to_judge() -> None:
    csv = records("c0,c1,c2\n,nan,NaN\ninf,-Infinity,1e999\n  , 1 ,\n")
    assert all(isnan(value) for value in csv[0].x)
    assert csv[1].x == [inf, -inf, inf]
    assert repr(csv[2].x) == "[nan, 1.0, nan]"
    json = records('[null,NaN,1]\n[Infinity,-Infinity,1e999]\n{"x":[1,2,' + "9" * 400 + "]}\n")
    assert repr(json[0].x) == "[nan, nan, 1.0]"
    assert json[1].x == [inf, -inf, inf]
    assert json[2].x == [1, 2, inf]


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    found = records("c0,c1,c2\n\n1,2,3\n1,2,3")
    assert [(record.place, record.end) for record in found] == [(3, 16), (4, 21)]


def test_channels_may_be_called_by_numbers_or_like_fields() -> None:
    assert records("2,0,1\n30,10,20\n", named("0", "1", "2"))[0].x == [10, 20, 30]
    assert records("5,6,7\n", named("0", "1", "2"))[0].x == [5, 6, 7]
    config = named("x", "t", "y")
    assert [(record.t, record.x) for record in records("x,t,y\n1,2,3\n", config)] == [(None, [1, 2, 3])]
    assert [record.x for record in records('{"x":1,"t":2,"y":3}\n{"x":[4,5,6]}', config)] == [[1, 2, 3], [4, 5, 6]]


def test_a_model_of_one_channel() -> None:
    assert [record.x for record in records("c0\n1\n\n2\n", random_config(1))] == [[1], [2]]
    assert repr([record.x for record in records("c0,t\n1,2\n,3\n", random_config(1))]) == "[[1.0], [nan]]"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("c0,c1,c2\n1,2,3\n1,2\n", "2 columns arrived, expected 3"),
        ("1,2,3\n1,2,3,4\n", "4 columns arrived, expected 3"),
        ("c0,c1,c2\n1,abc,3\n", "channel c1 is 'abc', expected a number"),
        ("c0,c1,c2\n1,1_000,3\n", "channel c1 is '1_000', expected a number"),
        ("c0,c1,c2\n1,\u0661,3\n", "channel c1 is '\\u0661', expected a number"),
        ('c0,c1,c2\n1,"2,3\n', "the line is not CSV: unexpected end of data"),
        ("1,2,3\n\0,2,3\n", "channel c0 is '\\x00', expected a number"),
        ("1,2,3\n1,2,3\0\n", "channel c2 is '3\\x00', expected a number"),
        (b"c0,c1,c2\n1,\xff,3\n", "byte 2 is not UTF-8"),
        ("1,2,3\n!halt\n", "1 columns arrived, expected 3"),
        ("[1, 2]\n", "2 values arrived, expected 3: c0, c1, c2"),
        ("[1, 2, 3]\n[1, 2\n", "the line is not JSON: Expecting ',' delimiter at character 5"),
        ("[1, 2, 3] 4\n", "the line is not JSON: more follows at character 9"),
        ('{"x": [1, 2, 3]}\n!halt\n', "the line is not JSON: Expecting value at character 0"),
        ("[1, true, 3]\n", "channel c1 is true, expected a number"),
        ('["1", 2, 3]\n', "channel c0 is '1', expected a number"),
        ("[" * 100_000, "the line is nested too deeply"),
        ("[1, 2, " + "9" * 5000 + "]", "the line holds a number with too many digits"),
        (b'{"x": [1, 2, 3], "t": "\xff"}\n', "byte 23 is not UTF-8"),
        ('{"c0": 1}\n', 'the object has no c1, c2; expected c0, c1, c2, or "x"'),
        ('{"x": 1}\n', 'the object has no c0, c1, c2; expected c0, c1, c2, or "x"'),
        ('{"c0": 1, "c0": 2, "c1": 3, "c2": 4}\n', "the line has the name 'c0' twice in one object"),
        ('{"x": [1, 2, 3], "t": [1]}\n', "the time is a list of 1, expected a number or text"),
        ('{"x": [1, 2, 3], "t": NaN}\n', "the time is nan, expected a number or text"),
        ('{"x": [1, 2, 3], "t": "\\ud800"}\n', "the time is '\\ud800', expected a number or text"),
        ("[1,2,3]\n17\n", "the line is 17, expected an object or a list"),
        ('{"control": "halt"}\n', "the control is 'halt', expected reset or dump"),
        ('{"control": "reset", "stream": 1}\n', "field stream is 1, expected the sensor's name"),
        ("1," * 2**20, TOO_LONG),
    ],
)
def test_a_bad_line_is_one_refusal_and_the_next_one_is_read(text: str | bytes, reason: str) -> None:
    data = encoded(text)
    good = b"[4,5,6]" if data.lstrip()[:1] in (b"{", b"[") else b"4,5,6"
    if not data.endswith(b"\n"):
        data += b"\n"
    found = [item for item in read(data + good) if not (isinstance(item, Record) and item.x == [1, 2, 3])]
    bad = data.count(b"\n")
    assert found == [
        Refusal(reason, bad, len(data)),
        Record([4, 5, 6], place=bad + 1, end=len(data) + len(good)),
    ]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("c0,c1\n1,2\n", {}, "the header has no c2; expected c0, c1, c2"),
        ("1,2\n", {}, "2 columns arrived without a header, expected 3, or a header with c0, c1, c2"),
        ("1,2,ab\n", {}, "the header has no c0, c1, c2; expected c0, c1, c2"),
        ("c0,c1,c2,c1\n1,2,3,4\n", {}, "column c1 is there 2 times, expected it once"),
        ("[1,2,3]\n", {"format": "csv"}, "the header has no c0, c1, c2; expected c0, c1, c2"),
        ("c0,c1,c2\n", {"targets": ("c0", "y")}, "the header has no y; expected c0, c1, c2, y"),
        ("c0,c1,c2\n", {"streams_by": "pump"}, "the header has no pump; expected c0, c1, c2, pump"),
        ("1,2,3\n", {"streams_by": "pump"}, "an input without a header has no pump; expected c0, c1, c2, pump"),
        ("c0,c1,c2,t\n", {"columns": ("c0", "c1", "c2")}, "the header has other columns, expected c0, c1, c2 as given"),
        ("[1,2,3]\n", {"columns": ("c0", "c1", "c2")}, "the line is JSON, expected CSV where columns are given"),
    ],
)
def test_wrong_columns_end_it_at_the_start(text: str, options: dict[str, Any], message: str) -> None:
    reader = TextReader(CONFIG, SourceOptions(**options))
    with pytest.raises(InputError) as caught:
        reader.feed(b"\n" + text.encode())
    assert (str(caught.value), reader.place) == (message, 2)


def test_columns_that_cannot_be_are_refused_before_anything_is_read() -> None:
    with pytest.raises(InputError, match=r"^the list of columns has no c2; expected c0, c1, c2$"):
        TextReader(CONFIG, SourceOptions(columns=("c0", "c1", "t")))


def test_what_is_no_line_at_all_is_no_header() -> None:
    found = read(b'\xff\xfe\n"\n' + b"9" * (MAX_LINE_BYTES + 1) + b"\nc0,c1,c2\n1,2,3\n")
    assert [type(item) for item in found] == [Refusal, Refusal, Refusal, Record]
    assert found[-1].place == 5


@pytest.mark.parametrize("text", ["1,2\n", "c0,c1\n"])
def test_many_channels_are_not_all_named(text: str) -> None:
    config = named(*(f"c{index}" for index in range(300)))
    with pytest.raises(InputError, match=r"c0 … c299") as caught:
        read(text, config)
    assert len(str(caught.value)) < 150
    (refusal,) = read("[1,2]", config)
    assert isinstance(refusal, Refusal)
    assert len(refusal.reason) < 150


def test_columns_can_be_given() -> None:
    columns = ("t", "c2", "c0", "c1")
    expected = [Record([1, 2, 3], 0.5, place=1, end=10)]
    assert read("0.5,3,1,2\n", columns=columns) == expected
    assert [item.x for item in records("t,c2,c0,c1\n0.5,3,1,2\n", columns=columns)] == [[1, 2, 3]]
    (refusal,) = read("time,ax,ay,az\n", columns=columns)
    assert isinstance(refusal, Refusal)


def test_an_underscore_belongs_to_names_not_to_numbers() -> None:
    found = read("c0,name,c1,c2\n1,a_b,2,3\n1,_,2_0,3\n")
    assert found[0] == Record([1, 2, 3], place=2, end=24)
    assert found[1:] == [Refusal("channel c1 is '2_0', expected a number", 3, 34)]


def test_the_format_can_be_fixed() -> None:
    assert read("1\n", format="jsonl") == [Refusal("the line is 1, expected an object or a list", 1, 2)]
    assert read("[1,2,3]\n", format="jsonl") == [Record([1, 2, 3], place=1, end=8)]
    assert read("1,2,3\n", format="csv") == [Record([1, 2, 3], place=1, end=6)]


def test_messages_steer_the_run() -> None:
    assert read("!reset\nc0,c1,c2\n!dump\r\n!reset  pump 1 \n1,2,3\n") == [
        Control("reset", None, 1, 7),
        Control("dump", None, 3, 23),
        Control("reset", "pump 1", 4, 39),
        Record([1, 2, 3], place=5, end=45),
    ]
    assert read('{"control":"reset"}\n{"control":"dump","stream":"a"}\n!reset b') == [
        Control("reset", None, 1, 20),
        Control("dump", "a", 2, 52),
        Control("reset", "b", 3, 60),
    ]
    assert read('{"control":"reset","pump":"a"}', streams_by="pump") == [Control("reset", "a", 1, 30)]
    assert [record.x for record in records('{"x":[1,2,3],"control":"auto"}')] == [[1, 2, 3]]


def test_sensors_are_told_apart_by_a_column() -> None:
    found = read('c0,pump,c1,c2\n1,p_1,2,3\n1,"p,2",2,3\n1, ,2,3\n1,!dump,2,3\n1,é,2,3\n', streams_by="pump")
    assert [item.key for item in found if isinstance(item, Record)] == ["p_1", "p,2", "!dump", "é"]
    assert found[2] == Refusal("column pump is empty, expected the sensor's name", 4, 44)


def test_sensors_are_told_apart_by_a_field() -> None:
    lines = ['"p_1"', "7", "true", '""', "null", '"\\ud800"']
    text = "".join(f'{{"x":[1,2,3],"pump":{line}}}\n' for line in lines) + '{"x":[1,2,3]}\n[1,2,3]'
    found = read(text, streams_by="pump")
    assert [item.key for item in found if isinstance(item, Record)] == ["p_1", "7"]
    assert [item.reason.partition(",")[0] for item in found if isinstance(item, Refusal)] == [
        "field pump is true",
        "field pump is ''",
        "field pump is null",
        "field pump is '\\ud800'",
        "field pump is missing",
        "the line is a list",
    ]


def test_targets_are_measured_values() -> None:
    csv = records("y,c0,c1,c2\n9,1,2,3\n,1,2,3\n", targets=("y", "c0"))
    assert [record.x for record in csv] == [[1, 2, 3]] * 2
    assert repr([record.target for record in csv]) == "[[9.0, 1.0], [nan, 1.0]]"
    found = read('{"x":[1,2,3],"y":9}\n{"c0":1,"c1":2,"c2":3}\n{"x":[1,2,3],"y":"9"}\n[1,2,3]\n', targets=("y",))
    assert found[0] == Record([1, 2, 3], place=1, end=20, target=[9])
    assert [item.reason for item in found[1:] if isinstance(item, Refusal)] == [
        "the object has no y; expected y",
        "field y is '9', expected a number",
        "the line is a list, expected an object with y",
    ]


def test_a_line_without_end_takes_no_memory_and_is_one_refusal() -> None:
    reader = TextReader(CONFIG, SourceOptions())
    assert reader.feed(b"1,2,3\n") == [Record([1, 2, 3], place=1, end=6)]
    piece = b"5" * 2**16
    for _ in range(1600):
        assert reader.feed(piece) == []
        assert len(reader._rest) <= MAX_LINE_BYTES
    end = 6 + 1600 * 2**16
    assert reader.feed(b"\n4,5,6\n") == [Refusal(TOO_LONG, 2, end + 1), Record([4, 5, 6], place=3, end=end + 7)]
    for _ in range(17):
        reader.feed(piece)
    assert reader.finish(complete=True) == [Refusal(TOO_LONG, 4, end + 7 + 17 * 2**16)]


def test_the_longest_line_that_is_read() -> None:
    blanks = b" " * (MAX_LINE_BYTES - 5)
    assert [type(item) for item in read(b"1,2,3" + blanks + b"\n1,2,3 " + blanks + b"\n")] == [Record, Refusal]


def test_a_torn_line_is_a_refusal_and_what_comes_later_is_read() -> None:
    reader = TextReader(CONFIG, SourceOptions())
    assert reader.feed(b"c2,c1,c0\n1,2,3\n1,2") == [Record([3, 2, 1], place=2, end=15)]
    assert reader.finish(complete=False) == [Refusal("the input ends within a line of 3 bytes", 3, 18)]
    reader.reconnected()
    assert reader.feed(b"4,5,6\n") == [Record([6, 5, 4], place=4, end=24)]  # no header: the old one holds
    reader.reconnected()
    assert reader.feed(b"c0,c2,c1\n4,5,6\n") == [Record([4, 6, 5], place=6, end=39)]
    reader.reconnected()
    (refusal,) = reader.feed(b"c0,c1,c2,c2\n")  # which ended a run that has not begun
    assert isinstance(refusal, Refusal)


@pytest.mark.parametrize("half", ['": 1, "c1": 2}', "2,3]", "c1,c2", "2,3", "\0\1\2", '1"', "\ufffd"])
def test_who_joins_a_sender_may_get_half_a_line_first(half: str) -> None:
    reader = TextReader(CONFIG, SourceOptions(), joins=True)
    (refusal,) = reader.feed(half.encode() + b"\r\n")
    assert isinstance(refusal, Refusal)
    assert [item.x for item in reader.feed(b'{"x":[1,2,3]}\n') if isinstance(item, Record)] == [[1, 2, 3]]


def test_who_joins_a_sender_gets_whole_lines_from_the_second_one_on() -> None:
    reader = TextReader(CONFIG, SourceOptions(), joins=True)
    reader.feed(b"3\n")
    with pytest.raises(InputError, match="2 columns arrived without a header"):
        reader.feed(b"2,3\n")


BANNER = [
    "ets Jun  8 2016 00:22:57",
    "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)",
    "mode:DIO, clock div:2, load:0x3fff0030,len:1184",
    "[00:00:00.250,000] <inf> main: started",
    "{ready}",
    "*** Booting Zephyr OS ***",
    "Ready",
]


@pytest.mark.parametrize("sample", ["1,2,3", "c2,c1,c0\n3,2,1", '{"x":[1,2,3]}', "[1,2,3]"])
def test_what_a_board_says_of_itself_before_its_samples_is_refused(sample: str) -> None:
    reader = TextReader(CONFIG, SourceOptions(), joins=True)
    refusals = reader.feed("".join(line + "\n" for line in BANNER).encode())
    assert [item.place for item in refusals if isinstance(item, Refusal)] == [*range(1, len(BANNER) + 1)]
    assert not reader.known
    assert [item.x for item in reader.feed(sample.encode() + b"\n") if isinstance(item, Record)] == [[1, 2, 3]]
    with pytest.raises(InputError):
        TextReader(CONFIG, SourceOptions()).feed(BANNER[1].encode() + b"\n")


@pytest.mark.parametrize("header", ["c0,c1", "c0,c2,note (raw)", "x,y,z", "1,2"])
def test_a_header_that_does_not_fit_is_none_of_what_a_board_says_of_itself(header: str) -> None:
    reader = TextReader(CONFIG, SourceOptions(), joins=True)
    reader.feed(b"Booting\n")
    with pytest.raises(InputError, match="expected"):
        reader.feed(header.encode() + b"\n")


NUMBERS = st.floats(width=32).map(repr) | st.integers(-5, 5).map(str)
FIELDS = NUMBERS | st.sampled_from(["", " 1", "1_0", "a_b", "x", '"2"', "!reset a", "1.e999", "\u0661"])
WHOLE_LINES = ["", " ", "c0,c1,c2", "[1,2,3]", '{"x":[1,null,3],"t":5}', '{"x":', "!reset", "!dump a", "1,2,3\r", '"']
LINES = st.one_of(
    st.lists(NUMBERS, min_size=3, max_size=3).map(",".join),
    st.lists(FIELDS, min_size=2, max_size=5).map(",".join),
    st.sampled_from(WHOLE_LINES),
).map(str.encode) | st.binary(max_size=12)
OPTIONS = st.sampled_from(
    [
        {},
        {"format": "csv"},
        {"format": "jsonl"},
        {"columns": ("c0", "c1", "c2")},
        {"columns": ("t", "c1", "k", "c0", "c2"), "streams_by": "k", "targets": ("c1",)},
    ]
)


def outcome(pieces: list[bytes], options: dict[str, Any], *, joins: bool) -> tuple[list[Item], str, int]:
    reader = TextReader(CONFIG, SourceOptions(**options), joins=joins)
    items: list[Item] = []
    try:
        for piece in pieces:
            items += reader.feed(piece)
        items += reader.finish(complete=True)
    except InputError as error:
        assert not reader.known
        return [], str(error), reader.place
    return comparable(items), "", reader.place


@given(
    lines=st.lists(LINES, max_size=12),
    options=OPTIONS,
    joins=st.booleans(),
    end=st.sampled_from([b"", b"\n"]),
    data=st.data(),
)
def test_any_pieces_of_any_lines_give_the_same_and_lose_no_count(
    lines: list[bytes], options: dict[str, Any], joins: bool, end: bytes, data: st.DataObject
) -> None:
    whole = b"\n".join(lines) + end
    items, error, place = outcome([whole], options, joins=joins)
    cuts = sorted({0, len(whole), *data.draw(st.lists(st.integers(0, len(whole)), max_size=20))})
    assert outcome([whole[start:stop] for start, stop in pairwise(cuts)], options, joins=joins) == (items, error, place)
    assert outcome([bytes([byte]) for byte in whole], options, joins=joins) == (items, error, place)
    split = whole.split(b"\n")
    for item in items:
        assert item.end == min(sum(map(len, split[: item.place])) + item.place, len(whole))
        assert not isinstance(item, Record) or len(item.x) == 3
    if not error:
        places = [item.place for item in items]
        assert places == sorted(set(places))
        known_blank = {at for at, line in enumerate(split, 1) if not line.removeprefix(b"\xef\xbb\xbf").strip()}
        assert len(set(range(1, place + 1)) - known_blank - set(places)) <= 1  # a header


@given(rows=st.lists(st.lists(st.floats(allow_nan=False), min_size=3, max_size=3), min_size=1, max_size=20))
def test_numbers_survive(rows: list[list[float]]) -> None:
    csv = records("c0,c1,c2\n" + "".join(",".join(map(repr, row)) + "\n" for row in rows))
    assert [struct.pack("3d", *record.x) for record in csv] == [struct.pack("3d", *row) for row in rows]
    timed = records("t,c2,c1,c0\n" + "".join(",".join(map(repr, (0.5, *reversed(row)))) + "\n" for row in rows))
    assert [struct.pack("3d", *record.x) for record in timed] == [struct.pack("3d", *row) for row in rows]


COLUMNS = st.permutations(["t", "c0", "c1", "c2", "k", "note"])


@given(columns=COLUMNS, rows=st.lists(st.lists(FIELDS, min_size=6, max_size=6), min_size=1, max_size=5))
def test_a_block_of_lines_is_what_its_lines_are(columns: list[str], rows: list[list[str]]) -> None:
    lines = CsvLines(columns, CONFIG.input.channels, SourceOptions(streams_by="k", targets=("c1",)))
    block = [",".join(row).encode() for row in rows]
    one_by_one: list[Item] = []
    for place, line in enumerate(block):
        item = lines.item(line, place + 1, 10 * place)
        if item is not None:
            one_by_one.append(item._replace(end=0))
    assert comparable([item._replace(end=0) for item in lines.items(block, 0, 0)]) == comparable(one_by_one)
