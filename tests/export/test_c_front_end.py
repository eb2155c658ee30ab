"""The front end of sound in C: the features of the reference, in every bit, and the files that the C library shares."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgegru_export
from edgegru_export.c_front_end import front_end_in_c, integer_coefficients
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.derivation import Derivation
from edgegru_runtime.errors import ExportError
from edgegru_runtime.integer_layers import Standardise
from edgegru_runtime.log_mel import IntegerLogMel, tables_of
from edgegru_runtime.model_config import StandardiseNode
from edgegru_runtime.operands import operand_limit
from tests.builders import from_arrays, random_artifact, random_config, random_floats, random_integers, with_log_mel

KERNEL = Path(edgegru_export.__file__).parent / "c_kernel"
LIBRARY = Path(__file__).parents[2] / "runtime" / "c" / "src"
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


def with_any_standardisation(artifact: Artifact, generator: np.random.Generator) -> Artifact:
    """The artifact with means and deviations of any size, means of nothing and almost nothing among them."""
    arrays = {name: artifact.array(name) for name in artifact.tensors}
    size = len(arrays["standardise.mean"])
    mean = generator.normal(0, 10, size) * generator.choice([0, 1, 1, 1e-9, 1e-38], size)
    arrays["standardise.mean"] = mean.astype(np.float32)
    arrays["standardise.std"] = (10 ** generator.uniform(-2, 1, size)).astype(np.float32)
    return from_arrays(artifact.config, arrays)


def expected(artifact: Artifact, sound: np.ndarray) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Of the reference: features and operands (STEPS, bands) and how many samples and operands were saturated."""
    node, entry = artifact.config.front_end, artifact.config.entry
    assert node is not None and isinstance(entry, StandardiseNode)
    reference = IntegerLogMel(node, tables_of(artifact, node))
    samples, saturated = reference.samples(np.float32(sound.ravel() * (node.full_scale / 32768)))
    padded = np.concatenate([np.zeros(node.frame_length, np.int64), samples])
    ends = node.frame_length + node.input_size * np.arange(1, len(sound) + 1)
    values = reference(np.array([padded[end - node.frame_length : end] for end in ends]))
    features = values.astype(np.float32) * np.float32(2**-16)
    operands, beyond = Standardise(artifact, entry, Derivation(artifact))(features)
    return features, operands, saturated, beyond


@settings(max_examples=60)
@given(models(), st.integers(0, 99), st.sampled_from(["noise", "quiet", "largest", "silence"]), st.booleans())
def test_its_numbers_are_those_of_the_reference(artifact: Artifact, seed: int, kind: str, integers: bool) -> None:
    generator = np.random.default_rng(seed)
    artifact = with_any_standardisation(artifact, generator)
    made, node = front_end_in_c(artifact, "ear", integers=integers), artifact.config.front_end
    assert made is not None and node is not None
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
        for source in made.sources:
            Path(folder, source).write_text((KERNEL / source).read_text())
        subprocess.run([*COMMAND, "-fPIC", "ear_log_mel.c", "-o", "ear.so"], check=True, cwd=folder)
        library = ctypes.CDLL(f"{folder}/ear.so")
    assert library.size() == made.state_bytes
    features, operands, saturated, beyond = expected(artifact, sound)
    narrow = operand_limit(artifact.config, "standardise") == 127
    x = np.zeros((STEPS, node.output_size), np.float32 if not integers else np.int8 if narrow else np.int16)
    state, work = ctypes.create_string_buffer(made.state_bytes), ctypes.create_string_buffer(made.scratch_bytes)
    found = 0
    for samples, values in zip(sound, x, strict=True):
        found += library.ear_log_mel(state, samples.ctypes, work, values.ctypes)
        ctypes.memset(work, 0xA5, made.scratch_bytes)  # nothing there is remembered
    np.testing.assert_array_equal(x, operands if integers else features)
    assert found == saturated + (beyond if integers else 0)


