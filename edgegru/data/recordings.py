"""The types that data passes through: recordings as read, labelled sequences, and a data set ready to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.model_config import NEXT_TOKEN, OutputConfig, TokenizerConfig

NO_CLASS = -1
Target = tuple[str, ...] | str | NDArray[np.float64] | None


@dataclass(frozen=True)
class Recording:
    """One recording of T samples.

    ``t``: (T,) seconds since the first sample, strictly increasing, or None where the file has no timestamps.
    ``x``: (T, channels) float32, finite. ``y``: a label a sample (tuple of T, "" = none), one label for all (str), a
    value a sample (T, K), values for all (K,), NaN = none, or None. ``group``: who must not be in two parts at once.
    ``part``: "train", "validation" or "test" where the publisher made an official split. ``label``: one for all, where
    the samples have others in ``y``.
    """

    name: str
    t: NDArray[np.float64] | None
    x: NDArray[np.float32]
    y: Target
    group: str
    part: str | None = None
    label: str = ""


@dataclass(frozen=True)
class RecordingSet:
    """The recordings of one file or folder; names are unique.

    ``rate``: Hz where resampled or declared, else None. ``counts``: what reading came across, e.g.
    {"equal timestamps": 12, "missing values": 3}. ``labels``: class names in the publisher's order, if declared.
    ``targets``: a name for each of the K values of a numeric ``y``. ``target``: the kind it is meant for, if declared.
    """

    recordings: tuple[Recording, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate: float | None
    counts: dict[str, int]
    labels: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    target: str = ""


@dataclass(frozen=True)
class LabelledSequence:
    """One recording with what a model should say at its steps.

    ``x``: (T, input_size) float32 in raw units, T samples, or blocks of them where a model takes several in a step.
    ``target``: (T,) int64 class numbers, or (T, K) float32: values in raw units, for "step_labels" 1 where a label
    holds and 0 where not. ``mask``: (T,) bool, the steps whose target counts: all that have one for step targets, the
    last for recording targets (whose target stands at every step), those with ``horizon`` steps after them for
    forecasts. For several outputs, all of classes, ``target`` is (T, outputs), NO_CLASS where a step does not count for
    one, and ``mask`` tells where it counts for any.
    """

    name: str
    group: str
    x: NDArray[np.float32]
    target: NDArray[np.int64] | NDArray[np.float32]
    mask: NDArray[np.bool_]

    @property
    def apart(self) -> tuple[LabelledSequence, ...]:
        """The sequence with the target and mask of each output alone."""
        if self.target.ndim == 1 or self.target.dtype != np.int64:
            return (self,)
        return tuple(replace(self, target=np.maximum(one, 0), mask=one != NO_CLASS) for one in self.target.T)


def side_by_side(sequences: Sequence[LabelledSequence]) -> LabelledSequence:
    """One sequence for all outputs out of one for each: the reverse of ``apart``."""
    if len(sequences) == 1:
        return sequences[0]
    target = np.stack([np.where(one.mask, one.target, NO_CLASS) for one in sequences], axis=1)
    return replace(sequences[0], target=target, mask=(target != NO_CLASS).any(axis=1))


@dataclass(frozen=True)
class Dataset:
    """Sequences in three parts that share no group, and what the training part says about scales.

    ``mean``, ``std``: (input_size,) float32 over the steps of ``train`` only; std is 1 for a constant channel.
    ``target_mean``, ``target_std``: (K,) alike for values, else empty. ``outputs``: what a model says, one thing or
    several classes at once. ``tokenizer``: of text, whose x (T, 1) are the numbers of tokens. ``seed``: what the split
    was drawn with.
    """

    train: tuple[LabelledSequence, ...]
    validation: tuple[LabelledSequence, ...]
    test: tuple[LabelledSequence, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate: float | None
    outputs: tuple[OutputConfig, ...]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    target_mean: NDArray[np.float32]
    target_std: NDArray[np.float32]
    seed: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    tokenizer: TokenizerConfig | None = None

    @property
    def target(self) -> str:
        """What the first output says, of several as of one: one of ``edgegru_runtime.model_config.TARGETS``."""
        return self.outputs[0].target

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each class, value or token of the first output."""
        return self.labels_of(self.outputs[0])

    def labels_of(self, output: OutputConfig) -> tuple[str, ...]:
        """A name for each class, value or token of an output; in a model file tokens name themselves."""
        if output.target != NEXT_TOKEN:
            return output.labels
        assert self.tokenizer is not None
        return self.tokenizer.tokens
