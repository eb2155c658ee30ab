"""From a float32 artifact and calibration data to an integer artifact: the equations are in docs/quantization.md."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.calibration import Ranges, calibrate
from edgegru_export.dequantization import dequantize
from edgegru_export.saving import save_artifact, with_identity
from edgegru_runtime import fixed_point as fx
from edgegru_runtime.artifact import Artifact, check, is_offset, read_artifact
from edgegru_runtime.errors import QuantizationError
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import GruNode, HeadNode, LinearNode, QuantizationConfig, StandardiseNode
from edgegru_runtime.tensor import Tensor

DEFAULT_MARGIN = 1.1
BIAS_LIMIT = 2**28  # leaves the accumulator room for 2^30 - 2^28 of products: 49,000 inputs


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
    """One value that becomes an int8 operand at every step."""

    name: str
    reach: float  # largest magnitude, or what the observer makes of the magnitudes
    scale: float


@dataclass(frozen=True)
class QuantizationReport:
    """What ``quantize`` did, for printing and for ``--json``."""

    scheme: str
    tensors: tuple[TensorReport, ...]
    operands: tuple[OperandReport, ...]
    calibration_steps: int
    file_bytes_before: int | None
    file_bytes_after: int | None
    metrics_before: dict[str, float] | None
    metrics_after: dict[str, float] | None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def quantize_rows(
    weight: NDArray[Any], bias: NDArray[np.float64] | None, operand_scale: NDArray[np.float64]
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32] | None]:
    """Float weights (rows, columns) to int8 in [-127, 127], a scale per row, and the row's bias in accumulator units.

    The one place where a float becomes an int8. ``operand_scale`` (rows,): what one unit of the operand is worth. The
    scale has a floor: a zero row divides by something, and a large bias beside tiny weights fits its accumulator.
    """
    floor = np.full(len(weight), 2.0**-100)
    if bias is not None:
        floor = np.maximum(floor, np.abs(bias) / (operand_scale * BIAS_LIMIT))
    scale = np.maximum(np.max(np.abs(weight), axis=1).astype(np.float64) / 127, floor).astype(np.float32)
    exact_scale = scale.astype(np.float64)
    rounded = np.clip(np.round(weight.astype(np.float64) / exact_scale[:, None]), -127, 127).astype(np.int8)
    if bias is None:
        return rounded, scale, None
    return rounded, scale, np.round(bias / (exact_scale * operand_scale)).astype(np.int32)


def quantize_artifact(
    artifact: Artifact,
    ranges: Ranges,
    *,
    scheme: str = "static-w8a8",
    margin: float = DEFAULT_MARGIN,
) -> Artifact:
    """The integer artifact of a float32 one, with operand scales from ``ranges`` times ``margin``.

    Raises QuantizationError where the model is not float32, the scheme or the margin is unknown, or a node cannot be
    expressed; ArtifactError where a row leaves the arithmetic's range.
    """
    _check_request(artifact, scheme, margin)
    config = artifact.config
    scales = _operand_scales(artifact, ranges, margin, fx.OPERAND_LIMIT[scheme])
    tensors: dict[str, Tensor] = {}
    for node in config.nodes:
        if isinstance(node, StandardiseNode):
            tensors |= {name: artifact.tensors[name] for name in (f"{node.name}.mean", f"{node.name}.std")}
        elif isinstance(node, LinearNode):
            tensors |= _linear_tensors(artifact, node, scales, node.name in ranges.offsets)
            if node.name in ranges.output:
                step = np.maximum(ranges.output[node.name] * margin / 2**15, 2.0**-100)
                tensors[f"{node.name}.output_scale"] = Tensor.from_numpy(step.astype(np.float32))
        elif isinstance(node, GruNode):
            tensors |= _gru_tensors(artifact, node, scales)
        elif not isinstance(node, HeadNode):
            raise QuantizationError(f"node {node.name}: kind {node.kind} cannot be expressed in {scheme}")
    quantization = QuantizationConfig(operand_scale=scales, observer=ranges.observer, margin=margin)
    quantized = with_identity(Artifact(replace(config, scheme=scheme, quantization=quantization), tensors))
    check(quantized.config, quantized.tensors)  # a recurrent weight that stayed float is refused here
    IntegerReference(quantized)  # derives every multiplier, and refuses by name what leaves the arithmetic's range
    return quantized


def quantize(
    model: str | Path,
    calibration: str | Path,
    output: str | Path,
    *,
    scheme: str = "static-w8a8",
    data: str | Path | None = None,
    observer: str = "minmax",
    margin: float = DEFAULT_MARGIN,
    force: bool = False,
) -> QuantizationReport:
    """Quantize the float32 model file ``model`` with the recordings in ``calibration`` and write ``output``.

    With ``data`` the streaming metric on those recordings is measured before and after. Raises EdgegruError children
    with one sentence; ``output`` is written whole or not at all, and replaced only with ``force``.
    """
    from edgegru.data import calibration_sequences
    from edgegru.evaluation import evaluate

    output = Path(output)
    if output.exists() and not force:
        raise QuantizationError(f"{output} exists already, expected a new file or --force")
    before = read_artifact(model)
    _check_request(before, scheme, margin)  # calibration is long, and needs a float model
    ranges = calibrate(before, calibration_sequences(before.config, calibration), observer)
    after = quantize_artifact(before, ranges, scheme=scheme, margin=margin)
    metrics_before = evaluate(before, data).metrics if data is not None else None
    metrics_after = evaluate(after, data).metrics if data is not None else None
    save_artifact(after, output)
    report = quantization_report(before, after, ranges)
    return replace(
        report,
        file_bytes_before=Path(model).stat().st_size,
        file_bytes_after=output.stat().st_size,
        metrics_before=metrics_before,
        metrics_after=metrics_after,
    )


def quantization_report(before: Artifact, after: Artifact, ranges: Ranges) -> QuantizationReport:
    """Type, range, scale and error of every tensor and operand; files and metrics are left open."""
    assert after.config.quantization is not None
    scales = after.config.quantization.operand_scale
    limit = fx.OPERAND_LIMIT[after.config.scheme]
    real = dequantize(after)
    tensors = []
    for name, original in _originals(before).items():
        if name.endswith(".bias_hn"):
            gru = name.removesuffix(".bias_hn")
            value = real.array(f"{gru}.bias_hh")[-len(original) :]
            bytes_before = 4 * len(original)
        else:
            value, bytes_before = real.array(name), len(before.tensors[name].data)
        tensors.append(_tensor_report(name, original, value.astype(np.float64), bytes_before, after))
    return QuantizationReport(
        scheme=after.config.scheme,
        tensors=tuple(tensors),
        operands=tuple(OperandReport(name, ranges.operand[name].reach(limit), scales[name]) for name in scales),
        calibration_steps=ranges.steps,
        file_bytes_before=None,
        file_bytes_after=None,
        metrics_before=None,
        metrics_after=None,
    )


def _check_request(artifact: Artifact, scheme: str, margin: float) -> None:
    if artifact.config.scheme != "float32":
        raise QuantizationError(f"the model is already {artifact.config.scheme}, expected a float32 model")
    if scheme not in fx.OPERAND_LIMIT:
        raise QuantizationError(f"unknown scheme {scheme!r}, expected one of {', '.join(fx.OPERAND_LIMIT)}")
    if not 1 <= margin <= 10:
        raise QuantizationError(f"margin is {margin:g}, expected a number from 1 to 10")


def _operand_scales(artifact: Artifact, ranges: Ranges, margin: float, limit: int) -> dict[str, float]:
    """Real value of one operand unit, by value name; a float32 number so that its shortest text is short."""
    bounded = {node.name for node in artifact.config.gru_nodes}
    scales = {}
    for name, observer in ranges.operand.items():
        reach = observer.reach(limit) * margin
        if name.removesuffix(".rh") in bounded:
            reach = min(reach, 1.0)  # |h| and |r ⊙ h| never exceed 1
        if reach == 0:
            raise QuantizationError(f"value {name} was zero at every step of the calibration data, expected it to vary")
        scales[name] = fx.float32(reach / limit)
    return scales


def _float64(artifact: Artifact, name: str) -> NDArray[np.float64] | None:
    return artifact.array(name).astype(np.float64) if name in artifact.tensors else None


def _folded_biases(artifact: Artifact, node: GruNode) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """The bias added to the input's product (3H,), and b_hn (H,), which reset after the product scales by r."""
    bias_ih, bias_hh = _float64(artifact, f"{node.name}.bias_ih"), _float64(artifact, f"{node.name}.bias_hh")
    if bias_ih is None or bias_hh is None:
        return None, None
    if node.reset == "before":
        return bias_ih + bias_hh, None
    rz = 2 * node.hidden_size
    return np.concatenate([bias_ih[:rz] + bias_hh[:rz], bias_ih[rz:]]), bias_hh[rz:]


