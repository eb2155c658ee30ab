"""Float TFLite files: both formulations, states as input and output or as variables."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegru_export import tflite_float
from edgegru_export.exporting import export
from edgegru_export.stimulus import gaussian_input
from edgegru_export.verification import verify
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError, VerificationError
from edgegru_runtime.model import Model, load
from edgegru_runtime.model_config import ACTIVATIONS, CANDIDATE_ACTIVATIONS, GruNode, LinearNode
from tests.builders import mixed_artifact, random_artifact, random_integer_artifact
from tests.export.onnx_file import SHAPES
from tests.export.tflite_file import change_constant, swap_halves, with_metadata_of, with_second_head

STATES = pytest.mark.parametrize("state", ["io", "variables"])


@given(
    artifact=st.builds(random_artifact, st.integers(0, 99), **SHAPES, candidate=st.sampled_from(CANDIDATE_ACTIVATIONS)),
    state=st.sampled_from(["io", "variables"]),
)
@settings(max_examples=15)
def test_models_of_any_size_and_kind_compute_the_reference(
    artifact: Artifact, state: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("tflite") / "model.tflite"
    path.write_bytes(tflite_float.build(artifact, state))
    report = verify(path, artifact, steps=1000)
    assert {deviation.name[0] for deviation in report.deviations} == ({"y", "h"} if state == "io" else {"y"})


@STATES
@pytest.mark.parametrize("candidate", CANDIDATE_ACTIVATIONS)
@pytest.mark.parametrize("embedding", [False, True])
def test_nodes_of_every_kind(embedding: bool, candidate: str, state: str, tmp_path: Path) -> None:
    kernel_size = 1 if (embedding, candidate) == (True, "tanh") else 3  # of one it keeps nothing
    model = mixed_artifact(2, 4, 7, embedding=embedding, candidate=candidate, kernel_size=kernel_size)
    report = export(model, tmp_path / "model.tflite", format="tflite", state=state)
    assert report.operators is not None
    assert f"{report.operators} operators a step" in str(report)


def test_every_input_means_a_row_of_the_table(tmp_path: Path) -> None:
    artifact = mixed_artifact(2, 4, 7, embedding=True)
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_float.build(artifact))
    inputs = np.array([-1e30, -7, -0.6, -0.5, -0.4, 0, 0.49999997, 0.5, 1.5, 2.5, 10.4, 10.5, 11, 11.5, 99, 3e38])
    streams = [load(path).stream(), Model(artifact).stream()]
    for x in inputs:
        found, expected = (stream.step([float(x)]) for stream in streams)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@STATES
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_linear_layers(activation: str, state: str, tmp_path: Path) -> None:
    artifact = random_artifact(
        1, 5, (9,), input_linear=(7, activation), hidden_linear=(4, activation), bias=state == "io"
    )
    assert export(artifact, tmp_path / "model.tflite", format="tflite", state=state).passed


@STATES
def test_several_outputs_of_one_value(state: str, tmp_path: Path) -> None:
    artifact = with_second_head(random_artifact(5, 2, (4,), head="identity"), "sigmoid")
    report = export(artifact, tmp_path / "model.tflite", format="tflite", state=state)
    assert [deviation.name for deviation in report.deviations][:2] == ["y", "y1"]


def test_variables_survive_between_steps_and_reset_clears_them(tmp_path: Path) -> None:
    artifact = random_artifact(3, 3, (6, 5))
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_float.build(artifact, "variables"))
    x = gaussian_input(artifact, 20)
    stream, other = load(path).stream(), load(path).stream()
    first = bytes(stream.run(x))
    assert bytes(other.run(x)) == first  # two streams do not share their variables
    again = bytes(stream.run(x))
    assert again != first
    stream.reset()
    assert bytes(stream.run(x)) == first


@pytest.mark.parametrize("reset", ["after", "before"])
def test_the_other_formulation_is_detected(reset: str, tmp_path: Path) -> None:
    artifact = random_artifact(7, 4, (12,), reset=reset)
    nodes = tuple(
        replace(node, reset="before" if reset == "after" else "after") if isinstance(node, GruNode) else node
        for node in artifact.config.nodes
    )
    flipped = replace(artifact, config=replace(artifact.config, nodes=nodes))
    path = tmp_path / "model.tflite"
    path.write_bytes(with_metadata_of(tflite_float.build(flipped), tflite_float.build(artifact)))
    with pytest.raises(VerificationError, match="does not compute what its model computes"):
        verify(path, artifact)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("gru0.rz_sum.weight", swap_halves),
        ("gru0.rz_sum.bias", swap_halves),
        ("gru0.n_h.weight", lambda rows: rows * np.float32(1.01)),
        ("gru0.n_h.bias", np.zeros_like),
        ("standardise.std", lambda std: std[:, ::-1]),
    ],
)
def test_a_damaged_file_is_detected(name: str, change: object, tmp_path: Path) -> None:
    artifact = random_artifact(8, 4, (12,))
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_float.build(artifact))
    change_constant(path, name, lambda array: array)
    assert verify(path, artifact).passed
    change_constant(path, name, change)  # type: ignore[arg-type]  # one of the functions above
    with pytest.raises(VerificationError, match="does not compute what its model computes"):
        verify(path, artifact)


def test_what_the_format_is_not_given_is_refused() -> None:
    with pytest.raises(ExportError, match=r"static-w8a8.*float32"):
        tflite_float.build(random_integer_artifact())
    artifact = random_artifact(hidden_linear=(4, "tanh"))
    for kind, field in ((GruNode, "candidate_activation"), (LinearNode, "activation")):
        nodes = tuple(replace(n, **{field: "swish"}) if isinstance(n, kind) else n for n in artifact.config.nodes)
        with pytest.raises(ExportError, match=r"swish.*TFLite export knows"):
            tflite_float.build(replace(artifact, config=replace(artifact.config, nodes=nodes)))


def test_the_documented_loop_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "export-tflite.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    artifact = random_artifact(3, 2, (4, 3))
    export(artifact, tmp_path / "model.tflite", format="tflite")
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "export-tflite.md", "exec"), {})
    stream = load(tmp_path / "model.tflite").stream()
    expected = stream.run([[0.0, 0.0]] * 3)[-1]
    np.testing.assert_allclose(
        [float(part) for part in capsys.readouterr().out.strip(" []\n").split()], expected, rtol=1e-6
    )
