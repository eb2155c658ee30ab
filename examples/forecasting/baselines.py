"""What a forecast has to beat: the last value, yesterday's, and ridge regressions on the last 96 hours.

    python examples/forecasting/baselines.py --data ETTh1.csv

Every method sees the same windows: at every hour of a part the last 96 hours are known, those in front of the part
included, and the next ``horizon`` hours are forecast. A window counts where all of them are in the part. The strength
of a ridge is the one with the smallest error in the validation part; the test part is looked at once.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegru.ridge_skip import ridge

PARTS = {"train": (0, 8640), "validation": (8640, 11520), "test": (11520, 14400)}  # hours: 12, 4 and 4 months
LAGS = 96
STRENGTHS = (1.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0)
Values = NDArray[np.float64]
Forecast = Callable[[Values], Values]  # (windows, LAGS, channels) → (windows, horizon, channels)


def main() -> None:
    """Print the errors of every baseline at every horizon."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="ETTh1.csv as published")
    parser.add_argument("--horizons", type=int, nargs="+", default=(1, 24, 96), help="hours (default: 1 24 96)")
    arguments = parser.parse_args()
    values = read_standardised(arguments.data)
    for horizon in arguments.horizons:
        for name, result in baselines(values, horizon).items():
            print(f"H{horizon:<4}{name:<28}" + "  ".join(f"{key} {value:.6g}" for key, value in result.items()))


def read_standardised(file: Path) -> Values:
    """(hours, channels), every channel by mean and standard deviation of the training part."""
    with open(file, newline="") as source:
        _, *lines = csv.reader(source)
    values = np.array([line[1:] for line in lines], np.float64)
    train = values[slice(*PARTS["train"])]
    return (values - train.mean(axis=0)) / train.std(axis=0)


def windows(values: Values, part: str, horizon: int) -> tuple[Values, Values]:
    """What is known, (windows, LAGS, channels), and what is to be forecast, (windows, horizon, channels)."""
    start, stop = PARTS[part]
    now = np.arange(max(start, LAGS) - 1, stop - horizon)  # the last hour that is known
    return values[now[:, np.newaxis] + np.arange(1 - LAGS, 1)], values[now[:, np.newaxis] + np.arange(1, horizon + 1)]


def errors(forecast: Forecast, values: Values, part: str, horizon: int) -> tuple[float, float]:
    """Mean squared and mean absolute error over windows, hours and channels."""
    known, future = windows(values, part, horizon)
    difference = forecast(known) - future
    return float(np.square(difference).mean()), float(np.abs(difference).mean())


def baselines(values: Values, horizon: int) -> dict[str, dict[str, float]]:
    """Errors of every baseline by its name."""
    hours = np.arange(horizon)
    found = {
        "persistence": _result(lambda known: np.repeat(known[:, -1:], horizon, axis=1), values, horizon),
        "seasonal, 24 hours": _result(lambda known: known[:, LAGS - 24 + hours % 24], values, horizon),
    }
    for name, fit in (
        ("ridge, one for all channels", _ridge_shared),
        ("ridge, one a channel", _ridge_each),
        ("ridge, all channels", _ridge_joint),
    ):
        known, future = windows(values, "train", horizon)
        candidates = {strength: fit(known, future, strength) for strength in STRENGTHS}
        judged = {strength: errors(one, values, "validation", horizon)[0] for strength, one in candidates.items()}
        best = min(judged, key=lambda strength: judged[strength])
        found[name] = {"strength": best, **_result(candidates[best], values, horizon)}
    return found


def _ridge_each(known: Values, future: Values, strength: float) -> Forecast:
    """Every channel from its own past."""
    fits = [ridge(known[..., channel], future[..., channel], strength) for channel in range(known.shape[2])]
    weight, bias = (np.stack(arrays) for arrays in zip(*fits, strict=True))
    return lambda x: np.einsum("wlc,clh->whc", x, weight, optimize=True) + bias.T


def _ridge_shared(known: Values, future: Values, strength: float) -> Forecast:
    """One map for all channels, of and to the differences from the last value (Zeng et al. 2022, arXiv:2205.13504)."""
    last = known[:, -1:]
    past, ahead = ((array - last).swapaxes(1, 2).reshape(-1, array.shape[1]) for array in (known, future))
    weight, bias = ridge(past, ahead, strength)
    return lambda x: np.einsum("wlc,lh->whc", x - x[:, -1:], weight, optimize=True) + bias[:, np.newaxis] + x[:, -1:]


def _ridge_joint(known: Values, future: Values, strength: float) -> Forecast:
    """Every channel from the past of all."""
    weight, bias = ridge(known.reshape(len(known), -1), future.reshape(len(future), -1), strength)
    shape = future.shape[1:]
    return lambda x: (x.reshape(len(x), -1) @ weight + bias).reshape(-1, *shape)


def _result(forecast: Forecast, values: Values, horizon: int) -> dict[str, float]:
    names = ("mse", "mae")
    return {
        f"{part}_{name}": error
        for part in ("validation", "test")
        for name, error in zip(names, errors(forecast, values, part, horizon), strict=True)
    }


if __name__ == "__main__":
    main()
