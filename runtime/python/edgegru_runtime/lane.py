"""One sensor's way through a run: conditions, stream and decisions, with all that they remember."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgegru_runtime.conditioning import Conditioning
from edgegru_runtime.decisions import Decisions
from edgegru_runtime.errors import StateError
from edgegru_runtime.result import Event
from edgegru_runtime.stream import Stream


class Lane:
    """A sensor's stream and what stands before and behind it.

    ``index`` is the number of its next step, counted from the last reset; ``place`` where its stream stands among those
    that step together.
    """

    __slots__ = (
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
        self.left: list[Event] = []  # that resets have caused and no result has told yet
        self.conditioning, self.take = conditioning, conditioning.take
        self.attach(stream, decisions)

    def attach(self, stream: Stream, decisions: Decisions) -> None:
        """Go on with another stream and other decisions, as a new model brings them."""
        self.stream, self.decisions, self.index = stream, decisions, stream.steps
        self.step: Callable[[Any], Any] = stream.step
        self.decide: Callable[..., Any] = decisions.step

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
        return [self.key, self.conditioning.saved(), [self.decisions.saved(), self.left]]

    def restore(self, state: bytes, conditioning: Any, decisions: Any, warn: Callable[[str], None]) -> None:
        """Continue as a lane that was saved. Raises StateError where the stream's state does not fit.

        Conditions or decisions of other settings begin anew, and ``warn`` is told.
        """
        self.stream.state = state
        self.index = self.stream.steps
        try:
            decisions, left = decisions
            self.left = [Event(*event) for event in left]
        except (TypeError, ValueError):
            raise StateError("the saved decisions of a sensor are damaged") from None
        for part, value, what in (
            (self.conditioning, conditioning, "times and held values"),
            (self.decisions, decisions, "decisions"),
        ):
            try:
                part.restore(value)
            except StateError as error:
                warn(f"{what} begin anew: {error}")
