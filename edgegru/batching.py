"""Recordings laid into lanes and cut into chunks, so that what is trained is what streams.

A recording is cut at chunk boundaries every ``bptt_steps`` steps, counted back from its last step that counts.
Gradients stop at a boundary; the state goes on, except at a random reset, where the recording is cut into two pieces.
Every piece starts from the zero state, as a stream does, and runs in one lane, chunk after chunk. Pieces in which no
step counts are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgegru.data import LabelledSequence

EVALUATION_LANES = 64
EVALUATION_STEPS = 512  # a chunk when nothing is learned: bounds memory, changes no value


@dataclass(frozen=True)
class Span:
    """Steps ``start`` to ``stop`` of one sequence; ``first`` where the lane's state is zero before them."""

    sequence: int
    start: int
    stop: int
    first: bool


@dataclass(frozen=True)
class Chunk:
    """What all lanes do at once. B lanes, L steps: the longest lane's; steps behind ``lengths`` are padding.

    ``x`` (B, L, I) raw units, ``target`` (B, L) int64 or (B, L, K) float32, ``mask`` (B, L) steps that count,
    ``lengths`` (B,) real steps (0 in an idle lane), ``first`` (B,) lanes whose state is zero before this chunk.
    """

    x: NDArray[np.float32]
    target: NDArray[np.int64] | NDArray[np.float32]
    mask: NDArray[np.bool_]
    lengths: NDArray[np.int64]
    first: NDArray[np.bool_]


def training_plan(
    masks: Sequence[NDArray[np.bool_]],
    lanes: int,
    bptt_steps: int,
    random_reset: float,
    random_start: bool,
    generator: np.random.Generator,
) -> list[list[Span | None]]:
    """Which steps of which sequence each lane runs at each tick; None for an idle lane.

    ``masks``: the steps that count, a sequence each. ``random_start`` moves each recording's boundaries by a random
    number of steps, so that they fall elsewhere in every epoch.
    """
    pieces = []
    for sequence in generator.permutation(len(masks)):
        pieces.extend(_pieces(int(sequence), masks[sequence], bptt_steps, random_reset, random_start, generator))
    order = generator.permutation(len(pieces))
    return _lay([pieces[index] for index in order], lanes)


def evaluation_plan(lengths: Sequence[int]) -> list[list[Span | None]]:
    """Every sequence once, whole, from the zero state; those of similar length side by side."""
    plan: list[list[Span | None]] = []
    order = np.argsort(lengths, kind="stable")[::-1]
    for group in (order[index : index + EVALUATION_LANES] for index in range(0, len(order), EVALUATION_LANES)):
        plan.extend(_lay([_cut(int(index), 0, lengths[index], EVALUATION_STEPS) for index in group], EVALUATION_LANES))
    return plan


def chunks(sequences: Sequence[LabelledSequence], plan: Sequence[Sequence[Span | None]]) -> Iterator[Chunk]:
    """The arrays of each tick of a plan over these sequences."""
    for tick in plan:
        yield _chunk(sequences, tick)


def _pieces(
    sequence: int,
    mask: NDArray[np.bool_],
    bptt_steps: int,
    random_reset: float,
    random_start: bool,
    generator: np.random.Generator,
) -> list[list[Span]]:
    counted = np.flatnonzero(mask)
    if not len(counted):
        return []
    end = int(counted[-1]) + 1
    last_length = int(generator.integers(1, bptt_steps + 1)) if random_start else bptt_steps
    boundaries = np.arange(end - last_length, 0, -bptt_steps)[::-1]
    resets = boundaries[generator.random(len(boundaries)) < random_reset]
    edges = [0, *(int(reset) for reset in resets), end]
    pieces = []
    for start, stop in pairwise(edges):
        if mask[start:stop].any():
            inner = [int(boundary) for boundary in boundaries if start < boundary < stop]
            pieces.append(_spans(sequence, [start, *inner, stop]))
    return pieces


def _cut(sequence: int, start: int, stop: int, steps: int) -> list[Span]:
    return _spans(sequence, [*range(start, stop, steps), stop])


def _spans(sequence: int, edges: list[int]) -> list[Span]:
    return [Span(sequence, start, stop, first=index == 0) for index, (start, stop) in enumerate(pairwise(edges))]


def _lay(pieces: Sequence[list[Span]], lanes: int) -> list[list[Span | None]]:
    """Give each piece, in order, to the lane that is free first."""
    filled: list[list[Span]] = [[] for _ in range(min(lanes, len(pieces)))]
    for piece in pieces:
        min(filled, key=len).extend(piece)
    return [[lane[tick] if tick < len(lane) else None for lane in filled] for tick in range(max(map(len, filled)))]


def _chunk(sequences: Sequence[LabelledSequence], tick: Sequence[Span | None]) -> Chunk:
    lengths = np.array([0 if span is None else span.stop - span.start for span in tick], np.int64)
    lanes, steps, some = len(tick), int(lengths.max()), sequences[0]
    x = np.zeros((lanes, steps, some.x.shape[1]), np.float32)
    target = np.zeros((lanes, steps, *some.target.shape[1:]), some.target.dtype)
    mask = np.zeros((lanes, steps), np.bool_)
    first = np.zeros(lanes, np.bool_)
    for lane, span in enumerate(tick):
        if span is not None:
            part, length = slice(span.start, span.stop), lengths[lane]
            sequence = sequences[span.sequence]
            x[lane, :length] = sequence.x[part]
            mask[lane, :length] = sequence.mask[part]
            target[lane, :length][mask[lane, :length]] = sequence.target[part][sequence.mask[part]]
            first[lane] = span.first
    return Chunk(x, target, mask, lengths, first)
