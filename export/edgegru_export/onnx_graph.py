"""A small ONNX graph under construction: nodes in execution order, constants, then one checked file in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgegru_export.metadata import (
    METADATA_KEY,
    export_section,
    metadata_json,
    output_names,
    state_input_names,
    state_output_names,
)
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.front_end import behind_front_end
from edgegru_runtime.model_config import AttentionNode, ConvolutionNode

OPSET = 17  # old enough for runtimes of several years back (1.15.1 was tried), new enough for every operator used
LAST = 2**62  # a bound beyond every axis
IR_VERSION = 8  # the IR version that came with opset 17; a newer one is refused by older runtimes


class Graph:
    """Collects nodes and constants under unique names, then writes the model.

    ``scope`` is put before the names of values that are not named by the caller: the artifact's node they belong to.
    """

    def __init__(self) -> None:
        self.scope = ""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """An initializer; asked for again under the same name it is stored once."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(array, name)
        return name

    def integers(self, *numbers: int) -> str:
        """The constant vector of axes, sizes or bounds that several operators take as an input."""
        return self.constant(str(list(numbers)), np.array(numbers, np.int64))

    def real(self, value: float) -> str:
        """A float32 constant without dimensions."""
        return self.constant(str(float(value)), np.array(value, np.float32))

    def split(self, value: str, *sizes: int) -> tuple[str, ...]:
        """The columns of ``value`` in parts of these sizes."""
        names = [f"{self._new_name()}.{part}" for part in range(len(sizes))]
        return self.add_many("Split", (value, self.integers(*sizes)), names, axis=-1)

    def row(self, x: str, rows: int) -> str:
        """Which row of a table of ``rows`` each x (…, 1) means, ``⌊x + 1/2⌋`` or the nearest there is: int64 (…)."""
        floor = self.add("Floor", self.add("Add", x, self.real(0.5)))
        nearest = self.add("Clip", floor, self.real(0), self.real(rows - 1))
        return self.add("Squeeze", self.add("Cast", nearest, to=TensorProto.INT64), self.integers(-1))

    def window(self, node: ConvolutionNode, kept: str) -> str:
        """The steps that a convolution multiplies, of all that it has: (batch, (frames + 1) · input_size) → (batch,
        kernel_size · input_size), the oldest first.
        """
        columns = np.arange((node.frames + 1) * node.input_size).reshape(-1, node.input_size)[:: node.dilation]
        if node.dilation == 1:
            return kept
        return self.add("Gather", kept, self.constant(f"{node.name}.window", columns.reshape(-1)), axis=1)

    def rows(self, node: AttentionNode, state: str) -> tuple[str, str, str]:
        """Of a state (batch, state_size): how many rows there are (batch, 1), values (batch, length, output_size) and
        keys (batch, length, size) of all that there is room for.
        """
        count, numbers = self.split(state, 1, node.state_size - 1)
        rows = self.add("Reshape", numbers, self.integers(0, node.length, node.row_size))
        values, keys = self.split(rows, node.output_size, node.size)
        return count, values, keys

    def following(self, node: ConvolutionNode, kept: str, name: str = "") -> str:
        """The next state of a convolution (batch, state_size): all but the oldest step that it has."""
        bounds = self.integers(node.input_size), self.integers(LAST), self.integers(1)
        return self.add("Slice", kept, *bounds, name=name)

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """A node with one output; returns the output's name."""
        return self.add_many(operator, inputs, (name or self._new_name(),), **attributes)[0]

    def add_many(
        self, operator: str, inputs: Sequence[str], names: Sequence[str], **attributes: Any
    ) -> tuple[str, ...]:
        """A node whose outputs are called ``names``: "" for one that is not wanted. Returns the names."""
        self._nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return tuple(names)

    def _new_name(self) -> str:
        return f"{self.scope}.{len(self._nodes)}"

    def to_bytes(self, artifact: Artifact, *, form: str, state_dtype: str) -> bytes:
        """One self-contained file with the inputs, outputs and metadata of every export.

        ``form``: "step" or "sequence", whose ``x`` and outputs have a leading time axis; ``state_dtype``: "float32" or
        "int32". Time and batch are dynamic.
        """
        config = behind_front_end(artifact.config)
        time = ("time",) if form == "sequence" else ()
        state_type = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}[state_dtype]
        state_sizes = [node.state_size for node in config.state_nodes]
        output_sizes = [config.node(output.node).output_size for output in config.outputs]

        def values(
            names: Sequence[str], sizes: Sequence[int], kind: int, leading: tuple[str, ...]
        ) -> list[onnx.ValueInfoProto]:
            pairs = zip(names, sizes, strict=True)
            return [helper.make_tensor_value_info(name, kind, (*leading, size)) for name, size in pairs]

        graph = helper.make_graph(
            self._nodes,
            "edgegru",
            values(("x",), (config.input.step_size,), TensorProto.FLOAT, (*time, "batch"))
            + values(state_input_names(config), state_sizes, state_type, ("batch",)),
            values(output_names(config), output_sizes, TensorProto.FLOAT, (*time, "batch"))
            + values(state_output_names(config), state_sizes, state_type, ("batch",)),
            list(self._constants.values()),
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="edgegru"
        )
        section = export_section(artifact, format="onnx", form=form, state_dtype=state_dtype)
        helper.set_model_props(model, {METADATA_KEY: metadata_json(artifact, section)})
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))
