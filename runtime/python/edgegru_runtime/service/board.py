"""What the page and the metrics show: the main loop writes it down, the server's threads read it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from math import isfinite
from threading import Condition
from typing import Any, NamedTuple

from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Time
from edgegru_runtime.service.metrics import Snapshot

INTERVAL = 0.1  # seconds between two samples of a sensor that are shown, at least
MOST_PER_SECOND = 100  # samples of all sensors that are shown: many sensors share them
MOST_SENSORS = 1000  # that are shown; the metrics count all
_SAMPLES, _EVENTS = 6000, 200  # that are kept for whoever looks in later


class News(NamedTuple):
    """What happened on the board after ``upto`` of the News before."""

    upto: int
    model: dict[str, Any] | None  # where it is new: "name", "channels", "units", "rate", "outputs"
    samples: list[list[Any]]  # [sensor, seconds since 1970, t, x, outputs, labels that are on by output, score or None]
    events: list[dict[str, Any]]  # as they were given, with "at": seconds since 1970
    snapshot: Snapshot | None  # where it is new

    def __bool__(self) -> bool:
        return bool(self.model or self.samples or self.events or self.snapshot)


class Board:
    """The last minute of every sensor, the last events, and the counters; shared by threads.

    What is given is copied, and nothing waits for whoever looks.
    """

    def __init__(self, config: ModelConfig, name: str, snapshot: Snapshot) -> None:
        self._changed = Condition()
        self._number = 2  # of the last change
        self._model = (1, _described(config, name))
        self._snapshot = (2, snapshot)
        self._samples: deque[tuple[int, list[Any]]] = deque(maxlen=_SAMPLES)
        self._events: deque[tuple[int, dict[str, Any]]] = deque(maxlen=_EVENTS)
        self._next: dict[str, float] = {}  # when a sensor's next sample is shown
        self._seen: float | None = None  # when the last sample came, shown or not
        self._closed = False

    def model(self, config: ModelConfig, name: str) -> None:
        """Another model has been loaded; ``name`` is its file's."""
        with self._changed:
            self._number += 1
            self._model = (self._number, _described(config, name))
            self._samples.clear()  # its channels and outputs may be others
            self._changed.notify_all()

    def snapshot(self, snapshot: Snapshot) -> None:
        """The counters, as they are now."""
        with self._changed:
            self._number += 1
            self._snapshot = (self._number, snapshot)
            self._changed.notify_all()

    def sample(
        self,
        key: str,
        t: Time,
        x: Sequence[float],
        outputs: Sequence[Sequence[float]],
        on: Sequence[Sequence[str]],
        score: float | None = None,
    ) -> None:
        """A step of the sensor ``key``, as in ``Result``; most are left out, so that it may be called for each."""
        now = self._seen = time.monotonic()
        due = self._next.get(key, 0.0)
        if now < due or (due == 0.0 and len(self._next) >= MOST_SENSORS):
            return
        self._next[key] = now + max(INTERVAL, len(self._next) / MOST_PER_SECOND)
        labels = [list(switched_on) for switched_on in on]
        shown = [key, round(time.time(), 3), _plain(t), _short(x), list(map(_short, outputs)), labels, _plain(score)]
        with self._changed:
            self._number += 1
            self._samples.append((self._number, shown))
            self._changed.notify_all()

    def event(self, event: Mapping[str, Any]) -> None:
        """What happened, as JSON values: "event" ("on", "off", …), "key", "t", "label", "p", "output" (a node's name).

        What else there is in it is shown as it is. All events are shown.
        """
        with self._changed:
            self._number += 1
            self._events.append((self._number, {**_plain(event), "at": round(time.time(), 3)}))
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more will happen; who waits is woken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def latest(self) -> Snapshot:
        """The counters, and the time of the last sample if that is later."""
        snapshot, seen = self._snapshot[1], self._seen
        if seen is None or (snapshot.last_sample is not None and snapshot.last_sample >= seen):
            return snapshot
        return snapshot._replace(last_sample=seen)

    def news(self, after: int, timeout: float) -> News | None:
        """What has changed since ``News.upto`` (0: everything that is kept), waited for up to ``timeout`` seconds.

        None once the board is closed. Without a change, News without contents.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._number > after or self._closed, timeout)
            if self._closed:
                return None
            model, snapshot = self._model, self._snapshot
            samples, events = _newer(self._samples, after), _newer(self._events, after)
            upto = self._number
        return News(
            upto,
            model[1] if model[0] > after else None,
            samples,
            events,
            snapshot[1] if snapshot[0] > after else None,
        )


def _newer(kept: Iterable[tuple[int, Any]], after: int) -> list[Any]:
    found = [value for _, value in takewhile(lambda entry: entry[0] > after, reversed(kept))]  # type: ignore[call-overload]
    found.reverse()
    return found


def _described(config: ModelConfig, name: str) -> dict[str, Any]:
    outputs = [
        {
            "name": output.node,
            "kind": next(node.kind for node in config.nodes if node.name == output.node),
            "target": output.target,
            "labels": list(output.labels),
            "units": list(output.units),
            "horizon": output.horizon,
        }
        for output in config.outputs
    ]
    channels, units = list(config.input.channels), list(config.input.units)
    return {"name": name, "channels": channels, "units": units, "rate": config.input.rate, "outputs": outputs}


def _short(numbers: Sequence[float]) -> list[float | None]:
    """As many digits as a curve shows; None for what is not finite, which JSON cannot say."""
    return [float(f"{number:.6g}") if isfinite(number) else None for number in numbers]


def _plain(value: Any) -> Any:
    """``value``, copied, with None for what is not finite."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    return value
