"""The C kernel: equal to the reference in every bit of integer models and closely in float ones, in all its shapes."""

from __future__ import annotations

import gc
import struct
import subprocess
import sys
import threading
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from edgegru_export.saving import save_artifact
from edgegru_export.stimulus import gaussian_input, jumping_input
from edgegru_runtime import EngineError, InputError, Model, StateError, Stream, _kernel
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.engine import Engine, build_engine
from edgegru_runtime.errors import ArtifactError, QuantizationError
from edgegru_runtime.kernel_engine import KernelEngine
from edgegru_runtime.model_config import STATIC_SCHEMES
from edgegru_runtime.plan import make_plan
from tests.builders import (
    drawn_config,
    drawn_float_config,
    drawn_keep,
    from_arrays,
    mixed_artifact,
    quantized,
    random_artifact,
    random_config,
    random_floats,
    random_integer_artifact,
    random_integers,
    with_full_scale,
    with_log_mel,
)

STEPS = 40
INSTRUCTIONS = _kernel.kernels()
SAVED_NUMBERS = slice(64, -4)


def trajectory(engine: Engine, samples: np.ndarray) -> tuple[np.ndarray, list[bytes], int]:
    """All outputs side by side (T, ΣO) float32, the states after the last step, and the inputs saturated."""
    state = engine.new_state()
    outputs = [np.concatenate(engine.step(state, array("f", sample.tobytes()))) for sample in samples]
    return np.array(outputs, np.float32), engine.state_arrays(state), engine.clipped(state)


def drawn_integers(seed: int) -> Artifact | None:
    """A model of any kind, sizes and scales; None where those leave the arithmetic's range."""
    rng = np.random.default_rng(seed)
    config, scheme = drawn_config(rng), str(rng.choice(STATIC_SCHEMES))
    keep, octaves = drawn_keep(rng, config, scheme), int(rng.choice((0, 4, 8)))
    try:
        if seed % 3 == 0:
            return quantized(random_floats(config, seed), scheme, keep)
        artifact = random_integers(config, seed, scheme, keep, octaves)
        make_plan(artifact)
    except (ArtifactError, QuantizationError):
        return None
    return artifact


