"""Which layers a state dict of PyTorch belongs to, told from the names and shapes of its tensors alone."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.imports.layers import Layer, Layers
from edgegru_export.gate_order import from_torch
from edgegru_runtime.errors import ImportModelError

LONGEST_NAME = 200  # letters
MOST_LAYERS = 7  # whose orders are tried; plain stacks have three or four
_RECURRENT = re.compile(
    r"(?:(?P<path>.*)\.)?(?P<kind>(weight|bias)_(ih|hh))(_l(?P<layer>\d{1,3}))?(?P<reverse>_reverse)?"
)
_PLAIN = re.compile(r"(?:(?P<path>.*)\.)?(?P<kind>weight|bias)")
COUNTER = "num_batches_tracked"  # an integer of batch normalisation, which is refused by its other tensors
_KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# What other tensors are of, by the end of their names.
_OTHERS = {
    "running_mean": "batch normalisation",
    "running_var": "batch normalisation",
    "weight_g": "weight normalisation",
    "weight_v": "weight normalisation",
    "original0": "weight normalisation",
    "original1": "weight normalisation",
    "in_proj_weight": "attention",
}
Array = NDArray[Any]


@dataclass(frozen=True)
class Block:
    """A module of the stack: ``tensors`` of an nn.GRU by layer, or weight and bias of an nn.Linear or nn.Embedding."""

    kind: str  # "GRU", "Linear" or "Embedding"
    path: str
    input_size: int
    output_size: int
    tensors: tuple[tuple[Array, ...], ...]

    def __str__(self) -> str:
        layers = f", {len(self.tensors)} layers" if len(self.tensors) > 1 else ""
        name = f"{self.path}: " if self.path else ""
        return f"{name}{self.kind}({self.input_size} → {self.output_size}{layers})"


def stack_of(tensors: Mapping[str, Array]) -> list[Block]:
    """The modules in the order in which they follow each other. Raises ImportModelError, naming a tensor or module."""
    recurrent: dict[str, dict[int, dict[str, Array]]] = {}
    plain: dict[str, dict[str, Array]] = {}
    for name, tensor in tensors.items():
        if match := _RECURRENT.fullmatch(name):
            if match["reverse"]:
                raise ImportModelError(f"{name}: the GRU is bidirectional, expected one direction")
            layers = recurrent.setdefault(match["path"] or "", {})
            layers.setdefault(int(match["layer"] or 0), {})[match["kind"]] = tensor
        elif match := _PLAIN.fullmatch(name):
            plain.setdefault(match["path"] or "", {})[match["kind"]] = tensor
        else:
            _refuse_other(name)
    if not recurrent:
        raise ImportModelError("no tensor is named weight_ih or weight_ih_l0, expected the state dict of a GRU")
    blocks = [_gru(path, layers) for path, layers in recurrent.items()]
    return _in_order([*blocks, *(_plain(path, parts) for path, parts in plain.items())])


def build(blocks: Sequence[Block]) -> tuple[Layers, Layer]:
    """The stack as layers, and the value of the last."""
    first = blocks[0]
    layers = Layers(1 if first.kind == "Embedding" else first.input_size)
    value = layers.x
    for block in blocks:
        for parts in block.tensors:
            if block.kind == "GRU":
                value = layers.gru(value, from_torch(*parts), reset="after")
            elif block.kind == "Linear":
                value = layers.linear(value, *parts)
            else:
                value = layers.embedding(*parts)
    return layers, value


def checked_name(name: str) -> str:
    """A tensor's name, if it fits a message. Raises ImportModelError."""
    if not name.isprintable() or len(name) > LONGEST_NAME:
        raise ImportModelError(
            f"a tensor is named {name[:40]!a}, expected plain text of at most {LONGEST_NAME} letters"
        )
    return name


