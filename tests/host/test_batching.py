"""Lanes, chunks and random resets: every step once, in order, and the state exactly where a stream has it."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgegru.batching import Span, chunks, evaluation_plan, training_plan
from edgegru.configuration import NetworkConfig
from edgegru.network import Network
from tests.training_data import random_sequences

torch.set_num_threads(1)
Plan = list[list[Span | None]]


def plan_of(
    masks: list[np.ndarray], lanes: int = 3, steps: int = 5, reset: float = 0.0, start: bool = False, seed: int = 0
) -> Plan:
    return training_plan(masks, lanes, steps, reset, start, np.random.default_rng(seed))


def runs(plan: Plan) -> dict[int, list[list[Span]]]:
    """The pieces of each sequence, in order of their start; checks that lanes run them without interruption."""
    pieces = defaultdict(list)
    for lane in zip(*plan, strict=True):
        for span in lane:
            if span is not None and span.first:
                pieces[span.sequence].append([span])
            elif span is not None:
                assert pieces[span.sequence][-1][-1].stop == span.start
                pieces[span.sequence][-1].append(span)
    return {sequence: sorted(found, key=lambda piece: piece[0].start) for sequence, found in pieces.items()}


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=9),
    lanes=st.integers(1, 5),
    steps=st.integers(1, 12),
    reset=st.sampled_from([0.0, 0.3, 1.0]),
    start=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_step_is_run_once_and_in_order(
    lengths: list[int], lanes: int, steps: int, reset: float, start: bool, seed: int
) -> None:
    plan = plan_of([np.ones(length, np.bool_) for length in lengths], lanes, steps, reset, start, seed)
    assert all(len(tick) <= lanes for tick in plan)
    found = runs(plan)
    assert sorted(found) == list(range(len(lengths)))
    for sequence, pieces in found.items():
        edges = [(span.start, span.stop) for piece in pieces for span in piece]
        assert edges[0][0] == 0 and edges[-1][1] == lengths[sequence]
        assert all(before[1] == after[0] for before, after in pairwise(edges))
        assert all(0 < stop - first <= steps for first, stop in edges)
        if reset == 0.0:
            assert len(pieces) == 1
        if reset == 1.0:
            assert all(len(piece) == 1 for piece in pieces)


def test_plans_are_drawn_from_the_generator_alone() -> None:
    masks = [np.ones(length, np.bool_) for length in (30, 40, 50)]
    first, again, other = (plan_of(masks, 2, 7, 0.3, True, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_random_start_moves_boundaries() -> None:
    masks = [np.ones(40, np.bool_)]
    fixed = {plan_of(masks, seed=seed)[0][0] for seed in range(80)}
    moved = {plan_of(masks, start=True, seed=seed)[0][0] for seed in range(80)}
    assert len(fixed) == 1
    assert len(moved) == 5


def test_pieces_without_a_counted_step_are_left_out() -> None:
    mask = np.zeros(40, np.bool_)
    mask[-1] = True
    whole, cut = plan_of([mask], steps=10), plan_of([mask], steps=10, reset=1.0)
    assert [tick[0] for tick in whole] == [
        Span(0, 0, 10, True),
        Span(0, 10, 20, False),
        Span(0, 20, 30, False),
        Span(0, 30, 40, False),
    ]
    assert cut == [[Span(0, 30, 40, True)]]
    mask[-1], mask[24] = False, True  # nothing behind the last counted step is run
    assert plan_of([mask], steps=50) == [[Span(0, 0, 25, True)]]


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("resets", [0.0, 0.4, 1.0])
def test_what_is_trained_is_what_streams(reset: str, resets: float) -> None:
    """Outputs of the chunks, state carried between them, equal those of each whole piece from the zero state."""
    sequences = random_sequences([17, 40, 3, 25, 31])
    network = Network(NetworkConfig(5, 2, reset), torch.zeros(2), torch.ones(2), 3, seed=1).double()
    plan = plan_of([sequence.mask for sequence in sequences], 3, 7, resets, True)
    state = network.zero_state(len(plan[0]))
    outputs = {}
    with torch.no_grad():
        for tick, chunk in zip(plan, chunks(sequences, plan), strict=True):
            state = [h.masked_fill(torch.from_numpy(chunk.first).unsqueeze(1), 0.0) for h in state]
            y, state = network(torch.from_numpy(chunk.x).double(), state, torch.from_numpy(chunk.lengths))
            for lane, span in enumerate(tick):
                if span is not None:
                    assert chunk.lengths[lane] == span.stop - span.start
                    np.testing.assert_array_equal(
                        chunk.target[lane, : chunk.lengths[lane]],
                        sequences[span.sequence].target[span.start : span.stop],
                    )
                    outputs[span.sequence, span.start] = y[lane, : chunk.lengths[lane]]
        for sequence, pieces in runs(plan).items():
            for piece in pieces:
                x = torch.from_numpy(sequences[sequence].x[piece[0].start : piece[-1].stop]).double().unsqueeze(0)
                whole, _ = network(x, network.zero_state(1))
                chunked = torch.cat([outputs[sequence, span.start] for span in piece])
                torch.testing.assert_close(chunked, whole[0], rtol=0, atol=1e-12)


def test_uncounted_targets_are_blank_and_idle_lanes_empty() -> None:
    (sequence,) = random_sequences([6])
    sequence.mask[:4] = False
    sequence.target[:4] = -1
    (chunk,) = chunks([sequence], [[Span(0, 0, 6, True), None]])
    assert chunk.mask.tolist() == [[False] * 4 + [True] * 2, [False] * 6]
    assert chunk.target[0, :4].tolist() == [0] * 4
    assert chunk.lengths.tolist() == [6, 0]
    assert chunk.first.tolist() == [True, False]


@given(lengths=st.lists(st.integers(1, 1500), min_size=1, max_size=70))
def test_evaluation_runs_every_recording_whole(lengths: list[int]) -> None:
    found = runs(evaluation_plan(lengths))
    assert sorted(found) == list(range(len(lengths)))
    for sequence, pieces in found.items():
        ((first, *_),) = pieces
        assert first.start == 0 and pieces[0][-1].stop == lengths[sequence]
