"""The shell reads what safetensors writes. What it refuses is in tests/attacks."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgegru_runtime.container import MAX_HEADER_BYTES, read_file, split_container
from edgegru_runtime.errors import ArtifactError

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda s: s != "__metadata__")
ARRAYS = npst.arrays(
    st.sampled_from([np.float32, np.int8, np.int16, np.int32]), npst.array_shapes(min_dims=0, max_dims=3, min_side=0)
)


@given(st.dictionaries(NAMES, ARRAYS, max_size=4), st.text(st.characters(exclude_categories=["Cs"])))
def test_reads_what_safetensors_writes(arrays: dict[str, np.ndarray], text: str) -> None:
    found, tensors = split_container(safetensors.numpy.save(arrays, {"edgegru": text}))
    assert found == text
    assert set(tensors) == set(arrays)
    for name, array in arrays.items():
        back = tensors[name].to_numpy()
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        assert back.tobytes() == array.tobytes()


def test_header_entries_may_come_in_any_order() -> None:
    entries = {
        "b": {"dtype": "I8", "shape": [2], "data_offsets": [1, 3]},
        "__metadata__": {"edgegru": "text"},
        "empty": {"dtype": "I8", "shape": [0], "data_offsets": [1, 1]},
        "a": {"dtype": "I8", "shape": [], "data_offsets": [0, 1]},
    }
    header = json.dumps(entries).encode()
    _, tensors = split_container(struct.pack("<Q", len(header)) + header + b"\x01\x02\x03")
    assert {name: tensor.to_numpy().tolist() for name, tensor in tensors.items()} == {"a": 1, "b": [2, 3], "empty": []}


def test_tensors_share_the_bytes_of_the_file() -> None:
    data = safetensors.numpy.save({"a": np.zeros(3, np.float32)}, {"edgegru": ""})
    tensor = split_container(data)[1]["a"]
    assert isinstance(tensor.data, memoryview)
    assert tensor.data.obj is data


def test_reading_takes_no_more_memory_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(bytes(5000))
    tracemalloc.start()
    try:
        assert len(read_file(path)) == 5000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**18  # the file, and a reader's buffer


@pytest.mark.parametrize("padding", [0, 1])
def test_header_of_the_largest_size(padding: int) -> None:
    header = b'{"__metadata__":{"edgegru":""}}'
    data = header.ljust(MAX_HEADER_BYTES + padding)
    file = struct.pack("<Q", len(data)) + data
    if padding:
        with pytest.raises(ArtifactError, match="announces a header of 1048577 bytes; expected an EdgeGRU artifact"):
            split_container(file)
    else:
        assert split_container(file) == ("", {})
