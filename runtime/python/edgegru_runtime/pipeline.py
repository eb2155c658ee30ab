"""From records to results: every record is conditioned, steps its sensor's stream, and what that gives is decided on.

One sensor is stepped record by record. Of many sensors, records are gathered as long as each comes from another one,
and their streams step together.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from time import perf_counter_ns
from typing import Any

from edgegru_runtime.conditioning import Conditioning, Conditions
from edgegru_runtime.counters import Counters
from edgegru_runtime.decisions import Decisions
from edgegru_runtime.errors import InputError, StateError
from edgegru_runtime.lane import Lane
from edgegru_runtime.model import Model
from edgegru_runtime.model_config import DecisionConfig
from edgegru_runtime.record import Block, Control, Frame, Item, Mark, Record, Refusal, Word
from edgegru_runtime.result import Event, Result
from edgegru_runtime.stream import matrix

Write = Callable[[Result], None]
Observe = Callable[[Lane, Record, Sequence[Sequence[float]]], None]


@dataclass(frozen=True)
class Handling:
    """How records become results."""

    conditions: Conditions
    emit: str = "all"  # "all", "changes" (steps with an event) or "events"
    keyed: bool = False  # many sensors, told apart by ``Record.key`` or standing together in frames
    max_streams: int = 16384  # records of further sensors are refused
    skip_bad: bool | None = None  # what is no record is counted; else it ends the run; None: as the source says
    reset_every: int | None = None  # steps
    reset_every_seconds: float | None = None  # of steps at the model's rate
    together: bool = True  # sensors step together; else each record is finished before the next one
    timing: bool = False  # measure steps, and say how long each took


class Pipeline:
    """A model at work on the records of one or many sensors. ``name``: the input's, and ``unit``: what
    its places count, for errors.

    ``write`` takes every result that ``emit`` lets through; ``observe``, where it is given, every step; ``timed`` the
    seconds of a step, where steps are measured.
    """

    def __init__(
        self,
        model: Model,
        decision: DecisionConfig,
        handling: Handling,
        counters: Counters,
        *,
        name: str,
        unit: str,
        write: Write,
        warn: Callable[[str], None],
        dump: Callable[[], None],
        observe: Observe | None = None,
        timed: Callable[[float], None] | None = None,
    ) -> None:
        self.counters = counters
        self.lanes: dict[str, Lane] = {}
        self.end = self.place = 0  # how far the input was taken
        self._handling, self._name, self._unit = handling, name, unit
        self._write, self._warn, self._dump, self._observe, self._timed = write, warn, dump, observe, timed
        self._emit_all = handling.emit == "all"
        self._clipped = 0  # by streams before their resets
        self._gathered: list[tuple[Lane, Record, Sequence[float]]] = []  # the last: what the step takes
        self._reset_every = _reset_steps(handling, model.config.input.step_rate)
        self._channels, self._block_size = model.config.input.size, model.config.input.step_size
        self._in_blocks = model.config.input.samples_per_step > 1
        tokenizer = model.config.input.tokenizer
        self._tokens = None if tokenizer is None else tokenizer.tokens
        self._adopt(model, decision)
        self._plain = self._new_conditioning().trivial and self._reset_every is None and not self._in_blocks
        if not handling.keyed:
            self._lane("")

    def _adopt(self, model: Model, decision: DecisionConfig) -> None:
        self.model, self._decision = model, decision
        self._streams = model.streams(0) if self._handling.keyed else None

    def reload(self, model: Model, decision: DecisionConfig) -> None:
        """Go on with another model of the same channels; states are kept where its identity is the same."""
        same = model.config.identity == self.model.config.identity
        old = list(self.lanes.values())
        self._adopt(model, decision)
        for lane in old:
            stream, decisions = self._new_stream(), Decisions(model.config, decision)
            if same:
                stream.state = lane.stream.state
                try:
                    decisions.restore(lane.decisions.saved())
                except StateError as error:
                    self._warn(f"decisions begin anew: {error}")
            else:
                self._clipped += lane.stream.clipped
                self.counters.resets += 1
                self._drop(lane)
                lane.conditioning.forget()
            lane.attach(stream, decisions)

    def restore(self, lanes: Sequence[tuple[str, bytes, Any, Any, Any]]) -> None:
        """Continue with the sensors of a saved session.

        Raises StateError where a stream's state does not fit; all of them then begin anew.
        """
        if not self._handling.keyed and [key for key, *_ in lanes] != [""]:
            raise StateError(f"has the states of {len(lanes)} sensors by name, expected one of a single sensor")
        try:
            for key, state, conditioning, decisions, block in lanes:
                self._lane(key).restore(self.model.config.input, state, conditioning, decisions, block, self._warn)
        except StateError:
            self.lanes.clear()
            self._adopt(self.model, self._decision)
            if not self._handling.keyed:
                self._lane("")
            raise
        self._clipped = self.counters.clipped - sum(lane.stream.clipped for lane in self.lanes.values())

    def count_clipped(self) -> None:
        """Bring the counter of saturated values up to date."""
        self.counters.clipped = self._clipped + sum(lane.stream.clipped for lane in self.lanes.values())

    def cut_off(self) -> None:
        """No more samples come: those that wait for others to make a step with are given up, and counted."""
        for lane in self.lanes.values():
            self._drop(lane)

    def take(self, items: Sequence[Item]) -> None:
        """Everything that these items ask for. ``end`` and ``place`` are then behind the last one that was taken.

        Raises InputError for what is no record, unless that is skipped, and what steps and sinks raise. What was not
        reached is counted as unfinished.
        """
        remaining = iter(items)
        item = None
        try:
            if self._handling.keyed:
                for item in remaining:
                    self._take_keyed(item)
                self._step_together()
            else:
                lane = self.lanes[""]
                step = self._step if self._plain else self._take_conditioned
                for item in remaining:
                    if item.__class__ is Record:
                        step(lane, item)
                    else:
                        self._take_other(item)
        finally:
            if item is not None:
                self.place, self.end = item.place, item.end
            unfinished = sum(map(records_in, remaining))
            self.counters.read += sum(map(records_in, items))
            self.counters.unfinished += unfinished

    def _take_conditioned(self, lane: Lane, record: Record) -> None:
        reset, samples = self._conditioned(lane, record)
        if reset:
            self._reset(lane)
        for sample in samples:
            x = lane.add(sample.x, self._block_size) if self._in_blocks else sample.x
            if x is not None:
                self._advance(lane, sample, x)

    def _take_block(self, lane: Lane, block: Block) -> None:
        """Samples of which each one enters as it is."""
        self.counters.processed += block.samples
        x = lane.add(block.xs, self._block_size)
        if x is not None:
            begun = len(lane.block or ()) // self._channels  # of the next block
            self._advance(lane, block.sample(block.samples - 1 - begun), x)

    def _take_word(self, lane: Lane, word: Word) -> None:
        """The tokens of a word, one after another."""
        remaining = iter(word.records)
        step = self._step if self._plain else self._take_conditioned
        try:
            for record in remaining:
                step(lane, record)
        finally:
            self.counters.unfinished += len([*remaining])

    def _take_mark(self, lane: Lane, mark: Mark) -> None:
        """The end of a recording, with which every stream is expected to begin anew, is no reset that is counted."""
        if mark.what == "malformed":
            self.counters.malformed += 1
        else:
            self._clipped += lane.reset()
            lane.conditioning.forget()

    def _conditioned(self, lane: Lane, record: Record) -> tuple[bool, Iterable[Record]]:
        """Whether to reset the stream, and the samples to step it with: none for a record that is refused."""
        try:
            return lane.take(record)
        except InputError as error:
            self._refuse(record, error)
            return False, ()

    def _step(self, lane: Lane, record: Record) -> None:
        """A record that needs no conditions."""
        self.counters.processed += 1
        try:
            self._advance(lane, record, record.x)
        except InputError as error:
            self.counters.processed -= 1
            self._refuse(record, error)

    def _advance(self, lane: Lane, sample: Record, x: Sequence[float]) -> None:
        """One step of a single stream, with the numbers ``x`` of all that it takes; ``sample``: the last one."""
        index = lane.index
        if index == self._reset_every:
            self._begin_anew(lane)
            index = 0
        if self._timed is None:
            result = lane.step(x)
            step_us = None
        else:
            began = perf_counter_ns()
            result = lane.step(x)
            elapsed = perf_counter_ns() - began
            self._timed(elapsed * 1e-9)
            step_us = elapsed / 1e3
        lane.index = index + 1
        self._finish(lane, sample, index, result if result.__class__ is tuple else (result,), step_us)

    def _finish(
        self, lane: Lane, sample: Record, index: int, outputs: tuple[Sequence[float], ...], step_us: float | None
    ) -> None:
        """Decide on the outputs of a step and hand them on."""
        self.counters.steps += 1
        events = lane.decide(index, sample.x, sample.target, outputs)
        if lane.left:
            events, lane.left = [*lane.left, *events], []
        if self._observe is not None:
            self._observe(lane, sample, outputs)
        if events or self._emit_all:
            text = None
            if self._tokens is not None:  # the row that an embedding reads
                text = self._tokens[max(0, min(int(sample.x[0] + 0.5), len(self._tokens) - 1))]
            self._emit(lane, index, sample.t, outputs, events, step_us, text)

    def _emit(
        self,
        lane: Lane,
        index: int,
        t: Any,
        outputs: tuple[Sequence[float], ...],
        events: Sequence[Event],
        step_us: float | None,
        text: str | None = None,
    ) -> None:
        self.counters.events += len(events)
        decisions = lane.decisions
        shown = step_us if self._handling.timing else None
        self._write(Result(lane.key, index, t, outputs, decisions.on, events, decisions.score, shown, text))

    def _take_keyed(self, item: Item) -> None:
        if item.__class__ is Frame:
            self._take_frame(item)
            return
        if item.__class__ is not Record:
            self._step_together()
            self._take_other(item)
            return
        record = item
        lane = self.lanes.get(record.key)
        if lane is None:
            if len(self.lanes) >= self._handling.max_streams:
                self._refuse(record, f"stream {record.key!r} is one more than {self._handling.max_streams}")
                return
            lane = self._lane(record.key)
        if self._plain and isfinite(sum(record.x)):
            self.counters.processed += 1
            self._gather(lane, record)
            return
        reset, samples = self._conditioned(lane, record)
        if reset:
            self._step_together()
            self._reset(lane)
        for sample in samples:
            self._gather(lane, sample)

    def _gather(self, lane: Lane, sample: Record) -> None:
        x = lane.add(sample.x, self._block_size) if self._in_blocks else sample.x
        if x is None:
            return
        if lane.pending:
            self._step_together()
        if lane.index == self._reset_every:
            self._begin_anew(lane)
        lane.pending = True
        self._gathered.append((lane, sample, x))
        if not self._handling.together:
            self._step_together()

    def _step_together(self) -> None:
        """Step the streams that have a sample waiting."""
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        assert self._streams is not None
        flat = array("f")
        for lane, _, x in gathered:
            lane.pending = False
            flat.extend(x)
        began = perf_counter_ns()
        result = self._streams.step(matrix(flat, self.model.input_size), which=[lane.place for lane, _, _ in gathered])
        self._finish_together(gathered, result, perf_counter_ns() - began)

    def _finish_together(
        self, gathered: Sequence[tuple[Lane, Record, Sequence[float]]], result: Any, elapsed: int
    ) -> None:
        step_us = None
        if self._timed is not None:
            step_us = elapsed / 1e3 / len(gathered)
            self._timed(step_us * 1e-6)
        for (lane, sample, _), outputs in zip(gathered, self._by_stream(result), strict=True):
            index = lane.index
            lane.index = index + 1
            self._finish(lane, sample, index, outputs, step_us)

    def _take_frame(self, frame: Frame) -> None:
        """A sample of each sensor: where nothing has to be looked at first, all step in one call."""
        self._step_together()
        xs = frame.xs
        for place in range(len(self.lanes), len(xs)):
            self._lane(str(place))
        if self._plain and self._observe is None and len(self.lanes) == len(xs):
            try:
                began = perf_counter_ns()
                result = self._streams.step(xs)  # type: ignore[union-attr]  # a keyed pipeline has them
                elapsed = perf_counter_ns() - began
            except InputError:
                pass  # one of them is not finite: each by itself
            else:
                self.counters.processed += len(xs)
                self._finish_frame(result, elapsed)
                return
        rows: Sequence[Sequence[float]] = xs.tolist()  # type: ignore[assignment]  # it has two dimensions
        for place, x in enumerate(rows):
            self._take_keyed(Record(x, None, str(place), frame.place, frame.end))
        self._step_together()

    def _finish_frame(self, result: Any, elapsed: int) -> None:
        """As ``_finish_together``, of all sensors and with less to do for each."""
        step_us = None
        if self._timed is not None:
            step_us = elapsed / 1e3 / len(self.lanes)
            self._timed(step_us * 1e-6)
        self.counters.steps += len(self.lanes)
        emit_all = self._emit_all
        for lane, outputs in zip(self.lanes.values(), self._by_stream(result), strict=True):
            index = lane.index
            lane.index = index + 1
            events = lane.decide(index, None, None, outputs)
            if lane.left:
                events, lane.left = [*lane.left, *events], []
            if events or emit_all:
                self._emit(lane, index, None, outputs, events, step_us)

    def _by_stream(self, result: Any) -> Iterator[tuple[Sequence[float], ...]]:
        """The outputs of each stream, from rows of every output.

        Rows are made one by one of one list: thousands of lists that live at a time keep the garbage collector busy.
        """
        parts = result if isinstance(result, tuple) else (result,)
        flat = [iter(part.cast("B").cast("f").tolist()) for part in parts]
        rows = [
            zip(*[numbers] * size, strict=True) for numbers, size in zip(flat, self.model.output_sizes, strict=True)
        ]
        return zip(*rows, strict=True)

    def _take_other(self, item: Item) -> None:
        if isinstance(item, Block):
            self._take_block(self.lanes[""], item)
        elif isinstance(item, Word):
            self._take_word(self.lanes[""], item)
        elif isinstance(item, Mark):
            self._take_mark(self.lanes[""], item)
        elif isinstance(item, Refusal):
            self._refuse(item, item.reason)
        elif isinstance(item, Control):
            self.counters.controls += 1
            if item.action == "dump":
                self._dump()
                return
            for lane in self._lanes_called(item.key):
                self._reset(lane)
                lane.conditioning.forget()
        else:
            raise TypeError("a frame of several sensors came to a pipeline of one")

    def _lanes_called(self, key: str | None) -> Iterator[Lane]:
        if key is None or not self._handling.keyed:
            yield from self.lanes.values()
        elif (lane := self.lanes.get(key)) is not None:
            yield lane
        else:
            self._warn(f"a control message names stream {key!r}, which there is not")

    def _refuse(self, item: Item, reason: object) -> None:
        """Count what is no record; or end the run."""
        self.counters.refused += 1
        if not self._handling.skip_bad:
            self._step_together()  # what came before is not lost
            raise InputError(f"{self._name}, {self._unit} {item.place}: {reason}")

    def _drop(self, lane: Lane) -> None:
        self.counters.cut_off += lane.drop() // self._channels

    def _reset(self, lane: Lane) -> None:
        self._drop(lane)
        self._begin_anew(lane)

    def _begin_anew(self, lane: Lane) -> None:
        """Reset the stream, in between two steps."""
        self._clipped += lane.reset()
        self.counters.resets += 1

    def _lane(self, key: str) -> Lane:
        """The sensor of that name, new where there is none yet."""
        if key not in self.lanes:
            decisions = Decisions(self.model.config, self._decision)
            place = len(self.lanes)
            self.lanes[key] = Lane(key, place, self._new_stream(), self._new_conditioning(), decisions)
        return self.lanes[key]

    def _new_stream(self) -> Any:
        return self.model.stream() if self._streams is None else self._streams.add()

    def _new_conditioning(self) -> Conditioning:
        return Conditioning(self.model.config.input, self._handling.conditions, self.counters, self._warn)


def records_in(item: Item) -> int:
    """How many records an item stands for."""
    if item.__class__ is Record:
        return 1
    if isinstance(item, Block):
        return item.samples
    if isinstance(item, Word):
        return len(item.records)
    return len(item.xs) if isinstance(item, Frame) else int(not isinstance(item, (Control, Mark)))


def _reset_steps(handling: Handling, rate: float | None) -> int | None:
    if handling.reset_every_seconds is None:
        return handling.reset_every
    if rate is None:
        raise InputError("the model declares no rate, which resets by time need; expected a number of steps")
    return max(1, round(handling.reset_every_seconds * rate))
