"""Operands: which values are multiplied as integers in a static scheme, how wide they are and what they are worth.

A value has one operand, whoever reads it. That of a concatenate node has the scales of its pieces, or one scale for all
where any piece has 16 bits.
"""

from __future__ import annotations

from edgegru_runtime.fixed_point import OPERAND_BITS, OPERAND_LIMIT
from edgegru_runtime.model_config import (
    UNBOUNDED,
    AttentionNode,
    ConcatenateNode,
    ConvolutionNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    LinearNode,
    ModelConfig,
    Node,
    ProductNode,
    StandardiseNode,
)

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgegru_runtime.artifact import Artifact

OPERANDS_AT_ONCE = (StandardiseNode, EmbeddingNode, AttentionNode)  # what gives an operand, which is its value


def operand_names(config: ModelConfig) -> tuple[str, ...]:
    """The nodes whose values become operands, in execution order: what a matrix or a multiply node reads, what reads
    the input, attention, whose rows are operands, and every GRU, whose own matrix reads it.
    """
    names = {node.name for node in config.nodes if isinstance(node, (*OPERANDS_AT_ONCE, GruNode))}
    readers = [node for node in config.nodes if isinstance(node, ProductNode) or node.kind == "multiply"]
    for reader in readers:
        for name in reader.inputs:
            names.update(pieces(config, name))
    return tuple(node.name for node in config.nodes if node.name in names)


def pieces(config: ModelConfig, name: str) -> tuple[str, ...]:
    """The nodes whose values stand side by side in the value ``name``: itself, but for a concatenate node."""
    node = config.node(name)
    if not isinstance(node, ConcatenateNode):
        return (name,)
    return tuple(piece for read in node.inputs for piece in pieces(config, read))


def has_full_scale(config: ModelConfig, node: Node) -> bool:
    """Whether a node has a range of its own for every number of its value (tensor ``full_scale``)."""
    if isinstance(node, ElementwiseNode):
        return True
    if isinstance(node, GruNode):
        return node.unbounded
    if isinstance(node, (LinearNode, ConvolutionNode)):
        return node.activation in UNBOUNDED and node.name in operand_names(config)
    return False


def expected_operands(config: ModelConfig) -> tuple[str, ...]:
    """Names of the values that need one operand scale for all their numbers, in execution order."""
    result = []
    for name in operand_names(config):
        node = config.node(name)
        if not has_full_scale(config, node):
            result.append(name)
            if isinstance(node, GruNode) and node.reset == "before":
                result.append(f"{name}.rh")
    return tuple(result)


def operand_bits(config: ModelConfig, name: str) -> int:
    """8 or 16: the width of the operand of the value ``name``; the larger where a concatenate node has both."""
    return max(OPERAND_BITS[config.scheme_of(piece)] for piece in pieces(config, name.removesuffix(".rh")))


def is_evened(config: ModelConfig, name: str) -> bool:
    """Whether the operand of a concatenate node ``name`` has one scale for all its numbers: any piece has 16 bits.

    Those have bits to spare, and the columns of a matrix that reads numbers of one scale keep their weights as they
    are. With 8 bits a small piece beside a large one would be left no steps: its columns give way instead.
    """
    return operand_bits(config, name) == 16


def even_scale(config: ModelConfig, name: str, piece_scales: Mapping[str, Sequence[float]]) -> float:
    """The one scale of such an operand: the largest that a piece has, or would have with 16 bits.

    ``piece_scales``: those of the pieces' own operands, by name.
    """
    bits = {piece: OPERAND_BITS[config.scheme_of(piece)] for piece in pieces(config, name)}
    return max(max(piece_scales[piece]) * 2.0 ** (bits[piece] - 16) for piece in bits)


def operand_limit(config: ModelConfig, name: str) -> int:
    """Where the operand of the value ``name`` saturates."""
    return OPERAND_LIMIT[operand_bits(config, name)]


def operand_scales(artifact: Artifact, name: str) -> list[float]:
    """What one unit of each number of an operand is worth (size,). ``name``: of a node, or ``NAME.rh``."""
    config = artifact.config
    assert config.quantization is not None
    node = config.node(name.removesuffix(".rh"))
    if isinstance(node, ConcatenateNode):
        own = {piece: operand_scales(artifact, piece) for piece in pieces(config, name)}
        if is_evened(config, name):
            return [even_scale(config, name, own)] * node.size
        return [scale for piece in pieces(config, name) for scale in own[piece]]
    if has_full_scale(config, node):
        unit = 2.0 ** (1 - operand_bits(config, name))
        return [full * unit for full in artifact.numbers(f"{node.name}.full_scale")]
    return [config.quantization.operand_scale[name]] * node.output_size
