"""Programs of torch.export, given to edgegru.from_torch."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgegru.importing import from_torch
from edgegru_runtime.errors import ImportModelError
from tests.host.torch_modules import Remembering, Written, gru, normalised


def exported(module: nn.Module, example: torch.Tensor) -> torch.export.ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch about its own GRU
        return torch.export.export(module.eval(), (example,))


def test_a_program_of_torch_export_is_read_too():
    module = Remembering()
    program = exported(module, torch.zeros(7, 1, 1))
    assert from_torch(program).config.identity == from_torch(like(module)).config.identity
    with pytest.raises(ImportModelError, match="expected a program exported with batch 1"):
        from_torch(exported(Remembering(), torch.zeros(7, 2, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decomposed = exported(nn.GRU(3, 4), torch.zeros(7, 1, 3)).run_decompositions()
    with pytest.raises(ImportModelError, match="takes step 0 of the sequence by itself, as a loop over time"):
        from_torch(decomposed)


def test_a_program_in_core_aten_is_read_where_it_kept_its_gru():
    torch.manual_seed(0)
    module = Written(
        lambda m, x: torch.softmax(m.out(m.gru(m.lin(m.norm(m.conv(F.pad(x.mT, (2, 0)))).mT))[0]), -1),
        conv=nn.Conv1d(3, 3, 3),
        norm=normalised(3),
        lin=nn.Linear(3, 3, bias=False),
        gru=gru(3, 4),
        out=nn.Linear(4, 2),
    )
    table = torch.export.default_decompositions()
    del table[torch.ops.aten.gru.input]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = exported(module, torch.zeros(1, 7, 3)).run_decompositions(table)
    assert "addmm" in str(program.graph) and "aten.convolution" in str(program.graph)
    assert [node.kind for node in from_torch(program).config.nodes] == [
        node.kind for node in from_torch(module, torch.zeros(1, 7, 3)).config.nodes
    ]


def like(module: Remembering) -> Remembering:
    other = Remembering()
    other.load_state_dict(module.state_dict())
    return other
