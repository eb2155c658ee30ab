"""What folding and assembling make of foreign layers, against the layers as they were understood."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgegru.importing import convert
from edgegru.imports.assembling import Naming, assemble
from edgegru.imports.layers import Layer, Layers
from edgegru.imports.parity import check_parity
from edgegru.imports.source import ForeignModel
from edgegru_export.gate_order import GruWeights
from edgegru_export.saving import artifact_bytes
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.model_config import LinearNode, StandardiseNode
from edgegru_runtime.reference import Reference

Floats = NDArray[np.float64]
STEPS = 12


def sigmoid(a: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-a)))


ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "linear": lambda a: a,
    "relu": lambda a: np.maximum(a, 0),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "hard_sigmoid_5": lambda a: np.clip(a / 5 + 0.5, 0, 1),
    "hard_sigmoid_6": lambda a: np.clip(a / 6 + 0.5, 0, 1),
    "softmax": lambda a: (
        np.exp(a - a.max(-1, keepdims=True)) / np.exp(a - a.max(-1, keepdims=True)).sum(-1, keepdims=True)
    ),
}
FORMS = {
    "reset": ["after", "before"],
    "gate_activation": ["sigmoid", "hard_sigmoid_5", "hard_sigmoid_6"],
    "candidate_activation": ["tanh", "tanh", "relu"],
}


def evaluate(layer: Layer, xs: Floats, known: dict[int, Floats]) -> Floats:
    """(T, size) of a layer: its definition, nothing folded."""
    if id(layer) not in known:
        known[id(layer)] = _evaluate(layer, xs, [evaluate(source, xs, known) for source in layer.inputs])
    return known[id(layer)]


def _evaluate(layer: Layer, xs: Floats, inputs: list[Floats]) -> Floats:
    arrays, fields = layer.arrays, layer.fields
    match layer.kind:
        case "x":
            return xs
        case "embedding":
            return arrays["weight"][xs[:, 0].astype(int)]
        case "linear":
            return inputs[0] @ arrays["weight"].T + arrays.get("bias", 0)
        case "affine":
            return inputs[0] * arrays["scale"] + arrays["shift"]
        case "select":
            return inputs[0][:, fields["indices"]]
        case "activation":
            return ACTIVATIONS[fields["activation"]](inputs[0])
        case "add" | "multiply":
            return inputs[0] + inputs[1] if layer.kind == "add" else inputs[0] * inputs[1]
        case "concatenate":
            return np.concatenate(inputs, axis=1)
        case "layer_normalisation":
            centred = inputs[0] - inputs[0].mean(axis=1, keepdims=True)
            spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + fields["epsilon"])
            return centred / spread * arrays["weight"] + arrays["bias"]
        case "convolution":
            taps, dilation = arrays["weight"].shape[1], fields["dilation"]
            padded = np.pad(inputs[0], (((taps - 1) * dilation, 0), (0, 0)))
            sums = [padded[k * dilation :][: len(xs)] @ arrays["weight"][:, k].T for k in range(taps)]
            return sum(sums) + arrays.get("bias", 0)
    assert layer.kind == "gru"
    return _gru(layer, inputs[0])


def _gru(layer: Layer, xs: Floats) -> Floats:
    h, steps = layer.arrays.get("h0", np.zeros(layer.size)), []
    w, u = (np.split(layer.arrays[name], 3) for name in ("weight_ih", "weight_hh"))
    b, c = (np.split(layer.arrays.get(name, np.zeros(3 * layer.size)), 3) for name in ("bias_ih", "bias_hh"))
    gate = ACTIVATIONS[layer.fields["gate_activation"]]
    for x in xs:
        r, z = (gate(w[i] @ x + b[i] + u[i] @ h + c[i]) for i in range(2))
        recurrent = r * (u[2] @ h + c[2]) if layer.fields["reset"] == "after" else u[2] @ (r * h) + c[2]
        n = ACTIVATIONS[layer.fields["candidate_activation"]](w[2] @ x + b[2] + recurrent)
        h = (1 - z) * n + z * h
        steps.append(h)
    return np.array(steps)


class Evaluated:
    """A source that evaluates the layers, which are still whole."""

    name, steps, precise = "the layers", STEPS, True

    def __init__(self, layers: Layers) -> None:
        self.copies = [freeze(output.layer, {}) for output in layers.outputs]
        self.recording = [output.recording for output in layers.outputs]

    def run(self, xs: NDArray[np.float32]) -> list[Floats]:
        known: dict[int, Floats] = {}
        found = [evaluate(copy, xs.astype(np.float64), known) for copy in self.copies]
        return [steps[-1] if last else steps for steps, last in zip(found, self.recording, strict=True)]


def freeze(layer: Layer, done: dict[int, Layer]) -> Layer:
    """A copy, since folding works in place."""
    if id(layer) not in done:
        inputs = [freeze(source, done) for source in layer.inputs]
        done[id(layer)] = Layer(layer.kind, inputs, layer.size, dict(layer.arrays), dict(layer.fields))
    return done[id(layer)]


def random_gru(rng: np.random.Generator, size: int, hidden: int, bias: bool = True) -> GruWeights:
    biases = (rng.normal(size=3 * hidden), rng.normal(size=3 * hidden)) if bias else (None, None)
    scale = 1 / np.sqrt(hidden)
    return GruWeights(rng.normal(size=(3 * hidden, size)), scale * rng.normal(size=(3 * hidden, hidden)), *biases)


def drawn_layers(rng: np.random.Generator) -> Layers:
    """Layers of every kind in any order, each reading one that is there."""
    embedding = rng.random() < 0.2
    layers = Layers(1 if embedding else int(rng.integers(1, 5)))
    values = [layers.embedding(rng.normal(size=(7, 3))) if embedding else layers.x]

    def gru(value: Layer) -> Layer:
        hidden = int(rng.integers(1, 5))
        form = {name: str(rng.choice(values)) for name, values in FORMS.items()}
        h0 = rng.uniform(-1, 1, hidden) if rng.integers(2) else None
        return layers.gru(value, random_gru(rng, value.size, hidden, bool(rng.integers(2))), h0=h0, **form)

    for _ in range(int(rng.integers(2, 9))):
        value = values[int(rng.integers(len(values)))]
        size, width = value.size, int(rng.integers(1, 5))
        same = [other for other in values if other.size == size]
        other = same[int(rng.integers(len(same)))]
        match int(rng.integers(9)):
            case 0:
                bias = rng.normal(size=width) if rng.integers(2) else None
                new = layers.linear(value, rng.normal(size=(width, size)), bias)
            case 1:
                new = layers.affine(value, rng.normal(size=size), rng.normal(size=size) * rng.integers(2))
            case 2:
                new = layers.select(value, rng.integers(size, size=width).tolist())
            case 3:
                new = layers.activation(value, str(rng.choice(["relu", "tanh", "sigmoid", "hard_sigmoid_6"])))
            case 4:
                new = layers.add(value, other)
            case 5:
                new = layers.concatenate([value, other])
            case 6:
                new = layers.convolution(value, rng.normal(size=(width, 2, size)), None, int(rng.integers(1, 3)))
            case 7:
                new = layers.layer_normalisation(value, rng.normal(size=size), rng.normal(size=size), 0.1)
            case _:
                new = gru(value)
        values.append(new)
    last = gru(values[-1])
    layers.output(layers.activation(layers.linear(last, rng.normal(size=(3, last.size))), "softmax"))
    layers.output(values[int(rng.integers(1, len(values)))], recording=bool(rng.integers(2)))
    if rng.integers(2):
        layers.output(layers.activation(last, "sigmoid"))
    return layers


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_an_artifact_computes_what_the_layers_do(seed: int) -> None:
    layers = drawn_layers(np.random.default_rng(seed))
    artifact, report = convert(ForeignModel("layers", layers, Evaluated(layers)), Naming())
    artifact_bytes(artifact)  # the reader takes it
    assert report.largest_error <= report.allowed_error


def small_model(reset: str = "after") -> tuple[Layers, Layer]:
    """x (3) → GRU (4), nothing given out yet."""
    layers = Layers(3)
    return layers, layers.gru(layers.x, random_gru(np.random.default_rng(1), 3, 4), reset=reset)


def kinds(layers: Layers) -> list[str]:
    return [node.kind for node in assemble(layers, Naming(), {}).config.nodes]


@pytest.mark.parametrize("reset", ["after", "before"])
def test_the_other_formulation_is_noticed(reset: str) -> None:
    layers, gru = small_model(reset)
    layers.output(layers.linear(gru, np.ones((1, 4))))
    source = Evaluated(layers)
    gru.fields["reset"] = {"after": "before", "before": "after"}[reset]
    with pytest.raises(ImportModelError, match=r"output 0 differs from the layers by .* within 12 steps, expected"):
        convert(ForeignModel("layers", layers, source), Naming())


def test_a_scale_of_the_input_standardises() -> None:
    layers = Layers(3)
    scaled = layers.affine(layers.x, np.array([2.0, 0.5, 1.0]), np.array([1.0, 0.0, -3.0]))
    gru = layers.gru(scaled, random_gru(np.random.default_rng(1), 3, 4), reset="after")
    layers.output(layers.linear(gru, np.ones((1, 4))))
    artifact = assemble(layers, Naming(), {})
    assert [node.kind for node in artifact.config.nodes] == ["standardise", "gru", "linear", "identity"]
    np.testing.assert_allclose(artifact.array("standardise.mean"), [-0.5, 0, 3])
    np.testing.assert_allclose(artifact.array("standardise.std"), [0.5, 2, 1])


def test_a_negative_scale_of_the_input_goes_into_the_gru() -> None:
    layers = Layers(3)
    scaled = layers.affine(layers.x, np.array([-2.0, 0.5, 1.0]), np.zeros(3))
    layers.output(
        layers.linear(layers.gru(scaled, random_gru(np.random.default_rng(1), 3, 4), reset="after"), np.eye(4))
    )
    assert kinds(layers) == ["standardise", "gru", "linear", "identity"]


def test_a_scale_behind_a_gru_goes_into_what_reads_it() -> None:
    layers, gru = small_model()
    scaled = layers.affine(gru, np.full(4, 2.0), np.ones(4))
    layers.output(layers.activation(layers.linear(scaled, np.ones((2, 4))), "softmax"))
    layers.output(layers.linear(gru, np.ones((1, 4))))
    artifact = assemble(layers, Naming(), {})
    assert [node.kind for node in artifact.config.nodes if isinstance(node, LinearNode)] == ["linear"] * 2
    np.testing.assert_array_equal(artifact.array("linear0.weight"), np.full((2, 4), 2))
    np.testing.assert_array_equal(artifact.array("linear0.bias"), [4, 4])


def test_a_shift_is_not_carried_through_a_convolution() -> None:  # whose past is zeros, not shifts
    layers, gru = small_model()
    shifted = layers.affine(gru, np.ones(4), np.ones(4))
    layers.output(layers.convolution(shifted, np.ones((2, 3, 4))))
    assert kinds(layers) == ["standardise", "gru", "linear", "convolution", "identity"]


def test_an_output_of_a_gru_itself_is_given() -> None:
    layers, gru = small_model()
    layers.output(gru, recording=True, name="state")
    artifact = assemble(layers, Naming(), {})
    assert [node.kind for node in artifact.config.nodes] == ["standardise", "gru", "identity"]
    assert artifact.config.outputs[0].target == "recording_value"


def test_an_output_that_no_head_can_read_goes_through_a_unit_matrix() -> None:
    layers, gru = small_model()
    layers.output(layers.concatenate([gru, layers.x]))
    artifact = assemble(layers, Naming(), {})
    assert [node.kind for node in artifact.config.nodes] == ["standardise", "gru", "concatenate", "linear", "identity"]
    np.testing.assert_array_equal(artifact.array("linear0.weight"), np.eye(7))


def test_names_that_are_given_are_kept() -> None:
    layers, gru = small_model()
    layers.output(layers.activation(layers.linear(gru, np.ones((2, 4))), "softmax"))
    naming = Naming(["ax", "ay", "az"], ["g"] * 3, 50.0, [["still", "moving"]])
    config = assemble(layers, naming, {"imported_from": "layers"}).config
    assert (config.input.channels, config.input.units, config.input.rate) == (("ax", "ay", "az"), ("g",) * 3, 50.0)
    assert (config.outputs[0].labels, config.outputs[0].target) == (("still", "moving"), "step_label")
    assert config.provenance == {"imported_from": "layers"}


def test_what_nodes_cannot_say_is_refused() -> None:
    layers, gru = small_model()
    softmax = layers.activation(gru, "softmax")
    layers.output(layers.linear(softmax, np.ones((1, 4))))
    with pytest.raises(ImportModelError, match="a softmax stands inside the model"):
        assemble(layers, Naming(), {})
    layers = Layers(3)
    layers.output(layers.linear(layers.x, np.ones((1, 3))))
    with pytest.raises(ImportModelError, match="the model has no GRU"):
        assemble(layers, Naming(), {})
    layers = Layers(1)
    embedded = layers.embedding(np.ones((5, 2)))
    both = layers.concatenate([embedded, layers.x])
    layers.output(layers.gru(both, random_gru(np.random.default_rng(0), 3, 2), reset="after"))
    with pytest.raises(ImportModelError, match="read by an embedding and by other layers"):
        assemble(layers, Naming(), {})
    with pytest.raises(ImportModelError, match="an embedding reads 2 channels"):
        Layers(2).embedding(np.ones((5, 2)))
    layers, gru = small_model()
    with pytest.raises(ImportModelError, match="activation elu is not known, expected linear"):
        layers.activation(gru, "elu")
    with pytest.raises(ImportModelError, match="a linear layer takes 5 numbers, but reads a value of 4"):
        layers.linear(gru, np.ones((1, 5)))
    with pytest.raises(ImportModelError, match="add takes 4 and 3 numbers"):
        layers.add(gru, layers.x)


@pytest.mark.parametrize(
    ("naming", "sentence"),
    [
        (Naming(channels=["a"]), "1 channels were named, but the model reads 3"),
        (Naming(units=["g", "g"]), "2 units were given, expected one for each of 3 channels"),
        (
            Naming(labels=[["a", "b"]]),
            r"labels were given for outputs of \[2\] numbers, the model has outputs of \[4\]",
        ),
    ],
)
def test_names_that_do_not_fit_are_refused(naming: Naming, sentence: str) -> None:
    layers, gru = small_model()
    layers.output(gru)
    with pytest.raises(ImportModelError, match=sentence):
        assemble(layers, naming, {})


def test_numbers_that_float32_cannot_hold_are_refused() -> None:
    layers, gru = small_model()
    layers.output(layers.linear(gru, np.full((1, 4), 1e39)))
    with pytest.raises(ImportModelError, match=r"linear0\.weight has numbers that are not finite in float32"):
        assemble(layers, Naming(), {})


def test_a_chaotic_source_is_allowed_its_own_error() -> None:
    """A GRU that doubles rounding errors at every turn: float32 itself is far from float64 in it."""
    rng = np.random.default_rng(3)
    layers = Layers(1)
    weights = random_gru(rng, 1, 24)
    wild = GruWeights(weights.weight_ih, 12 * weights.weight_hh, weights.bias_ih, weights.bias_hh)
    layers.output(layers.gru(layers.x, wild, reset="after"))

    artifact = assemble(layers, Naming(), {})

    class Source:
        name, steps, precise = "a wild source", None, True

        def run(self, xs: NDArray[np.float32]) -> list[Floats]:
            engine = Reference(artifact, xs.dtype.type)
            state = engine.new_state()
            return [np.array([engine.step(state, x)[0] for x in xs])]

    parity = check_parity(artifact, Source())
    assert parity.largest_error <= parity.allowed_error
    assert parity.allowed_error > 1e-3  # what float32 is worth here


def test_the_first_node_reads_the_input() -> None:
    layers, gru = small_model()
    layers.output(layers.add(gru, layers.linear(layers.x, np.ones((4, 3)))))
    first = assemble(layers, Naming(), {}).config.nodes[0]
    assert isinstance(first, StandardiseNode)
