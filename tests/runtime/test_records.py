"""Lines in, lines out: what is read as a sample, what is refused and where, and what a result looks like."""

from __future__ import annotations

import json
import struct
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime import InputError
from edgegru_runtime.model_config import DecisionConfig, HeadNode, ModelConfig, OutputConfig
from edgegru_runtime.records import MAX_LINE_BYTES, Record, read_records, result_line
from tests.builders import changed, random_config

CONFIG = random_config(3)


def records(text: str | bytes, line_format: str = "auto", config: ModelConfig = CONFIG) -> list[Record]:
    file = BytesIO(text if isinstance(text, bytes) else text.encode())
    return list(read_records(lambda: file.readline(MAX_LINE_BYTES + 1), "input", config, line_format))


def named(*channels: str) -> ModelConfig:
    return changed(CONFIG, input=type(CONFIG.input)(3, channels, ("",) * 3, None))


@pytest.mark.parametrize(
    "text",
    [
        "c0,c1,c2\n1,2.5,-3e1\n",
        "c0,c1,c2\r\n1,2.5,-3e1\r\n",
        "c0,c1,c2\n1,2.5,-3e1",
        "\n\nc0,c1,c2\n\n1,2.5,-3e1\n\n",
        "\ufeffc0,c1,c2\n1,2.5,-3e1\n",
        ' c2 ,label,c0,"c1"\n -3e1 ,"walk, run",1,2.5\n',
        "1,2.5,-30\n",
        "[1, 2.5, -30]\n",
        '{"x": [1, 2.5, -30]}\n',
        '{"c2": -30, "c0": 1, "c1": 2.5, "label": "a"}\n',
    ],
)
def test_the_same_sample_in_many_forms(text: str) -> None:
    assert [(record.t, record.x) for record in records(text)] == [(None, [1, 2.5, -30])]


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("t,c0,c1,c2\n0.5,1,2,3\n7,1,2,3\n,1,2,3\n", [0.5, 7, None]),
        ("c0,c1,c2,timestamp\n1,2,3,1700000000123\n1,2,3,12:30:01\n", [1700000000123, "12:30:01"]),
        ('{"x":[1,2,3],"t":0.25}\n{"c0":1,"c1":2,"c2":3,"timestamp":"noon"}\n[1,2,3]\n', [0.25, "noon", None]),
    ],
)
def test_times_are_passed_on(text: str, times: list[object]) -> None:
    assert [record.t for record in records(text)] == times
    assert all(type(record.t) is type(t) for record, t in zip(records(text), times, strict=True))


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    assert [record.line for record in records("c0,c1,c2\n\n1,2,3\n1,2,3\n")] == [3, 4]


def test_channels_may_be_called_by_numbers_or_like_fields() -> None:
    assert records("2,0,1\n30,10,20\n", config=named("0", "1", "2"))[0].x == [10, 20, 30]
    assert records("5,6,7\n", config=named("0", "1", "2"))[0].x == [5, 6, 7]
    config = named("x", "t", "y")
    assert records("x,t,y\n1,2,3\n", config=config)[0] == Record(2, None, [1, 2, 3])
    assert records('{"x":1,"t":2,"y":3}\n{"x":[4,5,6]}', config=config) == [
        Record(1, None, [1, 2, 3]),
        Record(2, None, [4, 5, 6]),
    ]


