"""The front end of sound in C: the features of the reference, in every bit, and the files that the C library shares."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgegru_export
from edgegru_export.c_front_end import front_end_in_c
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError
from edgegru_runtime.log_mel import IntegerLogMel, tables_of
from tests.builders import random_artifact, random_config, random_floats, random_integers, with_log_mel

KERNEL = Path(edgegru_export.__file__).parent / "c_kernel"
LIBRARY = Path(__file__).parents[2] / "runtime" / "c" / "src"
SHARED = {"egru_log_mel.h": "integer_log_mel.h", "egru_logarithm.h": "integer_logarithm.h"}
COMMAND = ("cc", "-std=c99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Wshadow", "-Werror", "-shared")
STEPS = 6


@st.composite
def models(draw: st.DrawFn) -> Artifact:
    """A small integer model with a front end of any sizes: windows shorter and longer than a step."""
    fft_size = 2 ** draw(st.integers(3, 10))
    frame_length = draw(st.integers(1, fft_size))
    hop = draw(st.integers(1, max(2, 2 * frame_length)).filter(lambda hop: frame_length <= 12 * hop))
    bands = draw(st.integers(1, max(1, fft_size // 16)))
    full_scale = draw(st.sampled_from([1.0, 32768.0]))
    return random_integers(with_log_mel(random_config(bands, (2,)), hop, frame_length, fft_size, full_scale), 0)


def expected(artifact: Artifact, sound: np.ndarray) -> tuple[np.ndarray, int]:
    """The features (STEPS, bands) of the reference and how many samples were saturated."""
    node = artifact.config.front_end
    assert node is not None
    reference = IntegerLogMel(node, tables_of(artifact, node))
    samples, saturated = reference.samples(np.float32(sound.ravel() * (node.full_scale / 32768)))
    padded = np.concatenate([np.zeros(node.frame_length, np.int64), samples])
    ends = node.frame_length + node.input_size * np.arange(1, len(sound) + 1)
    return reference(np.array([padded[end - node.frame_length : end] for end in ends])), saturated


@settings(max_examples=40)
@given(models(), st.integers(0, 99), st.sampled_from(["noise", "quiet", "largest", "silence"]))
def test_features_are_those_of_the_reference(artifact: Artifact, seed: int, kind: str) -> None:
    made, node = front_end_in_c(artifact, "ear"), artifact.config.front_end
    assert made is not None and node is not None
    generator = np.random.default_rng(seed)
    reach = {"noise": 2**15, "quiet": 3, "largest": 1, "silence": 1}[kind]
    sound = generator.integers(-reach, reach, (STEPS, node.input_size)).astype(np.int16)
    if kind == "largest":
        sound = np.where(generator.random(sound.shape) < 0.5, -32768, 32767).astype(np.int16)
    elif kind == "silence":
        sound[:] = 0
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "ear_log_mel.h").write_text(made.header)
        size = "\nunsigned size(void);\nunsigned size(void) { return sizeof(ear_log_mel_state); }\n"
        Path(folder, "ear_log_mel.c").write_text(made.source + size)
        command = [*COMMAND, "-fPIC", f"-I{KERNEL}", "ear_log_mel.c", "-o", "ear.so"]
        subprocess.run(command, check=True, cwd=folder)
        library = ctypes.CDLL(f"{folder}/ear.so")
    assert library.size() == made.state_bytes
    state, work = ctypes.create_string_buffer(made.state_bytes), ctypes.create_string_buffer(made.scratch_bytes)
    features, saturated = np.zeros((STEPS, node.output_size), np.int32), 0
    for samples, values in zip(sound, features, strict=True):
        saturated += library.ear_log_mel(state, samples.ctypes, work, values.ctypes)
        ctypes.memset(work, 0xA5, made.scratch_bytes)  # nothing there is remembered
    found = features, saturated
    for mine, reference in zip(found, expected(artifact, sound), strict=True):
        np.testing.assert_array_equal(mine, reference)


def test_the_arithmetic_is_that_of_the_library() -> None:
    for copy, original in SHARED.items():
        assert (KERNEL / copy).read_text() == (LIBRARY / original).read_text()
    made = front_end_in_c(random_integers(with_log_mel(random_config(4), 40, 60, 64), 0), "ear")
    assert made is not None and set(made.sources) == set(SHARED)


def test_other_models_have_none() -> None:
    assert front_end_in_c(random_artifact(), "ear") is None


def test_floats_are_refused() -> None:
    with pytest.raises(ExportError, match="scheme float32; in C front ends are integers"):
        front_end_in_c(random_floats(with_log_mel(random_config(4), 40, 60, 64), 0), "ear")
