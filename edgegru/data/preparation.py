"""From recordings to labelled sequences: for training by a DataConfig, for evaluation by what the model itself says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.data.blocks import blocks, in_blocks
from edgegru.data.config import CLASS_TARGETS, NUMERIC_TARGETS, VALUE_TARGETS, DataConfig
from edgegru.data.reading import read_recordings
from edgegru.data.recordings import Dataset, LabelledSequence, Recording, RecordingSet, side_by_side
from edgegru.data.splitting import Parts, split_recordings
from edgegru.data.targets import class_names, decide_targets, forecast_columns, forecast_labels, label_sequence
from edgegru.data.texts import FORMATS, read_in_tokens, text_format
from edgegru_runtime.errors import ArtifactError, ConfigError, DataError
from edgegru_runtime.model_config import NEXT_TOKEN, ModelConfig, OutputConfig

# The options a model keeps: what its nodes, input and outputs do not already say.
KEPT = (
    "device", "timestamp_column", "label_column", "recording_column", "group_column", "timestamp_unit", "missing",
    "history", "split", "validation_fraction", "test_fraction", "validation_groups", "test_groups",
)  # fmt: skip
PARTS = ("auto", "all", "train", "validation", "test")
SINGLE_OUTPUT = "output"  # the name of the only one
NO_SCALE = np.zeros(1, np.float32), np.ones(1, np.float32)  # of a token's number


def prepare(config: DataConfig, path: str | Path | None = None, seed: int = 0) -> Dataset:
    """Read (``path`` wins over ``config.path``), resample, label, split by ``seed``, measure scales.

    Raises DataError, and ConfigError for options that do not fit the data.
    """
    if path is None and not config.path:
        raise ConfigError("no data: give data.path in the configuration, or a path")
    path, tokenizer = Path(path if path is not None else config.path), None
    if is_text(path, config):
        recordings, tokenizer = read_in_tokens(path, config)
    else:
        recordings = read_recordings(path, config)
    targets = decide_targets(config, recordings)
    target = targets[0]
    if (target == NEXT_TOKEN) != (recordings.target == NEXT_TOKEN):
        raise ConfigError(f"data.target is {target!r}, expected {NEXT_TOKEN!r} of whole texts and of nothing else")
    outputs, columns = _outputs(config, recordings, targets)
    parts = _split(recordings, config, seed)
    train, validation, test = (
        tuple(_labelled(recording, outputs, columns, config.history) for recording in part) for part in parts
    )
    if not any(sequence.mask.any() for sequence in train):
        raise DataError("no step of the training part has a target")
    mean, std = scales([sequence.x for sequence in train]) if tokenizer is None else NO_SCALE
    target_mean = target_std = np.empty(0, np.float32)
    if target in VALUE_TARGETS:
        target_mean, target_std = scales([sequence.target[sequence.mask] for sequence in train])
    return Dataset(
        train=train,
        validation=validation,
        test=test,
        channels=recordings.channels,
        units=recordings.units,
        rate=recordings.rate,
        outputs=outputs,
        mean=mean,
        std=std,
        target_mean=target_mean,
        target_std=target_std,
        seed=seed,
        counts=recordings.counts,
        tokenizer=tokenizer,
    )


def is_text(path: Path, config: DataConfig) -> bool:
    """Whether a path has text, by the configured format or by its name."""
    return config.format in FORMATS or (config.format == "auto" and text_format(path) is not None)


def _split(recordings: RecordingSet, config: DataConfig, seed: int) -> Parts:
    if recordings.target == NEXT_TOKEN:  # a whole text has been cut by its fractions
        config = replace(config, validation_fraction=0.0, test_fraction=0.0)
    return split_recordings(recordings.recordings, config, seed)


def _labelled(
    recording: Recording, outputs: Sequence[OutputConfig], columns: Sequence[int], history: int
) -> LabelledSequence:
    """The sequence with what each output should say. ``columns``: the channels that a forecast predicts."""
    return side_by_side(
        [
            label_sequence(recording, output.target, output.labels, columns, output.horizon, history)
            for output in outputs
        ]
    )


def _outputs(
    config: DataConfig, recordings: RecordingSet, targets: Sequence[str]
) -> tuple[tuple[OutputConfig, ...], tuple[int, ...]]:
    """What a model says and, for a forecast, the numbers of the channels it predicts. Of several outputs each is called
    by its target.
    """
    if len(targets) > 1:
        return tuple(OutputConfig(target, target, class_names(recordings, target)) for target in targets), ()
    labels, units, columns = _names(config, recordings, targets[0])
    return (OutputConfig(SINGLE_OUTPUT, targets[0], labels, units, config.horizon),), columns


def _names(
    config: DataConfig, recordings: RecordingSet, target: str
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]:
    """Names and units of what an output gives and, for a forecast, the numbers of the channels."""
    columns: tuple[int, ...] = ()
    if target == NEXT_TOKEN:
        return (), (), ()
    if target in CLASS_TARGETS:
        return class_names(recordings, target), (), ()
    if target == "step_labels":
        return recordings.targets, (), ()
    if target == "forecast":
        names = forecast_columns(config, recordings.channels)
        columns = tuple(recordings.channels.index(name) for name in names)
        units = config.target_units or tuple(recordings.units[column] for column in columns)
    else:
        names = recordings.targets
        units = config.target_units or ("",) * len(names)
    if len(units) != len(names):
        raise ConfigError(f"data.target_units has {len(units)} units for {len(names)} targets: {', '.join(names)}")
    if target == "forecast":
        return forecast_labels(names, config.horizon), units * config.horizon, columns
    return names, units, columns


def scales(arrays: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each column over all rows of all arrays; 1 for a column that does not vary."""
    rows = np.concatenate(arrays).astype(np.float64)
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    # Below float32's resolution of the values themselves a spread is rounding, and below 1e-30 its inverse is no scale.
    floor = np.maximum(np.abs(rows).max(axis=0) * 1e-7, 1e-30)
    return mean.astype(np.float32), np.where(std < floor, 1.0, std).astype(np.float32)


