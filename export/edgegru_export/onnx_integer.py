"""A static-w8a8 artifact as one ONNX file that computes the very integers of docs/quantization.md, bit for bit.

One step: ``x`` (batch, input_size) float32, ``h0``… (batch, H) int32 Q24 → ``y`` (batch, output_size) float32,
``h0_next``… (batch, H) int32 Q24. Batch is dynamic.
"""

from __future__ import annotations

from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from edgegru_export.metadata import output_names, state_input_names
from edgegru_export.onnx_fixed_point import FixedPointGraph, Rescaling
from edgegru_runtime import fixed_point as fx
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.model_config import GruNode, HeadNode, LinearNode, QuantizationConfig, StandardiseNode


def build(artifact: Artifact) -> bytes:
    """The ONNX file's bytes, checked by ``onnx.checker``.

    ExportError for a scheme that is not static-w8a8, ArtifactError for scales outside the arithmetic.
    """
    if artifact.config.scheme != "static-w8a8" or artifact.config.quantization is None:
        raise ExportError(f"the model's scheme is {artifact.config.scheme}, and an int8 ONNX file needs static-w8a8")
    return _Step(artifact, artifact.config.quantization).to_bytes()


class _Step:
    """Walks the artifact's nodes and keeps, by node name, their values, the values' scales and their operands."""

    def __init__(self, artifact: Artifact, quantization: QuantizationConfig) -> None:
        self.artifact, self.config = artifact, artifact.config
        self.operand_scale = quantization.operand_scale
        self.limit = fx.OPERAND_LIMIT[artifact.config.scheme]
        self.graph = FixedPointGraph()
        self.values: dict[str, str] = {}  # int64 (batch, size), before they become operands
        self.value_scale: dict[str, NDArray[np.float64]] = {}  # (size,): what one unit of the value is worth
        self.operands: dict[str, str] = {}  # uint8 (batch, size)
        self.heads = dict(zip([output.node for output in self.config.outputs], output_names(self.config), strict=True))
        self.states = dict(
            zip([node.name for node in self.config.gru_nodes], state_input_names(self.config), strict=True)
        )

    def to_bytes(self) -> bytes:
        for node in self.config.nodes:
            self.graph.scope = node.name
            match node:
                case StandardiseNode():
                    self.operands[node.name] = self.standardise(node)
                case LinearNode():
                    self.values[node.name], self.value_scale[node.name] = self.linear(node)
                case GruNode():
                    self.values[node.name] = self.gru(node, self.states[node.name])
                    self.value_scale[node.name] = np.full(node.hidden_size, 2.0**-fx.STATE_BITS)
                case HeadNode():
                    self.head(node, self.heads[node.name])
                case _:
                    assert_never(node)
        return self.graph.to_bytes(self.artifact, form="step", state_dtype="int32")

    def standardise(self, node: StandardiseNode) -> str:
        """``clamp(⌊a · x + b⌋)``: two float32 operations, each rounded, then saturated before the conversion."""
        mean, std = (self.artifact.array(f"{node.name}.{field}").tolist() for field in ("mean", "std"))
        coefficients = fx.input_coefficients(mean, std, self.operand_scale[node.name], node.name)
        a, b = (
            self.graph.constant(f"{node.name}.{letter}", np.array(values, np.float32))
            for letter, values in zip("ab", coefficients, strict=True)
        )
        q = self.graph.add("Floor", self.graph.add("Add", self.graph.add("Mul", "x", a), b))
        bounds = (
            self.graph.constant(str(float(bound)), np.array(bound, np.float32)) for bound in (-self.limit, self.limit)
        )
        return self.graph.offset_operand(self.graph.to_int64(self.graph.add("Clip", q, *bounds)))

    def linear(self, node: LinearNode) -> tuple[str, NDArray[np.float64]]:
        """The value of ``activation(W q + b)`` and its scale."""
        graph, source = self.graph, node.inputs[0]
        value = self.product_and_bias(self.operand(source), node.name, "weight", "bias")
        scale = self.tensor(node.name, "weight_scale").astype(np.float64) * self.operand_scale[source]
        match node.activation:
            case "linear":
                return value, scale
            case "relu":
                return graph.add("Max", value, graph.number(0)), scale
            case "tanh":
                argument = graph.rescale(value, Rescaling.by(scale * 2.0**fx.TANH_ARGUMENT_BITS, node.name))
                return graph.tanh(argument), np.full_like(scale, 2.0**-fx.CANDIDATE_BITS)
            case "sigmoid":
                argument = graph.rescale(value, Rescaling.by(scale * 2.0**fx.SIGMOID_ARGUMENT_BITS, node.name))
                return graph.sigmoid(argument), np.full_like(scale, 2.0**-fx.GATE_BITS)
            case _:
                raise ExportError(
                    f"linear {node.name} has the activation {node.activation}, "
                    "and ONNX export knows linear, relu, tanh, sigmoid"
                )

    def gru(self, node: GruNode, state: str) -> str:
        """The next h (batch, H) in Q24, also written to the output ``state_next``."""
        graph, name, size, source = self.graph, node.name, node.hidden_size, node.inputs[0]
        n_scale = self.operand_scale[name if node.reset == "after" else f"{name}.rh"]
        argument = np.repeat([2.0**fx.SIGMOID_ARGUMENT_BITS, 2.0**fx.TANH_ARGUMENT_BITS], [2 * size, size])
        operand = np.repeat([self.operand_scale[name], n_scale], [2 * size, size])
        rho_ih = self.tensor(name, "weight_ih_scale").astype(np.float64) * self.operand_scale[source] * argument
        rho_hh = self.tensor(name, "weight_hh_scale").astype(np.float64) * operand * argument
        multipliers = Rescaling.by(np.concatenate([rho_ih, rho_hh]), name)
        m_ih, m_hh = np.split(multipliers.multiplier, 2)
        shift = multipliers.shift
        weight_hh = self.tensor(name, "weight_hh")

        h = graph.to_int64(state)
        to_h_operand = Rescaling.by(np.array([2.0**-fx.STATE_BITS / self.operand_scale[name]]), name)
        q_h = graph.to_operand(h, to_h_operand, self.limit)
        acc_ih = self.product_and_bias(self.operand(source), name, "weight_ih", "bias_ih")
        ih_rz, ih_n = self.split(graph.binary("Mul", acc_ih, graph.integers(m_ih)), "ih", 2 * size, size)
        if node.reset == "after":
            acc_hh = self.graph.product(q_h, weight_hh, f"{name}.weight_hh")
            if f"{name}.bias_hn" in self.artifact.tensors:
                bias = np.pad(self.tensor(name, "bias_hn").astype(np.int64), (2 * size, 0))  # no bias for r and z here
                acc_hh = graph.binary("Add", acc_hh, graph.integers(bias))
            hh_rz, hh_n = self.split(graph.binary("Mul", acc_hh, graph.integers(m_hh)), "hh", 2 * size, size)
            r, z = self.gates(ih_rz, hh_rz, shift, size)
            hn = graph.clamp(graph.shift(hh_n, shift), fx.CANDIDATE_ARGUMENT_LIMIT)
            r_hn = graph.shift(graph.binary("Mul", r, hn), fx.GATE_BITS)
            n = graph.tanh(graph.binary("Add", graph.shift(ih_n, shift), r_hn))
        else:
            acc_rz = graph.product(q_h, weight_hh[: 2 * size], f"{name}.weight_hh_rz")
            hh_rz = graph.binary("Mul", acc_rz, graph.integers(m_hh[: 2 * size]))
            r, z = self.gates(ih_rz, hh_rz, shift, size)
            rh = graph.shift(graph.binary("Mul", r, h), fx.GATE_BITS)
            to_rh_operand = Rescaling.by(np.array([2.0**-fx.STATE_BITS / n_scale]), name)
            q_rh = graph.to_operand(rh, to_rh_operand, self.limit)
            acc_hn = graph.product(q_rh, weight_hh[2 * size :], f"{name}.weight_hh_n")
            hh_n = graph.binary("Mul", acc_hn, graph.integers(m_hh[2 * size :]))
            n = graph.tanh(graph.shift(graph.binary("Add", ih_n, hh_n), shift))

        n_q24 = graph.binary("Mul", n, 2 ** (fx.STATE_BITS - fx.CANDIDATE_BITS))
        new_part = graph.binary("Mul", graph.binary("Sub", graph.number(2**fx.GATE_BITS), z), n_q24)
        h_next = graph.shift(graph.binary("Add", new_part, graph.binary("Mul", z, h)), fx.GATE_BITS)
        graph.add("Cast", h_next, name=f"{state}_next", to=TensorProto.INT32)
        return h_next

    def head(self, node: HeadNode, output: str) -> None:
        """Integers to the graph output ``output``: float32(integer) · float32(scale), and the offset of values."""
        graph, source = self.graph, node.inputs[0]
        value, scale = self.values[source], self.value_scale[source]
        match node.kind:
            case "softmax":
                argument = graph.rescale(value, Rescaling.by(scale * 2.0**fx.SOFTMAX_ARGUMENT_BITS, node.name))
                integers = graph.softmax(graph.clamp(argument, 2**30))
                output_scale: NDArray[Any] = np.array(2.0**-fx.PROBABILITY_BITS, np.float32)
            case "sigmoid":
                argument = graph.rescale(value, Rescaling.by(scale * 2.0**fx.SIGMOID_ARGUMENT_BITS, node.name))
                integers = graph.sigmoid(argument)
                output_scale = np.array(2.0**-fx.GATE_BITS, np.float32)
            case "identity":
                output_scale = scale.astype(np.float32)
                if f"{source}.output_scale" in self.artifact.tensors:
                    output_scale = self.tensor(source, "output_scale")
                    value = graph.rescale(value, Rescaling.by(scale / output_scale.astype(np.float64), node.name))
                integers = graph.clamp(value, fx.OUTPUT_LIMIT)
            case _:
                raise ExportError(f"head {node.name} is of kind {node.kind}, which ONNX export does not know")
        real = graph.add("Cast", integers, to=TensorProto.FLOAT)
        factor = graph.constant(f"{node.name}.scale", output_scale)
        if node.kind == "identity" and f"{source}.output_offset" in self.artifact.tensors:
            offset = graph.constant(f"{node.name}.offset", self.tensor(source, "output_offset"))
            graph.add("Add", graph.add("Mul", real, factor), offset, name=output)
        else:
            graph.add("Mul", real, factor, name=output)

    def operand(self, source: str) -> str:
        """The uint8 operand of a node's value, made once for all its readers."""
        if source not in self.operands:
            rescaling = Rescaling.by(self.value_scale[source] / self.operand_scale[source], source)
            self.operands[source] = self.graph.to_operand(self.values[source], rescaling, self.limit)
        return self.operands[source]

    def gates(self, ih_rz: str, hh_rz: str, shift: int, size: int) -> tuple[str, ...]:
        """r and z (batch, H) in Q16: products added first, rounded once."""
        rz = self.graph.sigmoid(self.graph.shift(self.graph.binary("Add", ih_rz, hh_rz), shift))
        return self.split(rz, "gate", size, size)

    def product_and_bias(self, operand: str, node: str, weight: str, bias: str) -> str:
        """``W q + b`` (batch, rows), without b where the artifact has none."""
        accumulator = self.graph.product(operand, self.tensor(node, weight), f"{node}.{weight}")
        if f"{node}.{bias}" not in self.artifact.tensors:
            return accumulator
        return self.graph.binary("Add", accumulator, self.graph.integers(self.tensor(node, bias).astype(np.int64)))

    def split(self, value: str, name: str, *sizes: int) -> tuple[str, ...]:
        """The columns of ``value`` in parts of these sizes."""
        names = [f"{self.graph.scope}/{name}_{index}" for index in range(len(sizes))]
        parts = self.graph.constant(f"split{list(sizes)}", np.array(sizes, np.int64))
        return self.graph.add_many("Split", (value, parts), names, axis=-1)

    def tensor(self, node: str, name: str) -> NDArray[Any]:
        return self.artifact.array(f"{node}.{name}")
