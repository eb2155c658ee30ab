"""Keras itself as what an import is checked against, where it is installed.

A foreign configuration is never handed on: Keras gets one that is written anew from what was understood, of built-in
layers alone, without the names of modules, initializers and compilation, that a file could make it import or call.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.imports.keras_config import FUNCTIONAL, MODELS, SEQUENTIAL
from edgegru.imports.keras_equations import KerasEquations
from edgegru.imports.keras_steps import KINDS
from edgegru.imports.keras_version import Version
from edgegru.imports.keras_weights import is_by_name, opened

_LEFT_OUT = ("_initializer", "_regularizer", "_constraint", "build_config", "compile_config", "build_input_shape")
_MODULES = {
    "Add": "keras.src.ops.numpy",
    "Multiply": "keras.src.ops.numpy",
}  # of the operations left + right, left * right
_DTYPE = "float32"  # whatever precision it was trained in

Array = NDArray[Any]


def keras_source(
    config: Mapping[str, Any], version: Version, weights: Path | bytes, equations: KerasEquations
) -> KerasModel | None:
    """A Source, or None where Keras 3 is not installed, did not write the file, or cannot load it."""
    if version.number is None or version.number < (3, 0):  # an older file means other defaults and activations
        return None
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            keras = _keras()
            if keras is None or not keras.__version__.startswith("3."):
                return None
            model = KerasModel(keras, config, _named_for_keras(weights, Path(folder)), equations)
            probe = np.zeros((3, equations.channels), np.float32)
            shapes = [[output.shape for output in source.run(probe)] for source in (model, equations)]
    except Exception:  # whatever Keras objects to: its equations are there
        return None
    return model if shapes[0] == shapes[1] else None


class KerasModel:
    """A Source: the model in Keras, for sequences of any length.

    Keras 3 rounds to float32 wherever types meet, whatever the dtype of its layers. Its values of float64 are therefore
    its own plus what rounding to float32 costs in its equations.
    """

    steps: int | None = None
    precise: bool = True

    def __init__(self, keras: Any, config: Mapping[str, Any], weights: Path, equations: KerasEquations) -> None:
        self.name: str = f"Keras {keras.__version__} on {keras.backend.backend()}"
        self._equations = equations
        self._model = keras.models.model_from_json(json.dumps(_clean(config)))
        self._model.load_weights(weights)

    def run(self, xs: Array) -> list[Array]:
        """Every output for xs (T, channels): (T, size), or (size,) of the last step alone."""
        single = xs.astype(np.float32)
        batch = single[None] if len(self._model.inputs[0].shape) == 3 else single[None, :, 0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self._model.predict_on_batch(batch)
        outputs = [np.asarray(output)[0] for output in (found if isinstance(found, list | tuple) else [found])]
        if xs.dtype == np.float32:
            return outputs
        pairs = zip(self._equations.run(xs), self._equations.run(single), strict=True)
        return [output + (exact - rounded) for output, (exact, rounded) in zip(outputs, pairs, strict=True)]


def _keras() -> Any:
    """The package, on the backend that KERAS_BACKEND names, else on torch where TensorFlow, its default, is missing."""
    if find_spec("keras") is None:
        return None
    chosen = "KERAS_BACKEND" not in os.environ and "keras" not in sys.modules
    chosen = chosen and find_spec("tensorflow") is None and find_spec("torch") is not None
    if chosen:
        os.environ["KERAS_BACKEND"] = "torch"
    try:
        return import_module("keras")
    finally:
        if chosen:
            del os.environ["KERAS_BACKEND"]


def _named_for_keras(weights: Path | bytes, folder: Path) -> Path:
    """A copy of the weights whose name says its layout: Keras tells it from there."""
    with opened(weights) as file:
        target = folder / ("model.h5" if is_by_name(file) else "model.weights.h5")
    if isinstance(weights, bytes):
        target.write_bytes(weights)
    else:
        shutil.copyfile(weights, target)
    return target


def _clean(entry: Mapping[str, Any], open_lengths: bool = True) -> dict[str, Any]:
    """The configuration of a layer as Keras writes it, of float32 and, ``open_lengths``, for sequences of any length.

    Raises ValueError for an object that is no known layer.
    """
    kind, nodes = entry["class_name"], entry.get("inbound_nodes", [])
    if kind == "__keras_tensor__":
        history = {name: entry["config"][name] for name in ("shape", "keras_history")}
        return {"class_name": kind, "config": {**history, "dtype": _DTYPE}}
    if kind not in KINDS:
        raise ValueError(kind)
    if kind in FUNCTIONAL:
        home = {"module": "keras.src.models.functional", "class_name": "Functional"}
    elif kind == SEQUENTIAL:
        home = {"module": "keras", "class_name": kind}
    else:
        operation = any(isinstance(node, Mapping) and len(node["args"]) > 1 for node in nodes)
        home = {"module": _MODULES[kind] if operation else "keras.layers", "class_name": kind}
    around = {name: _clean_value(entry[name], open_lengths) for name in ("name", "inbound_nodes") if name in entry}
    config = {
        name: _clean_field(name, value, open_lengths and kind != "TimeDistributed")
        for name, value in entry["config"].items()
        if not name.endswith(_LEFT_OUT) and not (name == "dtype" and kind in MODELS)
    }
    return {**home, "config": config, "registered_name": None, **around}


def _clean_field(name: str, value: Any, open_lengths: bool) -> Any:
    if name == "dtype":
        return _DTYPE
    if name in ("stateful", "unroll"):
        return False
    if name == "batch_shape" and isinstance(value, list):
        return [None, None, *value[2:]] if open_lengths else [None, *value[1:]]
    return _clean_value(value, open_lengths)


def _clean_value(value: Any, open_lengths: bool) -> Any:
    if isinstance(value, Mapping):
        if "class_name" in value:
            return _clean(value, open_lengths)
        return {name: _clean_value(part, open_lengths) for name, part in value.items()}
    if isinstance(value, list):
        return [_clean_value(part, open_lengths) for part in value]
    return value
