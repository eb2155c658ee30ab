"""JSON files of amplifier models, skip connection included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgegru
from edgegru.imports import audio_json, parity
from edgegru.imports.assembling import Naming, assemble
from edgegru.imports.source import Options
from edgegru_runtime import load
from edgegru_runtime.errors import ImportModelError


class SimpleRNN(nn.Module):
    """As its makers write it, time first."""

    def __init__(self, input_size: int, output_size: int, hidden_size: int, num_layers: int, skip: int, bias: bool):
        super().__init__()
        self.rec = nn.GRU(input_size, hidden_size, num_layers)
        self.lin = nn.Linear(hidden_size, output_size, bias=bias)
        self.skip = skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.lin(self.rec(x)[0])
        return y + x[:, :, 0 : self.skip] if self.skip else y


def written(folder: Path, skip: int = 1, inputs: int = 1, outputs: int = 1) -> tuple[Path, SimpleRNN]:
    torch.manual_seed(0)
    module = SimpleRNN(inputs, outputs, 8, 2, skip, bias=True)
    model_data = {
        "model": "SimpleRNN", "input_size": inputs, "skip": skip, "output_size": outputs, "unit_type": "GRU",
        "num_layers": 2, "hidden_size": 8, "bias_fl": True,
    }  # fmt: skip
    content = {
        "model_data": model_data,
        "state_dict": {name: tensor.tolist() for name, tensor in module.state_dict().items()},
    }
    (folder / "model.json").write_text(json.dumps(content))
    return folder / "model.json", module


@pytest.mark.parametrize(("skip", "inputs", "outputs"), [(0, 1, 1), (1, 1, 1), (1, 3, 1), (2, 2, 2)])
def test_a_file_streams_as_its_network(tmp_path: Path, skip: int, inputs: int, outputs: int):
    path, module = written(tmp_path, skip, inputs, outputs)
    report = edgegru.import_model(path, tmp_path / "m.safetensors")
    assert report.format.endswith("with skip" if skip else "without skip")
    xs = np.random.default_rng(0).normal(size=(30, inputs)).astype(np.float32)
    stream = load(tmp_path / "m.safetensors").stream()
    with torch.no_grad():
        expected = module(torch.from_numpy(xs).unsqueeze(1))[:, 0].numpy()
    np.testing.assert_allclose(np.array([stream.step(x) for x in xs]), expected, atol=1e-6)


def test_a_lost_skip_is_found_out(tmp_path: Path):
    model = audio_json.read(written(tmp_path)[0], Options())
    parity.check_parity(assemble(model.layers, Naming(), {}), model.source)
    model = audio_json.read(written(tmp_path)[0], Options())
    output = model.layers.outputs[0].layer
    model.layers.outputs.clear()
    model.layers.output(output.inputs[0])
    with pytest.raises(ImportModelError, match="output 0 differs from"):
        parity.check_parity(assemble(model.layers, Naming(), {}), model.source)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"unit_type": "LSTM"}, "model_data: unit_type is 'LSTM', expected 'GRU'"),
        ({"model": "RecNet"}, "model_data: model is 'RecNet', expected 'SimpleRNN'"),
        ({"hidden_size": 16}, "model_data: hidden_size is '16', but the tensors have 8"),
        ({"skip": 2}, "model_data: skip is '2', expected 0 or output_size, 1"),
        ({"skip": None}, "model_data: skip is 'None', expected 0 or output_size, 1"),
    ],
)
def test_a_file_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], sentence: str):
    path, _ = written(tmp_path)
    content = json.loads(path.read_text())
    content["model_data"].update(changes)
    path.write_text(json.dumps(content))
    with pytest.raises(ImportModelError) as caught:
        edgegru.import_model(path, tmp_path / "m.safetensors")
    assert str(caught.value) == f"{path}: {sentence}"


@pytest.mark.parametrize(
    ("state_dict", "sentence"),
    [
        ({"rec.weight_ih_l0": "many"}, "state_dict: rec.weight_ih_l0 is no array of numbers"),
        ({"rec.weight_ih_l0": [[1, 2], [3]]}, "state_dict: rec.weight_ih_l0 is no array of numbers"),
        ({}, "no tensor is named weight_ih or weight_ih_l0, expected the state dict of a GRU"),
        ([], "model_data and state_dict are not both objects, expected the JSON of an audio model"),
    ],
)
def test_inconsistent_tensors_are_refused(tmp_path: Path, state_dict: Any, sentence: str):
    path, _ = written(tmp_path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "state_dict": state_dict}))
    with pytest.raises(ImportModelError) as caught:
        edgegru.import_model(path, tmp_path / "m.safetensors")
    assert str(caught.value) == f"{path}: {sentence}"
