"""Straight-through gradients: integers forward, and backward as if every value were the real number it stands for.

A rounding passes gradients on, a saturation stops them, and the scale of an operand learns its step size (LSQ, Esser et
al. 2020, arXiv:1902.08153).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from edgegru.integer_torch import GruTrace
from edgegru_runtime import fixed_point as fx


class _Exact(torch.autograd.Function):
    """``exact`` forward, the gradient to ``surrogate`` backward."""

    @staticmethod
    def forward(ctx: Any, surrogate: Tensor, exact: Tensor) -> Tensor:
        return exact.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def exactly(surrogate: Tensor, exact: Tensor) -> Tensor:
    """The value ``exact`` with the gradients of ``surrogate``, both of one shape and type."""
    return _Exact.apply(surrogate, exact)


def dequantized(value: Tensor, q: Tensor, scale: Tensor, limit: int) -> Tensor:
    """The real value ``q · scale`` of operands q (…, size), of real values (…, size) and scales (size,) or (1,).

    Inside the range the gradient goes on to ``value``, and ``scale`` gets ``q − value / scale``; where the operand is
    saturated all of it goes to ``scale``.
    """
    q = q.to(value.dtype)
    inside, step = _inside_and_step(value.detach(), q, scale.detach(), limit)
    return exactly(value * inside + scale * step, q * scale.detach())


def _inside_and_step(value: Tensor, q: Tensor, scale: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """1 where a value lies inside the range, else 0, and what its operand moves by with its scale."""
    quotient = value / scale
    inside = (quotient.abs() <= limit).to(value.dtype)
    return inside, q - quotient * inside


class _GruGradient(torch.autograd.Function):
    """All steps of a GRU, forward as its trace has them; see ``gru``."""

    @staticmethod
    def forward(
        ctx: Any,
        products: Tensor,
        weight_hh: Tensor,
        bias_hn: Tensor | None,
        scale: Tensor,
        rh_scale: Tensor | None,
        trace: GruTrace,
        limit: int,
    ) -> Tensor:
        ctx.save_for_backward(weight_hh, scale, rh_scale)
        ctx.trace, ctx.limit = trace, limit
        return _real(trace.h[1:], fx.STATE_BITS)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, scale, rh_scale = ctx.saved_tensors
        trace, size = ctx.trace, gradient.shape[2]
        after = trace.rh_operand is None
        h, r, z = _real(trace.h[:-1], fx.STATE_BITS), _real(trace.r, fx.GATE_BITS), _real(trace.z, fx.GATE_BITS)
        n, q = _real(trace.n, fx.STATE_BITS), trace.operand[:-1].to(h.dtype)
        inside, step = _inside_and_step(h, q, scale, ctx.limit)
        # Derivatives of h' = (1 − z) n + z h by the arguments of n and z; of n's argument by that of r, but for dn.
        by_n, by_z = (1 - z) * (1 - n * n), z * (1 - z) * (h - n)
        if after:
            by_r = _real(trace.inner, fx.TANH_ARGUMENT_BITS) * r * (1 - r)
        else:
            by_r = h * r * (1 - r)
            rh = _real(trace.inner, fx.STATE_BITS)
            rh_inside, rh_step = _inside_and_step(rh, trace.rh_operand.to(h.dtype), rh_scale, ctx.limit)
            d_rh_operand = torch.empty_like(h)
        d_products = h.new_empty(*h.shape[:2], 3 * size)  # of the input's product: its rows r, z, n
        d_recurrent = d_products.clone() if after else d_products  # of the recurrent one
        d_operand = torch.empty_like(h)
        weight_rz, weight_n = weight[: 2 * size], weight[2 * size :]
        d_h = torch.zeros_like(h[0])
        for t in range(len(h) - 1, -1, -1):
            d_h = d_h + gradient[t]
            d_r, d_z, d_hn = d_recurrent[t].split(size, dim=1)
            d_n = d_products[t, :, 2 * size :]
            torch.mul(d_h, by_n[t], out=d_n)
            torch.mul(d_h, by_z[t], out=d_z)
            if after:
                torch.mul(d_n, by_r[t], out=d_r)
                torch.mul(d_n, r[t], out=d_hn)
                torch.mm(d_recurrent[t], weight, out=d_operand[t])
                d_h = torch.addcmul(d_h * z[t], d_operand[t], inside[t])
            else:
                torch.mm(d_n, weight_n, out=d_rh_operand[t])
                d_rh = d_rh_operand[t] * rh_inside[t]
                torch.mul(d_rh, by_r[t], out=d_r)
                torch.mm(d_recurrent[t, :, : 2 * size], weight_rz, out=d_operand[t])
                d_h = torch.addcmul(d_h * z[t], d_operand[t], inside[t]).addcmul_(d_rh, r[t])
        real_operand = (q * scale).flatten(0, 1)
        d_bias_hn = d_rh_scale = None
        if after:
            d_products[..., : 2 * size] = d_recurrent[..., : 2 * size]
            d_weight = d_recurrent.flatten(0, 1).t() @ real_operand
            if ctx.needs_input_grad[2]:
                d_bias_hn = d_recurrent[..., 2 * size :].sum(dim=(0, 1))
        else:
            real_rh = (trace.rh_operand.to(h.dtype) * rh_scale).flatten(0, 1)
            flat = d_products.flatten(0, 1).t()
            d_weight = torch.cat([flat[: 2 * size] @ real_operand, flat[2 * size :] @ real_rh])
            d_rh_scale = (d_rh_operand * rh_step).sum().view(1)
        d_scale = (d_operand * step).sum().view(1)
        return d_products, d_weight, d_bias_hn, d_scale, d_rh_scale, None, None


def gru(
    products: Tensor,
    weight_hh: Tensor,
    bias_hn: Tensor | None,
    scale: Tensor,
    rh_scale: Tensor | None,
    trace: GruTrace,
    limit: int,
) -> Tensor:
    """Every h (T, B, H) float32 of a trace, exactly; gradients stop at the state before the first step.

    ``products`` (T, B, 3H): the input's product with all biases but ``bias_hn`` (H,), which reset after the product
    alone has. ``weight_hh`` (3H, H): the real values of the int8 weights. ``scale``, ``rh_scale`` (1,): of the operands
    h and r ⊙ h, the latter with reset before.
    """
    return _GruGradient.apply(products, weight_hh, bias_hn, scale, rh_scale, trace, limit)


def _real(value: Tensor, bits: int) -> Tensor:
    """The float32 numbers of a fixed-point format, exact up to 24 bits."""
    return value.float() * 2.0**-bits
