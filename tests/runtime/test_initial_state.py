"""Streams that begin with h0: on every engine, from every kind of file, and only where a stream can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegru_export import onnx_dynamic, tflite_dynamic, tflite_integer
from edgegru_export.exporting import export
from edgegru_export.verification import verify
from edgegru_runtime import ArtifactError, Model, StateError, load
from edgegru_runtime.artifact import Artifact, check
from edgegru_runtime.config_json import config_to_json, parse_config
from edgegru_runtime.errors import VerificationError
from edgegru_runtime.exported import ExportedFile
from edgegru_runtime.model_config import SCHEMES
from tests.builders import (
    changed,
    from_arrays,
    mixed_config,
    quantized,
    random_config,
    random_floats,
    with_initial_states,
)
from tests.runtime.exported_files import FORMS, INTEGER_FORMS, write_export
from tests.runtime.test_exported import metadata, metadata_text, with_metadata

SAVED_NUMBERS = slice(64, -4)
SAMPLE = [1.0, -2.0, 3.0]
ARTIFACT = random_floats(with_initial_states(random_config(3, (5, 4))), 0)
# A convolution stands before the GRU.
MIXED = random_floats(with_initial_states(mixed_config(candidate="linear", reset="before")), 1)


def models() -> list[Artifact]:
    floats = (ARTIFACT, MIXED)
    return [made if scheme == "float32" else quantized(made, scheme) for made in floats for scheme in SCHEMES]


def numbers(artifact: Artifact) -> bytes:
    """What a saved state of a new stream holds."""
    h0 = [artifact.initial_state(node).tobytes() for node in artifact.config.state_nodes]
    assert any(np.frombuffer(b"".join(h0), np.uint8))
    return b"".join(h0)


MODELS = pytest.mark.parametrize("artifact", models(), ids=lambda artifact: artifact.config.scheme)


@MODELS
@pytest.mark.parametrize("engine", ["kernel", "reference"])
def test_streams_begin_with_h0_and_come_back_to_it(artifact: Artifact, engine: str) -> None:
    model = Model(artifact, engine)
    stream = model.stream()
    born = stream.state
    assert born[SAVED_NUMBERS] == numbers(artifact)
    first = stream.step(SAMPLE)
    stream.run([SAMPLE] * 3)
    stream.reset()
    assert stream.state == born
    assert stream.step(SAMPLE) == first
    streams = model.streams(5)
    added = streams.add()
    assert np.asarray(streams.step([SAMPLE] * 6)).tolist() == [first] * 6
    assert added.state == stream.state
    zero = bytearray(born)
    zero[SAVED_NUMBERS] = bytes(len(zero[SAVED_NUMBERS]))
    with pytest.raises(StateError, match="checksum"):  # h0 is no other way to read a saved state
        stream.state = bytes(zero)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_first_step_is_that_from_h0(scheme: str) -> None:
    """A model with h0 computes what one without computes from a state that holds it."""
    artifact = ARTIFACT if scheme == "float32" else quantized(ARTIFACT, scheme)
    nodes = [
        {name: value for name, value in node.items() if name != "initial_state"}
        for node in config_to_json(artifact.config)["nodes"]
    ]
    plain = parse_config({**config_to_json(artifact.config), "nodes": nodes})
    arrays = {name: artifact.array(name) for name in artifact.tensors if not name.endswith(".h0")}
    without = Model(from_arrays(plain, arrays), "kernel").stream()
    assert without.step(SAMPLE) != Model(artifact, "kernel").stream().step(SAMPLE)
    engine = without.model.engine
    state = engine.new_state()
    engine.load_state(state, [artifact.initial_state(node).tobytes() for node in artifact.config.state_nodes])
    assert engine.step(state, SAMPLE) == [Model(artifact, "kernel").stream().step(SAMPLE)]


def test_a_model_without_one_says_nothing_of_it() -> None:
    config = random_config()
    assert all("initial_state" not in node for node in config_to_json(config)["nodes"])
    assert config_to_json(with_initial_states(config))["nodes"][1]["initial_state"] is True
    filled = changed(with_initial_states(config), identity="0" * 64)
    assert parse_config(config_to_json(filled)) == filled


def exported(artifact: Artifact, form: str, folder: Path) -> Path:
    if artifact.config.scheme != "dynamic-w8":
        return write_export(artifact, form, folder)
    file_format, _, variant = form.partition(" ")
    path = folder / f"dynamic {variant or 'io'}.{file_format}"
    if file_format == "onnx":
        path.write_bytes(onnx_dynamic.build(artifact))
    else:
        path.write_bytes(tflite_dynamic.build(artifact, variant or "io"))
    return path


@MODELS
def test_exported_files_begin_with_h0(artifact: Artifact, tmp_path: Path) -> None:
    expected = np.array(Model(artifact, "reference").stream().run([SAMPLE] * 3))
    integer_tflite = artifact.config.static
    for form in FORMS if artifact.config.scheme == "float32" else INTEGER_FORMS:
        model = load(exported(artifact, form, tmp_path))
        stream = model.stream()
        if form != "tflite variables":
            found = np.frombuffer(stream.state[SAVED_NUMBERS], "<i4" if artifact.config.static else "<f4")
            held = np.frombuffer(numbers(artifact), found.dtype)
            coarser = 2**10 if integer_tflite and form == "tflite" else 0
            assert np.max(np.abs(found.astype(np.int64) - held) if artifact.config.static else found - held) <= coarser
        outputs = stream.run([SAMPLE] * 3)
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=0.05 if "tflite" in form else 1e-5)
        stream.reset()
        assert stream.run([SAMPLE] * 3) == outputs


def test_an_int8_state_holds_h0_coarsely(tmp_path: Path) -> None:
    artifact = quantized(ARTIFACT)
    path = tmp_path / "m.tflite"
    path.write_bytes(tflite_integer.build(artifact, allow_int8_state=True))
    found = np.frombuffer(load(path).stream().state[SAVED_NUMBERS], "<i4")
    assert np.max(np.abs(found - np.frombuffer(numbers(artifact), "<i4"))) <= 2**16
    assert found.any()


@MODELS
@pytest.mark.parametrize("file_format", ["onnx", "tflite", "plan"])
def test_exports_are_verified(artifact: Artifact, file_format: str, tmp_path: Path) -> None:
    report = export(artifact, tmp_path / f"m.{file_format}", format=file_format)
    assert report.passed


BAD_STARTS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda state: state.pop("initial"), "has gru0 without the 5 of its start"),
    (lambda state: state.update(initial=[0.5] * 4), "has gru0 without the 5 of its start"),
    (lambda state: state.update(initial=[0.5] * 4 + [1.5]), r"begins gru0 at 1.5; expected a number from -1 to 1"),
    (lambda state: state.update(initial=[0.5] * 4 + [True]), "begins gru0 at true"),
    (lambda state: state.update(initial=[0.5] * 4 + [None]), "begins gru0 at null"),
]


@pytest.mark.parametrize("file_format", ["onnx", "tflite"])
@pytest.mark.parametrize(("change", "message"), BAD_STARTS)
def test_a_start_that_no_stream_can_have_is_refused(
    file_format: str, change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    path = write_export(ARTIFACT, file_format, tmp_path)
    document = metadata(path.read_bytes(), file_format)
    change(document["export"]["states"][0])
    text = metadata_text(document, file_format)
    path.write_bytes(with_metadata(path.read_bytes(), file_format, [("edgegru", text)]))
    with pytest.raises(ArtifactError, match=message):
        load(path)


@pytest.mark.parametrize("file_format", ["onnx", "tflite"])
def test_a_start_of_another_model_is_refused(file_format: str, tmp_path: Path) -> None:
    """Too small a difference for what a float file computes."""
    path = write_export(ARTIFACT, file_format, tmp_path)
    document = metadata(path.read_bytes(), file_format)
    document["export"]["states"][1]["initial"][2] += 1e-6
    text = metadata_text(document, file_format)
    path.write_bytes(with_metadata(path.read_bytes(), file_format, [("edgegru", text)]))
    with pytest.raises(VerificationError, match="differ in the initial state"):
        verify(path, ARTIFACT)


def test_a_start_of_a_file_without_one_is_zero(tmp_path: Path) -> None:
    source = load(write_export(random_floats(random_config(3, (5,)), 0), "onnx", tmp_path)).source
    assert isinstance(source, ExportedFile)
    assert source.initial == (bytes(20),)


@pytest.mark.parametrize("scheme", ["float32", "static-w8a8"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_h0_is_a_state_that_a_stream_can_reach(scheme: str, sign: int) -> None:
    artifact = ARTIFACT if scheme == "float32" else quantized(ARTIFACT)
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["gru1.h0"][3] = sign * (1 if scheme == "float32" else 2**24)
    Model(from_arrays(artifact.config, arrays), "kernel").stream().step(SAMPLE)
    arrays["gru1.h0"][3] = sign * (1.001 if scheme == "float32" else 2**24 + 1)
    with pytest.raises(ArtifactError, match=r"'gru1.h0' holds .* at index 3; expected a state from -1 to 1"):
        check(artifact.config, from_arrays(artifact.config, arrays).tensors)
