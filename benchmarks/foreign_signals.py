"""Signals for ``foreign_training.py``: a guitar and the amplifiers it is played through, noisy speech and its features.

Everything is synthesised and seeded; speech is real where ``EDGEGRU_DATA`` holds ``fsdd/``.
"""

from __future__ import annotations

import math
import os
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

AUDIO_RATE = 44100  # samples per second, guitar and amplifier
SPEECH_RATE = 8000  # samples per second
HOP = 80  # samples between frames: 10 ms
BANDS = 22
FEATURES = 42

Signal = NDArray[Any]  # float64, (samples,)


@dataclass(frozen=True)
class Amplifier:
    """An amplifier or pedal: two asymmetric stages that clip, with filters before, between and after them.

    What makes it more than a waveshaper is what it remembers: a grid bias that charges when the first stage is
    overdriven, and a supply that sags under load and takes about 80 ms to recover.
    """

    gain: float  # of the first stage, for an input of ±1
    second_gain: float = 2.0
    bias: float = 0.2  # operating point of the first stage
    charge: float = 0.5  # how far overdrive shifts it
    sag: float = 0.5  # how far the supply gives way
    tight: float = 120.0  # Hz, high-pass before
    tone: float = 5000.0  # Hz, low-pass after
    level: float = 0.6

    def play(self, x: Signal) -> Signal:
        """What it makes of x (samples,), from rest. A plain loop: every sample depends on the last."""
        high, between, low = (2 * math.pi * f / AUDIO_RATE for f in (self.tight, 30.0, self.tone))
        slow = 1 / (0.08 * AUDIO_RATE)
        below = shift = load = below_between = first = second = 0.0
        rest = math.tanh(self.bias)
        y = []
        for sample in x.tolist():
            below += high * (sample - below)
            drive = self.gain * (sample - below) / (1 + self.sag * load) + self.bias - shift
            shift += 0.02 * self.charge * max(drive - 1, 0) / (1 + drive * drive) - 0.001 * shift
            clipped = (math.tanh(drive) if drive > 0 else math.tanh(0.7 * drive) / 0.7) - rest
            below_between += between * (clipped - below_between)
            power = math.tanh(self.second_gain * (clipped - below_between))
            load += slow * (4 * power * power - load)
            first += min(low, 1.0) * (power / (1 + 0.5 * self.sag * load) - first)
            second += min(low, 1.0) * (first - second)
            y.append(self.level * second)
        return np.array(y)


def guitar(seconds: float, seed: int) -> Signal:
    """A guitar's signal within ±1: notes and chords of any level, muted strokes, and now and then a sweep or a burst
    of noise, as in the recordings that amplifier models are trained on.
    """
    rng = np.random.default_rng(seed)
    size = int(seconds * AUDIO_RATE)
    x = np.zeros(size + 2 * AUDIO_RATE)
    start = 0
    while start < size:
        level = 10 ** rng.uniform(-1.2, 0)
        root = 82.4 * 2 ** (rng.integers(0, 30) / 12)
        kind = rng.choice(["note", "fifth", "chord", "mute", "sweep", "burst"], p=[0.35, 0.2, 0.2, 0.13, 0.06, 0.06])
        length = int(rng.uniform(0.2, 1.5) * AUDIO_RATE)
        if kind == "sweep":
            phase = np.cumsum(np.geomspace(40, 10000, length)) * 2 * np.pi / AUDIO_RATE
            sound = 0.5 * np.sin(phase) * np.linspace(1, 0.2, length)
        elif kind == "burst":
            length //= 8
            sound = 0.4 * rng.normal(0, 0.4, length) * np.linspace(1, 0, length)
        else:
            steps = {"fifth": (0, 7, 12), "chord": (0, 4, 7, 12, 16)}.get(kind, (0,))
            sound = sum(_pluck(rng, root * 2 ** (step / 12), length, kind == "mute") for step in steps)
            sound = sound / len(steps) ** 0.7
        x[start : start + length] += level * sound
        start += int(rng.uniform(0.06, 0.5) * AUDIO_RATE)
    return np.clip(1.2 * x[:size], -1, 1)


