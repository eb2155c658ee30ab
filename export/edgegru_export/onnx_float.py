"""A float32 artifact as one ONNX file: the GRU operator per layer, standardisation inside, state in and out.

Step form: ``x`` (batch, input_size), ``h0``… (batch, H) → ``y`` (batch, output_size), ``h0_next``… (batch, H).
Sequence form: ``x`` (time, batch, input_size) and the same states → ``y`` (time, batch, output_size) and the states
after the last step. Batch and time are dynamic.
"""

from __future__ import annotations

from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from edgegru_export.gate_order import EDGEGRU, ONNX, reorder_gates
from edgegru_export.metadata import output_names, state_input_names
from edgegru_export.onnx_graph import Graph
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.model_config import GruNode, HeadNode, LinearNode, StandardiseNode

ACTIVATION_OPERATORS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}
LINEAR_BEFORE_RESET = {"after": 1, "before": 0}


def build(artifact: Artifact, sequence: bool = False) -> bytes:
    """The ONNX file's bytes, checked by ``onnx.checker``. ExportError for what the format cannot express."""
    config = artifact.config
    if config.scheme != "float32":
        raise ExportError(f"the model's scheme is {config.scheme}, and a float ONNX file needs float32")
    graph = Graph()
    heads = dict(zip([output.node for output in config.outputs], output_names(config), strict=True))
    states = dict(zip([node.name for node in config.gru_nodes], state_input_names(config), strict=True))

    values = {"x": "x"}  # node name → name of its value in the graph, (…, size)
    for node in config.nodes:
        graph.scope = node.name
        source = values[node.inputs[0]]
        match node:
            case StandardiseNode():
                values[node.name] = _standardise(graph, artifact, node, source)
            case LinearNode():
                values[node.name] = _linear(graph, artifact, node, source)
            case GruNode():
                values[node.name] = _gru(graph, artifact, node, source, states[node.name], sequence)
            case HeadNode():
                values[node.name] = _head(graph, node, source, heads[node.name])
            case _:
                assert_never(node)

    return graph.to_bytes(artifact, form="sequence" if sequence else "step", state_dtype="float32")


def _head(graph: Graph, node: HeadNode, source: str, output: str) -> str:
    match node.kind:
        case "softmax":
            return graph.add("Softmax", source, name=output, axis=-1)
        case "sigmoid":
            return graph.add("Sigmoid", source, name=output)
        case "identity":
            return graph.add("Identity", source, name=output)
        case _:
            raise ExportError(f"head {node.name} is of kind {node.kind}, which ONNX export does not know")


def _standardise(graph: Graph, artifact: Artifact, node: StandardiseNode, source: str) -> str:
    mean, std = (graph.constant(name, artifact.array(name)) for name in (f"{node.name}.mean", f"{node.name}.std"))
    return graph.add("Div", graph.add("Sub", source, mean), std)


def _linear(graph: Graph, artifact: Artifact, node: LinearNode, source: str) -> str:
    name = f"{node.name}.weight"
    value = graph.add("MatMul", source, graph.constant(name, artifact.array(name).T))  # (input_size, output_size)
    if node.bias:
        name = f"{node.name}.bias"
        value = graph.add("Add", value, graph.constant(name, artifact.array(name)))
    if node.activation == "linear":
        return value
    if node.activation not in ACTIVATION_OPERATORS:
        raise ExportError(
            f"linear {node.name} has the activation {node.activation}, and ONNX export knows linear, "
            + ", ".join(ACTIVATION_OPERATORS)
        )
    return graph.add(ACTIVATION_OPERATORS[node.activation], value)


def _gru(graph: Graph, artifact: Artifact, node: GruNode, source: str, state: str, sequence: bool) -> str:
    """ONNX's GRU: X (time, batch, I), W (1, 3H, I), R (1, 3H, H), B (1, 6H) = [Wb, Rb], initial_h (1, batch, H)."""
    if (node.gate_activation, node.candidate_activation) != ("sigmoid", "tanh"):
        raise ExportError(
            f"GRU {node.name} has the activations {node.gate_activation} and {node.candidate_activation}, "
            "and ONNX export knows sigmoid and tanh"
        )

    def zrn(tensor: str) -> NDArray[Any]:
        return reorder_gates(artifact.array(f"{node.name}.{tensor}"), EDGEGRU, ONNX)

    w = graph.constant(f"{node.name}.weight_ih_zrn", zrn("weight_ih")[None])
    r = graph.constant(f"{node.name}.weight_hh_zrn", zrn("weight_hh")[None])
    b = ""
    if node.bias:
        b = graph.constant(f"{node.name}.bias_zrn", np.concatenate([zrn("bias_ih"), zrn("bias_hh")])[None])
    x = source if sequence else graph.add("Unsqueeze", source, graph.axes(0))  # (time, batch, I)
    h = graph.add("Unsqueeze", state, graph.axes(0))  # (1, batch, H)
    every, last = graph.add_many(
        "GRU",
        (x, w, r, b, "", h),
        (f"{node.name}.every" if sequence else "", f"{node.name}.last"),  # (time, 1, batch, H), (1, batch, H)
        hidden_size=node.hidden_size,
        linear_before_reset=LINEAR_BEFORE_RESET[node.reset],
    )
    following = graph.add("Squeeze", last, graph.axes(0), name=f"{state}_next")  # (batch, H)
    return graph.add("Squeeze", every, graph.axes(1)) if sequence else following
