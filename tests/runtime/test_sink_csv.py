"""Results as CSV: one header, as many fields in every row, and quoting that Python's reader undoes."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime.model_config import DecisionConfig, ModelConfig
from edgegru_runtime.result import Event, Result
from edgegru_runtime.sinks.csv_lines import CsvLines
from tests.runtime.sink_results import label_sets, labelled, of_tokens, result, results, two_outputs

PLAIN = DecisionConfig()


def rows(config: ModelConfig, *found: Result, emit: str = "all") -> list[dict[str, str]]:
    """What a reader of CSV makes of the header and these results."""
    formatter = CsvLines(config, PLAIN, emit)
    text = formatter.header + "".join(formatter.lines(one) for one in found)
    header, *read = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert all(len(row) == len(header) for row in read)
    return [dict(zip(header, row, strict=True)) for row in read]


def test_classes() -> None:
    first, second = rows(labelled(), result(t=0.5, on=(("sit",),)), result(key="a,b", index=8))
    assert list(first.items()) == [
        ("stream", ""),
        ("i", "7"),
        ("t", "0.5"),
        ("label", "walk, slowly"),
        ("p", "0.699999988"),
        ("probs.sit", "0.125"),
        ("probs.walk, slowly", "0.699999988"),
        ('probs.the "stairs"', "0.100000001"),
        ("probs.größe=1 \\", "0.075000003"),
        ("on", "sit"),
        ("score", ""),
        ("events", ""),
        ("step_us", ""),
    ]
    assert (second["stream"], second["i"], second["t"], second["on"]) == ("a,b", "8", "", "")


def test_several_outputs() -> None:
    found = result(
        outputs=([0.0, 1.0, 0.0, 0.0], [0.0, 0.25, 0.5, 0.75, 1.0]),
        on=((), ("h3", "h4")),
        events=(Event(True, "sit", 0.75, 0), Event(False, "h1", 0.125, 1)),
        score=1.5,
        step_us=2.5,
    )
    (row,) = rows(two_outputs(), found)
    assert row["output.label"] == "walk, slowly" and row["output.p"] == "1.0"
    assert row["state.labels"] == "h2;h3;h4" and row["state.probs.h1"] == "0.25"
    assert row["output.on"] == "" and row["state.on"] == "h3;h4"
    assert row["events"] == "on:output.sit;off:state.h1" and (row["score"], row["step_us"]) == ("1.5", "2.5")
    assert rows(two_outputs(), found, emit="events") == [
        {"stream": "", "i": "7", "t": "", "event": "on", "label": "sit", "p": "0.75", "output": "output"},
        {"stream": "", "i": "7", "t": "", "event": "off", "label": "h1", "p": "0.125", "output": "state"},
    ]


def test_values_and_what_is_no_number() -> None:
    config = labelled(("a", "b"), "identity")
    (row,) = rows(config, result(t=float("nan"), outputs=([float("nan"), -1e30],)))
    assert (row["t"], row["y.a"], row["y.b"]) == ("", "", "-1e+30")


def test_tokens() -> None:
    (row,) = rows(of_tokens(), result(outputs=([-8.0] * 7 + [-0.25] + [-2.5] * 4,)))
    columns = ["stream", "i", "t", "token", "log_p", "on", "score", "events", "step_us"]
    assert list(row) == columns and (row["token"], row["log_p"], row["on"]) == ("7", "-0.25", "")


def test_repeated_labels_have_columns_of_their_own() -> None:
    (row,) = rows(labelled(("a", "a"), "identity"), result(outputs=([1.0, 2.0],)))
    assert (row["y.0.a"], row["y.1.a"]) == ("1.0", "2.0")


@given(data=st.data(), names=label_sets, emit=st.sampled_from(["all", "events"]))
def test_any_text_comes_back(data: st.DataObject, names: tuple[str, ...], emit: str) -> None:
    found = data.draw(results(names))
    read = rows(labelled(names), found, emit=emit)
    assert len(read) == (1 if emit == "all" else len(found.events))
    for row in read:
        assert (row["stream"], row["i"]) == (found.key, str(found.index))
        assert row["t"] == ("" if found.t is None else str(found.t))
        assert row["label"] in names
    if emit == "events":
        assert [(row["event"], row["label"]) for row in read] == [
            ("on" if event.on else "off", event.label) for event in found.events
        ]
