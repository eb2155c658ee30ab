"""Lasagne's networks in .npz files: an EmbeddingLayer or none, GRULayers, a DenseLayer or none.

``np.savez(file, *lasagne.layers.get_all_param_values(net))`` writes arr_0, arr_1, … in the order in which layers add
their parameters: EmbeddingLayer W; GRULayer W_in_to_updategate, W_hid_to_updategate, b_updategate, the same of
resetgate and of hidden_update, hid_init, which parameters that are trained may lack; DenseLayer W, b. Others save by
these names, with the layer's name in front. Source: github.com/Lasagne/Lasagne, lasagne/layers/recurrent.py.

The file has no nonlinearities: a GRULayer is taken with Lasagne's own, and the output of a DenseLayer before its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from edgegru.imports import theano_layers
from edgegru.imports.layers import Layers
from edgegru.imports.npz_archive import Archive, in_order
from edgegru_export.gate_order import from_lasagne
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.strict_json import shown

GATES = {"z": "updategate", "r": "resetgate", "n": "hidden_update"}  # in the order of Lasagne's parameters
KINDS = ("W_in_to_", "W_hid_to_", "b_")
PARAMETERS = tuple(kind + gate for gate in GATES.values() for kind in KINDS)
INITIAL = "hid_init"
TELLING = "W_in_to_"
_GRU_NAME = re.compile(rf"(.*?)({'|'.join((*PARAMETERS, INITIAL))})", re.DOTALL)
_OTHER_NAME = re.compile(r"(|.*[./_:-])([Wb])", re.DOTALL)  # of an embedding or a dense layer

Array = NDArray[Any]
Shape = tuple[int, ...]
Names = dict[str, str]  # Lasagne's name of a parameter → the array's


@dataclass
class _Network:
    """Which array is which."""

    grus: list[Names] = field(default_factory=list)
    embedding: Names | None = None
    dense: Names | None = None


def read(archive: Archive) -> tuple[Layers, list[theano_layers.Stage], str]:
    """The layers, the same as stages, and a few words. Raises ImportModelError, as ``npz_weights.read``."""
    archive.refuse_objects()
    names = list(archive.shapes)
    if any(TELLING in name for name in names):
        network = _by_name(archive.shapes)
    else:
        network = _by_place(archive.shapes, _numbered(names))
    _check_shapes(network, archive.shapes)
    return _build(network, archive)


def _build(network: _Network, archive: Archive) -> tuple[Layers, list[theano_layers.Stage], str]:
    arrays = archive.read(list(archive.shapes))
    stages: list[theano_layers.Stage] = []
    words = f"Lasagne: GRULayer × {len(network.grus)}"
    layers = Layers(1 if network.embedding else arrays[network.grus[0]["W_in_to_updategate"]].shape[0])
    value = layers.x
    if network.embedding:
        table = arrays[network.embedding["W"]]
        value = layers.embedding(table)
        stages.append(theano_layers.embedding(table))
    for names in network.grus:
        weights = {parameter: arrays[name] for parameter, name in names.items()}
        inputs, hidden, bias = (
            {letter: weights[kind + gate] for letter, gate in GATES.items()} for kind in ("W_in_to_", "W_hid_to_", "b_")
        )
        h0 = weights[INITIAL][0] if INITIAL in weights else None
        value = layers.gru(value, from_lasagne(inputs, hidden, bias), reset="after", h0=h0)
        stages.append(theano_layers.lasagne_gru(weights))
    if network.dense:
        w = arrays[network.dense["W"]]
        b = arrays[network.dense["b"]] if "b" in network.dense else None
        value = layers.linear(value, w.T, b)
        stages.append(theano_layers.dense(w, b))
        words += ", DenseLayer without its nonlinearity"
    layers.output(value)
    return layers, stages, words


def _numbered(names: list[str]) -> list[str]:
    """Names that are one word and a number, by that number."""
    parts = [re.fullmatch(r"(.*?)([0-9]{1,9})", name, re.DOTALL) for name in names]
    found = {part[1] for part in parts if part}
    if None in parts or len(found) != 1:
        few = ", ".join(map(shown, names[:4])) or "none"
        raise ImportModelError(
            f"its arrays have the names {few}, expected those of Lasagne, such as W_in_to_resetgate, or arr_0, arr_1, …"
        )
    return sorted(names, key=lambda name: int(name[len(next(iter(found))) :]))


def _by_place(shapes: Mapping[str, Shape], names: list[str]) -> _Network:
    """By the order in which Lasagne's layers add their parameters."""
    network, place = _Network(), 0
    if _gates(shapes, names, 0) == 0 and _gates(shapes, names, 1) >= len(GATES):
        network.embedding, place = {"W": names[0]}, 1
    while (count := _gates(shapes, names, place)) >= len(GATES):
        if count % len(GATES):
            raise ImportModelError(
                f"{shown(names[place])} begins a layer of {count} gates (an LSTMLayer has 4), expected a GRULayer of 3"
            )
        gru = dict(zip(PARAMETERS, names[place:], strict=False))
        place += len(PARAMETERS)
        size = shapes[gru["b_updategate"]][0]
        if _is_initial(shapes, names, place, size):
            gru[INITIAL] = names[place]
            place += 1
        network.grus.append(gru)
    rest = names[place:]
    if network.grus and rest and len(shapes[rest[0]]) == 2:
        with_bias = len(rest) > 1 and shapes[rest[1]] == shapes[rest[0]][1:]
        network.dense = dict(zip(("W", "b"), rest[: 1 + with_bias], strict=False))
        rest = rest[1 + with_bias :]
        if rest:
            raise ImportModelError(
                f"{shown(rest[0])} {shapes[rest[0]]} follows a DenseLayer, whose nonlinearity is not in the file; "
                "expected the DenseLayer to be the last"
            )
    if rest or not network.grus:
        found = f"{shown(rest[0])} has shape {shapes[rest[0]]}"
        expected = "a GRULayer's W_in (n, H), W_hid (H, H), b (H,) of three gates, hid_init (1, H)"
        raise ImportModelError(f"{found}, expected in its place {expected}, or a last DenseLayer's W, b")
    return network


