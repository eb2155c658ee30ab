"""The C kernel as an engine, and its streams, which are made in C but for what is rare."""

from __future__ import annotations

from edgegru_runtime import _kernel
from edgegru_runtime.plan import make_plan

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from edgegru_runtime.artifact import Artifact
    from edgegru_runtime.model import Model
    from edgegru_runtime.model_config import ModelConfig

_HEADER_BYTES, _CHECKSUM_BYTES = 64, 4  # of a saved state, around its numbers


class KernelEngine:
    """Engine for artifacts of every scheme; the state is a stream. ``instructions``: by name, or the fastest here."""

    name = "kernel"

    def __init__(self, artifact: Artifact, instructions: str | None = None) -> None:
        self.config = config = artifact.config
        self.model = _kernel.Model(make_plan(artifact), instructions, _front_end_ns(config))
        self._sizes = [4 * node.state_size for node in config.state_nodes]
        outputs = tuple(config.node(output.node).output_size for output in config.outputs)
        self._arguments = self.model, config.input.number_names, outputs

    def stream(self, model: Model | None = None) -> KernelStream:
        """A new stream."""
        stream = KernelStream(*self._arguments)
        stream.config, stream.output_sizes, stream.number_names = self.config, self._arguments[2], self._arguments[1]
        if model is not None:
            stream.model = model
        return stream

    def new_state(self) -> KernelStream:
        """The state that a stream begins with: zeros, or h0 of a GRU that has one."""
        return self.stream()

    def step(self, state: KernelStream, x: Sequence[float]) -> list[list[float]]:
        """Advance ``state`` by one sample x (input_size,); the outputs in declared order."""
        result = state.step(x)
        return list(result) if isinstance(result, tuple) else [result]

    def state_arrays(self, state: KernelStream) -> list[bytes]:
        """The numbers of every state node, little-endian."""
        numbers, blobs = state.save()[_HEADER_BYTES:-_CHECKSUM_BYTES], []
        for size in self._sizes:
            blobs.append(numbers[:size])
            numbers = numbers[size:]
        return blobs

    def load_state(self, state: KernelStream, blobs: Sequence[bytes]) -> None:
        """Take over states written by ``state_arrays``, checked by the caller."""
        from edgegru_runtime.state import SavedState, pack_state

        state.load(pack_state(self.config, SavedState(list(blobs), 0, 0)))

    def clipped(self, state: KernelStream) -> int:
        """Input values saturated since the state was made."""
        return state.clipped


def _front_end_ns(config: ModelConfig) -> int:
    """What a step takes in front of the network, about, so that long ones let other threads work."""
    front_end = config.front_end
    return 0 if front_end is None else front_end.fft_size * front_end.fft_size.bit_length()


class KernelStream(_kernel.Stream):
    """A stream of the kernel: ``stream.Stream`` is the contract."""

    model: Model
    config: ModelConfig
    number_names: tuple[str, ...]
    output_sizes: tuple[int, ...]

    def remember(self, value: object, key: object) -> None:
        from edgegru_runtime.samples import read_row

        row, saturated = read_row(self.config, value, key)
        self.remember_row(row)
        self.count_saturated(saturated)

    def run(self, xs: object) -> Any:
        from edgegru_runtime.samples import read_samples

        parts, listed = self.run_rows(xs), isinstance(xs, (list, tuple))
        if parts is None:  # something that needs words or a second look
            taken = read_samples(xs, self.number_names)
            parts, listed = self.run_rows(taken.rows), not taken.from_buffer
            assert parts is not None
            self.count_saturated(sum(taken.saturated))
        views = self._views(parts)
        if listed:
            columns = [view.tolist() for view in views]
            return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        return views[0] if len(views) == 1 else views

    def _views(self, parts: Sequence[bytearray]) -> tuple[memoryview[float], ...]:
        from edgegru_runtime.stream import matrix

        return tuple(matrix(part, size) for part, size in zip(parts, self.output_sizes, strict=True))

    @property
    def state(self) -> bytes:
        from edgegru_runtime.state import SavedState, pack_state

        numbers = self.save()[_HEADER_BYTES:-_CHECKSUM_BYTES]
        return pack_state(self.config, SavedState([numbers], self.steps, self.clipped))

    @state.setter
    def state(self, data: bytes) -> None:
        from edgegru_runtime.state import unpack_state

        saved = bytes(data)
        unpack_state(self.config, saved)
        self.load(saved)
