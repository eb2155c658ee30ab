"""What the network reads: recordings in the steps of the model, and where there is a front end its features of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgegru.configuration import TrainConfig
from edgegru.data import Dataset, LabelledSequence
from edgegru.data.blocks import in_blocks
from edgegru.data.preparation import scales
from edgegru.front_ends import LogMelFeatures, integer_tables, log_mel_tables
from edgegru_runtime.errors import ConfigError
from edgegru_runtime.log_mel import Tables
from edgegru_runtime.model_config import LogMelNode

Scales = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class FrontEnd:
    """The node in front of the standardisation; ``tables``: its float32 tensors, by name behind the dot."""

    node: LogMelNode
    tables: Tables

    @property
    def tensors(self) -> Tables:
        """The tensors by their whole names."""
        return {f"{self.node.name}.{name}": table for name, table in self.tables.items()}

    def features(self, integer: bool) -> LogMelFeatures:
        """What computes the features as float or as ``integer`` schemes do."""
        return LogMelFeatures(self.node, integer_tables(self.node, self.tables) if integer else self.tables)


class NetworkInput:
    """``mean``, ``std``: (I,) of what the network reads, over the training part as it was recorded. ``integer``:
    features are those of static schemes.

    Raises ConfigError where the front end does not fit the data, DataError for a recording shorter than a step.
    """

    def __init__(self, config: TrainConfig, dataset: Dataset, integer: bool = False) -> None:
        self.samples_per_step = config.data.samples_per_step
        self.front_end = front_end_of(config, dataset)
        self._features = None if self.front_end is None else self.front_end.features(integer)
        self.mean, self.std = self._scales(dataset)

    def sequence(self, sequence: LabelledSequence) -> LabelledSequence:
        """A sequence of samples (T, channels) as one of steps (T // samples_per_step, I)."""
        steps = in_blocks(sequence, self.samples_per_step)
        return steps if self._features is None else replace(steps, x=self._features(sequence.x[:, 0]))

    def sequences(self, sequences: Iterable[LabelledSequence]) -> list[LabelledSequence]:
        """The same of several."""
        return [self.sequence(sequence) for sequence in sequences]

    def _scales(self, dataset: Dataset) -> Scales:
        if self.front_end is None:  # the samples of a step have the scale of their channel
            return np.tile(dataset.mean, self.samples_per_step), np.tile(dataset.std, self.samples_per_step)
        features = self.front_end.features(integer=False)
        return scales([features(sequence.x[:, 0]) for sequence in dataset.train])


def front_end_of(config: TrainConfig, dataset: Dataset) -> FrontEnd | None:
    """What the configuration puts in front of the standardisation. Raises ConfigError where the data do not fit."""
    wanted, hop = config.front_end, config.data.samples_per_step
    if wanted.kind == "none":
        return None
    if dataset.tokenizer is not None:
        raise ConfigError(f"front_end.kind is {wanted.kind!r}, but the data are text: use none")
    if len(dataset.channels) != 1:
        found = f"front_end.kind is {wanted.kind!r}, but there are {len(dataset.channels)} channels"
        raise ConfigError(f"{found}: expected one, of sound")
    if not dataset.rate:
        raise ConfigError(f"front_end.kind is {wanted.kind!r}, but the rate is not known: expected data.rate in Hz")
    high = wanted.high or dataset.rate / 2
    if not wanted.low < high <= dataset.rate / 2:
        found = f"front_end.low is {wanted.low:g} Hz and front_end.high {high:g} Hz"
        raise ConfigError(f"{found}: expected low < high, and at most half the rate of {dataset.rate:g} Hz")
    if hop > wanted.frame_length:
        raise ConfigError(
            f"front_end.frame_length is {wanted.frame_length}, expected at least the {hop} of data.samples_per_step"
        )
    node = LogMelNode(
        "log_mel", ("x",), hop, wanted.bands, wanted.frame_length, wanted.fft_size, wanted.full_scale, wanted.floor
    )
    return FrontEnd(node, log_mel_tables(node, dataset.rate, wanted.low, high))
