"""Exhibits whose safetensors shell is broken."""

from __future__ import annotations

import json
import struct

from edgegru_runtime.container import MAX_HEADER_BYTES
from tests.attacks.museum import GOOD_FLOAT, Parts, container, entry, exhibit


def shell(places: dict[str, tuple[int, int]], size: int) -> bytes:
    """A file of int8 tensors at these places in ``size`` bytes; its configuration is not looked at."""
    header: dict[str, object] = {"__metadata__": {"edgegru": "{}"}}
    for name, (begin, end) in places.items():
        header[name] = {"dtype": "I8", "shape": [end - begin], "data_offsets": [begin, end]}
    return container(json.dumps(header).encode(), bytes(size))


@exhibit("has 0 bytes; expected a safetensors file")
def _empty_file(parts: Parts) -> bytes:
    return b""


@exhibit("has 7 bytes; expected a safetensors file")
def _seven_bytes(parts: Parts) -> bytes:
    return GOOD_FLOAT[:7]


@exhibit("inside its header")
def _ends_after_the_length(parts: Parts) -> bytes:
    return GOOD_FLOAT[:8]


@exhibit("inside its header")
def _ends_in_the_header(parts: Parts) -> bytes:
    return GOOD_FLOAT[:100]


@exhibit("bytes of tensors; expected")
def _one_byte_missing(parts: Parts) -> bytes:
    return GOOD_FLOAT[:-1]


@exhibit("bytes of tensors; expected")
def _one_byte_too_many(parts: Parts) -> bytes:
    return GOOD_FLOAT + b"\0"


@exhibit(f"with at most {MAX_HEADER_BYTES}")
def _huge_header_length(parts: Parts) -> bytes:
    return b"\xff" * 8 + GOOD_FLOAT[8:]


@exhibit(f"with at most {MAX_HEADER_BYTES}")
def _header_of_one_byte_more_than_allowed(parts: Parts) -> bytes:
    return container(b"{" + b" " * MAX_HEADER_BYTES, b"")


@exhibit("header does not begin with '{'")
def _empty_header(parts: Parts) -> bytes:
    return struct.pack("<Q", 0) + bytes(100)


@exhibit("header does not begin with '{'")
def _header_is_a_list(parts: Parts) -> bytes:
    return container(b"[]", b"")


@exhibit("header is not JSON")
def _header_is_no_json(parts: Parts) -> bytes:
    return container(b"{nothing}", b"")


@exhibit("header is not UTF-8 at byte 2")
def _header_is_not_utf_8(parts: Parts) -> bytes:
    return container(b'{"\xff": 1}', b"")


@exhibit("header is not JSON")
def _header_followed_by_another(parts: Parts) -> bytes:
    return container(b"{}{}", b"")


@exhibit("header is nested too deeply")
def _deeply_nested_header(parts: Parts) -> bytes:
    return container(b'{"a":' * 100_000, b"")


@exhibit("header is nested too deeply")
def _deeply_nested_lists(parts: Parts) -> bytes:
    return container(b'{"a":' + b"[" * 500_000, b"")


@exhibit("header holds NaN")
def _nan_in_the_header(parts: Parts) -> bytes:
    return container(b'{"a": NaN}', b"")


@exhibit("too many digits")
def _number_of_many_digits(parts: Parts) -> bytes:
    return container(b'{"a": ' + b"9" * 100_000 + b"}", b"")


@exhibit("header has the name 'gru0.weight_ih' twice")
def _tensor_listed_twice(parts: Parts) -> bytes:
    again = json.dumps({"gru0.weight_ih": parts.header["gru0.weight_ih"]})[1:-1]
    header = json.dumps(parts.header)
    return container(f"{header[:-1]}, {again}}}".encode(), bytes(parts.body))


@exhibit("has metadata null; expected exactly one key")
def _no_metadata(parts: Parts) -> bytes:
    del parts.header["__metadata__"]
    return parts.pack_header()


@exhibit("has metadata none; expected exactly one key")
def _empty_metadata(parts: Parts) -> bytes:
    parts.header["__metadata__"] = {}
    return parts.pack_header()


@exhibit("has metadata 'format'; expected exactly one key")
def _foreign_metadata(parts: Parts) -> bytes:
    parts.header["__metadata__"] = {"format": "pt"}
    return parts.pack_header()


@exhibit("'format'; expected exactly one key")
def _extra_metadata(parts: Parts) -> bytes:
    parts.header["__metadata__"]["format"] = "pt"
    return parts.pack_header()


