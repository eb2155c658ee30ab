"""ATen operators that only move numbers: permute, view, slice, cat, pad and the like."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgegru.imports.torch_value import Call, Trace, Value, broadcast

Handler = Callable[[Trace, Call], Any]  # gives a Value, or a list of them for operators with several results


def _same(trace: Trace, call: Call) -> Value:
    value: Value = call.get("self", call.get("input"))
    return value


def _dropout(trace: Trace, call: Call) -> Value:
    if call["train"] and call["p"] > 0:
        call.refuse("drops numbers at random, expected a program exported in eval mode")
    value: Value = call["input"]
    return value


def _cast(trace: Trace, call: Call) -> Value:
    """To another kind of float, which the source's check in float32 then judges."""
    dtype = call.get("dtype")
    if dtype is not None and not dtype.is_floating_point:
        call.refuse(
            f"turns numbers into {dtype}, expected floats (row numbers of an embedding: as integers from the start)"
        )
    value: Value = call["self"]
    return value


def _permuted(value: Value, order: Sequence[int]) -> Value:
    order = [value.axis(axis) for axis in order]
    time = None if value.time is None else order.index(value.time)
    return replace(value, numbers=value.numbers.transpose(order), time=time)


def _permute(trace: Trace, call: Call) -> Value:
    return _permuted(call["self"], call["dims"])


def _transpose(trace: Trace, call: Call) -> Value:
    value: Value = call["self"]
    if call.name == "t" and value.numbers.ndim < 2:
        return value
    order = list(range(value.numbers.ndim))
    a, b = (value.axis(call.get(f"dim{i}", call.get(f"axis{i}", i))) for i in (0, 1))
    order[a], order[b] = order[b], order[a]
    return _permuted(value, order)


def _movedim(trace: Trace, call: Call) -> Value:
    value: Value = call["self"]
    sources, targets = (
        [value.axis(axis) for axis in (axes if isinstance(axes, (list, tuple)) else [axes])]
        for axes in (call["source"], call["destination"])
    )
    order = [axis for axis in range(value.numbers.ndim) if axis not in sources]
    for target, source in sorted(zip(targets, sources, strict=True)):
        order.insert(target, source)
    return _permuted(value, order)


def _view(trace: Trace, call: Call) -> Value:
    """Any new shape in which time is an axis of its own."""
    value: Value = call.get("self", call.get("input"))
    shape, time = call.shape, None
    if value.time is not None:
        before, length = math.prod(value.shape[: value.time]), len(value.steps)
        places = [axis for axis, size in enumerate(shape) if size == length and math.prod(shape[:axis]) == before]
        if not places:
            call.refuse(f"{call.name} to {list(shape)} puts steps and channels into one axis, expected time on its own")
        time = places[0]
    kept = [1 if axis == time else size for axis, size in enumerate(shape)]
    return replace(value, numbers=value.numbers.reshape(kept), time=time)


def _unsqueeze(trace: Trace, call: Call) -> Value:
    value: Value = call["self"]
    return _unsqueezed(value, call["dim"] % (value.numbers.ndim + 1))


def _unsqueezed(value: Value, axis: int) -> Value:
    time = None if value.time is None else value.time + (value.time >= axis)
    return replace(value, numbers=np.expand_dims(value.numbers, axis), time=time)


def _squeeze(trace: Trace, call: Call) -> Value:
    value: Value = call["self"]
    asked = call.get("dim", range(value.numbers.ndim))
    asked = [asked] if isinstance(asked, int) else asked
    gone = sorted({value.axis(axis) for axis in asked if value.numbers.ndim and value.shape[value.axis(axis)] == 1})
    time = None if value.time is None else value.time - sum(axis < value.time for axis in gone)
    return replace(value, numbers=value.numbers.squeeze(tuple(gone)), time=time)


def _select(trace: Trace, call: Call) -> Value:
    value: Value = call["self"]
    return _selected(trace, call, value, value.axis(call["dim"]), call["index"])


