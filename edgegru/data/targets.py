"""What a model should say at each step of a recording."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.data.config import CLASS_TARGETS, DataConfig
from edgegru.data.recordings import LabelledSequence, Recording, RecordingSet, Target
from edgegru_runtime.errors import DataError
from edgegru_runtime.model_config import NEXT_TOKEN

_TargetAndMask = tuple[NDArray[np.int64] | NDArray[np.float32], NDArray[np.bool_]]


def decide_targets(config: DataConfig, recordings: RecordingSet) -> tuple[str, ...]:
    """The kinds of target, one an output: as configured, or from what the recordings have. DataError where they have
    nothing.
    """
    if config.wanted_targets != ("auto",):
        return config.wanted_targets
    if any(recording.label for recording in recordings.recordings):
        return CLASS_TARGETS
    return (_target_of(config, recordings),)


def _target_of(config: DataConfig, recordings: RecordingSet) -> str:
    if recordings.target == NEXT_TOKEN:
        return NEXT_TOKEN
    y = next((recording.y for recording in recordings.recordings if recording.y is not None), None)
    if y is None:
        raise DataError(
            "the recordings have no labels and no target values: name label_column or target_columns, "
            "or set horizon to predict their next values"
        )
    if isinstance(y, (str, tuple)):
        if config.target_columns:
            raise DataError(f"the recordings have labels, not values for target_columns {config.target_columns}")
        return "recording_label" if isinstance(y, str) else "step_label"
    if recordings.target:
        return recordings.target
    return "step_value" if y.ndim == 2 else "recording_value"


def forecast_columns(config: DataConfig, channels: Sequence[str]) -> tuple[str, ...]:
    """The channels a forecast predicts. DataError where one does not exist."""
    unknown = next((name for name in config.target_columns if name not in channels), None)
    if unknown is not None:
        raise DataError(f"target column {unknown!r} is no channel, the channels are {', '.join(channels)}")
    return config.target_columns or tuple(channels)


def forecast_labels(columns: Sequence[str], horizon: int) -> tuple[str, ...]:
    """Names of the outputs of a forecast, step by step: a+1, b+1, a+2, b+2, …"""
    return tuple(f"{column}+{step}" for step in range(1, horizon + 1) for column in columns)


def class_names(recordings: RecordingSet, target: str) -> tuple[str, ...]:
    """The classes of a target: as the publisher lists them, else all that occur, whole numbers by size, text by
    alphabet.

    Raises DataError for fewer than two.
    """
    names = set[str]()
    for recording in recordings.recordings:
        y = _labels(recording, target)
        if isinstance(y, (str, tuple)):
            names.update((y,) if isinstance(y, str) else y)
    names.discard("")
    if len(names) < 2:
        raise DataError(f"the recordings have {len(names)} classes {sorted(names)}, expected at least two")
    if recordings.labels:
        return recordings.labels
    numbers = all(re.fullmatch("-?[0-9]{1,18}", name) for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numbers else 0, name)))


def label_sequence(
    recording: Recording,
    target: str,
    labels: Sequence[str],
    columns: Sequence[int] = (),
    horizon: int = 0,
    history: int = 0,
) -> LabelledSequence:
    """A recording with its targets. Raises DataError where it has none of that kind, or a class not in ``labels``.

    ``labels``: the classes, or the names of the values. ``columns``, ``horizon``: for "forecast", which channels to
    predict and how many steps of them. ``history``: the first so many samples count for nothing.
    """
    if target == "forecast":
        values, mask = _forecast(recording.x, columns, horizon)
    elif target == NEXT_TOKEN:
        values, mask = _next_tokens(recording.x)
    elif target in CLASS_TARGETS:
        values, mask = _classes(recording, target, labels)
    else:
        values, mask = _values(recording, target)
        if target == "step_labels":
            _check_labels(recording, values, labels)
    if history:
        mask = mask & (np.arange(len(mask)) >= history)
    return LabelledSequence(recording.name, recording.group, recording.x, values, mask)


def _forecast(x: NDArray[np.float32], columns: Sequence[int], horizon: int) -> _TargetAndMask:
    """Target at step t: the columns at t+1, then at t+2, …: (T, horizon · columns). It counts where all exist."""
    length = len(x)
    target = np.zeros((length, horizon, len(columns)), np.float32)
    for step in range(1, min(horizon, length) + 1):
        target[: length - step, step - 1] = x[step:, columns]
    return target.reshape(length, -1), np.arange(length) < length - horizon


def _next_tokens(x: NDArray[np.float32]) -> _TargetAndMask:
    """Target at step t: the token at t+1, (T,); the last step has none."""
    numbers = x[:, 0].astype(np.int64)
    return np.append(numbers[1:], 0), np.arange(len(x)) < len(x) - 1


def _labels(recording: Recording, target: str) -> Target:
    """What says the class: of a whole recording its own label, where its samples have others."""
    return recording.label or recording.y if target == "recording_label" else recording.y


def _classes(recording: Recording, target: str, labels: Sequence[str]) -> _TargetAndMask:
    """Class numbers (T,). A label of a whole recording is that of every step; unlabelled steps do not count."""
    y = _labels(recording, target)
    if not isinstance(y, (str, tuple)):
        raise DataError(f"recording {recording.name!r} has no labels, but the target is {target}")
    length = len(recording.x)
    names = set((y,) if isinstance(y, str) else y) - {""}
    if target == "recording_label" and len(names) > 1:
        raise DataError(
            f"recording {recording.name!r} has the labels {', '.join(sorted(names))}, "
            "target 'recording_label' needs one for all its samples"
        )
    unknown = names - set(labels)
    if unknown:
        raise DataError(
            f"recording {recording.name!r} has the label {min(unknown)!r}, expected one of {', '.join(labels)}"
        )
    numbers = {label: number for number, label in enumerate(labels)} | {"": -1}
    steps = y if target == "step_label" and isinstance(y, tuple) else (max(names, default=""),) * length
    classes = np.fromiter((numbers[label] for label in steps), np.int64, length)
    mask = classes >= 0
    if target == "recording_label":
        mask[:-1] = False
    return np.maximum(classes, 0), mask


def _values(recording: Recording, target: str) -> _TargetAndMask:
    """Values (T, K). Those of a whole recording are those of every step; steps that lack one do not count."""
    y = recording.y
    if not isinstance(y, np.ndarray):
        raise DataError(f"recording {recording.name!r} has no target values, but the target is {target}")
    length = len(recording.x)
    if target == "recording_value" and y.ndim == 2:
        if not (y == y[0]).all():
            raise DataError(
                f"recording {recording.name!r} has several target values, "
                "target 'recording_value' needs one for all its samples"
            )
        y = y[0]
    values = np.broadcast_to(y, (length, y.shape[-1]))
    mask = ~np.isnan(values).any(axis=1)
    if target == "recording_value":
        mask[:-1] = False
    with np.errstate(over="ignore"):
        narrow = np.where(np.isnan(values), 0, values).astype(np.float32)
    if not np.isfinite(narrow).all():
        raise DataError(f"recording {recording.name!r} has a target value beyond the range of float32")
    return narrow, mask


def _check_labels(recording: Recording, values: NDArray[Any], labels: Sequence[str]) -> None:
    """Raise DataError unless every number says that a label holds or does not."""
    wrong = np.argwhere((values != 0) & (values != 1))
    if wrong.size:
        step, column = wrong[0]
        raise DataError(
            f"recording {recording.name!r} has {values[step, column]:g} for the label {labels[column]!r} at step "
            f"{step}, target 'step_labels' needs 0 or 1"
        )
