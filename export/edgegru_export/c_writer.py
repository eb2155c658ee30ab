"""What the writers of integer and of float models have in common: tables, memory, and the lines of a step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgegru_export.c_memory import ITEM_BYTES, Member, Pool, padded
from edgegru_export.c_program import Operation, Program
from edgegru_export.c_text import array

PACKINGS = {"portable": 1, "cortex-m": 4, "armv7": 8, "aarch64": 8, "x86": 8}  # columns of a matrix, grouped by so many
SHARED_FLAGS = (
    "EGRU_AFTER", "EGRU_BEFORE", "EGRU_EMBEDDING", "EGRU_KEEPS_INT8_T", "EGRU_KEEPS_INT16_T", "EGRU_KEEPS_FLOAT",
    "EGRU_SOFTMAX_HEAD", "EGRU_LOG_SOFTMAX_HEAD", "EGRU_SIGMOID_HEAD", "EGRU_IDENTITY_HEAD",
)  # fmt: skip


@dataclass(frozen=True)
class CModel:
    """The C of a model, but for what surrounds it: ``c_files.py`` makes files of it."""

    program: Program
    flags: dict[str, int | str]  # macros that the kernel's headers ask for
    headers: tuple[str, ...]  # of the kernel
    tables: str  # definitions
    table_names: tuple[str, ...]
    table_bytes: int
    state: tuple[Member, ...]
    scratch: tuple[Member, ...]
    body: tuple[str, ...]  # statements of a step, behind the check of its input
    begin: tuple[str, ...]  # statements of a reset, behind zeros

    @property
    def state_bytes(self) -> int:
        """Of the structure that a stream keeps."""
        return sum(member.bytes_ for member in self.state)

    @property
    def scratch_bytes(self) -> int:
        """Of the structure that lies on the stack during a step."""
        return sum(member.bytes_ for member in self.scratch)


class Writer:
    """Tables, memory and statements, as operations are written one after another."""

    def __init__(self, program: Program, packing: int) -> None:
        self.program, self.packing = program, packing
        self.flags: dict[str, int | str] = {}
        self.headers: list[str] = []
        self.definitions: list[str] = []
        self.table_names: list[str] = []
        self.table_bytes = 0
        self.state: list[Member] = []
        self.body: list[str] = []
        self.begin: list[str] = []
        self.pools = {"int32_t": Pool(), "int16_t": Pool(step=packing), "float": Pool()}
        self.places: dict[int, str] = {}  # the C of every vector
        self._last_reads = program.last_reads()

    def table(self, kind: str, name: str, numbers: Iterable[float]) -> str:
        """A constant table; its name."""
        values = list(numbers)
        self.definitions.append(array(kind, name, values))
        self.table_names.append(name)
        self.table_bytes += ITEM_BYTES[kind] * len(values)
        return name

    def structure(self, kind: str, name: str, fields: dict[str, str | int]) -> str:
        """A constant structure of the kernel's, fields in their order; a pointer to it."""
        shown = ", ".join(str(value) for value in fields.values())
        self.definitions.append(f"/* {', '.join(fields)} */\nstatic const {kind} {name} = {{{shown}}};\n")
        return f"&{name}"

    def use(self, header: str, **flags: int | str) -> None:
        """A header of the kernel, and what it is asked for."""
        if header not in self.headers:
            self.headers.append(header)
        self.flags |= flags

    def take(self, vector: int, kind: str, size: int) -> str:
        """Room in the scratch memory; the C of it."""
        place = self.pools[kind].take(vector, size)
        self.places[vector] = name = f"s.{_POOLS[kind]} + {place}"
        return name

    def release(self, operation: Operation) -> None:
        """Vectors that nobody reads behind this operation are free."""
        for vector in (*operation.reads, *operation.writes):
            if self._last_reads.get(vector, -1) <= operation.index:
                for pool in self.pools.values():
                    pool.free(vector)

    def reader(self, vector: int) -> str:
        """The node that reads the vector first."""
        node = next(operation.node for operation in self.program.operations if vector in operation.reads)
        assert node is not None
        return node.name

    def model(self) -> CModel:
        """All of it."""
        scratch = [Member(kind, _POOLS[kind], pool.length) for kind, pool in self.pools.items() if pool.length]
        return CModel(
            self.program,
            self.flags,
            tuple(self.headers),
            "\n".join(self.definitions),
            tuple(self.table_names),
            self.table_bytes,
            tuple(padded(self.state)),
            tuple(padded(scratch)),
            tuple(self.body),
            tuple(self.begin),
        )


_POOLS = {"int32_t": "value", "int16_t": "operand", "float": "real"}