def _selected(trace: Trace, call: Call, value: Value, axis: int, index: int) -> Value:
    if axis != value.time:
        time = None if value.time is None else value.time - (axis < value.time)
        return replace(value, numbers=np.asarray(value.numbers.take(index, axis)), time=time)
    value = _last(trace, call, value, value.steps[index])
    return replace(value, numbers=value.numbers.squeeze(axis))


def _last(trace: Trace, call: Call, value: Value, step: int) -> Value:
    """The last step, its axis one of length 1 like others; loops over time are met here."""
    if step + 1 != trace.length:
        call.refuse(
            f"takes step {step} of the sequence by itself, as a loop over time in Python does; expected nn.GRU, or a "
            "forward(x, h) of one step"
        )
    return replace(value, time=None, steps=range(0), last=True, zeros=False)


def _slice(trace: Trace, call: Call) -> Value:
    value: Value = call["self"]
    if call.name == "narrow":
        begin, end, stride = call["start"], call["start"] + call["length"], 1
    else:
        begin, end, stride = call["start"] or 0, call["end"], call["step"]
    return _cut(trace, call, value, value.axis(call["dim"]), slice(begin, end, stride))


def _cut(trace: Trace, call: Call, value: Value, axis: int, cut: slice) -> Value:
    if axis != value.time:
        return replace(value, numbers=value.numbers[(slice(None),) * axis + (cut,)])
    steps = value.steps[cut]
    if len(steps) > 1 and steps.step != 1:
        call.refuse(f"takes one of {steps.step} steps, expected all steps")
    return _last(trace, call, value, steps.start) if len(steps) == 1 else replace(value, steps=steps)


