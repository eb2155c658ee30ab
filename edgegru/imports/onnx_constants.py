"""Subgraphs of constants, computed while the file is read: operators that are known to end and to stay small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from edgegru.imports.onnx_graph import Node
from edgegru.imports.onnx_loading import LARGEST_TENSOR
from edgegru_runtime.errors import ImportModelError
from edgegru_runtime.foreign import first_line

Array = NDArray[Any]

# Their value is no larger than their inputs broadcast against each other.
_ARITHMETIC = ("Add", "Div", "Max", "Min", "Mod", "Mul", "Pow", "Sub", "Sum")
_FUNCTIONS = ("Abs", "Ceil", "Clip", "Erf", "Exp", "Floor", "Log", "Neg", "Reciprocal", "Relu", "Round", "Sign", "Sqrt")
_CHOICES = ("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Where")
_CONVERSIONS = ("Cast", "CastLike", "Identity", "Dropout", "HardSigmoid", "Sigmoid", "Tanh")
_NUMBER_BY_NUMBER = frozenset((*_ARITHMETIC, *_FUNCTIONS, *_CHOICES, *_CONVERSIONS))
# Nor is theirs larger than all inputs together.
_MOVEMENTS = ("Concat", "Flatten", "Reshape", "Shape", "Size", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
_SELECTIONS = ("GatherElements", "GatherND", "NonZero", "ScatterElements", "ScatterND", "Trilu")
_REDUCTIONS = ("CumSum", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")
_QUANTIZATION = ("DequantizeLinear", "QuantizeLinear")
_QUANTIZATION_OPSET = 19  # the first whose form, which earlier ones share, onnx.reference computes
_SMALLER = frozenset((*_MOVEMENTS, *_SELECTIONS, *_REDUCTIONS, *_QUANTIZATION))
_GROWING = frozenset(("ConstantOfShape", "Expand", "Gather", "Gemm", "MatMul", "Pad", "Range", "Tile"))  # see _size
_KNOWN = _NUMBER_BY_NUMBER | _SMALLER | _GROWING


def fold(node: Node, inputs: Sequence[Array | None], opset: int) -> list[Array]:
    """The outputs of ``node`` for constant ``inputs``. Raises ImportModelError for one that is unknown or too large."""
    if node.domain or node.operator not in _KNOWN:
        raise ImportModelError(f"{node} makes a constant in a way that is not known")
    try:
        size = _size(node, inputs)
        if not 0 <= size <= LARGEST_TENSOR:
            raise ImportModelError(f"{node} makes {size:,} numbers, expected at most {LARGEST_TENSOR:,}")
        with np.errstate(all="ignore"):
            return _computed(node, inputs, opset)
    except ImportModelError:
        raise
    except Exception as error:  # whatever NumPy and onnx raise for shapes that do not fit
        raise ImportModelError(f"{node} cannot be computed: {first_line(error)}") from None


def _computed(node: Node, inputs: Sequence[Array | None], opset: int) -> list[Array]:
    feeds = {name: array for name, array in zip(node.inputs, inputs, strict=True) if name and array is not None}
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in feeds.items()
    ]
    outputs = [name for name in node.outputs if name]
    graph = helper.make_graph(
        [node.proto], "constant", values, [helper.make_empty_tensor_value_info(n) for n in outputs]
    )
    if node.operator in _QUANTIZATION:
        opset = max(opset, _QUANTIZATION_OPSET)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    results = dict(zip(outputs, ReferenceEvaluator(model).run(None, feeds), strict=True))
    return [np.asarray(results[name]) if name else np.empty(0) for name in node.outputs]


def _size(node: Node, inputs: Sequence[Array | None]) -> int:
    """How many numbers ``node`` will make, or more."""
    given = [array for array in inputs if array is not None]
    match node.operator:
        case "ConstantOfShape":
            return _product(given[0])
        case "Expand":
            return math.prod(_broadcast(given[0].shape, [int(size) for size in given[1].reshape(-1)]))
        case "Tile":
            return int(given[0].size) * _product(given[1])
        case "Range":
            start, limit, delta = (float(array) for array in given[:3])
            return max(0, math.ceil((limit - start) / delta))
        case "Pad":
            pads = given[1] if len(given) > 1 else np.array(node.integers("pads") or node.integers("paddings") or [])
            return math.prod(size + 2 * max(0, int(np.abs(pads).max(initial=0))) for size in given[0].shape)
        case "Gather":
            axis = node.integer("axis", 0)
            return int(given[1].size * (given[0].size // max(1, given[0].shape[axis])))
        case "Gemm":
            return int(max(given[0].shape) * max(given[1].shape))
        case "MatMul":
            return int(given[0].size * given[1].size // max(1, given[0].shape[-1]))
    if node.operator in _NUMBER_BY_NUMBER:
        return math.prod(np.broadcast_shapes(*(array.shape for array in given)))
    return sum(array.size for array in given) * max(1, given[0].ndim if given else 1)


def _product(sizes: Array) -> int:
    return math.prod(int(size) for size in sizes.reshape(-1))


def _broadcast(shape: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """Two shapes broadcast, without the limits that NumPy has."""
    rank = max(len(shape), len(sizes))
    left, right = [1] * (rank - len(shape)) + list(shape), [1] * (rank - len(sizes)) + list(sizes)
    return [max(a, b) for a, b in zip(left, right, strict=True)]
