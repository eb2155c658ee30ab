"""docs/quantization.md written a second time: whole models, number by number, in plain Python integers.

Nothing here is shared with the reference but the coefficients and the derivation of multipliers; floats appear where
the document has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edgegru_runtime import fixed_point as fx
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.model_config import GruNode, Node

LIMITS = {"static-w8a8": 127, "static-w8a16": 32767}


def r(value: int, multiplier: int, shift: int) -> int:
    return (value * multiplier + (1 << (shift - 1))) >> shift


def clamp(value: int, limit: int) -> int:
    return max(-limit, min(limit, value))


def tanh(argument: int) -> int:
    u = abs(clamp(argument, 32767))
    k, p = u >> 9, (u & 511) << 6
    value = fx.TANH_C0[k] + r(p * (fx.TANH_C1[k] + r(p * fx.TANH_C2[k], 1, 15)), 1, 15)
    return value if argument >= 0 else -value


def sigmoid(argument: int) -> int:
    return 2**15 + tanh(argument)


def hard_sigmoid(argument: int) -> int:
    return 2**15 + clamp(argument, 32767)


# What a real argument is multiplied by to be an integer, what is made of it, and what one unit of that is worth.
BOUNDED = {
    "tanh": (2.0**12, tanh, 2.0**-15),
    "sigmoid": (2.0**11, sigmoid, 2.0**-16),
    "hard_sigmoid_5": (2**16 / 5, hard_sigmoid, 2.0**-16),
    "hard_sigmoid_6": (2**16 / 6, hard_sigmoid, 2.0**-16),
}


def shares(arguments: list[int]) -> tuple[list[int], list[int]]:
    """d and e of the document."""
    distances, powers = [r(max(arguments) - argument, 1549082005, 30) for argument in arguments], []
    for d in distances:
        k, f = d >> 16, d & 65535
        segment, p = f >> 12, (f & 4095) << 3
        e = fx.EXP2_C0[segment] + r(p * (fx.EXP2_C1[segment] + r(p * fx.EXP2_C2[segment], 1, 15)), 1, 15)
        powers.append((e * 2**16) >> min(k, 62))
    return distances, powers


def softmax(arguments: list[int]) -> list[int]:
    _, powers = shares(arguments)
    total = sum(powers)
    return [(e * 2**15 + total // 2) // total for e in powers]


def log2(value: int) -> int:
    highest = value.bit_length() - 1
    f = ((value << (62 - highest)) >> 32) - 2**30
    result = 0
    for c in reversed(fx.LOG2_C):
        result = c + r(result, f, 30)
    return (highest << 16) + r(result, f, 44)


def log_softmax(arguments: list[int]) -> list[int]:
    distances, powers = shares(arguments)
    return [-(d + log2(sum(powers)) - 30 * 2**16) for d in distances]


def dot(row: Sequence[int], q: Sequence[int]) -> int:
    accumulator = 0
    for w, v in zip(row, q, strict=True):
        accumulator += w * v
        assert abs(accumulator) < 2**31  # the proof, checked: no partial sum leaves an int32
    return accumulator


@dataclass
class Document:
    """One stream of an artifact of a static scheme."""

    artifact: Artifact
    flip_reset: bool = False  # compute the other formulation, to see that it is told apart
    state: dict[str, list[int]] = field(default_factory=dict)
    values: dict[str, list[int]] = field(default_factory=dict)
    value_scales: dict[str, list[float]] = field(default_factory=dict)
    clipped: int = 0

    def step(self, x: Sequence[float]) -> list[list[float]]:
        self.values, self.value_scales = {}, {}
        outputs: dict[str, list[float]] = {}
        for node in self.artifact.config.nodes:
            if node.kind in ("softmax", "log_softmax", "sigmoid", "identity"):
                outputs[node.name] = self.head(node)
            else:
                self.values[node.name], self.value_scales[node.name] = self.node(node, x)
        return [outputs[output.node] for output in self.artifact.config.outputs]

    def tensor(self, node: str, name: str, default: list[int] | None = None) -> list:
        full = f"{node}.{name}"
        if full not in self.artifact.tensors and default is not None:
            return default
        return self.artifact.array(full).tolist()

    def limit(self, name: str) -> int:
        config = self.artifact.config
        assert config.quantization is not None
        return LIMITS[config.quantization.keep.get(name, config.scheme)]

    def operand_scales(self, name: str) -> list[float]:
        config = self.artifact.config
        assert config.quantization is not None
        node = config.node(name)
        if node.kind == "concatenate":
            own = {piece: self.operand_scales(piece) for piece in self.pieces(name)}
            if not self.evened(name):
                return [scale for piece in self.pieces(name) for scale in own[piece]]
            fine = [max(own[piece]) / (256 if self.limit(piece) == 127 else 1) for piece in own]
            return [max(fine)] * node.output_size
        if f"{name}.full_scale" in self.artifact.tensors:
            return [full / (128 if self.limit(name) == 127 else 32768) for full in self.tensor(name, "full_scale")]
        return [config.quantization.operand_scale[name]] * node.output_size

    def pieces(self, name: str) -> list[str]:
        node = self.artifact.config.node(name)
        return [piece for read in node.inputs for piece in self.pieces(read)] if node.kind == "concatenate" else [name]

    def evened(self, name: str) -> bool:
        return any(self.limit(piece) == 32767 for piece in self.pieces(name))

    def operand(self, name: str) -> list[int]:
        node = self.artifact.config.node(name)
        if node.kind in ("standardise", "embedding"):
            return self.values[name]
        if node.kind == "concatenate" and not self.evened(name):
            return [q for piece in self.pieces(name) for q in self.operand(piece)]
        ratios = [v / s for v, s in zip(self.value_scales[name], self.operand_scales(name), strict=True)]
        multipliers, t = fx.multipliers(ratios, name)
        limit = max(map(self.limit, self.pieces(name)))
        return [clamp(r(v, m, t), limit) for v, m in zip(self.values[name], multipliers, strict=True)]

    def node(self, node: Node, x: Sequence[float]) -> tuple[list[int], list[float]]:
        name = node.name
        match node.kind:
            case "standardise":
                return self.standardise(name, x), self.operand_scales(name)
            case "embedding":
                return self.embedding(name, x), self.operand_scales(name)
            case "linear":
                return self.linear(node, self.operand(node.inputs[0]))
            case "convolution":
                kept = self.state.get(name, [0] * node.state_size) + self.operand(node.inputs[0])
                self.state[name] = kept[len(kept) - node.state_size :]
                size = node.input_size
                taps = range(0, node.frames + 1, node.dilation)
                return self.linear(node, [q for tap in taps for q in kept[tap * size : (tap + 1) * size]])
            case "gru":
                h = self.state.get(name, self.tensor(name, "h0", [0] * node.hidden_size))
                self.state[name], unit = self.gru(node, self.operand(node.inputs[0]), h)
                return self.state[name], unit
            case "add" | "multiply":
                return self.elementwise(node)
            case "concatenate":
                return (
                    [v for read in node.inputs for v in self.values[read]],
                    [s for read in node.inputs for s in self.value_scales[read]],
                )
        raise AssertionError(node.kind)

    def standardise(self, name: str, x: Sequence[float]) -> list[int]:
        scale, result = self.operand_scales(name)[0], []
        for mean, std, xi in zip(self.tensor(name, "mean"), self.tensor(name, "std"), x, strict=True):
            step = std * scale
            a, b = np.float32(1 / step), np.float32(0.5 - mean / step)
            with np.errstate(over="ignore"):
                q = float(np.floor(np.float32(np.float32(a * np.float32(xi)) + b)))
            saturated = max(-self.limit(name), min(self.limit(name), q))
            self.clipped += saturated != q
            result.append(int(saturated))
        return result

    def embedding(self, name: str, x: Sequence[float]) -> list[int]:
        table, row_scales = self.tensor(name, "weight"), self.tensor(name, "weight_scale")
        wanted = float(np.floor(np.float32(x[0]) + np.float32(0.5)))
        row = int(max(0, min(len(table) - 1, wanted)))
        self.clipped += row != wanted
        multipliers, t = fx.multipliers([s / self.operand_scales(name)[0] for s in row_scales], name)
        return [clamp(r(w, multipliers[row], t), self.limit(name)) for w in table[row]]

    def linear(self, node: Node, q: list[int]) -> tuple[list[int], list[float]]:
        name, size = node.name, node.output_size
        weight = self.artifact.array(f"{name}.weight").reshape(size, -1).tolist()
        common = max(self.operand_scales(node.inputs[0]))
        scales = [s * common for s in self.tensor(name, "weight_scale")]
        acc = [dot(row, q) + b for row, b in zip(weight, self.tensor(name, "bias", [0] * size), strict=True)]
        if node.activation == "relu":
            return [max(a, 0) for a in acc], scales
        if node.activation == "linear":
            return acc, scales
        to_argument, function, scale = BOUNDED[node.activation]
        multipliers, t = fx.multipliers([s * to_argument for s in scales], name)
        return [function(r(a, m, t)) for a, m in zip(acc, multipliers, strict=True)], [scale] * size

    def gru(self, node: GruNode, q_x: list[int], h: list[int]) -> tuple[list[int], list[float]]:
        name, size, limit = node.name, node.hidden_size, self.limit(node.name)
        assert self.artifact.config.quantization is not None
        before = (node.reset == "before") != self.flip_reset
        bounded = node.candidate_activation in BOUNDED
        unit = [2.0**-24] * size if bounded else [full * 2.0**-24 for full in self.tensor(name, "full_scale")]
        sigma = self.operand_scales(name)
        s_x, s_h = max(self.operand_scales(node.inputs[0])), max(sigma)
        rh = self.artifact.config.quantization.operand_scale.get(f"{name}.rh", sigma[0])
        s_n = rh if before and bounded else s_h
        s_ih, s_hh = self.tensor(name, "weight_ih_scale"), self.tensor(name, "weight_hh_scale")
        to_candidate, candidate, n_unit = BOUNDED.get(node.candidate_activation, (0, None, 0))
        g = [to_candidate] * size if candidate else [1 / u for u in unit]
        to_gate, gate, _ = BOUNDED[node.gate_activation]
        ih = [s_ih[i] * s_x * to_gate for i in range(2 * size)]
        hh = [s_hh[i] * s_h * to_gate for i in range(2 * size)]
        rz, t = fx.multipliers(ih + hh, name)
        n_ih = [s_ih[2 * size + j] * s_x * g[j] for j in range(size)]
        n_hh = [s_hh[2 * size + j] * s_n * g[j] for j in range(size)]
        ns, t_n = fx.multipliers(n_ih + n_hh, name)
        (m_h,), t_h = fx.multipliers([unit[0] / sigma[0]], name)
        (m_rh,), t_rh = fx.multipliers([2.0**-24 / rh if bounded else unit[0] / sigma[0]], name)

        w_ih, w_hh = self.tensor(name, "weight_ih"), self.tensor(name, "weight_hh")
        b_ih, b_hn = self.tensor(name, "bias_ih", [0] * 3 * size), self.tensor(name, "bias_hn", [0] * size)
        q_h = [clamp(r(value, m_h, t_h), limit) for value in h]
        acc_ih = [dot(w_ih[i], q_x) + b_ih[i] for i in range(3 * size)]
        gates = [gate(r(acc_ih[i] * rz[i] + dot(w_hh[i], q_h) * rz[2 * size + i], 1, t)) for i in range(2 * size)]
        q_rh = [clamp(r(r(gates[j] * h[j], 1, 16), m_rh, t_rh), limit) for j in range(size)]
        following = []
        for j in range(size):
            row, z = 2 * size + j, gates[size + j]
            if before:
                a = r(acc_ih[row] * ns[j] + dot(w_hh[row], q_rh) * ns[size + j], 1, t_n)
            else:
                hn = clamp(r(dot(w_hh[row], q_h) + b_hn[j], ns[size + j], t_n), 2**24 if bounded else 2**30)
                a = r(acc_ih[row], ns[j], t_n) + r(gates[j] * hn, 1, 16)
            if candidate:
                n = candidate(a) * round(2**24 * n_unit)
            else:
                n = clamp(max(a, 0) if node.candidate_activation == "relu" else a, 2**30)
            following.append(r((2**16 - z) * n + z * h[j], 1, 16))
        return following, unit

    def elementwise(self, node: Node) -> tuple[list[int], list[float]]:
        unit = [full * 2.0**-24 for full in self.tensor(node.name, "full_scale")]
        left, right = node.inputs
        size = node.output_size
        if node.kind == "add":
            a, b = self.values[left], self.values[right]
            scales = self.value_scales[left] + self.value_scales[right]
            m, t = fx.multipliers([s / u for s, u in zip(scales, unit * 2, strict=True)], node.name)
            sums = [a[j] * m[j] + b[j] * m[size + j] for j in range(size)]
            return [clamp(r(v, 1, t), 2**30) for v in sums], unit
        a, b = self.operand(left), self.operand(right)
        pairs = zip(self.operand_scales(left), self.operand_scales(right), unit, strict=True)
        m, t = fx.multipliers([sa * sb / u for sa, sb, u in pairs], node.name)
        return [clamp(r(a[j] * b[j], m[j], t), 2**30) for j in range(size)], unit

    def head(self, node: Node) -> list[float]:
        (source,) = node.inputs
        values, scales = self.values[source], self.value_scales[source]
        if node.kind == "softmax":
            m, t = fx.multipliers([s * 2**16 for s in scales], node.name)
            p = softmax([clamp(r(v, mi, t), 2**30) for v, mi in zip(values, m, strict=True)])
            return [float(np.float32(v) * np.float32(2.0**-15)) for v in p]
        if node.kind == "log_softmax":
            m, t = fx.multipliers([s * 2**16 for s in scales], node.name)
            p = log_softmax([clamp(r(v, mi, t), 2**30) for v, mi in zip(values, m, strict=True)])
            return [float(np.float32(v) * np.float32(math.log(2) * 2.0**-16)) for v in p]
        if node.kind == "sigmoid":
            m, t = fx.multipliers([s * 2**11 for s in scales], node.name)
            p = [sigmoid(r(v, mi, t)) for v, mi in zip(values, m, strict=True)]
            return [float(np.float32(v) * np.float32(2.0**-16)) for v in p]
        if f"{source}.output_scale" in self.artifact.tensors:
            output_scale = self.tensor(source, "output_scale")
            m, t = fx.multipliers([s / o for s, o in zip(scales, output_scale, strict=True)], node.name)
            values, scales = [r(v, mi, t) for v, mi in zip(values, m, strict=True)], output_scale
        real = [np.float32(clamp(v, 2**24)) * np.float32(s) for v, s in zip(values, scales, strict=True)]
        offset = self.tensor(source, "output_offset", [])
        return [float(v + np.float32(o)) for v, o in zip(real, offset or [0.0] * len(real), strict=True)]
