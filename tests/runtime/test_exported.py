"""Exported files that are broken, foreign or lying: a named error, whatever the bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgegru_runtime import ArtifactError, FormatVersionError, load
from edgegru_runtime.exported import read_exported
from tests.builders import random_artifact
from tests.export.tflite_file import packed, unpacked
from tests.runtime.exported_files import write_export

ARTIFACT = random_artifact(0, 3, (5,))
FORMATS = ("onnx", "tflite")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    return {form: write_export(ARTIFACT, form, folder).read_bytes() for form in FORMATS}


def with_metadata(data: bytes, file_format: str, entries: list[tuple[str, bytes]]) -> bytes:
    """The file with these metadata entries in place of its own."""
    if file_format == "onnx":
        model = onnx.load_from_string(data)
        del model.metadata_props[:]
        for key, value in entries:
            model.metadata_props.add(key=key, value=value.decode())
        return model.SerializeToString()
    model = unpacked(data)
    model.buffers[model.metadata[0].buffer].data = []
    model.metadata = []
    for key, value in entries:
        model.metadata.append(schema.MetadataT(name=key.encode(), buffer=len(model.buffers)))
        model.buffers.append(schema.BufferT(data=np.frombuffer(value, np.uint8)))
    return packed(model)


def metadata(data: bytes, file_format: str) -> dict[str, Any]:
    if file_format == "onnx":
        return json.loads(onnx.load_from_string(data).metadata_props[0].value)
    model = unpacked(data)
    document = json.loads(bytes(model.buffers[model.metadata[0].buffer].data))
    del document["crc32"]
    return document


def metadata_text(document: dict[str, Any], file_format: str) -> bytes:
    """The text to embed; packing the file puts the checksum of a TFLite file right."""
    checksum = {"crc32": "00000000"} if file_format == "tflite" else {}
    return json.dumps(checksum | document, separators=(",", ":")).encode()


def refusal(tmp_path: Path, file_format: str, data: bytes) -> str:
    path = tmp_path / f"model.{file_format}"
    path.write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("file_format", FORMATS)
def test_files_without_our_metadata(good: dict[str, bytes], file_format: str, tmp_path: Path) -> None:
    text = metadata_text(metadata(good[file_format], file_format), file_format)

    def found(entries: list[tuple[str, bytes]]) -> str:
        return refusal(tmp_path, file_format, with_metadata(good[file_format], file_format, entries))

    assert found([]) == 'has 0 metadata entries "edgegru"; expected 1, as EdgeGRU writes it'
    assert found([("other", text)]).startswith("has 0 metadata entries")
    assert found([("edgegru", text), ("edgegru", text)]).startswith("has 2 metadata entries")
    assert found([("edgegru", text[:-1])]).startswith("the metadata is not JSON")
    assert found([("edgegru", text[:-1] + b',"x":' + b"[" * 100_000)]) == "the metadata is nested too deeply"
    assert found([("edgegru", b" " * (2**20 + 1))]).startswith("has metadata of 1048577 bytes")
    path = tmp_path / f"model.{file_format}"
    path.write_bytes(with_metadata(good[file_format], file_format, [("other", b"{}"), ("edgegru", text)]))
    assert load(path).config == ARTIFACT.config


def test_metadata_that_is_no_object_of_ours(good: dict[str, bytes], tmp_path: Path) -> None:
    found = refusal(tmp_path, "onnx", with_metadata(good["onnx"], "onnx", [("edgegru", b"[]")]))
    assert found == "the metadata is a list of 0; expected an object"
    for text in (b"[]", b"{", b"{}", b'{"crc32":0}', b'{"format":"edgegru","crc32":"00000000"}'):
        found = refusal(tmp_path, "tflite", with_metadata(good["tflite"], "tflite", [("edgegru", text)]))
        assert found.startswith("has metadata that does not begin with a checksum")
    found = refusal(tmp_path, "tflite", with_metadata(good["tflite"], "tflite", [("edgegru", b'{"crc32":"')]))
    assert found.startswith("is damaged or was changed after its export")


def test_damage_of_any_byte_of_a_tflite_file_is_refused(good: dict[str, bytes], tmp_path: Path) -> None:
    data = good["tflite"]
    digits = data.index(b'{"crc32":"')
    for place in [*range(0, len(data), 7), *range(digits, digits + 20)]:
        damaged = data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]
        assert refusal(tmp_path, "tflite", damaged)
    weight = data.index(ARTIFACT.array("dense.weight").tobytes())
    for damaged in (data + b"\0", data[:weight] + b"\0" + data[weight + 1 :]):
        assert refusal(tmp_path, "tflite", damaged).startswith("is damaged or was changed after its export")


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("export"), "export is null; expected an object"),
        (lambda m: m["export"].update(format="h5"), "export.format is 'h5'; expected"),
        (lambda m: m["export"].update(form="loop"), "export.form is 'loop'; expected step or sequence"),
        (lambda m: m["export"].update(state=[]), "export.state is a list of 0; expected io or variables"),
        (lambda m: m["export"].update(state_dtype="int64"), "export.state_dtype is 'int64'"),
        (lambda m: m["export"].update(state_dtype="int32"), "has scheme float32 and a state of int32"),
        (lambda m: m["export"].update(states=[]), "export.states is a list of 0; expected one for each state"),
        (lambda m: m["export"]["states"][0].update(node="gru7"), r"export.states has no gru0 \[1, 5\] in its place"),
        (lambda m: m["export"]["states"][0].update(shape=[1, 6]), r"export.states has no gru0 \[1, 5\]"),
        (lambda m: m["export"]["states"][0].update(input=3), "has gru0 without an input or output name"),
        (lambda m: m.update(extra=1), "unknown field 'extra'"),
        (lambda m: m["nodes"][1].update(name="standardise"), "'standardise' is used 2 times"),
        (lambda m: m.update(identity="1"), "identity is '1'"),
        (lambda m: m["input"].update(size=4), "expected a list of 4"),
    ],
)
def test_metadata_that_does_not_fit(
    good: dict[str, bytes], file_format: str, change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    document = metadata(good[file_format], file_format)
    change(document)
    text = metadata_text(document, file_format)
    found = refusal(tmp_path, file_format, with_metadata(good[file_format], file_format, [("edgegru", text)]))
    assert pytest.raises(ArtifactError, match=message).matches(ArtifactError(found)), found


@pytest.mark.parametrize("file_format", FORMATS)
def test_another_format_version_has_its_own_error(good: dict[str, bytes], file_format: str, tmp_path: Path) -> None:
    document = metadata(good[file_format], file_format) | {"format_version": 2}
    text = metadata_text(document, file_format)
    path = tmp_path / f"model.{file_format}"
    path.write_bytes(with_metadata(good[file_format], file_format, [("edgegru", text)]))
    with pytest.raises(FormatVersionError, match="has format version 2; this reader knows version 1"):
        load(path)


@pytest.mark.parametrize("file_format", FORMATS)
def test_what_is_no_such_file(file_format: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, file_format, b"") == "is empty"
    assert refusal(tmp_path, file_format, b"\xff" * 100)
    assert refusal(tmp_path, file_format, b"hello, world\n" * 100)
    for name, message in (("none", "No such file"), ("folder", "is not a regular file")):
        path = tmp_path / f"{name}.{file_format}"
        if name == "folder":
            path.mkdir()
        with pytest.raises(ArtifactError, match=message):
            load(path)
    onnx_as_tflite = write_export(ARTIFACT, "onnx", tmp_path).rename(tmp_path / "renamed.tflite")
    with pytest.raises(ArtifactError, match="does not begin as a TFLite file"):
        load(onnx_as_tflite)


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_truncation_is_refused(good: dict[str, bytes], file_format: str, tmp_path: Path) -> None:
    data = good[file_format]
    path = tmp_path / f"model.{file_format}"
    for length in range(1, len(data), 7):
        path.write_bytes(data[:length])
        try:
            source = read_exported(path)
        except ArtifactError:
            continue
        # The cut may lie behind the metadata: then all of it was found, and the graph is for the runtime to judge.
        assert source.config == ARTIFACT.config


@pytest.mark.parametrize("file_format", FORMATS)
@settings(max_examples=300)
@given(data=st.data())
def test_any_damage_gives_the_named_error_or_a_valid_configuration(
    good: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, file_format: str, data: st.DataObject
) -> None:
    damaged = bytearray(good[file_format])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        new = data.draw(st.binary(min_size=1, max_size=8))
        damaged[at : at + data.draw(st.integers(0, 8))] = new
    path = tmp_path_factory.getbasetemp() / f"damaged.{file_format}"
    path.write_bytes(damaged)
    with suppress(ArtifactError):
        read_exported(path)
        assert file_format == "onnx" or damaged == good[file_format]


@pytest.mark.parametrize("file_format", FORMATS)
@given(data=st.binary(min_size=1, max_size=300))
@example(data=b"\x00\x00\x00\x00TFL3")
@example(data=b"\x08\x00\x00\x00TFL3\xff\xff\xff\x7f")
@example(data=b"\x72\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
@example(data=b"\x72" + b"\x80" * 30)
@example(data=b"\x73\x00")
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, file_format: str, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / f"noise.{file_format}"
    path.write_bytes(data)
    with pytest.raises(ArtifactError):
        read_exported(path)
