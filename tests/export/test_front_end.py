"""Exported models of sound: the file's input is the feature, its metadata carries the front end, and what is loaded
takes samples as the artifact does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgegru_export.exporting import export
from edgegru_export.verification import verify
from edgegru_runtime import Model, load
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import StateError, VerificationError
from edgegru_runtime.front_end import behind_front_end
from tests.builders import quantized, random_config, random_floats, with_log_mel
from tests.export.tflite_file import tensor, unpacked
from tests.runtime.test_exported import metadata, metadata_text, refusal, with_metadata

HOP, FRAME, BANDS = 20, 50, 3
HEADER, CHECKSUM = 64, 4  # bytes of a saved state before and behind its arrays; saturation is counted in the header
FORMS = [("onnx", {}), ("tflite", {}), ("tflite", {"state": "variables"})]
SCHEMES = ("float32", "dynamic-w8", "static-w8a8", "static-w8a16")


@cache
def artifact(scheme: str, frame_length: int = FRAME) -> Artifact:
    real = random_floats(with_log_mel(random_config(BANDS, (8,)), HOP, frame_length, 64, 32768.0), 3)
    return real if scheme == "float32" else quantized(real, scheme)


@cache
def blocks(steps: int = 40) -> np.ndarray:
    """Samples (steps, HOP) of 16 bits that grow louder and quieter, a few of them beyond full scale."""
    generator = np.random.default_rng(2)
    loudness = 2.0 ** generator.uniform(2, 15, (steps, 1))
    return np.round(generator.normal(0, 1, (steps, HOP)) * loudness).astype(np.float32)


def tolerance(scheme: str, file_format: str) -> float:
    """How far probabilities may be from the artifact's: LiteRT computes integers in its own way."""
    if file_format == "tflite" and scheme != "float32":
        return 0.03
    return 0 if scheme.startswith("static") else 1e-5


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("file_format", "options"), FORMS, ids=["onnx", "tflite", "tflite variables"])
def test_an_exported_model_streams_sound_as_the_artifact_does(
    file_format: str, options: dict[str, Any], scheme: str, tmp_path: Path
) -> None:
    path, source = tmp_path / f"model.{file_format}", artifact(scheme)
    assert export(source, path, format=file_format, **options).passed
    model, streams = load(path), [Model(source, engine).stream() for engine in ("kernel", "reference")]
    assert (model.config.input, model.config.front_end) == (source.config.input, source.config.front_end)
    found = model.stream()
    outputs = np.asarray(found.run(blocks()))
    for stream in streams:
        difference = np.abs(outputs - np.asarray(stream.run(blocks())))
        assert difference.max() <= tolerance(scheme, file_format)
    assert outputs.std(axis=0).min() > 0.01  # the sound is heard
    found.reset()
    again = np.array([found.step(block) for block in blocks()], np.float32)
    np.testing.assert_array_equal(again, outputs)


@pytest.mark.parametrize("scheme", ["float32", "static-w8a8"])
def test_the_input_of_the_file_is_the_feature(scheme: str, tmp_path: Path) -> None:
    for file_format in ("onnx", "tflite"):
        export(artifact(scheme), tmp_path / f"model.{file_format}", format=file_format)
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [graph.input[0].name, *(d.dim_value for d in graph.input[0].type.tensor_type.shape.dim)][::2] == ["x", BANDS]
    assert len(graph.input) == 2  # x, and the state of the GRU: none of the samples
    assert tensor(unpacked((tmp_path / "model.tflite").read_bytes()), "x").shape.tolist() == [1, BANDS]


def test_the_model_behind_has_the_bands_for_channels() -> None:
    config = artifact("float32").config
    behind = behind_front_end(config)
    assert behind.input.channels == ("log_mel[0]", "log_mel[1]", "log_mel[2]")
    assert (behind.input.samples_per_step, behind.input.rate) == (1, 8000.0 / HOP)
    assert [node.name for node in behind.nodes] == [node.name for node in config.nodes[1:]]
    assert behind_front_end(behind) is behind


@pytest.mark.parametrize("frame_length", [FRAME, HOP], ids=["overlapping", "without overlap"])
@pytest.mark.parametrize("scheme", ["float32", "static-w8a8"])
@pytest.mark.parametrize("file_format", ["onnx", "tflite"])
def test_states_move_to_an_exported_model_and_back(
    file_format: str, scheme: str, frame_length: int, tmp_path: Path
) -> None:
    source, path = artifact(scheme, frame_length), tmp_path / f"model.{file_format}"
    export(source, path, format=file_format)
    exported, own, expected = load(path), Model(source), Model(source).stream()
    whole, outputs, state = np.asarray(expected.run(blocks())), [], own.stream().state
    for start in range(0, len(blocks()), 8):
        stream = (exported if start % 16 else own).stream()
        stream.state = state
        outputs.append(np.asarray(stream.run(blocks()[start : start + 8])))
        state = stream.state
    assert np.abs(np.concatenate(outputs) - whole).max() <= tolerance(scheme, file_format)
    samples = slice(HEADER, HEADER + 4 * (frame_length - HOP))
    assert state[samples] == expected.state[samples]
    if scheme == "static-w8a8" and file_format == "onnx":
        assert state[HEADER:-CHECKSUM] == expected.state[HEADER:-CHECKSUM]
    with pytest.raises(StateError):
        stream.state = state[:-4]


