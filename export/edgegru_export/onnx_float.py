"""A float32 artifact as one ONNX file: the GRU operator per layer, standardisation inside, state in and out.

Step form: ``x`` (batch, input_size), ``h0``… (batch, state_size) → ``y`` (batch, output_size), ``h0_next``… (batch,
state_size). Sequence form: ``x`` (time, batch, input_size) and the same states → ``y`` (time, batch, output_size) and
the states after the last step. Batch and time are dynamic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_export.gate_order import EDGEGRU, ONNX, reorder_gates
from edgegru_export.metadata import output_names, state_input_names
from edgegru_export.onnx_graph import LAST, Graph
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.front_end import OUTSIDE, behind_front_end
from edgegru_runtime.model_config import (
    HARD_SIGMOIDS,
    AttentionNode,
    ConcatenateNode,
    ConvolutionNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    HeadNode,
    LayerNormalisationNode,
    LinearNode,
    LogMelNode,
    Node,
    StandardiseNode,
)

LINEAR_BEFORE_RESET = {"after": 1, "before": 0}
# Of activations the operator, which is also one of the GRU operator's, and its attributes. linear: none
ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    **{name: ("HardSigmoid", {"alpha": 1 / divisor, "beta": 0.5}) for name, divisor in HARD_SIGMOIDS.items()},
}
_ELEMENTWISE = {"add": "Add", "multiply": "Mul"}
_NOWHERE = -3e38  # the score of a row that is not there
_HEADS = {"softmax": "Softmax", "log_softmax": "LogSoftmax", "sigmoid": "Sigmoid", "identity": "Identity"}
_IDENTITY: tuple[str, dict[str, Any]] = ("Affine", {"alpha": 1.0, "beta": 0.0})  # alpha · x + beta, in a GRU operator


def build(artifact: Artifact, sequence: bool = False) -> bytes:
    """The ONNX file's bytes, checked by ``onnx.checker``. ExportError for a scheme that is not float32."""
    if artifact.config.scheme != "float32":
        raise ExportError(f"the model's scheme is {artifact.config.scheme}, and a float ONNX file needs float32")
    return FloatModel(artifact, sequence).to_bytes()


