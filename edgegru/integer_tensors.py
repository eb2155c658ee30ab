"""Float tensors to those of an integer scheme: the equations are in docs/quantization.md."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru.front_ends import integer_tables
from edgegru_runtime import fixed_point as fx
from edgegru_runtime.artifact import Artifact, is_offset
from edgegru_runtime.log_mel_tables import table_tensors
from edgegru_runtime.model_config import (
    AttentionNode,
    ConvolutionNode,
    EmbeddingNode,
    GruNode,
    LayerNormalisationNode,
    LinearNode,
    LogMelNode,
    Node,
)
from edgegru_runtime.tensor import Tensor

FEEDBACK_DAMPING = 0.05  # of the mean square of a value: how little its correlations are trusted
BIAS_LIMIT = 2**28  # leaves the accumulator room for 2^31 - 2^28 of products
Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]


def quantize_rows(
    weight: NDArray[Any], bias: Floats | None, operand_scale: Floats, moment: Floats | None = None
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32] | None]:
    """Float weights (rows, columns) to int8 in [-127, 127], a scale per row, and the row's bias in accumulator units.

    The one place where a float becomes an int8. ``operand_scale`` (rows,): what one unit of the operand is worth.
    ``moment`` (columns, columns): v vᵀ on average of what the weights multiply; without it each goes to its nearest
    level. The scale has a floor: a zero row divides by something, and a large bias beside tiny weights fits its
    accumulator.
    """
    floor = np.full(len(weight), 2.0**-100)
    if bias is not None:
        floor = np.maximum(floor, np.abs(bias) / (operand_scale * BIAS_LIMIT))
    scale = np.maximum(np.max(np.abs(weight), axis=1).astype(np.float64) / 127, floor).astype(np.float32)
    exact_scale = scale.astype(np.float64)
    levels = weight.astype(np.float64) / exact_scale[:, None]
    rounded = np.clip(np.round(levels) if moment is None else round_with_feedback(levels, moment), -127, 127)
    rounded = rounded.astype(np.int8)
    if bias is None:
        return rounded, scale, None
    return rounded, scale, np.round(bias / (exact_scale * operand_scale)).astype(np.int32)


def round_with_feedback(levels: Floats, moment: Floats) -> Floats:
    """Whole numbers near ``levels`` (rows, columns), chosen so that ``levels @ v`` changes little for vectors v with
    this second moment (columns, columns).

    Column after column, the most active first, is rounded, and the error made goes into the columns that are still to
    come, as far as they move together: E. Frantar et al. 2022, GPTQ, arXiv:2210.17323, equation 3.
    """
    columns = len(moment)
    damping = FEEDBACK_DAMPING * np.trace(moment) / columns
    if damping == 0:
        return np.asarray(np.round(levels))
    order = np.argsort(-np.diag(moment), kind="stable")
    inverse = np.linalg.inv(moment[np.ix_(order, order)] + damping * np.eye(columns))
    upper = np.linalg.cholesky(inverse).T
    wanted, rounded = levels[:, order], np.empty_like(levels)
    for column in range(columns):
        rounded[:, order[column]] = whole = np.clip(np.round(wanted[:, column]), -127, 127)
        error = (wanted[:, column] - whole) / upper[column, column]
        wanted[:, column + 1 :] -= np.outer(error, upper[column, column + 1 :])
    return rounded


def static_tensors(
    artifact: Artifact, node: Node, scales: dict[str, Floats], moments: dict[str, Floats]
) -> dict[str, Tensor]:
    """The int8 weights of a node, their scales, and its biases, in a static scheme.

    ``scales``: what one unit of each number of an operand is worth, by value name. ``moments``: of what matrices
    multiply, as calibration names it; weights whose moment is not there go to their nearest levels.
    """
    match node:
        case EmbeddingNode():
            return _prefixed(node.name, _matrix("weight", *_unscaled(artifact, f"{node.name}.weight")))
        case LinearNode() | ConvolutionNode():
            return _prefixed(node.name, _linear(artifact, node, scales[node.inputs[0]], moments))
        case GruNode():
            return _prefixed(node.name, _gru(artifact, node, scales, moments))
        case AttentionNode():
            weight, scale, _ = quantize_rows(artifact.array(f"{node.name}.weight")[np.newaxis], None, np.ones(1))
            return _prefixed(node.name, _matrix("weight", weight, scale, (node.size,)))
        case LogMelNode():
            tables = {name: artifact.array(f"{node.name}.{name}") for name in table_tensors(node, static=False)}
            return _prefixed(node.name, integer_tables(node, tables))
        case _:
            return {}


def initial_state(artifact: Artifact, node: GruNode, full_scale: Floats | None) -> dict[str, Tensor]:
    """The tensor h0 of a GRU that has one in a static scheme; ``full_scale`` (H,) of an unbounded state."""
    name = f"{node.name}.h0"
    if not node.initial_state:
        return {}
    bound, unit = (2.0**fx.STATE_BITS, 1.0) if full_scale is None else (float(fx.VALUE_LIMIT), full_scale)
    h = np.round(artifact.array(name).astype(np.float64) / unit * 2.0**fx.STATE_BITS)
    return {name: Tensor.from_numpy(np.clip(h, -bound, bound).astype(np.int32))}


def dynamic_tensors(artifact: Artifact, node: Node) -> dict[str, Tensor]:
    """The int8 matrices of a node and their scales in ``dynamic-w8``; all else stays as it is."""
    tensors = {}
    for name, tensor in artifact.tensors.items():
        if name.startswith(f"{node.name}."):
            kind = name.removeprefix(f"{node.name}.")
            if kind.startswith("weight") and not isinstance(node, (LayerNormalisationNode, AttentionNode)):
                tensors |= _prefixed(node.name, _matrix(kind, *_unscaled(artifact, name)))
            else:
                tensors[name] = tensor
    return tensors


def folded_biases(artifact: Artifact, node: GruNode) -> tuple[Floats | None, Floats | None]:
    """The bias added to the input's product (3H,), and b_hn (H,), which reset after the product scales by r."""
    bias_ih, bias_hh = float64(artifact, f"{node.name}.bias_ih"), float64(artifact, f"{node.name}.bias_hh")
    if bias_ih is None or bias_hh is None:
        return None, None
    if node.reset == "before":
        return bias_ih + bias_hh, None
    rz = 2 * node.hidden_size
    return np.concatenate([bias_ih[:rz] + bias_hh[:rz], bias_ih[rz:]]), bias_hh[rz:]