def data_section(config: DataConfig, dataset: Dataset) -> dict[str, Any]:
    """What ``ModelConfig.data`` keeps so that ``labelled_sequences`` can read other folders of the same kind.

    The format and the options that differ from their defaults, as JSON values; never a path.
    """
    kept = (*KEPT, "target_columns") if dataset.target == "forecast" else KEPT
    options = {name: getattr(config, name) for name in kept if getattr(config, name) != getattr(DataConfig(), name)}
    options = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    if dataset.seed:
        options["seed"] = dataset.seed
    return {"format": config.format, "options": options}


def labelled_sequences(model_config: ModelConfig, path: str | Path, part: str = "auto") -> tuple[LabelledSequence, ...]:
    """Sequences for a trained model, in its steps, labels and channels numbered as the model numbers them.

    ``part``: "all"; "train", "validation" or "test" as ``prepare`` would split this path with the model's options;
    "auto": the official test part where the publisher made one, else all. Raises DataError, and ArtifactError where
    the model's own data section makes no sense.
    """
    if part not in PARTS:
        raise DataError(f"no part {part!r}, expected one of {', '.join(PARTS)}")
    config, seed = _config_of(model_config)
    output = model_config.outputs[0]
    recordings = _read_for(model_config, config, path)
    chosen: Sequence[Recording] = recordings.recordings
    if part == "auto":
        chosen = [recording for recording in chosen if recording.part == "test"] or chosen
    elif part != "all":
        chosen = getattr(_split(recordings, config, seed), part)
        if not chosen:
            raise DataError(f"{path} has no {part} part by the model's options for splitting")
    columns: tuple[int, ...] = ()
    if (output.target == NEXT_TOKEN) != (recordings.target == NEXT_TOKEN):
        found, expected = ("a whole text", "labels") if output.target != NEXT_TOKEN else ("labels", "a whole text")
        raise DataError(f"{path} has {found}, the model's target {output.target} needs {expected}")
    if output.target == "forecast":
        columns = tuple(map(recordings.channels.index, forecast_columns(config, recordings.channels)))
        if forecast_labels([recordings.channels[column] for column in columns], output.horizon) != output.labels:
            raise ArtifactError("the model's data section does not name the channels that its output predicts")
    elif output.target not in (*CLASS_TARGETS, NEXT_TOKEN) and recordings.targets != output.labels:
        raise DataError(
            f"{path} has the target values {', '.join(recordings.targets) or 'none'}, the model gives "
            f"{', '.join(output.labels)}"
        )
    return tuple(
        in_blocks(_labelled(recording, model_config.outputs, columns, config.history), config.samples_per_step)
        for recording in chosen
    )


