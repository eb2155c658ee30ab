"""Streams: what they accept, what they refuse without a trace, and that any chunking gives the same bytes."""

from __future__ import annotations

import subprocess
import sys
import threading
from array import array
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgegru_runtime
from edgegru_runtime import EngineError, InputError, Model, StateError
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.model_config import HeadNode, OutputConfig
from edgegru_runtime.samples import INPUT_LIMIT
from tests.builders import changed, from_arrays, random_artifact, random_integer_artifact

ARTIFACTS = {
    "float": random_artifact(0, 3, (5,)),
    "float, reset before": random_artifact(1, 3, (7, 4), reset="before", bias=False),
    "integer": random_integer_artifact(0, 3, (5,)),
    "integer, reset before": random_integer_artifact(1, 3, (7, 4), reset="before"),
}
ENGINES = ("kernel", "reference")
MODELS = {f"{name}, {engine}": Model(artifact, engine) for name, artifact in ARTIFACTS.items() for engine in ENGINES}
SAMPLE = [0.5, -2.0, 3.0]


def two_outputs() -> Artifact:
    artifact = random_artifact(0, 3, (5,))
    config = changed(
        artifact.config,
        nodes=(*artifact.config.nodes, HeadNode("values", ("dense",), 4, "identity")),
        outputs=(*artifact.config.outputs, OutputConfig("values", "step_value", ("a", "b", "c", "d"))),
    )
    return from_arrays(config, {name: artifact.array(name) for name in artifact.tensors})


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]


@settings(max_examples=25)
@given(data=st.data())
@pytest.mark.parametrize("name", MODELS)
def test_any_chunking_gives_the_same_bytes(name: str, data: st.DataObject) -> None:
    x = np.random.default_rng(3).normal(0, 4, (24, 3)).astype(np.float32)
    whole, parts = MODELS[name].stream(), MODELS[name].stream()
    expected = np.asarray(whole.run(x)).tobytes()
    cuts = sorted(data.draw(st.lists(st.integers(0, 24), max_size=6)))
    found = b""
    for start, end in zip([0, *cuts], [*cuts, 24], strict=True):
        way = data.draw(st.sampled_from(["buffer", "rows", "steps", "out"]))
        if way == "buffer":
            found += parts.run(x[start:end]).tobytes()
        elif way == "rows":
            found += np.array(parts.run(x[start:end].tolist()), np.float32).tobytes()
        elif way == "steps":
            found += b"".join(array("f", parts.step(sample)).tobytes() for sample in x[start:end])
        else:
            found += b"".join(parts.step(sample, array("f", bytes(16))).tobytes() for sample in x[start:end])
        if data.draw(st.booleans()):
            saved, parts = parts.state, MODELS[name].stream()
            parts.state = saved
    assert found == expected
    assert parts.state == whole.state


def test_all_containers_give_the_same(model: Model) -> None:
    strided = np.zeros((3, 2), np.float32)
    strided[:, 0] = SAMPLE
    short = [0, -2, 3]
    for values, containers in (
        (SAMPLE, [tuple(SAMPLE), deque(SAMPLE), array("f", SAMPLE), array("d", SAMPLE)]),
        (SAMPLE, [memoryview(array("f", SAMPLE))]),
        (SAMPLE, [np.array(SAMPLE), np.array(SAMPLE, np.float32), strided[:, 0], [np.float32(v) for v in SAMPLE]]),
        (short, [array("h", short), np.array(short, np.int16), short]),
    ):
        expected = model.stream().step(values)
        for x in containers:
            assert model.stream().step(x) == expected, type(x)
    rows = [SAMPLE, SAMPLE]
    expected_rows = model.stream().run(rows)
    assert isinstance(expected_rows, list)
    fortran = np.asfortranarray(np.array(rows))
    for xs in (np.array(rows, np.float32), np.array(rows), fortran, memoryview(np.array(rows))):
        assert model.stream().run(xs).tolist() == expected_rows
    assert model.stream().run([array("f", SAMPLE), np.array(SAMPLE)]) == expected_rows


