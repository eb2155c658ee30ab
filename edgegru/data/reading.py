"""From a path to clean recordings at one rate: which reader, then the rules that are the same for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from edgegru.data import (
    csv_files,
    fsdd,
    har_watch_phone,
    nab,
    npz_file,
    polymusic,
    speech_commands,
    ts_file,
    uci_har,
    wisdm,
)
from edgegru.data.cleaning import clean, ticks_per_second
from edgegru.data.config import DataConfig
from edgegru.data.recordings import RecordingSet
from edgegru.data.resampling import resample
from edgegru.data.samples import SampleSet
from edgegru_runtime.errors import ConfigError, DataError

READERS: dict[str, Callable[[Path, DataConfig], SampleSet]] = {
    "csv": csv_files.read,
    "csv-directory": csv_files.read,
    "npz": npz_file.read,
    "ts": ts_file.read,
    "har_watch_phone": har_watch_phone.read,
    "polymusic": polymusic.read,
    "fsdd": fsdd.read,
    "speech_commands": speech_commands.read,
    "uci_har": uci_har.read,
    "wisdm": wisdm.read,
    "nab": nab.read,
}
FOLDERS = ("csv-directory", "fsdd", "speech_commands", "uci_har")
SUFFIXES = {".csv": "csv", ".npz": "npz", ".ts": "ts", ".mat": "polymusic"}


def read_recordings(path: str | Path, config: DataConfig) -> RecordingSet:
    """All recordings of a file or folder, cleaned and, where they have timestamps, resampled to ``config.rate``.

    Raises DataError with file and line for recordings that cannot be read, ConfigError for options that the format
    does not have.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"no such file or folder: {path}")
    format_ = detect_format(path, config.device) if config.format == "auto" else config.format
    if format_ not in READERS:
        raise DataError(f"{path} is text in format {format_!r}, expected recordings of numbers")
    if (path.is_dir() and format_ in ("csv", "npz", "polymusic")) or (path.is_file() and format_ in FOLDERS):
        raise DataError(f"{path} is a {'folder' if path.is_dir() else 'file'}, format {format_!r} does not read it")
    _check_options(format_, config)
    found = READERS[format_](path, config)
    ticks = {"s": 1.0, "ms": 1000.0, "auto": ticks_per_second(found.samples, config.timestamp_unit, config.rate)}
    counts: Counter[str] = Counter(found.counts)
    recordings = []
    for samples in found.samples:
        recording = clean(samples, ticks[samples.time_unit], config, found.channels, counts)
        recordings.append(resample(recording, config.rate, config.wanted_targets[0]) if config.rate else recording)
    names = Counter(recording.name for recording in recordings)
    repeated = next((name for name, count in names.items() if count > 1), None)
    if repeated is not None:
        raise DataError(f"{path}: two recordings are named {repeated!r}")
    return RecordingSet(
        recordings=tuple(recordings),
        channels=found.channels,
        units=_units(config, found),
        rate=config.rate or found.rate,
        counts={what: count for what, count in counts.items() if count},
        labels=found.labels,
        targets=found.targets,
        target=found.target,
    )


def detect_format(path: Path, device: str) -> str:
    """The format of a file by its suffix, of a folder by the files in it. DataError where none fits."""
    if path.name == wisdm.FILE or (path / wisdm.FILE).is_file():
        return "wisdm"
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(f"{path}: cannot tell its format, expected a name ending in {', '.join(SUFFIXES)}")
        return SUFFIXES[path.suffix.lower()]
    if (path / "train" / uci_har.SIGNALS).is_dir():
        return "uci_har"
    if (path / nab.WINDOWS).is_file():
        return "nab"
    if har_watch_phone.recording_files(path, device):
        return "har_watch_phone"
    for format_, reader in (("fsdd", fsdd), ("speech_commands", speech_commands)):
        if reader.recording_files(path):
            return format_
    if any(path.glob("*.ts")):
        return "ts"
    if csv_files.csv_files(path):
        return "csv-directory"
    raise DataError(f"{path} has no recordings: neither .csv nor .ts files, nor .wav files of a known layout")


def _check_options(format_: str, config: DataConfig) -> None:
    """Refuse options that the format would ignore."""
    if not format_.startswith("csv"):
        for option in ("timestamp_column", "label_column", "recording_column", "group_column"):
            if getattr(config, option):
                raise ConfigError(f"data.{option} is for CSV files, the format here is {format_!r}")
    if format_ == "har_watch_phone" and config.timestamp_unit == "s":
        raise ConfigError("data.timestamp_unit is 's', har_watch_phone has milliseconds")
    if format_ in ("uci_har", "wisdm") and config.timestamp_unit != "auto":
        raise ConfigError(f"data.timestamp_unit is {config.timestamp_unit!r}, format {format_!r} has its own")


def _units(config: DataConfig, found: SampleSet) -> tuple[str, ...]:
    if not config.units:
        return found.units or ("",) * len(found.channels)
    if len(config.units) != len(found.channels):
        raise ConfigError(
            f"data.units has {len(config.units)} units, but there are {len(found.channels)} channels: "
            f"{', '.join(found.channels)}"
        )
    return config.units
