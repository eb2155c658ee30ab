"""Results as JSON: the fields, the numbers, and that every line is strict JSON whatever labels and keys are called."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime.model_config import DecisionConfig, ModelConfig, ResidualConfig
from edgegru_runtime.result import Event, Result
from edgegru_runtime.sinks.jsonl import JsonLines
from edgegru_runtime.sinks.readings import number
from edgegru_runtime.strict_json import parse_json
from tests.runtime.sink_results import (
    LABELS,
    float32,
    label_sets,
    labelled,
    of_tokens,
    probabilities,
    result,
    results,
    two_outputs,
    values,
)

PLAIN = DecisionConfig()


def written(config: ModelConfig, found: Result, emit: str = "all", decision: DecisionConfig = PLAIN) -> str:
    return JsonLines(config, decision, emit).lines(found)


def parsed(config: ModelConfig, found: Result, emit: str = "all", decision: DecisionConfig = PLAIN) -> Any:
    lines = written(config, found, emit, decision)
    assert lines.endswith("\n") and lines.count("\n") == 1
    return parse_json(lines.encode("ascii"), "the line")


def test_classes() -> None:
    found = result(t=1700000000.25)
    assert written(labelled(), found) == (
        '{"i":7,"t":1700000000.25,"label":"walk, slowly","p":0.699999988,'
        '"probs":[0.125,0.699999988,0.100000001,0.075000003]}\n'
    )
    assert parsed(labelled(), result(outputs=([0.5, 0.5, 0.0, 0.0],)))["label"] == "sit"  # the first of equals


def test_independent_labels_and_values() -> None:
    config = labelled(head="sigmoid")
    assert parsed(config, result(outputs=([0.5, 0.25, 1.0, 0.0],))) == {
        "i": 7,
        "labels": ["sit", 'the "stairs"'],
        "probs": [0.5, 0.25, 1.0, 0.0],
    }
    strict = DecisionConfig(threshold=0.75, threshold_off=0.75)
    assert parsed(config, result(outputs=([0.5, 0.25, 1.0, 0.0],)), decision=strict)["labels"] == ['the "stairs"']
    assert parsed(labelled(head="identity"), result(outputs=([1, -2.5, 1e30, 0],))) == {"i": 7, "y": [1, -2.5, 1e30, 0]}


def test_tokens() -> None:
    numbers = [-8.0] * 7 + [-0.25, -2.0, -0.25, -8.0, -8.0]
    found = parsed(of_tokens(), result(outputs=(numbers,)), decision=DecisionConfig(smoothing="mean:3"))
    assert found == {"i": 7, "token": 7, "log_p": -0.25}  # the first of equals; decisions are about labels
    assert written(of_tokens(), result(outputs=(numbers,)), "events") == ""


def test_everything_that_a_result_can_have() -> None:
    events = (Event(True, "walk, slowly", 0.75, 0), Event(False, "h1", 0.125, 1))
    found = result(
        key='pump "1"',
        t="2024-05-01T12:00:00Z",
        outputs=([0.0, 1.0, 0.0, 0.0], [0.0, 0.25, 0.5, 0.75, 1.0]),
        on=(("walk, slowly",), ("h3", "h4")),
        events=events,
        score=3.25,
        step_us=12.5,
    )
    config, decision = two_outputs(), DecisionConfig(smoothing="mean:3")
    assert parsed(config, found, decision=decision) == {
        "stream": 'pump "1"',
        "i": 7,
        "t": "2024-05-01T12:00:00Z",
        "outputs": {
            "output": {"label": "walk, slowly", "p": 1.0, "probs": [0.0, 1.0, 0.0, 0.0], "on": ["walk, slowly"]},
            "state": {"labels": ["h2", "h3", "h4"], "probs": [0.0, 0.25, 0.5, 0.75, 1.0], "on": ["h3", "h4"]},
        },
        "score": 3.25,
        "events": [
            {"event": "on", "label": "walk, slowly", "p": 0.75, "output": "output"},
            {"event": "off", "label": "h1", "p": 0.125, "output": "state"},
        ],
        "step_us": 12.5,
    }
    start = {"stream": 'pump "1"', "i": 7, "t": "2024-05-01T12:00:00Z"}
    assert [json.loads(line) for line in written(config, found, "events").splitlines()] == [
        start | {"event": "on", "label": "walk, slowly", "p": 0.75, "output": "output"},
        start | {"event": "off", "label": "h1", "p": 0.125, "output": "state"},
    ]
    assert written(config, found._replace(events=()), "events") == ""


def test_an_event_of_the_only_output_does_not_name_it() -> None:
    found = result(events=(Event(True, "sit", 0.9),))
    assert parsed(labelled(), found, "events") == {"i": 7, "event": "on", "label": "sit", "p": 0.9}
    assert parsed(labelled(), found)["events"] == [{"event": "on", "label": "sit", "p": 0.9}]


@pytest.mark.parametrize(
    ("head", "decision", "shown"),
    [
        ("softmax", PLAIN, False),
        ("softmax", replace(PLAIN, reset="never"), False),
        ("softmax", replace(PLAIN, threshold=0.8), True),
        ("softmax", replace(PLAIN, threshold_off=0.3), True),
        ("softmax", replace(PLAIN, smoothing="ema:0.5"), True),
        ("softmax", replace(PLAIN, warm_up=10), True),
        ("sigmoid", PLAIN, False),
        ("sigmoid", replace(PLAIN, threshold=0.8, threshold_off=0.8), False),
        ("sigmoid", replace(PLAIN, threshold=0.8), True),
        ("sigmoid", replace(PLAIN, warm_up=10), True),
        ("identity", replace(PLAIN, threshold=0.8), False),
        ("softmax", replace(PLAIN, residual=ResidualConfig("other", (1.0,))), False),
        ("identity", replace(PLAIN, residual=ResidualConfig("other", (1.0,))), False),
        ("identity", replace(PLAIN, residual=ResidualConfig("output", (1.0,) * 4)), True),
    ],
)
def test_what_is_on_is_shown_where_the_numbers_do_not_say_it(head: str, decision: DecisionConfig, shown: bool) -> None:
    found = parsed(labelled(head=head), result(on=(("sit",),)), decision=decision)
    assert found.get("on") == (["sit"] if shown else None)


@given(st.lists(probabilities | values, min_size=4, max_size=4), st.sampled_from(["softmax", "sigmoid", "identity"]))
def test_the_bytes_are_what_a_json_encoder_would_write(numbers: list[float], head: str) -> None:
    config = labelled(head=head)
    shown = [float(f"{value:.9g}") if isfinite(value) else None for value in numbers]
    pairs = list(zip(config.outputs[0].labels, numbers, strict=True))
    best = max(range(4), key=numbers.__getitem__)
    fields: dict[str, dict[str, object]] = {
        "identity": {"y": shown},
        "sigmoid": {"labels": [label for label, p in pairs if p >= 0.5], "probs": shown},
        "softmax": {"label": pairs[best][0], "p": shown[best], "probs": shown},
    }
    expected = json.dumps({"i": 3, "t": "now"} | fields[head], separators=(",", ":")) + "\n"
    assert written(config, result(index=3, t="now", outputs=(numbers,))) == expected


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_printed_numbers_come_back_equal(value: float) -> None:
    assert struct.pack("f", float(number(value))) == struct.pack("f", value)
    assert number(value) == repr(float(f"{value:.9g}"))


def test_numbers_that_json_does_not_have_are_null() -> None:
    nan, inf = float("nan"), float("inf")
    assert [number(value) for value in (nan, inf, -inf)] == ["null"] * 3
    assert parsed(labelled(head="identity"), result(t=inf, outputs=([nan, inf, 1.0, float32(0.1)],))) == {
        "i": 7,
        "t": None,
        "y": [None, None, 1.0, 0.100000001],
    }
    assert parsed(labelled(), result(outputs=([0.5, nan, 0.25, 0.125],)))["probs"] == [0.5, None, 0.25, 0.125]


@given(data=st.data(), names=label_sets, emit=st.sampled_from(["all", "events"]))
def test_every_line_is_strict_json(data: st.DataObject, names: tuple[str, ...], emit: str) -> None:
    found = data.draw(results(names))
    lines = written(labelled(names), found, emit, DecisionConfig(warm_up=1)).splitlines()
    assert len(lines) == (1 if emit == "all" else len(found.events))
    for line in lines:
        one = parse_json(line.encode("ascii"), "the line")
        assert isinstance(one, dict)
        assert (one.get("stream", ""), one["i"], one.get("t")) == (found.key, found.index, found.t)
        assert one["label"] in names


def test_labels_of_an_artifact_are_kept() -> None:
    assert [json.loads(written(labelled(), result(outputs=(row,))))["label"] for row in unit_rows()] == list(LABELS)


def unit_rows() -> list[list[float]]:
    return [[float(index == row) for index in range(4)] for row in range(4)]
