"""What quantization did to a model: every tensor, every operand, the noise it costs, file and metric."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.calibration import Ranges
from edgegru.equalization import as_standardised_in, evened_input
from edgegru.integer_tensors import float64, folded_biases
from edgegru.signal_to_noise import SignalToNoise
from edgegru_export.dequantization import dequantize
from edgegru_runtime import fixed_point as fx
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.model_config import EmbeddingNode, GruNode
from edgegru_runtime.operands import operand_bits, operand_names

WORTH_SAYING = 3.0  # dB that int8 values may cost before 16 bits are recommended


@dataclass(frozen=True)
class TensorReport:
    """What quantization did to one tensor: its type, range in real units, smallest and largest scale, and error."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    largest: float  # largest magnitude before
    scale: tuple[float, float] | None  # smallest and largest, None where the tensor stays as it was
    max_error: float  # largest |real value after - before|
    relative_error: float  # root of the mean squared error over root of the mean square
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class OperandReport:
    """One value that becomes an integer operand at every step; of a node with a scale for every number the widest."""

    name: str
    bits: int
    reach: float  # largest magnitude, or what the observer makes of the magnitudes
    scale: float
    clips: float  # share of the calibration data's values beyond the range


@dataclass(frozen=True)
class QuantizationReport:
    """What ``quantize`` did, for printing and for ``--json``."""

    scheme: str
    keep: dict[str, str]
    tensors: tuple[TensorReport, ...]
    operands: tuple[OperandReport, ...]
    calibration_steps: int
    signal_to_noise: SignalToNoise | None = None
    advice: str | None = None  # one sentence, where another scheme would serve better
    file_bytes_before: int | None = None
    file_bytes_after: int | None = None
    metrics_before: dict[str, float] | None = None
    metrics_after: dict[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        result = asdict(self)
        if self.signal_to_noise is not None:
            result["signal_to_noise"]["cost"] = self.signal_to_noise.cost
        return result


def advice(scheme: str, noise: SignalToNoise) -> str | None:
    """One sentence that recommends 16-bit values where 8 bits cost more than ``WORTH_SAYING`` dB, else None."""
    if scheme != "static-w8a8" or noise.cost <= WORTH_SAYING:
        return None
    model, weights = noise.model[noise.worst], noise.weights[noise.worst]
    return (
        f"int8 values cost {noise.cost:.1f} dB on the calibration data ({noise.worst}: {model:.1f} dB, "
        f"{weights:.1f} dB with int8 weights alone): --scheme static-w8a16 is recommended"
    )


def quantization_report(before: Artifact, after: Artifact, ranges: Ranges | None) -> QuantizationReport:
    """Type, range, scale and error of every tensor and operand; noise, files and metrics are left open."""
    assert after.config.quantization is not None
    source, real = as_standardised_in(before, after), dequantize(after)
    tensors = []
    for name, original in _originals(source, after).items():
        if name.endswith(".bias_hn"):
            gru = name.removesuffix(".bias_hn")
            value = real.array(f"{gru}.bias_hh")[-len(original) :]
            bytes_before = 4 * len(original)
        else:
            value, bytes_before = real.array(name), len(source.tensors[name].data)
        tensors.append(_tensor_report(name, original, value.astype(np.float64), bytes_before, after))
    return QuantizationReport(
        scheme=after.config.scheme,
        keep=after.config.quantization.keep,
        tensors=tuple(tensors),
        operands=() if ranges is None or not after.config.static else _operands(before, after, ranges),
        calibration_steps=0 if ranges is None else ranges.steps,
    )


def _operands(before: Artifact, after: Artifact, ranges: Ranges) -> tuple[OperandReport, ...]:
    config, quantization = after.config, after.config.quantization
    assert quantization is not None
    _, ranges = evened_input(before, config, ranges)
    reports = []
    names = [name for read in operand_names(config) for name in (read, f"{read}.rh")]
    for name in names:
        node = config.node(name.removesuffix(".rh"))
        bits = operand_bits(config, name)
        limit = fx.OPERAND_LIMIT[bits]
        if name in quantization.operand_scale:
            scale = quantization.operand_scale[name]
            if isinstance(node, EmbeddingNode):
                reach = float(np.max(np.abs(before.array(f"{name}.weight"))))
            else:
                reach = ranges.operand[name].reach(limit)
        elif name in ranges.units:
            reach = max(observer.reach(limit) for observer in ranges.units[name])
            scale = float(np.max(after.array(f"{name}.full_scale"))) * 2.0 ** (1 - bits)
        else:
            continue
        reports.append(OperandReport(name, bits, reach, scale, quantization.clips.get(name, 0.0)))
    return tuple(reports)


def _originals(before: Artifact, after: Artifact) -> dict[str, NDArray[np.float64]]:
    """The float values that integer weights and biases stand for, by the integer artifact's tensor names."""
    originals: dict[str, NDArray[np.float64]] = {}
    for node in before.config.nodes:
        own = {name: tensor for name, tensor in before.tensors.items() if name.startswith(f"{node.name}.")}
        names = [name for name, tensor in own.items() if tensor.dtype == "float32"]
        values = {name: float64(before, name) for name in names if name in after.tensors}
        if isinstance(node, GruNode) and after.config.static:
            values[f"{node.name}.bias_ih"], values[f"{node.name}.bias_hn"] = folded_biases(before, node)
        integers = {name for name, tensor in after.tensors.items() if tensor.dtype != "float32"}
        for name in sorted(values, reverse=True):  # weights before biases, those of the input before recurrent ones
            if (value := values[name]) is not None and name in integers:
                originals[name] = value
    return originals


def _tensor_report(
    name: str, original: NDArray[np.float64], real: NDArray[np.float64], bytes_before: int, after: Artifact
) -> TensorReport:
    scale_name = f"{name}_scale"
    scale = after.array(scale_name) if scale_name in after.tensors else None
    error = real - original
    mean_square = float(np.mean(original**2))
    return TensorReport(
        name=name,
        dtype=after.tensors[name].dtype,
        shape=original.shape,
        largest=float(np.max(np.abs(original))),
        scale=None if scale is None else (float(np.min(scale)), float(np.max(scale))),
        max_error=float(np.max(np.abs(error))),
        relative_error=float(np.sqrt(np.mean(error**2) / mean_square)) if mean_square > 0 else 0.0,
        bytes_before=bytes_before,
        bytes_after=len(after.tensors[name].data) + (0 if scale is None else len(after.tensors[scale_name].data)),
    )