def test_run_gives_what_numpy_wraps_without_copying(model: Model) -> None:
    view = model.stream().run(np.zeros((6, 3), np.int16))
    assert (view.format, view.shape, view.c_contiguous) == ("f", (6, 4), True)
    wrapped = np.asarray(view)
    assert np.shares_memory(wrapped, np.asarray(view))
    assert model.stream().run(np.zeros((0, 3))).shape == (0, 4)
    assert model.stream().run([]) == []


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([1, 2], "2 values arrived, expected 3: c0, c1, c2"),
        ([1, 2, 3, 4], "4 values arrived, expected 3"),
        ([1, float("nan"), 3], "channel c1 is nan, expected a finite number"),
        ([1, 2, float("-inf")], "channel c2 is -inf"),
        (np.array([1, np.inf, 3], np.float32), "channel c1 is inf"),
        (np.array([[1, 2, 3]], np.float32), r"shape \(1, 3\) arrived, expected \(3,\)"),
        (np.float32(1), r"shape \(\) arrived"),
        (np.zeros(4), r"shape \(4,\) arrived"),
        (np.zeros(3, np.int64), "format 'l' arrived, expected float32, float64 or int16"),
        (np.zeros(3, ">f4"), "format '>f' arrived"),
        (b"123", "format 'B' arrived"),
        ("123", "a str arrived"),
        ({1: 1, 2: 2, 3: 3}, "a dict arrived"),
        (None, "a NoneType arrived"),
        (3.0, "a float arrived"),
        (iter(SAMPLE), "a list_iterator arrived"),
        ([1, "2", 3], "channel c1 is a str, expected a number"),
        ([1, None, 3], "channel c1 is a NoneType"),
        ([1, 2j, 3], "channel c1 is a complex"),
        ([[1], [2], [3]], "channel c0 is a list"),
    ],
)
def test_what_does_not_fit_is_refused_without_a_trace(model: Model, x: object, message: str) -> None:
    stream = model.stream()
    stream.step(SAMPLE)
    before = stream.state
    with pytest.raises(InputError, match=message):
        stream.step(x)
    assert stream.state == before
    with pytest.raises(InputError, match=f"row 1: .*{message}"):
        stream.run([SAMPLE, x])
    assert stream.state == before
    assert stream.steps == 1


@pytest.mark.parametrize(
    ("xs", "message"),
    [
        (np.zeros(3), r"shape \(3,\) arrived, expected \(T, 3\)"),
        (np.zeros((2, 4)), r"shape \(2, 4\) arrived, expected \(T, 3\)"),
        (np.array([SAMPLE, [1, np.nan, 1]]), "row 1: channel c1 is nan"),
        (np.zeros((2, 3), np.int32), "format 'i' arrived"),
        ("abc", "a str arrived"),
        (3, "a int arrived"),
    ],
)
def test_runs_that_do_not_fit_take_no_step(model: Model, xs: object, message: str) -> None:
    stream = model.stream()
    with pytest.raises(InputError, match=message):
        stream.run(xs)
    assert stream.state == model.stream().state


@pytest.mark.parametrize("engine", ENGINES)
def test_values_out_of_range_saturate_and_are_counted(engine: str) -> None:
    model = Model(ARTIFACTS["float"], engine)
    limited = model.stream().step([INPUT_LIMIT, 0, -INPUT_LIMIT])
    arrays = np.array([1e300, 0, -1e300]), np.array([3e38, 0, -3e38], np.float32)
    for x in ([1e300, 0, -1e300], (10**400, 0, -(10**400)), *arrays, [2e18, 0, -2e18]):
        stream = model.stream()
        assert stream.step(x) == limited
        assert stream.clipped == 2
        stream.run([x, SAMPLE, x])
        assert stream.clipped == 6
        assert all(np.isfinite(stream.step(SAMPLE)))
        stream.reset()
        assert stream.clipped == 0
    stream = model.stream()
    stream.step([INPUT_LIMIT, 0, -INPUT_LIMIT])
    assert stream.clipped == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_integer_engine_saturates_is_counted_too(engine: str) -> None:
    stream = Model(ARTIFACTS["integer"], engine).stream()
    stream.step([1e6, 0, -1e6])
    assert stream.clipped == 2
    stream.step([1e300, 0, 0])
    assert stream.clipped == 4  # once at the door, once at int8


def test_reset_is_a_new_stream(model: Model) -> None:
    stream = model.stream()
    first = stream.step(SAMPLE)
    assert stream.step(SAMPLE) != first
    stream.reset()
    assert stream.steps == 0
    assert stream.state == model.stream().state
    assert stream.step(SAMPLE) == first


def test_streams_of_a_model_are_independent(model: Model) -> None:
    one, other = model.stream(), model.stream()
    first = one.step(SAMPLE)
    one.step(SAMPLE)
    assert other.step(SAMPLE) == first


def test_out_is_filled_and_returned(model: Model) -> None:
    expected = model.stream().step(SAMPLE)
    strided = np.zeros((4, 2), np.float32)
    for out in (array("f", bytes(16)), np.zeros(4, np.float32), memoryview(array("f", bytes(16))), strided[:, 1]):
        assert model.stream().step(SAMPLE, out) is out
        assert list(out) == expected
    stream = model.stream()
    for bad, message in (
        (array("d", bytes(32)), "format 'd'"),
        (np.zeros(3, np.float32), r"shape \(3,\), expected writable float32 \(4,\)"),
        (memoryview(array("f", bytes(16))).toreadonly(), "read-only"),
        ([0.0] * 4, "out is a list, expected a writable float32 buffer"),
    ):
        with pytest.raises(InputError, match=message):
            stream.step(SAMPLE, bad)
    assert stream.steps == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_several_outputs_come_in_declared_order(engine: str) -> None:
    model = Model(two_outputs(), engine)
    probabilities, values = model.stream().step(SAMPLE)
    assert probabilities == Model(ARTIFACTS["float"], engine).stream().step(SAMPLE)
    np.testing.assert_allclose(np.exp(values) / np.exp(values).sum(), probabilities, rtol=1e-6)
    out = array("f", bytes(16)), array("f", bytes(16))
    assert model.stream().step(SAMPLE, out) is out
    assert [list(buffer) for buffer in out] == [probabilities, values]
    views = model.stream().run(np.array([SAMPLE, SAMPLE]))
    assert [view.shape for view in views] == [(2, 4), (2, 4)]
    assert [view.tolist()[0] for view in views] == [probabilities, values]
    assert model.stream().run([SAMPLE]) == [(probabilities, values)]
    assert [view.shape for view in model.stream().run(np.zeros((0, 3)))] == [(0, 4), (0, 4)]
    with pytest.raises(InputError, match="out has 1 buffers, expected 2"):
        model.stream().step(SAMPLE, out[:1])
    with pytest.raises(InputError, match="out is a int, expected 2 buffers"):
        model.stream().step(SAMPLE, 3)


