"""A run: records from a source go through a model until the input ends or a signal asks to stop (docs/field.md)."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import ceil
from threading import Lock
from time import monotonic
from typing import Any, BinaryIO

from edgegru_runtime.conditioning import Conditions
from edgegru_runtime.counters import Counters
from edgegru_runtime.decisions import changed_decision, target_names
from edgegru_runtime.errors import EdgegruError, InputError, StateError
from edgegru_runtime.input_position import InputPosition
from edgegru_runtime.model import Model, load
from edgegru_runtime.model_config import DecisionConfig, InputConfig
from edgegru_runtime.pipeline import Handling, Pipeline, records_in
from edgegru_runtime.record import Item
from edgegru_runtime.recording import Recorder
from edgegru_runtime.replaced_file import replaced_file
from edgegru_runtime.result import Result
from edgegru_runtime.service.unit import Touched
from edgegru_runtime.session import Session, packed, unpacked
from edgegru_runtime.session_file import SessionFile, set_aside
from edgegru_runtime.signals import Signals, StoppedAtOnce
from edgegru_runtime.sinks.jsonl import JsonLines
from edgegru_runtime.sinks.opening import open_sink
from edgegru_runtime.sinks.sink import Sink
from edgegru_runtime.sources.opening import SourceOptions, format_of, open_source
from edgegru_runtime.sources.source import STEADY_FORMATS
from edgegru_runtime.standard_output import ReaderGone
from edgegru_runtime.watching import Watch, Watching

STANDARD_INPUT = "-"
DRAINING_SECONDS = 5.0  # for what has arrived where a signal stops the run
SYNCHRONISED_EVERY = 10.0  # seconds; between them a save is only in memory, which a power cut loses


@dataclass(frozen=True)
class Keeping:
    """Where and how often the state is saved; it always is at the end and where a run fails."""

    file: str | None = None
    every_steps: int | None = None  # records
    every_seconds: float | None = None


def run(
    model: str,
    input: str = STANDARD_INPUT,
    *,
    engine: str | None = None,
    source: SourceOptions | None = None,
    handling: Handling | None = None,
    decision: Mapping[str, Any] | None = None,
    keeping: Keeping | None = None,
    sinks: Sequence[str] = (),
    on_event: str | None = None,
    output: str | None = None,
    force: bool = False,
    record: str | None = None,
    watching: Watching | None = None,
    counters: bool = False,
) -> None:
    """Stream the records of ``input`` ("-": standard input; specs as in docs/sources.md) through the model.

    ``decision``: settings in place of the model's. ``sinks``: where results go (docs/sinks.md); none: JSON lines on
    standard output, or in the file ``output``, which appears once the input has ended well or a signal came, and
    replaces an existing one only with ``force``. ``on_event``: a command to run for each event. ``record``: a file that
    every record is appended to. ``counters``: print the counters at the end even where nothing was unusual.

    Raises ArtifactError, EngineError, InputError (with input and place), StateError (the engine cannot give its state),
    EdgegruError (a file that cannot be written). A state file that is torn or of another model is reported and renamed.
    """
    options = _Options(
        model, input, engine, source or SourceOptions(), handling or Handling(Conditions()), decision or {},
        keeping or Keeping(), tuple(sinks), on_event, output, force, record, watching or Watching(), counters,
    )  # fmt: skip
    with ExitStack() as stack:
        _Run(options, stack).stream()


def run_touches(
    input: str,
    sinks: Sequence[str],
    keeping: Keeping,
    watching: Watching,
    output: str | None,
    record: str | None,
    on_event: str | None,
    **others: object,
) -> Touched:
    """What a call of ``run`` with these parameters reaches for besides its model."""
    written = [path for path in (output, record, watching.metrics_file) if path is not None]
    return Touched(input, sinks, keeping.file, written, watching.serve, on_event is not None)


@dataclass(frozen=True)
class _Options:
    model: str
    input: str
    engine: str | None
    source: SourceOptions
    handling: Handling
    decision: Mapping[str, Any]
    keeping: Keeping
    sinks: tuple[str, ...]
    on_event: str | None
    output: str | None
    force: bool
    record: str | None
    watching: Watching
    counters: bool


class _Run:
    """What belongs to one call of ``run``; ``stack`` closes it."""

    def __init__(self, options: _Options, stack: ExitStack) -> None:
        self._options, self._stack = options, stack
        self.counters = Counters()
        self._model = load(options.model, options.engine)
        self._decision = changed_decision(self._model.config.decision, options.decision)
        _check_files(options)
        self._file = None if options.keeping.file is None else self._opened_session(options.keeping.file)
        one_by_one = options.keeping.every_steps == 1  # of what cannot be read again nothing is read ahead
        conditions, at_once = _looked_at(options, self._model.config.input)
        self._save_every = options.keeping.every_steps and max(1, options.keeping.every_steps // at_once)  # items
        self._source = open_source(
            options.input,
            self._model.config,
            replace(
                options.source,
                journal=self._file,
                samples_at_once=at_once,
                chunk=1 if one_by_one and not os.path.isfile(options.input) else options.source.chunk,
                targets=target_names(self._model.config, self._decision),
            ),
            _warn,
        )
        stack.callback(self._source.close)
        self._watch = Watch(options.watching, options.model, self._model, self.counters, _warn, stack)
        self._sinks: list[Sink] = []
        self._dropping = Lock()
        self._pipeline = Pipeline(
            self._model,
            self._decision,
            replace(
                options.handling,
                conditions=conditions,
                skip_bad=self._source.live if options.handling.skip_bad is None else options.handling.skip_bad,
                together=not one_by_one,
                keyed=self._source.keyed,
            ),
            self.counters,
            name=self._source.name,
            unit=self._source.unit,
            write=self._write,
            warn=_warn,
            dump=self._dump,
            observe=self._watch.observe,
            timed=self._watch.timed,
        )
        self._position = InputPosition(options.input) if self._source.resumable else None
        if self._position is not None:
            stack.callback(self._position.close)
        self._since_save, self._saved_at, self._synchronised_at = 0, monotonic(), monotonic()
        self._taken = 0  # records, since the state was zero
        self._output: BinaryIO | None = None

    def stream(self) -> None:
        """Until the input ends, or a signal asks to stop, or the reader of the results has gone."""
        options, stack = self._options, self._stack
        if self._file is not None:
            self._continue(self._file)
        if options.output is not None:
            self._output = stack.enter_context(replaced_file(options.output))
        self._open_sinks()
        stack.push(self._report)
        if self._file is not None:
            stack.callback(self._save, synchronised=True)  # also where a record is bad
        stack.callback(self._close_sinks)
        self._recorder: Recorder | None = None
        if options.record is not None:
            targets = target_names(self._model.config, self._decision)
            self._recorder = stack.enter_context(Recorder(options.record, targets, options.source.streams_by))
        with Signals() as signals:
            self._watch.ready()
            try:
                self._loop(signals)
            except StoppedAtOnce:
                pass
            except ReaderGone:
                return
            if signals.stop is not None:
                _warn(f"stopped by {signals.stop.name}")
            self._watch.stopping()

    def _loop(self, signals: Signals) -> None:
        waiting = _Waiting(signals.fileno())
        while signals.stop is None:
            timers = (self._source.due(), self._save_due(), self._watch.due())
            waiting.wait(self._source.fileno(), [due for due in timers if due is not None])
            signals.clear()
            items = self._source.read()
            if items is None:
                break
            self._count(items)
            if items:
                self._take(items)
            self._keep_time()
            if signals.reload:
                signals.reload = False
                self._reload()
            if signals.dump:
                signals.dump = False
                self._dump()

        if self._source.live and signals.stop is not None:
            self._drain()

    def _drain(self) -> None:
        """Process what sensors and peers have sent already; for a limited time, because they may go on sending."""
        deadline = monotonic() + DRAINING_SECONDS
        while monotonic() < deadline and (items := self._source.read()):
            self._count(items)
            self._take(items)

    def _count(self, items: Sequence[Item]) -> None:
        """Note what was taken in, before anything is made of it."""
        overflow = self._source.overflow()
        self.counters.dropped_overflow += overflow
        self.counters.read += overflow
        self._taken += sum(map(records_in, items)) + overflow
        if self._file is not None:
            self._file.count(self._taken)

    def _take(self, items: Sequence[Item]) -> None:
        """Process what arrived, and save as often as asked for."""
        if self._recorder is not None:
            self._recorder.write(items)
        if self._save_every is None:
            self._process(items)
        else:
            self._process_by(items, self._save_every)
        self._watch.arrived()

    def _process_by(self, items: Sequence[Item], every: int) -> None:
        """In parts, with a save behind each ``every`` items."""
        start = 0
        while start < len(items):
            end = min(len(items), start + every - self._since_save)
            try:
                self._process(items[start:end])
            except BaseException:
                rest = sum(map(records_in, items[end:]))
                self.counters.read += rest
                self.counters.unfinished += rest
                raise
            start = end
            if self._since_save >= every:
                self._save()

    def _process(self, items: Sequence[Item]) -> None:
        self._since_save += len(items)
        self._pipeline.take(items)

    def _keep_time(self) -> None:
        """What is due by the clock."""
        due = self._save_due()
        if due is not None and monotonic() >= due:
            self._save(synchronised=monotonic() - self._synchronised_at >= SYNCHRONISED_EVERY)
        self._watch.keep_time(self._pipeline)

    def _save_due(self) -> float | None:
        """When the state is to be saved, None where nothing came since it was."""
        if self._file is None or not self._since_save:
            return None
        keeping = self._options.keeping
        if keeping.every_seconds is not None:
            return self._saved_at + keeping.every_seconds
        return None if keeping.every_steps is None else self._synchronised_at + SYNCHRONISED_EVERY

    def _save(self, *, synchronised: bool = False) -> None:
        assert self._file is not None
        self._pipeline.count_clipped()
        position = None
        if self._position is not None:
            position = self._position.saved(self._pipeline.place, self._pipeline.end)
        content = packed(self._pipeline.lanes.values(), self.counters.saved(), position)
        self._file.count(self._taken)
        self._file.save(content, synchronised=synchronised)
        self._since_save, self._saved_at = 0, monotonic()
        if synchronised:
            self._synchronised_at = self._saved_at

    def _opened_session(self, path: str) -> SessionFile:
        """The state file; one that is torn or of another model is renamed and reported."""
        _ = self._model.stream().state  # an engine that cannot give it says so before anything is touched
        try:
            file = SessionFile(path, self._model.config.identity)
        except StateError as error:
            _warn(f"{error}; it is now {set_aside(path)}, and the state begins anew")
            file = SessionFile(path, self._model.config.identity)
        self._stack.callback(file.close)
        return file

    def _continue(self, file: SessionFile) -> None:
        """Go on with what the state file holds."""
        if file.content is not None:
            try:
                session = unpacked(file.content, len(self._model.stream().state))
                self._restore(session)
            except StateError as error:
                path, aside = self._options.keeping.file, file.set_aside(self._model.config.identity)
                _warn(f"{path}: {error}; it is now {aside}, and the state begins anew")
            else:
                self._find_position(session, file)
        self._save(synchronised=True)

    def _restore(self, session: Session) -> None:
        self.counters.restore(session.counters)
        try:
            self._pipeline.restore(session.lanes)
        except StateError:
            self.counters.restore({})
            raise
        self._taken = self.counters.read

    def _find_position(self, session: Session, file: SessionFile) -> None:
        """Read on from where the process before was; or say how much of a pipe is lost."""
        if session.input is None:
            lost = file.taken + file.in_flight - self.counters.read
            if lost > 0:
                self.counters.read += lost
                self.counters.lost += lost
                self._taken += lost
                _warn(f"{lost} records were taken in after the last save and are lost")
        elif self._position is not None:
            found = self._position.found(session.input)
            if found is None:
                _warn(f"{self._source.name}: is not the input that was read before; it is read from its beginning")
                return
            place, end = found
            self._source.resume(end, place)
            self._pipeline.place, self._pipeline.end = place, end
            _warn(f"{self._source.name}: continues behind {self._source.unit} {place}")

    def _open_sinks(self) -> None:
        options = self._options
        config, emit = self._model.config, options.handling.emit
        if self._output is not None:
            self._lines = JsonLines(config, self._decision, emit)
        specs = options.sinks or (() if self._output is not None else ("jsonl",))
        self._sinks = [
            open_sink(
                spec,
                config,
                self._decision,
                emit,
                _warn,
                self._dropped,
                time_unit=options.source.time_unit,
                keyed=self._source.keyed,
            )
            for spec in specs
        ]
        if options.on_event is not None:
            from edgegru_runtime.sinks.event_hook import EventHook

            self._sinks.append(EventHook(options.on_event, config, _warn, self._dropped))

    def _close_sinks(self) -> None:
        for sink in self._sinks:
            sink.close()

    def _write(self, result: Result) -> None:
        if result.events:
            self._watch.switched(result)
        try:
            if self._output is not None:
                self._output.write(self._lines.lines(result).encode())
            for sink in self._sinks:
                sink.write(result)
        except (OSError, EdgegruError):  # the step was taken, and is not taken again
            self._dropped(1)
            raise

    def _dropped(self, count: int) -> None:
        with self._dropping:  # a connection's thread calls it, too
            self.counters.results_dropped += count

    def _reload(self) -> None:
        """Go on with the model file as it is now; one that does not do leaves the old model running."""
        self._watch.reloading()
        try:
            model = load(self._options.model, self._options.engine)
            decision = changed_decision(model.config.decision, self._options.decision)
            if model.config.input != self._model.config.input:
                raise InputError(f"{self._options.model}: has another input, which needs a new start")
            if target_names(model.config, decision) != target_names(self._model.config, self._decision):
                raise InputError(f"{self._options.model}: needs other columns, which needs a new start")
            if self._file is not None:
                _ = model.stream().state
        except EdgegruError as error:
            _warn(f"the model is not reloaded: {error}")
            self._watch.ready()
            return
        self._adopt(model, decision)
        self._watch.ready()

    def _adopt(self, model: Model, decision: DecisionConfig) -> None:
        same = model.config.identity == self._model.config.identity
        shown = (model.config.outputs, decision) != (self._model.config.outputs, self._decision)
        self._pipeline.reload(model, decision)
        self._model, self._decision = model, decision
        if shown or not same:
            self._close_sinks()
            self._open_sinks()
        self._watch.model(model)
        if self._file is not None and not same:
            _warn(f"the state of the model before is now {self._file.set_aside(model.config.identity)}")
        if self._file is not None:
            self._save(synchronised=True)
        _warn("the model is reloaded" if same else "the model is reloaded: it is another one, its state begins anew")

    def _dump(self) -> None:
        self._pipeline.count_clipped()
        _warn(json.dumps(self.counters.to_dict()))

    def _report(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Show the counters at the end; a run that fails says why, and nothing else unless it was asked to."""
        if self._file is None:
            self._pipeline.cut_off()
        self._watch.show(self._pipeline)
        if self._options.counters or (error is None and self.counters.unusual):
            self._dump()