def check_settings(where: str, settings: Mapping[Any, Any]) -> None:
    """Raise ImportModelError where a setting beside the weights says that there is a connection they do not show."""
    for key, value in settings.items():
        says = isinstance(value, bool | int | float) and bool(value)
        says = says or (isinstance(value, str) and value.lower() not in ("", "0", "false", "none", "no"))
        if says and isinstance(key, str) and any(word in key.lower() for word in ("skip", "residual")):
            raise ImportModelError(
                f"{where} says {key[:40]!a} = {str(value)[:40]!a}, a connection that weights do not show, expected "
                "edgegru.from_torch(model)"
            )


def _refuse_other(name: str) -> None:
    ending = name.rpartition(".")[2]
    if ending.startswith("weight_hr"):
        raise ImportModelError(f"{name}: is of an LSTM with a projection, expected a GRU")
    what = f"is of {_OTHERS[ending]}" if ending in _OTHERS else "is of no GRU, Linear or Embedding"
    raise ImportModelError(
        f"{name}: {what}; where it belongs is not told by weights, expected edgegru.from_torch(model)"
    )


def _gru(path: str, layers: dict[int, dict[str, Array]]) -> Block:
    where = f"{path}." if path else ""
    if sorted(layers) != list(range(len(layers))):
        raise ImportModelError(f"{where}weight_ih_l: there are layers {sorted(layers)}, expected 0 and those after it")
    checked = [_layer(where, layers[index], index) for index in range(len(layers))]
    hidden = checked[0][1].shape[1]
    for index, parts in enumerate(checked[1:], 1):
        if parts[0].shape != (3 * hidden, hidden):
            found = f"{where}weight_ih_l{index} has shape {parts[0].shape}"
            raise ImportModelError(f"{found}, expected {(3 * hidden, hidden)}, the layer before it gives {hidden}")
    return Block("GRU", path, checked[0][0].shape[1], hidden, tuple(checked))


def _layer(where: str, parts: dict[str, Array], index: int) -> tuple[Array, ...]:
    """weight_ih, weight_hh and both biases or none, of the shapes of a GRU."""
    found = [kind for kind in _KINDS if kind in parts]
    if found not in (list(_KINDS), list(_KINDS[:2])):
        raise ImportModelError(
            f"{where}weight_ih: layer {index} has {', '.join(found)}, expected both weights, both biases"
        )
    name, weight_hh = f"{where}weight_hh of layer {index}", parts["weight_hh"]
    rows, hidden = weight_hh.shape if weight_hh.ndim == 2 else (0, 0)
    if hidden and rows in (4 * hidden, hidden):
        raise ImportModelError(
            f"{name} has {rows // hidden} gates: an {'LSTM' if rows > hidden else 'RNN'}, expected a GRU"
        )
    if not hidden or rows != 3 * hidden:
        raise ImportModelError(f"{name} has shape {weight_hh.shape}, expected (3 H, H)")
    weight_ih = parts["weight_ih"]
    if weight_ih.ndim != 2 or len(weight_ih) != rows or not weight_ih.shape[1]:
        raise ImportModelError(
            f"{where}weight_ih of layer {index} has shape {weight_ih.shape}, expected ({rows}, inputs)"
        )
    for kind in found[2:]:
        if parts[kind].shape != (rows,):
            raise ImportModelError(f"{where}{kind} of layer {index} has shape {parts[kind].shape}, expected ({rows},)")
    return tuple(parts[kind] for kind in found)


def _plain(path: str, parts: dict[str, Array]) -> Block:
    weight, bias = parts.get("weight"), parts.get("bias")
    if weight is None or weight.ndim != 2 or 0 in weight.shape:
        kinds = {1: "a normalisation", 3: "a convolution", 4: "a convolution"}
        what = "a bias alone" if weight is None else kinds.get(weight.ndim, f"a tensor of shape {weight.shape}")
        raise ImportModelError(
            f"{path}: is {what}, expected Linear or, with all that forward does, edgegru.from_torch(model)"
        )
    if bias is None and "emb" in path.rpartition(".")[2].lower():
        return Block("Embedding", path, 1, weight.shape[1], ((weight,),))
    if bias is not None and bias.shape != (len(weight),):
        raise ImportModelError(f"{path}.bias has shape {bias.shape}, expected ({len(weight)},)")
    return Block("Linear", path, weight.shape[1], len(weight), ((weight,) if bias is None else (weight, bias),))