def float64(artifact: Artifact, name: str) -> Floats | None:
    """A tensor in double precision, None where there is none of that name."""
    return artifact.array(name).astype(np.float64) if name in artifact.tensors else None


def _unscaled(artifact: Artifact, name: str) -> tuple[NDArray[np.int8], NDArray[np.float32], tuple[int, ...]]:
    """Weights that no operand's scale enters: int8 rows, their scales, and the shape."""
    weight = artifact.array(name)
    rounded, scale, _ = quantize_rows(weight.reshape(len(weight), -1), None, np.ones(len(weight)))
    return rounded, scale, weight.shape


def _matrix(kind: str, weight: NDArray[np.int8], scale: NDArray[np.float32], shape: tuple[int, ...]) -> Arrays:
    return {kind: weight.reshape(shape), f"{kind}_scale": scale}


def _linear(
    artifact: Artifact, node: LinearNode | ConvolutionNode, operand: Floats, moments: dict[str, Floats]
) -> Arrays:
    offset = is_offset(artifact.config, node.name)
    weight, bias = artifact.array(f"{node.name}.weight"), float64(artifact, f"{node.name}.bias")
    common, share = _common(operand)
    flat = (weight * share).reshape(len(weight), -1)
    convolution = isinstance(node, ConvolutionNode)
    columns = np.tile(share, node.kernel_size) if isinstance(node, ConvolutionNode) else share
    moment = _moment(moments, f"{node.name}.taps" if convolution else node.inputs[0], columns)
    rounded, scale, inner_bias = quantize_rows(flat, None if offset else bias, np.full(len(weight), common), moment)
    arrays = _matrix("weight", rounded, scale, weight.shape)
    if inner_bias is not None:
        arrays["bias"] = inner_bias
    if offset:
        arrays["output_offset"] = artifact.array(f"{node.name}.bias")
    return arrays


def _gru(artifact: Artifact, node: GruNode, scales: dict[str, Floats], moments: dict[str, Floats]) -> Arrays:
    name, size = node.name, node.hidden_size
    bias_ih, bias_hn = folded_biases(artifact, node)
    x_common, x_share = _common(scales[node.inputs[0]])
    h_common, h_share = _common(scales[name])
    n_common, _ = _common(scales[name if node.reset == "after" or node.unbounded else f"{name}.rh"])
    weight_ih, weight_hh = (artifact.array(f"{name}.{kind}") for kind in ("weight_ih", "weight_hh"))
    x_moment = _moment(moments, node.inputs[0], x_share)
    ih = quantize_rows(weight_ih * x_share, bias_ih, np.full(3 * size, x_common), x_moment)
    # The rows of n multiply h as those of r and z do, or r ⊙ h.
    gates, n_rows = slice(0, 2 * size), slice(2 * size, None)
    h_moment = _moment(moments, name, h_share)
    n_moment = h_moment if node.reset == "after" else _moment(moments, f"{name}.rh", h_share)
    weight = weight_hh * h_share
    rz = quantize_rows(weight[gates], None, np.full(2 * size, h_common), h_moment)
    n = quantize_rows(weight[n_rows], bias_hn, np.full(size, n_common), n_moment)
    hh = [np.concatenate(pair) for pair in zip(rz[:2], n[:2], strict=True)]
    arrays = _matrix("weight_ih", *ih[:2], weight_ih.shape) | _matrix("weight_hh", *hh, weight_hh.shape)
    if ih[2] is not None:
        arrays["bias_ih"] = ih[2]
    if n[2] is not None:
        arrays["bias_hn"] = n[2]
    return arrays


def _moment(moments: dict[str, Floats], name: str, share: Floats) -> Floats | None:
    """The moment of what a matrix multiplies whose columns have taken the shares in: of the vector divided by them."""
    return moments[name] / np.outer(share, share) if name in moments else None


def _common(operand: Floats) -> tuple[float, Floats]:
    """The largest scale of an operand's numbers, and the share of it that each has: what columns are multiplied by."""
    common = float(np.max(operand))
    return common, operand / common


def _prefixed(node: str, arrays: Arrays) -> dict[str, Tensor]:
    return {f"{node}.{name}": Tensor.from_numpy(array) for name, array in arrays.items()}