class FloatModel:
    """Walks the nodes of an artifact and keeps, by node name, the names of their values in the graph: (…, size)."""

    def __init__(self, artifact: Artifact, sequence: bool = False) -> None:
        self.artifact, self.config, self.sequence = artifact, behind_front_end(artifact.config), sequence
        self.graph = Graph()
        config = self.config
        self.heads = dict(zip([output.node for output in config.outputs], output_names(config), strict=True))
        self.states = dict(zip([node.name for node in config.state_nodes], state_input_names(config), strict=True))

    def to_bytes(self) -> bytes:
        values = {"x": "x"}
        for node in self.config.nodes:
            self.graph.scope = node.name
            values[node.name] = self.value(node, [values[name] for name in node.inputs])
        return self.graph.to_bytes(self.artifact, form="sequence" if self.sequence else "step", state_dtype="float32")

    def value(self, node: Node, inputs: list[str]) -> str:
        """The name of a node's value; its next state goes to its output of the graph."""
        match node:
            case StandardiseNode():
                mean, std = self.tensor(node, "mean"), self.tensor(node, "std")
                return self.graph.add("Div", self.graph.add("Sub", inputs[0], mean), std)
            case EmbeddingNode():
                return self.embedding(node, self.graph.row(inputs[0], node.num_embeddings))
            case LinearNode():
                return self.activated(node, self.product(inputs[0], f"{node.name}.weight"))
            case ConvolutionNode():
                return self.convolution(node, inputs[0])
            case GruNode():
                return self.gru(node, inputs[0])
            case AttentionNode():
                return self.attention(node, inputs[0])
            case ElementwiseNode():
                return self.graph.add(_ELEMENTWISE[node.kind], *inputs)
            case LayerNormalisationNode():
                weight, bias = self.tensor(node, "weight"), self.tensor(node, "bias")
                return self.graph.add("LayerNormalization", inputs[0], weight, bias, axis=-1, epsilon=node.epsilon)
            case ConcatenateNode():
                return self.graph.add("Concat", *inputs, axis=-1)
            case HeadNode():
                attributes = {"axis": -1} if node.kind in ("softmax", "log_softmax") else {}
                return self.graph.add(_HEADS[node.kind], *inputs, name=self.heads[node.name], **attributes)
            case LogMelNode():
                raise AssertionError(OUTSIDE)

    def embedding(self, node: EmbeddingNode, row: str) -> str:
        """The table's rows ``row`` (…), int64 → (…, output_size)."""
        return self.graph.add("Gather", self.tensor(node, "weight"), row)

    def product(self, source: str, weight: str) -> str:
        """``W v`` by the tensor ``weight``, whose first axis are its rows: (…, columns) → (…, rows)."""
        matrix = self.artifact.array(weight)
        return self.graph.add("MatMul", source, self.graph.constant(weight, matrix.reshape(len(matrix), -1).T))

    def activated(self, node: LinearNode | ConvolutionNode, product: str) -> str:
        """``activation(product + b)``."""
        value = self.graph.add("Add", product, self.tensor(node, "bias")) if node.bias else product
        return self.activation(node.activation, value)

    def activation(self, name: str, value: str) -> str:
        """The activation of that name."""
        if name == "linear":
            return value
        operator, attributes = ACTIVATIONS[name]
        return self.graph.add(operator, value, **attributes)

    def convolution(self, node: ConvolutionNode, source: str) -> str:
        graph, name = self.graph, node.name
        if self.sequence and node.state_size:
            return self.activated(node, self.convolved_sequence(node, source, self.states[name]))
        if node.state_size:
            kept = graph.add("Concat", self.states[name], source, axis=-1)  # (batch, (frames + 1) · input_size)
            graph.following(node, kept, name=f"{self.states[name]}_next")
            source = graph.window(node, kept)
        return self.activated(node, self.product(source, f"{name}.weight"))

    def convolved_sequence(self, node: ConvolutionNode, source: str, state: str) -> str:
        """ONNX's Conv over the kept values and the sequence: X (batch, I, frames + time), W (O, I, kernel_size)."""
        graph, frames = self.graph, node.frames
        before = graph.add("Reshape", state, graph.integers(0, frames, node.input_size))
        kept = graph.add("Concat", graph.add("Transpose", before, perm=[1, 0, 2]), source, axis=0)  # (…, batch, I)
        last = graph.add("Slice", kept, graph.integers(-frames), graph.integers(LAST), graph.integers(0))
        flat = graph.integers(0, node.state_size)
        graph.add("Reshape", graph.add("Transpose", last, perm=[1, 0, 2]), flat, name=f"{state}_next")
        weight = graph.constant(f"{node.name}.weight_oik", self.array(node, "weight").transpose(0, 2, 1))
        x = graph.add("Transpose", kept, perm=[1, 2, 0])
        return graph.add("Transpose", graph.add("Conv", x, weight, dilations=[node.dilation]), perm=[2, 0, 1])

    def gru(self, node: GruNode, source: str) -> str:
        """ONNX's GRU: X (time, batch, I), W (1, 3H, I), R (1, 3H, H), B (1, 6H) = [Wb, Rb], initial_h (1, batch, H)."""
        graph, state = self.graph, self.states[node.name]

        def zrn(tensor: str) -> NDArray[Any]:
            return reorder_gates(self.array(node, tensor), EDGEGRU, ONNX)

        w = graph.constant(f"{node.name}.weight_ih_zrn", zrn("weight_ih")[None])
        r = graph.constant(f"{node.name}.weight_hh_zrn", zrn("weight_hh")[None])
        b = ""
        if node.bias:
            b = graph.constant(f"{node.name}.bias_zrn", np.concatenate([zrn("bias_ih"), zrn("bias_hh")])[None])
        x = source if self.sequence else graph.add("Unsqueeze", source, graph.integers(0))  # (time, batch, I)
        h = graph.add("Unsqueeze", state, graph.integers(0))  # (1, batch, H)
        every, last = graph.add_many(
            "GRU",
            (x, w, r, b, "", h),
            (f"{node.name}.every" if self.sequence else "", f"{node.name}.last"),  # (time, 1, batch, H), (1, batch, H)
            hidden_size=node.hidden_size,
            linear_before_reset=LINEAR_BEFORE_RESET[node.reset],
            **_activations(node),
        )
        following = graph.add("Squeeze", last, graph.integers(0), name=f"{state}_next")  # (batch, H)
        return graph.add("Squeeze", every, graph.integers(1)) if self.sequence else following

    def attention(self, node: AttentionNode, query: str) -> str:
        """What a query (batch, size) finds in the rows of the state (batch, state_size), which stays as it is."""
        if self.sequence:
            found = f"node {node.name} is of kind attention"
            raise ExportError(f"{found}, which has rows by the step, expected no sequence")
        graph, state = self.graph, self.states[node.name]
        count, values, keys = graph.rows(node, state)
        sums = graph.add("Tanh", graph.add("Add", keys, graph.add("Unsqueeze", query, graph.integers(1))))
        weight = graph.constant(f"{node.name}.weight", self.array(node, "weight").reshape(-1, 1))
        scores = graph.add("Squeeze", graph.add("MatMul", sums, weight), graph.integers(2))  # (batch, length)
        places = graph.constant(f"{node.name}.places", np.arange(node.length, dtype=np.float32))
        there = graph.add("Less", places, count)
        shares = graph.add("Softmax", graph.add("Where", there, scores, graph.real(_NOWHERE)), axis=-1)
        found = graph.add("MatMul", graph.add("Unsqueeze", shares, graph.integers(1)), values)
        graph.add("Identity", state, name=f"{state}_next")
        return graph.add("Squeeze", found, graph.integers(1))

    def array(self, node: Node, name: str) -> NDArray[Any]:
        return self.artifact.array(f"{node.name}.{name}")

    def tensor(self, node: Node, name: str) -> str:
        """A tensor of the artifact as a constant."""
        return self.graph.constant(f"{node.name}.{name}", self.array(node, name))


def _activations(node: GruNode) -> dict[str, Any]:
    """The attributes of a GRU operator that are not the default, sigmoid and tanh."""
    if (node.gate_activation, node.candidate_activation) == ("sigmoid", "tanh"):
        return {}
    both = [ACTIVATIONS.get(name, _IDENTITY) for name in (node.gate_activation, node.candidate_activation)]
    given: dict[str, Any] = {"activations": [operator for operator, _ in both]}
    for name in ("alpha", "beta"):  # of those that have one, in their order
        numbers = [attributes[name] for _, attributes in both if name in attributes]
        given |= {f"activation_{name}": numbers} if numbers else {}
    return given