def _gates(shapes: Mapping[str, Shape], names: list[str], place: int) -> int:
    """How many gates of one size follow each other from ``place`` on, as W_in (n, H), W_hid (H, H), b (H,)."""
    count = 0
    triple = [shapes[name] for name in names[place : place + 3]]
    if len(triple) < 3 or len(triple[0]) != 2:
        return 0
    size = triple[0][1]
    while triple == [(triple[0][0], size), (size, size), (size,)]:
        count += 1
        following = [shapes[name] for name in names[place + 3 * count : place + 3 * count + 3]]
        if following != triple:
            break
    return count


def _is_initial(shapes: Mapping[str, Shape], names: list[str], place: int, size: int) -> bool:
    if place == len(names) or shapes[names[place]] != (1, size):
        return False
    # Of a GRU of one unit it may also be the matrix of what follows.
    dense = place + 1 < len(names) and shapes[names[place + 1]] == (1,)
    return size > 1 or not (dense or _gates(shapes, names, place) >= len(GATES))


def _by_name(shapes: Mapping[str, Shape]) -> _Network:
    """By Lasagne's names."""
    grus: dict[str, Names] = {}
    others: dict[str, Names] = {}
    for name in shapes:
        if match := _GRU_NAME.fullmatch(name):
            grus.setdefault(match[1], {})[match[2]] = name
        elif match := _OTHER_NAME.fullmatch(name):
            others.setdefault(match[1], {})[match[2]] = name
        else:
            what = "a gate of an LSTMLayer" if re.search(r"(in|forget|out)gate$|to_cell$|_cell$", name) else "unknown"
            raise ImportModelError(
                f"array {shown(name)} is {what}, expected parameters of GRULayers, and W, b of a last DenseLayer"
            )
    for prefix, names in grus.items():
        missing = next((parameter for parameter in PARAMETERS if parameter not in names), None)
        if missing:
            raise ImportModelError(f"there is no array {shown(prefix + missing)}, expected all parameters of the GRU")
    network = _Network([grus[prefix] for prefix in in_order(grus)])
    for prefix, names in others.items():
        place = _place_of(prefix, names, network, shapes)
        if getattr(network, place) is not None:
            raise ImportModelError(f"array {shown(prefix + 'W')} is a second {place} layer, expected at most one")
        setattr(network, place, names)
    return network


def _place_of(prefix: str, names: Names, network: _Network, shapes: Mapping[str, Shape]) -> str:
    """Embedding or dense: from the bias that only one has, the sizes around it, or its name."""
    if "W" not in names:
        raise ImportModelError(f"array {shown(prefix + 'b')} stands without a W, expected both of a DenseLayer")
    if "b" in names:
        return "dense"
    shape = shapes[names["W"]]
    embeds = shape[1:] == shapes[network.grus[0]["W_in_to_updategate"]][:1]
    ends = shape[:1] == shapes[network.grus[-1]["b_updategate"]]
    if embeds and ends and "emb" not in prefix.lower():
        raise ImportModelError(
            f"array {shown(names['W'])} {shape} may be an embedding or a DenseLayer without bias, expected a name with "
            "emb for an embedding"
        )
    return "embedding" if embeds else "dense"


def _check_shapes(network: _Network, shapes: Mapping[str, Shape]) -> None:
    """That every parameter has the shape that its layer gives it, and reads what the one before it gives."""
    size = None
    if network.embedding:
        size = shapes[network.embedding["W"]][-1]
    first = None
    for names in network.grus:
        start = names["W_in_to_updategate"]
        if len(shapes[start]) != 2:
            raise ImportModelError(f"{shown(start)} has shape {shapes[start]}, expected (input_size, H)")
        size_in, hidden = shapes[start]
        if size is not None and size_in != size:
            twice = ": two GRULayers side by side, such as a bidirectional pair," if size_in == first else ","
            raise ImportModelError(f"{shown(start)} reads {size_in} numbers{twice} but the layer before gives {size}")
        expected = {"W_in_to_": (size_in, hidden), "W_hid_to_": (hidden, hidden), "b_": (hidden,)}
        wanted = {kind + gate: shape for gate in GATES.values() for kind, shape in expected.items()}
        _expect(names, {**wanted, INITIAL: (1, hidden)}, shapes)
        first, size = first or size_in, hidden
    if network.dense:
        shape = shapes[network.dense["W"]]
        outputs = shape[-1] if shape else 0
        _expect(network.dense, {"W": (size, outputs), "b": (outputs,)}, shapes)


def _expect(names: Names, wanted: Mapping[str, tuple[int | None, ...]], shapes: Mapping[str, Shape]) -> None:
    for parameter, name in names.items():
        if shapes[name] != wanted[parameter]:
            found = f"{shown(name)} has shape {shapes[name]}"
            raise ImportModelError(f"{found}, expected {wanted[parameter]} as {parameter} of its layer")
