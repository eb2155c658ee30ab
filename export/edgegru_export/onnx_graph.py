"""A small ONNX graph under construction: nodes in execution order, constants, then one checked file in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgegru_export.metadata import METADATA_KEY

OPSET = 17  # the oldest with every operator in the form used here: onnxruntime 1.12 and later read it
IR_VERSION = 8  # the IR version that came with opset 17; a newer one is refused by older runtimes
MODEL_TYPES = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}

Shape = Sequence[int | str]


class Graph:
    """Collects nodes and constants under readable unique names, then writes the model."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._names: set[str] = set()

    def constant(self, array: NDArray[Any], name: str) -> str:
        """An initializer; the same name with the same values is stored once."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
        known = self._constants.setdefault(name, tensor)
        assert known.SerializeToString() == tensor.SerializeToString(), f"two constants are called {name}"
        return name

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """A node with one output, which is called ``name``; returns that name."""
        return self.add_many(operator, inputs, [name], **attributes)[0]

    def add_many(self, operator: str, inputs: Sequence[str], names: Sequence[str], **attributes: Any) -> list[str]:
        """A node with several outputs ("" for one that is not wanted)."""
        wanted = [name for name in names if name]
        assert not self._names.intersection(wanted), f"two values are called {wanted}"
        self._names.update(wanted)
        self._nodes.append(helper.make_node(operator, inputs, names, name=wanted[0], **attributes))
        return list(names)

    def to_bytes(
        self, inputs: Sequence[tuple[str, str, Shape]], outputs: Sequence[tuple[str, str, Shape]], metadata: str
    ) -> bytes:
        """One self-contained file. ``inputs``, ``outputs``: (name, dtype, shape); names in a shape are dynamic."""
        graph = helper.make_graph(
            self._nodes,
            "edgegru",
            [helper.make_tensor_value_info(name, MODEL_TYPES[dtype], shape) for name, dtype, shape in inputs],
            [helper.make_tensor_value_info(name, MODEL_TYPES[dtype], shape) for name, dtype, shape in outputs],
            list(self._constants.values()),
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="edgegru"
        )
        helper.set_model_props(model, {METADATA_KEY: metadata})
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)
