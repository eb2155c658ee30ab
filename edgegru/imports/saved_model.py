"""TensorFlow's SavedModel, where Keras 2 wrote it: its configuration and its variables, with the extra ``tensorflow``.

The graph in the folder is a program, which is never run: layers come from Keras's configuration, and what they compute
is checked against Keras's equations in NumPy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from edgegru.imports.formats import read_bounded
from edgegru.imports.keras_config import KerasLayer, flatten, parse, read_model
from edgegru.imports.keras_equations import KerasEquations
from edgegru.imports.keras_layers import build_layers
from edgegru.imports.keras_steps import check_kinds, read_steps
from edgegru.imports.keras_version import Version
from edgegru.imports.keras_weights import LARGEST_WEIGHTS, order
from edgegru.imports.source import ForeignModel, Options
from edgegru_runtime.errors import ImportModelError

_LARGEST = 2**28  # bytes of a .pb file
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # which object has which variable, as TensorFlow stores it
_LENGTH_DELIMITED = 2  # protobuf's type of texts and messages


def read(path: Path, options: Options) -> ForeignModel:
    """The model of a folder. Raises ImportModelError without TensorFlow, or without a configuration of Keras."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow
    except ImportError:
        advice = 'install "edgegru[tensorflow]", or save the model as .keras where it was made'
        raise ImportModelError(f"a SavedModel is read with TensorFlow, which is not installed: {advice}") from None
    metadata = _metadata(path)
    model = read_model(metadata)
    check_kinds(model)
    program = flatten(model)
    try:
        _read_variables(model, tensorflow.train.load_checkpoint(os.fspath(path / "variables" / "variables")))
    except (tensorflow.errors.OpError, DecodeError, ValueError, RuntimeError, LookupError) as error:
        reason = next(iter(str(error).splitlines()), repr(error))
        raise ImportModelError(f"the variables of the SavedModel are damaged: {reason}") from None
    text = metadata.get("keras_version")
    version = Version.read(text if isinstance(text, str) else None, model)
    steps = read_steps(program, version)
    equations = KerasEquations(steps, f"the equations of {version} in NumPy")
    return ForeignModel(f"{version}, SavedModel", build_layers(steps), equations)


def _metadata(path: Path) -> dict[str, Any]:
    """What Keras wrote about the root object: in a file of its own, or in the graph's, up to TensorFlow 2.4."""
    if (path / "keras_metadata.pb").is_file():
        for node in _texts(read_bounded(path / "keras_metadata.pb", _LARGEST), 1):
            if b"root" in _texts(node, 3):
                return parse(next(_texts(node, 5), b""))
    for graph in _texts(read_bounded(path / "saved_model.pb", _LARGEST), 2):  # SavedModel.meta_graphs
        for objects in _texts(graph, 7):  # MetaGraphDef.object_graph_def
            for root in _texts(next(_texts(objects, 1), b""), 4):  # SavedObjectGraph.nodes, SavedObject.user_object
                for metadata in _texts(root, 3):  # SavedUserObject.metadata
                    return parse(metadata)
    found = "has no configuration of Keras, as model.export of Keras 3 and models of other code have none"
    raise ImportModelError(f"the SavedModel {found}; expected one of Keras 2, or the model saved as .keras")


def _texts(message: bytes, field: int) -> Iterator[bytes]:
    """Every text or message of a field of a protobuf message."""
    position = 0

    def number() -> int:
        nonlocal position
        value = 0
        for shift in range(0, 70, 7):
            if position >= len(message):
                break
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ImportModelError("a .pb file of the SavedModel is damaged")

    while position < len(message):
        key = number()
        kind = key & 7
        if kind == _LENGTH_DELIMITED:
            size = number()
            if size > len(message) - position:
                raise ImportModelError("a .pb file of the SavedModel is cut off")
            if key >> 3 == field:
                yield message[position : position + size]
            position += size
        elif kind == 0:
            number()
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        else:
            raise ImportModelError("a .pb file of the SavedModel is damaged")


def _read_variables(model: KerasLayer, checkpoint: Any) -> None:
    """``model.variables``, in their order, from the checkpoint."""
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    graph = TrackableObjectGraph.FromString(checkpoint.get_tensor(_GRAPH))
    nodes = graph.nodes
    lists = [child.node_id for child in nodes[0].children if child.local_name == "variables"]
    listed = nodes[lists[0]].children if lists else []
    places = [child.node_id for child in sorted(listed, key=lambda child: int(child.local_name))]
    attributes = [attribute for place in places for attribute in nodes[place].attributes]
    shapes = checkpoint.get_variable_to_shape_map()
    total = sum(int(np.prod(shapes[attribute.checkpoint_key])) for attribute in attributes)
    if total > LARGEST_WEIGHTS:
        raise ImportModelError(f"the SavedModel has more than {LARGEST_WEIGHTS:,} weights")
    owners = order(model, [attribute.full_name for attribute in attributes])
    for (leaf, name), attribute in zip(owners, attributes, strict=True):
        array: NDArray[Any] = checkpoint.get_tensor(attribute.checkpoint_key)
        leaf.weights[name] = array if array.dtype == np.float64 else array.astype(np.float32)
