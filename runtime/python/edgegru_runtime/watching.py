"""Who looks on while a run goes: systemd, Prometheus, and people at the page (docs/service.md)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic

from edgegru_runtime.counters import Counters
from edgegru_runtime.lane import Lane
from edgegru_runtime.measurement import resident_memory
from edgegru_runtime.model import Model
from edgegru_runtime.pipeline import Pipeline
from edgegru_runtime.record import Record
from edgegru_runtime.result import Result
from edgegru_runtime.service.board import Board
from edgegru_runtime.service.metrics import MetricsFile, Snapshot, StepTimes
from edgegru_runtime.service.notify import Notifier

METRICS_EVERY = 10.0  # seconds between two versions of the metrics file
BOARD_EVERY = 1.0  # seconds between two updates of the counters on the page
STATUS_EVERY = 10.0  # seconds between two lines for `systemctl status`, at least


@dataclass(frozen=True)
class Watching:
    """What is shown, and where."""

    metrics_file: str | None = None
    serve: str | None = None  # the page's address
    stale_after: float = 10.0  # seconds without samples that /healthz complains about


class Watch:
    """Tells everyone how the run goes; ``observe`` and ``timed`` are for ``Pipeline``, None where nobody looks."""

    def __init__(
        self,
        watching: Watching,
        path: str,
        model: Model,
        counters: Counters,
        warn: Callable[[str], None],
        stack: ExitStack,
    ) -> None:
        self._path, self._model, self._counters = path, model, counters
        self._started = monotonic()
        self._last_sample: float | None = None
        self._times = StepTimes()
        self._switched_on: dict[str, int] = {}
        self._streams = 0
        self._notifier = Notifier.from_environment(warn)
        stack.callback(self._notifier.close)
        self._file = None if watching.metrics_file is None else MetricsFile(watching.metrics_file)
        self._file_due = self._started
        self._status_due = self._started
        self._board: Board | None = None
        self._board_due: float | None = None
        if watching.serve is not None:
            from edgegru_runtime.service.server import Server

            self._board = Board(model.config, os.path.basename(path), self._snapshot())
            server = Server(watching.serve, self._board, warn=warn, longest_silence=watching.stale_after)
            stack.callback(server.close)
            warn(f"the stream is shown on http://{server.address}/")
        self.observe = None if self._board is None else self._observe
        self.timed = self._times.add if self._file is not None or self._board is not None else None

    def ready(self) -> None:
        """The run is set up, or goes on after ``reloading``."""
        self._notifier.ready()

    def reloading(self) -> None:
        """The model is being read again."""
        self._notifier.reloading()

    def stopping(self) -> None:
        """The run ends."""
        self._notifier.stopping()

    def model(self, model: Model) -> None:
        """Another model goes on."""
        self._model = model
        if self._board is not None:
            self._board.model(model.config, os.path.basename(self._path))

    def arrived(self) -> None:
        """Records came and were processed."""
        self._last_sample = monotonic()
        self._notifier.sample()
        if self._board is not None and self._board_due is None:
            self._board_due = self._last_sample + BOARD_EVERY

    def switched(self, result: Result) -> None:
        """A result with events."""
        for event in result.events:
            if event.on:
                self._switched_on[event.label] = self._switched_on.get(event.label, 0) + 1
            if self._board is not None:
                output = self._model.config.outputs[event.output].node
                self._board.event(
                    {
                        "event": "on" if event.on else "off",
                        "key": result.key,
                        "t": result.t,
                        "label": event.label,
                        "p": event.p,
                        "output": output,
                    }
                )

    def due(self) -> float | None:
        """The ``monotonic`` time of the next ``keep_time`` that does something; None: none before the next record."""
        dues = (self._notifier.due(), self._board_due, None if self._file is None else self._file_due)
        return min((due for due in dues if due is not None), default=None)

    def keep_time(self, pipeline: Pipeline) -> None:
        """Do what is due. Raises EdgegruError where the metrics file cannot be written."""
        now = monotonic()
        self._notifier.beat(now)
        if self._last_sample is not None and now >= self._status_due:
            self._status_due = now + STATUS_EVERY
            self._notifier.status(f"{self._counters.steps} steps, {self._counters.events} events")
        board = self._board_due is not None and now >= self._board_due
        file = self._file is not None and now >= self._file_due
        if board or file:
            self.show(pipeline, file=file)

    def show(self, pipeline: Pipeline, *, file: bool = True) -> None:
        """Show the counters as they are now."""
        pipeline.count_clipped()
        self._streams = len(pipeline.lanes)
        now, snapshot = monotonic(), self._snapshot()
        if self._board is not None:
            self._board.snapshot(snapshot)
            self._board_due = None
        if self._file is not None and file:
            self._file.write(snapshot, now)
            self._file_due = now + METRICS_EVERY

    def _observe(self, lane: Lane, sample: Record, outputs: Sequence[Sequence[float]]) -> None:
        assert self._board is not None
        decisions = lane.decisions
        self._board.sample(lane.key, sample.t, sample.x, outputs, decisions.on, decisions.score)

    def _snapshot(self) -> Snapshot:
        config = self._model.config
        return Snapshot(
            started=self._started,
            last_sample=self._last_sample,
            streams=self._streams,
            counters=self._counters.to_dict(),
            step_times=self._times.copy(),
            switched_on=dict(self._switched_on),
            info={
                "model": os.path.basename(self._path),
                "identity": config.identity,
                "scheme": config.scheme,
                "engine": self._model.engine_name,
            },
            resident=resident_memory(),
        )
