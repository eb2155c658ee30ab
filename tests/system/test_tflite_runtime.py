"""Exported TFLite files in tflite-runtime 2.14, the runtime of 32-bit boards, in its own environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgegru.calibration import calibrate
from edgegru.quantization import quantize_artifact
from edgegru_export import tflite_float, tflite_integer
from edgegru_export.closed_loop import run_steps
from edgegru_export.dequantization import dequantize
from edgegru_export.stimulus import gaussian_input
from edgegru_export.tolerances import FLOAT_TOLERANCE
from edgegru_runtime.reference import Reference
from tests.builders import random_artifact
from tests.export.tflite_file import change_constant, swap_halves

PYTHON = os.environ.get("EDGEGRU_TFLITE_RUNTIME_PYTHON", "")
CHECK = Path(__file__).with_name("tflite_runtime_check.py")
INTEGER_TOLERANCE = {"int16": 4e-3, "int8": 0.25}  # of a value of magnitude 1, by activations

pytestmark = pytest.mark.skipif(not PYTHON, reason="tflite-runtime environment")


def write_files(folder: Path, reset: str, head: str, bias: bool) -> None:
    """One model in every TFLite form, its input, and what the float reference gives for it."""
    model = random_artifact(11, 5, (17, 6), reset=reset, head=head, bias=bias, input_linear=(9, "relu"))
    x = gaussian_input(model, 1000)
    integer_model = quantize_artifact(model, calibrate(model, [x]))
    np.save(folder / "x.npy", x)
    for state in ("io", "variables"):
        forms = {
            "float": (model, tflite_float.build(model, state)),
            "int16": (dequantize(integer_model), tflite_integer.build(integer_model, state)),
            "int8": (dequantize(integer_model), tflite_integer.build(integer_model, state, allow_int8_state=True)),
        }
        for form, (oracle, data) in forms.items():
            file = folder / f"{form} {state}.tflite"
            file.write_bytes(data)
            y = run_steps(Reference(oracle), oracle.config, x)["y"]
            np.save(file.with_suffix(".npy"), y)
            tolerance = INTEGER_TOLERANCE.get(form, FLOAT_TOLERANCE) * max(1.0, float(np.max(np.abs(y))))
            file.with_suffix(".txt").write_text(repr(tolerance))


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
    write_files(tmp_path, reset, head, bias)
    done = run_check(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("largest error") == 6


def test_the_check_can_fail(tmp_path: Path) -> None:
    write_files(tmp_path, "after", "identity", True)
    change_constant(tmp_path / "int16 io.tflite", "gru0.rz_x.weight", swap_halves)
    done = run_check(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("int16 io.tflite") == 2  # its error, and that it is too large
    assert done.stdout.count("int16 variables.tflite") == 1
