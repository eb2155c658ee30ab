"""What a Keras model computes, step for step, in Keras's own layouts; everything else is refused here by name.

``keras_layers`` makes our layers of these steps, ``keras_equations`` computes them, each for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.imports.keras_config import MODELS, Call, KerasLayer, Program, Value, X, shown
from edgegru.imports.keras_version import Version
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.model_config import CANDIDATE_ACTIVATIONS, GATE_ACTIVATIONS

EPSILON = 1e-7  # keras.backend.epsilon(), which Normalization adds to nothing but never goes below
_DROPPED = (  # what does nothing once a model is trained
    "Dropout",
    "SpatialDropout1D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
)
_WHY = {  # the best known of all others
    "LSTM": "is another recurrent layer than a GRU",
    "CuDNNLSTM": "is another recurrent layer than a GRU",
    "SimpleRNN": "is another recurrent layer than a GRU",
    "ConvLSTM1D": "is another recurrent layer than a GRU",
    "ConvLSTM2D": "is another recurrent layer than a GRU",
    "LSTMCell": "is another recurrent cell than a GRU's",
    "SimpleRNNCell": "is another recurrent cell than a GRU's",
    "StackedRNNCells": "steps several cells at once",
    "Bidirectional": "reads the sequence backwards as well, so it cannot be streamed",
    "Lambda": "has Python code in the file, which is never run",
    "TFOpLambda": "calls a function of TensorFlow by its name",
    "TensorFlowOpLayer": "calls a function of TensorFlow by its name",
    "Masking": "skips steps, which a stream does not",
    "LeakyReLU": "is an activation that artifacts do not have",
    "PReLU": "is an activation that artifacts do not have",
    "ELU": "is an activation that artifacts do not have",
    "ThresholdedReLU": "is an activation that artifacts do not have",
    "MultiHeadAttention": "looks at all steps at once",
    "Attention": "looks at all steps at once",
    "AdditiveAttention": "looks at all steps at once",
    "RepeatVector": "makes a sequence of one vector",
    "Permute": "exchanges time and channels",
}
_MERGES = ("Add", "Multiply", "Concatenate")
_OVER_TIME = ("GRU", "CuDNNGRU", "RNN", "Conv1D", "Embedding")
_FLOAT_TYPES = ("float32", "float16", "float64", "bfloat16", "mixed_float16", "mixed_bfloat16")

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Step:
    """``kind``: gru, last, dense, convolution, embedding, affine, layer_normalisation, activation, add, multiply or
    concatenate. ``inputs``: numbers of earlier steps, 0 being the input of the model and the first step number 1.
    """

    kind: str
    owner: str  # the layer, for messages
    inputs: tuple[int, ...]
    arrays: Arrays = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Steps:
    """``channels`` of the input; ``outputs``: name, step, and whether it is the last step of the sequence alone."""

    channels: int
    steps: tuple[Step, ...]
    outputs: tuple[tuple[str, int, bool], ...]


def check_kinds(layer: KerasLayer) -> None:
    """Refuse by name what is not known, before its weights are looked for."""
    if layer.inner is not None:
        if layer.kind != "RNN" or layer.inner.kind != "GRUCell":
            check_kinds(layer.inner)
    elif layer.operation and layer.kind not in ("Add", "Multiply"):
        raise ImportModelError(f"{layer} calls a function of keras.ops, expected layers")
    elif layer.kind not in KINDS or layer.kind == "GRUCell":
        raise ImportModelError(f"{layer} {_WHY.get(layer.kind, 'is not among the layers that can be imported')}")
    for inside in layer.layers:
        check_kinds(inside)


def read_steps(program: Program, version: Version) -> Steps:
    """The steps of a flattened model whose layers have their weights."""
    return _Reading(program, version).steps


@dataclass(frozen=True)
class _Known:
    """A value: its step, how many numbers, and along which axes: "rows" (time), "sequence" (time, n), "vector" (n)."""

    step: int
    size: int
    axes: str


class _Reading:
    """One call after the other."""

    def __init__(self, program: Program, version: Version) -> None:
        self.program, self.version = program, version
        self._steps: list[Step] = []
        if len(program.shape) > 2 or (program.shape[-1] is None and len(program.shape) == 2):
            raise ImportModelError(f"the input has the shape {shown(program.shape)}, expected (time, channels)")
        size = program.shape[1] if len(program.shape) == 2 else 1
        self._values = {X: _Known(0, size or 1, "sequence" if len(program.shape) == 2 else "rows")}
        calls = Counter(id(call.layer) for call in program.calls)
        for number, call in enumerate(program.calls):
            if calls[id(call.layer)] > 1 and call.layer.kind in _OVER_TIME[:3]:
                raise ImportModelError(f"{call.layer} is called {calls[id(call.layer)]} times, expected once")
            self._call(number, call)
        outputs = [(name, self._value(value, f'output "{name}"')) for name, value in program.outputs]
        self.steps = Steps(
            size or 1, tuple(self._steps), tuple((name, out.step, out.axes == "vector") for name, out in outputs)
        )

    def _value(self, value: Value, owner: str) -> _Known:
        if value not in self._values:
            raise ImportModelError(f"{owner} reads output {value.index} of a layer, which has fewer")
        return self._values[value]

    def _call(self, number: int, call: Call) -> None:
        layer = call.layer
        _check_numbers(layer)
        values = [self._value(value, str(layer)) for value in call.inputs]
        if not values:
            raise ImportModelError(f"{layer} reads nothing, expected a value")
        if call.distributed and (layer.kind in _OVER_TIME or any(value.axes != "sequence" for value in values)):
            raise ImportModelError(
                f"{layer} stands in a TimeDistributed, expected a sequence and a layer of single steps"
            )
        if layer.kind in _MERGES:
            results = [self._merge(layer, values, call.distributed)]
        elif len(values) > 1:
            raise ImportModelError(f"{layer} reads {len(values)} values, expected one")
        elif layer.kind in _DROPPED:
            results = values
        else:
            reader = _MEANINGS.get(layer.kind)
            if reader is None:
                raise ImportModelError(f"{layer} cannot stand there")
            results = reader(self, layer, values[0], call.distributed)
        self._values |= {Value(number, index): result for index, result in enumerate(results)}

    def _add(
        self,
        kind: str,
        layer: KerasLayer,
        values: Sequence[_Known],
        size: int,
        arrays: Arrays | None = None,
        **fields: Any,
    ) -> _Known:
        for name, array in (arrays or {}).items():
            if not np.isfinite(array).all():
                raise ImportModelError(f"{layer} has numbers in {name} that are not finite")
        self._steps.append(Step(kind, str(layer), tuple(value.step for value in values), arrays or {}, fields))
        return _Known(len(self._steps), size, values[0].axes)

    def _activated(self, layer: KerasLayer, value: _Known, name: str) -> _Known:
        if name == "linear":
            return value
        return self._add("activation", layer, [value], value.size, activation=name)

    def _activation(self, layer: KerasLayer, name: str, default: str = "linear") -> str:
        """Of a layer's configuration, by our names."""
        value = layer.fields.get(name, default)
        if isinstance(value, dict) and isinstance(value.get("config"), str) and ">" not in value["config"]:
            value = value["config"]  # a function, as Keras 2.13 wrote it
        if value == "hard_sigmoid":
            if self.version.number is None:
                raise ImportModelError(
                    f"{layer} has {name} hard_sigmoid, whose slope is 1/5 in Keras 2 and 1/6 in Keras 3"
                    ", but the file does not say which Keras wrote it"
                )
            return "hard_sigmoid_6" if self.version.number >= (3, 0) else "hard_sigmoid_5"
        if value not in ("linear", "relu", "tanh", "sigmoid", "softmax", "log_softmax"):
            expected = "linear, relu, tanh, sigmoid, hard_sigmoid, softmax or log_softmax"
            raise ImportModelError(f"{layer} has {name} {shown(value)}, expected {expected}")
        return str(value)

    def _gru(self, layer: KerasLayer, value: _Known, distributed: bool) -> list[_Known]:
        cell = layer.inner or layer
        fields = layer.fields
        _check_axes(layer, value, "sequence")
        for name in ("go_backwards", "time_major"):
            if fields.boolean(name):
                raise ImportModelError(f"{layer} has {name}=true, expected false")
        units, cudnn = cell.fields.integer("units"), cell.kind == "CuDNNGRU"
        arrays = _named(cell, ("kernel", "recurrent_kernel", "bias"))
        bias = arrays.get("bias")
        shapes: dict[str, list[tuple[int, ...]]] = {
            "kernel": [(value.size, 3 * units)],
            "recurrent_kernel": [(units, 3 * units)],
            "bias": [(3 * units,), (2, 3 * units), (6 * units,)],
        }
        _check_shapes(layer, arrays, shapes)
        told = cell.fields.values.get("reset_after")
        after = cell.fields.boolean("reset_after", cudnn or self.version.is_tensorflow_2)
        if bias is not None:
            if told is not None and after != (bias.shape != (3 * units,)):
                raise ImportModelError(f"{layer} has reset_after={told}, but a bias of shape {bias.shape}")
            after = bias.shape != (3 * units,)
        default = "sigmoid" if cudnn or self.version.is_tensorflow_2 else "hard_sigmoid"
        gate = self._activation(cell, "recurrent_activation", default)
        candidate = self._activation(cell, "activation", "tanh")
        for name, found, known in (
            ("recurrent_activation", gate, GATE_ACTIVATIONS),
            ("activation", candidate, CANDIDATE_ACTIVATIONS),
        ):
            if found not in known:
                raise ImportModelError(f"{layer} has {name} {found}, expected {', '.join(known)}")
        form = {"reset_after": after, "gate_activation": gate, "candidate_activation": candidate}
        of_cudnn = bias is not None and bias.shape == (6 * units,)  # its kernels lie in memory otherwise, too
        sequence = self._add("gru", layer, [value], units, arrays, cudnn=of_cudnn, **form)
        last = self._add("last", layer, [sequence], units)
        last = _Known(last.step, units, "vector")
        result = sequence if fields.boolean("return_sequences") else last
        return [result, last] if fields.boolean("return_state") else [result]

    def _dense(self, layer: KerasLayer, value: _Known, distributed: bool) -> list[_Known]:
        _check_axes(layer, value, "sequence", "vector")
        units = layer.fields.integer("units")
        arrays = _named(layer, ("kernel", "bias"))
        _check_shapes(layer, arrays, {"kernel": [(value.size, units)], "bias": [(units,)]})
        result = self._add("dense", layer, [value], units, arrays)
        return [self._activated(layer, result, self._activation(layer, "activation"))]

    def _convolution(self, layer: KerasLayer, value: _Known, distributed: bool) -> list[_Known]:
        fields = layer.fields
        _check_axes(layer, value, "sequence")
        filters, taps, groups = fields.integer("filters"), fields.integer("kernel_size"), fields.integer("groups", 1)
        padding, order = fields.text("padding", "valid"), fields.text("data_format", "channels_last")
        if padding != "causal" and taps > 1:
            raise ImportModelError(f"{layer} has padding {shown(padding)} and {taps} taps, expected padding 'causal'")
        if fields.integer("strides", 1) != 1 or order != "channels_last":
            raise ImportModelError(f"{layer} has strides or {order}, expected strides 1 and channels_last")
        if value.size % groups or filters % groups:
            raise ImportModelError(f"{layer} has {groups} groups, which do not divide {value.size} and {filters}")
        arrays = _named(layer, ("kernel", "bias"))
        shapes: dict[str, list[tuple[int, ...]]] = {
            "kernel": [(taps, value.size // groups, filters)],
            "bias": [(filters,)],
        }
        _check_shapes(layer, arrays, shapes)
        dilation = fields.integer("dilation_rate", 1)
        result = self._add("convolution", layer, [value], filters, arrays, groups=groups, dilation=dilation)
        return [self._activated(layer, result, self._activation(layer, "activation"))]

    def _embedding(self, layer: KerasLayer, value: _Known, distributed: bool) -> list[_Known]:
        _check_axes(layer, value, "rows")
        if layer.fields.boolean("mask_zero"):
            raise ImportModelError(f"{layer} has mask_zero=true, which skips steps; expected false")
        shape = layer.fields.integer("input_dim"), layer.fields.integer("output_dim")
        arrays = _named(layer, ("embeddings",))
        _check_shapes(layer, arrays, {"embeddings": [shape]})
        result = self._add("embedding", layer, [value], shape[1], arrays)
        return [_Known(result.step, shape[1], "sequence")]

    def _batch_normalisation(self, layer: KerasLayer, value: _Known, distributed: bool) -> list[_Known]:
        self._check_last_axis(layer, value, distributed)
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        parts = {name: array.astype(np.float64) for name, array in _named(layer, names).items()}
        _check_shapes(layer, parts, {name: [(value.size,)] for name in names})
        spread = np.sqrt(parts["moving_variance"] + layer.fields.number("epsilon", 1e-3))
        scale = parts.get("gamma", np.ones(value.size)) / spread
        shift = parts.get("beta", np.zeros(value.size)) - scale * parts["moving_mean"]
        return [self._add("affine", layer, [value], value.size, {"scale": scale, "shift": shift})]

    def _layer_normalisation(self, layer: KerasLayer, value: _Known, distributed: bool) -> list[_Known]:
        self._check_last_axis(layer, value, distributed)
        if layer.fields.boolean("rms_scaling"):
            raise ImportModelError(f"{layer} has rms_scaling=true, expected false")
        arrays = _named(layer, ("gamma", "beta"))
        _check_shapes(layer, arrays, {name: [(value.size,)] for name in arrays})
        epsilon = layer.fields.number("epsilon", 1e-3)
        return [self._add("layer_normalisation", layer, [value], value.size, arrays, epsilon=epsilon)]

    def _normalisation(self, layer: KerasLayer, value: _Known, distributed: bool) -> list[_Known]:
        if layer.fields.get("axis") is not None:
            self._check_last_axis(layer, value, distributed)
        names = ("mean", "variance")
        given = {name: layer.fields.get(name) for name in names}
        found = (
            _named(layer, names)
            if given["mean"] is None
            else {name: _numbers(layer, name, part) for name, part in given.items()}
        )
        mean, variance = (np.asarray(found[name], np.float64).reshape(-1) for name in names)
        _check_shapes(layer, {"mean": mean, "variance": variance}, {name: [(1,), (value.size,)] for name in names})
        spread = np.maximum(np.sqrt(variance), EPSILON)
        if layer.fields.boolean("invert"):
            scale, shift = spread, mean
        else:
            scale, shift = 1 / spread, -mean / spread
        return [self._affine(layer, value, scale, shift)]

    def _rescaling(self, layer: KerasLayer, value: _Known, distributed: bool) -> list[_Known]:
        scale, shift = (_numbers(layer, name, layer.fields.get(name, 0)) for name in ("scale", "offset"))
        one_each = [(1,), (value.size,)]
        _check_shapes(layer, {"scale": scale, "offset": shift}, {"scale": one_each, "offset": one_each})
        return [self._affine(layer, value, scale, shift)]

    def _affine(self, layer: KerasLayer, value: _Known, scale: NDArray[Any], shift: NDArray[Any]) -> _Known:
        _check_axes(layer, value, "sequence", "vector")
        arrays = {name: np.broadcast_to(part, (value.size,)) for name, part in (("scale", scale), ("shift", shift))}
        return self._add("affine", layer, [value], value.size, arrays)

    def _plain_activation(self, layer: KerasLayer, value: _Known, distributed: bool) -> list[_Known]:
        if layer.kind == "Activation":
            name = self._activation(layer, "activation")
        else:
            name = layer.kind.lower()
        if layer.kind == "ReLU":
            found = {key: layer.fields.get(key) for key in ("max_value", "negative_slope", "threshold")}
            if any(isinstance(part, dict | list | str) or part not in (None, 0) for part in found.values()) or (
                found["max_value"] is not None
            ):
                raise ImportModelError(f"{layer} has {shown(found)}, expected a plain one")
        if layer.kind == "Softmax":
            self._check_last_axis(layer, value, distributed)
        return [self._activated(layer, value, name)]

    def _reshape(self, layer: KerasLayer, value: _Known, distributed: bool) -> list[_Known]:
        """Only where every step keeps its numbers; (time,) may become (time, 1)."""
        target = layer.fields.get("target_shape", []) if layer.kind == "Reshape" else [-1]
        time: list[Any] = [] if distributed or value.axes == "vector" else [self.program.shape[0]]
        wanted = [*time, value.size]
        same = isinstance(target, list) and len(target) == len(wanted) and target.count(-1) <= 1
        if not same or any(a not in (-1, None, b) for a, b in zip(target, wanted, strict=True)):
            raise ImportModelError(f"{layer} changes the shape of a sequence, expected one that keeps its steps")
        return [_Known(value.step, value.size, "sequence") if value.axes == "rows" else value]

    def _merge(self, layer: KerasLayer, values: list[_Known], distributed: bool) -> _Known:
        for value in values:
            _check_axes(layer, value, "sequence", "vector")
            if value.axes != values[0].axes:
                raise ImportModelError(f"{layer} reads a sequence and a single vector, expected one or the other")
        if layer.kind == "Concatenate":
            self._check_last_axis(layer, values[0], distributed)
            return self._add("concatenate", layer, values, sum(value.size for value in values))
        if len(values) < 2 or any(value.size != values[0].size for value in values):
            sizes = ", ".join(str(value.size) for value in values)
            raise ImportModelError(f"{layer} reads values of {sizes} numbers, expected two or more of one size")
        result = values[0]
        for value in values[1:]:
            result = self._add(layer.kind.lower(), layer, [result, value], value.size)
        return result

    def _check_last_axis(self, layer: KerasLayer, value: _Known, distributed: bool) -> None:
        _check_axes(layer, value, "sequence", "vector")
        rank = 3 if value.axes == "sequence" and not distributed else 2
        if layer.fields.axis() not in (-1, rank - 1):
            raise ImportModelError(f"{layer} works along axis {layer.fields.axis()} of {rank}, expected the last one")


_Reader = Callable[[_Reading, KerasLayer, _Known, bool], list[_Known]]
_MEANINGS: dict[str, _Reader] = {
    "GRU": _Reading._gru,
    "CuDNNGRU": _Reading._gru,
    "RNN": _Reading._gru,
    "Dense": _Reading._dense,
    "Conv1D": _Reading._convolution,
    "Embedding": _Reading._embedding,
    "BatchNormalization": _Reading._batch_normalisation,
    "LayerNormalization": _Reading._layer_normalisation,
    "Normalization": _Reading._normalisation,
    "Rescaling": _Reading._rescaling,
    "Activation": _Reading._plain_activation,
    "ReLU": _Reading._plain_activation,
    "Softmax": _Reading._plain_activation,
    "Reshape": _Reading._reshape,
    "Flatten": _Reading._reshape,
}


KINDS = frozenset((*MODELS, "InputLayer", "TimeDistributed", "GRUCell", *_MERGES, *_DROPPED, *_MEANINGS))


def _named(layer: KerasLayer, names: tuple[str, ...]) -> Arrays:
    """Weights by their names; those that the layer's switches leave out are not there."""
    return {name: layer.weights[name] for name in names if name in layer.weights}


def _check_axes(layer: KerasLayer, value: _Known, *expected: str) -> None:
    if value.axes not in expected:
        found = {"rows": "(time,)", "sequence": "(time, n)", "vector": "(n,)"}
        wanted = " or ".join(found[axes] for axes in expected)
        raise ImportModelError(f"{layer} reads a value of shape {found[value.axes]}, expected {wanted}")


def _check_shapes(layer: KerasLayer, arrays: Arrays, expected: Mapping[str, Sequence[tuple[int, ...]]]) -> None:
    for name, array in arrays.items():
        if array.shape not in expected[name]:
            shapes = " or ".join(str(shape) for shape in expected[name])
            raise ImportModelError(f"{layer} has {name} of shape {array.shape}, expected {shapes}")


def _check_numbers(layer: KerasLayer) -> None:
    """Quantized and adapted layers have other weights than their names say; half precision is read as it is stored."""
    found = layer.fields.get("dtype", "float32")
    policy = found.get("config") if isinstance(found, dict) else {"name": found}
    name = policy.get("name") if isinstance(policy, dict) else None
    if name not in _FLOAT_TYPES and name is not None:
        raise ImportModelError(f"{layer} has dtype {shown(name)}, expected {', '.join(_FLOAT_TYPES)}")
    for name in ("quantization_config", "quantization_mode", "lora_rank"):
        if layer.fields.get(name) is not None:
            raise ImportModelError(f"{layer} has {name}, expected a plain layer")


def _numbers(layer: KerasLayer, name: str, value: Any) -> NDArray[Any]:
    """A number, or lists of numbers, of a configuration."""
    try:
        array = np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise ImportModelError(f"{layer} has {name} {shown(value)}, expected numbers") from None
    return array
