"""Weights of Keras models from HDF5: the layout of ``model.save("x.h5")`` (by names, since Keras 2) and that of .keras
files (by classes and places, since Keras 2.12).

Only what the configuration asks for is read; links that leave the file and sizes beyond reason are refused.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from edgegru.imports.keras_config import MODELS, KerasLayer, check_text
from edgegru_runtime.errors import ImportModelError

LARGEST_WEIGHTS = 2**28  # numbers in all
_DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, NotImplementedError, OverflowError, MemoryError)
_PLACE = "_layer_checkpoint_dependencies"  # what Keras 2.12 and 2.13 call "layers"

_TRAINABLE = {
    "GRU": ("kernel", "recurrent_kernel", "bias"),
    "GRUCell": ("kernel", "recurrent_kernel", "bias"),
    "CuDNNGRU": ("kernel", "recurrent_kernel", "bias"),
    "Dense": ("kernel", "bias"),
    "Conv1D": ("kernel", "bias"),
    "Embedding": ("embeddings",),
    "BatchNormalization": ("gamma", "beta"),
    "LayerNormalization": ("gamma", "beta"),
}
_FIXED = {"BatchNormalization": ("moving_mean", "moving_variance"), "Normalization": ("mean", "variance", "count")}
_SWITCHES = {"bias": "use_bias", "gamma": "scale", "beta": "center"}
_NAMES = {name for names in (*_TRAINABLE.values(), *_FIXED.values()) for name in names}


@contextmanager
def opened(source: Path | bytes) -> Iterator[h5py.File]:
    """An HDF5 file, of which whatever cannot be read is one error."""
    try:
        with h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r") as file:
            yield file
    except _DAMAGED as error:
        raise ImportModelError(
            f"the HDF5 file is damaged: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from None


def attribute(group: h5py.Group, name: str) -> str | None:
    """A text, stored as bytes or as a string."""
    if name not in group.attrs:
        return None
    value = group.attrs[name]
    if isinstance(value, np.ndarray) and value.size == 1:  # some tools write arrays of one
        value = value.reshape(-1)[0]
    return _text(value, name)


def read_weights(model: KerasLayer, file: h5py.File) -> None:
    """Give every layer its weights. Raises ImportModelError where the file holds others than the model has."""
    reader = _Reader()
    if is_by_name(file):
        reader.by_name(model, reader.group(file, "model_weights") if "model_weights" in file else file)
    elif any(name.startswith(_PLACE) for name in file):
        reader.by_place(model, file, _PLACE)
    elif any(name.startswith("layers") for name in file):
        reader.by_place(model, file, "layers")
    else:
        raise ImportModelError("the HDF5 file has no weights of a Keras model, neither layer_names nor layers")


def is_by_name(file: h5py.File) -> bool:
    """Whether a file has the layout of ``model.save("x.h5")``."""
    return "model_weights" in file or "layer_names" in file.attrs or "layer_names0" in file.attrs


def weight_names(layer: KerasLayer) -> tuple[list[str], list[str]]:
    """What a layer's trainable and its other weights are called, in Keras's order."""
    groups = []
    for names in (_TRAINABLE, _FIXED):
        own = [name for name in names.get(layer.kind, ()) if layer.fields.boolean(_SWITCHES.get(name, ""), True)]
        groups.append([] if layer.kind == "Normalization" and layer.fields.get("mean") is not None else own)
    return groups[0], groups[1]


class _Reader:
    def __init__(self) -> None:
        self._total = 0

    def group(self, parent: h5py.Group, path: str) -> h5py.Group:
        found = _inside(parent, path)
        if not isinstance(found, h5py.Group):
            raise ImportModelError(f"{path} in the HDF5 file is no group")
        return found

    def array(self, parent: h5py.Group, path: str) -> NDArray[Any]:
        found = _inside(parent, path)
        if not isinstance(found, h5py.Dataset) or found.external is not None or found.is_virtual:
            raise ImportModelError(f"{path} in the HDF5 file is no array of its own")
        if found.shape is None or found.dtype.kind not in "fiu":
            raise ImportModelError(f"{path} in the HDF5 file has type {found.dtype}, expected numbers")
        self._total += found.size
        if self._total > LARGEST_WEIGHTS:
            raise ImportModelError(f"the HDF5 file has more than {LARGEST_WEIGHTS:,} weights")
        array: NDArray[Any] = np.asarray(found[()])
        return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)

    def by_name(self, model: KerasLayer, group: h5py.Group) -> None:
        """``layer_names`` of the model's layers, and of each a group with ``weight_names``."""
        stored = {name: self.group(group, name) for name in _names(group, "layer_names")}
        lists = {name: names for name, part in stored.items() if (names := _names(part, "weight_names"))}
        owners = [layer for layer in model.layers if any(any(weight_names(leaf)) for leaf in layer.leaves())]
        if len(lists) != len(owners):
            expected = ", ".join(layer.name for layer in owners)
            raise ImportModelError(
                f"the file has weights for {len(lists)} layers ({', '.join(lists)}), the model has {len(owners)} with "
                f"weights ({expected})"
            )
        same = all(layer.name in lists for layer in owners)
        for layer, place in zip(owners, lists, strict=True):  # in order, as Keras does, where names are others
            name = layer.name if same else place
            for (leaf, weight), place in zip(order(layer, lists[name]), lists[name], strict=True):
                leaf.weights[weight] = self.array(stored[name], place)

    def by_place(self, model: KerasLayer, group: h5py.Group, place: str, above: str = "") -> None:
        """``layers/CLASS_2/vars/0``: the third layer of its class, its first weight; ``place``: "layers" or _PLACE."""
        used: Counter[str] = Counter()
        for layer in model.layers:
            if layer.operation:
                continue
            kind = _snake_case(layer.kind)
            number = used[kind]
            owns = any(any(weight_names(leaf)) for leaf in layer.leaves())
            used[kind] += 2 if place == _PLACE and owns else 1  # where such a layer stands twice
            self._at(layer, group, place, f"{above}{place}/{kind}{f'_{number}' if number else ''}/")

    def _at(self, layer: KerasLayer, group: h5py.Group, place: str, path: str) -> None:
        if layer.kind in MODELS:
            self.by_place(layer, group, place, path)
            return
        if layer.inner is not None:
            self._at(layer.inner, group, place, path + ("cell/" if layer.kind == "RNN" else "layer/"))
            return
        names = [name for part in weight_names(layer) for name in part]
        path += "cell/vars" if layer.kind == "GRU" else "vars"
        stored = _find(group, path) if names else None
        found = len(stored) if isinstance(stored, h5py.Group) else 0
        if found != len(names):
            raise ImportModelError(f"{layer} has {found} weights at {path}, expected {', '.join(names)}")
        if isinstance(stored, h5py.Group):
            layer.weights = {name: self.array(stored, str(index)) for index, name in enumerate(names)}


