"""Recordings that need no download: the digits of a telephone keypad as tones, dialled on four noisy lines."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

RATE = 8000
ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477)  # Hz, ITU-T Q.23
KEYS = ["123", "456", "789", " 0 "]
LINES = ("north", "south", "east", "west")


def write_dialled(folder: Path, recordings: int = 8) -> Path:
    """So many recordings of every digit on every line, in the layout of the Free Spoken Digit Dataset."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for line, name in enumerate(LINES):
        for row, keys in enumerate(KEYS):
            for column, key in enumerate(keys):
                for index in range(recordings if key != " " else 0):
                    t = np.arange(int(generator.uniform(0.25, 0.5) * RATE)) / RATE
                    tones = sum(np.sin(2 * np.pi * f * t) for f in (ROWS[row], COLUMNS[column]))
                    sound = tones * generator.uniform(800, 4000) + (line + 1) * 200 * generator.standard_normal(len(t))
                    write_wav(folder / f"{key}_{name}_{index}.wav", sound)
    return folder


def write_wav(path: Path, sound: np.ndarray) -> None:
    """One channel of 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.clip(np.round(sound), -32768, 32767).astype("<i2").tobytes())
