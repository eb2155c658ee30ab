"""TFLite files of int8 weights and float values: their kernel rounds what it multiplies as finely as the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegru_export import tflite_dynamic
from edgegru_export.exporting import export
from edgegru_export.verification import verify
from edgegru_runtime.errors import ExportError, VerificationError
from edgegru_runtime.model_config import RESETS, GruNode
from tests.builders import SIZES, drawn_float_config, mixed_artifact, quantized, random_artifact, random_floats
from tests.export.tflite_file import (
    change_constant,
    change_scales,
    constant,
    operators,
    swap_halves,
    tensor,
    unpacked,
    with_metadata_of,
)


@pytest.mark.parametrize("seed", range(10))
def test_models_of_every_kind(seed: int, tmp_path: Path) -> None:
    artifact = quantized(random_floats(drawn_float_config(np.random.default_rng(seed), SIZES), seed), "dynamic-w8")
    report = export(artifact, tmp_path / "model.tflite", format="tflite", state=("io", "variables")[seed % 3 == 0])
    assert report.rms_ratio is not None
    assert report.rms_ratio < 1.5


def test_the_weights_are_those_of_the_artifact() -> None:
    artifact = quantized(random_artifact(3, 5, (7,)), "dynamic-w8")
    model = unpacked(tflite_dynamic.build(artifact))
    for name, pieces in (
        ("gru0.weight_ih", ("gru0.rz_sum.x", "gru0.n_x")),
        ("gru0.weight_hh", ("gru0.rz_sum.h", "gru0.n_h")),
        ("dense.weight", ("dense",)),
    ):
        stored = np.concatenate([constant(model, f"{piece}.weight") for piece in pieces])
        scales = np.concatenate([tensor(model, f"{piece}.weight").quantization.scale for piece in pieces])
        np.testing.assert_array_equal(stored.reshape(artifact.array(name).shape), artifact.array(name))
        np.testing.assert_array_equal(scales, artifact.array(f"{name}_scale"))


def test_weights_that_stay_float(tmp_path: Path) -> None:
    artifact = quantized(mixed_artifact(3, 5, 7), "dynamic-w8", {"dense": "float32", "conv0": "float32"})
    path = tmp_path / "model.tflite"
    assert export(artifact, path, format="tflite").passed
    model = unpacked(path.read_bytes())
    assert constant(model, "dense.weight").dtype == np.float32
    assert constant(model, "gate.sum.weight").dtype == np.int8
    assert "FULLY_CONNECTED" not in operators(path.read_bytes())


@pytest.mark.parametrize("reset", RESETS)
def test_the_other_formulation_is_detected(reset: str, tmp_path: Path) -> None:
    artifact = quantized(random_artifact(7, 4, (12,), reset=reset), "dynamic-w8")
    other = "before" if reset == "after" else "after"
    nodes = tuple(replace(n, reset=other) if isinstance(n, GruNode) else n for n in artifact.config.nodes)
    flipped = replace(artifact, config=replace(artifact.config, nodes=nodes))
    path = tmp_path / "model.tflite"
    path.write_bytes(with_metadata_of(tflite_dynamic.build(flipped), tflite_dynamic.build(artifact)))
    with pytest.raises(VerificationError, match="does not compute what its model computes"):
        verify(path, artifact)


@pytest.mark.parametrize(
    ("name", "change", "how"),
    [
        ("gru0.rz_sum.h.weight", change_constant, swap_halves),
        ("gru0.n_h.weight", change_scales, lambda scales: scales * 1.1),
        ("gru0.n_x.bias", change_constant, np.zeros_like),
        ("dense.weight", change_scales, lambda scales: np.roll(scales, 1)),
    ],
)
def test_a_damaged_file_is_detected(
    name: str, change: Callable[..., None], how: Callable[[Any], Any], tmp_path: Path
) -> None:
    artifact = quantized(random_artifact(8, 4, (12,)), "dynamic-w8")
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_dynamic.build(artifact))
    change(path, name, lambda values: values)
    assert verify(path, artifact).passed
    change(path, name, how)
    with pytest.raises(VerificationError, match="does not compute what its model computes"):
        verify(path, artifact)


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="float32, and this TFLite form needs dynamic-w8"):
        tflite_dynamic.build(random_artifact())
    artifact = quantized(random_artifact(), "dynamic-w8")
    with pytest.raises(ExportError, match="int8 state was allowed for a dynamic-w8 model"):
        export(artifact, tmp_path / "model.tflite", format="tflite", allow_int8_state=True)