def _originals(artifact: Artifact) -> dict[str, NDArray[np.float64]]:
    """The float values that the integer weights and biases stand for, by the integer artifact's tensor names."""
    originals: dict[str, NDArray[np.float64]] = {}
    for node in artifact.config.nodes:
        values: dict[str, NDArray[np.float64] | None] = {}
        if isinstance(node, GruNode):
            values = {name: _float64(artifact, f"{node.name}.{name}") for name in ("weight_ih", "weight_hh")}
            values["bias_ih"], values["bias_hn"] = _folded_biases(artifact, node)
        elif isinstance(node, LinearNode):
            names = ("weight",) if is_offset(artifact.config, node.name) else ("weight", "bias")
            values = {name: _float64(artifact, f"{node.name}.{name}") for name in names}
        originals |= {f"{node.name}.{name}": value for name, value in values.items() if value is not None}
    return originals


def _linear_tensors(artifact: Artifact, node: LinearNode, scales: dict[str, float], offset: bool) -> dict[str, Tensor]:
    """``offset``: the bias is not part of the integers, but added to what is given out."""
    bias_name = f"{node.name}.bias"
    operand_scale = np.full(node.output_size, scales[node.inputs[0]])
    inner_bias = None if offset else _float64(artifact, bias_name)
    weight, scale, bias = quantize_rows(artifact.array(f"{node.name}.weight"), inner_bias, operand_scale)
    tensors = {f"{node.name}.weight": Tensor.from_numpy(weight), f"{node.name}.weight_scale": Tensor.from_numpy(scale)}
    if bias is not None:
        tensors[bias_name] = Tensor.from_numpy(bias)
    if offset:
        tensors[f"{node.name}.output_offset"] = artifact.tensors[bias_name]
    return tensors


