"""The float engine in NumPy: reads like the equations, and is what every other float engine must equal.

For a GRU of hidden size H with input x (input_size,) and state h (H,), the rows of each matrix in the order r, z, n::

    r  = σ(W_ir x + b_ir + W_hr h + b_hr)
    z  = σ(W_iz x + b_iz + W_hz h + b_hz)
    n  = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn))        reset after the product (PyTorch, cuDNN)
    n  = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn)        reset before it (Cho et al. 2014, arXiv:1406.1078)
    h' = (1 − z) ⊙ n + z ⊙ h
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.errors import EngineError
from edgegru_runtime.model_config import GruNode, LinearNode, StandardiseNode

if TYPE_CHECKING:
    from edgegru_runtime.artifact import Artifact

Floats = NDArray[Any]  # float32, or float64 where the engine was built with it
State = list[Floats]  # h of every GRU, (H,) each


def sigmoid(value: Floats) -> Floats:
    """σ(v) = (1 + tanh(v / 2)) / 2, which cannot overflow."""
    return np.asarray(0.5 * np.tanh(0.5 * value) + 0.5)


def softmax(value: Floats) -> Floats:
    """exp(v) / Σ exp(v), with the largest value subtracted first so that it cannot overflow."""
    exponential = np.exp(value - value.max())
    return np.asarray(exponential / exponential.sum())


_ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "linear": lambda value: value,
    "relu": lambda value: np.maximum(value, 0),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
}
_HEADS: dict[str, Callable[[Floats], Floats]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "identity": lambda value: value,
}


class _Linear:
    """activation(W x + b)."""

    def __init__(self, tensors: dict[str, Floats], node: LinearNode) -> None:
        self.weight = tensors[f"{node.name}.weight"]  # (output_size, input_size)
        self.bias = tensors.get(f"{node.name}.bias")  # (output_size,)
        self.activation = _ACTIVATIONS[node.activation]

    def __call__(self, x: Floats) -> Floats:
        return self.activation(_affine(self.weight, x, self.bias))


class _Gru:
    """One step of one GRU; the equations are at the top of this file."""

    def __init__(self, tensors: dict[str, Floats], node: GruNode) -> None:
        self.size, self.reset = node.hidden_size, node.reset
        self.weight_ih = tensors[f"{node.name}.weight_ih"]  # (3H, input_size)
        self.weight_hh = tensors[f"{node.name}.weight_hh"]  # (3H, H)
        self.bias_ih = tensors.get(f"{node.name}.bias_ih")  # (3H,)
        self.bias_hh = tensors.get(f"{node.name}.bias_hh")  # (3H,)

    def after(self, x: Floats, h: Floats) -> Floats:
        """The next h (H,), the reset gate applied after the recurrent product."""
        size = self.size
        ih = _affine(self.weight_ih, x, self.bias_ih)
        hh = _affine(self.weight_hh, h, self.bias_hh)
        r, z = sigmoid(ih[: 2 * size] + hh[: 2 * size]).reshape(2, size)
        n = np.tanh(ih[2 * size :] + r * hh[2 * size :])
        return np.asarray((1 - z) * n + z * h)

    def before(self, x: Floats, h: Floats) -> tuple[Floats, Floats]:
        """The next h and r ⊙ h, (H,) each, the reset gate applied before the recurrent product."""
        rz, n_rows = slice(0, 2 * self.size), slice(2 * self.size, None)
        b_rz, b_n = (None, None) if self.bias_hh is None else (self.bias_hh[rz], self.bias_hh[n_rows])
        ih = _affine(self.weight_ih, x, self.bias_ih)
        r, z = sigmoid(ih[rz] + _affine(self.weight_hh[rz], h, b_rz)).reshape(2, self.size)
        rh = r * h
        n = np.tanh(ih[n_rows] + _affine(self.weight_hh[n_rows], rh, b_n))
        return (1 - z) * n + z * h, rh


class Reference:
    """Engine for artifacts of scheme float32: one sample at a time, every operation in ``dtype``."""

    name = "reference"

    def __init__(
        self,
        artifact: Artifact,
        dtype: type[np.floating[Any]] = np.float32,
        trace: Callable[[str, Floats], None] | None = None,
    ) -> None:
        """``trace`` is called at every step with every node's name and value, and with ``NAME.rh`` and r ⊙ h for a
        GRU with reset before: calibration finds its ranges there.
        """
        assert artifact.config.scheme == "float32"
        self._dtype, self._trace = dtype, trace
        self._nodes = artifact.config.nodes
        self._outputs = [output.node for output in artifact.config.outputs]
        self._gru_sizes = [node.hidden_size for node in artifact.config.gru_nodes]
        self._tensors = {name: artifact.array(name).astype(dtype) for name in artifact.tensors}
        self._linear = {node.name: _Linear(self._tensors, node) for node in self._nodes if isinstance(node, LinearNode)}
        self._gru = {node.name: _Gru(self._tensors, node) for node in self._nodes if isinstance(node, GruNode)}

    def new_state(self) -> State:
        """A zero state."""
        return [np.zeros(size, self._dtype) for size in self._gru_sizes]

    @np.errstate(over="ignore", invalid="ignore")  # what overflows is refused by name below
    def step(self, state: State, x: Sequence[float]) -> list[list[float]]:
        """Advance ``state`` by one sample x (input_size,); the outputs in declared order.

        Raises EngineError, leaving the state as it was, where a value leaves the range of ``dtype``.
        """
        values: dict[str, Floats] = {}
        next_state: State = []
        for node in self._nodes:
            name = node.name
            if isinstance(node, StandardiseNode):
                raw = np.asarray(x, self._dtype)
                values[name] = (raw - self._tensors[f"{name}.mean"]) / self._tensors[f"{name}.std"]
            elif isinstance(node, LinearNode):
                values[name] = self._linear[name](values[node.inputs[0]])
            elif isinstance(node, GruNode):
                values[name] = self._step_gru(name, values[node.inputs[0]], state[len(next_state)])
                next_state.append(values[name])
            else:
                values[name] = _HEADS[node.kind](values[node.inputs[0]])
            if self._trace is not None:
                self._trace(name, values[name])
        for name in (*self._gru, *self._outputs):
            if not np.isfinite(values[name]).all():
                found = f"node {name}: a value left the range of {self._dtype.__name__}"
                raise EngineError(f"{found}; the step was not taken")
        state[:] = next_state
        return [values[name].tolist() for name in self._outputs]

    def _step_gru(self, name: str, x: Floats, h: Floats) -> Floats:
        gru = self._gru[name]
        if gru.reset == "after":
            return gru.after(x, h)
        h_next, rh = gru.before(x, h)
        if self._trace is not None:
            self._trace(f"{name}.rh", rh)
        return h_next

    def state_arrays(self, state: State) -> list[bytes]:
        """The states as float32 little-endian bytes, one a GRU."""
        return [h.astype("<f4").tobytes() for h in state]

    def load_state(self, state: State, blobs: Sequence[bytes]) -> None:
        """Take over states written by ``state_arrays``; that they are finite has been checked by the caller."""
        state[:] = [np.frombuffer(blob, "<f4").astype(self._dtype) for blob in blobs]

    def clipped(self, state: State) -> int:
        """Always 0: float values inside the engine do not saturate."""
        return 0


def _affine(weight: Floats, x: Floats, bias: Floats | None) -> Floats:
    return weight @ x if bias is None else weight @ x + bias
