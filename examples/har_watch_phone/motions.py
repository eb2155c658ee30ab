"""Recordings that need no download: BasicMotions, a smartwatch's, which come with aeon; in this example's layout.

Four activities, forty recordings of ten seconds for each of two parts, ten samples a second. A made-up wearer does one
recording of every activity after the other.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np

from edgegru.data import DataConfig, read_recordings
from edgegru.data.har_watch_phone import UNITS

MILLISECONDS = 100  # from sample to sample


def write_motions(folder: Path) -> dict[str, Path]:
    """A folder of wearers for each part, "train" and "test"."""
    package = importlib.util.find_spec("aeon")
    if package is None or package.origin is None:
        sys.exit("without --data the recordings that come with aeon are needed: pip install aeon")
    source = Path(package.origin).parent / "datasets" / "data" / "BasicMotions"
    folders = {}
    for part in ("train", "test"):
        folders[part] = folder / part
        recordings = read_recordings(source / f"BasicMotions_{part.upper()}.ts", DataConfig(format="ts")).recordings
        activities: dict[str, list[np.ndarray]] = {}
        for recording in recordings:
            if recording.part == part:
                activities.setdefault(str(recording.y), []).append(recording.x)
        for index, motions in enumerate(zip(*activities.values(), strict=True), start=1):
            order = np.random.default_rng(index).permutation(len(motions))
            lines = [f"{','.join(UNITS)},timestamp,label"]
            for activity in order:
                for row in motions[activity].tolist():
                    time = MILLISECONDS * len(lines)
                    lines.append(f"{','.join(map(str, row))},{time},{list(activities)[activity].upper()}")
            file = folders[part] / f"s{index:02}" / f"s{index:02}_01_sw.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folders
