"""The arithmetic of docs/quantization.md in torch, many lanes at once: ``edgegru_runtime.integer_layers`` in every bit.

A layer of one step in NumPy gives the constants, here it runs over T steps of B lanes. Integers are int64, operands
floats that hold integers, so that products are matrix products of floats: exact as long as sums stay below 2^24 in
float32, or 2^53 in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgegru_runtime import fixed_point as fx
from edgegru_runtime import integer_arithmetic
from edgegru_runtime.integer_arithmetic import Rescaling
from edgegru_runtime.integer_layers import Elementwise, Gru, Head, Linear, Standardise


@dataclass(frozen=True)
class GruTrace:
    """What a GRU layer did in T steps of B lanes, H units: each (T, B, H) int64 but for what says otherwise.

    ``h`` (T + 1, B, H), Q24, the state before the first step in front; ``operand`` (T + 1, B, H) of it, as floats.
    ``r``, ``z``: Q16; ``n``: Q24. ``inner``: the candidate's recurrent product, Q12, with reset after it; r ⊙ h, Q24,
    with reset before it, and then ``rh_operand`` of that, as floats.
    """

    h: Tensor
    operand: Tensor
    r: Tensor
    z: Tensor
    n: Tensor
    inner: Tensor
    rh_operand: Tensor | None


def rounding_shift(value: Tensor, shift: int) -> Tensor:
    """``(value + 2^(shift-1)) >> shift``."""
    return (value + (1 << (shift - 1))) >> shift


def rescaled(value: Tensor, rescaling: Rescaling) -> Tensor:
    """``R(value; M, t)`` of int64 values (…, size)."""
    return rounding_shift(value * _tensor(rescaling.multiplier, value.device), rescaling.shift)


def operand(value: Tensor, rescaling: Rescaling, limit: int) -> Tensor:
    """``clamp(R(value; M, t))`` as int64."""
    return rescaled(value, rescaling).clamp_(-limit, limit)


def tanh_q15(argument: Tensor) -> Tensor:
    """tanh of arguments in Q12, in Q15: read off a table of all its values."""
    return _look_up(_tanh_table(argument.device), argument, torch.empty_like(argument))


def sigmoid_q16(argument: Tensor) -> Tensor:
    """sigmoid of arguments in Q11, in Q16."""
    return _look_up(_sigmoid_table(argument.device), argument, torch.empty_like(argument))


def softmax_q15(argument: Tensor) -> Tensor:
    """softmax over the last axis of arguments in Q16, in Q15."""
    rows = argument.reshape(-1, argument.shape[-1])
    distance = rounding_shift((rows.amax(dim=1, keepdim=True) - rows) * fx.LOG2_E, fx.LOG2_E_SHIFT)
    power = (_exp2_table(rows.device)[distance & 0xFFFF] << 16) >> (distance >> 16).clamp(max=62)
    total = power.sum(dim=1, keepdim=True)
    return ((power * 2**fx.PROBABILITY_BITS + (total >> 1)) // total).reshape(argument.shape)


def run_standardise(layer: Standardise, x: Tensor) -> Tensor:
    """Raw float32 values (…, size) to their operand, as floats."""
    q = torch.floor(_tensor(layer.a, x.device) * x + _tensor(layer.b, x.device))
    return q.clamp_(-layer.limit, layer.limit)


def accumulators(q: Tensor, weight: NDArray[np.int64], bias: NDArray[np.int64], limit: int) -> Tensor:
    """``W q + b`` for operands q (…, columns), as int64; rounded where dropout has made q fractions."""
    acc = (q.to(product_dtype(limit, weight.shape[1])) @ _transposed(weight, limit, q.device)).round_()
    return acc.to(torch.int64).add_(_tensor(bias, q.device))


def product_dtype(limit: int, columns: int) -> torch.dtype:
    """The cheapest float type in which sums of products of int8 weights and operands up to ``limit`` are exact."""
    return torch.float32 if 127 * limit * columns < 2**24 else torch.float64


def run_linear(layer: Linear, q: Tensor, limit: int) -> Tensor:
    """Operands (…, columns) to the value (…, rows) in the layer's fixed-point format, as int64."""
    acc = accumulators(q, layer.weight, layer.bias, limit)
    if layer.activation == "relu":
        return acc.clamp_(min=0)
    if layer.activation == "tanh":
        return tanh_q15(rescaled(acc, layer.to_argument))
    if layer.activation == "sigmoid":
        return sigmoid_q16(rescaled(acc, layer.to_argument))
    return acc


def run_add(layer: Elementwise, a: Tensor, b: Tensor) -> Tensor:
    """The sum of two values (…, size) in full scale's fixed point, as int64."""
    by = layer.sum
    total = a * _tensor(by.a, a.device) + b * _tensor(by.b, a.device)
    return rounding_shift(total, by.shift).clamp_(-fx.VALUE_LIMIT, fx.VALUE_LIMIT)


def run_head(layer: Head, value: Tensor) -> Tensor:
    """What the head reads (…, size) to what the loss needs, in float64: of softmax, log_softmax and sigmoid the
    argument, which is the integer they get; of identity the value given out.
    """
    integers = value if layer.rescaling is None else rescaled(value, layer.rescaling)
    if layer.kind in ("softmax", "log_softmax"):
        return integers.clamp(-(2**30), 2**30).double() * 2.0**-fx.SOFTMAX_ARGUMENT_BITS
    if layer.kind == "sigmoid":
        return integers.double() * 2.0**-fx.SIGMOID_ARGUMENT_BITS
    real = integers.clamp(-fx.OUTPUT_LIMIT, fx.OUTPUT_LIMIT).float() * _tensor(layer.output_scale, value.device)
    if layer.output_offset is not None:
        real = real + _tensor(layer.output_offset, value.device)
    return real.double()