def _pluck(rng: np.random.Generator, frequency: float, length: int, muted: bool) -> Signal:
    """A string (Karplus and Strong, 1983): noise in a delay line whose ends are averaged on every turn."""
    period = max(int(AUDIO_RATE / frequency), 2)
    loss = 0.93 if muted else rng.uniform(0.985, 0.998)
    string = np.zeros(length + 2 * period)
    string[:period] = np.convolve(rng.uniform(-1, 1, period), np.ones(4) / 2, "same")
    for start in range(period, length + period, period):
        turn = string[start - period : start]
        before = np.concatenate([string[start - period - 1 : start - period] if start > period else [0.0], turn[:-1]])
        string[start : start + period] = loss * (0.6 * turn + 0.4 * before)
    fade = np.minimum(1, np.arange(length)[::-1] / 200)  # no click where the note ends
    return string[:length] * fade


def speech_clips() -> list[Signal]:
    """Spoken words within about ±1: the recordings of ``EDGEGRU_DATA/fsdd``, or else voices made of harmonics."""
    folder = Path(os.environ.get("EDGEGRU_DATA", "")) / "fsdd" / "recordings"
    files = sorted(folder.glob("*.wav")) if "EDGEGRU_DATA" in os.environ else []
    if not files:
        rng = np.random.default_rng(7)
        return [_spoken(rng) for _ in range(300)]
    clips = []
    for file in files:
        with wave.open(str(file)) as recording:
            samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2").astype(np.float64)
        clips.append(samples / max(np.abs(samples).max(), 1))
    return clips


def _spoken(rng: np.random.Generator) -> Signal:
    """A few syllables: harmonics of a gliding pitch under two formants, and hiss between them."""
    parts = []
    for _ in range(rng.integers(1, 4)):
        size = int(rng.uniform(0.08, 0.25) * SPEECH_RATE)
        pitch = np.linspace(*rng.uniform(90, 260, 2), size)
        phase = 2 * np.pi * np.cumsum(pitch) / SPEECH_RATE
        formants = rng.uniform((300, 900), (800, 2500))
        voiced = np.zeros(size)
        for harmonic in range(1, int(3800 / pitch.max())):
            gain = sum(1 / (1 + ((harmonic * pitch.mean() - formant) / 150) ** 2) for formant in formants)
            voiced += (gain + 0.02) * np.sin(harmonic * phase)
        hiss = np.diff(rng.normal(0, 1, int(rng.uniform(0.03, 0.1) * SPEECH_RATE) + 1)) * 0.3
        parts += [voiced * np.hanning(size), hiss * np.hanning(len(hiss))]
    word = np.concatenate(parts)
    return word / np.abs(word).max()


