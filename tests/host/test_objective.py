"""Losses, class weights and the learning rate against numbers made by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from edgegru.configuration import TrainingConfig
from edgegru.objective import make_objective
from edgegru.schedule import rate_and_momentum
from edgegru_runtime.errors import ConfigError
from tests.training_data import random_dataset, random_sequences

torch.set_num_threads(1)
CPU = torch.device("cpu")


def labelled(*targets: int) -> object:
    (sequence,) = random_sequences([len(targets)], 3)
    return replace(sequence, target=np.array(targets), mask=np.array([target >= 0 for target in targets]))


def test_cross_entropy_is_smoothed_and_weighted() -> None:
    dataset = random_dataset(outputs=2, train=random_sequences([4], 3))
    objective = make_objective(TrainingConfig(label_smoothing=0.2, class_weights=(1.0, 3.0)), dataset, CPU)
    outputs, targets = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]]), torch.tensor([1, 0])
    first = -(0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4)) * 3
    torch.testing.assert_close(objective.losses(outputs, targets), torch.tensor([first, math.log(2.0)]))
    assert objective.weights(targets).tolist() == [3.0, 1.0]
    assert objective.predictions(outputs).tolist() == [1, 0]


def test_balanced_classes_weigh_the_same_in_sum() -> None:
    dataset = random_dataset(outputs=3, train=(labelled(0, 0, 0, 1, -1), labelled(0, -1)))  # type: ignore[arg-type]
    objective = make_objective(TrainingConfig(class_weights="balanced"), dataset, CPU)
    assert objective.weights(torch.tensor([0, 1, 2])).tolist() == pytest.approx([5 / 8, 5 / 2, 0.0])


def test_values_count_in_standard_deviations_and_are_reported_in_their_own_units() -> None:
    dataset = random_dataset("step_value", outputs=2)
    objective = make_objective(TrainingConfig(), dataset, CPU)
    mean, std = torch.from_numpy(dataset.target_mean), torch.from_numpy(dataset.target_std)
    outputs = torch.tensor([[0.0, 0.0]])
    targets = (mean + std * torch.tensor([1.0, 3.0])).unsqueeze(0)
    torch.testing.assert_close(objective.losses(outputs, targets), torch.tensor([5.0]))
    predictions = objective.predictions(outputs)
    torch.testing.assert_close(predictions[0], mean)
    measured = objective.measure(targets.numpy(), predictions.numpy())
    assert measured["mae"] == pytest.approx(float((std * torch.tensor([1.0, 3.0])).mean()))
    assert measured["mse"] == pytest.approx(float(((std * torch.tensor([1.0, 3.0])) ** 2).mean()))


def test_labels_of_which_any_number_holds_cost_the_sum_of_their_own_losses() -> None:
    objective = make_objective(TrainingConfig(metric="micro_f1"), random_dataset("step_labels", outputs=3), CPU)
    outputs = torch.tensor([[0.0, math.log(3.0), -math.log(3.0)], [200.0, 0.0, 0.0]])
    targets = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    expected = torch.tensor([math.log(2) + math.log(4 / 3) + math.log(4), 200 + 2 * math.log(2)])
    torch.testing.assert_close(objective.losses(outputs, targets), expected)
    assert objective.weights(targets).tolist() == [1.0, 1.0]
    predictions = objective.predictions(outputs)
    torch.testing.assert_close(predictions[0], torch.tensor([0.5, 0.75, 0.25]))
    measured = objective.measure(targets[:1].numpy(), predictions[:1].numpy())
    assert measured == pytest.approx({"nll": float(expected[0]), "micro_f1": 2 * 2 / (3 + 2)})
    assert objective.decisive == "loss"


def test_settings_that_do_not_fit_the_target_are_refused() -> None:
    labels = random_dataset(outputs=3, train=random_sequences([4], 3))
    with pytest.raises(ConfigError, match=r"training\.metric is 'mse', expected one of auto, loss, accuracy, macro_f1"):
        make_objective(TrainingConfig(metric="mse"), labels, CPU)
    with pytest.raises(ConfigError, match=r"training\.metric is 'accuracy', expected one of auto, loss, mse, mae"):
        make_objective(TrainingConfig(metric="accuracy"), random_dataset("forecast"), CPU)
    with pytest.raises(ConfigError, match=r"training\.metric is 'mse', expected one of auto, loss, nll, micro_f1"):
        make_objective(TrainingConfig(metric="mse"), random_dataset("step_labels"), CPU)
    with pytest.raises(ConfigError, match=r"training\.class_weights has 2 numbers, expected one for each class"):
        make_objective(TrainingConfig(class_weights=(1.0, 2.0)), labels, CPU)
    with pytest.raises(ConfigError, match=r"training\.class_weights"):
        make_objective(TrainingConfig(class_weights=(0.0, 0.0, 0.0)), labels, CPU)
    for setting in ({"class_weights": "balanced"}, {"class_weights": (1.0, 2.0, 3.0)}, {"label_smoothing": 0.1}):
        name = next(iter(setting))
        with pytest.raises(ConfigError, match=rf"training\.{name} is for classes, but the target is step_labels"):
            make_objective(TrainingConfig(**setting), random_dataset("step_labels"), CPU)
        with pytest.raises(ConfigError, match=rf"training\.{name} is for classes, but the target is forecast"):
            make_objective(TrainingConfig(**setting), random_dataset("forecast"), CPU)


def rates(schedule: str, *progress: float, warm_up: float = 0.2) -> list[tuple[float, float]]:
    config = TrainingConfig(schedule=schedule, learning_rate=1.0, warm_up=warm_up)
    return [rate_and_momentum(config, share) for share in progress]


def test_constant_rate() -> None:
    assert rates("constant", 0.0, 0.5, 0.99) == [(1.0, 0.9)] * 3


def test_cosine_rate_rises_straight_and_falls_to_nothing() -> None:
    found = [rate for rate, _ in rates("cosine", 0.0, 0.1, 0.2, 0.6, 1.0)]
    assert found == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])
    assert rates("cosine", 0.0, warm_up=0.0) == [(1.0, 0.9)]


def test_one_cycle_turns_rate_and_momentum_against_each_other() -> None:
    found = rates("one-cycle", 0.0, 0.1, 0.2, 0.6, 1.0)
    assert [rate for rate, _ in found] == pytest.approx([0.04, 0.52, 1.0, 0.50005, 1e-4])
    assert [momentum for _, momentum in found] == pytest.approx([0.95, 0.9, 0.85, 0.9, 0.95])
