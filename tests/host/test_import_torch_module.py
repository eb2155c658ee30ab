"""edgegru.from_torch: a module streams as torch computes it, whatever way its forward is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgegru.importing import from_torch
from edgegru.imports import parity
from edgegru.imports.assembling import Naming, assemble
from edgegru.imports.torch_module import read_module
from edgegru_runtime.errors import ImportModelError
from tests.host.torch_modules import STEPS, Remembering, Written, check, gru, normalised, streamed

WRITTEN: dict[str, tuple[Callable[[], nn.Module], torch.Tensor | None, Any]] = {
    "unbatched": (lambda: nn.GRU(3, 4), torch.zeros(7, 3), lambda xs: xs),
    "channels first": (
        lambda: Written(lambda m, x: m.gru(x.transpose(1, 2))[0].transpose(1, 2).transpose(1, 2), gru=gru(3, 4)),
        torch.zeros(2, 3, 7),
        lambda xs: xs.T.unsqueeze(0),
    ),
    "one channel, (batch, T)": (
        lambda: Written(lambda m, x: m.lin(m.gru(x.unsqueeze(-1))[0]).squeeze(-1), gru=gru(1, 4), lin=nn.Linear(4, 1)),
        torch.zeros(2, 7),
        lambda xs: xs.T,
    ),
    "a mask for a spectrum, (batch, bins, T, parts)": (
        lambda: Written(
            lambda m, x: x.movedim(2, 1) * m.lin(m.gru(x.movedim(2, 1).flatten(2))[0]).sigmoid().unflatten(2, (3, 2)),
            gru=gru(6, 4),
            lin=nn.Linear(4, 6),
        ),
        torch.zeros(2, 3, 7, 2),
        lambda xs: xs.reshape(-1, 3, 2).movedim(0, 1).unsqueeze(0),
    ),
    "rows of a picture": (
        lambda: Written(lambda m, x: m.gru(x.flatten(2))[0].unflatten(2, (2, 2)), gru=gru(6, 4)),
        torch.zeros(2, 7, 2, 3),
        lambda xs: xs.reshape(1, -1, 2, 3),
    ),
    "grouped GRUs with a shuffle": (
        lambda: Written(
            lambda m, x: (
                torch.cat([part(piece)[0] for part, piece in zip((m.a, m.b), x.chunk(2, -1), strict=True)], -1)
                .view(1, -1, 2, 3)
                .transpose(2, 3)
                .flatten(2)
            ),
            a=gru(2, 3),
            b=gru(2, 3),
        ),
        torch.zeros(1, 7, 4),
        None,
    ),
    "in place": (
        lambda: Written(lambda m, x: m.relu(m.gru(x)[0].mul_(2)), gru=gru(3, 4), relu=nn.ReLU(inplace=True)),
        None,
        None,
    ),
    "last states": (
        lambda: Written(lambda m, x: (m.lin(m.gru(x)[1][-1]), m.gru(x)[1][0]), gru=gru(3, 4, 2), lin=nn.Linear(4, 2)),
        None,
        None,
    ),
    "last step kept": (
        lambda: Written(lambda m, x: m.lin(m.gru(x)[0][:, -1:]), gru=gru(3, 4), lin=nn.Linear(4, 2)),
        None,
        None,
    ),
    "activations": (
        lambda: Written(
            lambda m, x: (
                F.silu(y := m.gru(x)[0]), m.prelu(y - 0.1), F.leaky_relu(y), F.glu(y), y.clamp(min=0), y**2, -y
            ),
            gru=gru(3, 4),
            prelu=nn.PReLU(),
        ),
        None,
        None,
    ),
    "products": (
        lambda: Written(
            lambda m, x: (m.gru(x)[0] @ m.w, torch.matmul(m.gru(x)[0], m.v)),
            gru=gru(3, 4),
            w=torch.rand(4, 2),
            v=torch.rand(4),
        ),
        None,
        None,
    ),
    "chosen channels": (
        lambda: Written(lambda m, x: m.gru(x[..., [2, 0]].flip(-1))[0], gru=gru(2, 4)),
        torch.zeros(1, 7, 3),
        None,
    ),
    "zeros joined in front": (
        lambda: Written(
            lambda m, x: m.gru(m.c(torch.cat([x.new_zeros(1, 3, 2), x.mT], 2)).mT)[0],
            gru=gru(3, 4),
            c=nn.Conv1d(3, 3, 3),
        ),
        torch.zeros(1, 7, 3),
        None,
    ),
    "weight normalisation": (
        lambda: Written(
            lambda m, x: m.lin(m.gru(x)[0]), gru=gru(3, 4), lin=nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))
        ),
        None,
        None,
    ),
    "no gradients inside": (lambda: Written(torch.no_grad()(lambda m, x: m.gru(x)[0]), gru=gru(3, 4)), None, None),
}  # fmt: skip


@pytest.mark.parametrize("case", WRITTEN)
def test_a_forward_is_read_however_it_is_written(case: str):
    make, example, place = WRITTEN[case]
    torch.manual_seed(2)
    module = make()
    if case == "unbatched":
        module = Written(lambda m, x: m.gru(x)[0], gru=module)
    check(module, example, place)


def test_layer_normalisation():
    layer = nn.LayerNorm(4)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    check(Written(lambda m, x: m.norm(m.gru(x)[0]), gru=gru(3, 4), norm=layer))


def test_hard_sigmoid():
    check(Written(lambda m, x: F.hardsigmoid(4 * m.gru(x)[0]), gru=gru(3, 4)))


def test_a_constant_initial_state():
    module = Written(lambda m, x: m.gru(x, m.h0.expand(-1, x.shape[0], -1).contiguous())[0], gru=gru(3, 4, 2))
    module.register_buffer("h0", torch.rand(2, 1, 4))
    check(module)


def test_an_embedding_takes_row_numbers():
    torch.manual_seed(0)
    module = Written(
        lambda m, x: m.lin(m.gru(m.table(x))[0]), table=nn.Embedding(9, 3), gru=gru(3, 4), lin=nn.Linear(4, 9)
    )
    artifact = from_torch(module)
    rows = torch.tensor([[0, 8, 3, 3, 1]])
    with torch.no_grad():
        np.testing.assert_allclose(streamed(artifact, rows.numpy().T)[0], module(rows)[0], atol=1e-6)


def test_logarithms_of_what_an_embedding_reads_are_tokens():
    torch.manual_seed(0)
    module = Written(
        lambda m, x: F.log_softmax(m.lin(m.gru(m.table(x))[0]), -1),
        table=nn.Embedding(9, 3),
        gru=gru(3, 4),
        lin=nn.Linear(4, 9),
    )
    artifact = from_torch(module)
    assert [(output.target, output.labels) for output in artifact.config.outputs] == [("next_token", ())]
    rows = torch.tensor([[0, 8, 3, 3, 1]])
    with torch.no_grad():
        np.testing.assert_allclose(streamed(artifact, rows.numpy().T)[0], module(rows)[0], atol=2e-6)
    module.table = nn.Embedding(10, 3)
    with pytest.raises(ImportModelError, match=r"of 9 probabilities and the model begins with an embedding of 10 rows"):
        from_torch(module)


def test_a_state_that_is_handed_back_is_no_output():
    class Handing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.lin = gru(3, 4, 2), nn.Linear(4, 1)

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y, h = self.gru(x, h)
            return self.lin(y), h

    module = Handing()
    artifact = from_torch(module, (torch.zeros(5, 7, 3), torch.zeros(2, 5, 4)))
    assert [output.target for output in artifact.config.outputs] == ["step_value"]
    assert from_torch(module).config.identity == artifact.config.identity  # told from the first layer
    without = from_torch(Written(lambda m, x: m.gru(x), gru=module.gru))
    assert [output.target for output in without.config.outputs] == ["step_value", "recording_value"]


def test_a_module_of_one_step_is_stepped_with_its_own_state():
    torch.manual_seed(0)
    module = Written(
        lambda m, x, h, c: ((y := m.gru(torch.relu(m.lin(x)).unsqueeze(1), h))[1], c2 := m.cell(y[0][:, 0], c), c2 * 2),
        lin=nn.Linear(3, 4),
        gru=gru(4, 5, 2),
        cell=nn.GRUCell(5, 6),
    )
    h, c = torch.zeros(2, 1, 5), torch.zeros(1, 6)
    artifact = from_torch(module, (torch.zeros(4, 3), torch.zeros(2, 4, 5), torch.zeros(4, 6)))
    assert len(artifact.config.outputs) == 1
    xs = torch.randn(STEPS, 3)
    for x, ours in zip(xs, streamed(artifact, xs.numpy())[0], strict=True):
        with torch.no_grad():
            h, c, y = module(x.unsqueeze(0), h, c)
        np.testing.assert_allclose(ours, y[0], atol=1e-6)
    assert [node.kind for node in from_torch(nn.GRUCell(3, 4)).config.nodes][1] == "gru"


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_module_of_one_row_number_is_stepped(shape: tuple[int, ...]):
    torch.manual_seed(0)
    module = Written(lambda m, x, h: m.gru(m.table(x).view(1, 1, -1), h), table=nn.Embedding(9, 3), gru=nn.GRU(3, 4))
    artifact, h = from_torch(module, (torch.zeros(shape, dtype=torch.long), torch.zeros(1, 1, 4))), torch.zeros(1, 1, 4)
    for row, ours in zip([8, 0, 3, 3], streamed(artifact, np.array([[8], [0], [3], [3]]))[0], strict=True):
        with torch.no_grad():
            y, h = module(torch.tensor(row), h)
        np.testing.assert_allclose(ours, y.ravel(), atol=1e-6)


def test_a_buffer_that_keeps_the_state_streams():
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        y, h = m.gru(x, m.h)
        m.h.copy_(h)
        return y

    module = Written(forward, gru=gru(3, 4), h=torch.zeros(1, 1, 4))
    check(module)


def test_a_module_with_a_memory_of_its_own_begins_anew():
    module = Remembering()
    artifact = check(module, torch.zeros(50, 8, 1), lambda xs: xs.unsqueeze(1))
    assert [node.kind for node in artifact.config.nodes] == ["standardise", "gru", "linear", "add", "identity"]
    with pytest.raises(ImportModelError, match="rec: begins with hidden, which an earlier call left in the module"):
        from_torch(module)  # which check has called


@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_module_stays_as_it_is(fails: bool):
    module = Written(
        lambda m, x: m.norm(m.gru(m.drop(x))[0].mT), gru=gru(3, 4), norm=normalised(4), drop=nn.Dropout(0.5)
    )
    if fails:
        module.function = lambda m, x: m.gru(x)[0].mean(1)
    module(torch.zeros(2, 7, 3)).sum().backward()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]
    attributes = {name: set(vars(part)) for name, part in module.named_modules()}
    try:
        from_torch(module)
    except ImportModelError:
        assert fails
    assert all(part.training for part in module.modules())
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    after = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    assert gradients and all(torch.equal(a, b) for a, b in zip(after, gradients, strict=True))
    assert {name: set(vars(part)) for name, part in module.named_modules()} == attributes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_of_other_floats_are_read_as_float32(dtype: torch.dtype):
    module = nn.Sequential(nn.Linear(3, 4), nn.GRU(4, 5, batch_first=True)).to(dtype)
    artifact = from_torch(module, torch.zeros(1, 7, 3, dtype=dtype))
    assert artifact.array("gru0.weight_hh").shape == (15, 5)
    assert module[0].weight.dtype == dtype


def test_names_of_outputs_become_labels():
    module = Written(lambda m, x: {"level": (y := m.gru(x)[0])[..., :1], "rest": y[..., 1:]}, gru=gru(3, 4))
    assert [output.labels for output in from_torch(module).config.outputs] == [
        ("level",),
        ("rest0", "rest1", "rest2"),
    ]
    named = from_torch(module, channels=["a", "b", "c"], labels=[["l"], ["r", "s", "t"]], rate=8000)
    assert named.config.input.channels == ("a", "b", "c") and named.config.input.rate == 8000


def test_a_module_of_one_length_is_checked_at_that_length():
    module = Written(lambda m, x: m.gru(x.reshape(-1, 7, 3))[0], gru=gru(3, 4))
    model = read_module(module, torch.zeros(2, 7, 3))
    assert model.source.steps == 7
    assert parity.check_parity(assemble(model.layers, Naming(), {}), model.source).steps == 28


MUTATIONS = {
    "reset": lambda by_kind: by_kind["gru"].fields.update(reset="before"),
    "gates": lambda by_kind: by_kind["gru"].arrays.update(
        weight_hh=np.roll(by_kind["gru"].arrays["weight_hh"], 4, axis=0)
    ),
    "biases": lambda by_kind: by_kind["gru"].arrays.update(
        bias_ih=by_kind["gru"].arrays["bias_ih"] + by_kind["gru"].arrays["bias_hh"], bias_hh=np.zeros(12)
    ),
    "taps": lambda by_kind: by_kind["convolution"].arrays.update(
        weight=by_kind["convolution"].arrays["weight"][:, ::-1]
    ),
    "dilation": lambda by_kind: by_kind["convolution"].fields.update(dilation=1),
    "statistics": lambda by_kind: by_kind["affine"].arrays.update(shift=by_kind["affine"].arrays["shift"] + 1e-3),
    "selection": lambda by_kind: by_kind["select"].fields.update(indices=[1, 0, 2]),
}  # fmt: skip


@pytest.mark.parametrize("mutation", [None, *MUTATIONS])
def test_another_formulation_is_found_out(mutation: str | None):
    torch.manual_seed(0)
    module = Written(
        lambda m, x: m.gru(m.norm(m.conv(F.pad(x[..., :3].mT, (4, 0)))).mT)[0],
        gru=gru(3, 4),
        norm=normalised(3),
        conv=nn.Conv1d(3, 3, 3, dilation=2),
    )
    model = read_module(module, torch.zeros(1, 7, 4))
    by_kind, pending = {}, [output.layer for output in model.layers.outputs]
    while pending:
        layer = pending.pop()
        by_kind[layer.kind] = layer
        pending.extend(layer.inputs)
    if mutation is None:
        parity.check_parity(assemble(model.layers, Naming(), {}), model.source)
        return
    MUTATIONS[mutation](by_kind)
    with pytest.raises(ImportModelError, match="output 0 differs from torch"):
        parity.check_parity(assemble(model.layers, Naming(), {}), model.source)
