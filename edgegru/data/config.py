"""What the [data] section of a training configuration says: how recordings are read, labelled and split."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from edgegru_runtime.errors import ConfigError
from edgegru_runtime.model_config import TARGETS
from edgegru_runtime.tokenizer import KINDS, MAX_TOKENS
from edgegru_runtime.tokenizer import SPLITS as WORD_ENDS

CLASS_TARGETS = ("step_label", "recording_label")  # one of several classes
VALUE_TARGETS = ("step_value", "recording_value", "forecast")  # numbers that have a scale
NUMERIC_TARGETS = ("step_labels", "step_value", "recording_value")  # made of a recording's numeric y
FORMATS = (
    "csv-directory", "csv", "npz", "ts", "har_watch_phone", "polymusic", "fsdd", "speech_commands", "uci_har", "wisdm",
    "nab", "sst2", "snips", "text",
)  # fmt: skip
DEVICES = ("watch", "phone")
TIMESTAMP_UNITS = ("auto", "s", "ms")
MISSING_RULES = ("hold", "error")
SPLITS = ("auto", "official", "group", "none")
MAX_HORIZON = 10_000
MAX_SAMPLES_PER_STEP = 16_384


def _option(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class DataConfig:
    """How recordings become sequences; docs/data.md explains each rule. Every field has a default.

    Raises ConfigError for a value that no rule knows.
    """

    path: str = _option("", "the file or folder; --data wins over it")
    format: str = _option("auto", f"{', '.join(FORMATS)}; auto: by the path")
    device: str = _option("watch", "har_watch_phone: whose recordings, watch or phone")
    channels: tuple[str, ...] = _option(
        (), "columns to read, in order; []: all without another role; names for ts, npz"
    )
    units: tuple[str, ...] = _option((), "one a channel; []: unknown, or what the format says")
    timestamp_column: str = _option("", "CSV; empty: timestamp, time or t where present, with _s or _ms")
    label_column: str = _option("", "CSV; empty: label where present")
    recording_column: str = _option("", "CSV; empty: recording where present")
    group_column: str = _option("", "CSV; empty: group or subject where present")
    timestamp_unit: str = _option("auto", "s or ms; auto: by the column's name, or by the timestamps and rate")
    rate: float = _option(0.0, "resample to this many Hz; 0: as recorded")
    samples_per_step: int = _option(1, "samples that a step of the model takes together")
    missing: str = _option("hold", "missing values: hold the last one, or error")
    target: str | tuple[str, ...] = _option(
        "auto", f"{', '.join(TARGETS)}, or a list of classes; auto: by what the recordings have"
    )
    target_columns: tuple[str, ...] = _option(
        (), "columns of target values or of step_labels; forecast: channels to predict, []: all"
    )
    target_units: tuple[str, ...] = _option((), "one a target column; []: unknown, forecast: the channels' own")
    horizon: int = _option(0, "forecast: how many future steps to predict")
    history: int = _option(0, "samples at the start of each recording whose targets do not count")
    split: str = _option("auto", "official, group or none; auto: the first of them that is possible")
    validation_fraction: float = _option(0.2, "share of the groups")
    test_fraction: float = _option(0.0, "share of the groups")
    validation_groups: tuple[str, ...] = _option((), "groups by name, instead of a fraction")
    test_groups: tuple[str, ...] = _option((), "groups by name, instead of a fraction")
    tokenizer: str = _option("words", "of text: characters, words or pieces of words")
    vocabulary: int = _option(0, "tokens at most; 0: any number, of pieces single characters alone")
    minimum_count: int = _option(1, "how often a character or word occurs in the training part to be a token")
    lower: bool = _option(False, "text is lower-cased")
    word_end: str = _option("punctuation", "what ends a word: punctuation, or spaces alone")

    def __post_init__(self) -> None:
        choices = {
            "format": ("auto", *FORMATS),
            "device": DEVICES,
            "timestamp_unit": TIMESTAMP_UNITS,
            "missing": MISSING_RULES,
            "split": SPLITS,
            "tokenizer": KINDS,
            "word_end": WORD_ENDS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"data.{name} is {getattr(self, name)!r}, expected one of {', '.join(known)}")
        self._check_targets()
        if not (math.isfinite(self.rate) and self.rate >= 0):
            raise ConfigError(f"data.rate is {self.rate}, expected a number of Hz, or 0 for as recorded")
        if not 1 <= self.samples_per_step <= MAX_SAMPLES_PER_STEP:
            raise ConfigError(
                f"data.samples_per_step is {self.samples_per_step}, expected 1 to {MAX_SAMPLES_PER_STEP} samples"
            )
        if not 0 <= self.horizon <= MAX_HORIZON:
            raise ConfigError(f"data.horizon is {self.horizon}, expected 0 to {MAX_HORIZON} steps")
        for name, least in (("vocabulary", 0), ("minimum_count", 1)):
            if not least <= getattr(self, name) <= MAX_TOKENS:
                raise ConfigError(f"data.{name} is {getattr(self, name)}, expected {least} to {MAX_TOKENS}")
        if self.history < 0:
            raise ConfigError(f"data.history is {self.history}, expected 0 samples or more")
        for name in ("validation_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"data.{name} is {getattr(self, name)}, expected at least 0 and less than 1")
        if self.validation_fraction + self.test_fraction >= 1:
            raise ConfigError("data.validation_fraction and data.test_fraction together leave nothing to train on")
        for name in ("channels", "target_columns", "validation_groups", "test_groups"):
            values = getattr(self, name)
            repeated = next((value for value in values if values.count(value) > 1), None)
            if repeated is not None:
                raise ConfigError(f"data.{name} names {repeated!r} twice")
        both = set(self.validation_groups) & set(self.test_groups)
        if both:
            raise ConfigError(f"group {min(both)!r} is in data.validation_groups and in data.test_groups")

    def _check_targets(self) -> None:
        targets = self.wanted_targets
        if isinstance(self.target, str):
            if self.target not in ("auto", *TARGETS):
                known = ", ".join(("auto", *TARGETS))
                raise ConfigError(f"data.target is {self.target!r}, expected one of {known}, or a list of classes")
        elif len(targets) < 2 or len({*targets}) < len(targets) or not {*targets} <= {*CLASS_TARGETS}:
            expected = f"two of {', '.join(CLASS_TARGETS)}, or one name that is no list"
            raise ConfigError(f"data.target is {list(targets)}, expected {expected}")
        if (self.target == "forecast" and self.horizon == 0) or (self.horizon > 0 and targets != ("forecast",)):
            raise ConfigError(
                f"data.target is {self.target!r} with data.horizon {self.horizon}: "
                "a forecast needs a horizon of 1 or more, no other target has one"
            )
        if self.target_columns and {*targets} & {*CLASS_TARGETS}:
            raise ConfigError(
                f"data.target_columns are for numbers, but data.target is {self.target!r}: use label_column"
            )

    @property
    def wanted_targets(self) -> tuple[str, ...]:
        """``target``, one an output, with "auto" decided as far as the configuration alone can decide it."""
        if not isinstance(self.target, str):
            return self.target
        return ("forecast",) if self.horizon and self.target == "auto" else (self.target,)
