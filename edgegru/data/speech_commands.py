"""Reader of Speech Commands, versions 1 and 2 (Warden 2018, arXiv:1804.03209).

Layout: ``{word}/{speaker}_nohash_{n}.wav``, one spoken word a file; ``validation_list.txt`` and ``testing_list.txt``
name the files of these parts, all others are for training. ``_background_noise_`` has no words and is left out.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgegru.data.config import DataConfig
from edgegru.data.folders import files_below
from edgegru.data.samples import SampleSet
from edgegru.data.wav_files import LabelledSound, read_sounds
from edgegru_runtime.errors import DataError

LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_FILE = re.compile(r"([0-9a-z]+)_nohash_[0-9]+\.wav")


def recording_files(path: Path) -> list[Path]:
    """The recordings in the folders of words, in order of name."""
    return sorted(file for file in files_below(path) if file.parent.parent == path and _FILE.fullmatch(file.name))


def read(path: Path, config: DataConfig) -> SampleSet:
    """All words in a folder of this layout; the group is the speaker. Raises DataError."""
    files = recording_files(path)
    if not files:
        raise DataError(f"{path} has no files named like yes/0a7c2a8d_nohash_0.wav")
    parts = _parts(path)
    return read_sounds((_sound(file, parts) for file in files), config)


def _parts(path: Path) -> dict[str, str]:
    """The part of each file in the lists, by its name relative to the folder."""
    parts: dict[str, str] = {}
    for part, name in LISTS.items():
        try:
            listed = (path / name).read_text(encoding="ascii").split()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path / name} is no readable list of files: {error}") from error
        for file in listed:
            if parts.setdefault(file, part) != part:
                raise DataError(f"{file} is in {LISTS[parts[file]]} and in {name} of {path}")
    return parts


def _sound(path: Path, parts: dict[str, str]) -> LabelledSound:
    word = path.parent.name
    name = f"{word}/{path.name}"
    part = parts.get(name, "train") if parts else None
    return LabelledSound(path, name=f"{word}/{path.stem}", label=word, group=path.name.partition("_")[0], part=part)
