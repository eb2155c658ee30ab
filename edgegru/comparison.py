"""``edgegru compare``: a GRU against an LSTM and a plain tanh RNN, on the user's own data. docs/gru-vs-lstm.md.

All three learn by one configuration, epoch by epoch side by side, at the same hidden size and at the same number of
parameters. What is chosen (the epoch, the learning rate) is chosen on the validation part.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from edgegru.comparison_cells import (
    TRAINERS,
    int8_bytes,
    matching_size,
    multiply_adds,
    parameter_count,
    state_bytes,
)
from edgegru.comparison_steps import OnnxSteps, kernel_steps, microseconds, onnx_model
from edgegru.configuration import TrainConfig, load_config
from edgegru.data import Dataset, prepare
from edgegru.network import Network
from edgegru.trainer import HIGHER_IS_BETTER, Trainer
from edgegru_runtime.errors import ConfigError, DataError, EdgegruError


@dataclass(frozen=True)
class Run:
    """One training: the epoch that was kept, the loss and metrics of that epoch, what an epoch took (the median)."""

    seed: int
    epoch: int
    validation: dict[str, float]  # {} where there is no such part
    test: dict[str, float]
    seconds_per_epoch: float


@dataclass(frozen=True)
class Compared:
    """One cell at one size.

    ``cell``: "gru", "lstm" or "rnn"; ``equal``: what it has in common with the GRU, "hidden size" or "parameters", ""
    for the GRU itself.
    ``multiply_adds``, ``step_us``: of one step, the latter of the recurrent layers in ONNX Runtime. ``float_bytes``,
    ``int8_bytes``: of the weights. ``rates``: learning rate → the decisive validation metric with the first seed, where
    several were tried.
    """

    cell: str
    equal: str
    hidden_size: int
    parameters: int
    multiply_adds: int
    float_bytes: int
    int8_bytes: int
    state_bytes: int
    learning_rate: float
    rates: dict[str, float]
    runs: tuple[Run, ...]
    step_us: float

    def scores(self, part: str, metric: str) -> list[float]:
        """A metric of a part, "validation" or "test", seed by seed."""
        return [getattr(run, part)[metric] for run in self.runs]

    @property
    def seconds_per_epoch(self) -> float:
        """The mean over seeds."""
        return statistics.fmean(run.seconds_per_epoch for run in self.runs)


@dataclass(frozen=True)
class Comparison:
    """The GRU, then LSTM and tanh RNN of the same hidden size, then of the same number of parameters.

    ``part``: what ``metric`` is reported on, "test" or "validation"; ``recordings``: how many it has. ``kernel_us``:
    the step of the whole GRU model in the C kernel, by scheme; {} where there is none.
    """

    target: str
    metric: str
    part: str
    recordings: int
    kept_by: str | None  # the column that decides which epoch is kept; None: always the last one
    epochs: int
    seeds: int
    models: tuple[Compared, ...]
    kernel_us: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        from edgegru.comparison_text import comparison_text

        return comparison_text(self)


def compare(
    config: TrainConfig | str | Path,
    *,
    data: str | Path | None = None,
    seeds: int = 3,
    learning_rates: Sequence[float] | None = None,
    plot: str | Path | None = None,
) -> Comparison:
    """Train a GRU, an LSTM and a tanh RNN by one configuration, with seeds 0, 1, … ``seeds`` − 1, and measure them.

    ``data`` wins over the configuration. ``learning_rates``: tried with the first seed for each cell and size, which
    keeps the one that is best on the validation part; None: the configuration's for all. ``plot``: where to draw the
    metric of each cell and size as a PNG.

    Reported on the test part where the data have one, else on the validation part. Raises ConfigError, DataError, also
    where there is neither part, and EdgegruError where the picture cannot be written.
    """
    if not isinstance(config, TrainConfig):
        config = load_config(config)
    if data is not None:
        config = replace(config, data=replace(config.data, path=str(data)))
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}, expected 1 or more")
    if plot is not None and not Path(plot).parent.is_dir():  # not after hours of training
        raise EdgegruError(f"{Path(plot).parent} is no folder, expected one to write {Path(plot).name} in")
    dataset = prepare(config.data, seed=0)
    if not any(sequence.mask.any() for sequence in dataset.test or dataset.validation):
        raise DataError("no step of a test or validation part has a target, expected such a part to report on")
    rates = tuple(dict.fromkeys(learning_rates or (config.training.learning_rate,)))
    if len(rates) > 1 and not dataset.validation:
        raise ConfigError("there is no validation part to choose a learning rate by: give one rate, or such a part")
    threads = torch.get_num_threads()
    torch.set_num_threads(config.training.threads)
    try:
        comparison = _compare(config, dataset, seeds, rates)
    finally:
        torch.set_num_threads(threads)
    if plot is not None:
        from edgegru.comparison_plot import plot_comparison  # matplotlib only where a picture is wanted

        plot_comparison(comparison, plot)
    return comparison


class _Candidate(NamedTuple):
    """What is trained: a cell, what makes it equal to the GRU, its size, its learning rate."""

    cell: str
    equal: str
    hidden_size: int
    learning_rate: float

    def trainer(self, config: TrainConfig, dataset: Dataset, seed: int) -> Trainer:
        """Its training, not yet begun."""
        model = replace(config.model, hidden_size=self.hidden_size)
        training = replace(config.training, seed=seed, learning_rate=self.learning_rate)
        return TRAINERS[self.cell](replace(config, model=model, training=training), dataset, torch.device("cpu"))


def _compare(config: TrainConfig, dataset: Dataset, seeds: int, rates: Sequence[float]) -> Comparison:
    candidates = [_Candidate(*shape, rate) for shape in _shapes(config, dataset) for rate in rates]
    trainers = [candidate.trainer(config, dataset, 0) for candidate in candidates]
    first = _train(trainers, "seed 0")
    groups = [range(start, start + len(rates)) for start in range(0, len(candidates), len(rates))]
    chosen = [max(group, key=lambda index: _merit(trainers[index])) for group in groups]
    runs = [[first[index]] for index in chosen]
    for seed in range(1, seeds):
        again = prepare(config.data, seed=seed)
        found = _train([candidates[index].trainer(config, again, seed) for index in chosen], f"seed {seed}")
        for own, run in zip(runs, found, strict=True):
            own.append(run)
    networks = [trainers[index].average for index in chosen]
    steps_us, kernel_us = _step_times([candidates[index].cell for index in chosen], networks, trainers[chosen[0]])
    models = []
    for group, index, network, own, step_us in zip(groups, chosen, networks, runs, steps_us, strict=True):
        tried = {f"{candidates[each].learning_rate:g}": _decisive(trainers[each]) for each in group}
        models.append(
            Compared(
                **candidates[index]._asdict(),
                parameters=parameter_count(network),
                multiply_adds=multiply_adds(network),
                float_bytes=4 * parameter_count(network),
                int8_bytes=int8_bytes(network),
                state_bytes=state_bytes(network),
                rates=tried if len(rates) > 1 else {},
                runs=tuple(own),
                step_us=step_us,
            )
        )
    metrics = trainers[0].objective.metrics
    return Comparison(
        target=", ".join(output.target for output in dataset.outputs),
        metric=config.training.metric if config.training.metric in metrics else metrics[0],
        part="test" if dataset.test else "validation",
        recordings=len(dataset.test or dataset.validation),
        kept_by=trainers[0].judged_by if dataset.validation else None,
        epochs=config.training.epochs,
        seeds=seeds,
        models=tuple(models),
        kernel_us=kernel_us,
    )


def _shapes(config: TrainConfig, dataset: Dataset) -> list[tuple[str, str, int]]:
    """Cell, what makes it equal to the GRU, hidden size: the GRU first."""
    size = config.model.hidden_size
    gru = _Candidate("gru", "", size, config.training.learning_rate).trainer(config, dataset, 0).network
    matching = [(cell, "parameters", matching_size(TRAINERS[cell].network_type, gru)) for cell in ("lstm", "rnn")]
    return [("gru", "", size), ("lstm", "hidden size", size), ("rnn", "hidden size", size), *matching]


def _train(trainers: Sequence[Trainer], description: str) -> list[Run]:
    """All epochs of all of them, an epoch of each in turn, so that a busy machine disturbs the times of all alike."""
    seconds: list[list[float]] = [[] for _ in trainers]
    interval = 0.1 if sys.stderr.isatty() else 10.0  # seconds between two states of the bar; few in a log
    total = sum(trainer.settings.epochs for trainer in trainers)
    with tqdm(total=total, desc=description, unit="epoch", mininterval=interval) as progress:
        while not all(trainer.done for trainer in trainers):
            for trainer, taken in zip(trainers, seconds, strict=True):
                if not trainer.done:
                    started = time.perf_counter()
                    trainer.run_epoch()
                    taken.append(time.perf_counter() - started)
                    progress.update()
    return [_run(trainer, statistics.median(taken)) for trainer, taken in zip(trainers, seconds, strict=True)]


def _run(trainer: Trainer, seconds: float) -> Run:
    """What came out; ``average`` has the weights of the epoch that was kept from now on."""
    row = trainer.history[trainer.best_epoch - 1]
    trainer.average.load_state_dict(trainer.best)
    return Run(
        seed=trainer.settings.seed,
        epoch=trainer.best_epoch,
        validation={
            name.removeprefix("validation_"): value for name, value in row.items() if name.startswith("validation_")
        },
        test=trainer.score(trainer.input.sequences(trainer.dataset.test)),
        seconds_per_epoch=seconds,
    )


def _decisive(trainer: Trainer) -> float:
    """What decided which epoch was kept."""
    return trainer.history[trainer.best_epoch - 1][trainer.judged_by]


def _merit(trainer: Trainer) -> float:
    """The same with its sign so that more is better."""
    return _decisive(trainer) if trainer.judged_by.endswith(HIGHER_IS_BETTER) else -_decisive(trainer)


def _step_times(
    cells: Sequence[str], networks: Sequence[Network], gru: Trainer
) -> tuple[list[float], dict[str, float]]:
    """Microseconds of a step: of each network's recurrent layers in ONNX Runtime, of the GRU's model in the kernel."""
    onnx = {}
    for index, (cell, network) in enumerate(zip(cells, networks, strict=True)):
        layers = [[rows.detach().cpu().numpy() for rows in layer.parameters()] for layer in network.gru_layers]
        onnx[f"{index}"] = OnnxSteps(onnx_model(cell, layers, network.config.reset))
    kernel = kernel_steps(gru.artifacts({})["model.safetensors"])
    found = microseconds({**onnx, **kernel})
    return [found[name] for name in onnx], {scheme: found[scheme] for scheme in kernel}
