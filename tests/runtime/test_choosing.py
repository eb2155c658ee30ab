"""Choosing of tokens: the kernel and Python choose the same, and what the page says."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from array import array
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_export.saving import save_artifact
from edgegru_runtime import InputError, Model, StateError, _kernel, choosing, choosing_reference
from edgegru_runtime.choosing import Sampler, beam, top_k
from edgegru_runtime.choosing_reference import octaves
from edgegru_runtime.reference import log_softmax
from tests.builders import TOKENS, mixed_artifact

ENGINES = (_kernel, choosing_reference)
LOGARITHMS = st.one_of(
    st.floats(-20, 0, width=32), st.floats(max_value=3, allow_nan=False, width=32), st.sampled_from([0.0, -0.0, -1.5])
)
VALUES = st.lists(LOGARITHMS, min_size=1, max_size=40)
SEEDS = st.integers(0, 2**64 - 1)


@pytest.fixture(params=ENGINES, ids=["kernel", "python"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "_engine", request.param)


def exact_octaves(logarithm: float) -> Fraction:
    """In units of 2^-16, with the constant that softmax has for log2(e)."""
    return Fraction(logarithm) * Fraction(1549082005, 2**30) * 2**16


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_logarithm_becomes_the_nearest_integer(logarithm: float) -> None:
    found, exact = octaves(logarithm), exact_octaves(logarithm)
    if abs(exact) >= 2**32:
        assert found == math.copysign(2**32, logarithm)
    else:
        assert abs(found - exact) <= Fraction(1, 2)
    assert octaves(-logarithm) == -found


def test_the_integers_of_a_static_model_come_back() -> None:
    units = np.arange(0, -(2**20), -7)
    for unit, logarithm in zip(units, units.astype(np.float32) * np.float32(math.log(2) * 2.0**-16), strict=True):
        assert octaves(float(logarithm)) == unit


@given(VALUES, st.data())
def test_top_k_is_the_beginning_of_a_sorted_list(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    expected = sorted(range(len(values)), key=lambda place: (-values[place], place))[:k]
    for engine in ENGINES:
        assert engine.top_k(array("f", values), k) == expected
    assert top_k(values, k) == (expected, [values[place] for place in expected])


@given(VALUES, st.integers(0, 45), st.integers(0, 2**17) | st.sampled_from([1, 2**16, 2**32 - 2**16]), SEEDS)
def test_kernel_and_python_draw_the_same(values: list[float], k: int, temperature: int, seed: int) -> None:
    numbers, places, k = array("f", values), bytearray(4 * len(values)), 0 if k >= len(values) else k
    found = [engine.sample(numbers, k, temperature, places, seed) for engine in ENGINES]
    assert found[0] == found[1]
    if max(values) == -math.inf:
        assert found[0] is None
        return
    assert found[0] is not None
    token, random = found[0]
    assert values[token] > -math.inf and (random != seed) == (temperature > 0)
    if temperature == 0 or k == 1:
        assert token == values.index(max(values))


ROWS = st.tuples(st.integers(1, 5), st.integers(1, 12)).flatmap(
    lambda of: st.lists(st.lists(LOGARITHMS, min_size=of[1], max_size=of[1]), min_size=of[0], max_size=of[0])
)


@given(ROWS, st.data(), st.integers(1, 70))
def test_a_beam_is_the_beginning_of_all_continuations(rows: list[list[float]], data: st.DataObject, k: int) -> None:
    numbers = st.integers(-(2**62), 2**62) | st.integers(-1000, 0)
    scores = data.draw(st.lists(numbers, min_size=len(rows), max_size=len(rows)))
    every = [
        (-(score + octaves(value)), parent, token)
        for parent, (score, row) in enumerate(zip(scores, rows, strict=True))
        for token, value in enumerate(row)
        if value > -math.inf
    ]
    expected = [(parent, token, -cost) for cost, parent, token in sorted(every)[:k]] or None
    flat = array("f", [value for row in rows for value in row])
    for engine in ENGINES:
        assert engine.beam(array("q", scores), flat, k) == expected
    if expected:
        assert beam(scores, rows, k) == beam(scores, np.array(rows, np.float32), k) == expected


def test_the_generator_is_splitmix64() -> None:
    """The numbers of Vigna's splitmix64.c for this seed."""
    random, found = 1234567, []
    for _ in range(3):
        random, number = choosing_reference._next_random(random)
        found.append(number)
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(("temperature", "k"), [(1.0, 0), (0.5, 0), (2.0, 0), (1.0, 3), (2.0, 2)])
def test_tokens_are_drawn_as_often_as_their_probabilities_say(temperature: float, k: int) -> None:
    values = np.log([0.4, 0.05, 0.3, 0.2, 0.05])
    sampler, draws = Sampler(3, temperature, k), 20_000
    found = np.bincount([sampler.choose(values) for _ in range(draws)], minlength=5) / draws
    expected = np.exp(values / temperature) * (values >= np.sort(values)[-k] if k else 1)
    expected /= expected.sum()
    assert np.all(np.abs(found - expected) <= 4 * np.sqrt(expected * (1 - expected) / draws))


