"""The quantization report as one HTML page that needs nothing else: docs/quantization-report.md says what is on it."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from edgegru.calibration import Ranges
from edgegru.drift import SLOW_TOLERANCE, DriftReport, measure_drift
from edgegru.quantization import default_keep
from edgegru.quantization_report import WORTH_SAYING, QuantizationReport
from edgegru.quantization_text import tensor_table
from edgegru.report_plots import bars, histogram_figure, table
from edgegru.report_style import STYLE
from edgegru.sensitivity import WIDE, Sensitivity, measure_sensitivity
from edgegru.signal_to_noise import LARGEST
from edgegru.value_histograms import OperandValues, operand_values, weight_histograms
from edgegru_export.saving import write_atomically
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import EngineError, QuantizationError
from edgegru_runtime.operands import operand_names

DRIFT_STEPS = 10_000  # of each input: seconds; edgegru verify runs longer
_UNCALIBRATED = "Without --calibration there are no recordings to measure this on."


def write_report(
    path: str | os.PathLike[str],
    before: Artifact,
    after: Artifact,
    ranges: Ranges | None,
    recordings: Sequence[NDArray[np.float32]] | None,
    result: QuantizationReport,
) -> None:
    """Measure what is not in ``result`` yet and write the page. Raises QuantizationError where it cannot be written.

    ``before``, ``after``: the float32 artifact and what became of it; ``ranges``, ``recordings`` (T, input_size):
    what it was calibrated with, None where it was not.
    """
    page = report_html(before, after, ranges, recordings, result)
    try:
        write_atomically(path, page.encode())
    except OSError as error:
        raise QuantizationError(f"{os.fspath(path)}: cannot be written: {error.strerror}") from None


def report_html(
    before: Artifact,
    after: Artifact,
    ranges: Ranges | None,
    recordings: Sequence[NDArray[np.float32]] | None,
    result: QuantizationReport,
) -> str:
    """The page; arguments as of ``write_report``. The same model and recordings give the same bytes."""
    title = f"Quantization report: {result.scheme}"
    values: tuple[OperandValues, ...] | None = None
    sensitivity: Sensitivity | None = None
    if recordings is not None and ranges is not None and after.config.static:
        values = operand_values(before, after, [operand.name for operand in result.operands], recordings)
        sensitivity = measure_sensitivity(before, after, ranges, recordings)
    sections = {
        "Summary": _summary(before, after, result),
        "Noise of every node": _noise(before, result),
        "What 8 bits cost each node": _sensitivity(after, result, sensitivity),
        "Ranges of values": _ranges(result, values),
        "Weights and biases": _tensors(after, result),
        "Drift": _drift(before, after),
    }
    body = "".join(f"<section>\n<h2>{heading}</h2>\n{content}</section>\n" for heading, content in sections.items())
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{body}</main>\n</body>\n</html>\n"
    )


def _summary(before: Artifact, after: Artifact, result: QuantizationReport) -> str:
    facts = []
    if result.file_bytes_before is not None and result.file_bytes_after is not None:
        facts.append(_fact("file", *_shrunk(result.file_bytes_before, result.file_bytes_after)))
    matrices = [tensor for tensor in result.tensors if tensor.dtype == "int8"]
    if matrices:
        sizes = sum(tensor.bytes_before for tensor in matrices), sum(tensor.bytes_after for tensor in matrices)
        facts.append(_fact("weights and their scales", *_shrunk(*sizes)))
    if result.metrics_before is not None and result.metrics_after is not None:
        for name, value in result.metrics_before.items():
            changed = result.metrics_after[name]
            facts.append(_fact(name.replace("_", " "), f"{value:.6g} → {changed:.6g}", f"{changed - value:+.2g}"))
    noise = result.signal_to_noise
    if noise is not None:
        for name in noise.outputs:
            alone = f"{noise.weights[name]:.1f} dB with int8 weights alone"
            facts.append(_fact(f"signal to noise of {name}", f"{noise.model[name]:.1f} dB", alone))
    kept = "".join(f", {name} kept at {scheme}" for name, scheme in result.keep.items())
    calibrated = "not calibrated"
    if result.calibration_steps:
        calibrated = f"calibrated on {result.calibration_steps:,} steps"
    quantization = after.config.quantization
    assert quantization is not None
    how = ""
    if after.config.static:
        how = f", observer {quantization.observer}, margin {quantization.margin:g}"
    return (
        f'<dl class="facts">\n{"".join(facts)}</dl>\n{_advice(result)}'
        + _paragraph(f"{result.scheme}{kept}, {calibrated}{how}.")
        + f'<p class="quiet">identity of this model: <code>{after.config.identity}</code><br>\n'
        + f"of the float32 model: <code>{before.config.identity}</code></p>\n"
    )


def _advice(result: QuantizationReport) -> str:
    if result.advice is not None:
        return f'<p class="advice">{escape(result.advice[0].upper() + result.advice[1:])}.</p>\n'
    noise = result.signal_to_noise
    if result.scheme == "static-w8a8" and noise is not None:
        cost = f"Int8 values cost {noise.cost:.1f} dB at {noise.worst} on top of int8 weights"
        if noise.cost <= 0:  # weights are rounded with regard to the calibration data, and those alone to the nearest
            cost = f"{noise.worst} is no worse than with int8 weights rounded to the nearest alone"
        return _paragraph(f"{cost}; 16 bits are recommended from {WORTH_SAYING:g} dB on.")
    return ""


def _noise(before: Artifact, result: QuantizationReport) -> str:
    noise = result.signal_to_noise
    if noise is None:
        return _paragraph(_UNCALIBRATED)
    rows = [("node", "kind", "int8 weights alone", "model", "error")]
    cells = ['<th class="bars">dB</th>']
    largest = max(ratio for ratio in (0.0, *noise.weights.values(), *noise.model.values()) if ratio < LARGEST)
    for node in before.config.nodes:
        if node.name in noise.model:
            weights, model = noise.weights[node.name], noise.model[node.name]
            error = "0" if model == LARGEST else f"{10 ** (-model / 20):.2%}"
            rows.append((node.name, node.kind, _decibels(weights), _decibels(model), error))
            cells.append(bars([ratio if ratio < LARGEST else 0.0 for ratio in (weights, model)], largest))
    return (
        _paragraph(
            f"Signal-to-noise ratio of every node's value against the float model, closed loop over {noise.steps:,} "
            "steps of the calibration data: once with int8 weights, rounded to the nearest, and float values, once of "
            "the whole model, whose rms error is also told as a share of the value's rms. More dB are better; 6 dB "
            "halve the error."
        )
        + table(rows, cells, words=2, aside=1)
        + '<p class="legend"><i class="bar0"></i> int8 weights alone <i class="bar1"></i> model</p>\n'
    )


def _sensitivity(after: Artifact, result: QuantizationReport, sensitivity: Sensitivity | None) -> str:
    if sensitivity is None:
        if not after.config.static:
            return _paragraph(f"In {result.scheme} no value has a fixed range: there is no width to choose.")
        return _paragraph(_UNCALIBRATED)
    narrow = any(after.config.scheme_of(node.name) != WIDE for node in sensitivity.nodes)
    rows = [("node", "now", "8 bits alone cost", *(("16 bits would gain",) if narrow else ()))]
    cells = ['<th class="bars">cost</th>']
    largest = max(node.alone or 0.0 for node in sensitivity.nodes)
    for node in sensitivity.nodes:
        bits = "16 bits" if after.config.scheme_of(node.name) == WIDE else "8 bits"
        rows.append((node.name, bits, _difference(node.alone), *((_difference(node.gain),) if narrow else ())))
        cells.append(bars((node.alone or 0.0,), largest))
    impossible = any(node.alone is None for node in sensitivity.nodes)
    text = _paragraph(
        f"What the signal-to-noise ratio of the outputs loses over {sensitivity.steps:,} steps of the calibration data "
        "where this node alone has 8 bits and all others have 16"
        + (", and what it wins where this node has 16 in the model as it is." if narrow else ".")
        + (" Of several outputs, the one that feels it most." if len(after.config.outputs) > 1 else "")
        + (" Some sums of 16-bit products would not fit 32 bits (–)." if impossible else "")
    ) + table(rows, cells, words=2)
    best = sensitivity.most_gained
    if best is not None:
        text += _paragraph(f"To keep {best.name} at 16 bits ({_difference(best.gain)} more):")
        text += f"<pre>{escape(_command(after, best.name))}</pre>\n"
    return text


def _command(after: Artifact, name: str) -> str:
    """How the same model is quantized with one more node at 16 bits."""
    config, quantization = after.config, after.config.quantization
    assert quantization is not None
    parts = ["edgegru quantize MODEL --calibration DATA", f"--scheme {config.scheme}"]
    for node in operand_names(config):
        wanted = WIDE if node == name else config.scheme_of(node)
        if wanted != default_keep(config, config.scheme).get(node, config.scheme):
            parts.append(f"--keep {node}={wanted}")
    parts += [f"--observer {quantization.observer} --margin {quantization.margin:g}", "-o OUTPUT"]
    return " \\\n  ".join(parts)


def _ranges(result: QuantizationReport, values: tuple[OperandValues, ...] | None) -> str:
    if values is None:
        if result.scheme == "dynamic-w8":
            return _paragraph("dynamic-w8 finds the range of what a matrix multiplies anew at every step.")
        return _paragraph(_UNCALIBRATED)
    rows = [("value", "bits", "calibrated reach", "range", "step", "clipped in calibration", "saturated")]
    figures = []
    for operand, found in zip(result.operands, values, strict=True):
        narrowest, widest = found.ranges
        limits = f"{widest:.4g}" if narrowest == widest else f"{narrowest:.4g} … {widest:.4g}"
        shares = (_share(operand.clips), _share(found.saturated))
        rows.append((operand.name, str(operand.bits), f"{operand.reach:.4g}", limits, f"{operand.scale:.3g}", *shares))
        note = f"{operand.bits} bits" + (", each number by its own range" if found.relative else "")
        text = "range" if found.relative else f"{widest:.3g}"
        figures.append(histogram_figure(found.histogram, operand.name, note, text))
    return (
        _paragraph(
            "What matrices and products multiply at every step. Values beyond the range saturate. Clipped: the share "
            "of the float model's values beyond it, over all of the calibration data. Saturated: the same while the "
            "integer model ran (of what reads the input, and of r ⊙ h, in the float model). Where every number has a "
            "range of its own, reach and step are those of the widest."
        )
        + table(rows)
        + _paragraph(
            "How the float model's values lie in them: counts on a logarithmic axis, dashed lines at the range, 16-bit "
            "ranges with room beyond what was seen, values farther out than twice the range in the outermost bars."
        )
        + f'<div class="figures">\n{"".join(figures)}</div>\n'
    )


def _tensors(after: Artifact, result: QuantizationReport) -> str:
    figures = [
        histogram_figure(histogram, name, "×".join(map(str, after.tensors[name].shape)), "127")
        for name, histogram in weight_histograms(after).items()
    ]
    return (
        _paragraph(
            "Tensors that became integers: largest magnitude before, smallest and largest scale of a row, largest "
            "error, rms of the errors over rms of the values, and bytes with the scales."
        )
        + table(tensor_table(result), words=1)
        + _paragraph(
            "How the int8 weights use their range: counts on a logarithmic axis; the largest weight of a row is ±127."
        )
        + f'<div class="figures">\n{"".join(figures)}</div>\n'
    )


def _drift(before: Artifact, after: Artifact) -> str:
    from edgegru.drift_plot import drift_png  # matplotlib only where a picture is wanted

    try:
        report = measure_drift(after, before, DRIFT_STEPS, names=("the integer model", "its float model"))
    except EngineError as error:  # a float model whose state grows without end has no long run
        return _paragraph(f"Not measured: {error}.")
    rows = [("input", "value", "rms early", "rms late", "allowed", "largest", "decisions flipped")]
    for found in report.divergences:
        numbers = (found.early, found.late, found.allowed, max(found.largest))
        flipped = "–" if found.flipped is None else f"{found.flipped:.3%}"
        rows.append((found.input, found.name, *(f"{number:.2g}" for number in numbers), flipped))
    slow = [("slow units", "time constant", "farthest from target", "allowed")]
    slow += [
        (unit.candidate, str(unit.time_constant), f"{unit.error:.2g}", f"{SLOW_TOLERANCE:g}") for unit in report.slowest
    ]
    picture = f"data:image/png;base64,{b64encode(drift_png(report)).decode()}"
    return (
        _verdict(report)
        + _paragraph(
            f"Both models run beside each other for {report.steps:,} steps of each input, never reset: on a recording "
            "that is repeated, and on one sample that is held. Errors early (second tenth of the run) and late (last "
            "tenth) are compared; y are the outputs, h the states. Then units that move slowly are asked whether they "
            "arrive. edgegru verify does the same for as many steps as you like."
        )
        + f'<div class="wide"><img alt="errors over time, and slow units" src="{picture}"></div>\n'
        + table(rows, words=2)
        + table(slow)
    )


def _verdict(report: DriftReport) -> str:
    if report.passed:
        return f'<p class="good">No drift over {report.steps:,} steps.</p>\n'
    return f'<p class="advice">{escape(str(report)[0].upper() + str(report)[1:])}.</p>\n'


def _fact(name: str, value: str, note: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd><b>{escape(value)}</b><span>{escape(note)}</span></dd></div>\n"


def _decibels(ratio: float) -> str:
    return f"{ratio:.1f} dB" if ratio < LARGEST else "exact"


def _difference(ratio: float | None) -> str:
    if ratio is None:
        return "–"
    return f"{ratio + 0.0:.1f} dB".replace("-0.0", "0.0").replace("-", "−")


def _shrunk(before: int, after: int) -> tuple[str, str]:
    return f"{before:,} → {after:,} bytes", f"{before / after:.2f} × smaller"


def _share(share: float) -> str:
    return "0" if share == 0 else f"{share:.3%}"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>\n"
