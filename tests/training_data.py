"""Small recordings in memory and on disk for the tests of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgegru.data import Dataset, LabelledSequence
from edgegru.data.config import VALUE_TARGETS
from edgegru_runtime.model_config import OutputConfig

TARGETS = ("step_label", "recording_label", "step_labels", "step_value", "recording_value", "forecast")


def write_recordings(path: Path, target: str, recordings: int = 12, seed: int = 0) -> Path:
    """An NPZ file whose targets need memory: they depend on the last 8 steps of channel 0, or on all of a recording."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(30, 61, recordings)
    inputs, targets = [], []
    for length in lengths:
        noise = generator.standard_normal((length, 3))
        level = np.cumsum(generator.standard_normal(length)) * 0.3
        x = np.stack([level, noise[:, 1], np.sin(np.arange(length) * 0.5) + 0.1 * noise[:, 2]], axis=1) * 4 + 20
        mean = np.array([x[max(0, step - 7) : step + 1, 0].mean() for step in range(length)])
        inputs.append(x.astype(np.float32))
        targets.append(
            {
                "step_label": np.where(mean > 20, "high", "low"),
                "recording_label": np.array(["high" if mean[-1] > 20 else "low"]),
                "step_labels": np.stack([mean > 18, mean > 20, mean > 22], axis=1).astype(int),
                "step_value": mean[:, np.newaxis] * 10,
                "recording_value": np.array([[mean[-1] * 10]]),
                "forecast": np.zeros((length, 0)),
            }[target]
        )
    arrays = {"x": np.concatenate(inputs), "lengths": lengths}
    if target != "forecast":
        arrays["y"] = np.concatenate(targets)
    np.savez(path, **arrays)
    return path


def random_sequences(lengths: list[int], input_size: int = 2, classes: int = 3) -> tuple[LabelledSequence, ...]:
    """Sequences of noise with a random class at every step."""
    generator = np.random.default_rng(len(lengths))
    return tuple(
        LabelledSequence(
            name=f"r{index}",
            group=f"r{index}",
            x=generator.standard_normal((length, input_size)).astype(np.float32),
            target=generator.integers(0, classes, length),
            mask=np.ones(length, np.bool_),
        )
        for index, length in enumerate(lengths)
    )


def random_dataset(
    target: str = "step_label", input_size: int = 3, outputs: int = 4, train: tuple[LabelledSequence, ...] = ()
) -> Dataset:
    """A data set that says what an artifact needs: scales, labels, units; ``train`` alone where it is to be trained."""
    generator = np.random.default_rng(0)
    numeric = target in VALUE_TARGETS
    return Dataset(
        train=train,
        validation=(),
        test=(),
        channels=tuple(f"channel {index}" for index in range(input_size)),
        units=("",) * input_size,
        rate=50.0,
        outputs=(
            OutputConfig(
                "output",
                target,
                () if target == "next_token" else tuple(f"label {index}" for index in range(outputs)),
                ("V",) * outputs if numeric else (),
                outputs if target == "forecast" else 0,
            ),
        ),
        mean=generator.normal(0, 5, input_size).astype(np.float32),
        std=generator.uniform(0.5, 5, input_size).astype(np.float32),
        target_mean=generator.normal(0, 50, outputs if numeric else 0).astype(np.float32),
        target_std=generator.uniform(0.5, 20, outputs if numeric else 0).astype(np.float32),
    )
