"""A static-w8a8 or static-w8a16 artifact as one TFLite file: int8 weights, int16 activations and states (or, of
static-w8a8 and on request, all int8).

Every product is a CONV_2D, the one matrix product of TFLite that takes int8 weights with a scale per row, exists with
int16 activations, and runs alike in LiteRT, tflite-runtime 2.14 and TFLite Micro. The artifact's int8 weights enter
unchanged, and 16-bit operands are the artifact's own. The ranges of values between the products are TFLite's own and so
is its rounding, which makes the file close to docs/quantization.md, not equal to it; docs/export-tflite.md has the
operators and the measurements.

Values are (1, 1, 1, size) between the input and the heads, both of which compute in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edgegru_export.tflite_attention import attend
from edgegru_export.tflite_model import FLOAT, NO_ACTIVATION, RELU, TensorKind, Value
from edgegru_export.tflite_ranges import INT8, INT16_BY_ROOM, Floats, Precision, Quantity, Rows
from edgegru_export.tflite_step import StepBuilder
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.fixed_point import STATE_BITS, TANH_ARGUMENT_BITS
from edgegru_runtime.model_config import (
    HARD_SIGMOIDS,
    STATIC_SCHEMES,
    UNBOUNDED,
    AttentionNode,
    ConcatenateNode,
    ConvolutionNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    HeadNode,
    LayerNormalisationNode,
    LinearNode,
    ModelConfig,
    Node,
    StandardiseNode,
)
from edgegru_runtime.operands import has_full_scale, operand_bits, operand_names, operand_scales, pieces

LARGEST_RESCALING = 2.0**7  # of an accumulator; TFLite's kernels shift to the left by at most 7 bits
UNIT_WEIGHT = 64  # of products that only rescale
OPERAND_HEADROOM = {8: 1.0, 16: 2.0}  # by bits: what quantization leaves an operand beyond the calibrated range


def build(artifact: Artifact, state: str = "io", allow_int8_state: bool = False) -> bytes:
    """The TFLite file's bytes, the first of ``builds``."""
    return next(builds(artifact, state, allow_int8_state))


def builds(artifact: Artifact, state: str = "io", allow_int8_state: bool = False) -> Iterator[bytes]:
    """Files from the finest to that with most room, of which the first that computes what the model does is the best.

    ``state``: "io" or "variables"; ``allow_int8_state``: activations and state as int8, for devices without int16
    kernels. Such a state has 7 fractional bits, and a slow unit stops far from its target: whoever asks for it must be
    warned. Raises ExportError for what the format cannot express.
    """
    fine = artifact.config.scheme == "static-w8a16"  # those of 8-bit operands have a bit of precision to spare
    precisions = INT16_BY_ROOM if fine else INT16_BY_ROOM[1:]
    if allow_int8_state:
        _refuse_wide_operands(artifact.config)
        precisions = (INT8,)
    for precision in precisions:
        yield _IntegerStep(artifact, precision).build(state)


def _refuse_wide_operands(config: ModelConfig) -> None:
    """Raises ExportError where 8 bits would lose what the model's 16 bits are for; those of the input may be."""
    if config.scheme == "static-w8a16":
        raise ExportError("an int8 state was allowed for a static-w8a16 model, expected static-w8a8")
    if config.attention is not None:
        raise ExportError(f"an int8 state was allowed, and keys of {config.attention.name} have 16 bits")
    first = config.entry
    for name in operand_names(config) if config.static else ():
        beside_others = any(
            isinstance(node, ConcatenateNode) or (isinstance(node, ConvolutionNode) and node.state_size)
            for node in config.nodes
            if name in node.inputs
        )
        if operand_bits(config, name) == 16 and (name != first.name or beside_others):
            raise ExportError(f"an int8 state was allowed, and {name} is kept at 16 bits, expected static-w8a8")