def _split(trace: Trace, call: Call) -> list[Value]:
    """split, split_with_sizes and chunk."""
    value: Value = call["self"]
    axis = value.axis(call["dim"])
    size = value.shape[axis]
    if call.name == "chunk":
        width = -(-size // call["chunks"])
    else:
        width = call.get("split_size", call.get("split_sizes"))
    widths = [width] * -(-size // width) if isinstance(width, int) else list(width)
    ends = np.cumsum(widths)
    return [
        _cut(trace, call, value, axis, slice(int(end) - one, min(int(end), size), 1))
        for end, one in zip(ends, widths, strict=True)
    ]


def _unbind(trace: Trace, call: Call) -> list[Value]:
    value: Value = call["self"]
    axis = value.axis(call["dim"])
    return [_selected(trace, call, value, axis, index) for index in range(value.shape[axis])]


def _cat(trace: Trace, call: Call) -> Value:
    """cat and stack of values; along time, of a value and zeros."""
    values = call["tensors"]
    first: Value = next(value for value in values if isinstance(value, Value))
    if call.name == "stack":
        axis = call["dim"] % (first.numbers.ndim + 1)
        pieces = [_unsqueezed(value, axis) if isinstance(value, Value) else value for value in values]
    else:
        axis, pieces = first.axis(call["dim"]), list(values)
    if call.name == "cat" and axis == first.time:
        return _cat_in_time(trace, call, pieces, first)
    if not all(isinstance(piece, Value) for piece in pieces):
        call.refuse("joins numbers of the input with constants, expected numbers of the input only")
    return _joined(call, pieces, axis)


def _joined(call: Call, values: Sequence[Value], axis: int) -> Value:
    first = values[0]
    for value in values[1:]:
        if value.last != first.last:
            call.refuse(f"{call.name} takes the last step and every step together, expected the same steps")
        if value.time != first.time:
            call.wrong_axis(f"{call.name} takes the steps of one value for the channels of another")
        if value.steps != first.steps:
            call.refuse(f"{call.name} takes different steps of its values, expected the same steps")
    begins = np.cumsum([0, *(sum(layer.size for layer in value.layers) for value in values)])
    numbers = [value.numbers + begin for value, begin in zip(values, begins, strict=False)]
    layers = tuple(layer for value in values for layer in value.layers)
    return replace(first, layers=layers, numbers=np.concatenate(numbers, axis), zeros=False)


def _cat_in_time(trace: Trace, call: Call, pieces: Sequence[Any], value: Value) -> Value:
    lengths = []
    for piece in pieces:
        if piece is not value:
            if isinstance(piece, Value) or np.any(np.asarray(piece)):
                call.refuse("joins sequences in time, expected zeros in front of a causal convolution at most")
            lengths.append(np.asarray(piece).shape[value.axis(call["dim"])])
    place = next(index for index, piece in enumerate(pieces) if piece is value)
    return _padded(trace, call, value, sum(lengths[:place]), sum(lengths[place:]))


def _pad(trace: Trace, call: Call) -> Value:
    value: Value = call["self"]
    mode, fill = call.get("mode", "constant"), call.get("value") or 0.0
    amounts = {value.numbers.ndim - 1 - i // 2: call["pad"][i : i + 2] for i in range(0, len(call["pad"]), 2)}
    padded = {axis: tuple(amount) for axis, amount in amounts.items() if any(amount)}
    if not padded:
        return value
    if value.time is None or set(padded) != {value.time}:
        call.wrong_axis(f"pads axis {min(padded)}, which is not time")
    if mode != "constant" or fill != 0:
        call.refuse(f"pads with {'copies' if mode != 'constant' else fill} ({mode}), expected zeros")
    return _padded(trace, call, value, *padded[value.time])


def _padded(trace: Trace, call: Call, value: Value, front: int, behind: int) -> Value:
    """With zeros in time in front and behind; fewer steps where negative."""
    steps = range(value.steps.start - front, value.steps.stop + behind)
    if front < 0 or behind < 0:
        return replace(value, steps=steps)
    cut = value.steps.start > 0 or (behind > 0 and trace.length is not None and value.steps.stop < trace.length)
    if cut or (value.steps.start < 0 and not value.zeros):
        call.refuse("pads a value that was shifted in time, expected the input's own steps")
    return replace(value, steps=steps, zeros=True)


def _index(trace: Trace, call: Call) -> Value:
    """x[:, [2, 0]], index_select and flip: constant places along one axis of channels."""
    value: Value = call["self"]
    if call.name == "flip":
        axes = [value.axis(axis) for axis in call["dims"]]
        if value.time in axes:
            call.refuse("turns the sequence around in time, expected one direction, from the first step on")
        return replace(value, numbers=np.flip(value.numbers, axes))
    places = [None] * call["dim"] + [call["index"]] if call.name == "index_select" else list(call["indices"])
    used = [axis for axis, place in enumerate(places) if place is not None]
    if len(used) != 1 or isinstance(places[used[0]], Value) or np.asarray(places[used[0]]).ndim != 1:
        call.refuse("chooses numbers by several indices or by computed ones, expected one list of constants")
    if used[0] == value.time:
        call.refuse("chooses steps of the sequence, expected all steps in their order")
    chosen = np.asarray(places[used[0]])
    if chosen.dtype == np.bool_:
        chosen = np.flatnonzero(chosen)
    return replace(value, numbers=value.numbers.take(chosen, used[0]))


def _expand(trace: Trace, call: Call) -> Value:
    """Copies along axes of length 1."""
    value: Value = call["self"]
    shape = list(call.shape)
    added = len(shape) - value.numbers.ndim
    if value.time is not None:
        shape[value.time + added] = 1
    return broadcast(value, shape)


OPERATORS: dict[str, Handler] = {
    **dict.fromkeys(
        ("clone", "contiguous", "alias", "detach", "lift_fresh_copy", "positive", "resolve_conj", "resolve_neg"), _same
    ),
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"), _dropout),
    **dict.fromkeys(("to", "_to_copy", "float", "double", "type_as"), _cast),
    "permute": _permute,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims", "t"), _transpose),
    **dict.fromkeys(("movedim", "moveaxis"), _movedim),
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "_reshape_copy"), _view),
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "select": _select,
    **dict.fromkeys(("slice", "narrow"), _slice),
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _split),
    "unbind": _unbind,
    **dict.fromkeys(("cat", "stack"), _cat),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    **dict.fromkeys(("index", "index_select", "flip"), _index),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _expand),
}
