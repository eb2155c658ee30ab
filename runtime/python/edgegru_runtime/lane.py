"""One sensor's way through a run: conditions, stream and decisions, with all that they remember."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from edgegru_runtime.conditioning import Conditioning
from edgegru_runtime.decisions import Decisions
from edgegru_runtime.errors import StateError
from edgegru_runtime.model_config import InputConfig
from edgegru_runtime.result import Event
from edgegru_runtime.stream import Stream


class Lane:
    """A sensor's stream and what stands before and behind it.

    ``index`` is the number of its next step, counted from the last reset; ``place`` where its stream stands among those
    that step together. ``block`` holds the numbers of samples that are still too few for a step.
    """

    __slots__ = (
        "block",
        "conditioning",
        "decide",
        "decisions",
        "index",
        "key",
        "left",
        "pending",
        "place",
        "step",
        "stream",
        "take",
    )

    def __init__(self, key: str, place: int, stream: Stream, conditioning: Conditioning, decisions: Decisions) -> None:
        self.key, self.place, self.pending = key, place, False
        self.block: list[float] | None = None  # None: none
        self.left: list[Event] = []  # that resets have caused and no result has told yet
        self.conditioning, self.take = conditioning, conditioning.take
        self.attach(stream, decisions)

    def attach(self, stream: Stream, decisions: Decisions) -> None:
        """Go on with another stream and other decisions, as a new model brings them."""
        self.stream, self.decisions, self.index = stream, decisions, stream.steps
        self.step: Callable[[Any], Any] = stream.step
        self.decide: Callable[..., Any] = decisions.step

    def add(self, xs: Sequence[float], size: int) -> Sequence[float] | None:
        """Add samples to the block, as numbers one behind another; the block where it is whole now, else None.

        A whole one has ``size`` numbers, and ``xs`` no more; what the block does not need begins the next one.
        """
        missing = size - len(self.block or ())
        if len(xs) == size == missing:
            return xs
        block = self.block or []
        block += xs[:missing]
        whole = len(block) == size
        self.block = list(xs[missing:]) if whole else block
        return block if whole else None

    def drop(self) -> int:
        """Begin another block, and return how many numbers were in the unfinished one."""
        dropped = len(self.block or ())
        self.block = None
        return dropped

    def reset(self) -> int:
        """Begin anew, and return how many values the stream had saturated.

        What is on is switched off, which the next step's events will say.
        """
        clipped = self.stream.clipped
        for output, labels in enumerate(self.decisions.on):
            self.left += [Event(False, label, 0.0, output) for label in labels]
        self.stream.reset()
        self.decisions.reset()
        self.index = 0
        return clipped

    def saved(self) -> list[Any]:
        """What is remembered besides the stream's state, for ``restore``."""
        return [self.key, self.conditioning.saved(), [self.decisions.saved(), self.left], self.block or []]

    def restore(
        self,
        input: InputConfig,
        state: bytes,
        conditioning: Any,
        decisions: Any,
        block: Any,
        warn: Callable[[str], None],
    ) -> None:
        """Continue as a lane that was saved. Raises StateError where the stream's state does not fit, or the block.

        Conditions or decisions of other settings begin anew, and ``warn`` is told.
        """
        self.stream.state = state
        self.index = self.stream.steps
        try:
            decisions, left = decisions
            self.left = [Event(*event) for event in left]
        except (TypeError, ValueError):
            raise StateError("the saved decisions of a sensor are damaged") from None
        if not _is_unfinished(block, input):
            raise StateError("the saved samples of a sensor that are too few for a step are damaged")
        self.block = block
        for part, value, what in (
            (self.conditioning, conditioning, "times and held values"),
            (self.decisions, decisions, "decisions"),
        ):
            try:
                part.restore(value)
            except StateError as error:
                warn(f"{what} begin anew: {error}")


def _is_unfinished(block: Any, input: InputConfig) -> bool:
    """Whether these are the numbers of whole samples, and too few for a step."""
    return (
        isinstance(block, list)
        and len(block) < input.step_size
        and len(block) % input.size == 0
        and all(type(number) in (int, float) and abs(number) < inf for number in block)
    )
