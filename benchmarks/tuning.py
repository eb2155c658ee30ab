"""Train a spotter for one spoken word, tune its decisions on a speaker it never heard, and report on another one.

    EDGEGRU_DATA=FOLDER python benchmarks/tuning.py -o benchmarks/results/tuning.json --plot docs/tuning.png

FOLDER holds ``fsdd/recordings``, the Free Spoken Digit Dataset: words of single speakers, here in random order with
pauses between them, one long recording a speaker. Jackson and Theo train, Lucas tunes, Yweweler tests. The model is
the int8 one.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgegru
from edgegru.configuration import NetworkConfig, TrainConfig, TrainingConfig
from edgegru.data import DataConfig

WORD, LABEL, BACKGROUND = 7, "seven", "none"
PARTS = {"train": ("jackson", "theo"), "validation": ("lucas",), "test": ("yweweler",)}
RATE = 8000  # samples per second
HOP = 160  # samples between frames: 50 frames per second
BANDS = 16
PAUSE = (0.3, 2.0)  # seconds between words
NOISE = 0.003  # of full scale
PIECE = 1500  # frames of a recording to train on
LIMIT = 10.0  # false alarms an hour
TOLERANCE = 0.3  # seconds behind a word
CONFIG = TrainConfig(
    data=DataConfig(rate=RATE / HOP, target="step_label"),
    model=NetworkConfig(hidden_size=24),
    training=TrainingConfig(epochs=12, lanes=16, bptt_steps=100, learning_rate=0.01, patience=12),
)

Signal = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    parser.add_argument("--plot", type=Path, help="PNG file to write")
    arguments = parser.parse_args()
    clips = Path(os.environ["EDGEGRU_DATA"]) / "fsdd" / "recordings"
    with tempfile.TemporaryDirectory() as name:
        result = measure(clips, Path(name), arguments.plot)
    print("\n".join(result["text"]))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


def measure(clips: Path, folder: Path, plot: Path | None) -> dict[str, Any]:
    """Train, quantize and tune; what tuning reported, and how long it took."""
    data = folder / "data"
    for part, speakers in PARTS.items():
        for number, speaker in enumerate(speakers):
            write_recording(data / part, speaker, *conversation(clips, speaker, number), cut=part == "train")
    trained = edgegru.train(CONFIG, data=data, output=folder / "trained")
    model, tuned = folder / "seven.safetensors", folder / "seven-tuned.safetensors"
    edgegru.quantize(trained, data, model)
    began = time.monotonic()
    report = edgegru.tune(
        model, data, tuned, tolerance=TOLERANCE, max_false_alarms_per_hour=LIMIT, plot=plot, force=True
    )
    seconds = time.monotonic() - began
    text = str(report).replace(str(folder) + os.sep, "")
    found = report.to_dict() | {"file": model.name, "output": tuned.name, "text": text.splitlines()}
    return {"edgegru": edgegru.__version__, "seconds": round(seconds, 1), **found}


def conversation(clips: Path, speaker: str, seed: int) -> tuple[Signal, NDArray[np.bool_]]:
    """All words of a speaker once, in random order, with pauses: log energies (frames, BANDS), and where the word is.

    That is its second half: before, nobody can know.
    """
    rng = np.random.default_rng(seed)
    sound, said = [], []
    for file in rng.permutation(sorted(clips.glob(f"*_{speaker}_*.wav"))):
        with wave.open(str(file)) as recording:
            samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2").astype(np.float64)
        word = samples / np.abs(samples).max() * 10 ** rng.uniform(-0.7, 0)
        pause = int(rng.uniform(*PAUSE) * RATE)
        is_word = np.zeros(pause + len(word), bool)
        is_word[pause + len(word) // 2 :] = file.name.startswith(f"{WORD}_")
        sound += [np.zeros(pause), word]
        said.append(is_word)
    signal = np.concatenate(sound)
    signal += rng.normal(0, NOISE, len(signal))
    windows = np.lib.stride_tricks.sliding_window_view(signal, 2 * HOP)[::HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(2 * HOP))) ** 2
    frequency = np.arange(power.shape[1]) * RATE / (2 * HOP)
    mel = np.log1p(frequency / 700) / np.log1p(RATE / 2 / 700) * (BANDS + 1)
    energies = power @ np.maximum(0, 1 - np.abs(mel[:, None] - np.arange(1, BANDS + 1)))
    last = np.arange(len(windows)) * HOP + 2 * HOP - 1  # the newest sample of a frame
    return np.log10(energies + 1e-3), np.concatenate(said)[last]


def write_recording(folder: Path, speaker: str, features: Signal, word: NDArray[np.bool_], *, cut: bool) -> None:
    """A CSV file, or one for each half minute, so that pieces train side by side."""
    (folder / speaker).mkdir(parents=True)
    header = ",".join([*(f"band{band}" for band in range(BANDS)), "label"])
    starts = range(0, len(features), PIECE if cut else len(features))
    for number, start in enumerate(starts):
        rows = zip(features[start : start + starts.step], word[start : start + starts.step], strict=True)
        lines = [",".join([*(f"{x:.3f}" for x in row), LABEL if said else BACKGROUND]) for row, said in rows]
        (folder / speaker / f"{number:03d}.csv").write_text("\n".join([header, *lines]) + "\n")


if __name__ == "__main__":
    main()