@pytest.mark.usefixtures("engine")
def test_a_seed_says_everything_and_a_state_goes_on() -> None:
    values = np.random.default_rng(0).normal(0, 2, 50).astype(np.float32)
    first, second, other = Sampler(7, 0.8, 20), Sampler(7, 0.8, 20), Sampler(8, 0.8, 20)
    drawn = [first.choose(values) for _ in range(30)]
    assert [second.choose(values) for _ in range(10)] == drawn[:10]
    assert [other.choose(values) for _ in range(30)] != drawn
    other.state = second.state
    assert [other.choose(values) for _ in range(20)] == drawn[10:]
    assert first.state == other.state and len(first.state) == 8


@pytest.mark.usefixtures("engine")
def test_what_numbers_arrive_in_makes_no_difference() -> None:
    row = [-1.5, -0.25, -3.0, -0.25]
    arrivals: list[Any] = [
        row, tuple(row), array("f", row), array("d", row), memoryview(array("f", row)), np.array(row),
        np.array(row, np.float32), np.repeat(np.array(row, np.float32), 2)[::2],
    ]  # fmt: skip
    for values in arrivals:
        assert top_k(values, 2) == ([1, 3], [-0.25, -0.25])
        assert Sampler(1).choose(values) == Sampler(1).choose(row)
        assert beam([-5], [values], 1) == [(0, 1, -5 + octaves(-0.25))]
    integers = np.array([-1, -3, -2], np.int16)
    assert top_k(integers, 3)[0] == [0, 2, 1]


