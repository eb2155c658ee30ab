"""What an exported C model takes on a processor: tables and memory exactly, code and stack at most.

Tables, state and scratch memory follow from the model; static assertions in the generated code hold them. Code depends
on the compiler: ``c_code_sizes.json`` has, for each processor and arithmetic, what every part of the kernel and every
statement of a step adds, fitted from above to models of all kinds by ``benchmarks/c_code_sizes.py`` (GCC, -Os, linked
with --gc-sections, routines of the compiler's library included).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files

from edgegru_export.c_writer import CModel

PROCESSORS = {  # of each target, those whose code was measured
    "portable": ("cortex-m0", "cortex-m4", "rv32imac"),
    "cortex-m": ("cortex-m0", "cortex-m4"),
    "armv7": ("cortex-a7",),
    "aarch64": ("cortex-a53",),
    "x86": ("x86-64",),
}

CODE_MARGIN = 6, 5  # parts that were never measured together may take more: of 200 other models 0.17 at most
STACK_MARGIN = 48  # bytes: 36 at most


@dataclass(frozen=True)
class CSizes:
    """Bytes on one processor; ``ram_bytes``: state and stack, the scratch memory is part of the stack."""

    processor: str
    table_bytes: int
    code_bytes: int  # at most
    state_bytes: int
    scratch_bytes: int
    stack_bytes: int  # of a step, at most
    multiply_adds: int

    @property
    def flash_bytes(self) -> int:
        """Tables and code."""
        return self.table_bytes + self.code_bytes

    @property
    def ram_bytes(self) -> int:
        """State and stack."""
        return self.state_bytes + self.stack_bytes

    def to_dict(self) -> dict[str, int | str]:
        """The same as plain data for JSON."""
        return {**asdict(self), "flash_bytes": self.flash_bytes, "ram_bytes": self.ram_bytes}

    def __str__(self) -> str:
        return (
            f"{self.processor}: flash at most {self.flash_bytes:,} bytes ({self.table_bytes:,} of tables, at most "
            f"{self.code_bytes:,} of code), RAM at most {self.ram_bytes:,} bytes ({self.state_bytes:,} of state, at "
            f"most {self.stack_bytes:,} of stack with {self.scratch_bytes:,} of scratch memory), "
            f"{self.multiply_adds:,} multiply-adds a step"
        )


def arithmetic(model: CModel) -> str:
    """Which code it is: "float", "static" with floats in and out, or "static-int"."""
    if "EGRU_FLOAT_IO" not in model.flags:
        return "float"
    return "static" if model.flags["EGRU_FLOAT_IO"] else "static-int"


def features(model: CModel) -> dict[str, int]:
    """What decides how much code a model is."""
    counted = {"base": 1, "statements": len(model.body), "structures": model.tables.count("static const egru_")}
    for name, value in model.flags.items():
        if isinstance(value, int) and name not in ("EGRU_PACKING", "EGRU_FLOAT_IO", "EGRU_RANGE"):
            counted[name] = int(value != 0)
    counted |= dict.fromkeys(model.headers, 1)
    for name in ("egru_gru_", "egru_linear("):  # a second call keeps a function from being made for one alone
        counted[f"more {name}"] = int(sum(name in line for line in model.body) > 1)
    return counted


def sizes(model: CModel, target: str) -> tuple[CSizes, ...]:
    """On each processor of a target."""
    return tuple(_on(model, target, processor) for processor in PROCESSORS[target])


def _on(model: CModel, target: str, processor: str) -> CSizes:
    parts = _measured()[f"{processor} {target}"][arithmetic(model)]
    counted = features(model)
    code, frames = (
        sum(parts[of].get(name, 0) * count for name, count in counted.items()) for of in ("code", "stack")
    )
    code = -(-code * CODE_MARGIN[0] // CODE_MARGIN[1])
    stack = model.scratch_bytes + frames + STACK_MARGIN
    memory = model.table_bytes, code, model.state_bytes, model.scratch_bytes, stack
    return CSizes(processor, *memory, model.program.multiply_adds)


@cache
def _measured() -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    text = files("edgegru_export").joinpath("c_code_sizes.json").read_text(encoding="utf-8")
    parts: dict[str, dict[str, dict[str, dict[str, int]]]] = json.loads(text)["parts"]
    return parts
