"""Reader of the Free Spoken Digit Dataset (https://github.com/Jakobovski/free-spoken-digit-dataset).

Layout: ``recordings/{digit}_{speaker}_{index}.wav``, one spoken digit a file, at 8000 samples a second.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgegru.data.config import DataConfig
from edgegru.data.samples import SampleSet
from edgegru.data.wav_files import LabelledSound, read_sounds
from edgegru_runtime.errors import DataError

_FILE = re.compile(r"([0-9])_([^_]+)_[0-9]+\.wav")


def recording_files(path: Path) -> list[Path]:
    """The recordings of the folder or of ``recordings`` in it, in order of name."""
    folder = path / "recordings" if (path / "recordings").is_dir() else path
    return sorted(file for file in folder.glob("*.wav") if _FILE.fullmatch(file.name))


def read(path: Path, config: DataConfig) -> SampleSet:
    """All digits in a folder of this layout; the group is the speaker. Raises DataError."""
    files = recording_files(path)
    if not files:
        raise DataError(f"{path} has no files named like recordings/0_jackson_0.wav")
    return read_sounds(map(_sound, files), config)


def _sound(path: Path) -> LabelledSound:
    digit, speaker, _ = path.stem.split("_")
    return LabelledSound(path, name=path.stem, label=digit, group=speaker)
