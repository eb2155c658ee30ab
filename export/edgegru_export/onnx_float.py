"""A float32 artifact as one ONNX file: the GRU operator per layer, standardisation inside, state in and out.

Step form: ``x`` (batch, input_size), ``h0``… (batch, H) → ``y`` (batch, output_size), ``h0_next``… (batch, H).
Sequence form: ``x`` (time, batch, input_size) and the same states → ``y`` (time, batch, output_size) and the states
after the last step. Batch and time are dynamic.
"""

from __future__ import annotations

from typing import assert_never

import numpy as np
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.model_config import GruNode, HeadNode, LinearNode, StandardiseNode

from edgegru_export.gate_order import EDGEGRU, ONNX, reorder_gates
from edgegru_export.metadata import (
    export_section,
    metadata_json,
    output_names,
    state_input_names,
    state_output_names,
)
from edgegru_export.onnx_graph import Graph

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
        source = values[node.inputs[0]]
        match node:
            case StandardiseNode():
                values[node.name] = _standardise(graph, artifact, node, source)
            case LinearNode():
                values[node.name] = _linear(graph, artifact, node, source)
            case GruNode():
                values[node.name] = _gru(graph, artifact, node, source, states[node.name], sequence)
            case HeadNode():
                values[node.name] = add_head(graph, node, source, heads[node.name])
            case _:
                assert_never(node)

    time: list[str] = ["time"] if sequence else []
    section = export_section(artifact, format="onnx", form="sequence" if sequence else "step", state_dtype="float32")
    return graph.to_bytes(
        inputs=[("x", "float32", [*time, "batch", config.input.size])]
        + [(states[node.name], "float32", ["batch", node.hidden_size]) for node in config.gru_nodes],
        outputs=[(heads[o.node], "float32", [*time, "batch", config.node(o.node).output_size]) for o in config.outputs]
        + [
            (name, "float32", ["batch", node.hidden_size])
            for name, node in zip(state_output_names(config), config.gru_nodes, strict=True)
        ],
        metadata=metadata_json(artifact, section),
    )


def add_head(graph: Graph, node: HeadNode, source: str, output: str) -> str:
    """An output head over float values; its value is the graph output ``output``."""
    match node.kind:
        case "softmax":
            return graph.add("Softmax", [source], output, axis=-1)
        case "sigmoid":
            return graph.add("Sigmoid", [source], output)
        case "identity":
            return graph.add("Identity", [source], output)
        case _:
            raise ExportError(f"head {node.name} is of kind {node.kind}, which ONNX export does not know")


def _standardise(graph: Graph, artifact: Artifact, node: StandardiseNode, source: str) -> str:
    mean = graph.constant(artifact.array(f"{node.name}.mean"), f"{node.name}.mean")  # (size,)
    std = graph.constant(artifact.array(f"{node.name}.std"), f"{node.name}.std")  # (size,)
    return graph.add("Div", [graph.add("Sub", [source, mean], f"{node.name}.centred"), std], node.name)


def _linear(graph: Graph, artifact: Artifact, node: LinearNode, source: str) -> str:
    weight = graph.constant(artifact.array(f"{node.name}.weight").T, f"{node.name}.weight")  # (input_size, output_size)
    value = graph.add("MatMul", [source, weight], f"{node.name}.product")
    if node.bias:
        bias = graph.constant(artifact.array(f"{node.name}.bias"), f"{node.name}.bias")  # (output_size,)
        value = graph.add("Add", [value, bias], f"{node.name}.sum")
    if node.activation == "linear":
        return value
    if node.activation not in ACTIVATION_OPERATORS:
        raise ExportError(
            f"linear {node.name} has the activation {node.activation}, and ONNX export knows linear, "
            + ", ".join(ACTIVATION_OPERATORS)
        )
    return graph.add(ACTIVATION_OPERATORS[node.activation], [value], node.name)


def _gru(graph: Graph, artifact: Artifact, node: GruNode, source: str, state: str, sequence: bool) -> str:
    """ONNX's GRU: X (time, batch, I), W (1, 3H, I), R (1, 3H, H), B (1, 6H) = [Wb, Rb], initial_h (1, batch, H)."""
    if (node.gate_activation, node.candidate_activation) != ("sigmoid", "tanh"):
        raise ExportError(
            f"GRU {node.name} has the activations {node.gate_activation} and {node.candidate_activation}, "
            "and ONNX export knows sigmoid and tanh"
        )
    w, r = (
        graph.constant(reorder_gates(artifact.array(f"{node.name}.{ours}"), EDGEGRU, ONNX)[None], f"{node.name}.{ours}")
        for ours in ("weight_ih", "weight_hh")
    )
    b = ""
    if node.bias:
        halves = [reorder_gates(artifact.array(f"{node.name}.{ours}"), EDGEGRU, ONNX) for ours in ("bias_ih", "bias_hh")]
        b = graph.constant(np.concatenate(halves)[None], f"{node.name}.bias")
    first = graph.constant(np.array([0], np.int64), "axis0")
    x = source if sequence else graph.add("Unsqueeze", [source, first], f"{node.name}.x")  # (time, batch, I)
    h = graph.add("Unsqueeze", [state, first], f"{node.name}.h")  # (1, batch, H)
    every = f"{node.name}.every" if sequence else ""
    _, last = graph.add_many(
        "GRU",
        [x, w, r, b, "", h],
        [every, f"{node.name}.last"],
        hidden_size=node.hidden_size,
        linear_before_reset=LINEAR_BEFORE_RESET[node.reset],
    )
    following = graph.add("Squeeze", [last, first], f"{state}_next")  # (batch, H)
    if not sequence:
        return following
    second = graph.constant(np.array([1], np.int64), "axis1")  # Y is (time, 1 direction, batch, H)
    return graph.add("Squeeze", [every, second], node.name)
