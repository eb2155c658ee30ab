"""Engines for exported files: the same interface, the same results, and states that move between them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgegru_runtime import ArtifactError, EngineError, InputError, Model, StateError, load
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.exported import read_exported
from tests.builders import random_artifact, random_integer_artifact
from tests.export.tflite_file import resealed
from tests.runtime.exported_files import FORMS, INTEGER_FORMS, write_export

FLOATS = (random_artifact(0, 3, (5, 4)), random_artifact(1, 13, (33,), reset="before", bias=False, head="identity"))
INTEGERS = (random_integer_artifact(0, 3, (5, 4)), random_integer_artifact(1, 6, (17,), reset="before"))
TFLITE_STATE_STEP = 2**-15


def samples(artifact: Artifact, steps: int = 120) -> np.ndarray:
    rng = np.random.default_rng(2)
    mean, std = artifact.array("standardise.mean"), artifact.array("standardise.std")
    return (rng.normal(size=(steps, len(mean))) * std + mean).astype(np.float32)


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("artifact", FLOATS, ids=["after", "before"])
def test_float_exports_equal_the_reference(artifact: Artifact, form: str, tmp_path: Path) -> None:
    x = samples(artifact)
    reference, exported = Model(artifact).stream(), load(write_export(artifact, form, tmp_path)).stream()
    expected = np.asarray(reference.run(x))
    np.testing.assert_allclose(exported.run(x), expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))
    assert exported.steps == len(x)


@pytest.mark.parametrize("artifact", INTEGERS, ids=["after", "before"])
def test_integer_onnx_equals_the_reference_in_every_bit(artifact: Artifact, tmp_path: Path) -> None:
    x = samples(artifact)
    reference, exported = Model(artifact).stream(), load(write_export(artifact, "onnx", tmp_path)).stream()
    assert exported.run(x).tobytes() == reference.run(x).tobytes()
    assert exported.state[64:-4] == reference.state[64:-4]


@pytest.mark.parametrize("artifact", [FLOATS[0], INTEGERS[0]], ids=["float32", "static-w8a8"])
def test_any_chunking_and_reset_give_the_same_bytes(artifact: Artifact, form: str, tmp_path: Path) -> None:
    if artifact is INTEGERS[0] and form not in INTEGER_FORMS:
        form = "onnx"
    x = samples(artifact, 60)
    stream = load(write_export(artifact, form, tmp_path)).stream()
    whole = stream.run(x).tobytes()
    stream.reset()
    parts = b"".join(stream.run(x[start:end]).tobytes() for start, end in ((0, 1), (1, 20), (20, 20), (20, 60)))
    assert parts == whole
    stream.reset()
    assert np.array([stream.step(sample) for sample in x], np.float32).tobytes() == whole


def test_streams_of_one_file_are_independent(form: str, tmp_path: Path) -> None:
    model = load(write_export(FLOATS[0], form, tmp_path))
    x = samples(FLOATS[0], 30)
    expected = [model.stream().run(x[start:]).tobytes() for start in range(4)]
    streams = [model.stream() for _ in range(4)]
    found = [b""] * 4
    for index in range(30):
        for start, stream in enumerate(streams):
            if start + index < 30:
                found[start] += stream.run(x[start + index : start + index + 1]).tobytes()
    assert found == expected

    def work(start: int) -> None:
        found[start] = model.stream().run(x[start:]).tobytes()

    found = [b""] * 4
    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


@pytest.mark.parametrize("artifact", [FLOATS[0], INTEGERS[0]], ids=["float32", "static-w8a8"])
def test_a_state_moves_between_engines(artifact: Artifact, tmp_path: Path) -> None:
    x = samples(artifact, 60)
    reference = Model(artifact).stream()
    expected = np.asarray(reference.run(x))[40:]
    tolerance = 1e-5 if artifact is FLOATS[0] else 0.05
    models = [Model(artifact), *(load(write_export(artifact, form, tmp_path)) for form in ("onnx", "tflite"))]
    for before in models:
        for after in models:
            first, second = before.stream(), after.stream()
            first.run(x[:40])
            second.state = first.state
            assert second.steps == 40
            np.testing.assert_allclose(second.run(x[40:]), expected, rtol=0, atol=tolerance)
            if artifact is FLOATS[0] or {before.engine_name, after.engine_name} <= {"reference", "onnxruntime"}:
                assert second.state[:64] == reference.state[:56] + bytes(8)


def test_litert_keeps_the_state_that_it_can_express(tmp_path: Path) -> None:
    artifact = INTEGERS[0]
    reference, litert = Model(artifact).stream(), load(write_export(artifact, "tflite", tmp_path)).stream()
    reference.run(samples(artifact, 20))
    litert.state = reference.state
    exact, rounded = (np.frombuffer(s.state[64:-4], "<i4") * 2.0**-24 for s in (reference, litert))
    assert np.abs(exact - rounded).max() <= TFLITE_STATE_STEP / 2 + 2**-24
    again = load(tmp_path / "static-w8a8 io.tflite").stream()
    again.state = litert.state
    assert again.state == litert.state


def test_a_state_inside_the_file_cannot_be_saved(tmp_path: Path) -> None:
    stream = load(write_export(FLOATS[0], "tflite variables", tmp_path)).stream()
    stream.step([1, 2, 3])
    with pytest.raises(StateError, match="keeps its state in variables"):
        stream.state  # noqa: B018  # reading it is the test
    with pytest.raises(StateError, match="keeps its state in variables"):
        stream.state = Model(FLOATS[0]).stream().state


def test_bad_samples_leave_the_state(form: str, tmp_path: Path) -> None:
    model = load(write_export(FLOATS[0], form, tmp_path))
    disturbed, calm = model.stream(), model.stream()
    for sample in samples(FLOATS[0], 5):
        for bad in ([np.nan, 0, 0], [1, 2], [np.inf] * 3):
            with pytest.raises(InputError):
                disturbed.step(bad)
        assert disturbed.step(sample) == calm.step(sample)
    assert disturbed.step([1e300, -1e300, 0]) == calm.step([2.0**60, -(2.0**60), 0])
    assert all(np.isfinite(disturbed.step([0, 0, 0])))


def test_a_file_that_is_not_what_its_metadata_says(tmp_path: Path) -> None:
    for form in ("onnx", "tflite"):
        path = write_export(FLOATS[0], form, tmp_path)
        other = read_exported(write_export(random_artifact(0, 3, (5, 6)), form, tmp_path))
        lying = replace(read_exported(path), config=other.config)
        path.rename(tmp_path / "kept")
        write_export(FLOATS[0], form, tmp_path)
        with pytest.raises(ArtifactError, match="has the inputs .* expected .* from its metadata"):
            Model(lying)


def test_a_file_with_good_metadata_and_a_broken_graph(tmp_path: Path) -> None:
    path = write_export(FLOATS[0], "onnx", tmp_path)
    model = onnx.load(path)
    model.graph.node[2].op_type = "NoSuchOperator"
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match="ONNX Runtime refuses it: .*NoSuchOperator"):
        load(path)


def test_a_tflite_step_without_memory_is_a_named_error(tmp_path: Path) -> None:
    path = write_export(FLOATS[0], "tflite", tmp_path)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))
    softmax = model.subgraphs[0].operators.pop()  # its output stays an output, but nothing computes it
    model.subgraphs[0].tensors[softmax.outputs[0]].name = b"orphan"
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(resealed(bytes(builder.Output())))
    with pytest.raises(EngineError, match=f"{path}: LiteRT failed: Tensor data is null"):
        load(path).stream().step([1, 2, 3])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_damaged_onnx_graph_gives_a_named_error_or_runs(
    tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str], place: int, value: int
) -> None:
    path = write_export(FLOATS[0], "onnx", tmp_path_factory.getbasetemp())
    damaged = bytearray(path.read_bytes())
    damaged[place % len(damaged)] = value
    path.write_bytes(damaged)
    with suppress(ArtifactError, EngineError):
        load(path).stream().step([1, 2, 3])
    assert capfd.readouterr().out == ""


MISSING = """
import sys
for name in sys.argv[2].split(","):
    sys.modules[name] = None  # importing it fails
from edgegru_runtime import EngineError, load
try:
    load(sys.argv[1])
except EngineError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("form", "packages", "remedy"),
    [
        ("onnx", "onnxruntime", "engine onnxruntime cannot start .*: pip install onnxruntime"),
        ("tflite", "ai_edge_litert,tflite_runtime", "engine litert cannot start .*: pip install ai-edge-litert"),
    ],
)
def test_a_missing_runtime_is_named(form: str, packages: str, remedy: str, tmp_path: Path) -> None:
    path = write_export(FLOATS[0], form, tmp_path)
    command = [sys.executable, "-c", MISSING, str(path), packages]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert len(printed.splitlines()) == 1
    assert pytest.raises(EngineError, match=remedy).matches(EngineError(printed))


def test_metadata_gives_the_configuration(form: str, tmp_path: Path) -> None:
    source = read_exported(write_export(FLOATS[0], form, tmp_path))
    assert source.config == FLOATS[0].config
    assert json.loads(json.dumps(source.states)) == [["h0", "h0_next"], ["h1", "h1_next"]]
    assert source.form == ("sequence" if "sequence" in form else "step")
    assert source.state == ("variables" if "variables" in form else "io")
