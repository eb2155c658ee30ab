"""Logarithms of the energies in mel bands, in NumPy: docs/front-ends.md line by line, over many frames at once.

For frames of L samples x, T of them::

    X = the discrete Fourier transform of w ⊙ x / full_scale, zeros behind it up to N = fft_size
    E_m = Σ_k F_mk |X_k|²                         F: triangles, one rising where the one before falls
    value = log2(E_m + floor)

N real numbers are N / 2 complex ones, whose transform takes log2(N / 2) stages of butterflies; one more pass takes the
spectrum of the real numbers apart. Float and integer classes do the same operations in the same order as the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime import fixed_point as fx
from edgegru_runtime.integer_arithmetic import Integers, log2_q16, rounding_shift
from edgegru_runtime.log_mel_tables import table_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgegru_runtime.artifact import Artifact
    from edgegru_runtime.model_config import LogMelNode

CHUNK = 64  # frames at a time: what is worked on stays in the cache
Numbers = NDArray[Any]  # floats or int64, by the class
Tables = dict[str, NDArray[np.generic]]  # by name: window, twiddles, edges, rising; float32, but int32 edges


class LogMel:
    """The node in floats of ``dtype``."""

    def __init__(
        self, node: LogMelNode, tables: Mapping[str, NDArray[np.generic]], dtype: type[np.floating[Any]] = np.float32
    ) -> None:
        """``tables``: float32 tensors by name."""
        self.dtype = dtype
        self.window = (tables["window"].astype(np.float64) / node.full_scale).astype(dtype)
        self.transform = _Transform(node.fft_size, tables["twiddles"].astype(dtype))
        self.filters = dense_filters(node, tables)  # (bins, mels)
        self.floor = np.asarray(node.floor, dtype)

    def __call__(self, frames: Numbers) -> Numbers:
        """The values (T, mels) of frames (T, frame_length)."""
        parts = [self._values(frames[start : start + CHUNK]) for start in range(0, len(frames), CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, self.filters.shape[1]), self.dtype)

    def _values(self, frames: Numbers) -> Numbers:
        re, im = self.transform.packed(frames.astype(self.dtype) * self.window)
        for half, cosine, sine in self.transform.stages:
            a_re, a_im, b_re, b_im = _halves(re, im, half)
            t_re, t_im = b_re * cosine + b_im * sine, b_im * cosine - b_re * sine
            re, im = _joined(a_re + t_re, a_re - t_re), _joined(a_im + t_im, a_im - t_im)
        a_re, a_im, u, v = self.transform.apart(re, im)
        x_re, x_im = 0.5 * (a_re + v), 0.5 * (a_im - u)
        power = x_re * x_re + x_im * x_im
        # Summed in float64 and rounded once: nothing is left to the order of the sum.
        energy = (power.astype(np.float64) @ self.filters).astype(self.dtype)
        return log2(energy + self.floor)


class IntegerLogMel:
    """The node in integers: samples of 15 bits and a sign, 30 fractional bits in the transform, 60 in the energies."""

    def __init__(self, node: LogMelNode, tables: Mapping[str, NDArray[np.generic]]) -> None:
        """``tables``: the tensors of a static scheme by name."""
        self.slope = np.float32(fx.float32(2.0**fx.SAMPLE_BITS / node.full_scale))
        self.window = tables["window"].astype(np.int64)
        self.transform = _Transform(node.fft_size, tables["twiddles"].astype(np.int64))
        self.edges = tables["edges"].astype(np.int64)
        self.rising = tables["rising"].astype(np.int64)
        self.floor = fx.log_mel_floor(node.floor, node.fft_size)
        self.unit = 2 * (node.fft_size.bit_length() - 1) - 2 * fx.SPECTRUM_BITS  # log2 of one unit of an energy

    def samples(self, x: NDArray[np.float32]) -> tuple[Integers, int]:
        """Samples as integers, and how many were saturated: as a standardise node makes operands of 16 bits."""
        limit = fx.OPERAND_LIMIT[16]
        with np.errstate(over="ignore"):  # an infinite product saturates like any other
            q = np.floor(self.slope * x + np.float32(0.5))
        saturated = np.minimum(np.maximum(q, -limit), limit)
        return saturated.astype(np.int64), int(np.count_nonzero(q != saturated))

    def __call__(self, frames: Integers) -> Integers:
        """The values (T, mels) of frames of samples (T, frame_length), in units of 2^-16."""
        parts = [self._values(frames[start : start + CHUNK]) for start in range(0, len(frames), CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.edges) - 2), np.int64)

    def _values(self, frames: Integers) -> Integers:
        bits = fx.TWIDDLE_BITS
        re, im = self.transform.packed(rounding_shift(frames * self.window, fx.SAMPLE_BITS + bits - fx.SPECTRUM_BITS))
        for half, cosine, sine in self.transform.stages:
            a_re, a_im, b_re, b_im = _halves(re, im, half)
            t_re, t_im = b_re * cosine + b_im * sine, b_im * cosine - b_re * sine
            re = rounding_shift(_joined((a_re << bits) + t_re, (a_re << bits) - t_re), bits + 1)
            im = rounding_shift(_joined((a_im << bits) + t_im, (a_im << bits) - t_im), bits + 1)
        a_re, a_im, u, v = self.transform.apart(re, im)
        y_re, y_im = rounding_shift((a_re << bits) + v, bits + 2), rounding_shift((a_im << bits) - u, bits + 2)
        power = y_re * y_re + y_im * y_im
        mask = 2**fx.FILTER_BITS - 1
        rising = (power >> fx.FILTER_BITS) * self.rising + ((power & mask) * self.rising >> fx.FILTER_BITS)
        energy = self._sums(rising)[:, :-1] + self._sums(power - rising)[:, 1:]
        return log2_q16(energy + self.floor) + (self.unit << fx.LOG2_BITS)

    def _sums(self, bins: Integers) -> Integers:
        """Sums between the edges (T, mels + 1)."""
        total = np.zeros((len(bins), bins.shape[1] + 1), bins.dtype)
        np.cumsum(bins, axis=1, out=total[:, 1:])
        return np.diff(total[:, self.edges], axis=1)


class _Transform:
    """Where numbers go and which twiddles they meet, for a transform of ``size`` real numbers."""

    def __init__(self, size: int, quarter: Numbers) -> None:
        """``quarter``: cos(2π k / size), k = 0 … size / 4, in the units of the numbers."""
        self.size, half_size = size, size // 2
        # cos and sin of 2π k / size, k = 0 … size / 2, of W^k = cos − i sin
        self.cosine = np.concatenate([quarter, -quarter[-2::-1]])
        self.sine = np.concatenate([quarter[::-1], quarter[1:]])
        bits = half_size.bit_length() - 1
        self.order = np.array([int(f"{place:0{bits}b}"[::-1], 2) for place in range(half_size)])
        self.stages = []
        for stage in range(bits):
            half = 1 << stage
            step = half_size // half
            self.stages.append((half, self.cosine[: half_size : step], self.sine[: half_size : step]))
        self.mirror = -np.arange(half_size + 1) % half_size  # the place of bin −k

    def packed(self, numbers: Numbers) -> tuple[Numbers, Numbers]:
        """(T, up to size) as complex numbers (T, size / 2), even ones real, odd ones imaginary, in reversed order."""
        padded = np.zeros((len(numbers), self.size), numbers.dtype)
        padded[:, : numbers.shape[1]] = numbers
        return padded[:, ::2][:, self.order], padded[:, 1::2][:, self.order]

    def apart(self, re: Numbers, im: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """A = Z_k + Z*_−k as real and imaginary parts, and W^k (Z_k − Z*_−k) as u + i v, (T, size / 2 + 1) each."""
        same = np.arange(self.size // 2 + 1) % (self.size // 2)
        z_re, z_im, m_re, m_im = re[:, same], im[:, same], re[:, self.mirror], im[:, self.mirror]
        b_re, b_im = z_re - m_re, z_im + m_im
        u, v = b_re * self.cosine + b_im * self.sine, b_im * self.cosine - b_re * self.sine
        return z_re + m_re, z_im - m_im, u, v


def _halves(re: Numbers, im: Numbers, half: int) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Real and imaginary parts of what butterflies take: both halves of every group (T, groups, half)."""
    groups = (len(re), -1, 2, half)
    re, im = re.reshape(groups), im.reshape(groups)
    return re[:, :, 0], im[:, :, 0], re[:, :, 1], im[:, :, 1]


