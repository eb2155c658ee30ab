"""The configuration of a Keras model, from Keras 2.1 to Keras 3: its layers, and which layer reads whose value.

Keras writes a model as JSON: a Sequential is a list of layers, a Functional model a list of layers with the calls of
each (``inbound_nodes``), and both may hold models. Here all become one list of calls in execution order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.errors import ImportModelError

SEQUENTIAL, FUNCTIONAL = "Sequential", ("Functional", "Model")
MODELS = (SEQUENTIAL, *FUNCTIONAL)
_INNER = {"TimeDistributed": "layer", "RNN": "cell"}  # wrappers, and what their configuration calls what they wrap
_KERAS_MODULES = ("keras", "tf_keras", "tensorflow")
_OPERATIONS = ("keras.src.ops.", "keras.ops")  # modules of Keras 3 whose classes are no layers
_SUMS = {"__operators__.add": "Add", "math.add": "Add", "math.multiply": "Multiply"}  # of TFOpLambda, Keras 2's a + b
_MOST_CALLS = 2000
_LONGEST_NAME = 500
_DEEPEST = 16  # models in models


class Fields:
    """The ``config`` of one layer, read with the layer's name in every error."""

    def __init__(self, values: Any, owner: str) -> None:
        if not isinstance(values, dict):
            raise ImportModelError(f"{owner} has no configuration, expected a JSON object")
        self.values: dict[str, Any] = values
        self.owner = owner

    def get(self, name: str, default: Any = None) -> Any:
        """Whatever is there; a tuple as TensorFlow writes it is a list."""
        value = self.values.get(name)
        if isinstance(value, dict) and value.get("class_name") in ("__tuple__", "TensorShape", "ListWrapper"):
            value = value.get("items")
        return default if value is None else value

    def boolean(self, name: str, default: bool = False) -> bool:
        """True or false."""
        return bool(self._typed(name, default, bool, "true or false"))

    def integer(self, name: str, default: int | None = None) -> int:
        """A positive integer; Keras writes those of one dimension as lists of one, too."""
        value = self.get(name, default)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
            raise ImportModelError(f"{self.owner} has {name} {shown(value)}, expected a positive integer")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise ImportModelError(f"{self.owner} has {name} {shown(value)}, expected a number")
        return float(value)

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        return str(self._typed(name, default, str, "a text"))

    def axis(self) -> int:
        """``axis``: one, alone or as a list of one."""
        value = self.get("axis")
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int):
            raise ImportModelError(f"{self.owner} has axis {shown(value)}, expected one axis")
        return value

    def _typed(self, name: str, default: Any, kind: type, expected: str) -> Any:
        value = self.get(name, default)
        if not isinstance(value, kind):
            raise ImportModelError(f"{self.owner} has {name} {shown(value)}, expected {expected}")
        return value


@dataclass(eq=False)
class KerasLayer:
    """One layer; ``path``: its name behind those of the models that it is in; ``inner``: what a wrapper wraps;
    ``layers``: of a model. ``weights``: in Keras's layout, once they are read.
    """

    kind: str
    name: str
    path: str
    fields: Fields
    inner: KerasLayer | None = None
    layers: list[KerasLayer] = field(default_factory=list)
    operation: bool = False  # of Keras 3, which has no weights and no place among the layers
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f'layer "{self.path}" ({self.kind})'

    def leaves(self) -> Iterator[KerasLayer]:
        """Layers that own weights, in Keras's order."""
        if self.inner is not None:
            yield from self.inner.leaves()
        elif self.kind in MODELS:
            for layer in self.layers:
                yield from layer.leaves()
        else:
            yield self


@dataclass(frozen=True)
class Value:
    """Output ``index`` of call number ``call``; the model's input is call −1."""

    call: int
    index: int


X = Value(-1, 0)


@dataclass(frozen=True)
class Call:
    """One layer applied to values. ``distributed``: inside a TimeDistributed, so that no time axis is seen."""

    layer: KerasLayer
    inputs: tuple[Value, ...]
    distributed: bool = False


