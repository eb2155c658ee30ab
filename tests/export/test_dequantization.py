"""The float model that an integer artifact stands for."""

from __future__ import annotations

import numpy as np
import pytest

from edgegru_export.closed_loop import run_steps
from edgegru_export.dequantization import dequantize
from edgegru_export.identity import verify_identity
from edgegru_export.stimulus import gaussian_input
from edgegru_runtime.artifact import check
from edgegru_runtime.errors import ExportError
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.reference import Reference
from tests.builders import random_artifact, random_integer_artifact
from tests.export.onnx_file import quantized

KINDS = pytest.mark.parametrize(
    ("reset", "bias"), [("after", True), ("after", False), ("before", True), ("before", False)]
)


@KINDS
def test_weights_and_biases_are_those_before_quantization(reset: str, bias: bool) -> None:
    """To half a step and, where rounding with feedback makes up for other columns, one or two more."""
    original = random_artifact(2, 4, (6, 5), reset=reset, bias=bias, hidden_linear=(7, "tanh"))
    integer = quantized(original)
    real = dequantize(integer)
    check(real.config, real.tensors)
    verify_identity(real)
    assert real.tensors.keys() == original.tensors.keys()
    for name in original.tensors:
        found, expected = real.array(name).astype(np.float64), original.array(name).astype(np.float64)
        if "weight" in name:
            scale = integer.array(f"{name}_scale").astype(np.float64)[:, None]
            assert np.all(np.abs(found - expected) <= scale * 2.5001)
        elif ".bias" not in name:
            np.testing.assert_array_equal(found, expected)
    for gru in ("gru0", "gru1") if bias else ():
        size = original.array(f"{gru}.bias_ih").size // 3
        found_sum, expected_sum = (a.array(f"{gru}.bias_ih") + a.array(f"{gru}.bias_hh") for a in (real, original))
        np.testing.assert_allclose(found_sum, expected_sum, atol=2e-3)  # r and z, and n before: only the sum counts
        if reset == "after":
            np.testing.assert_allclose(
                real.array(f"{gru}.bias_hh")[2 * size :], original.array(f"{gru}.bias_hh")[2 * size :], atol=2e-3
            )


@KINDS
def test_it_computes_what_the_integers_compute(reset: str, bias: bool) -> None:
    integer = quantized(random_artifact(3, 4, (16, 9), reset=reset, bias=bias, head="identity"))
    real = dequantize(integer)
    inputs = gaussian_input(integer, 500)
    integers = run_steps(IntegerReference(integer), integer, inputs)
    floats = run_steps(Reference(real), real, inputs)
    for name, values in integers.items():
        assert np.sqrt(np.mean((values - floats[name]) ** 2)) < 0.03, name


def test_weights_are_integers_times_the_scales_of_their_rows() -> None:
    integer = random_integer_artifact(4, 3, (2,))
    weight, scale = integer.array("gru0.weight_hh"), integer.array("gru0.weight_hh_scale")
    expected = [[np.float32(float(q) * float(s)) for q in row] for row, s in zip(weight, scale, strict=True)]
    np.testing.assert_array_equal(dequantize(integer).array("gru0.weight_hh"), expected)


def test_a_float_model_is_refused() -> None:
    with pytest.raises(ExportError, match="float32"):
        dequantize(random_artifact())