def run_gru(layer: Gru, q_x: Tensor, h: Tensor, input_limit: int) -> GruTrace:
    """All steps of a GRU: operands q_x (T, B, I) and state h (B, H) int64, Q24."""
    size, device = layer.size, q_x.device
    # Of R(a · M_a + b · M_b; t) the input's half, and what rounds, for all steps at once.
    acc_ih = accumulators(q_x, layer.weight_ih, layer.bias_ih, input_limit)
    rz_input = acc_ih[..., : 2 * size] * _tensor(layer.rz.a, device) + (1 << (layer.rz.shift - 1))
    n_input = acc_ih[..., 2 * size :] * _tensor(layer.n.a, device) + (1 << (layer.n.shift - 1))
    rz_factor, n_factor = _tensor(layer.rz.b, device), _tensor(layer.n.b, device)
    if layer.reset == "after":
        n_input >>= layer.n.shift
        hn_bias = _tensor(layer.bias_hn, device) * n_factor + (1 << (layer.n.shift - 1))
    dtype = product_dtype(layer.limit, size)
    weight = _transposed(layer.weight_hh, layer.limit, device)
    weight_rz, weight_n = weight[:, : 2 * size].contiguous(), weight[:, 2 * size :].contiguous()
    half_gate = 1 << (fx.GATE_BITS - 1)
    steps, lanes = len(q_x), len(h)
    states = h.new_empty(steps + 1, lanes, size)
    operands = q_x.new_empty(steps + 1, lanes, size, dtype=dtype)
    gates, candidates = h.new_empty(steps, lanes, 2 * size), h.new_empty(steps, lanes, size)
    inner = torch.empty_like(candidates)  # hn, or r ⊙ h
    rh_operands = operands.new_empty(steps, lanes, size) if layer.reset == "before" else None
    states[0], operands[0] = h, operand(h, layer.h_operand, layer.limit)
    for t in range(steps):
        h, q = states[t], operands[t]
        acc = (q @ (weight if rh_operands is None else weight_rz)).to(torch.int64)
        argument = torch.addcmul(rz_input[t], acc[:, : 2 * size], rz_factor).__irshift__(layer.rz.shift)
        r, z = _look_up(_sigmoid_table(device), argument, gates[t]).split(size, dim=1)
        if rh_operands is None:
            hn = torch.addcmul(hn_bias, acc[:, 2 * size :], n_factor).__irshift__(layer.n.shift)
            torch.clamp(hn, -layer.candidate_limit, layer.candidate_limit, out=inner[t])
            argument = (r * inner[t]).add_(half_gate).__irshift__(fx.GATE_BITS).add_(n_input[t])
        else:
            torch.bitwise_right_shift((r * h).add_(half_gate), fx.GATE_BITS, out=inner[t])
            rh_operands[t] = operand(inner[t], layer.rh_operand, layer.limit)
            acc = (rh_operands[t] @ weight_n).to(torch.int64)
            argument = torch.addcmul(n_input[t], acc, n_factor).__irshift__(layer.n.shift)
        n = _look_up(_candidate_table(device), argument, candidates[t])
        # ((2^16 - z) n + z h + 2^15) >> 16, the multiple of 2^16 taken out.
        torch.add((h - n).mul_(z).add_(half_gate).__irshift__(fx.GATE_BITS), n, out=states[t + 1])
        operands[t + 1] = operand(states[t + 1], layer.h_operand, layer.limit)
    return GruTrace(states, operands, *gates.split(size, dim=2), candidates, inner, rh_operands)


def _look_up(table: Tensor, argument: Tensor, result: Tensor) -> Tensor:
    """The values of arguments (…), written to ``result`` (…)."""
    index = argument.clamp(-fx.ARGUMENT_LIMIT, fx.ARGUMENT_LIMIT).add_(fx.ARGUMENT_LIMIT)
    torch.index_select(table, 0, index.view(-1), out=result.view(-1))
    return result


@lru_cache
def _tanh_table(device: torch.device) -> Tensor:
    arguments = np.arange(-fx.ARGUMENT_LIMIT, fx.ARGUMENT_LIMIT + 1)
    return torch.from_numpy(integer_arithmetic.tanh_q15(arguments)).to(device)


@lru_cache
def _sigmoid_table(device: torch.device) -> Tensor:
    return _tanh_table(device) + 2 ** (fx.GATE_BITS - 1)


@lru_cache
def _candidate_table(device: torch.device) -> Tensor:
    """tanh in Q24, the format of the state."""
    return _tanh_table(device) << (fx.STATE_BITS - fx.CANDIDATE_BITS)


@lru_cache
def _exp2_table(device: torch.device) -> Tensor:
    """2^-f in Q14 of every fraction f in Q16."""
    fraction = torch.arange(2**16)
    c0, c1, c2 = (torch.tensor(table)[fraction >> 12] for table in (fx.EXP2_C0, fx.EXP2_C1, fx.EXP2_C2))
    position = (fraction & 4095) << 3
    return (c0 + rounding_shift(position * (c1 + rounding_shift(position * c2, 15)), 15)).to(device)


def _transposed(weight: NDArray[np.int64], limit: int, device: torch.device) -> Tensor:
    return torch.from_numpy(weight).to(device, product_dtype(limit, weight.shape[1])).t().contiguous()


def _tensor(array: NDArray[Any] | np.generic, device: torch.device) -> Tensor:
    return torch.as_tensor(np.array(array)).to(device)
