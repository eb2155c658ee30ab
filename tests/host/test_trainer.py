"""Inside an epoch: the state goes from chunk to chunk, gradients do not, and every counted step has the same pull."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from edgegru.batching import Chunk
from edgegru.configuration import NetworkConfig, TrainConfig, TrainingConfig
from edgegru.network import Network, State
from edgegru.trainer import Trainer
from tests.training_data import random_dataset, random_sequences

torch.set_num_threads(1)


def make(**training: object) -> Trainer:
    settings = {"epochs": 2, "lanes": 2, "bptt_steps": 7, **training}
    config = TrainConfig(
        model=NetworkConfig(hidden_size=4, num_layers=2, dropout=0.3), training=TrainingConfig(**settings)
    )  # type: ignore[arg-type] # a test's keyword arguments
    dataset = random_dataset(outputs=3, train=random_sequences([60, 45, 80], 3))
    return Trainer(config, replace(dataset, validation=random_sequences([700, 30], 3)), torch.device("cpu"))


@pytest.mark.parametrize("random_reset", [0.0, 0.5])
def test_state_is_carried_from_chunk_to_chunk(random_reset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(random_reset=random_reset)
    seen: list[tuple[Chunk, State, State]] = []
    forward = Trainer._forward

    def watched(
        self: Trainer, network: Network, chunk: Chunk, state: State
    ) -> tuple[torch.Tensor, torch.Tensor, State]:
        outputs, targets, new_state = forward(self, network, chunk, state)
        seen.append((chunk, state, new_state))
        return outputs, targets, new_state

    monkeypatch.setattr(Trainer, "_forward", watched)
    trainer._learn()
    assert len(seen) > 10
    carried = 0
    for (_, _, before), (chunk, after, _) in pairwise(seen):
        for old, new in zip(before, after, strict=True):
            assert not new.requires_grad
            goes_on = torch.from_numpy((chunk.lengths > 0) & ~chunk.first)
            assert torch.equal(new[goes_on], old.detach()[goes_on])
            assert new[goes_on].abs().sum() > 0 or not goes_on.any()
            carried += int(goes_on.sum())
    assert carried > 10
    starts = sum(int(chunk.first.sum()) for chunk, _, _ in seen)
    assert starts == 3 if random_reset == 0.0 else starts > 3


def test_each_counted_step_has_the_same_pull(monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses handed to the optimiser are on average the mean loss of a step, however full their chunks."""
    trainer, losses = make(random_reset=0.3), []

    def recorded(self: Trainer, loss: torch.Tensor, progress: float) -> None:
        losses.append((loss.item(), progress))

    monkeypatch.setattr(Trainer, "_update", recorded)
    row = trainer._learn()
    assert sum(loss for loss, _ in losses) / len(losses) == pytest.approx(row["loss"], rel=1e-5)
    progress = [share for _, share in losses]
    assert progress == sorted(progress) and progress[0] == 0.0 and 0.4 < progress[-1] < 0.5


def test_validation_is_each_recording_streamed_from_its_start() -> None:
    trainer = make()
    trainer.run_epoch()
    losses, hits = [], []
    trainer.average.eval()
    with torch.no_grad():
        for sequence in trainer.dataset.validation:
            outputs, _ = trainer.average(torch.from_numpy(sequence.x).unsqueeze(0), trainer.average.zero_state(1))
            target = torch.from_numpy(sequence.target)
            losses.append(torch.nn.functional.cross_entropy(outputs[0], target, reduction="none"))
            hits.append(outputs[0].argmax(dim=1) == target)
    row = trainer.history[-1]
    assert row["validation_loss"] == pytest.approx(float(torch.cat(losses).mean()), rel=1e-5)
    assert row["validation_accuracy"] == pytest.approx(float(torch.cat(hits).double().mean()), abs=1e-9)


def test_every_epoch_and_purpose_draws_its_own_numbers() -> None:
    trainer, numbers = make(), []
    for trainer.epoch in range(3):
        numbers += [int(trainer._generator(purpose).integers(2**62)) for purpose in range(3)]
    assert len(set(numbers)) == 9
    assert numbers[:3] != [int(make(seed=1)._generator(purpose).integers(2**62)) for purpose in range(3)]


def test_weight_decay_is_for_matrices_only() -> None:
    decays = {
        parameter.ndim: group["weight_decay"]
        for group in make(weight_decay=0.3).optimiser.param_groups
        for parameter in group["params"]
    }
    assert decays == {2: 0.3, 1: 0.0}
