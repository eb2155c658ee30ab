"""From a float32 artifact and calibration data to an integer artifact: the equations are in docs/quantization.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgegru.calibration import Ranges, calibrate, value_outputs
from edgegru.equalization import evened_input
from edgegru.integer_tensors import Floats, dynamic_tensors, initial_state, static_tensors
from edgegru.quantization_report import QuantizationReport, advice, quantization_report
from edgegru.signal_to_noise import measure_signal_to_noise
from edgegru_export.saving import save_artifact, with_identity
from edgegru_runtime import fixed_point as fx
from edgegru_runtime.artifact import Artifact, check, keep_choices, read_artifact
from edgegru_runtime.description import multiply_adds
from edgegru_runtime.errors import CalibrationError, QuantizationError
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import (
    SCHEMES,
    STATIC_SCHEMES,
    ConcatenateNode,
    EmbeddingNode,
    GruNode,
    LayerNormalisationNode,
    LinearNode,
    ModelConfig,
    QuantizationConfig,
    StandardiseNode,
)
from edgegru_runtime.operands import even_scale, expected_operands, is_evened, operand_bits, pieces
from edgegru_runtime.tensor import Tensor

DEFAULT_MARGIN = 1.1
QUANTIZED_SCHEMES = SCHEMES[1:]
HEADROOM = {8: 1.0, 16: 2.0}  # by bits: how far beyond the margin a value without a bound saturates; 16 bits afford it
NARROW_INPUT = 0.25  # of a model's multiply-adds, that may have operands of 16 bits for the input's sake
NARROWEST = 2.0**-6  # of a unit's full scale, over the widest of its node: a unit that slept in calibration may wake up


@dataclass(frozen=True)
class StaticScales:
    """What calibration decides, all float32 numbers: ``operand`` scales by value name, ``full`` scales by node (size,),
    ``output`` scales by the node that an identity head reads (size,), both in double precision.
    """

    operand: dict[str, float]
    full: dict[str, Floats]
    output: dict[str, Floats]


def quantize_artifact(
    artifact: Artifact,
    ranges: Ranges | None,
    *,
    scheme: str = "static-w8a8",
    margin: float = DEFAULT_MARGIN,
    keep: Mapping[str, str] | None = None,
) -> Artifact:
    """The integer artifact of a float32 one, with operand scales from ``ranges`` times ``margin``.

    ``keep``: the scheme of single nodes where it is not ``scheme``: another width of the operand that a node's value
    becomes in static schemes, "float32" for weights in dynamic-w8, which needs no ``ranges``. What it does not name is
    as ``default_keep`` says.

    Raises QuantizationError where the model is not float32, or scheme, margin or ``keep`` are none; CalibrationError
    where static schemes have no ranges; ArtifactError where a row leaves the arithmetic's range.
    """
    check_request(artifact, scheme, margin, keep)
    wanted = {**default_keep(artifact.config, scheme), **(keep or {})}
    kept = {name: chosen for name, chosen in wanted.items() if chosen != scheme}
    if scheme == "dynamic-w8":
        quantized = _dynamic(artifact, kept)
    elif ranges is None:
        raise CalibrationError(f"{scheme} has no calibration data, expected recordings that show the ranges")
    else:
        quantized = _static(artifact, ranges, scheme, margin, kept)
    quantized = with_identity(quantized)
    check(quantized.config, quantized.tensors)  # a recurrent weight that stayed float is refused here
    if quantized.config.static:
        IntegerReference(quantized)  # derives every multiplier, and refuses by name what leaves the arithmetic's range
    return quantized


def quantize(
    model: str | Path,
    calibration: str | Path | None,
    output: str | Path,
    *,
    scheme: str = "static-w8a8",
    keep: Mapping[str, str] | None = None,
    data: str | Path | None = None,
    observer: str = "minmax",
    margin: float = DEFAULT_MARGIN,
    report: str | Path | None = None,
    force: bool = False,
) -> QuantizationReport:
    """Quantize the float32 model file ``model`` with the recordings in ``calibration`` and write ``output``.

    ``calibration`` may be None for dynamic-w8, which finds its ranges at every step. With ``data`` the streaming metric
    on those recordings is measured before and after. ``report``: where to write one HTML page about the result. Raises
    EdgegruError children with one sentence; files are written whole or not at all, and replaced only with ``force``.
    """
    from edgegru.data import calibration_sequences
    from edgegru.evaluation import evaluate

    output = Path(output)
    for path in (output, *(() if report is None else (Path(report),))):
        if path.exists() and not force:
            raise QuantizationError(f"{path} exists already, expected a new file or --force")
        if not path.parent.is_dir():
            raise QuantizationError(f"{path.parent} is no folder, expected one to write {path.name} in")
    if report is not None and Path(report).resolve() in (output.resolve(), Path(model).resolve()):
        raise QuantizationError(f"{report} is a model in this call, expected another file for the report")
    before = read_artifact(model)
    check_request(before, scheme, margin, keep)  # calibration is long, and needs a float model
    recordings, ranges = None, None
    if calibration is not None:
        recordings = calibration_sequences(before.config, calibration)
        ranges = calibrate(before, recordings, observer)
    after = quantize_artifact(before, ranges, scheme=scheme, margin=margin, keep=keep)
    noise = None if recordings is None else measure_signal_to_noise(before, after, recordings)
    metrics_before = evaluate(before, data).metrics if data is not None else None
    metrics_after = evaluate(after, data).metrics if data is not None else None
    save_artifact(after, output)
    result = replace(
        quantization_report(before, after, ranges),
        signal_to_noise=noise,
        advice=None if noise is None else advice(scheme, noise),
        file_bytes_before=Path(model).stat().st_size,
        file_bytes_after=output.stat().st_size,
        metrics_before=metrics_before,
        metrics_after=metrics_after,
    )
    if report is not None:
        from edgegru.report_page import write_report  # matplotlib only where a picture is wanted

        write_report(report, before, after, ranges, recordings, result)
    return result


def default_keep(config: ModelConfig, scheme: str) -> dict[str, str]:
    """The standardised input of a static-w8a8 model has 16 bits where it is narrow: it is what 8 bits cost most, and
    its products are few (docs/decisions/0009-input-of-16-bits.md).
    """
    first = config.entry
    readers = [node for node in config.nodes if first.name in node.inputs]
    recurrent = sum(3 * node.hidden_size**2 for node in readers if isinstance(node, GruNode))
    share = sum(map(multiply_adds, readers)) - recurrent
    narrow = share <= NARROW_INPUT * sum(map(multiply_adds, config.nodes))
    beside_others = any(isinstance(node, ConcatenateNode) for node in readers)  # their products would get 16 bits too
    if scheme != "static-w8a8" or not isinstance(first, StandardiseNode) or beside_others or not narrow:
        return {}
    return {first.name: "static-w8a16"}


def check_request(artifact: Artifact, scheme: str, margin: float, keep: Mapping[str, str] | None = None) -> None:
    """Raise QuantizationError unless the model is float32 and scheme, margin and ``keep`` make sense for it."""
    if artifact.config.scheme != "float32":
        raise QuantizationError(f"the model is already {artifact.config.scheme}, expected a float32 model")
    if scheme not in QUANTIZED_SCHEMES:
        raise QuantizationError(f"unknown scheme {scheme!r}, expected one of {', '.join(QUANTIZED_SCHEMES)}")
    for node in artifact.config.nodes:
        if scheme in STATIC_SCHEMES and isinstance(node, LayerNormalisationNode):
            found = f"node {node.name} is a {node.kind}, which {scheme} cannot hold"
            raise QuantizationError(f"{found}, expected the scheme dynamic-w8")
    if not 1 <= margin <= 10:
        raise QuantizationError(f"margin is {margin:g}, expected a number from 1 to 10")
    choices = keep_choices(replace(artifact.config, scheme=scheme))
    for name, chosen in (keep or {}).items():
        if name not in choices:
            nodes = [node.name for node in artifact.config.nodes]
            why = "has nothing to keep" if name in nodes else "is no node of the model"
            raise QuantizationError(f"{name!r} {why} in {scheme}, expected one of {', '.join(choices)}")
        if chosen not in (scheme, *choices[name]):
            known = " or ".join((scheme, *choices[name]))
            raise QuantizationError(f"node {name} cannot be kept at {chosen!r} in {scheme}, expected {known}")


def _dynamic(artifact: Artifact, keep: dict[str, str]) -> Artifact:
    tensors: dict[str, Tensor] = {}
    for node in artifact.config.nodes:
        own = {name: tensor for name, tensor in artifact.tensors.items() if name.startswith(f"{node.name}.")}
        tensors |= own if node.name in keep else dynamic_tensors(artifact, node)
    quantization = QuantizationConfig(keep=keep, observer="none")
    return Artifact(replace(artifact.config, scheme="dynamic-w8", quantization=quantization), tensors)


def _static(artifact: Artifact, ranges: Ranges, scheme: str, margin: float, keep: dict[str, str]) -> Artifact:
    config = replace(artifact.config, scheme=scheme, quantization=QuantizationConfig(keep=keep))
    artifact, ranges = evened_input(artifact, config, ranges)
    scales = initial_scales(artifact, config, ranges, margin)
    quantization = QuantizationConfig(
        operand_scale=scales.operand,
        keep=keep,
        observer=ranges.observer,
        margin=margin,
        clips=_clips(config, ranges, scales.operand, scales.full),
    )
    return integer_artifact(artifact, replace(config, quantization=quantization), scales, ranges.moments)


def initial_scales(artifact: Artifact, config: ModelConfig, ranges: Ranges, margin: float) -> StaticScales:
    """The scales of a static scheme that calibration gives a float32 artifact; ``config``: with scheme and ``keep``."""
    full = _full_scales(config, ranges, margin)
    operand = {name: _operand_scale(artifact, config, name, ranges, margin) for name in expected_operands(config)}
    output = {}
    for name in value_outputs(config):
        step = np.maximum(ranges.output[name] * margin / 2**15, 2.0**-100)
        output[name] = step.astype(np.float32).astype(np.float64)
    return StaticScales(operand, full, output)


def integer_artifact(
    artifact: Artifact, config: ModelConfig, scales: StaticScales, moments: dict[str, Floats]
) -> Artifact:
    """The tensors of a static scheme under ``config``, made of a float32 artifact and scales; without identity.

    ``moments``: of what matrices multiply, for rounding with feedback; {} for the nearest levels.
    """
    by_name = _scales_by_name(config, scales.operand, scales.full)
    tensors = {f"{name}.full_scale": Tensor.from_numpy(full.astype(np.float32)) for name, full in scales.full.items()}
    for node in config.nodes:
        if isinstance(node, StandardiseNode):
            tensors |= {name: artifact.tensors[name] for name in (f"{node.name}.mean", f"{node.name}.std")}
        tensors |= static_tensors(artifact, node, by_name, moments)
        if isinstance(node, GruNode):
            tensors |= initial_state(artifact, node, scales.full.get(node.name))
    for name, step in scales.output.items():
        tensors[f"{name}.output_scale"] = Tensor.from_numpy(step.astype(np.float32))
    return Artifact(config, tensors)


def _operand_scale(artifact: Artifact, config: ModelConfig, name: str, ranges: Ranges, margin: float) -> float:
    """Real value of one operand unit; a float32 number so that its shortest text is short."""
    node, bits = config.node(name.removesuffix(".rh")), operand_bits(config, name)
    limit = fx.OPERAND_LIMIT[bits]
    if isinstance(node, EmbeddingNode):  # its values are known, calibrated or not
        reach = float(np.max(np.abs(artifact.array(f"{name}.weight")))) / HEADROOM[bits]
    else:
        reach = ranges.operand[name].reach(limit) * margin
    if reach == 0:
        raise QuantizationError(f"value {name} was zero at every step of the calibration data, expected it to vary")
    if isinstance(node, (GruNode, LinearNode)) or node.kind == "convolution":  # tanh or sigmoid: never beyond 1
        if bits == 16:
            return 2.0**-15
        reach = min(reach, 1.0)
    else:
        reach *= HEADROOM[bits]
    return fx.float32(reach / limit)


def _full_scales(config: ModelConfig, ranges: Ranges, margin: float) -> dict[str, Floats]:
    """The range of every number of the nodes that have one each: (size,) float32 numbers, in double precision."""
    result = {}
    for name, observers in ranges.units.items():
        bits = operand_bits(config, name)
        reach = np.array([observer.reach(fx.OPERAND_LIMIT[bits]) for observer in observers]) * margin * HEADROOM[bits]
        if not np.any(reach):
            raise QuantizationError(f"value {name} was zero at every step of the calibration data, expected it to vary")
        full = np.full_like(reach, np.max(reach))  # with 16 bits all have steps enough in one range
        if bits == 8:
            # Half-way between a range each, which leaves small units their steps, and one for all, which leaves the
            # weights of their columns theirs.
            full = np.sqrt(np.maximum(reach, NARROWEST * full) * full)
        result[name] = full.astype(np.float32).astype(np.float64)
    return result


def _scales_by_name(
    config: ModelConfig, operand_scale: dict[str, float], full_scales: dict[str, Floats]
) -> dict[str, Floats]:
    """What one unit of each number of an operand is worth, by value name; the rule of ``operands.operand_scales``."""
    scales: dict[str, Floats] = {}
    for node in config.nodes:
        if node.name in full_scales:
            scales[node.name] = full_scales[node.name] * 2.0 ** (1 - operand_bits(config, node.name))
        elif isinstance(node, ConcatenateNode):
            names = pieces(config, node.name)
            if not scales.keys() >= {*names}:
                continue  # nobody multiplies it
            if is_evened(config, node.name):
                scales[node.name] = np.full(node.size, even_scale(config, node.name, scales))
            else:
                scales[node.name] = np.concatenate([scales[name] for name in names])
        else:
            for name in (node.name, f"{node.name}.rh"):
                if name in operand_scale:
                    scales[name] = np.full(node.output_size, operand_scale[name])
    return scales


def _clips(
    config: ModelConfig, ranges: Ranges, operand_scale: dict[str, float], full_scales: dict[str, Floats]
) -> dict[str, float]:
    """The share of the calibration data's values that lay beyond the range, of values where any did."""
    clips = {}
    for name, scale in operand_scale.items():
        if not isinstance(config.node(name.removesuffix(".rh")), EmbeddingNode):
            limit = fx.OPERAND_LIMIT[operand_bits(config, name)]
            clips[name] = ranges.operand[name].beyond(scale * (limit + 1))  # what rounds to the limit is not clipped
    for name, full in full_scales.items():
        shares = [observer.beyond(f * (1 + 2.0**-23)) for observer, f in zip(ranges.units[name], full, strict=True)]
        clips[name] = float(np.mean(shares))  # full scales were rounded to float32
    return {name: float(f"{share:.3g}") for name, share in clips.items() if share > 0}