def calibration_sequences(model_config: ModelConfig, path: str | Path) -> tuple[NDArray[np.float32], ...]:
    """Inputs alone, (T, step_size) each; labels and groups are not needed.

    The official training part where the publisher made one, else all recordings. Raises like ``labelled_sequences``.
    """
    config, _ = _config_of(model_config)
    target = config.target
    if model_config.input.tokenizer is None and target not in NUMERIC_TARGETS:
        target = "auto"  # numbers need no column, labels would
    config = replace(config, target=target, target_columns=(), horizon=0, label_column="", group_column="")
    recordings = _read_for(model_config, config, path).recordings
    train = [recording for recording in recordings if recording.part == "train"]
    return tuple(blocks(recording.x, config.samples_per_step) for recording in train or recordings)


def _read_for(model_config: ModelConfig, config: DataConfig, path: str | Path) -> RecordingSet:
    if model_config.input.tokenizer is not None:
        recordings, _ = read_in_tokens(Path(path), config, model_config.input.tokenizer)
    else:
        recordings = read_recordings(path, config)
    if recordings.channels != model_config.input.channels:
        raise DataError(
            f"{path} has the channels {', '.join(recordings.channels)}, the model reads "
            f"{', '.join(model_config.input.channels)}"
        )
    return recordings


def _config_of(model_config: ModelConfig) -> tuple[DataConfig, int]:
    """The DataConfig and seed that a model implies. ArtifactError where its data section makes no sense."""
    output, targets = model_config.outputs[0], tuple(output.target for output in model_config.outputs)
    if len(targets) > 1 and sorted(targets) != sorted(CLASS_TARGETS):
        found = f"the model has {len(targets)} outputs, of target {', '.join(targets)}"
        raise DataError(f"{found}; expected one, or {' and '.join(CLASS_TARGETS)}")
    options = model_config.data.get("options", {})
    if not isinstance(options, dict):
        raise ArtifactError("the model's data section has options that are no object")
    defaults = {field.name: field.default for field in fields(DataConfig)}
    values: dict[str, Any] = {"format": model_config.data.get("format", "auto")}
    seed = 0
    for name, value in options.items():
        if name == "seed":
            if type(value) is not int or value < 0:
                raise ArtifactError(f"the model's data section has seed {value!r}, expected a whole number")
            seed = value
        elif name not in (*KEPT, "target_columns") or not _fits(value, defaults[name]):
            raise ArtifactError(f"the model's data section has an invalid option {name!r}")
        else:
            values[name] = tuple(value) if isinstance(value, list) else value
    if output.target in NUMERIC_TARGETS:
        values["target_columns"] = output.labels
    try:
        return DataConfig(
            **values,
            channels=model_config.input.channels,
            rate=model_config.input.rate or 0.0,
            samples_per_step=model_config.input.samples_per_step,
            target=output.target if len(targets) == 1 else targets,
            horizon=output.horizon,
        ), seed
    except ConfigError as error:
        raise ArtifactError(f"the model's data section is invalid: {error}") from error


def _fits(value: object, default: object) -> bool:
    """Whether a JSON value has the type of an option whose default is ``default``."""
    if isinstance(default, tuple):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if isinstance(default, (int, float)):
        return isinstance(value, (int, type(default))) and not isinstance(value, bool)
    return isinstance(value, str)
