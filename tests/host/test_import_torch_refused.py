"""What edgegru.from_torch refuses: one sentence with the submodule it is about, and never a wrong model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgegru.importing import from_torch
from edgegru_runtime.errors import ImportModelError


class Recurrent(nn.Module):
    """An encoder's GRU of 3 channels, and whatever ``forward`` does with it."""

    def __init__(self, forward: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"gru": nn.GRU(3, 4, batch_first=True), **parts})
        self.function = forward

    def forward(self, *arguments: Any) -> Any:
        return self.function(self.encoder, *arguments)


def looped(m: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    h, every = x.new_zeros(x.shape[0], 4), []
    for step in range(x.shape[1]):
        h = m["cell"](x[:, step], h)
        every.append(h)
    return torch.stack(every, 1)


def branching(m: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    return m["gru"](x)[0] if x.sum() > 0 else m["gru"](-x)[0]


def packed(m: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    lengths = torch.full((x.shape[0],), x.shape[1])
    return m["gru"](nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True))[1]


def changed(m: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    x.mul_(2)
    return m["gru"](x)[0]


SEQUENCE, STEP = torch.zeros(2, 7, 3), torch.zeros(2, 3)
WHOLE = {
    "bidirectional": (
        lambda: Recurrent(lambda m, x: m["both"](x)[0], both=nn.GRU(3, 4, bidirectional=True, batch_first=True)),
        SEQUENCE,
        "encoder.both: is bidirectional, expected one direction",
    ),
    "bare bidirectional": (lambda: nn.GRU(3, 4, bidirectional=True), None, "GRU: is bidirectional"),
    "LSTM": (lambda: nn.Sequential(nn.Identity(), nn.LSTM(3, 4)), SEQUENCE, "1: is an LSTM, expected a GRU"),
    "RNN": (lambda: nn.RNN(3, 4), SEQUENCE, "RNN: is a plain RNN, expected a GRU"),
    "no GRU": (lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU()), None, "the model has no GRU"),
    "no module": (lambda: "model.pt", None, "str is no module, expected an nn.Module"),
    "cell without state": (
        lambda: Recurrent(lambda m, x: m["cell"](x), cell=nn.GRUCell(3, 4)),
        STEP,
        "encoder.cell: begins anew at every call",
    ),
    "first layer does not tell": (
        lambda: nn.Sequential(nn.LayerNorm(3), nn.GRU(3, 4)),
        None,
        "Sequential begins with LayerNorm, expected an example of what it is called with",
    ),
    "example of another size": (
        lambda: nn.GRU(3, 4),
        torch.zeros(7, 2, 5),
        "the module cannot be called with the exam",
    ),
}
FORWARD: dict[str, tuple[Callable[..., Any], str]] = {
    "loop": (looped, "forward: takes step 0 of the sequence by itself, as a loop over time in Python does"),
    "branch": (branching, "forward: branches on data"),
    "packed": (packed, "encoder.gru: reads a packed sequence, expected a tensor of one sequence"),
    "input changed": (changed, "forward changes its argument"),
    "pooling": (lambda m, x: m["gru"](x)[0].mean(1), "forward: reduces many numbers to one, as pooling does"),
    "max pooling": (lambda m, x: F.max_pool1d(m["gru"](x)[0].mT, 2).mT, "forward: pools over time"),
    "attention": (
        lambda m, x: torch.softmax((y := m["gru"](x)[0]) @ y.mT, -1) @ y,
        "forward: multiplies two values of the input, as attention does",
    ),
    "softmax over time": (lambda m, x: torch.softmax(m["gru"](x)[0], 1), "forward: is a softmax over time"),
    "softmax inside": (lambda m, x: m["gru"](torch.softmax(x, -1))[0], "a softmax stands inside the model"),
    "reversed": (lambda m, x: m["gru"](x.flip(1))[0], "forward: turns the sequence around in time"),
    "last and every step": (lambda m, x: (y := m["gru"](x)[0]) + y[:, -1:], "the last step and every step together"),
    "first step": (lambda m, x: m["gru"](x)[0][:, 0], "forward: takes step 0 of the sequence by itself"),
    "every other step": (lambda m, x: m["gru"](x[:, ::2])[0], "forward: takes one of 2 steps, expected all steps"),
    "delay": (lambda m, x: m["gru"](F.pad(x, (0, 0, 1, -1)))[0], "encoder.gru: reads steps -1 to 9 where the"),
    "positions": (
        lambda m, x: m["gru"](x + torch.arange(x.shape[1])[:, None])[0],
        "forward: add takes a constant that differs from step to step",
    ),
    "decoder": (lambda m, x: m["gru"](x, m["gru"](x)[1])[0], "encoder.gru: begins with an h computed from the input"),
    "look ahead": (lambda m, x: m["gru"](m["same"](x.mT).mT)[0], "step t needs step t + 1, a look ahead"),
    "no padding": (lambda m, x: m["gru"](m["conv"](x.mT).mT)[0], "encoder.gru: reads steps 2 to 6 where the input"),
    "stride": (lambda m, x: m["gru"](m["stride"](x.mT).mT)[0], "encoder.stride: has stride 2, expected 1"),
    "copies as padding": (
        lambda m, x: m["gru"](m["conv"](F.pad(x.mT, (2, 0), mode="replicate")).mT)[0],
        "forward: pads with copies (replicate), expected zeros",
    ),
    "cut before a convolution": (
        lambda m, x: m["gru"](F.conv1d(x.mT[..., :-1], m["conv"].weight[..., :2], padding=1).mT)[0],
        "forward: convolves a value that was cut or shifted in time",
    ),
    "random": (lambda m, x: m["gru"](x + torch.rand(3))[0], "forward: rand draws random numbers"),
    "training": (lambda m, x: F.dropout(m["gru"](x)[0], 0.5), "forward: drops numbers at random"),
    "batch statistics": (lambda m, x: m["batch"](m["gru"](x)[0].mT).mT, "encoder.batch: normalises by the batch"),
    "unknown operator": (lambda m, x: m["gru"](x)[0].exp(), "forward: computes exp, which has no equal in a stream"),
    "whole numbers": (lambda m, x: m["gru"](x.long().float())[0], "forward: turns numbers into torch.int64"),
    "time as channels": (
        lambda m, x: m["gru"](x)[0].flatten(1),
        "forward: view to [1, 44] puts steps and channels into one axis, expected time on its own",
    ),
    "constant output": (lambda m, x: (m["gru"](x)[0], torch.ones(2)), "output 1: does not depend on the input"),
    "instance normalisation": (lambda m, x: F.instance_norm(m["gru"](x)[0].mT), "forward: normalises over time"),
    "divided by input": (lambda m, x: m["gru"](1 / (x + 2))[0], "forward: divides by numbers of the input"),
    "clamped": (lambda m, x: m["gru"](x.clamp(-1, 1))[0], "forward: clamps from -1 to 1, expected from 0 on"),
    "logarithms": (lambda m, x: F.log_softmax(m["gru"](x)[0], -1), "the model begins with no embedding, expected"),
    "logarithms inside": (lambda m, x: m["gru"](F.log_softmax(x, -1))[0], "a log_softmax stands inside the model"),
    "two axes at once": (
        lambda m, x: m["gru"](m["gru"](x.mT.reshape(-1, 1, 3))[0][..., :3])[0],
        "puts steps and channels into one axis, expected time on its own",
    ),
    "power": (lambda m, x: m["gru"](x**3)[0], "forward: raises to the power of 3, expected 2"),
}  # fmt: skip


def refusal(module: Any, example: Any) -> str:
    with pytest.raises(ImportModelError) as caught:
        from_torch(module, example)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("case", WHOLE)
def test_a_module_is_refused_by_name(case: str):
    make, example, sentence = WHOLE[case]
    assert sentence in refusal(make(), example)


@pytest.mark.parametrize("case", FORWARD)
def test_a_forward_is_refused_by_name(case: str):
    forward, sentence = FORWARD[case]
    module = Recurrent(
        forward,
        cell=nn.GRUCell(3, 4),
        same=nn.Conv1d(3, 3, 3, padding="same"),
        conv=nn.Conv1d(3, 3, 3),
        stride=nn.Conv1d(3, 3, 1, stride=2),
        batch=nn.BatchNorm1d(4, track_running_stats=False),
    )
    assert sentence in refusal(module, SEQUENCE)


def test_a_step_must_hand_its_state_back():
    def forward(m: nn.ModuleDict, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return 2 * m["cell"](x, h)

    module = Recurrent(forward, cell=nn.GRUCell(3, 4))
    text = refusal(module, (STEP, torch.zeros(2, 4)))
    assert "forward does not return the next" in text and "expected the new h of its GRU" in text


def test_a_second_input_is_no_state():
    text = refusal(
        Recurrent(lambda m, x, y: m["gru"](torch.cat([x, y], -1))[0]), (SEQUENCE[..., :1], SEQUENCE[..., :2])
    )
    assert "expected one input, and besides it only states that GRUs begin with" in text


def test_two_gru_do_not_share_a_state():
    module = Recurrent(lambda m, x, h: m["other"](m["gru"](x, h)[0], h)[0], other=nn.GRU(4, 4, batch_first=True))
    assert "expected a state for each" in refusal(module, (SEQUENCE, torch.zeros(1, 2, 4)))


def test_a_program_exported_in_training_mode_is_refused():
    for forward, sentence in (
        (lambda m, x: m["drop"](m["gru"](x)[0]), "encoder.drop: drops numbers at random"),
        (lambda m, x: m["norm"](m["gru"](x)[0].mT).mT, "encoder.norm: normalises by the batch"),
        (lambda m, x: m["deep"](x)[0], "encoder.deep: drops numbers at random between its layers"),
    ):
        module = Recurrent(
            forward,
            drop=nn.Dropout(0.5),
            norm=nn.BatchNorm1d(4),
            deep=nn.GRU(3, 4, 2, dropout=0.5, batch_first=True),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module.train(), (torch.zeros(1, 7, 3),))
        assert sentence in refusal(program, None)


def test_torchscript_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.script(nn.GRU(3, 4))
    assert "a TorchScript module was given" in refusal(module, SEQUENCE)
