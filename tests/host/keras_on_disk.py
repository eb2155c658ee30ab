"""Keras models for tests: made by Keras 3, and written down as each older Keras wrote its files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras

OLD_NAMES = {"kernel", "recurrent_kernel", "bias", "embeddings", "gamma", "beta", "moving_mean", "moving_variance"}


def randomised(model: Any, seed: int = 0) -> Any:
    """The model with weights that show every mistake: none is zero, variances are positive."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        width = weight.shape[0] if len(weight.shape) > 1 else 4
        values = generator.normal(0, width**-0.5, weight.shape)
        weight.assign(np.abs(values) + 0.2 if "variance" in weight.name else values)
    return model


def predicted(model: Any, xs: np.ndarray) -> list[np.ndarray]:
    """Every output of a Keras model for one sequence (T, channels)."""
    found = model.predict_on_batch(xs[None].astype(np.float32))
    return [np.asarray(output)[0] for output in (found if isinstance(found, list) else [found])]


def save_as_keras_2(
    model: Any,
    path: Path,
    version: str = "2.1.6",
    *,
    texts: str = "bytes",
    trained: bool = True,
    change: Any = lambda config: None,
    names: Any = lambda layer, weight: f"{layer}/{weight}:0",
    largest_attribute: int = 64512,
) -> None:
    """Write a Keras 3 model as ``save_model`` of Keras 2 (``version``) did: names of attributes, groups and arrays.

    ``texts``: "bytes" or "str", as they are in the file; ``change`` may edit the configuration; ``names``: of weights.
    """
    config = old_config(model, version)
    change(config)
    encode = (lambda text: np.bytes_(text.encode())) if texts == "bytes" else str
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = encode(version)
        file.attrs["backend"] = encode("tensorflow")
        file.attrs["model_config"] = encode(json.dumps(config))
        group = file.create_group("model_weights")
        group.attrs["backend"] = encode("tensorflow")
        group.attrs["keras_version"] = encode(version)
        write_layers(group, model, names, texts, largest_attribute)
        if trained:
            training = {
                "optimizer_config": {"class_name": "Adam", "config": {"lr": 0.001}},
                "loss": "mse",
                "metrics": [],
            }
            file.attrs["training_config"] = encode(json.dumps(training))
            optimizer = file.create_group("optimizer_weights")
            optimizer.attrs["weight_names"] = [b"Adam/iterations:0", b"training/Adam/Variable:0"]
            optimizer["Adam/iterations:0"] = np.int64(7)
            optimizer["training/Adam/Variable:0"] = np.zeros((3, 4), np.float32)


def write_layers(group: h5py.Group, model: Any, names: Any, texts: str, largest: int = 64512) -> None:
    """``save_weights_to_hdf5_group``."""
    _attribute(group, "layer_names", [layer.name for layer in _layers(model)], texts, largest)
    for layer in _layers(model):
        weights = [*layer.trainable_weights, *layer.non_trainable_weights]
        part = group.create_group(layer.name)
        listed = [names(_owner(weight, layer), weight.name) for weight in weights]
        _attribute(part, "weight_names", listed, texts, largest)
        for name, weight in zip(listed, weights, strict=True):
            part[name] = np.asarray(weight.numpy() if hasattr(weight, "numpy") else keras.ops.convert_to_numpy(weight))


def _layers(model: Any) -> list[Any]:
    return list(model.layers)


def _owner(weight: Any, layer: Any) -> str:
    return str(weight.path.split("/")[-3 if "gru_cell" in weight.path else -2]) if layer is not None else ""


def _attribute(group: h5py.Group, name: str, values: list[str], texts: str, largest: int) -> None:
    """Long lists in chunks, as every Keras since 2.2 does."""
    if texts == "bytes":
        data = np.array([value.encode() for value in values]) if values else np.array([])
        chunks = 1
        while any(part.nbytes > largest for part in np.array_split(data, chunks)):
            chunks += 1
        if chunks == 1:
            group.attrs[name] = data
        else:
            for number, part in enumerate(np.array_split(data, chunks)):
                group.attrs[f"{name}{number}"] = part
    else:
        group.attrs[name] = np.array(values, dtype=h5py.string_dtype()) if values else np.array([])


def old_config(model: Any, version: str) -> dict[str, Any]:
    """The configuration of a Keras 3 model as Keras 2 wrote it."""
    if type(model).__name__ == "Sequential":
        layers = [_old_layer(layer, version) for layer in model.layers]
        layers[0]["config"]["batch_input_shape"] = [None, *model.input_shape[1:]]
        as_list = tuple(int(part) for part in version.split(".")[:2]) <= (2, 1) or version in ("2.2.0", "2.2.1")
        config: Any = layers if as_list else {"name": model.name, "layers": layers}
        return {"class_name": "Sequential", "config": config}
    new = json.loads(model.to_json())["config"]
    layers = []
    for entry in new["layers"]:
        name = entry["name"]
        layer = model.get_layer(name)
        if entry["class_name"] == "InputLayer":
            shape = entry["config"]["batch_shape"]
            old = {
                "class_name": "InputLayer",
                "config": {"batch_input_shape": shape, "dtype": "float32", "sparse": False, "name": name},
            }
        else:
            old = _old_layer(layer, version)
        nodes = [_old_node(node, model) for node in entry["inbound_nodes"]]
        layers.append({**old, "name": name, "inbound_nodes": nodes})
    ends = {key: [new[key]] if isinstance(new[key][0], str) else new[key] for key in ("input_layers", "output_layers")}
    kind = "Model" if version.startswith(("2.0", "2.1", "2.2", "2.3.1")) else "Functional"
    return {"class_name": kind, "config": {"name": model.name, "layers": layers, **ends}}


def _old_node(node: dict[str, Any], model: Any) -> list[Any]:
    arguments = node["args"][0]
    tensors = arguments if isinstance(arguments, list) else [arguments]
    found = []
    for tensor in tensors:
        name, number, index = tensor["config"]["keras_history"]
        nested = hasattr(model.get_layer(name), "layers")
        found.append([name, number + 1 if nested else number, index, {}])  # its call in itself counts
    return found


def _old_layer(layer: Any, version: str) -> dict[str, Any]:
    kind = type(layer).__name__
    if hasattr(layer, "layers"):
        return old_config(layer, version)
    new = layer.get_config()
    config = {
        name: value
        for name, value in new.items()
        if name not in ("dtype", "seed", "zero_output_for_mask", "synchronized", "renorm", "quantization_config")
        and not name.startswith("renorm")
    }
    for name in config:
        if name.endswith("_initializer"):
            config[name] = {"class_name": "VarianceScaling", "config": {"scale": 1.0, "mode": "fan_avg", "seed": None}}
    if kind in ("GRU", "GRUCell"):
        config["implementation"] = 1
        if version < "2.1.3":
            config.pop("reset_after", None)
    if kind == "TimeDistributed":
        config["layer"] = _old_layer(layer.layer, version)
    if kind == "RNN":
        config["cell"] = _old_layer(layer.cell, version)
    return {"class_name": kind, "config": config}
