"""The equations of docs/gates.md are run: each source's against our engine, with the conversion that the page names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegru.imports.assembling import Naming, assemble
from edgegru.imports.layers import Layers
from edgegru_export.gate_order import GruWeights, from_dl4mt, from_keras, from_lasagne, from_onnx
from edgegru_runtime.reference import Reference

PAGE = (Path(__file__).parents[2] / "docs" / "gates.md").read_text(encoding="utf-8")
BLOCKS = {re.match(r"def (\w+)", block)[1]: block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)}
SIZE_IN, SIZE, STEPS = 3, 5, 12
TOLERANCE = 1e-6

Arrays = list[Any]


def function(name: str, text: str | None = None) -> Callable[..., np.ndarray]:
    """A function of the page, or of its text when that was changed."""
    scope: dict[str, Any] = {
        "tanh": np.tanh,
        "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
        "split": lambda a, n: np.split(a, n, axis=-1),
        "concatenate": np.concatenate,
        "clip": np.clip,
    }
    exec(text or BLOCKS[name], scope)
    return scope[name]


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(np.prod(shape) + shape[0]).uniform(-1.2, 1.2, shape)


def torch_weights(*arrays: np.ndarray) -> GruWeights:
    return GruWeights(*arrays)


def lasagne_weights(w_in: dict[str, Any], w_hid: dict[str, Any], b: dict[str, Any]) -> GruWeights:
    ours = {"u": "z", "r": "r", "c": "n"}
    return from_lasagne(*({ours[gate]: array for gate, array in part.items()} for part in (w_in, w_hid, b)))


def tensorflow_weights(gates: np.ndarray, gates_b: np.ndarray, candidate: np.ndarray, b: np.ndarray) -> GruWeights:
    return from_dl4mt(gates[:SIZE_IN], gates[SIZE_IN:], gates_b, candidate[:SIZE_IN], candidate[SIZE_IN:], b)


def cho_weights(w_r: Any, w_z: Any, w: Any, u_r: Any, u_z: Any, u: Any) -> GruWeights:
    return GruWeights(np.concatenate([w_r, w_z, w]), np.concatenate([u_r, u_z, u]))


def chung_weights(w_r: Any, w_z: Any, w: Any, u_r: Any, u_z: Any, u: Any) -> GruWeights:
    inputs, hidden = {"r": w_r.T, "z": w_z.T, "n": w.T}, {"r": u_r.T, "z": u_z.T, "n": u.T}
    return from_lasagne(inputs, hidden, {gate: np.zeros(SIZE) for gate in "rzn"})


def by_gate(*shape: int) -> dict[str, np.ndarray]:
    return {gate: numbers(*shape) * factor for gate, factor in (("u", 1), ("r", -0.7), ("c", 0.9))}


@dataclass(frozen=True)
class Case:
    """``shapes`` of a source's arrays, how they become ours, where reset is, and what flips its blend, reset, gates."""

    arrays: Arrays
    convert: Callable[..., GruWeights]
    reset: str
    flips: tuple[tuple[str, str], ...]


