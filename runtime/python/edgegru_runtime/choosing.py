"""Choosing of tokens by natural logarithms of their probabilities, as a log_softmax head gives them (docs/choosing.md).

What is chosen is the same on every machine: floats become integers by their bits, and all else is integers.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import inf

from edgegru_runtime.errors import InputError, StateError
from edgegru_runtime.samples import numbers_of, view_of

try:
    from edgegru_runtime import _kernel as _engine
except ImportError:  # installed without a compiler
    from edgegru_runtime import choosing_reference as _engine  # type: ignore[no-redef]

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from typing import Any

LARGEST_SCORE = 2**62
_ONE = 2**16  # a temperature of 1
_HIGHEST_TEMPERATURE = 65535.0
_SEEDS = 2**64


def top_k(values: object, k: int) -> tuple[list[int], list[float]]:
    """The places and the values of the ``k`` largest of ``values``, the larger first, of equal ones the lower place.

    ``values``: numbers in a list or buffer, finite or −infinity. Raises InputError for others, or for a ``k`` that is
    not from 1 to their number.
    """
    numbers = _numbers(values)
    if not 1 <= k <= len(numbers):
        raise InputError(f"k is {k}; expected an integer from 1 to {len(numbers)}, the number of values")
    places = _engine.top_k(numbers, k)
    if places is None:
        raise _refusal(numbers)
    return places, [numbers[place] for place in places]


class Sampler:
    """Draws tokens; what it draws depends on its seed and on what it is given, and on nothing else."""

    def __init__(self, seed: int, temperature: float = 1.0, top_k: int = 0) -> None:
        """``temperature``: probabilities count to the power of 1 / temperature, in steps of 2^-16; at 0 the most
        probable token is taken and nothing is drawn. ``top_k``: only so many of the most probable, 0: all.

        Raises InputError for a seed that is not from 0 to 2^64 − 1, a temperature that is not 0 nor from 2^-16 to
        65535, and a negative ``top_k``.
        """
        if not 0 <= seed < _SEEDS:
            raise InputError(f"the seed is {seed}; expected an integer from 0 to 2^64 - 1")
        if temperature != 0 and not 1 / _ONE <= temperature <= _HIGHEST_TEMPERATURE:
            raise InputError(f"the temperature is {temperature}; expected 0, or a number from 2^-16 to 65535")
        if top_k < 0:
            raise InputError(f"top_k is {top_k}; expected an integer from 0 on")
        self._random, self._top_k = seed, top_k
        self._temperature = round(temperature * _ONE)
        self._places = bytearray(4)  # room for the places of the most probable tokens

    def choose(self, log_probabilities: object) -> int:
        """One token of ``log_probabilities``: numbers in a list or buffer, finite or −infinity, which is never chosen.

        Raises InputError for others, and where all are −infinity.
        """
        numbers = _numbers(log_probabilities)
        k = 0 if self._top_k >= len(numbers) else self._top_k
        if len(self._places) < 4 * k:
            self._places = bytearray(4 * k)
        chosen = _engine.sample(numbers, k, self._temperature, self._places, self._random)
        if chosen is None:
            raise _refusal(numbers)
        token, self._random = chosen
        return token

    @property
    def state(self) -> bytes:
        """Where its generator is, 8 bytes, little-endian; a sampler that is given them goes on from there."""
        return self._random.to_bytes(8, "little")

    @state.setter
    def state(self, state: bytes) -> None:
        if len(state) != 8:
            raise StateError(f"a sampler's state of {len(state)} bytes arrived, expected 8")
        self._random = int.from_bytes(state, "little")


def beam(scores: Sequence[int], log_probabilities: object, k: int) -> list[tuple[int, int, int]]:
    """One step of a beam search: the ``k`` best continuations (parent, token, score) of some hypotheses, best first.

    ``scores``: of the hypotheses, integers in units of 2^-16 of log2, within ±2^62; ``log_probabilities``: of the next
    token, (hypotheses, tokens), as ``Streams.step`` gives them, or a list of what ``Sampler.choose`` takes. The score
    of a continuation is its parent's and the token's logarithm, made an integer; of equal ones the lower parent comes
    first, then the lower token. There are fewer than ``k`` where no more have a logarithm above −infinity.

    Raises InputError for numbers that are not finite nor −infinity, where all are −infinity, and for other numbers of
    rows than of scores.
    """
    rows = _rows(log_probabilities, len(scores))
    if k < 1:
        raise InputError(f"k is {k}; expected an integer from 1 on")
    if any(not -LARGEST_SCORE <= score <= LARGEST_SCORE for score in scores):
        raise InputError(f"the scores {list(scores)} arrived; expected integers within 2^62")
    found = _engine.beam(array("q", scores), rows, min(k, len(rows)))
    if found is None:
        raise _refusal(rows)
    return found


def _numbers(values: object) -> array[float]:
    """A list or buffer as float32. Raises InputError for anything else, and for nothing."""
    view = view_of(values)
    if view is None:
        try:
            numbers = array("f", _listed(values))
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"what arrived are no numbers ({error}), expected a list or buffer of them") from None
    else:
        with view:
            numbers = _float32(numbers_of(view, (None,)))
    if not numbers:
        raise InputError("no number arrived, expected one or more")
    return numbers


def _rows(values: object, count: int) -> array[float]:
    """Rows of numbers, one behind the other. Raises InputError unless there are ``count``, of one length."""
    view = view_of(values)
    if view is None:
        rows = [_numbers(row) for row in _listed(values)]
        sizes = [len(row) for row in rows]
        joined = array("f", b"".join(rows))
    else:
        with view:
            size = view.shape[-1] if view.shape else 0
            joined = _float32(numbers_of(view, (None, size)))
        sizes = [size] * (len(joined) // size if size else 0)
    if len(sizes) != count or len(set(sizes)) != 1:
        found = f"{len(sizes)} rows of {' and '.join(map(str, sorted(set(sizes)))) or 'no'} numbers"
        raise InputError(f"{found} arrived for {count} scores; expected a row for each, all of one length")
    return joined


def _float32(numbers: array[Any]) -> array[float]:
    return numbers if numbers.typecode == "f" else array("f", numbers)


def _listed(values: object) -> Sequence[Any]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(f"a {type(values).__name__} arrived, expected numbers or a buffer")
    return values


def _refusal(numbers: Sequence[float]) -> InputError:
    """What is wrong with them."""
    for place, number in enumerate(numbers):
        if not -inf <= number < inf:
            return InputError(f"number {place} is {number}, expected a finite number or -inf")
    return InputError("all numbers are -inf, expected one that can be chosen")
