"""Layer normalisation: the equation, the same on every engine and in every file, and no static scheme."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgegru.quantization import quantize_artifact
from edgegru_export.exporting import export
from edgegru_runtime import ArtifactError, Model
from edgegru_runtime.artifact import Artifact, check, expected_tensors
from edgegru_runtime.config_json import config_to_json, parse_config
from edgegru_runtime.errors import QuantizationError
from edgegru_runtime.model_config import STATIC_SCHEMES, LayerNormalisationNode, QuantizationConfig
from edgegru_runtime.reference import Reference
from tests.builders import changed, from_arrays, mixed_config, normalised, quantized, random_config, random_floats

FLOAT = random_floats(normalised(mixed_config(hidden_size=9, head="identity")), 3)


def alone(size: int, epsilon: float = 1e-5) -> Artifact:
    """A model that gives out its last linear layer, normalised."""
    config = random_config(size, (3,), size, head="identity")
    *nodes, head = config.nodes
    norm = LayerNormalisationNode("norm", ("dense",), size, epsilon)
    return random_floats(changed(config, nodes=(*nodes, norm, replace(head, inputs=("norm",)))), size)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 300])
def test_it_is_that_of_pytorch(size: int) -> None:
    rng = np.random.default_rng(size)
    artifact = alone(size, 1e-3)
    seen: dict[str, np.ndarray] = {}
    engine = Reference(artifact, trace=seen.__setitem__)
    engine.step(engine.new_state(), rng.normal(0, 3, size).astype(np.float32))
    weight, bias, v = (
        torch.from_numpy(np.array(a, np.float64))
        for a in (artifact.array("norm.weight"), artifact.array("norm.bias"), seen["dense"])
    )
    expected = torch.nn.functional.layer_norm(v, (size,), weight, bias, 1e-3)
    np.testing.assert_allclose(seen["norm"], expected.numpy(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("offset", [0.0, 100.0, 1e6, 1e18])
@pytest.mark.parametrize("spread", [0.0, 1e-6, 1.0, 1e9])
def test_the_kernel_computes_it_wherever_values_lie(offset: float, spread: float) -> None:
    """Mean and variance in double precision: neither a large mean nor a large spread costs digits."""
    artifact = alone(33)
    rng = np.random.default_rng(0)
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    arrays["dense.weight"][:] = 0
    arrays["dense.bias"] = (offset + spread * rng.normal(0, 1, 33)).astype(np.float32)
    model = from_arrays(artifact.config, arrays)
    x = [0.5] * 33
    expected, found = (np.array(Model(model, engine).stream().step(x)) for engine in ("reference", "kernel"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * max(1.0, np.max(np.abs(expected))))
    if spread >= 1 and offset < 1e7:
        assert np.std(found - arrays["norm.bias"]) > 0.1


@pytest.mark.parametrize("format", ["onnx", "tflite", "plan"])
@pytest.mark.parametrize("artifact", [FLOAT, quantized(FLOAT, "dynamic-w8")], ids=["float32", "dynamic-w8"])
def test_exports(artifact: Artifact, format: str, tmp_path: Path) -> None:
    assert export(artifact, tmp_path / f"m.{format}", format=format).passed


def test_sequences_and_variables(tmp_path: Path) -> None:
    assert export(FLOAT, tmp_path / "m.onnx", format="onnx", sequence=True).passed
    assert export(FLOAT, tmp_path / "m.tflite", format="tflite", state="variables").passed


def test_its_tensors_stay_float() -> None:
    dynamic = quantized(FLOAT, "dynamic-w8")
    for name in ("weight", "bias"):
        tensor = f"gru0_normalised.{name}"
        assert expected_tensors(dynamic.config)[tensor] == ("float32", (9,))
        np.testing.assert_array_equal(dynamic.array(tensor), FLOAT.array(tensor))


def test_configuration_comes_back() -> None:
    config = changed(FLOAT.config, identity="0" * 64)
    assert parse_config(config_to_json(config)) == config


@pytest.mark.parametrize("scheme", STATIC_SCHEMES)
def test_static_schemes_have_none(scheme: str) -> None:
    with pytest.raises(QuantizationError, match=f"gru0_normalised is a layer_normalisation, which {scheme} cannot"):
        quantize_artifact(FLOAT, None, scheme=scheme)
    config = changed(FLOAT.config, scheme=scheme, quantization=QuantizationConfig())
    with pytest.raises(ArtifactError, match=rf"'gru0_normalised' is of kind layer_normalisation in scheme {scheme};"):
        check(config, FLOAT.tensors)
