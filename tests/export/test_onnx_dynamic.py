"""dynamic-w8 ONNX files: the reference's results but where a value rounds the other way; no wrong file passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgegru_export import onnx_dynamic
from edgegru_export.stimulus import gaussian_input
from edgegru_export.verification import verify
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ExportError, VerificationError
from edgegru_runtime.reference import Reference
from tests.builders import drawn_float_config, from_arrays, mixed_artifact, quantized, random_artifact, random_floats
from tests.export.onnx_file import change_constant, feeds, random_states, session, swap_first_gates


def dynamic(artifact: Artifact, **keep: str) -> Artifact:
    return quantized(artifact, "dynamic-w8", keep)


def written(artifact: Artifact, folder: Path) -> Path:
    path = folder / "dynamic.onnx"
    path.write_bytes(onnx_dynamic.build(artifact))
    return path


@pytest.mark.parametrize("seed", range(10))
def test_models_of_any_size_and_kind_compute_the_reference(seed: int, tmp_path: Path) -> None:
    artifact = dynamic(random_floats(drawn_float_config(np.random.default_rng(seed)), seed))
    report = verify(written(artifact, tmp_path), artifact)
    assert report.passed
    assert all(deviation.rms < 1e-4 for deviation in report.deviations)  # hardly a value rounds the other way


@pytest.mark.parametrize("embedding", [False, True])
def test_kept_nodes_are_multiplied_as_floats(embedding: bool, tmp_path: Path) -> None:
    keep = {"conv0": "float32", "dense": "float32"} | ({"embedding": "float32"} if embedding else {})
    artifact = dynamic(mixed_artifact(3, embedding=embedding), **keep)
    path = written(artifact, tmp_path)
    assert verify(path, artifact).passed
    stored = {tensor.name: tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert all(stored[f"{name}.weight"] == onnx.TensorProto.FLOAT for name in keep)
    assert stored["hidden0.weight"] == onnx.TensorProto.UINT8


@pytest.mark.parametrize("reset", ["after", "before"])
def test_each_row_of_a_batch_has_scales_of_its_own(reset: str) -> None:
    """Rows of very different magnitude beside each other, each as if alone."""
    artifact = dynamic(mixed_artifact(3, reset=reset, candidate="relu", head="identity"))
    run, states = session(onnx_dynamic.build(artifact)).run, random_states(artifact, 7)
    magnitude = np.float32(10.0) ** np.arange(-3, 4, dtype=np.float32)[:, np.newaxis]
    x = artifact.array("standardise.mean") + magnitude * np.ones(3, np.float32)
    together = run(None, feeds(x, [h * magnitude for h in states]))
    for row in range(7):
        alone = run(None, feeds(x[row : row + 1], [h[row : row + 1] * magnitude[row] for h in states]))
        for both, one in zip(together, alone, strict=True):
            np.testing.assert_array_equal(both[row], one[0])


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-38, 2.0**-101])
def test_a_vector_of_zeros_or_next_to_nothing_gives_zero(value: float) -> None:
    artifact = dynamic(random_artifact(4, 3, (5,), bias=False, candidate="relu", head="identity"))
    arrays = {name: artifact.array(name) for name in artifact.tensors}
    artifact = from_arrays(artifact.config, {**arrays, "standardise.mean": np.zeros(3, np.float32)})
    h = np.full((1, 5), value, np.float32)
    y, after = session(onnx_dynamic.build(artifact)).run(None, feeds(np.full((1, 3), value, np.float32), [h]))
    assert np.abs(y).max() <= 1e-30
    assert np.abs(after).max() <= 1e-30
    reference = Reference(artifact)
    state = [h[0]]
    np.testing.assert_allclose(y[0], reference.step(state, [value] * 3)[0], rtol=0, atol=1e-30)


def test_optimisations_do_not_change_the_results() -> None:
    """ONNX Runtime has an operator of its own for such products, which would take the scales for others."""
    artifact = dynamic(random_artifact(1, 8, (17,)))
    data, x, states = onnx_dynamic.build(artifact), gaussian_input(artifact, 1), random_states(artifact, 1)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    for found, expected in zip(
        session(data).run(None, feeds(x, states)), plain.run(None, feeds(x, states)), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("constant", "change"),
    [
        ("gru0.weight_hh", swap_first_gates(1)),
        ("gru1.weight_ih", swap_first_gates(1)),
        ("gru0.weight_hh scale", lambda scale: scale * np.float32(1.03)),
        ("gru1.weight_ih scale", lambda scale: scale * np.float32(0.97)),
        ("dense.weight scale", lambda scale: scale * np.float32(1.03)),
        ("dense.bias", lambda bias: bias[::-1].copy()),
        ("gru0.bias_hh", lambda bias: np.roll(bias, 1)),
        ("standardise.std", lambda std: std * np.float32(1.01)),
        ("127.0", lambda limit: limit * np.float32(0.5)),
    ],
)
def test_a_wrong_number_fails(constant: str, change: Callable[[Any], Any], tmp_path: Path) -> None:
    artifact = dynamic(random_artifact(7, 4, (8, 5)))
    path = written(artifact, tmp_path)
    assert verify(path, artifact).passed
    change_constant(path, constant, change)
    with pytest.raises(VerificationError, match="does not compute .* off by at most"):
        verify(path, artifact)


@pytest.mark.parametrize("candidate", ["tanh", "relu", "linear"])
def test_a_flipped_formulation_fails(candidate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = dynamic(random_artifact(7, 4, (8, 5), candidate=candidate, bias=False))
    gru = onnx_dynamic.DynamicModel.gru

    def flipped(self: Any, node: Any, source: str) -> str:
        return gru(self, type(node)(**{**vars(node), "reset": "before"}), source)

    monkeypatch.setattr(onnx_dynamic.DynamicModel, "gru", flipped)
    with pytest.raises(VerificationError, match="h0 off by at most"):
        verify(written(artifact, tmp_path), artifact)


@pytest.mark.parametrize("scheme", ["float32", "static-w8a8"])
def test_other_schemes_are_refused(scheme: str) -> None:
    artifact = random_artifact()
    with pytest.raises(ExportError, match=f"{scheme}.*dynamic-w8"):
        onnx_dynamic.build(artifact if scheme == "float32" else quantized(artifact, scheme))
