"""The integers that a static scheme computes with, derived from an artifact's scales: standard library only.

Every engine starts from what is derived here, so that they can agree in every bit; the equations are in
docs/quantization.md. ``scales`` are what one unit of each number of a value is worth.
"""

from __future__ import annotations

from edgegru_runtime import fixed_point as fx
from edgegru_runtime.model_config import (
    HARD_SIGMOIDS,
    UNBOUNDED,
    AttentionNode,
    ConcatenateNode,
    ConvolutionNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    HeadNode,
    LinearNode,
    LogMelNode,
    Node,
    StandardiseNode,
)
from edgegru_runtime.operands import (
    OPERANDS_AT_ONCE,
    is_evened,
    operand_bits,
    operand_limit,
    operand_names,
    operand_scales,
    pieces,
)
from edgegru_runtime.plain_data import dataclass

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgegru_runtime.artifact import Artifact
    from edgegru_runtime.model_config import ModelConfig


@dataclass(frozen=True)
class Multipliers:
    """``M / 2^shift`` for each number of a vector, or one for all."""

    integers: list[int]
    shift: int


@dataclass(frozen=True)
class PairMultipliers:
    """Multipliers of two vectors with one shift."""

    a: list[int]
    b: list[int]
    shift: int


@dataclass(frozen=True)
class GruMultipliers:
    """Those of a GRU: both products of the rows of r and z and of n, and what makes operands of h and of r ⊙ h."""

    rz: PairMultipliers
    n: PairMultipliers
    h: Multipliers
    rh: Multipliers


@dataclass(frozen=True)
class AttentionMultipliers:
    """From a query to arguments of tanh, from sums to arguments of softmax."""

    query: Multipliers
    score: Multipliers


@dataclass(frozen=True)
class HeadParameters:
    """From a value to what a head gives out: integers times ``scale`` plus ``offset``, both float32."""

    multipliers: Multipliers | None
    scale: list[float]
    offset: Sequence[float] | None


