"""What a model file holds, for people and programs: layers, sizes, costs, names, provenance."""

from __future__ import annotations

import os
from typing import Any

from edgegru_runtime.config_json import decision_to_json
from edgegru_runtime.engine import Source, engine_name
from edgegru_runtime.exported import ExportedFile
from edgegru_runtime.model_config import (
    AttentionNode,
    ConvolutionNode,
    EmbeddingNode,
    GruNode,
    InputConfig,
    LayerNormalisationNode,
    LinearNode,
    Node,
)

_STATE_ITEM_BYTES = {"float32": 4, "int32": 4, "int16": 2, "int8": 1}


def parameter_count(node: Node) -> int:
    """Trained numbers of one node: weights and biases as PyTorch counts them; none in kinds without weights."""
    if isinstance(node, LinearNode):
        return node.output_size * (node.input_size + int(node.bias))
    if isinstance(node, ConvolutionNode):
        return node.output_size * (node.kernel_size * node.input_size + int(node.bias))
    if isinstance(node, GruNode):
        return 3 * node.hidden_size * (node.input_size + node.hidden_size + 2 * int(node.bias))
    if isinstance(node, EmbeddingNode):
        return node.num_embeddings * node.output_size
    if isinstance(node, LayerNormalisationNode):
        return 2 * node.size
    if isinstance(node, AttentionNode):
        return node.size
    return 0


def multiply_adds(node: Node) -> int:
    """Multiply–adds of one step in the node's matrix products."""
    if isinstance(node, LinearNode):
        return node.output_size * node.input_size
    if isinstance(node, ConvolutionNode):
        return node.output_size * node.kernel_size * node.input_size
    if isinstance(node, GruNode):
        return 3 * node.hidden_size * (node.input_size + node.hidden_size)
    if isinstance(node, AttentionNode):  # when as many rows are remembered as can be
        return node.length * node.row_size
    return 0


def describe(path: str, source: Source) -> dict[str, Any]:
    """Everything ``info`` says about a model, read from ``path``, as plain data for JSON.

    ``weight_bytes`` are those of all tensors, known for artifacts only; ``state_bytes`` are what one stream keeps
    between steps.
    """
    config = source.config
    if isinstance(source, ExportedFile):
        kind, state_dtype, weight_bytes = source.format, source.state_dtype, None
    else:
        kind, state_dtype = "artifact", "int32" if config.static else "float32"
        weight_bytes = sum(len(tensor.data) for tensor in source.tensors.values())
    result: dict[str, Any] = {
        "file": path,
        "kind": kind,
        "engine": engine_name(source),
        "scheme": config.scheme,
        "identity": config.identity,
        "input": _input(config.input),
        "layers": [_layer(node) for node in config.nodes],
        "outputs": [dict(vars(output)) for output in config.outputs],
        "parameters": sum(map(parameter_count, config.nodes)),
        "multiply_adds": sum(map(multiply_adds, config.nodes)),
        "file_bytes": os.stat(path).st_size,
        "weight_bytes": weight_bytes,
        "state_bytes": sum(node.state_size for node in config.state_nodes) * _STATE_ITEM_BYTES[state_dtype],
        "decision": decision_to_json(config.decision),
        "provenance": config.provenance,
    }
    if isinstance(source, ExportedFile):
        result["export"] = {"form": source.form, "state": source.state, "state_dtype": source.state_dtype}
    return result


def _input(input: InputConfig) -> dict[str, Any]:
    """The input, and of a tokenizer how many tokens it has."""
    result, tokenizer = dict(vars(input)), input.tokenizer
    result["tokenizer"] = None if tokenizer is None else {**vars(tokenizer), "tokens": len(tokenizer.tokens)}
    return result


def _layer(node: Node) -> dict[str, Any]:
    return {**vars(node), "parameters": parameter_count(node), "multiply_adds": multiply_adds(node)}


def description_text(description: dict[str, Any]) -> str:
    """The description for people to read."""
    channels = description["input"]
    units = [f" [{unit}]" if unit else "" for unit in channels["units"]]
    rate = "at an unknown rate" if channels["rate"] is None else f"at {channels['rate']:g} Hz"
    named = ", ".join(name + unit for name, unit in zip(channels["channels"], units, strict=True))
    block = f", {channels['samples_per_step']} samples a step" if channels["samples_per_step"] > 1 else ""
    weight_bytes = description["weight_bytes"]
    export = description.get("export")
    kind = description["kind"] + (f" ({', '.join(export.values())})" if export else "")
    lines = [
        f"{description['file']}: {kind}, {description['scheme']}, runs on {description['engine']}",
        f"identity    {description['identity']}",
        f"input       {channels['size']} channels {rate}{block}: {named}",
    ]
    if tokenizer := channels["tokenizer"]:
        split = f", split at {tokenizer['split']}" if tokenizer["kind"] != "characters" else ""
        lower = ", lower-cased" if tokenizer["lower"] else ""
        lines.append(f"tokens      {tokenizer['tokens']:,} {tokenizer['kind']}{split}{lower}")
    for output in description["outputs"]:
        horizon = f", {output['horizon']} steps ahead" if output["horizon"] else ""
        labels = f": {', '.join(output['labels'])}" if output["labels"] else ""  # tokens have none
        lines.append(f"output      {output['target']} from {output['node']}{horizon}{labels}")
    lines += ["", *_table(description["layers"]), ""]
    lines += [
        f"parameters  {description['parameters']:,}",
        f"per step    {description['multiply_adds']:,} multiply-adds",
        f"weights     {'in the graph' if weight_bytes is None else f'{weight_bytes:,} bytes'}",
        f"state       {description['state_bytes']:,} bytes",
        f"file        {description['file_bytes']:,} bytes",
    ]
    for section in ("decision", "provenance"):
        for index, (name, value) in enumerate(description[section].items()):
            lines.append(f"{'' if index else section:12}{name}: {value}")
    return "\n".join(lines)


def _table(layers: list[dict[str, Any]]) -> list[str]:
    rows = [("layer", "kind", "reads", "in", "out", "form", "parameters", "multiply-adds")]
    for layer in layers:
        size_in = layer.get("input_size", layer.get("num_embeddings", layer.get("size")))
        size_out = layer.get("output_size", layer.get("hidden_size", layer.get("size")))
        form = [f"window {layer['frame_length']}, FFT {layer['fft_size']}"] if "fft_size" in layer else []
        form += [layer["activation"]] if "activation" in layer else []
        form += [f"kernel {layer['kernel_size']}, dilation {layer['dilation']}"] if "kernel_size" in layer else []
        form += [layer["gate_activation"]] if layer.get("gate_activation", "sigmoid") != "sigmoid" else []
        form += [layer["candidate_activation"]] if layer.get("candidate_activation", "tanh") != "tanh" else []
        form += [f"reset {layer['reset']}"] if "reset" in layer else []
        form += ["initial state"] if layer.get("initial_state") else []
        form += ["no bias"] if layer.get("bias") is False else []
        numbers = (f"{layer['parameters']:,}", f"{layer['multiply_adds']:,}")
        inputs = ", ".join(layer["inputs"])
        rows.append((layer["name"], layer["kind"], inputs, str(size_in), str(size_out), ", ".join(form), *numbers))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = (False, False, False, True, True, False, True, True)
    return [
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]
