"""ONNX's own tests of its operator GRU: their data through our artifact."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgegru_runtime.errors import ImportModelError
from tests.host.onnx_graphs import imported, saved, steps


def cases() -> dict[str, object]:
    """The packaged test cases by name; collecting them warns about operators of others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return {case.name: case for case in collect_testcases("GRU") if case.name.startswith("test_gru_")}


CASES = cases()
LAYOUTS = {"test_gru_defaults": 0, "test_gru_with_initial_bias": 0, "test_gru_seq_length": 0, "test_gru_batchwise": 1}
REFUSED = {"test_gru_reverse": "reverse", "test_gru_bidirectional": "bidirectional"}


def bound(name: str, *, keep_inputs: bool) -> tuple[onnx.ModelProto, list[np.ndarray], list[np.ndarray]]:
    """A case's model with all inputs but X as initializers, its X, and what it expects."""
    case = CASES[name]
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    inputs, outputs = case.data_sets[0]
    for value, array in list(zip(model.graph.input, inputs, strict=True))[1:]:
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), value.name))
    if not keep_inputs:
        del model.graph.input[1:]
    return model, inputs, outputs


def test_the_package_has_the_cases_named_here():
    assert LAYOUTS.keys() | REFUSED.keys() <= CASES.keys()


@pytest.mark.parametrize("keep_inputs", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_sample_of_the_batch_gives_the_expected_output(tmp_path: Path, name: str, keep_inputs: bool):
    model, (x, *_), expected = bound(name, keep_inputs=keep_inputs)
    artifact = imported(saved(tmp_path, model))
    batch_first = LAYOUTS[name]
    samples = x if batch_first else x.swapaxes(0, 1)
    for index, sample in enumerate(samples):
        found = steps(artifact, sample)
        assert len(found) == len(expected) == len(artifact.config.outputs)
        for ours, theirs, output in zip(found, expected, artifact.config.outputs, strict=True):
            theirs = theirs[index] if batch_first else theirs.take(index, -2)
            if output.target == "recording_value":
                ours = ours[-1]
            np.testing.assert_allclose(ours, theirs.reshape(ours.shape), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("name", "direction"), REFUSED.items())
def test_other_directions_are_refused(tmp_path: Path, name: str, direction: str):
    model, _, _ = bound(name, keep_inputs=True)
    with pytest.raises(ImportModelError, match=f"node Y \\(GRU\\): direction is {direction}, expected forward"):
        imported(saved(tmp_path, model))


@pytest.mark.parametrize("name", LAYOUTS)
def test_weights_that_are_inputs_are_named(tmp_path: Path, name: str):
    with pytest.raises(ImportModelError, match="its W is the graph input W, expected a constant"):
        imported(saved(tmp_path, CASES[name].model))