class Derivation:
    """The integers of every node; raises ArtifactError where scales leave the arithmetic's range.

    ``scale``: of every value, by node; ``operand``: multipliers and limit of the values that become operands, but for
    those that are operands at once. ``coefficients``: a and b of a standardise node; ``rows``: of an embedding;
    ``argument``: of the linear nodes and convolutions with tanh or a sigmoid; ``gru``; ``attention``; ``pair`` of an
    add node, ``product`` of a multiply node; ``head``.
    """

    def __init__(self, artifact: Artifact) -> None:
        self._artifact, config = artifact, artifact.config
        self.scale: dict[str, list[float]] = {}
        self.operand: dict[str, tuple[Multipliers, int]] = {}
        self.coefficients: dict[str, tuple[list[float], list[float]]] = {}
        self.rows: dict[str, Multipliers] = {}
        self.argument: dict[str, Multipliers] = {}
        self.gru: dict[str, GruMultipliers] = {}
        self.attention: dict[str, AttentionMultipliers] = {}
        self.pair: dict[str, PairMultipliers] = {}
        self.product: dict[str, Multipliers] = {}
        self.head: dict[str, HeadParameters] = {}
        for node in config.nodes:
            self._derive(node)
        operands = operand_names(config)
        concatenations = [node.name for node in config.nodes if isinstance(node, ConcatenateNode)]
        evened = [name for name in concatenations if is_evened(config, name) and {*operands} >= {*pieces(config, name)}]
        for name in (*operands, *evened):
            if not isinstance(config.node(name), OPERANDS_AT_ONCE):
                ratios = [
                    value / unit for value, unit in zip(self.scale[name], operand_scales(artifact, name), strict=True)
                ]
                self.operand[name] = _multipliers(ratios, name), operand_limit(config, name)

    def _derive(self, node: Node) -> None:
        artifact, name = self._artifact, node.name
        match node:
            case LogMelNode():
                self.scale[name] = [2.0**-fx.LOG2_BITS] * node.output_size
            case StandardiseNode():
                self.scale[name] = operand_scales(artifact, name)
                mean, std = (artifact.numbers(f"{name}.{field}") for field in ("mean", "std"))
                self.coefficients[name] = fx.input_coefficients(mean, std, self.scale[name][0], name)
            case EmbeddingNode():
                self.scale[name] = operand_scales(artifact, name)
                unit = self.scale[name][0]
                self.rows[name] = _multipliers([s / unit for s in artifact.numbers(f"{name}.weight_scale")], name)
            case LinearNode() | ConvolutionNode():
                self._derive_linear(node)
            case GruNode():
                self._derive_gru(node)
            case AttentionNode(inputs=(query,)):
                self.scale[name] = operand_scales(artifact, name)
                to_argument = [s * _to_argument("tanh") for s in self.scale[query]]
                weight = artifact.numbers(f"{name}.weight_scale")[0]
                score = weight * 2.0 ** (fx.SOFTMAX_ARGUMENT_BITS - fx.CANDIDATE_BITS)
                self.attention[name] = AttentionMultipliers(
                    query=_multipliers(to_argument, name),
                    score=_multipliers([score], name),
                )
            case ElementwiseNode(inputs=(left, right)):
                unit_scales = [full * 2.0**-fx.VALUE_BITS for full in artifact.numbers(f"{name}.full_scale")]
                self.scale[name] = unit_scales
                if node.kind == "add":
                    a, b = (
                        [s / unit for s, unit in zip(self.scale[of], unit_scales, strict=True)] for of in node.inputs
                    )
                    self.pair[name] = _pair(a, b, name)
                else:
                    factors = zip(
                        operand_scales(artifact, left), operand_scales(artifact, right), unit_scales, strict=True
                    )
                    self.product[name] = _multipliers([a * b / unit for a, b, unit in factors], name)
            case ConcatenateNode():
                self.scale[name] = [scale for read in node.inputs for scale in self.scale[read]]
            case HeadNode():
                self._derive_head(node)

    def _derive_linear(self, node: LinearNode | ConvolutionNode) -> None:
        source = max(operand_scales(self._artifact, node.inputs[0]))
        scale = [row * source for row in self._artifact.numbers(f"{node.name}.weight_scale")]
        if node.activation not in UNBOUNDED:
            self.argument[node.name] = _multipliers([s * _to_argument(node.activation) for s in scale], node.name)
            bits = fx.CANDIDATE_BITS if node.activation == "tanh" else fx.GATE_BITS
            scale = [2.0**-bits] * node.output_size
        self.scale[node.name] = scale

    def _derive_gru(self, node: GruNode) -> None:
        artifact, name, size = self._artifact, node.name, node.hidden_size
        h_scales = operand_scales(artifact, name)
        if node.unbounded:
            scale = [full * 2.0**-fx.STATE_BITS for full in artifact.numbers(f"{name}.full_scale")]
            to_candidate = [1 / s for s in scale]
            rh_scales, h_ratio = h_scales, 2.0 ** (operand_bits(artifact.config, name) - 1 - fx.STATE_BITS)
            rh_ratio = h_ratio
        else:
            scale = [2.0**-fx.STATE_BITS] * size
            to_candidate = [_to_argument(node.candidate_activation)] * size
            rh_scales = h_scales if node.reset == "after" else operand_scales(artifact, f"{name}.rh")
            h_ratio, rh_ratio = (2.0**-fx.STATE_BITS / scales[0] for scales in (h_scales, rh_scales))
        # The rows of r and z give arguments of gates, those of n tanh's or h itself; the n rows of W_hh multiply h or,
        # with reset before, r ⊙ h.
        source, recurrent, inner = max(operand_scales(artifact, node.inputs[0])), max(h_scales), max(rh_scales)
        ih = [row * source for row in artifact.numbers(f"{name}.weight_ih_scale")]
        hh = artifact.numbers(f"{name}.weight_hh_scale")
        to_gate = _to_argument(node.gate_activation)
        n_ih = [s * g for s, g in zip(ih[2 * size :], to_candidate, strict=True)]
        n_hh = [s * inner * g for s, g in zip(hh[2 * size :], to_candidate, strict=True)]
        self.scale[name] = scale
        self.gru[name] = GruMultipliers(
            rz=_pair([s * to_gate for s in ih[: 2 * size]], [s * recurrent * to_gate for s in hh[: 2 * size]], name),
            n=_pair(n_ih, n_hh, name),
            h=_multipliers([h_ratio], name),
            rh=_multipliers([rh_ratio], name),
        )

    def _derive_head(self, node: HeadNode) -> None:
        source = node.inputs[0]
        scale, tensors = self.scale[source], self._artifact.tensors
        offset = None
        multipliers: Multipliers | None = None
        if node.kind in ("softmax", "log_softmax"):
            multipliers = _multipliers([s * 2.0**fx.SOFTMAX_ARGUMENT_BITS for s in scale], node.name)
            logarithm = fx.float32(fx.LN_2 * 2.0**-fx.LOG2_BITS)
            output_scale = [2.0**-fx.PROBABILITY_BITS if node.kind == "softmax" else logarithm] * node.size
        elif node.kind == "sigmoid":
            multipliers = _multipliers([s * _to_argument("sigmoid") for s in scale], node.name)
            output_scale = [2.0**-fx.GATE_BITS] * node.size
        elif f"{source}.output_scale" in tensors:
            output_scale = list(self._artifact.numbers(f"{source}.output_scale"))
            multipliers = _multipliers([s / unit for s, unit in zip(scale, output_scale, strict=True)], node.name)
            if f"{source}.output_offset" in tensors:
                offset = self._artifact.numbers(f"{source}.output_offset")
        else:  # tanh, sigmoid, sums and products have their scale from their format
            output_scale = [fx.float32(s) for s in scale]
        self.head[node.name] = HeadParameters(multipliers, output_scale, offset)


def row_coefficients(config: ModelConfig, node: AttentionNode) -> tuple[list[float], list[float]]:
    """The float32 a and b of ``q = floor(a · x + b)``, what is remembered of a row: operands, then keys."""
    assert config.quantization is not None
    value, key = 1.0 / config.quantization.operand_scale[node.name], _to_argument("tanh")
    return [fx.float32(value)] * node.output_size + [key] * node.size, [0.5] * node.row_size


def _to_argument(activation: str) -> float:
    """What an argument is multiplied by, to be the integer that a bounded activation takes."""
    if activation in HARD_SIGMOIDS:
        return 2.0**fx.HARD_SIGMOID_ARGUMENT_BITS / HARD_SIGMOIDS[activation]
    return 2.0 ** (fx.TANH_ARGUMENT_BITS if activation == "tanh" else fx.SIGMOID_ARGUMENT_BITS)


def _multipliers(ratios: Sequence[float], where: str) -> Multipliers:
    integers, shift = fx.multipliers(ratios, where)
    return Multipliers(integers, shift)


def _pair(a: Sequence[float], b: Sequence[float], where: str) -> PairMultipliers:
    integers, shift = fx.multipliers([*a, *b], where)
    return PairMultipliers(integers[: len(a)], integers[len(a) :], shift)
