"""Models that take several samples a step: as many numbers, named by channel and sample, on every engine alike."""

from __future__ import annotations

from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgegru_export.saving import save_artifact
from edgegru_runtime import InputError, Model, StateError
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.config_json import config_to_json, parse_config
from edgegru_runtime.description import describe, description_text
from edgegru_runtime.engine import ENGINES
from edgegru_runtime.model import read_source
from edgegru_runtime.model_config import InputConfig
from edgegru_runtime.reference import Reference
from tests.builders import changed, from_arrays, in_blocks, mixed_config, quantized, random_config, random_floats

SAMPLES, CHANNELS = 4, 3
BLOCKS = random_floats(in_blocks(mixed_config(SAMPLES * CHANNELS, kernel_size=2, dilation=1), SAMPLES), 0)
MODELS = {"float32": BLOCKS, "static-w8a8": quantized(BLOCKS), "dynamic-w8": quantized(BLOCKS, "dynamic-w8")}


def recording(steps: int) -> np.ndarray:
    """Samples (steps · SAMPLES, CHANNELS)."""
    return np.random.default_rng(1).normal(0, 3, (steps * SAMPLES, CHANNELS)).astype(np.float32)


@pytest.mark.parametrize("artifact", MODELS.values(), ids=MODELS)
def test_a_step_takes_the_numbers_of_a_block(artifact: Artifact) -> None:
    models = [Model(artifact, engine) for engine in ENGINES[:2]]
    assert [model.input_size for model in models] == [12, 12]
    blocks = recording(20).reshape(20, 12)
    for model in models:
        whole = np.asarray(model.stream().run(blocks))
        stream, streams = model.stream(), model.streams(3)
        steps = [stream.step(block.tolist()) for block in blocks]
        assert np.array(steps, np.float32).tobytes() == whole.tobytes()
        together = [np.asarray(streams.step(np.tile(block, (3, 1)))) for block in blocks]
        np.testing.assert_array_equal(np.array(together)[:, 1], whole)
        if model.engine_name == "kernel":
            expected = whole
    np.testing.assert_allclose(whole, expected, rtol=0, atol=0 if artifact.config.static else 1e-5)


def test_a_convolution_over_blocks_is_one_over_samples_with_a_stride() -> None:
    values = {}
    reference = Reference(BLOCKS, trace=lambda name, value: values.setdefault(name, []).append(value))
    state, x = reference.new_state(), recording(10)
    for block in x.reshape(10, 12):
        reference.step(state, block.tolist())
    mean, std = (BLOCKS.array(f"standardise.{name}").reshape(SAMPLES, CHANNELS) for name in ("mean", "std"))
    standardised = (x - np.tile(mean, (10, 1))) / np.tile(std, (10, 1))
    padded = np.concatenate([np.zeros((SAMPLES, CHANNELS)), standardised])
    weight = BLOCKS.array("conv0.weight").reshape(-1, 2 * SAMPLES, CHANNELS)  # (output, kernel in samples, channel)
    for step, found in enumerate(values["conv0"]):
        window = padded[step * SAMPLES : step * SAMPLES + 2 * SAMPLES]
        expected = np.maximum(np.einsum("okc,kc->o", weight, window) + BLOCKS.array("conv0.bias"), 0)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES[:2])
def test_numbers_are_named_by_channel_and_sample(engine: str) -> None:
    model = Model(BLOCKS, engine)
    bad = [0.0] * 12
    bad[2 * CHANNELS + 1] = float("nan")
    for call in (
        lambda: model.stream().step(bad),
        lambda: model.stream().step(array("f", bad)),
        lambda: model.stream().run([bad]),
        lambda: model.streams(1).step([bad]),
    ):
        with pytest.raises(InputError, match=r"channel c1\[2\] is nan, expected a finite number"):
            call()
    with pytest.raises(InputError, match=r"3 values arrived, expected 12: c0\[0\], c1\[0\], c2\[0\], c0\[1\]"):
        model.stream().step([1, 2, 3])
    with pytest.raises(InputError, match=r"shape \(4, 3\) arrived, expected \(12,\)"):
        model.stream().step(recording(1))


def test_one_sample_a_step_is_not_written_down() -> None:
    config = replace(random_config(), identity="0" * 64)
    assert "samples_per_step" not in config_to_json(config)["input"]
    assert config.input.number_names == config.input.channels
    blocks = replace(BLOCKS.config, identity="0" * 64)
    assert config_to_json(blocks)["input"]["samples_per_step"] == SAMPLES
    assert parse_config(config_to_json(blocks)) == blocks


def test_rates_are_those_of_samples() -> None:
    one = InputConfig(2, ("a", "b"), ("", ""), 50.0)
    assert (one.step_size, one.step_rate) == (2, 50.0)
    ten = replace(one, samples_per_step=10)
    assert (ten.step_size, ten.step_rate, ten.number_names[-1]) == (20, 5.0, "b[9]")
    assert replace(ten, rate=None).step_rate is None


def test_states_are_those_of_the_same_numbers_a_step() -> None:
    """The identity knows what a step takes; how it is called by channels is a name."""
    flat = changed(BLOCKS.config, input=InputConfig(12, tuple(f"n{i}" for i in range(12)), ("",) * 12, 50.0))
    arrays = {name: BLOCKS.array(name) for name in BLOCKS.tensors}
    other = from_arrays(flat, arrays)
    assert other.config.identity == BLOCKS.config.identity
    narrow = random_floats(random_config(3), 0)
    with pytest.raises(StateError):
        Model(narrow).stream().state = Model(BLOCKS).stream().state


def test_info_says_how_many_samples_a_step_takes(tmp_path: Path) -> None:
    save_artifact(BLOCKS, tmp_path / "model.safetensors")
    path = str(tmp_path / "model.safetensors")
    description = describe(path, read_source(path))
    assert description["input"]["samples_per_step"] == SAMPLES
    assert "input       3 channels at 50 Hz, 4 samples a step: c0, c1, c2\n" in description_text(description)
