"""The rows that attention reads, in the numbers of its state: how many there are, then all, zeros behind the last."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.derivation import row_coefficients
from edgegru_runtime.errors import InputError
from edgegru_runtime.fixed_point import ARGUMENT_LIMIT
from edgegru_runtime.operands import operand_limit

if TYPE_CHECKING:
    from edgegru_runtime.model_config import AttentionNode, ModelConfig


def remembered_rows(node: AttentionNode, state: NDArray[Any]) -> NDArray[Any]:
    """The rows (n, row_size) in the state (state_size,) of attention."""
    return state[1:].reshape(node.length, node.row_size)[: int(state[0])]


def with_row(config: ModelConfig, node: AttentionNode, blob: bytes, row: array[float]) -> tuple[bytes, int]:
    """A saved state of attention with one more row (row_size,), and how many of its numbers were saturated.

    In static schemes the row becomes operands and keys: ``q = clamp(floor(a · x + b))``, float32, product and sum
    rounded separately. Raises InputError where there is no room.
    """
    state = np.frombuffer(blob, "<i4" if config.static else "<f4").copy()
    count = int(state[0])
    if count == node.length:
        raise InputError(f"the stream remembers {count} rows, expected no more than that")
    numbers, saturated = np.asarray(row, np.float32), 0
    if config.static:
        a, b = row_coefficients(config, node)
        limits = np.array([operand_limit(config, node.name)] * node.output_size + [ARGUMENT_LIMIT] * node.size)
        with np.errstate(over="ignore"):  # an infinite product saturates like any other
            wide = np.floor(np.array(a, np.float32) * numbers + np.array(b, np.float32))
        numbers = np.minimum(np.maximum(wide, -limits), limits)
        saturated = int(np.count_nonzero(wide != numbers))
    state[1 + count * node.row_size :][: node.row_size] = numbers
    state[0] += 1
    return state.tobytes(), saturated
