"""The frame that every TFLite step has in common: inputs, states, outputs, signatures, metadata. Batch size 1.

Signature ``step``: inputs ``x`` (1, input_size) and, with state "io", ``h0``… (1, state size); outputs ``y`` (1,
output_size) and, with state "io", ``h0_next``…. With state "variables" the states are resource variables in the file,
at the first run what a stream begins with, and a second signature, ``reset``, sets them to that again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar, assert_never

import numpy as np
from numpy.typing import NDArray

from edgegru_export.metadata import (
    export_section,
    metadata_json,
    output_names,
    state_input_names,
    state_output_names,
)
from edgegru_export.tflite_model import FLOAT, FLOAT32_TYPE, INT32_TYPE, RELU, Model, Subgraph, TensorKind, Value
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.front_end import OUTSIDE, behind_front_end
from edgegru_runtime.integer_arithmetic import coarser
from edgegru_runtime.model_config import (
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

STEP, RESET = "step", "reset"  # signature keys
STATES = ("io", "variables")
_SIGMOIDS = ("sigmoid", "hard_sigmoid_5", "hard_sigmoid_6")

NodeValue = TypeVar("NodeValue")  # what a subclass knows about the value of a node


class StepBuilder(ABC, Generic[NodeValue]):
    """Builds one file from one artifact; subclasses say how each kind of node is computed."""

    schemes: tuple[str, ...]  # of the artifacts that it expresses

    def __init__(self, artifact: Artifact, state_kind: TensorKind) -> None:
        """Raises ExportError where the artifact has another scheme, or what no TFLite form knows."""
        if artifact.config.scheme not in self.schemes:
            known = " or ".join(self.schemes)
            raise ExportError(f"the model's scheme is {artifact.config.scheme}, and this TFLite form needs {known}")
        self.artifact, self.config = artifact, behind_front_end(artifact.config)
        self.state_kind = state_kind
        self.model = Model()
        self.graph: Subgraph = self.model.add_subgraph(STEP)
        for node in self.config.nodes:
            _refuse_unknown(node)

    def tensor(self, node: Node, field: str) -> NDArray[Any]:
        """A tensor of a node of the artifact."""
        return self.artifact.array(f"{node.name}.{field}")

    def state_shifts(self) -> list[int] | None:
        """By how many bits the numbers of each state are coarser than the integer reference's; None for floats."""
        return None

    @abstractmethod
    def standardise(self, node: StandardiseNode, x: Value) -> NodeValue:
        """(x - mean) / std."""

    @abstractmethod
    def embedding(self, node: EmbeddingNode, row: Value) -> NodeValue:
        """A row of the table, which ``row`` (1,) int32 names."""

    @abstractmethod
    def linear(self, node: LinearNode, source: NodeValue) -> NodeValue:
        """activation(W source + b)."""

    @abstractmethod
    def convolution(
        self, node: ConvolutionNode, source: NodeValue, kept: Value | None, next_name: str
    ) -> tuple[NodeValue, Value | None]:
        """Its value, and what it keeps (1, state size) for the next step, called ``next_name``; ``kept``: from the
        step before, None where it keeps nothing.
        """

    @abstractmethod
    def gru(self, node: GruNode, source: NodeValue, h: Value, next_name: str) -> tuple[NodeValue, Value]:
        """The next state as a value, and as the state (1, H) called ``next_name``."""

    @abstractmethod
    def attention(self, node: AttentionNode, source: NodeValue, kept: Value) -> NodeValue:
        """What the query ``source`` finds in the rows of the state (1, state size) ``kept``."""

    @abstractmethod
    def elementwise(self, node: ElementwiseNode, a: NodeValue, b: NodeValue) -> NodeValue:
        """a + b or a ⊙ b."""

    @abstractmethod
    def layer_normalisation(self, node: LayerNormalisationNode, source: NodeValue) -> NodeValue:
        """(source − mean) / √(var + epsilon) ⊙ weight + bias."""

    @abstractmethod
    def concatenate(self, node: ConcatenateNode, sources: list[NodeValue]) -> NodeValue:
        """The values side by side."""

    @abstractmethod
    def head(self, node: HeadNode, source: NodeValue, output_name: str) -> Value:
        """The output (1, size) in float32, called ``output_name``."""

    def build(self, state: str) -> bytes:
        """The file's bytes; ``state``: "io" or "variables"."""
        assert state in STATES
        if state == "variables" and self.config.attention is not None:
            found = f"node {self.config.attention.name} is of kind attention"
            raise ExportError(f"{found}, and nobody could give its rows to a state in variables, expected io")
        config, graph = self.config, self.graph
        names_in, names_out = state_input_names(config), state_output_names(config)
        inputs = {"x": graph.input("x", (1, config.input.step_size), FLOAT)}
        shapes = {name: (1, node.state_size) for name, node in zip(names_in, config.state_nodes, strict=True)}
        variables: dict[str, Value] = {}
        if state == "io":
            h = {name: graph.input(name, shape, self.state_kind) for name, shape in shapes.items()}
            inputs |= h
        else:
            graph.call_once(self._add_reset("initial"))
            variables = {name: graph.variable(name) for name in names_in}
            h = {name: graph.read(variables[name], name, shape, self.state_kind) for name, shape in shapes.items()}

        outputs, next_states = self._add_nodes(inputs["x"], [h[name] for name in names_in])
        if state == "io":
            outputs |= dict(zip(names_out, next_states, strict=True))
        else:
            for name, value in zip(names_in, next_states, strict=True):
                graph.assign(variables[name], value)
            self.model.add_signature(RESET, self._add_reset(RESET), {}, {})
        self.model.add_signature(STEP, graph, inputs, outputs)
        section = export_section(
            self.artifact, format="tflite", state=state, state_dtype=self.state_kind.dtype, shifts=self.state_shifts()
        )
        return self.model.to_bytes(metadata_json(self.artifact, section))

    def _add_nodes(self, x: Value, h: list[Value]) -> tuple[dict[str, Value], list[Value]]:
        """The outputs by name, in declared order, and the next state of every state node, from ``x`` and the states."""
        declared = [output.node for output in self.config.outputs]
        names = dict(zip(declared, output_names(self.config), strict=True))
        states = iter(zip(h, state_output_names(self.config), strict=True))
        values: dict[str, NodeValue] = {}
        outputs: dict[str, Value] = {}
        next_states: list[Value] = []
        for node in self.config.nodes:
            sources = [values[name] for name in node.inputs if name in values]  # the input x is none
            match node:
                case StandardiseNode():
                    values[node.name] = self.standardise(node, x)
                case EmbeddingNode():
                    values[node.name] = self.embedding(node, self._row(node, x))
                case LinearNode():
                    values[node.name] = self.linear(node, sources[0])
                case ConvolutionNode():
                    kept, next_name = next(states) if node.state_size else (None, "")
                    values[node.name], after = self.convolution(node, sources[0], kept, next_name)
                    next_states += [] if after is None else [after]
                case GruNode():
                    before, next_name = next(states)
                    values[node.name], after = self.gru(node, sources[0], before, next_name)
                    next_states.append(after)
                case AttentionNode():
                    kept, next_name = next(states)
                    values[node.name] = self.attention(node, sources[0], kept)
                    next_states.append(self.graph.reshape(kept, next_name, kept.shape))  # a copy: rows stay
                case ElementwiseNode():
                    values[node.name] = self.elementwise(node, sources[0], sources[1])
                case LayerNormalisationNode():
                    values[node.name] = self.layer_normalisation(node, sources[0])
                case ConcatenateNode():
                    values[node.name] = self.concatenate(node, sources)
                case HeadNode():
                    outputs[node.name] = self.head(node, sources[0], names[node.name])
                case LogMelNode():
                    raise AssertionError(OUTSIDE)
                case _:
                    assert_never(node)
        return {names[node]: outputs[node] for node in declared}, next_states

    def _row(self, node: EmbeddingNode, x: Value) -> Value:
        """⌊x + 1/2⌋ (1,) int32, or the nearest row there is. CAST cuts fractions off, of numbers from 0 on."""
        graph, name = self.graph, node.name
        x = graph.reshape(x, f"{name}.x", (1,))
        half = graph.constant(f"{name}.half", np.array([0.5], np.float32))
        last = graph.constant(f"{name}.last", np.array([node.num_embeddings - 0.5], np.float32))
        shifted = graph.add("ADD", [x, half], f"{name}.shifted", (1,), FLOAT, fusedActivationFunction=RELU)
        bounded = graph.add("MINIMUM", [shifted, last], f"{name}.bounded", (1,), FLOAT)
        kind = TensorKind("int32")
        return graph.add("CAST", [bounded], f"{name}.row", (1,), kind, inDataType=FLOAT32_TYPE, outDataType=INT32_TYPE)

    def _add_reset(self, name: str) -> Subgraph:
        """A subgraph that sets every state to what a stream begins with."""
        graph, dtype = self.model.add_subgraph(name), np.dtype(self.state_kind.dtype)
        states = [self.artifact.initial_state(node) for node in self.config.state_nodes]
        if (shifts := self.state_shifts()) is not None:
            states = [coarser(state, shift, dtype) for state, shift in zip(states, shifts, strict=True)]
        for state, variable in zip(states, state_input_names(self.config), strict=True):
            graph.assign(graph.variable(variable), graph.constant(f"{variable}.initial", state[None], self.state_kind))
        return graph


def _refuse_unknown(node: Node) -> None:
    """Raises ExportError for activations and heads that no TFLite form knows."""
    known: tuple[str, ...]
    match node:
        case LinearNode() | ConvolutionNode():
            found, known = node.activation, ("linear", "relu", "tanh", *_SIGMOIDS)
        case GruNode() if node.gate_activation not in _SIGMOIDS:
            found, known = node.gate_activation, _SIGMOIDS
        case GruNode():
            found, known = node.candidate_activation, ("tanh", "relu", "linear", *_SIGMOIDS)
        case HeadNode():
            found, known = node.kind, ("softmax", "log_softmax", "sigmoid", "identity")
        case _:
            return
    if found not in known:
        what = "is of kind" if isinstance(node, HeadNode) else "has the activation"
        raise ExportError(f"{node.kind} {node.name} {what} {found}, and TFLite export knows {', '.join(known)}")