def test_samples_beyond_full_scale_are_counted(tmp_path: Path) -> None:
    export(artifact("static-w8a8"), tmp_path / "model.onnx", format="onnx")
    stream = load(tmp_path / "model.onnx").stream()
    stream.step([40000.0, -32768.0, 32767.0, -32767.0] + [0.0] * (HOP - 4))
    assert stream.clipped == 2


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], bytes]:
    """Files by scheme and format."""
    folder, files = tmp_path_factory.mktemp("good"), {}
    for scheme in ("float32", "static-w8a8"):
        for file_format in ("onnx", "tflite"):
            path = folder / f"{scheme}.{file_format}"
            export(artifact(scheme), path, format=file_format)
            files[scheme, file_format] = path.read_bytes()
    return files


def edited(data: bytes, file_format: str, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The file with other metadata."""
    document = metadata(data, file_format)
    change(document)
    return with_metadata(data, file_format, [("edgegru", metadata_text(document, file_format))])


def table(name: str, *, index: int, value: object) -> Callable[[dict[str, Any]], object]:
    """A change of one number of a table."""
    return lambda document: document["export"]["front_end"][name].__setitem__(index, value)


@pytest.mark.parametrize(
    ("change", "scheme", "message"),
    [
        (lambda m: m["export"].pop("front_end"), "float32", "export.front_end is null; expected window, twiddles"),
        (lambda m: m["export"].update(front_end=[1]), "float32", "export.front_end is a list of 1; expected window"),
        (lambda m: m["export"]["front_end"].pop("edges"), "float32", "; expected window, twiddles, edges, rising"),
        (lambda m: m["export"]["front_end"].update(more=[]), "float32", "; expected window, twiddles, edges, rising"),
        (lambda m: m["export"]["front_end"].update(window=7), "float32", "window has not the 50 numbers of its node"),
        (lambda m: m["export"]["front_end"]["rising"].pop(), "float32", "rising has not the 33 numbers of its node"),
        (table("window", index=3, value="1"), "float32", "window holds more than numbers of float32"),
        (table("window", index=3, value=True), "float32", "window holds more than numbers of float32"),
        (table("window", index=3, value=0.5), "static-w8a8", "window holds more than numbers of int32"),
        (table("edges", index=1, value=1.0), "float32", "edges holds more than numbers of int32"),
        (table("window", index=3, value=1e39), "float32", "window holds a number beyond float32"),
        (table("window", index=3, value=2**31), "static-w8a8", "window holds a number beyond int32"),
        (table("rising", index=3, value=2**15), "static-w8a8", "rising holds a number beyond int16"),
        (table("window", index=3, value=1.5), "float32", "'log_mel.window' holds 1.5 at index 3"),
        (table("twiddles", index=0, value=2**30 + 2**20), "static-w8a8", "'log_mel.twiddles' has a pair beyond 1"),
        (table("edges", index=1, value=40), "static-w8a8", "'log_mel.edges' holds 40 at index 1"),
        (lambda m: m["nodes"][0].update(fft_size=48), "float32", "fft_size is 48"),
        (lambda m: m["nodes"][0].update(frame_length=49), "static-w8a8", "window has not the 49 numbers of its node"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("file_format", ["onnx", "tflite"])
def test_a_broken_front_end_is_refused_by_name(
    good: dict[tuple[str, str], bytes], file_format: str, change: Callable[[dict[str, Any]], object], scheme: str,
    message: str, tmp_path: Path,
) -> None:  # fmt: skip
    found = refusal(tmp_path, file_format, edited(good[scheme, file_format], file_format, change))
    assert message in found
    assert "\n" not in found


@pytest.mark.parametrize("file_format", ["onnx", "tflite"])
@pytest.mark.parametrize("scheme", ["float32", "static-w8a8"])
@pytest.mark.parametrize(
    ("name", "index"), [("window", 7), ("twiddles", 3), ("rising", 5), ("edges", 0)], ids=str
)
def test_verification_finds_changed_tables(
    good: dict[tuple[str, str], bytes], scheme: str, file_format: str, name: str, index: int, tmp_path: Path
) -> None:
    """By a single bit, where the file still loads."""

    def change(document: dict[str, Any]) -> None:
        numbers = document["export"]["front_end"][name]
        whole = isinstance(numbers[index], int)
        numbers[index] = numbers[index] + 1 if name == "edges" else numbers[index] - (1 if whole else 2.0**-20)

    path = tmp_path / f"model.{file_format}"
    path.write_bytes(edited(good[scheme, file_format], file_format, change))
    assert load(path).config.front_end is not None
    message = f"its metadata and the model differ in the front end's {name}; export it again"
    with pytest.raises(VerificationError, match=message):
        verify(path, artifact(scheme))
