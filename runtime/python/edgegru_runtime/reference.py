"""The float engine in NumPy: reads like the equations, and is what every other float engine must equal.

For a GRU of hidden size H with input x (input_size,) and state h (H,), the rows of each matrix in the order r, z, n::

    r  = σ(W_ir x + b_ir + W_hr h + b_hr)                σ: sigmoid, or hard: clip(v / 5 + 1/2, 0, 1), v / 6 + 1/2
    z  = σ(W_iz x + b_iz + W_hz h + b_hz)
    n  = φ(W_in x + b_in + r ⊙ (W_hn h + b_hn))        reset after the product (PyTorch, cuDNN)
    n  = φ(W_in x + b_in + W_hn (r ⊙ h) + b_hn)        reset before it (Cho et al. 2014, arXiv:1406.1078)
    h' = (1 − z) ⊙ n + z ⊙ h                           φ: tanh, relu, linear or σ

In ``dynamic-w8`` only the products differ: ``W v`` becomes ``(w8 q) · s_i · s``, where q is v rounded to int8 with
``s = max(max|v| / 127, 2^-100)``, anew at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime.errors import EngineError
from edgegru_runtime.log_mel import LogMel, tables_of
from edgegru_runtime.memory import remembered_rows
from edgegru_runtime.model_config import (
    HARD_SIGMOIDS,
    AttentionNode,
    ConcatenateNode,
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

if TYPE_CHECKING:
    from edgegru_runtime.artifact import Artifact

SMALLEST_STEP = 2.0**-100  # of a value that is quantized: one of zeros is divided by it
Floats = NDArray[Any]  # float32, or float64 where the engine was built with it
State = list[Floats]  # the numbers of every state node, flat


def sigmoid(value: Floats) -> Floats:
    """σ(v) = (1 + tanh(v / 2)) / 2, which cannot overflow."""
    return np.asarray(0.5 * np.tanh(0.5 * value) + 0.5)


def hard_sigmoid(divisor: float) -> Callable[[Floats], Floats]:
    """clip(v / divisor + 1/2, 0, 1)."""
    return lambda value: np.clip(value / value.dtype.type(divisor) + value.dtype.type(0.5), 0, 1)


def softmax(value: Floats) -> Floats:
    """exp(v) / Σ exp(v), with the largest value subtracted first so that it cannot overflow."""
    exponential = np.exp(value - value.max())
    return np.asarray(exponential / exponential.sum())


def log_softmax(value: Floats) -> Floats:
    """v − max − ln Σ exp(v − max). Sum and logarithm in float64, rounded once: nothing is left to the order."""
    below = value - value.max()
    total = np.exp(below).sum(dtype=np.float64)
    return np.asarray(below - np.log(total).astype(value.dtype))


def table_row(x: float, rows: int) -> int:
    """Which row of a table of ``rows`` an input means: ``⌊x + 1/2⌋``, in float32, or the nearest there is."""
    return int(np.clip(np.floor(np.float32(x) + np.float32(0.5)), 0, rows - 1))


_ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "linear": lambda value: value,
    "relu": lambda value: np.maximum(value, 0),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    **{name: hard_sigmoid(divisor) for name, divisor in HARD_SIGMOIDS.items()},
}
_HEADS: dict[str, Callable[[Floats], Floats]] = {
    "softmax": softmax,
    "log_softmax": log_softmax,
    "sigmoid": sigmoid,
    "identity": lambda value: value,
}


class _Product:
    """``W v`` for some rows of a matrix; int8 rows have a scale each, and v is quantized anew."""

    def __init__(self, weight: Floats, scale: Floats | None = None) -> None:
        self.weight, self.scale = weight, scale  # (rows, columns) float, or int8 values as floats; (rows,)

    def __call__(self, v: Floats) -> Floats:
        if self.scale is None:
            return np.asarray(self.weight @ v)
        step = np.maximum(np.max(np.abs(v)) / v.dtype.type(127), v.dtype.type(SMALLEST_STEP))
        # Sums of integers below 2^31, exact in float64, rounded once to the type of v.
        accumulators = (self.weight @ np.rint(v / step).astype(np.float64)).astype(v.dtype)
        return np.asarray(accumulators * (self.scale * step))

    def __getitem__(self, rows: slice) -> _Product:
        return _Product(self.weight[rows], None if self.scale is None else self.scale[rows])


class _Tensors:
    """A node's tensors: floats in the engine's type, matrices as products."""

    def __init__(self, artifact: Artifact, node: Node, dtype: type[np.floating[Any]]) -> None:
        self._artifact, self._node, self._dtype = artifact, node.name, dtype

    def floats(self, name: str) -> Floats | None:
        full = f"{self._node}.{name}"
        return self._artifact.array(full).astype(self._dtype) if full in self._artifact.tensors else None

    def product(self, name: str) -> _Product:
        weight = self._artifact.array(f"{self._node}.{name}")
        scale = self.floats(f"{name}_scale")
        flat = weight.reshape(len(weight), -1)
        return _Product(flat.astype(self._dtype if scale is None else np.float64), scale)


class _Linear:
    """activation(W x + b); a convolution is one over the values that it keeps and x, the oldest first."""

    def __init__(self, tensors: _Tensors, node: LinearNode | ConvolutionNode) -> None:
        self.product = tensors.product("weight")  # (output_size, input_size or kernel_size · input_size)
        self.bias = tensors.floats("bias")  # (output_size,)
        self.activation = _ACTIVATIONS[node.activation]

    def __call__(self, x: Floats) -> Floats:
        return self.activation(_plus(self.product(x), self.bias))


class _Embedding:
    """A row of the table."""

    def __init__(self, tensors: _Tensors, node: EmbeddingNode, dtype: type[np.floating[Any]]) -> None:
        product = tensors.product("weight")  # (num_embeddings, output_size)
        scale = 1.0 if product.scale is None else product.scale[:, np.newaxis]
        self.table = np.asarray(product.weight.astype(dtype) * scale, dtype)

    def __call__(self, x: Floats) -> Floats:
        return np.asarray(self.table[table_row(float(x[0]), len(self.table))])


class _LayerNormalisation:
    """Mean, variance and quotient in float64, each rounded once: they leave nothing to the order of their sums."""

    def __init__(self, tensors: _Tensors, node: LayerNormalisationNode) -> None:
        self.weight, self.bias, self.epsilon = tensors.floats("weight"), tensors.floats("bias"), node.epsilon

    def __call__(self, v: Floats) -> Floats:
        centred = v - np.mean(v, dtype=np.float64)
        normalised = centred / np.sqrt(np.mean(centred**2) + self.epsilon)
        return np.asarray(normalised.astype(v.dtype) * self.weight + self.bias)


class _Gru:
    """One step of one GRU; the equations are at the top of this file."""

    def __init__(self, tensors: _Tensors, node: GruNode) -> None:
        self.size, self.reset = node.hidden_size, node.reset
        self.weight_ih = tensors.product("weight_ih")  # (3H, input_size)
        self.weight_hh = tensors.product("weight_hh")  # (3H, H)
        self.bias_ih = tensors.floats("bias_ih")  # (3H,)
        self.bias_hh = tensors.floats("bias_hh")  # (3H,)
        self.gate = _ACTIVATIONS[node.gate_activation]
        self.candidate = _ACTIVATIONS[node.candidate_activation]

    def after(self, x: Floats, h: Floats) -> Floats:
        """The next h (H,), the reset gate applied after the recurrent product."""
        size = self.size
        ih = _plus(self.weight_ih(x), self.bias_ih)
        hh = _plus(self.weight_hh(h), self.bias_hh)
        r, z = self.gate(ih[: 2 * size] + hh[: 2 * size]).reshape(2, size)
        n = self.candidate(ih[2 * size :] + r * hh[2 * size :])
        return np.asarray((1 - z) * n + z * h)

    def before(self, x: Floats, h: Floats) -> tuple[Floats, Floats]:
        """The next h and r ⊙ h, (H,) each, the reset gate applied before the recurrent product."""
        rz, n_rows = slice(0, 2 * self.size), slice(2 * self.size, None)
        b_rz, b_n = (None, None) if self.bias_hh is None else (self.bias_hh[rz], self.bias_hh[n_rows])
        ih = _plus(self.weight_ih(x), self.bias_ih)
        r, z = self.gate(ih[rz] + _plus(self.weight_hh[rz](h), b_rz)).reshape(2, self.size)
        rh = r * h
        n = self.candidate(ih[n_rows] + _plus(self.weight_hh[n_rows](rh), b_n))
        return (1 - z) * n + z * h, rh


class _Attention:
    """Bahdanau et al. 2014, arXiv:1409.0473: e_j = weight · tanh(q + k_j), a = softmax(e), Σ a_j m_j."""

    def __init__(self, tensors: _Tensors, node: AttentionNode) -> None:
        self.weight, self.values = tensors.floats("weight"), node.output_size

    def __call__(self, query: Floats, rows: Floats) -> tuple[Floats, Floats]:
        """The sum (output_size,) and the shares (n,) of rows (n, row_size), each a value and a key."""
        if not len(rows):
            return np.zeros(self.values, query.dtype), np.zeros(0, query.dtype)
        shares = softmax(np.tanh(query + rows[:, self.values :]) @ self.weight)
        return np.asarray(shares @ rows[:, : self.values]), shares


class Reference:
    """Engine for artifacts of float32 and dynamic-w8: one sample at a time, every operation in ``dtype``."""

    name = "reference"

    def __init__(
        self,
        artifact: Artifact,
        dtype: type[np.floating[Any]] = np.float32,
        trace: Callable[[str, Floats], None] | None = None,
    ) -> None:
        """``trace`` is called at every step with every node's name and value, with ``NAME.rh`` and r ⊙ h for a GRU with
        reset before, and with ``NAME.taps`` and what a convolution multiplies: calibration learns from them. Of
        attention it hears ``NAME.shares``, how much of each row was taken.
        """
        assert not artifact.config.static
        self._dtype, self._trace = dtype, trace
        self._nodes = artifact.config.nodes
        self._outputs = [output.node for output in artifact.config.outputs]
        self._state_nodes = artifact.config.state_nodes
        self._initial = [artifact.initial_state(node) for node in self._state_nodes]
        self._layers: dict[str, Any] = {}  # what computes a node with tensors
        for node in self._nodes:
            tensors = _Tensors(artifact, node, dtype)
            if isinstance(node, LogMelNode):
                self._layers[node.name] = LogMel(node, tables_of(artifact, node), dtype)
            elif isinstance(node, StandardiseNode):
                self._layers[node.name] = tensors.floats("mean"), tensors.floats("std")
            elif isinstance(node, EmbeddingNode):
                self._layers[node.name] = _Embedding(tensors, node, dtype)
            elif isinstance(node, (LinearNode, ConvolutionNode)):
                self._layers[node.name] = _Linear(tensors, node)
            elif isinstance(node, LayerNormalisationNode):
                self._layers[node.name] = _LayerNormalisation(tensors, node)
            elif isinstance(node, GruNode):
                self._layers[node.name] = _Gru(tensors, node)
            elif isinstance(node, AttentionNode):
                self._layers[node.name] = _Attention(tensors, node)

    def new_state(self) -> State:
        """The state that a stream begins with: zeros, or h0 of a GRU that has one."""
        return [h.astype(self._dtype) for h in self._initial]

    @np.errstate(over="ignore", invalid="ignore")  # what overflows is refused by name below
    def step(self, state: State, x: Sequence[float]) -> list[list[float]]:
        """Advance ``state`` by one sample x (input_size,); the outputs in declared order.

        Raises EngineError, leaving the state as it was, where a value leaves the range of ``dtype``.
        """
        values: dict[str, Floats] = {"x": np.asarray(x, self._dtype)}
        before = dict(zip((node.name for node in self._state_nodes), state, strict=True))
        after: dict[str, Floats] = {}
        for node in self._nodes:
            value = self._value(node, [values[name] for name in node.inputs], before.get(node.name), after)
            values[node.name] = value
            if self._trace is not None:
                self._trace(node.name, value)
        for name, value in [*after.items(), *((name, values[name]) for name in self._outputs)]:
            if not np.isfinite(value).all():
                found = f"node {name}: a value left the range of {self._dtype.__name__}"
                raise EngineError(f"{found}; the step was not taken")
        state[:] = after.values()
        return [values[name].tolist() for name in self._outputs]

    def _value(self, node: Node, inputs: list[Floats], state: Floats | None, after: dict[str, Floats]) -> Floats:
        """The value of a node, from its inputs and its ``state``; the next state goes into ``after``."""
        match node:
            case LogMelNode():
                samples = inputs[0] if state is None else np.concatenate([state, inputs[0]])
                if state is not None:
                    after[node.name] = samples[node.input_size :]
                return np.asarray(self._layers[node.name](samples[np.newaxis, -node.frame_length :])[0])
            case StandardiseNode():
                mean, std = self._layers[node.name]
                return np.asarray((inputs[0] - mean) / std)
            case EmbeddingNode() | LinearNode() | LayerNormalisationNode():
                return np.asarray(self._layers[node.name](inputs[0]))
            case ConvolutionNode():
                kept = inputs[0] if state is None else np.concatenate([state, inputs[0]])  # no state: a kernel of one
                if state is not None:
                    after[node.name] = kept[node.input_size :]
                taps = kept.reshape(-1, node.input_size)[:: node.dilation].reshape(-1)  # (kernel_size · input_size,)
                if self._trace is not None:
                    self._trace(f"{node.name}.taps", taps)
                return np.asarray(self._layers[node.name](taps))
            case GruNode():
                assert state is not None
                after[node.name] = self._step_gru(node.name, inputs[0], state)
                return after[node.name]
            case AttentionNode():
                assert state is not None
                after[node.name] = state
                value, shares = self._layers[node.name](inputs[0], remembered_rows(node, state))
                if self._trace is not None:
                    self._trace(f"{node.name}.shares", shares)
                return np.asarray(value)
            case ElementwiseNode():
                left, right = inputs
                return np.asarray(left + right if node.kind == "add" else left * right)
            case ConcatenateNode():
                return np.concatenate(inputs)
            case HeadNode():
                return _HEADS[node.kind](inputs[0])

    def _step_gru(self, name: str, x: Floats, h: Floats) -> Floats:
        gru: _Gru = self._layers[name]
        if gru.reset == "after":
            return gru.after(x, h)
        h_next, rh = gru.before(x, h)
        if self._trace is not None:
            self._trace(f"{name}.rh", rh)
        return h_next

    def state_arrays(self, state: State) -> list[bytes]:
        """The states as float32 little-endian bytes, one a state node."""
        return [h.astype("<f4").tobytes() for h in state]

    def load_state(self, state: State, blobs: Sequence[bytes]) -> None:
        """Take over states written by ``state_arrays``; that they are finite has been checked by the caller."""
        state[:] = [np.frombuffer(blob, "<f4").astype(self._dtype) for blob in blobs]

    def clipped(self, state: State) -> int:
        """Always 0: float values inside the engine do not saturate."""
        return 0


def _plus(value: Floats, bias: Floats | None) -> Floats:
    return value if bias is None else value + bias