def _in_order(blocks: list[Block]) -> list[Block]:
    """The one order that fits the sizes.

    GRU(1 → 8) and Linear(8 → 1) fit both ways, as do many stacks: an order that ends in a Linear layer goes before one
    that does not, since a Linear layer ahead of everything with nothing behind the GRU is hardly ever built.
    """
    if len(blocks) > MOST_LAYERS:
        raise ImportModelError(
            f"there are {len(blocks)} modules, expected at most {MOST_LAYERS} or edgegru.from_torch(model)"
        )
    orders = list(_orders(blocks))
    if not orders:
        listed = ", ".join(map(str, blocks))
        raise ImportModelError(f"{listed}: no order fits their sizes, expected each to read what one before it gives")
    orders = [order for order in orders if order[-1].kind == "Linear"] or orders
    for plausible in (order for order in orders if not _neighbours(order)):
        others = [order for order in orders if not _neighbours(order) and order is not plausible]
        if others:
            found = f"{_shown(plausible)} or {_shown(others[0])}"
            raise ImportModelError(
                f"the weights fit {found}, expected edgegru.from_torch(model), which knows the order"
            )
        return plausible
    first, second = _neighbours(orders[0])[0]
    found = f"{first} and {second} follow each other, and an activation between them is not seen in weights"
    raise ImportModelError(f"{found}; expected edgegru.from_torch(model)")


def _orders(blocks: list[Block]) -> Iterator[list[Block]]:
    for order in itertools.permutations(blocks):
        fits = all(a.output_size == b.input_size and b.kind != "Embedding" for a, b in itertools.pairwise(order))
        if fits:
            yield list(order)


def _neighbours(order: Sequence[Block]) -> list[tuple[Block, Block]]:
    return [(a, b) for a, b in itertools.pairwise(order) if a.kind == b.kind == "Linear"]


def _shown(order: Sequence[Block]) -> str:
    return " → ".join(map(str, order))


def equations(blocks: Sequence[Block], xs: Array) -> Array:
    """nn.Embedding, nn.GRU and nn.Linear as PyTorch's documentation writes them: xs (T, channels) → (T, size).

    Independent of how layers and artifacts compute; in the precision of ``xs``.
    """
    values = xs
    for block in blocks:
        for parts in block.tensors:
            parts = tuple(part.astype(xs.dtype) for part in parts)
            if block.kind == "GRU":
                values = _gru_equations(values, *parts)
            elif block.kind == "Linear":
                values = values @ parts[0].T + (parts[1] if len(parts) > 1 else 0)
            else:
                values = parts[0][values[:, 0].astype(np.int64)]
    return values


def _gru_equations(xs: Array, w_ih: Array, w_hh: Array, b_ih: Array | None = None, b_hh: Array | None = None) -> Array:
    size = w_hh.shape[1]
    reset, update, new = slice(0, size), slice(size, 2 * size), slice(2 * size, None)
    h, outputs = np.zeros(size, xs.dtype), []
    for x in xs:
        from_x = w_ih @ x if b_ih is None else w_ih @ x + b_ih
        from_h = w_hh @ h if b_hh is None else w_hh @ h + b_hh
        r, z = (_sigmoid(from_x[gate] + from_h[gate]) for gate in (reset, update))
        h = (1 - z) * np.tanh(from_x[new] + r * from_h[new]) + z * h
        outputs.append(h)
    return np.array(outputs)


def _sigmoid(values: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * values))
