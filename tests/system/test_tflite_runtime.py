"""Exported TFLite files in tflite-runtime 2.14, the runtime of 32-bit boards, in its own environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegru_export import tflite_dynamic, tflite_float, tflite_integer
from edgegru_export.closed_loop import run_steps
from edgegru_export.dequantization import dequantize
from edgegru_export.stimulus import gaussian_input
from edgegru_export.tolerances import FLOAT_TOLERANCE
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.reference import Reference
from tests.builders import (
    TOKENS,
    mixed_artifact,
    mixed_config,
    normalised,
    quantized,
    random_artifact,
    random_config,
    random_floats,
    with_initial_states,
)
from tests.export.tflite_file import change_constant, swap_halves

PYTHON = os.environ.get("EDGEGRU_TFLITE_RUNTIME_PYTHON", "")
CHECK = Path(__file__).with_name("tflite_runtime_check.py")
# Of a value of magnitude 1, by form. A convolution of the form int16 keeps 8-bit operands; wide: 16-bit operands.
TOLERANCE = {"dynamic": 0.1, "int16": 1e-2, "wide": 1e-3, "int8": 0.25}

pytestmark = pytest.mark.skipif(not PYTHON, reason="tflite-runtime environment")


def write_files(folder: Path, model: Artifact) -> None:
    """One model in every TFLite form, its input, and what the float reference gives for it."""
    x = gaussian_input(model, 1000)
    narrow, wide, dynamic = (quantized(model, scheme) for scheme in ("static-w8a8", "static-w8a16", "dynamic-w8"))
    np.save(folder / "x.npy", x)
    for state in ("io", "variables"):
        forms = {
            "float": (model, tflite_float.build(model, state)),
            "dynamic": (dequantize(dynamic), tflite_dynamic.build(dynamic, state)),
            "int16": (dequantize(narrow), tflite_integer.build(narrow, state)),
            "wide": (dequantize(wide), tflite_integer.build(wide, state)),
            "int8": (dequantize(narrow), tflite_integer.build(narrow, state, allow_int8_state=True)),
        }
        for form, (oracle, data) in forms.items():
            write_file(folder / f"{form} {state}.tflite", oracle, data, TOLERANCE.get(form, FLOAT_TOLERANCE))


def write_file(file: Path, oracle: Artifact, data: bytes, tolerance: float) -> None:
    """A file ``data``, what ``oracle`` gives for ``x.npy``, and how far it may be, over the largest value."""
    file.write_bytes(data)
    y = run_steps(Reference(oracle), oracle, np.load(file.with_name("x.npy")))["y"]
    np.save(file.with_suffix(".npy"), y)
    file.with_suffix(".txt").write_text(repr(tolerance * max(1.0, float(np.max(np.abs(y))))))


def run_check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PYTHON, CHECK, folder], check=False, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("reset", "head", "bias"),
    [
        ("after", "softmax", True),
        ("before", "identity", True),
        ("after", "sigmoid", False),
        ("before", "softmax", False),
    ],
)
def test_every_form_streams(reset: str, head: str, bias: bool, tmp_path: Path) -> None:
    model = random_artifact(11, 5, (17, 6), reset=reset, head=head, bias=bias, input_linear=(9, "relu"))
    write_files(tmp_path, model)
    done = run_check(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("largest error") == 10


@pytest.mark.parametrize(
    "shape",
    [
        {"reset": "before", "embedding": True},
        {"candidate": "relu"},
        {"candidate": "linear", "embedding": True},
        {"gates": "hard_sigmoid_5", "candidate": "sigmoid"},
        {"gates": "hard_sigmoid_6", "reset": "before", "convolution": "hard_sigmoid_5"},
        TOKENS,
    ],
)
def test_every_kind_of_node_streams(shape: dict[str, Any], tmp_path: Path) -> None:
    write_files(tmp_path, mixed_artifact(3, 4, 9, **shape))
    done = run_check(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("largest error") == 10


@pytest.mark.parametrize("reset", ["after", "before"])
def test_streams_begin_with_h0(reset: str, tmp_path: Path) -> None:
    write_files(tmp_path, random_floats(with_initial_states(random_config(5, (17, 6), reset=reset)), 11))
    done = run_check(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("largest error") == 10


def test_layer_normalisation_streams(tmp_path: Path) -> None:
    model = random_floats(normalised(mixed_config(hidden_size=9)), 3)
    dynamic = quantized(model, "dynamic-w8")
    np.save(tmp_path / "x.npy", gaussian_input(model, 1000))
    write_file(tmp_path / "float.tflite", model, tflite_float.build(model), FLOAT_TOLERANCE)
    write_file(tmp_path / "dynamic.tflite", dequantize(dynamic), tflite_dynamic.build(dynamic), TOLERANCE["dynamic"])
    done = run_check(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("largest error") == 2


def test_the_check_can_fail(tmp_path: Path) -> None:
    write_files(tmp_path, random_artifact(11, 5, (17, 6), head="identity"))
    change_constant(tmp_path / "int16 io.tflite", "gru0.rz_x.weight", swap_halves)
    done = run_check(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("int16 io.tflite") == 2  # its error, and that it is too large
    assert done.stdout.count("int16 variables.tflite") == 1
