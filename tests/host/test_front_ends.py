"""Tables of front ends against their definitions, and quantization of models that have one."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edgegru.calibration import Ranges, calibrate
from edgegru.front_ends import LogMelFeatures, integer_tables, log_mel_tables, mel
from edgegru.quantization import quantize_artifact
from edgegru.quantization_report import quantization_report
from edgegru.quantization_text import quantization_text
from edgegru.signal_to_noise import measure_signal_to_noise
from edgegru_export.dequantization import dequantize
from edgegru_export.saving import save_artifact
from edgegru_runtime import ArtifactError, load
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ConfigError
from edgegru_runtime.log_mel import dense_filters
from edgegru_runtime.model_config import LogMelNode
from tests.builders import from_arrays, random_config, random_floats, with_log_mel

RATE, LOW, HIGH = 16000.0, 60.0, 7000.0
NODE = LogMelNode("log_mel", ("x",), 160, 24, 400, 512, 1.0, 1e-6)
TABLES = log_mel_tables(NODE, RATE, LOW, HIGH)


def test_the_mel_scale_has_1000_at_1000_hz() -> None:
    np.testing.assert_allclose(mel(np.array([0.0, 1000.0, 6300.0])), [0, 1000, 2595], atol=0.02)


def test_bands_are_triangles_on_the_mel_scale() -> None:
    centres = np.linspace(mel(LOW), mel(HIGH), NODE.output_size + 2)
    places = mel(np.arange(257) * RATE / 512)[:, np.newaxis]
    rise = (places - centres[:-2]) / (centres[1:-1] - centres[:-2])
    fall = (centres[2:] - places) / (centres[2:] - centres[1:-1])
    expected = np.maximum(0, np.minimum(rise, fall))
    np.testing.assert_allclose(dense_filters(NODE, TABLES), expected, atol=1e-6)
    assert dense_filters(NODE, TABLES).sum(axis=0).min() > 0.5
    integers = dense_filters(NODE, {**integer_tables(NODE, TABLES), "rising": TABLES["rising"]})
    np.testing.assert_array_equal(integers, dense_filters(NODE, TABLES))


def test_the_whole_spectrum_is_covered_without_limits() -> None:
    tables = log_mel_tables(replace(NODE, output_size=3), RATE)
    assert tables["edges"][0] == 0
    assert tables["edges"][-1] == 256  # half the rate is where the last band ends, at 0


def test_the_window_is_hann_and_periodic() -> None:
    window = TABLES["window"]
    assert (window[0], window[200]) == (0, 1)
    np.testing.assert_allclose(window[1:], window[:0:-1], atol=1e-6)
    np.testing.assert_allclose(window[:200] + window[200:], 1, atol=1e-6)


def test_integer_tables_are_the_nearest() -> None:
    tables = integer_tables(NODE, TABLES)
    assert [str(tables[name].dtype) for name in TABLES] == ["int32", "int32", "int32", "int16"]
    for name, bits in (("window", 30), ("twiddles", 30), ("rising", 15)):
        assert np.max(np.abs(tables[name] - TABLES[name].astype(np.float64) * 2**bits)) <= 0.5
    full = integer_tables(NODE, {**TABLES, "rising": np.ones(257, np.float32)})
    assert full["rising"].max() == 2**15 - 1


@pytest.mark.parametrize(
    ("changes", "limits", "message"),
    [
        ({"fft_size": 300}, (0, 8000), "a spectrum of 300, expected a power of two from 8 to 16384"),
        ({"fft_size": 256}, (0, 8000), "frames of 400 samples and a spectrum of 256"),
        ({"frame_length": 0}, (0, 8000), "frames of 0 samples"),
        ({}, (0, 8001), "bands from 0 to 8001 Hz, expected 0 to 8000, rising"),
        ({}, (300, 300), "bands from 300 to 300 Hz"),
        ({}, (-1, 300), "bands from -1 to 300 Hz"),
        ({"fft_size": 512, "output_size": 1}, (1.0, 31.0), "band 0 of log_mel, 1 to 31 Hz, holds no bin"),
        ({"output_size": 200}, (0, 8000), "holds no bin of 31.25 Hz, expected fewer bands or a larger spectrum"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, int], limits: tuple[float, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        log_mel_tables(replace(NODE, **changes), RATE, *limits)


def test_features_of_no_step_and_of_steps_longer_than_the_window() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 1000).astype(np.float32)
    assert LogMelFeatures(NODE, TABLES)(samples[:159]).shape == (0, 24)
    wide = replace(NODE, input_size=450)
    found = LogMelFeatures(wide, TABLES)(samples)
    alone = LogMelFeatures(wide, TABLES)(samples[450:900])
    assert found.shape == (2, 24)
    np.testing.assert_array_equal(found[1], alone[0])  # samples 0 to 49 of a step are not in its window


@cache
def trained_like(scale: float = 32768.0) -> tuple[Artifact, list[np.ndarray], Ranges]:
    """A model that is standardised for its recordings (T, hop), sound that grows louder and quieter, and its ranges."""
    config = with_log_mel(random_config(6, (8,)), 40, 100, 128, scale)
    generator = np.random.default_rng(0)
    gain = np.repeat(2.0 ** generator.uniform(-8, 0, 40), 10)[:, np.newaxis]
    x = np.round(generator.normal(0, 0.1, (400, 40)) * gain * 32768) * (scale / 32768)
    artifact, x = random_floats(config, 0), x.astype(np.float32)
    arrays = {name: artifact.array(name) for name in artifact.tensors}
    node = config.front_end
    assert node is not None
    features = LogMelFeatures(node, {name: arrays[f"log_mel.{name}"] for name in TABLES})(x.reshape(-1))
    arrays |= {"standardise.mean": features.mean(axis=0), "standardise.std": features.std(axis=0)}
    artifact, recordings = from_arrays(config, arrays), [x[:250], x[250:]]
    return artifact, recordings, calibrate(artifact, recordings)


@pytest.mark.parametrize("scale", [1.0, 32768.0])
@pytest.mark.parametrize("scheme", ["static-w8a8", "static-w8a16", "dynamic-w8"])
def test_models_of_sound_are_quantized(scheme: str, scale: float, tmp_path: Path) -> None:
    artifact, recordings, ranges = trained_like(scale)
    quantized = quantize_artifact(artifact, ranges, scheme=scheme)
    save_artifact(quantized, tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").config == quantized.config
    noise = measure_signal_to_noise(artifact, quantized, recordings, 200).model
    assert noise["log_mel"] > 80
    assert min(noise.values()) > 25
    text = quantization_text(quantization_report(artifact, quantized, ranges))
    assert ("log_mel.window" in text) is (scheme != "dynamic-w8")
    assert "edges" not in text


def test_a_floor_that_integers_do_not_have_is_refused() -> None:
    artifact, _, ranges = trained_like()
    nodes = (replace(artifact.config.nodes[0], floor=1e-20), *artifact.config.nodes[1:])  # type: ignore[call-arg]
    arrays = {name: artifact.array(name) for name in artifact.tensors}
    small = from_arrays(replace(artifact.config, nodes=nodes), arrays)
    with pytest.raises(ArtifactError, match="node 'log_mel' has floor 1e-20, which is no number of 2"):
        quantize_artifact(small, ranges)


def test_dequantized_tables_are_those_of_the_float_model() -> None:
    artifact, _, ranges = trained_like()
    real = dequantize(quantize_artifact(artifact, ranges))
    for name in TABLES:
        np.testing.assert_allclose(real.array(f"log_mel.{name}"), artifact.array(f"log_mel.{name}"), atol=2**-15)
    assert real.tensors["log_mel.edges"].dtype == "int32"
