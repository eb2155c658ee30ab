"""The integer engine in NumPy: docs/quantization.md line by line, and what every other integer engine must equal.

All values are int64 arrays here; the document's bounds say which of them fit 32 or 16 bits elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgegru_runtime import fixed_point as fx
from edgegru_runtime.model_config import GruNode, HeadNode, LinearNode, Node, StandardiseNode

if TYPE_CHECKING:
    from edgegru_runtime.artifact import Artifact

Integers = NDArray[np.int64]

_TANH = tuple(np.array(c, np.int64) for c in (fx.TANH_C0, fx.TANH_C1, fx.TANH_C2))
_EXP2 = tuple(np.array(c, np.int64) for c in (fx.EXP2_C0, fx.EXP2_C1, fx.EXP2_C2))


def rounding_shift(value: Integers, shift: int) -> Integers:
    """``(value + 2^(shift-1)) >> shift``: divide by 2^shift, round half up; the one rounding rule."""
    shifted: Integers = (value + (1 << (shift - 1))) >> shift
    return shifted


def clamp(value: Integers, limit: int) -> Integers:
    """Saturate to -limit … limit."""
    clamped: Integers = np.minimum(np.maximum(value, -limit), limit)
    return clamped


def _interpolate(table: tuple[Integers, ...], segment: Integers, position: Integers) -> Integers:
    """c0 + p (c1 + p c2), p = position / 2^15 in the segment."""
    c0, c1, c2 = (c[segment] for c in table)
    return c0 + rounding_shift(position * (c1 + rounding_shift(position * c2, 15)), 15)


def tanh_q15(argument: Integers) -> Integers:
    """tanh of an argument with 12 fractional bits (saturated to ±8), with 15 fractional bits; odd."""
    saturated = clamp(argument, fx.ARGUMENT_LIMIT)
    magnitude = np.abs(saturated)
    return np.sign(saturated) * _interpolate(_TANH, magnitude >> 9, (magnitude & 511) << 6)


def sigmoid_q16(argument: Integers) -> Integers:
    """sigmoid of an argument with 11 fractional bits, with 16: σ(x) = (1 + tanh(x/2)) / 2, exact after the table."""
    return 2**15 + tanh_q15(argument)


def softmax_q15(argument: Integers) -> Integers:
    """softmax over an argument (n,) with 16 fractional bits, with 15: 2^(-d·log2 e), d from the largest."""
    distance = rounding_shift((np.max(argument) - argument) * fx.LOG2_E, fx.LOG2_E_SHIFT)
    halvings = np.minimum(distance >> 16, 62)
    fraction = distance & 0xFFFF
    power = (_interpolate(_EXP2, fraction >> 12, (fraction & 4095) << 3) << 16) >> halvings
    total = int(np.sum(power))
    probabilities: Integers = (power * 2**fx.PROBABILITY_BITS + (total >> 1)) // total
    return probabilities


@dataclass(frozen=True)
class _Rescaling:
    """``(value · M + 2^(s-1)) >> s``."""

    multiplier: Integers
    shift: int

    @classmethod
    def by(cls, ratio: NDArray[np.float64], where: str) -> _Rescaling:
        integers, shift = fx.multipliers(ratio.tolist(), where)
        return cls(np.array(integers, np.int64), shift)

    def __call__(self, value: Integers) -> Integers:
        return rounding_shift(value * self.multiplier, self.shift)


@dataclass
class IntegerState:
    """What a stream remembers: h of every GRU, (H,) with 24 fractional bits, and how many inputs were clipped."""

    h: list[Integers]
    clipped: int = 0


class _Standardise:
    """q = floor(a · x + b), float32, product and sum rounded separately; then saturated."""

    def __init__(self, artifact: Artifact, node: StandardiseNode, limit: int, scale: float) -> None:
        a, b = fx.input_coefficients(
            artifact.array(f"{node.name}.mean").tolist(), artifact.array(f"{node.name}.std").tolist(), scale, node.name
        )
        self.a, self.b, self.limit = np.array(a, np.float32), np.array(b, np.float32), limit

    def __call__(self, x: NDArray[np.float32], state: IntegerState) -> Integers:
        with np.errstate(over="ignore"):  # an infinite product saturates like any other
            q = np.floor(self.a * x + self.b)
        saturated = np.minimum(np.maximum(q, -self.limit), self.limit)
        state.clipped += int(np.count_nonzero(q != saturated))
        integers: Integers = saturated.astype(np.int64)
        return integers


class _Linear:
    """acc = W q + b, then the activation; its value has the scale ``scale`` (output_size,)."""

    def __init__(self, artifact: Artifact, node: LinearNode, operand_scale: float) -> None:
        self.weight = artifact.array(f"{node.name}.weight").astype(np.int64)
        self.bias = _bias(artifact, f"{node.name}.bias", node.output_size)
        accumulator_scale = artifact.array(f"{node.name}.weight_scale").astype(np.float64) * operand_scale
        self.activation = node.activation
        self.scale = accumulator_scale
        if node.activation == "tanh":
            self.to_argument = _Rescaling.by(accumulator_scale * 2.0**fx.TANH_ARGUMENT_BITS, node.name)
            self.scale = np.full(node.output_size, 2.0**-fx.CANDIDATE_BITS)
        elif node.activation == "sigmoid":
            self.to_argument = _Rescaling.by(accumulator_scale * 2.0**fx.SIGMOID_ARGUMENT_BITS, node.name)
            self.scale = np.full(node.output_size, 2.0**-fx.GATE_BITS)

    def __call__(self, q: Integers) -> Integers:
        acc: Integers = self.weight @ q + self.bias
        if self.activation == "relu":
            return np.maximum(acc, 0)
        if self.activation == "tanh":
            return tanh_q15(self.to_argument(acc))
        if self.activation == "sigmoid":
            return sigmoid_q16(self.to_argument(acc))
        return acc


class _Gru:
    """One GRU step from operand q_x and state h (24 fractional bits) to the next h."""

    def __init__(self, artifact: Artifact, node: GruNode, x_scale: float, scales: dict[str, float], limit: int) -> None:
        name, size = node.name, node.hidden_size
        self.size, self.reset, self.limit = size, node.reset, limit
        self.weight_ih = artifact.array(f"{name}.weight_ih").astype(np.int64)
        self.weight_hh = artifact.array(f"{name}.weight_hh").astype(np.int64)
        self.bias_ih = _bias(artifact, f"{name}.bias_ih", 3 * size)
        self.bias_hn = _bias(artifact, f"{name}.bias_hn", size)
        # Rows r and z give sigmoid's argument, rows n tanh's; the n rows of W_hh multiply h or, reset before, r ⊙ h.
        argument = np.repeat([2.0**fx.SIGMOID_ARGUMENT_BITS, 2.0**fx.TANH_ARGUMENT_BITS], [2 * size, size])
        n_scale = scales[name] if node.reset == "after" else scales[f"{name}.rh"]
        operand = np.repeat([scales[name], n_scale], [2 * size, size])
        ih = artifact.array(f"{name}.weight_ih_scale").astype(np.float64) * x_scale * argument
        hh = artifact.array(f"{name}.weight_hh_scale").astype(np.float64) * operand * argument
        integers, self.shift = fx.multipliers([*ih.tolist(), *hh.tolist()], name)
        self.m_ih, self.m_hh = np.array(integers, np.int64).reshape(2, 3 * size)
        self.h_operand = _Rescaling.by(np.array([2.0**-fx.STATE_BITS / scales[name]]), name)
        self.rh_operand = _Rescaling.by(np.array([2.0**-fx.STATE_BITS / n_scale]), name)

    def __call__(self, q_x: Integers, h: Integers) -> Integers:
        rz, n_rows = slice(0, 2 * self.size), slice(2 * self.size, None)
        q_h = clamp(self.h_operand(h), self.limit)
        products_ih = (self.weight_ih @ q_x + self.bias_ih) * self.m_ih
        products_rz = (self.weight_hh[rz] @ q_h) * self.m_hh[rz]
        r, z = sigmoid_q16(rounding_shift(products_ih[rz] + products_rz, self.shift)).reshape(2, self.size)
        if self.reset == "after":
            acc_hn = self.weight_hh[n_rows] @ q_h + self.bias_hn
            hn = clamp(rounding_shift(acc_hn * self.m_hh[n_rows], self.shift), fx.CANDIDATE_ARGUMENT_LIMIT)
            argument = rounding_shift(products_ih[n_rows], self.shift) + rounding_shift(r * hn, fx.GATE_BITS)
        else:
            q_rh = clamp(self.rh_operand(rounding_shift(r * h, fx.GATE_BITS)), self.limit)
            products_hn = (self.weight_hh[n_rows] @ q_rh) * self.m_hh[n_rows]
            argument = rounding_shift(products_ih[n_rows] + products_hn, self.shift)
        n = tanh_q15(argument) << (fx.STATE_BITS - fx.CANDIDATE_BITS)
        return rounding_shift((2**fx.GATE_BITS - z) * n + z * h, fx.GATE_BITS)


class _Head:
    """What gives the floats: a fixed-point value (size,) of scale ``scale`` to outputs (size,) float32."""

    def __init__(self, artifact: Artifact, node: HeadNode, scale: NDArray[np.float64]) -> None:
        self.kind = node.kind
        self.output_offset: NDArray[Any] | None = None
        self.rescaling: _Rescaling | None = None
        self.output_scale: NDArray[np.float32] | np.float32  # real value of one unit of the output
        if node.kind == "softmax":
            self.rescaling = _Rescaling.by(scale * 2.0**fx.SOFTMAX_ARGUMENT_BITS, node.name)
            self.output_scale = np.float32(2.0**-fx.PROBABILITY_BITS)
        elif node.kind == "sigmoid":
            self.rescaling = _Rescaling.by(scale * 2.0**fx.SIGMOID_ARGUMENT_BITS, node.name)
            self.output_scale = np.float32(2.0**-fx.GATE_BITS)
        elif (scale_name := f"{node.inputs[0]}.output_scale") in artifact.tensors:
            self.output_scale = artifact.array(scale_name).astype(np.float32)
            self.rescaling = _Rescaling.by(scale / self.output_scale.astype(np.float64), node.name)
            if (offset_name := f"{node.inputs[0]}.output_offset") in artifact.tensors:
                self.output_offset = artifact.array(offset_name)
        else:  # a tanh, a sigmoid or a state has its scale from its format
            self.output_scale = scale.astype(np.float32)

    def __call__(self, value: Integers) -> NDArray[np.float32]:
        integers = value if self.rescaling is None else self.rescaling(value)
        if self.kind == "softmax":
            integers = softmax_q15(clamp(integers, 2**30))
        elif self.kind == "sigmoid":
            integers = sigmoid_q16(integers)
        else:
            integers = clamp(integers, fx.OUTPUT_LIMIT)
        real: NDArray[np.float32] = integers.astype(np.float32) * self.output_scale
        return real if self.output_offset is None else real + self.output_offset


class IntegerReference:
    """Engine for the integer schemes; raises ArtifactError where scales leave the arithmetic's range."""

    name = "reference"

    def __init__(self, artifact: Artifact, trace: Callable[[str, NDArray[np.float64]], None] | None = None) -> None:
        """``trace`` is called with each node's name and real value, for reports."""
        config = artifact.config
        assert config.quantization is not None
        self._limit = fx.OPERAND_LIMIT[config.scheme]
        self._scales = config.quantization.operand_scale
        self._nodes, self._trace = config.nodes, trace
        self._outputs = [output.node for output in config.outputs]
        self._gru_sizes = [node.hidden_size for node in config.gru_nodes]
        self._value_scale: dict[str, NDArray[np.float64]] = {}
        self._rescale: dict[str, _Rescaling] = {}
        self._standardise: dict[str, _Standardise] = {}
        self._linear: dict[str, _Linear] = {}
        self._gru: dict[str, _Gru] = {}
        self._head: dict[str, _Head] = {}
        for node in config.nodes:
            self._prepare(artifact, node)

    def _prepare(self, artifact: Artifact, node: Node) -> None:
        name, scales, source = node.name, self._scales, node.inputs[0]
        if isinstance(node, StandardiseNode):
            self._standardise[name] = _Standardise(artifact, node, self._limit, scales[name])
        elif isinstance(node, LinearNode):
            self._linear[name] = _Linear(artifact, node, scales[source])
            self._value_scale[name] = self._linear[name].scale
        elif isinstance(node, GruNode):
            self._gru[name] = _Gru(artifact, node, scales[source], scales, self._limit)
            self._value_scale[name] = np.full(node.hidden_size, 2.0**-fx.STATE_BITS)
        else:
            self._head[name] = _Head(artifact, node, self._value_scale[source])
        if name in scales and name not in self._standardise:
            self._rescale[name] = _Rescaling.by(self._value_scale[name] / scales[name], name)

    def new_state(self) -> IntegerState:
        """A zero state."""
        return IntegerState([np.zeros(size, np.int64) for size in self._gru_sizes])

    def step(self, state: IntegerState, x: Sequence[float]) -> list[list[float]]:
        """Advance ``state`` by one sample x (input_size,); the outputs in declared order."""
        values: dict[str, Integers] = {}
        outputs: dict[str, NDArray[np.float32]] = {}
        states = iter(range(len(state.h)))
        for node in self._nodes:
            name, source = node.name, node.inputs[0]
            if name in self._standardise:
                values[name] = self._standardise[name](np.asarray(x, np.float32), state)
            elif name in self._linear:
                values[name] = self._linear[name](self._operand(source, values))
            elif name in self._gru:
                index = next(states)
                state.h[index] = values[name] = self._gru[name](self._operand(source, values), state.h[index])
            else:
                outputs[name] = self._head[name](values[source])
            if self._trace is not None:
                self._trace(name, self._real(name, values, outputs))
        return [outputs[name].tolist() for name in self._outputs]

    def _operand(self, name: str, values: dict[str, Integers]) -> Integers:
        value = values[name]
        return value if name in self._standardise else clamp(self._rescale[name](value), self._limit)

    def _real(
        self, name: str, values: dict[str, Integers], outputs: dict[str, NDArray[np.float32]]
    ) -> NDArray[np.float64]:
        if name in outputs:
            return outputs[name].astype(np.float64)
        scale = self._scales[name] if name in self._standardise else self._value_scale[name]
        return np.asarray(values[name] * scale, np.float64)

    def state_arrays(self, state: IntegerState) -> list[bytes]:
        """The states as int32 little-endian bytes, one a GRU."""
        return [h.astype("<i4").tobytes() for h in state.h]

    def load_state(self, state: IntegerState, blobs: Sequence[bytes]) -> None:
        """Take over states written by ``state_arrays``, checked by the caller."""
        state.h = [np.frombuffer(blob, "<i4").astype(np.int64) for blob in blobs]

    def clipped(self, state: IntegerState) -> int:
        """Input values saturated since the state was made."""
        return state.clipped


def _bias(artifact: Artifact, name: str, size: int) -> Integers:
    """The bias (size,) in accumulator units, zero where there is none."""
    return artifact.array(name).astype(np.int64) if name in artifact.tensors else np.zeros(size, np.int64)