@pytest.mark.usefixtures("engine")
def test_a_model_writes() -> None:
    """A stream's steps, many streams' steps, and the loop around a beam."""
    model = Model(mixed_artifact(2, **TOKENS))
    stream, sampler, token, written = model.stream(), Sampler(11, 0.7, 5), 0, []
    for _ in range(20):
        token = sampler.choose(stream.step([token]))
        written.append(token)
    assert len(set(written)) > 1 and all(0 <= token < 12 for token in written)
    streams = model.streams(2)
    found = beam([0, -(2**16)], streams.step([[1], [2]]), 4)
    assert len(found) == 4 and [score for *_, score in found] == sorted((score for *_, score in found), reverse=True)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: top_k([1.0], 0), "k is 0; expected an integer from 1 to 1, the number of values"),
        (lambda: top_k([1.0], 2), "k is 2; expected an integer from 1 to 1"),
        (lambda: top_k([], 1), "no number arrived, expected one or more"),
        (lambda: top_k("123", 1), "a str arrived, expected numbers or a buffer"),
        (lambda: top_k([1.0, None], 1), "what arrived are no numbers"),
        (lambda: top_k(np.zeros((2, 2), np.float32), 1), r"a buffer of shape \(2, 2\) arrived, expected \(N,\)"),
        (lambda: top_k(b"abcd", 1), "a buffer of format 'B' arrived, expected float32, float64 or int16"),
        (lambda: top_k([1.0, math.nan], 1), "number 1 is nan, expected a finite number or -inf"),
        (lambda: top_k([1.0, 1e39], 1), "number 1 is inf, expected a finite number or -inf"),
        (lambda: Sampler(0).choose([math.nan]), "number 0 is nan"),
        (lambda: Sampler(0).choose([-math.inf] * 3), "all numbers are -inf, expected one that can be chosen"),
        (lambda: Sampler(0, 0).choose([-math.inf] * 3), "all numbers are -inf"),
        (lambda: Sampler(-1), "the seed is -1; expected an integer from 0 to 2"),
        (lambda: Sampler(2**64), "the seed is 18446744073709551616; expected"),
        (lambda: Sampler(0, -1.0), "the temperature is -1.0; expected 0, or a number from 2"),
        (lambda: Sampler(0, 1e-6), "the temperature is 1e-06; expected 0"),
        (lambda: Sampler(0, math.nan), "the temperature is nan; expected 0"),
        (lambda: Sampler(0, 1.0, -1), "top_k is -1; expected an integer from 0 on"),
        (lambda: beam([0], [[1.0]], 0), "k is 0; expected an integer from 1 on"),
        (lambda: beam([0, 0], [[1.0]], 1), "1 rows of 1 numbers arrived for 2 scores; expected a row for each"),
        (lambda: beam([0, 0], [[1.0], [1.0, 2.0]], 1), "2 rows of 1 and 2 numbers arrived for 2 scores"),
        (lambda: beam([], [], 1), "0 rows of no numbers arrived for 0 scores"),
        (lambda: beam([2**62 + 1], [[1.0]], 1), "the scores .* arrived; expected integers within 2"),
        (lambda: beam([0], [[math.inf]], 1), "number 0 is inf"),
        (lambda: beam([0], [[-math.inf]], 1), "all numbers are -inf"),
        (lambda: beam([0], np.zeros(3, np.float32), 1), r"a buffer of shape \(3,\) arrived, expected \(T, 3\)"),
    ],
)
def test_refused_by_name(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_python_in_the_document_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_artifact(mixed_artifact(0, **TOKENS), tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    document = (Path(__file__).parents[2] / "docs" / "choosing.md").read_text()
    found: dict[str, Any] = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", document, re.DOTALL)), found)
    assert [len(tokens) for tokens in found["written"]] == [4] * 4
    assert found["scores"] == sorted(found["scores"], reverse=True)
    stream = found["model"].stream()
    score = sum(octaves(stream.step([token])[after]) for token, after in itertools.pairwise(found["written"][0]))
    assert score == found["scores"][0]  # each hypothesis went on with its own state


def test_a_state_of_another_length() -> None:
    with pytest.raises(StateError, match="a sampler's state of 3 bytes arrived, expected 8"):
        Sampler(0).state = b"abc"


def test_it_runs_without_the_kernel() -> None:
    program = (
        "import sys; sys.modules['edgegru_runtime._kernel'] = None\n"
        "from edgegru_runtime import choosing\n"
        "print(choosing.top_k([1.0, 3.0, 2.0], 2), choosing.Sampler(5).choose([-1.0] * 9), 'numpy' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert found == f"([1, 2], [3.0, 2.0]) {Sampler(5).choose([-1.0] * 9)} False\n"


def test_the_c_tests_choose_the_same() -> None:
    """The digest in test_choosing.c, which runs on other processors too."""
    source = (Path(__file__).parents[2] / "runtime" / "c" / "tests" / "test_choosing.c").read_text()
    expected = re.search(r"DIGEST 0x([0-9a-f]+)u", source)
    assert expected is not None
    random, digest = 1, 0

    def mixed(number: int) -> None:
        nonlocal digest
        digest = (digest * 0x100000001B3 ^ number % 2**64) % 2**64

    for round_number in range(64):
        values = array("f")
        for _ in range(96):
            random, number = choosing_reference._next_random(random)
            values.append(-math.inf if number % 23 == 0 else -float(number >> 40) / 2.0**20)
        k = round_number % 8
        for place in choosing_reference.top_k(values, k + 1) or ():
            mixed(place)
        state = round_number
        for temperature in (0, 1000, 65536, 200000):
            sampled = choosing_reference.sample(values, k, temperature, bytearray(), state)
            assert sampled is not None
            token, state = sampled
            mixed(token)
        scores = array("q", [-1000 * round_number, 0, -50 * round_number])
        for parent, token, score in choosing_reference.beam(scores, values, k + 1) or ():
            mixed(parent)
            mixed(token)
            mixed(score)
    assert digest == int(expected[1], 16), f"{digest:#x}"


def test_probabilities_of_a_model_are_what_is_drawn_from() -> None:
    """Weights are within 2e-4 of probabilities, as softmax's are."""
    values = log_softmax(np.random.default_rng(1).normal(0, 3, 500).astype(np.float32))
    weights = np.array([choosing_reference._power(octaves(values.max()) - octaves(float(v))) for v in values], float)
    assert np.max(np.abs(weights / weights.sum() - np.exp(values))) < 2e-4