def test_nothing_is_read_ahead() -> None:
    lines = iter([b"c0,c1,c2\n", b"1,2,3\n", b"4,5,6\n"])
    reader = read_records(lambda: next(lines), "input", CONFIG)
    assert next(reader).x == [1, 2, 3]
    assert list(lines) == [b"4,5,6\n"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c0,c1\n1,2\n", "line 1: the header has no c2; expected c0, c1, c2"),
        ("1,2\n", "line 1: 2 columns arrived without a header, expected 3, or a header with c0, c1, c2"),
        ("1,2,ab\n", "line 1: the header has no c0, c1, c2; expected c0, c1, c2"),
        ("c0,c1,c2,c1\n1,2,3,4\n", "line 1: column c1 is there 2 times, expected it once"),
        ("c0,c1,c2\n1,2,3\n1,2\n", "line 3: 2 columns arrived, expected 3 as in the first line"),
        ("1,2,3\n1,2,3,4\n", "line 2: 4 columns arrived, expected 3"),
        ("c0,c1,c2\n1,,3\n", "line 2: channel c1 is empty, expected a number"),
        ("c0,c1,c2\n1,abc,3\n", "line 2: channel c1 is 'abc', expected a number"),
        ("c0,c1,c2\n1,1_000,3\n", "line 2: channel c1 is '1_000', expected a number"),
        ('c0,c1,c2\n1,"2,3\n', "line 2: the line is not CSV"),
        ("1,2,3\n\0,2,3\n", "line 2: "),
        (b"c0,c1,c2\n1,\xff,3\n", "line 2: byte 2 is not UTF-8"),
        ("[1, 2]\n", "line 1: 2 values arrived, expected 3: c0, c1, c2"),
        ("[1, 2, 3]\n[1, 2\n", "line 2: the line is not JSON"),
        ("[1, 2, NaN]\n", "line 1: the line holds NaN"),
        ("[1, 2, null]\n", "line 1: channel c2 is null, expected a number"),
        ("[1, true, 3]\n", "line 1: channel c1 is true, expected a number"),
        ('["1", 2, 3]\n', "line 1: channel c0 is '1', expected a number"),
        ("[" * 100_000, "line 1: the line is nested too deeply"),
        ('{"c0": 1}\n', 'line 1: the object has no c1, c2; expected c0, c1, c2, or "x"'),
        ('{"x": 1}\n', "line 1: the object has no c0, c1, c2"),
        ('{"c0": 1, "c0": 2, "c1": 3, "c2": 4}\n', "line 1: the line has the name 'c0' twice"),
        ('{"x": [1, 2, 3], "t": [1]}\n', "line 1: the time is a list of 1, expected a number or text"),
        ("[1,2,3]\n17\n", "line 2: the line is 17, expected an object or a list"),
        ("1," * 2**20, "line 1: the line is longer than 1048576 bytes"),
    ],
)
def test_bad_lines_are_named(text: str | bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        records(text)
    assert str(caught.value).startswith(f"input, {message}")


@pytest.mark.parametrize("text", ["1,2\n", "c0,c1\n", "[1,2]\n", '{"c0":1,"c1":2}\n'])
def test_many_channels_are_not_all_named(text: str) -> None:
    with pytest.raises(InputError, match=r"c0 … c299") as caught:
        records(text, config=named(*(f"c{index}" for index in range(300))))
    assert len(str(caught.value)) < 150


def test_the_format_can_be_fixed() -> None:
    with pytest.raises(InputError, match="line 1: the line is 1, expected an object or a list"):
        records("1\n", "jsonl")
    with pytest.raises(InputError, match="line 1: the header has no c0, c1, c2"):
        records("[1,2,3]\n", "csv")


@pytest.mark.parametrize("line_format", ["auto", "csv", "jsonl"])
@given(data=st.binary(max_size=200))
def test_any_bytes_give_samples_or_the_named_error(line_format: str, data: bytes) -> None:
    try:
        found = records(data, line_format)
    except InputError:
        return
    assert all(len(record.x) == 3 for record in found)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=4, max_size=4))
def test_printed_numbers_come_back_equal(values: list[float]) -> None:
    config = random_config(3, head="identity")
    found = json.loads(result_line(config, 0, None, [values]))["y"]
    assert struct.pack("4f", *found) == struct.pack("4f", *values)


def result(config: ModelConfig, outputs: list[list[float]], **fields: Any) -> dict[str, Any]:
    return json.loads(result_line(config, fields.get("i", 5), fields.get("t"), outputs))


def test_results_of_each_kind() -> None:
    probabilities = [0.125, 0.5, 0.25, 0.125]
    expected = {"i": 5, "t": 0.5, "label": "class 1", "p": 0.5, "probs": probabilities}
    assert result(CONFIG, [probabilities], t=0.5) == expected
    assert list(result(CONFIG, [probabilities], t="noon")) == ["i", "t", "label", "p", "probs"]

    several = changed(random_config(3, head="sigmoid"), decision=DecisionConfig(threshold=0.25, threshold_off=0.25))
    labels = ["class 1", "class 2"]
    assert result(several, [probabilities]) == {"i": 5, "labels": labels, "probs": probabilities}

    values = random_config(3, head="identity")
    assert result(values, [[1.5, -2, 3e38, float("inf")]]) == {"i": 5, "y": [1.5, -2, 3e38, None]}


def test_several_outputs_are_named() -> None:
    two = changed(
        CONFIG,
        nodes=(*CONFIG.nodes, HeadNode("i", ("dense",), 4, "identity")),
        outputs=(*CONFIG.outputs, OutputConfig("i", "step_value", ("a", "b", "c", "d"))),
    )
    assert result(two, [[1, 0, 0, 0], [1, 2, 3, 4]]) == {
        "i": 5,
        "outputs": {"output": {"label": "class 0", "p": 1, "probs": [1, 0, 0, 0]}, "i": {"y": [1, 2, 3, 4]}},
    }
