"""What step.py measures without Python: the C kernel in a loop, and the floor under every step."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from step_models import Case
from step_peers import FLOAT_TOLERANCE

from edgegru_runtime.errors import EngineError

HERE = Path(__file__).resolve().parent
BENCH = HERE.parent / "runtime" / "c" / "build" / "bench"
STEPS = 5_000  # of each instruction set, at least
PRODUCTS = 200_000_000  # in them: more of short steps, some of which nothing disturbs
ALIGNMENT = 512  # bytes: what the floor reads without a jump
MOST_IN_A_ROUND = 512  # products of int8
_COMPILER = os.environ.get("CC", "cc")
_FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")


def compiler_version() -> str | None:
    """The first line of what the compiler says about itself, None without one."""
    try:
        said = subprocess.run([_COMPILER, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.splitlines()[0]


class Floor:
    """Reading as many bytes as the weights have, once a "step", by the widest loads of this processor.

    ``samples`` and ``run`` are those of a ``Peer``; nothing but the number of samples matters.
    """

    tolerance, streams = FLOAT_TOLERANCE, 1

    def __init__(self, case: Case, bytes_a_weight: int, library: ctypes.CDLL) -> None:
        size = -(-case.weight_count * bytes_a_weight // ALIGNMENT) * ALIGNMENT
        room = np.random.default_rng(0).integers(0, 256, size + ALIGNMENT, np.uint8)
        offset = -room.ctypes.data % ALIGNMENT
        self.weights: NDArray[np.uint8] = room[offset : offset + size]
        self.read = library.read_weights
        self.read.argtypes, self.read.restype = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long), ctypes.c_uint64

    def samples(self, inputs: NDArray[np.float32]) -> list[Any]:
        return list(inputs)

    def run(self, samples: Sequence[Any]) -> int:
        """A pass for each sample."""
        return int(self.read(self.weights.ctypes.data, self.weights.size, len(samples)))

    def largest_error(self, case: Case) -> float:
        """0 where every byte was read, else 1."""
        return float(self.run([None] * 3) != np.bitwise_xor.reduce(self.weights.view(np.uint64)))


class Multiplying:
    """As many multiply–adds as the matrices have, once a "step", of numbers that are in registers or read like weights.

    ``samples`` and ``run`` are those of a ``Peer``. Raises EngineError where there is no code for this processor.
    """

    tolerance, streams = FLOAT_TOLERANCE, 1

    def __init__(self, case: Case, numbers: str, library: ctypes.CDLL, *, read: bool) -> None:
        self.products = case.weight_count
        self.weight = 2 if read else 1  # in registers they are 1: a sum tells which were multiplied
        room = np.full(self.products + MOST_IN_A_ROUND + ALIGNMENT, self.weight, numbers)
        offset = -room.ctypes.data % ALIGNMENT // room.itemsize
        self.weights = room[offset : offset + self.products + MOST_IN_A_ROUND]
        self.multiply = getattr(library, f"{'read_and_' if read else ''}multiply_{numbers}")
        self.multiply.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long)
        self.multiply.restype = ctypes.c_int64
        if self.multiply(self.weights.ctypes.data, 1, 1) < 0:
            raise EngineError("this processor has neither AVX2 nor AVX-512 VNNI")

    def samples(self, inputs: NDArray[np.float32]) -> list[Any]:
        return list(inputs)

    def run(self, samples: Sequence[Any]) -> int:
        """A pass for each sample."""
        return int(self.multiply(self.weights.ctypes.data, self.products, len(samples)))

    def largest_error(self, case: Case) -> float:
        """0 where all products were made, of the numbers they should be of, else 1."""
        return float(not 0 <= self.run([None] * 3) / 3 / self.weight - self.products < MOST_IN_A_ROUND)


def compile_floor(folder: Path) -> ctypes.CDLL | None:
    """The library of ``step_floor.c``; None, with a line that says so, where it does not compile."""
    library = folder / "step_floor.so"
    command = [_COMPILER, *_FLAGS, str(HERE / "step_floor.c"), "-o", str(library)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"floor: not available ({error})")
        return None
    return ctypes.CDLL(str(library))


def measure_bench(case: Case, scheme: str) -> dict[str, Any]:
    """Nanoseconds of a step in C by instruction set, alone and of 64, and of its parts: what ``bench`` prints."""
    steps = max(STEPS, PRODUCTS // case.weight_count)
    command = [str(BENCH), str(case.plan_path(scheme)), str(steps)]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(finished.stdout)
    return result
