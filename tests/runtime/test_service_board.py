"""What the board keeps and what it leaves out."""

from __future__ import annotations

import json
import math
import threading
from array import array
from typing import Any

import pytest

from edgegru_runtime.model_config import InputConfig
from edgegru_runtime.service import board as module
from edgegru_runtime.service.board import INTERVAL, MOST_PER_SECOND, MOST_SENSORS, Board, News
from edgegru_runtime.service.metrics import Snapshot, StepTimes
from tests.builders import changed, random_config

CONFIG = changed(random_config(2, (5,), 3), input=InputConfig(2, ("a", "b"), ("m/s²", ""), 50.0))


class Clock:
    """Time that stands still until it is set."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1.7e9 + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def snapshot(steps: int) -> Snapshot:
    return Snapshot(0.0, None, 1, {"steps": steps}, StepTimes())


def board() -> Board:
    return Board(CONFIG, "gait.safetensors", snapshot(0))


def news(board: Board, after: int = 0) -> News:
    found = board.news(after, 0)
    assert found is not None
    return found


def feed(board: Board, key: str = "", x: Any = (1.0, 2.0)) -> None:
    board.sample(key, None, x, ([0.1, 0.2, 0.7],), ((),))


def test_who_looks_in_late_sees_what_was(clock: Clock) -> None:
    shown = board()
    shown.sample("s", 0.25, [1.0, 2.0], ([0.1, 0.2, 0.7],), (("label2",),), 0.5)
    shown.event({"event": "on", "label": "label2", "p": 0.7})
    shown.snapshot(snapshot(9))
    found = news(shown)
    assert found.model is not None and found.model["name"] == "gait.safetensors"
    assert (found.model["channels"], found.model["units"], found.model["rate"]) == (["a", "b"], ["m/s²", ""], 50.0)
    (output,) = found.model["outputs"]
    assert output["kind"] == "softmax" and output["labels"] == list(CONFIG.outputs[0].labels)
    assert found.samples == [["s", 1.7e9 + 1000, 0.25, [1, 2], [[0.1, 0.2, 0.7]], [["label2"]], 0.5]]
    assert found.events == [{"event": "on", "label": "label2", "p": 0.7, "at": 1.7e9 + 1000}]
    assert found.snapshot is not None and found.snapshot.counters == {"steps": 9}
    again = news(shown, found.upto)
    assert not again and again.upto == found.upto


def test_only_what_is_new_is_news(clock: Clock) -> None:
    shown = board()
    feed(shown, x=(1.0, 1.0))
    first = news(shown)
    clock.now += 1
    feed(shown, x=(2.0, 2.0))
    second = news(shown, first.upto)
    assert [sample[3] for sample in second.samples] == [[2, 2]]
    assert second.model is None and second.snapshot is None and second.events == []
    shown.snapshot(snapshot(4))
    third = news(shown, second.upto)
    assert third.samples == [] and third.snapshot is not None and third.snapshot.counters == {"steps": 4}
    assert shown.latest.counters == {"steps": 4}


def test_the_last_sample_is_known_at_once(clock: Clock) -> None:
    shown = board()
    assert shown.latest.last_sample is None
    for step in range(3):
        clock.now = 1000 + step / 1000  # too fast to be shown
        feed(shown)
        assert shown.latest.last_sample == clock.now
    shown.snapshot(snapshot(3)._replace(last_sample=1001.0))
    assert shown.latest.last_sample == 1001.0 and shown.latest.counters == {"steps": 3}
    shown.snapshot(snapshot(3)._replace(last_sample=1.0))
    assert shown.latest.last_sample == clock.now


def test_a_fast_sensor_is_shown_ten_times_a_second(clock: Clock) -> None:
    shown = board()
    for step in range(1000):
        clock.now = 1000 + step / 1000
        feed(shown)
    assert 9 <= len(news(shown).samples) <= 1 / INTERVAL


def test_many_sensors_share_what_is_shown(clock: Clock) -> None:
    shown = board()
    seconds, sensors = 20, 300
    for tenth in range(10 * seconds):
        clock.now = 1000 + tenth / 10
        for key in range(sensors):
            feed(shown, str(key))
    samples = news(shown).samples
    assert len(samples) <= (seconds + 3) * MOST_PER_SECOND
    assert {sample[0] for sample in samples} == {str(key) for key in range(sensors)}


def test_memory_is_bounded(clock: Clock) -> None:
    shown = board()
    for key in range(2 * MOST_SENSORS):
        feed(shown, str(key))
    assert len(news(shown).samples) == MOST_SENSORS
    for step in range(20_000):
        clock.now += 100
        feed(shown, "0")
        shown.event({"event": "on", "i": step})
    found = news(shown)
    assert len(found.samples) == 6000 and len(found.events) == 200
    assert found.events[-1]["i"] == 19_999


def test_buffers_are_copied_and_everything_is_json(clock: Clock) -> None:
    shown = board()
    x = array("f", [math.nan, 0.1])
    shown.sample("", math.inf, x, (array("f", [math.inf, -math.inf, 0.3]),), ((),), math.nan)
    x[1] = 5.0
    shown.event({"event": "gap", "seconds": math.inf, "values": (1, math.nan)})
    found = news(shown)
    assert found.samples == [["", 1.7e9 + 1000, None, [None, 0.1], [[None, None, 0.3]], [[]], None]]
    assert found.events[0]["seconds"] is None and found.events[0]["values"] == [1, None]
    json.dumps([found.model, found.samples, found.events], allow_nan=False)


def test_another_model_clears_the_samples(clock: Clock) -> None:
    shown = board()
    feed(shown)
    shown.event({"event": "on"})
    before = news(shown)
    shown.model(changed(CONFIG, input=InputConfig(1, ("z",), ("",), None)), "other.onnx")
    after = news(shown, before.upto)
    assert after.model is not None and after.model["channels"] == ["z"] and after.model["rate"] is None
    assert after.samples == [] and len(news(shown).events) == 1


@pytest.mark.parametrize("change", ["sample", "event", "snapshot", "model", "close"])
def test_who_waits_is_woken(change: str) -> None:
    shown = board()
    upto = news(shown).upto
    found: list[News | None] = []
    waiting = threading.Thread(target=lambda: found.append(shown.news(upto, 30)))
    waiting.start()
    if change == "sample":
        feed(shown)
    elif change == "event":
        shown.event({})
    elif change == "snapshot":
        shown.snapshot(snapshot(1))
    elif change == "model":
        shown.model(CONFIG, "other")
    else:
        shown.close()
    waiting.join(20)
    assert not waiting.is_alive()
    assert (found == [None]) is (change == "close") and (change == "close" or found[0])