THREE, GATES = 3 * SIZE, 2 * SIZE
PAPER = [numbers(SIZE, SIZE_IN) * f for f in (1, -1, 0.8)] + [numbers(SIZE, SIZE) * f for f in (1, -1, 0.8)]
KERNELS = [numbers(SIZE_IN, THREE), numbers(SIZE, THREE)]
ONNX = [numbers(THREE, SIZE_IN), numbers(THREE, SIZE), numbers(6 * SIZE)]
KEEPS, TAKES = "z * h + (1 - z) * n", "(1 - z) * h + z * n"
OURS = "(1 - z) * n + z * h"
CASES = {
    "pytorch": Case(
        [numbers(THREE, SIZE_IN), numbers(THREE, SIZE), numbers(THREE), numbers(THREE) + 0.1],
        torch_weights,
        "after",
        ((OURS, TAKES), ("i_r, i_z, i_n", "i_z, i_r, i_n"), ("r * h_n", "h_n"), ("@ h + bias_hh", "@ h")),
    ),
    "keras_reset_after": Case(
        [*KERNELS, numbers(2, THREE)],
        from_keras,
        "after",
        ((KEEPS, TAKES), ("x_z, x_r, x_h", "x_r, x_z, x_h"), ("h_z, h_r, h_h", "h_r, h_z, h_h"), ("bias[1]", "0")),
    ),
    "keras_reset_before": Case(
        [*KERNELS, numbers(THREE)],
        from_keras,
        "before",
        ((KEEPS, TAKES), ("u_z, u_r, u_h", "u_r, u_z, u_h"), ("(r * h) @ u_h", "r * (h @ u_h)")),
    ),
    "onnx_linear_before_reset_1": Case(
        ONNX,
        from_onnx,
        "after",
        ((OURS, TAKES), ("i_z, i_r, i_h", "i_r, i_z, i_h"), ("split(b, 2)[1]", "split(b, 2)[0]")),
    ),
    "onnx_linear_before_reset_0": Case(
        ONNX,
        from_onnx,
        "before",
        ((OURS, TAKES), ("r_z, r_r, r_h", "r_r, r_z, r_h"), ("r_h @ (r * h)", "r * (r_h @ h)")),
    ),
    "lasagne": Case(
        [by_gate(SIZE_IN, SIZE), by_gate(SIZE, SIZE), by_gate(SIZE)],
        lasagne_weights,
        "after",
        (("(1 - u) * h + u * c", "u * h + (1 - u) * c"), ('h @ w_hid["u"]', 'h @ w_hid["r"]'), ("r * (h", "(r * h")),
    ),
    "dl4mt": Case(
        [numbers(*shape) for width in (GATES, SIZE) for shape in ((SIZE_IN, width), (SIZE, width), (width,))],
        from_dl4mt,
        "after",
        ((KEEPS, TAKES), ("r, z = ", "z, r = "), ("(h @ ux) * r", "(h * r) @ ux")),
    ),
    "tensorflow_1": Case(
        [numbers(SIZE_IN + SIZE, GATES), numbers(GATES), numbers(SIZE_IN + SIZE, SIZE), numbers(SIZE)],
        tensorflow_weights,
        "before",
        (("u * h + (1 - u) * c", "(1 - u) * h + u * c"), ("r, u = ", "u, r = "), ("[x, r * h]", "[x, h]")),
    ),
    "cho_2014_first_version": Case(
        PAPER, cho_weights, "after", ((KEEPS, TAKES), ("r, z = ", "z, r = "), ("r * (u @ h)", "u @ (r * h)"))
    ),
    "cho_2014_as_published": Case(
        PAPER, cho_weights, "before", ((KEEPS, TAKES), ("r, z = ", "z, r = "), ("u @ (r * h)", "r * (u @ h)"))
    ),
    "chung_2014": Case(
        PAPER, chung_weights, "before", ((TAKES, KEEPS), ("r, z = ", "z, r = "), ("u @ (r * h)", "r * (u @ h)"))
    ),
}
SIGMOIDS = ("hard_sigmoid_5", "hard_sigmoid_6")
FLIPS = [(name, flip) for name, case in CASES.items() for flip in range(len(case.flips))]


def difference(case: Case, step: Callable[..., np.ndarray], **activations: str) -> float:
    """Between the page's function and our engine with converted weights, over a few steps."""
    layers = Layers(SIZE_IN)
    layers.output(layers.gru(layers.x, case.convert(*case.arrays), reset=case.reset, **activations))
    engine = Reference(assemble(layers, Naming(), {}))
    state, h, worst = engine.new_state(), np.zeros(SIZE), 0.0
    for x in np.random.default_rng(3).normal(size=(STEPS, SIZE_IN)).astype(np.float32):
        h = step(x, h, *case.arrays)
        worst = max(worst, float(np.abs(engine.step(state, x)[0] - h).max()))
    return worst


def test_the_page_has_these_sources_and_no_other() -> None:
    assert set(BLOCKS) == {*CASES, *SIGMOIDS}


@pytest.mark.parametrize("name", CASES)
def test_a_source_computes_what_its_conversion_computes(name: str) -> None:
    assert difference(CASES[name], function(name)) < TOLERANCE


@pytest.mark.parametrize(("name", "flip"), FLIPS)
def test_any_other_reading_is_another_function(name: str, flip: int) -> None:
    case = CASES[name]
    right, wrong = case.flips[flip]
    assert BLOCKS[name].count(right) == 1, right
    assert difference(case, function(name, BLOCKS[name].replace(right, wrong))) > 1000 * TOLERANCE


@pytest.mark.parametrize("name", SIGMOIDS)
def test_the_hard_sigmoids_are_the_engines(name: str) -> None:
    case, text = CASES["keras_reset_after"], BLOCKS["keras_reset_after"]
    for used in SIGMOIDS:
        step = function("keras_reset_after", f"{BLOCKS[used]}\n{text.replace('sigmoid(', f'{used}(')}")
        assert (difference(case, step, gate_activation=name) < TOLERANCE) == (used == name)


def test_every_row_of_the_table_has_its_section() -> None:
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= anchors
    names = {converter.__name__ for converter in (from_keras, from_onnx, from_lasagne, from_dl4mt)}
    assert set(re.findall(r"`(from_\w+)`", PAGE)) == names