def _joined(first: Numbers, second: Numbers) -> Numbers:
    """Halves of groups (T, groups, half) as numbers (T, size)."""
    return np.stack([first, second], axis=2).reshape(len(first), -1)


def dense_filters(node: LogMelNode, tables: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float64]:
    """F (fft_size / 2 + 1, mels): between edges m and m + 1, band m rises and band m − 1 falls."""
    edges, rising = tables["edges"].astype(np.int64), tables["rising"].astype(np.float64)
    filters = np.zeros((node.fft_size // 2 + 1, node.output_size + 2))
    for band in range(node.output_size + 1):
        bins = slice(edges[band], edges[band + 1])
        filters[bins, band + 1], filters[bins, band] = rising[bins], 1 - rising[bins]
    return filters[:, 1:-1]


def log2(value: Numbers) -> Numbers:
    """log2 of positive floats; what is not finite stays as it is.

    value = 2^e m, m from √½ to √2, and log2(m) = 2 / ln 2 · (s + s³/3 + s⁵/5 + …), s = (m − 1) / (m + 1).
    """
    of = value.dtype.type
    with np.errstate(invalid="ignore"):
        m, exponent = np.frexp(value)
        low = m < of(0.70710678)
        m, exponent = np.where(low, 2 * m, m), np.where(low, exponent - 1, exponent)
        s = (m - 1) / (m + 1)
        squared = s * s
        series = np.full_like(s, of(fx.LOG2_SERIES[-1]))
        for coefficient in fx.LOG2_SERIES[-2::-1]:
            series = series * squared + of(coefficient)
        return np.where(np.isfinite(value), exponent.astype(value.dtype) + s * series, value)


def tables_of(artifact: Artifact, node: LogMelNode) -> Tables:
    """The tensors of the node, by their names behind the dot."""
    return {name: artifact.array(f"{node.name}.{name}") for name in table_tensors(node, artifact.config.static)}