def test_two_threads_in_one_stream_are_an_error() -> None:
    inside, leave = threading.Event(), threading.Event()

    class Slow:
        name = "slow"

        def new_state(self) -> None:
            return None

        def step(self, state: None, x: array[float]) -> list[list[float]]:
            inside.set()
            assert leave.wait(10)
            return [[0.0]]

    slow = Model(ARTIFACTS["float"], "reference")
    slow.engine = Slow()
    stream = slow.stream()
    thread = threading.Thread(target=stream.step, args=(SAMPLE,))
    thread.start()
    assert inside.wait(10)
    uses = (lambda: stream.step(SAMPLE), lambda: stream.run([SAMPLE]), stream.reset, lambda: stream.state)
    for use in uses:
        with pytest.raises(StateError, match="in use by another thread"):
            use()
    leave.set()
    thread.join()
    assert stream.steps == 1
    stream.reset()


def test_streams_in_threads_of_their_own_do_not_disturb_each_other(model: Model) -> None:
    x = np.random.default_rng(0).normal(size=(4, 60, 3)).astype(np.float32)
    expected = [model.stream().run(part).tobytes() for part in x]
    found: dict[int, bytes] = {}

    def work(index: int) -> None:
        found[index] = model.stream().run(x[index]).tobytes()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[index] for index in range(4)] == expected


WITHOUT_ENGINES = """
import sys
sys.modules["numpy"] = sys.modules["edgegru_runtime._kernel"] = None  # importing them fails
from edgegru_runtime import EngineError, load
from edgegru_runtime.command_line import main
try:
    load(sys.argv[1])
except EngineError as error:
    print(error)
assert main(["info", sys.argv[1]]) == 0
"""


def test_without_kernel_and_numpy_loading_names_both_ways_out(tmp_path) -> None:
    from edgegru_export.saving import save_artifact

    for artifact in (ARTIFACTS["float"], ARTIFACTS["integer"]):
        save_artifact(artifact, tmp_path / "model.safetensors")
        command = [sys.executable, "-c", WITHOUT_ENGINES, str(tmp_path / "model.safetensors")]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert printed[0].startswith("engine reference cannot start")
        assert 'pip install "edgegru-runtime[reference]"' in printed[0]
        assert "from a wheel or with a C compiler" in printed[0]
        assert printed[1].endswith("runs on reference")  # what info says


def test_an_engine_that_cannot_run_it_is_refused() -> None:
    with pytest.raises(EngineError, match="engine litert cannot run this model, expected kernel or reference"):
        Model(random_artifact(), "litert")
    with pytest.raises(EngineError, match="engine tpu cannot run this model, expected one of kernel, reference"):
        Model(random_artifact(), "tpu")
    assert Model(random_artifact(), "reference").engine_name == "reference"


def test_importing_and_loading_stay_light() -> None:
    code = "import sys, edgegru_runtime; print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "hashlib", "argparse", "csv", "subprocess", "tempfile", "onnxruntime", "random"}
    assert not set(finished.stdout.split()) & heavy


STEP_ON_THE_KERNEL = """
import sys
sys.path.insert(0, sys.argv[1])
from edgegru_runtime import load
load(sys.argv[2], "kernel").stream().step([1, 2, 3])
print(*sys.modules)
"""


def test_a_first_step_imports_little(tmp_path) -> None:
    from edgegru_export.saving import save_artifact

    save_artifact(random_integer_artifact(0, 3, (5,)), tmp_path / "model.safetensors")
    folder = str(Path(edgegru_runtime.__file__).parent.parent)
    # Without site, which imports what the packages installed here ask for.
    command = [sys.executable, "-S", "-c", STEP_ON_THE_KERNEL, folder, str(tmp_path / "model.safetensors")]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    # Each of them takes longer than the model, or brings what does.
    heavy = {"dataclasses", "typing", "json", "re", "enum", "inspect", "contextlib", "threading", "mmap", "zlib"}
    assert not set(finished.stdout.split()) & heavy