@exhibit("has metadata 'edgegru'; expected exactly one key")
def _metadata_is_text(parts: Parts) -> bytes:
    parts.header["__metadata__"] = "edgegru"
    return parts.pack_header()


@exhibit('metadata "edgegru" is an object; expected a string')
def _configuration_is_no_string(parts: Parts) -> bytes:
    parts.header["__metadata__"]["edgegru"] = parts.config
    return parts.pack_header()


@exhibit("and leaves a hole before it")
def _hole_between_tensors(parts: Parts) -> bytes:
    parts.body += bytes(4)
    last = max(parts.header, key=lambda name: parts.header[name].get("data_offsets", [0])[0])
    begin, end = parts.header[last]["data_offsets"]
    parts.header[last]["data_offsets"] = [begin + 4, end + 4]
    return parts.pack()


@exhibit("and overlaps the tensor before it")
def _two_tensors_in_one_place(parts: Parts) -> bytes:
    return shell({"a": (0, 48), "b": (0, 48)}, 48)


@exhibit("and overlaps the tensor before it")
def _tensor_inside_another(parts: Parts) -> bytes:
    return shell({"a": (0, 48), "b": (8, 48)}, 48)


@exhibit("begins at byte 8 and leaves a hole before it; expected byte 0")
def _hole_at_the_beginning(parts: Parts) -> bytes:
    return shell({"a": (8, 48)}, 48)


@exhibit("and overlaps the tensor before it")
def _overlap_by_one_byte(parts: Parts) -> bytes:
    last = max(parts.header, key=lambda name: parts.header[name].get("data_offsets", [0])[0])
    parts.header[last]["data_offsets"] = [at - 1 for at in parts.header[last]["data_offsets"]]
    return parts.pack()


@exhibit("has 48 bytes of tensors; expected 84 from its header")
def _tensor_beyond_the_end(parts: Parts) -> bytes:
    return shell({"a": (0, 48), "b": (48, 84)}, 48)


# gru0.weight_ih is (9, 2) float32, 72 bytes.
entry("entry is a list", [1, 2], "tensor 'gru0.weight_ih' has a malformed header entry")
entry("entry has an unknown field", {"order": "C"}, "malformed header entry")
entry("entry is null", None, "malformed header entry")
entry("dtype of doubles", {"dtype": "F64"}, "has dtype 'F64'; expected one of F32, I8, I16, I32")
entry("dtype of halves", {"dtype": "BF16"}, "has dtype 'BF16'")
entry("dtype is a list", {"dtype": ["F32"]}, "has dtype a list of 1")
entry("dtype in lower case", {"dtype": "f32"}, "has dtype 'f32'")
entry("wrong dtype of the same size", {"dtype": "I32"}, "is int32 (9, 2); expected float32 (9, 2)")
entry("wrong dtype of another size", {"dtype": "I8"}, "has 72 bytes; expected 18 from its shape and dtype")
entry("negative shape", {"shape": [-9, -2]}, "malformed shape")
entry("fractional shape", {"shape": [9.0, 2.0]}, "malformed shape")
entry("boolean shape", {"shape": [True, 18]}, "malformed shape")
entry("shape is no list", {"shape": 18}, "malformed shape")
entry("shape of nine dimensions", {"shape": [1] * 9}, "malformed shape")
entry("overflowing shape", {"shape": [2**32, 2**32]}, "malformed shape")
entry("shape whose product overflows", {"shape": [2**28] * 8}, f"has 72 bytes; expected {2**226} from its shape")
entry("shape with a zero", {"shape": [0, 18]}, "has 72 bytes; expected 0 from its shape and dtype")
entry("wrong shape of the same size", {"shape": [2, 9]}, "is float32 (2, 9); expected float32 (9, 2)")
entry("flat shape", {"shape": [18]}, "is float32 (18,); expected float32 (9, 2)")
entry("scalar shape", {"shape": []}, "has 72 bytes; expected 4 from its shape and dtype")
entry("one offset", {"data_offsets": [0]}, "malformed data_offsets")
entry("offsets backwards", {"data_offsets": [72, 0]}, "has -72 bytes; expected 72")
entry("negative offsets", {"data_offsets": [-72, 0]}, "malformed data_offsets")
entry("fractional offsets", {"data_offsets": [0.0, 72.0]}, "malformed data_offsets")
entry("huge offsets", {"data_offsets": [2**64, 2**64 + 72]}, "malformed data_offsets")
entry("offsets are text", {"data_offsets": "ab"}, "malformed data_offsets")
