"""Models whose step takes several samples: each sensor's samples wait for one another, and none gets lost unsaid."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_export.saving import save_artifact
from edgegru_runtime import load
from edgegru_runtime.conditioning import Conditions
from edgegru_runtime.decisions import Decisions
from edgegru_runtime.errors import StateError
from edgegru_runtime.model import Model
from edgegru_runtime.model_config import DecisionConfig, OutputConfig, ResidualConfig
from edgegru_runtime.pipeline import Handling, records_in
from edgegru_runtime.record import Block, Control, Frame, Item, Record
from edgegru_runtime.result import Result
from edgegru_runtime.session import packed, unpacked
from edgegru_runtime.stream import matrix
from tests.builders import changed, in_blocks, random_config, random_floats, random_integers
from tests.runtime.test_pipeline import DECISION, SKIPPING, Made, begun, records, samples

BLOCK, CHANNELS = 4, 3
BLOCKS = in_blocks(random_config(BLOCK * CHANNELS, (8,)), BLOCK)  # 50 samples and 12.5 steps a second


@cache
def model(seed: int = 0) -> Model:
    return Model(random_integers(BLOCKS, seed))


def made(handling: Handling = SKIPPING, decision: DecisionConfig = DECISION, **others: Any) -> Made:
    return Made(handling, others.pop("model", model()), decision, **others)


def expected(count: int) -> list[list[float]]:
    """What ``Stream.run`` gives for ``samples(count)``."""
    flat = array("f", [number for x in samples(count)[: count - count % BLOCK] for number in x])
    found: list[list[float]] = model().stream().run(matrix(flat, BLOCK * CHANNELS)).tolist()
    return found


def balanced(made: Made) -> bool:
    """Whether every sample that entered is in a step, in a block that is not whole yet, or cut off."""
    counters = made.counters
    entered = counters.processed + counters.held + counters.zeroed + counters.filled
    waiting = sum(len(lane.block or ()) for lane in made.pipeline.lanes.values()) // CHANNELS
    return counters.accounted and entered == BLOCK * counters.steps + counters.cut_off + waiting


def blocks(records: Sequence[Record], sizes: Sequence[int]) -> list[Item]:
    """The samples of records in blocks of these sizes, again and again."""
    found: list[Item] = []
    start = turn = 0
    while start < len(records):
        piece = records[start : start + sizes[turn % len(sizes)]]
        flat = memoryview(array("f", [number for record in piece for number in record.x]))
        found.append(Block(flat, len(piece), piece[-1].place, piece[-1].end, 1.0))
        start, turn = start + len(piece), turn + 1
    return found


def test_a_step_is_that_of_its_samples_and_has_the_time_of_the_last() -> None:
    for handling in (SKIPPING, replace(SKIPPING, keyed=True), replace(SKIPPING, keyed=True, together=False)):
        found = made(handling)
        found.take(records(103))
        assert [list(result.outputs[0]) for result in found.results] == expected(103)
        assert [result.index for result in found.results] == list(range(25))
        assert [result.t for result in found.results] == list(range(3, 100, 4))
        assert balanced(found) and found.counters.processed == 103


def test_each_sensor_has_a_block_of_its_own() -> None:
    mixed = records(200, ["a", "b", "c"])
    for together in (True, False):
        many = made(replace(SKIPPING, keyed=True, together=together))
        many.take(mixed)
        for key, found in many.by_key().items():
            alone = made()
            alone.take([record._replace(key="") for record in mixed if record.key == key])
            assert found == alone.results
        assert balanced(many)


def test_frames_are_collected_by_sensor() -> None:
    rows = samples(60)
    framed, recorded = made(replace(SKIPPING, keyed=True)), made(replace(SKIPPING, keyed=True))
    framed.take([Frame(matrix(array("f", [n for x in rows[at : at + 3] for n in x]), 3)) for at in range(0, 60, 3)])
    recorded.take([Record(x, None, str(place % 3)) for place, x in enumerate(rows)])
    assert framed.by_key() == recorded.by_key()
    assert framed.counters.to_dict() == recorded.counters.to_dict()
    assert framed.counters.steps == 15


@given(sizes=st.lists(st.integers(1, BLOCK), min_size=1, max_size=5), before=st.integers(0, BLOCK - 1))
def test_samples_at_once_give_what_they_give_one_by_one(sizes: list[int], before: int) -> None:
    singly, at_once = made(), made()
    whole = records(50)
    singly.take(whole)
    items = [*whole[:before], *blocks(whole[before:], sizes)]
    assert sum(map(records_in, items)) == 50
    at_once.take(items)
    assert at_once.results == singly.results
    assert at_once.counters.to_dict() == singly.counters.to_dict()
    assert at_once.pipeline.lanes[""].saved()[3] == singly.pipeline.lanes[""].saved()[3]
    assert (at_once.pipeline.place, at_once.pipeline.end) == (singly.pipeline.place, singly.pipeline.end)


values = st.sampled_from([0.5, -1.25, 3.0, nan, inf])
items = st.lists(
    st.one_of(
        st.builds(
            Record, st.lists(values, min_size=3, max_size=3), st.none() | st.integers(0, 9), st.sampled_from("ab")
        ),
        st.builds(Control, st.just("reset"), st.sampled_from([None, "a"])),
    ),
    max_size=60,
)


@given(
    items=items,
    on_nan=st.sampled_from(["error", "hold", "zero", "skip", "reset"]),
    on_gap=st.sampled_from([None, "reset", "hold", "continue"]),
    reset_every=st.sampled_from([None, 2]),
)
def test_every_sample_is_accounted_for(
    items: list[Item], on_nan: str, on_gap: str | None, reset_every: int | None
) -> None:
    conditions = Conditions(on_nan, None if on_gap is None else 2, on_gap)
    for keyed in (False, True):
        found = made(Handling(conditions, keyed=keyed, skip_bad=True, reset_every=reset_every))
        found.take(items)
        assert balanced(found)
        found.pipeline.cut_off()
        assert balanced(found)
        assert not any(lane.block for lane in found.pipeline.lanes.values())


def test_a_gap_gives_up_what_came_before_it() -> None:
    found = made(Handling(Conditions(max_gap=1.5)))
    late = [record._replace(t=float(record.t) + 10) for record in records(12)]  # type: ignore[arg-type]  # a number
    found.take([*records(6), *late])
    alone = made()
    alone.take(late)
    assert begun(found.results[1:]) == alone.results
    assert (found.counters.cut_off, found.counters.gaps, found.counters.resets) == (2, 1, 1)


def test_a_gap_is_filled_with_samples() -> None:
    found = made(Handling(Conditions(max_gap=0.05, on_gap="hold")))
    held = [0.02 * at for at in (0, 1, 6, 7)]  # four samples are missing
    xs = samples(4)
    found.take([Record(x, t) for x, t in zip(xs, held, strict=True)])
    stream = model().stream()
    assert [list(result.outputs[0]) for result in found.results] == [
        stream.step([number for x in block for number in x])
        for block in ([xs[0], xs[1], xs[1], xs[1]], [xs[1], xs[1], xs[2], xs[3]])
    ]
    assert (found.counters.filled, found.counters.steps) == (4, 2)


def test_resets_after_steps_and_seconds_lie_between_two_steps() -> None:
    plain = made()
    plain.take(records(20))
    for handling in (replace(SKIPPING, reset_every=5), replace(SKIPPING, reset_every_seconds=0.4)):
        for keyed in (False, True):
            found = made(replace(handling, keyed=keyed))
            found.take(records(20) + records(20))
            assert begun(found.results) == plain.results * 2
            assert (found.counters.resets, found.counters.cut_off) == (1, 0)
        once = made(handling)
        once.take(blocks(records(18), [3]) + blocks(records(20)[18:] + records(20), [4]))  # cut elsewhere
        assert [result.outputs for result in once.results] == [result.outputs for result in plain.results * 2]


@given(cut=st.integers(0, 60), keyed=st.booleans())
def test_a_saved_session_goes_on(cut: int, keyed: bool) -> None:
    handling = Handling(Conditions("hold", 3.0), keyed=keyed, skip_bad=True)
    mixed = records(60, ["a", "b"] if keyed else [""])
    mixed[20] = mixed[20]._replace(x=[nan, 1.0, 1e9])
    whole, before, after = (made(handling) for _ in range(3))
    whole.take(mixed)
    before.take(mixed[:cut])
    before.pipeline.count_clipped()
    content = packed(before.pipeline.lanes.values(), before.counters.saved(), None)
    session = unpacked(content, len(model().stream().state))
    after.counters.restore(session.counters)
    after.pipeline.restore(session.lanes)
    after.take(mixed[cut:])
    assert before.results + after.results == whole.results
    for one in (whole, after):
        one.pipeline.count_clipped()
    assert after.counters.to_dict() == whole.counters.to_dict()
    assert balanced(after)


def test_a_session_without_blocks_is_of_an_earlier_version() -> None:
    before = Made()
    before.take(records(5))
    content = packed(before.pipeline.lanes.values(), None, None)
    length = int.from_bytes(content[:4], "little")
    described = json.loads(content[4 : 4 + length])
    for count, known in ((3, True), (4, True), (2, False)):
        described["lanes"] = [[*described["lanes"][0], []][:count]]
        text = json.dumps(described).encode()
        data = len(text).to_bytes(4, "little") + text + content[4 + length :]
        if known:
            assert unpacked(data, len(content) - 4 - length).lanes[0][4] == []
        else:
            with pytest.raises(StateError, match="the saved session is damaged"):
                unpacked(data, len(content) - 4 - length)


@pytest.mark.parametrize("block", [None, {}, [1, 2], [0] * 12, [1, 2, "3"], [1, 2, True], [1, 2, nan]])
def test_a_damaged_block_is_told(block: Any) -> None:
    found = made()
    lane = found.pipeline.lanes[""]
    state, (_, *saved) = lane.stream.state, lane.saved()
    with pytest.raises(StateError, match="the saved samples of a sensor that are too few for a step are damaged"):
        found.pipeline.restore([("", state, *saved[:2], block)])  # type: ignore[list-item]  # three of any kind
    found.pipeline.restore([("", state, *saved[:2], [1, 2.5, 3])])  # type: ignore[list-item]  # three of any kind
    assert found.pipeline.lanes[""].block == [1, 2.5, 3]


def test_reloading_keeps_a_block_of_the_same_model(tmp_path: Path) -> None:
    save_artifact(random_integers(BLOCKS, 0), tmp_path / "model.safetensors")
    whole, reloaded = made(), made()
    whole.take(records(60))
    reloaded.take(records(60)[:31])
    reloaded.pipeline.reload(load(tmp_path / "model.safetensors"), DECISION)
    reloaded.take(records(60)[31:])
    assert reloaded.results == whole.results
    reloaded.take(records(2))
    reloaded.pipeline.reload(model(1), DECISION)
    assert reloaded.counters.cut_off == 2
    alone = made(model=model(1))
    alone.take(records(30))
    assert reloaded.take(records(30)) == alone.results


def test_decisions_count_steps_and_their_times_are_those_of_steps() -> None:
    config = random_floats(BLOCKS, 0).config
    decision = DecisionConfig(threshold=0.5, minimum_on=0.24)  # 3 steps at 12.5 a second
    decisions = Decisions(config, decision)
    sure, unsure = ((1.0, 0.0, 0.0, 0.0),), ((0.25, 0.25, 0.25, 0.25),)
    switched = [[event.on for event in decisions.step(i, (), None, sure if i == 0 else unsure)] for i in range(5)]
    assert switched == [[True], [], [], [False], []]


def test_a_forecast_is_compared_with_the_last_sample() -> None:
    config = in_blocks(random_config(BLOCK * CHANNELS, output_size=3, head="identity"), BLOCK)
    forecast = OutputConfig("output", "forecast", ("c0+1", "c1+1", "c2+1"), horizon=1)
    decision = DecisionConfig(residual=ResidualConfig("output", (1.0, 1.0, 1.0)))
    artifact = random_floats(changed(config, outputs=(forecast,), decision=decision), 0)
    for as_blocks in (False, True):
        found = made(model=Model(artifact), decision=decision)
        found.take(blocks(records(8), [BLOCK]) if as_blocks else records(8))
        first, second = found.results
        residuals = [x - p for x, p in zip(samples(8)[7], first.outputs[0], strict=True)]
        assert first.score is None
        assert second.score == pytest.approx((sum(r * r for r in residuals) / 3) ** 0.5, rel=1e-6)


def test_whoever_looks_on_sees_the_last_sample_of_every_step() -> None:
    for as_blocks in (False, True):
        seen: list[Any] = []
        found = made(observe=lambda lane, sample, outputs, seen=seen: seen.append((sample.t, list(sample.x))))
        found.take(blocks(records(10), [BLOCK]) if as_blocks else records(10))
        assert seen == [(t, samples(10)[t]) for t in (3, 7)]


def test_a_step_that_fails_loses_none_of_the_samples_behind_it() -> None:
    """The one that completes a block is in it; the rest of the same item already waits for the next step."""

    def write(result: Result) -> None:
        raise OSError("the disk is full")

    failing = made()
    whole = records(20)
    failing.take(whole[:2])
    failing.pipeline._write = write  # as a full disk does
    with pytest.raises(OSError, match="is full"):
        failing.take(blocks(whole[2:], [3]))
    assert failing.pipeline.place == 5
    failing.pipeline._write = failing._keep
    failing.take(blocks(whole[5:], [3]))
    through = made()
    through.take(whole)
    assert failing.results == through.results[1:]
