"""An exported C model as an engine: compiled for this machine and driven through pipes, one process a run.

The compiler is ``cc``, or what the environment variable CC names.
"""

from __future__ import annotations

import os
import shlex
import shutil
import struct
import subprocess
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_export.c_memory import ITEM_BYTES, offsets
from edgegru_export.c_sizes import CSizes, sizes
from edgegru_export.c_source import Words, input_type, output_type
from edgegru_export.c_writer import CModel
from edgegru_runtime.derivation import Derivation
from edgegru_runtime.errors import EngineError, VerificationError
from edgegru_runtime.model_config import AttentionNode, StateNode

FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Wpedantic", "-Werror")
_DTYPES = {"int8_t": "<i1", "int16_t": "<i2", "int32_t": "<i4", "uint32_t": "<u4", "float": "<f4"}
_DRIVER = """\
#include <stdio.h>
#include "{prefix}.h"

int main(void) {{
    static {prefix}_state state;
    static {input} x[{macro}_INPUT_SIZE];
    static {output} y[{macro}_OUTPUT_SIZE];
    int command, status = 0;
    while ((command = getchar()) != EOF) {{
        if (command == 's') {{
            if (fread(x, sizeof x, 1, stdin) != 1)
                return 1;
            status = {prefix}_step(&state, x, y);
        }} else if (command == 'g') {{
            status = {prefix}_selftest();
        }} else if (command == 'l') {{
            if (fread(&state, sizeof state, 1, stdin) != 1)
                return 1;
        }} else {{
            {prefix}_init(&state);
        }}
        if (fwrite(&status, sizeof status, 1, stdout) != 1 || fwrite(y, sizeof y, 1, stdout) != 1 ||
            fwrite(&state, sizeof state, 1, stdout) != 1 || fflush(stdout))
            return 1;
    }}
    return 0;
}}
"""


