"""Samples into the steps of a model that takes several at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgegru.data.recordings import LabelledSequence, side_by_side
from edgegru_runtime.errors import DataError


def blocks(x: NDArray[np.float32], samples_per_step: int) -> NDArray[np.float32]:
    """(T, channels) → (T // samples_per_step, samples_per_step · channels), the oldest sample of a block first.

    Samples behind the last whole block are left out, as a device would still wait for more.
    """
    steps = len(x) // samples_per_step
    return x[: steps * samples_per_step].reshape(steps, samples_per_step * x.shape[1])


def in_blocks(sequence: LabelledSequence, samples_per_step: int) -> LabelledSequence:
    """The sequence step by step. The target of a block is that of its last sample.

    Where only the last sample counts, only the last block does. Raises DataError for one shorter than a block.
    """
    if samples_per_step == 1:
        return sequence
    if len(sequence.x) < samples_per_step:
        raise DataError(
            f"recording {sequence.name!r} has {len(sequence.x)} samples, fewer than the {samples_per_step} of a step"
        )
    return side_by_side([_in_blocks(one, samples_per_step) for one in sequence.apart])


def _in_blocks(sequence: LabelledSequence, samples_per_step: int) -> LabelledSequence:
    x = blocks(sequence.x, samples_per_step)
    last = slice(samples_per_step - 1, None, samples_per_step)
    mask = sequence.mask[last]
    if sequence.mask[-1] and not sequence.mask[:-1].any():
        mask = np.arange(len(x)) == len(x) - 1
    return replace(sequence, x=x, target=sequence.target[last], mask=mask)