def order(layer: KerasLayer, names: list[str]) -> list[tuple[KerasLayer, str]]:
    """The leaf, and which of its weights, that each stored weight of a layer or a model is, by their ``names``.

    Weights that train come first, then the others, frozen ones among them; or layer by layer. Where several orders have
    the right names, the one decides that has the most names of layers right.
    """
    leaves = list(layer.leaves())
    trainable = [(leaf, name) for leaf in leaves for name in weight_names(leaf)[0]]
    others = [(leaf, name) for leaf in leaves for name in weight_names(leaf)[1]]
    one_by_one = [(leaf, name) for leaf in leaves for part in weight_names(leaf) for name in part]
    frozen = {id(leaf) for leaf in leaves if not leaf.fields.boolean("trainable", True)}
    thawed = [pair for pair in trainable if id(pair[0]) not in frozen]
    kept = [pair for pair in one_by_one if id(pair[0]) in frozen or pair not in trainable]
    if len(names) != len(one_by_one):
        expected = ", ".join(name for _, name in one_by_one)
        raise ImportModelError(
            f"{layer} has {len(names)} weights in the file ({', '.join(names)}), expected {expected}"
        )
    orders = [
        pairs
        for pairs in (thawed + kept, trainable + others, one_by_one)
        if all(_stem(name) in (weight, None) for name, (_, weight) in zip(names, pairs, strict=True))
    ]
    if not orders:
        raise ImportModelError(f"{layer} has weights in an order that Keras does not write: {', '.join(names)}")
    above = set(layer.path.split("/"))
    return max(
        orders,
        key=lambda pairs: sum(
            bool((set(leaf.path.split("/")) - above) & set(name.split("/")))
            for name, (leaf, _) in zip(names, pairs, strict=True)
        ),
    )


def _stem(name: str) -> str | None:
    """``kernel`` of model/gru_1/gru_cell/kernel:0 and of kernel_1:0; None for a name that is none of a weight."""
    stem = name.rsplit("/", maxsplit=1)[-1].split(":", maxsplit=1)[0]
    stem = stem if stem in _NAMES else re.sub(r"_\d+$", "", stem)
    return stem if stem in _NAMES else None


def _names(group: h5py.Group, name: str) -> list[str]:
    """A list of texts; a long one is in several attributes, NAME0, NAME1, …"""
    if name in group.attrs:
        parts = [name]
    else:
        parts = []
        while f"{name}{len(parts)}" in group.attrs:
            parts.append(f"{name}{len(parts)}")
    found: list[str] = []
    for part in parts:
        found += [_text(value, part) for value in np.asarray(group.attrs[part]).reshape(-1)]
    for text in found:
        check_text(text)
    return found


def _text(value: Any, name: str) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise ImportModelError(f"attribute {name} is no text")
    return str(value)


def _inside(group: h5py.Group, path: str) -> Any:
    found = _find(group, path)
    if found is None:
        raise ImportModelError(f"the HDF5 file has no {path}")
    return found


def _find(group: h5py.Group, path: str) -> Any:
    """What is at a path, None where nothing is. Keras on Windows once wrote paths with backslashes into one name."""
    *folders, last = path.strip("/").split("/")
    joined = "\\".join(folders)
    if folders and last == "vars" and joined in group:
        folders = [joined]
    found: Any = group
    for part in (*folders, last):
        if not isinstance(found, h5py.Group) or part not in found:
            return None
        if not isinstance(found.get(part, getlink=True), h5py.HardLink):
            raise ImportModelError(f"{path} in the HDF5 file is a link, expected the data itself")
        found = found[part]
    return found


def _snake_case(kind: str) -> str:
    """What Keras makes of a class's name: LayerNormalization, layer_normalization."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
