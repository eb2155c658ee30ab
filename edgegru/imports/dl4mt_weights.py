"""The .npz files of the dl4mt tutorial: encoders of its gru_layer, told by the ends of their arrays' names.

A GRU called ``encoder`` is encoder_W (input_size, 2H), encoder_U (H, 2H), encoder_b (2H,) of the gates, encoder_Wx
(input_size, H), encoder_Ux (H, H), encoder_bx (H,) of the candidate; Wemb (words, input_size) is the embedding before
it. Decoders, and whatever else is in the file, are left out by name. Source:
github.com/nyu-dl/dl4mt-tutorial, session1/nmt.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from numpy.typing import NDArray

from edgegru.imports import theano_layers
from edgegru.imports.layers import Layers
from edgegru.imports.npz_archive import Archive, in_order
from edgegru_export.gate_order import from_dl4mt
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.strict_json import shown

ARRAYS = ("W", "U", "b", "Wx", "Ux", "bx")
EMBEDDING = "Wemb"
PICKLED_COPY = "zipped_params"  # the same parameters once more, which the tutorial's last save adds
_NO_WEIGHTS = ("history_errs", "uidx", PICKLED_COPY)
_CONDITIONAL = ("Wc", "Wcx", "U_nl", "Ux_nl", "Wc_att", "W_comb_att")  # of gru_cond_layer and gru_cond_simple_layer
_REVERSED = "_r"  # the second half of a bidirectional encoder

Array = NDArray[Any]


def prefixes(names: Collection[str]) -> list[str]:
    """What stands before the six names of each GRU: "encoder_" of encoder_W, or nothing."""
    found = [name.removesuffix("Wx") for name in names if re.search(r"(^|_)Wx$", name)]
    return [prefix for prefix in found if all(prefix + array in names for array in ARRAYS)]


def read(archive: Archive) -> tuple[Layers, list[theano_layers.Stage], str]:
    """The layers, the same as stages, and a few words. Raises ImportModelError, as ``npz_weights.read``."""
    archive.refuse_objects(unread=(PICKLED_COPY,))
    stacked = _encoders(archive.shapes)
    size = None
    for prefix in stacked:
        size = _check_shapes(archive, prefix, size)
    has_embedding = _embeds(archive, stacked[0])
    names = [prefix + array for prefix in stacked for array in ARRAYS]
    arrays = archive.read([*names, EMBEDDING] if has_embedding else names)
    layers = Layers(1 if has_embedding else arrays[f"{stacked[0]}Wx"].shape[0])
    stages: list[theano_layers.Stage] = []
    value = layers.x
    if has_embedding:
        value = layers.embedding(arrays[EMBEDDING])
        stages.append(theano_layers.embedding(arrays[EMBEDDING]))
    for prefix in stacked:
        weights = {array: arrays[prefix + array] for array in ARRAYS}
        parts = (weights[array] for array in ("W", "U", "b", "Wx", "Ux", "bx"))
        value = layers.gru(value, from_dl4mt(*parts), reset="after")
        stages.append(theano_layers.dl4mt_gru(weights))
    layers.output(value)
    found, others = prefixes(archive.shapes), set(archive.shapes) - {*arrays, *_NO_WEIGHTS}
    left_out = sorted({_owner(name, found) for name in others})
    rest = f"; left out: {', '.join(map(shown, left_out[:6]))}{' …' if left_out[6:] else ''}" if left_out else ""
    return layers, stages, f"dl4mt: {', '.join(map(_shown, stacked))}{rest}"


def _encoders(shapes: Collection[str]) -> list[str]:
    """The prefixes of the GRUs to take, the first layer first."""
    found = prefixes(shapes)
    if not found:
        raise ImportModelError(
            "no GRU of the dl4mt layout is in the file, expected six arrays such as encoder_W, encoder_U, encoder_b, "
            "encoder_Wx, encoder_Ux, encoder_bx"
        )
    conditional = {
        prefix: next((prefix + array for array in _CONDITIONAL if prefix + array in shapes), None) for prefix in found
    }
    plain = [prefix for prefix in found if conditional[prefix] is None]
    if not plain:
        first = found[0]
        raise ImportModelError(
            f"{_shown(first)} is a conditional GRU, a decoder that reads a context too ({shown(conditional[first])}), "
            "expected a plain one, such as an encoder"
        )
    encoders = [prefix for prefix in plain if "decoder" not in prefix] or plain
    for prefix in encoders:
        forward = prefix.removesuffix(f"{_REVERSED}_") + "_"
        if prefix.endswith(f"{_REVERSED}_") and forward in encoders:
            raise ImportModelError(
                f"{_shown(prefix)} reads the sequence from its end: the encoder, with {_shown(forward)}, is "
                "bidirectional, expected GRUs that read forward only"
            )
    return in_order(encoders)


def _check_shapes(archive: Archive, prefix: str, before: int | None) -> int:
    """The units of a GRU whose arrays fit each other, and the units of the layer before it."""
    shapes = {array: archive.shapes[prefix + array] for array in ARRAYS}
    if len(shapes["Wx"]) != 2:
        raise ImportModelError(f"{shown(f'{prefix}Wx')} has shape {shapes['Wx']}, expected (input_size, H)")
    size_in, size = shapes["Wx"]
    if before not in (None, size_in):
        raise ImportModelError(
            f"{shown(f'{prefix}Wx')} reads {size_in} numbers, but the GRU before it gives {before}, expected one stack"
        )
    gates = 2 * size
    expected = {"W": (size_in, gates), "U": (size, gates), "b": (gates,), "Ux": (size, size), "bx": (size,)}
    for array, shape in expected.items():
        if shapes[array] != shape:
            raise ImportModelError(
                f"{shown(prefix + array)} has shape {shapes[array]}, expected {shape} beside {shown(f'{prefix}Wx')} "
                f"{shapes['Wx']}"
            )
    return size


def _embeds(archive: Archive, first: str) -> bool:
    """Whether Wemb is there, and its rows are what the first GRU reads."""
    shape = archive.shapes.get(EMBEDDING, ())
    return len(shape) == 2 and shape[1] == archive.shapes[f"{first}Wx"][0]


def _owner(name: str, prefixes: Collection[str]) -> str:
    """The layer that an array belongs to: a GRU, or a layer of W and b."""
    gru = next((prefix.rstrip("_") for prefix in prefixes if prefix and name.startswith(prefix)), None)
    return gru or re.sub("_[Wb]$", "", name)


def _shown(prefix: str) -> str:
    return shown(prefix.rstrip("_"))
