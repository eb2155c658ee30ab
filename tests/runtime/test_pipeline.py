"""Records become results: of one sensor and of many, with every record accounted for."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_export.saving import save_artifact
from edgegru_runtime import load
from edgegru_runtime.conditioning import Conditions
from edgegru_runtime.counters import Counters
from edgegru_runtime.errors import InputError, StateError
from edgegru_runtime.model import Model
from edgegru_runtime.model_config import DecisionConfig
from edgegru_runtime.pipeline import Handling, Pipeline, records_in
from edgegru_runtime.record import Control, Frame, Item, Record, Refusal
from edgegru_runtime.result import Event, Result
from edgegru_runtime.session import packed, unpacked
from edgegru_runtime.stream import matrix
from tests.builders import random_artifact, random_integer_artifact

DECISION = DecisionConfig(threshold=0.3, threshold_off=0.28, smoothing="mean:3", trigger_level=2)
SKIPPING = Handling(Conditions(), skip_bad=True)


@cache
def model(seed: int = 0) -> Model:
    return Model(random_integer_artifact(seed, 3, (8,)))


class Made:
    """A pipeline, and what came out of it."""

    def __init__(
        self,
        handling: Handling = SKIPPING,
        model: Model | None = None,
        decision: DecisionConfig = DECISION,
        **others: Any,
    ) -> None:
        self.results: list[Result] = []
        self.warnings: list[str] = []
        self.dumps = 0
        self.counters = Counters()
        self.pipeline = Pipeline(
            model or globals()["model"](),
            decision,
            handling,
            self.counters,
            name="the log",
            unit="line",
            write=self._keep,
            warn=self.warnings.append,
            dump=self._dump,
            **others,
        )

    def _keep(self, result: Result) -> None:
        self.results.append(result._replace(outputs=tuple(map(list, result.outputs))))

    def _dump(self) -> None:
        self.dumps += 1

    def take(self, items: Sequence[Item]) -> list[Result]:
        before = len(self.results)
        self.pipeline.take(items)
        return self.results[before:]

    def by_key(self) -> dict[str, list[Result]]:
        found: dict[str, list[Result]] = {}
        for result in self.results:
            found.setdefault(result.key, []).append(result._replace(key=""))
        return found


def samples(count: int, seed: int = 0) -> list[list[float]]:
    chosen = random.Random(seed)
    return [[array("f", [chosen.gauss(0, 1)])[0] for _ in range(3)] for _ in range(count)]


def records(count: int, keys: Sequence[str] = ("",), seed: int = 0) -> list[Record]:
    chosen = random.Random(seed)
    return [Record(x, t, chosen.choice(keys), t + 1, 10 * t) for t, x in enumerate(samples(count, seed))]


def begun(results: Sequence[Result]) -> list[Result]:
    """Without what a reset switched off, which is told by the step behind it."""
    return [
        result._replace(events=tuple(event for event in result.events if event.on or event.p))
        if not result.index
        else result
        for result in results
    ]


values = st.sampled_from([0.5, -1.25, 3.0, nan, inf])
items = st.lists(
    st.one_of(
        st.builds(
            Record, st.lists(values, min_size=3, max_size=3), st.none() | st.integers(0, 9), st.sampled_from("abc")
        ),
        st.just(Refusal("junk")),
        st.builds(Control, st.sampled_from(["reset", "dump"]), st.sampled_from([None, "a", "zz"])),
    ),
    max_size=30,
)


def test_each_sensor_gets_what_it_gets_alone() -> None:
    mixed = records(200, ["a", "b", "c", "d"])
    for together in (True, False):
        many = Made(replace(SKIPPING, keyed=True, together=together))
        many.take(mixed)
        assert [(result.key, result.t) for result in many.results] == [(record.key, record.t) for record in mixed]
        for key, found in many.by_key().items():
            alone = Made()
            alone.take([record._replace(key="") for record in mixed if record.key == key])
            assert found == alone.results
            assert any(result.events for result in found)


@given(cut=st.lists(st.integers(0, 120), max_size=4))
def test_pieces_make_no_difference(cut: list[int]) -> None:
    mixed = records(120, ["a", "b", "c"])
    whole, pieces = (Made(replace(SKIPPING, keyed=True)) for _ in range(2))
    whole.take(mixed)
    bounds = [0, *sorted(cut), len(mixed)]
    for start, end in pairwise(bounds):
        pieces.take(mixed[start:end])
    assert pieces.results == whole.results
    assert pieces.counters.to_dict() == whole.counters.to_dict()


def test_a_frame_is_a_record_of_each_sensor() -> None:
    handling = replace(SKIPPING, keyed=True)
    framed, recorded = Made(handling), Made(handling)
    for frame, start in enumerate(range(0, 60, 3)):
        rows = samples(60)[start : start + 3]
        if frame == 7:
            rows[1][2] = nan  # the others go on
        flat = array("f", [number for row in rows for number in row])
        framed.take([Frame(matrix(flat, 3), frame + 1, frame)])
        recorded.take([Record(x, None, str(place), frame + 1, frame) for place, x in enumerate(rows)])
    assert framed.results == recorded.results
    assert framed.counters.to_dict() == recorded.counters.to_dict()
    assert framed.counters.refused == 1


@given(
    items=items, on_nan=st.sampled_from(["error", "hold", "zero", "skip", "reset"]), max_gap=st.sampled_from([None, 2])
)
def test_every_record_is_accounted_for(items: list[Item], on_nan: str, max_gap: float | None) -> None:
    for keyed in (False, True):
        made = Made(Handling(Conditions(on_nan, max_gap), keyed=keyed, skip_bad=True))
        made.take(items)
        assert made.counters.accounted
        assert made.counters.read == sum(map(records_in, items))
        assert made.counters.refused >= sum(isinstance(item, Refusal) for item in items)
        assert made.counters.steps == len(made.results)


@given(items=items)
def test_a_run_that_ends_at_a_bad_record_accounts_for_the_rest(items: list[Item]) -> None:
    for keyed in (False, True):
        made = Made(Handling(Conditions(), keyed=keyed, skip_bad=False))
        numbered = [item._replace(place=place) for place, item in enumerate(items, 1)]
        error = None
        try:
            made.take(numbered)
        except InputError as raised:
            error = raised
        bad = made.pipeline.place
        if error is None:
            assert made.counters.refused == made.counters.unfinished == 0
        else:
            assert str(error).startswith(f"the log, line {bad}: ")
            assert made.counters.refused == 1
            assert made.counters.unfinished == sum(map(records_in, numbered[bad:]))
        assert made.counters.accounted
        assert made.counters.steps == len(made.results) == made.counters.processed


def test_streams_begin_anew_after_so_many_steps_or_seconds() -> None:
    plain = Made()
    plain.take(records(10))
    for handling in (replace(SKIPPING, reset_every=10), replace(SKIPPING, reset_every_seconds=0.2)):
        for keyed in (False, True):
            made = Made(replace(handling, keyed=keyed))
            made.take(records(10) + records(10))
            assert begun(made.results) == plain.results * 2
            assert made.counters.resets == 1
    no_rate = Model(random_artifact(rate=None))
    with pytest.raises(InputError, match="declares no rate"):
        Made(replace(SKIPPING, reset_every_seconds=1.0), no_rate)


def test_control_messages_reset_and_dump() -> None:
    made = Made(replace(SKIPPING, keyed=True))
    made.take([*records(10, "a"), *records(10, "b"), Control("reset", "a"), *records(10, "a"), *records(1, "b")])
    by_key = made.by_key()
    assert begun(by_key["a"][10:]) == by_key["a"][:10]
    assert by_key["b"][10].index == 10
    made.take([Control("reset"), *records(10, "b"), Control("dump")])
    assert begun(made.by_key()["b"][11:]) == made.by_key()["b"][:10]
    assert made.dumps == 1
    assert made.counters.controls == 3
    made.take([Control("reset", "nobody")])
    assert made.warnings == ["a control message names stream 'nobody', which there is not"]


def test_a_reset_switches_off_what_is_on() -> None:
    switched = DecisionConfig(threshold=0.0)
    for keyed in (False, True):
        made = Made(replace(SKIPPING, keyed=keyed, emit="changes"), decision=switched)
        items = records(9)
        made.take(items[:5])
        label = made.results[-1].on[0][0]
        made.take([Control("reset"), items[5]])
        off, *on = made.results[-1].events
        assert off == Event(False, label, 0.0, 0)
        assert [event.on for event in on] == [True], "the most probable class is always on"
        before = made.pipeline.lanes[""]
        made.take([Control("reset")])
        saved = before.saved()
        after = Made(replace(SKIPPING, keyed=keyed, emit="changes"), decision=switched)
        after.pipeline.restore([("", before.stream.state, *saved[1:])])
        assert made.take(items[6:]) == after.take(items[6:])


def test_a_further_sensor_is_refused() -> None:
    made = Made(replace(SKIPPING, keyed=True, max_streams=2))
    made.take([Record([0.0, 0.0, 0.0], None, key) for key in "abcab"])
    assert made.counters.refused == 1
    assert set(made.by_key()) == {"a", "b"}


def test_only_what_is_asked_for_is_written() -> None:
    everything = Made()
    everything.take(records(100))
    switching = [result for result in everything.results if result.events]
    assert 0 < len(switching) < 100
    for emit in ("changes", "events"):
        made = Made(replace(SKIPPING, emit=emit))
        made.take(records(100))
        assert made.results == switching
        assert made.counters.events == sum(len(result.events) for result in switching)


@given(cut=st.integers(0, 60))
def test_a_saved_session_goes_on(cut: int) -> None:
    handling = Handling(Conditions("hold", 3.0), keyed=True, skip_bad=True)
    mixed = records(60, ["a", "b"])
    mixed[20] = mixed[20]._replace(x=[nan, 1.0, 1e9])
    whole, before, after = (Made(handling) for _ in range(3))
    whole.take(mixed)
    before.take(mixed[:cut])
    before.pipeline.count_clipped()
    content = packed(before.pipeline.lanes.values(), before.counters.saved(), {"end": cut})
    session = unpacked(content, len(model().stream().state))
    assert session.input == {"end": cut}
    after.counters.restore(session.counters)
    after.pipeline.restore(session.lanes)
    after.take(mixed[cut:])
    assert before.results + after.results == whole.results
    for made in (whole, after):
        made.pipeline.count_clipped()
    assert after.counters.to_dict() == whole.counters.to_dict()
    assert after.counters.clipped >= 1


def test_a_damaged_session_is_told() -> None:
    made = Made()
    made.take(records(5))
    content = packed(made.pipeline.lanes.values(), made.counters.saved(), None)
    size = len(model().stream().state)
    for damaged in (b"", content[:3], content[:-1], content[:9], content + b"x", b"\xff\xff\xff\xff" + content[4:]):
        with pytest.raises(StateError, match="the saved session is damaged"):
            unpacked(damaged, size)
    with pytest.raises(StateError, match="expected one of a single sensor"):
        Made().pipeline.restore([("a", b"", None, None)])
    session = unpacked(content, size)
    with pytest.raises(StateError):
        Made().pipeline.restore([("", session.lanes[0][1][:-1] + b"x", *session.lanes[0][2:])])


def test_other_settings_begin_anew_where_they_have_to() -> None:
    made, other = Made(), Made(Handling(Conditions("hold", 3.0), skip_bad=True))
    made.take(records(30))
    session = unpacked(packed(made.pipeline.lanes.values(), None, None), len(model().stream().state))
    other.pipeline.restore(session.lanes)
    assert other.pipeline.lanes[""].index == 30
    assert len(other.warnings) == 1
    assert other.warnings[0].startswith("times and held values begin anew: ")


def test_reloading_the_same_model_changes_nothing(tmp_path: Path) -> None:
    save_artifact(random_integer_artifact(0, 3, (8,)), tmp_path / "model.safetensors")
    for keyed in (False, True):
        whole, reloaded = (Made(replace(SKIPPING, keyed=keyed)) for _ in range(2))
        mixed = records(60, ["a", "b"] if keyed else [""])
        whole.take(mixed)
        reloaded.take(mixed[:31])
        reloaded.pipeline.reload(load(tmp_path / "model.safetensors"), DECISION)
        reloaded.take(mixed[31:])
        assert reloaded.results == whole.results
        reloaded.pipeline.count_clipped()
        whole.pipeline.count_clipped()
        assert reloaded.counters.to_dict() == whole.counters.to_dict()


def test_another_model_begins_anew() -> None:
    made, alone = Made(), Made(model=model(1))
    made.take(records(30))
    made.pipeline.reload(model(1), DECISION)
    assert made.take(records(30)) == alone.take(records(30))
    assert made.counters.resets == 1


def test_steps_are_timed_where_somebody_wants_to_know() -> None:
    times: list[float] = []
    made = Made(replace(SKIPPING, timing=True), timed=times.append)
    made.take(records(5))
    assert len(times) == 5
    assert all(time > 0 for time in times)
    assert [result.step_us for result in made.results] == pytest.approx([time * 1e6 for time in times])
    many = Made(replace(SKIPPING, timing=True, keyed=True), timed=times.append)
    many.take(records(5, "ab"))
    assert all(result.step_us is not None for result in many.results)


def test_whoever_looks_on_sees_every_step() -> None:
    seen: list[Any] = []
    for keyed in (False, True):
        made = Made(
            replace(SKIPPING, keyed=keyed),
            observe=lambda lane, sample, outputs: seen.append((lane.key, sample.t, list(outputs[0]))),
        )
        made.take(records(20))
        assert [(result.key, result.t, list(result.outputs[0])) for result in made.results] == seen
        seen.clear()