class _Waiting:
    """Waits for an input, a signal or a time."""

    def __init__(self, signals: int) -> None:
        self._poll = select.poll()
        self._poll.register(signals, select.POLLIN)
        self._input: int | None = None

    def wait(self, input: int | None, dues: Sequence[float]) -> None:
        """Until ``input`` can be read, a signal came, or the first of ``dues`` (as of ``monotonic``)."""
        if input != self._input:
            if self._input is not None:
                self._poll.unregister(self._input)
            if input is not None:
                self._poll.register(input, select.POLLIN)
            self._input = input
        timeout = None if not dues else ceil(1000 * max(0.0, min(dues) - monotonic()))  # milliseconds, never too early
        self._poll.poll(timeout)


def _looked_at(options: _Options, input: InputConfig) -> tuple[Conditions, int]:
    """What is to be looked at in the records, and how many samples nobody looks at one by one.

    Where a step takes many samples, those of sound and the like enter all at once: there can be thousands a second.
    """
    conditions, source = options.handling.conditions, options.source
    if input.samples_per_step == 1 or format_of(options.input, source.format) not in STEADY_FORMATS:
        return conditions, 1
    conditions = conditions.at_steady_rate(input.rate)
    singly = source.stamp or options.record is not None or options.keeping.every_steps == 1
    return conditions, input.samples_per_step if conditions.trivial and not singly else 1


def _check_files(options: _Options) -> None:
    output, state = options.output, options.keeping.file
    if output is not None and state is not None and os.path.realpath(output) == os.path.realpath(state):
        raise EdgegruError(f"{output}: is to hold the results and the state, expected two files")
    if output is not None and os.path.lexists(output) and not options.force:
        raise EdgegruError(f"{output}: exists, expected a new name or --force")


def _warn(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
