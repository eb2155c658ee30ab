"""A quantization report for people: what became of every tensor and operand, of the file, and of the metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgegru.quantization import QuantizationReport


def quantization_text(report: QuantizationReport) -> str:
    """Tables of tensors and operands, then size and metric before and after where they are known."""
    lines = [*_columns(tensor_table(report)), ""]
    if report.operands:
        operands = [("operand", "bits", "reach", "scale", "clips")]
        operands += [
            (operand.name, str(operand.bits), f"{operand.reach:.4g}", f"{operand.scale:.3g}", f"{operand.clips:.3%}")
            for operand in report.operands
        ]
        lines += [*_columns(operands), ""]
    kept = "".join(f", {name} kept at {scheme}" for name, scheme in report.keep.items())
    calibrated = f", calibrated on {report.calibration_steps} steps" if report.operands else ""
    lines.append(f"{report.scheme}{kept}{calibrated}")
    if report.signal_to_noise is not None:
        noise = report.signal_to_noise
        for name in noise.outputs:
            alone = f"{noise.weights[name]:.1f} dB with int8 weights alone"
            lines.append(f"noise      {name} {noise.model[name]:.1f} dB, {alone} ({noise.steps} steps)")
    if report.file_bytes_before is not None:
        lines.append(f"file       {report.file_bytes_before} → {report.file_bytes_after} bytes")
    if report.metrics_before is not None and report.metrics_after is not None:
        width = max(10, *map(len, report.metrics_before))
        for name, value in report.metrics_before.items():
            lines.append(f"{name:<{width}} {value:.6g} → {report.metrics_after[name]:.6g}")
    if report.advice is not None:
        lines += ["", report.advice]
    return "\n".join(lines)


def tensor_table(report: QuantizationReport) -> list[tuple[str, ...]]:
    """A row of headings, then a row for every tensor that became integers."""
    rows = [("tensor", "type", "shape", "largest", "scale", "max error", "rel. error", "bytes")]
    rows += [
        (
            tensor.name,
            tensor.dtype,
            "×".join(str(size) for size in tensor.shape),
            f"{tensor.largest:.4g}",
            _span(tensor.scale),
            f"{tensor.max_error:.2g}",
            f"{tensor.relative_error:.2%}",
            f"{tensor.bytes_before} → {tensor.bytes_after}",
        )
        for tensor in report.tensors
    ]
    return rows


def _span(scale: tuple[float, float] | None) -> str:
    if scale is None:
        return "–"
    smallest, largest = (f"{value:.3g}" for value in scale)
    return smallest if smallest == largest else f"{smallest} … {largest}"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text with their columns aligned, the first to the left and all others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
