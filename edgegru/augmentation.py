"""Random changes of training recordings, as sensors make them: gain, noise, tempo, a dead channel, a mount, a room.

Drawn from the generator given, a recording at a time, in the order of the sequences. Everything is in raw units, in
front of the standardisation, where it happens on a device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from edgegru.configuration import AugmentationConfig
from edgegru.data import Dataset, LabelledSequence
from edgegru.data.recordings import side_by_side
from edgegru.vocabulary import UNKNOWN_NUMBER
from edgegru_runtime.errors import ConfigError

CLEAN = 60.0  # dB over noise, from which on none is heard
EQUALIZER_POINTS = 5


def check_augmentation(config: AugmentationConfig, dataset: Dataset, front_end: bool) -> None:
    """Raise ConfigError for an augmentation that the data makes meaningless."""
    if dataset.tokenizer is not None:
        for item in fields(config):
            if getattr(config, item.name) and item.name != "token_dropout":
                raise ConfigError(f"augmentation.{item.name} changes numbers, but the data are text: use token_dropout")
    elif config.token_dropout:
        raise ConfigError("augmentation.token_dropout is for text, but the data are numbers")
    if config.rotation and len(dataset.channels) % 3:
        raise ConfigError(
            f"augmentation.rotation turns channels in triples (x, y, z), but there are {len(dataset.channels)} channels"
        )
    if config.silence and not dataset.rate:
        raise ConfigError("augmentation.silence is in seconds, but the rate is not known: expected data.rate in Hz")
    if config.band_gain and not front_end:
        raise ConfigError("augmentation.band_gain changes the bands of a front end, but front_end.kind is 'none'")
    if dataset.target == "forecast":  # its targets are the inputs of later steps, and would have to change alike
        for name in ("scale", "time_stretch", "rotation", "silence", "snr"):
            if getattr(config, name):
                raise ConfigError(f"augmentation.{name} changes what is to be predicted: use 0 with target 'forecast'")


def augment(
    sequences: Sequence[LabelledSequence],
    config: AugmentationConfig,
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    rate: float | None,
    generator: np.random.Generator,
) -> list[LabelledSequence]:
    """The sequences of one epoch. ``mean``, ``std``: (channels,) of the training part; ``rate``: samples a second."""
    return [_augment_one(sequence, config, mean, std, rate or 0.0, generator) for sequence in sequences]


def augment_features(
    sequences: Sequence[LabelledSequence], config: AugmentationConfig, generator: np.random.Generator
) -> list[LabelledSequence]:
    """Logarithms of energies (T, bands), as another room or microphone would have them: a gain that is smooth over the
    bands, through five points N(0, band_gain).
    """
    if not config.band_gain:
        return list(sequences)
    result = []
    for sequence in sequences:
        bands = sequence.x.shape[1]
        points = generator.normal(0.0, config.band_gain, EQUALIZER_POINTS)
        gain = np.interp(np.linspace(0.0, EQUALIZER_POINTS - 1, bands), np.arange(EQUALIZER_POINTS), points)
        result.append(replace(sequence, x=np.asarray(sequence.x + gain, np.float32)))
    return result


def _augment_one(
    sequence: LabelledSequence,
    config: AugmentationConfig,
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    rate: float,
    generator: np.random.Generator,
) -> LabelledSequence:
    if config.time_stretch:
        factor = 1.0 + config.time_stretch * generator.uniform(-1.0, 1.0)
        sequence = side_by_side([stretch(one, factor) for one in sequence.apart])
    x = sequence.x
    if config.token_dropout:
        x = np.where(generator.random(x.shape) < config.token_dropout, np.float32(UNKNOWN_NUMBER), x)
    if config.rotation:
        x = rotate(x, random_rotation(np.radians(config.rotation), generator))
    if config.snr:
        ratio = 10.0 ** (generator.uniform(config.snr, CLEAN) / 20.0)
        x = x + np.sqrt(np.mean(x**2, axis=0)) / ratio * generator.standard_normal(x.shape, np.float32)
    if config.scale:
        x = x * np.exp(generator.normal(0.0, config.scale, x.shape[1]))
    if config.noise:
        x = x + config.noise * std * generator.standard_normal(x.shape, np.float32)
    if config.channel_dropout:
        x = np.where(generator.random(x.shape[1]) < config.channel_dropout, mean, x)
    sequence = replace(sequence, x=np.asarray(x, np.float32))
    if config.silence:
        before, behind = (int(length) for length in generator.uniform(0.0, config.silence * rate, 2))
        sequence = side_by_side([surround(one, before, behind) for one in sequence.apart])
    return sequence


def surround(sequence: LabelledSequence, before: int, behind: int) -> LabelledSequence:
    """The sequence between zeros, so many steps, without target; where only the last step counts, it still does."""
    ends = (before, behind)
    wider = [ends, *[(0, 0)] * (sequence.x.ndim - 1)]
    target = np.pad(sequence.target, [ends, *[(0, 0)] * (sequence.target.ndim - 1)], mode="edge")
    mask = np.pad(sequence.mask, ends)
    if not sequence.mask[:-1].any():
        mask[:] = np.arange(len(mask)) == len(mask) - 1
        mask &= sequence.mask[-1]
    return replace(sequence, x=np.pad(sequence.x, wider), target=target, mask=mask)


def stretch(sequence: LabelledSequence, factor: float) -> LabelledSequence:
    """The same recording over ``factor`` times as many steps: x interpolated linearly, targets of the nearest step.

    Where only the last step counts, only the last one counts afterwards.
    """
    old = len(sequence.x)
    new = max(1, round(old * factor))
    times = np.linspace(0.0, old - 1, new) if new > 1 else np.array([old - 1.0])
    left = np.minimum(times.astype(np.int64), max(old - 2, 0))
    right = np.minimum(left + 1, old - 1)
    fraction = (times - left)[:, np.newaxis].astype(np.float32)
    x = sequence.x[left] * (1 - fraction) + sequence.x[right] * fraction
    nearest = np.minimum(np.rint(times).astype(np.int64), old - 1)
    mask = sequence.mask[nearest]
    if not sequence.mask[:-1].any():
        mask[:-1] = False
    return replace(sequence, x=x, target=sequence.target[nearest], mask=mask)


def random_rotation(largest: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """A rotation matrix (3, 3): any axis, uniformly; an angle uniform in [−largest, largest] radians (Rodrigues)."""
    axis = generator.standard_normal(3)
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = generator.uniform(-largest, largest)
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)


def rotate(x: NDArray[np.float32], rotation: NDArray[np.float64]) -> NDArray[np.float32]:
    """Each consecutive triple of channels turned alike, as when a device is worn another way: (T, 3·n)."""
    triples = x.reshape(len(x), -1, 3) @ rotation.T.astype(np.float32)
    return triples.reshape(x.shape)
