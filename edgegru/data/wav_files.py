"""Sound in WAV files: 16-bit samples of one channel, as the standard library's ``wave`` reads them."""

from __future__ import annotations

import os
import wave
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegru.data.config import DataConfig
from edgegru.data.samples import Samples, SampleSet
from edgegru_runtime.errors import DataError

CHANNEL = "sound"


@dataclass(frozen=True)
class LabelledSound:
    """A WAV file that is one recording: what its name says about it."""

    path: Path
    name: str
    label: str
    group: str
    part: str | None = None


def read_sounds(sounds: Iterable[LabelledSound], config: DataConfig) -> SampleSet:
    """Every file as a recording of the channel "sound", its samples the numbers of 16 bits that the file has.

    All files have one rate, which the set declares; there is at least one file. Raises DataError for files of different
    rates, and where ``config`` asks for another channel or rate: sound is not resampled.
    """
    samples: list[Samples] = []
    first, rate = Path(), 0
    for sound in sounds:
        unknown = next((name for name in config.channels if name != CHANNEL), None)
        if unknown is not None:
            raise DataError(f"{sound.path}: no channel {unknown!r}, the channel is {CHANNEL!r}")
        numbers, own_rate = read_wav(sound.path)
        if not samples:
            first, rate = sound.path, own_rate
        if own_rate != rate:
            raise DataError(f"{sound.path} has {own_rate} samples a second, {first} has {rate}: expected one rate")
        if config.rate not in (0, rate):
            raise DataError(f"{sound.path} has {rate} samples a second, but data.rate is {config.rate:g}")
        samples.append(
            Samples(
                name=sound.name,
                group=sound.group,
                path=sound.path,
                lines=None,
                t=None,
                x=numbers.astype(np.float64)[:, np.newaxis],
                y=sound.label,
                part=sound.part,
            )
        )
    return SampleSet(tuple(samples), (CHANNEL,), rate=float(rate))


def read_wav(path: Path) -> tuple[NDArray[np.int16], int]:
    """The samples (T,) of a file and how many make a second. DataError unless they are 16-bit PCM of one channel."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            with wave.open(file) as sound:
                channels, width, rate, count = sound.getparams()[:4]
                if (channels, width) != (1, 2):
                    raise DataError(f"{path} has {channels} channels of {8 * width} bits, expected 1 of 16 bits")
                # What the header promises is compared before memory is asked for.
                data = sound.readframes(count) if count * width <= size else b""
    except (OSError, EOFError, RuntimeError, wave.Error) as error:
        raise DataError(f"{path} is no readable WAV file of PCM samples: {str(error) or 'it is cut off'}") from error
    if len(data) != count * width:
        raise DataError(f"{path} is cut off, its header promises {count} samples")
    if not count or not rate:
        raise DataError(f"{path} has {count} samples at {rate} a second, expected sound")
    return np.frombuffer(data, "<i2").astype(np.int16), rate
