"""Attention in TFLite's float operators: the equations of Bahdanau et al. 2014 (arXiv:1409.0473), with a mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgegru_export.tflite_model import FLOAT, Subgraph, Value
from edgegru_runtime.model_config import AttentionNode

FAR = 1e9  # below any score: what the score of a row that is not there loses


def attend(graph: Subgraph, node: AttentionNode, query: Value, state: Value, weight: NDArray[np.float32]) -> Value:
    """``Σ a_j m_j`` (1, output_size) of a ``query`` (1, size) and the ``state`` (1, state_size), all float32.

    A row j that is not there, for which the number of rows is at most j, loses half of ``FAR`` and more; where none is
    there the sum is of rows of zeros.
    """
    name, length, values, size = node.name, node.length, node.output_size, node.size
    count = graph.part(state, f"{name}.count", axis=1, start=0, stop=1)
    numbers = graph.part(state, f"{name}.numbers", axis=1, start=1, stop=node.state_size)
    rows = graph.reshape(numbers, f"{name}.rows", (1, length, node.row_size))
    value = graph.part(rows, f"{name}.values", axis=2, start=0, stop=values)
    key = graph.part(rows, f"{name}.keys", axis=2, start=values, stop=node.row_size)

    def binary(operator: str, a: Value, b: Value, title: str, shape: tuple[int, ...]) -> Value:
        return graph.add(operator, [a, b], f"{name}.{title}", shape, FLOAT)

    per_key = (1, length, size)
    sums = binary("ADD", key, graph.reshape(query, f"{name}.query", (1, 1, size)), "sums", per_key)
    bounded = graph.add("TANH", [sums], f"{name}.tanh", per_key, FLOAT)
    products = binary("MUL", bounded, graph.constant(f"{name}.weight", weight.reshape(1, 1, size)), "products", per_key)
    scores = graph.sum(products, f"{name}.scores", axis=2)  # (1, length)
    places = graph.constant(f"{name}.places", -(np.arange(length, dtype=np.float32) + np.float32(0.5))[np.newaxis])
    beyond = binary("ADD", places, count, "beyond", (1, length))
    far = binary("MUL", beyond, graph.constant(f"{name}.far", np.full((1, 1), FAR, np.float32)), "loss", (1, length))
    loss = binary("MINIMUM", far, graph.constant(f"{name}.none", np.zeros((1, 1), np.float32)), "mask", (1, length))
    masked = binary("ADD", scores, loss, "masked", (1, length))
    shares = graph.add("SOFTMAX", [masked], f"{name}.shares", (1, length), FLOAT, beta=1.0)
    column = graph.reshape(shares, f"{name}.column", (1, length, 1))
    return graph.sum(binary("MUL", value, column, "parts", (1, length, values)), f"{name}.sum", axis=1)