def inputs(artifact: Artifact) -> np.ndarray:
    return np.concatenate([gaussian_input(artifact, STEPS // 2), jumping_input(artifact, STEPS - STEPS // 2)])


@pytest.mark.parametrize("seed", range(40))
def test_integer_models_are_equal_in_every_bit(seed: int) -> None:
    artifact = drawn_integers(seed)
    if artifact is None:
        return
    samples = inputs(artifact)
    expected, states, clipped = trajectory(build_engine(artifact, "reference"), samples)
    for name in INSTRUCTIONS:
        found = trajectory(KernelEngine(artifact, name), samples)
        assert found[0].tobytes() == expected.tobytes(), name
        assert found[1:] == (states, clipped), name


@pytest.mark.parametrize("full_scale", [1.0, 0.05, 1e-3])
@pytest.mark.parametrize("hidden_size", [5, 16, 33])
@pytest.mark.parametrize("scheme", STATIC_SCHEMES)
@pytest.mark.parametrize("candidate", ["relu", "linear"])
@pytest.mark.parametrize("reset", ["after", "before"])
def test_arguments_that_nothing_bounds_are_equal_however_large(
    reset: str, candidate: str, scheme: str, hidden_size: int, full_scale: float
) -> None:
    """Of a small full scale some, or nearly all, leave 32 bits, and of one sample not those of all units."""
    artifact = random_integer_artifact(5, 6, (hidden_size,), scheme=scheme, reset=reset, candidate=candidate)
    artifact = with_full_scale(artifact, full_scale)
    samples = inputs(artifact) * np.geomspace(0.01, 10, STEPS, dtype=np.float32)[:, None]
    engines = [build_engine(artifact, "reference"), *(KernelEngine(artifact, name) for name in INSTRUCTIONS)]
    states = [engine.new_state() for engine in engines]
    for sample in samples:
        for engine, state in zip(engines, states, strict=True):
            engine.step(state, array("f", sample.tobytes()))
        expected, *found = [engine.state_arrays(state) for engine, state in zip(engines, states, strict=True)]
        assert found == [expected] * len(INSTRUCTIONS)


@pytest.mark.parametrize("seed", range(24))
def test_float_models_are_close(seed: int) -> None:
    rng = np.random.default_rng(seed)
    artifact = random_floats(drawn_float_config(rng), seed)
    if seed % 3 == 0:
        artifact = quantized(artifact, "dynamic-w8")
    samples = gaussian_input(artifact, STEPS)
    expected, states, _ = trajectory(build_engine(artifact, "reference"), samples)
    h = np.frombuffer(b"".join(states), "<f4")
    allowed = 1e-6 * max(1.0, float(np.abs(expected).max()), float(np.abs(h).max(initial=0)))
    for name in INSTRUCTIONS:
        found, found_states, _ = trajectory(KernelEngine(artifact, name), samples)
        np.testing.assert_allclose(found, expected, rtol=0, atol=allowed, err_msg=name)
        np.testing.assert_allclose(np.frombuffer(b"".join(found_states), "<f4"), h, rtol=0, atol=allowed)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("scheme", ["float32", "dynamic-w8", *STATIC_SCHEMES])
def test_streams_that_step_together_compute_what_each_computes_alone(scheme: str, count: int) -> None:
    artifact = mixed_artifact(hidden_size=17)
    if scheme != "float32":
        artifact = quantized(artifact, scheme)
    model = Model(artifact, "kernel")
    streams, alone = model.streams(count), [model.stream() for _ in range(count)]
    samples = np.random.default_rng(count).normal(0, 3, (12, count, 3)).astype(np.float32)
    for sample in samples:
        found = np.asarray(streams.step(sample))
        expected = np.array([stream.step(row) for stream, row in zip(alone, sample, strict=True)], np.float32)
        assert found.tobytes() == expected.tobytes()
    assert [stream.state for stream in streams] == [stream.state for stream in alone]


@pytest.mark.parametrize("engine", ["kernel", "reference"])
def test_streams_come_and_go_without_touching_others(engine: str) -> None:
    model = Model(random_integer_artifact(0, 3, (5,)), engine)
    streams, alone = model.streams(3), model.stream()
    sample = np.array([0.5, -2.0, 3.0], np.float32)
    streams.step(np.tile(sample, (3, 1)))
    alone.step(sample)
    before = streams[2].state
    removed = streams.remove(0)
    added = streams.add()
    assert (len(streams), streams[1].state, streams[2] is added) == (3, before, True)
    assert added.steps == 0
    streams.step([sample.tolist()] * 3)
    alone.step(sample)
    assert streams[0].state == streams[1].state == alone.state
    assert removed.steps == 1
    streams[0].reset()
    assert (streams[0].steps, streams[1].steps) == (0, 2)
    others = [streams[0].state, streams[1].state]
    streams[2].state = before
    assert [streams[0].state, streams[1].state, streams[2].state] == [*others, before]
    out = np.zeros((3, 4), np.float32)
    assert streams.step(np.tile(sample, (3, 1)), out) is out
    assert out[1].tolist() == alone.step(sample)
    for bad, message in (
        (np.zeros((2, 3), np.float32), "2 samples arrived, expected one for each of 3 streams"),
        ([[1, 2, 3], [1, 2], [1, 2, 3]], "row 1: 2 values arrived"),
        ([[1, 2, 3], [1, 2, 3], [1, float("nan"), 3]], "row 2: channel c1 is nan"),
    ):
        states = [stream.state for stream in streams]
        with pytest.raises(InputError, match=message):
            streams.step(bad)
        assert [stream.state for stream in streams] == states
    for wrong in (np.zeros((3, 3), np.float32), np.zeros((3, 4)), np.zeros((3, 8), np.float32)[:, ::2]):
        with pytest.raises(InputError, match="expected writable float32"):
            streams.step(np.tile(sample, (3, 1)), wrong)
    assert model.streams(0).step(np.zeros((0, 3), np.float32)).shape == (0, 4)


def test_states_move_between_the_engines() -> None:
    for artifact in (random_integer_artifact(2, 3, (5, 17)), quantized(mixed_artifact()), random_artifact(3, 3, (9,))):
        kernel, reference = Model(artifact, "kernel").stream(), Model(artifact, "reference").stream()
        samples = np.random.default_rng(0).normal(0, 3, (20, 3)).astype(np.float32)
        kernel.run(samples[:10])
        reference.state = kernel.state
        assert reference.state == kernel.state
        again = Model(artifact, "kernel").stream()
        again.run(samples[:3])
        again.state = reference.state
        expected = np.asarray(kernel.run(samples[10:]))
        assert np.asarray(again.run(samples[10:])).tobytes() == expected.tobytes()
        np.testing.assert_allclose(reference.run(samples[10:]), expected, rtol=0, atol=1e-6)


def test_a_damaged_state_changes_nothing() -> None:
    stream = Model(random_integer_artifact(), "kernel").stream()
    stream.step([1, 2, 3])
    saved = stream.state
    for place in range(0, len(saved), 7):
        damaged = bytearray(saved)
        damaged[place] ^= 0x55
        with pytest.raises(StateError):
            stream.state = bytes(damaged)
        with pytest.raises(StateError):
            stream.load(bytes(damaged))
        assert stream.state == saved


def test_values_beyond_float32_are_refused_and_the_stream_stays() -> None:
    artifact = random_artifact(0, 1, (3,), candidate="linear", head="identity")
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["gru0.weight_ih"][:] = 1e30
    for engine in ("kernel", "reference"):
        model = Model(from_arrays(artifact.config, arrays), engine)
        stream = model.stream()
        with np.errstate(all="ignore"), pytest.raises(EngineError, match="left the range of float32"):
            stream.step([1e15])
        assert (stream.steps, stream.state) == (0, model.stream().state)
    streams = Model(from_arrays(artifact.config, arrays), "kernel").streams(2)
    with pytest.raises(EngineError, match="stream 1: a value left the range"):
        streams.step([[0.0], [1e15]])
    assert [stream.steps for stream in streams] == [1, 0]


def test_plans_and_instruction_sets_that_do_not_fit_are_refused() -> None:
    plan = make_plan(random_integer_artifact())
    forms = struct.pack("<6I", 6, 1, 2, 3, 0, 2)  # of the operation gru up to its candidate
    assert plan.count(forms) == 1
    other_forms = [plan.replace(forms, forms[:-4] + struct.pack("<I", form)) for form in (6, 7, 14, 24, 0xFFFFFFFA)]
    for broken in (b"", plan[:-1], plan + b"\0", plan.replace(b"EGRUPLAN", b"EGRUPLAX"), *other_forms):
        with pytest.raises(EngineError, match="refuses the model"):
            _kernel.Model(broken)
    with pytest.raises(EngineError, match="no such instruction set"):
        _kernel.Model(plan, "mmx")
    assert _kernel.Model(plan).kernel == INSTRUCTIONS[0]


def test_a_long_run_lets_other_threads_work() -> None:
    model = Model(random_artifact(0, 8, (64,)), "kernel")
    samples = np.zeros((20_000, 8), np.float32)
    stream, ticks, done = model.stream(), 0, threading.Event()

    def run() -> None:
        stream.run(samples)
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    while not done.is_set():
        ticks += 1
        with suppress(StateError):  # it is in use
            stream.step(samples[0])
    thread.join()
    assert ticks > 1
    assert stream.steps >= len(samples)


@pytest.mark.parametrize(("hidden_size", "lets"), [(4, False), (700, True)])
def test_a_long_step_lets_other_threads_work(hidden_size: int, lets: bool) -> None:
    stream, worked, go = Model(random_artifact(0, 3, (hidden_size,)), "kernel").stream(), [], threading.Lock()

    def work() -> None:
        go.acquire()
        worked.append(stream.steps)

    go.acquire()
    thread, interval = threading.Thread(target=work), sys.getswitchinterval()
    thread.start()
    sys.setswitchinterval(1000)  # seconds: nobody is interrupted, only what lets go of the interpreter gives way
    try:
        go.release()
        for _ in range(100):
            stream.step([1, 2, 3])
        assert bool(worked) is lets
    finally:
        sys.setswitchinterval(interval)
    thread.join()


@pytest.mark.parametrize(("fft_size", "rows", "lets"), [(8, 2, False), (16384, 2, True)])
def test_a_long_spectrum_lets_other_threads_work(fft_size: int, rows: int, lets: bool) -> None:
    model = KernelEngine(random_floats(with_log_mel(random_config(1, (3,)), 4, 5, fft_size), 0))
    stream, worked, go = model.stream(), [], threading.Lock()
    samples = np.ones((rows, 4), np.float32)

    def work() -> None:
        go.acquire()
        worked.append(stream.steps)

    go.acquire()
    thread, interval = threading.Thread(target=work), sys.getswitchinterval()
    thread.start()
    sys.setswitchinterval(1000)
    try:
        go.release()
        for _ in range(50):
            stream.run(samples)
        assert bool(worked) is lets
    finally:
        sys.setswitchinterval(interval)
    thread.join()


def test_numpy_is_not_imported(tmp_path: Path) -> None:
    save_artifact(quantized(random_artifact()), tmp_path / "model.safetensors")
    code = """
import sys
from array import array
from contextlib import suppress
from edgegru_runtime import load
stream = load(sys.argv[1]).stream()
stream.step([1, 2, 3])
stream.step(array("h", [1, 2, 3]), array("f", bytes(16)))
stream.run(memoryview(array("d", range(6))).cast("B").cast("d", (2, 3)))
stream.state = stream.state
assert not {"numpy", "hashlib"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(tmp_path / "model.safetensors")], check=True)


def test_nothing_is_left_behind() -> None:
    model = Model(quantized(mixed_artifact()), "kernel")
    stream, out = model.stream(), array("f", bytes(16))
    sample = array("f", [1, 2, 3])

    def use() -> None:
        for _ in range(2000):
            stream.step(sample, out)
            stream.step([1.0, 2, 3])
            stream.step(np.array([1.0, 2, 3]))
            with pytest.raises(InputError):
                stream.step([1, 2])
        stream.state = stream.state
        model.streams(3).step(np.zeros((3, 3)))

    use()
    gc.collect()
    before = sys.getallocatedblocks()
    use()
    gc.collect()
    assert sys.getallocatedblocks() <= before + 50


@pytest.mark.parametrize("engine", ["kernel", "reference"])
def test_saturated_values_are_counted_where_they_came_from(engine: str) -> None:
    streams = Model(random_artifact(), engine).streams(2)
    streams.step([[1, 2, 3], [1e300, 2, -1e300]])
    streams.step(np.array([[3e38, 2, 3], [1, 2, 3]], np.float32))
    assert [stream.clipped for stream in streams] == [1, 2]


def test_a_buffer_for_the_result_keeps_its_size_while_a_step_runs() -> None:
    model = Model(random_integer_artifact(), "kernel")
    stream, out = model.stream(), array("f", bytes(16))

    class Shrinking(Sequence[float]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> float:  # type: ignore[override]  # no slices
            del out[1:]
            return 0.0

    with pytest.raises(BufferError):
        stream.step(Shrinking(), out)
    assert (len(out), stream.steps) == (4, 0)
    assert stream.step([1, 2, 3], out) is out
    del out[1:]  # and is let go


def test_a_sample_cannot_step_the_stream_that_reads_it() -> None:
    model = Model(random_integer_artifact(), "kernel")
    stream = model.stream()

    class Stepping(Sequence[float]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> float:  # type: ignore[override]  # no slices
            stream.step([9, 9, 9])
            return 0.0

    with pytest.raises(StateError, match="in use by another thread"):
        stream.step(Stepping())
    assert stream.state == model.stream().state


def test_one_batch_takes_one_thread_at_a_time() -> None:
    streams = Model(random_integer_artifact(0, 8, (512,)), "kernel").streams(200)
    done = threading.Event()

    def grow() -> None:
        for _ in range(40):
            for _ in range(10):
                streams.add()
            with suppress(StateError, InputError):
                streams.step(np.zeros((len(streams), 8), np.float32))
        done.set()

    thread = threading.Thread(target=grow)
    thread.start()
    while not done.is_set():
        with suppress(StateError, InputError):  # in use, or one more meanwhile
            streams.step(np.zeros((len(streams), 8), np.float32))
    thread.join()
    streams.step(np.zeros((600, 8), np.float32))


@pytest.mark.parametrize("engine", ["kernel", "reference"])
def test_streams_that_cannot_give_their_results_do_not_move(engine: str) -> None:
    streams = Model(random_integer_artifact(), engine).streams(2)
    for out in (array("f", bytes(32)), np.zeros((2, 4)), np.zeros((2, 8), np.float32)[:, ::2], 3, None, "out"):
        if out is not None:
            with pytest.raises(InputError, match="expected .*writable float32"):
                streams.step([[1, 2, 3]] * 2, out)
    assert [stream.steps for stream in streams] == [0, 0]


@pytest.mark.parametrize("engine", ["kernel", "reference"])
def test_a_stream_out_of_range_does_not_stop_the_others(engine: str) -> None:
    artifact = random_artifact(0, 1, (3,), candidate="linear", head="identity")
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["gru0.weight_ih"][:] = 1e30
    streams = Model(from_arrays(artifact.config, arrays), engine).streams(3)
    with pytest.raises(EngineError, match="stream 1: .*a value left the range of float32; the step was not taken"):
        streams.step([[0.0], [1e15], [0.0]])
    assert [stream.steps for stream in streams] == [1, 0, 1]


@pytest.mark.parametrize("engine", ["kernel", "reference"])
def test_a_stream_is_a_stream_and_takes_names(engine: str) -> None:
    stream, out = Model(random_integer_artifact(), engine).stream(), array("f", bytes(16))
    assert isinstance(stream, Stream)
    first = stream.step(x=[1, 2, 3])
    stream.reset()
    assert stream.step(out=out, x=[1, 2, 3]) is out
    assert out.tolist() == first
    for wrong in (stream.step, lambda: stream.step([1, 2, 3], y=1), lambda: stream.step([1, 2, 3], None, 1)):
        with pytest.raises(TypeError):
            wrong()