def noisy_speech(clips: Sequence[Signal], frames: int, seed: int) -> tuple[Signal, Signal]:
    """Words with gaps and changing levels, and noise for them at -5 to 25 dB, in 16-bit units: (samples,) each."""
    rng = np.random.default_rng(seed)
    size = (frames + 4) * HOP
    speech, noise = np.zeros(size), np.zeros(size)
    start = 0
    while start < size:
        clip = clips[rng.integers(len(clips))][: size - start] * 10 ** rng.uniform(-1, 0)
        speech[start : start + len(clip)] = clip
        start += len(clip) + int(rng.uniform(0.02, 0.8) * SPEECH_RATE)
    start = 0
    while start < size:
        length = min(int(rng.uniform(1, 5) * SPEECH_RATE), size - start)
        spectrum = np.fft.rfft(rng.normal(0, 1, length))
        spectrum *= np.maximum(np.arange(len(spectrum)), length / 100) ** -rng.choice([0, 0.5, 1, 1.5])
        if rng.random() < 0.3:  # machinery: a few lines above the hiss
            spectrum[rng.integers(1, len(spectrum), 5)] *= 60
        hiss = np.fft.irfft(spectrum, length)
        hiss *= 1 + 0.7 * np.sin(2 * np.pi * rng.uniform(0.2, 3) * np.arange(length) / SPEECH_RATE)
        if rng.random() < 0.3:  # other people
            others = np.concatenate([clips[rng.integers(len(clips))] for _ in range(5 * length // SPEECH_RATE + 40)])
            hiss = np.resize(others, 4 * length).reshape(4, length).sum(0)
        noise[start : start + length] = 0.1 * 10 ** (-rng.uniform(-5, 25) / 20) * hiss / (hiss.std() + 1e-9)
        start += length
    loudness = 8000 * 10 ** rng.uniform(-0.7, 0.3)
    return loudness * speech, loudness * noise


def frame_features(speech: Signal, noise: Signal) -> tuple[NDArray[Any], NDArray[Any]]:
    """Features of the sum (frames, 42), and what a denoiser should say of it: 22 gains and speech or not, (frames, 23).

    In the manner of RNNoise: a cepstrum of 22 band energies whose first coefficients are summed over three frames, its
    differences, the strength and the period of the pitch, and how much the spectrum moves.
    """
    mixture = speech + noise
    energies = [_band_energies(signal) for signal in (mixture, speech)]
    gains = np.sqrt(np.clip(energies[1] / (energies[0] + 1e-9), 0, 1))
    voice = (energies[1].sum(1) > 0.003 * np.percentile(energies[1].sum(1), 95)).astype(float)
    order = np.arange(BANDS)
    dct = np.cos(np.pi / BANDS * (order[:, None] + 0.5) * order) * np.sqrt(2 / BANDS)
    dct[:, 0] *= np.sqrt(0.5)
    cepstrum = np.log10(1e-2 + energies[0]) @ dct
    cepstrum[:, :2] -= (12, 1)  # near zero, as in RNNoise
    before, before2 = (np.concatenate([np.repeat(cepstrum[:1], k, 0), cepstrum[:-k]]) for k in (1, 2))
    first = cepstrum - before2
    second = cepstrum - 2 * before + before2
    sums = cepstrum.copy()
    sums[:, :6] += before[:, :6] + before2[:, :6]
    strength, period = _pitch(mixture, len(cepstrum))
    earlier = [np.concatenate([np.repeat(cepstrum[:1], k, 0), cepstrum[:-k]]) for k in range(1, 9)]
    moved = np.mean([np.square(cepstrum - one).sum(1) for one in earlier], axis=0)
    parts = [sums, first[:, :9], second[:, :8], strength - 0.5, period, np.log10(0.1 + moved)[:, None]]
    return np.concatenate(parts, axis=1), np.concatenate([gains, voice[:, None]], axis=1)


def _windows(signal: Signal, size: int) -> NDArray[Any]:
    return np.lib.stride_tricks.sliding_window_view(signal, size)[::HOP]


def _band_energies(signal: Signal) -> NDArray[Any]:
    """Energies in overlapping triangles, equally wide on a Bark-like scale from 0 to 4 kHz: (frames, 22)."""
    frames = _windows(signal, 2 * HOP) * np.sin(np.pi * (np.arange(2 * HOP) + 0.5) / (2 * HOP))
    power = np.abs(np.fft.rfft(frames, 256) / 256) ** 2
    bark = 6 * np.arcsinh(np.arange(129) * SPEECH_RATE / 256 / 600)
    distance = np.abs(bark[:, None] / bark[-1] * (BANDS - 1) - np.arange(BANDS))
    return power @ np.maximum(0, 1 - distance)


def _pitch(signal: Signal, frames: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The largest normalised autocorrelation at periods of 2.5 to 16.6 ms, and that period, centred: (frames, 1)."""
    padded = np.concatenate([np.zeros(2 * HOP), signal])
    windows = _windows(padded, 4 * HOP)[:frames]
    correlation = np.fft.irfft(np.abs(np.fft.rfft(windows, 1024)) ** 2)[:, :134]
    normal = correlation[:, 20:] / (correlation[:, :1] + 1e-9)
    best = normal.argmax(1)
    return normal.max(1, keepdims=True), 0.02 * (best[:, None] - 57)
