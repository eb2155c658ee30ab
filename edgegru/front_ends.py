"""Front ends on the host: the tables of a log_mel node, and the features of whole recordings (docs/front-ends.md).

The mel scale and its triangles are those of HTK (S. Young et al. 2006, The HTK Book, version 3.4, section 5.4):
``mel(f) = 2595 log10(1 + f / 700)``, centres equally far apart, each triangle 1 at its centre and 0 at its neighbours'.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime import fixed_point as fx
from edgegru_runtime.config_json import FFT_SIZES
from edgegru_runtime.errors import ConfigError
from edgegru_runtime.log_mel import IntegerLogMel, LogMel, Tables
from edgegru_runtime.model_config import LogMelNode


def mel(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Frequencies in mel."""
    return np.asarray(2595 * np.log10(1 + np.asarray(hertz) / 700))


def log_mel_tables(node: LogMelNode, rate: float, low: float = 0.0, high: float | None = None) -> Tables:
    """The float32 tensors of a node by name: a periodic Hann window, cosines of the transform, bands from ``low`` to
    ``high`` Hz (None: half the rate) of a channel with ``rate`` samples a second.

    Raises ConfigError where the sizes do not fit each other, the bands are not within the spectrum, or one is empty.
    """
    high = rate / 2 if high is None else high
    if node.fft_size not in FFT_SIZES or not 1 <= node.frame_length <= node.fft_size:
        found = f"{node.name} has frames of {node.frame_length} samples and a spectrum of {node.fft_size}"
        expected = f"expected a power of two from {FFT_SIZES[0]} to {FFT_SIZES[-1]}, and no longer frames"
        raise ConfigError(f"{found}, {expected}")
    if not 0 <= low < high <= rate / 2:
        raise ConfigError(f"{node.name} has bands from {low:g} to {high:g} Hz, expected 0 to {rate / 2:g}, rising")
    angles = np.arange(node.frame_length) * (2 * np.pi / node.frame_length)
    quarter = np.cos(np.arange(node.fft_size // 4 + 1) * (2 * np.pi / node.fft_size))
    quarter[-1] = 0.0
    edges, rising = _bands(node, rate, low, high)
    return {
        "window": (0.5 - 0.5 * np.cos(angles)).astype(np.float32),
        "twiddles": quarter.astype(np.float32),
        "edges": edges,
        "rising": rising.astype(np.float32),
    }


def _bands(node: LogMelNode, rate: float, low: float, high: float) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The first bin from every centre on (mels + 2,), the lowest and the highest frequency among them, and how far each
    bin (fft_size / 2 + 1,) is from one centre to the next, 0 outside.
    """
    hertz = np.arange(node.fft_size // 2 + 1) * (rate / node.fft_size)
    centres = np.linspace(mel(low), mel(high), node.output_size + 2)
    places = mel(hertz)
    edges = np.searchsorted(places, centres - 1e-9).astype(np.int32)  # a bin on a centre counts from there on
    rising = np.zeros(len(hertz))
    for segment in range(node.output_size + 1):
        bins = slice(edges[segment], edges[segment + 1])
        rising[bins] = np.clip((places[bins] - centres[segment]) / (centres[segment + 1] - centres[segment]), 0.0, 1.0)
    for band in range(node.output_size):  # a bin where a band begins has no share in it
        if edges[band + 1] == edges[band + 2] and np.max(rising[edges[band] : edges[band + 1]], initial=0.0) < 1e-6:
            ends = 700 * (10 ** (centres[[band, band + 2]] / 2595) - 1)
            found = f"band {band} of {node.name}, {ends[0]:.4g} to {ends[1]:.4g} Hz, holds no bin of {hertz[1]:.4g} Hz"
            raise ConfigError(f"{found}, expected fewer bands or a larger spectrum")
    return edges, rising


def integer_tables(node: LogMelNode, tables: Tables) -> Tables:
    """The tensors of a static scheme, made of float32 ones: the nearest integers."""

    def nearest(name: str, bits: int) -> NDArray[np.float64]:
        return np.asarray(np.round(tables[name].astype(np.float64) * 2.0**bits))

    return {
        "window": nearest("window", fx.TWIDDLE_BITS).astype(np.int32),
        "twiddles": nearest("twiddles", fx.TWIDDLE_BITS).astype(np.int32),
        "edges": tables["edges"].astype(np.int32),
        "rising": np.minimum(nearest("rising", fx.FILTER_BITS), 2**fx.FILTER_BITS - 1).astype(np.int16),
    }


class LogMelFeatures:
    """What a stream computes of whole recordings, in integers where ``tables``, the tensors of the node, are."""

    def __init__(self, node: LogMelNode, tables: Tables) -> None:
        self._node = node
        self._layer = (IntegerLogMel if tables["window"].dtype == np.int32 else LogMel)(node, tables)

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The features (N // hop, mels) of a recording (N,).

        Frame t holds the samples up to (t + 1) · hop, and zeros before the recording.
        """
        steps = len(samples) // self._node.input_size
        whole = samples[: steps * self._node.input_size].astype(np.float32)
        if isinstance(self._layer, IntegerLogMel):
            values = self._layer(_frames(self._layer.samples(whole)[0], self._node))
            return np.asarray(values * 2.0**-fx.LOG2_BITS, np.float32)  # exactly
        return np.asarray(self._layer(_frames(whole, self._node)), np.float32)


def _frames(samples: NDArray[np.generic], node: LogMelNode) -> NDArray[np.generic]:
    """Views (steps, frame_length) of whole steps of samples."""
    before = max(node.frame_length - node.input_size, 0)
    padded = np.concatenate([np.zeros(before, samples.dtype), samples])
    first = before + node.input_size - node.frame_length
    if len(padded) - first < node.frame_length:
        return np.zeros((0, node.frame_length), samples.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(padded[first:], node.frame_length)
    return windows[:: node.input_size]
