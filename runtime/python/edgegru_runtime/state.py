"""A stream's state as bytes, to keep it over a restart or to move it to another engine of the same model.

All integers little-endian (docs/streaming.md):

====== ===== ==================================================================
offset bytes content
====== ===== ==================================================================
0      8     ``EGRUSTAT``
8      4     version, 1
12     4     length of h in bytes
16     32    the model's identity
48     8     steps since the last reset
56     8     input values saturated since the last reset
64     4·Σ   the numbers of every state node in execution order: float32, or int32 in static schemes
then   4     CRC-32 (zlib) of all bytes before it
====== ===== ==================================================================

A front end's are past samples, the oldest first: in static schemes integers of 16 bits. A GRU's are h: in static
schemes with 24 fractional bits (of full scale, where it is unbounded). A convolution's are the values that it still
needs, the oldest first: in static schemes operands. Attention's are how many rows there are, then all rows, zeros
behind the last: in static schemes operands and, the keys, arguments of tanh with 12 fractional bits.
"""

from __future__ import annotations

import struct
from zlib import crc32

from edgegru_runtime.errors import StateError
from edgegru_runtime.fixed_point import ARGUMENT_LIMIT, OPERAND_LIMIT, STATE_BITS, VALUE_LIMIT
from edgegru_runtime.model_config import AttentionNode, GruNode, LogMelNode
from edgegru_runtime.operands import operand_limit
from edgegru_runtime.plain_data import dataclass

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from edgegru_runtime.model_config import ModelConfig, StateNode

STATE_VERSION = 1
_MAGIC = b"EGRUSTAT"
_LARGEST = 3.4028234663852886e38  # float32
_HEADER = struct.Struct("<8sII32sQQ")
_CHECKSUM = struct.Struct("<I")


@dataclass(frozen=True)
class SavedState:
    """What the bytes say: ``blobs`` holds h of every GRU."""

    blobs: list[bytes]
    steps: int
    clipped: int


def state_size(config: ModelConfig) -> int:
    """How many bytes a saved state of this model has."""
    return _HEADER.size + sum(_blob_sizes(config)) + _CHECKSUM.size


def pack_state(config: ModelConfig, saved: SavedState) -> bytes:
    """The bytes of a state; the inverse of ``unpack_state``."""
    payload = b"".join(saved.blobs)
    identity = bytes.fromhex(config.identity)
    head = _HEADER.pack(_MAGIC, STATE_VERSION, len(payload), identity, saved.steps, saved.clipped)
    return head + payload + _CHECKSUM.pack(crc32(head + payload))


def unpack_state(config: ModelConfig, data: bytes) -> SavedState:
    """The state in ``data``. Raises StateError unless it is whole, finite, and of the model ``config``."""
    if len(data) < _HEADER.size + _CHECKSUM.size or data[:8] != _MAGIC:
        raise StateError(f"these {len(data)} bytes are no saved state, expected {state_size(config)} from EGRUSTAT on")
    _, version, length, identity, steps, clipped = _HEADER.unpack_from(data)
    if version != STATE_VERSION:
        raise StateError(f"the saved state has version {version}, expected {STATE_VERSION}")
    if identity.hex() != config.identity:
        raise StateError(
            f"the saved state belongs to the model {identity.hex()[:12]}…, expected one of {config.identity[:12]}…"
        )
    sizes = _blob_sizes(config)
    if len(data) != state_size(config) or length != sum(sizes):
        raise StateError(f"the saved state has {len(data)} bytes, expected {state_size(config)}: it is torn")
    if crc32(data[: -_CHECKSUM.size]) != _CHECKSUM.unpack_from(data, len(data) - _CHECKSUM.size)[0]:
        raise StateError("the saved state does not have the checksum it was saved with: it is damaged")
    blobs, start = [], _HEADER.size
    for size in sizes:
        blobs.append(data[start : start + size])
        start += size
    _check_range(config, blobs)
    return SavedState(blobs, steps, clipped)


def _blob_sizes(config: ModelConfig) -> list[int]:
    return [4 * node.state_size for node in config.state_nodes]


def _check_range(config: ModelConfig, blobs: list[bytes]) -> None:
    """Every number is one that a stream can reach; NaN is not."""
    for node, blob in zip(config.state_nodes, blobs, strict=True):
        numbers = struct.unpack(f"<{len(blob) // 4}{'i' if config.static else 'f'}", blob)
        if isinstance(node, AttentionNode):
            _check_rows(config, node, numbers, blob)
            continue
        limit, unit = state_limit(config, node)
        if not all(-limit <= number <= limit for number in numbers):
            raise StateError(f"the saved state of {node.name} has a value that is not in [-{unit}, {unit}]")


def _check_rows(config: ModelConfig, node: AttentionNode, numbers: tuple[float, ...], blob: bytes) -> None:
    """A whole number of rows that there is room for, zeros behind them, and every number one that was remembered."""
    count, rows = numbers[0], numbers[1:]
    if not (0 <= count <= node.length and blob[:4] == struct.pack("<i" if config.static else "<f", int(count))):
        raise StateError(f"the saved state of {node.name} has {count:g} rows, expected 0 to {node.length}")
    if any(blob[4 + 4 * int(count) * node.row_size :]):
        raise StateError(f"the saved state of {node.name} has numbers behind its {count:g} rows, expected zeros")
    of_value, of_key = _LARGEST, _LARGEST
    if config.static:
        of_value, of_key = operand_limit(config, node.name), ARGUMENT_LIMIT
    limits = [of_value] * node.output_size + [of_key] * node.size
    if not all(abs(number) <= limit for number, limit in zip(rows, limits * node.length, strict=True)):
        raise StateError(f"the saved state of {node.name} has a number in a row that is beyond its range")


def state_limit(config: ModelConfig, node: StateNode) -> tuple[float, str]:
    """The largest magnitude that a number of a state can have, and how it is called."""
    if isinstance(node, GruNode) and not node.unbounded:  # h is a mean of values of tanh
        return (1 << STATE_BITS if config.static else 1.0 + 2.0**-20), "1"
    if not config.static:
        return _LARGEST, "the largest float32"
    if isinstance(node, GruNode):
        limit = VALUE_LIMIT
    else:
        limit = OPERAND_LIMIT[16] if isinstance(node, LogMelNode) else operand_limit(config, node.inputs[0])
    return limit, str(limit)
