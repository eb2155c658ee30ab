"""Stepping some of many streams: the same bytes as each alone, the others untouched, and mistakes without a trace."""

from __future__ import annotations

import sys
import threading
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru_runtime import EngineError, InputError, Model, StateError, _kernel
from edgegru_runtime.kernel_engine import KernelEngine
from edgegru_runtime.streams import Streams
from tests.builders import from_arrays, mixed_artifact, quantized, random_artifact, random_integer_artifact

ARTIFACTS = {
    "static-w8a8": random_integer_artifact(0, 3, (17,)),
    "static-w8a16": random_integer_artifact(1, 3, (7, 4), scheme="static-w8a16", reset="before"),
    "dynamic-w8": quantized(mixed_artifact(hidden_size=5), "dynamic-w8"),
    "float32": mixed_artifact(hidden_size=17),
}
ENGINES = ("kernel", "reference")
MODELS = {f"{name}, {engine}": Model(artifact, engine) for name, artifact in ARTIFACTS.items() for engine in ENGINES}
COUNT = 11
INDICES: dict[str, Callable[[list[int]], object]] = {
    "list": list,
    "tuple": tuple,
    "array": lambda places: array("h", places),
    "NumPy": lambda places: np.array(places, np.int64),
    "integers of NumPy": lambda places: list(np.array(places, np.int32)),
}
SAMPLES: dict[str, Callable[[np.ndarray], object]] = {
    "float32": np.ascontiguousarray,
    "float64": lambda xs: xs.astype(np.float64),
    "lists": np.ndarray.tolist,
    "rows of many kinds": lambda xs: [(tuple, array, np.array)[i % 3](*kind(i, row)) for i, row in enumerate(xs)],
}


def kind(index: int, row: np.ndarray) -> tuple[object, ...]:
    return ("f", row.tolist()) if index % 3 == 1 else (row.tolist(),)


def flat(result: Any) -> bytes:
    """The outputs of one stream or of several, row by row."""
    return np.asarray(result, np.float32).tobytes()


def everything(streams: Streams) -> list[tuple[bytes, int]]:
    return [(stream.state, stream.clipped) for stream in streams]


@settings(max_examples=40)
@given(data=st.data())
@pytest.mark.parametrize("name", MODELS)
def test_any_of_them_compute_what_each_computes_alone(name: str, data: st.DataObject) -> None:
    streams, alone = MODELS[name].streams(COUNT), [MODELS[name].stream() for _ in range(COUNT)]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    for _ in range(data.draw(st.integers(1, 5))):
        places = data.draw(st.lists(st.integers(0, COUNT - 1), unique=True))
        xs = rng.normal(0, 3, (len(places), 3)).astype(np.float32)
        which = INDICES[data.draw(st.sampled_from(sorted(INDICES)))](places)
        given_xs = SAMPLES[data.draw(st.sampled_from(sorted(SAMPLES)))](xs) if places else xs
        out = np.zeros((len(places), 4), np.float32) if data.draw(st.booleans()) else None
        found = streams.step(given_xs, out, which=which)
        assert out is None or found is out
        assert np.shape(found) == (len(places), 4)
        expected = [alone[place].step(x) for place, x in zip(places, xs, strict=True)]
        assert flat(found) == flat(expected)
    assert [stream.state for stream in streams] == [stream.state for stream in alone]


