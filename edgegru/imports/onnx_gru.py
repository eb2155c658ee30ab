"""The operator GRU: which of its forms a node has, and its layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgegru.imports.onnx_graph import Node
from edgegru.imports.onnx_values import AxesError, Signal, Value
from edgegru_export.gate_order import from_onnx
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.model_config import CANDIDATE_ACTIVATIONS, GATE_ACTIVATIONS

if TYPE_CHECKING:
    from edgegru.imports.onnx_walk import Walk

RESETS = {0: "before", 1: "after"}  # by linear_before_reset
HARD_SIGMOIDS = {(0.2, 0.5): "hard_sigmoid_5", (1 / 6, 0.5): "hard_sigmoid_6"}  # by alpha and beta
_GATES = "Sigmoid or HardSigmoid of alpha 0.2 or 1/6 and beta 0.5"
_ALPHA = {"affine": 1.0, "elu": 1.0, "hardsigmoid": 0.2, "leakyrelu": 0.01, "scaledtanh": 1.0, "thresholdedrelu": 1.0}
_BETA = {"affine": 0.0, "hardsigmoid": 0.5, "scaledtanh": 1.0}  # defaults; the others take none


def hard_sigmoid(alpha: float, beta: float) -> str | None:
    """The name of ``max(0, min(1, alpha · x + beta))``, None for one that an artifact does not have."""
    near = (name for (a, b), name in HARD_SIGMOIDS.items() if abs(alpha - a) < 1e-7 and abs(beta - b) < 1e-7)
    return next(near, None)


@dataclass(frozen=True)
class GruForm:
    """What the attributes of a node say."""

    reset: str
    gate_activation: str
    candidate_activation: str
    layout: int  # 1: batch comes first


def form(node: Node) -> GruForm:
    """Raises ImportModelError by node and attribute for what an artifact's GRU does not do."""
    direction = node.text("direction", "forward")
    if direction != "forward":
        raise ImportModelError(f"{node}: direction is {direction}, expected forward")
    if "clip" in node.attributes:
        raise ImportModelError(f"{node}: clip is {node.number('clip', 0):.6g}, expected none")
    linear_before_reset, layout = node.integer("linear_before_reset", 0), node.integer("layout", 0)
    if linear_before_reset not in RESETS or layout not in (0, 1):
        found = f"linear_before_reset is {linear_before_reset} and layout {layout}"
        raise ImportModelError(f"{node}: {found}, expected 0 or 1")
    gate, candidate = _activations(node)
    return GruForm(RESETS[linear_before_reset], gate, candidate, layout)


def _activations(node: Node) -> tuple[str, str]:
    """Of the gates and of the candidate; alpha and beta belong to those that take them, in order."""
    names = node.texts("activations")
    names = ["Sigmoid", "Tanh"] if names is None else names
    if len(names) != 2:
        raise ImportModelError(f"{node}: activations are {names}, expected two, of the gates and of the candidate")
    alphas, betas = iter(node.numbers("activation_alpha")), iter(node.numbers("activation_beta"))
    known = []
    for name in names:
        kind = name.lower()
        alpha = next(alphas, _ALPHA[kind]) if kind in _ALPHA else 1.0
        beta = next(betas, _BETA[kind]) if kind in _BETA else 0.0
        known.append((name, _activation(kind, alpha, beta), alpha, beta))
    expected = (
        ("gates", GATE_ACTIVATIONS, _GATES),
        ("candidate", CANDIDATE_ACTIVATIONS, f"Tanh, Relu, Affine of 1 and 0, {_GATES}"),
    )
    for (name, found, alpha, beta), (what, choices, texts) in zip(known, expected, strict=True):
        if found not in choices:
            numbers = f" (alpha {alpha:.6g}, beta {beta:.6g})" if name.lower() in _ALPHA else ""
            raise ImportModelError(f"{node}: activations are {name}{numbers} for the {what}, expected {texts}")
    return str(known[0][1]), str(known[1][1])


def _activation(kind: str, alpha: float, beta: float) -> str | None:
    """The artifact's name."""
    if kind in ("sigmoid", "tanh", "relu"):
        return kind
    if kind == "hardsigmoid":
        return hard_sigmoid(alpha, beta)
    if kind == "affine" and (alpha, beta) == (1, 0):
        return "linear"
    return "tanh" if kind == "scaledtanh" and (alpha, beta) == (1, 1) else None


@dataclass(frozen=True)
class GruArrays:
    """W (3H, input_size), R (3H, H) and B (6H,) of the one direction, gates as ONNX orders them."""

    w: NDArray[Any]
    r: NDArray[Any]
    b: NDArray[Any] | None

    @property
    def hidden_size(self) -> int:
        return int(self.r.shape[1])


