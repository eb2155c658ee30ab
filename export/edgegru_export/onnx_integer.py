"""An artifact of a static scheme as one ONNX file that computes the very integers of docs/quantization.md, bit for bit.

One step: ``x`` (batch, input_size) float32, ``h0``… (batch, state_size) int32 → ``y`` (batch, output_size) float32,
``h0_next``… (batch, state_size) int32. Batch is dynamic. Every multiplier is the integer reference's own.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from edgegru_export.metadata import output_names, state_input_names
from edgegru_export.onnx_fixed_point import FixedPointGraph
from edgegru_runtime import fixed_point as fx
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.front_end import OUTSIDE, behind_front_end
from edgegru_runtime.integer_arithmetic import Integers
from edgegru_runtime.integer_layers import Attention, Elementwise, Embedding, Gru, Head, Linear, Standardise
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.log_mel import IntegerLogMel
from edgegru_runtime.model_config import (
    GATE_ACTIVATIONS,
    STATIC_SCHEMES,
    AttentionNode,
    ConvolutionNode,
    EmbeddingNode,
    Node,
)
from edgegru_runtime.operands import operand_bits


def build(artifact: Artifact) -> bytes:
    """The ONNX file's bytes, checked by ``onnx.checker``.

    ExportError for a scheme that is not static, ArtifactError for scales outside the arithmetic.
    """
    if not artifact.config.static:
        known = " or ".join(STATIC_SCHEMES)
        raise ExportError(f"the model's scheme is {artifact.config.scheme}, and an integer ONNX file needs {known}")
    return _Step(artifact).to_bytes()


class _Step:
    """Walks the artifact's nodes and keeps, by node name, their values and their operands: int64 (batch, size)."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact, self.config = artifact, behind_front_end(artifact.config)
        self.reference = IntegerReference(artifact)
        self.graph = FixedPointGraph()
        self.values: dict[str, str] = {}
        self.operands: dict[str, str] = {}
        config = self.config
        self.heads = dict(zip([output.node for output in config.outputs], output_names(config), strict=True))
        self.states = dict(zip([node.name for node in config.state_nodes], state_input_names(config), strict=True))

    def to_bytes(self) -> bytes:
        for node in self.config.nodes:
            self.graph.scope = node.name
            layer = self.reference.layers.get(node.name)
            assert not isinstance(layer, IntegerLogMel), OUTSIDE
            if isinstance(layer, Head):
                self.head(layer, node.name, self.values[node.inputs[0]])
            else:
                self.values[node.name] = self.value(node, layer)
        return self.graph.to_bytes(self.artifact, form="step", state_dtype="int32")

    def value(self, node: Node, layer: Standardise | Embedding | Linear | Gru | Attention | Elementwise | None) -> str:
        """The name of a node's value; its next state goes to its output of the graph."""
        match layer:
            case Standardise():
                self.operands[node.name] = self.standardise(layer, node.name)
                return self.operands[node.name]
            case Embedding():
                assert isinstance(node, EmbeddingNode)
                table = self.graph.constant(f"{node.name}.table", layer.table.astype(np.int16))
                found = self.graph.add("Gather", table, self.graph.row("x", node.num_embeddings))
                self.operands[node.name] = self.graph.to_int64(found)
                return self.operands[node.name]
            case Linear():
                return self.linear(node, layer)
            case Gru():
                return self.gru(node, layer)
            case Attention():
                assert isinstance(node, AttentionNode)
                self.operands[node.name] = self.attention(node, layer)
                return self.operands[node.name]
            case Elementwise():
                return self.elementwise(node, layer)
            case None:
                return self.graph.add("Concat", *(self.values[name] for name in node.inputs), axis=-1)

    def standardise(self, layer: Standardise, name: str) -> str:
        """``clamp(⌊a · x + b⌋)``: two float32 operations, each rounded, then saturated before the conversion."""
        a, b = self.graph.constant(f"{name}.a", layer.a), self.graph.constant(f"{name}.b", layer.b)
        q = self.graph.add("Floor", self.graph.add("Add", self.graph.add("Mul", "x", a), b))
        bounds = self.graph.real(-layer.limit), self.graph.real(layer.limit)
        return self.graph.to_int64(self.graph.add("Clip", q, *bounds))

    def linear(self, node: Node, layer: Linear) -> str:
        """``activation(W q + b)``, of a convolution over the operands that it keeps and the new one."""
        graph, source = self.graph, node.inputs[0]
        operand = self.operand(source)
        if isinstance(node, ConvolutionNode) and node.state_size:
            state = self.states[node.name]
            kept = graph.add("Concat", graph.to_int64(state), operand, axis=-1)
            graph.add("Cast", graph.following(node, kept), name=f"{state}_next", to=TensorProto.INT32)
            operand = graph.window(node, kept)
        product = graph.product(operand, operand_bits(self.config, source), layer.weight, f"{node.name}.weight")
        accumulator = self.plus(product, layer.bias)
        match layer.activation:
            case "relu":
                return graph.between(accumulator, 0, fx.ACCUMULATOR_LIMIT)
            case "tanh":
                return graph.tanh(graph.rescale(accumulator, layer.to_argument))
            case "linear":
                return accumulator
            case _:
                return graph.gate(graph.rescale(accumulator, layer.to_argument), layer.activation)

    def gru(self, node: Node, layer: Gru) -> str:
        """The next h, also written to its output of the graph."""
        graph, name, size, source = self.graph, node.name, layer.size, node.inputs[0]
        bits = operand_bits(self.config, name)
        rz, n_rows = slice(0, 2 * size), slice(2 * size, None)
        h = graph.to_int64(self.states[name])
        q_h = graph.to_operand(h, layer.h_operand, layer.limit)
        product = graph.product(
            self.operand(source), operand_bits(self.config, source), layer.weight_ih, f"{name}.weight_ih"
        )
        ih_rz, ih_n = graph.split(self.plus(product, layer.bias_ih), 2 * size, size)
        if layer.reset == "after":
            product = graph.product(q_h, bits, layer.weight_hh, f"{name}.weight_hh")
            hh_rz, hh_n = graph.split(product, 2 * size, size)
            r, z = self.gates(layer, ih_rz, hh_rz)
            hn = graph.clamp(graph.rescale(self.plus(hh_n, layer.bias_hn), layer.n.of_b), layer.candidate_limit)
            r_hn = graph.shift(graph.binary("Mul", r, hn), fx.GATE_BITS)
            argument = graph.binary("Add", graph.rescale(ih_n, layer.n.of_a), r_hn)
        else:
            r, z = self.gates(layer, ih_rz, graph.product(q_h, bits, layer.weight_hh[rz], f"{name}.weight_hh_rz"))
            rh = graph.shift(graph.binary("Mul", r, h), fx.GATE_BITS)
            q_rh = graph.to_operand(rh, layer.rh_operand, layer.limit)
            hh_n = graph.product(q_rh, bits, layer.weight_hh[n_rows], f"{name}.weight_hh_n")
            argument = graph.rescale_pair(ih_n, hh_n, layer.n)
        n = self.candidate(layer, argument)
        new_part = graph.binary("Mul", graph.binary("Sub", graph.number(2**fx.GATE_BITS), z), n)
        h_next = graph.shift(graph.binary("Add", new_part, graph.binary("Mul", z, h)), fx.GATE_BITS)
        graph.add("Cast", h_next, name=f"{self.states[name]}_next", to=TensorProto.INT32)
        return h_next

    def attention(self, node: AttentionNode, layer: Attention) -> str:
        """The operand that a query finds in the rows of the state, which stays as it is."""
        graph, state = self.graph, self.states[node.name]
        count, values, keys = graph.rows(node, graph.to_int64(state))
        query = graph.clamp(graph.rescale(self.values[node.inputs[0]], layer.query), fx.ARGUMENT_LIMIT)
        bounded = graph.tanh(graph.binary("Add", keys, graph.add("Unsqueeze", query, graph.integers(1))))
        sums = graph.product(bounded, 16, layer.weight[np.newaxis], f"{node.name}.weight")  # (batch, length, 1)
        scores = graph.clamp(graph.rescale(graph.add("Squeeze", sums, graph.integers(2)), layer.score), fx.VALUE_LIMIT)
        places = graph.constant(f"{node.name}.places", np.arange(node.length, dtype=np.int64))
        shares = graph.softmax(scores, graph.to_int64(graph.add("Less", places, count)))
        column = graph.add("Unsqueeze", shares, graph.integers(2))  # (batch, length, 1)
        total = graph.add("ReduceSum", graph.binary("Mul", values, column), graph.integers(1), keepdims=0)
        graph.add("Identity", state, name=f"{state}_next")
        return graph.clamp(graph.shift(total, fx.PROBABILITY_BITS), layer.limit)

    def gates(self, layer: Gru, ih_rz: str, hh_rz: str) -> tuple[str, ...]:
        """r and z (batch, H) in Q16."""
        rz = self.graph.gate(self.graph.rescale_pair(ih_rz, hh_rz, layer.rz), layer.gates)
        return self.graph.split(rz, layer.size, layer.size)

    def candidate(self, layer: Gru, argument: str) -> str:
        """n in units of the state."""
        graph = self.graph
        if layer.candidate == "tanh":
            return graph.binary("Mul", graph.tanh(argument), 2 ** (fx.STATE_BITS - fx.CANDIDATE_BITS))
        if layer.candidate in GATE_ACTIVATIONS:
            return graph.binary("Mul", graph.gate(argument, layer.candidate), 2 ** (fx.STATE_BITS - fx.GATE_BITS))
        return graph.between(argument, 0 if layer.candidate == "relu" else -fx.VALUE_LIMIT, fx.VALUE_LIMIT)

    def elementwise(self, node: Node, layer: Elementwise) -> str:
        graph = self.graph
        if layer.kind == "add":
            a, b = (self.values[name] for name in node.inputs)
            return graph.clamp(graph.rescale_pair(a, b, layer.sum), fx.VALUE_LIMIT)
        a, b = (self.operand(name) for name in node.inputs)
        return graph.clamp(graph.rescale(graph.binary("Mul", a, b), layer.product), fx.VALUE_LIMIT)

    def head(self, layer: Head, name: str, value: str) -> None:
        """Integers to their output of the graph: float32(integer) · float32(scale), and the offset of values."""
        graph = self.graph
        integers = value if layer.rescaling is None else graph.rescale(value, layer.rescaling)
        if layer.kind == "softmax":
            integers = graph.softmax(graph.clamp(integers, fx.VALUE_LIMIT))
        elif layer.kind == "log_softmax":
            integers = graph.log_softmax(graph.clamp(integers, fx.VALUE_LIMIT))
        elif layer.kind == "sigmoid":
            integers = graph.gate(integers, layer.kind)
        else:
            integers = graph.clamp(integers, fx.OUTPUT_LIMIT)
        real = graph.add("Cast", integers, to=TensorProto.FLOAT)
        scale = graph.constant(f"{name}.scale", np.asarray(layer.output_scale))
        if layer.output_offset is None:
            graph.add("Mul", real, scale, name=self.heads[name])
        else:
            offset = graph.constant(f"{name}.offset", layer.output_offset)
            graph.add("Add", graph.add("Mul", real, scale), offset, name=self.heads[name])

    def operand(self, name: str) -> str:
        """The operand of a node's value, made once for all its readers."""
        if name not in self.operands:
            if name in self.reference.to_operand:
                self.operands[name] = self.graph.to_operand(self.values[name], *self.reference.to_operand[name])
            else:  # a concatenate node
                pieces = [self.operand(piece) for piece in self.config.node(name).inputs]
                self.operands[name] = self.graph.add("Concat", *pieces, axis=-1)
        return self.operands[name]

    def plus(self, accumulator: str, bias: Integers) -> str:
        """``accumulator + bias``, nothing where that is zero."""
        return self.graph.binary("Add", accumulator, self.graph.vector(bias)) if bias.any() else accumulator
