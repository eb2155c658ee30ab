"""A quantization report for people: what became of every tensor and operand, of the file, and of the metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgegru.quantization import QuantizationReport


def quantization_text(report: QuantizationReport) -> str:
    """Tables of tensors and operands, then size and metric before and after where they are known."""
    tensors = [("tensor", "type", "shape", "largest", "scale", "max error", "rel. error", "bytes")]
    tensors += [
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
    operands = [("operand", "reach", "scale")]
    operands += [(operand.name, f"{operand.reach:.4g}", f"{operand.scale:.3g}") for operand in report.operands]
    lines = [
        *_columns(tensors),
        "",
        *_columns(operands),
        "",
        f"{report.scheme}, calibrated on {report.calibration_steps} steps",
    ]
    if report.file_bytes_before is not None:
        lines.append(f"file       {report.file_bytes_before} → {report.file_bytes_after} bytes")
    if report.metrics_before is not None and report.metrics_after is not None:
        for name, value in report.metrics_before.items():
            lines.append(f"{name:<10} {value:.6g} → {report.metrics_after[name]:.6g}")
    return "\n".join(lines)


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