@pytest.mark.parametrize("name", MODELS)
def test_what_is_wrong_moves_nothing(name: str) -> None:
    streams = MODELS[name].streams(3)
    rows = np.array([[1, 2, 3], [3, 2, 1]], np.float32)
    streams.step(rows[:1].repeat(3, axis=0))
    before, nan, inf = everything(streams), float("nan"), float("inf")
    out = np.full((2, 4), 7, np.float32)
    wrong: list[tuple[object, object, str]] = [
        (rows, [0, 3], "which has index 3, expected 0 ≤ index < 3, the number of streams"),
        (rows, (-1, 0), "which has index -1, expected 0"),
        (rows, [0, 1 << 80], "which has index 1208925819614629174706176, expected 0"),
        (rows, [2, 2], "which has index 2 twice, expected every stream once"),
        (rows, np.array([1, 1]), "which has index 1 twice"),
        (rows, [0, "1"], "which has a str, expected indices of streams"),
        (rows, "01", "which has a str"),
        (rows, [0, 1.0], "which has a float"),
        (rows, [True, False], "which has a bool"),
        (rows, np.array([True, False]), "which has a bool"),
        (rows, np.array([[0, 1]]), "which has a list"),
        (rows, {0, 1}, "which is a set, expected a list of indices"),
        (rows, 2, "which is a int"),
        (rows, np.array(2), "which is a ndarray"),
        (rows, [2], "2 samples arrived, expected one for each of 1 streams"),
        (rows, [], "2 samples arrived, expected one for each of 0 streams"),
        (rows.tolist(), [2, 1, 0], "2 samples arrived, expected one for each of 3 streams"),
        ([[1, 2, 3], [1, nan, 3]], [2, 0], "stream 0: channel c1 is nan"),
        (np.array([[1, 2, inf], [1, 2, 3]]), [2, 0], "stream 2: channel c2 is inf"),
        (np.array([[1, 2, 3], [-inf, 2, 3]], np.float32), [0, 2], "stream 2: channel c0 is -inf"),
        ([[1, 2, 3], [1, 2]], (1, 2), "stream 2: 2 values arrived, expected 3"),
        ([[1, 2, 3], [1, 2, 3], [nan, 2, 3]], [2, 0], "row 2: channel c0 is nan"),  # of no stream
        (rows.astype(np.int32), [2, 0], "^a buffer of format 'i' arrived"),
        (rows[:, :2].copy(), [2, 0], r"^a buffer of shape \(2, 2\) arrived"),
    ]
    for xs, which, message in wrong:
        for given_out in (None, out):
            with pytest.raises(InputError, match=message):
                streams.step(xs, given_out if np.shape(which) == (2,) else None, which=which)
            assert everything(streams) == before, message
    with pytest.raises(InputError, match=r"shape \(3, 4\), expected writable float32 \(2, 4\)"):
        streams.step(rows, np.zeros((3, 4), np.float32), which=[0, 1])
    assert everything(streams) == before
    assert (out == 7).all()
    streams.step(rows, out, which=[0, 2])  # and none of them is held
    assert [stream.steps for stream in streams] == [2, 1, 2]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_value_out_of_range_names_the_stream(engine: str) -> None:
    artifact = random_artifact(0, 1, (3,), candidate="linear", head="identity")
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["gru0.weight_ih"][:] = 1e30
    streams = Model(from_arrays(artifact.config, arrays), engine).streams(4)
    with np.errstate(all="ignore"), pytest.raises(EngineError, match="stream 1: .*left the range of float32"):
        streams.step(np.array([[0], [0], [1e15]], np.float32), which=[3, 0, 1])
    assert [stream.steps for stream in streams] == [1, 0, 0, 1]


@pytest.mark.parametrize("engine", ENGINES)
def test_saturated_values_are_counted_where_they_came_from(engine: str) -> None:
    streams = Model(random_artifact(), engine).streams(3)
    streams.step([[1e300, 2, -1e300], [1, 2, 3]], which=[2, 0])
    streams.step(np.array([[1e300, 2, 3]]), which=[1])
    streams.step(np.array([[3e38, 2, 3]], np.float32), which=(1,))
    assert [stream.clipped for stream in streams] == [0, 2, 2]


