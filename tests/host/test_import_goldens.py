"""GRU vectors from the test suites of other runtimes, imported: their own expected outputs, or a refusal by name.

They are not part of this repository: EDGEGRU_DATA names a folder with goldens/literal_goldens.json, cases in ONNX's
layout, and goldens/nntrainer/*.npz, cases in Keras's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import edgegru
from edgegru_runtime import load
from edgegru_runtime.errors import ImportModelError
from tests.public_data import public_data

Floats = NDArray[np.float32]
TELLING = 100.0  # the other formulation is this many tolerances away in cases that can tell them apart


def one_stream(case: dict[str, Any], row: int, path: Path, lbr: int) -> Floats:
    """Write a case's GRU for one row of its batch, weights and initial state as constants; the row's samples (T, I)."""
    batch_axis = 0 if case["layout"] else 1
    x = np.take(np.array(case["X"], np.float32), row, axis=batch_axis)  # (T, I)
    tensors = {name: np.array(case[name], np.float32) for name in ("W", "R", "B") if case[name] is not None}
    if case["initial_h"] is not None:
        h0 = np.take(np.array(case["initial_h"], np.float32), [row], axis=batch_axis)
        tensors["initial_h"] = h0.transpose(1, 0, 2) if case["layout"] else h0
    if case["sequence_lens"] is not None:
        x = x[: case["sequence_lens"][row]]
    given = ["X", *(name if name in tensors else "" for name in ("W", "R", "B")), "", "initial_h"]
    names = ("activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size")
    attributes = {name: case[name] for name in names if case[name] is not None}
    inputs = given if "initial_h" in tensors else given[: 4 if "B" in tensors else 3]
    node = helper.make_node("GRU", inputs, ["Y"], "gru", linear_before_reset=lbr, **attributes)
    graph = helper.make_graph(
        [node],
        "case",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["T", 1, x.shape[1]])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["T", 1, 1, case["hidden_size"]])],
        [numpy_helper.from_array(tensor, name) for name, tensor in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), path)
    return x


def expected_rows(case: dict[str, Any], row: int, length: int) -> list[tuple[int, Floats]]:
    """What the source says of one row: (step, h)."""
    rows = []
    if case["Y"] is not None:
        y = np.array(case["Y"], np.float32)  # (T, 1, N, H), or (N, T, 1, H)
        steps = y[row, :, 0] if case["layout"] else y[:, 0, row]
        rows += [(step, steps[step]) for step in range(length)]
    if case["Y_h"] is not None:
        last = np.array(case["Y_h"], np.float32)
        rows.append((length - 1, last[row, 0] if case["layout"] else last[0, row]))
    return rows


def test_literal_vectors_of_other_suites(tmp_path: Path) -> None:
    cases = json.loads((public_data("goldens") / "literal_goldens.json").read_text(encoding="utf-8"))
    path, output = tmp_path / "case.onnx", tmp_path / "case.safetensors"
    refused, computed, telling = [], 0, 0
    for case in cases:
        batch = np.array(case["X"]).shape[0 if case["layout"] else 1]
        lengths = case["sequence_lens"] or [np.array(case["X"]).shape[1 if case["layout"] else 0]] * batch
        for row in (row for row in range(batch) if lengths[row]):
            x = one_stream(case, row, path, case["lbr"])
            try:
                edgegru.import_model(path, output, force=True)
            except ImportModelError as error:
                refused.append((case["name"], str(error).removeprefix(f"{path}: ")))
                break
            found = np.asarray(load(output).stream().run(x))
            for step, h in expected_rows(case, row, len(x)):
                np.testing.assert_allclose(found[step], h, rtol=0, atol=max(case["tol"], 1e-5), err_msg=case["name"])
                computed += 1
            if (case["formulation_separation"] or 0.0) > TELLING * case["tol"]:
                telling += other_formulation_differs(case, row, path, output)
    for name, sentence in refused:
        reasons = ("direction is", "clip is", "activations are", "a state from -1 to 1")
        assert any(reason in sentence for reason in reasons), (name, sentence)
    assert computed > 40
    assert telling > 5


def other_formulation_differs(case: dict[str, Any], row: int, path: Path, output: Path) -> bool:
    """Whether the other formulation misses what the source says; where it does not in any row, the case cannot tell."""
    x = one_stream(case, row, path, 1 - case["lbr"])
    edgegru.import_model(path, output, force=True)
    found = np.asarray(load(output).stream().run(x))
    return any(np.abs(found[step] - h).max() > TELLING * case["tol"] for step, h in expected_rows(case, row, len(x)))


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # within Keras
def test_random_vectors_of_nntrainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = public_data("goldens") / "nntrainer"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    import keras  # with the backend named above

    computed = 0
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as case:
            arrays = {name: case[name] for name in case.files}
        width, units = arrays["kernel"].shape[0], arrays["recurrent_kernel"].shape[0]
        gru = keras.layers.GRU(
            units,
            activation=str(arrays["activation"]),
            recurrent_activation=str(arrays["recurrent_activation"]),
            reset_after=bool(arrays["reset_after"]),
            return_sequences=bool(arrays["return_sequences"]),
        )
        model = keras.Sequential([keras.layers.Input((None, width)), gru])
        gru.set_weights([arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"]])
        model.save(tmp_path / "model.keras")
        if str(arrays["recurrent_activation"]) == "tanh":
            with pytest.raises(ImportModelError, match="recurrent_activation"):
                edgegru.import_model(tmp_path / "model.keras", tmp_path / "m.safetensors", force=True)
            continue
        edgegru.import_model(tmp_path / "model.keras", tmp_path / "m.safetensors", force=True)
        imported = load(tmp_path / "m.safetensors")
        for x, y in zip(arrays["x"], arrays["y"], strict=True):
            found = np.asarray(imported.stream().run(x))
            np.testing.assert_allclose(found[-len(y) :], y, rtol=0, atol=1e-5, err_msg=file.name)
            computed += 1
    assert computed == 24
