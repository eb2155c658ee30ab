"""What became of the records of a run, as numbers: every record is in exactly one of them."""

from __future__ import annotations

from edgegru_runtime.errors import StateError

FATES = (
    "processed",
    "held",
    "zeroed",
    "skipped",
    "dropped_late",
    "dropped_duplicate",
    "dropped_untimed",
    "dropped_overflow",
    "refused",
    "unfinished",
    "lost",
)
HAPPENINGS = (
    "steps",
    "resets",
    "gaps",
    "filled",
    "long_gaps",
    "clock_steps",
    "rate_mismatches",
    "clipped",
    "cut_off",
    "controls",
    "events",
    "results_dropped",
    "malformed",
)
NAMES = ("read", *FATES, *HAPPENINGS)
_USUAL = frozenset(("read", "processed", "steps", "controls", "events"))


class Counters:
    """Counts since a run began, plain integers to be added to. ``read`` is the sum of what became of the records.

    What becomes of a record: ``processed`` with its own values; ``held`` or ``zeroed`` with some of them replaced;
    ``skipped`` for a value that is no number; ``dropped_late``, ``dropped_duplicate`` and ``dropped_untimed`` for its
    time; ``dropped_overflow`` by a full queue; ``refused``: no record at all; ``unfinished``: the run was stopped
    before its turn; ``lost``: its step was lost by a crash, as the next run found.

    What happens: ``steps`` are taken; samples are ``filled`` in for those that are missing; ``gaps`` between times,
    ``long_gaps`` that are too long to fill, ``clock_steps``: the clock was set back, came or went; ``resets`` of the
    stream; ``rate_mismatches`` between input and model; ``clipped`` input values outside the calibrated range;
    ``cut_off``: samples that entered, but were too few for a step before a reset or the end; ``controls``: messages
    that steer the run; ``events``: labels switched on or off; ``results_dropped`` by a full buffer on their way out;
    ``malformed``: bytes of a text that were no UTF-8 and were replaced, counted as characters.
    """

    __slots__ = NAMES

    read: int
    processed: int
    held: int
    zeroed: int
    skipped: int
    dropped_late: int
    dropped_duplicate: int
    dropped_untimed: int
    dropped_overflow: int
    refused: int
    unfinished: int
    lost: int
    steps: int
    resets: int
    gaps: int
    filled: int
    long_gaps: int
    clock_steps: int
    rate_mismatches: int
    clipped: int
    cut_off: int
    controls: int
    events: int
    results_dropped: int
    malformed: int

    def __init__(self) -> None:
        for name in NAMES:
            setattr(self, name, 0)

    def count(self, fate: str) -> None:
        """Count what became of a record, by its name: one of ``FATES``."""
        setattr(self, fate, getattr(self, fate) + 1)

    def to_dict(self) -> dict[str, int]:
        """All counts by name, always in the same order: ``read``, what became of the records, what happened."""
        return {name: getattr(self, name) for name in NAMES}

    @property
    def accounted(self) -> bool:
        """Whether something became of every record that was read, as is true between two records."""
        return bool(self.read == sum(getattr(self, fate) for fate in FATES))

    @property
    def unusual(self) -> bool:
        """Whether anything is counted besides records processed, their steps and events, and messages obeyed."""
        return any(getattr(self, name) for name in NAMES if name not in _USUAL)

    def saved(self) -> dict[str, int]:
        """The counts as a value for JSON, for ``restore``."""
        return self.to_dict()

    def restore(self, value: object) -> None:
        """Take over saved counts; one that is not there is 0. Raises StateError, and changes nothing, for no counts."""
        if not isinstance(value, dict) or not value.keys() <= set(NAMES):
            raise StateError("the saved counters are not those of this version, expected counts by name")
        for name, count in value.items():
            if type(count) is not int or count < 0:
                raise StateError(f"the saved counter {name} is not a count, expected a whole number from 0")
        for name in NAMES:
            setattr(self, name, value.get(name, 0))
