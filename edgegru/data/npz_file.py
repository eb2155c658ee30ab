"""Reader of NPZ files: arrays ``x``, ``y`` and optionally ``lengths``, ``groups``; docs/data.md tells the shapes."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegru.data.config import NUMERIC_TARGETS, DataConfig
from edgegru.data.recordings import Target
from edgegru.data.samples import Samples, SampleSet, one_name_a_value
from edgegru_runtime.errors import DataError

ARRAYS = ("x", "y", "lengths", "groups")
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)
_Array = NDArray[np.generic]


def read(path: Path, config: DataConfig) -> SampleSet:
    """All recordings of an NPZ file. Nothing in it is unpickled. Raises DataError."""
    arrays = _load(path)
    x, lengths = _recording_lengths(path, arrays)
    groups = arrays.get("groups")
    if groups is not None and (groups.shape != lengths.shape or groups.dtype.kind not in "iuUS"):
        raise DataError(
            f"{path}: array 'groups' is {_kind(groups)}, expected a name or whole number for each of "
            f"{len(lengths)} recordings"
        )
    inputs = _rows(x, lengths, padded=x.ndim == 3)
    targets = _targets(path, arrays["y"], x, lengths, config) if "y" in arrays else [None] * len(lengths)
    names = [f"{path.stem}/{index + 1:04d}" for index in range(len(lengths))]
    samples = tuple(
        Samples(
            name=name,
            group=name if groups is None else _text(groups[index]),
            path=path,
            lines=None,
            t=None,
            x=inputs[index].astype(np.float64),
            y=targets[index],
        )
        for index, name in enumerate(names)
    )
    values = targets[0].shape[-1] if isinstance(targets[0], np.ndarray) else 0
    named = () if "forecast" in config.wanted_targets else config.target_columns  # a forecast's are channels
    return SampleSet(
        samples=samples,
        channels=one_name_a_value(config.channels, x.shape[-1], "channel", path),
        targets=one_name_a_value(named, values, "value", path) if values else (),
    )


def _load(path: Path) -> dict[str, _Array]:
    try:
        with path.open("rb") as file:
            if file.read(4) not in (b"PK\3\4", b"PK\5\6"):
                raise DataError(f"{path}: not an NPZ file, expected one with the arrays {', '.join(ARRAYS)}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                unknown = next((name for name in archive.files if name not in ARRAYS), None)
                if unknown is not None:
                    raise DataError(f"{path}: unknown array {unknown!r}, known are {', '.join(ARRAYS)}")
                arrays = {name: archive[name] for name in archive.files}
    except _UNREADABLE as error:
        reason = "object arrays are not read" if "pickle" in str(error) else "not an NPZ file, or damaged"
        raise DataError(f"{path}: {reason}") from error
    if "x" not in arrays:
        raise DataError(f"{path} has no array 'x'")
    return arrays


def _recording_lengths(path: Path, arrays: dict[str, _Array]) -> tuple[_Array, NDArray[np.int64]]:
    """x, and how many samples each recording has. x: (N, T, channels) padded or (samples of all, channels)."""
    x = arrays["x"]
    if x.ndim not in (2, 3) or x.dtype.kind not in "fiu" or 0 in x.shape:
        raise DataError(
            f"{path}: array 'x' is {_kind(x)}, expected numbers of shape (recordings, samples, channels) or "
            "(samples, channels)"
        )
    whole = np.full(len(x), x.shape[1]) if x.ndim == 3 else np.array([len(x)])
    lengths = arrays.get("lengths", whole)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise DataError(f"{path}: array 'lengths' is {_kind(lengths)}, expected a whole number for each recording")
    lengths = lengths.astype(np.int64)
    if lengths.min(initial=1) < 1:
        raise DataError(f"{path}: array 'lengths' has a recording of {lengths.min()} samples, expected 1 or more")
    if x.ndim == 3 and (len(lengths) != len(x) or lengths.max(initial=0) > x.shape[1]):
        raise DataError(f"{path}: array 'lengths' must be {len(x)} numbers up to {x.shape[1]} to fit 'x' {x.shape}")
    if x.ndim == 2 and lengths.sum() != len(x):
        raise DataError(f"{path}: array 'lengths' adds up to {lengths.sum()}, but 'x' has {len(x)} samples")
    return x, lengths


def _rows(array: _Array, lengths: NDArray[np.int64], padded: bool) -> list[_Array]:
    """The samples of each recording, cut from padded recordings or from all samples one after another."""
    if padded:
        return [row[:length] for row, length in zip(array, lengths, strict=True)]
    return np.split(array, np.cumsum(lengths)[:-1])


def _targets(path: Path, y: _Array, x: _Array, lengths: NDArray[np.int64], config: DataConfig) -> list[Target]:
    """Each recording's y: labels where the array has text or whole numbers, else values.

    The array's shape says whether they belong to samples or to recordings; where both fit, ``config.target`` does. It
    can also make whole numbers values, and those of step_labels.
    """
    labels = y.dtype.kind in ("US" if config.target in NUMERIC_TARGETS else "iuUSb")
    if not labels and y.dtype.kind not in "iufb":
        raise DataError(f"{path}: array 'y' is {_kind(y)}, expected labels or numbers")
    per_sample = y.shape == x.shape[:-1] or (not labels and y.shape[:-1] == x.shape[:-1])
    per_recording = y.shape == lengths.shape or (not labels and y.ndim == 2 and len(y) == len(lengths))
    if not per_sample and not per_recording:
        raise DataError(
            f"{path}: array 'y' is {_kind(y)}, expected an entry for each of {len(lengths)} recordings, or for each "
            f"sample as 'x' {x.shape} has them"
        )
    if per_sample and not (per_recording and all(target.startswith("recording") for target in config.wanted_targets)):
        rows = _rows(y, lengths, padded=x.ndim == 3)
        if labels:
            return [tuple(_text(label) for label in row) for row in rows]
        return [row.reshape(len(row), -1).astype(np.float64) for row in rows]
    if labels:
        return [_text(label) for label in y]
    return [np.atleast_1d(row).astype(np.float64) for row in y]


def _text(value: np.generic) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _kind(array: _Array) -> str:
    return f"{array.dtype} {array.shape}"