@settings(max_examples=200)
@given(
    st.floats(0.005, 1e5), st.floats(-120, 120) | st.sampled_from([0.0, 1e-30, -1e-9]), st.sampled_from([0.0, 0.5]),
    st.integers(-(2**22), 2**22), st.integers(0, 400),
)
def test_operands_are_those_of_single_precision(a: float, mean: float, half: float, first: int, step: int) -> None:
    a32, b32 = np.float32(a), np.float32(half - mean * a)
    features = np.concatenate([first + step * np.arange(200), np.arange(-2, 3)])
    at_b = round(-float(b32) / float(a32) * 65536)  # where the sum is nothing
    if abs(at_b) < 2**22:
        features = np.concatenate([features, at_b + np.arange(-40, 40)])
    features = features[np.abs(features) < 2**23].astype(np.int32)
    slope, offset, shift = integer_coefficients(float(a32), float(b32))
    q = np.floor(a32 * (features.astype(np.float32) * np.float32(2**-16)) + b32)
    count = np.zeros(1, np.uint32)
    operand = feature_operand()
    found = [operand(int(k), slope, offset, shift, 32767, count.ctypes) for k in features]
    np.testing.assert_array_equal(found, np.clip(q, -32767, 32767))
    assert count[0] == np.count_nonzero(np.abs(q) > 32767)


@cache
def feature_operand() -> Any:
    """The function of C."""
    with tempfile.TemporaryDirectory() as folder:
        call = "int32_t feature, int32_t slope, int64_t offset, unsigned shift, int32_t limit, uint32_t *saturated"
        names = ", ".join(part.split()[-1].strip("*") for part in call.split(","))
        given = f'#define EGRU_WIDE 1\n#include "egru_feature.h"\nint32_t operand({call});\nint32_t operand({call}) {{'
        Path(folder, "operand.c").write_text(f"{given} return egru_feature_operand({names}); }}\n")
        subprocess.run([*COMMAND, "-fPIC", f"-I{KERNEL}", "operand.c", "-o", "operand.so"], check=True, cwd=folder)
        operand = ctypes.CDLL(f"{folder}/operand.so").operand
    operand.argtypes = [ctypes.c_int32, ctypes.c_int32, ctypes.c_int64, ctypes.c_uint, ctypes.c_int32, ctypes.c_void_p]
    return operand


def test_the_arithmetic_is_that_of_the_library() -> None:
    assert (KERNEL / "egru_log_mel.h").read_text() == (LIBRARY / "integer_log_mel.h").read_text()


@pytest.mark.skipif(shutil.which("g++") is None, reason="Debian package g++")
@pytest.mark.parametrize("integers", [False, True])
def test_c_plus_plus_takes_it_too(integers: bool, tmp_path: Path) -> None:
    made = front_end_in_c(random_integers(with_log_mel(random_config(4), 40, 60, 64), 0), "ear", integers=integers)
    assert made is not None
    (tmp_path / "ear_log_mel.h").write_text(made.header)
    (tmp_path / "ear_log_mel.cpp").write_text(made.source)
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{KERNEL}", "-c", "ear_log_mel.cpp"]
    subprocess.run(command, check=True, cwd=tmp_path)


def test_other_models_have_none() -> None:
    assert front_end_in_c(random_artifact(), "ear", integers=True) is None


def test_coefficients_beyond_64_bits_are_refused() -> None:
    for a, b in ((1e-3, 1.0), (1.0, 1e3), (1e-7, 0.0), (1e18, 0.0)):
        with pytest.raises(ExportError, match="beyond what a front end of integers holds"):
            integer_coefficients(a, b)


def test_floats_are_refused() -> None:
    with pytest.raises(ExportError, match="scheme float32; in C front ends are integers"):
        front_end_in_c(random_floats(with_log_mel(random_config(4), 40, 60, 64), 0), "ear", integers=True)
