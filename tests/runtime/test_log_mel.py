"""The front end of sound: integers equal in every bit on every engine and never beyond 64 bits, floats close, errors as
docs/front-ends.md states them, and streams that may be cut and kept anywhere.
"""

from __future__ import annotations

import re
import subprocess
import sys
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru.front_ends import LogMelFeatures, integer_tables, log_mel_tables
from edgegru_export.saving import save_artifact
from edgegru_runtime import EngineError, Model, _kernel
from edgegru_runtime import fixed_point as fx
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.engine import Engine, build_engine
from edgegru_runtime.integer_arithmetic import log2_q16
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.kernel_engine import KernelEngine
from edgegru_runtime.log_mel import IntegerLogMel, LogMel, dense_filters, log2
from edgegru_runtime.model_config import LogMelNode, ModelConfig
from edgegru_runtime.reference import Reference
from tests.builders import from_arrays, random_config, random_floats, random_integers, with_log_mel

DOCUMENT = (Path(__file__).parents[2] / "docs" / "front-ends.md").read_text()
SPEECH = LogMelNode("log_mel", ("x",), 160, 40, 400, 512, 32768.0, 1e-7)  # 10 and 25 ms at 16 kHz
RATE = 16000.0
STEPS = 12
TABLES = log_mel_tables(SPEECH, RATE, 20, 7600)
INTEGER_TABLES = integer_tables(SPEECH, TABLES)


