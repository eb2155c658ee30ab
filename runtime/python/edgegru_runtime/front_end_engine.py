"""The engine of an exported file whose model has a front end: samples become features in NumPy."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.engine import Engine
from edgegru_runtime.fixed_point import LOG2_BITS
from edgegru_runtime.log_mel import IntegerLogMel, LogMel
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.tensor import Tensor


class FrontEndEngine:
    """An engine of what is behind a front end, with the front end in NumPy before it."""

    def __init__(self, config: ModelConfig, tables: dict[str, Tensor], engine: Engine) -> None:
        node = config.front_end
        assert node is not None
        arrays = {name: tensor.to_numpy() for name, tensor in tables.items()}
        self.name, self.engine = engine.name, engine
        self._log_mel = IntegerLogMel(node, arrays) if config.static else LogMel(node, arrays)
        self._hop, self._frame, self._kept = node.input_size, node.frame_length, node.state_size
        self._type = "<i4" if config.static else "<f4"

    def new_state(self) -> _State:
        """Silence, and the state that the engine behind begins with."""
        return _State(np.zeros(self._kept, self._type), self.engine.new_state())

    def step(self, state: _State, x: array[float]) -> list[list[float]]:
        """Advance ``state`` by the samples of one step; raises as the engine behind does, and takes no step then."""
        new: NDArray[Any] = np.asarray(x, np.float32)
        clipped, unit = 0, 1.0
        if isinstance(self._log_mel, IntegerLogMel):
            new, clipped = self._log_mel.samples(new)
            unit = 2.0**-LOG2_BITS
        samples = np.concatenate([state.samples, new])
        features = (self._log_mel(samples[np.newaxis, -self._frame :])[0] * unit).astype(np.float32)  # exactly
        outputs = self.engine.step(state.behind, array("f", features.tobytes()))
        if self._kept:
            state.samples = samples[-self._kept :]
        state.clipped += clipped
        return outputs

    def state_arrays(self, state: _State) -> list[bytes]:
        """The samples that are kept, where there are any, and the states behind, as artifacts have them."""
        kept = [state.samples.astype(self._type).tobytes()] if self._kept else []
        return [*kept, *self.engine.state_arrays(state.behind)]

    def load_state(self, state: _State, blobs: Sequence[bytes]) -> None:
        """Take over states written by ``state_arrays`` of any engine of this model."""
        first = int(self._kept > 0)
        if first:
            state.samples = np.frombuffer(blobs[0], self._type).copy()
        self.engine.load_state(state.behind, blobs[first:])

    def clipped(self, state: _State) -> int:
        """How many samples were saturated; what saturates inside the file is not counted there."""
        return state.clipped + self.engine.clipped(state.behind)


class _State:
    """``samples``: those that are kept; ``behind``: the state of the engine behind the front end."""

    def __init__(self, samples: Any, behind: Any) -> None:
        self.samples, self.behind, self.clipped = samples, behind, 0
