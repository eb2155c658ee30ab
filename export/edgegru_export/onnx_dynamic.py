"""A dynamic-w8 artifact as one ONNX file: int8 weights times int8 values scaled anew at every step, all else float.

One step: ``x`` (batch, input_size), ``h0``… (batch, state_size) → ``y`` (batch, output_size), ``h0_next``… (batch,
state_size), all float32. Batch is dynamic, and every row of it has scales of its own.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from edgegru_export.onnx_fixed_point import ZERO_POINT
from edgegru_export.onnx_float import FloatModel
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.model_config import EmbeddingNode, GruNode
from edgegru_runtime.reference import SMALLEST_STEP


def build(artifact: Artifact) -> bytes:
    """The ONNX file's bytes, checked by ``onnx.checker``. ExportError for a scheme that is not dynamic-w8."""
    if artifact.config.scheme != "dynamic-w8":
        raise ExportError(f"the model's scheme is {artifact.config.scheme}, and a dynamic ONNX file needs dynamic-w8")
    return DynamicModel(artifact).to_bytes()


class DynamicModel(FloatModel):
    """The float model with other products, and GRUs in primitive operators, whose products can be these."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact)
        self._quantized: dict[str, tuple[str, str]] = {}  # name of a value → its integers and what one is worth

    def product(self, source: str, weight: str, rows: slice = slice(None)) -> str:
        """``W v ≈ float32(Σ w8 q) · (s_i · s)`` by some rows of the tensor ``weight``; by floats where it kept them."""
        if f"{weight}_scale" not in self.artifact.tensors:
            return super().product(source, weight)
        graph = self.graph
        matrix = self.artifact.array(weight)
        rows_first = matrix.reshape(len(matrix), -1)[rows].astype(np.int16)
        name = _name(weight, rows)
        stored = graph.constant(name, (rows_first.T + ZERO_POINT).astype(np.uint8))
        scale = graph.constant(f"{name} scale", self.artifact.array(f"{weight}_scale")[np.newaxis, rows])
        zero_point = graph.constant("zero point", np.array(ZERO_POINT, np.uint8))
        q, step = self.quantized(source)
        products = graph.add("MatMulInteger", q, stored, zero_point, zero_point)
        real = graph.add("Cast", products, to=TensorProto.FLOAT)
        # (batch, 1) times (1, rows). Were it Mul, ONNX Runtime would fuse all this into its MatMulIntegerToFloat, which
        # takes one of the two for a single number.
        return graph.add("Mul", real, graph.add("MatMul", step, scale))

    def quantized(self, source: str) -> tuple[str, str]:
        """``q = round(v / s)`` as uint8 around the zero point (batch, columns), and ``s = max|v| / 127`` (batch, 1).

        Made once for all products of a value. A vector of zeros is divided by the smallest step.
        """
        if source not in self._quantized:
            graph = self.graph
            largest = graph.add("ReduceMax", graph.add("Abs", source), axes=[-1], keepdims=1)
            step = graph.add("Max", graph.add("Div", largest, graph.real(127)), graph.real(SMALLEST_STEP))
            q = graph.add("Round", graph.add("Div", source, step))  # ties to even
            around_zero_point = graph.add("Add", q, graph.real(ZERO_POINT))
            self._quantized[source] = graph.add("Cast", around_zero_point, to=TensorProto.UINT8), step
        return self._quantized[source]

    def embedding(self, node: EmbeddingNode, row: str) -> str:
        if f"{node.name}.weight_scale" not in self.artifact.tensors:
            return super().embedding(node, row)
        graph = self.graph
        integers = graph.add("Gather", self.tensor(node, "weight"), row)
        scales = graph.constant(f"{node.name}.weight_scale", self.array(node, "weight_scale")[:, np.newaxis])
        return graph.add("Mul", graph.add("Cast", integers, to=TensorProto.FLOAT), graph.add("Gather", scales, row))

    def gru(self, node: GruNode, source: str) -> str:
        graph, name, size, h = self.graph, node.name, node.hidden_size, self.states[node.name]
        rz, n_rows = slice(0, 2 * size), slice(2 * size, 3 * size)
        ih_rz, ih_n = graph.split(self.plus(self.product(source, f"{name}.weight_ih"), node, "bias_ih"), 2 * size, size)
        if node.reset == "after":
            hh = self.plus(self.product(h, f"{name}.weight_hh"), node, "bias_hh")
            hh_rz, hh_n = graph.split(hh, 2 * size, size)
            r, z = self.gates(node, ih_rz, hh_rz)
            recurrent = graph.add("Mul", r, hh_n)
        else:
            hh_rz = self.plus(self.product(h, f"{name}.weight_hh", rz), node, "bias_hh", rz)
            r, z = self.gates(node, ih_rz, hh_rz)
            rh = graph.add("Mul", r, h)
            recurrent = self.plus(self.product(rh, f"{name}.weight_hh", n_rows), node, "bias_hh", n_rows)
        n = self.activation(node.candidate_activation, graph.add("Add", ih_n, recurrent))
        new_part = graph.add("Mul", graph.add("Sub", graph.real(1), z), n)
        return graph.add("Add", new_part, graph.add("Mul", z, h), name=f"{h}_next")

    def gates(self, node: GruNode, ih_rz: str, hh_rz: str) -> tuple[str, ...]:
        """r and z (batch, H)."""
        both = self.activation(node.gate_activation, self.graph.add("Add", ih_rz, hh_rz))
        return self.graph.split(both, node.hidden_size, node.hidden_size)

    def plus(self, product: str, node: GruNode, bias: str, rows: slice = slice(None)) -> str:
        """``product + b`` by some rows of a bias, or the product alone where the GRU has none."""
        if not node.bias:
            return product
        constant = self.graph.constant(_name(f"{node.name}.{bias}", rows), self.array(node, bias)[rows])
        return self.graph.add("Add", product, constant)


def _name(tensor: str, rows: slice) -> str:
    return tensor if rows == slice(None) else f"{tensor} from row {rows.start}"