def stated(name: str) -> float:
    """An error that the document's table states, by the name of its row."""
    found = re.search(rf"\| {re.escape(name)} \| ([0-9.e-]+) \|", DOCUMENT)
    assert found is not None, name
    return float(found[1])


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    """A small network behind a front end of any sizes."""
    fft_size = 2 ** draw(st.integers(3, 10))
    frame_length = draw(st.integers(1, fft_size))
    hop = draw(st.integers(1, max(2, 2 * frame_length)).filter(lambda hop: frame_length <= 12 * hop))
    bands = draw(st.integers(1, max(1, fft_size // 16)))
    full_scale = draw(st.sampled_from([1.0, 32768.0, 0.3]))
    return with_log_mel(random_config(bands, (4,)), hop, frame_length, fft_size, full_scale)


def sound(config: ModelConfig, kind: str, steps: int = STEPS) -> np.ndarray:
    """Steps of samples (steps, hop) of full scale or around it."""
    node = config.front_end
    assert node is not None
    generator, count = np.random.default_rng(len(kind)), steps * node.input_size
    time = np.arange(count)
    samples = {
        "noise": generator.normal(0, 1, count) * 10 ** generator.uniform(-5, 1, count),
        "largest": np.ones(count),
        "alternating": np.where(time % 2, 1.0, -1.0),
        "sine": np.cos(2 * np.pi * generator.integers(1, node.fft_size // 2) / node.fft_size * time),
        "impulses": generator.random(count) < 1 / 9,
        "silence": np.zeros(count),
        "beyond": generator.normal(0, 1e30, count),
    }[kind]
    return (samples * node.full_scale).astype(np.float32).reshape(steps, -1)


KINDS = ("noise", "largest", "alternating", "sine", "impulses", "silence", "beyond")


def with_any_tables(artifact: Artifact, seed: int) -> Artifact:
    """A static artifact with a front end of the wildest tables that loading lets pass."""
    node, generator = artifact.config.front_end, np.random.default_rng(seed)
    assert node is not None
    quarter = node.fft_size // 4
    angles = generator.uniform(0, 2 * np.pi, quarter // 2 + 1)
    twiddles = np.concatenate([np.cos(angles), np.sin(angles[:-1])[::-1]])
    twiddles[quarter // 2] *= 0.7  # it is its own partner
    arrays = {name: artifact.array(name) for name in artifact.tensors}
    arrays["log_mel.window"] = generator.choice([-(2**30), 2**30], node.frame_length).astype(np.int32)
    arrays["log_mel.twiddles"] = np.round(twiddles * 2.0**30).astype(np.int32)
    arrays["log_mel.rising"] = generator.choice([0, 1, 2**15 - 1], node.fft_size // 2 + 1).astype(np.int16)
    edges = generator.integers(0, node.fft_size // 2 + 2, node.output_size + 2)
    arrays["log_mel.edges"] = np.sort(edges).astype(np.int32)
    return from_arrays(artifact.config, arrays)


def trajectory(engine: Engine, steps: np.ndarray) -> tuple[bytes, list[bytes], int]:
    state = engine.new_state()
    outputs = [np.concatenate(engine.step(state, array("f", x.tobytes()))) for x in steps]
    return np.array(outputs, np.float32).tobytes(), engine.state_arrays(state), engine.clipped(state)


@settings(max_examples=40)
@given(configs(), st.sampled_from(KINDS), st.sampled_from(["static-w8a8", "static-w8a16"]), st.booleans())
def test_integers_are_equal_in_every_bit(config: ModelConfig, kind: str, scheme: str, wild: bool) -> None:
    artifact = random_integers(config, 0, scheme)
    if wild:
        artifact = with_any_tables(artifact, 1)
    steps = sound(config, kind)
    expected = trajectory(build_engine(artifact, "reference"), steps)
    for name in _kernel.kernels():
        assert trajectory(KernelEngine(artifact, name), steps) == expected, name


@settings(max_examples=25)
@given(configs(), st.sampled_from(KINDS), st.booleans(), st.integers(0, 9))
def test_no_integer_leaves_64_bits(config: ModelConfig, kind: str, wild: bool, seed: int) -> None:
    """The same in Python's integers, which have no bounds."""
    artifact = random_integers(config, 0)
    if wild:
        artifact = with_any_tables(artifact, seed)
    node = config.front_end
    assert node is not None
    tables = {name: artifact.array(f"log_mel.{name}") for name in INTEGER_TABLES}
    layer, exact = IntegerLogMel(node, tables), IntegerLogMel(node, tables)
    frames = layer.samples(np.resize(sound(config, kind, 4), (1, node.frame_length)))[0]

    def unbounded(numbers: Any) -> Any:
        return numbers.astype(object)

    exact.window, exact.rising = unbounded(exact.window), unbounded(exact.rising)
    transform = exact.transform
    transform.cosine, transform.sine = unbounded(transform.cosine), unbounded(transform.sine)
    transform.stages = [(half, unbounded(cosine), unbounded(sine)) for half, cosine, sine in transform.stages]
    assert exact(unbounded(frames)).tolist() == layer(frames).tolist()


@settings(max_examples=30)
@given(configs(), st.sampled_from(KINDS[:-1]))
def test_floats_are_close(config: ModelConfig, kind: str) -> None:
    artifact = random_floats(config, 0)
    steps = sound(config, kind)
    outputs, states, _ = trajectory(build_engine(artifact, "reference"), steps)
    expected = np.frombuffer(outputs, np.float32)
    for name in _kernel.kernels():
        found, found_states, _ = trajectory(KernelEngine(artifact, name), steps)
        np.testing.assert_allclose(np.frombuffer(found, np.float32), expected, rtol=0, atol=1e-6, err_msg=name)
        if config.front_end is not None and config.front_end.frames:
            assert found_states[0] == states[0]


@pytest.mark.parametrize("scheme", ["float32", "static-w8a8"])
@pytest.mark.parametrize("sizes", [(20, 50, 64), (20, 20, 32), (33, 31, 64), (7, 64, 64)])
def test_a_stream_computes_the_features_of_the_whole_recording(scheme: str, sizes: tuple[int, int, int]) -> None:
    config = with_log_mel(random_config(3), *sizes)
    artifact = random_floats(config, 0) if scheme == "float32" else random_integers(config, 0)
    found: list[np.ndarray] = []

    def trace(name: str, value: np.ndarray) -> None:
        if name == "log_mel":
            found.append(value)

    engine = (Reference if scheme == "float32" else IntegerReference)(artifact, trace=trace)
    state, steps = engine.new_state(), sound(config, "noise", 30)
    for x in steps:
        engine.step(state, x)
    node = config.front_end
    assert node is not None
    tables = {name: artifact.array(f"log_mel.{name}") for name in TABLES}
    samples = np.append(steps.reshape(-1), np.ones(sizes[0] - 1, np.float32))  # no whole step more
    expected = LogMelFeatures(node, tables)(samples)
    assert expected.shape == (30, 3)
    np.testing.assert_allclose(np.array(found), expected, rtol=0, atol=2e-6 if scheme == "float32" else 0)
    assert LogMelFeatures(node, tables)(samples[: sizes[0] - 1]).shape == (0, 3)


@pytest.mark.parametrize("engine", ["kernel", "reference"])
@pytest.mark.parametrize("scheme", ["float32", "static-w8a16"])
@settings(max_examples=12)
@given(data=st.data())
def test_any_chunking_gives_the_same_bytes(scheme: str, engine: str, data: st.DataObject) -> None:
    config = with_log_mel(random_config(3), 20, 50, 64)
    artifact = random_floats(config, 0) if scheme == "float32" else random_integers(config, 0, scheme)
    model, steps = Model(artifact, engine), sound(config, "noise", 16)
    whole, parts = model.stream(), model.stream()
    expected = np.asarray(whole.run(steps)).tobytes()
    cuts = sorted(data.draw(st.lists(st.integers(0, 16), max_size=4)))
    found = b""
    for start, end in zip([0, *cuts], [*cuts, 16], strict=True):
        if data.draw(st.booleans()):
            found += np.asarray(parts.run(steps[start:end])).tobytes()
        else:
            found += b"".join(array("f", parts.step(x.tolist())).tobytes() for x in steps[start:end])
        saved, parts = parts.state, model.stream()
        parts.state = saved
    assert found == expected
    assert parts.state == whole.state
    parts.reset()
    assert np.asarray(parts.run(steps)).tobytes() == expected


@pytest.mark.parametrize("scheme", ["float32", "static-w8a8"])
def test_states_move_between_engines_and_streams_step_together(scheme: str) -> None:
    config = with_log_mel(random_config(3), 20, 50, 64)
    artifact = random_floats(config, 0) if scheme == "float32" else random_integers(config, 0)
    kernel, reference = Model(artifact, "kernel"), Model(artifact, "reference")
    steps = np.stack([sound(config, kind) for kind in KINDS[:6]], axis=1)  # (steps, streams, hop)
    streams, alone = kernel.streams(6), [kernel.stream() for _ in range(6)]
    for xs in steps:
        expected = np.array([stream.step(x) for stream, x in zip(alone, xs, strict=True)], np.float32)
        assert np.asarray(streams.step(xs)).tobytes() == expected.tobytes()
    moved = reference.stream()
    moved.state = streams[3].state
    assert moved.state == streams[3].state
    back = kernel.stream()
    back.state = moved.state
    assert back.step(steps[0, 0]) == alone[3].step(steps[0, 0])
    np.testing.assert_allclose(moved.step(steps[0, 0]), streams[3].step(steps[0, 0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("engine", ["kernel", "reference"])
def test_saturated_samples_are_counted(engine: str) -> None:
    config = with_log_mel(random_config(3), 20, 50, 64, 32768.0)
    artifact = random_integers(replace(config, scheme="float32"), 0, octaves=0)
    stream = Model(artifact, engine).stream()
    stream.step([0.0] * 20)
    before = stream.clipped  # features of silence may be beyond the range of their operands
    stream.reset()
    stream.step([32767.0, -32767.0, 32768.0, -32768.0, 1e9] + [0.0] * 15)
    assert stream.clipped - 3 <= before + 3
    assert stream.clipped >= 3
    assert np.frombuffer(stream.state, "<i4", 5, 64 + 4 * 20).tolist() == [32767, -32767, 32767, -32767, 32767]


def true_features(samples: np.ndarray, full_scale: float) -> np.ndarray:
    """log2(E + floor) in float64, by NumPy's transform."""
    hop, length = SPEECH.input_size, SPEECH.frame_length
    padded = np.concatenate([np.zeros(length - hop), samples]) / full_scale
    frames = np.array([padded[start : start + length] for start in range(0, len(samples) - hop + 1, hop)])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    power = np.abs(np.fft.rfft(frames * window, SPEECH.fft_size)) ** 2
    return np.log2(power @ dense_filters(SPEECH, TABLES) + SPEECH.floor)


def signals() -> tuple[np.ndarray, ...]:
    """Noise, a chirp, and a tone in noise, a second each, within ±1."""
    count = int(RATE)
    time, noise = np.arange(count) / RATE, np.random.default_rng(1).normal(0, 1 / 5, count)
    chirp = np.sin(2 * np.pi * (100 + 3000 * time) * time)
    return tuple(np.clip(x, -1, 1) for x in (noise, chirp, 0.5 * np.sin(2 * np.pi * 1000 * time) + 0.1 * noise))


@pytest.mark.parametrize("decibels", [0, -20, -40, -60, -80])
def test_errors_are_as_stated(decibels: int) -> None:
    """Of samples of 16 bits, the largest ``decibels`` below full scale."""
    for signal in signals():
        samples = np.round(signal * 32767 * 10 ** (decibels / 20)).astype(np.float32)
        expected = true_features(samples, 32768.0)
        real = np.max(np.abs(LogMelFeatures(SPEECH, TABLES)(samples) - expected))
        integers = np.max(np.abs(LogMelFeatures(SPEECH, INTEGER_TABLES)(samples) - expected))
        assert real < stated("float32")
        assert integers < stated(f"integers, at {decibels} dBFS".replace("-", "−"))


@pytest.mark.parametrize("tables", [TABLES, INTEGER_TABLES], ids=["float32", "integers"])
@pytest.mark.parametrize(("name", "index"), [("window", 200), ("twiddles", 3), ("rising", 30)])
def test_one_wrong_number_of_a_table_is_no_such_error(tables: dict[str, np.ndarray], name: str, index: int) -> None:
    """What is measured above would show a sign that is wrong, or a bin in the wrong band."""
    wrong = tables | {name: tables[name].copy()}
    wrong[name][index] = 0 if name == "rising" else -wrong[name][index]
    samples = np.round(signals()[0] * 32767).astype(np.float32)
    error = np.abs(LogMelFeatures(SPEECH, wrong)(samples) - true_features(samples, 32768.0))
    assert np.max(error) > 10 * max(stated("float32"), stated("integers, at 0 dBFS"))


def test_silence_is_the_logarithm_of_the_floor() -> None:
    for tables in (TABLES, INTEGER_TABLES):
        found = LogMelFeatures(SPEECH, tables)(np.zeros(1600, np.float32))
        np.testing.assert_allclose(found, np.log2(SPEECH.floor), rtol=0, atol=2e-5)


def test_the_logarithm_of_integers_is_as_close_as_stated() -> None:
    generator = np.random.default_rng(0)
    mantissas = 2.0 ** generator.uniform(0, 62.9, 200_000)
    values = np.unique(np.concatenate([mantissas.astype(np.int64), 2 ** np.arange(63), 2 ** np.arange(1, 63) - 1]))
    found = log2_q16(values) / 2.0**16
    exact = np.array([np.log2(float(value)) for value in values])
    assert np.max(np.abs(found - exact)) * 2**16 < stated("log2 of integers, in units of 2^-16")
    assert log2_q16(2 ** np.arange(63, dtype=np.int64)).tolist() == [bits << 16 for bits in range(63)]
    assert np.all(np.diff(log2_q16(np.arange(1, 70_000))) >= 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_logarithm_of_floats(dtype: type[np.floating[Any]]) -> None:
    values = np.concatenate([2.0 ** np.linspace(-100, 100, 10_001), [0.75, 1.0, np.sqrt(0.5)]]).astype(dtype)
    np.testing.assert_allclose(log2(values), np.log2(values.astype(np.float64)), rtol=1.3e-7, atol=1e-9)
    with np.errstate(invalid="ignore"):
        assert np.isnan(log2(np.array([np.nan], dtype)))[0]
    assert log2(np.array([np.inf], dtype))[0] == np.inf


def test_its_polynomials_are_those_of_the_c_library() -> None:
    source = (Path(__file__).parents[2] / "runtime" / "c" / "src" / "logarithm.c").read_text()
    found = re.search(r"int32_t c\[\] = \{([^}]*)\}", source)
    assert found is not None
    assert tuple(map(int, found[1].split(","))) == fx.LOG2_C
    floats = re.findall(r"(?:sum = |\+ )(\d\.\d{6,})f;", source)
    assert np.array(floats, np.float32).tolist() == np.array(fx.LOG2_SERIES[::-1], np.float32).tolist()


@pytest.mark.parametrize("engine", ["kernel", "reference"])
def test_sound_beyond_float32_is_refused(engine: str) -> None:
    config = with_log_mel(random_config(3), 20, 50, 64, 1e-25)
    stream = Model(random_floats(config, 0), engine).stream()
    with np.errstate(all="ignore"), pytest.raises(EngineError, match="left the range of float32"):
        stream.step([(-1.0) ** place * 2.0**60 for place in range(20)])
    assert stream.steps == 0


def test_layers_take_no_frames_and_many() -> None:
    samples = np.zeros((300, SPEECH.frame_length), np.float32)
    for layer in (LogMel(SPEECH, TABLES), IntegerLogMel(SPEECH, INTEGER_TABLES)):
        assert layer(samples[:0].astype(int)).shape == (0, 40)
        assert len({tuple(row) for row in layer(samples.astype(int)).tolist()}) == 1


def test_a_device_steps_without_numpy(tmp_path: Path) -> None:
    save_artifact(random_integers(with_log_mel(random_config(3)), 0), tmp_path / "model.safetensors")
    code = """
import sys
from edgegru_runtime import load
stream = load(sys.argv[1]).stream()
stream.step([0.5] * 20)
stream.state = stream.state
assert "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(tmp_path / "model.safetensors")], check=True)
