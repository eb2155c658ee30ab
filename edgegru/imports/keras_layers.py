"""The steps of a Keras model as our layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgegru.imports.keras_steps import Step, Steps
from edgegru.imports.layers import Layer, Layers
from edgegru_export.gate_order import GruWeights, from_keras, from_keras_cudnn
from edgegru_runtime.errors import ImportModelError


def build_layers(steps: Steps) -> Layers:
    """Our layers of the model. Raises ImportModelError, with the layer's name, for what they cannot say."""
    layers = Layers(steps.channels)
    values = [layers.x]
    for step in steps.steps:
        try:
            values.append(_layer(layers, step, [values[index] for index in step.inputs]))
        except ImportModelError as error:
            raise ImportModelError(f"{step.owner}: {error}") from None
    for name, index, recording in steps.outputs:
        layers.output(values[index], recording=recording, name=name)
    return layers


def _layer(layers: Layers, step: Step, values: list[Layer]) -> Layer:
    arrays, fields, value = step.arrays, step.fields, values[0]
    match step.kind:
        case "gru":
            return layers.gru(
                value,
                _gru_weights(step),
                reset="after" if fields["reset_after"] else "before",
                gate_activation=fields["gate_activation"],
                candidate_activation=fields["candidate_activation"],
            )
        case "last":  # an output of it is one of the recording
            return value
        case "dense":
            return layers.linear(value, arrays["kernel"].T, arrays.get("bias"))
        case "convolution":
            kernel = _ungrouped(arrays["kernel"], fields["groups"])
            return layers.convolution(value, kernel.transpose(2, 0, 1), arrays.get("bias"), fields["dilation"])
        case "embedding":
            return layers.embedding(arrays["embeddings"])
        case "affine":
            return layers.affine(value, arrays["scale"], arrays["shift"])
        case "layer_normalisation":
            gamma = arrays.get("gamma", np.ones(value.size))
            return layers.layer_normalisation(value, gamma, arrays.get("beta"), fields["epsilon"])
        case "activation":
            return layers.activation(value, fields["activation"])
        case "add":
            return layers.add(*values)
        case "multiply":
            return layers.multiply(*values)
    return layers.concatenate(values)


def _gru_weights(step: Step) -> GruWeights:
    arrays = step.arrays
    if step.fields["cudnn"]:
        return from_keras_cudnn(arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"])
    return from_keras(arrays["kernel"], arrays["recurrent_kernel"], arrays.get("bias"))


def _ungrouped(kernel: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """(taps, size / groups, filters) as (taps, size, filters), zero where a filter is not of the group."""
    taps, width, filters = kernel.shape
    dense = np.zeros((taps, width * groups, filters), kernel.dtype)
    for group, part in enumerate(np.split(kernel, groups, axis=2)):
        columns = slice(group * filters // groups, (group + 1) * filters // groups)
        dense[:, group * width : (group + 1) * width, columns] = part
    return dense