def compile_c(sources: Sequence[Path], include: Path, flags: Sequence[str]) -> None:
    """Compile for this machine. Raises EngineError without a compiler, VerificationError where it refuses."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise EngineError(f"no C compiler {compiler[0]!r} was found, expected cc or what the variable CC names")
    command = [*compiler, *flags, f"-I{include}", *map(str, sources)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if result.returncode:
        complaint = next((line for line in result.stderr.splitlines() if "error" in line), result.stderr.strip())
        raise VerificationError(f"{compiler[0]} refuses it: {complaint.replace(f'{include}/', '')}")


class CEngine:
    """``Engine`` of a compiled model; a state is this process's one stream."""

    name = "c"

    def __init__(
        self,
        model: CModel,
        words: Words,
        include: Path,
        folder: Path,
        flags: Sequence[str] = FLAGS,
        emulator: Sequence[str] = (),
    ) -> None:
        """``include``: where the exported files are; ``folder``: where to compile; ``emulator``: what runs the program
        where CC compiles for another machine.
        """
        driver, program = folder / "driver.c", folder / "driver"
        kinds = {"input": input_type(model, words), "output": output_type(words)}
        driver.write_text(_DRIVER.format(prefix=words.prefix, macro=words.macro, **kinds))
        sources = [driver, include / f"{words.prefix}.c", include / f"{words.prefix}_selftest.c"]
        compile_c(sources, include, (*flags, "-o", str(program)))
        self._target = words.target
        self._model, self._config = model, model.program.artifact.config
        self._input, self._output = _DTYPES[kinds["input"]], _DTYPES[kinds["output"]]
        self._size = 4 + model.program.output_size * 4 + model.state_bytes
        self._conversion = None if words.float_io else Conversion(model)
        self._process = subprocess.Popen([*emulator, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._status, self._y, self._state = 0, b"", b""

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):
            self._process.communicate()

    def __enter__(self) -> CEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, message: bytes) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(message)
            self._process.stdin.flush()
            answer = self._process.stdout.read(self._size)
        except BrokenPipeError:
            answer = b""
        if len(answer) != self._size:
            raise VerificationError("the compiled model ended in the middle of a step")
        (self._status,) = struct.unpack_from("<i", answer)
        outputs = 4 * self._model.program.output_size
        self._y, self._state = answer[4 : 4 + outputs], answer[4 + outputs :]

    def new_state(self) -> None:
        """The stream begins again."""
        self._send(b"n")

    def failed_golden_step(self) -> int:
        """The first golden step that the folder's own test does not find, counted from 1; 0: none."""
        self._send(b"g")
        return self._status

    def integers(self, x: NDArray[Any]) -> NDArray[Any]:
        """One step of numbers of the model's own types; what it gives out."""
        self._send(b"s" + x.astype(self._input).tobytes())
        return np.frombuffer(self._y, self._output)

    @property
    def sizes(self) -> tuple[CSizes, ...]:
        """Of the model, on the processors of its target."""
        return sizes(self._model, self._target)

    @property
    def status(self) -> int:
        """What the last step returned."""
        return self._status

    @property
    def state(self) -> bytes:
        """The structure as it lies in memory."""
        return self._state

    def step(self, state: Any, x: Sequence[float]) -> list[list[float]]:
        """Advance by one sample x (input_size,); the outputs in declared order."""
        sample = np.asarray(x, np.float32)
        y = self.integers(sample if self._conversion is None else self._conversion.take(sample))
        if self._status:
            raise EngineError(f"the compiled model refuses a sample with {self._status}")
        if self._conversion is not None:
            y = self._conversion.give(y)
        result, place = [], 0
        for output in self._config.outputs:
            size = self._config.node(output.node).output_size
            result.append(array("f", y[place : place + size].astype(np.float32).tobytes()).tolist())
            place += size
        return result

    def state_arrays(self, state: Any) -> list[bytes]:
        """The states as the reference stores them: int32 or float32, one a state node, rings with the oldest first."""
        return [self._state_of(node) for node in self._config.state_nodes]

    def load_state(self, state: Any, blobs: Sequence[bytes]) -> None:
        """Take over states as ``state_arrays`` gives them; the count of clipped numbers begins again."""
        places = offsets(list(self._model.state))
        memory = bytearray(self._model.state_bytes)
        by_node = {node.name: blob for node, blob in zip(self._config.state_nodes, blobs, strict=True)}
        for member in self._model.state:
            if member.role in ("h", "ring"):
                numbers = np.frombuffer(by_node[member.node], self._stored).astype(_DTYPES[member.kind])
                memory[places[member.name] : places[member.name] + numbers.nbytes] = numbers.tobytes()
        self._send(b"l" + bytes(memory))

    def clipped(self, state: Any) -> int:
        """Input values saturated since the state was made."""
        place = offsets(list(self._model.state))["clipped"]
        return int.from_bytes(self._state[place : place + 4], "little")

    @property
    def _stored(self) -> str:
        return "<i4" if self._config.static else "<f4"

    def _state_of(self, node: StateNode) -> bytes:
        assert not isinstance(node, AttentionNode)  # c_model refuses it
        places = offsets(list(self._model.state))
        found: dict[str, NDArray[Any]] = {}
        for member in self._model.state:
            if member.node == node.name:
                start = places[member.name]
                data = self._state[start : start + ITEM_BYTES[member.kind] * max(member.count, 1)]
                found[member.role] = np.frombuffer(data, _DTYPES[member.kind])
        numbers = found["h"] if "h" in found else found["ring"].reshape(-1, node.input_size)
        if "oldest" in found:
            numbers = np.roll(numbers, -int(found["oldest"][0]), axis=0).reshape(-1)
        return numbers.astype(self._stored).tobytes()


class Conversion:
    """What the caller of a model of integers does: measured values to operands, and back what is given out."""

    def __init__(self, model: CModel) -> None:
        artifact = model.program.artifact
        derived, config = Derivation(artifact), artifact.config
        self._a, self._b = (
            np.array(numbers, np.float32) for numbers in derived.coefficients.get(config.entry.name, ([], []))
        )
        self._limit = 127 if model.flags["EGRU_INPUT"] == "int8_t" else 32767
        heads = [derived.head[output.node] for output in config.outputs]
        self._scale = np.array([scale for head in heads for scale in head.scale], np.float32)
        self._has_offset = np.array([head.offset is not None for head in heads for _ in head.scale])
        self._offset = np.array([o for head in heads for o in head.offset or [0.0] * len(head.scale)], np.float32)

    def take(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        if not len(self._a):
            rows: NDArray[np.int64] = np.clip(np.floor(x + np.float32(0.5)), -(2**30), 2**30).astype(np.int64)
            return rows
        with np.errstate(over="ignore"):
            q = np.floor(self._a * x + self._b)
        operands: NDArray[np.int64] = np.clip(q, -self._limit, self._limit).astype(np.int64)
        return operands

    def give(self, y: NDArray[Any]) -> NDArray[np.float32]:
        real = y.astype(np.float32) * self._scale
        return np.where(self._has_offset, real + self._offset, real).astype(np.float32)