class _IntegerStep(StepBuilder[Quantity]):
    schemes = STATIC_SCHEMES

    def __init__(self, artifact: Artifact, precision: Precision) -> None:
        super().__init__(artifact, precision.fraction)
        self.precision, self.fraction = precision, precision.fraction

    def state_shifts(self) -> list[int]:
        coarser = STATE_BITS + 1 - self.precision.bits
        shifts = []
        for node in self.config.state_nodes:
            if isinstance(node, (ConvolutionNode, AttentionNode)):
                shifts.append(0)  # it keeps the operands of the reference, and keys
            else:
                shifts.append(coarser + (0 if self._bounded(node) else round(np.log2(self._widened(node.name)))))
        return shifts

    def standardise(self, node: StandardiseNode, x: Value) -> Quantity:
        shape, unit = (1, 1, 1, node.size), self._operand_unit(node.name)
        spread = self.tensor(node, "std") * (unit / self._step)  # to a share of the operand's range at once
        mean = self.graph.constant(f"{node.name}.mean", self.tensor(node, "mean").reshape(shape))
        std = self.graph.constant(f"{node.name}.std", spread.astype(np.float32).reshape(shape))
        centred = self.graph.add("SUB", [x, mean], f"{node.name}.centred", shape, FLOAT)
        share = self.graph.add("DIV", [centred, std], f"{node.name}.float", shape, FLOAT)
        return Quantity(self._unary("QUANTIZE", share, node.name, self.fraction), unit, self._reach(node))

    def embedding(self, node: EmbeddingNode, row: Value) -> Quantity:
        shape, unit = (1, 1, 1, node.output_size), self._operand_unit(node.name)
        real = self.tensor(node, "weight") * self.tensor(node, "weight_scale").astype(np.float64)[:, np.newaxis]
        stored = np.clip(np.floor(real / unit + 0.5), -self.precision.limit, self.precision.limit)
        table = (stored * self._step).astype(np.float32).reshape(node.num_embeddings, *shape[1:])
        weight = self.graph.constant(f"{node.name}.weight", table)
        share = self.graph.add("GATHER", [weight, row], f"{node.name}.float", shape, FLOAT, axis=0)
        return Quantity(self._unary("QUANTIZE", share, node.name, self.fraction), unit, self._reach(node))

    def linear(self, node: LinearNode, source: Quantity) -> Quantity:
        rows = self._rows(node, "weight", "bias", node.inputs[0], source)
        return self._activated(node, source.tensor, rows, source.reach)

    def convolution(
        self, node: ConvolutionNode, source: Quantity, kept: Value | None, next_name: str
    ) -> tuple[Quantity, Value | None]:
        name, graph, frames, after = node.name, self.graph, source.tensor, None
        if kept is not None:  # the state holds the very operands of the artifact
            unit = np.array(operand_scales(self.artifact, node.inputs[0]))
            source = self._rescaled(source, unit, self.fraction, f"{name}.x")
            before = graph.reshape(kept, f"{name}.kept", (1, node.frames, 1, node.input_size))
            frames = graph.concatenate([before, source.tensor], f"{name}.frames", axis=1)
            after = graph.reshape(graph.drop_first(frames, f"{name}.newest", axis=1, count=1), next_name, kept.shape)
        rows = self._rows(node, "weight", "bias", node.inputs[0], source)
        return self._activated(node, frames, rows, source.reach, node.dilation), after

    def gru(self, node: GruNode, source: Quantity, h: Value, next_name: str) -> tuple[Quantity, Value]:
        name, size, precision = node.name, node.hidden_size, self.precision
        rz = slice(0, 2 * size)
        unit = self._full_unit(node) if node.unbounded else np.full(size, self._step)
        state = Quantity(self.graph.reshape(h, f"{name}.h", (1, 1, 1, size)), unit, self._reach(node))
        rows_ih = self._rows(node, "weight_ih", "bias_ih", node.inputs[0], source)
        rows_hh = self._rows(node, "weight_hh", None, name, state)
        divisor, kind = self._argument(node.gate_activation)
        gates_x, gates_h = (
            self._addend(part, rows.over(np.full(2 * size, divisor)), precision.gate_range / divisor, title)
            for part, rows, title in ((source, rows_ih[rz], f"{name}.rz_x"), (state, rows_hh[rz], f"{name}.rz_h"))
        )
        argument = self._binary("ADD", gates_x, gates_h, f"{name}.rz_sum", kind)
        gates = self._bounded_by(node.gate_activation, argument, f"{name}.rz")
        r, z = self.graph.split(gates, [f"{name}.r", f"{name}.z"])
        h_next = self._mix(name, z, self._candidate(node, source, rows_ih, state, rows_hh, r), state.tensor)
        return Quantity(h_next, unit, state.reach), self.graph.reshape(h_next, next_name, (1, size))

    def _candidate(
        self, node: GruNode, source: Quantity, rows_ih: Rows, state: Quantity, rows_hh: Rows, r: Value
    ) -> Value:
        """n, in units of the state or, where those are too small for it, in wider ones that its scale tells."""
        name, n_rows, precision = node.name, slice(2 * node.hidden_size, None), self.precision
        rows_x, rows_h, read = rows_ih[n_rows], rows_hh[n_rows], state
        if node.reset == "before":
            read = replace(state, tensor=self._binary("MUL", r, state.tensor, f"{name}.rh", self.fraction))
            rows_h = self._rows(node, "weight_hh", None, f"{name}.rh", read)[n_rows]
        elif node.bias:
            accumulator = self._accumulator(node, "weight_hh", name)[n_rows]
            rows_h = replace(rows_h, bias=self.tensor(node, "bias_hn") * accumulator)
        parts = ((source, rows_x, f"{name}.n_x"), (read, rows_h, f"{name}.n_h"))
        if not node.unbounded:
            divisor, kind = self._argument(node.candidate_activation)
            limit = precision.candidate_range if node.candidate_activation == "tanh" else precision.gate_range / divisor
            n_x, n_h = (
                self._addend(part, rows.over(np.full(node.hidden_size, divisor)), limit, title)
                for part, rows, title in parts
            )
        else:
            own = [rows.over(state.unit) for _, rows, _ in parts]
            seldom = [2 * np.max(rows.often(part.reach)) for rows, (part, _, _) in zip(own, parts, strict=True)]
            widening = self._widening(max(seldom))
            kind = self._wide(widening)
            n_x, n_h = (
                self._product(part.tensor, rows.over(state.unit * widening), kind, title) for part, rows, title in parts
            )
        if node.reset == "after":
            n_h = self._binary("MUL", r, n_h, f"{name}.n_rh", n_h.kind)
        if node.unbounded:
            return self._binary("ADD", n_x, n_h, f"{name}.n", n_x.kind, relu=node.candidate_activation == "relu")
        argument = self._binary("ADD", n_x, n_h, f"{name}.n_sum", kind)
        return self._bounded_by(node.candidate_activation, argument, f"{name}.n")

    def attention(self, node: AttentionNode, source: Quantity, kept: Value) -> Quantity:
        """In floats, between integers: the state holds the integers of the reference."""
        name, shape = node.name, (1, 1, 1, node.output_size)
        query = self.graph.reshape(self._real(source, f"{name}.in"), f"{name}.flat", (1, node.size))
        value, key = np.array(operand_scales(self.artifact, name)), np.full(node.size, 2.0**-TANH_ARGUMENT_BITS)
        units = np.array([1.0, *node.length * [*value, *key]]) / self._scale(kept.kind)
        stored = self._unary("DEQUANTIZE", kept, f"{name}.stored", FLOAT)
        unit = self.graph.constant(f"{name}.units", units.astype(np.float32)[np.newaxis])
        state = self._binary("MUL", stored, unit, f"{name}.state", FLOAT)
        weight = self.tensor(node, "weight") * self.tensor(node, "weight_scale")
        found = attend(self.graph, node, query, state, weight.astype(np.float32))
        own = self._operand_unit(name)
        to_share = self.graph.constant(f"{name}.to_share", (self._step / own).astype(np.float32)[np.newaxis])
        scaled = self._binary("MUL", found, to_share, f"{name}.scaled", FLOAT)
        share = self.graph.reshape(scaled, f"{name}.share", shape)
        return Quantity(self._unary("QUANTIZE", share, name, self.fraction), own, self._reach(node))

    def elementwise(self, node: ElementwiseNode, a: Quantity, b: Quantity) -> Quantity:
        name, unit = node.name, self._full_unit(node)
        if node.kind == "add":
            left, right = self._summand(a, unit, f"{name}.a"), self._summand(b, unit, f"{name}.b")
            value = self._binary("ADD", left, right, name, self.fraction)
        else:
            factor = a.unit * b.unit / (unit * self._scale(b.tensor.kind))
            largest = float(np.max(factor))
            kind = replace(self.fraction, scale=self._step * largest)
            scaled = self._rescaled(a, a.unit * largest / factor, kind, f"{name}.a")
            value = self._binary("MUL", scaled.tensor, b.tensor, name, self.fraction)
        return Quantity(value, unit, self._reach(node))

    def layer_normalisation(self, node: LayerNormalisationNode, source: Quantity) -> Quantity:
        raise AssertionError("an artifact of a static scheme has no such node")

    def concatenate(self, node: ConcatenateNode, sources: list[Quantity]) -> Quantity:
        name = node.name
        units = np.concatenate([source.unit for source in sources])
        if {*pieces(self.config, name)} <= {*operand_names(self.config)}:
            units = self._operand_unit(name)
        ends = np.cumsum([len(source.unit) for source in sources])[:-1]
        parts = [
            self._rescaled(source, unit, self.fraction, f"{name}.{read}")
            for read, source, unit in zip(node.inputs, sources, np.split(units, ends), strict=True)
        ]
        value = self.graph.concatenate([part.tensor for part in parts], name, axis=3)
        unit, reach = (np.concatenate([getattr(part, field) for part in parts]) for field in ("unit", "reach"))
        return Quantity(value, unit, reach)

    def head(self, node: HeadNode, source: Quantity, output_name: str) -> Value:
        value = self._real(source, node.name)
        if f"{node.inputs[0]}.output_offset" in self.artifact.tensors:
            offset = self.artifact.array(f"{node.inputs[0]}.output_offset").reshape(value.shape)
            moved = self.graph.constant(f"{node.name}.offset", offset)
            value = self.graph.add("ADD", [value, moved], f"{node.name}.moved", value.shape, FLOAT)
        if node.kind == "softmax":
            value = self.graph.add("SOFTMAX", [value], node.name, value.shape, FLOAT, beta=1.0)
        elif node.kind == "log_softmax":
            value = self._unary("LOG_SOFTMAX", value, node.name, FLOAT)
        elif node.kind == "sigmoid":
            value = self._unary("LOGISTIC", value, node.name, FLOAT)
        return self.graph.reshape(value, output_name, (1, node.size))

    def _real(self, source: Quantity, name: str) -> Value:
        """A value in float32."""
        value = self._unary("DEQUANTIZE", source.tensor, f"{name}.float", FLOAT)
        factor = source.unit / self._scale(source.tensor.kind)
        if np.all(factor == 1):
            return value
        units = self.graph.constant(f"{name}.unit", factor.astype(np.float32).reshape(value.shape))
        return self._binary("MUL", value, units, f"{name}.real", FLOAT)

    def _activated(
        self, node: LinearNode | ConvolutionNode, source: Value, rows: Rows, reach: Floats, dilation: int = 1
    ) -> Quantity:
        """The node's activation of a product; ``reach``: of what it multiplies."""
        name, precision = node.name, self.precision
        if node.activation not in UNBOUNDED:
            divisor, kind = self._argument(node.activation)
            over = rows.over(np.full(node.output_size, divisor * self._scale(kind)))
            argument = self._product(source, over, kind, f"{name}.sum", dilation=dilation)
            value = self._bounded_by(node.activation, argument, name)
            return Quantity(value, np.full(node.output_size, self._scale(value.kind)), self._reach(node))
        readers = [reader for reader in self.config.nodes if name in reader.inputs]
        kind = self.fraction
        if has_full_scale(self.config, node):
            unit = self._full_unit(node)
        elif len(readers) == 1 and isinstance(readers[0], ElementwiseNode):  # a sum: a product's were operands
            unit = self._full_unit(readers[0])
            widening = self._widening(2 * np.max(rows.over(unit).often(reach)))
            kind, unit = self._wide(widening), unit * widening
        elif f"{name}.output_scale" in self.artifact.tensors:
            unit = self.tensor(node, "output_scale") * (2.0**15 * precision.output_headroom * self._step)
        else:
            limit = precision.output_range
            if any(reader.kind == "log_softmax" for reader in readers):  # improbable numbers count, too
                limit = max(limit, float(4 * np.max(rows.often(reach))))
            ranged = self._ranged(rows, reach, limit)
            unit = np.full(node.output_size, self._scale(ranged))
            if all(isinstance(reader, HeadNode) for reader in readers):
                kind = ranged
        relu = node.activation == "relu"
        value = self._product(source, rows.over(unit), kind, name, relu=relu, dilation=dilation)
        return Quantity(value, unit, self._reach(node))

    def _argument(self, activation: str) -> tuple[float, TensorKind]:
        """What arguments of a bounded activation are divided by, and how they are stored then."""
        if activation in HARD_SIGMOIDS:
            return HARD_SIGMOIDS[activation], self.precision.hard_sigmoid_argument
        return 1.0, self.precision.tanh_argument if activation == "tanh" else self.precision.sigmoid_argument

    def _bounded_by(self, activation: str, argument: Value, name: str) -> Value:
        """Of such arguments; a hard sigmoid has been saturated with its argument, and only 1/2 is added."""
        if activation == "tanh":
            return self._unary("TANH", argument, name, self.fraction)
        if activation == "sigmoid":
            return self._unary("LOGISTIC", argument, name, self.precision.gate)
        stored = np.full(argument.shape, round(0.5 / self._step), self.precision.dtype)
        half = self.graph.constant(f"{name}.half", stored, self.fraction)
        return self._binary("ADD", argument, half, name, self.precision.gate)

    def _mix(self, name: str, z: Value, n: Value, h: Value) -> Value:
        """(1 − z) ⊙ n + z ⊙ h. With n + z ⊙ (h − n) units that move slowly stop farther from their target,
        because h − n needs twice the range.
        """
        precision = self.precision
        halved = TensorKind(precision.dtype, 2 * self._step)  # holds 1 exactly
        ones = self.graph.constant(f"{name}.one", np.full(z.shape, (precision.limit + 1) // 2, halved.dtype), halved)
        new = self._binary("SUB", ones, z, f"{name}.one_minus_z", precision.gate)
        new_part = self._binary("MUL", new, n, f"{name}.n_part", self.fraction)
        old_part = self._binary("MUL", z, h, f"{name}.h_part", self.fraction)
        return self._binary("ADD", new_part, old_part, name, self.fraction)

    @property
    def _step(self) -> float:
        """The unit of a value as a share of its range."""
        return self._scale(self.fraction)

    @staticmethod
    def _scale(kind: TensorKind) -> float:
        assert kind.scale is not None
        return kind.scale

    def _widened(self, name: str) -> float:
        """What the range of a value is here, over that of the artifact's operand, whose width leaves it less headroom
        or more.
        """
        return self.precision.headroom / OPERAND_HEADROOM[operand_bits(self.config, name)]

    def _operand_unit(self, name: str) -> Floats:
        """What one unit of each number of an operand is worth here: as fine as this precision."""
        excess = operand_bits(self.config, name) - self.precision.bits
        return np.array(operand_scales(self.artifact, name)) * (2.0**excess * self._widened(name))

    def _full_unit(self, node: Node) -> Floats:
        """What one unit of each number of a value with a full scale is worth."""
        return self.tensor(node, "full_scale").astype(np.float64) * (self._step * self._widened(node.name))

    def _bounded(self, node: Node) -> bool:
        """Whether an activation bounds its value by 1."""
        layer = isinstance(node, (GruNode, LinearNode, ConvolutionNode))
        return layer and not has_full_scale(self.config, node)

    def _reach(self, node: Node) -> Floats:
        """The largest stored magnitude to expect of each number of its value."""
        headroom = 1.0 if self._bounded(node) else self.precision.headroom
        return np.full(node.output_size, (self.precision.limit + 1) / headroom)

    def _widening(self, largest: float) -> int:
        """The power of two by which a range has to be wider for numbers up to ``largest``, in units."""
        widening = 1
        while largest > widening * self.precision.limit and widening < self.precision.most_widening:
            widening *= 2
        return widening

    def _wide(self, widening: int) -> TensorKind:
        """Shares of a range, as the others are, which is so much wider."""
        return replace(self.fraction, scale=self._step * widening)

    def _accumulator(self, node: Node, weight: str, operand: str) -> Floats:
        """What one unit of each accumulator is worth in the artifact, which multiplies the rows with ``operand``."""
        common = np.max(operand_scales(self.artifact, operand))
        return np.asarray(self.tensor(node, f"{weight}_scale").astype(np.float64) * common)

    def _rows(self, node: Node, weight: str, bias: str | None, operand: str, source: Quantity) -> Rows:
        """The rows of a matrix over ``source``; ``operand``: what the artifact multiplies it with."""
        accumulator = self._accumulator(node, weight, operand)
        real_bias = np.zeros(len(accumulator))
        if bias is not None and f"{node.name}.{bias}" in self.artifact.tensors:
            real_bias = self.tensor(node, bias) * accumulator
        finer = source.unit[0] / operand_scales(self.artifact, operand)[0]  # the same for all numbers
        return Rows(self.tensor(node, weight), accumulator * finer, real_bias)

    def _summand(self, part: Quantity, unit: Floats, name: str) -> Value:
        """A value in units of a sum, or in wider ones that its scale tells: two that cancel may exceed their sum."""
        if np.allclose(part.unit / unit, self._scale(part.tensor.kind) / self._step, rtol=1e-12, atol=0):
            return part.tensor
        widening = self._widening(float(np.max(part.reach * part.unit / unit)))
        return self._rescaled(part, unit * widening, self._wide(widening), name).tensor

    def _ranged(self, rows: Rows, reach: Floats, limit: float) -> TensorKind:
        """The kind of a product: no wider than it can get, and wider than ``limit`` only where it often is."""
        most = float(np.max(rows.largest(np.full(len(reach), self.precision.limit + 1.0))))
        return self.precision.ranged(min(most, max(limit, float(np.max(rows.often(reach))))))

    def _addend(self, source: Quantity, rows: Rows, limit: float, name: str) -> Value:
        """A product that is added to another, for an argument that saturates."""
        kind = self._ranged(rows, source.reach, limit)
        return self._product(source.tensor, rows.over(np.full(len(rows.scale), self._scale(kind))), kind, name)

    def _rescaled(self, quantity: Quantity, unit: Floats, kind: TensorKind, name: str) -> Quantity:
        """The same numbers in other units; a DEPTHWISE_CONV_2D where they differ."""
        if quantity.tensor.kind == kind and np.allclose(quantity.unit, unit, rtol=1e-12, atol=0):
            return quantity
        size = len(unit)
        weight = np.full((1, 1, 1, size), UNIT_WEIGHT, np.int8)
        rows = Rows(weight.reshape(size, 1), quantity.unit / UNIT_WEIGHT, np.zeros(size)).over(unit)
        value = self._product(quantity.tensor, replace(rows, weight=weight), kind, name, depthwise=True)
        limit = self.precision.limit + 1
        return Quantity(value, unit, np.asarray(np.minimum(quantity.reach * quantity.unit / unit, limit)))

    def _product(
        self,
        source: Value,
        rows: Rows,
        kind: TensorKind,
        name: str,
        *,
        relu: bool = False,
        dilation: int = 1,
        depthwise: bool = False,
    ) -> Value:
        """``rows``, their scales and biases in units of the result, times ``source``: a convolution over an image of
        one pixel a frame, which has as many channels as ``rows`` has columns.

        The zero bias where the model has none keeps the accumulators of every runtime at their full width.
        """
        precision = self.precision
        count = len(rows.scale)
        weight = rows.weight if depthwise else rows.weight.reshape(count, -1, 1, source.shape[-1])
        bias = np.round(rows.bias / rows.scale)
        operands = np.sum(np.abs(rows.weight.astype(np.int64)).reshape(count, -1), axis=1) * (precision.limit + 1.0)
        if np.any(operands + np.abs(bias) >= precision.accumulator_limit):
            raise ExportError(f"{name}: a bias is too large for TFLite's accumulators beside the scale of its weights")
        if np.any(rows.scale >= LARGEST_RESCALING):
            raise ExportError(f"{name}: a weight scale is too large for TFLite's rescaling of accumulators")
        scales = rows.scale * self._scale(kind)  # of accumulators; TFLite rescales them by this over the result's scale
        weight_scales = scales / self._scale(source.kind)
        inputs = [
            source,
            self.graph.row_scaled_constant(f"{name}.weight", weight, weight_scales, axis=3 if depthwise else 0),
            self.graph.row_scaled_constant(f"{name}.bias", bias.astype(precision.bias_dtype), scales),
        ]
        if depthwise:
            return self.graph.convolve(inputs, name, kind, operator="DEPTHWISE_CONV_2D", depthMultiplier=1)
        return self.graph.convolve(inputs, name, kind, relu=relu, dilation=dilation)

    def _unary(self, operator: str, value: Value, name: str, kind: TensorKind) -> Value:
        return self.graph.add(operator, [value], name, value.shape, kind)

    def _binary(self, operator: str, a: Value, b: Value, name: str, kind: TensorKind, relu: bool = False) -> Value:
        options = {} if operator == "MUL" else {"potScaleInt16": False}  # scales need not be powers of two
        fused = RELU if relu else NO_ACTIVATION
        return self.graph.add(operator, [a, b], name, a.shape, kind, fusedActivationFunction=fused, **options)
