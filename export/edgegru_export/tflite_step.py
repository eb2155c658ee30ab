"""The frame that every TFLite step has in common: inputs, states, outputs, signatures, metadata. Batch size 1.

Signature ``step``: inputs ``x`` (1, input_size) and, with state "io", ``h0``… (1, H); outputs ``y`` (1, output_size)
and, with state "io", ``h0_next``…. With state "variables" the states are resource variables in the file, zero at the
first run, and a second signature, ``reset``, sets them to zero again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from edgegru_export.metadata import (
    export_section,
    metadata_json,
    output_names,
    state_input_names,
    state_output_names,
)
from edgegru_export.tflite_model import FLOAT, Model, Subgraph, TensorKind, Value
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.model_config import GruNode, HeadNode, LinearNode, Node, StandardiseNode

STEP, RESET = "step", "reset"  # signature keys
STATES = ("io", "variables")


class StepBuilder(ABC):
    """Builds one file from one artifact; subclasses say how each kind of node is computed."""

    scheme: str  # the artifact's scheme that it can express

    def __init__(self, artifact: Artifact, state_kind: TensorKind) -> None:
        """Raises ExportError where the artifact has another scheme."""
        if artifact.config.scheme != self.scheme:
            raise ExportError(
                f"the model's scheme is {artifact.config.scheme}, and this TFLite form needs {self.scheme}"
            )
        self.artifact, self.config = artifact, artifact.config
        self.state_kind = state_kind
        self.model = Model()
        self.graph: Subgraph = self.model.add_subgraph(STEP)

    def tensor(self, node: Node, field: str) -> NDArray[Any]:
        """A tensor of a node of the artifact."""
        return self.artifact.array(f"{node.name}.{field}")

    @abstractmethod
    def standardise(self, node: StandardiseNode, x: Value) -> Value:
        """(x - mean) / std, as an operand."""

    @abstractmethod
    def linear(self, node: LinearNode, source: Value) -> Value:
        """activation(W source + b)."""

    @abstractmethod
    def gru(self, node: GruNode, source: Value, h: Value, next_name: str) -> tuple[Value, Value]:
        """The next state as an operand, and as the state (1, H) called ``next_name``."""

    @abstractmethod
    def head(self, node: HeadNode, source: Value, output_name: str) -> Value:
        """The output (1, size) in float32, called ``output_name``."""

    def build(self, state: str) -> bytes:
        """The file's bytes; ``state``: "io" or "variables"."""
        assert state in STATES
        config, graph = self.config, self.graph
        names_in, names_out = state_input_names(config), state_output_names(config)
        inputs = {"x": graph.input("x", (1, config.input.size), FLOAT)}
        shapes = {name: (1, gru.hidden_size) for name, gru in zip(names_in, config.gru_nodes, strict=True)}
        variables: dict[str, Value] = {}
        if state == "io":
            h = {name: graph.input(name, shape, self.state_kind) for name, shape in shapes.items()}
            inputs |= h
        else:
            graph.call_once(self._add_zeroing("initial"))
            variables = {name: graph.variable(name) for name in names_in}
            h = {name: graph.read(variables[name], name, shape, self.state_kind) for name, shape in shapes.items()}

        outputs, next_states = self._add_nodes(inputs["x"], [h[name] for name in names_in])
        if state == "io":
            outputs |= dict(zip(names_out, next_states, strict=True))
        else:
            for name, value in zip(names_in, next_states, strict=True):
                graph.assign(variables[name], value)
            self.model.add_signature(RESET, self._add_zeroing(RESET), {}, {})
        self.model.add_signature(STEP, graph, inputs, outputs)
        section = export_section(self.artifact, format="tflite", state=state, state_dtype=self.state_kind.dtype)
        return self.model.to_bytes(metadata_json(self.artifact, section))

    def _add_nodes(self, x: Value, h: list[Value]) -> tuple[dict[str, Value], list[Value]]:
        """The outputs by name, in declared order, and the next state of every GRU, from ``x`` and the states ``h``."""
        declared = [output.node for output in self.config.outputs]
        names = dict(zip(declared, output_names(self.config), strict=True))
        states = iter(zip(h, state_output_names(self.config), strict=True))
        values, next_states = {"x": x}, []
        for node in self.config.nodes:
            source = values[node.inputs[0]]
            match node:
                case StandardiseNode():
                    values[node.name] = self.standardise(node, source)
                case LinearNode():
                    values[node.name] = self.linear(node, source)
                case GruNode():
                    before, next_name = next(states)
                    values[node.name], after = self.gru(node, source, before, next_name)
                    next_states.append(after)
                case HeadNode():
                    values[node.name] = self.head(node, source, names[node.name])
                case _:
                    assert_never(node)
        return {names[node]: values[node] for node in declared}, next_states

    def _add_zeroing(self, name: str) -> Subgraph:
        """A subgraph that sets every state to zero."""
        graph = self.model.add_subgraph(name)
        for node, variable in zip(self.config.gru_nodes, state_input_names(self.config), strict=True):
            zero = np.zeros((1, node.hidden_size), self.state_kind.dtype)
            graph.assign(graph.variable(variable), graph.constant(f"{variable}.zero", zero, self.state_kind))
        return graph


def refuse_activations(node: GruNode) -> None:
    """Raises ExportError where a GRU has other activations than sigmoid and tanh."""
    if (node.gate_activation, node.candidate_activation) != ("sigmoid", "tanh"):
        raise ExportError(
            f"GRU {node.name} has the activations {node.gate_activation} and {node.candidate_activation}, "
            "and TFLite export knows sigmoid and tanh"
        )
