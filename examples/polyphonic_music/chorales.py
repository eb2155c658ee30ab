"""Chorales that are made up: four voices through a progression of chords, in the layout of the public sets.

They follow a few rules of harmony and nothing else. Whoever has no MATLAB files can run everything on them; they say
nothing about music.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat

PIECES = {"traindata": 120, "validdata": 15, "testdata": 15}
LOWEST, KEYS = 21, 88  # A0, and the keys of a piano
# Degrees of a major key → those that may follow; the chord of a degree is it, the third and the fifth above.
FOLLOWS = {0: (3, 4, 5, 1), 1: (4,), 3: (0, 4, 1), 4: (0, 0, 5), 5: (3, 1)}
SCALE = (0, 2, 4, 5, 7, 9, 11)
TONICS = (0, 2, 5, 7)  # C, D, F and G major
CHORD_FRAMES = 2
RANGES = ((60, 79), (55, 72), (48, 67), (40, 60))  # soprano to bass


def write_chorales(file: Path) -> Path:
    """The same in every run."""
    generator = np.random.default_rng(0)
    cells = {}
    for part, count in PIECES.items():
        cells[part] = np.empty((1, count), object)
        for index in range(count):
            cells[part][0, index] = chorale(generator)
    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, cells)
    return file


def chorale(generator: np.random.Generator) -> np.ndarray:
    """A piece: (frames, 88), 1 where a key sounds. Each voice goes the shortest way."""
    tonic, degree = int(generator.choice(TONICS)), 0
    voices = [int(generator.integers(low + 4, high - 3)) for low, high in RANGES]
    frames: list[list[int]] = []
    length = int(generator.integers(32, 49))
    while len(frames) < length or degree != 0:
        chord = [(tonic + SCALE[(degree + third) % 7]) % 12 for third in (0, 2, 4)]
        chords = [chord, chord, chord, chord[:1]]  # the bass has the root
        voices = [nearest(voice, *given) for voice, *given in zip(voices, chords, RANGES, strict=True)]
        frames += [voices] * CHORD_FRAMES
        degree = int(generator.choice(FOLLOWS[degree]))
    roll = np.zeros((len(frames), KEYS), np.uint8)
    for frame, keys in zip(roll, frames, strict=True):
        frame[[key - LOWEST for key in keys]] = 1
    return roll


def nearest(voice: int, chord: list[int], bounds: tuple[int, int]) -> int:
    """The key of a chord, given as classes of keys, that is nearest to where a voice is."""
    return min((key for key in range(*bounds) if key % 12 in chord), key=lambda key: (abs(key - voice), key))
