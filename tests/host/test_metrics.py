"""Metrics against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru import metrics

# Four of class 0 (three hit, one taken for 1), two of class 1 (one hit, one taken for 2), one of class 2 (missed as 0).
TARGETS = [0, 0, 0, 0, 1, 1, 2]
PREDICTIONS = [0, 0, 0, 1, 1, 2, 0]
CONFUSION = [[3, 1, 0], [0, 1, 1], [1, 0, 0]]


def test_confusion_has_true_classes_down_and_predicted_across():
    assert metrics.confusion_matrix(TARGETS, PREDICTIONS, 3).tolist() == CONFUSION


def test_accuracy_by_hand():
    assert metrics.accuracy(np.array(CONFUSION)) == pytest.approx(4 / 7)


def test_f1_by_hand():
    # Class 0: 2·3 / (4 predicted + 4 true), class 1: 2·1 / (2 + 2), class 2: 0 / (1 + 1).
    assert metrics.f1_scores(np.array(CONFUSION)).tolist() == pytest.approx([6 / 8, 2 / 4, 0])
    assert metrics.macro_f1(np.array(CONFUSION)) == pytest.approx((6 / 8 + 2 / 4) / 3)


def test_a_class_that_is_nowhere_does_not_count_in_macro_f1():
    confusion = metrics.confusion_matrix([0, 1], [0, 1], 3)
    assert metrics.macro_f1(confusion) == 1.0
    assert np.isnan(metrics.f1_scores(confusion)[2])


def test_a_class_that_is_only_predicted_counts_as_zero():
    assert metrics.macro_f1(metrics.confusion_matrix([0, 0], [0, 2], 3)) == pytest.approx((2 / 3 + 0) / 2)


def test_errors_by_hand():
    targets, predictions = [[1.0, 2.0], [3.0, 4.0]], [[1.5, 2.0], [1.0, 4.0]]
    assert metrics.mean_squared_error(targets, predictions) == pytest.approx((0.25 + 4) / 4)
    assert metrics.mean_absolute_error(targets, predictions) == pytest.approx((0.5 + 2) / 4)


def test_float32_values_are_summed_in_float64():
    values = np.full(1_000_000, 0.1, np.float32)
    error = metrics.mean_absolute_error(np.zeros_like(values), values)
    assert error == pytest.approx(float(np.float32(0.1)), rel=1e-12)


HOLDS = [[1, 0, 1], [0, 0, 1]]
PROBABILITIES = [[0.5, 0.25, 0.25], [0.75, 0.0, 1.0]]


def test_likelihood_of_labels_by_hand():
    first, second = -np.log(0.5 * 0.75 * 0.25), -np.log(0.25)
    expected = pytest.approx((first + second) / 2, rel=1e-4)  # 0 and 1 that are right still cost log(1 − 2⁻¹⁷)
    assert metrics.negative_log_likelihood(HOLDS, PROBABILITIES) == expected


@pytest.mark.parametrize("holds", [0.0, 1.0])
def test_the_likelihood_of_what_was_ruled_out_is_finite(holds):
    assert metrics.negative_log_likelihood([[holds]], [[1 - holds]]) == pytest.approx(17 * np.log(2))
    assert metrics.negative_log_likelihood([[holds]], [[holds]]) == pytest.approx(2.0**-17, rel=1e-4)


def test_micro_f1_by_hand():
    # Predicted from 1/2 on: one of two right in the first step, one of two in the second; three hold.
    assert metrics.micro_f1(HOLDS, PROBABILITIES) == pytest.approx(2 * 2 / (3 + 3))
    assert metrics.micro_f1([[0, 0]], [[0.1, 0.4]]) == 1.0
    assert metrics.micro_f1([[0, 0]], [[0.1, 0.5]]) == 0.0
    assert metrics.micro_f1([[1, 0]], [[0.1, 0.4]]) == 0.0


@pytest.mark.parametrize("indices", [[-1], [3]])
def test_an_index_outside_the_classes_is_refused(indices):
    with pytest.raises(ValueError, match=r"\[0, 3\)"):
        metrics.confusion_matrix([0], indices, 3)


def test_different_lengths_are_refused():
    with pytest.raises(ValueError, match="2 targets against 1 predictions"):
        metrics.confusion_matrix([0, 1], [0], 2)
    with pytest.raises(ValueError, match="shape"):
        metrics.mean_squared_error([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="shape"):
        metrics.negative_log_likelihood([[1.0, 0.0]], [[1.0]])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_any_confusion_adds_up(pairs):
    targets, predictions = zip(*pairs, strict=True)
    confusion = metrics.confusion_matrix(targets, predictions, 5)
    assert confusion.sum() == len(pairs)
    assert confusion.sum(axis=1).tolist() == np.bincount(targets, minlength=5).tolist()
    assert metrics.accuracy(confusion) == pytest.approx(np.mean(np.equal(targets, predictions)))
    assert 0 <= metrics.macro_f1(confusion) <= 1


TAGS = ("O", "B-x", "I-x", "B-y", "I-y")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O", set()),
        ("B-x I-x O B-x", {(0, 2, "x"), (3, 4, "x")}),
        ("B-x B-x I-x", {(0, 1, "x"), (1, 3, "x")}),  # neighbours of one kind
        ("O I-x I-x", {(1, 3, "x")}),  # an I with nothing to go on with begins
        ("B-x I-y I-y", {(0, 1, "x"), (1, 3, "y")}),  # so does an I of another kind
        ("I-x B-x", {(0, 1, "x"), (1, 2, "x")}),
        ("B-a-b I-a-b", {(0, 2, "a-b")}),
    ],
)
def test_chunks_by_hand(tags, expected):
    assert metrics.chunks(tags.split()) == expected


def test_chunk_f1_by_hand():
    # True: x over 1-2, y at 3; x at 0. Said: x over 1-2 and y over 3-4; y at 0. One hit of three and of three.
    true = [["O", "B-x", "I-x", "B-y", "O"], ["B-x"]]
    said = [["O", "B-x", "I-x", "B-y", "I-y"], ["B-y"]]
    assert metrics.chunk_f1(true, said) == pytest.approx(2 * 1 / (3 + 3))
    assert metrics.chunk_f1(true, true) == 1.0
    assert metrics.chunk_f1(true, [["O"] * 5, ["O"]]) == 0.0
    assert metrics.chunk_f1([["O"]], [["O"]]) == 0.0
    assert metrics.chunk_f1([["B-x"], ["I-x"]], [["B-x"], ["I-x"]]) == 1.0  # none goes on in the next sentence
    # Half of a chunk is none of it: B-x I-x said as B-x O is a miss and a false one.
    assert metrics.chunk_f1([["B-x", "I-x", "B-y"]], [["B-x", "O", "B-y"]]) == pytest.approx(2 * 1 / (2 + 2))


def conlleval(pairs):
    """Hits, true and said chunks counted as conlleval does it, a word at a time with a flag for a hit in progress."""
    hits = true = said = 0
    right, before = False, ("O", "O")
    for now in [*pairs, ("O", "O")]:
        ends = [old != "O" and (new[0] != "I" or new[2:] != old[2:]) for old, new in zip(before, now, strict=True)]
        begins = [new != "O" and (new[0] == "B" or old[2:] != new[2:]) for old, new in zip(before, now, strict=True)]
        if right and all(ends):
            hits, right = hits + 1, False
        elif right and (any(ends) or now[0][2:] != now[1][2:]):
            right = False
        if all(begins) and now[0][2:] == now[1][2:]:
            right = True
        true, said, before = true + begins[0], said + begins[1], now
    return hits, true, said


@given(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1, max_size=30))
def test_chunks_are_counted_as_conlleval_counts_them(pairs):
    hits, true, said = conlleval(pairs)
    targets, predictions = zip(*pairs, strict=True)
    assert (len(metrics.chunks(targets)), len(metrics.chunks(predictions))) == (true, said)
    found = metrics.chunk_f1([targets], [predictions])
    assert found == pytest.approx(2 * hits / (true + said) if true + said else 0.0)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (TAGS, True),
        (("B-x", "O"), True),
        (("I-x", "O"), False),
        (("B-x", "I-x"), False),
        (("B-x", "O", "other"), False),
        (("walking", "O"), False),
    ],
)
def test_labels_that_mark_chunks(labels, expected):
    assert metrics.are_chunk_tags(labels) is expected
