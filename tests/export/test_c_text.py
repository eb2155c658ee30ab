"""Names and numbers in C: valid, apart from each other, and the same bits when they are read back."""

from __future__ import annotations

import re
import struct

from hypothesis import given
from hypothesis import strategies as st

from edgegru_export.c_memory import ITEM_BYTES, Member, Pool, offsets, padded
from edgegru_export.c_text import comment_text, float_literal, identifier, integer_literal


@given(st.text())
def test_any_name_becomes_an_identifier(name: str) -> None:
    assert re.fullmatch(r"edgegru_[a-z0-9][a-z0-9_]*", identifier(name))
    assert "__" not in identifier(name)  # reserved in C++
    assert len(identifier(name)) <= 63  # as many characters as compilers have to tell apart


def test_names_stay_apart() -> None:
    names = ["motion", "motion 2", "int", "while", "9lives", "模型", "模型二", "x" * 100, "x" * 100 + "y", "-", "a.b"]
    assert len({identifier(name) for name in names}) == len(names)
    assert identifier("Motion-2") == "edgegru_motion_2"


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_reads_back_to_the_same_bits(value: float) -> None:
    text = float_literal(value)
    assert re.fullmatch(r"-?\d+(\.\d*)?(e[+-]?\d+)?f", text)
    assert "." in text or "e" in text  # 1f is no literal
    assert struct.pack("<f", float(text[:-1])) == struct.pack("<f", value)


def test_the_smallest_integer_has_no_literal_of_its_own() -> None:
    assert integer_literal(-(2**31)) == "(-2147483647 - 1)"
    assert integer_literal(2**31 - 1) == "2147483647"


@given(st.text())
def test_text_stays_in_its_comment(text: str) -> None:
    shown = comment_text(text)
    assert "*/" not in shown and "/*" not in shown and "\n" not in shown and "??" not in shown and "\\" not in shown
    assert shown.isascii()


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), max_size=30), st.sampled_from([1, 4, 8]))
def test_vectors_that_live_at_the_same_time_do_not_meet(vectors: list[tuple[int, int]], step: int) -> None:
    pool, alive = Pool(step), {}
    for number, (size, age) in enumerate(vectors):
        place = pool.take(number, size)
        assert place % step == 0
        for start, end in alive.values():
            assert place + size <= start or place >= end
        alive[number] = place, place + size
        assert pool.length >= place + size
        for old in [n for n in alive if n <= number - age]:
            pool.free(old)
            del alive[old]


@given(st.lists(st.tuples(st.sampled_from(sorted(ITEM_BYTES)), st.integers(0, 9)), max_size=12))
def test_members_are_aligned_and_fill_whole_words(given: list[tuple[str, int]]) -> None:
    members = padded([Member(kind, f"m{i}", count) for i, (kind, count) in enumerate(given)])
    places = offsets(members)
    assert all(places[member.name] % ITEM_BYTES[member.kind] == 0 for member in members)
    assert sum(member.bytes_ for member in members) % 4 == 0
