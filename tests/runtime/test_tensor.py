"""Tensors hold little-endian bytes and go to NumPy and back unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgegru_runtime.tensor import Tensor


@given(npst.arrays(st.sampled_from([np.float32, np.int8, np.int16, np.int32]), npst.array_shapes(min_side=0)))
def test_numpy_round_trip(array: np.ndarray) -> None:
    tensor = Tensor.from_numpy(array)
    back = tensor.to_numpy()
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_bytes_are_little_endian_and_row_major() -> None:
    tensor = Tensor.from_numpy(np.array([[1, 2], [3, -1]], ">i4").T)
    assert tensor == Tensor("int32", (2, 2), bytes.fromhex("01000000 03000000 02000000 ffffffff"))


def test_from_numpy_copies() -> None:
    array = np.zeros(2, np.float32)
    tensor = Tensor.from_numpy(array)
    array[0] = 1
    assert not tensor.to_numpy().any()


def test_to_numpy_is_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Tensor("int8", (1,), b"\0").to_numpy()[0] = 1


def test_other_dtypes_are_a_mistake() -> None:
    with pytest.raises(KeyError):
        Tensor.from_numpy(np.zeros(2, np.float64))


def test_wrong_number_of_bytes_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match=r"7 bytes for float32 \(2,\)"):
        Tensor("float32", (2,), bytes(7))
