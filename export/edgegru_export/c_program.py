"""A model as the C generator sees it: the operations of its plan, decoded, with where every vector lies in memory.

The plan (docs/plan.md) has every integer that the arithmetic needs already derived, so generated C and the C runtime
start from the same numbers. Here its words become names, and its vectors places: those that outlive a step lie in the
state, the others in scratch memory that is used again as soon as nobody reads them any more.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from edgegru_runtime.artifact import Artifact
from edgegru_runtime.model_config import (
    ConvolutionNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    HeadNode,
    LayerNormalisationNode,
    LinearNode,
    LogMelNode,
    Node,
    StandardiseNode,
)
from edgegru_runtime.plan import make_plan

NONE = 0xFFFFFFFF
FLOAT, VALUE, Q8, Q16 = range(4)  # kinds of vectors
STANDARDISE, EMBEDDING, OPERAND, LINEAR, TAPS, GRU, ADD, MULTIPLY, COPY, SOFTMAX, SIGMOID, IDENTITY = range(1, 13)
LAYER_NORMALISATION, LOG_MEL, LOG_SOFTMAX = 13, 14, 15
HEADS = (SOFTMAX, SIGMOID, IDENTITY, LOG_SOFTMAX)
_WORDS = 20
_OF_NODE: dict[int, type | tuple[type, ...]] = {
    STANDARDISE: StandardiseNode,
    EMBEDDING: EmbeddingNode,
    LINEAR: (LinearNode, ConvolutionNode),
    GRU: GruNode,
    ADD: ElementwiseNode,
    MULTIPLY: ElementwiseNode,
    LAYER_NORMALISATION: LayerNormalisationNode,
    LOG_MEL: LogMelNode,
    **dict.fromkeys(HEADS, HeadNode),
}


@dataclass(frozen=True)
class Vector:
    """Numbers that operations pass on."""

    kind: int
    size: int


@dataclass
class Operation:
    """One operation: its words behind the code, by the table of docs/plan.md. ``node``: whose it is, None of those that
    belong to no node alone.
    """

    index: int
    code: int
    words: tuple[int, ...]
    node: Node | None = None
    reads: tuple[int, ...] = ()
    writes: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """Of its tables: unique, for node names are unique and operations are numbered."""
        return f"n{self.index}_{self.node.name if self.node else 'step'}"


@dataclass
class Program:
    """Vectors, operations and tables of one model."""

    artifact: Artifact
    vectors: list[Vector] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    output_size: int = 0
    _data: bytes = b""

    def integers(self, place: int, count: int) -> list[int]:
        """int32 numbers of the data."""
        return list(struct.unpack_from(f"<{count}i", self._data, place))

    def bytes_(self, place: int, count: int) -> list[int]:
        """int8 numbers of the data."""
        return list(struct.unpack_from(f"<{count}b", self._data, place))

    def floats(self, place: int, count: int) -> list[float]:
        """float32 numbers of the data."""
        return list(struct.unpack_from(f"<{count}f", self._data, place))

    def size(self, vector: int) -> int:
        """How many numbers a vector has."""
        return self.vectors[vector].size

    @property
    def multiply_adds(self) -> int:
        """Multiplications of a weight with an operand in one step."""
        total = 0
        for operation in self.operations:
            if operation.code == LINEAR:
                total += self.size(operation.words[0]) * self.size(operation.words[1])
            elif operation.code == GRU:
                size = self.size(operation.words[1])
                total += 3 * size * (self.size(operation.words[0]) + size)
        return total

    def last_reads(self) -> dict[int, int]:
        """The operation that reads a vector last, by vector."""
        return {vector: operation.index for operation in self.operations for vector in operation.reads}

    def is_read(self, vector: int) -> bool:
        """Whether any operation reads the vector."""
        return any(vector in operation.reads for operation in self.operations)


def decode(artifact: Artifact) -> Program:
    """The program of an artifact. Raises ArtifactError where scales leave the arithmetic's range."""
    plan = make_plan(artifact)
    _, output_size, _, vectors, operations, start = struct.unpack_from("<6I", plan, 48)
    program = Program(artifact, output_size=output_size, _data=plan[start:])
    program.vectors = [Vector(*struct.unpack_from("<II", plan, 72 + 8 * i)) for i in range(vectors)]
    nodes = list(artifact.config.nodes)
    for index in range(operations):
        words = struct.unpack_from(f"<{_WORDS}I", plan, 72 + 8 * vectors + 4 * _WORDS * index)
        operation = Operation(index, words[0], words[1:])
        kinds = _OF_NODE.get(operation.code)
        if kinds is not None and not _is_samples(operation, artifact):  # nodes are lowered in their order
            while not isinstance(nodes[0], kinds):
                nodes.pop(0)
            operation.node = nodes.pop(0)
        operation.reads, operation.writes = _uses(operation)
        program.operations.append(operation)
    return program


def _is_samples(operation: Operation, artifact: Artifact) -> bool:
    """Whether this makes integers of sound, which is part of the log_mel node."""
    return operation.code == STANDARDISE and operation.words[3] == 0 and artifact.config.front_end is not None


def _uses(operation: Operation) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The vectors that an operation reads and writes."""
    w = operation.words
    match operation.code:
        case 1:  # standardise
            return (w[3],), (w[0],)
        case 2:  # embedding
            return (0,), (w[0],)
        case 6:  # a GRU: h outlives the step, and its operand is made anew
            return (w[0],), (w[1],) if w[2] == NONE else (w[1], w[2])
        case 7 | 8:
            return (w[0], w[1]), (w[2],)
        case 14:  # log_mel, with its work
            return (w[0],), (w[1], w[2])
        case 10 | 11 | 12 | 15:
            return (w[0],), ()
        case _:
            return (w[0],), (w[1],)