@dataclass(frozen=True)
class Program:
    """A model: ``shape``: of its input without batch, None where a length is open; calls in execution order; outputs
    with names.
    """

    shape: tuple[int | None, ...]
    calls: tuple[Call, ...]
    outputs: tuple[tuple[str, Value], ...]


def parse(text: str | bytes) -> dict[str, Any]:
    """A configuration's JSON."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImportModelError(f"the model's configuration is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ImportModelError("the model's configuration is no JSON object")
    return content


def read_model(config: Mapping[str, Any]) -> KerasLayer:
    """The tree of layers. Raises ImportModelError where the configuration is no Keras model or has custom classes."""
    model = _layer(config, "", 0)
    if model.kind not in MODELS:
        expected = "a Sequential or Functional model"
        raise ImportModelError(f"the model is of class {model.kind}, a custom one, expected {expected}")
    return model


def _layer(entry: Any, prefix: str, depth: int) -> KerasLayer:
    if depth > _DEEPEST:
        raise ImportModelError(f"models are nested deeper than {_DEEPEST} levels")
    if not isinstance(entry, Mapping) or not isinstance(entry.get("class_name"), str):
        raise ImportModelError("a layer has no class_name, expected an object of class_name and config")
    kind, config = entry["class_name"], entry.get("config")
    if kind == SEQUENTIAL and isinstance(config, list):  # up to Keras 2.2.2
        config = {"layers": config, "name": entry.get("name", "sequential")}
    name = config.get("name") if isinstance(config, dict) else None
    name = name if isinstance(name, str) else entry.get("name")
    name = name if isinstance(name, str) else kind.lower()
    check_text(kind)
    check_text(name)
    path = f"{prefix}{name}"
    _check_origin(entry, f'layer "{path}"')
    fields = Fields(config, f'layer "{path}" ({kind})')
    module = entry.get("module")
    operation = isinstance(module, str) and module.startswith(_OPERATIONS)
    if kind == "TFOpLambda" and str(fields.get("function")) in _SUMS:
        kind, operation = _SUMS[str(fields.get("function"))], True
    layer = KerasLayer(kind, name, path, fields, operation=operation)
    if kind in _INNER:
        layer.inner = _layer(fields.get(_INNER[kind]), f"{path}/", depth + 1)
    if kind in MODELS:
        inside = fields.get("layers")
        if not isinstance(inside, list) or len(inside) > _MOST_CALLS:
            raise ImportModelError(f"{layer} has no list of at most {_MOST_CALLS} layers")
        layer.layers = [_layer(child, f"{path}/" if depth else "", depth + 1) for child in inside]
    return layer


def _check_origin(entry: Mapping[str, Any], owner: str) -> None:
    """Custom classes say where they come from; none is ever imported."""
    module, registered = entry.get("module"), entry.get("registered_name")
    if isinstance(module, str) and module.split(".")[0] not in _KERAS_MODULES:
        raise ImportModelError(f"{owner} is of class {module}.{entry['class_name']}, expected a class of Keras")
    if isinstance(registered, str) and ">" in registered:
        raise ImportModelError(f"{owner} is of the custom class {registered}, expected a class of Keras")


def flatten(model: KerasLayer) -> Program:
    """All calls of a model, those of the models in it included."""
    flattening = _Flattening()
    outputs = flattening.run(model, [X])
    shape = _input_shape(model)
    if shape is None:
        raise ImportModelError("the model does not say the shape of its input, expected (time, channels)")
    return Program(shape, tuple(flattening.calls), tuple(outputs))


def _input_shape(model: KerasLayer) -> tuple[int | None, ...] | None:
    """Of an InputLayer, or of the first layer of a Sequential; without batch. None where nothing tells."""
    fields = model.fields
    shape = fields.get("batch_shape", fields.get("batch_input_shape"))
    if shape is None and model.kind in MODELS:
        first = model.layers[:1]
        if model.kind in FUNCTIONAL:
            sources = [name for name, *_ in _references(fields.get("input_layers"), model)]
            first = [layer for layer in model.layers if layer.name in sources]
        inside = _input_shape(first[0]) if first else None
        if inside is not None:
            return inside
        shape = fields.get("build_input_shape")
    if shape is None:
        return None
    sizes = shape[1:] if isinstance(shape, list) else None
    if not sizes or not all(size is None or (type(size) is int and 0 < size < 2**31) for size in sizes):
        raise ImportModelError(f"{model} has the input shape {shown(shape)}, expected sizes or null")
    return tuple(sizes)


class _Flattening:
    def __init__(self) -> None:
        self.calls: list[Call] = []

    def run(self, model: KerasLayer, inputs: list[Value], distributed: bool = False) -> list[tuple[str, Value]]:
        """The calls of a model applied to ``inputs``; its outputs with their names."""
        if model.kind == SEQUENTIAL:
            if len(inputs) != 1 or not model.layers:
                raise ImportModelError(f"{model} has {len(model.layers)} layers and reads {len(inputs)} values")
            for layer in model.layers:
                inputs = self._apply(layer, inputs[:1], distributed)
            return [(model.layers[-1].path, inputs[0])]
        return self._functional(model, inputs, distributed)

    def _apply(self, layer: KerasLayer, inputs: list[Value], distributed: bool) -> list[Value]:
        if layer.kind == "InputLayer":
            return inputs
        if layer.kind in MODELS:
            return [value for _, value in self.run(layer, inputs, distributed)]
        if layer.kind == "TimeDistributed" and layer.inner is not None:
            if distributed:
                raise ImportModelError(f"{layer} stands in another TimeDistributed, expected one")
            return self._apply(layer.inner, inputs, True)
        if len(self.calls) >= _MOST_CALLS:
            raise ImportModelError(f"the model has more than {_MOST_CALLS} layers")
        self.calls.append(Call(layer, tuple(inputs), distributed))
        return [Value(len(self.calls) - 1, index) for index in range(2)]  # a GRU has two outputs at most

    def _functional(self, model: KerasLayer, inputs: list[Value], distributed: bool) -> list[tuple[str, Value]]:
        entries = {layer.name: layer for layer in model.layers}
        if len(entries) < len(model.layers):
            raise ImportModelError(f"{model} has two layers of one name")
        sources = [name for name, *_ in _references(model.fields.get("input_layers"), model)]
        if len(sources) != len(inputs):
            raise ImportModelError(f"{model} has {len(sources)} inputs ({', '.join(sources)}), expected {len(inputs)}")
        values: dict[tuple[str, int], list[Value]] = {
            (name, 0): [value] for name, value in zip(sources, inputs, strict=True)
        }
        pending = [
            (layer, name, number, _node_inputs(layer, node))
            for (name, layer), entry in zip(entries.items(), model.fields.get("layers"), strict=True)
            for number, node in enumerate(_nodes(layer, entry))
        ]
        counts = {name: sum(waiting[1] == name for waiting in pending) for name in entries}

        def find(reference: tuple[str, int, int]) -> Value | None:
            name, number, index = reference
            nested = name in entries and entries[name].kind in MODELS
            # Keras 2 counts the call that a nested model has in itself as its first.
            found = values.get((name, 0 if nested else number))
            return None if found is None or not 0 <= index < len(found) else found[index]

        while pending:
            left = []
            for layer, name, number, references in pending:
                if layer.kind in MODELS and counts[name] > 1:
                    raise ImportModelError(f"{layer} is called {counts[name]} times, expected once")
                read = [find(reference) for reference in references]
                if any(value is None for value in read):
                    left.append((layer, name, number, references))
                else:
                    values[name, number] = self._apply(layer, [value for value in read if value], distributed)
            if len(left) == len(pending):
                missing = ", ".join(sorted({str(reference[0]) for *_, references in left for reference in references}))
                raise ImportModelError(
                    f"{left[0][0]} cannot be computed: its calls are cyclic or read what is not there, among {missing}"
                )
            pending = left
        outputs = _references(model.fields.get("output_layers"), model)
        found = [(reference[0], find(reference)) for reference in outputs]
        for name, value in found:
            if value is None:
                raise ImportModelError(f'{model} names the output "{name}", which none of its layers gives')
        return [(name, value) for name, value in found if value is not None]


def _nodes(layer: KerasLayer, entry: Mapping[str, Any]) -> list[Any]:
    nodes = entry.get("inbound_nodes", [])
    if not isinstance(nodes, list):
        raise ImportModelError(f"{layer} has inbound_nodes that are no list")
    return [] if layer.kind == "InputLayer" else nodes


def _node_inputs(layer: KerasLayer, node: Any) -> list[tuple[str, int, int]]:
    """The values that one call reads: (layer, number of its call, which of its outputs)."""
    if isinstance(node, Mapping):  # Keras 3
        references = list(_keras_tensors(node.get("args"), layer))
        keywords = node.get("kwargs", {})
    else:  # [[name, call, output, keywords], …]
        entries = [node] if isinstance(node, list) and node and isinstance(node[0], str) else node
        if not isinstance(entries, list) or not all(isinstance(item, list) and len(item) in (3, 4) for item in entries):
            raise ImportModelError(f"{layer} has the call {shown(node)}, expected a list of layers it reads")
        references = [_reference(item[:3], layer) for item in entries]
        keywords = {}
        for item in entries:
            keywords |= Fields(item[3], str(layer)).values if len(item) == 4 else {}
    for name, value in Fields(keywords, str(layer)).values.items():
        if name == "inputs" and isinstance(value, Mapping):
            references += _keras_tensors(value, layer)
        elif name == "y" and layer.operation and isinstance(value, list):
            references.append(_reference(value, layer))
        elif value not in (None, False, []):
            check_text(name)
            raise ImportModelError(f"{layer} is called with {name}={shown(value)}, expected its input alone")
    return references


def _keras_tensors(value: Any, layer: KerasLayer, depth: int = 0) -> Iterator[tuple[str, int, int]]:
    if isinstance(value, list) and depth < _DEEPEST:
        for part in value:
            yield from _keras_tensors(part, layer, depth + 1)
    elif isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__":
        yield _reference(Fields(value.get("config"), str(layer)).get("keras_history"), layer)
    elif value is not None:
        raise ImportModelError(f"{layer} is called with {shown(value)}, expected values of other layers alone")


def _references(structure: Any, model: KerasLayer) -> list[tuple[str, int, int]]:
    """``input_layers`` or ``output_layers``: a reference, or lists and objects of them."""
    if isinstance(structure, Mapping):
        structure = list(structure.values())
    if not isinstance(structure, list):
        raise ImportModelError(f"{model} does not list its inputs and outputs")
    if structure and isinstance(structure[0], str):
        return [_reference(structure, model)]
    return [_reference(part, model) for part in structure]


def _reference(value: Any, layer: KerasLayer) -> tuple[str, int, int]:
    if isinstance(value, list) and len(value) == 3:
        name, number, index = value
        if isinstance(name, str) and type(number) is int and type(index) is int:
            check_text(name)
            return name, number, index
    raise ImportModelError(f"{layer} reads {shown(value)}, expected the name of a layer and two numbers")


def check_text(text: str) -> None:
    """Names of a foreign file stand in sentences: on one line, of a bearable length."""
    if not text.isprintable() or len(text) > _LONGEST_NAME:
        raise ImportModelError(
            f"a name in the file is {shown(text)}, expected at most {_LONGEST_NAME} printable characters"
        )


def shown(value: Any) -> str:
    """A value of a foreign file, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
