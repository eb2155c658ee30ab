"""A tensor as the device holds it: a dtype, a shape and little-endian bytes. No NumPy needed."""

from __future__ import annotations

import math

from edgegru_runtime.plain_data import dataclass

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ITEM_SIZES = {"float32": 4, "int8": 1, "int16": 2, "int32": 4}
_NUMPY_DTYPES = {"float32": "<f4", "int8": "<i1", "int16": "<i2", "int32": "<i4"}


@dataclass(frozen=True)
class Tensor:
    """``shape`` row-major values of ``dtype`` ("float32", "int8", "int16" or "int32") in ``data``, little-endian."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview

    def __post_init__(self) -> None:
        expected = math.prod(self.shape) * ITEM_SIZES[self.dtype]
        assert len(self.data) == expected, f"{len(self.data)} bytes for {self.dtype} {self.shape}"

    @classmethod
    def from_numpy(cls, array: NDArray[np.generic]) -> Tensor:
        """Copy an array of one of the four dtypes (KeyError for any other)."""
        dtype = array.dtype.name
        return cls(dtype, array.shape, array.astype(_NUMPY_DTYPES[dtype]).tobytes())

    def to_numpy(self) -> NDArray[np.generic]:
        """The same values as a read-only array that shares the bytes."""
        import numpy as np  # only callers that already use NumPy come here

        return np.frombuffer(self.data, dtype=_NUMPY_DTYPES[self.dtype]).reshape(self.shape)