def test_a_stream_in_use_is_named_and_the_others_are_let_go() -> None:
    streams = Model(ARTIFACTS["static-w8a8"], "kernel").streams(3)
    messages = []

    class Stepping(Sequence[float]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> float:  # type: ignore[override]  # no slices
            with pytest.raises(StateError) as error:
                streams.step([[1, 2, 3]] * 2, which=[0, 2])
            messages.append(str(error.value))
            return [1.0, 2.0, 3.0][index]

    streams[2].step(Stepping())
    assert set(messages) == {"stream 2 is in use by another thread; expected one stream per thread"}
    streams.step([[1, 2, 3]] * 3)
    assert [stream.steps for stream in streams] == [1, 1, 2]


def test_only_those_that_step_are_looked_at() -> None:
    model = Model(ARTIFACTS["static-w8a8"], "kernel")
    engine, streams = model.engine, [model.stream(), model.stream()]
    assert isinstance(engine, KernelEngine)
    batch, xs = _kernel.Batch(engine.model), np.ones((2, 3), np.float32)
    (part,) = batch.step([streams[0], None, None, streams[1]], xs, None, [3, 0])
    assert flat(np.frombuffer(part, np.float32).reshape(2, 4)) == flat([model.stream().step([1, 1, 1])] * 2)
    for other in (None, Model(ARTIFACTS["static-w8a8"], "kernel").stream()):
        with pytest.raises(TypeError, match="streams of one model"):
            batch.step([streams[0], other], xs, None, [0, 1])
    batch.step(streams, xs, None, None)
    assert [stream.steps for stream in streams] == [2, 2]


def test_streams_are_held_only_while_they_step() -> None:
    streams = Model(ARTIFACTS["float32"], "kernel").streams(3)
    before = [sys.getrefcount(stream) for stream in streams]
    for which in ([0, 2], [1, 1], [0, 5], [2, True], None):
        try:
            streams.step(np.zeros((2, 3), np.float32), which=which)
        except InputError:
            continue
    assert [sys.getrefcount(stream) for stream in streams] == before


@pytest.mark.parametrize(("hidden_size", "lets"), [(4, False), (700, True)])
@pytest.mark.parametrize("way", ["streams", "some streams", "run"])
def test_only_long_steps_let_other_threads_work(way: str, hidden_size: int, lets: bool) -> None:
    streams, worked, go = Model(random_artifact(0, 3, (hidden_size,)), "kernel").streams(2), [], threading.Lock()
    xs, stream = np.zeros((2, 3), np.float32), streams[1]
    use = {
        "streams": lambda: streams.step(xs),
        "some streams": lambda: streams.step(xs[:1], which=[1]),
        "run": lambda: stream.run(xs),
    }[way]

    def work() -> None:
        go.acquire()
        worked.append(stream.steps)

    go.acquire()
    thread, interval = threading.Thread(target=work), sys.getswitchinterval()
    thread.start()
    sys.setswitchinterval(1000)  # seconds: nobody is interrupted, only what lets go of the interpreter gives way
    try:
        go.release()
        for _ in range(100 if lets else 20_000):
            use()
        assert bool(worked) is lets
    finally:
        sys.setswitchinterval(interval)
    thread.join()


@pytest.mark.parametrize("name", _kernel.kernels())
@pytest.mark.parametrize("scheme", ["float32", "static-w8a8"])
def test_no_instruction_set_takes_what_is_not_finite(scheme: str, name: str) -> None:
    for size in (1, 2, 5, 16, 37):
        artifact = (random_artifact if scheme == "float32" else random_integer_artifact)(0, size, (4,))
        stream = KernelEngine(artifact, name).stream()
        stream.run(np.ones((3, size), np.float32))
        before = stream.state
        for place in range(2 * size):
            for value in (np.nan, np.inf, -np.inf):
                rows = np.full((2, size), 3e38)
                rows.flat[place] = value
                row, channel = divmod(place, size)
                for xs in (rows, rows.astype(np.float32), rows.tolist()):
                    message = f"channel c{channel} is {value}"
                    with pytest.raises(InputError, match=message):
                        stream.step(xs[row])
                    with pytest.raises(InputError, match=f"row {row}: {message}"):
                        stream.run(xs)
        assert (stream.state, stream.steps) == (before, 3)