def arrays(node: Node, inputs: Sequence[Any]) -> GruArrays:
    """The weights among a node's inputs, their shapes checked."""
    given = {name: inputs[place] if place < len(inputs) else None for place, name in ((1, "W"), (2, "R"), (3, "B"))}
    for name, value in given.items():
        if value is None and name == "B":
            continue
        if not isinstance(value, np.ndarray):
            raise ImportModelError(f"{node}: its {name} depends on the model's input, expected a constant")
        if value.dtype.kind != "f" or not np.isfinite(value).all():
            raise ImportModelError(f"{node}: its {name} is of {value.dtype} or not finite, expected finite floats")
    w, r, b = given["W"], given["R"], given["B"]
    assert w is not None and r is not None
    size = node.integer("hidden_size", r.shape[-1] if r.ndim else 0)
    shapes = {"W": (1, 3 * size, w.shape[-1] if w.ndim else 0), "R": (1, 3 * size, size), "B": (1, 6 * size)}
    for name, expected in shapes.items():
        value = given[name]
        if value is not None and (value.shape != expected or value.size == 0):
            raise ImportModelError(f"{node}: its {name} has shape {value.shape}, expected {expected}")
    return GruArrays(w[0], r[0], None if b is None else b[0])


def gru(walk: Walk, node: Node, inputs: Sequence[Value | None]) -> Sequence[Value]:
    """Y and Y_h."""
    shape, weights = form(node), arrays(node, inputs)
    x = inputs[0]
    if not isinstance(x, Signal):
        raise ImportModelError(f"{node}: its X is a constant, expected values that depend on the input")
    time_axis, batch_axis = (1, 0) if shape.layout else (0, 1)
    x = walk.settled(node, x)
    _check_axes(walk, node, x, time_axis, batch_axis)
    inputs = [*inputs, None, None, None][:6]
    _check_lengths(walk, node, inputs[4])
    h0, begins = _beginning(walk, node, inputs[5], weights.hidden_size, batch_axis)
    cells = walk.resolved(x.cells) if walk.axes.time is None else x.cells
    layer = walk.layers.gru(
        walk.table.layer(cells),
        from_onnx(weights.w, weights.r, weights.b),
        reset=shape.reset,
        gate_activation=shape.gate_activation,
        candidate_activation=shape.candidate_activation,
        h0=h0,
    )
    h = walk.table.of_layer(layer, (1, 1, 1, weights.hidden_size))
    if begins is not None:
        for state, cell in zip(begins.reshape(-1).tolist(), h.reshape(-1).tolist(), strict=True):
            walk.begins.setdefault(state, []).append(cell)
    sequence = walk.axes.time is not None
    if shape.layout:
        every = Signal(h, 1 if sequence else None, 0 if x.batch is not None else None)
        last = Signal(h[0], None, 0 if x.batch is not None else None, last=sequence)
    else:
        every = Signal(h, 0 if sequence else None, 2 if x.batch is not None else None)
        last = Signal(h[0], None, 1 if x.batch is not None else None, last=sequence)
    return [every, last]


def _check_axes(walk: Walk, node: Node, x: Signal, time_axis: int, batch_axis: int) -> None:
    found = walk.shape_text(x)
    if x.rank != 3:
        raise ImportModelError(f"{node}: its X has shape {found}, expected three axes")
    if x.trail:
        raise ImportModelError(f"{node}: its X goes on after the last step, expected a causal convolution before it")
    if x.last:
        raise ImportModelError(f"{node}: its X is the last step of a sequence alone, expected every step")
    if x.time != (None if walk.axes.time is None else time_axis) or x.cells.shape[time_axis] != 1:
        raise AxesError(f"{node}: its X has shape {found}, expected the model's time along axis {time_axis}")
    if x.cells.shape[batch_axis] != 1 or (walk.batch > 1 and x.batch != batch_axis):
        raise AxesError(f"{node}: its X has shape {found}, expected a batch of 1 along axis {batch_axis}")


def _check_lengths(walk: Walk, node: Node, lengths: Value | None) -> None:
    if lengths is None:
        return
    if isinstance(lengths, Signal) or not np.all(lengths == walk.steps):
        raise ImportModelError(f"{node}: sequence_lens names a length for every sample, expected whole sequences")


def _beginning(
    walk: Walk, node: Node, value: Value | None, size: int, batch_axis: int
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """h0 (H,), and the cells of the state input that stands in its place."""
    if value is None:
        if walk.axes.time is None:
            raise AxesError(f"{node}: has no initial_h, so every step would begin anew, expected a state input")
        return None, None
    if isinstance(value, Signal):
        only_states = len(walk.table.states(value.cells)) > 0 and all(
            block.state is not None for block, _ in walk.table.runs(value.cells)
        )
        if not only_states or value.cells.size != size:
            raise ImportModelError(f"{node}: its initial_h is computed from the input, expected a state or a constant")
        return np.array([walk.starts.get(cell, 0.0) for cell in value.cells.reshape(-1).tolist()]), value.cells
    if walk.axes.time is None:
        raise AxesError(f"{node}: its initial_h is a constant, so every step would begin anew")
    batch_axis = 0 if batch_axis == 0 else 1
    if value.ndim != 3 or value.shape[2] != size or value.shape[1 - batch_axis] != 1:
        raise ImportModelError(f"{node}: its initial_h has shape {value.shape}, expected (1, batch, {size})")
    samples = value.reshape(-1, size)
    if len(samples) not in (1, walk.batch) or not np.array_equal(samples, np.broadcast_to(samples[0], samples.shape)):
        raise ImportModelError(f"{node}: its initial_h differs from sample to sample, expected one for all")
    return samples[0], None