def _gru_tensors(artifact: Artifact, node: GruNode, scales: dict[str, float]) -> dict[str, Tensor]:
    name, size = node.name, node.hidden_size
    bias_ih, bias_hn = _folded_biases(artifact, node)
    padded_hn = None if bias_hn is None else np.concatenate([np.zeros(2 * size), bias_hn])
    n_operand = scales[name] if node.reset == "after" else scales[f"{name}.rh"]
    ih = quantize_rows(artifact.array(f"{name}.weight_ih"), bias_ih, np.full(3 * size, scales[node.inputs[0]]))
    hh = quantize_rows(
        artifact.array(f"{name}.weight_hh"), padded_hn, np.repeat([scales[name], n_operand], [2 * size, size])
    )
    tensors = {}
    for matrix, (weight, scale, _) in (("weight_ih", ih), ("weight_hh", hh)):
        tensors[f"{name}.{matrix}"] = Tensor.from_numpy(weight)
        tensors[f"{name}.{matrix}_scale"] = Tensor.from_numpy(scale)
    if ih[2] is not None:
        tensors[f"{name}.bias_ih"] = Tensor.from_numpy(ih[2])
    if hh[2] is not None:
        tensors[f"{name}.bias_hn"] = Tensor.from_numpy(hh[2][2 * size :])
    return tensors


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
