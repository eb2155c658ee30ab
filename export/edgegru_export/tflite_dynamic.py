"""A dynamic-w8 artifact as one TFLite file: int8 weights, all else float32.

Every product is a CONV_2D 1×1 with a scale per row, whose kernel rounds what it multiplies to 8 bits, anew at every
step (FULLY_CONNECTED of this form is computed wrongly by tflite-runtime 2.14). x and h have a product each, because
each has a range of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_export.tflite_float import FloatStep
from edgegru_export.tflite_model import FLOAT, Value
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.model_config import GruNode, LinearNode


def build(artifact: Artifact, state: str = "io") -> bytes:
    """The TFLite file's bytes; ``state``: "io" or "variables". ExportError for what the format cannot express."""
    return _DynamicStep(artifact, FLOAT).build(state)


class _DynamicStep(FloatStep):
    """All values are (1, 1, 1, size) in float32, as CONV_2D wants them."""

    schemes = ("dynamic-w8",)

    def value_shape(self, size: int) -> tuple[int, ...]:
        return (1, 1, 1, size)

    def product(
        self, node: LinearNode | GruNode, source: Value, field: str, rows: slice, bias: NDArray[Any] | None, name: str
    ) -> Value:
        weight, scales = self.tensor(node, field)[rows], self.scales(node, field)
        return self.convolve(
            source,
            weight[:, np.newaxis, np.newaxis],
            None if scales is None else scales[rows],
            np.zeros(len(weight), np.float32) if bias is None else bias,
            name,
        )

    def joint_product(self, node: GruNode, x: Value, h: Value, rows: slice, name: str) -> Value:
        product_x = self.product(node, x, "weight_ih", rows, self.joint_bias(node, rows), f"{name}.x")
        product_h = self.product(node, h, "weight_hh", rows, None, f"{name}.h")
        return self.binary("ADD", product_x, product_h, name)
